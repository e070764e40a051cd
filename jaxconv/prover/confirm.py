"""Confirm with numbers what formulas show, at boundary points and at sample points.

Formulas are not ints: code that inspects the type of a size may behave differently for numbers. So
what a trace with formulas accepts or rejects counts only after traces with numbers confirm it.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import islpy as isl
import jax

from jaxconv.compat import ClosedJaxpr
from jaxconv.prover.conditions import EMPTY
from jaxconv.prover.diagnose import (
    Refusal,
    operation_of_error,
    origins_of_empty_maps,
    unmet_requirements,
)
from jaxconv.prover.results import same_shapes
from jaxconv.prover.subject import Subject, Traced
from jaxconv.prover.verdict import point_text
from jaxconv.source import (
    TYPE_CHECKERS,
    call_sites_of_error,
    is_inside_library,
    is_same_expression,
)
from jaxconv.symbolic.domains import intersect_most
from jaxconv.symbolic.sets import SizeSet, bounds, parse_affine
from jaxconv.symbolic.size import Size, value_at
from jaxconv.symbolic.trace import (
    PACKAGE,
    EmptyMap,
    Fork,
    Restart,
    SymbolicTrace,
    Undecided,
)

MOST_DRAWS = 12  # of random numbers, after which a function that uses some is taken as it is
MOST_POINTS = 64  # at which equalities that were answered False are confirmed
LARGEST_APART = 4  # size that is traced apart from the others where formulas and numbers differ
# Sizes at which a function is confirmed for which numbers once did otherwise than formulas.
SWEPT = (*range(1, 17), 20, 24, 28, 32, 48, 49, 56, 64, 96, 100, 112, 128, 147, 196, 224, 256)
# Above this, a size is not tried where the code makes arrays of numbers: they may fill the memory.
LARGEST_OF_NUMBERS = 4096
LARGEST_BORDER = 2**16  # of a set, at which it is confirmed


class Region(NamedTuple):
    """Sizes for which one trace with formulas succeeded.

    Attributes:
        trace: the run.
        sizes: the sizes of its domain that are accepted.
        closed: its jaxpr.
        shapes: what it returned, formulas in the structure of the result.
    """

    trace: SymbolicTrace
    sizes: isl.Set
    closed: ClosedJaxpr
    shapes: Any


class Outcome(NamedTuple):
    """What tracing with the numbers of one point shows.

    Attributes:
        shapes: what is returned; None where it fails.
        error: what was raised; None where nothing was.
        is_open: whether it is not decided.
        succeeds: whether something is returned, which may be None.
        refusal: what is not met where nothing was raised, such as a feature map that is empty.
    """

    shapes: Any
    error: Exception | None = None
    is_open: bool = False
    succeeds: bool = False
    refusal: Refusal | None = None


class Disagreement(NamedTuple):
    """Numbers give something else than the formulas of a region.

    Attributes:
        condition: sizes to be traced apart from the others; None where none are known.
        is_overflow: whether outside them a number may be too large.
    """

    condition: isl.Set | None
    is_overflow: bool = False


def disagreement(subject: Subject, region: Region) -> Disagreement | None:
    """Compare tracing with numbers with the formulas of a region.

    Args:
        subject: the function.
        region: sizes that a trace with formulas accepts.

    Returns:
        Where they differ; None where they agree at every point tried.
    """
    trace = region.trace
    conditions = trace.to_confirm()
    points = _points_to_confirm(subject, region.sizes, conditions)
    if points is None:
        return Disagreement(None)
    for point in points:
        if not _has_shapes(subject, region, point):
            split_on = [c for c in conditions if point.is_subset(c)]
            return Disagreement(_cause(subject, region.sizes, point, split_on))
    safe = _where_numbers_fit(subject, region)
    return None if safe is None else Disagreement(safe, is_overflow=True)


def why_not_repeatable(subject: Subject, region: Region) -> str:
    """Say why a function returns now this, now that.

    Args:
        subject: the function.
        region: sizes that it accepts.

    Returns:
        A clause; empty where it returns the same in each call.
    """
    if not (subject.changes_state or subject.uses_chance):
        return ""
    points = _boundary_points(region.sizes, (), subject.uses_numbers) or ()
    for point in points if subject.changes_state else ():
        with subject.keeping_state():
            outcome_at(subject, point)
            if not _has_shapes(subject, region, point):
                return "it keeps state between calls, and returns something else when called again"
    draws = itertools.islice(itertools.cycle(points), MOST_DRAWS if subject.uses_chance else 0)
    if not all(_has_shapes(subject, region, point) for point in draws):
        return "it draws random numbers, and returns something else now and then"
    return ""


def memory_of(subject: Subject, region: Region) -> str:
    """Say that a function keeps the sizes of one call, and answers otherwise for others then.

    Args:
        subject: the function.
        region: sizes that it accepts.

    Returns:
        A note; empty where it answers as before.
    """
    points = _boundary_points(region.sizes, (), subject.uses_numbers) or []
    for point in points[1:]:
        with subject.keeping_state():
            outcome_at(subject, first := points[0])
            if not _has_shapes(subject, region, point):
                before, after = (point_text(SizeSet(one).smallest()) for one in (first, point))
                return (
                    f"the verdict is about a call in the present state: after {before} the "
                    f"function does otherwise for {after}"
                )
    return ""


def _where_numbers_fit(subject: Subject, region: Region) -> isl.Set | None:
    """Sizes for which numbers that JAX computes with are not too large; None where none are.

    Each set of sizes for which one may be is confirmed at a point of it, and many sets have a
    point in common. Where numbers differ from formulas there, each set has a point of its own.
    """
    sizes = region.sizes
    left = [one for one in region.trace.overflows if not one.sizes.is_disjoint(sizes)]

    def differs(points: isl.Set) -> bool:
        smallest = SizeSet(points).smallest()
        if subject.uses_numbers and max(smallest.values(), default=0) > LARGEST_OF_NUMBERS:
            return True  # not known: it is not tried
        return not _has_shapes(subject, region, _exactly(smallest).points)

    while left:
        best, _ = intersect_most(sizes, [overflow.sizes for overflow in left])
        shared = [overflow for overflow in left if best.is_subset(overflow.sizes)]
        if differs(best):
            alone = (one for one in shared if differs(one.sizes.intersect(sizes)))
            return next(alone, shared[0]).safe
        left = [overflow for overflow in left if not best.is_subset(overflow.sizes)]
    return None


def _cause(
    subject: Subject, sizes: isl.Set, point: isl.Set, conditions: Sequence[isl.Set]
) -> isl.Set | None:
    """A condition that holds at a point, without which formulas are not what numbers give there.

    It is one of those given, or that a name has the small value that it has there.
    """
    values = SizeSet(point).smallest()
    small = [_exactly({name: n}) for name, n in values.items() if n <= LARGEST_APART]
    of_names = [one.points.align_params(sizes.space) for one in small]
    for condition in (*conditions, *of_names):
        if not sizes.is_subset(condition) and _explains(subject, sizes.intersect(condition), point):
            subject.is_irregular |= condition in of_names
            return condition
    return None


def cause_of_difference(
    subject: Subject, sizes: isl.Set, trace: SymbolicTrace, error: Exception | None
) -> isl.Set | None:
    """Find the sizes to be traced apart, where numbers do not fail as a trace with formulas does.

    Args:
        subject: the function.
        sizes: sizes that a trace with formulas rejects.
        trace: the run that rejects them.
        error: what it raised.

    Returns:
        Some of these sizes; None where none are known.
    """
    conditions = trace.to_confirm()
    for point in _points_to_confirm(subject, sizes, conditions) or ():
        outcome = outcome_at(subject, point)
        is_same = error is None or _is_same_failure(error, outcome.error)
        if outcome.error is None or not is_same:
            return _cause(subject, sizes, point, ())
    return None


def _explains(subject: Subject, sizes: isl.Set, point: isl.Set) -> bool:
    """Whether formulas agree with numbers at a point once an equality that holds there is known."""
    trace = SymbolicTrace(sizes)
    try:
        traced = subject.trace(trace)
    except (Fork, Restart):  # its parts will be compared with numbers, each on its own
        return True
    except (Undecided, isl.Error):
        return False
    except Exception as error:
        return _is_same_failure(error, outcome_at(subject, point).error)
    try:
        accepted, _ = unmet_requirements(subject, trace, traced)
    except Fork:
        return True
    if point.is_disjoint(accepted):
        outcome = outcome_at(subject, point)
        return not outcome.succeeds and outcome.error is None and not outcome.is_open
    return _has_shapes(subject, Region(trace, sizes, traced.closed, traced.shapes), point)


def _has_shapes(subject: Subject, region: Region, point: isl.Set) -> bool:
    """Whether tracing with numbers gives the values of a region's formulas."""
    sizes = SizeSet(point).smallest()
    expected = jax.tree.map(  # a result may have leaves that are not sizes
        lambda leaf: value_at(leaf, sizes) if isinstance(leaf, Size) else leaf, region.shapes
    )
    outcome = outcome_at(subject, point)
    return outcome.succeeds and same_shapes(outcome.shapes, expected)


