"""A function traced for all sizes at once, each trace read as a network."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import islpy as isl
import numpy as np

from jaxconv.analysis.network import Network
from jaxconv.analysis.network_reader import read
from jaxconv.errors import Diagnostic, raise_if
from jaxconv.jaxpr.window_axis import Substitute
from jaxconv.prover.check import explore_sizes
from jaxconv.prover.conclude import conclude
from jaxconv.prover.confirm import Region
from jaxconv.prover.explore import Exploration
from jaxconv.prover.verdict import Verdict
from jaxconv.symbolic.domains import SizePart, unite
from jaxconv.symbolic.size import Size, transfer
from jaxconv.symbolic.trace import SymbolicTrace, Undecided


@dataclass(frozen=True)
class Case:
    """Sizes for which one trace shows all.

    Attributes:
        piece: the sizes, and their trace.
        network: read of it.
        here: brings sizes of the trace to where they can be computed with.
    """

    piece: Region
    network: Network
    here: Substitute


@dataclass(frozen=True)
class Study:
    """All that is known of a function over a set of sizes.

    Attributes:
        verdict: which sizes it accepts.
        cases: what it does for them.
    """

    verdict: Verdict
    cases: list[Case]

    def unite(self, *sizes: Any) -> Any:
        """One formula that is each of these in its own case; None if there is none.

        Args:
            *sizes: one for each case, or None where it is not known there.
        """
        if not any(isinstance(size, Size) for size in sizes):
            return sizes[0] if len(set(sizes)) == 1 else self._joined(sizes)
        return self._joined(sizes)

    def _joined(self, sizes: Sequence[Any]) -> Any:
        if not all(isinstance(size, int | Size) for size in sizes):
            return None
        parts = [SizePart(c.piece.sizes, n) for c, n in zip(self.cases, sizes, strict=True)]
        return if_known(lambda: self._everywhere(unite(parts)))

    @functools.cached_property
    def _everywhere(self) -> Substitute:
        every = functools.reduce(isl.Set.union, (case.piece.sizes for case in self.cases))
        return _bring_to(SymbolicTrace(every.coalesce(), searching=False))


def study(fn: Callable[..., Any], *args: Any, where: str | None = None) -> Study:
    """Trace a function for all sizes.

    Raises:
        ValidationError: no size is accepted, or sizes that cannot be traced as formulas.
    """
    exploration = explore_sizes(fn, *args, where=where)
    verdict = conclude(exploration)
    raise_if(_not_traced(exploration, verdict))
    return Study(verdict, [_case(exploration, region) for region in exploration.regions])


def _case(exploration: Exploration, piece: Region) -> Case:
    here = _bring_to(SymbolicTrace(piece.sizes.coalesce(), searching=False))
    return Case(piece, read(piece.closed, exploration.subject.arguments), here)


def if_known(compute: Callable[[], Any]) -> Any:
    """A number or a formula; None where it is not decided."""
    try:
        return compute()
    except Undecided:
        return None


def _bring_to(home: SymbolicTrace) -> Substitute:
    """A function that brings sizes of other traces to this one."""

    def here(size: Any) -> Any:
        if not isinstance(size, Size):
            return int(size) if isinstance(size, np.integer) else size
        return transfer(size, home)

    return here


def _not_traced(exploration: Exploration, verdict: Verdict) -> Iterator[Diagnostic]:
    """Why there are no formulas: every size fails, or sizes are needed as numbers."""
    fix = 'pass numbers, such as "1 224 224 3".'
    if exploration.open_regions:
        notes = "; ".join(exploration.reasons)
        yield Diagnostic(f"the sizes cannot be traced as formulas: {notes}.", fix)
    elif not exploration.regions and verdict.failures:
        failure = verdict.failures[0]
        place = ": ".join(filter(None, (failure.where, failure.layer)))
        yield Diagnostic(
            f"no size is accepted. {f'{place}: ' * bool(place)}{failure.message}", failure.fix
        )
