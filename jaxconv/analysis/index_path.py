"""Follow one number of a layer from the equation that sums it to the feature map."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from jaxconv.analysis.network import Layer, Network
from jaxconv.analysis.patches import reader
from jaxconv.compat import JaxprEqn, Literal, Var
from jaxconv.jaxpr.interpreter import FlowKind, Interpreter, Scope, ValueRef, shape_of
from jaxconv.jaxpr.patch_reader import Index
from jaxconv.jaxpr.primitives import record_of


@dataclass(frozen=True, eq=False)
class PathStep:
    """An equation that passes the number on.

    Attributes:
        eqn: the equation.
        ref: its result.
        index: where the number stands in the result.
        other: its operand that does not depend on the number, if it has one.
    """

    eqn: JaxprEqn
    ref: ValueRef
    index: Index
    other: Var | Literal | None

    def addend(self) -> ValueRef | Any | None:
        """What it adds to the number: where an array stands, or a number; None for nothing."""
        if isinstance(self.other, Var):
            return ValueRef(self.ref.calls, self.other)
        return None if self.other is None else self.other.val


def follow(
    network: Network, layer: Layer, end: ValueRef, image: int, at: Sequence[Any], channel: Any
) -> list[PathStep]:
    """Follow a neuron's number from the equation that sums it to a value.

    Args:
        network: read of a trace.
        layer: the neuron's, with a reader of its patches.
        end: a value that has the neuron's number, perhaps elsewhere.
        image: of the batch.
        at: the neuron's position along each axis of pixels; or arrays, for many neurons at once.
        channel: its channel, or an array.

    Returns:
        The steps, both ends included; empty where they do not lead there.
    """
    reading = reader(layer)
    assert reading is not None, layer.name
    ref = ValueRef(layer.calls, reading.eqn.outvars[0])
    index = reading.axes.locate(shape_of(ref.var), image, at, channel)
    jaxpr, tracker = network.closed.jaxpr, _IndexTracker(PathStep(reading.eqn, ref, index, None))
    tracker.run(jaxpr, network.closed.consts, [None] * len(jaxpr.invars))
    refs = [step.ref for step in tracker.steps]
    return tracker.steps[: refs.index(end) + 1] if end in refs else []


@dataclass(frozen=True, eq=False)
class _Derived:
    """A value that depends on the number, and where the number stands in it, if it still does."""

    index: Index | None = None


class _IndexTracker(Interpreter[_Derived | None]):
    """Follows a number through a trace, and through the calls in it.

    Attributes:
        steps: that pass the number on, in the order of computation; the first one is given.
    """

    enters = frozenset({FlowKind.CALL})

    def __init__(self, start: PathStep) -> None:
        self.steps = [start]

    def constant(self, const: Any) -> None:
        del const

    def bind(
        self, variables: Sequence[Var], values: Sequence[_Derived | None], scope: Scope
    ) -> Sequence[_Derived | None]:
        start = self.steps[0]
        return [
            _Derived(start.index) if (scope.calls, variable) == start.ref else value
            for variable, value in zip(variables, values, strict=True)
        ]

    def equation(
        self, eqn: JaxprEqn, inputs: Sequence[_Derived | None], scope: Scope
    ) -> Sequence[_Derived | None]:
        derived = [value for value in inputs if value is not None]
        results: list[_Derived | None] = [_Derived() if derived else None] * len(eqn.outvars)
        index = next((value.index for value in derived if value.index is not None), None)
        index_map = record_of(eqn).index_map
        if index is not None and index_map is not None:
            moved, pairs = tuple(index_map(index, eqn)), zip(eqn.invars, inputs, strict=True)
            other = next((atom for atom, value in pairs if value is None), None)
            self.steps.append(PathStep(eqn, ValueRef(scope.calls, eqn.outvars[0]), moved, other))
            results[0] = _Derived(moved)
        return results


def addition_of_bias(steps: Sequence[PathStep]) -> PathStep | None:
    """Find the addition of a bias: the first step that does more than move or cast the number.

    Args:
        steps: those of a path after the first.

    Returns:
        The step; None where nothing is added.
    """
    first = next((step for step in steps if not record_of(step.eqn).only_moves), None)
    added = first is not None and record_of(first.eqn).adds
    return first if first and added and first.other is not None else None


def operation_names(steps: Sequence[PathStep], depth: int) -> tuple[str, ...]:
    """Name what steps do: the function called, or the operation; each run of equal names once.

    Args:
        steps: some of a path.
        depth: how many calls stand around all of them.
    """

    def name(step: PathStep) -> str:
        called = [call.params.get("name") for call in step.ref.calls[depth:]]
        return next((str(name).strip("_") for name in called if name), step.eqn.primitive.name)

    doing = [step for step in steps if not record_of(step.eqn).only_moves]
    return tuple(name for name, _ in groupby(map(name, doing)))
