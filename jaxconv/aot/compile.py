"""``jaxconv.compile``: a function compiled ahead of time for inputs of given shapes."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.adapters.call import require_arguments, require_callable
from jaxconv.aot import storage
from jaxconv.aot.arguments import (
    Pattern,
    array_type,
    call_to_compile,
    donatable,
    trace_function,
)
from jaxconv.aot.batch_norm import fold_batch_norms
from jaxconv.aot.batching import run_in_groups
from jaxconv.aot.fusion import convolution_schedule, fuse
from jaxconv.aot.options import compiler_options
from jaxconv.aot.program import fold_constants, inline_calls, retrace
from jaxconv.compat import ClosedJaxpr, Tracer, require_supported_jax
from jaxconv.errors import Diagnostic, flag, raise_if, raises_shape_error
from jaxconv.jaxpr.interpreter import equations, value_of
from jaxconv.kernels.lowering import replace_primitives
from jaxconv.kernels.registry import Schedule, ShapeAndDtype


class Inference:
    """A compiled program with its parameters inside, made by :func:`jaxconv.compile`.

    Attributes:
        inputs: shapes and types of the positional arguments, a tuple of pytrees, with None for what
            is not an array.
        named_inputs: those of the keyword arguments, a dict.
        outputs: shapes and types of the results.
        schedules: how each convolution of a supported kind, such as 3x3, is computed on a CPU:
            ``formulation``, a name such as "F(4x4, 3x3)" or "direct", and ``reason``. Empty on
            other platforms, and for a program that was loaded.
    """

    def __init__(
        self,
        program: storage.Program,
        donate: bool,
        schedules: Sequence[Schedule] = (),
        pattern: Pattern | None = None,
    ) -> None:
        self._program = program
        (self.inputs, self.named_inputs), self.outputs = program.inputs, program.outputs
        self.schedules = tuple(schedules)
        self._pattern = pattern or Pattern.of_inputs(program.inputs)
        self._leaves, tree = jax.tree.flatten(program.inputs)
        donated = donatable(program.inputs, self.outputs) if donate else ()
        jitted = jax.jit(
            lambda constants, *leaves: program.run(constants, tree.unflatten(leaves)),
            compiler_options=compiler_options(),
            donate_argnums=[1 + index for index in donated],
        )
        self._run = jitted.lower(program.constants, *self._leaves).compile()

    @raises_shape_error("compile")
    def __call__(self, *args: Any, **named: Any) -> Any:
        """Run the program.

        Args:
            *args: JAX or NumPy arrays, or numbers, of the shapes and types in ``inputs``. What is
                not an array was fixed when the program was compiled: pass the same value, or leave
                it out at the end.
            **named: likewise, of those in ``named_inputs``.

        Returns:
            Arrays of the shapes and types in ``outputs``.

        Raises:
            ShapeError: an array of another shape or type, another flag, a call inside jit, grad or
                vmap, or parameters that were donated.
        """
        leaves = self._pattern.arrays(args, named)
        types = zip(map(array_type, leaves), self._leaves, strict=True)
        raise_if(
            Diagnostic(
                f"array {number} is {_type_text(given)}, but it was compiled for "
                f"{_type_text(expected)}.",
                "pass an array of that shape and type, or compile the function for this one.",
            )
            for number, (given, expected) in enumerate(types, 1)
            if (given.shape, given.dtype) != (expected.shape, expected.dtype)
        )
        try:
            return self._run(self._program.constants, *leaves)
        except (TypeError, ValueError, RuntimeError):
            diagnostics = [*self._deleted_constants()]
            if any(isinstance(leaf, Tracer) for leaf in leaves):
                wrong = "it is called inside jit, grad or vmap, but is a compiled program."
                diagnostics.append(Diagnostic(wrong, "call the original function there."))
            raise_if(diagnostics)
            raise

    @raises_shape_error("compile")
    def save(self, path: str | Path) -> None:
        """Write the program and its parameters to one file, for this platform.

        :meth:`load` needs neither the function nor its parameters. It compiles the program again,
        for the processor that it runs on.

        Args:
            path: of the file; it is replaced as a whole, or not at all.

        Raises:
            ShapeError: parameters that were donated or deleted.
            ProgramError: a program that JAX cannot export, or a file that cannot be written.
        """
        raise_if(self._deleted_constants())
        storage.write_program(self._program, Path(path))

    @classmethod
    def load(cls, path: str | Path, *, donate: bool = False) -> "Inference":
        """Read a file that :meth:`save` wrote.

        Args:
            path: of the file.
            donate: as for :func:`jaxconv.compile`.

        Returns:
            The compiled program.

        Raises:
            ProgramError: the file is not a program, is damaged, or was written for another
                platform.
        """
        return cls(storage.read_program(Path(path)), donate)

    def _deleted_constants(self) -> Iterator[Diagnostic]:
        if any(constant.is_deleted() for constant in self._program.constants):
            wrong = "parameters of the program were donated or deleted after it was compiled."
            fix = "compile it with a copy of them, jax.tree.map(jax.numpy.copy, params)."
            yield Diagnostic(wrong, fix)


def _type_text(aval: ShapeAndDtype) -> str:
    return f"{tuple(aval.shape)} {aval.dtype}"


@raises_shape_error("compile")
def compile(  # noqa: A001
    fn: Callable[..., Any], *args: Any, donate: bool = False, **named: Any
) -> Inference:
    """Compile a function or a model ahead of time, for inputs of one shape.

    Parameters become part of the program. What depends on them alone is computed once and kept:
    kernels transformed for Winograd's algorithm or put together for groups, weights converted to
    another type or scaled. Batch normalisation in evaluation mode becomes part of the convolution
    before it.
    The program shares unchanged parameters with the model; if training continues and donates them,
    compile a copy. On a CPU, Winograd's algorithm computes the 3x3 convolutions of any model,
    together with the bias, the ReLU and the max pool that follow. On other platforms convolutions
    are those of JAX.

    Args:
        fn: a pure function, or a model in evaluation mode: Flax NNX, Equinox or Keras; for Linen
            and Haiku, ``functools.partial(model.apply, parameters)``.
        *args: its positional arguments, as :func:`jaxconv.check` takes them: specs with numbers,
            such as "8 224 224 3", arrays, ``jax.ShapeDtypeStruct``, pytrees of them, and flags and
            other values, which become part of the program.
        donate: results may overwrite inputs of the same shape, which are deleted by a call.
        **named: its keyword arguments, likewise, such as ``train=False``.

    Returns:
        The program. Call it as ``fn`` is called, with arrays of these shapes and types.

    Raises:
        ShapeError: ``fn`` is not a function or a model, or does not take the arguments.

    Example:
        >>> import jax, jaxconv as jc
        >>> from flax import nnx
        >>> model = jc.VGG([(16, 16), (32,)], head=None, rngs=nnx.Rngs(0))
        >>> infer = jc.compile(model, "1 32 32 3")
        >>> infer(jax.numpy.ones((1, 32, 32, 3))).shape
        (1, 8, 8, 32)
        >>> [schedule.formulation for schedule in infer.schedules]
        ['direct', 'F(2x2, 3x3)', 'F(2x2, 3x3)']
    """
    require_supported_jax()
    donate = flag("donate", donate)
    require_callable(fn)
    require_arguments(fn, args, named)
    call = call_to_compile(fn, args, named)
    closed, outputs = trace_function(fn, call)
    schedules: Sequence[Schedule] = ()
    if jax.default_backend() == "cpu":
        closed = inline_calls(replace_primitives(closed))
        chosen = map(convolution_schedule, equations(closed.jaxpr, recursive=False))
        schedules = [schedule for schedule in chosen if schedule]
        scaled = fold_batch_norms(closed)
        folded = fold_constants(_fused(scaled))
        # A factor that is not finite, or that makes filters too large, is applied to results only.
        floats = (c for c in folded.constants if jnp.issubdtype(c.dtype, jnp.floating))
        is_finite = all(np.isfinite(np.asarray(constant)).all() for constant in floats)
        if scaled is not closed and not is_finite:
            folded = fold_constants(_fused(closed))
    else:
        folded = fold_constants(closed)
    tree = jax.tree.structure(outputs)

    def run(constants: Any, inputs: Any) -> Any:
        return tree.unflatten(folded.run(constants, jax.tree.leaves(inputs)))

    pattern = Pattern(*call.given)
    inputs, outputs = jax.tree.map(storage.shape_type, (pattern.inputs(), outputs))
    program = storage.Program(run, folded.constants, inputs, outputs)
    return Inference(program, donate, schedules, pattern)


def _fused(closed: ClosedJaxpr) -> ClosedJaxpr:
    """Trace the equations again, with convolutions fused and images in groups."""
    jaxpr = closed.jaxpr
    instructions = fuse(jaxpr)

    def run(consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
        environment = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))
        run_in_groups(instructions, jaxpr, environment)
        return [value_of(atom, environment) for atom in jaxpr.outvars]

    return retrace(closed, run)
