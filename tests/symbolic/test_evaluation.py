"""Conditions on sizes, against Python's own evaluation."""

import re

import pytest
from hypothesis import given, settings

import jaxconv as jc
from jaxconv.symbolic.domains import domain_of
from tests.support.conditions import POINTS, conditions, decided, value


@settings(deadline=None, max_examples=150)
@given(conditions())
def test_a_condition_holds_where_python_says(text):
    found = decided(text)
    if found is not None:
        for point in POINTS:
            assert found.contains(**point) == value(text, point), point


DECIDED = [
    "64//h >= 9",
    "200//h + 1 == 5",
    "h//w >= 2",
    "w > 2 and h//(w-2) >= 1",
    "h//(0-w) < -3",
    "w <= 5 and h % w == 2",
    "h*w >= 100",
    "h*w == 36",
    "h*w > 3*w",
    "h*w % 6 == 0",
    "h*w % 6 == 3",
    "h*w // 2 == 5",
    "(h*w + w) % 4 >= 2",
    "w*w % 3 == 1",
    "h % 4 == 0 or w > 3",
    "not (h % 2 == 0) and w != 3",
    "2 <= h < w != 7",
    "min(h,w)//2 > 2",
    "(h*w)//w == 3",
    "-h % 3 == 1",
    "h >= 9223372036854775807 or h == 3",
    "w < (w*w)//3",
]


@pytest.mark.parametrize("text", DECIDED)
def test_a_condition_is_decided(text):
    found = jc.SizeSet(domain_of(["h", "w"], text))
    assert [p for p in POINTS if found.contains(**p)] == [p for p in POINTS if value(text, p)]


REFUSED = {
    "h//(w-2) >= 1": "divides by zero, as w - 2 may be 0",
    "h % (w*0) == 0": "divides by zero, as 0 may be 0",
    "h % w == 0": "it has too many cases",
    "h*w >= 10000000000": "it compares products of sizes that are not bounded",
    "h*w*h % 1000003 == 1": "it divides a product of sizes",
    "h < (w*w)//3": "it compares products of sizes that are not bounded",
    "h//(h*w - h - w) >= 2": "divides by zero, as h*w - h - w may be 0",
    "h//(h*h*w - h - w) >= 2": "it divides by h*h*w - h - w",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_condition_is_refused_with_a_fix(text):
    with pytest.raises(jc.SpecError) as error:
        domain_of(["h", "w"], text)
    assert REFUSED[text] in str(error.value)
    assert "Fix: " in str(error.value)


def test_the_fix_of_a_multiple_of_a_size_works():
    def in_heads(x):
        b, n, d = x.shape
        return x.reshape(b, n // d, d, d)

    with pytest.raises(jc.SpecError) as error:
        jc.check(in_heads, "b n d", where="n % d == 0")
    fix = r"Fix: write n as a product in the spec, such as (\S+), in the place of this condition"
    (product,) = re.findall(fix, str(error.value))
    assert jc.check(in_heads, f"b {product} d").status == "proven"


def test_the_fix_of_a_division_by_zero_works():
    with pytest.raises(jc.SpecError) as error:
        domain_of(["h", "w"], "h//(w-2) >= 1")
    fixed = str(error.value).rpartition("first: ")[2].rstrip(".")
    assert fixed == "w - 2 != 0 and h//(w-2) >= 1"
    assert jc.SizeSet(domain_of(["h", "w"], fixed)) == jc.SizeSet.parse(
        "h w", "w >= 3 and h >= w - 2"
    )
