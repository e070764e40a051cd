"""What the neurons see of the results of loops and branches."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from jaxconv.jaxpr.axis_field import (
    AxisField,
    Field,
    Fields,
    change_axis,
    join_fields,
    same_fields,
)
from jaxconv.jaxpr.equation import EquationContext
from jaxconv.jaxpr.interpreter import carried
from jaxconv.jaxpr.periodic_pattern import PeriodicPattern

TURNS = 100  # of a loop, until its field is taken for all that there is


def _scan(context: EquationContext) -> Fields:
    """The body as often as it runs; of what is stacked, each step sees what any of them does."""
    closed, length = (
        context.params["jaxpr"],
        context.substitute(context.params["length"]),
    )
    first, last = carried(context.eqn)
    fixed, carry = context.fields[:first], context.fields[first:last]
    taken = zip(context.fields[last:], context.shapes[last:], strict=True)
    slices = [field and _unstacked(field, shape) for field, shape in taken]
    turns = length if isinstance(length, int) and length <= TURNS else TURNS
    stacked: Fields = [None] * (len(context.eqn.outvars) - len(carry))
    for _ in range(turns):
        outputs = context.propagator.walk(
            closed.jaxpr, [*fixed, *carry, *slices], {}, context.calls
        )
        after = outputs[: len(carry)]
        if turns != length:  # it may be over at any turn
            after = list(map(_either, carry, after, context.shapes[first:last]))
        shapes = map(context.propagator.shape, closed.jaxpr.outvars[len(carry) :])
        stacked = list(map(_either, stacked, outputs[len(carry) :], shapes))
        settled = same_fields(carry, after) and (
            turns != length or _patterns(carry) == _patterns(after)
        )
        carry = after
        if settled:
            break
    else:
        settled = turns == length
    if not settled:
        return [context.everything()] * len(context.eqn.outvars)
    shapes = map(context.propagator.shape, context.eqn.outvars[len(carry) :])
    return [*carry, *(f and _stacked(f, shape) for f, shape in zip(stacked, shapes, strict=True))]


def _unstacked(field: Field, shape: Sequence[Any]) -> Field:
    def change(axis_field: AxisField, axis: int) -> AxisField:
        return axis_field.move(axis - 1) if axis else axis_field.collapse(shape[0], exact=False)

    return tuple(change_axis(axis_field, change, shape, shape[1:]) for axis_field in field)


def _stacked(field: Field, shape: Sequence[Any]) -> Field:
    def change(axis_field: AxisField, axis: int) -> AxisField:
        return axis_field.move(axis + 1)

    return tuple(change_axis(axis_field, change, shape[1:], shape) for axis_field in field)


def _either(one: Field | None, other: Field | None, shape: Sequence[Any]) -> Field | None:
    """What is seen in either case."""
    if one is None or other is None:
        return other if one is None else one
    if same_fields([one], [other]):
        pairs = zip(one, other, strict=True)
        return tuple(a if a.pattern == b.pattern else replace(a, pattern=None) for a, b in pairs)
    return tuple(map(AxisField.loose, join_fields([one, other], shape)))


def _patterns(fields: Fields) -> list[PeriodicPattern | None]:
    return [axis_field.pattern for field in fields for axis_field in field or ()]


def _while(context: EquationContext) -> Fields:
    """As often as it takes until nothing more is seen; what says how often is seen by all."""
    asking, doing = context.params["cond_jaxpr"], context.params["body_jaxpr"]
    first = context.params["cond_nconsts"]
    last = first + context.params["body_nconsts"]
    asked, fixed, carry = context.fields[:first], context.fields[first:last], context.fields[last:]
    for _ in range(TURNS):
        more = context.propagator.walk(asking.jaxpr, [*asked, *carry], {}, context.calls)
        after = context.propagator.walk(doing.jaxpr, [*fixed, *carry], {}, context.calls)
        after = list(map(_either, carry, after, context.shapes[last:]))
        if any(more):
            break
        if same_fields(carry, after):
            return after
        carry = after
    return [context.everything()] * len(context.eqn.outvars)


def _cond(context: EquationContext) -> Fields:
    """What any branch sees, and what decides between them."""
    found, *others = (
        context.propagator.walk(branch.jaxpr, context.fields[1:], {}, context.calls)
        for branch in context.params["branches"]
    )
    shapes = [context.propagator.shape(var) for var in context.eqn.outvars]
    if context.fields[0] is not None:
        others.append([context.collapsed(0, exact=False)] * len(shapes))
    for other in others:
        found = list(map(_either, found, other, shapes))
    return found


LOOPS: dict[str, Callable[[EquationContext], Fields]] = {
    "scan": _scan,
    "while": _while,
    "cond": _cond,
}
