"""What is decided for layers that everyone knows, and that a block never takes too much memory."""

import dataclasses

import numpy as np
import pytest

from jaxconv.kernels import schedule
from jaxconv.kernels.schedule import Blocks, Work, forward, kernel_gradient

FEW = "fewer than 16 channels or filters"
TINY = "as large as the map"
KERNEL = "do not pay for transforming the kernel"
TILES = "few tiles"
FEWEST = "the fewest products"
SUMS = "the transforms of long sums"

VGG16 = {  # side of the maps, channels, filters
    "conv1_1": (224, 3, 64),
    "conv1_2": (224, 64, 64),
    "conv2_1": (112, 64, 128),
    "conv2_2": (112, 128, 128),
    "conv3_1": (56, 128, 256),
    "conv3_2": (56, 256, 256),
    "conv4_1": (28, 256, 512),
    "conv4_2": (28, 512, 512),
    "conv5_1": (14, 512, 512),
}
OF_VGG16 = [  # layer, batch, prepared, tile, reason
    *(("conv1_1", batch, True, 0, FEW) for batch in (1, 8, 32)),
    *(("conv1_2", batch, False, 4, FEWEST) for batch in (1, 8, 32)),
    *(("conv2_2", batch, True, 4, FEWEST) for batch in (1, 8, 32)),
    *(("conv3_1", batch, False, 4, FEWEST) for batch in (1, 8, 32)),
    *(("conv3_2", batch, True, 4, FEWEST) for batch in (1, 8, 32)),
    ("conv4_1", 1, False, 2, TILES),
    ("conv4_2", 1, True, 2, TILES),
    ("conv4_1", 8, True, 4, FEWEST),
    ("conv4_2", 32, False, 4, FEWEST),
    ("conv5_1", 1, False, 0, KERNEL),
    ("conv5_1", 1, True, 2, TILES),
    ("conv5_1", 8, False, 4, FEWEST),
    ("conv5_1", 32, True, 4, FEWEST),
]
OTHERS = [
    (Work(8, 4, 4, 64, 64), 2, TINY),
    (Work(8, 5, 5, 64, 64), 0, KERNEL),
    (Work(11, 5, 5, 64, 64), 2, TILES),
    (Work(8, 4, 17, 64, 64), 2, TILES),
    (Work(1, 17, 17, 64, 64), 2, TILES),
    (Work(1, 17, 17, 64, 64, prepared=True), 2, TILES),
    (Work(1, 44, 44, 64, 64, prepared=True), 2, TILES),
    (Work(1, 45, 45, 64, 64, prepared=True), 4, FEWEST),
    (Work(8, 32, 32, 15, 64), 0, FEW),
    (Work(8, 32, 32, 64, 15), 0, FEW),
    (Work(8, 32, 32, 16, 16), 4, FEWEST),
    (Work(1, 1, 1, 512, 512), 2, TINY),
]


def decided(found, tile, reason):
    """That a schedule uses this tile, for this reason."""
    assert reason in found.reason
    assert found.formulation == (f"F({tile}x{tile}, 3x3)" if tile else "direct")
    assert (found.blocks.tile if found.blocks else 0) == tile


def work(name, batch, **options):
    side, channels, filters = VGG16[name]
    return Work(batch, side, side, channels, filters, **options)


@pytest.mark.parametrize(("name", "batch", "prepared", "tile", "reason"), OF_VGG16)
def test_a_layer_of_vgg16_is_computed_by_this_tile(name, batch, prepared, tile, reason):
    found = forward(work(name, batch, prepared=prepared))
    decided(found, tile, reason)
    assert not found.gradient
    assert found.blocks is None or found.blocks.pieces == 1


@pytest.mark.parametrize("batch", [1, 8, 32])
@pytest.mark.parametrize("name", VGG16)
def test_the_gradient_of_a_kernel_of_vgg16_is_computed_by_this_tile(name, batch):
    found = kernel_gradient(work(name, batch))
    decided(found, *((0, FEW) if name == "conv1_1" else (4, SUMS)))
    assert found.gradient
    assert found.blocks is None or found.blocks.pieces == 1


@pytest.mark.parametrize(("case", "tile", "reason"), OTHERS, ids=str)
def test_other_layers_are_computed_by_this_tile(case, tile, reason):
    decided(forward(case), tile, reason)


@pytest.mark.parametrize("tables", ["FORWARD", "KERNEL_GRADIENT"])
def test_some_rule_always_holds_and_tells_why(tables):
    rules = getattr(schedule, tables)
    assert rules[-1].holds(Work(1, 1, 1, 1, 1))
    assert all(rule.tile in (0, 2, 4) and rule.reason for rule in rules)
    assert len({rule.reason for rule in rules}) == len(rules)


