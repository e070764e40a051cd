"""Conditions that exclude what fails."""

import pytest

import jaxconv as jc
from jaxconv.cli.exclusions import condition_of, excluding
from jaxconv.symbolic.domains import domain_of
from jaxconv.symbolic.sets import SizeSet

CONDITIONS = [
    "h >= 32, w >= 32",
    "224 <= h <= 255, w == 3",
    "h % 2 == 0",
    "h % 4 != 0",
    "h % 2 == 1, w % 3 == 0",
    "h % 16 == 0, w % 16 == 0",
    "h % 16 == 0, w % 16 == 0, b % 16 == 0",
    "h == 3 or w == 3",
    "h <= w",
    "w == 2*h",
]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_says_the_same_as_the_set(condition):
    sizes = SizeSet(domain_of(("b", "h", "w"), condition))
    written = condition_of(sizes)
    assert written
    assert SizeSet(domain_of(("b", "h", "w"), written)) == sizes


def test_a_set_without_a_short_condition_has_none():
    sizes = SizeSet(domain_of(("h",), "h % 7 == 3 or h % 5 == 1 or h % 3 == 2"))
    written = condition_of(sizes)
    assert not written or SizeSet(domain_of(("h",), written)) == sizes


def test_only_what_is_refuted_for_some_sizes_is_excluded():
    assert excluding(jc.check(jc.max_pool, "b h w 3")) == (
        'If the sizes that fail are never used, exclude them: --where "h >= 2, w >= 2".'
    )
    assert excluding(jc.check(jc.flatten, "b h w 3")) == ""
    assert excluding(jc.check(jc.flatten, "b h w 3", returns="b 3")).endswith(
        '--where "h == 1, w == 1".'
    )
    assert excluding(jc.check(lambda x: x.nothing, "b h")) == ""
