"""``jaxconv.export``: one program for every size that is proven to be accepted, as StableHLO."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
from flax.errors import TraceContextError

from jaxconv.adapters.call import (
    Call,
    Static,
    is_spec,
    library_contexts,
    read_call,
)
from jaxconv.aot.arguments import array_type
from jaxconv.aot.dimensions import DecidedDimensions, constraints_are
from jaxconv.aot.storage import shape_type
from jaxconv.compat import (
    constrained_dimensions,
    decided_dimensions,
    padding_by_sizes,
    require_dimensions,
    scope_of,
)
from jaxconv.errors import Diagnostic, ValidationError, raise_if, raises_shape_error, shown
from jaxconv.prover.check import completed_call, explore_sizes
from jaxconv.prover.conclude import conclude
from jaxconv.prover.confirm import Region, sample_points
from jaxconv.prover.contract import proofs_of
from jaxconv.prover.explore import Exploration
from jaxconv.prover.returns import dtype_of
from jaxconv.prover.state import State
from jaxconv.source import origin_of_error
from jaxconv.symbolic.constraints import (
    InexpressibleError,
    export_constraints,
    part_of,
    where_text,
)
from jaxconv.symbolic.sets import ONE_AT_A_TIME, SizeSet
from jaxconv.symbolic.size import Size
from jaxconv.symbolic.specs import joined_conditions
from jaxconv.symbolic.trace import Undecided

PLATFORMS = ("cpu", "cuda", "tpu")
KNOWN_PLATFORMS = {*PLATFORMS, "rocm"}
MOST_PROGRAMS = 4  # for different sizes, that a message lists


def export(
    fn: Any,
    *args: Any,
    where: str | None = None,
    platforms: Sequence[str] = PLATFORMS,
    **named: Any,
) -> jax.export.Exported:
    """Export a function or a model as one program for every size that it accepts.

    :func:`jaxconv.check` proves which sizes these are. ``jax.export`` traces the function for all
    of them at once, and asks whether sizes are equal or in order; the proof's decision procedure
    answers. The constraints of the program are the accepted sizes, so that JAX refuses all others.

    Args:
        fn: as for :func:`jaxconv.check`. The parameters of a model are part of the program. Those
            of a model without values (``nnx.eval_shape``, Linen, Haiku) are its first argument.
        *args: its positional arguments, as for :func:`jaxconv.check`. Specs, arrays and
            ``ShapeDtypeStruct`` become arguments of the program, in the same containers; a module,
            or another container than a dict, list or tuple, becomes the list of its arrays, as
            ``jax.tree.leaves`` gives them. Flags and other values become part of the program.
        where: the sizes to export for, such as ``"h >= 32 and w == h"``.
        platforms: those that the program runs on: "cpu", "cuda", "rocm", "tpu".
        **named: its keyword arguments, likewise.

    Returns:
        The program. ``exported.call`` calls it. ``exported.serialize()`` makes bytes of it, from
        which ``jax.export.deserialize`` makes it again, in a process without jaxconv. It returns
        what ``fn`` does; other containers than a dict, list or tuple as the list of their arrays.

    Raises:
        ShapeError: no size is proven to be accepted, the function runs different programs for
            different sizes, or JAX cannot export it; the message has a ``where=`` that works, if
            there is one.
        SpecError: a spec or a condition cannot be read.
        UnsupportedJaxError: the installed JAX differs from what this relies on.

    Example:
        >>> import jax, jaxconv as jc
        >>> halve = lambda x: jc.max_pool(x, 2)
        >>> exported = jc.export(halve, "b h w 3", where="h % 2 == 0")
        >>> exported.out_avals
        (ShapedArray(float32[b,floordiv(h - 2, 2) + 1,floordiv(w - 2, 2) + 1,3]),)
        >>> exported.call(jax.numpy.ones((1, 8, 9, 3))).shape
        (1, 4, 4, 3)
    """
    return export_program(fn, args, named, where, platforms).exported


class ExportedProgram(NamedTuple):
    """A program, and for which sizes it was exported.

    Attributes:
        exported: the program.
        sizes: the sizes.
    """

    exported: jax.export.Exported
    sizes: SizeSet


@raises_shape_error("export")
def export_program(
    fn: Any,
    args: Sequence[Any],
    named: Mapping[str, Any],
    where: str | None,
    platforms: Sequence[str] = PLATFORMS,
) -> ExportedProgram:
    """Do what :func:`export` does, and keep the sizes.

    Args:
        fn: as for :func:`export`.
        args: its positional arguments.
        named: its keyword arguments.
        where: as for :func:`export`.
        platforms: as for :func:`export`.

    Returns:
        The program and the sizes.

    Raises:
        ShapeError: as :func:`export` raises it.
        SpecError: a spec or a condition cannot be read.
    """
    # JAX would refuse other names of platforms in words of its own.
    given = (platforms,) if isinstance(platforms, str) else platforms
    is_listed = isinstance(given, list | tuple) and all(isinstance(one, str) for one in given)
    if not (is_listed and given and set(given) <= KNOWN_PLATFORMS):
        known = ", ".join(sorted(KNOWN_PLATFORMS))
        wrong = f"platforms is {shown(platforms)}, but the platforms are {known}."
        raise ValidationError([Diagnostic(wrong, 'pass platforms=("cpu", "cuda", "tpu").')])
    chosen = tuple(dict.fromkeys(given))
    with proven_program(fn, args, named, where) as program:
        positional, keywords = program.types
        jitted = jax.jit(program.run)
        exported = jax.export.export(jitted, platforms=chosen)(*positional, **keywords)
        program.returned.extend(exported.out_avals)
    return ExportedProgram(exported, program.sizes)


@raises_shape_error("export")
def takes_parameters(fn: Any, args: Sequence[Any], named: Mapping[str, Any]) -> bool:
    """Whether a program has parameters that its function does not name: those of a model.

    Args:
        fn: as for :func:`export`.
        args: its positional arguments.
        named: its keyword arguments.

    Returns:
        True where they are its first argument; False where they are constants, or there are none.

    Raises:
        ShapeError: the arguments cannot be read.
        SpecError: a spec cannot be read.
    """
    call = read_call(fn, args, named, closes_over=True)
    return _lacks_values(fn) if call.complete is None else not call.makes_values


def _lacks_values(fn: Any) -> bool:
    """Whether a model, or what a function is bound to, has parameters without values."""
    parts = (getattr(fn, "__self__", fn), getattr(fn, "args", ()), getattr(fn, "keywords", {}))
    return any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(parts))


@dataclass
class ProvenProgram:
    """A program to be traced for all sizes of a set at once.

    Attributes:
        run: a function of arrays.
        types: its arguments, positional and by keyword, with JAX's symbolic dimensions.
        sizes: the sizes.
        decided: what answers JAX's questions about sizes.
        returned: filled with the types that the trace returns, which are compared with the proof.
    """

    run: "ArrayFunction"
    types: tuple[tuple[Any, ...], dict[str, Any]]
    sizes: SizeSet
    decided: DecidedDimensions
    returned: list[Any] = field(default_factory=list)


@contextlib.contextmanager
def proven_program(
    fn: Any, args: Sequence[Any], named: Mapping[str, Any], where: str | None
) -> Iterator[ProvenProgram]:
    """Prove which sizes a call accepts, and let JAX trace it for all of them.

    Args:
        fn: as for :func:`export`.
        args: its positional arguments.
        named: its keyword arguments.
        where: as for :func:`export`.

    Yields:
        The program; within the context the proof's procedure decides what JAX asks about sizes.

    Raises:
        ValidationError: where :func:`export` raises a ShapeError.
    """
    cases = [] if args else proofs_of(fn, named)  # of its contract or its annotations
    if len(cases) > 1:
        wrong = "the annotations of the function stand for several calls."
        raise ValidationError([Diagnostic(wrong, "pass specs for its arguments.")])
    if cases:
        fn, args, named = cases[0].fn, cases[0].args, {}
        where = joined_conditions(cases[0].where, where)
    exploration = explore_sizes(fn, *args, where=where, joins_programs=False, **named)
    region = _only_region(exploration)
    if region.closed.effects:
        wrong = "the function calls Python while it runs, which a program in a file cannot."
        raise ValidationError([Diagnostic(wrong, "leave out jax.debug.print and other callbacks.")])
    sizes = SizeSet(region.sizes)
    # A model keeps parameters that have values, and takes all others.
    call = read_call(fn, args, named, closes_over=True)
    if call.complete is not None:
        completed = completed_call(call, call.complete, sizes.points).call
        call = read_call(fn, args, named, closes_over=True) if call.makes_values else completed
    elif _lacks_values(fn):
        call = read_call(fn, args, named)
    run = ArrayFunction(call)
    dimensions = _dimensions(sizes)
    decided = DecidedDimensions(sizes, dimensions)
    program = ProvenProgram(run, run.types(dimensions), sizes, decided)
    with _exporting(fn, dimensions, decided):
        yield program
    raise_if(_unproven(program.returned, region, decided))


def _only_region(exploration: Exploration) -> Region:
    """The sizes that are proven to be accepted, if one program serves them all.

    Raises:
        ValidationError: there are none, or several programs.
    """
    regions = exploration.regions[: exploration.proven_regions]
    if len(regions) == 1:
        return regions[0]
    if not regions:
        verdict = conclude(exploration)
        reasons = [*(failure.message for failure in verdict.failures), *verdict.notes]
        wrong = f"no size is proven to be accepted: {' '.join(reasons[:1])}"
        raise ValidationError([Diagnostic(wrong, "jaxconv.check explains each failure.")])
    used = [SizeSet(point) for point in sample_points(exploration.domain)]
    likely = sorted(regions, key=lambda one: -sum(p <= SizeSet(one.sizes) for p in used))
    texts = [text for one in likely if (text := _where(SizeSet(one.sizes)))]
    listed = "; ".join(texts[:MOST_PROGRAMS]) + "; ..." * (len(texts) > MOST_PROGRAMS)
    wrong = (
        f"the function runs {len(regions)} different programs for different sizes, and jax.export "
        f"writes one: {listed}."
    )
    raise ValidationError([Diagnostic(wrong, f'pass where="{texts[0]}", or another of these.')])


def _where(sizes: SizeSet) -> str:
    """A condition for where=; that of a part, where the set has too many cases."""
    try:
        return where_text(sizes)
    except InexpressibleError as error:
        return where_text(error.part)


class ArrayFunction:
    """A call as a function of its arrays alone, in containers that JAX can store."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.__name__ = getattr(call.fn, "__name__", type(call.fn).__name__)
        self._structure = jax.tree.structure(call.arguments, is_leaf=is_spec)

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Call the function.

        Args:
            *args: as :meth:`types` lists them.
            **named: likewise.
        """
        leaves = [*jax.tree.leaves(args), *jax.tree.leaves(named)]
        result = self.call.fn(*jax.tree.unflatten(self._structure, leaves))
        return result if _is_plain(result) else jax.tree.leaves(result)

    def types(self, dimensions: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of the program, positional and by keyword, as shapes.

        Args:
            dimensions: what stands for each name in the specs.
        """

        def of_tree(tree: Any) -> Any:
            leaves = jax.tree.leaves(tree, is_leaf=is_spec)
            arrays = [
                jax.ShapeDtypeStruct(one.shape(dimensions), dtype_of(one))
                if is_spec(one)
                else shape_type(array_type(one))
                for one in leaves
                if not isinstance(one, Static)
            ]
            if not (_is_plain(tree) and arrays):
                return arrays
            remaining = iter(arrays)
            return jax.tree.map(
                lambda one: None if isinstance(one, Static) else next(remaining),
                tree,
                is_leaf=is_spec,
            )

        positional, named = self.call.given
        passed = tuple(of_tree(tree) for tree in positional)
        keywords = {name: of_tree(tree) for name, tree in named.items()}
        return (
            tuple(tree for tree in passed if jax.tree.leaves(tree)),
            {name: tree for name, tree in keywords.items() if jax.tree.leaves(tree)},
        )


