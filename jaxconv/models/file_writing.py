"""Files that are written as a whole or not at all."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from jaxconv.models.errors import WeightsError


def replace_file(path: Path, content: bytes) -> None:
    """Write a file; until it is complete, one that is there stays as it is.

    Args:
        path: of the file.
        content: of it.

    Raises:
        OSError: it cannot be written.
    """
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", suffix=".part", delete=False
    ) as file:
        partial = Path(file.name)
        try:
            file.write(content)
            file.close()
            umask = os.umask(0)
            os.umask(umask)
            partial.chmod(0o666 & ~umask)  # a temporary file is readable by its owner only
            partial.replace(path)
        except BaseException:  # also where the user interrupts
            partial.unlink(missing_ok=True)
            raise


def write_file(path: Path, content: bytes) -> None:
    """Do what :func:`replace_file` does for a user's file.

    Args:
        path: of the file.
        content: of it.

    Raises:
        WeightsError: it cannot be written.
    """
    try:
        replace_file(path, content)
    except OSError as error:
        raise _unwritable(path, error) from None


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder: all of them, or none if one does not fit on the disk.

    Args:
        path: of the folder, which is made if it is not there; its other files stay.
        files: their contents, by name.

    Raises:
        WeightsError: they cannot be written.
    """
    scratch = str(path)
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
            for name, content in files.items():
                write_file(Path(scratch, name), content)
            path.mkdir(exist_ok=True)
            folders = [path / name for name in files if (path / name).is_dir()]
            if folders:  # which no file replaces
                raise IsADirectoryError(errno.EISDIR, f"{folders[0].name} in it is a folder")
            try:
                for name in files:
                    Path(scratch, name).replace(path / name)
            except BaseException:
                if is_new:
                    shutil.rmtree(path, ignore_errors=True)
                raise
    except WeightsError as error:
        _remove_empty(missing)
        raise WeightsError(str(error).replace(scratch, str(path))) from None
    except OSError as error:
        _remove_empty(missing)
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> WeightsError:
    reason = error.strerror or str(error)
    return WeightsError(f"{path} cannot be written: {reason}. Fix: choose another place.")


def _remove_empty(folders: Iterable[Path]) -> None:
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()
