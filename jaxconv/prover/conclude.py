"""Build the verdict: what an exploration accepts, returns and rejects, and its notes."""

import contextlib
import functools
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import islpy as isl
import jax

from jaxconv.prover.conditions import ambiguity_note, lost_pixels, lost_pixels_note
from jaxconv.prover.diagnose import Refusal
from jaxconv.prover.explore import LARGEST, Exploration
from jaxconv.prover.verdict import Cases, Failure, Verdict, remedy
from jaxconv.source import Origin
from jaxconv.symbolic.domains import SizePart, unite
from jaxconv.symbolic.sets import SizeSet, bounded
from jaxconv.symbolic.trace import Undecided

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
    untried = undecided - _union(domain, exploration.sampled)
    failures = tuple(_failures(exploration, accepts, untried))
    status = "refuted" if failures else "tested" if exploration.open_regions else "proven"
    notes = [*exploration.reasons]
    if exploration.is_limited:
        notes.append(f"sizes above {LARGEST} are not examined where all smaller ones are decided")
    if exploration.sampled:
        notes.append(f"tried {len(exploration.sampled)} sizes one by one")
    else:
        with contextlib.suppress(isl.Error), bounded(NOTE_OPERATIONS):
            ambiguities = [ambiguity_note(deferred, accepts) for deferred in exploration.deferred]
            lost = [
                window
                for region in exploration.regions
                for window in lost_pixels(region.trace, region.sizes, region.closed.jaxpr)
            ]
            notes += filter(None, [*ambiguities, lost_pixels_note(lost, accepts)])
    runs, notes = exploration.subject.traces, tuple(dict.fromkeys(notes))
    return Verdict(status, accepts, _outputs(exploration), failures, untried, notes, runs)


def _union(domain: isl.Set, sets: Iterable[isl.Set]) -> SizeSet:
    return SizeSet(functools.reduce(isl.Set.union, sets, isl.Set.empty(domain.space)))


def _failures(exploration: Exploration, accepts: SizeSet, untried: SizeSet) -> list[Failure]:
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
                fix or remedy(accepts, untried, point),
                origin.layer,
                origin.path,
                origin.caller,
            )
        )
    return sorted(failures, key=lambda failure: tuple(failure.smallest.values()))


def _outputs(exploration: Exploration) -> Any:
    """The shapes of all regions as one, or case by case where no formula covers them."""
    regions = exploration.regions
    if not regions:
        return None
    cases = Cases(tuple((SizeSet(region.sizes), region.shapes) for region in regions))
    structures = {jax.tree.structure(region.shapes) for region in regions}
    if len(structures) > 1:
        return cases
    leaves = zip(*(jax.tree.leaves(region.shapes) for region in regions), strict=True)
    try:
        sizes = [
            unite([SizePart(r.sizes, size) for r, size in zip(regions, part, strict=True)])
            for part in leaves
        ]
    except Undecided:
        return cases
    return jax.tree.unflatten(structures.pop(), sizes)
