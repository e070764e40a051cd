"""Follow one number of a layer from the equation that sums it to the feature map."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple, cast

from jaxconv.analysis.network import Layer, Network, ValueRef
from jaxconv.analysis.patches import reader
from jaxconv.compat import Jaxpr, JaxprEqn, Literal, Var
from jaxconv.jaxpr.interpreter import body, shape_of
from jaxconv.jaxpr.patch_reader import Index
from jaxconv.jaxpr.primitives import record_of


class Step(NamedTuple):
    """An equation that passes the number on.

    Attributes:
        eqn: the equation.
        ref: what it gives.
        place: where the number stands in that.
        fixed: its operand that is not made of the layer, where it has one.
    """

    eqn: JaxprEqn
    ref: ValueRef
    place: Index
    fixed: Var | Literal | None


def follow(
    network: Network, layer: Layer, end: ValueRef, image: int, at: Sequence[Any], channel: Any
) -> list[Step]:
    """The steps from a neuron to a value, both included; none where they do not lead there.

    Args:
        network: read of a trace.
        layer: the neuron's, with a reading.
        end: a value that has the neuron's number, perhaps elsewhere.
        image: of the batch.
        at: the neuron's place along each axis of pixels; or arrays, for many neurons at once.
        channel: its channel, or an array.
    """
    reading = reader(layer)
    assert reading is not None, layer.name
    ref = ValueRef(layer.calls, reading.eqn.outvars[0])
    place = reading.axes.locate(shape_of(ref.var), image, at, channel)
    trail = Trail({ref: place}, [Step(reading.eqn, ref, place, None)])
    trail.walk(network.closed.jaxpr)
    refs = [step.ref for step in trail.steps]
    return trail.steps[: refs.index(end) + 1] if end in refs else []


@dataclass
class Trail:
    """Walks a trace from a number on.

    Attributes:
        places: where the number stands in each value made of it; None where it cannot be told.
        steps: in the order of computation.
    """

    places: dict[ValueRef, Index | None]
    steps: list[Step]

    def walk(self, jaxpr: Jaxpr, calls: tuple[JaxprEqn, ...] = ()) -> None:
        """Take every step of a jaxpr, those inside calls that stand for their body too."""
        for eqn in jaxpr.eqns:
            inner = body(eqn)
            if inner is None:
                self._step(eqn, calls)
                continue
            within = (*calls, eqn)
            self._hand(eqn.invars, calls, inner[0].invars, within)
            self.walk(inner[0], within)
            self._hand(inner[0].outvars, within, eqn.outvars, calls)

    def _hand(
        self,
        here: Sequence[Any],
        calls: tuple[JaxprEqn, ...],
        there: Sequence[Any],
        within: tuple[JaxprEqn, ...],
    ) -> None:
        """Give the values at the border of a call their other names."""
        for atom, variable in zip(here, there, strict=True):
            if self._known(atom, calls):
                self.places[ValueRef(within, variable)] = self.places[ValueRef(calls, atom)]

    def _known(self, atom: Any, calls: tuple[JaxprEqn, ...]) -> bool:
        return not isinstance(atom, Literal) and ValueRef(calls, atom) in self.places

    def _step(self, eqn: JaxprEqn, calls: tuple[JaxprEqn, ...]) -> None:
        ours = [atom for atom in eqn.invars if self._known(atom, calls)]
        seen = [self.places[ValueRef(calls, cast(Var, atom))] for atom in ours]
        place = next((place for place in seen if place is not None), None)
        index_map = record_of(eqn).index_map
        if not ours:
            return
        refs = [ValueRef(calls, variable) for variable in eqn.outvars]
        self.places |= dict.fromkeys(refs)
        if place is not None and index_map is not None:
            self.places[refs[0]] = there = tuple(index_map(place, eqn))
            fixed = next((atom for atom in eqn.invars if atom not in ours), None)
            self.steps.append(Step(eqn, refs[0], there, fixed))


def sum_of(steps: Sequence[Step]) -> Step | None:
    """The addition of a bias: the first step that does more than move or cast the number."""
    first = next((step for step in steps if not record_of(step.eqn).only_moves), None)
    added = first is not None and record_of(first.eqn).adds
    return first if first and added and first.fixed is not None else None


def names(steps: Sequence[Step], outside: int) -> tuple[str, ...]:
    """What steps do, each run of equal names once: that of the function called, or the operation.

    Args:
        steps: some of a trail.
        outside: how many calls stand around all of them.
    """
    doing = [step for step in steps if not record_of(step.eqn).only_moves]
    return tuple(name for name, _ in groupby(_names(doing, outside)))


def _names(steps: Sequence[Step], outside: int) -> Iterator[str]:
    for step in steps:
        around = [call.params.get("name") for call in step.ref.calls[outside:]]
        called = next((str(name).strip("_") for name in around if name), "")
        yield called or step.eqn.primitive.name
