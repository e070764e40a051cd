"""Confirm the formulas of counts with numbers, as :mod:`jaxconv.prover.confirm` does for shapes.

JAX may compute the same result in another way for some sizes: it leaves out a resize to the same
size, and contracts an einsum in the order that costs least. Shapes do not show it, but MACs do.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import islpy as isl
import numpy as np

from jaxconv.analysis.contraction_order import Contraction, sizes_of_other_orders
from jaxconv.analysis.layer_counts import Counts, RegionCounts, count_layers
from jaxconv.analysis.network import Layer, Network
from jaxconv.analysis.network_reader import read_network
from jaxconv.prover.subject import Subject
from jaxconv.symbolic.domains import intersect_most
from jaxconv.symbolic.sets import SizeSet
from jaxconv.symbolic.size import value_at
from jaxconv.symbolic.trace import Fork, SymbolicTrace

GROUPS = 8  # of equalities that are compared with numbers, all that can hold at once together
ORDERS = 2  # sizes compared at which an einsum contracts in another order

Point = dict[str, int]
Differences = dict[str, frozenset[str]]  # which counts of each row differ, by its name


class Confirmation(NamedTuple):
    """Where the formulas of a region hold.

    Attributes:
        excluded: sizes for which some layer differs, or its counts do.
        differences: counts for which no such sizes are known: they hold for some, not for all.
        examples: sizes for which these differ.
    """

    excluded: SizeSet
    differences: Differences
    examples: tuple[Point, ...]


def layers_at(subject: Subject, point: Point) -> Network | None:
    """Trace a function with numbers.

    Args:
        subject: the function.
        point: a number for each size.

    Returns:
        Its network; None where the trace fails.
    """
    condition = " and ".join(f"{name} = {size}" for name, size in point.items())
    try:
        only = SizeSet.parse([*point], condition)
        traced = subject.trace(SymbolicTrace(only.points))
    except (Exception, Fork):
        return None
    return read_network(traced.closed, subject.arguments, subject.fn)


def confirm_counts(
    subject: Subject,
    region: RegionCounts,
    contractions: Iterable[Contraction],
    padded_taps: bool,
    harmless: set[str],
) -> Confirmation:
    """Compare the formulas of a region with numbers.

    They are compared where JAX was told that no two sizes are equal, for sizes at which an einsum
    contracts in another order, and for one size for each equality that was answered False.

    Args:
        subject: the function.
        region: the sizes and the formulas.
        contractions: the einsums of all traces.
        padded_taps: whether kernel elements on padding count.
        harmless: equalities that changed nothing in other regions, to which those of this one are
            added.

    Returns:
        Where they hold.
    """
    compare = _Comparison(subject, region.counts, padded_taps)
    trace, sizes = region.analysis.region.trace, region.analysis.region.sizes
    conditions = {
        str(one.condition): one.condition
        for one in trace.deferred
        if not one.condition.is_disjoint(sizes)
    }
    equalities = [*conditions.values()]
    without = sizes
    for condition in equalities:
        without = without.subtract(condition)
    einsums = [one for one in contractions if one.trace is trace]
    plain = SizeSet(without)
    others = [] if plain.is_empty() else sizes_of_other_orders(einsums, plain)
    differences: dict[str, frozenset[str]] = {}
    examples = []
    larger = " and ".join(f"{name} >= {7 + 2 * i}" for i, name in enumerate(plain.names))
    # The smallest sizes, and the smallest that are larger and not alike.
    parts = (plain, plain & SizeSet.parse(plain.names, larger))
    points = [part.smallest() for part in parts if not part.is_empty()]
    if points[1:] == points[:1]:
        points = points[1:]
    # Where there are equalities, they hold for the smallest sizes, which are compared below.
    for point in (*(points[-1:] if equalities else points), *others[:ORDERS]):
        found = compare.at(point)
        for name, counts in found.items():
            differences[name] = differences.get(name, frozenset()) | counts
        examples += [point] if found else []
    if others:  # the numbers may be equal by chance at those that are compared
        for layer in region.counts:
            if layer.kind == "product":
                differences[layer.name] = differences.get(layer.name, frozenset()) | {"macs"}
        examples = examples or others[:1]
    left = [one for text, one in conditions.items() if text not in harmless]
    excluded = SizeSet(_excluded(compare, sizes, left, differences))
    if excluded.is_empty():
        harmless.update(conditions)
    return Confirmation(excluded, differences, tuple(examples))


def _excluded(
    compare: "_Comparison",
    sizes: isl.Set,
    equalities: list[isl.Set],
    known: Differences,
) -> isl.Set:
    """The sizes for which an equality holds, and more differs than is known to."""
    excluded, left = isl.Set.empty(sizes.space), equalities
    others = [sizes.subtract(one) for one in reversed(equalities)]  # where each does not hold
    for group in range(GROUPS + 1):
        if not left:
            break
        if group == GROUPS:
            excluded = _union(excluded, left)  # not compared, so that nothing is claimed
            break
        best, _ = intersect_most(sizes, left)
        holding = [one for one in left if best.is_subset(one)]
        left = [one for one in left if not best.is_subset(one)]
        if not compare.differs(SizeSet(best).smallest(), known):
            continue
        guilty = []
        for one in holding:
            alone, _ = intersect_most(sizes.intersect(one), others)
            if compare.differs(SizeSet(alone).smallest(), known):
                guilty.append(one)
        excluded = _union(excluded, guilty or [_together(compare, sizes, holding, others, known)])
    return excluded.intersect(sizes)


def _together(
    compare: "_Comparison",
    sizes: isl.Set,
    holding: list[isl.Set],
    others: list[isl.Set],
    known: Differences,
) -> isl.Set:
    """The sizes for which all equalities hold that a difference needs, where none alone makes one.

    A resize to one pixel is left out only where both axes have one pixel, for any batch.

    Args:
        compare: compares formulas with numbers.
        sizes: the sizes to consider.
        holding: equalities that hold at a point with a difference.
        others: for each equality where it does not hold.
        known: what is known to differ.
    """
    needed = holding
    for one in holding:
        rest = [other for other in needed if other is not one]
        without = functools.reduce(isl.Set.intersect, rest, sizes).subtract(one)
        if not rest or without.is_empty():
            continue
        alone, _ = intersect_most(without, others)
        if compare.differs(SizeSet(alone).smallest(), known):
            needed = rest
    return functools.reduce(isl.Set.intersect, needed)


def _union(first: isl.Set, others: Iterable[isl.Set]) -> isl.Set:
    for other in others:
        first = first.union(other)
    return first


class _Comparison:
    """Compares formulas with numbers, at each point once."""

    def __init__(self, subject: Subject, counts: Mapping[Layer, Counts], padded_taps: bool) -> None:
        self.subject, self.padded_taps = subject, padded_taps
        self.formulas = {layer.name: (layer, some) for layer, some in counts.items()}
        self.found: dict[tuple[int, ...], Differences] = {}

    def differs(self, point: Point, known: Differences) -> bool:
        """Tell whether more differs at a point than is known to."""
        return any(counts - known.get(name, frozenset()) for name, counts in self.at(point).items())

    def at(self, point: Point) -> Differences:
        """Which counts of which rows differ at a point; those that only one side has do."""
        key = tuple(point.values())
        if key not in self.found:
            self.found[key] = {name: some for name, some in self._compared(point) if some}
        return self.found[key]

    def _compared(self, point: Point) -> Iterator[tuple[str, frozenset[str]]]:
        everything = frozenset(Counts._fields)
        network = layers_at(self.subject, point)
        counted = count_layers(network, number, self.padded_taps) if network else {}
        numbers = {layer.name: (layer, counts) for layer, counts in counted.items()}
        for name in {**self.formulas, **numbers}:
            formula, exact = self.formulas.get(name), numbers.get(name)
            if formula is None or exact is None or not same_layer(formula[0], exact[0]):
                yield name, everything
                continue
            values = formula[1].mapped(lambda size: size if size is None else value_at(size, point))
            different = values.differing(exact[1])
            if formula[0].output.dtype != exact[0].output.dtype:
                different.add("output")
            yield name, frozenset(different)


def same_layer(one: Layer, other: Layer) -> bool:
    """Tell whether rows of two traces are the same layer, fed by the same ones.

    Args:
        one: a layer.
        other: a layer of another trace of the function.

    Returns:
        Whether they agree in all but sizes.
    """
    first, second = (
        (
            layer.name,
            layer.kind,
            tuple(source.name for source in layer.sources),
            sum(parameter.count for parameter in layer.parameters),
        )
        for layer in (one, other)
    )
    return first == second


def number(size: Any) -> Any:
    """Rewrite a size of a trace with numbers as an int; other values stay."""
    return int(size) if isinstance(size, np.integer) else size
