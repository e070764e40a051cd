"""Conditions on sizes."""

import pytest

import jaxconv as jc
from jaxconv.symbolic.domains import SizePart, intersect_most, split, unite, without_empty_sides
from jaxconv.symbolic.size import Size
from jaxconv.symbolic.specs import parse_spec
from jaxconv.symbolic.trace import SymbolicTrace
from tests.support.type_checks import WITHOUT_TYPE_CHECKS


def test_conditions_are_joined_by_commas_or_by_and():
    same = [
        jc.check(lambda x: x, "h w", where=w).accepts for w in ("h >= 3, w < h", "h >= 3 and h > w")
    ]
    assert same[0] == same[1] == jc.SizeSet.parse("h w", "h >= 3 and w < h")


WHERE = {
    "an unknown name": ("k >= 3", "where= names k, but the sizes are b, h."),
    "no comparison": ("h + 3", "a comparison is expected, such as h >= 32."),
    "membership": ("h in b", "only < <= == != >= > compare sizes."),
    "no condition": ("h >=", "this is not a condition."),
}


@pytest.mark.parametrize("name", WHERE)
def test_a_malformed_condition_is_refused(name):
    where, message = WHERE[name]
    with pytest.raises(jc.SpecError) as error:
        jc.check(lambda x: x, "b h", where=where)
    assert message in str(error.value)
    with pytest.raises(jc.SpecError) as error:
        jc.sizes("b h", where=where)
    assert message in str(error.value)


def test_no_condition_is_no_restriction():
    for where in (None, "", " "):
        assert str(jc.sizes("h w", where=where)) == "(h, w)"


@WITHOUT_TYPE_CHECKS
def test_names_and_conditions_are_texts():
    with pytest.raises(jc.SpecError, match="A condition is text, not int"):
        jc.check(lambda x: x, "b h", where=3)
    with pytest.raises(jc.SpecError, match="does not name sizes"):
        jc.sizes(["h"])


def test_sides_that_may_be_empty_are_excluded():
    domain = jc.SizeSet.parse("h w").points
    specs = [parse_spec("h//w h-3")]
    assert jc.SizeSet(without_empty_sides(domain, specs)) == jc.SizeSet.parse(
        "h w", "h >= w and h >= 4"
    )
    with pytest.raises(jc.SpecError, match="No sizes make every side of h 0 1 or more"):
        without_empty_sides(domain, [parse_spec("h 0")])


def test_a_formula_that_covers_all_parts_is_preferred():
    parts = []
    for where, formula in (("h <= 3", "h"), ("h >= 4", "max(h, 3)")):
        trace = SymbolicTrace(jc.SizeSet.parse("h w", where).points)
        size = Size.of(trace, trace.ring.simplify(trace.ring.formula(formula), {}))
        parts.append(SizePart(trace.domain, size))
    assert str(unite(parts)) == "h"
    other = SizePart(parts[1].sizes, 7)
    assert str(unite([parts[0], other])) in ("h if h <= 3 else 7", "7 if h >= 4 else h")


def test_as_many_conditions_as_can_hold_at_once():
    domain = jc.SizeSet.parse("h").points
    conditions = [jc.SizeSet.parse("h", text).points for text in ("h = 1", "h >= 2", "h >= 3")]
    best, others = intersect_most(domain, conditions)
    assert jc.SizeSet(best) == jc.SizeSet.parse("h", "h >= 3")
    assert jc.SizeSet(others) == jc.SizeSet.parse("h", "h = 1")
    assert [jc.SizeSet(part) for part in split(domain, conditions[1])] == [
        jc.SizeSet.parse("h", "h = 1"),
        jc.SizeSet.parse("h", "h >= 2"),
    ]
