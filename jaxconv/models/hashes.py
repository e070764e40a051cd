"""The sha256 of files."""

import hashlib
from pathlib import Path

from jaxconv.models.errors import WeightsError


def verify(path: Path, sha256: str) -> None:
    """Compare the sha256 of a file with the published one.

    Args:
        path: the file.
        sha256: the published hash, in hexadecimal, or its first digits.

    Raises:
        WeightsError: they differ.
    """
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if not actual.startswith(sha256):
        must = "be" if len(sha256) == len(actual) else "begin with"
        raise WeightsError(
            f"{path.resolve()} is damaged or not the published file: its sha256 is {actual}, but "
            f"must {must} {sha256}. Fix: delete this file; it is then downloaded again."
        )
