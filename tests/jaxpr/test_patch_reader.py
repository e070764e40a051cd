"""What a neuron reads of an array, against loops over its numbers."""

import itertools
from math import prod

import jax
import numpy as np
import pytest

from jaxconv.jaxpr.patch_reader import MapAxes, MapSize, PatchReader, window_values
from jaxconv.jaxpr.window_axis import WindowAxis


def random_axes(rng):
    """Up to two axes of images, pixels and channels each, in any order."""
    counts = rng.integers(0, 3, 3)
    order = rng.permutation(counts.sum()).tolist()
    ends = np.cumsum([0, *counts])
    return MapAxes(*(tuple(order[a:b]) for a, b in itertools.pairwise(ends)))


def test_neurons_are_located_in_any_order_of_axes():
    rng = np.random.default_rng(0)
    for _ in range(60):
        axes = random_axes(rng)
        shape = tuple(rng.integers(1, 4, sum(map(len, axes))).tolist())
        numbers = np.arange(prod(shape)).reshape(shape)
        ordered = np.transpose(numbers, (*axes.images, *axes.pixels, *axes.channels))
        pixels = tuple(shape[axis] for axis in axes.pixels)
        ordered = ordered.reshape(-1, *pixels, prod(shape[axis] for axis in axes.channels))
        assert axes.sizes(shape) == MapSize(ordered.shape[0], pixels, ordered.shape[-1])
        for image, *at, channel in np.ndindex(ordered.shape):
            index = axes.locate(shape, image, at, channel)
            assert numbers[index] == ordered[(image, *at, channel)]
        # All neurons of one map at once, and all channels of one position.
        image, channel = ordered.shape[0] - 1, ordered.shape[-1] - 1
        grid = np.ix_(*map(range, pixels))
        one_map = numbers[axes.locate(shape, image, grid, channel)]
        assert np.array_equal(one_map, ordered[image, ..., channel])
        last = [n - 1 for n in pixels]
        if axes.channels:
            channels = numbers[axes.locate(shape, image, last, np.arange(channel + 1))]
            assert np.array_equal(channels, ordered[(image, *last)])


def under(axis, position):
    """The input under each element of a window; None on padding and in gaps."""
    for element in range(axis.kernel_size):
        place = position * axis.stride + element * axis.dilation - axis.padding[0]
        index, gap = divmod(place, axis.input_dilation)
        yield index if gap == 0 and 0 <= index < axis.input_size else None


@pytest.mark.parametrize("padding_value", [0.0, -np.inf])
@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_numbers_under_a_window(rank, padding_value):
    rng = np.random.default_rng(rank)
    for _ in range(20):
        sizes = rng.integers(1, 6, rank).tolist()
        x = rng.integers(0, 99, (2, *sizes))
        windows = [
            WindowAxis(
                0, 0, size, 9, *map(int, rng.integers(1, 4, 2)), (int(low), 0), *map(int, steps)
            )
            for size, low, steps in zip(
                sizes, rng.integers(-1, 3, rank), rng.integers(1, 3, (rank, 2)), strict=True
            )
        ]
        position = rng.integers(0, 4, rank).tolist()
        values = window_values(x, windows, position, padding_value)
        assert values.dtype == np.float64
        assert values.shape == (2, *(axis.kernel_size for axis in windows))
        inputs = [[*under(axis, p)] for axis, p in zip(windows, position, strict=True)]
        for element in np.ndindex(values.shape[1:]):
            index = [inputs[axis][i] for axis, i in enumerate(element)]
            expected = [padding_value] * 2 if None in index else x[(slice(None), *index)]
            assert np.array_equal(values[(slice(None), *element)], expected)


class NoFilters(PatchReader):
    kind, axes = "max", MapAxes((), (0,), ())

    def read(self, index, *operands):
        raise NotImplementedError

    def slide(self, *operands):
        return None


def test_a_layer_without_filters_says_so():
    (eqn,) = jax.make_jaxpr(lambda x, y: x * y)(np.ones(3), np.ones(3)).eqns
    reader = NoFilters(eqn, (False, True))
    assert reader.operands == eqn.invars
    with pytest.raises(TypeError, match=r"mul of shape \(3,\) has no filters"):
        reader.filters(np.ones(3))
