"""The search for a proof: traces of a function under domains of sizes, until each is decided.

A run traces the function under a domain of sizes. An order that holds on a part of it splits the
domain; an equality that does is answered False and remembered, and the domain is split on it only
if the run fails. What can be read off a finished trace needs no further run: maps that would be
empty, reshapes that do not fit and promises about the result are sets of sizes, cut out in turn.
What comes out is confirmed with numbers at a few points before it counts.
"""

import contextlib
import functools
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import islpy as isl
import jax

from jaxconv.compat import ClosedJaxpr
from jaxconv.errors import ShapeError
from jaxconv.prover.conditions import (
    Finding,
    accident,
    dtype_of,
    equations,
    findings,
    lost_pixels,
    lost_text,
    not_empty,
    promised,
    scraps,
)
from jaxconv.prover.verdict import Cases, Failure, Verdict, remedy
from jaxconv.source import (
    Origin,
    Step,
    is_inside_jax,
    origin,
    origin_of_equation,
    origin_of_error,
    steps_of_error,
)
from jaxconv.symbolic.sets import SizeSet, bounded
from jaxconv.symbolic.size import DeferredEquality, Fork, SymbolicTrace, Undecided, unite
from jaxconv.symbolic.specs import Formula, Spec

RUNS = 500  # traces after which the rest is tested, not proven
SECONDS = 60  # after which it is, too
OPERATIONS = 5_000_000  # of isl in one trace, after which it is, too
SAMPLES = 12  # sizes tried where nothing can be proven
CONFIRMED = 4  # sizes at which equalities that were answered False are confirmed with numbers


class Region(NamedTuple):
    """Sizes for which one run succeeded.

    Attributes:
        trace: the run.
        sizes: those of its domain that are accepted.
        closed: its jaxpr.
        shapes: what it returned, formulas in the structure of the result.
    """

    trace: SymbolicTrace
    sizes: isl.Set
    closed: ClosedJaxpr
    shapes: Any


@dataclass
class _Refused:
    """Sizes that fail at one line for one reason.

    Attributes:
        sizes: all of them.
        smallest: the first of them.
        origin: the line.
        finding: the reason, as the trace of the smallest showed it.
    """

    sizes: SizeSet
    smallest: dict[str, int]
    origin: Origin
    finding: Finding

    def _fix(self, accepts: SizeSet, untried: SizeSet) -> str:
        if accepts.is_empty() and self.finding.otherwise:
            return self.finding.fix or self.finding.otherwise
        return self.finding.fix or remedy(accepts, untried, self.smallest)

    def failure(self, accepts: SizeSet, untried: SizeSet) -> Failure:
        return Failure(
            self.sizes,
            self.smallest,
            str(self.origin),
            self.finding.tell(self.smallest),
            self._fix(accepts, untried),
            self.origin.layer,
            self.origin.path,
            self.origin.caller,
        )


