"""Polynomials as products, against plain integers."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxconv.symbolic.equality import zeros
from jaxconv.symbolic.factoring import (
    as_product,
    common_factors,
    formulas_of_sign,
    in_finest_factors,
)
from tests.support.polynomials import (
    DOMAINS,
    POINTS,
    polynomials,
    read,
    ring_over,
    set_at,
    values,
)

PRODUCTS = {
    "b*h*w - 9": (3, -9),
    "b*h*w + b*h": (3, 0),
    "h*w + h - 9": (2, -9),
    "h*w - 4*h - 4*w": (2, -16),
    "2*h*w - h - w - 1": (2, -3),
    "h*w + 3*b": None,
}


@pytest.mark.parametrize("text", PRODUCTS)
def test_a_polynomial_is_written_as_a_product_where_it_has_one(text):
    product = as_product(read(ring_over(), text))
    assert (product and (len(product.factors), product.constant)) == PRODUCTS[text]


@settings(deadline=None, max_examples=80)
@given(polynomials())
def test_a_product_has_the_sign_of_the_polynomial(text):
    ring = ring_over()
    polynomial = read(ring, text)
    if not polynomial.products:
        return
    common, rest = common_factors(polynomial)
    product = as_product(polynomial)
    for point in POINTS[::23]:
        where, value = set_at(**point), eval(text, dict(point))
        factors = math.prod(ring.sum_of({(f,): 1}).value_at(where) for f in common)
        assert factors * rest.value_at(where) == value
        if product is not None:
            factors = [ring.sum_of({(f,): 1}).value_at(where) for f in product.factors]
            multiple = product.coefficient * math.prod(factors) + product.constant
            assert multiple == 0 == value or multiple % value == 0 < multiple // value


@settings(deadline=None, max_examples=80)
@given(polynomials(), DOMAINS)
def test_the_finest_factors_have_the_same_product(text, domain):
    ring = ring_over(domain)
    finest = in_finest_factors(read(ring, text))
    for point, value in values(ring, text):
        assert finest.value_at(set_at(**point)) == value, point


def test_what_differs_in_its_factors_only_is_nothing():
    ring = ring_over("b mod 2 = 0 and h mod 4 = 2 and w mod 2 = 0")
    half, quarter = (ring.simplify(ring.formula(text), {}) for text in ("b//2", "(h - 2)//4"))
    b, h, w = (ring.simplify(ring.formula(name), {}) for name in ("b", "h", "w"))
    difference = b * h * w - half.scaled(4) * w - half.scaled(8) * quarter * w
    assert difference.products
    assert not in_finest_factors(difference).products
    points, exact = zeros(difference)
    assert exact
    assert ring.domain.is_subset(points)


SUMS = st.tuples(*[st.integers(-3, 3)] * 4).map(
    lambda k: f"({k[0]}*h*w + {k[1]}*h*(w//2) + {k[2]}*h + {k[3]})"
)


@settings(deadline=None, max_examples=80)
@given(st.integers(1, 3), st.integers(-4, 4), SUMS, polynomials())
def test_what_divides_a_sum_has_its_sign_with_what_remains(slope, constant, factor, other):
    ring = ring_over()
    for text in (f"({slope}*b + {constant})*{factor}", other):
        polynomial = read(ring, text)
        if not polynomial.products:
            continue
        formulas, rest = formulas_of_sign(polynomial)
        for point in POINTS[::23]:
            where, value = set_at(**point), eval(text, dict(point))
            parts = [ring.simplify(formula, {}).value_at(where) for formula in formulas]
            product = math.prod(parts) * rest.value_at(where)
            assert product == 0 == value or (product * value > 0 and product % value == 0)


def test_a_sum_is_divided_by_a_formula_of_another_name():
    ring = ring_over()
    formulas, rest = formulas_of_sign(read(ring, "6*b*h*w + 4*b - 9*h*w - 6"))
    assert [str(ring.simplify(formula, {})) for formula in formulas] == ["2*b - 3"]
    assert str(rest) == "6*h*w + 4"
    for text in (
        "6*b*h*w + 4*b - 9*h*w - 5",
        "6*b*h*w + 4*b - 9*h*h - 6",
        "b*h*w + b*h*h - 9*h*w - 8*h*h + b - 9",
        "b*h*w + b*h*h - 9*h*w - 8*h*h + b - 8",
        "b*h + h*w + w*w",
    ):
        formulas, rest = formulas_of_sign(read(ring, text))
        assert not formulas
        assert str(rest) == str(read(ring, text))
