"""Polynomials of sizes as a product: ``b*h*w + b*h`` is ``b*h*(w + 1)``."""

import functools
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import NamedTuple

import islpy as isl

from jaxconv.symbolic.polynomials import (
    Factor,
    Monomials,
    Polynomial,
    PolynomialRing,
    constant_of,
    in_each_summand,
    in_order,
)
from jaxconv.symbolic.sets import SizeSet, bounds, integer, known_remainder
from jaxconv.symbolic.sums import DIV, PARAM


class Product(NamedTuple):
    """A product of quasi-affine formulas, and a number.

    Attributes:
        coefficient: the number that the product is multiplied by.
        factors: the formulas.
        constant: the number that is added.
        multiple: the positive number that the polynomial was multiplied by.
    """

    coefficient: int
    factors: tuple[Factor, ...]
    constant: int
    multiple: int = 1


def common_factors(polynomial: Polynomial) -> tuple[tuple[Factor, ...], Polynomial]:
    """Take out the factors that all summands have.

    Args:
        polynomial: the polynomial.

    Returns:
        The factors, and what remains of the polynomial without them.
    """
    monomials = polynomial.monomials()
    common = in_each_summand(monomials)
    if not common:
        return (), polynomial
    rest: Monomials = {
        tuple((Counter(factors) - common).elements()): k for factors, k in monomials.items()
    }
    return tuple(common.elements()), polynomial.ring.sum_of(rest)


def without_shared_factors(
    one: Polynomial, other: Polynomial
) -> tuple[Polynomial, Polynomial, Polynomial]:
    """Take out the factors that all summands of two polynomials have.

    Args:
        one: a polynomial.
        other: another one, of the same ring.

    Returns:
        Both without these factors, and the product of the factors.
    """
    ring = one.ring
    shared = in_each_summand([*one.monomials(), *other.monomials()])

    def rest(polynomial: Polynomial) -> Polynomial:
        monomials = polynomial.monomials().items()
        return ring.sum_of(
            {in_order((Counter(factors) - shared).elements()): k for factors, k in monomials}
        )

    return rest(one), rest(other), ring.sum_of({in_order(shared.elements()): 1})


def formulas_of_sign(polynomial: Polynomial) -> tuple[list[isl.PwAff], Polynomial]:
    """Find formulas that divide a polynomial, or a positive multiple of it.

    Args:
        polynomial: a polynomial with products.

    Returns:
        The formulas, and what remains without them: ``b - 9`` and ``h*w + 1`` for
        ``b*h*w + b - 9*h*w - 9``. Without formulas it is the polynomial.
    """
    factors, rest = common_factors(polynomial)
    if factors:
        return [factor.affine for factor in factors], rest
    formula, rest = _factor_of_sum(polynomial) or (None, polynomial)
    return [formula] if formula is not None else [], rest


def _factor_of_sum(polynomial: Polynomial) -> tuple[isl.PwAff, Polynomial] | None:
    """Write a sum, or a positive multiple of it, as a formula times a polynomial with products.

    Where a sum is ``f*q + c*q`` but for its affine part, that part decides: ``(f + c)*(q + k)`` has
    ``k*(f + c)`` more.
    """
    ring, products = polynomial.ring, polynomial.products
    if len(products) < 2 or not polynomial.is_whole():
        return None
    for factor in dict.fromkeys(factor for factors in products for factor in factors):
        once = Counter((factor,))
        quotient = ring.sum_of(
            {
                tuple((Counter(factors) - once).elements()): k
                for factors, k in products.items()
                if factor in factors
            }
        )
        others = {factors: k for factors, k in products.items() if factor not in factors}
        if not others or others.keys() != quotient.products.keys():
            continue
        ratios = {Fraction(k, quotient.products[factors]) for factors, k in others.items()}
        c = ratios.pop()
        if ratios:
            continue
        formula = _scaled(factor.affine, c.denominator).add(ring.formula(c.numerator))
        left = _scaled(polynomial.affine, c.denominator)
        left = left.sub(_scaled(quotient.affine, c.numerator))
        points = SizeSet(ring.domain.intersect(formula.ne_set(ring.formula(0))))
        if points.is_empty():
            continue
        point = points.smallest()  # it gives k, if there is one for all sizes
        k = Fraction(_value(left, point), _value(formula, point))
        equal = _scaled(left, k.denominator).eq_set(_scaled(formula, k.numerator))
        if ring.domain.is_subset(equal):
            return formula, quotient.scaled(k.denominator) + ring.number(k.numerator)
    return None


