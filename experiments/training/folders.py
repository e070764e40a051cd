"""A data set from a folder of pictures, with one folder per class."""

import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from experiments.training.downloads import tenths
from experiments.training.images import DataSet, divided, held_back
from experiments.training.recipes import Data, TrainingError
from jaxconv.plotting.photos import PhotoError, open_photo

NAMED = 3  # at most this many bad files are named


def folder(data: Data, seed: int, notify: Callable[[str], None]) -> DataSet:
    """Open a folder with one folder per class, or ``train`` and ``test`` with one folder per class.

    Each picture is decoded once, upright and in colour. Its shorter side is resized to
    ``data.size``, and the centre square is cropped. The result is stored in a memory-mapped
    temporary file, so any number of pictures fits, and damaged files are found before training.

    Args:
        data: path, picture size, share to test with (without a given split), and whether to skip
            bad files.
        seed: seed of the split, if none is given.
        notify: receives messages about the progress.

    Raises:
        TrainingError: there are not enough pictures of two classes to train and to test with.
    """
    root = _root(data)
    parts = _parts(root)
    names = _names(parts)
    files = [
        (path, label, part)
        for part, names_of in enumerate(parts)
        for label, name in enumerate(names)
        for path in _files(names_of / name)
    ]
    paths, labels, part = zip(*files, strict=True)
    images, bad = _decoded(paths, data.size, notify)
    notes = _skipped(bad, len(paths), data.skip_bad)
    good = [path not in bad for path in paths]
    labels, part = np.array(labels)[good], np.array(part)[good]
    _check_counts(labels, part, parts, names)
    test = part == 1 if len(parts) == 2 else held_back(labels, data.held_back, seed)
    return DataSet(*divided(images, labels, test), names, notes + _unused(root, parts))


def _root(data: Data) -> Path:
    if data.path is None:
        raise TrainingError(
            "The data set folder needs a path. Fix: pass --data.path, a folder that has one folder "
            "of pictures per class."
        )
    if not data.path.is_dir():
        raise TrainingError(f"There is no folder {data.path}. Fix: check --data.path.")
    if data.size < 1:
        raise TrainingError(
            f"Pictures cannot be {data.size} pixels wide. Fix: pass --data.size 1 or more."
        )
    return data.path


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _files(path: Path) -> list[Path]:
    """Return all files below a folder, except hidden ones, in the same order on each machine."""
    return sorted(
        p
        for p in path.rglob("*")
        if p.is_file() and not any(part.startswith(".") for part in p.relative_to(path).parts)
    )


def _parts(root: Path) -> tuple[Path, ...]:
    """Return the parents of the class folders: for training and for testing, or one for both."""
    train, test = root / "train", root / "test"
    if not (train.is_dir() and _folders(train)):
        return (root,)
    if not (test.is_dir() and _folders(test)):
        raise TrainingError(
            f"{train} has folders of classes, but {test} has none. Fix: put the test pictures "
            f"there, or pass --data.path {train} to hold back a share of them."
        )
    return train, test


def _names(parts: Sequence[Path]) -> tuple[str, ...]:
    """Return the names of the classes: two or more, the same in all parts, each with files."""
    classes = {part: {folder.name for folder in _folders(part)} for part in parts}
    if odd := set.symmetric_difference(*classes.values()) if len(parts) == 2 else set():
        name = min(odd)
        has, lacks = sorted(parts, key=lambda part: name not in classes[part])
        raise TrainingError(
            f"{has} has a class {name!r}, but {lacks} has none. Fix: give both the same folders."
        )
    names = tuple(sorted(classes[parts[0]]))
    if len(names) < 2:
        only = f"one folder of a class, {names[0]}" if names else "no folders of classes"
        raise TrainingError(
            f"{parts[0]} has {only}, but a classifier needs two. Fix: put one folder of pictures "
            "per class into it."
        )
    for path in (part / name for part in parts for name in names):
        if not _files(path):
            raise TrainingError(
                f"{path} is empty. Fix: put pictures of the class {path.name!r} into it, or "
                "remove it."
            )
    return names