PIECES = [(16, 1), (64, 1), (96, 1), (100, 1), (128, 2), (192, 3), (256, 2), (300, 1), (600, 1)]


@pytest.mark.parametrize(("channels", "pieces"), PIECES)
def test_long_sums_fall_into_pieces_where_care_is_asked_for(channels, pieces):
    for careful, expected in ((True, pieces), (False, 1)):
        found = forward(Work(4, 32, 32, channels, 32, careful=careful)).blocks
        assert found is not None
        assert found.pieces == expected


CUTS = [  # of 28x28 maps: a batch that is whole, one of blocks, and maps of stripes
    (3, {"WHOLE_BYTES": 10**9, "BLOCK_BYTES": 10**9}, Blocks(4, 7, 3)),
    (6, {"WHOLE_BYTES": 1, "BLOCK_BYTES": 3 * 225_792, "LEAST_TILES": 1}, Blocks(4, 7, 3)),
    (6, {"WHOLE_BYTES": 1, "BLOCK_BYTES": 5 * 225_792, "LEAST_TILES": 1}, Blocks(4, 7, 3)),
    (6, {"WHOLE_BYTES": 1, "BLOCK_BYTES": 225_792, "LEAST_TILES": 98}, Blocks(4, 7, 2)),
    (6, {"WHOLE_BYTES": 1, "BLOCK_BYTES": 225_792, "LEAST_TILES": 999}, Blocks(4, 7, 6)),
    (7, {"WHOLE_BYTES": 1, "BLOCK_BYTES": 3 * 225_792, "LEAST_TILES": 1}, Blocks(4, 7, 2)),
    (61, {"WHOLE_BYTES": 1, "BLOCK_BYTES": 225_792, "LEAST_TILES": 196}, Blocks(4, 7, 7)),
    (6, {"WHOLE_BYTES": 1, "BLOCK_BYTES": 225_791}, Blocks(4, 4, 1)),
    (6, {"WHOLE_BYTES": 1, "BLOCK_BYTES": 1}, Blocks(4, 1, 1)),
]


@pytest.mark.parametrize(("batch", "limits", "blocks"), CUTS)
def test_a_batch_is_cut_into_what_the_cache_holds(monkeypatch, batch, limits, blocks):
    for name, limit in limits.items():
        monkeypatch.setattr(schedule, name, limit)
    assert forward(Work(batch, 28, 28, 16, 16)).blocks == blocks


def random_work(rng):
    images, height, width = rng.integers(1, (130, 300, 300))
    channels, filters = rng.choice([16, 32, 64, 96, 128, 200, 256, 384, 512, 600], 2)
    prepared = bool(rng.integers(2))
    return Work(*map(int, (images, height, width, channels, filters)), prepared)


def test_no_block_takes_more_than_the_cache_has_but_for_a_single_row():
    rng = np.random.default_rng(11)
    kinds = set()
    for decide in (forward, kernel_gradient) * 1000:
        case = random_work(rng)
        blocks = decide(case).blocks
        if blocks is None:
            continue
        rows, columns = blocks.tiles(case.height), blocks.tiles(case.width)
        assert 1 <= blocks.rows <= rows, case
        assert -case.images % blocks.images <= case.images / 4, case
        assert case.channels % blocks.pieces == 0, case
        # A pixel of a tile has its channels, and its products once for each piece.
        places = (blocks.tile + 2) ** 2 * columns * blocks.rows * blocks.images
        size = 4 * places * (case.channels + blocks.pieces * case.filters)
        whole = (blocks.rows, blocks.images) == (rows, case.images)
        few = (blocks.images - 1) * rows * columns < 2 * schedule.LEAST_TILES
        row = (blocks.rows, blocks.images) == (1, 1) or (blocks.rows == rows and few)
        assert whole or row or size <= schedule.BLOCK_BYTES, case
        assert not whole or row or size <= schedule.WHOLE_BYTES, case
        kinds.add((whole, blocks.images > 1, blocks.rows < rows))
    assert len(kinds) == 5  # whole or not, of one image or several, and of stripes


def test_a_decision_can_be_told():
    found = forward(work("conv3_2", 8))
    told = (found.formulation, dataclasses.asdict(found.blocks), found.gradient)
    whole = {"tile": 4, "rows": 14, "images": 1, "pieces": 1}
    assert told == ("F(4x4, 3x3)", whole, False)
    assert found.of(1).blocks == Blocks(4, 14, 1)
