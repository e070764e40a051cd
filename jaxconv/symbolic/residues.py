"""Where a number divides a polynomial of sizes: decided by remainders.

A product is a multiple of 6 where one of its factors is even, and one is a multiple of 3. A sum of
products becomes affine once the remainders of enough factors are known.
"""

import functools
import itertools
import math
from collections import Counter
from collections.abc import Iterator

import islpy as isl

from jaxconv.symbolic.factoring import Product, as_product
from jaxconv.symbolic.polynomials import (
    LARGEST_FACTORED,
    Factor,
    Polynomial,
    PolynomialRing,
    computed_once,
    positive_divisors,
)
from jaxconv.symbolic.sets import integer

MANY_WAYS = 9  # to divide a product, from which on its factors are looked at one by one
CASES = 256  # of remainders, after which divisibility is not decided


@computed_once
def where_divisible(polynomial: Polynomial, number: int) -> isl.Set | None:
    """Find where a polynomial is a multiple of a number.

    Args:
        polynomial: the polynomial.
        number: the number, not 0.

    Returns:
        The sizes of the ring's domain for which it is; None where that takes too many cases.
    """
    ring = polynomial.ring
    whole = ring.domain
    product = as_product(polynomial) if polynomial.products else None
    if product is not None and product.constant:
        product = None
    number = abs(number) * (product.multiple if product is not None else 1)
    if number > LARGEST_FACTORED:
        return None
    for power in _prime_powers(number):
        if product is not None:
            ways = _multiples_of_factors(ring, *_undecided(ring, product, power))
        else:
            fixed = _factors_to_fix(polynomial, power)
            if power ** len(fixed) > CASES:
                return None
            ways = []
            for points, known in _by_remainders(ring.domain, fixed, power, ring):
                total = polynomial.affine
                for factors, k in polynomial.products.items():
                    scale = k * math.prod(known[factor] for factor in factors if factor in known)
                    free = [factor.affine for factor in factors if factor not in known]
                    one = free[0] if free else ring.formula(1)
                    total = total.add(one.scale_val(integer(scale % power)))
                ways.append(points.intersect(_with_remainder(total, power, 0, ring)))
        whole = whole.intersect(functools.reduce(isl.Set.union, ways, ring.nowhere))
    return whole


def steps_to_divisibility(polynomial: Polynomial, number: int) -> Iterator[isl.Set]:
    """List simple conditions that decide where a number divides a product in very many ways.

    Where 16 divides b*h*w is a union of 15 sets, and where it does not, too complicated a set to
    work with. These conditions are about one factor each, and a run forks on each in turn: it goes
    on where the condition holds everywhere, or nowhere. In b*h*h, those of h come first, as fewer
    of them are needed. Where h is odd everywhere, or twice an odd number, only b matters.

    Args:
        polynomial: the polynomial.
        number: the number, not 0.

    Yields:
        Where the power of a prime divides a factor. None where there are few ways.
    """
    product = as_product(polynomial) if polynomial.products else None
    if product is None or product.constant or abs(number) * product.multiple > LARGEST_FACTORED:
        return
    ring, powers = polynomial.ring, _prime_powers(abs(number) * product.multiple)
    parts = [_undecided(ring, product, power) for power in powers]
    if math.prod(sum(1 for _ in _splits(left, len(some))) for some, left in parts) < MANY_WAYS:
        return
    for factors, power in parts:
        prime, left = min(positive_divisors(power)[1:], default=1), power
        for factor, count in Counter(factors).most_common():
            divisor = prime
            while left > 1:
                points = _with_remainder(factor.affine, divisor, 0, ring)
                yield points
                if not ring.domain.is_subset(points):
                    break
                divisor, left = divisor * prime, left // prime**count


