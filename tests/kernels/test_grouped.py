"""Grouped convolutions: values and derivatives are those of sums over windows, without lax."""

from functools import partial

import jax
import numpy as np
import pytest

import jaxconv as jc
from jaxconv.kernels import depthwise, grouped
from tests.support.configurations import ConvCase
from tests.support.convolutions import (
    SLOW,
    arrays,
    batches,
    chosen,
    compare,
    compare_with_lax,
    derivatives,
    inside,
    random_case,
    second,
)


def square(batch, height, width, inputs, outputs, groups, padding=1, first=False):
    """A convolution with kernels of 3x3."""
    sizes, channels = (height, width), (groups * inputs, groups * outputs)
    around = ((padding, 1), (0, padding))
    return ConvCase(batch, sizes, *channels, (3, 3), (1, 1), around, (1, 1), groups, first)


@pytest.fixture(autouse=True)
def all_groups(monkeypatch):
    """Groups of few channels are put together so too, rather than summed as shifted images."""
    monkeypatch.setattr(depthwise, "FEW_INPUTS", 0)


# Each with the sizes of the tiles: forward, for the gradient of the image, for that of the kernel.
BY_TILES = [
    (square(2, 13, 14, 8, 8, 8), (2, 2, 2)),  # slabs of four groups
    (square(1, 30, 33, 4, 8, 8, first=True), (2, 2, 2)),  # blocks of an image
    (square(3, 10, 12, 40, 33, 2), (2, 2, 2)),  # slabs of one group
    (square(9, 7, 5, 4, 4, 16, padding=2), (2, 2, 2)),
    (square(130, 7, 4, 16, 16, 2), (2, 2, 2)),  # tiles of 4x4 would be as large as the map
    (square(3, 27, 30, 16, 20, 2), (4, 4, 2)),  # one slab
    (square(2, 31, 34, 16, 8, 6, first=True), (4, 2, 2)),  # three slabs
]


@pytest.mark.parametrize(("case", "tiles"), BY_TILES, ids=str)
def test_3x3_kernels_are_computed_by_tiles(monkeypatch, case, tiles):
    taken, text = compare(monkeypatch, case, 0)
    operations = [grouped.CONVOLUTION] * 2 + [grouped.KERNEL_GRADIENT]
    names = [grouped.TILES[tile] for tile in tiles]
    assert sorted(taken) == sorted(zip(operations, names, strict=True))
    assert SLOW not in text


def test_more_precision_takes_small_tiles():
    case = square(3, 27, 30, 16, 20, 2)
    x, kernel, _ = arrays(case, 0)
    for precision, tile in ((None, 4), ("default", 4), ("high", 2)):
        convolution = partial(jc.conv, **case.options, precision=precision)
        assert chosen(convolution, x, kernel) == [(grouped.CONVOLUTION, grouped.TILES[tile])]


def test_others_are_those_of_numpy(monkeypatch, draw):
    compare(monkeypatch, random_case(draw, "grouped", batch=20), draw)


@pytest.mark.parametrize("program", [second, batches, inside], ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "case", [BY_TILES[0][0], BY_TILES[-1][0], random_case(1, "grouped", batch=2)], ids=str
)
def test_any_program_gives_what_it_gives_by_lax(monkeypatch, program, case):
    compare_with_lax(monkeypatch, program, case, 0)


@pytest.mark.parametrize("total", [2, 3, 6, 32])
@pytest.mark.parametrize("inputs", [1, 4, 40])
@pytest.mark.parametrize("most", [None, 4])
def test_dense_kernels_hold_those_of_groups(total, inputs, most):
    slabs = grouped.Slabs.of(inputs * total, 2 * total, total, most)
    assert slabs.count * slabs.groups == total
    assert most is None or slabs.count <= most
    kernel = np.random.default_rng(0).normal(size=(2, inputs, 2 * total)).astype(np.float32)
    x = np.random.default_rng(1).normal(size=(3, inputs * total)).astype(np.float32)

    @jax.jit
    def forth_and_back(kernel):
        dense = slabs.dense(kernel)
        return dense, slabs.diagonal(dense)

    dense, diagonal = map(np.asarray, forth_and_back(kernel))
    assert np.count_nonzero(dense) == kernel.size
    np.testing.assert_array_equal(diagonal, kernel)
    each = zip(np.split(x, total, 1), np.split(kernel, total, 2), strict=True)
    want = np.concatenate([a @ k[1] for a, k in each], 1)
    parts = zip(np.split(x, slabs.count, 1), dense, strict=True)
    got = np.concatenate([a @ k[1] for a, k in parts], 1)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_few_pixels_are_left_to_lax():
    case = square(1, 9, 9, 8, 8, 8)
    run = partial(derivatives, case)
    assert [name for name, _ in chosen(run, *arrays(case, 0))] == [grouped.KERNEL_GRADIENT]
