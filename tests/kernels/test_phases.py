"""Transposed convolutions by phases: values and derivatives are those of sums over windows."""

from functools import partial

import numpy as np
import pytest

import jaxconv as jc
from jaxconv.kernels import phases
from tests.support.convolutions import (
    batches,
    chosen,
    compare,
    compare_with_lax,
    inside,
    random_case,
    second,
)
from tests.support.programs import lowered

DILATED_IMAGE = "lhs_dilate"


@pytest.mark.parametrize("kind", ["transposed", "plain", "grouped"])
@pytest.mark.parametrize("draw", range(8))
def test_values_and_gradients_are_those_of_numpy(monkeypatch, kind, draw):
    compare(monkeypatch, random_case(draw, kind), draw)


@pytest.mark.parametrize("program", [second, batches, inside], ids=lambda f: f.__name__)
@pytest.mark.parametrize("draw", range(3))
def test_any_program_gives_what_it_gives_by_lax(monkeypatch, program, draw):
    compare_with_lax(monkeypatch, program, random_case(draw, "transposed", batch=2), draw)


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_no_zero_of_a_dilated_image_is_multiplied(stride, dilation):
    x, kernel = np.ones((2, 9, 8, 4), np.float32), np.ones((3, 4, 4, 6), np.float32)
    conv = partial(jc.conv_transpose, stride=stride, dilation=dilation)
    taken = {name for name, _ in chosen(conv, x, kernel)}
    assert (phases.CONVOLUTION in taken) == (stride > 1)
    text = lowered(conv, x, kernel)
    assert "lhs_dilate = [1" in text or DILATED_IMAGE not in text


def test_phases_see_each_element_of_the_kernel_once():
    for stride, dilation, low in np.ndindex(5, 4, 9):
        axis = phases.phases_of(7, 6, 5, stride + 1, dilation + 1, low - 4)
        elements = [n for p in axis if p for n in range(p.taps.start, p.taps.stop, p.taps.step)]
        assert len(axis) == stride + 1
        assert set(elements) <= set(range(5))
        assert len(elements) == 5 * np.gcd(stride + 1, dilation + 1) or len(elements) <= 5


def test_other_precisions_and_programs_are_left_to_lax():
    x, kernel = np.ones((2, 5, 5, 4), np.float32), np.ones((2, 2, 4, 4), np.float32)
    highest = partial(jc.conv_transpose, stride=2, precision="highest")
    assert "lhs_dilate = [2, 2]" in lowered(highest, x, kernel)
