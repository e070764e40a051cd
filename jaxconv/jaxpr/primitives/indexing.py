"""``gather`` and ``dynamic_slice``: reading at indices that may be constants of the trace."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax import lax

from jaxconv.jaxpr.axis_field import AxisField, Field, is_at_least, is_equal
from jaxconv.jaxpr.equation import EquationContext
from jaxconv.jaxpr.primitives.registry import PrimitiveRecord, register_rule


@register_rule(PrimitiveRecord(builds_padding=True), "dynamic_slice")
def _dynamically_sliced(context: EquationContext) -> Field:
    """A slice whose start may be a constant. XLA clamps it so that the slice is inside."""
    result_shape, shape = context.result_shape(), context.shapes[0]
    if any(context.fields[1:]):
        return context.everything()
    starts = [context.constant(atom) for atom in context.eqn.invars[1:]]

    def change(axis_field: AxisField, axis: int) -> AxisField:
        size, start, count = shape[axis], starts[axis], result_shape[axis]
        if is_equal(count, size):
            return axis_field
        if start is None:
            return axis_field.collapse(size, exact=False)
        first = max(int(start()), 0)
        if not is_at_least(size - count, first):
            if not isinstance(size, int):
                return axis_field.collapse(size, exact=False)
            first = size - count
        return axis_field.window(result_shape[axis], 1, 1, 1, -first)

    return context.change(change)


@register_rule(PrimitiveRecord(looks_up=True), "gather")
def _looked_up(context: EquationContext) -> Field:
    """Slices at constant starts, and single numbers at constant indices.

    The names are those of XLA's Gather (https://openxla.org/xla/operation_semantics#gather).
    """
    numbers, shape = context.params["dimension_numbers"], context.shapes[0]
    rank = len(context.result_shape())
    collapsed = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    kept = [axis for axis in range(len(shape)) if axis not in collapsed]
    batch_axes = [axis for axis in range(rank) if axis not in numbers.offset_dims]
    slice_sizes = context.sizes("slice_sizes")
    # In any other mode an index outside reads nothing.
    clips = context.params["mode"] == lax.GatherScatterMode.CLIP

    def change(axis_field: AxisField, axis: int) -> AxisField:
        size = shape[axis]
        if axis in kept:
            start = _common_start(context, axis, size - slice_sizes[axis])
            if start is None:
                return axis_field.collapse(size, exact=False)
            output_axis = int(numbers.offset_dims[kept.index(axis)])
            return axis_field.window(slice_sizes[axis], 1, 1, 1, -start).move(output_axis)
        if axis in numbers.operand_batching_dims:
            return axis_field.collapse(size, exact=False)
        line = _index_line(context, axis)
        if line is None or not isinstance(size, int):
            return _counted(context, axis_field, axis, batch_axes)
        along, indices = line
        inside = indices.clip(0, size - 1)
        read = axis_field.take(inside).move(batch_axes[along])
        return read if clips or (indices == inside).all() else read.loose()

    return context.change(change)


def _counted(
    context: EquationContext, axis_field: AxisField, axis: int, batch_axes: Sequence[int]
) -> AxisField:
    """Single numbers at indices that count evenly, all of which are inside."""
    order, size = context.params["dimension_numbers"].start_index_map, context.shapes[0][axis]
    lines = context.lines(context.eqn.invars[1])
    columns = lines if isinstance(lines, tuple) else (lines,)
    line = columns[order.index(axis)] if axis in order and len(columns) == len(order) else None
    if line is None or line.axis is None or line.axis >= len(batch_axes):
        return axis_field.collapse(size, exact=False)
    along = batch_axes[line.axis]
    count = context.result_shape()[along]
    last = line.first + line.step * (count - 1)
    inside = all(is_at_least(n, 0) and is_at_least(size - 1, n) for n in (line.first, last))
    if not inside:
        return axis_field.collapse(size, exact=False)
    return axis_field.window(count, 1, line.step, 1, -line.first).move(along)


def _starts(context: EquationContext, axis: int) -> np.ndarray | None:
    """The start of each slice along an axis; None if not known."""
    order = context.params["dimension_numbers"].start_index_map
    if axis not in order:
        return np.zeros(1, int)
    compute = context.constant(context.eqn.invars[1])
    return None if compute is None else np.asarray(compute())[..., order.index(axis)]


def _common_start(context: EquationContext, axis: int, last: Any) -> int | None:
    """The start of all slices along an axis; None if not known, or not from 0 to ``last``."""
    if is_equal(last, 0):
        return 0
    starts = _starts(context, axis)
    if starts is None or not starts.size or (starts != starts.flat[0]).any():
        return None
    start = int(starts.flat[0])
    return start if start >= 0 and is_at_least(last, start) else None


def _index_line(context: EquationContext, axis: int) -> tuple[int, np.ndarray] | None:
    """Indices that vary along one axis of the index array only: that axis, and the indices.

    None where they vary along several, or are not known.
    """
    indices = _starts(context, axis)
    if indices is None or axis not in context.params["dimension_numbers"].start_index_map:
        return None
    for along in range(indices.ndim):
        lines = np.moveaxis(indices, along, -1)
        first = lines[(0,) * (indices.ndim - 1)]
        if (lines == first).all():
            return along, first
    return None
