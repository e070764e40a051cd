"""Follow one number of a layer from the equation that sums it to the feature map."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from jaxconv.analysis.network import Layer, Network
from jaxconv.analysis.patches import Place, reader
from jaxconv.compat import JaxprEqn, Literal, Var
from jaxconv.jaxpr.interpreter import IN_PLACE, FlowKind, Interpreter, Scope, ValueRef, shape_of


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
    index: Place
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
    index = reading.frame.place(shape_of(ref.var), image, at, channel)
    jaxpr, tracker = network.closed.jaxpr, _IndexTracker(PathStep(reading.eqn, ref, index, None))
    tracker.run(jaxpr, network.closed.consts, [None] * len(jaxpr.invars))
    refs = [step.ref for step in tracker.steps]
    return tracker.steps[: refs.index(end) + 1] if end in refs else []


@dataclass(frozen=True, eq=False)
class _Derived:
    """A value that depends on the number, and where the number stands in it, if it still does."""

    index: Place | None = None


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
        move = MOVES.get(eqn.primitive.name)
        if index is not None and move is not None:
            moved, pairs = tuple(move(index, eqn)), zip(eqn.invars, inputs, strict=True)
            other = next((atom for atom, value in pairs if value is None), None)
            self.steps.append(PathStep(eqn, ValueRef(scope.calls, eqn.outvars[0]), moved, other))
            results[0] = _Derived(moved)
        return results


def addition_of_bias(steps: Sequence[PathStep]) -> PathStep | None:
    """Find the addition of a bias: the first step that does more than move or cast the number.

    Args:
        steps: those of a path behind the first.

    Returns:
        The step; None where nothing is added.
    """
    first = next((step for step in steps if step.eqn.primitive.name not in ASIDE), None)
    added = first is not None and first.eqn.primitive.name in ("add", "add_any")
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

    doing = [step for step in steps if step.eqn.primitive.name not in ASIDE]
    return tuple(name for name, _ in groupby(map(name, doing)))


def _squeezed(place: Place, eqn: JaxprEqn) -> Iterator[int]:
    return (n for axis, n in enumerate(place) if axis not in eqn.params["dimensions"])


def _reversed(place: Place, eqn: JaxprEqn) -> Iterator[int]:
    for axis, (n, side) in enumerate(zip(place, shape_of(eqn.outvars[0]), strict=True)):
        yield side - 1 - n if axis in eqn.params["dimensions"] else n


def _reshaped(place: Place, eqn: JaxprEqn) -> Iterable[Any]:
    number = np.ravel_multi_index(place, shape_of(eqn.invars[0])) if place else 0
    return np.unravel_index(number, shape_of(eqn.outvars[0]))


# Where an operation puts the number that stood at a place.
MOVES: dict[str, Callable[[Place, JaxprEqn], Any]] = {
    **dict.fromkeys(IN_PLACE, lambda place, _: place),
    "reshape": _reshaped,
    "rev": _reversed,
    "squeeze": _squeezed,
    "transpose": lambda place, eqn: (place[axis] for axis in eqn.params["permutation"]),
}
ASIDE = frozenset("convert_element_type copy name reshape rev squeeze transpose".split())  # noqa: SIM905
