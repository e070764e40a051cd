"""Sets of sizes against plain integers."""

import ast
import operator
import re
import threading
import time
from types import MappingProxyType

import islpy as isl
import pytest
from hypothesis import given, settings

import jaxconv as jc
from jaxconv.symbolic.sets import (
    SizeSet,
    bounded,
    known_remainder,
    parse_affine,
)
from tests.support.conditions import POINTS, conditions, decided


def test_a_set_of_no_whole_classes_is_written():
    assert "h >= 9" in str(jc.SizeSet.parse("h", "h mod 4 = 0 or h >= 9"))
    with pytest.raises(jc.SpecError, match="The size h is given twice"):
        jc.sizes("h h")


SETS = {
    "h >= 35": ("h >= 35", "h >= 35"),
    "h between": ("224 <= h <= 255", "224 <= h <= 255"),
    "both between": ("2 <= h <= 5 and 3 <= w <= 4", "2 <= h <= 5, 3 <= w <= 4"),
    "multiples": ("h mod 4 = 0 and w mod 4 = 0", "h and w multiples of 4"),
    "a multiple": ("h mod 4 = 0", "h a multiple of 4"),
    "equal": ("w = h", "w = h"),
    "one": ("h = 5 and w >= 2", "h = 5, w >= 2"),
    "none": ("h < 1", "no size"),
    "all": ("", "every size"),
    "either": ("h >= 3 or w >= 5", "h >= 3 or w >= 5"),
    "odd": ("h mod 2 = 1", "h odd"),
    "a remainder": ("h mod 5 = 3", "h % 5 = 3"),
    "multiples from on": (
        "h mod 4 = 0 and h >= 8 and w mod 4 = 0",
        "h >= 8, h and w multiples of 4",
    ),
    "no multiples": ("h mod 4 > 0 or w mod 4 > 0", "h or w not a multiple of 4"),
    "no multiples at all": ("h mod 4 > 0 and w mod 4 > 0", "h and w not multiples of 4"),
    "not both": (
        "h >= 4 and w >= 3 and (h mod 4 > 0 or w mod 3 > 0)",
        "h >= 4, w >= 3, and h not a multiple of 4 or w not a multiple of 3",
    ),
    "a range of multiples, or odd": (
        "h >= 4 and h mod 2 = 0 or w mod 2 = 1",
        "(h >= 4, h a multiple of 2) or w odd",
    ),
    "a multiple, or a number, of both": (
        "(h mod 4 = 0 or h = 6) and (w mod 4 = 0 or w = 6)",
        "((h a multiple of 4, h <= 5) or (h = 6) or (h a multiple of 4, h >= 7)), "
        "((w a multiple of 4, w <= 5) or (w = 6) or (w a multiple of 4, w >= 7))",
    ),
    "remainders": ("h mod 4 != 3 and w >= 2", "h % 4 in (0, 1, 2), w >= 2"),
    "two areas": ("h <= 3 and w = 2 or h = 2 and w >= 7", "(h <= 3, w = 2) or (h = 2, w >= 7)"),
}


SETS |= {
    "sums": ("h mod 4 = 0 and w <= h + 2 and 2*w >= h", "h a multiple of 4, w <= h + 2, h <= 2*w"),
    "an equation": ("w = 2*h + 1 and h <= 9", "w = 2*h + 1, h <= 9"),
    "a remainder of a sum": ("(h + w) mod 3 = 1", "(h + w) % 3 = 1"),
    "a sum at least, a sum at most": ("h + w >= 5 and h + 2*w <= 9", "h + 2*w <= 9, h + w >= 5"),
    "halves": ("(h - w) mod 2 = 0 and w >= h", "(h + w) % 2 = 0, h <= w"),
    "no multiple in a sum": (
        "h mod 3 >= 1 and w mod 4 = 0 and w <= h",
        "w a multiple of 4, w <= h, h not a multiple of 3",
    ),
    "a remainder in a sum": ("h + w mod 2 <= 5 and w >= h", "h <= w, h + w % 2 <= 5"),
    "floors": ("2*w > h and w < 20", "w <= 19, h + 1 <= 2*w"),
}


