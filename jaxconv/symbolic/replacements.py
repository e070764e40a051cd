"""Functions of JAX that refuse symbolic sizes, though the shapes of their results are formulas.

Each replacement computes an array of the same shape and type, by other operations: what is traced
with symbolic sizes is never run. For all arguments without sizes it is the function itself.
"""

import contextlib
import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import islpy as isl
import numpy as np

from jaxconv.compat import names_of_primitives, replaced
from jaxconv.symbolic.domains import sizes
from jaxconv.symbolic.loops import rows
from jaxconv.symbolic.masks import parsed_indices
from jaxconv.symbolic.real import INTEGERS, Symbolic, SymbolicInt
from jaxconv.symbolic.size import Size, at_least_one, equal, larger
from jaxconv.symbolic.trace import SymbolicTrace, Undecided


def _has_sizes(values: Sequence[Any]) -> bool:
    return any(isinstance(value, SymbolicInt) for value in values)


def _index(original: Callable[..., Any], indices: Any) -> tuple[Any, ...]:
    """Let ``x[i]`` and ``x.at[i]`` take a size: JAX tells the kind of an index by its type."""
    return tuple(i.__jax_array__() if isinstance(i, SymbolicInt) else i for i in original(indices))


def _concrete(original: Callable[..., Any], force: Any, value: Any, context: str = "") -> Any:
    """Let a size stand where JAX converts a number to an int: ``jnp.hanning(h)``."""
    if isinstance(value, SymbolicInt) and force in (int, operator.index):
        return value
    return original(force, value, context)


def _constant_like(original: Callable[..., Any], example: Any, value: Any) -> Any:
    """Let a size be a constant: ``lax.psum(1, "i")``, which is the number of elements."""
    return value if isinstance(value, Symbolic) else original(example, value)


def _shuffle(original: Callable[..., Any], key: Any, x: Any, axis: int) -> Any:
    """Sort by random numbers once; JAX does so several times, more often for more elements."""
    if not _has_sizes(x.shape):
        return original(key, x, axis)
    from jax import lax, random

    return lax.sort_key_val(random.bits(key, x.shape), x, axis)[1]


def _pad_repeated(
    original: Callable[..., Any], array: Any, widths: Sequence[Any], *options: Any
) -> Any:
    """Pad by any width; for numbers JAX repeats the array as often as the width needs.

    Which pixels it repeats depends on the size of the array. Here, any of them may be padding.
    """
    padded = [
        (n, *pair) for n, pair in zip(array.shape, widths, strict=True) if tuple(pair) != (0, 0)
    ]
    if not any(map(_has_sizes, padded)) or any(n == 0 for n, *_ in padded):
        return original(array, widths, *options)
    from jax import lax

    for axis, pair in enumerate(widths):
        if tuple(pair) != (0, 0):
            some = lax.expand_dims(array.max(axis), (axis,))
            low, high = (
                lax.broadcast_in_dim(
                    some, (*array.shape[:axis], n, *array.shape[axis + 1 :]), range(array.ndim)
                )
                for n in pair
            )
            array = lax.concatenate([low, array, high], axis)
    return array


def _arange(
    original: Callable[..., Any],
    start: Any,
    stop: Any = None,
    step: Any = None,
    dtype: Any = None,
    **options: Any,
) -> Any:
    """Count in floats that are computed from sizes, as ``jnp.arange(0.5, h)`` does."""
    numbers = [x for x in (start, stop, step) if x is not None]
    has_floats = not all(isinstance(x, INTEGERS) for x in numbers)
    if not (has_floats and any(isinstance(x, Symbolic) for x in numbers)):
        return original(start, stop, step, dtype, **options)
    from jax import numpy

    distance = start if stop is None else stop - start
    count = larger(0, math.ceil(distance if step is None else distance / step))
    likes = (x.stands_for(1) if isinstance(x, Symbolic) else x for x in numbers)
    return original(count, dtype=dtype or numpy.result_type(*likes), **options)