def division_cases(polynomial: Polynomial, number: int) -> list[isl.Set] | None:
    """Split the sizes so that :meth:`Polynomial.divide` finds the quotient in each case.

    Args:
        polynomial: the polynomial.
        number: the number to divide by, not 0.

    Returns:
        Sets that cover the ring's domain together, those where nothing remains first; they may
        overlap. None where there are too many.
    """
    ring, number = polynomial.ring, abs(number)
    cases: list[isl.Set] = []
    if number > LARGEST_FACTORED:
        return None
    product = as_product(polynomial) if polynomial.products else None
    expanded = len(polynomial.monomials()) == 1  # not b*h*(w + 1), which divide does not see
    if product is not None and product.constant == 0 and expanded:
        missing = number // math.gcd(number, product.coefficient)
        cases += _multiples_of_factors(ring, product.factors, missing)
    rest = functools.reduce(isl.Set.subtract, cases, ring.domain)
    if rest.is_empty():
        return cases
    fixed = _factors_to_fix(polynomial, number)
    if number ** len(fixed) + len(cases) > CASES:
        return None
    parts = (points for points, _ in _by_remainders(rest, fixed, number, ring))
    return cases + [points for points in parts if not points.is_empty()]


def _undecided(
    ring: PolynomialRing, product: Product, power: int
) -> tuple[tuple[Factor, ...], int]:
    """Leave out of a product what is known of the power of a prime.

    Returns:
        The factors that different powers of the prime divide for different sizes, and the power
        by which their product must be divisible so that the whole product is by the one given.
    """
    prime, known, factors = positive_divisors(power)[1], math.gcd(power, product.coefficient), []
    for factor in product.factors:
        divisor, is_exact = _known_power(ring, factor, prime, power)
        if is_exact:
            known *= divisor
        else:
            factors.append(factor)
    return tuple(factors), power // math.gcd(power, known)


def _known_power(
    ring: PolynomialRing, factor: Factor, prime: int, largest: int
) -> tuple[int, bool]:
    """The power of a prime that divides a factor for all sizes, and whether none divides more."""
    divisor = 1
    while divisor < largest:
        points = _with_remainder(factor.affine, divisor * prime, 0, ring)
        if not ring.domain.is_subset(points):
            return divisor, ring.domain.is_disjoint(points)
        divisor *= prime
    return divisor, True


def _multiples_of_factors(
    ring: PolynomialRing, factors: tuple[Factor, ...], number: int
) -> list[isl.Set]:
    """For each way to split a number into divisors of the factors, where these divide them."""
    ways = []
    for divisors in _splits(number, len(factors)):
        points = ring.domain
        for factor, divisor in zip(factors, divisors, strict=True):
            if divisor > 1:
                points = points.intersect(_with_remainder(factor.affine, divisor, 0, ring))
        if not points.is_empty():
            ways.append(points)
    return ways


def _splits(number: int, parts: int) -> Iterator[tuple[int, ...]]:
    """All ways to write a number as a product of so many numbers, in order."""
    if parts == 0 and number > 1:
        return
    if parts <= 1:
        yield (number,) * parts
        return
    for first in positive_divisors(number):
        for rest in _splits(number // first, parts - 1):
            yield (first, *rest)


def _factors_to_fix(polynomial: Polynomial, number: int) -> list[Factor]:
    """Factors that leave at most one other factor in each product that a number does not divide."""
    fixed: list[Factor] = []
    products = [factors for factors, k in polynomial.products.items() if k % number]
    while True:
        free = [[factor for factor in factors if factor not in fixed] for factors in products]
        counts = Counter(factor for factors in free if len(factors) > 1 for factor in factors)
        if not counts:
            return fixed
        fixed.append(counts.most_common(1)[0][0])


def _by_remainders(
    whole: isl.Set, factors: list[Factor], number: int, ring: PolynomialRing
) -> Iterator[tuple[isl.Set, dict[Factor, int]]]:
    """Split a set by the remainders that factors leave when divided by a number."""
    for remainders in itertools.product(range(number), repeat=len(factors)):
        points, known = whole, dict(zip(factors, remainders, strict=True))
        for factor, remainder in known.items():
            points = points.intersect(_with_remainder(factor.affine, number, remainder, ring))
        yield points, known


def _with_remainder(
    affine: isl.PwAff, number: int, remainder: int, ring: PolynomialRing
) -> isl.Set:
    return affine.mod_val(integer(number)).eq_set(ring.formula(remainder))


def _prime_powers(number: int) -> Iterator[int]:
    """The powers of primes whose product a number is."""
    prime = 2
    while number > 1:
        if prime * prime > number:
            prime = number
        power = 1
        while number % prime == 0:
            number, power = number // prime, power * prime
        if power > 1:
            yield power
        prime += 1
