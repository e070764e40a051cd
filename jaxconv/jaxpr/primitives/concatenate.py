"""``concatenate`` and ``split``: all that jaxconv knows about them."""

from typing import Any

from jaxconv.jaxpr.axis_field import AxisField, Field, Fields, concatenate_fields, join_fields
from jaxconv.jaxpr.equation import EquationContext
from jaxconv.jaxpr.index_line import concatenated_lines
from jaxconv.jaxpr.primitives.registry import PrimitiveRecord, register_rule


@register_rule(
    PrimitiveRecord(builds_padding=True, concatenates=True, counting=concatenated_lines),
    "concatenate",
)
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
            result.append(concatenate_fields(parts, sizes, along))
            continue
        (joined,) = join_fields([(axis_field,) for axis_field in axis_fields], shape)
        complete = along_pixels or len(fields) == len(sizes)
        alike = complete and all(map(axis_fields[0].same, axis_fields))
        result.append(joined if alike else joined.mix(along))
    return tuple(result)


@register_rule(PrimitiveRecord(), "split")
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
