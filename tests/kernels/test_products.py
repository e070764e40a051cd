"""Matrix products for kernels of one element, and for gradients of strided kernels."""

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
    monkeypatch.setattr(products, "MIN_PIXELS", 0)
    monkeypatch.setattr(products, "MIN_CHANNELS", 0)


def pointwise(draw):
    """A random convolution with a kernel of one element."""
    case = random_case(draw, "plain")
    return replace(case, kernel=(1,) * len(case.sizes))


def test_kernels_of_one_element_are_matrices(monkeypatch, draw):
    found, text = compare(monkeypatch, pointwise(draw), draw)
    assert products.CONVOLUTION in dict(found)
    assert SLOW not in text


@pytest.mark.parametrize("kind", ["plain", "transposed"])
def test_gradients_of_strided_kernels_are_products(monkeypatch, kind, draw):
    case = random_case(draw, kind)
    rank = len(case.sizes)
    case = replace(case, stride=(2, 3, 2)[:rank], dilation=(1,) * rank, sizes=(9, 8, 5)[:rank])
    name = {
        "plain": products.STRIDED_GRADIENT,
        "transposed": products.TRANSPOSED_GRADIENT,
    }[kind]
    found, _ = compare(monkeypatch, case, draw)
    assert max(case.kernel) == 1 or {*dict(found)} & {name, padding.CONVOLUTION}


@pytest.mark.parametrize("program", [second, batches, inside], ids=lambda f: f.__name__)
def test_any_program_gives_what_it_gives_by_lax(monkeypatch, program, few_draws):
    case = replace(pointwise(few_draws), batch=2)
    compare_with_lax(monkeypatch, program, case, few_draws)


def test_small_operations_are_left_to_lax(monkeypatch):
    monkeypatch.undo()
    few = replace(pointwise(0), batch=1, sizes=(7, 7), kernel=(1, 1), first=False,
                  stride=(1, 1), padding="SAME", dilation=(1, 1))  # fmt: skip
    run = partial(derivatives, few)
    assert {name for name, _ in chosen(run, *arrays(few, 0))} == {products.KERNEL_GRADIENT}
    colours = replace(few, sizes=(20, 20), c_in=3, c_out=16, kernel=(3, 3), stride=(2, 2))
    taken = {name for name, _ in chosen(partial(derivatives, colours), *arrays(colours, 0))}
    assert products.STRIDED_GRADIENT not in taken