def _decoded(
    paths: Sequence[Path], size: int, notify: Callable[[str], None]
) -> tuple[np.ndarray, dict[Path, str]]:
    """Decode all pictures.

    Returns:
        The readable pictures, uint8 (n, size, size, 3), and the problems of the others.
    """
    notify(f"Reading {len(paths):,} pictures.")
    progress, bad = tenths(len(paths), notify, "of the pictures read."), {}
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        # All threads share the filters of warnings. `open_photo` sets these filters and restores
        # the previous ones. If all are the same, threads cannot restore wrong filters.
        with warnings.catch_warnings(), tempfile.TemporaryFile() as file:
            _refuse_bombs()
            for done, pixels in enumerate(pool.map(partial(_square, size=size), paths), 1):
                if isinstance(pixels, str):
                    bad[paths[done - 1]] = pixels
                else:
                    file.write(pixels.tobytes())
                progress(done)
            file.flush()
            return _mapped(file, (len(paths) - len(bad), size, size, 3)), bad
    except OSError as error:
        raise TrainingError(
            f"The decoded pictures cannot be stored in {tempfile.gettempdir()}: {error.strerror}. "
            "Fix: set TMPDIR to a folder with more space, or pass a smaller --data.size."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _refuse_bombs() -> None:
    from PIL import Image

    warnings.simplefilter("error", Image.DecompressionBombWarning)
    warnings.simplefilter("ignore", UserWarning)


def _square(path: Path, size: int) -> np.ndarray | str:
    """Return the centre of a picture, uint8 (size, size, 3), or a message about the problem."""
    try:
        pixels = open_photo(path, size)
    except PhotoError as error:
        return str(error).split(" Fix:")[0]
    top, left = ((side - size) // 2 for side in pixels.shape[:2])
    return pixels[top : top + size, left : left + size]


def _mapped(file: IO[bytes], shape: tuple[int, ...]) -> np.ndarray:
    return np.memmap(file, np.uint8, "r", shape=shape) if shape[0] else np.zeros(shape, np.uint8)


def _skipped(bad: dict[Path, str], count: int, skip: bool) -> tuple[str, ...]:
    """Return a note about bad files, or raise an error if they must not be skipped."""
    if not bad:
        return ()
    more = f" And {len(bad) - NAMED} more." if len(bad) > NAMED else ""
    which = f"{len(bad):,} of {count:,} files: {' '.join([*bad.values()][:NAMED])}{more}"
    if not skip:
        raise TrainingError(
            f"Unreadable pictures: {which} Fix: repair or remove them, or pass --data.skip-bad."
        )
    return (f"Skipped {which}",)


def _check_counts(
    labels: np.ndarray, part: np.ndarray, parts: Sequence[Path], names: Sequence[str]
) -> None:
    """Check that each class has a picture in each part, or two if some are held back."""
    counts = Counter(zip(part.tolist(), labels.tolist(), strict=True))
    needed = 3 - len(parts)
    for place, path in enumerate(parts):
        for label, name in enumerate(names):
            if (count := counts[place, label]) < needed:
                raise TrainingError(
                    f"{path / name} has {count} readable pictures, but training and testing need "
                    f"at least {needed}. Fix: add some, or remove the folder."
                )


def _unused(root: Path, parts: Sequence[Path]) -> tuple[str, ...]:
    """Return a note about files and folders that are not used."""
    used = set(parts) if len(parts) == 2 else set(_folders(root))
    beside = sorted(p.name for p in root.iterdir() if p not in used and p.name[0] != ".")
    if not beside:
        return ()
    more = f" and {len(beside) - NAMED} more" if len(beside) > NAMED else ""
    return (f"Not used in {root}: {', '.join(beside[:NAMED])}{more}.",)
