"""The classes that a classifier finds most probable, and the names of those of ImageNet."""

import functools
from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

import numpy as np

IMAGENET_FILE = "imagenet_classes.txt"  # the WordNet number and the name of each class, in order
IMAGENET_COUNT = 1000
TOLERANCE = 1e-3  # of the sum of probabilities, which some models return rather than logits


class ClassShare(NamedTuple):
    """A class and how probable it is.

    Attributes:
        number: of the output, from 0.
        name: of the class.
        probability: from 0 to 1.
    """

    number: int
    name: str
    probability: float


@functools.cache
def imagenet_classes() -> tuple[str, ...]:
    """Return the names of the 1,000 classes of ImageNet, in the order of the outputs."""
    text = resources.files("jaxconv.analysis").joinpath(IMAGENET_FILE).read_text("utf-8")
    return tuple(line.partition(" ")[2] for line in text.splitlines())


def is_classification(shape: Sequence[int]) -> bool:
    """Whether outputs of this shape are one number for each class of ImageNet.

    Args:
        shape: of the outputs for one image.
    """
    return tuple(shape) == (1, IMAGENET_COUNT)


def top_classes(
    outputs: np.ndarray, count: int = 5, names: Sequence[str] | None = None
) -> list[ClassShare]:
    """Return the most probable classes.

    Args:
        outputs: (1, classes), logits, or probabilities: numbers from 0 on whose sum is 1.
        count: how many to return.
        names: of the classes; default: those of ImageNet for 1,000 outputs, else "class 0" and so
            on.

    Returns:
        The classes, the most probable first; of equal ones, the first.

    Raises:
        ValueError: outputs of another shape, or that are not finite.
    """
    values = np.asarray(outputs, np.float64)
    if values.ndim != 2 or len(values) != 1 or not np.isfinite(values).all():
        raise ValueError("outputs must be finite, of shape (1, classes).")
    (logits,) = values
    named = [f"class {number}" for number in range(len(logits))] if names is None else [*names]
    if names is None and len(logits) == IMAGENET_COUNT:
        named = [*imagenet_classes()]
    is_probability = logits.min() >= 0 and abs(logits.sum() - 1) <= TOLERANCE
    powers = logits if is_probability else np.exp(logits - logits.max())
    shares = powers / powers.sum()
    best = np.argsort(-shares, kind="stable")[:count]
    return [ClassShare(int(n), named[n], float(shares[n])) for n in best]
