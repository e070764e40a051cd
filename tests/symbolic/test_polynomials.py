"""Polynomials of sizes: arithmetic with whole factors."""

import pytest

from jaxconv.symbolic.polynomials import PolynomialRing
from jaxconv.symbolic.sets import SizeSet

RING = PolynomialRing(SizeSet.parse("h w").points)
POINT = SizeSet.parse("h w", "h = 5 and w = 7").points


def affine(text):
    return RING.simplify(RING.formula(text), {})


def test_products_stay_whole_and_cancel():
    h, w = affine("h"), affine("floor(w/2)")
    product = (h * w).scaled(6)
    assert str(product) == "6*h*(w//2)"
    assert product.value_at(POINT) == 6 * 5 * 3
    assert product.bounds() == (0, float("inf"))
    reduced, coefficient, factors = product.cancel(w.scaled(2))
    assert (str(reduced), coefficient, str(factors)) == ("6*h", 2, "w//2")
    assert product.cancel(affine("h + 1")) is None
    assert (product - product).constant == 0
    assert str(product - product) == "0"


def test_division_by_a_number_rounds_down_or_is_not_a_polynomial():
    h, w = affine("h"), affine("w")
    quotient, remainder = (h * w).scaled(4).divide(-2)
    assert (str(quotient), remainder.constant) == ("-2*h*w", 0)
    assert (h * w).divide(2) is None
    quotient, remainder = h.divide(-2)
    assert (quotient.value_at(POINT), remainder.value_at(POINT)) == divmod(5, -2)
    with pytest.raises(ZeroDivisionError):
        h.divide(0)


def test_equal_formulas_are_one_factor():
    assert RING.factor(RING.formula("floor((h + h)/2)")) is RING.factor(RING.formula("h"))
    other = PolynomialRing(SizeSet.parse("h w", "w = h").points)
    assert str(other.transfer(affine("h") * affine("w"))) in ("h*h", "w*w")
    assert RING.number(3).key() == RING.number(3).key()


def test_bounds_are_exact_beyond_floats():
    large = PolynomialRing(SizeSet.parse("h w", "h <= 134217729 and w <= 134217727").points)
    h, w = (large.simplify(large.formula(name), {}) for name in "hw")
    assert (h * w).bounds() == (1, 134217729 * 134217727)
    assert (-(h * w)).bounds() == (-134217729 * 134217727, -1)
    assert type((h * w).bounds()[1]) is int
    assert (affine("h - 3") * affine("w")).bounds() == (-float("inf"), float("inf"))
    assert (affine("h") * affine("w")).scaled(10**400).bounds() == (10**400, float("inf"))


def test_a_multiple_of_a_sum_cancels():
    some = affine("h") * affine("w") + affine("h")
    for i, j in ((8, -1), (-8, 3), (5, 5)):
        reduced, coefficient, rest = some.scaled(i).cancel(some.scaled(j))
        quotient, remainder = reduced.divide(coefficient)
        value = some.value_at(POINT)
        numbers = quotient.value_at(POINT), (remainder * rest).value_at(POINT)
        assert numbers == divmod(i * value, j * value)
    assert some.cancel(some + RING.number(1)) is None


def test_a_product_with_a_sum_is_divided_by_the_sum():
    h, w = affine("h"), affine("floor(w/2)")
    some = h * w + RING.number(1)
    dividend, divisor = (some * h).scaled(-6), some.scaled(4)
    reduced, coefficient, rest = dividend.cancel(divisor)
    assert (str(reduced), coefficient, str(rest)) == ("-3*h", 2, "2*h*(w//2) + 2")
    assert (some * w).cancel(some * h) is None
    assert (some * h * w).cancel(some * h)[0].key() == w.key()
    assert (some + h).cancel(some) is None
