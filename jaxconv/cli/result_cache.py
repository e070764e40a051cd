"""Reports of earlier runs, which hold as long as the code and all versions are the same."""

import ast
import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jaxconv.cli.cells import cells_of
from jaxconv.cli.reports import Finding, LayerLine, Report
from jaxconv.source import NOTEBOOK, file_of_user

FOLDER = ".jaxconv_cache"
# A folder with this file is left out of backups, and one with these lines out of git.
TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a cache of jaxconv.\n"
DYNAMIC = {"import_module", "__import__", "exec", "eval", "run_path", "spec_from_file_location"}


class ResultCache:
    """Reports in a folder, one file for each question."""

    def __init__(self, root: Path) -> None:
        self.folder = root / FOLDER

    def read(self, question: Iterable[Any], content: str) -> Report | None:
        """Find the report of an earlier run.

        Args:
            question: what was asked: the name of the function, the sizes, the settings.
            content: of the code that answers it, from :func:`content_of`.

        Returns:
            The report; None where there is none, or the code has changed.
        """
        try:
            entry = json.loads(self._path(question).read_text(encoding="utf-8"))
            if entry.pop("content") != content:
                return None
            findings = tuple(
                Finding(**finding | {"correction": tuple(finding["correction"])})
                for finding in entry.pop("findings")
            )
            layers = tuple(LayerLine(**layer) for layer in entry.pop("layers"))
            return Report(findings=findings, layers=layers, **entry)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # of no run, of another version, or damaged

    def write(self, question: Iterable[Any], content: str, report: Report) -> bool:
        """Keep a report in place of an earlier one for the same question.

        Args:
            question: what was asked.
            content: of the code.
            report: the result.

        Returns:
            Whether it was kept; a warning says why not.
        """
        try:
            if not self.folder.is_dir():
                self.folder.mkdir(parents=True)
                (self.folder / ".gitignore").write_text("*\n", encoding="utf-8")
                (self.folder / "CACHEDIR.TAG").write_text(TAG, encoding="utf-8")
            partial = self._path(question).with_suffix(f".{os.getpid()}")
            partial.write_text(json.dumps({"content": content, **asdict(report)}))
            partial.replace(self._path(question))
        except OSError as error:
            said = f"{self.folder} cannot be written ({error.strerror}), so nothing is kept there."
            print(f"{said} Fix: make it writable, or leave out --cache.", file=sys.stderr)
            return False
        return True

    def _path(self, question: Iterable[Any]) -> Path:
        digest = hashlib.sha256(repr([*question]).encode()).hexdigest()
        return self.folder / f"{digest[:32]}.json"


def content_of(module: str) -> str:
    """Hash the code that a verdict depends on, all versions, and the settings of JAX.

    Args:
        module: the name of the module that defines a function; it has been imported.

    Returns:
        A digest. The code is that of the module and of all modules of the user's that it imports,
        and those import.
    """
    digest = hashlib.sha256(_environment().encode())
    for path in sorted(files_of(module)):
        digest.update(path.encode() + b"\0" + _read(path) + b"\0")
    return digest.hexdigest()


def files_of(module: str) -> set[str]:
    """Find the files of the user's code that a module consists of.

    Args:
        module: its name; it has been imported.

    Returns:
        The paths of its file, of the modules that it imports, and so on; those of all modules of
        the user's where one of them imports by a name that is computed.
    """
    files: set[str] = set()
    names, seen = [module], set[str]()
    while names:
        name = names.pop()
        if name in seen or (path := file_of_user(sys.modules.get(name))) is None:
            continue
        seen.add(name)
        files.add(path)
        names += _packages(name)
        for imported in _imports(_source(path), name, sys.modules[name].__package__ or ""):
            names += [imported, *_packages(imported)]
            if imported in DYNAMIC:
                names += [*sys.modules]
    return files


def _packages(name: str) -> list[str]:
    """The packages around a module: importing it runs their code."""
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def _imports(source: str | bytes, module: str, package: str) -> Iterator[str]:
    """Names of modules that a module imports, or may, and of the functions that import others."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        yield next(iter(DYNAMIC))
        return
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=origin, names=names, level=level):
                relative = "." * level + (origin or "")
                with contextlib.suppress(ImportError):  # of a line that cannot have run
                    base = importlib.util.resolve_name(relative, package or module)
                    yield base
                    yield from (f"{base}.{alias.name}" for alias in names)
            case ast.Name(id=name) | ast.Attribute(attr=name) if name in DYNAMIC:
                yield name


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def _source(path: str) -> str | bytes:
    """The Python code of a file; a notebook's file is JSON."""
    content = _read(path)
    if path.endswith(NOTEBOOK):
        with contextlib.suppress(ValueError):
            return "\n".join(cells_of(content.decode()))
    return content


@functools.cache
def _environment() -> str:
    """Versions of Python and all packages, the code of this one, and variables that JAX reads."""
    folders = [Path(entry) for entry in sys.path if "site-packages" in entry]
    packages = sorted(path.name for folder in folders for path in folder.glob("*.dist-info"))
    own = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        own.update(path.read_bytes())
    variables = sorted(f"{k}={v}" for k, v in os.environ.items() if k.startswith(("JAX_", "XLA_")))
    return repr((sys.version, packages, own.hexdigest(), variables))
