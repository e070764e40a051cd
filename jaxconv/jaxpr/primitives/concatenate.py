"""``concatenate`` and ``split``: all that jaxconv knows about them."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jaxconv.jaxpr.axis_field import NO_PIXEL, AxisField, Bounds, Field, Fields, join_fields
from jaxconv.jaxpr.equation import EquationContext
from jaxconv.jaxpr.periodic_pattern import PeriodicPattern
from jaxconv.jaxpr.primitives.registry import PrimitiveRecord, register
from jaxconv.symbolic.size import Undecided

Parts = Sequence[AxisField | None]  # None sees nothing of the image


def _concatenated(context: EquationContext) -> Field:
    """Along pixels the parts follow each other; along channels a neuron may be of any part.

    A constant part sees nothing, which the bounds along pixels show already.
    """
    along, shape = int(context.params["dimension"]), context.result_shape()
    sizes = [part[along] for part in context.shapes]
    fields = [field for field in context.fields if field is not None]
    along_pixels = any(axis_field.axis == along for field in fields for axis_field in field)
    result: list[AxisField] = []
    for axis_fields in zip(*fields, strict=True):  # one axis of the image after the other
        if any(axis_field.axis == along for axis_field in axis_fields):
            seeing = iter(axis_fields)
            parts = [None if field is None else next(seeing) for field in context.fields]
            result.append(_chained(parts, sizes, along))
            continue
        (joined,) = join_fields([(axis_field,) for axis_field in axis_fields], shape)
        complete = along_pixels or len(fields) == len(sizes)
        alike = complete and all(map(axis_fields[0].same, axis_fields))
        result.append(joined if alike else joined.mix(along))
    return tuple(result)


def _chained(parts: Parts, sizes: Sequence[Any], along: int) -> AxisField:
    """Put parts side by side; the pattern is that of the longest.

    So it is in a map that is padded with its own numbers.
    """
    exact = all(part is None or (part.exact and part.axis in (None, along)) for part in parts)
    each = [_bounds_of(part, size, along) for part, size in zip(parts, sizes, strict=True)]
    known = [bounds for bounds in each if bounds is not None]
    bounds = None
    if len(known) == len(each):
        firsts, ends = zip(*known, strict=True)
        bounds = np.concatenate(firsts), np.concatenate(ends)
    seeing = [part for part in parts if part is not None]
    everywhere = len(seeing) == 1 and seeing[0].everywhere
    pattern = _pattern_of_longest(parts, sizes, along)
    chained = AxisField(along, pattern, bounds, exact, everywhere=everywhere)
    return chained.mix(*(part.mixed for part in seeing))


def _pattern_of_longest(parts: Parts, sizes: Sequence[Any], along: int) -> PeriodicPattern | None:
    """The pattern of the longest part; None where it is not decided which one that is."""
    starts = itertools.accumulate(sizes, initial=0)
    patterns = [
        (size, replace(part, bounds=None).window(size, 1, 1, 1, start).pattern)
        for part, size, start in zip(parts, sizes, starts, strict=False)
        if part is not None and part.axis == along
    ]
    try:
        return max(patterns, key=lambda pair: pair[0])[1]
    except Undecided:
        return None


def _bounds_of(part: AxisField | None, size: Any, along: int) -> Bounds | None:
    """The bounds of each neuron of a part along the axis; None where sizes are formulas."""
    if not isinstance(size, int):
        return None
    if part is None:
        return np.full(size, NO_PIXEL), np.full(size, -NO_PIXEL)
    if part.axis != along and part.bounds is not None:
        return np.full(size, part.bounds[0].min()), np.full(size, part.bounds[1].max())
    return part.bounds


def _split(context: EquationContext) -> Fields:
    """Each part is a slice."""
    along, start, fields = context.params["axis"], 0, []
    for result, size in enumerate(context.sizes("sizes")):

        def change(
            axis_field: AxisField, axis: int, size: Any = size, low: Any = -start
        ) -> AxisField:
            return axis_field.window(size, 1, 1, 1, low) if axis == along else axis_field

        fields.append(context.change(change, result))
        start = start + size
    return fields


register(
    PrimitiveRecord(receptive_field=_concatenated, builds_padding=True, concatenates=True),
    "concatenate",
)
register(PrimitiveRecord(receptive_field=_split), "split")