@pytest.mark.parametrize("name", SETS)
def test_sets_print_as_a_person_would_write_them(name):
    condition, text = SETS[name]
    assert str(jc.SizeSet.parse("h w", condition)) == text


def test_of_a_set_that_takes_too_long_an_example_is_written(monkeypatch):
    some = jc.SizeSet.parse("h w", "h mod 4 = 0 and w >= 3")
    monkeypatch.setattr("jaxconv.symbolic.sets.TEXT_OPERATIONS", 1)
    assert str(some) == "(h = 4, w = 3) and other sizes"
    assert str(some - some) == "no size"
    monkeypatch.setattr("jaxconv.symbolic.sets.EXAMPLE_OPERATIONS", 1)
    assert str(some) == "some sizes"
    monkeypatch.undo()
    assert str(some) == "h a multiple of 4, w >= 3"


@pytest.mark.parametrize("name", SETS)
def test_sets_contain_what_their_condition_says(name):
    condition, _ = SETS[name]
    python = condition.replace("mod", "%").replace(" = ", " == ") or "True"
    found = jc.SizeSet.parse("h w", condition)
    for point in POINTS:  # and in infinite sets, which Python would search without end
        expected = eval(python, dict(point))
        assert found.contains(**point) == expected
        assert (point in found) == (MappingProxyType(point) in found) == expected


@pytest.mark.parametrize("other", [31, "h", (31, 31), None, ["h", "w"], {1: 31, 2: 31}])
@pytest.mark.parametrize("condition", ["h <= 4 and w <= 3", "h >= 5"])
def test_in_refuses_what_is_not_a_dict_of_sizes_and_the_fix_works(condition, other):
    some = jc.SizeSet.parse("h w", condition)
    with pytest.raises(TypeError, match="a set of sizes contains dicts of sizes, not") as caught:
        operator.contains(some, other)
    message = str(caught.value)
    assert repr(other) in message
    example = ast.literal_eval(message.split("such as ")[1].removesuffix("."))
    assert (example in some) == some.contains(**example) == (condition != "h >= 5")


def test_in_refuses_other_names_than_those_of_the_set():
    with pytest.raises(TypeError, match=r"takes h, w, not b, h\..* each of h, w"):
        operator.contains(jc.SizeSet.parse("h w"), {"b": 1, "h": 31})


def test_the_algebra_of_sets():
    parse = lambda text: jc.SizeSet.parse("h w", text)  # noqa: E731
    small, even = parse("h <= 4 and w <= 3"), parse("h mod 2 = 0")
    both = small & even
    assert list(both) == [{"h": h, "w": w} for h in (2, 4) for w in (1, 2, 3)]
    assert both.smallest() == {"h": 2, "w": 1}
    assert (small - even) | both == small
    assert small.union(even) == small | even
    assert small.intersection(even) == both
    assert small.subject() == ("h", "w")
    assert even.subject() == ("h",)
    assert even.nearest({"h": 3, "w": 5}) == {"h": 4, "w": 5}
    assert small.nearest({"h": 9, "w": 2}) == {"h": 4, "w": 2}
    assert both <= small
    assert not small <= both
    assert (both - small).is_empty()
    with pytest.raises(ValueError, match="empty"):
        (both - small).smallest()
    with pytest.raises(TypeError, match="takes h, w, not h"):
        both.contains(h=1)


