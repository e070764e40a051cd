"""``jaxconv.compile``: a function compiled ahead of time for inputs of given shapes."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from flax.errors import TraceContextError

from jaxconv.aot import storage
from jaxconv.aot.batching import run_in_groups
from jaxconv.aot.fusion import scheduled, steps
from jaxconv.aot.options import compiler_options
from jaxconv.aot.program import inlined, prepared, retraced
from jaxconv.compat import ClosedJaxpr, Tracer
from jaxconv.errors import Diagnostic, ValidationError, raise_if, raises_shape_error
from jaxconv.jaxpr.interpreter import equations, value_of
from jaxconv.kernels.lowering import swapped
from jaxconv.kernels.schedule import Schedule
from jaxconv.prover.check import refuse_no_call, refuse_no_function
from jaxconv.symbolic.specs import parse_spec


class Inference:
    """A compiled program with its parameters inside. :func:`jaxconv.compile` makes it.

    Attributes:
        inputs: shapes and types of what it takes, a tuple of pytrees.
        outputs: shapes and types of what it returns.
        schedules: how its 3x3 convolutions are computed on a CPU, each with the reason; empty on
            other platforms, and for a program that was loaded.
    """

    def __init__(
        self, program: storage.Program, donate: bool, schedules: Sequence[Schedule] = ()
    ) -> None:
        self._program = program
        self.inputs, self.outputs = program.inputs, program.outputs
        self.schedules = tuple(schedules)
        self._leaves, self._tree = jax.tree.flatten(self.inputs)
        given = _reusable(self.inputs, self.outputs) if donate else ()
        jitted = jax.jit(
            lambda constants, *leaves: program.run(constants, self._tree.unflatten(leaves)),
            compiler_options=compiler_options(),
            donate_argnums=[1 + place for place in given],
        )
        self._run = jitted.lower(program.constants, *self._leaves).compile()

    @raises_shape_error("compile")
    def __call__(self, *args: Any) -> Any:
        """Run the program.

        Args:
            *args: arrays of JAX or NumPy, or numbers, of the shapes and types in ``inputs``.

        Raises:
            ShapeError: arrays of others.
        """
        leaves, tree = jax.tree.flatten(args)
        if tree != self._tree:
            fix = "pass the arguments as they were passed to jaxconv.compile."
            raise_if(
                [Diagnostic(f"it is called with {tree}, but was compiled for {self._tree}.", fix)]
            )
        raise_if(self._unlike(leaves))
        try:
            return self._run(self._program.constants, *leaves)
        except (TypeError, ValueError, RuntimeError):
            raise_if([*_traced_operands(leaves), *self._deleted()])
            raise

    @raises_shape_error("compile")
    def save(self, path: str | Path) -> None:
        """Write the program and its parameters to one file, for this platform.

        What :meth:`load` reads needs neither the function nor its parameters; it is compiled anew,
        for the processor that is there.

        Raises:
            ShapeError: parameters that are gone, since they were donated.
            ProgramError: a program that JAX cannot export, or a file that cannot be written.
        """
        raise_if(self._deleted())
        storage.write(self._program, Path(path))

    @classmethod
    def load(cls, path: str | Path, *, donate: bool = False) -> "Inference":
        """Read what :meth:`save` wrote.

        Args:
            path: of the file.
            donate: as for :func:`jaxconv.compile`.

        Raises:
            ProgramError: a file that is none, is damaged, or was written for another platform.
        """
        return cls(storage.read(Path(path)), donate)

    def _deleted(self) -> Iterator[Diagnostic]:
        if any(constant.is_deleted() for constant in self._program.constants):
            wrong = "parameters of the program were donated or deleted after it was compiled."
            fix = "compile it with a copy of them, jax.tree.map(jax.numpy.copy, params)."
            yield Diagnostic(wrong, fix)

    def _unlike(self, leaves: Sequence[Any]) -> Iterator[Diagnostic]:
        for place, (leaf, want) in enumerate(zip(leaves, self._leaves, strict=True), 1):
            have = _array_type(leaf)
            if have.shape != want.shape or have.dtype != want.dtype:
                wrong = f"array {place} is {_text(have)}, but it was compiled for {_text(want)}."
                yield Diagnostic(
                    wrong, "pass such an array, or compile the function for the other."
                )


@raises_shape_error("compile")
def compile(fn: Callable[..., Any], *args: Any, donate: bool = False) -> Inference:  # noqa: A001
    """Compile a function or a model ahead of time, for inputs of one shape.

    Parameters become part of the program: what depends on them alone is computed once and kept,
    such as 3x3 kernels transformed for Winograd's algorithm, and so are the type and the scale of
    weights. Those that it reads as they are, it shares with the model: where training goes on and
    donates them, compile a copy. On a CPU, 3x3 convolutions are computed by it in any model, with
    the bias, the ReLU and the max pool that follow; on other platforms they are what they were.

    Args:
        fn: a pure function, or a model in evaluation mode: Flax NNX, Equinox; of Linen
            ``functools.partial(model.apply, parameters)``.
        *args: what it takes: arrays, ``jax.ShapeDtypeStruct``, pytrees of them, or specs with
            numbers, such as "8 224 224 3".
        donate: inputs may be overwritten by results of their shape, and are gone after a call.

    Returns:
        The program, to be called as ``fn`` is, with arrays of these shapes and types.

    Raises:
        ShapeError: no function or model, or arguments that it does not take.

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
    refuse_no_function(fn)
    refuse_no_call(fn, args)
    taken = jax.tree.map(_abstract, args)
    closed, outputs = _traced(fn, taken)
    schedules: Sequence[Schedule] = ()
    if jax.default_backend() == "cpu":
        closed = inlined(swapped(closed))
        schedules = [
            found for eqn in equations(closed.jaxpr, recursive=False) if (found := scheduled(eqn))
        ]
        closed = _fast(closed)
    parts, tree = prepared(closed), jax.tree.structure(outputs)

    def run(constants: Any, inputs: Any) -> Any:
        return tree.unflatten(parts.run(constants, jax.tree.leaves(inputs)))

    inputs, outputs = jax.tree.map(storage.shape_type, (taken, outputs))
    program = storage.Program(run, parts.constants, inputs, outputs)
    return Inference(program, donate, schedules)


