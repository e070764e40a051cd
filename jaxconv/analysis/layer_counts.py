"""What each layer returns, computes and has learnt: formulas, or numbers of one size."""

import functools
from collections.abc import Callable, Iterable
from math import prod
from typing import Any, NamedTuple

from jaxconv.analysis.network import Layer, Network
from jaxconv.analysis.regions import RegionNetwork, if_known
from jaxconv.jaxpr.equation import Substitute
from jaxconv.jaxpr.primitives import record_of


class Counts(NamedTuple):
    """The counts of a layer, each as factors; None is unknown, or has no meaning.

    Attributes:
        output: the sides of its output.
        times: how often each scan around it runs.
        macs: of one run.
        weights: of one neuron.
    """

    output: tuple[Any, ...]
    times: tuple[Any, ...]
    macs: tuple[Any, ...] | None
    weights: tuple[Any, ...] | None

    @classmethod
    def of(cls, layer: Layer, substitute: Substitute, padded_taps: bool) -> "Counts":
        """Count what a layer returns, computes and has learnt.

        Args:
            layer: the layer.
            substitute: rewrites sizes so that they can be computed with.
            padded_taps: whether kernel elements on padding count.

        Returns:
            Its counts.
        """
        eqn = layer.eqn
        assert eqn is not None
        sizes = (layer.output.shape, layer.times)
        output, times = (tuple(map(substitute, some)) for some in sizes)
        record = record_of(eqn)
        count_macs, count_weights = record.macs, record.weights
        if count_macs is None:
            return cls(output, times, None if layer.kind == "unknown" else (0,), None)
        each = [
            functools.partial(count_macs, one, substitute, padded_taps)
            for one in layer.earlier_products
        ]
        macs = if_known(lambda: count_macs(eqn, substitute, padded_taps))
        if each and macs is not None:
            macs = if_known(lambda: (sum(prod(count()) for count in each) + prod(macs),))
        learnt = () if layer.earlier_products else record.weight_operands  # a resize learns nothing
        is_learnt = any(layer.fixed[index] for index in learnt)
        weights = count_weights(eqn, substitute) if is_learnt and count_weights else None
        return cls(output, times, macs, weights)

    def mapped(self, change: Callable[..., Any], *others: "Counts") -> "Counts":
        """Change each factor, given those of others in the same place.

        Args:
            change: takes one factor of each.
            *others: counts of the same layer in other regions of the sizes.

        Returns:
            The counts that it makes.
        """

        def changed(*factors: tuple[Any, ...] | None) -> Any:
            known = [some for some in factors if some is not None]
            if len({*map(len, known)}) > 1:  # a sum of products in one region, a product in another
                known = [(prod(some),) for some in known]
            return tuple(map(change, *known)) if len(known) == len(factors) else None

        return Counts(*map(changed, self, *others))

    def without(self, names: Iterable[str]) -> "Counts":
        """Leave out counts that do not hold.

        Args:
            names: of the counts, as they are fields here.

        Returns:
            The others; those left out are unknown.
        """
        unknown: dict[str, Any] = dict.fromkeys({*names} & {"macs", "weights"})
        if {"output", "times"} & {*names}:
            unknown["output"] = (None,) * len(self.output)
        if "times" in names:
            unknown["macs"] = None
        return self._replace(**unknown)

    def differing(self, exact: "Counts") -> set[str]:
        """Find the counts that differ from others; those without a formula do not.

        Args:
            exact: the counts of the same layer, as numbers.

        Returns:
            Their names, as they are fields here.
        """
        found = {"output"} if self.output != exact.output else set[str]()
        for name in ("times", "macs", "weights"):
            computed = product_of(getattr(self, name))
            if computed is not None and computed != product_of(getattr(exact, name)):
                found.add(name)
        return found


class RegionCounts(NamedTuple):
    """What one region of the sizes shows.

    Attributes:
        analysis: the sizes, their trace, and the network.
        counts: of the layers that are rows.
    """

    analysis: RegionNetwork
    counts: dict[Layer, Counts]


def count_layers(
    network: Network, substitute: Substitute, padded_taps: bool
) -> dict[Layer, Counts]:
    """Count what each layer of a network returns, computes and has learnt.

    Args:
        network: the network.
        substitute: rewrites its sizes so that they can be computed with.
        padded_taps: whether kernel elements on padding count.

    Returns:
        The counts of the layers that are rows.
    """
    return {layer: Counts.of(layer, substitute, padded_taps) for layer in network.rows.values()}


def product_of(*factors: tuple[Any, ...] | None) -> Any:
    """Multiply factors.

    Args:
        *factors: groups of factors.

    Returns:
        The product of all; None where one is unknown.
    """
    known: list[Any] = [n for some in factors for n in ((None,) if some is None else some)]
    return None if any(n is None for n in known) else if_known(lambda: prod(known))
