"""Which formulation computes a 3x3 convolution on a CPU: tables of rules, each with its reason.

The first rule that holds decides, from static shapes alone. Other kinds of convolution (strided,
grouped, transposed, ...) are to get tables of their own here; until then `lax` computes them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil

NUMBER = 4  # bytes of a float32
# Transformed tiles and their products, that one block may take: they stay in a cache of 32 MB.
BLOCK_BYTES = 14 * 2**20
WHOLE_BYTES = 32 * 2**20  # up to here a loop over blocks costs more than it saves
LEAST_TILES = 192  # of a block of images, whatever it takes: for fewer matrix products are slow


@dataclass(frozen=True)
class Work:
    """The static shape of a convolution, or of the gradient of its kernel.

    Attributes:
        images: in the batch.
        height: of the feature maps that the convolution makes.
        width: likewise.
        channels: of the images.
        filters: of the kernel.
        prepared: the transformed kernel is there already, as in :func:`jaxconv.compile`.
        careful: sums are to round less, at the cost of time: ``precision="high"``.
    """

    images: int
    height: int
    width: int
    channels: int
    filters: int
    prepared: bool = False
    careful: bool = False

    @property
    def pixels(self) -> int:
        """Places of all feature maps together."""
        return self.images * self.height * self.width


@dataclass(frozen=True)
class Blocks:
    """How Winograd's algorithm goes over a batch.

    Attributes:
        tile: m of F(m x m, 3x3).
        rows: of tiles, computed at once.
        images: computed at once; the last block of a batch is filled up with empty ones.
        pieces: that the sum over channels falls into; fewer terms in a row round less.
    """

    tile: int
    rows: int
    images: int
    pieces: int = 1

    def tiles(self, pixels: int) -> int:
        """How many tiles cover so many pixels."""
        return ceil(pixels / self.tile)


@dataclass(frozen=True)
class Schedule:
    """A decision.

    Attributes:
        work: what is to be computed.
        tile: m of F(m x m, 3x3); 0 for the direct formulation, which `lax` computes.
        reason: why this one.
        gradient: it is that of a kernel, rather than a convolution.
    """

    work: Work
    tile: int
    reason: str
    gradient: bool

    @property
    def formulation(self) -> str:
        """Its name."""
        return f"F({self.tile}x{self.tile}, 3x3)" if self.tile else "direct"

    @property
    def blocks(self) -> Blocks | None:
        """How Winograd's algorithm goes over the batch; None for the direct formulation."""
        if not self.tile:
            return None
        pieces = _pieces(self.work.channels) if self.work.careful and not self.gradient else 1
        return _blocks(self.work, self.tile, pieces)

    def of(self, images: int) -> "Schedule":
        """The same for a batch of another size."""
        return replace(self, work=replace(self.work, images=images))


@dataclass(frozen=True)
class Rule:
    """Tiles of a size (0: none, direct), where a condition holds, and why."""

    tile: int
    holds: Callable[[Work], bool]
    reason: str


FEW = Rule(
    0,
    lambda w: min(w.channels, w.filters) < 16,
    "with fewer than 16 channels or filters the transforms cost more than the products they save",
)
TINY = Rule(
    2,
    lambda w: max(w.height, w.width) <= 4,
    "a tile of 4x4 would be as large as the map; direct convolution is very slow on such maps",
)
FORWARD = (
    FEW,
    TINY,
    Rule(
        0,
        lambda w: not w.prepared and w.pixels < 256,
        "so few pixels do not pay for transforming the kernel in each call",
    ),
    Rule(
        2,
        lambda w: w.images * ceil(w.height / 4) * ceil(w.width / 4) < 128,
        "few tiles: reading a kernel transformed for 4x4 would take longer than its products",
    ),
    Rule(4, lambda _: True, "the fewest products of those that round little: 2.25 a result, not 9"),
)
KERNEL_GRADIENT = (
    FEW,
    TINY,
    Rule(4, lambda _: True, "2.25 products a result, not 9, and the transforms of long sums"),
)


def forward(work: Work) -> Schedule:
    """Decide how a convolution is computed, or the gradient of its images, which is one too."""
    return _first(FORWARD, work, gradient=False)


def kernel_gradient(work: Work) -> Schedule:
    """Decide how the gradient of a kernel is computed."""
    return _first(KERNEL_GRADIENT, work, gradient=True)


def _first(rules: Sequence[Rule], work: Work, *, gradient: bool) -> Schedule:
    rule = next(rule for rule in rules if rule.holds(work))
    return Schedule(work, rule.tile, rule.reason, gradient)


def _pieces(channels: int) -> int:
    """Sums of 64 channels, or of 128 where there are more, to be added up in the end."""
    length = 128 if channels > 128 and channels % 128 == 0 else 64
    return channels // length if channels % length == 0 else 1


def _share(images: int, least: int, most: int) -> int:
    """How many images a block takes, so that few or none are missing from the last block."""
    low = max(least, ceil(most / 2))
    sizes = range(most, low - 1, -1) if most >= least else range(least, 2 * least)
    return min(sizes, key=lambda n: -images % n)


def _blocks(work: Work, tile: int, pieces: int) -> Blocks:
    """Cut a batch so that a block's tiles and products stay in the cache."""
    rows, columns = ceil(work.height / tile), ceil(work.width / tile)
    numbers = (tile + 2) ** 2 * columns * (work.channels + pieces * work.filters)
    image = NUMBER * numbers * rows
    if work.images * image <= WHOLE_BYTES:
        return Blocks(tile, rows, work.images, pieces)
    if image <= BLOCK_BYTES:
        least = min(ceil(LEAST_TILES / (rows * columns)), work.images)
        images = _share(work.images, least, BLOCK_BYTES // image)
        return Blocks(tile, rows, images, pieces)
    stripes = ceil(rows / max(BLOCK_BYTES // (NUMBER * numbers), 1))
    return Blocks(tile, ceil(rows / stripes), 1, pieces)
