"""Build the verdict: what an exploration accepts, returns and rejects, and its notes."""

import contextlib
import functools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import islpy as isl
import jax

from jaxconv.prover.conditions import (
    ambiguity_note,
    lost_pixels,
    lost_pixels_note,
    uneven_shards,
    uneven_shards_note,
)
from jaxconv.prover.confirm import Region, sample_points
from jaxconv.prover.diagnose import Refusal
from jaxconv.prover.explore import LARGEST, Exploration
from jaxconv.prover.results import structure_key
from jaxconv.prover.verdict import Cases, Failure, Verdict, remedy
from jaxconv.source import Origin
from jaxconv.symbolic.domains import SizePart, unite
from jaxconv.symbolic.sets import SizeSet, bounded
from jaxconv.symbolic.size import Size
from jaxconv.symbolic.trace import Undecided

RESULT_OPERATIONS = 2_000_000  # of isl, after which results are listed case by case
NOTE_OPERATIONS = 5_000_000  # of isl, after which notes are left out: none is worth long work


def conclude(exploration: Exploration) -> Verdict:
    """Build the verdict of an exploration.

    Args:
        exploration: a finished exploration.

    Returns:
        The verdict.
    """
    domain = exploration.domain
    accepts = _union(domain, (region.sizes for region in exploration.regions))
    undecided = _union(domain, (region.sizes for region in exploration.open_regions))
    sampled = _union(domain, exploration.sampled)
    untried = undecided - sampled
    failures = tuple(_failures(exploration, accepts, untried, sampled))
    is_refuted = bool(failures)
    if failures and exploration.open_regions:
        # Little may be proven: no refusal, or nothing about half of the sizes that people use.
        points = [SizeSet(point).smallest() for point in sample_points(domain)]
        is_open = [undecided.contains(**point) for point in points]
        is_refuted = exploration.proven_refusals > 0 and 2 * sum(is_open) < len(is_open)
    status = "refuted" if is_refuted else "tested" if exploration.open_regions else "proven"
    notes = [*exploration.subject.notes, *exploration.reasons]
    if exploration.is_limited:
        notes.append(f"sizes above {LARGEST} are not examined where all smaller ones are decided")
    if exploration.sampled:
        notes.append(_tried_note(exploration))
    else:
        with contextlib.suppress(isl.Error), bounded(NOTE_OPERATIONS):
            traced = [(r.trace, r.sizes, r.closed.jaxpr) for r in exploration.regions]
            notes += (ambiguity_note(deferred, accepts) for deferred in exploration.deferred)
            lost = [one for region in traced for one in lost_pixels(*region)]
            notes.append(lost_pixels_note(lost, accepts))
            shards = [one for region in traced for one in uneven_shards(*region)]
            notes.append(uneven_shards_note(shards, accepts))
    runs, notes = exploration.subject.traces, tuple(dict.fromkeys(filter(None, notes)))
    proven, tried = _proven_and_tried(exploration)
    outputs = _outputs(proven)
    if tried:
        whole = ((_union(domain, (region.sizes for region in proven)), outputs),)
        cases = outputs.cases if isinstance(outputs, Cases) else whole if proven else ()
        outputs = Cases((*cases, *_cases(tried)))
    return Verdict(status, accepts, outputs, failures, untried, notes, runs, sampled)


def _proven_and_tried(exploration: Exploration) -> tuple[list[Region], list[Region]]:
    count = exploration.proven_regions
    return exploration.regions[:count], exploration.regions[count:]


def _tried_note(exploration: Exploration) -> str:
    """Say what the sizes that were tried return: one shape, if one fits them all."""
    _, tried = _proven_and_tried(exploration)
    count = len(exploration.sampled)
    note = "tried 1 size" if count == 1 else f"tried {count} sizes one by one"
    if not tried:
        return f"{note}: none works"
    points = [SizeSet(region.sizes).smallest() for region in tried]
    shapes = [region.shapes for region in tried]
    structures = {structure_key(shape) for shape in shapes}
    verb = "works" if len(tried) == 1 else "work"
    works = f"{note}: {len(tried)} {verb}" if len(tried) < count else note
    if len(structures) > 1:
        return works
    columns = zip(*map(jax.tree.leaves, shapes), strict=True)
    sides = []
    for sizes in columns:  # each is a number, or a name that it is at every point
        alike = (n for n in points[0] if all(p[n] == s for p, s in zip(points, sizes, strict=True)))
        side = sizes[0] if len(set(sizes)) == 1 else next(alike, None)
        if side is None:
            return works
        sides.append(str(side))
    fitted = jax.tree.unflatten(jax.tree.structure(shapes[0]), sides)
    verb = "which returns" if len(tried) == 1 else "all return"
    return f"{works}, {verb} {str(fitted).replace(chr(39), '')}"


def _union(domain: isl.Set, sets: Iterable[isl.Set]) -> SizeSet:
    return SizeSet(functools.reduce(isl.Set.union, sets, isl.Set.empty(domain.space)))


def _failures(
    exploration: Exploration, accepts: SizeSet, untried: SizeSet, tried: SizeSet
) -> list[Failure]:
    """The reasons for refusals, the smallest sizes first; one for each line and kind."""
    groups: dict[tuple[Origin, str], list[tuple[dict[str, int], Refusal]]] = {}
    for refusal in exploration.refusals:
        origin = refusal.origin
        if not origin.path:
            origin = replace(exploration.subject.origin, layer=origin.layer)
        group = groups.setdefault((origin, refusal.requirement.kind), [])
        group.append((SizeSet(refusal.sizes).smallest(), refusal._replace(origin=origin)))
    failures = []
    for group in groups.values():
        # The refusal of the smallest sizes is the example.
        point, first = min(group, key=lambda entry: tuple(entry[0].values()))
        origin, requirement = first.origin, first.requirement
        fix = requirement.fix or (requirement.fix_for_all if accepts.is_empty() else "")
        failures.append(
            Failure(
                _union(exploration.domain, (refusal.sizes for _, refusal in group)),
                point,
                str(origin),
                requirement.message(point),
                fix or remedy(accepts, untried, point, tried),
                origin.layer,
                origin.path,
                origin.caller,
                requirement.correction,
            )
        )
    return sorted(failures, key=lambda failure: tuple(failure.smallest.values()))


def _cases(regions: Sequence[Region]) -> tuple[tuple[SizeSet, Any], ...]:
    return tuple((SizeSet(region.sizes), region.shapes) for region in regions)


def _outputs(regions: Sequence[Region]) -> Any:
    """The shapes of all regions as one, or case by case where no formula covers them."""
    if not regions:
        return None
    cases = Cases(_cases(regions))
    structures = {structure_key(region.shapes) for region in regions}
    if len(structures) > 1:
        return cases
    leaves = zip(*(jax.tree.leaves(region.shapes) for region in regions), strict=True)
    try:
        with bounded(RESULT_OPERATIONS):
            sizes = [
                unite([SizePart(r.sizes, size) for r, size in zip(regions, part, strict=True)])
                if isinstance(part[0], int | Size)
                else part[0]  # a text or a function beside the arrays
                for part in leaves
            ]
    except (Undecided, isl.Error):
        return cases
    return jax.tree.unflatten(jax.tree.structure(regions[0].shapes), sizes)
