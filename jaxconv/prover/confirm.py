"""Confirm with numbers what formulas show, at boundary points and at sample points.

Formulas are not ints: code that inspects the type of a size may behave differently for numbers. So
what a trace with formulas accepts or rejects counts only after traces with numbers confirm it.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import islpy as isl
import jax

from jaxconv.compat import ClosedJaxpr
from jaxconv.prover.diagnose import unmet_requirements
from jaxconv.prover.subject import Subject
from jaxconv.symbolic.domains import intersect_most
from jaxconv.symbolic.sets import SizeSet
from jaxconv.symbolic.size import value_at
from jaxconv.symbolic.trace import DeferredEquality, Fork, SymbolicTrace, Undecided

SAMPLES = 12  # sizes tried where nothing can be proven
CONFIRMED = 4  # sizes at which equalities that were answered False are confirmed with numbers


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


def agrees(subject: Subject, region: Region) -> bool:
    """Tell whether tracing with numbers gives the values of a region's formulas.

    Args:
        subject: the function.
        region: sizes that a trace with formulas accepts.

    Returns:
        Whether it does at every point tried.
    """
    for point in _boundary_points(region.sizes, region.trace.deferred):
        sizes = SizeSet(point).smallest()
        expected = jax.tree.map(lambda size, point=sizes: value_at(size, point), region.shapes)
        if _shapes_at(subject, point) != expected:
            return False
    return True


def fails(subject: Subject, sizes: isl.Set, deferred: Sequence[DeferredEquality] = ()) -> bool:
    """Return whether tracing with numbers fails, too.

    Args:
        subject: the function.
        sizes: sizes that a trace with formulas rejects.
        deferred: equalities that this trace answered False.

    Returns:
        Whether it fails at every point tried.
    """
    points = _boundary_points(sizes, deferred)
    return all(_shapes_at(subject, point) is None for point in points)


def _shapes_at(subject: Subject, point: isl.Set) -> Any:
    """The shapes that tracing with the numbers of one point gives; None where it fails."""
    trace = SymbolicTrace(point)
    try:
        traced = subject.trace(trace)
    except (Exception, Fork):
        return None
    try:
        _, refusals = unmet_requirements(subject, trace, traced)
    except Undecided:
        return None
    return None if refusals else traced.shapes


def _boundary_points(sizes: isl.Set, deferred: Sequence[DeferredEquality]) -> list[isl.Set]:
    """Where formulas and numbers may differ: the points at which a set is compared with numbers.

    These are the smallest sizes of the set, the smallest that are larger and not alike, where it
    has such, and one point for each equality that holds on a part of it.
    """
    whole = SizeSet(sizes)
    larger = (f"{name} >= {7 + 2 * i}" for i, name in enumerate(whole.names))
    parts = [whole, whole & SizeSet.parse(whole.names, " and ".join(larger))]
    points = [_smallest_point(part) for part in parts if not part.is_empty()]
    if len(points) > 1 and points[0].is_equal(points[1]):
        points.pop()
    equalities = [question.condition for question in deferred]
    left = list({str(one): one for one in equalities if not one.is_disjoint(sizes)}.values())
    for _ in range(CONFIRMED):
        if not left:
            break
        best, _ = intersect_most(sizes, left)
        points.append(_smallest_point(SizeSet(best)))
        left = [condition for condition in left if not best.is_subset(condition)]
    return list({str(point): point for point in points}.values())


def _smallest_point(sizes: SizeSet) -> isl.Set:
    """The smallest sizes of a set, as a set."""
    conditions = (f"{name} = {size}" for name, size in sizes.smallest().items())
    return SizeSet.parse(sizes.names, " and ".join(conditions)).points


def sample_points(sizes: isl.Set) -> Iterator[isl.Set]:
    """Choose sizes to try where nothing can be proven.

    Args:
        sizes: the sizes that are not decided.

    Yields:
        Sets of one element each, from small sizes to large ones.
    """
    whole, seen = SizeSet(sizes), []
    for count, least in enumerate((1, 2, 3, 5, 8, 16, 17, 32, 33, 64, 100, 224)):
        step = count % 2  # every second one has no two sizes alike
        bounds = (f"{name} >= {least + i * step}" for i, name in enumerate(whole.names))
        part = whole & SizeSet.parse(whole.names, " and ".join(bounds))
        if not part.is_empty() and (smallest := part.smallest()) not in seen:
            seen.append(smallest)
            yield _smallest_point(part)
        if len(seen) == SAMPLES:
            return