WORDS = [
    (r"(\w+) odd", r"(\1 % 2 == 1)"),
    (r"([a-z]) or ([a-z]) not a multiple of (\d+)", r"(\1 % \3 != 0 or \2 % \3 != 0)"),
    (r"([a-z]) and ([a-z]) not multiples of (\d+)", r"(\1 % \3 != 0 and \2 % \3 != 0)"),
    (r"([a-z]) and ([a-z]) multiples of (\d+)", r"(\1 % \3 == 0 and \2 % \3 == 0)"),
    (r"([a-z]) or ([a-z]) a multiple of (\d+)", r"(\1 % \3 == 0 or \2 % \3 == 0)"),
    (r"(\w+) not a multiple of (\d+)", r"(\1 % \2 != 0)"),
    (r"(\w+) a multiple of (\d+)", r"(\1 % \2 == 0)"),
    (r", ", " and "),
    (r"(?<![<>=!])=(?!=)", "=="),
    ("every size", "True"),
    ("no size", "False"),
]


def python_of(text):
    """The words of a set as Python, from the outermost brackets inwards."""
    inside = []

    def put_away(found):
        inside.append(found[1])
        return f"_{len(inside) - 1}_"

    outer = re.sub(r"\(((?:[^()]|\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))*)\)", put_away, text)
    parts = outer.split(", and ")  # binds less than "or"
    for words, python in WORDS:
        parts = [re.sub(words, python, part) for part in parts]
    outer = " and ".join(f"({part})" for part in parts)
    for i, part in enumerate(inside):
        is_tuple = re.fullmatch(r"[\d, ]+", part)
        outer = outer.replace(f"_{i}_", f"({part if is_tuple else python_of(part)})")
    return outer


@settings(deadline=None, max_examples=200)
@given(conditions())
def test_the_text_of_a_set_says_exactly_what_is_in_it(condition):
    some = decided(condition)
    if some is None:
        return
    text = str(some)
    assert not re.search(r"\b(mod|floor|exists|e0)\b|:", text)
    if "cases" not in text:
        said = compile(python_of(text), text, "eval")
        for point in POINTS:
            assert eval(said, dict(point)) == some.contains(**point), (text, point)


def test_the_border_of_a_set_is_the_largest_size_where_there_is_one():
    assert SizeSet.parse("b h w", "h <= 7 and w >= h").at_border() == {"b": 1, "h": 7, "w": 7}
    with pytest.raises(ValueError, match="an empty set has no border"):
        SizeSet.parse("h", "h <= 0").at_border()


def test_a_set_without_a_least_size_has_an_example_too(monkeypatch):
    monkeypatch.setattr("jaxconv.symbolic.sets.TEXT_OPERATIONS", 1)
    assert str(SizeSet(isl.Set("[h] -> { : h mod 2 = 0 }"))) == "(h = 2) and other sizes"


def test_a_number_that_isl_has_no_operation_left_to_write_is_its_error():
    number = isl.Val(3)
    with pytest.raises(isl.Error), bounded(1):
        number.to_python()
    with pytest.raises(TypeError, match="of the user"), bounded(1000):
        raise TypeError("of the user")


def test_threads_leave_no_bound():
    """Bounds of two threads that overlap would otherwise put back that of the other one."""
    first_is_inside, second_is_inside = threading.Event(), threading.Event()

    def first():
        with bounded(1000):
            first_is_inside.set()
            second_is_inside.wait(0.2)

    def second():
        first_is_inside.wait(5)
        with bounded(2000):
            second_is_inside.set()
            time.sleep(0.3)

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert isl.DEFAULT_CONTEXT.get_max_operations() == 0


@pytest.mark.parametrize(
    ("condition", "divisor", "remainder"),
    [
        ("h mod 6 = 5", 3, 2),
        ("h mod 6 = 5", 4, None),
        ("h = 7", 4, 3),
        ("h >= 1", 1, 0),
        ("h >= 2 and h <= 1", 2, None),
    ],
)
def test_a_remainder_is_known_where_it_is_the_same_over_a_set(condition, divisor, remainder):
    points = SizeSet.parse(("h",), condition).points
    assert known_remainder(points, parse_affine(("h",), "h"), divisor) == remainder
