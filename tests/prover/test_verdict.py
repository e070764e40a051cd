"""The verdict as text and as plain data."""

import json

import pytest

import jaxconv as jc
import jaxconv.prover.verdict
from jaxconv.prover.verdict import Cases, Failure, Verdict, remedy

SOME, NONE = jc.SizeSet.parse("h", "h >= 3"), jc.SizeSet.parse("h", "h < 1")


def test_a_verdict_as_text_and_as_data():
    failure = Failure(jc.SizeSet.parse("h", "h < 3"), {"h": 1}, "a.py:3", "it fails.", "fix it.")
    verdict = Verdict("refuted", SOME, (2, 3), (failure,), NONE, ("a note",), 4)
    assert str(verdict) == (
        "refuted: accepts h >= 3, returns (2, 3)\n"
        "  fails at a.py:3: it fails.\n    for h <= 2; first for h = 1\n    Fix: fix it.\n"
        "  note: a note"
    )
    data = json.loads(json.dumps(verdict.to_json()))
    assert data["accepts"] == "h >= 3"
    assert data["failures"][0]["sizes"] == "h <= 2"
    assert data["runs"] == 4
    assert not verdict.ok


def test_the_remedy_names_sizes_that_work():
    assert remedy(SOME, NONE, {"h": 1}) == (
        "pass sizes with h >= 3; nearest to the first failure: h = 3."
    )
    with pytest.MonkeyPatch.context() as patch:  # what a set of many parts takes
        patch.setattr(jaxconv.prover.verdict, "EXAMPLE_OPERATIONS", 1)
        assert remedy(SOME, NONE, {"h": 1}) == "pass sizes with h >= 3."
    assert remedy(NONE, NONE, {"h": 1}) == "fix the function; it accepts no size."
    assert remedy(NONE, SOME, {"h": 1}) == "fix the function; no size is known to work."


def test_cases_give_the_shapes_of_the_requested_sizes():
    cases = Cases(((SOME, (1,)), (jc.SizeSet.parse("h", "h < 3"), (2, 2))))
    assert (cases.at(h=3), cases.at(h=2)) == ((1,), (2, 2))
    assert str(cases) == "(1,) for h >= 3 or (2, 2) for h <= 2"
