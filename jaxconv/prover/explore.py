"""Explore the sizes: traces of a function under domains, until each domain is decided.

A run traces the function under a domain of sizes. An order that holds on a part of the domain
forks it. An equality that does is answered False and remembered, and the domain is split on it
only if the run fails. What can be read off a finished trace needs no further run: maps that would
be empty, reshapes that do not fit and violations of the contract are sets of sizes, cut out in
turn. What comes out counts only after it is confirmed with numbers at a few points (see
:mod:`jaxconv.prover.confirm`).
"""

import functools
import math
import sys
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import islpy as isl
import jax

from jaxconv.prover.conditions import EMPTY
from jaxconv.prover.confirm import (
    Region,
    cause_of_difference,
    disagreement,
    fails,
    is_unmet,
    memory_of,
    sample_points,
    why_not_repeatable,
)
from jaxconv.prover.diagnose import (
    Refusal,
    operation_of_error,
    refusals_of_error,
    relevant_equalities,
    unknowns_of_error,
    unmet_requirements,
)
from jaxconv.prover.results import structure_key
from jaxconv.prover.subject import Subject, Traced
from jaxconv.symbolic.domains import intersect_most, split
from jaxconv.symbolic.real import Symbolic
from jaxconv.symbolic.sets import (
    SizeSet,
    bounded,
    bounds,
    involved_names,
    names_of,
    parse_affine,
)
from jaxconv.symbolic.size import FEW_VALUES
from jaxconv.symbolic.trace import (
    DeferredEquality,
    EmptyMap,
    Fork,
    OutOfTime,
    Restart,
    SymbolicTrace,
    Undecided,
)

MANY_TRACES = 24  # after which the smallest sizes are traced first
TRACES = 500  # without those that sweep sizes, after which the rest is tested, not proven
LARGEST = 2**26  # a size; sets of larger sizes only are not examined
DOMAIN_OPERATIONS = 40_000_000  # of isl beside a trace, after which its sizes are left open
FEW_OPERATIONS = 100_000  # that are always allowed
OPERATIONS_PER_SECOND = 300_000  # of isl, the slowest; no more are allowed than there is time for
TIMEOUT = 60.0  # seconds for a proof
MOST_MEMORY = 2**28  # bytes by which samples may raise the memory of the process
SHARE_OF_PROOF = 0.75  # of the time; the rest is for trying sizes


class Attempt(NamedTuple):
    """A trace that has ended, and whose sizes are still to be decided by it.

    Attributes:
        trace: the run.
        outcome: what it traced, or what it raised.
    """

    trace: SymbolicTrace
    outcome: Traced | BaseException


class OpenRegion(NamedTuple):
    """Sizes about which nothing could be proven.

    Attributes:
        sizes: the sizes.
        reasons: why, as notes of the verdict.
    """

    sizes: isl.Set
    reasons: tuple[str, ...]


def _smallest(item: isl.Set | Attempt) -> tuple[int, ...]:
    """The smallest sizes that are to be decided."""
    sizes = item.trace.domain if isinstance(item, Attempt) else item
    return () if sizes.is_empty() else tuple(SizeSet(sizes).smallest().values())


