"""No block takes too much memory, and long sums are split where high precision is requested."""

from dataclasses import replace
from math import ceil

import numpy as np
import pytest

from jaxconv.kernels import tiling
from jaxconv.kernels.tiling import (
    ConvProblem,
    Tiling,
    VolumeTiling,
    channel_splits,
    choose_tiling,
    choose_volume_tiling,
)

SPLITS = [(16, 1), (64, 1), (96, 1), (100, 1), (128, 2), (192, 3), (256, 2), (300, 1), (600, 1)]


@pytest.mark.parametrize(("channels", "splits"), SPLITS)
def test_long_sums_are_split_for_high_precision(channels, splits):
    assert channel_splits(channels) == splits
    assert choose_tiling(ConvProblem(4, 32, 32, channels, 32), 4, splits).channel_splits == splits
    assert choose_tiling(ConvProblem(4, 32, 32, channels, 32), 4).channel_splits == 1


CUTS = [  # of 28x28 maps: a batch that is whole, one of blocks, and maps of stripes
    (3, {"WHOLE_BYTES": 10**9, "BLOCK_BYTES": 10**9}, Tiling(4, 7, 3)),
    (6, {"WHOLE_BYTES": 1, "BLOCK_BYTES": 3 * 225_792, "MIN_TILES": 1}, Tiling(4, 7, 3)),
    (6, {"WHOLE_BYTES": 1, "BLOCK_BYTES": 5 * 225_792, "MIN_TILES": 1}, Tiling(4, 7, 3)),
    (6, {"WHOLE_BYTES": 1, "BLOCK_BYTES": 225_792, "MIN_TILES": 98}, Tiling(4, 7, 2)),
    (6, {"WHOLE_BYTES": 1, "BLOCK_BYTES": 225_792, "MIN_TILES": 999}, Tiling(4, 7, 6)),
    (7, {"WHOLE_BYTES": 1, "BLOCK_BYTES": 3 * 225_792, "MIN_TILES": 1}, Tiling(4, 7, 2)),
    (61, {"WHOLE_BYTES": 1, "BLOCK_BYTES": 225_792, "MIN_TILES": 196}, Tiling(4, 7, 7)),
    (6, {"WHOLE_BYTES": 1, "BLOCK_BYTES": 225_791}, Tiling(4, 4, 1)),
    (6, {"WHOLE_BYTES": 1, "BLOCK_BYTES": 1}, Tiling(4, 1, 1)),
]


@pytest.mark.parametrize(("batch", "limits", "expected"), CUTS)
def test_a_batch_is_cut_into_what_the_cache_holds(monkeypatch, batch, limits, expected):
    for name, limit in limits.items():
        monkeypatch.setattr(tiling, name, limit)
    assert choose_tiling(ConvProblem(batch, 28, 28, 16, 16), 4) == expected


def random_problem(rng):
    images, height, width = rng.integers(1, (130, 300, 300))
    channels, filters = rng.choice([16, 32, 64, 96, 128, 200, 256, 384, 512, 600], 2)
    return ConvProblem(*map(int, (images, height, width, channels, filters)))


def test_no_block_takes_more_than_the_cache_has_but_for_a_single_row():
    rng = np.random.default_rng(11)
    kinds = set()
    for tile in (2, 4) * 1000:
        case = random_problem(rng)
        splits = channel_splits(case.channels) if rng.integers(2) else 1
        cut = choose_tiling(case, tile, splits)
        rows, columns = cut.tiles(case.height), cut.tiles(case.width)
        assert 1 <= cut.tile_rows <= rows, case
        assert -case.images % cut.images <= case.images / 4, case
        assert case.channels % cut.channel_splits == 0, case
        # A pixel of a tile has its channels, and its products once for each split.
        pixels = (cut.tile + 2) ** 2 * columns * cut.tile_rows * cut.images
        size = 4 * pixels * (case.channels + cut.channel_splits * case.filters)
        whole = (cut.tile_rows, cut.images) == (rows, case.images)
        few = (cut.images - 1) * rows * columns < 2 * tiling.MIN_TILES
        row = (cut.tile_rows, cut.images) == (1, 1) or (cut.tile_rows == rows and few)
        assert whole or row or size <= tiling.BLOCK_BYTES, case
        assert not whole or row or size <= tiling.WHOLE_BYTES, case
        kinds.add((whole, cut.images > 1, cut.tile_rows < rows))
    assert len(kinds) == 5  # whole or not, of one image or several, and of rows


def test_a_layer_of_vgg16_is_cut_by_images():
    conv3_2 = ConvProblem(8, 56, 56, 256, 256)
    assert choose_tiling(conv3_2, 4) == Tiling(tile=4, tile_rows=14, images=1, channel_splits=1)
    assert choose_tiling(ConvProblem(1, 56, 56, 256, 256), 4) == Tiling(4, 14, 1)


def test_no_block_of_volumes_takes_more_than_the_cache_has():
    rng = np.random.default_rng(12)
    kinds = set()
    for tile in (2, 3, 4) * 500:
        case = random_problem(rng)
        volumes, slices, depth = (int(n) for n in rng.integers(1, (20, 40, 6)))
        case = replace(case, images=volumes * slices)
        cut = choose_volume_tiling(case, volumes, depth, tile)
        rows, columns = ceil(case.height / tile), ceil(case.width / tile)
        assert 1 <= cut.volumes <= volumes, case
        assert 1 <= cut.slices <= slices, case
        assert 1 <= cut.tile_rows <= rows, case
        assert cut.volumes == 1 or cut.slices == slices, case
        assert cut.slices == slices or cut.tile_rows == rows or cut.slices <= 5
        whole = (cut.volumes, cut.slices, cut.tile_rows) == (volumes, slices, rows)
        images = cut.volumes * cut.slices
        size = 4 * (tile + 2) ** 2 * columns * cut.tile_rows * images
        size *= (1 + depth) * case.channels + case.filters
        few = images > 1 and (images - 1) * rows * columns < tiling.MIN_TILES
        row = cut.tile_rows == 1 and images <= 5
        assert size <= (tiling.WHOLE_BYTES if whole else tiling.BLOCK_BYTES) or few or row, case
        kinds.add((whole, cut.volumes > 1, cut.slices < slices, cut.tile_rows < rows))
    assert len(kinds) >= 6


def test_a_block_has_no_more_volumes_than_the_batch():
    few_tiles = ConvProblem(2 * 4, 8, 8, 2048, 512)
    cut = choose_volume_tiling(few_tiles, volumes=2, depth=3, tile=4)
    assert cut == VolumeTiling(tile=4, volumes=2, slices=4, tile_rows=2)
