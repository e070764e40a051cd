"""Where products of sizes are equal."""

import pytest
from hypothesis import given, settings

import jaxconv as jc
from jaxconv.symbolic.equality import zeros
from jaxconv.symbolic.sets import SizeSet
from tests.support.polynomials import DOMAINS, polynomials, read, ring_over, values


def test_a_common_factor_of_two_products_cancels():
    verdict = jc.check(lambda x: x.reshape(x.shape[0], 36), "b h w")
    pairs = [(h, 36 // h) for h in (1, 2, 3, 4, 6, 9, 12, 18, 36)]
    where = " or ".join(f"h = {h} and w = {w}" for h, w in pairs)
    assert verdict.accepts == jc.SizeSet.parse("b h w", where)
    assert verdict.untried.is_empty()


@settings(deadline=None, max_examples=100)
@given(polynomials(), DOMAINS)
def test_zeros_are_where_the_value_is_0(text, domain):
    ring = ring_over(domain)
    points, exact = zeros(read(ring, text))
    where = SizeSet(points)
    for point, value in values(ring, text):
        assert where.contains(**point) == (value == 0) or (not exact and value == 0), point


@pytest.mark.parametrize(
    "text",
    [
        "b*h*w - 4*b*h",
        "h*w - 4*h - 4*w",
        "h*w + h - 2**20",
        "h*w - 9",
        "h*w + b - 12",
        "b*h - b*((h - 1)//2) - (b - 1)//2",
    ],
)
def test_zeros_are_exact_for_what_factors(text):
    assert zeros(read(ring_over(), text))[1]


@pytest.mark.parametrize(
    "text",
    ["b*((h + 1)//2)*(w//3) - 4*b*((h + 1)//4)*(w//6)", "h*(w//3) - 2*(h//2)*(w//3)"],
)
def test_zeros_of_products_that_may_be_0_are_exact(text):
    ring = ring_over()
    points, exact = zeros(read(ring, text))
    assert exact
    where = SizeSet(points)
    for point, value in values(ring, text):
        assert where.contains(**point) == (value == 0), point


def test_zeros_of_a_number_with_too_many_divisors_to_list_are_not_exact():
    assert not zeros(read(ring_over(), "h*w - 10**40"))[1]
