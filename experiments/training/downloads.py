"""Downloads: complete or not at all, with messages about the progress."""

from collections.abc import Callable
from pathlib import Path

from experiments.training.recipes import TrainingError


def download(
    url: str, path: Path, notify: Callable[[str], None], known_hash: str | None = None
) -> Path:
    """Download a file unless it is there; its reader verifies its content each time.

    Args:
        url: where it is published.
        path: where it will be, whole or not at all; folders are made.
        notify: takes sentences on the progress.
        known_hash: of the file, such as "md5:c32a..."; a download with another is discarded.

    Returns:
        ``path``.

    Raises:
        TrainingError: it cannot be reached or stored, or has another hash.
    """
    if path.exists():
        return path
    import pooch

    pooch.get_logger().setLevel("WARNING")  # its message about the download is sent below
    notify(f"Downloading {url} into {path.parent}.")
    progress = _Progress(notify, f"of {path.name} downloaded.")
    # pooch documents any object with the methods of a progress bar, but its annotation says bool.
    # Its protocol of a downloader has other parameter names than its own downloaders.
    downloader = pooch.HTTPDownloader(
        progressbar=progress,  # pyright: ignore[reportArgumentType]
        chunk_size=1 << 18,
        timeout=30,
    )
    try:
        pooch.retrieve(
            url,
            known_hash,
            path.name,
            path.parent,
            downloader=downloader,  # pyright: ignore[reportArgumentType]
        )
    except (OSError, ValueError) as error:  # a ValueError says that the hash is another
        raise TrainingError(
            f"{url} cannot be downloaded into {path.parent}: {error}. Fix: try again, or download "
            "it elsewhere and pass where it is as --data.path."
        ) from None
    return path


class _Progress:
    """What pooch takes as a progress bar; it reports each tenth in a sentence.

    Attributes:
        total: bytes of the file, 0 if unknown; set by pooch.
    """

    total = 0

    def __init__(self, notify: Callable[[str], None], done: str) -> None:
        self._notify, self._done = notify, done
        self._count = 0
        self._report: Callable[[int], None] | None = None

    def update(self, count: int) -> None:
        self._count += count
        if self._report is None:
            self._report = tenths(self.total, self._notify, self._done)
        self._report(min(self._count, self.total))  # the last chunk is counted as a full one

    def reset(self) -> None:
        self._count = 0

    def close(self) -> None:
        pass


def tenths(total: int | None, notify: Callable[[str], None], done: str) -> Callable[[int], None]:
    """Make a function that takes how much is done, and reports each full tenth of the total once.

    Args:
        total: how much there is to do; None or 0 where that is unknown, and nothing is reported.
        notify: takes sentences.
        done: the end of each sentence.

    Returns:
        The function.
    """
    reported = 0

    def progress(count: int) -> None:
        nonlocal reported
        tenth = 10 * count // total if total else 0
        if tenth > reported:
            reported = tenth
            notify(f"{10 * tenth} % {done}")

    return progress
