"""Each region of an analysis is one program of JAX, which its layers and fields are read from."""

import jax.numpy as jnp
import pytest

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
