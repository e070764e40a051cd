"""Reductions along whole axes, such as ``reduce_sum`` and ``argmax``."""

from jaxconv.jaxpr.axis_field import AxisField, Field
from jaxconv.jaxpr.equation import EquationContext
from jaxconv.jaxpr.primitives.registry import PrimitiveRecord, register_rule


@register_rule(
    PrimitiveRecord(kind="reduction"),
    *("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "argmax", "argmin"),
)
# Of masks; what comes out is not a feature map.
@register_rule(PrimitiveRecord(), "reduce_and", "reduce_or", "reduce_xor")
def _reduced(context: EquationContext) -> Field:
    """Let each number see all along the axes that are reduced; the other axes close up."""
    reduced, shape = set(context.axes("axes")), context.shapes[0]

    def change(axis_field: AxisField, axis: int) -> AxisField:
        if axis in reduced:
            return axis_field.collapse(shape[axis])
        return axis_field.move(axis - sum(other < axis for other in reduced))

    return context.change(change)