@dataclass
class Search:
    """The traces of one function over a domain of sizes, and what they showed."""

    fn: Callable[..., Any]
    home: Origin
    template: Any
    promise: Any
    domain: isl.Set
    pieces: list[Region] = field(default_factory=list)
    refused: dict[tuple[Origin, str], _Refused] = field(default_factory=dict)
    open: list[isl.Set] = field(default_factory=list)
    tried: list[isl.Set] = field(default_factory=list)
    deferred: list[DeferredEquality] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    runs: int = 0
    by_numbers: bool = False

    def run(self) -> None:
        """Work through domains until each is accepted, refused, or open."""
        work, start = [self.domain], time.monotonic()
        while work:
            domain = work.pop().coalesce()
            if domain.is_empty():
                continue
            spent = time.monotonic() - start
            if self.runs >= RUNS or spent > SECONDS:
                self.notes.append(f"gave up after {self.runs} traces in {spent:.0f} seconds")
                self.open += [domain, *work]
                break
            self.runs += 1
            work += self._try(SymbolicTrace(domain))
        for domain in list(self.open):  # to which undecided samples are added
            self._sample(SizeSet(domain))

    def _try(self, trace: SymbolicTrace) -> list[isl.Set]:
        """One run: the parts of its domain that must be run again."""
        try:
            closed, result = self._trace(trace)
        except Fork as fork:
            return _halves(trace.domain, fork.condition)
        except Exception as error:
            return self._failed(trace, error)
        finally:
            self.deferred += trace.deferred
        self._finished(trace, closed, result)
        return []

    def _trace(self, trace: SymbolicTrace) -> tuple[ClosedJaxpr, Any]:
        """Trace the function once.

        Raises:
            Fork, Undecided: also where the function caught them, and went on without an answer.
        """
        sizes = {name: trace.size(name) for name in trace.names()}
        leaves, tree = jax.tree.flatten(self.template, is_leaf=is_spec)
        varying = [_struct(leaf, sizes) for leaf in leaves if _is_data(leaf)]

        def call(*values: Any) -> Any:
            rest = iter(values)
            found = [next(rest) if _is_data(leaf) else leaf for leaf in leaves]
            return self.fn(*jax.tree.unflatten(tree, found))

        try:
            with bounded(OPERATIONS):
                return jax.make_jaxpr(call, return_shape=True)(*varying)
        finally:
            if trace.fork is not None:
                raise Fork(trace.fork)
            if trace.unanswered:
                raise Undecided(trace.unanswered[0])

    def _failed(self, trace: SymbolicTrace, error: Exception) -> list[isl.Set]:
        at = _place_of(error)
        deferred, unknowns = _relevant(trace, at), _doubts(trace, error)
        if deferred:
            conditions = [a.condition for a in deferred]
            hopeless = None if unknowns else self._hopeless(trace.domain, conditions, error)
            if hopeless is None:
                return _halves(trace.domain, conditions[-1])
            self._blame(trace, hopeless, error)
            return [trace.domain.subtract(hopeless)]
        if unknowns:
            self._leave_open(trace.domain, unknowns)
        else:
            self._blame(trace, trace.domain, error)
        return []

    def _hopeless(
        self, domain: isl.Set, deferred: Sequence[isl.Set], error: Exception
    ) -> isl.Set | None:
        """Where an operation fails although as many of its equalities hold as can hold at once.

        An equality only makes more things legal, so where fewer hold it fails too. None where
        it does not fail, or not there.
        """
        best, others = _most(domain, deferred)
        self.runs += 1
        trace = SymbolicTrace(best.coalesce())
        try:
            self._trace(trace)
        except Fork:
            return None
        except Exception as again:
            settled = not _relevant(trace, _place_of(again)) and not _doubts(trace, again)
            if _within(again) == _within(error) and settled:
                return domain.subtract(others)
        return None

    def _leave_open(self, sizes: isl.Set, unknowns: Sequence[str]) -> None:
        self.notes += [f"not decided: {doubt}" for doubt in dict.fromkeys(unknowns)]
        self.open.append(sizes)

    def _blame(self, trace: SymbolicTrace, sizes: isl.Set, error: Exception) -> None:
        """Refuse sizes for which a trace fails: where a map was empty before, for that."""
        for size, steps in trace.made:
            try:
                finding = not_empty(trace, size)
            except Undecided:
                continue
            empty = sizes.subtract(finding.holds)
            if not empty.is_empty():
                self._refuse(empty, origin(steps), finding)
                sizes = sizes.intersect(finding.holds)
        finding = _finding_of(error, sizes)
        if self._fails(sizes):
            self._refuse(sizes, origin_of_error(error), finding)
        else:
            doubt = f"it fails for formulas ({finding.kind}), but not for numbers"
            self._leave_open(sizes, [doubt])

    def _by_numbers(self, point: isl.Set) -> Any:
        """The shapes that tracing with numbers gives for one point; None where it fails."""
        alone = Search(self.fn, self.home, self.template, self.promise, point, by_numbers=True)
        alone._try(SymbolicTrace(point))
        self.runs += 1
        return alone.pieces[0].shapes if alone.pieces else None

    def _fails(self, sizes: isl.Set, deferred: Sequence[DeferredEquality] = ()) -> bool:
        """Whether tracing fails with numbers, too, as far as some points show.

        Formulas are not ints: code that asks what a size is may do otherwise for numbers.
        """
        points = [] if self.by_numbers else self._telling(sizes, deferred)
        return all(self._by_numbers(point) is None for point in points)

    def _telling(self, sizes: isl.Set, deferred: Sequence[DeferredEquality]) -> list[isl.Set]:
        """Points of a set, among them one for which each equality holds that was answered False."""
        covering = _cover(sizes, [question.condition for question in deferred])
        return list({str(point): point for point in (*_points(sizes), *covering)}.values())

    def _agrees(self, trace: SymbolicTrace, sizes: isl.Set, shapes: Any) -> bool:
        """Whether tracing with numbers gives these formulas' values, as far as points show."""
        for point in [] if self.by_numbers else self._telling(sizes, trace.deferred):
            at = SizeSet(point).smallest()
            here = jax.tree.map(lambda n, at=at: n if isinstance(n, int) else n.at(**at), shapes)
            if self._by_numbers(point) != here:
                return False
        return True

    def _refuse(self, sizes: isl.Set, where: Origin, finding: Finding) -> None:
        """Note why sizes fail, together with others that fail for the same reason."""
        if sizes.is_empty():
            return
        found = SizeSet(sizes)
        where = where if where.path else replace(self.home, layer=where.layer)
        new = _Refused(found, found.smallest(), where, finding)
        known = self.refused.get((where, finding.kind), new)
        both = known.sizes | found
        first = known if known.smallest == both.smallest() else new
        self.refused[where, finding.kind] = replace(first, sizes=both)

    def _finished(self, trace: SymbolicTrace, closed: ClosedJaxpr, result: Any) -> None:
        """Keep the sizes for which nothing fails that a finished trace shows."""
        try:
            sizes = self._cut(trace, closed, result)
        except Undecided as error:
            self._leave_open(trace.domain, [str(error)])
            return
        shapes = jax.tree.map(lambda leaf: tuple(leaf.shape), result)
        if sizes.is_empty():
            return
        if self._agrees(trace, sizes, shapes):
            self.pieces.append(Region(trace, sizes, closed, shapes))
        else:
            self._leave_open(sizes, ["its formulas are not what tracing with numbers gives"])

    def _cut(self, trace: SymbolicTrace, closed: ClosedJaxpr, result: Any) -> isl.Set:
        """Cut what a finished trace shows to fail out of its domain, and say why."""
        sizes, cuts = trace.domain, []
        for finding, where in self._findings(trace, closed, result):
            if not sizes.is_subset(finding.holds):
                cuts.append((sizes.subtract(finding.holds), where(), finding))
                sizes = sizes.intersect(finding.holds)
            if sizes.is_empty():
                break
        failing = trace.domain.subtract(sizes)
        if cuts and not self._fails(failing, trace.deferred):
            self._leave_open(
                failing, [f"its trace fails ({cuts[0][2].kind}), but not with numbers"]
            )
            return sizes
        for cut in cuts:
            self._refuse(*cut)
        return sizes

    def _findings(
        self, trace: SymbolicTrace, closed: ClosedJaxpr, result: Any
    ) -> Iterator[tuple[Finding, Callable[[], Origin]]]:
        """What must hold of a finished trace, and where that is seen."""
        sizes, free = trace.domain, scraps(closed.jaxpr)
        for eqn in equations(closed.jaxpr):
            for finding in findings(SymbolicTrace(sizes), eqn, free):
                yield finding, lambda eqn=eqn: origin_of_equation(eqn)
                sizes = sizes.intersect(finding.holds)
        if self.promise is not None:
            for finding in promised(trace, self.promise, result):
                yield finding, lambda: self.home

    def _sample(self, sizes: SizeSet) -> None:
        """Try some sizes of an open domain one by one."""
        for floor in _floors(sizes):
            point, undecided = _point(floor), len(self.open)
            self._try(SymbolicTrace(point))
            if len(self.open) == undecided:
                self.tried.append(point)

    def verdict(self) -> Verdict:
        """Put together what was found."""
        accepts = SizeSet(self._union(piece.sizes for piece in self.pieces))
        untried = SizeSet(self._union(self.open).subtract(self._union(self.tried)))
        failures = [refused.failure(accepts, untried) for refused in self.refused.values()]
        failures.sort(key=lambda failure: tuple(failure.smallest.values()))
        status = "refuted" if failures else "tested" if self.open else "proven"
        notes = tuple(dict.fromkeys([*self.notes, *self._notes(accepts)]))
        return Verdict(status, accepts, self._outputs(), tuple(failures), untried, notes, self.runs)

    def _union(self, sets: Iterable[isl.Set]) -> isl.Set:
        return functools.reduce(isl.Set.union, sets, isl.Set.empty(self.domain.space))

    def _notes(self, accepts: SizeSet) -> Iterator[str]:
        if self.tried:
            yield f"tried {len(self.tried)} sizes one by one"
            return
        with contextlib.suppress(isl.Error), bounded(OPERATIONS):  # no note is worth long work
            yield from list(self._remarks(accepts))

    def _remarks(self, accepts: SizeSet) -> Iterator[str]:
        yield from filter(None, (accident(deferred, accepts) for deferred in self.deferred))
        lost = [
            found
            for piece in self.pieces
            for found in lost_pixels(piece.trace, piece.sizes, piece.closed.jaxpr)
        ]
        if text := lost_text(lost, accepts):
            yield text

    def _outputs(self) -> Any:
        """The shapes of all pieces as one, or case by case where no formula covers them."""
        trees = [piece.shapes for piece in self.pieces]
        structures = {jax.tree.structure(tree) for tree in trees}
        if not trees or len(structures) > 1:
            return self._cases() if trees else None
        try:
            sizes = [
                self._unite(leaves) for leaves in zip(*map(jax.tree.leaves, trees), strict=True)
            ]
        except Undecided:
            return self._cases()
        return jax.tree.unflatten(structures.pop(), sizes)

    def _cases(self) -> Cases:
        return Cases(tuple((SizeSet(piece.sizes), piece.shapes) for piece in self.pieces))

    def _unite(self, sizes: Sequence[Any]) -> Any:
        return unite([(p.trace, p.sizes, size) for p, size in zip(self.pieces, sizes, strict=True)])


