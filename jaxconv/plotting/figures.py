"""Figures of feature maps and of effective receptive fields."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure, SubFigure

    from jaxconv.analysis.effective_field import EffectiveField

FIGURE_WIDTH = 12.0  # inches
FIGURE_MARGIN = 0.3  # inches
MAPS_PER_ROW = 8
CHOSEN_MAPS_PER_ROW = 4  # at most, of maps chosen by channel
LAYER_TITLE = 0.55  # inches above the maps of a layer
MAP_TITLE = 0.2  # inches above each map
LAYER_BOTTOM = 0.1  # inches below the maps of a layer, for the colour bar's lowest number
MAX_PHOTO_HEIGHT = 3.6  # inches
MAX_DRAWN_SIDE = 2048  # pixels of a map; no figure shows more than a third of them
TOP_PERCENTILE = 99.9  # of the values: where the colour scale ends
CMAP = "magma"  # black at 0
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
    """Draw a photo, and below it the strongest feature maps of some layers.

    All maps of a layer share one colour scale, so that a dark map is a weak one. The scale runs
    from 0 with the square root of the value, since most activations are small, and ends at the
    value that one pixel in a thousand exceeds; the colour bar shows both. The strength of a map is
    its mean.

    Args:
        photo: uint8 (h, w, 3), as the network sees it.
        maps: for each layer an array (h, w, c) of values after the activation.
        show: the largest number of maps per layer.
        channels: draw these maps of each layer instead, larger.

    Returns:
        A matplotlib figure, as high as its layers need.
    """
    panels = [MapsPanel.of(name, values, show, channels) for name, values in maps.items()]
    return panels_figure(photo, panels)


def panels_figure(photo: np.ndarray, panels: Sequence["MapsPanel"]) -> "Figure":
    """Draw a photo, and below it maps that were chosen before.

    Args:
        photo: uint8 (h, w, 3), as the network sees it.
        panels: the maps of each layer.

    Returns:
        A matplotlib figure, as high as its layers need.
    """
    from matplotlib.figure import Figure

    rows, columns = photo.shape[:2]
    photo_height = min(MAX_PHOTO_HEIGHT, FIGURE_WIDTH * 0.9 * rows / columns)
    top_height = photo_height + LAYER_TITLE
    heights = [top_height, *(panel.height for panel in panels)]
    figure = Figure(figsize=(FIGURE_WIDTH, sum(heights)), facecolor="white")
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    title = f"the photo as the network sees it: {columns} x {rows} pixels (width x height)"
    parts[0].text(0.02, 1 - 0.3 / top_height, title, fontsize=13, weight="bold")
    width = photo_height * columns / rows / FIGURE_WIDTH
    axes = parts[0].add_axes((0.02, 0.02, width, max(photo_height / top_height - 0.02, 0.1)))
    axes.imshow(photo, interpolation="antialiased")
    axes.set_axis_off()
    left, top = 0.04 + width, 1 - LAYER_TITLE / top_height
    if left < 0.4:  # else the photo is too wide for a text beside it
        parts[0].text(left, top, CAPTION, fontsize=11, va="top", linespacing=1.6)
    for part, panel in zip(parts[1:], panels, strict=True):
        panel.draw(part)
    return figure


def by_strength(values: np.ndarray) -> np.ndarray:
    """Sort the channels of a feature map by their mean value, the largest first.

    Args:
        values: (h, w, c).

    Returns:
        The channel numbers, int (c,).
    """
    means = values.mean((0, 1), dtype=np.float64)  # float32 cannot sum millions of numbers
    return np.argsort(-means, kind="stable")


@dataclass(frozen=True)
class MapsPanel:
    """The maps of one layer in a figure.

    Attributes:
        title: the title above them.
        maps: (h, w, n), those that are drawn; large ones are reduced.
        norm: the scale of their colours.
        channels: which they are, in order.
        columns: the number of maps per row.
    """

    title: str
    maps: np.ndarray
    norm: "PowerNorm"
    channels: Sequence[int]
    columns: int = MAPS_PER_ROW

    @classmethod
    def of(cls, layer: str, values: np.ndarray, show: int, channels: Sequence[int]) -> "MapsPanel":
        """Choose which maps of a layer to draw, and say which in the title.

        Args:
            layer: its name.
            values: (h, w, c); nothing refers to them afterwards.
            show: the largest number of maps, the strongest.
            channels: the maps to draw instead; empty for the strongest.
        """
        rows, columns, count = values.shape
        size, per_row = f"{layer}:  {count} maps of {columns} x {rows}", MAPS_PER_ROW
        if channels:
            title = f"{size},  channel{'s' * (len(channels) > 1)} {', '.join(map(str, channels))}"
            per_row = min(max(len(channels), 2), CHOSEN_MAPS_PER_ROW)
        else:
            channels = by_strength(values)[:show].tolist()
            some = f"the {len(channels)} strongest"
            title = f"{size},  {some if len(channels) < count else 'all, the strongest first'}"
        chosen = np.asarray(values[..., channels], np.float32)
        return cls(title, shrunk_maps(chosen), map_norm(chosen), channels, per_row)

    @property
    def cell(self) -> tuple[float, float]:
        """Width and height of one map in inches; the height of very long maps is limited."""
        width, (rows, columns) = FIGURE_WIDTH * 0.9 / self.columns, self.maps.shape[:2]
        return width, float(np.clip(width * rows / columns, 0.2, 2 * width))

    @property
    def height(self) -> float:
        """Height of the panel in inches, including the title."""
        rows = -(-len(self.channels) // self.columns)
        return LAYER_TITLE + rows * (self.cell[1] + MAP_TITLE) + LAYER_BOTTOM

    def draw(self, part: "SubFigure") -> None:
        """Draw the maps, and the bar of their colours.

        Args:
            part: the part of a figure for them, of the panel's height.
        """
        from matplotlib.cm import ScalarMappable

        height, (cell_width, cell_height) = self.height, self.cell
        part.text(0.02, 1 - 0.35 / height, self.title, fontsize=13, weight="bold")
        for index, channel in enumerate(self.channels):
            row, column = divmod(index, self.columns)
            left = 0.02 + column * cell_width / FIGURE_WIDTH
            bottom = 1 - (LAYER_TITLE + (row + 1) * (cell_height + MAP_TITLE)) / height
            size = (cell_width * 0.96 / FIGURE_WIDTH, cell_height * 0.98 / height)
            axes = part.add_axes((left, bottom, *size))
            values = self.maps[..., index]
            axes.imshow(values, interpolation="antialiased", cmap=CMAP, norm=self.norm)
            axes.set_axis_off()
            axes.set_title(f"{channel}", fontsize=8, pad=2)
        length = min(cell_height, 2.5)
        bottom = 1 - (LAYER_TITLE + MAP_TITLE + length) / height
        axes = part.add_axes((0.93, bottom, 0.012, length / height))
        bar = part.colorbar(ScalarMappable(self.norm, CMAP), cax=axes, extend="max")
        top = float(self.norm.vmax or 1.0)
        ticks = [0.0, *(float(f"{top * share:.1g}") for share in (1 / 16, 1 / 4, 3 / 4))]
        bar.set_ticks(ticks, labels=[f"{tick:,g}" for tick in ticks])
        bar.ax.tick_params(labelsize=8)
        bar.minorticks_off()


def shrunk_maps(maps: np.ndarray, longest: int | None = None) -> np.ndarray:
    """Reduce maps that are larger than they are shown, by the means of squares.

    Args:
        maps: (h, w, n).
        longest: the longest side that is shown; None for that of any figure.

    Returns:
        The same maps if no side is longer, else maps whose sides are not; up to one square at their
        lower and right borders is left out.
    """
    factor = -(-max(maps.shape[:2]) // (longest or MAX_DRAWN_SIDE))
    if factor == 1:
        return maps
    rows, columns = (max(n // factor, 1) for n in maps.shape[:2])
    down, across = (min(n, factor) for n in maps.shape[:2])
    cut = maps[: rows * down, : columns * across]
    return cut.reshape(rows, down, columns, across, -1).mean((1, 3))


def map_norm(values: np.ndarray) -> "PowerNorm":
    """Scale feature maps for colours: by the square root, from 0 to a high percentile.

    Args:
        values: the maps, of any shape.

    Returns:
        A matplotlib norm that ends at the value that one number in a thousand exceeds.
    """
    from matplotlib.colors import PowerNorm

    percentile = float(np.percentile(values, TOP_PERCENTILE))
    top = max(percentile, 0.0) or max(float(values.max()), 0.0) or 1.0
    return PowerNorm(0.5, vmin=0, vmax=top)


def field_figure(field: "EffectiveField") -> "Figure":
    """Draw how much each pixel affects a neuron, and its receptive field as a box.

    Args:
        field: of an image with two axes.

    Returns:
        A matplotlib figure; the colours follow the square root of the mean |gradient|.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    (top, bottom), (left, right) = field.box
    rows, columns = field.values.shape
    figure = Figure(figsize=(7.2, 1.2 + min(6.2 * rows / columns, 12)), layout="constrained")
    axes = figure.add_subplot()
    norm = map_norm(field.values)
    image = axes.imshow(field.values, interpolation="nearest", cmap=CMAP, norm=norm)
    size = (right - left, bottom - top)
    outline = {"fill": False, "edgecolor": "#35d0ff", "linewidth": 2}
    axes.add_patch(Rectangle((left - 0.5, top - 0.5), *size, **outline))
    at = ", ".join(map(str, field.at))
    axes.set_title(
        f"{field.field.layer} at {at}: mean |gradient| of each pixel,\n"
        f"and the receptive field: {size[0]} x {size[1]} pixels of the image (width x height)"
    )
    figure.colorbar(image, ax=axes, shrink=0.8, format="%.1g")
    return figure