@dataclass
class Exploration:
    """The results of tracing one function over a domain of sizes.

    Attributes:
        subject: the function.
        domain: the sizes to consider.
        timeout: seconds, after which what is left is not decided.
        regions: sizes that are accepted.
        refusals: sizes that are rejected.
        open_regions: sizes that are not decided.
        sampled: points of the open regions that were decided by trying them.
        deferred: the equalities that the traces answered False.
        is_limited: whether sets of sizes above LARGEST were left out.
        proven_regions: how many of the regions are proven; the others were only tried.
        proven_refusals: likewise for the refusals.
    """

    subject: Subject
    domain: isl.Set
    timeout: float = TIMEOUT
    regions: list[Region] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    open_regions: list[OpenRegion] = field(default_factory=list)
    sampled: list[isl.Set] = field(default_factory=list)
    deferred: list[DeferredEquality] = field(default_factory=list)
    is_limited: bool = False
    proven_regions: int = 0
    proven_refusals: int = 0
    _messages: dict[str, str] = field(default_factory=dict)

    @property
    def reasons(self) -> list[str]:
        """Why regions are open, each reason once."""
        return list(dict.fromkeys(text for part in self.open_regions for text in part.reasons))

    def run(self) -> None:
        """Work through domains until each is accepted, rejected, or open; then sample these."""
        start = time.monotonic()
        deadline = self.subject.deadline = start + self.timeout
        try:
            self._prove(start)
            self.proven_regions, self.proven_refusals = len(self.regions), len(self.refusals)
            parts, peak = [part.sizes for part in self.open_regions], _peak_memory()
            for point in sample_points(functools.reduce(isl.Set.union, parts)) if parts else ():
                # The next sizes are larger, and so are the arrays that the code makes of them.
                is_full = self.subject.uses_numbers and _peak_memory() - peak > MOST_MEMORY
                if is_full or time.monotonic() > deadline:
                    return
                undecided = len(self.open_regions)
                self._decide(self._attempt(point, deadline))
                if len(self.open_regions) == undecided:
                    self.sampled.append(point)
        finally:
            self.subject.deadline = math.inf

    def _prove(self, start: float) -> None:
        """Work through domains until each is accepted, rejected, or open."""
        work: list[isl.Set | Attempt] = [self.domain]
        is_in_order = False
        names = names_of(self.domain)
        small = " and ".join(f"{name} <= {LARGEST}" for name in names)
        examined = SizeSet.parse(names, small).points
        until = start + self.timeout * SHARE_OF_PROOF
        while work:
            if self.subject.traces >= MANY_TRACES and not is_in_order:
                work.sort(key=_smallest, reverse=True)  # the smallest sizes come next
                is_in_order = True
            item = work.pop()
            domain = item.trace.domain if isinstance(item, Attempt) else item.coalesce()
            if domain.is_empty():
                continue
            now = time.monotonic()
            if self.subject.traces - self.subject.swept >= TRACES or now > until:
                reason = f"gave up after {self.subject.traces} traces in {now - start:.0f} seconds"
                left = (rest.trace.domain if isinstance(rest, Attempt) else rest for rest in work)
                self.open_regions += [OpenRegion(rest, (reason,)) for rest in (domain, *left)]
                break
            if domain.is_disjoint(examined):  # a loop that halves a size would come to them
                self.is_limited = True
                continue
            decided = len(self.regions), len(self.refusals), len(self.open_regions)
            in_time = OPERATIONS_PER_SECOND * (until - now)
            try:
                with bounded(int(min(DOMAIN_OPERATIONS, FEW_OPERATIONS + in_time))):
                    attempt = item if isinstance(item, Attempt) else self._attempt(domain, until)
                    work += self._decide(attempt)
            except isl.Error as error:
                self._take_back(*decided)
                self._leave_open(domain, [str(error).partition("\n")[0]])

    def _attempt(self, domain: isl.Set, deadline: float, *, reverses_sets: bool = False) -> Attempt:
        """Trace once."""
        trace = SymbolicTrace(
            domain,
            deadline=deadline,
            until_empty=self.subject.ends_early,
            reverses_sets=reverses_sets,
        )
        try:
            return Attempt(trace, self.subject.trace(trace))
        except (Exception, Fork, Restart, OutOfTime, EmptyMap) as raised:
            return Attempt(trace, raised)

    def _decide(self, attempt: Attempt) -> list[isl.Set | Attempt]:
        """Decide sizes by a trace of them, and return the parts that need another trace."""
        trace, outcome = attempt
        self.deferred += trace.deferred
        decided = len(self.regions), len(self.refusals), len(self.open_regions)
        try:
            if trace.keeps_keys and isinstance(outcome, Traced | Exception):
                self._require_same_in_other_order(trace, outcome)
            if isinstance(outcome, Traced):
                return [*self._finished(trace, outcome)]
            if isinstance(outcome, Restart | EmptyMap):
                self.subject.ends_early &= isinstance(outcome, Restart)
                return [trace.domain]
            if isinstance(outcome, Exception) and not isinstance(outcome, MemoryError):
                return self._failed(trace, outcome)
            raise outcome
        except Fork as fork:
            self._take_back(*decided)
            return self._parts(trace.domain, fork.condition)
        except OutOfTime:
            self._take_back(*decided)
            self._leave_open(trace.domain, [f"gave up after {self.timeout:.0f} seconds"])
            return []
        except (isl.Error, Undecided, MemoryError, RecursionError) as error:
            self._take_back(*decided)
            reason = str(error).partition("\n")[0] or type(error).__name__
            apart = self._with_cases_apart(trace)
            return apart or [*self._by_value(trace.domain, [reason])]

    def _require_same_in_other_order(
        self, trace: SymbolicTrace, outcome: Traced | Exception
    ) -> None:
        """Trace again with sets that list sizes in another order, as those of numbers may.

        Raises:
            Undecided: the result is another one.
        """
        other = self._attempt(trace.domain, trace.deadline, reverses_sets=True).outcome
        if isinstance(other, OutOfTime | Fork):  # its parts are compared, each on its own
            raise other
        if isinstance(outcome, Traced):
            shapes = _formulas(outcome.shapes)
            same = isinstance(other, Traced) and _formulas(other.shapes) == shapes
        else:
            operation = operation_of_error(outcome)
            same = isinstance(other, type(outcome)) and operation_of_error(other) == operation
        if not same:
            raise Undecided("the code depends on the order in which a set lists sizes")

    def _with_cases_apart(self, trace: SymbolicTrace) -> list[isl.Set | Attempt]:
        """Trace again without formulas by cases, about which less may be decided, if it had any."""
        if not trace.cases:
            return []
        self.subject.keep_apart(*(helper.__code__ for helper in self.subject.helpers))
        return [trace.domain]

    def _take_back(self, regions: int, refusals: int, open_regions: int) -> None:
        """Forget what was decided of a part of the sizes that a trace could not decide."""
        del self.regions[regions:], self.refusals[refusals:], self.open_regions[open_regions:]

    def _parts(self, domain: isl.Set, condition: isl.Set) -> list[isl.Set | Attempt]:
        """Split a domain; the last part is traced next.

        After many traces this is the one with the smallest sizes: in a loop over a size, each turn
        splits the domain, and what time does not suffice for ought to be the large sizes.
        """
        parts: list[isl.Set | Attempt] = [*split(domain, condition)]
        if self.subject.traces >= MANY_TRACES:
            parts.sort(key=_smallest, reverse=True)
        return parts

    def _finished(self, trace: SymbolicTrace, traced: Traced) -> list[isl.Set]:
        """Keep the sizes for which a finished trace shows no failure; reject the others.

        Returns:
            The parts that must be traced again.
        """
        accepted, refusals = unmet_requirements(self.subject, trace, traced)
        if traced.ended_early and not accepted.is_empty():  # then its end shows nothing of these
            self.subject.ends_early = False
            return [trace.domain]
        again = []
        for refusal in refusals:
            if self._is_unmet(refusal, trace, traced):
                self.refusals.append(refusal)
            elif not trace.domain.is_subset(refusal.sizes):  # there JAX may know more
                again.append(refusal.sizes)
            else:
                reason = f"its trace fails ({self._example(refusal)}), but not with numbers"
                self._leave_open(refusal.sizes, [reason])
        if accepted.is_empty():
            return again
        region = Region(trace, accepted, traced.closed, traced.shapes)
        return [*again, *self._accept(region)]

    def _accept(self, region: Region) -> list[isl.Set]:
        """Keep a region if numbers confirm it.

        Returns:
            The parts that must be traced again.
        """
        reason = why_not_repeatable(self.subject, region)
        if reason:
            self._leave_open(region.sizes, [reason])
            return []
        difference = disagreement(self.subject, region)
        if difference is None:
            if self.subject.changes_state and not self.regions:
                self.subject.notes += filter(None, [memory_of(self.subject, region)])
            self.regions.append(region)
            return []
        if difference.condition is None:
            reason = "its formulas are not what tracing with numbers gives"
            return self._by_value(region.sizes, [reason])
        self.subject.checks_overflow |= difference.is_overflow
        return split(region.sizes, difference.condition)

    def _failed(self, trace: SymbolicTrace, error: Exception) -> list[isl.Set | Attempt]:
        """Reject sizes for which a trace failed; return what an equality may save.

        The operation that failed is retried where as many of its equalities hold as can hold at
        once. If it fails again, then it also fails where fewer hold, since an equality only makes
        more operations legal. If not, the retry decides its own sizes, and only those where some
        of the equalities hold need another trace.
        """
        domain, unknowns = trace.domain, unknowns_of_error(trace, error)
        conditions = [deferred.condition for deferred in relevant_equalities(trace, error)]
        if unknowns and (apart := self._with_cases_apart(trace)):
            return apart
        if unknowns:
            return [
                *(split(domain, conditions[-1]) if conditions else self._by_value(domain, unknowns))
            ]
        if not conditions:
            return [*self._refuse(trace, domain, error)]
        # Two maps may be added where their sides are equal; JAX asks also whether one of the sides
        # is 1, and whether the batch is. These few sizes need no trace of their own.
        wide = _wide(domain, conditions)
        retry = self._saved(trace, error, wide) if 0 < len(wide) < len(conditions) else None
        if retry is None:
            best, others = intersect_most(domain, conditions)
            retry = self._attempt(best.coalesce(), trace.deadline)
            if self._fails_again(retry, error):
                refused = domain.subtract(others)
                return [*self._refuse(trace, refused, error), domain.subtract(refused)]
            retry = self._without_needless(trace, error, conditions) or retry
        conditions = self._that_matter(trace, error, conditions, retry)
        refused = functools.reduce(isl.Set.subtract, conditions, domain)
        again = self._refuse(trace, refused, error)
        left, parts = domain.subtract(refused).subtract(retry.trace.domain), []
        for condition in conditions:
            parts.append(left.intersect(condition))
            left = left.subtract(condition)
        return [*again, *parts, retry]

    def _without_needless(
        self, trace: SymbolicTrace, error: Exception, conditions: Sequence[isl.Set]
    ) -> Attempt | None:
        """Retry an operation where fewer of its equalities hold, by the names that they are about.

        Returns:
            The attempt with the fewest; None where all are needed.
        """
        saved = None
        for name in names_of(trace.domain):
            others = [one for one in conditions if name not in involved_names(one, trace.domain)]
            if 0 < len(others) < len(conditions):
                retry = self._saved(trace, error, others)
                if retry is not None:
                    saved, conditions = retry, others
        return saved

    def _that_matter(
        self,
        trace: SymbolicTrace,
        error: Exception,
        conditions: Sequence[isl.Set],
        retry: Attempt,
    ) -> Sequence[isl.Set]:
        """Leave out the equalities about a name that were not needed, and that do not save either.

        Two maps of different heights cannot be added, for one image as little as for several. It is
        enough to retry where the equalities about the name hold, and none of the others does.
        """
        domain = trace.domain
        for name in names_of(domain):
            own = [one for one in conditions if involved_names(one, domain) == (name,)]
            others = [one for one in conditions if one not in own]
            needed = any(retry.trace.domain.is_subset(one) for one in own)
            if needed or not own or not others:
                continue
            best, rest = intersect_most(functools.reduce(isl.Set.subtract, others, domain), own)
            if not rest.is_empty():  # they do not hold together
                continue
            if best.is_empty() or self._fails_again(
                self._attempt(best.coalesce(), trace.deadline), error
            ):
                conditions = others
        return conditions

    def _saved(
        self, trace: SymbolicTrace, error: Exception, conditions: Sequence[isl.Set]
    ) -> Attempt | None:
        """Retry an operation where some equalities hold; None where that does not save it."""
        best, _ = intersect_most(trace.domain, conditions)
        retry = self._attempt(best.coalesce(), trace.deadline)
        again = retry.outcome
        if not isinstance(again, Exception) or operation_of_error(again) != operation_of_error(
            error
        ):
            return retry
        # The same line may fail later, in another block, or for the next side of the same maps.
        asked = [one.condition for one in relevant_equalities(retry.trace, again)]
        is_later = len(retry.trace.array_sizes) > len(trace.array_sizes)
        return retry if is_later or _wide(retry.trace.domain, asked) else None

    def _fails_again(self, retry: Attempt, error: Exception) -> bool:
        """Whether the operation that failed fails again, and no other equality may save it."""
        again = retry.outcome
        if not isinstance(again, Exception) or isinstance(again, MemoryError):
            return False
        if operation_of_error(again) != operation_of_error(error):
            return False
        return not relevant_equalities(retry.trace, again) and not unknowns_of_error(
            retry.trace, again
        )

    def _refuse(self, trace: SymbolicTrace, sizes: isl.Set, error: Exception) -> list[isl.Set]:
        """Reject sizes for which a trace failed, as far as tracing with numbers fails, too.

        Returns:
            The parts that must be traced again.
        """
        again = []
        for refusal in refusals_of_error(trace, sizes, error):
            blamed = None if refusal.requirement.kind == EMPTY else error
            if blamed is None:
                is_confirmed = self._is_unmet(refusal, trace)
            else:
                is_confirmed = fails(self.subject, refusal.sizes, trace, blamed)
            if is_confirmed:
                self.refusals.append(refusal)
            elif not trace.domain.is_subset(refusal.sizes):  # there JAX may know more
                again.append(refusal.sizes)
            elif cause := cause_of_difference(self.subject, refusal.sizes, trace, blamed):
                again += split(refusal.sizes, cause)
            else:
                reason = f"it fails for formulas ({self._example(refusal)}), but not for numbers"
                again += self._by_value(refusal.sizes, [reason])
        return again

    def _example(self, refusal: Refusal) -> str:
        """What is wrong, in the words of the first failure of the kind: one note is for all."""
        message = refusal.requirement.message(SizeSet(refusal.sizes).smallest())
        return self._messages.setdefault(refusal.requirement.kind, message)

    def _is_unmet(
        self, refusal: Refusal, trace: SymbolicTrace, traced: Traced | None = None
    ) -> bool:
        """Whether numbers do not meet a requirement either.

        The verdict has one example for all sets that fail at one line for one reason.
        """
        is_known = any(
            known.origin == refusal.origin and known.requirement.kind == refusal.requirement.kind
            for known in self.refusals
        )
        return is_unmet(self.subject, refusal, trace, traced, at_smallest=not is_known)

    def _by_value(self, sizes: isl.Set, unknowns: Sequence[str]) -> list[isl.Set]:
        """Split undecided sizes by the value of a name that takes few, or leave them open.

        Returns:
            A set for each value, to be traced again.
        """
        for name in names_of(sizes):
            least, most = bounds(sizes, parse_affine((name,), name))
            if least is not None and most is not None and 0 < most - least < FEW_VALUES:
                values = (SizeSet.parse((name,), f"{name} = {n}") for n in range(least, most + 1))
                return [sizes.intersect(value.points.align_params(sizes.space)) for value in values]
        self._leave_open(sizes, unknowns)
        return []

    def _leave_open(self, sizes: isl.Set, unknowns: Sequence[str]) -> None:
        reasons = tuple(f"not decided: {unknown}" for unknown in dict.fromkeys(unknowns))
        self.open_regions.append(OpenRegion(sizes, reasons))


def _formulas(shapes: Any) -> tuple[Hashable, list[str]]:
    """A result as text: formulas of two traces cannot be compared as they are."""
    leaves = jax.tree.leaves(shapes)
    texts = [str(leaf if isinstance(leaf, int | str | Symbolic) else type(leaf)) for leaf in leaves]
    return structure_key(shapes), texts


def _peak_memory() -> int:
    """The most bytes that the process has taken; 0 where this is not known."""
    try:
        import resource
    except ImportError:  # of Unix only
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _wide(domain: isl.Set, conditions: Sequence[isl.Set]) -> list[isl.Set]:
    """The conditions that hold for values of every name without end, if the domain has them."""
    formulas = [parse_affine((name,), name) for name in names_of(domain)]
    endless = [formula for formula in formulas if bounds(domain, formula)[1] is None]

    def is_wide(condition: isl.Set) -> bool:
        inside = domain.intersect(condition)
        return all(bounds(inside, formula)[1] is None for formula in endless)

    return [*filter(is_wide, conditions)]
