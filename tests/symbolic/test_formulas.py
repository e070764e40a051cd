"""Formulas as text."""

import islpy as isl
import pytest
from hypothesis import given, settings

import jaxconv as jc
from jaxconv.symbolic.formulas import formula_text
from tests.support.formulas import POINTS, formulas


@settings(deadline=None, max_examples=60)
@given(formulas())
def test_a_formula_prints_as_python_of_the_same_value(text):
    h, w = jc.sizes("h w")
    size = eval(text, {"h": h, "w": w})
    for point in POINTS[::7]:
        assert eval(str(size), dict(point)) == eval(text, dict(point)), (text, str(size))


PRINTED = {
    "(h - 2)//2 + 1": "h//2",
    "(h + 6 - 7)//2 + 1": "(h + 1)//2",
    "-(-h//2)": "(h + 1)//2",
    "h - 2": "h - 2",
    "h % 16": "h % 16",
    "h//2//2//2//2//2": "h//32",
    "1728*b*h*w": "1728*b*h*w",
    "512*(h//32)*(w//32)": "512*(h//32)*(w//32)",
    "((((h + 1)//2 + 1)//2) + 1)//2": "(h + 7)//8",
    "5*((h + 7)//8) - 3": "5*((h - 1)//8) + 2",
    "(7*h + 4)//8 - (3*h)//4": "(h + 7)//8",
    "b*((7*h + 4)//8 - (3*h)//4)": "b*((h + 7)//8)",
    "h//2 + h % 2": "(h + 1)//2",
    "h - h % 4 + 3": "4*(h//4) + 3",
    "3 - h % 4": "3 - h % 4",
    "2*(h//2) - h": "-(h % 2)",
    "2*((h + 3) % 4)": "2*((h - 1) % 4)",
    "h.max(w)": "max(h, w)",
    "h.min(3) + 1": "min(h + 1, 4)",
    "(h//2).max(1)": "max(h//2, 1)",
}


@pytest.mark.parametrize("text", PRINTED)
def test_formulas_print_short(text):
    b, h, w = jc.sizes("b h w")
    assert str(eval(text, {"b": b, "h": h, "w": w})) == PRINTED[text]


def test_what_is_left_of_sizes_below_1_is_not_said():
    rest = "[h] -> { [(-h)] : h <= 0 and h mod 2 = 0; [(h)] : h >= 5; [(7)] : 1 <= h <= 4 }"
    assert formula_text(isl.PwAff(rest)) in ("h if h >= 5 else 7", "7 if h <= 4 else h")
