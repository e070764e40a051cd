"""Counts of layers, some of which are left out."""

import pytest

from jaxconv.analysis.layer_counts import Counts, product_of

COUNTS = Counts((2, 3), (), (6, 5), (5,))


@pytest.mark.parametrize(
    ("names", "left"),
    [
        ((), COUNTS),
        (("macs",), COUNTS._replace(macs=None)),
        (("output",), COUNTS._replace(output=(None, None))),
        (("times",), COUNTS._replace(output=(None, None), macs=None)),
        (("macs", "weights"), COUNTS._replace(macs=None, weights=None)),
    ],
)
def test_counts_that_do_not_hold_are_left_out(names, left):
    assert COUNTS.without(names) == left


def test_a_product_with_an_unknown_factor_is_unknown():
    assert product_of((2, 3), (4,)) == 24
    assert product_of() == 1
    assert product_of((2,), None) is None
    assert product_of((2, None)) is None


def test_counts_are_changed_in_the_same_place():
    other = Counts((20, 30), (), None, (50,))
    assert COUNTS.mapped(lambda a, b: a + b, other) == Counts((22, 33), (), None, (55,))
