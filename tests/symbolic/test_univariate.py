"""Orders of polynomials of one size, against plain integers."""

import itertools

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jaxconv.symbolic import univariate
from jaxconv.symbolic.sets import SizeSet
from jaxconv.symbolic.univariate import likely_quotient, only_size, where_ordered_in_one_size
from tests.support.polynomials import ORDERS, read, ring_over

FACTORS = ("h", "(h//2)", "(h//3)", "(h - 7)", "((h + 1)//2)", "(2*h - 9)", "(h//4)")
COEFFICIENTS = st.sampled_from([1, -1, 2, -3, 7, -28, 40])
PRODUCTS = st.tuples(COEFFICIENTS, st.lists(st.sampled_from(FACTORS), min_size=1, max_size=3))
DOMAINS = (
    "",
    "h <= 30",
    "h mod 3 = 1 and b <= h",
    "h >= 12 and h <= w",
    "h = 2*b",
    "(h = 5 or h = 9)",
)
OTHERS = [{"b": b, "w": w} for b, w in ((1, 1), (4, 2**45), (9, 30))]
SIZES = (*range(1, 80), 10**6 - 1, 10**6, 2**41 + 2)


def assert_exact(text, domain, symbol):
    ring = ring_over(domain)
    points = where_ordered_in_one_size(read(ring, text), symbol)
    assert points is not None, text
    inside, holds = SizeSet(ring.domain), SizeSet(points)
    for others, h in itertools.product(OTHERS, SIZES):
        point = {**others, "h": h}
        expected = inside.contains(**point) and ORDERS[symbol](eval(text, dict(point)), 0)
        assert holds.contains(**point) == expected, (text, domain, symbol, point)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(PRODUCTS, min_size=1, max_size=3),
    st.sampled_from([0, -1, 5, -100, 1000]),
    st.sampled_from(DOMAINS),
    st.sampled_from([*ORDERS]),
)
def test_an_order_holds_where_it_holds_of_numbers(products, number, domain, symbol):
    text = " + ".join("*".join([str(k), *factors]) for k, factors in products)
    text = f"h - h + {text} + {number}"
    assume(only_size(read(ring_over(domain), text)) is not None)  # the products may add up to 0
    assert_exact(text, domain, symbol)


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize(
    "text",
    [
        "h*h*h - 50*h*h + 600*h + 7",  # three roots
        "(h//2)*(h//3) - 40*(h//5)",  # a period of 30
        "h*h - 1000000*h + 5",  # roots far apart
        "(h//2)*(h//2) - 3*(h//4)*h",  # a sign for each remainder, up to infinity
        "h*h - 16*(h//4)*(h//4) - 1",  # one sign for several remainders, up to infinity
    ],
)
def test_signs_between_roots_are_those_of_numbers(text, domain):
    for symbol in ORDERS:
        assert_exact(text, domain, symbol)


DECIDED = {
    "h*h - 28*(h//4)": "4 <= h <= 5",
    "h*h - (h + 1)//2": "h = 1",
    "h*(h//7) - 100": "h <= 27",
    "h*h - 10**12": "h <= 1000000",
}


@pytest.mark.parametrize("text", DECIDED)
def test_an_order_is_written_without_remainders_where_it_can_be(text):
    points = SizeSet(where_ordered_in_one_size(read(ring_over(), text), "<="))
    assert str(points) == DECIDED[text]


def test_polynomials_of_several_sizes_and_of_many_cases_are_not_decided():
    ring = ring_over()
    for text in ("h*w - h", "h*h - b", "h*(h//65)"):
        assert where_ordered_in_one_size(read(ring, text), "<") is None


def test_signs_that_alternate_with_the_remainder_are_not_decided(monkeypatch):
    ring = ring_over()
    text = "(h - 2*(h//2))*h - 1"  # at least 0 for odd h
    assert str(SizeSet(where_ordered_in_one_size(read(ring, text), ">="))) == "h odd"
    monkeypatch.setattr(univariate, "MOST_RUNS", 0)
    assert where_ordered_in_one_size(read(ring, text), ">=") is None


def test_formulas_that_become_lines_late_are_not_decided(monkeypatch):
    ring = ring_over("h >= 1 and b >= 1")

    def larger(number):
        return ring.simplify(ring.formula("h").max(ring.formula(number)), {})

    early = larger(7) * larger(7)  # at h = 6 it is not 36, but 49
    assert str(SizeSet(where_ordered_in_one_size(early - ring.number(64), "<"))) == "h <= 7"
    assert where_ordered_in_one_size(early - ring.number(45), "<").is_empty()
    late = larger(700) * larger(700) - ring.number(500000)
    assert where_ordered_in_one_size(late, "<") is None
    monkeypatch.setattr(univariate, "MOST_VALUES", 1000)
    points = SizeSet(where_ordered_in_one_size(late, "<"))
    assert str(points) == "h <= 707"


LARGE = range(2**40, 2**40 + 60)


@pytest.mark.parametrize(
    ("dividend", "divisor", "domain"),
    [
        ("h*h", "h//2", "h mod 2 = 1"),
        ("h*h", "4*(h//4)", "h mod 4 = 3 and b <= h"),
        ("h*(h + 1)", "2*(h//3) + 1", "h >= 5"),
        ("7 - 3*h*h", "h + 3", ""),
    ],
)
def test_a_likely_quotient_is_one_for_large_sizes(dividend, divisor, domain):
    ring = ring_over(domain)
    line = likely_quotient(read(ring, dividend), read(ring, divisor))
    right = [
        line.value_at(SizeSet.parse("b h w", f"h = {h}").points)
        == eval(f"({dividend})//({divisor})", {"h": h})
        for h in LARGE
        if SizeSet(ring.domain).contains(b=1, h=h, w=1)
    ]
    assert sum(right) >= 5


def test_a_few_sizes_have_one_quotient_each():
    ring = ring_over("3 <= h and h < 9")
    assert likely_quotient(read(ring, "h*h*h"), read(ring, "h + 1")).constant == 27 // 4


def test_a_quotient_that_is_no_line_is_not_likely():
    for dividend, domain in (("h*h*h", ""), ("h*w", ""), ("h*h*h", "h <= 50")):
        ring = ring_over(domain)
        assert likely_quotient(read(ring, dividend), read(ring, "h + 1")) is None
