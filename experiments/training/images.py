"""The images of a split, read by index, and the two splits of a data set."""

import math
from dataclasses import dataclass

import numpy as np

from experiments.training.recipes import TrainingError


@dataclass(frozen=True)
class Source:
    """The images of one split.

    Attributes:
        images: uint8, shape (all, h, w, c), including those of other splits; may be a
            memory-mapped file.
        labels: int32, shape (all,).
        rows: indices of the images of this split, shape (n,).
    """

    images: np.ndarray
    labels: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Read images and labels.

        Args:
            indices: integers below the length, shape (b,).

        Returns:
            uint8, shape (b, h, w, c), and int32, shape (b,).
        """
        rows = self.rows[indices]
        return self.images[rows], self.labels[rows]


@dataclass(frozen=True)
class DataSet:
    """Images to train and to test with.

    Attributes:
        train: images to train with.
        test: images to test with, none of which is in ``train``.
        names: names of the classes, by label.
        notes: messages, such as which files were skipped.
    """

    train: Source
    test: Source
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def whole(images: np.ndarray, labels: np.ndarray) -> Source:
    """Return all images as one split. Labels may have any integer dtype.

    Args:
        images: uint8 (n, h, w, c).
        labels: (n,).

    Returns:
        The split.
    """
    return Source(images, labels.astype(np.int32), np.arange(len(images)))


def divided(images: np.ndarray, labels: np.ndarray, test: np.ndarray) -> tuple[Source, Source]:
    """Split one array into images to train and to test with; ``test`` is bool, shape (all,).

    Args:
        images: uint8 (all, h, w, c).
        labels: (all,).
        test: which images are for testing, bool (all,).

    Returns:
        The training and the test split.
    """
    labels = labels.astype(np.int32)
    train, test = np.flatnonzero(~test), np.flatnonzero(test)
    return Source(images, labels, train), Source(images, labels, test)


def held_back(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Choose a random share of each class: at least one image, and not all of two or more.

    Args:
        labels: integers, shape (n,).
        share: between 0 and 1, exclusive; the number per class is rounded.
        seed: seed of the choice.

    Returns:
        bool, shape (n,).

    Raises:
        TrainingError: the share is out of range.
    """
    if not 0 < share < 1 or math.isnan(share):
        raise TrainingError(
            f"A share of {share} cannot be held back to test with. Fix: pass --data.held-back "
            "more than 0 and less than 1, such as 0.2."
        )
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = min(max(round(len(rows) * share), 1), len(rows) - 1)
        # Each class has its own generator, so adding a picture to one class changes no other class.
        chosen[np.random.default_rng([seed, label]).permutation(rows)[:count]] = True
    return chosen
