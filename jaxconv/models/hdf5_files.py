"""Files of weights of Keras (.h5, .weights.h5), which are HDF5."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv.models.errors import WeightsError

MAGIC = b"\x89HDF\r\n\x1a\n"
SKIPPED = ("optimizer", "optimizer_weights")  # of the training, at the root
FIX = "Fix: write it with model.save_weights() of Keras, which neither links nor compresses arrays."


def read_hdf5(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of a file, which may have none outside it or larger than it is.

    Args:
        path: of the file.

    Returns:
        The arrays by their paths in the file, such as "layers/conv2d/vars/0".

    Raises:
        WeightsError: a link, or an array that the file cannot have.
        Exception: of many types, where the file is damaged.
    """
    import h5py

    datasets: dict[str, Any] = {}
    with h5py.File(path, "r") as file:
        groups: list[tuple[str, Any]] = [("", file)]
        seen = set()
        while groups:
            prefix, group = groups.pop()
            for name in group:
                link = group.get(name, getlink=True)
                if not isinstance(link, h5py.HardLink):
                    kind = type(link).__name__
                    wrong = f"its {prefix}{name} is a link ({kind}), which is not read."
                    raise WeightsError(f"{wrong} {FIX}")
                entry = group[name]
                if entry in seen:  # a group may contain itself
                    raise WeightsError(f"its {prefix}{name} is there more than once. {FIX}")
                seen.add(entry)
                if isinstance(entry, h5py.Group) and not (prefix == "" and name in SKIPPED):
                    groups.append((f"{prefix}{name}/", entry))
                elif isinstance(entry, h5py.Dataset):
                    datasets[f"{prefix}{name}"] = entry
        _check(datasets, path.stat().st_size)
        return {name: dataset[()] for name, dataset in datasets.items()}


def _check(datasets: dict[str, Any], size: int) -> None:
    """Refuse arrays of anything but numbers, data of other files, and what a file cannot have."""
    for name, dataset in datasets.items():
        if dataset.dtype.kind not in "fiu" or dataset.shape is None:
            raise WeightsError(f"its {name} is not an array of numbers. {FIX}")
        if dataset.is_virtual or dataset.external:
            wrong = f"its {name} has its data in another file, which is not read."
            raise WeightsError(f"{wrong} {FIX}")
    claimed = sum(math.prod(map(int, d.shape)) * d.dtype.itemsize for d in datasets.values())
    if claimed > size:  # compressed, or never written
        wrong = f"its arrays would take {claimed:,} bytes, but the file has {size:,}."
        raise WeightsError(f"{wrong} {FIX}")