def as_product(polynomial: Polynomial) -> Product | None:
    """Write a polynomial, or a positive multiple of it, as a product plus a number.

    Args:
        polynomial: a polynomial with products.

    Returns:
        The product: ``h*(w + 1) - 9`` for ``h*w + h - 9``, ``(h - 4)*(w - 4) - 16`` for
        ``h*w - 4*h - 4*w``. None where it has no such form that is found.
    """
    ring, monomials = polynomial.ring, dict(polynomial.monomials())
    constant = monomials.pop((), 0)
    if len(monomials) == 1:
        ((factors, coefficient),) = monomials.items()
        return Product(coefficient, factors, constant)
    constants = [aff.get_constant_val() for _, aff in polynomial.affine.get_pieces()]
    is_whole = len(constants) == 1 and constants[0].is_int()
    for constant in dict.fromkeys((0, constants[0].to_python() if is_whole else 0)):
        factors, rest = common_factors(polynomial - ring.number(constant))
        monomials = rest.monomials()
        if len(monomials) == 1 and (factors or rest.products):
            ((others, coefficient),) = monomials.items()
            return Product(coefficient, (*factors, *others), constant)
    return _completed(polynomial)


def in_finest_factors(polynomial: Polynomial) -> Polynomial:
    """Write factors that are multiples of one formula, plus a number, with this formula.

    Where h is even and not a multiple of 4, ``h*w - 4*((h - 2)//4)*w`` is ``2*w``: with t for
    (h - 2)//4 it is ``(4*t + 2)*w - 4*t*w``.

    Args:
        polynomial: the polynomial.

    Returns:
        The same polynomial, with as few different factors as are found.
    """
    if not polynomial.is_whole():
        return polynomial
    ring, products = polynomial.ring, polynomial.products
    units = _units(ring, [factor for factors in products for factor in factors])
    written = _in_units(ring, products, units)
    return ring.simplify(written.affine.add(polynomial.affine), written.products)


def in_shared_factors(*polynomials: Polynomial) -> tuple[Polynomial, ...]:
    """Write the factors of several polynomials with as few different ones as are found.

    Where h is even, ``b*h*w`` and ``2*b*(h//2)`` are ``2*b*t*w`` and ``2*b*t``, with t for h//2.

    Args:
        *polynomials: polynomials of one ring.

    Returns:
        The same polynomials.
    """
    if not all(polynomial.is_whole() for polynomial in polynomials):
        return polynomials
    ring, monomials = polynomials[0].ring, [one.monomials() for one in polynomials]
    units = _units(ring, [factor for each in monomials for factors in each for factor in factors])
    return tuple(_in_units(ring, each, units) for each in monomials)


class _InUnits(NamedTuple):
    """A factor as a multiple of another one, plus a number."""

    unit: Factor
    times: int
    constant: int


