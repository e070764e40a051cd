"""Divide a polynomial of several sizes by another one, as by hand.

``b*h + b*w`` divided by ``h + w`` is ``b``. Polynomials are multiplied out to names and floors,
such as ``h//2``, so that the quotient times the divisor, plus the rest, is the dividend for all
sizes. The rest is one of these sums, too: it may be negative, or larger than the divisor.
"""

import math
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import islpy as isl

from jaxconv.symbolic.polynomials import Polynomial, PolynomialRing, computed_once
from jaxconv.symbolic.sets import integer
from jaxconv.symbolic.sums import DIV, PARAM

MOST_STEPS = 64  # after which no quotient is found

# The coefficients of products, by the numbers of their factors, in order.
_Terms = dict[tuple[int, ...], Fraction]


class Quotient(NamedTuple):
    """The result of a division by a polynomial whose content is divided out.

    Attributes:
        content: the greatest number that divides the coefficients of the divisor.
        whole: the quotient.
        rest: the dividend without this many times the divisor over its content.
    """

    content: int
    whole: Polynomial
    rest: Polynomial


@computed_once
def divide_out(dividend: Polynomial, divisor: Polynomial) -> Quotient | None:
    """Divide a polynomial by another one whose content is divided out.

    The content is the greatest number that divides all coefficients.

    Args:
        dividend: the dividend.
        divisor: another polynomial of its ring.

    Returns:
        The result; None where no product of the dividend has one of the divisor's, or formulas
        have several cases.
    """
    above, below = _multiplied_out(dividend), _multiplied_out(divisor)
    if above is None or not below:
        return None
    is_whole = all(k.denominator == 1 for k in below.values())
    content = math.gcd(*map(int, below.values())) if is_whole else 1
    leading = max(below, key=_degree)
    quotient: _Terms = {}
    for _ in range(MOST_STEPS):
        candidates = {
            rest: k * content / below[leading]
            for term, k in above.items()
            if k and (rest := _without(term, leading)) is not None
        }
        whole = {term: k for term, k in candidates.items() if k.denominator == 1}
        if not whole:
            break
        term = max(whole, key=_degree)
        quotient[term] = whole[term]
        for one, k in below.items():
            _add(above, _product(term, one), -whole[term] * k / content)
    else:
        return None
    result, rest = (_sum(dividend.ring, terms) for terms in (quotient, above))
    if not quotient or result is None or rest is None:
        return None
    return Quotient(content, result, rest)


def _sum(ring: PolynomialRing, terms: _Terms) -> Polynomial | None:
    """A sum of terms, whose fractions come to whole numbers on the domain; None with products."""
    scale = math.lcm(*(k.denominator for k in terms.values()))
    monomials = {tuple(ring.factors[i] for i in term): int(k * scale) for term, k in terms.items()}
    total = ring.sum_of(monomials)
    if scale == 1:
        return total
    affine = total.affine.scale_down_val(integer(scale))
    return None if total.products else ring.simplify(affine, {})


def _add(terms: _Terms, term: tuple[int, ...], k: Fraction) -> None:
    terms[term] = terms.get(term, Fraction()) + k


def _degree(term: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """What orders terms so that products of larger ones are larger."""
    return len(term), tuple(-i for i in term)


def _product(*terms: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(i for term in terms for i in term))


def _without(term: tuple[int, ...], divisor: tuple[int, ...]) -> tuple[int, ...] | None:
    """A product without some of its factors; None where it lacks them."""
    rest = Counter(term)
    rest.subtract(divisor)
    return None if min(rest.values(), default=0) < 0 else tuple(sorted(rest.elements()))


def _multiplied_out(polynomial: Polynomial) -> _Terms | None:
    """The terms of a polynomial over names and floors; None where formulas have several cases."""
    ring, total = polynomial.ring, _Terms()
    for factors, coefficient in (*polynomial.products.items(), ((), 1)):
        terms: _Terms = {(): Fraction(coefficient)}
        for formula in [factor.affine for factor in factors] or [polynomial.affine]:
            if formula.n_piece() != 1:
                return None
            product: _Terms = {}
            for other, j in _summands(ring, formula.get_pieces()[0][1]):
                for term, k in terms.items():
                    _add(product, _product(term, other), k * j)
            terms = product
        for term, k in terms.items():
            _add(total, term, k)
    return {term: k for term, k in total.items() if k}


def _summands(ring: PolynomialRing, aff: isl.Aff) -> Iterator[tuple[tuple[int, ...], Fraction]]:
    """The names and floors of a formula with their coefficients, and its constant."""
    for kind in (PARAM, DIV):
        for i in range(aff.dim(kind)):
            coefficient = aff.get_coefficient_val(kind, i)
            if coefficient.is_zero():  # else each name would become a factor of the ring
                continue
            if kind == PARAM:
                formula = ring.formula(aff.get_dim_name(PARAM, i))
            else:
                formula = isl.PwAff.from_aff(aff.get_div(i)).floor()
            yield (ring.factor(formula).number,), _fraction(coefficient)
    yield (), _fraction(aff.get_constant_val())


def _fraction(value: isl.Val) -> Fraction:
    denominator = value.get_den_val()
    return Fraction(value.mul(denominator).to_python(), denominator.to_python())
