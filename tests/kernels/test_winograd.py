"""Winograd's matrices exactly, and the algorithm on batches cut every way, against NumPy loops."""

from fractions import Fraction

import jax
import numpy as np
import pytest

from jaxconv.kernels import winograd
from jaxconv.kernels.tiling import Tiling
from jaxconv.kernels.winograd import POINTS, transforms
from tests.support import reference

OTHER_POINTS = {
    "F(4) of the usual points": ([0, 1, -1, 2, -2], 3),
    "F(6)": ([0, 1, -1, 2, -2, Fraction(1, 2), Fraction(-1, 2)], 3),
    "F(3)": ([0, Fraction(2, 3), -1, 5], 3),
    "F(1), the sum itself": ([0, 1], 3),
    "F(2, 5)": ([0, 1, -1, Fraction(7, 2), Fraction(-1, 3)], 5),
    "F(5, 2)": ([3, 1, -1, 2, -2], 2),
}
ALL_POINTS = {f"F({m})": (points, 3) for m, points in POINTS.items()} | OTHER_POINTS


def fractions(rng, *shape):
    """Random rational numbers, in an array of objects: NumPy then computes exactly."""
    over = rng.integers(1, 60, shape)
    numbers = rng.integers(-99, 100, shape)
    pairs = zip(numbers.flat, over.flat, strict=True)
    return np.array([Fraction(int(n), int(d)) for n, d in pairs], object).reshape(shape)


def derived(points, size):
    matrices = transforms([Fraction(p) for p in points], size)
    return [np.array(m, object) for m in (matrices.data, matrices.kernel, matrices.result)]


def test_the_tiles_have_as_many_points_as_they_need():
    for m, points in POINTS.items():
        assert len(points) + 1 == m + winograd.KERNEL_SIZE - 1


@pytest.mark.parametrize("name", ALL_POINTS)
def test_a_row_of_a_tile_is_its_correlation_exactly(name):
    points, taps = ALL_POINTS[name]
    b, g, a = derived(points, taps)
    size, rng = len(points) + 1, np.random.default_rng([1, *name.encode()])
    assert b.shape == (size, size)
    assert g.shape == (size, taps)
    assert a.shape == (size - taps + 1, size)
    for _ in range(5):
        d, w = fractions(rng, size), fractions(rng, taps)
        want = [d[i : i + taps] @ w for i in range(size - taps + 1)]
        assert (a @ ((g @ w) * (b @ d))).tolist() == want


@pytest.mark.parametrize("name", ALL_POINTS)
def test_a_tile_is_its_correlation_exactly(name):
    points, taps = ALL_POINTS[name]
    b, g, a = derived(points, taps)
    size, rng = len(points) + 1, np.random.default_rng([2, *name.encode()])
    d, w = fractions(rng, size, size), fractions(rng, taps, taps)
    places = range(size - taps + 1)
    want = [[(d[i : i + taps, j : j + taps] * w).sum() for j in places] for i in places]
    assert (a @ ((g @ w @ g.T) * (b @ d @ b.T)) @ a.T).tolist() == want


@pytest.mark.parametrize("name", ALL_POINTS)
def test_the_gradient_of_a_kernel_is_the_same_form_transposed_exactly(name):
    points, taps = ALL_POINTS[name]
    b, g, a = derived(points, taps)
    size, rng = len(points) + 1, np.random.default_rng([3, *name.encode()])
    d, y = fractions(rng, size, size), fractions(rng, size - taps + 1, size - taps + 1)
    n = len(y)
    want = [[(d[i : i + n, j : j + n] * y).sum() for j in range(taps)] for i in range(taps)]
    assert (g.T @ ((b @ d @ b.T) * (a.T @ y @ a)) @ g).tolist() == want


CUTS = [
    # images, height, width, channels, filters, pads, tiling
    (1, 9, 10, 3, 5, ((1, 1), (1, 1)), Tiling(2, 5, 1)),
    (2, 8, 8, 4, 3, ((1, 1), (1, 1)), Tiling(4, 2, 2, channel_splits=2)),
    (4, 7, 6, 3, 2, ((1, 1), (1, 1)), Tiling(4, 2, 2)),
    (3, 9, 5, 6, 2, ((0, 0), (0, 0)), Tiling(2, 4, 1, channel_splits=3)),
    (2, 17, 6, 2, 3, ((1, 1), (1, 1)), Tiling(4, 2, 1)),
    (2, 21, 5, 4, 2, ((2, 1), (0, 3)), Tiling(4, 4, 1, channel_splits=4)),
    (1, 11, 11, 2, 2, ((5, 0), (0, 4)), Tiling(2, 1, 1)),
    (2, 12, 9, 2, 3, ((-2, 1), (1, -3)), Tiling(4, 1, 2)),
    (4, 13, 8, 2, 2, ((-1, -1), (-2, -2)), Tiling(4, 2, 2)),
    (4, 13, 8, 2, 2, ((-1, -1), (-2, -2)), Tiling(4, 3, 2)),
    (2, 1, 1, 3, 4, ((1, 1), (1, 1)), Tiling(2, 1, 1)),
    (5, 9, 6, 4, 3, ((1, 1), (1, 0)), Tiling(4, 3, 2, channel_splits=2)),
    (7, 5, 7, 2, 3, ((1, 1), (1, 1)), Tiling(2, 1, 3)),
    (1, 2, 2, 3, 4, ((1, 1), (1, 1)), Tiling(4, 1, 1)),
    (1, 2, 3, 3, 2, ((9, 8), (4, 7)), Tiling(4, 2, 1)),
]


