"""Where a feature map is strongest: one neuron per neighbourhood."""

from typing import NamedTuple

import numpy as np

from jaxconv.analysis.receptive_field import ReceptiveField


class Peak(NamedTuple):
    """A neuron that is stronger than its neighbours.

    Attributes:
        value: its value in the feature map.
        at: its y and x in the map.
        patch: the part of the photo that it sees, uint8 (h, w, 3).
        photo: the name of the photo.
    """

    value: float
    at: tuple[int, int]
    patch: np.ndarray
    photo: str = ""


def peaks(
    values: np.ndarray,
    photo: np.ndarray,
    field: ReceptiveField,
    count: int,
    name: str = "",
) -> list[Peak]:
    """Find the neurons that a photo excites most.

    No peak sees the middle of what another one sees.

    Args:
        values: a feature map, (h, w); only values above 0 count.
        photo: uint8 (h, w, 3).
        field: the receptive field of the map's layer.
        count: the largest number of peaks.
        name: the name of the photo.

    Returns:
        The peaks, the strongest first; fewer than ``count`` if there are no more.
    """
    remaining, peaks = values.astype(float), []
    while len(peaks) < count and remaining.max() > 0:
        row, column = map(int, np.unravel_index(int(remaining.argmax()), remaining.shape))
        (top, bottom), (left, right) = field.box(row, column)
        patch = photo[top:bottom, left:right]
        peaks.append(Peak(float(remaining[row, column]), (row, column), patch, name))
        # Half of the patch, in neurons.
        down = max(1, (bottom - top) * values.shape[0] // (2 * photo.shape[0]))
        across = max(1, (right - left) * values.shape[1] // (2 * photo.shape[1]))
        rows = slice(max(row - down, 0), row + down + 1)
        remaining[rows, max(column - across, 0) : column + across + 1] = 0
    return peaks
