"""A picture of one neuron: what it sees, its weights, their sum, and where it stands in its map."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxconv.analysis.neuron import Neuron
from jaxconv.plotting.figures import colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 12.0  # inches
MARGIN = 0.3  # inches
PANEL = 3.6  # inches: a side of the photo, of what is seen, and of the map, at most
TILE = 1.55  # inches: a patch, or a filter
LINE = 0.25  # inches: a line of text
SHOWN = 6  # input channels
WRITTEN = 5  # taps along a side, at most, whose numbers are written
ROWS = ("patch p", "filter w", "products w.p")
COLOURS = ("red", "green", "blue")
MARK = "#00e5ff"


class Tile(NamedTuple):
    """One small picture: numbers (kh, kw), or colours (kh, kw, 3), and a line below."""

    values: np.ndarray
    below: str = ""


Column = tuple[str, list[Tile]]


def neuron_figure(
    photo: np.ndarray,
    neuron: Neuron,
    colour: np.ndarray | None = None,
) -> "Figure":
    """Draw a neuron, the photo it looks at, and its feature map.

    Args:
        photo: uint8 (h, w, 3), as the network sees it.
        neuron: with y and x, or without any place.
        colour: its patch as (kh, kw, 3) of 0 to 1, if that is a piece of the photo.

    Returns:
        A matplotlib figure: the photo with the neuron's receptive field, what is in it, and the
        map; the input channels that contribute most; and the sum.
    """
    from matplotlib.figure import Figure

    columns = [*_columns(neuron, colour)]
    text = [*_rest(neuron), *str(neuron).splitlines()[1:]]
    deep = max(len(tiles) for _, tiles in columns)
    tops = (3.2 * LINE + MARGIN, 5.8 * LINE + MARGIN + PANEL)
    end = tops[1] + deep * (TILE + LINE) + LINE
    page = Page(Figure(facecolor="white"), end + LINE * (len(text) + 1))
    page.write(MARGIN, MARGIN, str(neuron).splitlines()[0], fontsize=14, weight="bold")
    _draw_panels(page, tops[0], photo, neuron)
    _draw_tiles(page, tops[1], columns)
    for number, line in enumerate(text):
        page.write(MARGIN, end + number * LINE, line.strip(), fontsize=11, family="monospace")
    return page.figure


@dataclass
class Page:
    """A figure measured in inches from its upper left corner."""

    figure: "Figure"
    height: float

    def __post_init__(self) -> None:
        self.figure.set_size_inches(WIDTH, self.height)

    def axes(self, left: float, top: float, wide: float, tall: float) -> "Axes":
        """A place for a picture."""
        bottom = self.height - top - tall
        place = (left / WIDTH, bottom / self.height, wide / WIDTH, tall / self.height)
        found = self.figure.add_axes(place)
        found.set_axis_off()
        return found

    def write(self, left: float, top: float, text: str, **look: Any) -> None:
        """A line of text, below a place."""
        self.figure.text(left / WIDTH, 1 - top / self.height, text, va="top", **look)


def _draw_panels(page: Page, top: float, photo: np.ndarray, neuron: Neuron) -> None:
    from matplotlib.patches import Rectangle

    photo_axes = _panel(page, 0, top, "the photo", photo)
    if neuron.box is not None and len(neuron.box) == 2:
        (upper, lower), (left, right) = neuron.box
        corner, size = (left - 0.5, upper - 0.5), (right - left, lower - upper)
        photo_axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor="white", lw=4))
        photo_axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor="red", lw=2))
        seen = f"what it sees: {right - left} x {lower - upper} pixels"
        _panel(page, 1, top, seen, photo[upper:lower, left:right])
    if neuron.map.ndim == 2:
        title = "its feature map: {1} x {0}".format(*neuron.map.shape)
        look = {"cmap": "magma", "norm": colours(neuron.map)}
        map_axes = _panel(page, 2, top, title, neuron.map, **look)
        y, x = neuron.at
        map_axes.plot(x, y, "o", ms=16, mfc="none", mec="black", mew=4)
        map_axes.plot(x, y, "o", ms=16, mfc="none", mec=MARK, mew=2)


def _panel(
    page: Page, place: int, top: float, title: str, pixels: np.ndarray, **look: Any
) -> "Axes":
    """One of the three large pictures, as large as fits."""
    rows, columns = pixels.shape[:2]
    scale = PANEL / max(rows, columns)
    wide, tall = max(columns * scale, 0.1), max(rows * scale, 0.1)
    left = MARGIN + place * (PANEL + MARGIN)
    page.write(left, top - LINE, title, fontsize=11)
    axes = page.axes(left, top, wide, tall)
    smooth = "nearest" if scale > PANEL / 40 else "antialiased"
    axes.imshow(pixels, interpolation=smooth, aspect="auto", **look)
    return axes


def _columns(neuron: Neuron, colour: np.ndarray | None) -> Iterator[Column]:
    """What to draw of each input channel that contributes much, the strongest first."""
    patch = _square(neuron.patch)
    if neuron.weights is None:
        yield "", [Tile(patch[..., 0])]
        return
    weights = _square(neuron.weights)
    products = patch * weights
    if colour is not None:
        total = Tile(products.sum(-1), f"sum {products.sum():+.4g}")
        shades = Tile(0.5 + weights / (np.abs(weights).max() or 1.0) / 2)
        yield "all three, in colour", [Tile(colour), shades, total]
    sums = products.sum((0, 1))
    for channel in _order(sums)[:SHOWN]:
        below = f"sum {sums[channel]:+.4g}"
        parts = (patch[..., channel], weights[..., channel], products[..., channel])
        name = f"input channel {channel}" if colour is None else COLOURS[channel]
        yield name, [Tile(*part) for part in zip(parts, ("", "", below), strict=True)]


def _order(sums: np.ndarray) -> np.ndarray:
    """Channels by what they contribute, the most first."""
    return np.argsort(-np.abs(sums), kind="stable")


def _square(values: np.ndarray) -> np.ndarray:
    """Numbers as (kh, kw, c), whatever axes they have."""
    return values.reshape(*(1, 1, *values.shape[:-1])[-2:], values.shape[-1])


def _rest(neuron: Neuron) -> Iterator[str]:
    """How much the channels that are not drawn contribute."""
    if neuron.weights is None or neuron.pre is None or neuron.weights.shape[-1] <= SHOWN:
        return
    sums = _square(neuron.patch * neuron.weights).sum((0, 1))
    rest = sums[_order(sums)[SHOWN:]]
    yield f"the {len(rest)} input channels not drawn add {rest.sum():+.6g}"


def _draw_tiles(page: Page, top: float, columns: Sequence[Column]) -> None:
    for row in range(max(len(tiles) for _, tiles in columns)):
        page.write(MARGIN, top + row * (TILE + LINE) + TILE / 2, ROWS[row], fontsize=11)
        norm = _norm([tiles[row].values for _, tiles in columns])
        for number, (title, tiles) in enumerate(columns):
            left = MARGIN + 1.3 + number * (TILE + 0.12)
            if row == 0:
                page.write(left, top - LINE, title, fontsize=10)
            _draw_tile(page.axes(left, top + row * (TILE + LINE), TILE, TILE), tiles[row], norm)
            under = top + row * (TILE + LINE) + TILE + 0.03
            page.write(left, under, tiles[row].below, fontsize=10)


def _norm(arrays: Sequence[np.ndarray]) -> dict[str, Any]:
    """Colours for all tiles of a row: from white up, or around white where some are negative."""
    values = np.concatenate([array.ravel() for array in arrays if array.ndim == 2])
    values = values[np.isfinite(values)]
    top = float(np.abs(values).max(initial=0)) or 1.0
    if values.min(initial=0) < 0:
        return {"cmap": "RdBu_r", "vmin": -top, "vmax": top}
    return {"cmap": "Reds", "vmin": 0, "vmax": top}


def _draw_tile(axes: "Axes", tile: Tile, norm: dict[str, Any]) -> None:
    values = tile.values
    picture = axes.imshow(values, interpolation="nearest", aspect="auto", **norm)
    axes.set_axis_on()
    axes.set_xticks([])
    axes.set_yticks([])
    if values.ndim == 3 or max(values.shape) > WRITTEN:
        return
    size = {1: 12, 2: 11, 3: 9}.get(max(values.shape), 7)
    for (y, x), value in np.ndenumerate(values):
        dark = sum(picture.to_rgba(value)[:3]) < 1.4
        colour = "white" if dark else "black"
        axes.text(x, y, _short(value), ha="center", va="center", fontsize=size, color=colour)


def _short(value: float) -> str:
    """A number in about five characters."""
    decimals = max(0, 2 - int(np.log10(max(abs(value), 1)))) if abs(value) >= 1 else 3
    return f"{value + 0.0:.{decimals}f}" if value else "0"