def _fast(closed: ClosedJaxpr) -> ClosedJaxpr:
    """Trace what computes a function's equations fast."""
    jaxpr = closed.jaxpr
    found = steps(jaxpr)

    def run(consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
        values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))
        run_in_groups(found, jaxpr, values)
        return [value_of(atom, values) for atom in jaxpr.outvars]

    return retraced(closed, run)


def _traced(fn: Callable[..., Any], inputs: Sequence[Any]) -> tuple[ClosedJaxpr, Any]:
    try:
        return jax.make_jaxpr(fn, return_shape=True)(*inputs)
    except TraceContextError as error:
        wrong = f"the function changes a model while it is traced: {error}."
        fix = "call model.eval() first; batch norm and dropout change a model in training."
    except Exception:
        if not _is_abstract(fn):
            raise
        wrong = "the model has shapes where its parameters should be."
        fix = "make it without nnx.eval_shape or jax.eval_shape, or load its weights."
    raise ValidationError([Diagnostic(wrong, fix)])


def _is_abstract(fn: Any) -> bool:
    parts = (getattr(fn, "__self__", fn), getattr(fn, "args", ()), getattr(fn, "keywords", {}))
    return any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(parts))


def _abstract(leaf: Any) -> Any:
    """The type of an argument; that of a number in Python is weak, as in JAX."""
    if not isinstance(leaf, str):
        return _array_type(leaf)
    spec = parse_spec(leaf)
    if spec.names() or any(isinstance(axis, str) for axis in spec.axes):
        wrong = f'the spec "{leaf}" has sizes without a number.'
        raise_if(
            [Diagnostic(wrong, 'pass numbers, such as "1 224 224 3": one program has one shape.')]
        )
    shape = [int(axis.value({})) for axis in spec.axes if not isinstance(axis, str)]
    return _array_type(jax.ShapeDtypeStruct(shape, jax.numpy.dtype(spec.dtype or "float32")))


def _array_type(leaf: Any) -> Any:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.eval_shape(lambda x: x, leaf)
    try:
        return jax.typeof(leaf)
    except TypeError:
        wrong = f"an argument is of type {type(leaf).__name__}, which is no array."
        raise ValidationError(
            [Diagnostic(wrong, "bind it to the function by functools.partial.")]
        ) from None


def _traced_operands(leaves: Sequence[Any]) -> Iterator[Diagnostic]:
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        wrong = "it is called inside jit, grad or vmap, but is a program of its own."
        yield Diagnostic(wrong, "call the function itself there.")


def _reusable(inputs: Any, outputs: Any) -> list[int]:
    """The inputs whose memory a result can take."""
    free = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(outputs)]
    found = []
    for place, leaf in enumerate(jax.tree.leaves(inputs)):
        if (leaf.shape, leaf.dtype) in free:
            free.remove((leaf.shape, leaf.dtype))
            found.append(place)
    return found


def _text(leaf: Any) -> str:
    return f"{tuple(leaf.shape)} {leaf.dtype}"
