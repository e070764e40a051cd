"""Matrix products for kernels of one element, for patches, and for transposed kernels."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest
from jax import lax

import jaxconv as jc
from jaxconv.kernels import padding, products
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


@pytest.fixture(autouse=True)
def all_sizes(monkeypatch):
    """Small operations are computed so too, except where a test says otherwise."""
    monkeypatch.setattr(products, "MIN_PRODUCTS", 0)


def pointwise(draw):
    """A random convolution with a kernel of one element."""
    case = random_case(draw, "plain")
    return replace(case, kernel=(1,) * len(case.sizes))


def test_kernels_of_one_element_are_matrices(monkeypatch, draw):
    found, text = compare(monkeypatch, pointwise(draw), draw)
    assert products.CONVOLUTION in dict(found)
    assert SLOW not in text


def patches(draw):
    """A random convolution whose windows lie side by side."""
    case = random_case(draw, "plain")
    window = tuple(n % 3 + 2 for n in case.kernel)
    sizes = tuple(n + 4 for n in case.sizes)
    return replace(case, kernel=window, stride=window, dilation=(1,) * len(window), sizes=sizes)


def test_windows_side_by_side_are_patches(monkeypatch, draw):
    found, _ = compare(monkeypatch, patches(draw), draw)
    names = {name for name, _ in found}
    assert {products.PATCHES, padding.CONVOLUTION} & names
    assert {products.PATCHES_GRADIENT, padding.CONVOLUTION} & names


def test_patches_without_padding_have_products_only(monkeypatch):
    case = replace(patches(0), batch=3, sizes=(9, 8), kernel=(3, 2), stride=(3, 2), c_in=3,
                   dilation=(1, 1), padding="VALID", first=False)  # fmt: skip
    found, text = compare(monkeypatch, case, 0)
    assert {products.PATCHES, products.PATCHES_GRADIENT} <= {name for name, _ in found}
    assert SLOW not in text


ORDERS = [
    ("NHWC", "OIHW", "NHWC"),
    ("NCHW", "OIHW", "NCHW"),
    ("NHWC", "OHWI", "NCHW"),
    ("NHWC", "HWOI", "NHWC"),
]


@pytest.mark.parametrize("orders", ORDERS, ids=" ".join)
def test_kernels_in_their_own_order_multiply_few_pixels(orders):
    draw = np.random.default_rng(0).normal
    x = draw(size=(2, 16, 2, 3) if orders[0] == "NCHW" else (2, 2, 3, 16)).astype(np.float32)
    sizes = {"O": 24, "I": 16, "H": 1, "W": 1}
    kernel = draw(size=[sizes[axis] for axis in orders[1]]).astype(np.float32)
    ours, theirs = (
        jax.jit(partial(conv, window_strides=(1, 1), padding="VALID", dimension_numbers=orders))
        for conv in (jc.conv_general_dilated, lax.conv_general_dilated)
    )
    text = ours.lower(x, kernel).as_text()
    assert SLOW not in text
    assert "stablehlo.optimization_barrier" in text
    np.testing.assert_allclose(ours(x, kernel), theirs(x, kernel), rtol=1e-5, atol=1e-5)


def test_gradients_of_transposed_kernels_are_those_of_strided_ones(monkeypatch, draw):
    case = random_case(draw, "transposed")
    rank = len(case.sizes)
    case = replace(case, stride=(2, 3, 2)[:rank], dilation=(1,) * rank, sizes=(9, 8, 5)[:rank])
    found, _ = compare(monkeypatch, case, draw)
    names = {products.TRANSPOSED_GRADIENT, padding.CONVOLUTION}
    assert max(case.kernel) == 1 or names & {name for name, _ in found}


@pytest.mark.parametrize("kind", [pointwise, patches], ids=lambda f: f.__name__)
@pytest.mark.parametrize("program", [second, batches, inside], ids=lambda f: f.__name__)
def test_any_program_gives_what_it_gives_by_lax(monkeypatch, program, kind, few_draws):
    case = replace(kind(few_draws), batch=2)
    compare_with_lax(monkeypatch, program, case, few_draws)


def test_small_operations_are_left_to_lax(monkeypatch):
    monkeypatch.undo()
    few = replace(pointwise(0), batch=1, sizes=(7, 7), kernel=(1, 1), first=False,
                  stride=(1, 1), padding="SAME", dilation=(1, 1))  # fmt: skip
    run = partial(derivatives, few)
    assert {name for name, _ in chosen(run, *arrays(few, 0))} == {products.KERNEL_GRADIENT}