def _is_plain(tree: Any) -> bool:
    """Whether a tree has containers only that JAX stores by itself."""
    if type(tree) is dict:
        return all(type(key) is str and _is_plain(tree[key]) for key in tree)
    if type(tree) in (list, tuple):
        return all(map(_is_plain, tree))
    return tree is None or is_spec(tree) or jax.tree_util.all_leaves([tree])


def _dimensions(sizes: SizeSet) -> dict[str, Any]:
    """JAX's dimension for each name, with the sizes as their constraints.

    Raises:
        ValidationError: the constraints of ``jax.export`` do not express the set.
    """
    if not sizes.names:
        return {}
    require_dimensions()
    try:
        constraints = export_constraints(sizes)
        shape = constrained_dimensions(sizes.names, constraints)
        symbolic = [one for one in shape if not isinstance(one, int)]
        if all(constraints_are(sizes, one) for one in symbolic[:1]):
            return dict(zip(sizes.names, shape, strict=True))
        part = part_of(sizes)
    except InexpressibleError as error:
        part = error.part
    except (ValueError, NotImplementedError, Undecided):  # of JAX, and of reading it back
        part = part_of(sizes)
    wrong = f"the constraints of jax.export cannot express the accepted sizes, {sizes}."
    is_part = part != sizes
    fix = f'pass where="{_where(part)}".' if is_part else "pass where= with fewer conditions."
    raise ValidationError([Diagnostic(wrong, fix)])


