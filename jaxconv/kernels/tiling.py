"""How a batch is cut into blocks whose Winograd tiles stay in the cache of a CPU."""

from dataclasses import dataclass
from math import ceil

FLOAT_BYTES = 4  # of a float32
# The transformed tiles of a block and their products: together they stay in a cache of 32 MB.
BLOCK_BYTES = 14 * 2**20
WHOLE_BYTES = 32 * 2**20  # up to here a loop over blocks costs more than it saves
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
        most = BLOCK_BYTES // image_bytes
        sizes = range(most, max(least, ceil(most / 2)) - 1, -1)
        # As few images as possible are missing in the last block.
        images = min(sizes or range(least, 2 * least), key=lambda size: -problem.images % size)
        return Tiling(tile, rows, images, splits)
    blocks = ceil(rows / max(BLOCK_BYTES // row_bytes, 1))
    return Tiling(tile, ceil(rows / blocks), 1, splits)
