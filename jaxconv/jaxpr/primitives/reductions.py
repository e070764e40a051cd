"""Reductions along whole axes, such as ``reduce_sum`` and ``argmax``."""

from jaxconv.jaxpr.axis_field import AxisField, Field
from jaxconv.jaxpr.equation import EquationContext
from jaxconv.jaxpr.primitives.registry import PrimitiveRecord, register


def _receptive_field(context: EquationContext) -> Field:
    """Let each number see all along the axes that are reduced; the other axes close up."""
    reduced, shape = set(context.axes("axes")), context.shapes[0]

    def change(axis_field: AxisField, axis: int) -> AxisField:
        if axis in reduced:
            return axis_field.collapse(shape[axis])
        return axis_field.move(axis - sum(other < axis for other in reduced))

    return context.change(change)


REDUCTION = PrimitiveRecord(kind="reduction", receptive_field=_receptive_field)
register(REDUCTION, "reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "argmax", "argmin")
# Of masks: their result is not a feature map.
register(PrimitiveRecord(receptive_field=_receptive_field), "reduce_and", "reduce_or", "reduce_xor")
