"""Modules from notebooks and from standard input, whose code is not in a file of Python.

The code of each cell is compiled under a name of its own, such as ``train.ipynb:cell 3``, so that
errors and verdicts name the cell and the line in it.
"""

import __future__

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

STANDARD_INPUT = ("-", "<stdin>")  # in place of a module; argparse takes "-:Net" for an option
# Whole cells of IPython whose code is Python; those of others, such as %%bash, are left out.
PYTHON_CELL = re.compile(r"%%(time|timeit|capture|prun)\b.*")
# Lines for IPython or the shell, and the Python that takes their place.
MAGIC_LINES = (
    (re.compile(r"(\s*(?:[\w, ]+=\s*)?)%time\s+(.*)"), r"\1\2"),
    (re.compile(r"(\s*[\w, ]+=\s*)[%!].*"), r"\1[]"),
    (re.compile(r"(\s*)(?:[%!?]|[\w.]+\?).*"), r"\1pass"),
)
FUTURE = functools.reduce(
    int.__or__, (getattr(__future__, one).compiler_flag for one in __future__.all_feature_names)
)


@functools.cache
def import_notebook(path: Path) -> ModuleType:
    """Run the code of a notebook, from its first cell to the last, as a module.

    Args:
        path: of the file, absolute.

    Returns:
        The module, the same one each time. It has the name of the file, which no import finds.

    Raises:
        TargetError: the file is not a notebook, or its code fails.
    """
    try:
        cells = cells_of(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TargetError(
            f"{path.name} cannot be read as a notebook: {error}.\n"
            "  Fix: save it in Jupyter, as a file of format 4."
        ) from None
    name = str(path) if path.name in sys.modules else path.name
    names = [f"{path}:cell {number}" for number in range(1, len(cells) + 1)]
    return _run(name, str(path), names, cells)


@functools.cache
def import_standard_input() -> ModuleType:
    """Run the code that comes from standard input as a module, once.

    Raises:
        TargetError: the code fails.
    """
    return _run("<stdin>", "<stdin>", ["<stdin>"], [sys.stdin.read()])


def cells_of(text: str) -> list[str]:
    """Read the cells of code of a notebook as Python.

    Args:
        text: what the file holds.

    Returns:
        The code of each cell. Lines for IPython or the shell are replaced, so that all others keep
        their numbers.

    Raises:
        ValueError: it is not a notebook of format 4.
    """
    notebook = json.loads(text)
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise ValueError("it has no cells")
    sources = [cell.get("source") for cell in cells if cell.get("cell_type") == "code"]
    lines = [[source] if isinstance(source, str) else source for source in sources]
    if not all(isinstance(some, list) and all(isinstance(x, str) for x in some) for some in lines):
        raise ValueError("a cell has no source")
    return [_python("".join(some)) for some in lines]


def _python(source: str) -> str:
    lines = source.split("\n")
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    if lines[first].startswith("%%"):
        if not PYTHON_CELL.fullmatch(lines[first]):
            return ""
        lines[first] = "pass"
    while (wrong := _wrong_line(lines)) is not None and _replace_magic(lines, wrong):
        pass
    return "\n".join(lines)


def _wrong_line(lines: Sequence[str]) -> int | None:
    """The number of the first line that Python cannot read, from 0; None where there is none."""
    try:
        ast.parse("\n".join(lines))
    except SyntaxError as error:
        return min(error.lineno or 1, len(lines)) - 1
    except (ValueError, MemoryError, RecursionError):  # Python says so when the cell is run
        return None
    return None


def _replace_magic(lines: list[str], number: int) -> bool:
    """Replace a line for IPython or the shell by Python, and tell whether it is one."""
    for pattern, python in MAGIC_LINES:
        if pattern.fullmatch(lines[number]) is None:
            continue
        last = number
        while lines[last].endswith("\\") and last + 1 < len(lines):  # the shell reads on
            last += 1
        lines[number] = pattern.sub(python, lines[number]).removesuffix("\\")
        lines[number + 1 : last + 1] = [""] * (last - number)
        return True
    return False


def _run(name: str, file: str, names: Sequence[str], cells: Sequence[str]) -> ModuleType:
    """Run cells in one module, which tracebacks and verdicts find by their names."""
    module, flags = ModuleType(name), 0
    module.__file__ = file
    sys.modules[name] = module
    try:
        with user_code(f"importing {Path(file).name}"):
            for cell, text in zip(names, cells, strict=True):
                linecache.cache[cell] = len(text), None, text.splitlines(keepends=True), cell
                code = compile(text, cell, "exec", flags, dont_inherit=True)
                flags |= code.co_flags & FUTURE  # they hold for the cells below, too
                exec(code, vars(module))
    except BaseException:
        del sys.modules[name]
        raise
    return module