class _Sections(Sequence[Any]):
    """The sections of an array: as many as a size, and all alike."""

    def __init__(self, array: Any, count: Any, width: Any, axis: int) -> None:
        self._array, self._count, self._width, self._axis = array, count, width, axis

    def __len__(self) -> int:
        return operator.index(self._count)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, (slice, SymbolicInt)):
            sections = [self[i] for i in range(len(self))]
            return sections[index if isinstance(index, slice) else index.number()]
        if not -self._count <= index < self._count:
            raise IndexError("list index out of range")
        from jax import lax

        start = (index if index >= 0 else self._count + index) * self._width
        return lax.slice_in_dim(self._array, start, start + self._width, axis=self._axis)


def _split(
    original: Callable[..., Any], name: str, array: Any, sections: Any, axis: int = 0
) -> Any:
    """Split into a symbolic number of sections, or at symbolic places."""
    size = array.shape[axis]
    if name == "split" and isinstance(sections, SymbolicInt):
        width, rest = divmod(size, sections)
        if rest != 0:
            raise ValueError(f"array split does not result in an equal division: rest is {rest}")
        return _Sections(array, sections, width, axis)
    if not (isinstance(sections, tuple | list) and _has_sizes((size, *sections)) and _clips()):
        return original(name, array, sections, axis)
    from jax import lax

    cuts = [-larger(-size, -larger(0, cut + size if cut < 0 else cut)) for cut in sections]
    widths = [stop - start for start, stop in itertools.pairwise((0, *cuts, size))]
    return [*lax.split(array, widths, axis=axis)]


@functools.cache
def _clips() -> bool:
    """Whether this version of JAX moves places that are beyond an array to its end."""
    import jax

    try:
        jax.eval_shape(lambda x: jax.numpy.split(x, [2]), jax.ShapeDtypeStruct((1,), np.float32))
    except (TypeError, ValueError):
        return False
    return True


# Operations whose results may be empty where they are only put beside others.
OF_EMPTY_PIECES = frozenset(
    ("add", "broadcast_in_dim", "convert_element_type", "mul", "neg", "sub")
)


def _associative_scan(
    original: Callable[..., Any], fn: Any, elems: Any, reverse: bool = False, axis: int = 0
) -> Any:
    """Scan a symbolic number of elements, which keeps the shapes where the function does.

    JAX calls the function for ever fewer elements. It is traced once for any number of them, and
    may not ask how many they are.
    """
    import jax

    leaves = jax.tree.leaves(elems)
    count = leaves[0].shape[axis] if leaves and leaves[0].ndim else 0
    if not isinstance(count, SymbolicInt) or not _keeps_any_count(fn, elems, axis):
        return original(fn, elems, reverse=reverse, axis=axis)
    if any(leaf.shape[axis] != count for leaf in leaves):
        raise ValueError("Array inputs to associative_scan must have the same first dimension.")
    return jax.tree.map(jax.lax.optimization_barrier, elems)


def _keeps_any_count(fn: Any, elems: Any, axis: int) -> bool:
    """Whether a function of two arrays keeps their shapes, for any number of their elements."""
    import jax

    (count,) = sizes("elements")

    def with_any_count(x: Any) -> Any:
        shape = [*x.shape]
        shape[axis] = count
        return jax.ShapeDtypeStruct(tuple(shape), x.dtype)

    parts = jax.tree.map(with_any_count, elems)
    try:
        closed, result = jax.make_jaxpr(fn, return_shape=True)(parts, parts)
        same = jax.tree.map(lambda a, b: a.shape == b.shape and a.dtype == b.dtype, result, parts)
    except Exception:
        return False
    trace = count.trace
    if not names_of_primitives(closed) <= OF_EMPTY_PIECES:
        return False  # for some counts JAX calls it for no elements, which is an empty map
    return all(jax.tree.leaves(same)) and not (trace.deferred or trace.unknowns or trace.unanswered)