def _relevant(trace: SymbolicTrace, at: Step) -> list[DeferredEquality]:
    """The equalities that could have mended a failure.

    One that another operation asked was a shortcut of it, and it went well without.
    """
    return [
        deferred
        for deferred in trace.deferred
        if deferred.place == at
        and not any(half.is_empty() for half in _halves(trace.domain, deferred.condition))
    ]


def _struct(leaf: Any, sizes: dict[str, Any]) -> Any:
    if not isinstance(leaf, Spec):
        return leaf
    shape = [axis.value(sizes) for axis in leaf.axes if isinstance(axis, Formula)]
    return jax.ShapeDtypeStruct(tuple(shape), dtype_of(leaf))


def _most(domain: isl.Set, conditions: Sequence[isl.Set]) -> tuple[isl.Set, isl.Set]:
    """Where many conditions hold at once, the last ones first, and where one of the others does."""
    best, others = domain, isl.Set.empty(domain.space)
    for condition in reversed(conditions):
        both = best.intersect(condition)
        if both.is_empty():
            others = others.union(condition)
        else:
            best = both
    return best, others


def _cover(sizes: isl.Set, conditions: Iterable[isl.Set]) -> Iterator[isl.Set]:
    """A few points of a set, so that each condition holds for one of them."""
    left = list({str(c): c for c in conditions if not c.is_disjoint(sizes)}.values())
    for _ in range(CONFIRMED):
        if not left:
            return
        best, _ = _most(sizes, left)
        yield _point(SizeSet(best))
        left = [condition for condition in left if not best.is_subset(condition)]


