"""Depthwise convolutions: values and derivatives are those of sums over windows, without lax."""

from functools import partial

import jax
import numpy as np
import pytest

import jaxconv as jc
from jaxconv.kernels import depthwise, padding, phases
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
from tests.support.programs import lowered

WIDE = ConvCase(2, (9, 8), 6, 6, (7, 6), (1, 1), "SAME", (1, 1), 6, False)  # more than 32 elements


def test_values_and_gradients_are_those_of_numpy_and_nothing_is_left_to_lax(monkeypatch, draw):
    case = random_case(draw, "depthwise")
    found, text = compare(monkeypatch, case, draw)
    assert SLOW not in text
    image_gradient = phases if max(case.stride) > 1 else depthwise
    operations = [depthwise.CONVOLUTION, depthwise.KERNEL_GRADIENT, image_gradient.CONVOLUTION]
    for (name, _), operation in zip(found, operations, strict=True):
        assert name in (operation, padding.CONVOLUTION)
    for platform in ("cuda", "tpu"):
        run = partial(derivatives, case)
        assert SLOW in lowered(run, *arrays(case, draw), platform=platform)


def test_a_wide_window_is_summed_in_parts(monkeypatch):
    compare(monkeypatch, WIDE, 0)


@pytest.mark.parametrize("program", [second, batches, inside], ids=lambda f: f.__name__)
def test_any_program_gives_what_it_gives_by_lax(monkeypatch, program, few_draws):
    case = random_case(few_draws, "depthwise", batch=2)
    compare_with_lax(monkeypatch, program, case, few_draws)


def few(draw):
    """A random convolution of groups with two to four channels."""
    rng = np.random.default_rng([draw, 5])
    groups, inputs, outputs = (int(n) for n in rng.integers(2, 5, 3))
    return random_case(draw, "grouped", c_in=groups * inputs, c_out=groups * outputs, groups=groups)


def test_groups_of_few_channels_are_sums_of_shifted_images(monkeypatch, draw):
    case = few(draw)
    (first, *_), _ = compare(monkeypatch, case, draw)
    if np.prod(case.kernel_shape[:-1]) <= depthwise.MAX_ELEMENTS:
        assert first[0] in (depthwise.CONVOLUTION, padding.CONVOLUTION)


@pytest.mark.parametrize("program", [second, batches, inside], ids=lambda f: f.__name__)
def test_programs_of_few_channels_give_what_they_give_by_lax(monkeypatch, program):
    compare_with_lax(monkeypatch, program, few(1), 0)


def test_others_are_left_to_lax():
    x, kernel = np.ones((2, 9, 9, 18), np.float32), np.ones((3, 3, 9, 2), np.float32)
    many_inputs = partial(jc.conv, groups=2)
    assert depthwise.CONVOLUTION not in {name for name, _ in chosen(many_inputs, x, kernel)}
    highest = partial(jc.conv, groups=18, precision="highest")
    assert SLOW in lowered(highest, x, kernel[:, :, :1].repeat(9, 3))


@pytest.mark.parametrize("images", [1, 3, 8, 9, 17])
@pytest.mark.parametrize(("height", "stride"), [(1, 1), (2, 1), (7, 2), (20, 1), (40, 3)])
def test_the_gradient_of_a_kernel_sums_over_all_strips(monkeypatch, images, height, stride):
    monkeypatch.setattr(depthwise, "MOST_SUMS", 500)  # few rows in each strip
    random = np.random.default_rng([images, height])
    x = random.standard_normal((images, height, 5, 4), np.float32)
    kernel = random.standard_normal((3, 3, 1, 4), np.float32)
    g = random.standard_normal((images, -(-height // stride), -(-5 // stride), 4), np.float32)

    def gradient(**options):
        conv = partial(jc.conv, stride=stride, groups=4, **options)
        return jax.vjp(lambda kernel: conv(x, kernel), kernel)[1](g)[0]

    np.testing.assert_allclose(gradient(), gradient(precision="highest"), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("images", [1, 4, 8])
def test_the_gradient_of_a_kernel_computes_what_it_reads_once(images):
    x, kernel = np.ones((images, 16, 16, 8), np.float32), np.ones((5, 5, 1, 8), np.float32)
    step = jc.jit(jax.grad(lambda kernel: (jc.conv(x, kernel, groups=8) ** 2).sum()))
    operations = step.lower(kernel).compile().cost_analysis()["flops"]
    assert operations < 3 * 2 * kernel[..., 0, 0].size * x.size  # 6 times, once for each element
