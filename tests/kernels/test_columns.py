"""Gradients of kernels by products of columns, compared with NumPy and `lax`."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxconv as jc
from jaxconv.kernels import columns, padding, products, volumes, winograd_formulations
from tests.support.convolutions import (
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


@pytest.fixture(autouse=True)
def all_sizes(monkeypatch):
    """Small operations are computed so too, except where a test says otherwise."""
    monkeypatch.setattr(columns, "MIN_FILTERS", 0)
    monkeypatch.setattr(columns, "MIN_PRODUCTS", 0)


COMMON = {"batch": 2, "sizes": (96, 96), "stride": (1, 1), "dilation": (1, 1), "padding": "SAME",
          "first": False}  # fmt: skip


def wide(draw, **changes):
    """A random convolution of images or volumes with several elements."""
    case = random_case(draw, "plain")
    if len(case.sizes) == 1:
        case = replace(
            case,
            **{name: getattr(case, name) * 2 for name in ("sizes", "kernel", "stride", "dilation")},
            padding=tuple(case.padding) * 2,
        )
    return replace(case, **changes)


def test_values_and_gradients_are_those_of_numpy(monkeypatch, draw):
    case = wide(draw)
    found, _ = compare(monkeypatch, case, draw)
    special = {
        products.PATCHES_GRADIENT,
        volumes.KERNEL_GRADIENT,
        winograd_formulations.KERNEL_GRADIENT,
    }
    names = {columns.KERNEL_GRADIENT, padding.CONVOLUTION, *special}
    *_, g = arrays(case, draw)
    is_large = 2 * np.prod(case.kernel) <= g.size / case.batch / case.c_out
    assert max(case.kernel) == 1 or not is_large or names & {name for name, _ in found}


@pytest.mark.parametrize("channels", [3, 16])
@pytest.mark.parametrize(
    "changes",
    [
        {"stride": (2, 3)},
        {"dilation": (3, 2)},
        {"kernel": (1, 7)},
        {"stride": (2, 1), "padding": ((3, 3), (0, 2)), "first": True},
        {"batch": 1, "kernel": (5, 4)},
        {"batch": 6, "stride": (2, 2)},
    ],
    ids=["strides", "dilation", "long", "channels first", "one image", "six images"],
)
def test_gradients_of_each_kind_are_products_of_columns(monkeypatch, changes, channels):
    case = replace(wide(0, **COMMON), sizes=(13, 16), kernel=(3, 3), c_in=channels, c_out=5)
    found, _ = compare(monkeypatch, replace(case, **changes), 0)
    assert columns.KERNEL_GRADIENT in dict(found)


def test_a_large_window_is_that_of_an_ordinary_convolution():
    """The first dense layer of VGG16 as a convolution, with an image of 256x256."""
    x, kernel = (jax.ShapeDtypeStruct(s, np.float32) for s in ((1, 8, 8, 512), (7, 7, 512, 4096)))
    assert not chosen(partial(jc.conv, padding="VALID"), x, kernel)


@pytest.mark.parametrize("at_once", [1, 2, 7, 18, 27, 54])
@pytest.mark.parametrize("channels", [3, 16])
def test_images_and_elements_are_divided_where_columns_are_large(monkeypatch, channels, at_once):
    case = wide(0, batch=6, sizes=(9, 8), kernel=(3, 3), stride=(1, 1), dilation=(2, 1),
                padding=((1, 2), (0, 1)), c_in=channels, c_out=5, first=False)  # fmt: skip
    monkeypatch.setattr(columns, "COLUMN_BYTES", at_once * 4 * channels * 8 * 7)
    gradient = jax.jit(lambda x, k, g: jax.vjp(partial(jc.conv, **case.options), x, k)[1](g)[1])
    x, k, g = jnp.ones((6, 9, 8, channels)), jnp.ones((3, 3, channels, 5)), jnp.ones((6, 8, 7, 5))
    text = gradient.lower(x, k, g).as_text()
    assert text.count("stablehlo.dot_general") == -(-9 // min(at_once, 9))
    assert ("stablehlo.while" in text) == (at_once < 6 * 9)
    compare(monkeypatch, case, 0)


@pytest.mark.parametrize("program", [second, batches, inside], ids=lambda f: f.__name__)
def test_any_program_gives_what_it_gives_by_lax(monkeypatch, program, few_draws):
    case = wide(few_draws, batch=2, padding="SAME")
    compare_with_lax(monkeypatch, program, case, few_draws)


@pytest.mark.parametrize(
    "changes",
    [
        {"stride": (2, 2)},
        {"dilation": (2, 2)},
        {"kernel": (1, 7)},
        {"kernel": (5, 5)},
        {"kernel": (7, 7), "c_in": 3, "stride": (2, 2)},
        {"c_in": 3},
    ],
    ids=["strides", "dilation", "long", "wide", "colours, strides", "colours"],
)
def test_kernels_that_lax_computes_itself_have_gradients_of_ours(monkeypatch, changes):
    """The layer is `lax`'s own convolution, and its kernel's gradient is not."""
    monkeypatch.undo()
    case = replace(wide(0, **COMMON), **{"c_in": 32, "c_out": 64, "kernel": (3, 3)} | changes)
    found = chosen(partial(derivatives, case), *arrays(case, 0))
    assert columns.KERNEL_GRADIENT in dict(found)


@pytest.mark.parametrize(
    "changes",
    [
        {"sizes": (9000,), "kernel": (9,), "stride": (1,), "dilation": (2,)},
        {"c_out": 16},
        {"sizes": (24, 24)},
        {"kernel": (7, 7), "sizes": (8, 8), "stride": (1, 1), "c_in": 128, "c_out": 128},
    ],
    ids=["a sequence", "few filters", "few multiplications", "few positions"],
)
def test_others_are_left_to_lax(monkeypatch, changes):
    monkeypatch.undo()
    case = replace(wide(0, **COMMON), stride=(2, 2), kernel=(3, 3), c_in=32, c_out=64)
    case = replace(case, **changes)
    x, kernel, g = arrays(case, 0)
    found = chosen(partial(derivatives, case), x, kernel, g)
    assert columns.KERNEL_GRADIENT not in dict(found)


def test_highest_precision_is_that_of_lax():
    x, kernel = jnp.zeros((2, 24, 24, 32)), jnp.zeros((3, 3, 32, 64))
    conv = partial(jc.conv, stride=2, precision=lax.Precision.HIGHEST)
    assert not chosen(jax.grad(lambda k: (conv(x, k) ** 2).sum()), kernel)
