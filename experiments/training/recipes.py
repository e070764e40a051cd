"""Recipes: all that a training depends on, as plain data."""

from dataclasses import dataclass
from pathlib import Path


class TrainingError(ValueError):
    """A training that cannot begin or go on; the message says why and the fix."""


@dataclass(frozen=True)
class Data:
    """What is learned.

    Attributes:
        name: of a data set: digits, fashion-mnist, cifar10 or folder.
        path: of its files, where they are not found or fetched by themselves.
        held_back: the share of each class to test with, where the set itself has no test split.
        batch: images a step, over all devices and processes.
        size: pixels of each side that pictures of a folder are brought to.
        skip_bad: leave out files of a folder that are no readable pictures, rather than stop.
    """

    name: str
    path: Path | None = None
    held_back: float = 0.2
    batch: int = 64
    size: int = 64
    skip_bad: bool = True


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied; the defaults leave them alone.

    Attributes:
        pad_crop: pixels of zeros put around an image before a part of its size is cut out.
        flip: mirror left and right, half of the images.
        cutout: pixels of each side of a square that is set to zero.
    """

    pad_crop: int = 0
    flip: bool = False
    cutout: int = 0
