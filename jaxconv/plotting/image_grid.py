"""Images in rows: the filters of a layer, and the patches that excite one of its channels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxconv.plotting.figures import FIGURE_MARGIN, FIGURE_WIDTH
from jaxconv.plotting.peaks import Peak

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GRID_TITLE = 0.9  # inches above the images
CAPTION_LINE = 0.2  # inches: a line below an image
CAPTION_CHARACTERS = 22  # the longest name of a photo


class GridImage(NamedTuple):
    """An image and its caption.

    Attributes:
        pixels: (h, w) or (h, w, 3), of 0 to 1; also uint8 (h, w, 3).
        lines: the lines below it.
    """

    pixels: np.ndarray
    lines: Sequence[str]


def filters_figure(layer: str, filters: np.ndarray) -> "Figure":
    """Draw the filters of a layer, all on one scale.

    Args:
        layer: its name.
        filters: (c_out, kh, kw, c_in). With three input channels they are drawn in colour, and 0
            is grey. Otherwise the mean over the input channels is drawn, and 0 is white.

    Returns:
        A matplotlib figure.
    """
    count, height, width, channels = filters.shape
    values = filters if channels == 3 else filters.mean(-1)
    scaled = 0.5 + values / (np.abs(values).max() or 1.0) / 2
    which = {3: "red, green and blue; grey is 0", 1: "white is 0"}
    title = f"{layer}:  {count} filters of {width} x {height}, "
    title += which.get(channels, f"the mean over their {channels} input channels; white is 0")
    images = [GridImage(pixels, [str(number)]) for number, pixels in enumerate(scaled)]
    return image_grid(title, images, 12)


def peaks_figure(title: str, peaks: Sequence[Peak]) -> "Figure":
    """Draw the patches of photos that excite neurons most.

    Args:
        title: the title of the figure.
        peaks: the strongest first.

    Returns:
        A matplotlib figure.
    """
    images = []
    for peak in peaks:
        name, end = peak.photo, CAPTION_CHARACTERS - 9
        name = name if len(name) <= CAPTION_CHARACTERS else f"{name[:end]}...{name[-6:]}"
        at = f"at {peak.at[0]},{peak.at[1]}"
        images.append(GridImage(peak.patch, [f"{peak.value:.5g}  {at}", name]))
    return image_grid(title, images, min(max(len(peaks), 4), 6))


def image_grid(title: str, images: Sequence[GridImage], columns: int) -> "Figure":
    """Draw images in rows.

    Args:
        title: the title of the figure.
        images: at least one, all with the same number of lines.
        columns: the number of images per row.

    Returns:
        A matplotlib figure.
    """
    from matplotlib.figure import Figure

    step = (FIGURE_WIDTH - FIGURE_MARGIN) / columns
    side, lines = step - FIGURE_MARGIN / 2, len(images[0].lines)
    row_height = side + lines * CAPTION_LINE + FIGURE_MARGIN / 2
    height = GRID_TITLE + -(-len(images) // columns) * row_height
    figure = Figure(figsize=(FIGURE_WIDTH, height), facecolor="white")
    x, y = FIGURE_MARGIN / FIGURE_WIDTH, 1 - FIGURE_MARGIN / height
    figure.text(x, y, title, fontsize=13, weight="bold", va="top")
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        left, top = FIGURE_MARGIN + column * step, GRID_TITLE + row * row_height
        x, size = left / FIGURE_WIDTH, (side / FIGURE_WIDTH, side / height)
        axes = figure.add_axes((x, 1 - (top + side) / height, *size))
        scale = {"cmap": "RdBu_r", "vmin": 0, "vmax": 1} if image.pixels.ndim == 2 else {}
        axes.imshow(image.pixels, interpolation="nearest", **scale)
        axes.set_anchor("SW")
        axes.set_xticks([])
        axes.set_yticks([])
        y = 1 - (top + side + 0.04) / height
        figure.text(x, y, "\n".join(image.lines), fontsize=9, va="top", linespacing=1.4)
    return figure
