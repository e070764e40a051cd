"""Read a jaxpr as a graph of operations: calls are inlined, loops run once, branches are merged."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxconv.analysis.argument_roles import ClosedOver
from jaxconv.analysis.network import Parameter
from jaxconv.compat import ClosedJaxpr, JaxprEqn, Literal, Tracer, Var
from jaxconv.jaxpr.interpreter import Atom, ControlFlow, MergingInterpreter, Scope, shape_of


@dataclass(frozen=True, eq=False)
class Input:
    """An input of a trace.

    Attributes:
        name: unique among the inputs.
        var: its variable.
    """

    name: str
    var: Var


@dataclass(frozen=True)
class Value:
    """What a value in a trace comes from.

    Attributes:
        producers: one, or several after a conditional; empty for numbers that cannot be learnt.
        partial: whether it is one slice of theirs, or a stack of many.
    """

    producers: tuple["Producer", ...] = ()
    partial: bool = False


@dataclass(frozen=True, eq=False)
class OperationNode:
    """One equation of a trace, in one call.

    Attributes:
        eqn: the equation.
        scope: the equations around it.
        inputs: what its operands come from.
    """

    eqn: JaxprEqn
    scope: Scope
    inputs: tuple[Value, ...]


Producer = OperationNode | Input | Parameter


@dataclass(frozen=True)
class Dataflow:
    """The operations of a trace.

    Attributes:
        inputs: those of the trace that are not parameters.
        parameters: arrays that may be learnt, whether passed or closed over.
        operations: in order of computation.
    """

    inputs: tuple[Input, ...]
    parameters: tuple[Parameter, ...]
    operations: tuple[OperationNode, ...]


def dataflow(
    closed: ClosedJaxpr,
    roles: Iterable[tuple[str, ...] | None],
    closed_over: Iterable[ClosedOver] = (),
) -> Dataflow:
    """Read the operations of a trace.

    Args:
        closed: the trace.
        roles: for each of its arguments the path of a parameter, an empty one for state, or None
            for an input.
        closed_over: for each model that the function closes over its arrays, each with the path of
            a parameter, or an empty one for state.

    Returns:
        The operations, with what each of them takes.
    """
    inputs: list[Input] = []
    producers: list[Producer | None] = []
    for role, variable in zip(roles, closed.jaxpr.invars, strict=True):
        if role is None:
            inputs.append(Input(f"input {len(inputs) + 1}" if inputs else "input", variable))
            producers.append(inputs[-1])
        else:
            parameter = _parameter(role, variable.aval.dtype, shape_of(variable))
            producers.append(parameter if role else None)
    models = [*closed_over]
    reader = _Reader({key: one for model in models for key, one in model.items()})
    reader.run(closed.jaxpr, closed.consts, [*map(_value, producers)])
    used = {*reader.constants}
    for model in models:
        if used & {
            key for key, (_, path) in model.items() if path
        }:  # its other parameters are not used, but the library counts them
            for array, _ in model.values():
                if not isinstance(array, np.ndarray):  # a trace has a copy of it, if it is used
                    reader.constant(array)
    known = (*producers, *reader.constants.values())
    parameters = tuple(one for one in known if isinstance(one, Parameter))
    return Dataflow(tuple(inputs), parameters, tuple(reader.operations))


def _parameter(path: tuple[str, ...], dtype: Any, shape: Sequence[int]) -> Parameter | None:
    """A parameter, if an array can be learnt; closed-over arrays have an empty path."""
    return Parameter(path, prod(shape)) if jnp.issubdtype(dtype, jnp.inexact) else None


def _value(producer: Producer | None) -> Value:
    return Value() if producer is None else Value((producer,))


class _Reader(MergingInterpreter[Value]):
    """Lists the operations of a trace, each once per call.

    Attributes:
        operations: in order of computation.
        constants: closed-over arrays by their identity; where several calls close over one, it is
            one parameter.
        roles: of those among them that belong to a model.
    """

    def __init__(self, roles: ClosedOver) -> None:
        self.roles = roles
        self.operations: list[OperationNode] = []
        self.constants: dict[int, Parameter | None] = {}

    def constant(self, const: Any) -> Value:
        if id(const) not in self.constants:
            shape, dtype = jnp.shape(const), jnp.result_type(const)
            _, role = self.roles.get(id(const), (const, None))
            if role is None and not isinstance(const, Tracer):
                same = (  # an array of NumPy, of which a trace has a copy
                    one
                    for array, one in self.roles.values()
                    if isinstance(array, np.ndarray)
                    and (array.shape, array.dtype) == (shape, dtype)
                    and np.array_equal(array, const)
                )
                role = next(same, None)
            is_state = role is not None and not role
            path = role or ()  # empty where no model says which of its arrays this is
            self.constants[id(const)] = None if is_state else _parameter(path, dtype, shape)
        return _value(self.constants[id(const)])

    def literal(self, literal: Literal) -> Value:
        del literal
        return Value()

    def equation(self, eqn: JaxprEqn, inputs: Sequence[Value], scope: Scope) -> Sequence[Value]:
        self.operations.append(OperationNode(eqn, scope, tuple(inputs)))
        return [Value((self.operations[-1],))] * len(eqn.outvars)

    def loop(
        self, eqn: JaxprEqn, flow: ControlFlow, inputs: list[Value], scope: Scope
    ) -> Sequence[Value]:
        """Run the loop once: the inputs of its body are those of the first iteration."""
        values, inner = self.sliced_inputs(eqn, flow, inputs), scope.inside(eqn)
        if flow.condition:
            self.enter(flow.condition, values, inner)
        return self.stacked_results(eqn, flow, self.enter(flow.bodies[0], values, inner))

    def sliced(self, value: Value, outer: Atom, inner: Atom) -> Value:
        del outer, inner
        return replace(value, partial=True)

    stacked = sliced

    def join(self, one: Value, other: Value, atom: Atom) -> Value:
        del atom
        producers = tuple(dict.fromkeys((*one.producers, *other.producers)))
        return Value(producers, one.partial or other.partial)
