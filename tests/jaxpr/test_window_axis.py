import itertools

import numpy as np
import pytest

from jaxconv.jaxpr.window_axis import WindowAxis

SETTINGS = [
    (size, kernel, stride, padding, dilation, input_dilation)
    for size, kernel, stride, padding, dilation, input_dilation in itertools.product(
        (1, 4, 7), (1, 2, 3), (1, 2, 3), ((0, 0), (1, 2), (-1, 0)), (1, 2), (1, 2, 3)
    )
]


def window(size, kernel, stride, padding, dilation, input_dilation):
    grid = (size - 1) * input_dilation + 1 + sum(padding)
    outputs = max((grid - (kernel - 1) * dilation - 1) // stride + 1, 0)
    return WindowAxis(1, 2, size, outputs, kernel, stride, padding, dilation, input_dilation)


def met(axis, position, element):
    """The input under one element, read off a padded and dilated list; -1: padding, None: a gap."""
    line = {i * axis.input_dilation + axis.padding[0]: i for i in range(axis.input_size)}
    place = position * axis.stride + element * axis.dilation
    return line.get(place, None if (place - axis.padding[0]) % axis.input_dilation else -1)


def test_inputs_under_a_window_and_how_many_there_are():
    for settings in SETTINGS:
        axis = window(*settings)
        pairs = itertools.product(range(axis.output_size), range(axis.kernel_size))
        inputs = [met(axis, *pair) for pair in pairs]
        indices = [axis.input_indices(position) for position in range(axis.output_size)]
        expected = [-1 if index is None else index for index in inputs]
        assert np.array_equal(np.ravel(indices), expected), settings
        assert axis.count_products(True) == sum(i is not None for i in inputs), settings
        assert axis.count_products(False) == sum(i not in (None, -1) for i in inputs), settings


@pytest.mark.parametrize(("kernel", "dilation", "extent"), [(1, 5, 1), (3, 1, 3), (3, 2, 5)])
def test_extent(kernel, dilation, extent):
    assert window(9, kernel, 1, (0, 0), dilation, 1).extent == extent


def test_all_sizes_are_substituted_and_no_axis():
    axis = window(7, 3, 2, (1, 1), 1, 1).substitute(lambda size: size + 10)
    assert axis == WindowAxis(1, 2, 17, 14, 13, 12, (11, 11), 11, 11)
