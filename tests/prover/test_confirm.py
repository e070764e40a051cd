"""Sizes at which formulas are compared with numbers."""

import jax.numpy as jnp
import pytest
from jax import lax

import jaxconv as jc
from jaxconv.prover.confirm import sample_points


def test_shapes_that_people_use_are_sampled_once_each():
    points = [jc.SizeSet(point).smallest() for point in sample_points(jc.SizeSet.parse("h").points)]
    assert [point["h"] for point in points] == [1, 3, 5, 8, 16, 33, 32, 64, 128, 224, 256, 100]
    shapes = [
        tuple(jc.SizeSet(point).smallest().values())
        for point in sample_points(jc.SizeSet.parse("b h w").points)
    ]
    assert {(1, 64, 64), (1, 128, 64), (2, 224, 224), (1, 256, 256)} <= set(shapes)
    few = list(sample_points(jc.SizeSet.parse("h w", "h <= 2 and w = 3").points))
    assert [jc.SizeSet(point).smallest() for point in few] == [{"h": 1, "w": 3}, {"h": 2, "w": 3}]


@pytest.mark.parametrize("exception", [1, 7])
def test_what_is_cut_out_is_confirmed_at_its_smallest_size_and_at_its_border(exception):
    def pooled(x):
        if type(x.shape[0]) is int and x.shape[0] == exception:
            return x
        return lax.reduce_window(x, -jnp.inf, lax.max, (8,), (8,), "VALID")

    verdict = jc.check(pooled, "h")
    assert not any(failure.sizes.contains(h=exception) for failure in verdict.failures)


def test_each_set_that_is_cut_out_is_confirmed_on_its_own():
    def pooled(x):  # for formulas the second pool is empty below 9, for numbers only below 3
        for size in (3, 3 if type(x.shape[0]) is not int else 1):
            x = lax.reduce_window(x, -jnp.inf, lax.max, (size,), (size,), "VALID")
        return x

    verdict = jc.check(pooled, "h")
    assert not any(failure.sizes.contains(h=8) for failure in verdict.failures)
    assert not any(failure.sizes.contains(h=3) for failure in verdict.failures)
