"""A figure of one neuron: what it sees, its weights, their sum, and its position in its map."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxconv.analysis.neuron import Neuron
from jaxconv.plotting.figures import CMAP, FIGURE_MARGIN, FIGURE_WIDTH, map_norm

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_SIDE = 3.6  # inches: longest side of the photo, of what is seen, and of the map
TILE_SIDE = 1.55  # inches: a patch, or a filter
TEXT_LINE = 0.25  # inches: a line of text
MAX_CHANNELS = 6  # input channels that are drawn
MAX_NUMBERED_SIDE = 5  # kernel elements along a side, up to which the numbers are written
TILE_ROWS = ("patch p", "filter w", "products w.p")
COLOUR_CHANNELS = ("red", "green", "blue")
MARKER_COLOUR = "#00e5ff"


class Tile(NamedTuple):
    """One small image.

    Attributes:
        values: numbers (kh, kw), or colours (kh, kw, 3).
        caption: the line below it.
    """

    values: np.ndarray
    caption: str = ""


TileColumn = tuple[str, list[Tile]]  # a title, and the tiles below it


def neuron_figure(
    photo: np.ndarray,
    neuron: Neuron,
    colour: np.ndarray | None = None,
) -> "Figure":
    """Draw a neuron, the photo that it sees, and its feature map.

    Args:
        photo: uint8 (h, w, 3), as the network sees it.
        neuron: a neuron with y and x, or with no position.
        colour: its patch as (kh, kw, 3) of 0 to 1, if it is a part of the photo.

    Returns:
        A matplotlib figure: the photo with the neuron's receptive field, the pixels in it, and the
        map; the input channels that contribute most; and the sum.
    """
    from matplotlib.figure import Figure

    columns = list(_tile_columns(neuron, colour))
    heading, *sum_lines = str(neuron).splitlines()
    lines = sum_lines
    if neuron.weights is not None and neuron.pre is not None:
        sums = _as_image(neuron.patch * neuron.weights).sum((0, 1))
        if len(rest := sums[_by_contribution(sums)[MAX_CHANNELS:]]):
            rest_line = f"the {len(rest)} input channels not drawn add {rest.sum():+.6g}"
            lines = [rest_line, *sum_lines]
    tile_rows = max(len(tiles) for _, tiles in columns)
    panels_top = 3.2 * TEXT_LINE + FIGURE_MARGIN
    tiles_top = 5.8 * TEXT_LINE + FIGURE_MARGIN + PANEL_SIDE
    text_top = tiles_top + tile_rows * (TILE_SIDE + TEXT_LINE) + TEXT_LINE
    page = FigurePage(Figure(facecolor="white"), text_top + TEXT_LINE * (len(lines) + 1))
    page.write(FIGURE_MARGIN, FIGURE_MARGIN, heading, fontsize=14, weight="bold")
    _draw_panels(page, panels_top, photo, neuron)
    _draw_tiles(page, tiles_top, columns)
    for number, line in enumerate(lines):
        top = text_top + number * TEXT_LINE
        page.write(FIGURE_MARGIN, top, line.strip(), fontsize=11, family="monospace")
    return page.figure


@dataclass
class FigurePage:
    """A figure measured in inches from its upper left corner.

    Attributes:
        figure: the matplotlib figure.
        height: its height in inches.
    """

    figure: "Figure"
    height: float

    def __post_init__(self) -> None:
        self.figure.set_size_inches(FIGURE_WIDTH, self.height)

    def axes(self, left: float, top: float, width: float, height: float) -> "Axes":
        """Add axes for an image.

        Args:
            left: inches from the left side.
            top: inches from the top.
            width: inches.
            height: inches.

        Returns:
            The axes, without frame and ticks.
        """
        bottom = self.height - top - height
        x, y = left / FIGURE_WIDTH, bottom / self.height
        axes = self.figure.add_axes((x, y, width / FIGURE_WIDTH, height / self.height))
        axes.set_axis_off()
        return axes

    def write(self, left: float, top: float, text: str, **style: Any) -> None:
        """Write a line of text.

        Args:
            left: inches from the left side of the figure to that of the text.
            top: inches from the top of the figure to that of the text.
            text: the line.
            **style: options of matplotlib's ``Figure.text``.
        """
        self.figure.text(left / FIGURE_WIDTH, 1 - top / self.height, text, va="top", **style)


def _draw_panels(page: FigurePage, top: float, photo: np.ndarray, neuron: Neuron) -> None:
    from matplotlib.patches import Rectangle

    photo_axes = _draw_panel(page, 0, top, "the photo", photo)
    if neuron.box is not None and len(neuron.box) == 2:
        (upper, lower), (left, right) = neuron.box
        corner, size = (left - 0.5, upper - 0.5), (right - left, lower - upper)
        photo_axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor="white", lw=4))
        photo_axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor="red", lw=2))
        title = f"what it sees: {right - left} x {lower - upper} pixels"
        _draw_panel(page, 1, top, title, photo[upper:lower, left:right])
    if neuron.map.ndim == 2:
        title = "its feature map: {1} x {0}".format(*neuron.map.shape)
        norm = map_norm(neuron.map)
        map_axes = _draw_panel(page, 2, top, title, neuron.map, cmap=CMAP, norm=norm)
        y, x = neuron.at
        map_axes.plot(x, y, "o", ms=16, mfc="none", mec="black", mew=4)
        map_axes.plot(x, y, "o", ms=16, mfc="none", mec=MARKER_COLOUR, mew=2)


def _draw_panel(
    page: FigurePage, index: int, top: float, title: str, pixels: np.ndarray, **style: Any
) -> "Axes":
    """One of the three large images, as large as fits."""
    rows, columns = pixels.shape[:2]
    scale = PANEL_SIDE / max(rows, columns)
    left = FIGURE_MARGIN + index * (PANEL_SIDE + FIGURE_MARGIN)
    page.write(left, top - TEXT_LINE, title, fontsize=11)
    axes = page.axes(left, top, max(columns * scale, 0.1), max(rows * scale, 0.1))
    interpolation = "nearest" if scale > PANEL_SIDE / 40 else "antialiased"
    axes.imshow(pixels, interpolation=interpolation, aspect="auto", **style)
    return axes


def _tile_columns(neuron: Neuron, colour: np.ndarray | None) -> Iterator[TileColumn]:
    """What to draw of the input channels that contribute most, in that order."""
    patch = _as_image(neuron.patch)
    if neuron.weights is None:
        yield "", [Tile(patch[..., 0])]
        return
    weights = _as_image(neuron.weights)
    products = patch * weights
    if colour is not None:
        total = Tile(products.sum(-1), f"sum {products.sum():+.4g}")
        shades = Tile(0.5 + weights / (np.abs(weights).max() or 1.0) / 2)
        yield "all three, in colour", [Tile(colour), shades, total]
    sums = products.sum((0, 1))
    for channel in _by_contribution(sums)[:MAX_CHANNELS]:
        captions = ("", "", f"sum {sums[channel]:+.4g}")
        parts = (patch[..., channel], weights[..., channel], products[..., channel])
        name = f"input channel {channel}" if colour is None else COLOUR_CHANNELS[channel]
        yield name, [Tile(*tile) for tile in zip(parts, captions, strict=True)]


def _by_contribution(sums: np.ndarray) -> np.ndarray:
    """Input channels by the absolute value of what they add to the sum, the largest first."""
    return np.argsort(-np.abs(sums), kind="stable")


def _as_image(values: np.ndarray) -> np.ndarray:
    """Numbers as (kh, kw, c), whatever their axes."""
    return values.reshape(*(1, 1, *values.shape[:-1])[-2:], values.shape[-1])


def _draw_tiles(page: FigurePage, top: float, columns: Sequence[TileColumn]) -> None:
    for row in range(max(len(tiles) for _, tiles in columns)):
        row_top = top + row * (TILE_SIDE + TEXT_LINE)
        page.write(FIGURE_MARGIN, row_top + TILE_SIDE / 2, TILE_ROWS[row], fontsize=11)
        # One colour scale for all tiles of a row: 0 is white; with negative numbers, red and blue.
        arrays = [tiles[row].values for _, tiles in columns if tiles[row].values.ndim == 2]
        values = np.concatenate([array.ravel() for array in arrays])
        values = values[np.isfinite(values)]
        largest = float(np.abs(values).max(initial=0)) or 1.0
        signed = values.min(initial=0) < 0
        style: dict[str, Any] = {"cmap": "RdBu_r" if signed else "Reds", "vmax": largest}
        style["vmin"] = -largest if signed else 0
        for number, (title, tiles) in enumerate(columns):
            left = FIGURE_MARGIN + 1.3 + number * (TILE_SIDE + 0.12)
            if row == 0:
                page.write(left, top - TEXT_LINE, title, fontsize=10)
            _draw_tile(page.axes(left, row_top, TILE_SIDE, TILE_SIDE), tiles[row].values, style)
            page.write(left, row_top + TILE_SIDE + 0.03, tiles[row].caption, fontsize=10)


def _draw_tile(axes: "Axes", values: np.ndarray, style: dict[str, Any]) -> None:
    image = axes.imshow(values, interpolation="nearest", aspect="auto", **style)
    axes.set_axis_on()
    axes.set_xticks([])
    axes.set_yticks([])
    if values.ndim == 3 or max(values.shape) > MAX_NUMBERED_SIDE:
        return
    size = {1: 12, 2: 11, 3: 9}.get(max(values.shape), 7)
    for (y, x), value in np.ndenumerate(values):
        # Each number has about five characters.
        decimals = max(0, 2 - int(np.log10(abs(value)))) if abs(value) >= 1 else 3
        text = f"{value + 0.0:.{decimals}f}" if value else "0"
        dark = sum(image.to_rgba(value)[:3]) < 1.4
        colour = "white" if dark else "black"
        axes.text(x, y, text, ha="center", va="center", fontsize=size, color=colour)
