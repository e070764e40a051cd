"""Each region of an analysis is one program of JAX, which its layers and fields are read from."""

import jax.numpy as jnp
import pytest

import jaxconv as jc
from jaxconv.analysis.regions import analyze
from jaxconv.prover.check import explore_sizes
from jaxconv.symbolic.sets import SizeSet


def missing(n):
    if n % 2:
        return 1
    return 0


# Functions that are proven with one trace, and the sizes of each program.
PROGRAMS = {
    "sides that fit, or are 1": (lambda x: x[:, ::2] + x[:, 1::2], {"h mod 2 = 0", "h = 3"}),
    "a padding by cases": (
        lambda x: jnp.pad(x, ((0, 0), (0, missing(x.shape[1])))),
        {"h mod 2 = 0", "h mod 2 = 1"},
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_region_is_one_program(name):
    function, programs = PROGRAMS[name]
    (proven,) = explore_sizes(function, "b h").regions
    sets = [SizeSet.parse("b h", text) for text in programs]
    assert SizeSet(proven.sizes) == sets[0] | sets[1]
    regions = [SizeSet(one.region.sizes) for one in analyze(function, "b h").regions]
    assert len(regions) == len(sets)
    assert all(one in sets for one in regions)


def test_sizes_that_are_not_decided_are_left_out_if_few_people_use_them():
    def share(x):
        return jc.conv(x, jnp.ones((3, 3, 3, 4))).sum((1, 2)) / (x.shape[1] * x.shape[2])

    table = jc.summary(share, "b h w 3")  # the product may not fit in 32 bits
    assert str(table.sizes) == "h <= 46340, w <= 46340"
    assert table.notes[0].startswith("For (h <= 46340, w >= 46341) or ")
    assert jc.receptive_field(share, "b h w 3", layer=1).size == (3, 3)


def test_the_reason_why_no_size_is_accepted_is_that_of_the_largest():
    def fails(x):
        jc.conv(x, jnp.ones((3, 3, 3, 4)), padding="VALID")
        raise TypeError("got an unexpected keyword argument")

    with pytest.raises(jc.ShapeError, match=r"no size is accepted.*unexpected keyword"):
        jc.summary(fails, "b h w 3")
