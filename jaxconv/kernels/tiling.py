"""How a batch is cut into blocks whose Winograd tiles stay in the cache of a CPU."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil, prod

import jax
import jax.numpy as jnp
from jax import lax

FLOAT_BYTES = 4  # of a float32
# The transformed tiles of a block and their products: together they stay in a cache of 32 MB.
BLOCK_BYTES = 14 * 2**20
WHOLE_BYTES = 32 * 2**20  # up to here a loop over blocks costs more than it saves
MIN_SLICES = 4  # per block of a volume: with windows of three slices, four results read six
MIN_TILES = 192  # per block of images, whatever their size: matrix products of fewer are slow


@dataclass(frozen=True)
class ConvProblem:
    """The static sizes of a convolution, or of the gradient of its kernel.

    Attributes:
        images: of the batch.
        height: of the feature maps that the convolution returns, in pixels.
        width: likewise.
        channels: of the images.
        filters: of the kernel.
        is_prepared: the kernel was transformed before, as in :func:`jaxconv.compile`.
    """

    images: int
    height: int
    width: int
    channels: int
    filters: int
    is_prepared: bool = False

    @property
    def pixels(self) -> int:
        """Pixels of all feature maps of one filter."""
        return self.images * self.height * self.width

    @property
    def large_tiles(self) -> int:
        """Tiles of 4x4 that cover all feature maps of one filter."""
        return self.images * ceil(self.height / 4) * ceil(self.width / 4)


@dataclass(frozen=True)
class Tiling:
    """How Winograd's algorithm runs over a batch.

    Attributes:
        tile: m of F(m x m, 3x3), in pixels.
        tile_rows: rows of tiles per block.
        images: per block; the last block of a batch is filled up with zeros.
        channel_splits: the sum over channels is computed in so many parts: shorter sums have a
            smaller rounding error.
    """

    tile: int
    tile_rows: int
    images: int
    channel_splits: int = 1

    def tiles(self, pixels: int) -> int:
        """Count the tiles that cover an axis.

        Args:
            pixels: of the axis.
        """
        return ceil(pixels / self.tile)


@dataclass(frozen=True)
class VolumeTiling:
    """How Winograd's algorithm runs over a batch of volumes.

    Attributes:
        tile: m of F(m x m, 3x3), in pixels.
        volumes: per block.
        slices: of the result, per block and volume.
        tile_rows: rows of tiles, per block and slice.
    """

    tile: int
    volumes: int
    slices: int
    tile_rows: int


@dataclass(frozen=True)
class Blocks:
    """How the first axes of an array are cut into blocks, which may overlap.

    Attributes:
        counts: blocks along each of these axes.
    """

    counts: tuple[int, ...]

    @property
    def count(self) -> int:
        """The number of blocks."""
        return prod(self.counts)

    def read(
        self, x: jax.Array, i: jax.Array | int, steps: Sequence[int], sizes: Sequence[int]
    ) -> jax.Array:
        """Slice a block.

        Args:
            x: the array.
            i: the number of the block; the last axis varies fastest.
            steps: along each axis, from one block to the next one.
            sizes: of the block along each axis.
        """
        return lax.dynamic_slice(x, self._start(x, i, steps), (*sizes, *x.shape[len(sizes) :]))

    def write(
        self, y: jax.Array, block: jax.Array, i: jax.Array | int, steps: Sequence[int]
    ) -> jax.Array:
        """Replace a block.

        Args:
            y: the array.
            block: what to write.
            i: the number of the block.
            steps: along each axis, from one block to the next one.
        """
        return lax.dynamic_update_slice(y, block, self._start(y, i, steps))

    def sum(self, function: Callable[[jax.Array | int], jax.Array]) -> jax.Array:
        """Add up what a function returns for each block.

        Args:
            function: of the number of a block.
        """
        if self.count == 1:
            return function(0)
        like = jax.eval_shape(function, 0)
        zeros = jnp.zeros(like.shape, like.dtype)
        return lax.fori_loop(0, self.count, lambda i, total: total + function(i), zeros)

    def _start(
        self, x: jax.Array, i: jax.Array | int, steps: Sequence[int]
    ) -> list[jax.Array | int]:
        start: list[jax.Array | int] = [0] * x.ndim
        for axis in reversed(range(len(steps))):
            start[axis] = i % self.counts[axis] * steps[axis]
            i = i // self.counts[axis]
        return start


def channel_splits(channels: int) -> int:
    """Count the parts of a sum over channels where high precision is requested.

    Args:
        channels: of the images.

    Returns:
        Parts of 64 channels, or of 128 where there are more than 128; 1 where these do not divide
        the channels.
    """
    length = 128 if channels > 128 and channels % 128 == 0 else 64
    return channels // length if channels % length == 0 else 1


def choose_tiling(problem: ConvProblem, tile: int, splits: int = 1) -> Tiling:
    """Cut a batch so that the tiles of a block and their products stay in the cache.

    Args:
        problem: the sizes of the convolution.
        tile: m of F(m x m, 3x3).
        splits: parts of the sum over channels, see :func:`channel_splits`.

    Returns:
        Blocks of the whole batch, of several images, or of a few rows of tiles of one image: the
        largest that fit.
    """
    rows, columns = ceil(problem.height / tile), ceil(problem.width / tile)
    row_bytes = FLOAT_BYTES * (tile + 2) ** 2 * columns
    row_bytes *= problem.channels + splits * problem.filters
    image_bytes = row_bytes * rows
    if problem.images * image_bytes <= WHOLE_BYTES:
        return Tiling(tile, rows, problem.images, splits)
    if image_bytes <= BLOCK_BYTES:
        least = min(ceil(MIN_TILES / (rows * columns)), problem.images)
        images = _parts(problem.images, least, BLOCK_BYTES // image_bytes)
        return Tiling(tile, rows, images, splits)
    blocks = ceil(rows / max(BLOCK_BYTES // row_bytes, 1))
    return Tiling(tile, ceil(rows / blocks), 1, splits)


def choose_volume_tiling(problem: ConvProblem, volumes: int, depth: int, tile: int) -> VolumeTiling:
    """Cut a batch of volumes so that the tiles of a block stay in the cache.

    Args:
        problem: the sizes of the convolution of all slices as images.
        volumes: of the batch.
        depth: slices of a window.
        tile: m of F(m x m, 3x3).

    Returns:
        Blocks of the whole batch, of several volumes, of several slices of one volume, or of a few
        rows of tiles of these: the largest that fit.
    """
    slices = problem.images // volumes
    rows, columns = ceil(problem.height / tile), ceil(problem.width / tile)
    row_bytes = FLOAT_BYTES * (tile + 2) ** 2 * columns
    row_bytes *= (1 + depth) * problem.channels + problem.filters
    slice_bytes = row_bytes * rows
    if problem.images * slice_bytes <= WHOLE_BYTES:
        return VolumeTiling(tile, volumes, slices, rows)
    few = ceil(MIN_TILES / (rows * columns)) if rows * columns < MIN_TILES else 0
    most = min(max(BLOCK_BYTES // slice_bytes, few), problem.images)
    if most >= slices:
        return VolumeTiling(tile, _parts(volumes, 1, most // slices), slices, rows)
    least = ceil(slices / max(round(slices / MIN_SLICES), 1))
    if most >= least:
        return VolumeTiling(tile, 1, _parts(slices, least, most), rows)
    blocks = ceil(rows / max(BLOCK_BYTES // (least * row_bytes), 1))
    return VolumeTiling(tile, 1, least, ceil(rows / blocks))


def _parts(total: int, least: int, most: int) -> int:
    """The size of parts for which the last part lacks least.

    Args:
        total: what is divided.
        least: the smallest size.
        most: the largest size, unless it is smaller than the smallest.
    """
    sizes: Iterable[int] = range(most, max(least, ceil(most / 2)) - 1, -1)
    return min(sizes or range(least, 2 * least), key=lambda size: -total % size)
