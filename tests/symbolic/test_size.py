"""Sizes and sets of sizes against plain integers."""

import itertools

import chex
import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings

import jaxconv as jc
from tests.support.formulas import POINTS, at, formulas


@settings(deadline=None, max_examples=60)
@given(formulas(), formulas())
def test_arithmetic_is_that_of_integers(left, right):
    h, w = jc.sizes("h w")
    texts = [left, right, f"{left} + {right}", f"{left} - {right}", f"{left} * {right}"]
    for text in texts:
        size = eval(text, {"h": h, "w": w})
        for point in POINTS[::5]:
            assert at(size, point) == eval(text, dict(point)), text


@settings(deadline=None, max_examples=60)
@given(formulas(), formulas())
def test_a_comparison_is_true_only_where_it_is_for_all(left, right):
    h, w = jc.sizes("h w")
    a, b = (eval(text, {"h": h, "w": w}) for text in (left, right))
    truths = {eval(f"{left} == {right}", dict(point)) for point in POINTS}
    assert (a == b) <= (truths == {True})
    try:
        less = a < b
    except jc.Undecided:
        return
    assert {eval(f"{left} < {right}", dict(point)) for point in POINTS} == {less}


def test_what_is_decided_and_what_is_not():
    b, h, w = jc.sizes("b h w", where="h >= 32 and w == h")
    assert w == h
    assert h // 2 // 2 == h // 4
    assert h > 31
    assert not h < 32
    assert (h == 224) is False
    with pytest.raises(jc.Undecided, match="holds for w = h, h >= 224 only"):
        _ = h >= 224
    with pytest.raises(jc.Undecided, match="the code needs b as a number"):
        int(b)
    assert h != jc.sizes("h")[0]


def test_a_number_is_divided_by_a_larger_size():
    h, w = jc.sizes("h w", where="h >= 4")
    assert (3 // h, 3 % h, -4 // h) == (0, 3, -1)
    assert -4 % h == h - 4
    assert -1 // w == -1
    with pytest.raises(jc.Undecided):
        _ = 5 // h


@pytest.mark.parametrize("text", ["h", "(h + 1)//2", "h*w", "h//3*w", "h*h"])
def test_the_root_of_a_square_is_found_and_no_other(text):
    for factor, number in itertools.product((1, -1, 3), (0, 5, -7)):
        h, w = jc.sizes("h w")
        root = factor * eval(text, {"h": h, "w": w}) + number
        found = (root * root).square_root()
        assert all(abs(at(found, point)) == abs(at(root, point)) for point in POINTS)
        for other in (root * root + 1, 2 * root * root, root * root + h * w, -root * root):
            found = other.square_root()
            assert found is None or found * found == other


def test_sizes_work_with_chex_and_jax():
    b, h, w = jc.sizes("b h w", where="h >= 3 and w >= 3")
    x = jax.ShapeDtypeStruct((b, h, w, 3), jnp.float32)
    y = jax.eval_shape(lambda x: jc.conv(x, jnp.ones((3, 3, 3, 64)), padding="VALID"), x)
    chex.assert_shape(y, (b, h - 2, w - 2, 64))
    with pytest.raises(AssertionError):
        chex.assert_shape(y, (b, h, w, 64))
    jaxpr = jax.make_jaxpr(lambda x: jc.max_pool(x, 2))(x)
    assert str(jaxpr.out_avals[0].shape) == "(b, h//2, w//2, 3)"
    assert jc.conv_shape((b, h, w, 3), (3, 3, 3, 8), padding=1) == (b, h, w, 8)
    assert jc.pool_shape((b, h, w, 3), 2) == (b, h // 2, w // 2, 3)
