"""Functions that do otherwise for a formula than for a number: never a wrong answer."""

import contextlib
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxconv as jc
from jaxconv.prover.confirm import sample_points
from tests.support.networks import Network
from tests.support.oracle import disagreement, grid, names_of


def rows(x):
    return x.shape[0]


def swallowed_number(x):
    n = 3
    with contextlib.suppress(TypeError):
        n = int(rows(x))
    return jnp.zeros(n)


def swallowed_split(x):
    try:
        large = rows(x) > 3
    except:  # noqa: E722 - that is the trap
        large = True
    return x if large else x[:1]


def swallowed_mismatch(x, y):
    try:
        return x + y
    except (TypeError, ValueError):
        return jnp.concatenate([x, y])


def swallowed_reshape(x):
    try:
        return x.reshape(4, -1)
    except TypeError:
        return x


def empty_for_formulas_only(x):
    n = rows(x)
    if isinstance(n, int):
        return x
    jnp.zeros(n - 5)
    raise ValueError("not for formulas")


def one_place_two_operations(x, y):
    for step in (functools.partial(jnp.add, y), functools.partial(jnp.dot, jnp.ones(5))):
        x = step(x)
    return x


TRAPS = {
    "a swallowed number": (swallowed_number, "h"),
    "a swallowed comparison": (swallowed_split, "h"),
    "a swallowed mismatch": (swallowed_mismatch, "h", "w"),
    "a swallowed reshape": (swallowed_reshape, "h"),
    "a map that is empty for formulas only": (empty_for_formulas_only, "h"),
    "two operations at one place": (one_place_two_operations, "h", "w"),
    "a set": (lambda x: x if rows(x) in {3, 4} else x[:1], "h"),
    "a dict": (lambda x: {3: x}.get(rows(x), x[:1]), "h"),
    "the type of a size": (lambda x: x if isinstance(rows(x), int) else x[:1], "h"),
    "an equality of products": (
        lambda x: x if math.prod(x.shape) == sum(x.shape) else x[None],
        "h w",
    ),
    "an equality of types": (lambda x, y: x if x.aval == y.aval else x[None], "h", "w"),
    "a set of shapes": (lambda x, y: jnp.stack([x, y]), "h", "w"),
    "a scan over two": (
        lambda x, y: lax.scan(lambda c, ab: (c, ab[0] * ab[1]), 0.0, (x, y))[1],
        "h",
        "w",
    ),
    "a branch within jax": (lambda x: jnp.packbits(x > 0), "h"),
    "a rest of zero": (lambda x: lax.map(lambda y: y + 1, x, batch_size=3), "h"),
    "no symbolic sizes allowed": (lambda x: lax.associative_scan(jnp.add, x), "h"),
    "reflected": (lambda x: jnp.pad(x, 3, mode="reflect"), "h"),
    "all ones squeezed": (jnp.squeeze, "h w"),
    "a factor that may be 0": (
        lambda x: jnp.zeros(x.shape[0] * (x.shape[1] - 3) // (x.shape[1] - 3)),
        "h w",
    ),
    "minus one and a number": (lambda x: x.reshape(-1, 6), "h w"),
    "minus one and a size": (lambda x: x.reshape(x.shape[0], -1, 4), "h w"),
    "a window of the size": (lambda x: jc.avg_pool(x, (x.shape[1] // 2, 1)), "1 h 2 1"),
    "a float": (lambda x: x[: int(rows(x) / 2)], "h"),
    "a power": (lambda x: x * rows(x) ** -0.5 + rows(x) ** 2, "h"),
    "a root": (lambda x: x / np.sqrt(rows(x)), "h"),
    "a ceiling": (lambda x: x[: math.ceil(rows(x) / 2)], "h"),
    "bits": (lambda x: x[: (rows(x) & 3) + (rows(x) >> 1) + (rows(x) << 1)], "h"),
    "a distance": (lambda x: x[: abs(rows(x) - 3) + round(rows(x))], "h"),
    "an einsum": (lambda x: jnp.einsum("bh,hk->bk", x, jnp.ones((3, 4))), "b h"),
    "less than nothing": (lambda x: x, "h-5"),
}


@pytest.mark.parametrize("name", TRAPS)
def test_no_trap_leads_to_a_wrong_answer(name):
    function, *specs = TRAPS[name]
    network = Network(function, tuple(specs), None, ())
    verdict = jc.check(function, *specs)
    for point in grid(names_of(specs), 60):
        if all(n >= 1 for n in sides(specs, point)) and not verdict.untried.contains(**point):
            assert not disagreement(network, verdict, point), (point, str(verdict))


def sides(specs, point):
    return [eval(axis, {}, dict(point)) for spec in specs for axis in spec.split()]


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


def test_what_is_decided_in_spite_of_a_trap():
    for name in ("a set of shapes", "a scan over two", "bits", "minus one and a size"):
        function, *specs = TRAPS[name]
        assert jc.check(function, *specs).untried.is_empty(), name
    assert jc.check(jax.nn.relu, "h-5").accepts == jc.SizeSet.parse("h", "h >= 6")
