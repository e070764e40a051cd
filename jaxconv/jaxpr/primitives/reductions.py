"""Reductions along whole axes, such as ``reduce_sum`` and ``argmax``."""

from jaxconv.jaxpr.axis_field import AxisField, Field
from jaxconv.jaxpr.equation import EquationContext
from jaxconv.jaxpr.primitives.registry import PrimitiveRecord, ReceptiveFieldRule, register


def removed_axes(parameter: str) -> ReceptiveFieldRule:
    """Make the rule of an operation whose result lacks some axes, along which each number sees all.

    Args:
        parameter: lists these axes; the other ones close up.
    """

    def rule(context: EquationContext) -> Field:
        removed, shape = set(context.axes(parameter)), context.shapes[0]

        def change(axis_field: AxisField, axis: int) -> AxisField:
            if axis in removed:
                return axis_field.collapse(shape[axis])
            return axis_field.move(axis - sum(other < axis for other in removed))

        return context.change(change)

    return rule


register(
    PrimitiveRecord(kind="reduction", receptive_field=removed_axes("axes")),
    *("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "argmax", "argmin"),
)
# Of masks; what comes out is not a feature map.
register(
    PrimitiveRecord(receptive_field=removed_axes("axes")), "reduce_and", "reduce_or", "reduce_xor"
)
