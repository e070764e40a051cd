"""Where a polynomial of sizes is 0: exactly for the forms that shapes take, else in part.

A product equals a number where its factors are divisors of the number. Two products are equal
where their factors are equal, once these are paired so that one side dominates the other.
"""

import functools
import itertools
import math
from collections.abc import Iterator, Mapping

import islpy as isl

from jaxconv.symbolic.factoring import (
    affine_bounds,
    as_product,
    formulas_of_sign,
    in_finest_factors,
)
from jaxconv.symbolic.formulas import formula_text
from jaxconv.symbolic.polynomials import (
    LARGEST_FACTORED,
    Factor,
    Polynomial,
    PolynomialRing,
    computed_once,
    positive_divisors,
)
from jaxconv.symbolic.sets import bounds, integer
from jaxconv.symbolic.univariate import where_ordered_in_one_size

MOST_VALUES = 64  # of a product that are tried one by one


@computed_once
def zeros(difference: Polynomial) -> tuple[isl.Set, bool]:
    """Find where a polynomial is 0.

    Args:
        difference: the polynomial, such as the difference of two sizes.

    Returns:
        The sizes for which it is 0, and whether these are all of them: where not, the set is only
        a part.
    """
    ring = difference.ring
    if difference.constant is not None:
        return (ring.domain if difference.constant == 0 else ring.nowhere), True
    if not difference.products:
        return difference.affine.eq_set(ring.formula(0)), True
    low, high = difference.bounds()
    if low > 0 or high < 0:
        return ring.nowhere, True
    points, exact = _zeros_of_products(difference)
    if exact:
        return points, True
    finest = in_finest_factors(difference)
    low, high = affine_bounds(finest)
    if not finest.products or low > 0 or high < 0:
        return finest.affine.eq_set(ring.formula(0)) if not finest.products else ring.nowhere, True
    others, exact = _zeros_of_products(finest)
    cases = None if exact else where_ordered_in_one_size(difference, "==")
    if cases is None and not exact:
        cases = _few_values(finest)
    return (points.union(others), exact) if cases is None else (cases, True)


