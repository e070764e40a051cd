"""Pictures in rows: the filters of a layer, and what excites one of its channels."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxconv.plotting.peaks import Peak

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 12.0  # inches
MARGIN = 0.3  # inches
HEAD = 0.9  # inches
LINE = 0.2  # inches: a line below a picture


class Exhibit(NamedTuple):
    """A picture, with numbers of 0 to 1 or colours, and the lines below it."""

    pixels: np.ndarray
    lines: Sequence[str]


def filters_figure(layer: str, filters: np.ndarray) -> "Figure":
    """Draw the filters of a layer, all on one scale.

    Args:
        layer: its name.
        filters: (c_out, kh, kw, c_in). Of three input channels they are drawn in colour, grey
            being 0; of others the mean over the input channels is drawn, white being 0.

    Returns:
        A matplotlib figure.
    """
    count, tall, wide, channels = filters.shape
    shown = filters if channels == 3 else filters.mean(-1)
    scaled = 0.5 + shown / (np.abs(shown).max() or 1.0) / 2
    which = {3: "red, green and blue; grey is 0", 1: "white is 0"}
    title = f"{layer}:  {count} filters of {wide} x {tall}, "
    title += which.get(channels, f"the mean over their {channels} input channels; white is 0")
    exhibits = [Exhibit(one, [str(number)]) for number, one in enumerate(scaled)]
    return gallery(title, exhibits, 12)


def peaks_figure(title: str, peaks: Sequence[Peak]) -> "Figure":
    """Draw what the neurons see that photos excite most.

    Args:
        title: above all.
        peaks: the strongest first.

    Returns:
        A matplotlib figure.
    """
    return gallery(title, [*_seen(peaks)], min(max(len(peaks), 4), 6))


def _seen(peaks: Sequence[Peak]) -> Iterator[Exhibit]:
    for peak in peaks:
        where = f"at {peak.at[0]},{peak.at[1]}"
        yield Exhibit(peak.seen, [f"{peak.value:.5g}  {where}", _short(peak.photo)])


def _short(name: str, most: int = 22) -> str:
    return name if len(name) <= most else f"{name[: most - 9]}...{name[-6:]}"


def gallery(title: str, exhibits: Sequence[Exhibit], columns: int) -> "Figure":
    """Draw pictures in rows.

    Args:
        title: above all.
        exhibits: at least one, all with as many lines.
        columns: pictures beside each other.

    Returns:
        A matplotlib figure.
    """
    from matplotlib.figure import Figure

    step = (WIDTH - MARGIN) / columns
    side, lines = step - MARGIN / 2, len(exhibits[0].lines)
    row = side + lines * LINE + MARGIN / 2
    height = HEAD + -(-len(exhibits) // columns) * row
    figure = Figure(figsize=(WIDTH, height), facecolor="white")
    figure.text(MARGIN / WIDTH, 1 - MARGIN / height, title, fontsize=13, weight="bold", va="top")
    for number, exhibit in enumerate(exhibits):
        down, along = divmod(number, columns)
        left, top = MARGIN + along * step, HEAD + down * row
        place = (left / WIDTH, 1 - (top + side) / height, side / WIDTH, side / height)
        axes = figure.add_axes(place)
        look = {"cmap": "RdBu_r", "vmin": 0, "vmax": 1} if exhibit.pixels.ndim == 2 else {}
        axes.imshow(exhibit.pixels, interpolation="nearest", **look)
        axes.set_anchor("SW")
        axes.set_xticks([])
        axes.set_yticks([])
        under = 1 - (top + side + 0.04) / height
        text = "\n".join(exhibit.lines)
        figure.text(left / WIDTH, under, text, fontsize=9, va="top", linespacing=1.4)
    return figure
