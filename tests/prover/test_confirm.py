"""Sizes at which formulas are compared with numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxconv as jc
from jaxconv.prover import confirm
from jaxconv.prover.confirm import outcome_at, sample_points


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


def test_no_size_is_sampled_whose_arrays_fill_the_memory():
    assert not list(sample_points(jc.SizeSet.parse("n d", "n = d and n >= 46325").points))


def test_no_array_of_a_large_number_is_made_though_formulas_fail_before_any_is(monkeypatch):
    """The mean of b*h numbers may be too large at 46341 by 46341, where the matrix has 17 GB."""
    tried = []

    def outcome(subject, point, **options):
        tried.append(max(jc.SizeSet(point).smallest().values()))
        return outcome_at(subject, point, **options)

    monkeypatch.setattr(confirm, "outcome_at", outcome)

    def squared(x):
        return x.mean() * jnp.ones(x.shape[1]) @ jnp.zeros(np.tri(x.shape[1]).shape)

    verdict = jc.check(squared, "b h")
    assert max(tried) <= 4096
    assert verdict.accepts.contains(b=46340, h=46340)


@pytest.mark.parametrize("exception", [1, 7])
def test_what_is_cut_out_is_confirmed_at_its_smallest_size_and_at_its_border(exception):
    def pooled(x):
        if type(x.shape[0]) is int and x.shape[0] == exception:
            return x
        return lax.reduce_window(x, -jnp.inf, lax.max, (8,), (8,), "VALID")

    verdict = jc.check(pooled, "h")
    assert not any(failure.sizes.contains(h=exception) for failure in verdict.failures)


def halved(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (2,), (2,), "VALID")


def test_a_trace_that_confirms_an_empty_map_ends_there(capsys):
    def pooled(x):
        for _ in range(4):
            x = halved(x)
            print(x.shape[0])
        return x

    assert jc.check(pooled, "h").accepts == jc.SizeSet.parse("h", "h >= 16")
    traced = capsys.readouterr().out.split("\n")
    assert {"h//2", "h//16", "1"} <= {*traced}
    assert "0" not in traced


def test_formulas_are_traced_up_to_where_each_size_has_an_empty_map(capsys):
    def pooled(x):
        is_small = any(side < 4 for side in x.shape)
        x = lax.reduce_window(x, -jnp.inf, lax.max, (4, 4), (4, 4), "VALID")
        print("small" if is_small else "large")
        return x

    assert jc.check(pooled, "h w").accepts == jc.SizeSet.parse("h w", "h >= 4 and w >= 4")
    assert "large" in (traced := capsys.readouterr().out)
    assert "small" not in traced


def test_a_function_that_catches_the_end_of_a_trace_is_traced_to_its_own_end():
    def pooled(x):
        is_small = x.shape[0] < 2
        try:
            return halved(x)
        except:  # noqa: E722 - it catches what is no Exception, too
            return x if is_small else x + x

    verdict = jc.check(pooled, "h")
    assert verdict.accepts == jc.SizeSet.parse("h", "h >= 2")
    assert verdict.untried.is_empty()


def test_a_map_that_is_empty_only_in_a_trace_on_the_side_confirms_nothing():
    def pooled(x):
        is_number = type(x.shape[0]) is int
        on_the_side = jax.eval_shape(halved, x).shape[0]
        return x if is_number and on_the_side == 0 else halved(x)

    verdict = jc.check(pooled, "h")
    assert not any(failure.sizes.contains(h=1) for failure in verdict.failures)


def test_each_set_that_is_cut_out_is_confirmed_on_its_own():
    def pooled(x):  # for formulas the second pool is empty below 9, for numbers only below 3
        for size in (3, 3 if type(x.shape[0]) is not int else 1):
            x = lax.reduce_window(x, -jnp.inf, lax.max, (size,), (size,), "VALID")
        return x

    verdict = jc.check(pooled, "h")
    assert not any(failure.sizes.contains(h=8) for failure in verdict.failures)
    assert not any(failure.sizes.contains(h=3) for failure in verdict.failures)
