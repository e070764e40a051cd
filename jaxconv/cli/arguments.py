"""What several commands take: numbers, sizes, points, and files to write to."""

import argparse
import io
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = (".png", ".jpg", ".svg", ".pdf")


class UsageError(ValueError):
    """Arguments that make no sense; the message says which and the fix."""


def positive(text: str) -> int:
    """Read a whole number from 1 up."""
    if not re.fullmatch("0*[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 999999999")
    return int(text)


def sizes(text: str) -> tuple[int, ...]:
    """Read sizes such as ``3x5``."""
    return tuple(positive(part) for part in re.split("[xX]", text))


def point(text: str) -> dict[str, int]:
    """Read sizes such as ``b=1,h=224``."""
    found = re.findall(r"\s*([A-Za-z_]\w*)\s*=\s*([0-9]{1,9})\s*(?:,|$)", text)
    if not found or re.sub(r"\s", "", text) != ",".join(f"{name}={n}" for name, n in found):
        raise UsageError(f"--at {text} cannot be read. Fix: write it as b=1,h=224,w=224.")
    return {name: int(n) for name, n in found}


def check_writable(out: Path, suffixes: Sequence[str], photo: Path | None = None) -> None:
    """Refuse what cannot be written, before any work is done for it.

    Args:
        out: what will be written.
        suffixes: those that it may have.
        photo: what it must not replace.
    """
    if out.suffix.lower() not in suffixes:
        raise UsageError(f"{out} is of no known format. Fix: end it in {', '.join(suffixes)}.")
    if photo is not None and out.resolve() == photo.resolve():
        unwritable(out, "it is the photo itself")
    if out.is_dir():
        unwritable(out, "it is a folder")
    try:
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        unwritable(out, error.strerror)


def unwritable(out: Path, reason: object) -> NoReturn:
    """Say why a file cannot be written, and what to do."""
    raise UsageError(f"{out} cannot be written: {reason}. Fix: pass another --out.")


def drawn(picture: "Figure", out: Path) -> bytes:
    """A figure in the format that the name of a file asks for."""
    import matplotlib as mpl

    content = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none"}):  # text that can be searched, not outlines
        picture.savefig(content, format=out.suffix[1:].lower(), dpi=110)
    return content.getvalue()


def save(content: bytes, out: Path) -> None:
    """Write a whole file or nothing."""
    partial = out.with_name(f".{out.name}.part")
    try:
        partial.write_bytes(content)
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        unwritable(out, error.strerror)
    print(f"wrote {out}")
