"""Transposed convolutions by phases: values and derivatives are those of sums over windows."""

import re
from functools import partial
from math import prod

import jax
import numpy as np
import pytest
from jax import lax

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
DILATED = re.compile(r"lhs_dilate = \[[^\]]*([2-9]|1\d)")


@pytest.mark.parametrize("kind", ["transposed", "plain", "grouped"])
def test_values_and_gradients_are_those_of_numpy(monkeypatch, kind, draw):
    compare(monkeypatch, random_case(draw, kind), draw)


@pytest.mark.parametrize("program", [second, batches, inside], ids=lambda f: f.__name__)
def test_any_program_gives_what_it_gives_by_lax(monkeypatch, program, few_draws):
    case = random_case(few_draws, "transposed", batch=2)
    compare_with_lax(monkeypatch, program, case, few_draws)


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


def multiplications(text):
    """Those of all convolutions of a program, zeros included."""
    total = 0
    for line in text.splitlines():
        if "stablehlo.convolution" in line:
            shapes = [[int(n) for n in found.split("x")[:-1]] for found in TENSORS.findall(line)]
            _, kernel, result = shapes
            filters = KERNEL_SPEC.search(line)[1].replace(" ", "").split(",").index("o")
            total += prod(result) * prod(kernel) // kernel[filters]
    return total


TENSORS, KERNEL_SPEC = re.compile(r"tensor<([0-9a-z]+)>"), re.compile(r"x\[([^\]]*)\]->")
TRANSPOSED = {
    "4x4, stride 2": ((2, 14, 12, 8), (4, 4, 8, 6), {"stride": 2}),
    "2x2, stride 2": ((2, 14, 12, 8), (2, 2, 8, 6), {"stride": 2, "padding": "VALID"}),
    "3x5, strides 3 and 2": ((2, 9, 8, 4), (3, 5, 4, 6), {"stride": (3, 2)}),
    "dilated": ((2, 9, 8, 4), (3, 3, 4, 6), {"stride": 2, "dilation": 3}),
    "groups": ((2, 9, 8, 4), (4, 4, 2, 6), {"stride": 2, "groups": 2}),
}


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
@pytest.mark.parametrize("name", TRANSPOSED)
def test_fewer_operations_are_lowered_on_every_platform(monkeypatch, name, platform):
    """At stride s, about s * s times fewer, forward and for both gradients."""
    x_shape, kernel_shape, options = TRANSPOSED[name]
    x, kernel = np.ones(x_shape, np.float32), np.ones(kernel_shape, np.float32)

    def forward(x, kernel):
        return jc.conv_transpose(x, kernel, **options)

    def gradients(x, kernel):
        y, pull = jax.vjp(forward, x, kernel)
        return pull(y)

    for program in (forward, gradients):
        lower = partial(lowered, platform=platform)
        ours = lower(partial(program), x, kernel)
        with monkeypatch.context() as patch:
            patch.setattr("jaxconv.layers.conv.conv_general_dilated", lax.conv_general_dilated)
            plain = lower(partial(program), x, kernel)
        assert "lhs_dilate" in plain
        assert DILATED.search(ours) is None
        if "convolution" in ours:
            assert 2 * multiplications(ours) <= multiplications(plain)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_cost_analysis_of_xla_finds_no_more_operations(platform):
    """It does not count products with the zeros of a dilated image, so both are about the same."""
    x, kernel = np.ones((2, 28, 28, 32), np.float32), np.ones((4, 4, 32, 16), np.float32)

    def plain(x, kernel):
        return lax.conv_transpose(x, kernel, (2, 2), "SAME")

    def flops(function):
        program = jax.jit(function).trace(x, kernel).lower(lowering_platforms=(platform,))
        return program.cost_analysis()["flops"]

    assert flops(partial(jc.conv_transpose, stride=2)) <= 1.1 * flops(plain)
