"""Short forms of formulas have the values of the long ones."""

import islpy as isl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxconv as jc
from jaxconv.symbolic.domains import SizePart, unite
from jaxconv.symbolic.shortening import shorter, shorter_or_zero
from jaxconv.symbolic.size import Size, sizes_of
from jaxconv.symbolic.trace import SymbolicTrace
from tests.support.formulas import POINTS, at, formulas


@settings(deadline=None, max_examples=60)
@given(formulas(), formulas(), st.sampled_from(["h mod 2 = 0", "h mod 3 = 1", "h >= 4", "w <= h"]))
def test_formulas_joined_of_cases_print_as_python_of_the_same_value(one, other, where):
    whole = jc.SizeSet.parse("h w")
    inside = jc.SizeSet.parse("h w", where)
    parts = []
    for text, some in ((one, inside), (other, whole - inside)):
        trace = SymbolicTrace(some.points)
        parts.append(SizePart(some.points, eval(text, sizes_of(trace))))
    joined = unite(parts)
    for point in POINTS[::3]:
        value = eval(one if inside.contains(**point) else other, dict(point))
        assert at(joined, point) == value
        if " if " not in str(joined):
            assert eval(str(joined), {"min": min, "max": max}, dict(point)) == value


@pytest.mark.parametrize("k", [2, 3])
def test_cases_by_remainder_become_one_formula(k):
    parts = []
    for rest in range(8):
        some = jc.SizeSet.parse("h", f"h mod 8 = {rest}").points
        trace = SymbolicTrace(some)
        text = f"{k}*(h + {-rest % 8})/8"
        parts.append(SizePart(some, Size(trace, trace.ring.simplify(trace.ring.formula(text), {}))))
    assert str(unite(parts)) == f"{k}*((h + 7)//8)"


@pytest.mark.parametrize(
    ("numbers", "text"),
    [((1, 2, 0), "(h + 1) % 3"), ((2, 0, 1), "(h - 1) % 3"), ((0, 2, 1), "2 - (h - 1) % 3")],
)
def test_numbers_by_remainder_become_one_formula(numbers, text):
    parts = []
    for rest, number in enumerate(numbers):
        some = jc.SizeSet.parse("h", f"h mod 3 = {rest}").points
        trace = SymbolicTrace(some)
        parts.append(SizePart(some, Size(trace, trace.ring.number(number))))
    assert str(unite(parts)) == text


def test_values_on_one_line_print_as_one_formula():
    """Also of sizes that are traced one by one, and whose formulas are numbers."""

    def cut(x):
        return x[:, : x.shape[1]] if hash(str(x.shape[1])) != 7 else x

    verdict = jc.check(cut, "b h", where="h <= 8")
    assert str(verdict.outputs) == "(b, h)"


def test_what_has_no_short_form_or_takes_too_long_stays(monkeypatch):
    domain = jc.SizeSet.parse("h").points
    ring = SymbolicTrace(domain).ring
    long = ring.formula("floor(h/2) + floor(h/3)")
    assert shorter(long, domain) is long
    two = ring.formula("floor(7*h/8 + 1/2) - floor(3*h/4)")
    assert shorter(two, domain) is not two
    later = ring.formula("h").union_max(ring.formula("3*floor(h/2) - 120"))
    assert shorter(later, domain) is later  # it is h for all samples
    monkeypatch.setattr("jaxconv.symbolic.shortening.ISL_OPERATIONS", 1)
    assert shorter(two, domain) is two


def test_a_formula_that_is_0_for_small_sizes_is_the_larger_one_of_0_and_a_short_form():
    domain = isl.Set("[b, h] -> { : b >= 1 and h >= 1 }")
    cases = "[(0)] : h <= 4; [(-2 + floor((h + 1)/4))] : h >= 5 and (h + 1) mod 4 <= 1"
    cases += "; [(-1 + floor((h + 1)/4))] : h >= 5 and (h + 1) mod 4 >= 2"
    formula = isl.PwAff(f"[b, h] -> {{ {cases} }}")
    short = shorter_or_zero(formula, domain)
    assert short.n_piece() == 2
    assert domain.is_subset(short.eq_set(formula))
    other = isl.PwAff("[b, h] -> { [(0)] : h <= 4; [(h)] : 5 <= h <= 9; [(2*h)] : h >= 10 }")
    assert shorter_or_zero(other, domain).n_piece() == 3
