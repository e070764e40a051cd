"""What the neurons of every value in a trace see of the image: equation by equation.

A field has an :class:`AxisField` for each spatial axis of the image. Without a more precise rule,
every neuron of a result sees what any neuron of the operands sees: possibly too much, never too
little.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxconv.compat import JaxprEqn, Literal, Var
from jaxconv.jaxpr.axis_field import AxisField, Field, change_axis, join_fields
from jaxconv.jaxpr.constant_results import constant_results
from jaxconv.jaxpr.equation import EquationContext, IndexLines
from jaxconv.jaxpr.interpreter import (
    Atom,
    ControlFlow,
    FixpointInterpreter,
    FlowKind,
    Scope,
    ValueRef,
    control_flow,
)
from jaxconv.jaxpr.primitives import record_of
from jaxconv.jaxpr.window_axis import Substitute

INDICES = (np.bool_, np.int32, np.int64)
INDEX_TYPES = (np.integer, np.bool_)


class Seen(NamedTuple):
    """What is known of a value.

    Attributes:
        field: what its neurons see of the image; None where they see nothing.
        is_constant: whether it depends neither on an input nor on weights. Such a value has no
            field.
        compute: computes a constant; None for one that is large, or depends on sizes that are
            formulas.
        lines: how its numbers count, where they are indices; None where that is not known.
    """

    field: Field | None = None
    is_constant: bool = False
    compute: Callable[[], Any] | None = None
    lines: IndexLines | None = None


class Propagator(FixpointInterpreter[Seen]):
    """Carries fields through the equations of a trace.

    Attributes:
        fields: the field of each value, the last one where it is computed several times.
        substitute: rewrites sizes of the trace so that they can be computed with.
    """

    def __init__(self, substitute: Substitute) -> None:
        self.fields: dict[ValueRef, Field] = {}
        self.substitute = substitute

    def shape(self, atom: Any) -> tuple[Any, ...]:
        """The shape of a value.

        Args:
            atom: its variable, or a literal.
        """
        return tuple(map(self.substitute, getattr(atom.aval, "shape", ())))

    def constant(self, const: Any) -> Seen:
        """A closed-over array: indices and masks are constants, weights count as any numbers.

        Args:
            const: the array.
        """
        dtype = getattr(const, "dtype", float)
        known = any(jnp.issubdtype(dtype, kind) for kind in INDEX_TYPES)
        return Seen(None, True, functools.partial(np.asarray, const)) if known else Seen()

    def literal(self, literal: Literal) -> Seen:
        """A number in an equation is a constant.

        Args:
            literal: the operand.
        """
        return Seen(None, True, lambda: literal.val)

    def bind(
        self, variables: Sequence[Var], values: Sequence[Seen], scope: Scope
    ) -> Sequence[Seen]:
        """Note the fields that variables have.

        Args:
            variables: the inputs of a jaxpr, or the results of an equation.
            values: one for each.
            scope: the equations around them.

        Returns:
            The values.
        """
        for var, value in zip(variables, values, strict=True):
            if value.field is not None:
                self.fields[ValueRef(scope.calls, var)] = value.field
        return values

    def apply(self, eqn: JaxprEqn, inputs: list[Seen], scope: Scope) -> Sequence[Seen]:
        """Follow one equation; what sees nothing of the image may be a constant.

        Args:
            eqn: the equation.
            inputs: what is known of its operands.
            scope: the equations around it.

        Returns:
            What is known of each result.
        """
        if any(value.field for value in inputs):
            return super().apply(eqn, inputs, scope)
        if not eqn.outvars:  # a callback, or a call that returns nothing
            return []
        context = self._context(eqn, inputs)
        constants = constant_results(context)
        flow = control_flow(eqn)
        is_computed = any(map(constants.get, eqn.outvars))
        if flow and flow.kind is FlowKind.CALL and context.counting and not is_computed:
            return super().apply(eqn, inputs, scope)
        rule, dtype = record_of(eqn).counting, getattr(eqn.outvars[0].aval, "dtype", None)
        # Indices of other types wrap around.
        lines = rule(context) if rule and dtype in INDICES and not is_computed else None
        return [Seen(None, var in constants, constants.get(var), lines) for var in eqn.outvars]

    def equation(self, eqn: JaxprEqn, inputs: Sequence[Seen], scope: Scope) -> Sequence[Seen]:
        """Apply the rule of a primitive.

        Args:
            eqn: the equation.
            inputs: what is known of its operands.
            scope: the equations around it.

        Returns:
            What is known of each result.
        """
        del scope
        if not eqn.outvars:  # a callback or an assertion
            return []
        field = record_of(eqn).receptive_field(self._context(eqn, inputs))
        fields = field if isinstance(field, list) else [field] * len(eqn.outvars)
        return [*map(Seen, fields)]

    def _context(self, eqn: JaxprEqn, inputs: Sequence[Seen]) -> EquationContext:
        constants = {
            atom: value.compute
            for atom, value in zip(eqn.invars, inputs, strict=True)
            if value.is_constant and not isinstance(atom, Literal)
        }
        counting = {
            atom: value.lines
            for atom, value in zip(eqn.invars, inputs, strict=True)
            if value.lines is not None and not isinstance(atom, Literal)
        }
        return EquationContext(self, eqn, [value.field for value in inputs], constants, counting)

    def branches(
        self, eqn: JaxprEqn, flow: ControlFlow, inputs: list[Seen], scope: Scope
    ) -> Sequence[Seen]:
        """What any branch sees, and what decides between them.

        Args:
            eqn: the conditional.
            flow: its description.
            inputs: what is known of its operands.
            scope: the equations around it.

        Returns:
            What is known of each result.
        """
        results = super().branches(eqn, flow, _fields_only(inputs), scope)
        if inputs[0].field is None:
            return results
        chosen_by = Seen(self._context(eqn, inputs).collapsed(0, exact=False))
        return [
            self.join(one, chosen_by, var) for one, var in zip(results, eqn.outvars, strict=True)
        ]

    def loop(
        self, eqn: JaxprEqn, flow: ControlFlow, inputs: list[Seen], scope: Scope
    ) -> Sequence[Seen]:
        """The body as often as it runs, or until nothing more is seen.

        Args:
            eqn: the loop.
            flow: its description.
            inputs: what is known of its operands.
            scope: the equations around it.

        Returns:
            What is known of each result.
        """
        return super().loop(eqn, flow, _fields_only(inputs), scope)

    def length(self, flow: ControlFlow) -> Any:
        """The number of iterations, with sizes that can be computed with.

        Args:
            flow: the description of a loop.
        """
        return self.substitute(flow.length)

    def sliced(self, value: Seen, outer: Atom, inner: Atom) -> Seen:
        """Of an array that is sliced, each iteration may see what any of them does.

        Args:
            value: what is known of the array.
            outer: the operand of the loop.
            inner: the input of the body.
        """
        shape = self.shape(outer)

        def change(axis_field: AxisField, axis: int) -> AxisField:
            return axis_field.move(axis - 1) if axis else axis_field.collapse(shape[0], exact=False)

        return _with_axes(value, change, shape, self.shape(inner))

    def stacked(self, value: Seen, outer: Atom, inner: Atom) -> Seen:
        """Of what is stacked, each iteration may have seen what any of them has.

        Args:
            value: what is known of the results of all iterations.
            outer: the result of the loop.
            inner: the result of the body.
        """

        def change(axis_field: AxisField, axis: int) -> AxisField:
            return axis_field.move(axis + 1)

        return _with_axes(value, change, self.shape(inner), self.shape(outer))

    def join(self, one: Seen, other: Seen, atom: Atom) -> Seen:
        """What is seen in either case.

        Args:
            one: a value.
            other: another one.
            atom: a variable of its shape.
        """
        if one.field is None or other.field is None:
            return Seen(other.field if one.field is None else one.field)
        if _see_the_same(one, other):
            pairs = zip(one.field, other.field, strict=True)
            return Seen(
                tuple(a if a.pattern == b.pattern else replace(a, pattern=None) for a, b in pairs)
            )
        both = join_fields([one.field, other.field], self.shape(atom))
        return Seen(tuple(map(AxisField.loose, both)))

    def absent(self) -> Seen:
        """What sees nothing."""
        return Seen()

    def settled(self, before: Sequence[Seen], after: Sequence[Seen], known: bool) -> bool:
        """Whether an iteration sees nothing more.

        Args:
            before: what the carried values see before it.
            after: the same after it.
            known: whether each iteration counts; then the patterns must be the same, too.
        """
        return all(
            _see_the_same(one, other) and (not known or _patterns(one) == _patterns(other))
            for one, other in zip(before, after, strict=True)
        )

    def decides(self, condition: Sequence[Seen]) -> bool:
        """Whether the image decides how often a loop runs.

        Args:
            condition: the value of the condition of a while loop; empty for a scan.
        """
        return any(value.field for value in condition)

    def unsettled(self, eqn: JaxprEqn, inputs: Sequence[Seen]) -> Sequence[Seen]:
        """Every result may see all that the operands see.

        Args:
            eqn: the loop.
            inputs: what is known of its operands.
        """
        return [Seen(self._context(eqn, inputs).everything())] * len(eqn.outvars)


def _fields_only(values: Sequence[Seen]) -> list[Seen]:
    """Values as loops and branches take them: nothing there counts as constant."""
    return [Seen(value.field) for value in values]


def _with_axes(
    value: Seen,
    change: Callable[[AxisField, int], AxisField],
    shape: Sequence[Any],
    out: Sequence[Any],
) -> Seen:
    if not value.field:
        return value
    return Seen(tuple(change_axis(axis_field, change, shape, out) for axis_field in value.field))


def _see_the_same(one: Seen, other: Seen) -> bool:
    """Whether two values see the same."""
    if one.field is None or other.field is None:
        return one.field is other.field
    return all(map(AxisField.same, one.field, other.field))


def _patterns(value: Seen) -> list[Any]:
    return [axis_field.pattern for axis_field in value.field or ()]
