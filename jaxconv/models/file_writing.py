"""Files that are written as a whole or not at all."""

import os
import tempfile
from pathlib import Path

from jaxconv.models.errors import WeightsError


def write_file(path: Path, content: bytes) -> None:
    """Write a file; until it is complete, one that is there stays as it is.

    Args:
        path: of the file.
        content: of it.

    Raises:
        WeightsError: it cannot be written.
    """
    partial = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", suffix=".part", delete=False
        ) as file:
            partial = Path(file.name)
            file.write(content)
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o666 & ~umask)  # a temporary file is readable by its owner only
        partial.replace(path)
    except OSError as error:
        if partial:
            partial.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise WeightsError(
            f"{path} cannot be written: {reason}. Fix: choose another place."
        ) from None
