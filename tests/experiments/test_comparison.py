"""The page on other tools says what they say today."""

import pytest

from experiments import comparison

NAMES = {
    accept: [case.name for case in cases]
    for accept, cases in ((False, comparison.MISTAKES), (True, comparison.RIGHT))
}


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cells():
    return comparison.compare()


def test_the_committed_page_is_up_to_date_apart_from_messages(cells):
    today = comparison.verdicts(comparison.page(cells))
    assert list(today) == NAMES[False] + NAMES[True]
    assert {word for row in today.values() for word in row} == {"accepts", "refuses"}
    assert comparison.verdicts(comparison.OUT.read_text()) == today


@pytest.mark.parametrize("accept", NAMES)
def test_jaxconv_is_right(cells, accept):
    found = {name: cells[name]["jaxconv, its layers"].accepts for name in NAMES[accept]}
    assert found == dict.fromkeys(NAMES[accept], accept)


def test_another_verdict_would_be_seen(cells):
    name, tool = NAMES[True][0], "chex"
    assert cells[name][tool].accepts
    other = cells | {name: cells[name] | {tool: comparison.Cell(False, "", "no | <b>", "no")}}
    pages = [comparison.page(c) for c in (cells, other)]
    assert comparison.verdicts(pages[0]) != comparison.verdicts(pages[1])
    assert "refuses: no \\| &lt;b> |" in pages[1]
    assert "**5 of 6**, each for one size |" in pages[1]
