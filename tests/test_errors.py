"""Golden messages: every mistake of ``mistakes.py`` says what mistakes.txt has, to the letter."""

import json
import re
from pathlib import Path

import pytest

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
