"""Convolutions of few channels: values and derivatives are those of sums over windows."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import jaxconv as jc
from jaxconv.kernels import few_channels, padding
from tests.support.convolutions import (
    SLOW,
    arrays,
    batches,
    chosen,
    compare,
    compare_with_lax,
    inside,
    random_case,
    second,
)
from tests.support.programs import lowered

NAMES = (few_channels.CONVOLUTION, padding.CONVOLUTION)


@pytest.fixture(autouse=True)
def all_sizes(monkeypatch):
    """Small operations are computed so too, except where a test says otherwise."""
    monkeypatch.setattr(few_channels, "MIN_PRODUCTS", 0)


def colours(draw, **changes):
    """A random convolution of at most four channels with small windows."""
    case = random_case(draw, "plain")
    rank = min(len(case.sizes), 2)
    rng = np.random.default_rng([draw, 7])
    window = tuple(int(n) for n in rng.integers(1, 4, rank))
    case = replace(
        case,
        sizes=tuple(n + 8 for n in case.sizes[:rank]),
        c_in=int(rng.integers(1, 5)),
        c_out=int(rng.choice([16, 19, 32])),
        kernel=(2, *window[1:]) if max(window) == 1 else window,
        stride=case.stride[:rank],
        padding=tuple(case.padding[:rank]),
        dilation=case.dilation[:rank],
    )
    return replace(case, **changes)


def test_values_and_gradients_are_those_of_numpy(monkeypatch, draw):
    case = colours(draw)
    if np.prod(case.kernel) * case.c_in <= few_channels.MAX_PRODUCTS:
        x, kernel, _ = arrays(case, draw)
        call = partial(jc.conv, **case.options)
        assert next(name for name, _ in chosen(call, x, kernel)) in NAMES
        assert SLOW not in lowered(call, x, kernel)
        for platform in ("cuda", "tpu"):
            assert SLOW in lowered(call, x, kernel, platform=platform)
    compare(monkeypatch, case, draw)


@pytest.mark.parametrize("program", [second, batches, inside], ids=lambda f: f.__name__)
def test_any_program_gives_what_it_gives_by_lax(monkeypatch, program):
    # Symmetric padding: where a gradient is padded and cropped, lax itself is wrong (padding.py).
    compare_with_lax(monkeypatch, program, colours(3, batch=2, padding=((1, 1),)), 3)


@pytest.mark.parametrize(
    ("x", "kernel", "options"),
    [
        ((2, 16, 16, 5), (3, 3, 5, 32), {}),
        ((2, 16, 16, 3), (3, 3, 3, 8), {}),
        ((2, 16, 16, 3), (7, 7, 3, 32), {}),
        ((2, 16, 16, 3), (3, 3, 3, 32), {"precision": "highest"}),
    ],
    ids=["channels", "filters", "window", "highest"],
)
def test_others_are_left_to_lax(x, kernel, options):
    call = partial(jc.conv, **options)
    given = np.ones(x, np.float32), np.ones(kernel, np.float32)
    assert few_channels.CONVOLUTION not in {
        name for name, formulation in chosen(call, *given) if formulation != "direct"
    }
    assert SLOW in lowered(call, *given)


def test_few_multiplications_are_left_to_lax(monkeypatch):
    monkeypatch.undo()
    kernel = np.ones((3, 3, 3, 16), np.float32)
    for size, is_ours in ((394, False), (396, True)):
        found = chosen(jc.conv, np.ones((1, size, size, 3), np.float32), kernel)
        assert (few_channels.CONVOLUTION in dict(found)) == is_ours