def _units(ring: PolynomialRing, factors: list[Factor]) -> dict[Factor, _InUnits]:
    """Few factors, of which all others are multiples, plus a number."""
    left = list(dict.fromkeys(factors))
    scaled: dict[Factor, _InUnits] = {}
    while left:
        first = left.pop(0)
        relations = {
            f: ring.once(("relation", first, f), functools.partial(_relation, ring, first, f))
            for f in left
        }
        related = {f: relation for f, relation in relations.items() if relation is not None}
        step = math.lcm(*(slope.denominator for slope, _ in related.values()))
        rest = known_remainder(ring.domain, first.affine, step)
        if rest is None:
            step, rest = 1, 0
        unit = ring.factor(first.affine.scale_down_val(integer(step)).floor())
        scaled[first] = _InUnits(unit, step, rest)
        for factor, (slope, shift) in related.items():
            k, constant = slope * step, slope * rest + shift
            if k.denominator == constant.denominator == 1:
                scaled[factor] = _InUnits(unit, int(k), int(constant))
                left.remove(factor)
    return scaled


def _in_units(
    ring: PolynomialRing,
    products: Mapping[tuple[Factor, ...], int],
    scaled: dict[Factor, _InUnits],
) -> Polynomial:
    """Multiply out products whose factors are written with others."""
    monomials: Monomials = {}
    for factors, coefficient in products.items():
        for chosen in itertools.product((True, False), repeat=len(factors)):
            parts = [(scaled[factor], taken) for factor, taken in zip(factors, chosen, strict=True)]
            units = in_order(unit for (unit, _, _), taken in parts if taken)
            k = math.prod((k if taken else constant for (_, k, constant), taken in parts))
            monomials[units] = monomials.get(units, 0) + coefficient * k
    return ring.sum_of(monomials)


def where_floors_are_exact(polynomial: Polynomial) -> Iterator[isl.Set]:
    """List where the quotients in the factors of a polynomial have no remainder.

    Args:
        polynomial: the polynomial.

    Yields:
        For each quotient, such as h//2, the sizes for which it has none.
    """
    for factors in polynomial.monomials():
        for factor in factors:
            for _, aff in factor.affine.get_pieces():
                for i in range(aff.dim(DIV)):
                    inner = isl.PwAff.from_aff(aff.get_div(i))
                    yield inner.eq_set(inner.floor()).intersect(polynomial.ring.domain)


def _relation(ring: PolynomialRing, one: Factor, other: Factor) -> tuple[Fraction, Fraction] | None:
    """The slope and the constant by which one factor gives another one; None where none do."""
    first = SizeSet(ring.domain).smallest()
    start = _value(one.affine, first)
    rest = SizeSet(ring.domain.intersect(one.affine.ne_set(ring.formula(start))))
    if rest.is_empty():
        return None
    second = rest.smallest()
    before, after = (_value(other.affine, point) for point in (first, second))
    slope = Fraction(after - before, _value(one.affine, second) - start)
    shift = before - slope * start
    if slope == 0:
        return None
    common = math.lcm(slope.denominator, shift.denominator)
    expected = one.affine.scale_val(integer(int(slope * common)))
    expected = expected.add(ring.formula(int(shift * common)))
    holds = other.affine.scale_val(integer(common)).eq_set(expected)
    return (slope, shift) if ring.domain.is_subset(holds) else None


def _scaled(affine: isl.PwAff, k: int) -> isl.PwAff:
    return affine.scale_val(integer(k))


def _value(affine: isl.PwAff, point: dict[str, int]) -> int:
    conditions = " and ".join(f"{name} = {size}" for name, size in point.items())
    least, _ = bounds(SizeSet.parse(list(point), conditions).points, affine)
    assert least is not None  # the value at one point
    return least


def _completed(polynomial: Polynomial) -> Product | None:
    """Write ``a*f*g + c*f + d*g + e`` as ``((a*f + d)*(a*g + c) + a*e - c*d)/a``."""
    ring, pieces = polynomial.ring, polynomial.affine.get_pieces()
    if len(polynomial.products) != 1 or len(pieces) != 1:
        return None
    ((factors, a),) = polynomial.products.items()
    if len(factors) != 2:
        return None
    f, g = (factor.affine for factor in factors)
    c, d = _share(pieces[0][1], f, g), _share(pieces[0][1], g, f)
    if c is None or d is None:
        return None
    rest = polynomial.affine.sub(f.scale_val(integer(c))).sub(g.scale_val(integer(d)))
    e = constant_of(rest.coalesce())
    if e is None:
        return None
    left, right = (
        ring.factor(one.scale_val(integer(a)).add(ring.formula(shift)))
        for one, shift in ((f, d), (g, c))
    )
    sign = 1 if a > 0 else -1
    return Product(sign, (left, right), sign * (a * e - c * d), abs(a))


