"""Convolutions of volumes by tiles of slices, compared with NumPy and `lax`."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

import jaxconv as jc
from jaxconv.kernels import tiling, volume_tiles
from jaxconv.kernels.tiling import ConvProblem, VolumeTiling, choose_volume_tiling
from tests.support.configurations import ConvCase
from tests.support.convolutions import (
    arrays,
    batches,
    chosen,
    compare,
    compare_with_lax,
    derivatives,
    error,
    exact,
    inside,
    layer,
    second,
)

TILES = {
    *((volume_tiles.CONVOLUTION, name) for name in ("F(2x2, 3x3)", "F(3x3, 3x3)")),
    *((volume_tiles.KERNEL_GRADIENT, name) for name in ("F(2x2, 3x3)", "F(4x4, 3x3)")),
}
CUBE = ConvCase(
    batch=2,
    sizes=(6, 20, 24),
    c_in=16,
    c_out=16,
    kernel=(3, 3, 3),
    stride=(1, 1, 1),
    padding="SAME",
    dilation=(1, 1, 1),
    groups=1,
    first=False,
)
BLOCKS = {  # the limits that cut a batch in each way
    "whole": {},
    "volumes": {"WHOLE_BYTES": 1, "BLOCK_BYTES": 3 * 2**20, "MIN_TILES": 1},
    "slices": {"WHOLE_BYTES": 1, "BLOCK_BYTES": 2**20, "MIN_TILES": 1, "MIN_SLICES": 1},
    "rows": {"WHOLE_BYTES": 1, "BLOCK_BYTES": 2**19, "MIN_TILES": 1, "MIN_SLICES": 4},
}


def cube(draw):
    """A random convolution of volumes with 3x3 windows along the last axes."""
    rng = np.random.default_rng([draw, 3])
    depth = int(rng.integers(1, 5))
    pads = [(int(a), int(b)) for a, b in rng.integers(0, 4, (3, 2))]
    sizes = tuple(int(n) for n in rng.integers((depth + 2, 5, 5), (9, 22, 22)))
    c_in, c_out = (int(n) for n in rng.choice([16, 20, 33], 2))
    return replace(
        CUBE,
        batch=int(rng.integers(1, 6)),
        sizes=sizes,
        c_in=c_in,
        c_out=c_out,
        kernel=(depth, 3, 3),
        padding=tuple(pads),
        first=bool(rng.integers(3) == 0),
    )


@pytest.fixture(params=BLOCKS)
def blocks(request, monkeypatch):
    """The batch is cut in each way."""
    for name, limit in BLOCKS[request.param].items():
        monkeypatch.setattr(tiling, name, limit)
    return request.param


def test_values_and_gradients_are_those_of_numpy(monkeypatch, draw, blocks):
    taken, _ = compare(monkeypatch, cube(draw), draw)
    assert TILES.issuperset(taken)
    assert len(taken) == 3, blocks


@pytest.mark.parametrize("program", [second, batches, inside], ids=lambda f: f.__name__)
def test_any_program_gives_what_it_gives_by_lax(monkeypatch, program, few_draws):
    compare_with_lax(monkeypatch, program, cube(few_draws), few_draws)


SIZES = [  # of volumes, channels and filters, and the tiles of the result and of the gradient
    ((6, 20, 24), 16, 64, "F(3x3, 3x3)", "F(4x4, 3x3)"),
    ((6, 20, 24), 160, 65, "F(3x3, 3x3)", "F(2x2, 3x3)"),
    ((2, 10, 12), 16, 16, "F(2x2, 3x3)", "F(4x4, 3x3)"),
    ((4, 4, 4), 64, 32, "F(2x2, 3x3)", "F(2x2, 3x3)"),
]


@pytest.mark.parametrize(("sizes", "channels", "filters", "of_result", "of_kernel"), SIZES)
def test_tiles_are_small_where_large_ones_are_slow_or_inexact(
    monkeypatch, sizes, channels, filters, of_result, of_kernel
):
    case = replace(CUBE, batch=4, sizes=sizes, c_in=channels, c_out=filters)
    taken, _ = compare(monkeypatch, case, channels)
    assert taken[0] == (volume_tiles.CONVOLUTION, of_result)
    assert (volume_tiles.KERNEL_GRADIENT, of_kernel) in taken


def test_more_precision_takes_small_tiles(monkeypatch):
    monkeypatch.setattr("tests.support.convolutions.MOST", 2)
    with jax.default_matmul_precision("high"):
        taken, _ = compare(monkeypatch, replace(CUBE, c_in=64, c_out=64), 5)
    assert {name for _, name in taken} == {"F(2x2, 3x3)"}


OTHERS = [
    {"stride": (1, 1, 2)},
    {"stride": (2, 1, 1)},
    {"dilation": (2, 1, 1)},
    {"dilation": (1, 1, 2)},
    {"kernel": (3, 1, 3)},
    {"kernel": (9, 3, 3)},
    {"c_in": 2, "kernel": (2, 3, 3)},
    {"batch": 1, "sizes": (2, 8, 9)},
    {"batch": 8, "sizes": (4, 4, 4), "kernel": (2, 2, 2), "padding": "VALID"},  # 3x3x3 results
]


@pytest.mark.parametrize("changes", OTHERS, ids=str)
def test_other_forward_passes_are_not_by_tiles_of_slices(changes):
    case = replace(CUBE, **changes)
    assert not TILES.intersection(chosen(layer(case), *arrays(case, 0)[:2]))


def test_gradients_of_deep_windows_are_not_by_tiles_of_slices():
    case = replace(CUBE, sizes=(12, 16, 16), kernel=(9, 3, 3))
    taken = chosen(partial(derivatives, case), *arrays(case, 0))
    assert volume_tiles.KERNEL_GRADIENT not in dict(taken)


@pytest.mark.parametrize("slices", [13, 16, 17])
def test_sums_of_gradients_are_short_for_any_number_of_slices(slices):
    cut = volume_tiles._Cut(4, (1, slices, 16, 16, 32), 32, 3)
    assert slices * 16 / cut.short_sums < 2 * volume_tiles.SUM_TILES


def test_compiled_networks_prepare_the_kernels_of_volumes():
    case = replace(CUBE, batch=1, sizes=(1, 14, 16))  # too few pixels for kernels not prepared
    x, kernel, _ = arrays(case, 0)
    bias = np.random.default_rng(3).normal(size=case.c_out).astype(np.float32)

    def network(x):
        return jax.nn.relu(layer(case)(x, kernel) + bias)

    assert not TILES.intersection(chosen(network, x))
    compiled = jc.compile(network, x)
    assert [schedule.formulation for schedule in compiled.schedules] == ["F(2x2, 3x3)"]
    want = np.maximum(exact(case, x, kernel, np.zeros((1, 1, 14, 16, case.c_out)))[0] + bias, 0)
    assert error(compiled(x), want) < 5e-7


CUTS = [  # of 6 slices of 20x24 in 3 volumes: all, whole volumes, slices, and rows of slices
    ("whole", VolumeTiling(tile=4, volumes=3, slices=6, tile_rows=5)),
    ("volumes", VolumeTiling(tile=4, volumes=1, slices=6, tile_rows=5)),
    ("slices", VolumeTiling(tile=4, volumes=1, slices=3, tile_rows=5)),
    ("rows", VolumeTiling(tile=4, volumes=1, slices=3, tile_rows=2)),
]


@pytest.mark.parametrize(("limits", "expected"), CUTS)
def test_a_batch_is_cut_into_what_the_cache_holds(monkeypatch, limits, expected):
    for name, limit in BLOCKS[limits].items():
        monkeypatch.setattr(tiling, name, limit)
    cut = choose_volume_tiling(ConvProblem(3 * 6, 20, 24, 16, 16), 3, 3, 4)
    # Each tile has the numbers of a slice, of a window, and of its products.
    size = 4 * 36 * cut.volumes * cut.slices * cut.tile_rows * 6 * (4 * 16 + 16)
    assert size <= max(tiling.BLOCK_BYTES, tiling.WHOLE_BYTES)
    assert cut == expected


def test_one_large_slice_is_cut_into_rows():
    cut = choose_volume_tiling(ConvProblem(1, 222, 222, 64, 64), 1, 3, 3)
    assert cut == VolumeTiling(tile=3, volumes=1, slices=1, tile_rows=6)


@pytest.mark.parametrize(("slices", "expected"), [(5, 5), (6, 3), (9, 5), (10, 5), (16, 4)])
def test_large_slices_are_cut_into_even_parts(slices, expected):
    cut = choose_volume_tiling(ConvProblem(slices, 120, 120, 64, 64), 1, 3, 4)
    assert cut.slices == expected