def fails(subject: Subject, sizes: isl.Set, trace: SymbolicTrace, error: Exception) -> bool:
    """Return whether tracing with numbers fails, too, and for the same reason.

    Args:
        subject: the function.
        sizes: sizes that a trace with formulas rejects.
        trace: the run that rejects them.
        error: what it raised.

    Returns:
        Whether it fails at every point tried.
    """
    points = _points_to_confirm(subject, sizes, trace.to_confirm())
    if points is None:
        return False
    outcomes = (outcome_at(subject, point) for point in points)
    return all(
        not outcome.succeeds and not outcome.is_open and _is_same_failure(error, outcome.error)
        for outcome in outcomes
    )


def is_unmet(
    subject: Subject,
    refusal: Refusal,
    trace: SymbolicTrace,
    traced: Traced | None = None,
    *,
    at_smallest: bool = True,
) -> bool:
    """Return whether tracing with numbers does not meet a requirement either.

    A network has many such sets, one for each map that may be empty. The formulas are compared
    with numbers where the trace accepts sizes, so two points of a set are enough: the smallest,
    which is reported as the example, and the one at its upper border.

    Args:
        subject: the function.
        refusal: sizes for which a trace with formulas shows that a requirement is not met.
        trace: the run.
        traced: what it traced; None where it failed.
        at_smallest: whether to try the smallest point, too.

    Returns:
        Whether it fails at every point tried: on the same line, unless JAX raises an error there.
        JAX leaves out slices of whole maps for numbers, and reads nothing of an empty map for
        formulas. So an empty map may show earlier for numbers, where formulas have one, too.
    """
    whole = SizeSet(refusal.sizes)
    larger = [  # than 1, and not alike: sizes without a border
        f"{name} >= {7 + 2 * i}"
        for i, name in enumerate(whole.names)
        if bounds(whole.points, parse_affine((name,), name))[1] is None
    ]
    large = whole & SizeSet.parse(whole.names, " and ".join(larger))
    smallest, border = whole.smallest(), (whole if large.is_empty() else large).at_border()
    largest = LARGEST_OF_NUMBERS if subject.uses_numbers else LARGEST_BORDER
    if max(border.values(), default=0) > largest:
        border = smallest
    if subject.uses_numbers and max(smallest.values(), default=0) > largest:
        return False
    tried = [border, smallest] if at_smallest and smallest != border else [border]
    outcomes = (outcome_at(subject, _exactly(p).points, until_empty=True) for p in tried)

    def is_same(other: Refusal | None) -> bool:
        if other is None or other.origin.line == refusal.origin.line:
            return True
        are_empty = {other.requirement.kind, refusal.requirement.kind} == {EMPTY}
        return (
            are_empty
            and traced is not None
            and other.origin in origins_of_empty_maps(trace, traced, refusal.sizes)
        )

    return all(
        not outcome.succeeds and not outcome.is_open and is_same(outcome.refusal)
        for outcome in outcomes
    )