def cut_case(images, height, width, channels, filters, pads):
    rng = np.random.default_rng([images, height, width, channels, filters])
    x = rng.normal(size=(images, height, width, channels))
    kernel = rng.normal(size=(3, 3, channels, filters))
    outside = [(max(low, 0), max(high, 0)) for low, high in pads]
    inside = tuple(slice(max(-low, 0), n - max(-high, 0))
                   for (low, high), n in zip(pads, (height, width), strict=True))  # fmt: skip
    framed = np.pad(x[(slice(None), *inside)], [(0, 0), *outside, (0, 0)])
    return x, kernel, framed


@pytest.mark.parametrize("case", CUTS, ids=str)
def test_any_cut_of_a_batch_gives_the_sum_over_the_windows(case):
    *sizes, pads, tiling = case
    x, kernel, framed = cut_case(*sizes, pads)
    plain = {"stride": (1, 1), "padding": "VALID", "dilation": (1, 1), "groups": 1}
    want = reference.conv(framed, kernel, np.zeros(kernel.shape[-1]), **plain)

    @jax.jit
    def got(x, kernel):
        return winograd.convolve(
            x, winograd.transform_kernel(kernel, tiling.tile, tiling.channel_splits), pads, tiling
        )

    np.testing.assert_allclose(got(np.float32(x), np.float32(kernel)), want, atol=3e-5)


@pytest.mark.parametrize("case", CUTS, ids=str)
def test_any_cut_of_a_batch_gives_the_gradient_of_the_kernel(case):
    *sizes, pads, tiling = case
    x, kernel, framed = cut_case(*sizes, pads)
    h, w = framed.shape[1] - 2, framed.shape[2] - 2
    g = np.random.default_rng(5).normal(size=(len(x), h, w, kernel.shape[-1]))
    want = np.zeros(kernel.shape)
    for i, j in np.ndindex(3, 3):
        want[i, j] = np.einsum("bhwc,bhwk->ck", framed[:, i : i + h, j : j + w], g)

    @jax.jit
    def got(x, g):
        return winograd.kernel_gradient(x, g, pads, tiling)

    np.testing.assert_allclose(got(np.float32(x), np.float32(g)), want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("sizes", "tiling", "pool"),
    [
        ((2, 12, 8, 4, 3), Tiling(4, 2, 1, channel_splits=2), 2),
        ((2, 8, 16, 3, 2), Tiling(4, 2, 2), 4),
        ((4, 6, 10, 2, 3), Tiling(2, 2, 2), 2),
        ((1, 10, 14, 2, 5), Tiling(4, 3, 1), 2),
        ((3, 8, 10, 2, 4), Tiling(4, 1, 2), 2),
    ],
)
def test_what_follows_may_be_computed_in_the_block(sizes, tiling, pool):
    """A pool, then a bias and a ReLU: neither falls, so their order does not matter."""
    pads = (1, 1), (1, 1)
    x, kernel, _ = cut_case(*sizes, pads)
    x, kernel = np.float32(x), np.float32(kernel)
    bias = np.random.default_rng(6).normal(size=kernel.shape[-1]).astype(np.float32)

    def finish(y):
        return jax.nn.relu(y + bias)

    @jax.jit
    def both(x, kernel):
        prepared = winograd.transform_kernel(kernel, tiling.tile, tiling.channel_splits)
        whole = winograd.convolve(x, prepared, pads, tiling)
        return whole, winograd.convolve(x, prepared, pads, tiling, finish, pool)

    whole, got = both(x, kernel)
    b, h, w, k = whole.shape
    y = np.maximum(whole + bias, 0)
    want = y.reshape(b, h // pool, pool, w // pool, pool, k).max((2, 4))
    np.testing.assert_allclose(got, want, atol=1e-5)
