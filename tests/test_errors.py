"""Golden messages: every mistake of ``mistakes.py`` says what mistakes.txt has, to the letter."""

import json
import re
from pathlib import Path

import pytest

from jaxconv.errors import shown
from tests.support.bad_values import CALLS
from tests.support.mistakes import MISTAKES
from tests.support.processes import forked

ROOT = Path(__file__).parents[1]
GOLDEN = dict(
    part.rstrip("\n").split("\n", 1)
    for part in (ROOT / "tests/support/mistakes.txt")
    .read_text()
    .removeprefix("## ")
    .split("\n\n## ")
)


@pytest.fixture(scope="module")
def messages():
    """What each mistake says in a plain interpreter, as a user meets it."""
    done = forked("-m", "tests.support.mistakes", cwd=ROOT)
    done.check_returncode()
    return json.loads(done.stdout)


def test_every_mistake_has_its_golden_message():
    assert list(GOLDEN) == list(MISTAKES)
    assert len(set(GOLDEN.values())) == len(GOLDEN)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_message_is_golden(messages, mistake):
    assert messages[mistake] == GOLDEN[mistake]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_message_has_the_function_and_the_fix(mistake):
    first, *_, last = GOLDEN[mistake].splitlines()
    function = re.search(r"jc\.(\w+)\(", _source(mistake))
    assert function is not None
    assert first.startswith(f"{function[1]}: ")
    assert first.endswith(".")
    assert last.startswith("  Fix: ")
    assert last.endswith(".")


def _source(mistake):
    text = (ROOT / "tests/support/mistakes.py").read_text()
    return text.split(f'"{mistake}": lambda')[1]


@pytest.fixture(scope="module")
def raw_errors():
    """What bad values raise in a plain interpreter, but for errors with a fix."""
    done = forked("-m", "tests.support.bad_values", cwd=ROOT)
    done.check_returncode()
    return json.loads(done.stdout)


@pytest.mark.parametrize("function", CALLS)
def test_any_bad_value_is_refused_with_a_sentence(raw_errors, function):
    assert raw_errors[function] == []


def test_a_value_is_shown_whatever_its_repr_does():
    class Loud:
        def __repr__(self):
            raise RuntimeError

    assert shown(Loud()) == "of type Loud"
    assert shown(10**5000) == "of type int"
    assert shown((1, "a")) == "(1, 'a')"
    assert len(shown("a" * 10**6)) < 300
