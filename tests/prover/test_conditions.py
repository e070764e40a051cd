"""Empty maps, reshapes, and pixels that no window sees."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import jaxconv as jc
from tests.support.cnns import conv
from tests.support.programs import normal


class Down(nnx.Module):
    def __init__(self, rngs):
        self.down = nnx.Conv(3, 4, (3, 3), strides=2, padding="VALID", rngs=rngs)

    def __call__(self, x):
        return self.down(x)


def strided_stem(x):
    return conv(x, 7, 4, 2, [(3, 3), (3, 3)])


def small_windows(x):
    return conv(x, 1, 4, 2, "SAME")


def tokens(x):
    return lax.reduce_window(x.reshape(-1), 0.0, lax.add, (2,), (2,), "VALID")


LOST = {
    "VGG16": (
        lambda: nnx.eval_shape(lambda: jc.vgg16(head=None)),
        ["the window of pool1 does not reach the end of its map, first for h = 32, w = 33; "
         "to use all, pad to sizes with h and w multiples of 32, or crop to them."],
    ),
    "a layer": (
        lambda: Down(nnx.Rngs(0)),
        ["the window of down at test_conditions.py:LINE does not reach the end of its map, first "
         "for h = 32, w = 32; to use all, pad to sizes with h >= 33, h odd, w >= 33, w odd, or "
         "crop to them."],
    ),
    "padding is no loss": (lambda: strided_stem, []),
    "windows smaller than their stride": (lambda: small_windows, []),
}  # fmt: skip


@pytest.mark.parametrize("name", LOST)
def test_pixels_that_no_window_sees_are_noted(name):
    make, notes = LOST[name]
    line = inspect.getsourcelines(Down.__call__)[1] + 1
    verdict = jc.check(make(), "b h w 3", where="h >= 32 and w >= 32")
    assert verdict.ok
    assert list(verdict.notes) == [note.replace("LINE", str(line)) for note in notes]


def test_a_pixel_that_is_noted_as_lost_has_no_gradient_and_others_have():
    kernel = normal(3, 3, 2, 4)

    @jax.jit
    def gradient(x):
        return jax.grad(lambda x: (jc.conv(x, kernel, stride=2, padding=0) ** 2).sum())(x)

    for h in range(5, 12):
        verdict = jc.check(lambda x: jc.conv(x, kernel, stride=2, padding=0), f"1 {h} h 2")
        lost = any("end of its map" in note for note in verdict.notes)
        seen = np.asarray(gradient(normal(1, h, 9, 2)))
        assert (seen[0, -1] == 0).all() == (h % 2 == 0)
        assert lost or h % 2


def test_a_window_over_a_flattened_map_is_no_error():
    assert jc.check(tokens, "h w", where="h >= 2").ok


@pytest.mark.parametrize("mode", ["edge", "mean", "maximum", "reflect"])
def test_nothing_may_be_joined_to_a_map(mode):
    """jnp.pad joins an empty piece to each side that it does not pad."""
    verdict = jc.check(
        lambda x: jnp.pad(x, ((0, 0), (1, 1), (2, 0), (0, 0)), mode),
        "b h w 3",
        returns="b h+2 w+2 3",
        where="h >= 2 and w >= 3",
    )
    assert verdict.ok, verdict
    assert jc.check(lambda x: jnp.roll(x, 0, 1), "b h w 3", returns="b h w 3").ok


@pytest.mark.parametrize("end", ["joined", "summed", "returned"])
def test_an_empty_map_is_a_failure_wherever_it_goes(end):
    kernel = jnp.ones((3, 1, 3, 3))
    ends = {
        "joined": lambda x, y: jnp.concatenate([x, y], 1),
        "summed": lambda x, y: jnp.concatenate([x, y.sum((1, 2), keepdims=True) + x], 1),
        "returned": lambda x, y: (x, y),
    }
    with_map = lambda x: ends[end](x, lax.conv_general_dilated(  # noqa: E731
        x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    ))  # fmt: skip
    verdict = jc.check(with_map, "b h w 3")
    assert str(verdict.accepts) == "h >= 3"
    cut = jc.check(lambda x: x[:, 3:].sum(), "b h w 3")
    assert str(cut.accepts) == "h >= 4"