def _share(whole: isl.Aff, of: isl.PwAff, other: isl.PwAff) -> int | None:
    """How often a formula is in a sum, by a name that the other formula lacks; None: unknown."""
    if of.n_piece() != 1 or other.n_piece() != 1:
        return None
    one, another = of.get_pieces()[0][1], other.get_pieces()[0][1]
    for i in range(one.dim(PARAM)):
        coefficient = one.get_coefficient_val(PARAM, i)
        if not coefficient.is_zero() and another.get_coefficient_val(PARAM, i).is_zero():
            share = whole.get_coefficient_val(PARAM, i).div(coefficient)
            return share.to_python() if share.is_int() else None
    return None


def affine_bounds(polynomial: Polynomial) -> tuple[float, float]:
    """Find bounds over the domain, from an affine formula below products, or above negative ones.

    ``d*n - d*((n - 1)//2) - (d - 1)//2`` is ``d*f - (d - 1)//2``, where f is at least 1, and so at
    least ``d - (d - 1)//2``.

    Args:
        polynomial: the polynomial.

    Returns:
        Its bounds, infinite where none are found.
    """
    ring, products = polynomial.ring, _merged(polynomial)
    signs = {k > 0 for k in products.values()}
    if len(signs) != 1:
        return -math.inf, math.inf
    total = polynomial.affine
    for factors, k in products.items():
        below = _affine_below(ring, [factor.affine for factor in factors])
        if below is None:
            return -math.inf, math.inf
        total = total.add(below.scale_val(integer(k)))
    low, high = bounds(ring.domain, total)
    if signs == {True}:
        return -math.inf if low is None else low, math.inf
    return -math.inf, math.inf if high is None else high


def _affine_below(ring: PolynomialRing, factors: list[isl.PwAff]) -> isl.PwAff | None:
    """An affine formula that is at most a product of factors of 0 or more; None for others."""
    first, *rest = factors
    least, _ = bounds(ring.domain, first)
    if least is None or least < 0:
        return None
    if not rest:
        return first
    below = _affine_below(ring, rest)
    others = [bounds(ring.domain, factor)[0] or 0 for factor in rest]
    if below is None:
        return None
    # f*g is (f - least)*g + least*g, and g is at least the product of its least factors.
    above_least = first.sub(ring.formula(least)).scale_val(integer(math.prod(others)))
    return above_least.add(below.scale_val(integer(least)))


def _merged(polynomial: Polynomial) -> Monomials:
    """The products, those that differ in one factor as one: ``b*h - b*w`` is ``b*(h - w)``."""
    ring, products = polynomial.ring, dict(polynomial.products)
    for one, other in itertools.combinations(polynomial.products, 2):
        left, right = (Counter(factors) for factors in (one, other))
        only, others = left - right, right - left
        if not (one in products and other in products and len(one) == len(other)):
            continue
        if only.total() != 1:
            continue
        parts = ((only, products.pop(one)), (others, products.pop(other)))
        f, g = (next(iter(factor)).affine.scale_val(integer(k)) for factor, k in parts)
        merged = f.add(g)
        negative = ring.domain.is_subset(merged.le_set(ring.formula(0)))
        merged = ring.factor(merged.neg() if negative else merged)
        factors = in_order([*(left & right).elements(), merged])
        products[factors] = products.get(factors, 0) + (-1 if negative else 1)
    return products