def _is_same_failure(error: Exception, other: Exception | None) -> bool:
    """Whether two errors are the same failure of the same operation.

    For numbers JAX may find the same fault by another check. But it has errors of its own for
    symbolic sizes that it does not support: they prove nothing.
    """
    if other is None:
        return False
    if not is_same_expression(operation_of_error(error)[0], operation_of_error(other)[0]):
        return False
    if isinstance(error, CONCRETIZATION):  # an array of unknown values stood for a number
        return isinstance(other, CONCRETIZATION)
    # The innermost instruction outside the sizes: what they raise, Python raises for numbers.
    raised, raised_too = (
        next(site for site in reversed(sites) if not site[0].co_filename.startswith(OF_SIZES))
        for sites in map(call_sites_of_error, (error, other))
    )
    if is_same_expression(raised, raised_too):
        return type(error) is type(other)
    by_library = all(is_inside_library(code.co_filename) for code, _ in (raised, raised_too))
    return by_library and re.search(UNSUPPORTED, str(error)) is None


OF_SIZES = (PACKAGE, *TYPE_CHECKERS)  # the files of what computes with sizes, and of its callers
# What JAX and Python say of an argument that ought to be a number.
UNSUPPORTED = (
    r"symbolic|polymorph|constant|concrete|static|support|integer|dtype|type|\bSize\b|\bReal\b"
)
CONCRETIZATION = (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError)


def outcome_at(subject: Subject, point: isl.Set, *, until_empty: bool = False) -> Outcome:
    """Trace with the numbers of one point.

    Args:
        subject: the function.
        point: a set of one element.
        until_empty: whether it is enough that a feature map is empty.

    Returns:
        What the trace shows.
    """
    trace = SymbolicTrace(point, until_empty=until_empty)
    try:
        traced = subject.trace(trace)
        _, refusals = unmet_requirements(subject, trace, traced)
    except (Undecided, MemoryError, RecursionError, isl.Error, Fork, Restart):
        return Outcome(None, is_open=True)
    except EmptyMap:
        return Outcome(None)
    except Exception as error:
        return Outcome(None, error)
    if traced.ended_early and not refusals:
        return Outcome(None, is_open=True)
    if refusals:
        return Outcome(None, refusal=refusals[0])
    return Outcome(traced.shapes, succeeds=True)