@contextlib.contextmanager
def _exporting(
    fn: Any, dimensions: Mapping[str, Any], decided: DecidedDimensions
) -> Iterator[None]:
    """Let the proof's procedure decide, restore the state of models, and explain errors."""
    symbolic = [one for one in dimensions.values() if not isinstance(one, int)]
    state = State(fn)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(ONE_AT_A_TIME)
            stack.enter_context(library_contexts())
            stack.enter_context(padding_by_sizes())
            if symbolic:
                stack.enter_context(decided_dimensions(scope_of(symbolic[0]), decided))
            yield
    except TraceContextError as error:
        wrong = f"the function changes a model while it is traced: {error}."
        fix = "call model.eval() first; batch norm and dropout change a model in training."
        raise ValidationError([Diagnostic(wrong, fix)]) from error
    except ValidationError:  # which says what to do
        raise
    except Exception as error:  # of JAX, or of the user's code
        place = str(origin_of_error(error))
        first = str(error).partition("\n")[0].rstrip(".")
        wrong = f"jax.export cannot export this{f' (at {place})' * bool(place)}: {first}."
        fix = "pass where= with fewer sizes, or sizes that are numbers."
        raise ValidationError([Diagnostic(wrong, fix)]) from error
    finally:
        state.restore()


def _unproven(
    returned: Sequence[Any], region: Region, decided: DecidedDimensions
) -> Iterator[Diagnostic]:
    """Compare the program with the proof: what JAX's trace compared, and what it returns."""
    fix = "pass where= with sizes for which the code does one thing."
    for branch in decided.branches[:1]:
        yield Diagnostic(f"the code branches on what is not proven: {branch}.", fix)
    expected = [one for one in jax.tree.leaves(region.shapes) if isinstance(one, int | Size)]
    found = [side for aval in returned for side in aval.shape]
    pairs = zip(found, expected, strict=False)
    if len(found) != len(expected) or not all(decided.is_same(*pair) for pair in pairs):
        shapes = ", ".join(str(aval.shape) for aval in returned)
        yield Diagnostic(f"the program returns {shapes}, which is not what is proven.", fix)
