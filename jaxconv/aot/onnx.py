"""ONNX through jax2onnx: a program that it can take, for symbolic sizes where it can."""

import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv.aot.export import proven_program
from jaxconv.aot.storage import shape_type
from jaxconv.compat import JaxprEqn
from jaxconv.errors import Diagnostic, ValidationError, raises_shape_error
from jaxconv.jaxpr.interpreter import Evaluator, FlowKind, equations, rewrite
from jaxconv.jaxpr.primitives import record_of
from jaxconv.jaxpr.primitives.reduce_window import MAX_POOLING
from jaxconv.symbolic.sets import SizeSet


@raises_shape_error("export")
def export_onnx(
    fn: Any, args: Sequence[Any], named: Mapping[str, Any], where: str | None
) -> tuple[bytes, SizeSet]:
    """Export a function or a model as ONNX, for every size that it accepts.

    Args:
        fn: as for :func:`jaxconv.export`.
        args: its positional arguments, likewise.
        named: its keyword arguments, likewise.
        where: the sizes to export for.

    Returns:
        The file, and the sizes. ONNX has no constraints: nothing refuses other sizes.

    Raises:
        ShapeError: as for :func:`jaxconv.export`, or jax2onnx cannot convert the program.
        ModuleNotFoundError: jax2onnx is not installed.
    """
    import jax2onnx  # pyright: ignore[reportMissingImports] - in an environment of its own

    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # which warns of shapes of its own
    with proven_program(fn, args, named, where) as program:
        positional, keywords = program.types
        if keywords:
            wrong = "ONNX has no arguments by keyword."
            raise ValidationError([Diagnostic(wrong, "pass these arguments by position.")])
        # Traced here, without the functions that jax2onnx puts in the place of the libraries' own.
        closed, shapes = jax.make_jaxpr(program.run, return_shape=True)(*positional)
        program.returned.extend(closed.out_avals)
        program.decided.is_users_code = False
        convertible = rewrite(closed, _by_axes)

        def run(*values: Any) -> Any:
            results = _Inlined().run(convertible.jaxpr, convertible.consts, values)
            return jax.tree.unflatten(jax.tree.structure(shapes), results)

        convert = partial(jax2onnx.to_onnx, model_name=program.run.__name__)
        model = _converted(convert, run, jax.tree.leaves(positional))
    return model.SerializeToString(), program.sizes


def _converted(convert: Callable[..., Any], run: Callable[..., Any], inputs: Sequence[Any]) -> Any:
    """Convert a function by jax2onnx.

    Raises:
        ValidationError: jax2onnx cannot convert it.
    """
    functions = dict(vars(jnp))  # jax2onnx leaves a cumsum of its own there
    try:
        return convert(run, inputs)
    except Exception as error:
        is_size = isinstance(error, jax.errors.InconclusiveDimensionOperation)
        first = re.sub(r"^\[\w+\] ", "", str(error).strip().partition("\n")[0]).rstrip(".")
        wrong = f"jax2onnx cannot convert this: {first}."
        instead = "pass sizes that are numbers" if is_size else "write it as other operations"
        raise ValidationError([Diagnostic(wrong, f"{instead}, or --format stablehlo.")]) from error
    finally:
        jnp.__dict__.update(functions)


class _Inlined(Evaluator):
    """Computes a trace without its calls."""

    enters = frozenset({FlowKind.CALL})


def _by_axes(eqn: JaxprEqn) -> JaxprEqn | None:
    """A call that does what a max pool does, of operations that ONNX Runtime computes."""
    if record_of(eqn).pooling != MAX_POOLING:
        return None
    (image, *_), (pooled, *_) = eqn.invars, eqn.outvars
    traced = jax.make_jaxpr(jax.jit(partial(_pool_by_axes, params=eqn.params)))(
        shape_type(image.aval)
    )
    (call,) = equations(traced.jaxpr, recursive=False)
    return call.replace(invars=[image], outvars=[pooled])


def _pool_by_axes(x: jax.Array, params: Mapping[str, Any]) -> jax.Array:
    """Pool one axis after the other, each in the middle of three axes.

    jax2onnx makes every axis of a pool a spatial one, and ONNX Runtime takes three of these at
    most.
    """
    for axis, size in enumerate(params["window_dimensions"]):
        stride, pads = params["window_strides"][axis], params["padding"][axis]
        dilations = (params["base_dilation"][axis], params["window_dilation"][axis])
        if (size, stride, tuple(pads)) == (1, 1, (0, 0)):
            continue
        before, after = x.shape[:axis], x.shape[axis + 1 :]
        rows = x.reshape(math.prod(before), x.shape[axis], math.prod(after))
        pooled = lax.reduce_window(
            rows,
            -jnp.inf,
            lax.max,
            (1, size, 1),
            (1, stride, 1),
            ((0, 0), pads, (0, 0)),
            base_dilation=(1, dilations[0], 1),
            window_dilation=(1, dilations[1], 1),
        )
        x = pooled.reshape(*before, pooled.shape[1], *after)
    return x
