"""Polynomials are divided by polynomials of several sizes, against plain integers."""

import jax.numpy as jnp
import pytest
from hypothesis import assume, given, settings

import jaxconv as jc
from jaxconv.symbolic.long_division import divide_out
from tests.support.polynomials import DOMAINS, polynomials, read, ring_over, set_at, values


@settings(deadline=None, max_examples=100)
@given(polynomials(), polynomials(), polynomials(), DOMAINS)
def test_the_quotient_times_the_divisor_plus_the_rest_is_the_dividend(one, other, rest, domain):
    ring = ring_over(domain)
    dividend = f"({one})*({other}) + {rest}"
    divided = divide_out(read(ring, dividend), read(ring, other))
    assume(divided is not None)
    for point, value in values(ring, dividend):
        here = set_at(**point)
        divisor, left = divmod(read(ring, other).value_at(here), divided.content)
        assert left == 0
        assert divided.whole.value_at(here) * divisor + divided.rest.value_at(here) == value


QUOTIENTS = [
    "(b*h + b*w)//(h + w)",
    "(h*h - w*w)//(h + w) + w",
    "(b*h + b*w + h)//(h + w)",
    "(b*h + b*w + h + w - 1)//(h + w)",
    "(h*w + h + w + 1)//(h + 1)",
    "(b*(h//2) + (h//2)*w*b)//(1 + w)",
    "(h*h + 2*h*w + w*w)//(h + w)",
    "(b*h - b + b*(w//3))//(h - 1 + w//3) if h > 1 else 1",
    "(b*h - b*w)//(h - w) if h != w else 3",
    "(b*h + b*w + 5) % (h + w)",
    "-(-(b*h + b*w)//(2*h + 2*w))",
]


@pytest.mark.parametrize("text", QUOTIENTS)
def test_quotients_of_several_sizes_are_decided(text):
    def number(b, h, w):
        return eval(text, {"b": b, "h": h, "w": w}) + 1

    verdict = jc.check(lambda x: jnp.zeros(number(*x.shape)), "b h w")
    assert verdict.status == "proven"
    for shape in [(1, 1, 1), (1, 2, 3), (2, 7, 1), (3, 5, 5), (4, 12, 6), (5, 3, 16)]:
        point, (side,) = dict(zip("bhw", shape, strict=True)), (verdict.outputs,)
        while not isinstance(side, int):  # a case, a shape of one side, a formula
            side = side[0] if isinstance(side, tuple) else side.at(**point)
        assert side == number(*shape)


def test_large_coefficients_are_read_as_they_are():
    ring = ring_over()
    divided = divide_out(read(ring, f"{2**70}*b*h + {2**70}*b*w"), read(ring, "h + w"))
    assert str(divided.whole) == f"{2**70}*b"
    assert divided.rest.constant == 0
    divided = divide_out(read(ring, f"b*h + b*w + {2**70}"), read(ring, "h + w"))
    assert (str(divided.whole), divided.rest.constant) == ("b", 2**70)


def test_what_has_no_common_product_is_not_divided():
    ring = ring_over()
    assert divide_out(read(ring, "h*w"), read(ring, "b")) is None


def test_formulas_of_several_cases_are_not_divided():
    ring = ring_over()
    larger = ring.simplify(ring.formula("max(h, w)"), {})
    assert divide_out(read(ring, "b") * larger, larger) is None
