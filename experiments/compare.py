"""What differs between runs of ``experiments.train``, and which did best?

    python -m experiments.compare RUN RUN [RUN ...] [--out curves.png]

RUN is the folder of a run, such as ``runs/digits``; one that is still going on has fewer numbers.
Prints the options that differ, then the numbers side by side; * marks the best. ``--out`` draws the
curves of all runs in one picture.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.training.figures import curves_figure
from experiments.training.logs import as_json, read_metrics
from experiments.training.report import CONFIG, SUMMARY, flat
from jaxconv.cli.arguments import PICTURES, UsageError, check_writable, render, save

WIDTH = 120  # characters of a line where there is no terminal
ABSENT = "-"


@dataclass(frozen=True)
class Run:
    """A run's folder, read.

    Attributes:
        name: as the user wrote it.
        config: its options, one name each.
        summary: its numbers, one name each; empty while it goes on.
        metrics: what it logged.
    """

    name: str
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]

    def logged(self, name: str) -> list[float]:
        """All finite values of a number, in their order."""
        return [line[name] for line in self.metrics if line.get(name) is not None]


@dataclass(frozen=True)
class Number:
    """A row of the table.

    Attributes:
        of: finds it in a run; None if the run has none.
        form: how it is written.
        best: max or min; None where neither is better.
    """

    of: Callable[[Run], float | None]
    form: str
    best: Callable[[Iterable[float]], float] | None = None


def _summed(name: str) -> Callable[[Run], float | None]:
    return lambda run: run.summary.get(name)


def _logged(name: str, pick: Callable[[list[float]], float]) -> Callable[[Run], float | None]:
    return lambda run: pick(values) if (values := run.logged(name)) else None


NUMBERS = {
    "test accuracy": Number(_summed("test_accuracy"), "{:.2%}", max),
    "error": Number(_summed("error"), "{:.2%}", min),
    "best test accuracy on the way": Number(_logged("test_accuracy", max), "{:.2%}", max),
    "last test loss": Number(_logged("test_loss", lambda values: values[-1]), "{:.4f}", min),
    "last training loss": Number(_logged("loss", lambda values: values[-1]), "{:.4f}", min),
    "seconds": Number(_summed("seconds"), "{:,.1f}", min),
    "images/s, median": Number(_logged("images_per_second", statistics.median), "{:,.0f}", max),
    "steps": Number(_summed("steps"), "{:,}"),
    "parameters": Number(_summed("parameters"), "{:,}"),
}
TOLD = ("versions.", "machine.")  # of the summary, where they differ


def read_run(folder: Path) -> Run:
    """Read the folder of a run.

    Raises:
        UsageError: it is none.
    """
    if not (folder / CONFIG).is_file():
        why = f"it has no {CONFIG}" if folder.is_dir() else "there is no such folder"
        raise UsageError(
            f"{folder} is no run: {why}. "
            "Fix: pass folders that experiments.train wrote, such as runs/digits."
        )
    config, summary = (flat(_read(folder / name)) for name in (CONFIG, SUMMARY))
    return Run(str(folder), config, summary, read_metrics(folder))


def _read(path: Path) -> dict[str, Any]:
    """An object of JSON; an empty one without a file."""
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        found = error
    if not isinstance(found, dict):
        raise UsageError(f"{path} is damaged. Fix: run experiments.train --resume for it again.")
    return found


def differing(tables: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The values, as text, of those names for which they are not all the same.

    Args:
        tables: by name, the values of each run; an empty one is unknown, and differs from none.
    """
    names = dict.fromkeys(name for table in tables for name in table)
    rows = {name: [_shown(table, name) for table in tables if table] for name in names}
    return {
        name: [_shown(table, name) for table in tables]
        for name, known in rows.items()
        if len({*known}) > 1
    }


def _shown(table: Mapping[str, Any], name: str) -> str:
    if name not in table:
        return ABSENT
    value = table[name]
    return value if isinstance(value, str) else as_json(value)


def numbers(runs: Sequence[Run]) -> dict[str, list[str]]:
    """The numbers of all runs as text, the best marked; those that no run has are left out."""
    rows = {name: [number.of(run) for run in runs] for name, number in NUMBERS.items()}
    return {name: _marked(row, NUMBERS[name]) for name, row in rows.items() if {*row} != {None}}


def _marked(row: Sequence[float | None], number: Number) -> list[str]:
    known = {value for value in row if value is not None}
    best = number.best(known) if number.best and len(known) > 1 else None
    return [
        ABSENT if value is None else number.form.format(value) + (" *" if value == best else "")
        for value in row
    ]


def table(title: str, runs: Sequence[Run], rows: Mapping[str, Sequence[str]]) -> Table:
    """Rows for rich, a column a run."""
    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    made.add_column("")
    for run in runs:
        made.add_column(Text(run.name), justify="right", overflow="fold")
    for name, cells in rows.items():
        texts = (Text(cell, "bold green" if cell.endswith(" *") else "") for cell in cells)
        made.add_row(name, *texts)
    return made


def show(runs: Sequence[Run], console: Console) -> None:
    """Print what differs, and the numbers."""
    told = [{k: v for k, v in run.summary.items() if k.startswith(TOLD)} for run in runs]
    config = differing([run.config for run in runs])
    beside = differing(told)
    if config:
        console.print(table("What differs", runs, config))
    else:
        console.print("The options of these runs are the same.\n")
    if beside:
        console.print(table("Where they ran", runs, beside))
    console.print(table("Numbers, the best marked *", runs, numbers(runs)))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.compare", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="the folder of a run")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"curves: {', '.join(PICTURES)}")
    return parser.parse_args(arguments)


def _checked(options: argparse.Namespace) -> list[Run]:
    """The runs that are asked for."""
    folders = [folder.resolve() for folder in options.runs]
    if len({*folders}) < max(len(folders), 2):
        raise UsageError("Runs are compared with others. Fix: pass two folders or more, each once.")
    if options.out:
        check_writable(options.out, PICTURES)
    return [read_run(folder) for folder in options.runs]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare runs; 2 if they cannot be."""
    options = _parse(arguments)
    try:
        runs = _checked(options)
        show(runs, Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False))
        if options.out:
            curves = curves_figure({run.name: run.metrics for run in runs})
            save(render(curves, options.out), options.out)
    except UsageError as error:
        print(f"experiments.compare: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
