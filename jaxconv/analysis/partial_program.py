"""The part of a traced function that computes some values inside it, run step by step.

Each value is reduced to what a caller needs of it as soon as it is there, and dropped after its
last use, so that no more than a few maps of a network are in memory at once.
"""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import jax

from jaxconv.analysis.network import Network
from jaxconv.compat import Jaxpr, JaxprEqn, Literal, Var, dce_jaxpr
from jaxconv.jaxpr.interpreter import (
    Atom,
    ControlFlow,
    Evaluator,
    FlowKind,
    Scope,
    ValueRef,
    bind_equation,
)
from jaxconv.jaxpr.resources import peak_bytes, work

R = TypeVar("R")
ReportProgress = Callable[[float], None]  # takes the share of the work that is done, from 0 to 1
_report: ContextVar[ReportProgress | None] = ContextVar("report", default=None)


@contextlib.contextmanager
def reporting(report: ReportProgress) -> Iterator[None]:
    """Report the progress of all programs that are run meanwhile, equation by equation.

    Each equation is then computed before the next one begins.

    Args:
        report: takes the share of a program's work that is done, from 0 to 1.
    """
    token = _report.set(report)
    try:
        yield
    finally:
        _report.reset(token)


@dataclass(frozen=True)
class PartialProgram:
    """The equations that some values inside a network need.

    Attributes:
        jaxpr: these equations; it takes the arrays that the trace takes, and returns the values.
        consts: its constants.
        names: of the values, in the order of computation.
    """

    jaxpr: Jaxpr
    consts: Sequence[Any]
    names: Sequence[str]

    @classmethod
    def of(
        cls,
        network: Network,
        refs: Mapping[str, ValueRef],
        leaves: Sequence[Any],
        replaced: Mapping[ValueRef, Any] | None = None,
    ) -> "PartialProgram":
        """Find the equations that some values need.

        Args:
            network: read of a trace.
            refs: by name, where the values stand; not inside while loops and branches.
            leaves: the arrays that the trace takes, or their shapes.
            replaced: values to go on with in place of those computed there.

        Returns:
            The program.
        """
        names = {ref: name for name, ref in refs.items()}
        order: list[str] = []

        def recorded(*leaves: Any) -> list[Any]:
            recorder = _Recorder(dict.fromkeys(names) | dict(replaced or {}))
            recorder.run(network.closed.jaxpr, network.closed.consts, leaves)
            kept = {names[ref]: value for ref, value in recorder.values.items() if ref in names}
            order[:] = kept
            return [*kept.values()]

        closed = jax.make_jaxpr(recorded)(*leaves)
        needed, _ = dce_jaxpr(closed.jaxpr, [True] * len(order), instantiate=True)
        return cls(needed, closed.consts, order)

    def peak_bytes(self, kept: Collection[str] = ()) -> int:
        """Estimate how much memory the values take at once, each until its last use.

        The arrays that the program takes do not count.

        Args:
            kept: the names of values that are kept whole until the end.

        Returns:
            Bytes.
        """
        results = zip(self.names, self.jaxpr.outvars, strict=True)
        return peak_bytes(self.jaxpr.replace(outvars=[v for name, v in results if name in kept]))

    def run(self, leaves: Sequence[Any], reduce: Callable[[str, Any], R]) -> dict[str, R]:
        """Compute the values one after the other. :func:`reporting` tells how far it is.

        Args:
            leaves: the arrays that the trace takes.
            reduce: takes the name of a value and the value as soon as it is there, and returns what
                to keep of it.

        Returns:
            What is kept of each value by name, in the order of computation.
        """
        wanted: dict[Atom, list[str]] = {}
        kept: dict[str, R] = {}
        for name, atom in zip(self.names, self.jaxpr.outvars, strict=True):
            if isinstance(atom, Literal):
                kept[name] = reduce(name, atom.val)
            else:
                wanted.setdefault(atom, []).append(name)

        def see(variable: Var, value: Any) -> None:
            kept.update((name, reduce(name, value)) for name in wanted.get(variable, ()))

        jaxpr = self.jaxpr.replace(outvars=[])
        total = work(jaxpr) if _report.get() else 0.0  # not where sizes may be symbolic
        _Steps(see, total).run(jaxpr, self.consts, leaves)
        return {name: kept[name] for name in self.names}


