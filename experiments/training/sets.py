"""Data sets by name.

- ``digits``: 1,797 handwritten digits of 8x8 pixels that scikit-learn ships.
- ``fashion-mnist``: 70,000 pictures of clothes, 28x28 pixels, by Zalando.
- ``cifar10``: 60,000 photos, 32x32 pixels, by Krizhevsky.
- ``folder``: your own folder, with one folder of pictures per class.
"""

import difflib
from collections.abc import Callable

from experiments.training.folders import folder
from experiments.training.images import DataSet, Source
from experiments.training.published import cifar10, digits, fashion_mnist
from experiments.training.recipes import Data, TrainingError

__all__ = ["SETS", "DataSet", "Source", "open_set"]

Opener = Callable[[Data, int, Callable[[str], None]], DataSet]
SETS: dict[str, Opener] = {
    "digits": lambda data, _seed, _notify: digits(data),
    "fashion-mnist": lambda data, _seed, notify: fashion_mnist(data, notify),
    "cifar10": lambda data, _seed, notify: cifar10(data, notify),
    "folder": folder,
}


def open_set(data: Data, seed: int, notify: Callable[[str], None]) -> DataSet:
    """Open a data set.

    Args:
        data: name and location of the data set.
        seed: seed of the split of a folder; other data sets have the same split for all seeds.
        notify: receives messages about the progress.

    Returns:
        The two splits.

    Raises:
        TrainingError: the data set is unknown, unavailable or damaged.
    """
    if data.name not in SETS:
        near = difflib.get_close_matches(data.name, SETS, 1)
        known = ", ".join(sorted(SETS, key=lambda name: name not in near))
        raise TrainingError(f"There is no data set {data.name!r}. Fix: choose one of {known}.")
    try:
        return SETS[data.name](data, seed, notify)
    except ModuleNotFoundError as error:
        raise TrainingError(
            f"The data set {data.name} needs {error.name}, which is not installed. "
            "Fix: python -m pip install -e '.[experiments]' in a checkout."
        ) from None
    except OSError as error:
        where = error.filename or data.path or data.name
        raise TrainingError(
            f"{where} cannot be read: {error.strerror or error}. Fix: check the file and its "
            "permissions."
        ) from None
