"""Pictures of feature maps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure, SubFigure

    from jaxconv.analysis.effective_field import EffectiveField

COLUMNS = 8
LARGE = 4  # columns at most of maps that were asked for by number
WIDTH = 12.0  # inches
TITLE = 0.55  # inches above each block
LABEL = 0.2  # inches above each map
BELOW = 0.1  # inches below each block, into which the bar's last number reaches
PHOTO = 3.6  # inches, at most, of the photo's height
BRIGHTEST = 99.9  # percentile of the values shown at which the colours end
CAPTION = (
    "Each picture is one feature map: the same filter at every place, after the activation,\n"
    "f(w.p + b). The number above it is its channel. Black is 0; within a layer all maps share\n"
    "one colour scale, so a darker map is a weaker one. Strength is the mean over the map."
)


def maps_figure(
    photo: np.ndarray,
    maps: Mapping[str, np.ndarray],
    show: int = 24,
    channels: Sequence[int] = (),
) -> "Figure":
    """Draw a photo and the strongest feature maps of some layers below it.

    Within a layer all maps share one colour scale, so that a dark map is a weak one. It runs from
    0 with the square root of the value, since most activations are small, and ends at the value
    that one pixel in a thousand exceeds; the bar shows both. Strength is the mean over the map.

    Args:
        photo: uint8 (h, w, 3), as the network sees it.
        maps: by layer, arrays (h, w, c) of values after the activation.
        show: how many maps of each layer at most.
        channels: draw these maps of each layer instead, large.

    Returns:
        A matplotlib figure, laid out for any number of layers.
    """
    from matplotlib.figure import Figure

    blocks = [_block(name, np.asarray(v, np.float32), show, channels) for name, v in maps.items()]
    wide = photo.shape[1] / photo.shape[0]
    heights = [min(PHOTO, WIDTH * 0.9 / wide) + TITLE]
    heights += [block.height for block in blocks]
    figure = Figure(figsize=(WIDTH, sum(heights)), facecolor="white")
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    _draw_photo(parts[0], photo, heights[0])
    for part, block in zip(parts[1:], blocks, strict=True):
        _draw_block(part, block)
    return figure


def strongest(values: np.ndarray) -> np.ndarray:
    """Channels of (h, w, c) by falling mean value."""
    return np.argsort(-values.mean((0, 1)), kind="stable")


@dataclass(frozen=True)
class Block:
    """The maps of one layer that are drawn.

    Attributes:
        title: above them.
        values: (h, w, c) of the whole layer.
        order: the channels drawn.
        columns: maps beside each other.
    """

    title: str
    values: np.ndarray
    order: Sequence[int]
    columns: int = COLUMNS

    @property
    def cell(self) -> tuple[float, float]:
        """Width and height of one map in inches; very long maps are drawn in a limited cell."""
        width, (rows, columns) = WIDTH * 0.9 / self.columns, self.values.shape[:2]
        return width, float(np.clip(width * rows / columns, 0.2, 2 * width))

    @property
    def height(self) -> float:
        """Inches of all, with the title."""
        return TITLE + -(-len(self.order) // self.columns) * (self.cell[1] + LABEL) + BELOW


def _block(name: str, values: np.ndarray, show: int, channels: Sequence[int]) -> Block:
    rows, columns, count = values.shape
    size = f"{name}:  {count} maps of {columns} x {rows}"
    if channels:
        title = f"{size},  channel{'s' * (len(channels) > 1)} {', '.join(map(str, channels))}"
        return Block(title, values, channels, min(max(len(channels), 2), LARGE))
    order = strongest(values)[:show].tolist()
    which = f"the {len(order)} strongest" if len(order) < count else "all, the strongest first"
    return Block(f"{size},  {which}", values, order)


def _draw_photo(part: "SubFigure", photo: np.ndarray, height: float) -> None:
    rows, columns = photo.shape[:2]
    title = f"the photo as the network sees it: {columns} x {rows} pixels (width x height)"
    part.text(0.02, 1 - 0.3 / height, title, fontsize=13, weight="bold")
    tall = height - TITLE
    wide = tall * columns / rows
    axes = part.add_axes((0.02, 0.02, wide / WIDTH, max(tall / height - 0.02, 0.1)))
    axes.imshow(photo, interpolation="antialiased")
    axes.set_axis_off()
    beside = 0.04 + wide / WIDTH
    if beside < 0.4:
        part.text(beside, 1 - TITLE / height, CAPTION, fontsize=11, va="top", linespacing=1.6)


def _draw_block(part: "SubFigure", block: Block) -> None:
    height, (wide, tall) = block.height, block.cell
    part.text(0.02, 1 - 0.35 / height, block.title, fontsize=13, weight="bold")
    look = {"cmap": "magma", "norm": colours(block.values[..., block.order])}
    for place, channel in enumerate(block.order):
        row, column = divmod(place, block.columns)
        left = 0.02 + column * wide / WIDTH
        bottom = 1 - (TITLE + (row + 1) * (tall + LABEL)) / height
        axes = part.add_axes((left, bottom, wide * 0.96 / WIDTH, tall * 0.98 / height))
        axes.imshow(block.values[..., channel], interpolation="antialiased", **look)
        axes.set_axis_off()
        axes.set_title(f"{channel}", fontsize=8, pad=2)
    long = min(tall, 2.5)
    bar = part.add_axes((0.93, 1 - (TITLE + LABEL + long) / height, 0.012, long / height))
    _draw_bar(part, bar, look)


def colours(values: np.ndarray) -> "PowerNorm":
    """The scale of maps: from 0 by the square root, up to what one pixel in a thousand exceeds."""
    from matplotlib.colors import PowerNorm

    top = max(float(np.percentile(values, BRIGHTEST)), 0.0) or max(float(values.max()), 0.0) or 1.0
    return PowerNorm(0.5, vmin=0, vmax=top)


def _draw_bar(part: "SubFigure", axes: "Axes", look: dict[str, Any]) -> None:
    from matplotlib.cm import ScalarMappable

    top = look["norm"].vmax
    bar = part.colorbar(ScalarMappable(**look), cax=axes, extend="max")
    ticks = [0.0, *(float(f"{top * share:.1g}") for share in (1 / 16, 1 / 4, 3 / 4))]
    bar.set_ticks(ticks, labels=[f"{tick:,g}" for tick in ticks])
    bar.ax.tick_params(labelsize=8)
    bar.minorticks_off()


def field_figure(field: "EffectiveField") -> "Figure":
    """Draw how much each pixel counts for a neuron, and the box of those that may count at all.

    Args:
        field: of an image with two axes.

    Returns:
        A matplotlib figure; colours go with the square root of the mean |gradient|.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    (top, bottom), (left, right) = field.box
    rows, columns = field.values.shape
    figure = Figure(figsize=(7.2, 1.2 + min(6.2 * rows / columns, 12)), layout="constrained")
    axes = figure.add_subplot()
    look = {"cmap": "magma", "norm": colours(field.values)}
    shown = axes.imshow(field.values, interpolation="nearest", **look)
    size = (right - left, bottom - top)
    outline = {"fill": False, "edgecolor": "#35d0ff", "linewidth": 2}
    axes.add_patch(Rectangle((left - 0.5, top - 0.5), *size, **outline))
    place = ", ".join(map(str, field.at))
    axes.set_title(
        f"{field.field.layer} at {place}: mean |gradient| of each pixel,\n"
        f"and the receptive field: {size[0]} x {size[1]} pixels of the image (width x height)"
    )
    figure.colorbar(shown, ax=axes, shrink=0.8, format="%.1g")
    return figure
