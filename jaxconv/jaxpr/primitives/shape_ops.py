"""Operations that move, cut, repeat or pad whole axes: ``transpose``, ``slice``, ``pad`` and so on.

Reshapes and concatenations have files of their own.
"""

from dataclasses import replace

from jaxconv.jaxpr.axis_field import AxisField, Field, is_equal
from jaxconv.jaxpr.equation import EquationContext
from jaxconv.jaxpr.index_line import broadcast_lines, iota_line, reshaped_line, reversed_line
from jaxconv.jaxpr.interpreter import shape_of
from jaxconv.jaxpr.primitives.reductions import removed_axes
from jaxconv.jaxpr.primitives.registry import PrimitiveRecord, register, register_rule

# They keep each number once, or cut and repeat; padding with a map's own numbers is made of both.
MOVES = PrimitiveRecord(only_moves=True, builds_padding=True)
CUTS = PrimitiveRecord(builds_padding=True)


register(
    replace(
        MOVES,
        index_map=lambda index, eqn: (
            n for axis, n in enumerate(index) if axis not in eqn.params["dimensions"]
        ),
        keeps_feature_map=True,
        counting=reshaped_line,
        receptive_field=removed_axes("dimensions"),
    ),
    "squeeze",
)


@register_rule(
    replace(
        MOVES, index_map=lambda index, eqn: (index[axis] for axis in eqn.params["permutation"])
    ),
    "transpose",
)
def _transposed(context: EquationContext) -> Field:
    order = context.axes("permutation")
    return context.change(lambda axis_field, axis: axis_field.move(order.index(axis)))


@register_rule(
    replace(
        MOVES,
        index_map=lambda index, eqn: (
            size - 1 - n if axis in eqn.params["dimensions"] else n
            for axis, (n, size) in enumerate(zip(index, shape_of(eqn.outvars[0]), strict=True))
        ),
        counting=reversed_line,
    ),
    "rev",
)
def _reversed(context: EquationContext) -> Field:
    """Number i sees what number ``n - 1 - i`` saw: a window of size 1 and stride -1."""
    reversed_axes, shape = context.axes("dimensions"), context.shapes[0]

    def change(axis_field: AxisField, axis: int) -> AxisField:
        n = shape[axis]
        return axis_field.window(n, 1, -1, 1, 1 - n) if axis in reversed_axes else axis_field

    return context.change(change)


@register_rule(replace(CUTS, counting=broadcast_lines), "broadcast_in_dim")
def _broadcast(context: EquationContext) -> Field:
    axes, shape = context.axes("broadcast_dimensions"), context.shapes[0]
    result_shape = context.result_shape()

    def change(axis_field: AxisField, axis: int) -> AxisField:
        repeats = is_equal(shape[axis], 1) and not is_equal(result_shape[axes[axis]], 1)
        return axis_field.collapse(1) if repeats else axis_field.move(axes[axis])

    return context.change(change)


@register_rule(CUTS, "slice")
def _sliced(context: EquationContext) -> Field:
    """A slice is a window of size 1 whose padding is the negative of where it starts."""
    result_shape, starts = context.result_shape(), context.sizes("start_indices")
    strides = context.sizes("strides") if context.params["strides"] else [1] * len(starts)

    def change(axis_field: AxisField, axis: int) -> AxisField:
        return axis_field.window(result_shape[axis], 1, strides[axis], 1, -starts[axis])

    return context.change(change)


@register_rule(PrimitiveRecord(), "pad")
def _padded(context: EquationContext) -> Field:
    """Of padded channels only some see the image, so that neighbours see different parts."""
    result_shape, substitute = context.result_shape(), context.substitute
    widths = [tuple(map(substitute, width)) for width in context.params["padding_config"]]
    if context.fields[1] is not None:
        return context.everything()

    def change(axis_field: AxisField, axis: int) -> AxisField:
        low, _, interior = widths[axis]
        return axis_field.dilate(interior + 1).window(result_shape[axis], 1, 1, 1, low)

    field = context.change(change)
    pixels = {axis_field.axis for axis_field in field}
    padded = [a for a, width in enumerate(widths) if not all(is_equal(n, 0) for n in width)]
    channels = [axis for axis in padded if axis not in pixels]
    return tuple(axis_field.mix(*channels) for axis_field in field)


register(replace(CUTS, counting=iota_line), "iota")
