"""``reshape``: all that jaxconv knows about it."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from jaxconv.jaxpr.axis_field import AxisField, Field, is_equal
from jaxconv.jaxpr.equation import EquationContext
from jaxconv.jaxpr.index_line import reshaped_line
from jaxconv.jaxpr.interpreter import shape_of
from jaxconv.jaxpr.primitives.registry import PrimitiveRecord, register_rule


@register_rule(
    PrimitiveRecord(
        # Both arrays have the same numbers in row-major order.
        index_map=lambda index, eqn: np.unravel_index(
            np.ravel_multi_index(index, shape_of(eqn.invars[0])) if index else 0,
            shape_of(eqn.outvars[0]),
        ),
        only_moves=True,
        builds_padding=True,
        must_keep_count=True,
        counting=reshaped_line,
    ),
    "reshape",
)
def _reshaped(context: EquationContext) -> Field:
    """Follow each axis into the axis that it is merged into, or the first that it is split into."""
    shape, result_shape = context.shapes[0], context.result_shape()
    if context.params["dimensions"] is not None:
        return context.everything()
    blocks = list(matching_axes(shape, result_shape))

    def change(axis_field: AxisField, axis: int) -> AxisField:
        ins, outs = next((b for b in blocks if axis in b[0]), ([axis], []))
        ins = [a for a in ins if not is_equal(shape[a], 1)]
        outs = [a for a in outs if not is_equal(result_shape[a], 1)]
        if axis not in ins:
            return axis_field.collapse(1)
        if len(outs) == 1:
            before, after = ins[: ins.index(axis)], ins[ins.index(axis) + 1 :]
            outer, inner = (prod(shape[a] for a in axes) for axes in (before, after))
            merged = axis_field if is_equal(inner, 1) else axis_field.repeat(inner)
            merged = merged if is_equal(outer, 1) else merged.tile(shape[axis] * inner, outer)
            return merged.move(outs[0])
        if len(ins) == 1 and outs:  # what neighbours along the inner axes see is left open
            inner = prod(result_shape[a] for a in outs[1:])
            split = axis_field.window(result_shape[outs[0]], inner, inner).move(outs[0])
            return replace(split, exact=False)
        return axis_field.collapse(shape[axis], exact=False)

    return context.change(change)


def matching_axes(ins: Sequence[Any], outs: Sequence[Any]) -> Iterator[tuple[list[int], list[int]]]:
    """Find axes before and after a reshape that hold the same numbers.

    Args:
        ins: the shape before.
        outs: the shape after.

    Yields:
        Consecutive axes before, and those after that have as many numbers together; the smallest
        groups, from the left.
    """
    i = j = 0
    while i < len(ins) and j < len(outs):
        counts = itertools.product(range(1, len(ins) - i + 1), range(1, len(outs) - j + 1))
        same_size = (
            (a, b)
            for a, b in sorted(counts, key=sum)
            if is_equal(prod(ins[i : i + a]), prod(outs[j : j + b]))
        )
        a, b = next(same_size, (len(ins) - i, len(outs) - j))
        yield [*range(i, i + a)], [*range(j, j + b)]
        i, j = i + a, j + b
