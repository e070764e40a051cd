"""Explore the sizes: traces of a function under domains, until each domain is decided.

A run traces the function under a domain of sizes. An order that holds on a part of the domain
forks it. An equality that does is answered False and remembered, and the domain is split on it
only if the run fails. What can be read off a finished trace needs no further run: maps that would
be empty, reshapes that do not fit and violations of the contract are sets of sizes, cut out in
turn. What comes out counts only after it is confirmed with numbers at a few points (see
:mod:`jaxconv.prover.confirm`).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import islpy as isl

from jaxconv.prover.confirm import Region, agrees, fails, sample_points
from jaxconv.prover.diagnose import (
    Refusal,
    operation_of_error,
    refusals_of_error,
    relevant_equalities,
    unknowns_of_error,
    unmet_requirements,
)
from jaxconv.prover.subject import Subject, Traced
from jaxconv.symbolic.domains import intersect_most, split
from jaxconv.symbolic.trace import DeferredEquality, Fork, SymbolicTrace, Undecided

TRACES = 500  # after which the rest is tested, not proven
SECONDS = 60  # after which it is, too


class OpenRegion(NamedTuple):
    """Sizes about which nothing could be proven.

    Attributes:
        sizes: the sizes.
        reasons: why, as notes of the verdict.
    """

    sizes: isl.Set
    reasons: tuple[str, ...]


@dataclass
class Exploration:
    """The results of tracing one function over a domain of sizes.

    Attributes:
        subject: the function.
        domain: the sizes to consider.
        regions: sizes that are accepted.
        refusals: sizes that are rejected.
        open_regions: sizes that are not decided.
        sampled: points of the open regions that were decided by trying them.
        deferred: the equalities that the traces answered False.
    """

    subject: Subject
    domain: isl.Set
    regions: list[Region] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    open_regions: list[OpenRegion] = field(default_factory=list)
    sampled: list[isl.Set] = field(default_factory=list)
    deferred: list[DeferredEquality] = field(default_factory=list)

    @property
    def reasons(self) -> list[str]:
        """Why regions are open, each reason once."""
        return list(dict.fromkeys(text for part in self.open_regions for text in part.reasons))

    def run(self) -> None:
        """Work through domains until each is accepted, rejected, or open; then sample these."""
        work, start = [self.domain], time.monotonic()
        while work:
            domain = work.pop().coalesce()
            if domain.is_empty():
                continue
            seconds = time.monotonic() - start
            if self.subject.traces >= TRACES or seconds > SECONDS:
                reason = f"gave up after {self.subject.traces} traces in {seconds:.0f} seconds"
                self.open_regions += [OpenRegion(rest, (reason,)) for rest in (domain, *work)]
                break
            work += self._explore(domain)
        for region in list(self.open_regions):  # to which undecided samples are added
            for point in sample_points(region.sizes):
                undecided = len(self.open_regions)
                self._explore(point)
                if len(self.open_regions) == undecided:
                    self.sampled.append(point)

    def _explore(self, domain: isl.Set) -> list[isl.Set]:
        """Trace once, and return the parts of the domain that must be traced again."""
        trace = SymbolicTrace(domain)
        try:
            traced = self.subject.trace(trace)
        except Fork as fork:
            return split(domain, fork.condition)
        except Exception as error:
            return self._failed(trace, error)
        finally:
            self.deferred += trace.deferred
        self._finished(trace, traced)
        return []

    def _finished(self, trace: SymbolicTrace, traced: Traced) -> None:
        """Keep the sizes for which a finished trace shows no failure; reject the others."""
        try:
            accepted, refusals = unmet_requirements(self.subject, trace, traced)
        except Undecided as error:
            self._leave_open(trace.domain, [str(error)])
            return
        if refusals:
            failing, kind = trace.domain.subtract(accepted), refusals[0].requirement.kind
            if fails(self.subject, failing, trace.deferred):
                self.refusals += refusals
            else:
                self._leave_open(failing, [f"its trace fails ({kind}), but not with numbers"])
        if accepted.is_empty():
            return
        region = Region(trace, accepted, traced.closed, traced.shapes)
        if agrees(self.subject, region):
            self.regions.append(region)
        else:
            self._leave_open(accepted, ["its formulas are not what tracing with numbers gives"])

    def _failed(self, trace: SymbolicTrace, error: Exception) -> list[isl.Set]:
        """Reject sizes for which a trace failed; return what an equality may save."""
        unknowns = unknowns_of_error(trace, error)
        conditions = [deferred.condition for deferred in relevant_equalities(trace, error)]
        if conditions:
            refused = None if unknowns else self._refused_anyway(trace.domain, conditions, error)
            if refused is None:
                return split(trace.domain, conditions[-1])
            self._refuse(trace, refused, error)
            return [trace.domain.subtract(refused)]
        if unknowns:
            self._leave_open(trace.domain, unknowns)
        else:
            self._refuse(trace, trace.domain, error)
        return []

    def _refused_anyway(
        self, domain: isl.Set, conditions: Sequence[isl.Set], error: Exception
    ) -> isl.Set | None:
        """Where an operation fails although as many of its equalities hold as can hold at once.

        An equality only makes more operations legal, so where fewer hold it fails too. None where
        it succeeds, or where something else fails.
        """
        best, others = intersect_most(domain, conditions)
        trace = SymbolicTrace(best.coalesce())
        try:
            self.subject.trace(trace)
        except Fork:
            return None
        except Exception as again:
            same = operation_of_error(again) == operation_of_error(error)
            saved = relevant_equalities(trace, again) or unknowns_of_error(trace, again)
            return domain.subtract(others) if same and not saved else None
        return None

    def _refuse(self, trace: SymbolicTrace, sizes: isl.Set, error: Exception) -> None:
        """Reject sizes for which a trace failed, as far as tracing with numbers fails, too."""
        for refusal in refusals_of_error(trace, sizes, error):
            if fails(self.subject, refusal.sizes):
                self.refusals.append(refusal)
            else:
                kind = refusal.requirement.kind
                reason = f"it fails for formulas ({kind}), but not for numbers"
                self._leave_open(refusal.sizes, [reason])

    def _leave_open(self, sizes: isl.Set, unknowns: Sequence[str]) -> None:
        reasons = tuple(f"not decided: {unknown}" for unknown in dict.fromkeys(unknowns))
        self.open_regions.append(OpenRegion(sizes, reasons))
