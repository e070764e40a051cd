"""Arguments that several commands take: numbers, sizes, and files to write."""

import argparse
import io
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from jaxconv.cli.progress import doing
from jaxconv.models.file_writing import replace_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = (".png", ".jpg", ".svg", ".pdf")
OBJECT_HELP = "pkg.module:name, FILE.py:make(classes=10), notebook.ipynb:Net, or vgg16"
CONDITION_HELP = 'a condition on the sizes, such as "h >= 32 and w == h"'


class UsageError(ValueError):
    """Invalid arguments; the message says which, and how to fix them."""


def positive(text: str) -> int:
    """Read a whole number from 1 up.

    Args:
        text: of at most 9 digits.

    Raises:
        ArgumentTypeError: it is something else.
    """
    if not re.fullmatch("0*[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 999999999")
    return int(text)


def parse_sizes(text: str) -> tuple[int, ...]:
    """Read sizes.

    Args:
        text: such as ``3x5``.

    Raises:
        ArgumentTypeError: a part is not a whole number from 1 up.
    """
    return tuple(positive(part) for part in re.split("[xX]", text))


def parse_point(text: str) -> dict[str, int]:
    """Read numbers for the names of sizes.

    Args:
        text: such as ``b=1,h=224``.

    Raises:
        UsageError: it is written in another way.
    """
    pairs = re.findall(r"\s*([A-Za-z_]\w*)\s*=\s*([0-9]{1,9})\s*(?:,|$)", text)
    if not pairs or re.sub(r"\s", "", text) != ",".join(f"{name}={n}" for name, n in pairs):
        raise UsageError(f"--at {text} cannot be read. Fix: write it as b=1,h=224,w=224.")
    return {name: int(n) for name, n in pairs}


def layer_name(text: str) -> str | int:
    """Read the name of a layer, or its number.

    Args:
        text: such as ``conv3_2`` or ``7``.
    """
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else text


def file_of_model(model: str, suffix: str) -> Path:
    """Name a file like a model: ``Net.svg`` for ``pkg.models:Net(classes=10)``.

    Args:
        model: as the user writes it.
        suffix: of the file.
    """
    stem = re.sub(r"\W", "_", model.partition("(")[0].rpartition(":")[2])
    return Path(f"{stem}{suffix}")


def check_writable(out: Path, suffixes: Sequence[str], photo: Path | None = None) -> None:
    """Reject a file that cannot be written, before any work is done for it.

    Args:
        out: the file.
        suffixes: those that it may have.
        photo: the file that it must not replace.

    Raises:
        UsageError: it cannot be written.
    """
    if out.suffix.lower() not in suffixes:
        raise UsageError(
            f"{out} has an unknown format. Fix: choose a name that ends in {', '.join(suffixes)}."
        )
    if photo is not None and out.resolve() == photo.resolve():
        _unwritable(out, "it is the photo itself")
    try:
        if out.is_dir():
            _unwritable(out, "it is a folder")
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        _unwritable(out, error.strerror)


def _unwritable(out: Path, reason: object) -> NoReturn:
    raise UsageError(f"{out} cannot be written: {reason}. Fix: pass another --out.")


def render(figure: "Figure", out: Path) -> bytes:
    """Render a figure in the format of a file.

    Args:
        figure: of matplotlib.
        out: the file, whose suffix names the format.

    Returns:
        The content of the file.
    """
    import matplotlib as mpl

    content = io.BytesIO()
    searchable = mpl.rc_context({"svg.fonttype": "none"})  # text rather than outlines
    with doing(f"drawing {out.name}"), searchable:
        figure.savefig(content, format=out.suffix[1:].lower(), dpi=110)
    return content.getvalue()


def save(content: bytes, out: Path) -> None:
    """Write a whole file or nothing, and print its name.

    Args:
        content: of the file.
        out: the file.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        replace_file(out, content)
    except OSError as error:
        _unwritable(out, error.strerror)
    print(f"wrote {out}")
