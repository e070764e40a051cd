"""Where a feature map is strongest: one place in each neighbourhood."""

from typing import NamedTuple

import numpy as np

from jaxconv.analysis.receptive_field import ReceptiveField


class Peak(NamedTuple):
    """A neuron that is stronger than those around it.

    Attributes:
        value: in the feature map.
        at: its place there.
        seen: the piece of the photo that it sees, uint8 (h, w, 3).
        photo: the name of that.
    """

    value: float
    at: tuple[int, int]
    seen: np.ndarray
    photo: str = ""


def peaks(
    values: np.ndarray,
    photo: np.ndarray,
    sees: ReceptiveField,
    count: int,
    name: str = "",
) -> list[Peak]:
    """The neurons that a photo excites most, none of which sees the middle of what another sees.

    Args:
        values: (h, w), a feature map; only numbers above 0 count.
        photo: uint8, (h, w, 3).
        sees: what the neurons of its layer see of the photo.
        count: how many, at most.
        name: of the photo.

    Returns:
        The peaks, the strongest first; fewer than ``count`` where there are no more.
    """
    left, found = values.astype(float), []
    while len(found) < count and left.max() > 0:
        at = np.unravel_index(int(left.argmax()), left.shape)
        at = (int(at[0]), int(at[1]))
        (top, bottom), (first, end) = sees.box(*at)
        found.append(Peak(float(left[at]), at, photo[top:bottom, first:end], name))
        half = [
            max(1, (bottom - top) * values.shape[0] // (2 * photo.shape[0])),
            max(1, (end - first) * values.shape[1] // (2 * photo.shape[1])),
        ]
        y, x = (slice(max(n - k, 0), n + k + 1) for n, k in zip(at, half, strict=True))
        left[y, x] = 0
    return found