def _boundary_points(
    sizes: isl.Set, conditions: Sequence[isl.Set], uses_numbers: bool
) -> list[isl.Set] | None:
    """Where formulas and numbers may differ: the points at which a set is compared with numbers.

    These are the smallest sizes of the set, larger ones that are not alike, some that are all
    alike, as JAX keeps one object for equal shapes, and a point for each equality that holds on a
    part of the set. None where they are too many or too large to be tried.
    """
    whole = SizeSet(sizes)
    points = [_smallest_point(whole)]
    for others in (_with_large_sides(whole), whole):
        rest = others - SizeSet(points[0])
        if len(points) == 1 and not rest.is_empty():
            points.append(_smallest_point(rest))
    alike = [f"{name} = {whole.names[0]} and {name} >= 3" for name in whole.names]
    diagonal = whole & SizeSet.parse(whole.names, " and ".join(alike))
    if len(whole.names) > 1 and not diagonal.is_empty():
        points.append(_smallest_point(diagonal))
    left = list({str(one): one for one in conditions if not one.is_disjoint(sizes)}.values())
    while left:
        best, _ = intersect_most(sizes, left)
        points.append(_smallest_point(SizeSet(best)))
        left = [condition for condition in left if not best.is_subset(condition)]
        if len(points) > MOST_POINTS:
            return None
    largest = max((max(SizeSet(p).smallest().values(), default=0) for p in points), default=0)
    if uses_numbers and largest > LARGEST_OF_NUMBERS:
        return None
    return list({str(point): point for point in points}.values())


def _points_to_confirm(
    subject: Subject, sizes: isl.Set, conditions: Sequence[isl.Set]
) -> list[isl.Set] | None:
    """The boundary points, and many more where numbers did otherwise than formulas before."""
    points = _boundary_points(sizes, conditions, subject.uses_numbers)
    if points is None or not subject.is_irregular:
        return points
    whole = SizeSet(sizes)
    unique = {str(point): point for point in points}
    for name in whole.names:
        for value in (*SWEPT, *subject.constants()):
            some = whole & SizeSet.parse(whole.names, f"{name} = {value}")
            if not some.is_empty():
                point = _smallest_point(_with_large_sides(some))
                unique.setdefault(str(point), point)
    subject.swept += len(unique) - len(points)
    return list(unique.values())


def _with_large_sides(sizes: SizeSet) -> SizeSet:
    """The sizes of a set of which as many as possible are larger than 1 and not alike."""
    for i, name in enumerate(sizes.names):  # where b is 3, h may be large
        large = sizes & SizeSet.parse(sizes.names, f"{name} >= {7 + 2 * i}")
        sizes = sizes if large.is_empty() else large
    return sizes


def _smallest_point(sizes: SizeSet) -> isl.Set:
    """The smallest sizes of a set, as a set."""
    return _exactly(sizes.smallest()).points


FEW_PARTS = 8  # of a set, in which isl finds the sizes near those that people use quickly
# Shapes that people use: a batch, a first side, the other sides.
SAMPLES = (
    (1, 1, 1), (2, 3, 2), (1, 5, 8), (2, 8, 8), (1, 16, 16), (1, 33, 17), (1, 32, 32), (1, 64, 64),
    (1, 128, 64), (2, 224, 224), (1, 256, 256), (3, 100, 75),
)  # fmt: skip
BATCH_NAMES = ("b", "n")  # the first letters of the names of a batch


def sample_points(sizes: isl.Set) -> Iterator[isl.Set]:
    """Choose sizes to try where nothing can be proven.

    None is so large that its arrays may fill the memory.

    Args:
        sizes: the sizes that are not decided.

    Yields:
        Sets of one element each.
    """
    whole = SizeSet(sizes)
    first_name = whole.names[0] if len(whole.names) > 1 else ""
    batch = first_name if first_name[:1] in BATCH_NAMES else ""
    wished = []
    for batch_size, first, others in SAMPLES:
        sides = iter([first])
        wished.append(
            {name: batch_size if name == batch else next(sides, others) for name in whole.names}
        )
    points = [point for point in wished if whole.contains(**point)]
    if len(points) < len(wished) and whole.points.n_basic_set() <= FEW_PARTS:
        nearest = (whole.nearest(point) for point in wished if point not in points)
        points += [
            point for point in nearest if max(point.values(), default=0) <= LARGEST_OF_NUMBERS
        ]
    for point in {tuple(point.values()): point for point in points}.values():
        yield _exactly(point).points


def _exactly(point: dict[str, int]) -> SizeSet:
    conditions = (f"{name} = {size}" for name, size in point.items())
    return SizeSet.parse(list(point), " and ".join(conditions))
