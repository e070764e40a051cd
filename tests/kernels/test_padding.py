"""Padding of both signs: XLA's own convolution on a CPU reads memory that is not its own."""

from functools import partial

import jax
import numpy as np
import pytest
from jax import lax

import jaxconv as jc
from jaxconv.kernels import padding
from tests.support.convolutions import chosen, error

ORDER = ("NHWC", "HWIO", "NHWC")


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "pads", [[(-1, 1), (0, 0)], [(2, -2), (-3, 1)], [(0, 1), (5, -4)]], ids=str
)
def test_the_image_is_padded_first(pads, stride, groups):
    draw = np.random.default_rng(0).normal
    x, kernel = (draw(size=s).astype(np.float32) for s in ((20, 9, 7, 6), (2, 3, 6 // groups, 12)))
    options = {"dimension_numbers": ORDER, "feature_group_count": groups}
    strides = (stride, stride)
    ours = partial(jc.conv_general_dilated, window_strides=strides, padding=pads, **options)
    assert chosen(ours, x, kernel) == [(padding.CONVOLUTION, "padding first")]
    framed = lax.pad(x, np.float32(0), [(0, 0, 0), *((*p, 0) for p in pads), (0, 0, 0)])
    want = lax.conv_general_dilated(framed, kernel, strides, "VALID", **options)
    assert error(jax.jit(ours)(x, kernel), np.float64(want)) < 1e-6


def test_padding_of_one_sign_is_left_to_lax():
    x, kernel = np.ones((1, 9, 9, 2), np.float32), np.ones((3, 3, 2, 2), np.float32)
    for pads in [(-1, 0), (0, -2), (-1, -1), (2, 1)]:
        ours = partial(
            jc.conv_general_dilated, window_strides=(1, 1), padding=[pads, pads],
            dimension_numbers=ORDER,
        )  # fmt: skip
        assert padding.CONVOLUTION not in {name for name, _ in chosen(ours, x, kernel)}
