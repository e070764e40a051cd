"""A function traced for all sizes at once, each trace read as a network."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import islpy as isl
import numpy as np

from jaxconv.analysis.network import Network
from jaxconv.analysis.network_reader import read_network
from jaxconv.errors import Diagnostic, ValidationError
from jaxconv.jaxpr.window_axis import Substitute
from jaxconv.prover.check import explore_sizes
from jaxconv.prover.conclude import conclude
from jaxconv.prover.confirm import Region
from jaxconv.prover.subject import Subject
from jaxconv.prover.verdict import Verdict
from jaxconv.symbolic.domains import SizePart, unite
from jaxconv.symbolic.size import Size, transfer
from jaxconv.symbolic.trace import SymbolicTrace, Undecided


@dataclass(frozen=True)
class RegionNetwork:
    """A set of sizes for which one trace is right, and the network that it shows.

    Attributes:
        region: the sizes, and their trace.
        network: read of the trace.
        substitute: rewrites sizes of the trace so that they can be computed with.
    """

    region: Region
    network: Network
    substitute: Substitute


@dataclass(frozen=True)
class NetworkAnalysis:
    """A function traced for all sizes.

    Attributes:
        subject: the function, to be traced with numbers too.
        verdict: which sizes it accepts.
        regions: the network for each part of these sizes.
    """

    subject: Subject
    verdict: Verdict
    regions: list[RegionNetwork]

    def unite(self, *sizes: Any) -> Any:
        """Find one formula for what each region has a formula for.

        Args:
            *sizes: one for each region, or None where it is not known there.

        Returns:
            A number, or a formula; None if there is none.
        """
        if len(set(sizes)) == 1 and not isinstance(sizes[0], Size):
            return sizes[0]
        if not all(isinstance(size, int | Size) for size in sizes):
            return None
        parts = [
            SizePart(one.region.sizes, size) for one, size in zip(self.regions, sizes, strict=True)
        ]
        return if_known(lambda: self._substitute(unite(parts)))

    @functools.cached_property
    def _substitute(self) -> Substitute:
        return _substitution(
            functools.reduce(isl.Set.union, (one.region.sizes for one in self.regions))
        )


def analyze(
    fn: Callable[..., Any], *args: Any, where: str | None = None, **named: Any
) -> NetworkAnalysis:
    """Trace a function for all sizes, and read each trace as a network.

    Args:
        fn: any function of JAX, or a model.
        *args: its arguments, as :func:`jaxconv.check` takes them.
        where: the sizes to consider.
        **named: its keyword arguments, likewise.

    Returns:
        The network for each region of the sizes.

    Raises:
        ValidationError: no size is accepted, or sizes that cannot be traced as formulas.
    """
    exploration = explore_sizes(
        fn, *args, where=where, counts_turns=True, joins_programs=False, **named
    )
    verdict = conclude(exploration)
    # Where there are no formulas, every size fails, or sizes are needed as numbers.
    fix = 'pass numbers, such as "1 224 224 3".'
    if exploration.open_regions and (verdict.status == "tested" or not exploration.proven_regions):
        notes = "; ".join(exploration.reasons)
        wrong = f"the sizes cannot be traced as formulas: {notes}."
        raise ValidationError([Diagnostic(wrong, fix)])
    if not exploration.regions and verdict.failures:
        failure = verdict.failures[-1]  # that of the largest sizes: small maps become empty
        line = "".join(f"{text}: " for text in (failure.where, failure.layer) if text)
        wrong = f"no size is accepted. {line}{failure.message}"
        raise ValidationError([Diagnostic(wrong, failure.fix)])
    regions = exploration.regions[: exploration.proven_regions]
    if verdict.tried is not None:  # one by one: there are no formulas
        untried = verdict.untried | verdict.tried
        verdict = replace(verdict, accepts=verdict.accepts - verdict.tried, untried=untried)
    return NetworkAnalysis(
        exploration.subject,
        verdict,
        [
            RegionNetwork(
                region,
                read_network(region.closed, exploration.subject.arguments, exploration.subject.fn),
                _substitution(region.sizes),
            )
            for region in regions
        ],
    )


def if_known(compute: Callable[[], Any]) -> Any:
    """Compute a number or a formula.

    Args:
        compute: takes nothing, and returns it.

    Returns:
        The result; None where it is not decided.
    """
    try:
        return compute()
    except Undecided:
        return None


def _substitution(sizes: isl.Set) -> Substitute:
    """A function that rewrites sizes of other traces as formulas that hold for some sizes."""
    trace = SymbolicTrace(sizes.coalesce(), searching=False)

    def substitute(size: Any) -> Any:
        if not isinstance(size, Size):
            return int(size) if isinstance(size, np.integer) else size
        return transfer(size, trace)

    return substitute
