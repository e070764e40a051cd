"""Cumulative sums and the like, and sorting: operations along one axis that keep its size."""

from jaxconv.jaxpr.axis_field import AxisField, Field, join_fields
from jaxconv.jaxpr.equation import EquationContext
from jaxconv.jaxpr.primitives.registry import PrimitiveRecord, register_rule


@register_rule(PrimitiveRecord(), "cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
def _accumulated(context: EquationContext) -> Field:
    """Let each number see all before it, or all after it where the operation runs in reverse."""
    params, shape = context.params, context.shapes[0]

    def change(axis_field: AxisField, axis: int) -> AxisField:
        if axis != params["axis"]:
            return axis_field
        if axis_field.bounds is None:
            return axis_field.collapse(shape[axis], exact=False)
        return axis_field.accumulate(params["reverse"])

    return context.change(change)


@register_rule(PrimitiveRecord(), "sort")
def _sorted(context: EquationContext) -> Field:
    """Let any number along the axis come to any position."""
    shape = context.shapes[0]
    along = context.params["dimension"] % len(shape)
    fields = [
        tuple(a.collapse(shape[along], exact=False) if a.axis == along else a for a in field)
        for field in context.fields
        if field is not None
    ]
    return join_fields(fields, shape)
