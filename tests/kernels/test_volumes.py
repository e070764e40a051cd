"""Convolutions of volumes: values and derivatives are those of sums over windows, without lax."""

from dataclasses import replace
from functools import partial

import pytest

from jaxconv.kernels import volumes
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


def volume(draw):
    """A random convolution of volumes whose window has more than one element."""
    seed = draw
    while True:
        case = random_case(seed, "plain")
        if len(case.sizes) == 3 and max(case.kernel) > 1:
            return case
        seed += 100


CUBE = replace(volume(0), batch=2, sizes=(6, 9, 8), kernel=(3, 3, 3), c_in=4, c_out=5,
               stride=(1, 1, 1), padding="SAME", dilation=(1, 1, 1))  # fmt: skip


@pytest.fixture(autouse=True)
def all_sizes(monkeypatch):
    """Small gradients are computed so too, except where a test says otherwise."""
    monkeypatch.setattr(volumes, "MIN_PIXELS", 0)


def test_values_and_gradients_are_those_of_numpy(monkeypatch, draw):
    compare(monkeypatch, volume(draw), draw)


def test_the_convolution_and_both_gradients_are_taken():
    taken = [name for name, _ in chosen(partial(derivatives, CUBE), *arrays(CUBE, 0))]
    assert sorted(taken) == [volumes.CONVOLUTION] * 2 + [volumes.KERNEL_GRADIENT]


def test_gradients_of_few_pixels_are_left_to_lax(monkeypatch):
    monkeypatch.undo()
    few = replace(CUBE, batch=1, sizes=(3, 7, 7))
    taken = [name for name, _ in chosen(partial(derivatives, few), *arrays(few, 0))]
    assert taken == [volumes.CONVOLUTION] * 2


@pytest.mark.parametrize("program", [second, batches, inside], ids=lambda f: f.__name__)
def test_any_program_gives_what_it_gives_by_lax(monkeypatch, program, few_draws):
    case = replace(volume(few_draws), batch=2)
    compare_with_lax(monkeypatch, program, case, few_draws)