def _few_values(difference: Polynomial) -> isl.Set | None:
    """Where a product of few values that can be 0 with the affine part is; None where it has many.

    ``h*w + b - 3`` is 0 where h*w is 1 and b is 2, or h*w is 2 and b is 1.
    """
    ring = difference.ring
    if len(difference.products) != 1:
        return None
    ((factors, k),) = difference.products.items()
    rest = difference.affine if k > 0 else difference.affine.neg()
    least, _ = bounds(ring.domain, rest)
    low, _ = ring.sum_of({factors: 1}).bounds()
    if least is None or math.isinf(low) or -least // abs(k) - low >= MOST_VALUES:
        return None
    where = ring.nowhere
    for value in range(int(low), -least // abs(k) + 1):
        equal = _product_equals(ring, factors, 1, value)
        where = where.union(equal.intersect(rest.eq_set(ring.formula(-abs(k) * value))))
    return where.intersect(ring.domain)


def _zeros_of_products(difference: Polynomial) -> tuple[isl.Set, bool]:
    ring, product = difference.ring, as_product(difference)
    if product is not None and abs(product.constant) <= LARGEST_FACTORED:
        coefficient, factors = product.coefficient, product.factors
        return _product_equals(ring, factors, coefficient, -product.constant), True
    formulas, rest = formulas_of_sign(difference)
    if formulas:
        points, exact = zeros(rest)
        parts = [formula.eq_set(ring.formula(0)) for formula in formulas]
        return functools.reduce(isl.Set.union, parts, points), exact
    monomials = difference.monomials()
    if len(monomials) == 2 and () not in monomials:
        return _products_equal(ring, monomials)
    return ring.nowhere, False


def factorizations(difference: Polynomial) -> list[tuple[str, isl.Set]]:
    """List the ways in which a product of sizes equals a number.

    Args:
        difference: a product less a number.

    Returns:
        For each way the values of the factors as text, and the sizes for which they take these
        values. Empty for any other polynomial.
    """
    product = as_product(difference) if difference.products else None
    if product is None or not 0 < abs(product.constant) <= LARGEST_FACTORED:
        return []
    value, k = -product.constant, product.coefficient
    names = [formula_text(factor.affine) for factor in product.factors]
    return [
        (", ".join(f"{n} = {x}" for n, x in zip(names, numbers, strict=True)), points)
        for numbers, points in _divisors(difference.ring, product.factors, value // k)
        if value % k == 0
    ]


def _product_equals(
    ring: PolynomialRing, factors: tuple[Factor, ...], k: int, value: int
) -> isl.Set:
    """Where ``k*f*g*... == value``: each factor is one of the value's finitely many divisors."""
    if value == 0:
        parts = [factor.affine.eq_set(ring.formula(0)) for factor in factors]
    elif value % k:
        parts = []
    else:
        parts = [points for _, points in _divisors(ring, factors, value // k)]
    return functools.reduce(isl.Set.union, parts, ring.nowhere)


def _divisors(
    ring: PolynomialRing, factors: tuple[Factor, ...], value: int
) -> Iterator[tuple[tuple[int, ...], isl.Set]]:
    """The numbers that factors with this product may be, and where they are."""
    first, *rest = factors
    candidates = [value]
    if rest:
        candidates = [signed for n in positive_divisors(abs(value)) for signed in (n, -n)]
    least, most = bounds(ring.domain, first.affine)
    for number in candidates:
        if (least is not None and number < least) or (most is not None and number > most):
            continue
        points = first.affine.eq_set(ring.formula(number)).intersect(ring.domain)
        if points.is_empty():
            continue
        if not rest:
            yield (number,), points
            continue
        for others, where in _divisors(ring, tuple(rest), value // number):
            if not where.is_disjoint(points):
                yield (number, *others), where.intersect(points)


def _products_equal(
    ring: PolynomialRing, monomials: Mapping[tuple[Factor, ...], int]
) -> tuple[isl.Set, bool]:
    """Where ``k*f*g == l*u*v``, for factors of 0 or more that dominate one another in pairs.

    Common factors cancel. If the others can be paired so that, everywhere, each of one side is at
    least its partner, then the products are equal only where all pairs are, or where both are 0.
    """
    (left, k), (right, c) = monomials.items()
    c = -c
    if k * c < 0:
        return ring.nowhere, False
    shared = math.gcd(k, c)
    k, c = k // shared, c // shared
    left, right = list(left), list(right)
    one = ring.formula(1)
    for factor in list(left):
        if factor in right and ring.domain.is_subset(factor.affine.ge_set(one)):
            left.remove(factor)
            right.remove(factor)
    for side, other, i, j in ((left, right, k, c), (right, left, c, k)):
        if not side:
            return _product_equals(ring, tuple(other), abs(j), abs(i)), True
    sides = [(left, abs(k)), (right, abs(c))]
    for (large, i), (small, j) in (sides, sides[::-1]):
        pairs = _dominate(ring, [f.affine for f in large], [f.affine for f in small], i, j)
        if pairs is not None:  # where a large factor is 0, so is its partner
            zero = (factor.affine.eq_set(ring.formula(0)) for factor in large)
            return functools.reduce(isl.Set.union, zero, pairs), True
    return ring.nowhere, False


def _dominate(
    ring: PolynomialRing, large: list[isl.PwAff], small: list[isl.PwAff], i: int, j: int
) -> isl.Set | None:
    """Where all pairs are equal, if ``large`` can be paired to dominate ``small``; else None.

    The coefficients ``i`` and ``j`` of the products are spread over their factors.
    """
    if len(large) != len(small) or not large:
        return None
    first, *rest = large
    for index, partner in enumerate(small):
        others = small[:index] + small[index + 1 :]
        shares = itertools.product(positive_divisors(i), positive_divisors(j))
        for p, q in shares if rest else [(i, j)]:
            one, other = first.scale_val(integer(p)), partner.scale_val(integer(q))
            if not ring.domain.is_subset(
                one.ge_set(other).intersect(other.ge_set(ring.formula(0)))
            ):
                continue
            equal = _dominate(ring, rest, others, i // p, j // q) if rest else ring.domain
            if equal is not None:
                return one.eq_set(other).intersect(equal)
    return None
