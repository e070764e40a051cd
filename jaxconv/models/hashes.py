"""The hashes of files."""

import hashlib
import re
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


def verify_etag(path: Path, etag: str | None) -> None:
    """Compare a file with the hash that the Hugging Face hub gives it.

    Args:
        path: the file.
        etag: the sha256 of a large file, the hash of Git of a small one; anything else says
            nothing about the content.

    Raises:
        WeightsError: they differ.
    """
    if re.fullmatch("[0-9a-f]{64}", etag or ""):
        verify(path, etag or "")
    elif re.fullmatch("[0-9a-f]{40}", etag or ""):
        content = path.read_bytes()
        actual = hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest()
        if actual != etag:
            raise WeightsError(
                f"{path.resolve()} is damaged: its hash is {actual}, but the hub says {etag}. "
                "Fix: delete this file; it is then downloaded again."
            )
