"""What the neurons of a result see, one rule for each primitive of JAX."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from jax import lax

from jaxconv.jaxpr.axis_field import (
    FAR,
    AxisField,
    Field,
    Fields,
    PeriodicPattern,
    covers,
    joined,
)
from jaxconv.jaxpr.equation import Step
from jaxconv.jaxpr.interpreter import IN_PLACE
from jaxconv.symbolic.size import Undecided


def _convolution(step: Step) -> Field:
    numbers = step.params["dimension_numbers"]
    groups, batches = (
        step.home.substitute(step.params[f"{name}_group_count"]) for name in ("feature", "batch")
    )
    if not _is(batches, 1):
        return step.anything()
    (taps, shape), out = step.shapes[1::-1], step.out()
    here = {axis: place for place, axis in enumerate(numbers.lhs_spec[2:])}
    names = ("window_strides", "rhs_dilation", "lhs_dilation")
    strides, dilations, holes = map(step.size, names)
    lows = [step.home.substitute(low) for low, _ in step.params["padding"]]

    def change(axis_field: AxisField, axis: int) -> AxisField:
        if axis == numbers.lhs_spec[0]:
            return axis_field.move(numbers.out_spec[0])
        if axis not in here:
            return axis_field.collapse(shape[axis], exact=_is(groups, 1))
        place = here[axis]
        there = numbers.out_spec[2 + place]
        window = (taps[numbers.rhs_spec[2 + place]], strides[place], dilations[place], lows[place])
        return axis_field.dilate(holes[place]).window(out[there], *window).move(there)

    found = step.mapped(change)
    solid = _has_no_zero(step, step.eqn.invars[1])
    return found if solid else tuple(map(AxisField.loose, found))


def _pool(step: Step) -> Field:
    out = step.out()
    names = ("window_dimensions", "window_strides", "window_dilation", "base_dilation")
    sizes = [step.size(name) for name in names]
    lows = [step.home.substitute(low) for low, _ in step.params["padding"]]

    def change(axis_field: AxisField, axis: int) -> AxisField:
        taps, stride, dilation, holes = (size[axis] for size in sizes)
        return axis_field.dilate(holes).window(out[axis], taps, stride, dilation, lows[axis])

    return step.mapped(change)


def _reduced(step: Step) -> Field:
    gone, shape = set(step.axes("axes")), step.shapes[0]

    def change(axis_field: AxisField, axis: int) -> AxisField:
        if axis in gone:
            return axis_field.collapse(shape[axis])
        return axis_field.move(axis - sum(other < axis for other in gone))

    return step.mapped(change)


def _squeezed(step: Step) -> Field:
    gone, shape = set(step.axes("dimensions")), step.shapes[0]

    def change(axis_field: AxisField, axis: int) -> AxisField:
        kept = axis_field.move(axis - sum(other < axis for other in gone))
        return axis_field.collapse(shape[axis]) if axis in gone else kept

    return step.mapped(change)


def _broadcast(step: Step) -> Field:
    there, shape, out = step.axes("broadcast_dimensions"), step.shapes[0], step.out()

    def change(axis_field: AxisField, axis: int) -> AxisField:
        grows = _is(shape[axis], 1) and not _is(out[there[axis]], 1)
        return axis_field.collapse(1) if grows else axis_field.move(there[axis])

    return step.mapped(change)


def _transposed(step: Step) -> Field:
    order = step.axes("permutation")
    return step.mapped(lambda axis_field, axis: axis_field.move(order.index(axis)))


def _reversed(step: Step) -> Field:
    turned, shape = step.axes("dimensions"), step.shapes[0]

    def change(axis_field: AxisField, axis: int) -> AxisField:
        n = shape[axis]
        return axis_field.window(n, 1, -1, 1, 1 - n) if axis in turned else axis_field

    return step.mapped(change)


def _sliced(step: Step) -> Field:
    out, begins = step.out(), step.size("start_indices")
    strides = step.size("strides") if step.params["strides"] else [1] * len(begins)

    def change(axis_field: AxisField, axis: int) -> AxisField:
        return axis_field.window(out[axis], 1, strides[axis], 1, -begins[axis])

    return step.mapped(change)


def _dynamically_sliced(step: Step) -> Field:
    """Where it begins may be a constant; it is moved so that the slice fits."""
    out, shape = step.out(), step.shapes[0]
    if any(step.fields[1:]):
        return step.anything()
    begins = [step.constant(atom) for atom in step.eqn.invars[1:]]

    def change(axis_field: AxisField, axis: int) -> AxisField:
        if _is(out[axis], shape[axis]):
            return axis_field
        begin = begins[axis]
        if begin is None or not isinstance(shape[axis], int):
            return axis_field.collapse(shape[axis], exact=False)
        first = int(np.clip(int(begin()), 0, shape[axis] - out[axis]))
        return axis_field.window(out[axis], 1, 1, 1, -first)

    return step.mapped(change)


def _padded(step: Step) -> Field:
    out = step.out()
    sizes = [tuple(map(step.home.substitute, widths)) for widths in step.params["padding_config"]]
    if step.fields[1] is not None:
        return step.anything()

    def change(axis_field: AxisField, axis: int) -> AxisField:
        low, _, holes = sizes[axis]
        return axis_field.dilate(holes + 1).window(out[axis], 1, 1, 1, low)

    found = step.mapped(change)
    pixels = {axis_field.axis for axis_field in found}
    padded = [a for a, widths in enumerate(sizes) if not all(_is(n, 0) for n in widths)]
    channels = [a for a in padded if a not in pixels]
    return tuple(axis_field.mix(*channels) for axis_field in found)


def _concatenated(step: Step) -> Field:
    """Along pixels the parts stand one behind the other; else each neuron may be of any part.

    A part that is constant sees nothing, which its place among the pixels tells already.
    """
    along, out = int(step.params["dimension"]), step.out()
    sizes = [shape[along] for shape in step.shapes]
    parts = [step.fields[index] for index in step.seeing()]
    told = any(axis_field.axis == along for part in parts for axis_field in part or ())
    found = []
    for axis_fields in zip(*(part for part in parts if part), strict=True):
        if any(axis_field.axis == along for axis_field in axis_fields):
            inner = iter(axis_fields)
            found.append(_chained([field and next(inner) for field in step.fields], sizes, along))
        else:
            (axis_field,) = joined([(axis_field,) for axis_field in axis_fields], out)
            alike = (told or len(parts) == len(sizes)) and all(
                map(axis_fields[0].same, axis_fields)
            )
            found.append(axis_field if alike else axis_field.mix(along))
    return tuple(found)


def _chained(parts: Sequence[Any], sizes: Sequence[Any], along: int) -> AxisField:
    """One part behind the other; the pattern is that of the longest.

    So it is in a map that is padded with its own numbers.
    """
    exact = all(part is None or (part.exact and part.axis in (None, along)) for part in parts)
    ends = [_ends_of(part, size, along) for part, size in zip(parts, sizes, strict=True)]
    joint = None
    if all(one is not None for one in ends):
        firsts, behind = zip(*ends, strict=True)
        joint = np.concatenate(firsts), np.concatenate(behind)
    seeing = [part for part in parts if part is not None]
    everywhere = len(seeing) == 1 and seeing[0].everywhere
    found = AxisField(along, _longest(parts, sizes, along), joint, exact, everywhere=everywhere)
    return found.mix(*(part.mixed for part in seeing))


def _longest(parts: Sequence[Any], sizes: Sequence[Any], along: int) -> PeriodicPattern | None:
    """The pattern of the longest part; None where it is not decided which one that is."""
    places = zip(parts, sizes, itertools.accumulate(sizes, initial=0), strict=False)
    spans = [
        (size, replace(part, ends=None).window(size, 1, 1, 1, begin).span)
        for part, size, begin in places
        if part is not None and part.axis == along
    ]
    try:
        return max(spans, key=lambda pair: pair[0])[1]
    except Undecided:
        return None


def _ends_of(part: AxisField | None, size: Any, along: int) -> Any:
    if not isinstance(size, int):
        return None
    if part is None:
        return np.full(size, FAR), np.full(size, -FAR)
    if part.axis != along and part.ends is not None:
        return np.full(size, part.ends[0].min()), np.full(size, part.ends[1].max())
    return part.ends


def _is(size: Any, other: Any) -> bool:
    """Whether two sizes are known to be equal."""
    try:
        return bool(size == other)
    except Undecided:
        return False


def _reshaped(step: Step) -> Field:
    shape, out = step.shapes[0], step.out()
    if step.params["dimensions"] is not None:
        return step.anything()
    blocks = list(_blocks(shape, out))

    def change(axis_field: AxisField, axis: int) -> AxisField:
        ins, outs = next((b for b in blocks if axis in b[0]), ([axis], []))
        ins, outs = (
            [a for a in axes if not _is(sizes[a], 1)] for axes, sizes in ((ins, shape), (outs, out))
        )
        if axis not in ins:
            return axis_field.collapse(1)
        if len(outs) == 1:
            outer, inner = ins[: ins.index(axis)], ins[ins.index(axis) + 1 :]
            before, after = (prod(shape[a] for a in axes) for axes in (outer, inner))
            return _merged(axis_field, shape[axis], before, after).move(outs[0])
        if len(ins) == 1 and outs:  # what the axes inside say more is left open
            inner = prod(out[a] for a in outs[1:])
            return replace(axis_field.window(out[outs[0]], inner, inner), exact=False).move(outs[0])
        return axis_field.collapse(shape[axis], exact=False)

    return step.mapped(change)


def _merged(axis_field: AxisField, size: Any, before: Any, after: Any) -> AxisField:
    """Have an axis of some size between ``before`` outer and ``after`` inner places."""
    inner = axis_field if _is(after, 1) else axis_field.repeat(after)
    return inner if _is(before, 1) else inner.tile(size * after, before)


def _blocks(ins: Sequence[Any], outs: Sequence[Any]) -> Iterator[tuple[list[int], list[int]]]:
    """Axes before and after a reshape that hold the same numbers, the smallest groups first."""
    i = j = 0
    while i < len(ins) and j < len(outs):
        counts = itertools.product(range(1, len(ins) - i + 1), range(1, len(outs) - j + 1))
        sized = (
            (a, b) for a, b in sorted(counts, key=sum) if _equal(ins[i : i + a], outs[j : j + b])
        )
        a, b = next(sized, (len(ins) - i, len(outs) - j))
        yield [*range(i, i + a)], [*range(j, j + b)]
        i, j = i + a, j + b


def _equal(some: Sequence[Any], others: Sequence[Any]) -> bool:
    return _is(prod(some), prod(others))


def _product(step: Step) -> Field:
    return joined([_factor(step, index) for index in step.seeing()], step.out())


def _factor(step: Step, index: int) -> Field:
    """One operand of a matrix product, moved to where the result has its axes."""
    contracted, batch = (axes[index] for axes in step.params["dimension_numbers"])
    free = [_free(step, operand) for operand in (0, 1)]
    shape, begin = step.shapes[index], len(batch) + index * len(free[0])
    solid = _has_no_zero(step, step.eqn.invars[1 - index])

    def change(axis_field: AxisField, axis: int) -> AxisField:
        if axis in batch:
            return axis_field.move(batch.index(axis))
        if axis in free[index]:
            return axis_field.move(begin + free[index].index(axis))
        table = _table(step, 1 - index) if len(contracted) == 1 else None
        if table is None:
            return axis_field.collapse(shape[axis], exact=solid)
        return axis_field.reads(table).move(len(batch) + (1 - index) * len(free[0]))

    return step.moved(index, change)


def _free(step: Step, index: int) -> list[int]:
    contracted, batch = (axes[index] for axes in step.params["dimension_numbers"])
    taken = {*contracted, *batch}
    return [axis for axis in range(len(step.shapes[index])) if axis not in taken]


def _selected(step: Step) -> Field:
    """Where it is not the image that chooses, a neuron sees one case only, as behind a mask."""
    which, *cases = step.fields
    seen = [case for case in cases if case is not None]
    alike = all(_alike([seen[0]], [case]) for case in seen[1:]) if seen else True
    mask = step.is_constant(step.eqn.invars[0]) and step.shapes[0]
    sure = which is not None or (alike and (len(seen) == len(cases) or not mask))
    return step.joined() if sure else tuple(map(AxisField.loose, step.joined()))


def _multiplied(step: Step) -> Field:
    """A constant lets nothing through where it is 0."""
    whole = all(_has_no_zero(step, atom) for atom in step.eqn.invars)
    return step.joined() if whole else tuple(map(AxisField.loose, step.joined()))


def _has_no_zero(step: Step, atom: Any) -> bool:
    """Whether an operand is weights, which count as any numbers, or a constant without zeros."""
    compute = step.constant(atom)
    if compute is None:
        return not step.is_constant(atom)
    return bool(np.all(np.asarray(compute()) != 0))


def _table(step: Step, index: int) -> np.ndarray | None:
    """Which numbers of a constant matrix are not 0: (free, contracted); None if it is none.

    An image is resized by such a product.
    """
    compute, free = step.constant(step.eqn.invars[index]), _free(step, index)
    if compute is None or len(step.shapes[index]) != 2 or len(free) != 1:
        return None
    matrix = np.asarray(compute()) != 0
    return matrix if free[0] == 0 else matrix.T


def _gathered(step: Step) -> Field:
    numbers, shape, out = step.params["dimension_numbers"], step.shapes[0], step.out()
    gone = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    kept = [axis for axis in range(len(shape)) if axis not in gone]
    slices = step.size("slice_sizes")
    clipped = step.params["mode"] == lax.GatherScatterMode.CLIP  # else they read nothing

    def change(axis_field: AxisField, axis: int) -> AxisField:
        if axis in kept:
            begin = _begin(step, axis, shape[axis] - slices[axis])
            if begin is None:
                return axis_field.collapse(shape[axis], exact=False)
            there = int(numbers.offset_dims[kept.index(axis)])
            return axis_field.window(slices[axis], 1, 1, 1, -begin).move(there)
        found = _indices(step, axis) if axis not in numbers.operand_batching_dims else None
        if found is None or not isinstance(shape[axis], int):
            return axis_field.collapse(shape[axis], exact=False)
        along, places = found
        there = [a for a in range(len(out)) if a not in numbers.offset_dims][along]
        inside = places.clip(0, shape[axis] - 1)
        read = axis_field.take(inside).move(there)
        return read if clipped or (places == inside).all() else read.loose()

    return step.mapped(change)


def _begins(step: Step, axis: int) -> np.ndarray | None:
    """Where the slices begin along an axis; None if not known."""
    order = step.params["dimension_numbers"].start_index_map
    compute = step.constant(step.eqn.invars[1])
    if axis not in order:
        return np.zeros(1, int)
    return None if compute is None else np.asarray(compute())[..., order.index(axis)]


def _begin(step: Step, axis: int, room: Any) -> int | None:
    """Where all slices begin along an axis; None if not known, or if not all are inside."""
    if _is(room, 0):
        return 0
    begins = _begins(step, axis)
    if begins is None or not begins.size or (begins != begins.flat[0]).any():
        return None
    begin = int(begins.flat[0])
    return begin if begin >= 0 and covers(room, begin) else None


def _indices(step: Step, axis: int) -> tuple[int, np.ndarray] | None:
    """Along which axis of the indices an axis is looked up, and where; None if not known."""
    places = _begins(step, axis)
    if places is None or axis not in step.params["dimension_numbers"].start_index_map:
        return None
    for along in range(places.ndim):
        line = np.moveaxis(places, along, -1)
        if (line == line[(0,) * (places.ndim - 1)]).all():
            return along, line[(0,) * (places.ndim - 1)]
    return None


def _accumulated(step: Step) -> Field:
    shape, along, backwards = step.shapes[0], step.params["axis"], step.params["reverse"]

    def change(axis_field: AxisField, axis: int) -> AxisField:
        if axis != along:
            return axis_field
        if axis_field.ends is None:
            return axis_field.collapse(shape[axis], exact=False)
        return axis_field.accumulate(backwards)

    return step.mapped(change)


def _split(step: Step) -> Fields:
    along, begin, found = step.params["axis"], 0, []
    for index, size in enumerate(step.size("sizes")):
        part = functools.partial(_part, along=along, size=size, low=-begin)
        found.append(step.mapped(part, index))
        begin = begin + size
    return found


def _part(axis_field: AxisField, axis: int, along: int, size: Any, low: Any) -> AxisField:
    return axis_field.window(size, 1, 1, 1, low) if axis == along else axis_field


def _alike(some: Fields, others: Fields) -> bool:
    """Whether maps see the same."""
    return all(
        a is b or (a is not None and b is not None and all(map(AxisField.same, a, b)))
        for a, b in zip(some, others, strict=True)
    )


def _sorted(step: Step) -> Field:
    """Along one axis any number may come to any place."""
    shape, name = step.shapes[0], step.eqn.primitive.name
    along = step.params["dimension" if name == "sort" else "axis"] % len(shape)
    found = (
        tuple(r.collapse(shape[along], exact=False) if r.axis == along else r for r in field)
        for field in step.fields
        if field is not None
    )
    return joined([*found], shape)


SEVERAL: dict[str, Callable[[Step], Fields]] = {
    "split": _split,
    "optimization_barrier": lambda step: step.fields,
}
RULES: dict[str, Callable[[Step], Field]] = {
    "conv_general_dilated": _convolution,
    "select_n": _selected,
    **dict.fromkeys(("mul", "and"), _multiplied),
    "dot_general": _product,
    "reshape": _reshaped,
    "broadcast_in_dim": _broadcast,
    "transpose": _transposed,
    "squeeze": _squeezed,
    "rev": _reversed,
    "slice": _sliced,
    "dynamic_slice": _dynamically_sliced,
    "pad": _padded,
    "concatenate": _concatenated,
    "gather": _gathered,
    "sort": _sorted,
    **dict.fromkeys("cumsum cumprod cummax cummin cumlogsumexp".split(), _accumulated),  # noqa: SIM905
    **dict.fromkeys(
        """reduce_window reduce_window_max reduce_window_min reduce_window_sum""".split(),  # noqa: SIM905
        _pool,
    ),
    **dict.fromkeys(
        """reduce_sum reduce_max reduce_min reduce_prod reduce_and reduce_or reduce_xor argmax
        argmin""".split(),  # noqa: SIM905
        _reduced,
    ),
}
ELEMENTWISE = IN_PLACE | frozenset(
    """acos acosh and asin asinh atan atan2 atanh cbrt ceil cos cosh digamma eq erf_inv erfc exp2
    expm1 floor ge gt imag is_finite le lgamma log1p lt ne nextafter not or pow real
    reduce_precision rem round sharding_constraint shift_left shift_right_arithmetic
    shift_right_logical sin sinh tan xor""".split()  # noqa: SIM905
)