class _Operand(NamedTuple):
    """What the planning of an einsum reads of an array."""

    shape: tuple[Any, ...]
    dtype: Any


def _contraction_order(
    original: Callable[..., Any], *operands: Any, **options: Any
) -> tuple[list[Any], Any]:
    """Plan an einsum. JAX takes the number 8 for a size, which does not match one of the others."""
    from opt_einsum.parser import parse_einsum_input

    arrays = {i: x for i, x in enumerate(operands) if hasattr(x, "dtype")}
    shapes = [x.shape if i in arrays else x for i, x in enumerate(operands)]
    labels = parse_einsum_input(shapes, shapes=True)[0].split(",")
    sides = [
        [*zip(text, x.shape, strict=False)] for text, x in zip(labels, arrays.values(), strict=True)
    ]
    known = {name: n for side in sides for name, n in side if isinstance(n, int) and n != 1}
    planned = list(operands)
    for i, side in zip(arrays, sides, strict=True):
        shape = (n if isinstance(n, int) else known.get(name, n) for name, n in side)
        planned[i] = _Operand(tuple(shape), operands[i].dtype)
    of_plan = {id(plan): x for plan, x in zip(planned, operands, strict=True)}
    ordered, contractions = original(*planned, **options)
    return [of_plan[id(plan)] for plan in ordered], contractions


def _broadcast(original: Callable[..., Any], *shapes: Sequence[Any], **options: Any) -> Any:
    """Broadcast sides that are equal, or 1, for a part of the sizes.

    Whether all sides of some arrays fit is one question about the sizes. JAX, which asks about each
    side on its own, would need a trace for each combination of the answers.
    """
    try:
        return original(*shapes, **options)
    except TypeError:
        sides = [side for shape in shapes for side in shape]
        trace = next((side.trace for side in sides if isinstance(side, Size)), None)
        if (
            trace is None
            or not (trace.searching and trace.joins_programs)
            or len({*map(len, shapes)}) > 1
            or not all(isinstance(side, int | Size) for side in sides)
            or not _fit(trace, axes := [*zip(*shapes, strict=True)])
        ):
            raise
    return tuple(functools.reduce(larger, axis) for axis in axes)


def _fit(trace: SymbolicTrace, axes: Sequence[Sequence[Any]]) -> bool:
    """Whether the sides of each axis are equal, or 1; False where this is not decided.

    Sides of 0, for which some map was empty before, are told apart.
    """

    def hold(conditions: Sequence[isl.Set]) -> bool:
        every = functools.reduce(isl.Set.intersect, conditions, trace.domain)
        return trace.settle(every.coalesce())

    try:
        positive = [at_least_one(trace, side) for axis in axes for side in axis]
        alike = [
            equal(trace, a, b).union(equal(trace, a, 1)).union(equal(trace, b, 1))
            for axis in axes
            for a, b in itertools.combinations(axis, 2)
        ]
    except Undecided:
        return False
    if not hold(positive):
        return False
    fits = hold(alike)
    if not fits:
        trace.forget_equalities()
    return fits


REPLACEMENTS: dict[str, Callable[..., Any]] = {
    "arange": _arange,
    "associative_scan": _associative_scan,
    "broadcast": _broadcast,
    "contraction_order": _contraction_order,
    "concrete_or_error": _concrete,
    "constant_like": _constant_like,
    "eliminate_deprecated_list_indexing": _index,
    "iterate": rows,
    "parse_indices": parsed_indices,
    "pad_reflected": _pad_repeated,
    "pad_wrapped": _pad_repeated,
    "shuffle": _shuffle,
    "split": _split,
}


@contextlib.contextmanager
def functions_that_take_sizes() -> Iterator[None]:
    """Replace functions of JAX by ones that take symbolic sizes."""
    with contextlib.ExitStack() as stack:
        for name, replacement in REPLACEMENTS.items():
            stack.enter_context(replaced(name, replacement))
        yield
