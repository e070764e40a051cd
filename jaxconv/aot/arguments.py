"""The function and the arguments that ``jaxconv.compile`` is given."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax.errors import TraceContextError

from jaxconv.compat import ClosedJaxpr
from jaxconv.errors import Diagnostic, ValidationError, raise_if
from jaxconv.symbolic.specs import parse_spec


def trace_function(fn: Callable[..., Any], inputs: Sequence[Any]) -> tuple[ClosedJaxpr, Any]:
    """Trace a function, and explain errors whose cause is the state of a model.

    Args:
        fn: a function or a model.
        inputs: the types of its arguments.

    Returns:
        The trace, and the types of the results.

    Raises:
        ValidationError: a model in training, or one without values of its parameters.
    """
    try:
        return jax.make_jaxpr(fn, return_shape=True)(*inputs)
    except TraceContextError as error:
        wrong = f"the function changes a model while it is traced: {error}."
        fix = "call model.eval() first; batch norm and dropout change a model in training."
    except Exception:
        parts = (getattr(fn, "__self__", fn), getattr(fn, "args", ()), getattr(fn, "keywords", {}))
        if not any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(parts)):
            raise
        wrong = "the parameters of the model are shapes without values."
        fix = "create it without nnx.eval_shape or jax.eval_shape, or load its weights."
    raise ValidationError([Diagnostic(wrong, fix)])


def abstract_argument(leaf: Any) -> Any:
    """Return the type of an argument; that of a number in Python is weak, as in JAX.

    Args:
        leaf: an array, a ``jax.ShapeDtypeStruct`` or a spec such as "1 224 224 3".

    Raises:
        ValidationError: anything else, or a spec with a size that is not a number.
    """
    if not isinstance(leaf, str):
        return array_type(leaf)
    spec = parse_spec(leaf)
    if spec.names() or any(isinstance(axis, str) for axis in spec.axes):
        wrong = f'the spec "{leaf}" has sizes that are not numbers.'
        fix = 'pass numbers, such as "1 224 224 3": a program is compiled for one shape.'
        raise_if([Diagnostic(wrong, fix)])
    shape = [int(axis.value({})) for axis in spec.axes if not isinstance(axis, str)]
    return array_type(jax.ShapeDtypeStruct(shape, jax.numpy.dtype(spec.dtype or "float32")))


def array_type(leaf: Any) -> Any:
    """Return the type of an array.

    Args:
        leaf: an array, a number or a ``jax.ShapeDtypeStruct``.

    Raises:
        ValidationError: anything else.
    """
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.eval_shape(lambda x: x, leaf)
    try:
        return jax.typeof(leaf)
    except Exception:  # what may have been passed is any object
        wrong = f"an argument is of type {type(leaf).__name__}, which is not an array."
        fix = "bind it to the function with functools.partial."
        raise ValidationError([Diagnostic(wrong, fix)]) from None


def donatable(inputs: Any, outputs: Any) -> list[int]:
    """List the positions of the inputs whose memory a result can use.

    Args:
        inputs: a pytree of types.
        outputs: likewise.
    """
    free = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(outputs)]
    donatable = []
    for index, leaf in enumerate(jax.tree.leaves(inputs)):
        if (leaf.shape, leaf.dtype) in free:
            free.remove((leaf.shape, leaf.dtype))
            donatable.append(index)
    return donatable
