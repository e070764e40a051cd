"""What the neurons of every value in a trace see of the image: equation by equation.

A field has an :class:`AxisField` for each axis of the image that has pixels. Where no rule says
better, every neuron of a result sees what any neuron of the operands sees: more than it may, never
less.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxconv.analysis.network import ValueRef
from jaxconv.compat import Jaxpr, JaxprEqn, Literal
from jaxconv.jaxpr.axis_field import Field, Fields
from jaxconv.jaxpr.constant_results import constant_results
from jaxconv.jaxpr.control_flow_fields import LOOPS
from jaxconv.jaxpr.equation import EquationContext, Known
from jaxconv.jaxpr.interpreter import body
from jaxconv.jaxpr.primitives import record_of
from jaxconv.jaxpr.window_axis import Substitute

WHOLE = (np.integer, np.bool_)


class Follower:
    """Carries fields through the equations of a trace.

    Attributes:
        found: the field of each value, the last one where it is computed several times.
        substitute: brings sizes of the trace to where they can be computed with.
    """

    def __init__(self, substitute: Substitute) -> None:
        self.found: dict[ValueRef, Field] = {}
        self.substitute = substitute

    def shape(self, atom: Any) -> tuple[Any, ...]:
        """The shape of a value."""
        return tuple(map(self.substitute, getattr(atom.aval, "shape", ())))

    def walk(
        self,
        jaxpr: Jaxpr,
        fields: Sequence[Field | None],
        known: Known,
        calls: tuple[JaxprEqn, ...] = (),
    ) -> Fields:
        """Follow a jaxpr; the fields of its results.

        Args:
            jaxpr: its equations.
            fields: of its operands.
            known: functions that compute those of its operands that are constants; None for one
                that is large or rests on sizes that are formulas.
            calls: the equations around it.
        """
        values = dict(zip(jaxpr.invars, fields, strict=True))
        known = dict(known)
        self._note(calls, jaxpr.invars, fields)

        def field(atom: Any) -> Field | None:
            return None if isinstance(atom, Literal) else values.get(atom)

        for eqn in jaxpr.eqns:
            operands = [field(atom) for atom in eqn.invars]
            context = EquationContext(self, eqn, operands, known, (*calls, eqn))
            outputs = self._outputs(context)
            values.update(zip(eqn.outvars, outputs, strict=True))
            known |= constant_results(context)
            self._note(calls, eqn.outvars, outputs)
        return [field(atom) for atom in jaxpr.outvars]

    def _note(
        self, calls: tuple[JaxprEqn, ...], atoms: Sequence[Any], fields: Sequence[Field | None]
    ) -> None:
        pairs = zip(atoms, fields, strict=True)
        self.found |= {ValueRef(calls, var): field for var, field in pairs if field is not None}

    def _outputs(self, context: EquationContext) -> Fields:
        """The field of each result of an equation."""
        inner, name = body(context.eqn), context.eqn.primitive.name
        if not any(context.fields):
            return [None] * len(context.eqn.outvars)
        if inner is not None:
            known = zip(inner[0].invars, context.eqn.invars, strict=True)
            constants = {
                var: context.constant(atom) for var, atom in known if context.is_constant(atom)
            }
            constants |= whole_numbers(*inner)
            return self.walk(inner[0], context.fields, constants, context.calls)
        if name in LOOPS:
            return LOOPS[name](context)
        field = record_of(context.eqn).receptive_field(context)
        return field if isinstance(field, list) else [field] * len(context.eqn.outvars)


def whole_numbers(jaxpr: Jaxpr, consts: Sequence[Any]) -> dict[Any, Callable[[], Any]]:
    """The closed-over arrays that may be indices or masks; weights count as any numbers."""
    pairs = zip(jaxpr.constvars, consts, strict=True)
    return {
        var: functools.partial(np.asarray, const)
        for var, const in pairs
        if any(jnp.issubdtype(getattr(const, "dtype", float), kind) for kind in WHOLE)
    }