def _point(sizes: SizeSet) -> isl.Set:
    """The smallest sizes of a set, as a set."""
    conditions = (f"{name} = {size}" for name, size in sizes.smallest().items())
    return SizeSet.parse(sizes.names, " and ".join(conditions)).points


def _points(sizes: isl.Set) -> list[isl.Set]:
    """The smallest sizes of a set, and some that are larger and not alike, where it has such."""
    found = SizeSet(sizes)
    larger = (f"{name} >= {7 + 2 * i}" for i, name in enumerate(found.names))
    parts = [found, found & SizeSet.parse(found.names, " and ".join(larger))]
    points = [_point(part) for part in parts if not part.is_empty()]
    return points[:1] if len(points) > 1 and points[0].is_equal(points[1]) else points


def _halves(domain: isl.Set, condition: isl.Set) -> list[isl.Set]:
    return [domain.subtract(condition), domain.intersect(condition)]


def _floors(sizes: SizeSet) -> Iterator[SizeSet]:
    """Parts of a set from larger and larger sizes on, which have different smallest sizes."""
    seen = []
    for count, grow in enumerate((1, 2, 3, 5, 8, 16, 17, 32, 33, 64, 100, 224)):
        step = count % 2  # every second one has no two sizes alike
        least = (f"{name} >= {grow + i * step}" for i, name in enumerate(sizes.names))
        floor = sizes & SizeSet.parse(sizes.names, " and ".join(least))
        if not floor.is_empty() and (smallest := floor.smallest()) not in seen:
            seen.append(smallest)
            yield floor
        if len(seen) == SAMPLES:
            return


