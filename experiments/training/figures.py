"""Figures of a run: learning curves, confusion matrix, mistakes, feature maps."""

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxconv.plotting.figures import maps_figure
from jaxconv.plotting.image_grid import GridImage, image_grid
from jaxconv.plotting.spatial_maps import SpatialMaps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 12.0  # inches
COLOURS = ("#d1495b", "#00798c", "#edae49", "#30638e", "#7b4b94", "#3c7a3b", "#8d99ae", "#5b3a29")
POINTS = 100  # approximate number of points of a smoothed training curve
WRITTEN = 25  # up to this number of classes, counts are written into the matrix
NAMED = 100  # up to this number of classes, each is named
MISTAKES = 18  # pictures
COLUMNS = 6  # mistakes per row
LONG = 20  # characters of a name
MAPS = 16  # per layer
PANELS = {"loss": "{:.4f}", "accuracy": "{:.2%}"}

Lines = Sequence[Mapping[str, Any]]


def curves_figure(runs: Mapping[str, Lines]) -> "Figure":
    """Plot loss and accuracy over the steps.

    Args:
        runs: lines of ``metrics.jsonl``, by the name of the run.

    Returns:
        A matplotlib figure with thin lines for training, and thick dotted lines for tests.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 4.6), facecolor="white", layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), PANELS, strict=True):
        for colour, (run, lines) in zip(cycle(COLOURS), runs.items(), strict=False):
            _draw_run(axes, name, run, lines, colour)
        axes.set_title(
            f"{name}:  training (thin), test images (with dots)", fontsize=12, loc="left"
        )
        axes.set_xlabel("step")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, fontsize=9)
    _scale(*figure.axes)
    return figure


def _draw_run(axes: "Axes", name: str, run: str, lines: Lines, colour: str) -> None:
    steps, values = _series(lines, name)
    window = max(1, len(values) // POINTS)
    axes.plot(steps, values, color=colour, lw=0.8, alpha=0.3 if window > 1 else 0.7)
    if window > 1:
        mean = np.full(window, 1 / window)
        smooth = (np.convolve(series, mean, "valid") for series in (steps, values))
        axes.plot(*smooth, color=colour, lw=1, alpha=0.9)
    steps, values = _series(lines, f"test_{name}")
    last = PANELS[name].format(*values[-1:]) if values.size else ""
    label = f"{_plain(run)}  {last}".rstrip()
    axes.plot(steps, values, "o-", color=colour, lw=2, ms=4, label=label)


def _series(lines: Lines, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and values of the lines that have a metric; null is a gap."""
    points = [(line["step"], line[name]) for line in lines if name in line]
    steps, values = np.array(points, np.float64).reshape(-1, 2).T
    return steps, values


def _scale(loss: "Axes", accuracy: "Axes") -> None:
    """Use a logarithmic axis with plain numbers for the loss, and percent for the accuracy."""
    from matplotlib.ticker import LogLocator, NullLocator, PercentFormatter

    loss.set_yscale("log")
    loss.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    loss.yaxis.set_minor_locator(NullLocator())
    loss.yaxis.set_major_formatter("{x:g}")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1))


def confusions(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Compute the confusion matrix.

    Args:
        labels: true classes, (n,).
        predicted: predicted classes, (n,).
        classes: number of classes.

    Returns:
        Counts, int (classes, classes). Rows are true classes, columns are predicted classes.
    """
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def confusion_figure(names: Sequence[str], counts: np.ndarray) -> "Figure":
    """Draw a confusion matrix. Colours show the square root of the share of a row.

    Args:
        names: names of the classes.
        counts: number of images, (classes, classes), see :func:`confusions`.

    Returns:
        A matplotlib figure.
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    count = len(names)
    side = float(np.clip(0.55 * count, 3, 11))
    edge = 0.4 + 0.08 * min(max(map(len, names)), LONG)  # inches of the names
    size = (side + edge + 1.6, side + edge + 0.8)
    figure = Figure(figsize=size, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
    axes.set_title("confusion matrix:  number of images", loc="left", fontsize=12)
    _name_classes(axes, names)
    if count <= WRITTEN:
        _write_counts(axes, counts, shares)
    bar = figure.colorbar(image, ax=axes, shrink=0.7, format=PercentFormatter(1))
    bar.set_ticks([0, 0.01, 0.05, 0.2, 0.5, 1])
    bar.set_label("share of the row")
    return figure


def _name_classes(axes: "Axes", names: Sequence[str]) -> None:
    size = 9 if len(names) <= WRITTEN else 6
    places = range(0, len(names), -(-len(names) // NAMED))
    texts = [_short(names[place]) for place in places]
    turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(places, texts, fontsize=size, **(turned if max(map(len, texts)) > 3 else {}))
    axes.set_yticks(places, texts, fontsize=size)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.tick_params(length=0)


def _write_counts(axes: "Axes", counts: np.ndarray, shares: np.ndarray) -> None:
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.35 else "black"
            look = {"ha": "center", "va": "center", "fontsize": 9, "color": colour}
            axes.text(column, row, f"{count}", **look)


def mistakes_figure(
    names: Sequence[str], images: np.ndarray, labels: np.ndarray, chances: np.ndarray
) -> "Figure | None":
    """Draw the mistakes with the highest predicted probability.

    Args:
        names: names of the classes.
        images: uint8 (n, h, w, 1 or 3).
        labels: true classes, (n,).
        chances: predicted probabilities, (n, classes).

    Returns:
        A matplotlib figure, or None if there are no mistakes.
    """
    predicted, sure = chances.argmax(1), chances.max(1)
    wrong = np.flatnonzero(predicted != labels)
    if not wrong.size:
        return None
    first = wrong[np.argsort(-sure[wrong], kind="stable")][:MISTAKES]
    exhibits = []
    for i in first:
        answer, truth = (_short(names[int(which[i])]) for which in (predicted, labels))
        text = (f"predicted {answer}", f"actual {truth}", f"{sure[i]:.1%} confident")
        exhibits.append(GridImage(in_colour(images[i]), text))
    which = f"{len(wrong):,} of {len(labels):,} test images"
    selection = f", the {len(first)} most confident" if len(first) < len(wrong) else ""
    return image_grid(f"Mistakes:  {which}{selection}", exhibits, COLUMNS)


def features_figure(model: Callable[..., Any], x: Any, image: np.ndarray) -> "Figure | None":
    """Draw feature maps of about five layers for one image, as ``jaxconv maps`` does.

    Args:
        model: a function of a batch.
        x: preprocessed image, (1, h, w, c).
        image: the same image, uint8 (h, w, 1 or 3).

    Returns:
        A matplotlib figure, or None if no feature map has height and width.
    """
    pictures = SpatialMaps(model, x)
    layers = pictures.default()
    return maps_figure(in_colour(image), pictures.maps(layers), MAPS) if layers else None


def in_colour(image: np.ndarray) -> np.ndarray:
    """Broadcast a picture (h, w, 1 or 3) to (h, w, 3).

    Args:
        image: (h, w, 1 or 3).

    Returns:
        A view (h, w, 3).
    """
    return np.broadcast_to(image, (*image.shape[:2], 3))


def _short(name: str) -> str:
    """Shorten a name so that it fits next to a matrix or below a picture."""
    return _plain(name if len(name) <= LONG else f"{name[: LONG - 8]}...{name[-5:]}")


def _plain(name: str) -> str:
    """Escape a name that matplotlib would read as a formula."""
    return name.replace("$", r"\$")
