"""Divisibility of polynomials, against plain integers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxconv.symbolic.polynomials import PolynomialRing
from jaxconv.symbolic.residues import (
    division_cases,
    steps_to_divisibility,
    where_divisible,
)
from jaxconv.symbolic.sets import SizeSet
from tests.support.polynomials import DOMAINS, polynomials, read, ring_over, set_at, values

NUMBERS = st.sampled_from([2, 3, 4, -5, 6, 12, 49, 147, 1024])


@settings(deadline=None, max_examples=100)
@given(polynomials(), DOMAINS, NUMBERS)
def test_a_polynomial_is_divisible_where_its_values_are(text, domain, number):
    ring = ring_over(domain)
    points = where_divisible(read(ring, text), number)
    if points is not None:
        divisible = SizeSet(points)
        for point, value in values(ring, text):
            assert divisible.contains(**point) == (value % number == 0), point


@settings(deadline=None, max_examples=30)
@given(polynomials(), st.sampled_from([2, 3, -4, 6]))
def test_a_polynomial_is_divided_case_by_case(text, number):
    whole = ring_over()
    cases = division_cases(read(whole, text), number)
    if cases is None:
        return
    covered = SizeSet(whole.nowhere)
    for case in cases:
        covered = covered | SizeSet(case)
        ring = PolynomialRing(case)
        quotient, remainder = read(ring, text).divide(number)
        for point, value in values(ring, text)[:3]:
            numbers = [part.value_at(set_at(**point)) for part in (quotient, remainder)]
            assert tuple(numbers) == divmod(value, number)
    assert covered == SizeSet(whole.domain)


def test_a_product_is_divided_by_the_divisors_of_its_factors():
    ring = ring_over()
    divisible = SizeSet(where_divisible(read(ring, "3*h*w"), 147))
    assert divisible == SizeSet.parse(
        "b h w", "h mod 49 = 0 or (h mod 7 = 0 and w mod 7 = 0) or w mod 49 = 0"
    )
    even = ring_over("h mod 2 = 0")
    assert str(read(even, "h*w").divide(2)[0]) == "(h//2)*w"
    exact = ring_over("b mod 4 = 0 and h mod 8 = 4")  # h is 8*n + 4, too, and that is no product
    assert str(read(exact, "b*h*h").divide(64)[0]) == "(b//4)*(h//4)*(h//4)"
    assert read(ring, "h*w").divide(2) is None
    assert where_divisible(read(ring, "h*w"), 10**30) is None
    assert division_cases(read(ring, "h*w"), 10**30) is None
    assert division_cases(read(ring, "b*h*w + b + h"), 100) is None


@pytest.mark.parametrize(
    ("where", "text", "divisor", "expected"),
    [
        ("h mod 2 = 1 and w mod 2 = 1", "b*h*w", 64, "b mod 64 = 0"),
        ("h mod 4 = 2 and w mod 2 = 1", "b*h*h*w", 64, "b mod 16 = 0"),
        ("h mod 12 = 2 and w mod 18 = 3", "5*b*h*w", 108, "b mod 18 = 0"),
        ("h mod 4 = 2 and w mod 4 = 2", "b*h*w", 4, "true"),
        ("b mod 2 = 1 and h mod 4 = 2", "b*h*h", 16, "false"),
    ],
)
def test_factors_whose_powers_of_primes_are_known_are_left_out(where, text, divisor, expected):
    ring = ring_over(where)
    assert not [*steps_to_divisibility(read(ring, text), divisor)]
    divisible = where_divisible(read(ring, text), divisor)
    assert SizeSet(divisible) == SizeSet.parse("b h w", f"{where} and ({expected})")
    assert divisible.coalesce().n_basic_set() <= 1


@pytest.mark.parametrize("divisor", [2, 4, 6, 9, 12])
@pytest.mark.parametrize("text", ["6*h*w + 2*h + 3*w + 1", "4*h*w - 2*h + 6*w", "b + 2*h*w - 3*h"])
def test_a_product_that_is_a_multiple_of_the_polynomial_divides_by_as_much_more(text, divisor):
    ring = ring_over()
    divisible = SizeSet(where_divisible(read(ring, text), divisor))
    for point, value in values(ring, text):
        assert divisible.contains(**point) == (value % divisor == 0)


LEAVES = {("b*h*w", 8): 20, ("b*h*h", 64): 16}  # 28 of the second, if b came first


@pytest.mark.parametrize(("text", "divisor"), LEAVES)
def test_a_product_that_is_divided_in_many_ways_is_decided_step_by_step(text, divisor):
    assert not [*steps_to_divisibility(read(ring_over(), "b*h"), 4)]  # few ways
    domains, leaves = [ring_over().domain], []
    while domains:
        ring = PolynomialRing(domains.pop())
        for condition in steps_to_divisibility(read(ring, text), divisor):
            inside = ring.domain.intersect(condition)
            if not inside.is_empty() and not ring.domain.is_subset(condition):
                domains += [inside, ring.domain.subtract(condition)]
                break
        else:
            leaves.append(ring)
    assert len(leaves) <= LEAVES[text, divisor]
    undecided = 0
    for ring in leaves:
        divisible = where_divisible(read(ring, text), divisor)
        if not (ring.domain.is_subset(divisible) or ring.domain.is_disjoint(divisible)):
            undecided += 1  # few ways are left, such as whether 4 divides b where h*w is 2 mod 4
            assert divisible.n_basic_set() < 9
    assert 0 < undecided < len(leaves)


def test_multiples_of_large_numbers_are_not_decided():
    polynomial = read(ring_over(), "2*h*w + 2*h + 2*w + 2")  # of which (2*h + 2)*(2*w + 2) is twice
    assert where_divisible(polynomial, 2**44) is None
    assert not [*steps_to_divisibility(polynomial, 2**44)]
    assert where_divisible(polynomial, 2**30) is not None
