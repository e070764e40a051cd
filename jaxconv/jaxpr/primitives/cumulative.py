"""Cumulative sums and the like, and sorting: operations along one axis that keep its size."""

from jaxconv.jaxpr.axis_field import AxisField, Field, join_fields
from jaxconv.jaxpr.equation import EquationContext
from jaxconv.jaxpr.primitives.registry import PrimitiveRecord, register


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


register(
    PrimitiveRecord(receptive_field=_accumulated),
    "cumsum",
    "cumprod",
    "cummax",
    "cummin",
    "cumlogsumexp",
)
register(PrimitiveRecord(receptive_field=_sorted), "sort")
