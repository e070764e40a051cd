"""Matrix products for kernels of one element, for patches, and for transposed kernels."""

from dataclasses import replace
from functools import partial

import pytest

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
