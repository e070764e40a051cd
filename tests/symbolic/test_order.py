"""Orders of polynomials, against plain integers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxconv.symbolic.order import where_ordered
from jaxconv.symbolic.sets import SizeSet
from tests.support.polynomials import DOMAINS, ORDERS, polynomials, read, ring_over, values


@settings(deadline=None, max_examples=100)
@given(polynomials(), DOMAINS, st.sampled_from([*ORDERS]))
def test_an_order_holds_where_it_holds_of_numbers(text, domain, symbol):
    ring = ring_over(domain)
    points = where_ordered(read(ring, text), symbol)
    if points is not None:
        holds = SizeSet(points)
        assert holds <= SizeSet(ring.domain)
        for point, value in values(ring, text):
            assert holds.contains(**point) == ORDERS[symbol](value, 0), point


DECIDED = {
    "h*w - 100": ("h = 1 and w > 100", "h >= 100 and w = 1"),
    "h*w - 4096": ("h = 64 and w = 65", "h = 64 and w = 64"),
    "b*h*w - 3*b*h": ("w >= 4", "w <= 3"),
    "h*w - 4*h - 4*w": ("h = 5 and w = 21", "h = 5 and w <= 20"),
    "h*h - 49": ("h >= 8", "h <= 7"),
    "(h - 3)*(w + 1)": ("h >= 4", "h <= 3"),
    "b*h*w + b - 9*h*w - 9": ("b >= 10", "b <= 9"),
    "18 - 6*b + 12*(h//2)*(w//2) - 4*b*(h//2)*(w//2)": ("b <= 2", "b >= 3"),
}


@pytest.mark.parametrize("text", DECIDED)
def test_products_are_compared_exactly(text):
    inside, outside = (SizeSet.parse("b h w", part) for part in DECIDED[text])
    ring = ring_over()
    above, others = (SizeSet(where_ordered(read(ring, text), order)) for order in (">", "<="))
    assert inside <= above
    assert (outside & above).is_empty() or text == "h*w - 100"
    assert above | others == SizeSet(ring.domain)
    assert (above & others).is_empty()


def test_an_order_that_an_affine_formula_shows_holds_everywhere():
    ring = ring_over("h >= 1 and b >= 1")
    text = "b*h - b*((h - 1)//2) - (b - 1)//2"
    assert SizeSet(where_ordered(read(ring, text), ">")) == SizeSet(ring.domain)
    assert where_ordered(read(ring, f"-1*({text})"), ">=").is_empty()


def test_an_order_of_too_many_cases_is_not_decided():
    assert where_ordered(read(ring_over(), "h*w - 10**9"), ">") is None
    bounded = where_ordered(read(ring_over("31 < h and h < 256"), "h*w - 50000"), ">=")
    assert SizeSet(bounded).contains(b=1, h=250, w=200)
    assert not SizeSet(bounded).contains(b=1, h=250, w=199)
    assert where_ordered(read(ring_over(), "h*w - h - b"), ">") is None


def test_factors_that_are_multiples_of_one_another_are_compared():
    ring = ring_over("28*floor(h/28) >= h - 3 and h >= 28")
    points = SizeSet(where_ordered(read(ring, "480*(h//4)*(h//4) - 4704*b*(h//28)*(h//28)"), ">="))
    assert points == SizeSet.parse("b h w", "b <= 5") & SizeSet(ring.domain)


NEVER_BELOW_0 = {
    "h*w - ((h - 1)//3)*w - (w + 2)//3": "h mod 3 = 1 and w mod 3 = 1",
    "h*w - w": "",
    "(h - 1)*(w - 1) + h//2": "",
    "4*((h - 1)//2)*((w - 1)//2) - h*w + 2*h + 2*w - 3": "h mod 2 = 1 and w mod 2 = 1",
}


@pytest.mark.parametrize("text", NEVER_BELOW_0)
def test_what_is_never_below_0_is_above_it_where_it_is_not_0(text):
    ring = ring_over(NEVER_BELOW_0[text])
    for one, above, other in ((text, ">", "<="), (f"-1*({text})", "<", ">=")):
        more, zero = (SizeSet(where_ordered(read(ring, one), order)) for order in (above, other))
        for point, value in values(ring, text):
            assert value >= 0
            assert more.contains(**point) == (value > 0)
            assert zero.contains(**point) == (value == 0)
