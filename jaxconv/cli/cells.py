"""Modules whose code is in no file of Python: notebooks, and what comes from standard input.

The code of each cell is compiled under a name of its own, such as ``train.ipynb:cell 3``, so that
errors and verdicts name the cell and the line in it.
"""

import ast
import functools
import json
import linecache
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from jaxconv.cli.user_code import TargetError, user_code

NOTEBOOK = ".ipynb"
CODE = (".py", NOTEBOOK)  # how the name of a file of code ends
STANDARD_INPUT = ("-", "<stdin>")  # in place of a module; argparse takes "-:Net" for an option
# Whole cells of IPython whose code is Python; those of others, such as %%bash, are left out.
OF_PYTHON = re.compile(r"%%(time|timeit|capture|prun)\b.*")
# A line for IPython or the shell rather than Python: %matplotlib inline, !pip install jax, net?
NOT_PYTHON = re.compile(r"(\s*)(%|!|\?|[\w, ]+= *[%!]|[\w.]+\?\??\s*$).*")


@functools.cache
def import_notebook(path: Path) -> ModuleType:
    """Run the code of a notebook, from its first cell to the last, as a module.

    Args:
        path: of the file, absolute.

    Returns:
        The module, named after the file; the same one each time.

    Raises:
        TargetError: the file is no notebook, or its code fails.
    """
    try:
        cells = cells_of(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TargetError(
            f"{path.name} cannot be read as a notebook: {error}.\n"
            "  Fix: save it in Jupyter, as a file of format 4."
        ) from None
    names = [f"{path}:cell {number}" for number in range(1, len(cells) + 1)]
    return _run(path.stem, str(path), names, cells)


@functools.cache
def import_standard_input() -> ModuleType:
    """Run the code that comes from standard input as a module, once.

    Raises:
        TargetError: the code fails.
    """
    return _run("stdin", "<stdin>", ["<stdin>"], [sys.stdin.read()])


def cells_of(text: str) -> list[str]:
    """Read the cells of code of a notebook as Python, without what is for IPython or the shell.

    Args:
        text: what the file holds.

    Returns:
        The code of each cell. Lines that are not Python are ``pass``, so that others keep their
        numbers.

    Raises:
        ValueError: it is no notebook of format 4.
    """
    notebook = json.loads(text)
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise ValueError("it has no cells")
    sources = [cell.get("source", "") for cell in cells if cell.get("cell_type") == "code"]
    return [_python("".join(source)) for source in sources]


def _python(source: str) -> str:
    try:
        ast.parse(source)
    except SyntaxError:
        first, *rest = source.split("\n")
        if first.startswith("%%"):
            return _python("\n".join(["pass", *rest])) if OF_PYTHON.fullmatch(first) else ""
        return "\n".join(NOT_PYTHON.sub(r"\1pass", line) for line in (first, *rest))
    return source


def _run(name: str, file: str, names: Sequence[str], cells: Sequence[str]) -> ModuleType:
    """Run cells in one module, which tracebacks and verdicts find by their names."""
    module = ModuleType(name)
    module.__file__ = file
    sys.modules[name] = module
    with user_code(f"importing {Path(file).name}"):
        for cell, code in zip(names, cells, strict=True):
            linecache.cache[cell] = len(code), None, code.splitlines(keepends=True), cell
            exec(compile(code, cell, "exec"), vars(module))
    return module