def _doubts(trace: SymbolicTrace, error: BaseException | None) -> list[str]:
    """The undecided questions that may have led to an error: a failure then proves nothing."""
    found = list(trace.unknowns)
    while error is not None:
        if isinstance(error, Undecided | isl.Error):
            found.append(str(error).partition("\n")[0])
        error = error.__cause__ or error.__context__
    return found


def _finding_of(error: Exception, sizes: isl.Set) -> Finding:
    """What an error says: its first line, and its own remedy where it names one."""
    lines = str(error).strip().splitlines() or [""]
    kind = "" if isinstance(error, ShapeError) else f"{type(error).__name__}: "
    message = getattr(error, "tell", lambda _: kind + lines[0])
    fixes = [
        line.strip().removeprefix("Fix: ") for line in lines if line.strip().startswith("Fix:")
    ]
    nowhere = isl.Set.empty(sizes.space)
    return Finding(
        nowhere,
        re.sub(r"\(.*|\d+", "", kind + lines[0]),
        message,
        " ".join(fixes),
        _remedy_of(lines[0]),
    )


# What to do where an operation of JAX refuses every size, by what its message says.
REMEDIES = (
    (
        r"dot_general requires contracting .* got \((.*?),?\) and \((.*?),?\)",
        "make the weights of this layer for {0} features, or feed it {1}.",
    ),
    (
        r"lhs feature dimension size .* but (.+) // (.+) != (.+)\.",
        "make the kernel of this layer for {0} channels in {1} group(s), or feed it {2} a group.",
    ),
)


def _remedy_of(message: str) -> str:
    found = ((re.search(pattern, message), fix) for pattern, fix in REMEDIES)
    return next((fix.format(*match.groups()) for match, fix in found if match), "")


def _within(error: Exception) -> list[Step]:
    """The operation that failed: the innermost instruction outside JAX, and those it led to."""
    steps = steps_of_error(error)
    outside = [i for i, step in enumerate(steps) if not is_inside_jax(step[0].co_filename)]
    return steps[outside[-1] :]


def _place_of(error: Exception) -> Step:
    """The innermost instruction outside JAX in a traceback."""
    return _within(error)[0]


def is_spec(leaf: Any) -> bool:
    """Whether a leaf of the arguments stands for an array by its spec."""
    return isinstance(leaf, Spec)


def _is_data(leaf: Any) -> bool:
    """Whether a leaf of the arguments varies while tracing, unlike an activation in a model."""
    return isinstance(leaf, Spec | bool | int | float | complex) or hasattr(leaf, "dtype")