class _Steps(Evaluator):
    """Evaluates a jaxpr, shows each value as soon as it is there, and reports its progress.

    Attributes:
        see: takes a variable and its value.
        total: the work of all equations.
        done: that of those that are computed.
    """

    def __init__(self, see: Callable[[Var, Any], None], total: float) -> None:
        self.see = see
        self.total, self.done = total, 0.0

    def bind(self, variables: Sequence[Var], values: Sequence[Any], scope: Scope) -> Sequence[Any]:
        del scope
        for variable, value in zip(variables, values, strict=True):
            self.see(variable, value)
        return values

    def equation(self, eqn: JaxprEqn, inputs: Sequence[Any], scope: Scope) -> Sequence[Any]:
        results = super().equation(eqn, inputs, scope)
        report = _report.get()
        if report:
            # JAX would begin the next equations, and take memory for them, before this one ends.
            jax.block_until_ready(results)
            self.done += work(eqn)
            report(self.done / max(self.total, 1.0))
        return results


class _Recorder(Evaluator):
    """Evaluates a jaxpr, and records or replaces values inside it.

    A call with no such value inside is made as it is, which keeps its own gradient and its jit.

    Attributes:
        wanted: what to put in place of each value; None keeps and records it.
        values: the wanted values, in the order of computation.
    """

    enters = frozenset({FlowKind.CALL, FlowKind.LOOP})

    def __init__(self, wanted: Mapping[ValueRef, Any]) -> None:
        self.wanted = wanted
        self.values: dict[ValueRef, Any] = {}

    def bind(self, variables: Sequence[Var], values: Sequence[Any], scope: Scope) -> Sequence[Any]:
        bound = []
        for variable, value in zip(variables, values, strict=True):
            ref = ValueRef(scope.calls, variable)
            new = self.wanted.get(ref)
            bound.append(value if new is None else new)
            if ref in self.wanted:
                self.values[ref] = bound[-1]
        return bound

    def apply(self, eqn: JaxprEqn, inputs: list[Any], scope: Scope) -> Sequence[Any]:
        within = scope.inside(eqn).calls
        has_wanted = any(ref.calls[: len(within)] == within for ref in self.wanted)
        return super().apply(eqn, inputs, scope) if has_wanted else bind_equation(eqn, inputs)

    def call(
        self, eqn: JaxprEqn, flow: ControlFlow, inputs: list[Any], scope: Scope
    ) -> Sequence[Any]:
        inner = _Recorder(self.wanted)
        results = inner.enter(flow.bodies[0], inputs, scope.inside(eqn))
        self.values |= inner.values
        replaced = any(self.wanted[ref] is not None for ref in inner.values)
        if replaced or not eqn.primitive.name.startswith("custom_"):
            return results
        return bind_equation(eqn, inputs)  # its own gradient is kept by the call itself

    def loop(
        self, eqn: JaxprEqn, flow: ControlFlow, inputs: list[Any], scope: Scope
    ) -> Sequence[Any]:
        """A scan that also returns the wanted values of each iteration, stacked."""
        assert flow.condition is None, eqn.primitive
        first, last = flow.carry.start, flow.carry.stop
        refs: list[ValueRef] = []

        def step(carry: list[Any], xs: list[Any]) -> tuple[list[Any], Any]:
            inner = _Recorder(self.wanted)
            results = inner.enter(flow.bodies[0], [*inputs[:first], *carry, *xs], scope.inside(eqn))
            refs[:] = inner.values
            return results[: flow.carried], (results[flow.carried :], [*inner.values.values()])

        settings = {name: eqn.params[name] for name in ("length", "reverse", "unroll")}
        carry, (ys, values) = jax.lax.scan(step, inputs[first:last], inputs[last:], **settings)
        self.values.update(zip(refs, values, strict=True))
        return [*carry, *ys]
