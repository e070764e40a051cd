"""Downloads: complete or not at all, with messages about the progress."""

import http.client
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO

from experiments.training.recipes import TrainingError


def download(url: str, path: Path, tell: Callable[[str], None]) -> Path:
    """Fetch a file unless it is there; what is in it is for its reader to verify, each time.

    Args:
        url: where it is published.
        path: where it will be, in whole; folders are made.
        tell: takes sentences on the progress.

    Returns:
        ``path``.

    Raises:
        TrainingError: it cannot be reached or stored.
    """
    if path.exists():
        return path
    tell(f"Downloading {url} into {path.parent}.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            partial = Path(scratch) / path.name
            with urllib.request.urlopen(url, timeout=30) as answer, partial.open("wb") as file:
                _copy(answer, file, tenths(answer.length, tell, f"of {path.name} downloaded."))
            return partial.replace(path)
    except (OSError, http.client.HTTPException) as error:
        raise TrainingError(
            f"{url} cannot be downloaded into {path.parent}: {error}. Fix: try again, or download "
            "it elsewhere and pass where it is as --data.path."
        ) from None


def tenths(total: int | None, tell: Callable[[str], None], done: str) -> Callable[[int], None]:
    """Make a function that takes how much is done, and tells each full tenth of the total once."""
    told = 0

    def progress(count: int) -> None:
        nonlocal told
        tenth = 10 * count // total if total else 0
        if tenth > told:
            told = tenth
            tell(f"{10 * tenth} % {done}")

    return progress


def _copy(
    answer: http.client.HTTPResponse, file: IO[bytes], progress: Callable[[int], None]
) -> None:
    """Copy what is sent, and refuse less than was announced."""
    announced, count = answer.length, 0
    while chunk := answer.read(1 << 18):
        file.write(chunk)
        count += len(chunk)
        progress(count)
    if announced is not None and count < announced:
        raise OSError(f"the connection ended after {count:,} of {announced:,} bytes")
