"""Pages whose code is run: README.md, and those of docs/ that have any.

The ``python`` blocks of a page run in order, in one namespace and an empty folder. What a block
prints is the ``text`` block right after it; what it saves in ``pictures/`` looks like the picture
of that name beside the page.

    python -m tests.support.documents                                 # what differs, on all pages
    python -m tests.support.documents --write docs/feature-maps.md    # write down what came out
"""

import argparse
import contextlib
import difflib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"\]\((pictures/[^)]+)\)")
NEAR = 2.0  # mean absolute difference of two pictures, of 0 to 255, that no reader would see
LARGE = 50_000  # bytes


@dataclass(frozen=True)
class Page:
    """A document, and where it lies."""

    path: Path

    @property
    def text(self) -> str:
        return self.path.read_text()

    @property
    def blocks(self) -> list[re.Match[str]]:
        return [*BLOCK.finditer(self.text)]

    @property
    def fetches(self) -> bool:
        """Whether its code needs the published weights."""
        return any('weights="imagenet"' in block[1] for block in self.blocks)

    def run(self, folder: Path) -> list[str]:
        """Run all blocks in a folder; what each of them prints."""
        (folder / "pictures").mkdir()
        os.environ.setdefault("MPLBACKEND", "Agg")
        names = {"__name__": "__page__"}
        with contextlib.chdir(folder):
            return [self._printed(block, names) for block in self.blocks]

    def _printed(self, block: re.Match[str], names: dict[str, object]) -> str:
        above = "\n" * self.text.count("\n", 0, block.start(1))  # so that errors name the line
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(above + block[1], str(self.path), "exec"), names)
        return printed.getvalue()

    def problems(self) -> Iterator[str]:
        """What its code does otherwise than it says."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for block, printed in zip(self.blocks, self.run(folder), strict=True):
                if printed != (block[2] or ""):
                    yield f"{self._place(block)} prints otherwise:\n{_diff(block[2], printed)}"
            yield from self._picture_problems(folder)

    def _place(self, block: re.Match[str]) -> str:
        return f"{self.path.name}:{self.text.count(chr(10), 0, block.start(1)) + 1}"

    def _picture_problems(self, folder: Path) -> Iterator[str]:
        made, shown = _pictures(folder), set(SHOWN.findall(self.text))
        for name in sorted(made ^ shown):
            wrong = "is shown, but not made" if name in shown else "is made, but not shown"
            yield f"{self.path.name}: {name} {wrong}."
        for name in sorted(made & shown):
            if difference := unlike(folder / name, self.path.parent / name):
                yield f"{self.path.name}: {name} {difference}."

    def write(self) -> None:
        """Put down what its code prints and draws."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            outputs = iter(self.run(folder))
            text = BLOCK.sub(lambda block: _block(block[1], next(outputs)), self.text)
            for picture in _pictures(folder):
                _keep(folder / picture, self.path.parent / picture)
        moved = text.count("\n") != self.text.count("\n")
        self.path.write_text(text)
        if moved:  # what it prints may name its lines
            self.write()


def pages() -> list[Page]:
    """All documents that have code."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in map(Page, paths) if page.blocks]


def unlike(made: Path, kept: Path) -> str:
    """In which way two pictures differ, as far as a reader would see; empty where they do not."""
    from PIL import Image

    if not kept.is_file():
        return "is not there"
    with Image.open(made) as new, Image.open(kept) as old:
        if new.size != old.size:
            return f"is {old.size}, but the code makes {new.size}"
        pixels = [np.asarray(picture.convert("RGB"), np.float32) for picture in (new, old)]
    far = float(np.abs(pixels[0] - pixels[1]).mean())
    return f"differs from what the code makes by {far:.1f} of 255" if far > NEAR else ""


def _pictures(folder: Path) -> set[str]:
    return {f"pictures/{path.name}" for path in (folder / "pictures").iterdir()}


def _block(code: str, printed: str) -> str:
    return f"```python\n{code}```\n" + f"\n```text\n{printed}```\n" * bool(printed)


def _diff(want: str | None, got: str) -> str:
    texts = ((want or "").splitlines(), got.splitlines())
    return "\n".join(difflib.unified_diff(*texts, "the page", "its code", lineterm=""))


def _keep(made: Path, kept: Path) -> None:
    """Copy a picture; a large PNG with 256 colours."""
    from PIL import Image

    kept.parent.mkdir(exist_ok=True)
    if made.suffix != ".png" or made.stat().st_size < LARGE:
        kept.write_bytes(made.read_bytes())
        return
    with Image.open(made) as picture:
        picture.convert("RGB").quantize(256, kmeans=3).save(kept, optimize=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("paths", nargs="*", type=Path, help="default: all pages with code")
    parser.add_argument("--write", action="store_true", help="write down what the code makes")
    options = parser.parse_args()
    chosen = [Page(path.resolve()) for path in options.paths] or pages()
    if options.write:
        for page in chosen:
            page.write()
        return 0
    found = [problem for page in chosen for problem in page.problems()]
    print(*found, sep="\n", end="\n" * bool(found))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
