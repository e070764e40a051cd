"""The table on annotated functions: what is right, by trying sizes, and what tools say."""

import itertools
import random
import re

import jax
import pytest

from experiments import annotation_checkers as checkers

SIZES = (1, 2, 3, 4, 7, 8, 9)
TRIED = 60  # sizes of each function


def fits(fn, sizes):
    """Whether a function takes and returns for some sizes what its annotations say."""
    dims = {name: hint.dim_str for name, hint in fn.__annotations__.items()}
    shapes = {
        name: tuple(eval(dim, {}, sizes) for dim in text.split()) for name, text in dims.items()
    }
    result = shapes.pop("return")
    try:
        returned = jax.eval_shape(
            fn, *(jax.ShapeDtypeStruct(s, "float32") for s in shapes.values())
        )
    except (TypeError, ValueError):
        return False
    return returned.shape == result


@pytest.mark.parametrize("name", checkers.functions())
def test_what_is_wrong_is_wrong_for_some_sizes_and_what_is_right_for_none(name):
    fn = checkers.functions()[name]
    text = " ".join(hint.dim_str for hint in fn.__annotations__.values())
    names = sorted(set(re.findall(r"[a-z]", text)))
    points = [*itertools.product(SIZES, repeat=len(names))]
    chosen = random.Random(0).sample(points, min(TRIED, len(points)))
    found = [fits(fn, dict(zip(names, point, strict=True))) for point in chosen]
    assert all(found) == (name not in checkers.WRONG)


@pytest.fixture(scope="module")
def answers():
    """What jaxconv says of each function."""
    return checkers.by_jaxconv()


def test_jaxconv_answers_all_and_is_right(answers):
    assert not [name for name, answer in answers.items() if checkers.is_wrong(name, answer)]
    assert checkers.SILENT not in answers.values()
    assert len(answers) == 2 * len(checkers.WRONG) == 20


def test_the_committed_section_says_what_jaxconv_and_the_run_time_say(answers):
    page = checkers.OUT.read_text().partition(checkers.START)[2].partition(checkers.END)[0]
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `")]
    written = {row[0].strip("`"): [cell.strip("*") for cell in row[2:]] for row in rows}
    assert {name: row[0] for name, row in written.items()} == answers
    assert {name: row[-1] for name, row in written.items()} == checkers.by_running()


PYREFLY = """#!/bin/sh
grep -q '^@static_jaxtyping("b h w c")$' row_means.py || exit 1
echo '{"errors": [
  {"path": "stem.py", "name": "invalid-annotation"}, {"path": "stem.py", "name": "bad-return"},
  {"path": "row_means.py", "name": "bad-return"}]}'
"""


def test_a_formula_that_pyrefly_does_not_know_is_no_answer(tmp_path):
    program = tmp_path / "pyrefly"
    program.write_text(PYREFLY)
    program.chmod(0o755)
    checkers.write_files(tmp_path)
    answers = checkers.by_pyrefly(str(program), tmp_path)
    others = {*answers.items()} - {("stem", "no answer"), ("row_means", "refuses")}
    assert len(others) == 18
    assert {answer for _, answer in others} == {"accepts"}


def test_a_wrong_answer_is_counted():
    answers = dict.fromkeys(checkers.functions(), checkers.ACCEPTS)
    text = checkers.section({"a": answers}, {"a": 1.0})
    assert "| **wrong answers** |  | **10 of 20** |" in text
    assert "| `stem` | h < 7 or w < 7 | **accepts** |" in text
    silent = {"a": dict.fromkeys(answers, checkers.SILENT)}
    assert "| **no answer** |  | **20 of 20** |" in checkers.section(silent, {"a": 1.0})
