"""Domains: the sets of sizes that traces run under, made of names and conditions."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import islpy as isl

from jaxconv.errors import shown
from jaxconv.symbolic.equality import zeros
from jaxconv.symbolic.evaluation import where_at_least_one, where_holds
from jaxconv.symbolic.polynomials import PolynomialRing
from jaxconv.symbolic.sets import SizeSet, bounded, names_of
from jaxconv.symbolic.shortening import shorter
from jaxconv.symbolic.size import Size, polynomial_of, sizes_of
from jaxconv.symbolic.spec_errors import SpecError, word_error
from jaxconv.symbolic.specs import Formula, Spec, parse_condition
from jaxconv.symbolic.trace import SymbolicTrace, Undecided

ISL_OPERATIONS = 5_000_000  # of isl to join the formulas of several traces: a few seconds


def sizes(names: str, where: str | None = "") -> tuple[Any, ...]:
    """Make symbolic sizes, which can be computed with and compared like ints.

    Args:
        names: separated by spaces, such as "b h w"; each is at least 1.
        where: a condition on them, such as "h >= 32 and w == h".

    Returns:
        A :class:`Size` for each name. An order that holds only for some sizes raises
        :class:`Undecided`; ``==`` is True only where it holds for all.

    Raises:
        SpecError: the condition cannot be read.

    Example:
        >>> import jaxconv as jc
        >>> b, h, w = jc.sizes("b h w", where="h >= 32")
        >>> h // 2 // 2 == h // 4, h > 31, (h + 1) // 2 - h // 2, 3 * b * h * w
        (True, True, h % 2, 3*b*h*w)
    """
    if not isinstance(names, str):
        raise SpecError(
            f'{shown(names)} does not name sizes.\n  Fix: name them in one text: "b h w".'
        )
    trace = SymbolicTrace(domain_of(names.split(), where), searching=False)
    return tuple(sizes_of(trace).values())


def domain_of(names: Sequence[str], where: str | None) -> isl.Set:
    """Make the set of all sizes of at least 1 for which a condition holds.

    Args:
        names: names of the sizes.
        where: the condition, such as ``"h >= 32 and w == h"``; may be empty.

    Returns:
        The set, not empty.

    Raises:
        SpecError: the condition cannot be read, names other sizes, or holds for no size.
    """
    if repeated := [name for name in names if list(names).count(name) > 1]:
        raise SpecError(f"The size {repeated[0]} is given twice.\n  Fix: name each size once.")
    if unusable := [name for name in names if not _is_name(name)]:
        wrong = f"{shown(unusable[0])} cannot name a size."
        raise word_error(wrong, " ".join(names), unusable[0], "call it h, height or h2.")
    domain = SizeSet.parse(names).points
    if where is None or (isinstance(where, str) and not where.strip()):
        return domain
    for condition in parse_condition(where):
        if unknown := {*condition.names()} - {*names}:
            listed = sorted(unknown)
            raise word_error(
                f"where= names {', '.join(listed)}, but the sizes are {', '.join(names)}.",
                where,
                listed[0],
                "use their names.",
            )
        domain = where_holds(condition, domain)
    if domain.is_empty():
        raise SpecError(
            f"where= holds for no size: {where}.\n  Fix: pass a condition that some sizes meet."
        )
    return domain


def _is_name(text: str) -> bool:
    """Whether isl accepts a text as a name; it has keywords of its own, such as mod."""
    if not (text.isidentifier() and text.isascii()):
        return False
    try:
        return names_of(isl.Set(f"[{text}] -> {{ : {text} mod 2 = 1 and {text} >= 3 }}")) == (text,)
    except isl.Error:
        return False


def without_empty_sides(domain: isl.Set, specs: Sequence[Spec]) -> isl.Set:
    """Find for which sizes every side of some arrays is at least 1.

    Args:
        domain: the sizes to consider.
        specs: the specs of the arrays.

    Returns:
        The sizes, not empty.

    Raises:
        SpecError: there are none, or a side cannot be decided.
    """
    for spec in specs:
        for axis in spec.axes:
            if not isinstance(axis, Formula):
                continue
            domain = where_at_least_one(axis, domain)
            if domain.is_empty():
                texts = ", ".join(spec.text for spec in specs)
                wrong = f"No sizes make every side of {texts} 1 or more."
                raise word_error(wrong, spec.text, axis.text, "change the spec or where=.")
    return domain


def split(domain: isl.Set, condition: isl.Set) -> list[isl.Set]:
    """Split a domain by a condition.

    Args:
        domain: the sizes to split.
        condition: the sizes for which the condition holds.

    Returns:
        Where the condition does not hold, and where it holds; either may be empty.
    """
    return [domain.subtract(condition), domain.intersect(condition)]


def intersect_most(domain: isl.Set, conditions: Sequence[isl.Set]) -> tuple[isl.Set, isl.Set]:
    """Find where as many conditions hold at once as can, the last ones first.

    Args:
        domain: the sizes considered.
        conditions: for each condition the sizes for which it holds.

    Returns:
        Where the conditions chosen hold, and where at least one of the others does.
    """
    best, others = domain, isl.Set.empty(domain.space)
    for condition in reversed(conditions):
        both = best.intersect(condition)
        if both.is_empty():
            others = others.union(condition)
        else:
            best = both
    return best, others


class SizePart(NamedTuple):
    """A size as one trace computed it.

    Attributes:
        sizes: the sizes for which the formula is the one wanted.
        size: the formula.
    """

    sizes: isl.Set
    size: Size | int


def unite(parts: Sequence[SizePart]) -> Size | int:
    """Find one formula for a size that several traces computed, each on its own part of the sizes.

    A formula of one trace that gives the values of the others on their parts, too, is preferred;
    else affine ones are joined piece by piece.

    Args:
        parts: the formulas and their sizes.

    Returns:
        The formula over all these sizes.

    Raises:
        Undecided: there is no such formula.
    """
    whole = functools.reduce(isl.Set.union, [part.sizes for part in parts]).coalesce()
    trace = SymbolicTrace(whole, searching=False)
    polynomials = [polynomial_of(part.size, trace) for part in parts]
    domains = [(PolynomialRing(part.sizes), part.sizes) for part in parts]
    for candidate in polynomials:
        for (ring, domain), polynomial in zip(domains, polynomials, strict=True):
            moved = ring.transfer(candidate)
            points, exact = zeros(moved - ring.transfer(polynomial))
            if not (exact and domain.is_subset(points) and moved.is_whole()):
                break
        else:  # the candidate has the values of all parts
            return Size.of(trace, trace.ring.simplify(candidate.affine, candidate.products))
    if any(polynomial.products for polynomial in polynomials):
        raise Undecided("the result has products of sizes that differ from case to case")
    joined = [
        polynomial.affine.intersect_params(part.sizes)
        for part, polynomial in zip(parts, polynomials, strict=True)
    ]
    try:
        with bounded(ISL_OPERATIONS):
            affine = functools.reduce(isl.PwAff.union_add, joined)
            return Size.of(trace, trace.ring.simplify(shorter(affine, whole), {}))
    except isl.Error:
        raise Undecided("the result has too many cases to be joined in one formula") from None
