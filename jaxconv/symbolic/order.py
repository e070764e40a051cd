"""Where a polynomial of sizes is less or more than 0: exactly, where few cases decide it.

``h*w > 100`` holds where h is 1 and w above 100, or h is 2 and w above 50, and so on: values of h
with the same limit for w are one case. Their number is about twice the root of the limit.
"""

import contextlib
import math
from collections.abc import Iterator

import islpy as isl

from jaxconv.symbolic.equality import zeros
from jaxconv.symbolic.factoring import (
    affine_bounds,
    as_product,
    formulas_of_sign,
    in_finest_factors,
)
from jaxconv.symbolic.polynomials import Factor, Polynomial, PolynomialRing, computed_once
from jaxconv.symbolic.sets import RELATIONS, bounds
from jaxconv.symbolic.univariate import where_ordered_in_one_size

CASES = 256  # of one condition, after which it is not decided
FLIPPED = {"<": ">", "<=": ">=", "==": "==", ">=": "<=", ">": "<"}


@computed_once
def where_ordered(difference: Polynomial, symbol: str) -> isl.Set | None:
    """Find where a polynomial is less than 0, or at least 0, and so on.

    Args:
        difference: the polynomial, such as the difference of two sizes.
        symbol: the order, one of ``< <= == >= >``, between the polynomial and 0.

    Returns:
        The sizes of the ring's domain for which it holds; None where they are not known.
    """
    ring = difference.ring
    if not difference.products:
        relation = RELATIONS[symbol]
        return relation.on_formulas(difference.affine, ring.formula(0)).intersect(ring.domain)
    if symbol == "==":
        points, exact = zeros(difference)
        return points.intersect(ring.domain) if exact else None
    decided = _by_bounds(ring, symbol, difference.bounds())
    if decided is None:
        decided = where_ordered_in_one_size(difference, symbol)
    if decided is not None:
        return decided
    product = as_product(difference)
    if product is not None:
        coefficient, factors = product.coefficient, product.factors
        limit = -product.constant - (symbol in ("<", ">="))
        with contextlib.suppress(_TooManyCasesError):
            cases = _Cases(ring)
            return cases.where(coefficient, factors, limit, above=symbol in (">", ">="))
    formulas, rest = formulas_of_sign(difference)
    if formulas and rest.constant is None:
        return _of_signs(ring, formulas, rest, symbol)
    return _of_finest_factors(difference, symbol)


def _by_bounds(ring: PolynomialRing, symbol: str, ends: tuple[float, float]) -> isl.Set | None:
    """The whole domain or nowhere, where both bounds are in the same order to 0; else None."""
    answers = {RELATIONS[symbol].on_ints(bound, 0) for bound in ends}
    if len(answers) > 1:
        return None
    return ring.domain if answers.pop() else ring.nowhere


def _of_finest_factors(difference: Polynomial, symbol: str) -> isl.Set | None:
    """Where a polynomial with as few factors as are found is in an order to 0."""
    ring, finest = difference.ring, in_finest_factors(difference)
    one, other = ({f for fs in each.products for f in fs} for each in (finest, difference))
    if len(one) < len(other):
        return where_ordered(finest, symbol)
    ends = affine_bounds(finest)
    decided = _by_bounds(ring, symbol, ends)
    points, exact = zeros(difference) if decided is None and 0 in ends else (ring.nowhere, False)
    if not exact:
        return decided
    # It is never below 0, or never above: the order is whether it is 0.
    is_zero = points.intersect(ring.domain)
    return is_zero if RELATIONS[symbol].on_ints(0, 0) else ring.domain.subtract(points)


def _of_signs(
    ring: PolynomialRing, factors: list[isl.PwAff], rest: Polynomial, symbol: str
) -> isl.Set | None:
    """Where ``f*g*...*rest`` is in an order to 0, by the signs of the factors."""
    first, *others = factors
    zero, holds = ring.formula(0), ring.nowhere
    signs = ((first.gt_set(zero), symbol), (first.lt_set(zero), FLIPPED[symbol]))
    for points, order in signs:
        if points.is_disjoint(ring.domain):
            continue
        inside = _of_signs(ring, others, rest, order) if others else where_ordered(rest, order)
        if inside is None:
            return None
        holds = holds.union(points.intersect(inside))
    if RELATIONS[symbol].on_ints(0, 0):
        holds = holds.union(first.eq_set(zero).intersect(ring.domain))
    return holds


class _TooManyCasesError(Exception):
    """The values of the factors make too many cases."""


class _Cases:
    """The cases of one condition, counted."""

    def __init__(self, ring: PolynomialRing) -> None:
        self.ring = ring
        self.count = 0

    def where(
        self, coefficient: int, factors: tuple[Factor, ...], limit: int, *, above: bool
    ) -> isl.Set:
        """Where a product times a coefficient is above a limit, or else at most the limit."""
        ring = self.ring
        if coefficient < 0:  # -f <= 5 is f > -6
            return self.where(-coefficient, factors, -limit - 1, above=not above)
        if coefficient == 0 or not factors:
            return ring.domain if (coefficient > limit) == above else ring.nowhere
        limit //= coefficient
        if len(factors) == 1:
            relation = isl.PwAff.gt_set if above else isl.PwAff.le_set
            return relation(factors[0].affine, ring.formula(limit)).intersect(ring.domain)
        ranges = {factor: bounds(ring.domain, factor.affine) for factor in factors}
        numbers_of_values = {
            factor: math.inf if low is None or high is None else high - low
            for factor, (low, high) in ranges.items()
        }
        first, *rest = sorted(factors, key=numbers_of_values.__getitem__)
        others = ring.sum_of({tuple(rest): 1}).bounds()
        holds = ring.nowhere
        for low, high, value in _runs(*ranges[first], limit, others):
            self.count += 1
            if self.count > CASES:
                raise _TooManyCasesError
            case = first.affine.ge_set(ring.formula(low))
            if high is not None:
                case = case.intersect(first.affine.le_set(ring.formula(high)))
            if not case.is_disjoint(ring.domain):
                inside = self.where(value, tuple(rest), limit, above=above)
                holds = holds.union(case.intersect(inside))
        return holds


def _runs(
    low: int | None, high: int | None, limit: int, others: tuple[float, float]
) -> Iterator[tuple[int, int | None, int]]:
    """Runs of values of a factor for which a limit of the product is one limit of the others.

    Yields:
        The first and last value of a run, the last None where there is none, and a value of the
        factor that stands for them all.

    Raises:
        _TooManyCasesError: the factor is not bounded below.
    """
    if low is None:
        raise _TooManyCasesError
    value, (least, most) = low, others
    while high is None or value <= high:
        last: int | None = value
        if value > 0:
            quotient = limit // value
            # The others are all above the quotients from here on, or all at most these.
            is_decided = quotient < least if limit >= 0 else quotient >= most
            if is_decided or quotient in (0, -1):
                last = None
            else:  # the last value with the same quotient
                last = limit // quotient if quotient > 0 else -(limit // -(quotient + 1)) - 1
        if last is None or (high is not None and last >= high):
            yield value, high, value
            return
        yield value, last, value
        value = last + 1
