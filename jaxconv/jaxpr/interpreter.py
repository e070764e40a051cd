"""The one place that walks jaxprs, and that knows how values enter and leave inner jaxprs.

:func:`control_flow` describes an equation that has jaxprs inside: calls, loops and branches. An
analysis is an :class:`Interpreter`: it gives each variable an abstract value, and says what one
equation makes of the values of its operands. An :class:`Evaluator` computes the values themselves.
:func:`equations` lists equations, and :func:`rewrite` replaces them.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from functools import reduce
from types import NoneType
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np

from jaxconv.compat import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

PLAIN = (int, str, tuple, NoneType, np.dtype)  # parameters of equations without jaxprs inside
T = TypeVar("T")
Atom = Var | Literal


class FlowKind(Enum):
    """How an equation runs the jaxprs inside it."""

    CALL = "once, in place of the equation"
    LOOP = "again and again"
    BRANCHES = "one of several"
    SHARDED = "once per device, on a part of each operand"


class Body(NamedTuple):
    """A jaxpr inside an equation.

    Attributes:
        jaxpr: its equations.
        consts: the values of its constants.
        operands: the indices of those operands of the equation that are its inputs, in order.
    """

    jaxpr: Jaxpr
    consts: Sequence[Any]
    operands: Sequence[int]


class ControlFlow(NamedTuple):
    """How values pass through an equation that has jaxprs inside.

    Attributes:
        kind: how the bodies run.
        bodies: the jaxprs whose results are those of the equation: one, or one per branch.
        condition: the jaxpr that decides whether a while loop goes on.
        carry: which operands of a loop each iteration replaces. They are the first inputs that the
            body returns, and the first results. The operands after them are sliced along their
            first axis, and the results after them are stacked along a new first axis.
        length: the number of iterations; None where it is not known.
    """

    kind: FlowKind
    bodies: Sequence[Body]
    condition: Body | None = None
    carry: slice = slice(0, 0)
    length: Any = None

    @property
    def carried(self) -> int:
        """How many values each iteration passes on to the next."""
        return self.carry.stop - self.carry.start


def _body(inner: ClosedJaxpr | Jaxpr, operands: Iterable[int]) -> Body:
    """A jaxpr inside an equation; some primitives have it without its constants."""
    if isinstance(inner, ClosedJaxpr):
        return Body(inner.jaxpr, inner.consts, [*operands])
    return Body(inner, (), [*operands])


def _one_body(kind: FlowKind, parameter: str) -> Callable[[JaxprEqn], ControlFlow]:
    """The record of primitives with one jaxpr, which takes all operands."""
    return lambda eqn: ControlFlow(kind, [_body(eqn.params[parameter], range(len(eqn.invars)))])


def _scan(eqn: JaxprEqn) -> ControlFlow:
    """A scan: constants, the carry, and arrays that are sliced.

    Versions of JAX differ in how the parameters count these, but what is sliced or stacked always
    has an axis more than the body sees of it.
    """

    def more_axes(outer: Sequence[Any], inner: Sequence[Any]) -> int:
        return sum(len(shape_of(a)) > len(shape_of(b)) for a, b in zip(outer, inner, strict=True))

    closed = eqn.params["jaxpr"]
    last = len(eqn.invars) - more_axes(eqn.invars, closed.jaxpr.invars)
    carried = len(eqn.outvars) - more_axes(eqn.outvars, closed.jaxpr.outvars)
    return ControlFlow(
        FlowKind.LOOP,
        [_body(closed, range(len(eqn.invars)))],
        carry=slice(last - carried, last),
        length=eqn.params["length"],
    )


def _while(eqn: JaxprEqn) -> ControlFlow:
    """A while loop: constants of the condition, constants of the body, and the carry."""
    count, asked = len(eqn.invars), eqn.params["cond_nconsts"]
    first = asked + eqn.params["body_nconsts"]
    return ControlFlow(
        FlowKind.LOOP,
        [_body(eqn.params["body_jaxpr"], range(asked, count))],
        _body(eqn.params["cond_jaxpr"], (*range(asked), *range(first, count))),
        slice(first, count),
    )


CONTROL_FLOW: Mapping[str, Callable[[JaxprEqn], ControlFlow]] = {
    **dict.fromkeys(("jit", "pjit", "checkpoint", "remat2"), _one_body(FlowKind.CALL, "jaxpr")),
    **dict.fromkeys(
        ("closed_call", "eval_jaxpr", "custom_jvp_call", "custom_vjp_call"),
        _one_body(FlowKind.CALL, "call_jaxpr"),
    ),
    "scan": _scan,
    "while": _while,
    # A conditional takes the number of the branch, then the operands of all branches.
    "cond": lambda eqn: ControlFlow(
        FlowKind.BRANCHES,
        [_body(branch, range(1, len(eqn.invars))) for branch in eqn.params["branches"]],
    ),
    "shard_map": _one_body(FlowKind.SHARDED, "jaxpr"),
}


def control_flow(eqn: JaxprEqn) -> ControlFlow | None:
    """Describe how values pass through the jaxprs inside an equation.

    Args:
        eqn: any equation.

    Returns:
        The description; None for an equation that is not a call, a loop or a conditional.
    """
    describe = CONTROL_FLOW.get(eqn.primitive.name)
    return None if describe is None else describe(eqn)


def subjaxprs(eqn: JaxprEqn) -> Iterator[Jaxpr]:
    """List all jaxprs among the parameters of an equation, whatever they are for.

    Args:
        eqn: any equation.

    Yields:
        Each jaxpr, without those inside it.
    """
    for value in eqn.params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            if isinstance(part, PLAIN):  # most are; this is much quicker than what follows
                continue
            inner = getattr(part, "jaxpr", part)
            if isinstance(inner, Jaxpr):
                yield inner


def equations(jaxpr: Jaxpr, *, recursive: bool = True) -> Iterator[JaxprEqn]:
    """List the equations of a jaxpr in order.

    Args:
        jaxpr: any jaxpr.
        recursive: whether to list the equations of inner jaxprs, too, before the equation that has
            them.

    Yields:
        Each equation.
    """
    yield from (eqn for eqn, _ in equations_in_calls(jaxpr, recursive=recursive))


def equations_in_calls(
    jaxpr: Jaxpr, calls: tuple[JaxprEqn, ...] = (), *, recursive: bool = True
) -> Iterator[tuple[JaxprEqn, tuple[JaxprEqn, ...]]]:
    """List the equations of a jaxpr in order, each with those that it is inside.

    Args:
        jaxpr: any jaxpr.
        calls: the equations around it, the outermost first.
        recursive: as :func:`equations` takes it.

    Yields:
        Each equation and the equations around it, the outermost first.
    """
    for eqn in jaxpr.eqns:
        for inner in subjaxprs(eqn) if recursive else ():
            yield from equations_in_calls(inner, (*calls, eqn))
        yield eqn, calls


def unused_after(jaxpr: Jaxpr) -> list[list[Var]]:
    """List the variables that are not used again after each equation.

    Args:
        jaxpr: its equations.

    Returns:
        For each equation the operands that no later equation uses, and the results that none uses,
        unless the jaxpr returns them.
    """
    seen = set(variables(jaxpr.outvars))
    unused: list[list[Var]] = []
    for eqn in reversed(jaxpr.eqns):
        last = dict.fromkeys(v for v in (*variables(eqn.invars), *eqn.outvars) if v not in seen)
        seen.update(last)
        unused.append([*last])
    return unused[::-1]


def rewrite(closed: ClosedJaxpr, rule: Callable[[JaxprEqn], JaxprEqn | None]) -> ClosedJaxpr:
    """Replace equations of a trace, those of all inner jaxprs included.

    Args:
        closed: the trace. It is not changed.
        rule: takes an equation, and returns the one to put in its place; None to keep it, and to
            look at the jaxprs inside it.

    Returns:
        A trace with the new equations; the same object where there are none.
    """

    def rewritten(value: Any) -> Any:
        """A jaxpr, or a parameter that may have some; the same object if nothing changes."""
        if isinstance(value, ClosedJaxpr | Jaxpr):  # one class since JAX 0.12
            jaxpr = value.jaxpr if isinstance(value, ClosedJaxpr) else value
            eqns = [rule(eqn) or rewritten_inside(eqn) for eqn in jaxpr.eqns]
            if all(new is old for new, old in zip(eqns, jaxpr.eqns, strict=True)):
                return value
            jaxpr = jaxpr.replace(eqns=eqns)
            return value.replace(jaxpr=jaxpr) if isinstance(value, ClosedJaxpr) else jaxpr
        if isinstance(value, tuple) and any(isinstance(v, ClosedJaxpr | Jaxpr) for v in value):
            parts = tuple(map(rewritten, value))
            return value if all(map(lambda a, b: a is b, parts, value)) else parts
        return value

    def rewritten_inside(eqn: JaxprEqn) -> JaxprEqn:
        params = {name: rewritten(value) for name, value in eqn.params.items()}
        same = all(params[name] is value for name, value in eqn.params.items())
        return eqn if same else eqn.replace(params=params)

    return rewritten(closed)


class ValueRef(NamedTuple):
    """Where a value stands in a trace: one variable of one call.

    Attributes:
        calls: the equations around it, such as jit or scan, the outermost first.
        var: its variable. A function that is called twice may have one jaxpr for both.
    """

    calls: tuple[JaxprEqn, ...]
    var: Var


class Scope(NamedTuple):
    """The equations around a jaxpr.

    Attributes:
        calls: the outermost first.
        branches: for each of them, which of its bodies the jaxpr is.
    """

    calls: tuple[JaxprEqn, ...] = ()
    branches: tuple[int, ...] = ()

    def inside(self, eqn: JaxprEqn, branch: int = 0) -> "Scope":
        """The scope of a jaxpr inside an equation of this scope.

        Args:
            eqn: the equation.
            branch: which of its bodies.
        """
        return Scope((*self.calls, eqn), (*self.branches, branch))

    def ref(self, var: Var) -> ValueRef:
        """Where a value of this scope stands.

        Args:
            var: its variable.
        """
        return ValueRef(self.calls, var)

    def iterations(self) -> tuple[Any, ...]:
        """How often each scan around the jaxpr runs, the outermost first."""
        flows = map(control_flow, self.calls)
        return tuple(flow.length for flow in flows if flow and flow.length is not None)

    def alternatives(self) -> tuple[tuple[tuple[JaxprEqn, ...], int], ...]:
        """The branches that the jaxpr is in, the outermost first.

        Returns:
            For each conditional the calls around its branches, itself included, and the number of
            the branch.
        """
        return tuple(
            (self.calls[: depth + 1], self.branches[depth])
            for depth, flow in enumerate(map(control_flow, self.calls))
            if flow and flow.kind is FlowKind.BRANCHES
        )


class Interpreter(ABC, Generic[T]):
    """An analysis of jaxprs: it gives each variable an abstract value, in order of computation.

    A subclass says what an equation makes of the values of its operands, in :meth:`equation`. To
    follow values through branches, and through loops, derive it from :class:`MergingInterpreter` or
    :class:`FixpointInterpreter`.

    Attributes:
        enters: which equations are interpreted by the jaxprs inside them. All others are left to
            :meth:`equation`.
    """

    enters: ClassVar[frozenset[FlowKind]] = frozenset(
        {FlowKind.CALL, FlowKind.LOOP, FlowKind.BRANCHES}
    )

    @abstractmethod
    def equation(self, eqn: JaxprEqn, inputs: Sequence[T], scope: Scope) -> Sequence[T]:
        """Interpret one equation.

        Args:
            eqn: an equation whose inner jaxprs, if any, are not entered.
            inputs: the values of its operands.
            scope: the equations around it.

        Returns:
            The value of each result.
        """

    @abstractmethod
    def constant(self, const: Any) -> T:
        """The value of a constant of a jaxpr.

        Args:
            const: an array, or a number.
        """

    def literal(self, literal: Literal) -> T:
        """The value of a number that is written into an equation.

        Args:
            literal: the operand.
        """
        return self.constant(literal.val)

    def bind(self, variables: Sequence[Var], values: Sequence[T], scope: Scope) -> Sequence[T]:
        """See, and perhaps change, the values that variables get.

        Args:
            variables: the inputs of a jaxpr, or the results of an equation.
            values: one for each.
            scope: the equations around them.

        Returns:
            The values to go on with.
        """
        del variables, scope
        return values

    def run(
        self,
        jaxpr: Jaxpr,
        consts: Sequence[Any],
        inputs: Sequence[T],
        scope: Scope | None = None,
    ) -> list[T]:
        """Interpret a jaxpr. A value is dropped after its last use.

        Args:
            jaxpr: its equations.
            consts: its constants.
            inputs: the values of its inputs.
            scope: the equations around it; None for none.

        Returns:
            The values of its results.
        """
        scope = Scope() if scope is None else scope
        values: dict[Var, T] = {}

        def read(atom: Atom) -> T:
            return self.literal(atom) if isinstance(atom, Literal) else values[atom]

        def write(variables: Sequence[Var], results: Sequence[T]) -> None:
            values.update(zip(variables, self.bind(variables, results, scope), strict=True))

        write(jaxpr.constvars, [*map(self.constant, consts)])
        write(jaxpr.invars, inputs)
        for eqn, unused in zip(jaxpr.eqns, unused_after(jaxpr), strict=True):
            write(eqn.outvars, self.apply(eqn, [*map(read, eqn.invars)], scope))
            for variable in unused:
                values.pop(variable, None)
        return [*map(read, jaxpr.outvars)]

    def apply(self, eqn: JaxprEqn, inputs: list[T], scope: Scope) -> Sequence[T]:
        """Interpret any equation: enter the jaxprs inside it, or leave it to :meth:`equation`.

        Args:
            eqn: the equation.
            inputs: the values of its operands.
            scope: the equations around it.

        Returns:
            The value of each result.
        """
        flow = control_flow(eqn)
        if flow is None or flow.kind not in self.enters:
            return self.equation(eqn, inputs, scope)
        if flow.kind is FlowKind.LOOP:
            return self.loop(eqn, flow, inputs, scope)
        if flow.kind is FlowKind.BRANCHES:
            return self.branches(eqn, flow, inputs, scope)
        return self.call(eqn, flow, inputs, scope)

    def enter(self, body: Body, inputs: Sequence[T], scope: Scope) -> list[T]:
        """Interpret a jaxpr inside an equation.

        Args:
            body: the jaxpr.
            inputs: the values of all operands of the equation; arrays that a loop slices as the
                body sees them.
            scope: the equations around the jaxpr, the one that has it included.

        Returns:
            The values of its results.
        """
        return self.run(body.jaxpr, body.consts, [inputs[i] for i in body.operands], scope)

    def call(self, eqn: JaxprEqn, flow: ControlFlow, inputs: list[T], scope: Scope) -> Sequence[T]:
        """Interpret a call by its body.

        Args:
            eqn: the equation.
            flow: its description.
            inputs: the values of its operands.
            scope: the equations around it.

        Returns:
            The value of each result.
        """
        return self.enter(flow.bodies[0], inputs, scope.inside(eqn))

    def branches(
        self, eqn: JaxprEqn, flow: ControlFlow, inputs: list[T], scope: Scope
    ) -> Sequence[T]:
        """Interpret a conditional. Here it is left to :meth:`equation`.

        Args:
            eqn: the equation.
            flow: its description.
            inputs: the values of its operands.
            scope: the equations around it.

        Returns:
            The value of each result.
        """
        del flow
        return self.equation(eqn, inputs, scope)

    def loop(self, eqn: JaxprEqn, flow: ControlFlow, inputs: list[T], scope: Scope) -> Sequence[T]:
        """Interpret a loop. Here it is left to :meth:`equation`.

        Args:
            eqn: the equation.
            flow: its description.
            inputs: the values of its operands.
            scope: the equations around it.

        Returns:
            The value of each result.
        """
        del flow
        return self.equation(eqn, inputs, scope)

    def length(self, flow: ControlFlow) -> Any:
        """The number of iterations of a loop, an int where it is known.

        Args:
            flow: the description of the loop.
        """
        return flow.length

    def sliced_inputs(self, eqn: JaxprEqn, flow: ControlFlow, inputs: Sequence[T]) -> list[T]:
        """The operands of a loop as its body sees them.

        Args:
            eqn: the loop.
            flow: its description.
            inputs: the values of its operands.
        """
        sliced = slice(flow.carry.stop, None)
        inner = flow.bodies[0].jaxpr.invars[sliced]  # a scan passes all operands; no other slices
        slices = map(self.sliced, inputs[sliced], eqn.invars[sliced], inner)
        return [*inputs[: flow.carry.stop], *slices]

    def stacked_results(self, eqn: JaxprEqn, flow: ControlFlow, results: Sequence[T]) -> list[T]:
        """The results of a loop, given those of its body.

        Args:
            eqn: the loop.
            flow: its description.
            results: the values that the body returns.
        """
        stacked = slice(flow.carried, None)
        inner = flow.bodies[0].jaxpr.outvars[stacked]
        stacks = map(self.stacked, results[stacked], eqn.outvars[stacked], inner)
        return [*results[: flow.carried], *stacks]

    def sliced(self, value: T, outer: Atom, inner: Atom) -> T:
        """What the body of a loop sees of an array that is sliced.

        Args:
            value: that of the array.
            outer: the operand of the loop.
            inner: the input of the body.
        """
        del outer, inner
        return value

    def stacked(self, value: T, outer: Atom, inner: Atom) -> T:
        """What comes of a value that each iteration of a loop returns.

        Args:
            value: that of one iteration.
            outer: the result of the loop.
            inner: the result of the body.
        """
        del outer, inner
        return value


class MergingInterpreter(Interpreter[T]):
    """An analysis that follows both branches of a conditional, and merges what they return."""

    @abstractmethod
    def join(self, one: T, other: T, atom: Atom) -> T:
        """A value that is one or the other, as after a conditional.

        Args:
            one: a value.
            other: another one.
            atom: a variable of its shape.
        """

    def branches(
        self, eqn: JaxprEqn, flow: ControlFlow, inputs: list[T], scope: Scope
    ) -> Sequence[T]:
        """Interpret a conditional: join the results of all branches.

        Args:
            eqn: the equation.
            flow: its description.
            inputs: the values of its operands.
            scope: the equations around it.

        Returns:
            The value of each result.
        """
        results = (
            self.enter(body, inputs, scope.inside(eqn, number))
            for number, body in enumerate(flow.bodies)
        )
        return reduce(lambda one, other: self._joined(one, other, eqn.outvars), results)

    def _joined(self, some: Iterable[T], others: Iterable[T], atoms: Sequence[Atom]) -> list[T]:
        return [*map(self.join, some, others, atoms)]


class FixpointInterpreter(MergingInterpreter[T]):
    """An analysis that follows a loop until its values settle.

    Attributes:
        max_iterations: after so many iterations, a loop that has not settled is given up.
    """

    max_iterations: ClassVar[int] = 100

    @abstractmethod
    def absent(self) -> T:
        """What has no value yet: joined with any value, it gives that value."""

    @abstractmethod
    def settled(self, before: Sequence[T], after: Sequence[T], known: bool) -> bool:
        """Whether an iteration changes nothing.

        Args:
            before: the carried values before it.
            after: the same after it.
            known: whether the number of iterations is known, so that each of them counts.
        """

    @abstractmethod
    def unsettled(self, eqn: JaxprEqn, inputs: Sequence[T]) -> Sequence[T]:
        """The results of a loop that does not settle.

        Args:
            eqn: the loop.
            inputs: the values of its operands.
        """

    def decides(self, condition: Sequence[T]) -> bool:
        """Whether the number of iterations of a loop depends on the analysed values.

        Args:
            condition: the value of the condition of a while loop; empty for a scan.
        """
        del condition
        return False

    def loop(self, eqn: JaxprEqn, flow: ControlFlow, inputs: list[T], scope: Scope) -> Sequence[T]:
        """Interpret a loop: run its body until the carried values settle.

        Where the number of iterations is not known, or large, it may end after any of them. What
        is stacked is the join of what all iterations return.

        Args:
            eqn: the equation.
            flow: its description.
            inputs: the values of its operands.
            scope: the equations around it.

        Returns:
            The value of each result.
        """
        (body,), inner, carry = flow.bodies, scope.inside(eqn), flow.carry
        length = self.length(flow)
        known = isinstance(length, int) and length <= self.max_iterations
        values = self.sliced_inputs(eqn, flow, inputs)
        stacked = [self.absent()] * (len(eqn.outvars) - flow.carried)
        condition: list[T] = []
        settled = known
        for _ in range(length if known else self.max_iterations):
            condition = self.enter(flow.condition, values, inner) if flow.condition else []
            results = self.enter(body, values, inner)
            after = results[: flow.carried]
            if not known:
                after = self._joined(values[carry], after, eqn.invars[carry])
            ys = body.jaxpr.outvars[flow.carried :]
            stacked = self._joined(stacked, results[flow.carried :], ys)
            stable = self.settled(values[carry], after, known)
            values[carry] = after
            if stable:
                settled = True
                break
        if not settled or self.decides(condition):
            return self.unsettled(eqn, inputs)
        return self.stacked_results(eqn, flow, [*values[carry], *stacked])


class Evaluator(Interpreter[Any]):
    """Computes jaxprs, equation by equation. Calls are made as they are, with their gradients."""

    enters = frozenset()

    def constant(self, const: Any) -> Any:
        """The constant itself.

        Args:
            const: an array, or a number.
        """
        return const

    def equation(self, eqn: JaxprEqn, inputs: Sequence[Any], scope: Scope) -> Sequence[Any]:
        """Compute an equation.

        Args:
            eqn: the equation.
            inputs: its operands, arrays or tracers.
            scope: the equations around it.

        Returns:
            Its results.
        """
        del scope
        return bind_equation(eqn, inputs)


def bind_equation(eqn: JaxprEqn, inputs: Iterable[Any]) -> list[Any]:
    """Compute one equation.

    Args:
        eqn: the equation.
        inputs: its operands, arrays or tracers.

    Returns:
        Its results.
    """
    outputs = eqn.primitive.bind(*inputs, **eqn.primitive.get_bind_params(eqn.params))
    return list(outputs) if eqn.primitive.multiple_results else [outputs]


def value_of(atom: Atom, values: Mapping[Var, Any]) -> Any:
    """What an operand of an equation stands for.

    Args:
        atom: a literal or a variable.
        values: of the variables.

    Returns:
        The number of a literal, or the entry of a variable.
    """
    return atom.val if isinstance(atom, Literal) else values[atom]


def variables(atoms: Iterable[Atom]) -> Iterator[Var]:
    """Those of some operands that are not literals.

    Args:
        atoms: operands of equations.
    """
    return (atom for atom in atoms if isinstance(atom, Var))


def shape_of(atom: Any) -> tuple[Any, ...]:
    """The shape of a value in a jaxpr; empty for what is not an array.

    Args:
        atom: a literal or a variable.
    """
    return getattr(atom.aval, "shape", ())


def fresh(name: str, taken: Container[str]) -> str:
    """Make a name unique.

    Args:
        name: any text.
        taken: the names that are in use.

    Returns:
        The name, or ``name#2``, ``name#3`` where it is in use.
    """
    candidates = itertools.chain([name], (f"{name}#{count}" for count in itertools.count(2)))
    return next(candidate for candidate in candidates if candidate not in taken)
