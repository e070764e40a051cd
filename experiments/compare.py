"""How do runs of ``experiments.train`` differ, and which is the best?

    python -m experiments.compare RUN RUN [RUN ...] [--out curves.png]

RUN is the folder of a run, such as ``runs/digits``. An unfinished run has fewer numbers. Prints the
options that differ, then the numbers side by side; * marks the best. ``--out`` draws the curves of
all runs in one figure.
"""

import argparse
import json
import operator
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

WIDTH = 120  # characters per line without a terminal
ABSENT = "-"


@dataclass(frozen=True)
class Run:
    """A run, read from its folder.

    Attributes:
        name: the folder as the user wrote it.
        config: options by flat name.
        summary: results by flat name; empty for an unfinished run.
        metrics: lines of ``metrics.jsonl``.
    """

    name: str
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]

    def logged(self, name: str) -> list[float]:
        """Return all finite values of a metric, in order.

        Args:
            name: such as "loss".

        Returns:
            Its values.
        """
        return [line[name] for line in self.metrics if line.get(name) is not None]


@dataclass(frozen=True)
class TableRow:
    """A row of the table.

    Attributes:
        value: gets the number of a run; None if the run has none.
        template: how it is formatted.
        best: max or min; None if neither is better.
    """

    value: Callable[[Run], float | None]
    template: str
    best: Callable[[Iterable[float]], float] | None = None


def _summary(name: str) -> Callable[[Run], float | None]:
    return lambda run: run.summary.get(name)


def _metrics(name: str, pick: Callable[[list[float]], float]) -> Callable[[Run], float | None]:
    return lambda run: pick(values) if (values := run.logged(name)) else None


_last = operator.itemgetter(-1)
TABLE_ROWS = {
    "test accuracy": TableRow(_summary("test_accuracy"), "{:.2%}", max),
    "error": TableRow(_summary("error"), "{:.2%}", min),
    "best test accuracy during training": TableRow(_metrics("test_accuracy", max), "{:.2%}", max),
    "last test loss": TableRow(_metrics("test_loss", _last), "{:.4f}", min),
    "last training loss": TableRow(_metrics("loss", _last), "{:.4f}", min),
    "seconds": TableRow(_summary("seconds"), "{:,.1f}", min),
    "images/s, median": TableRow(_metrics("images_per_second", statistics.median), "{:,.0f}", max),
    "steps": TableRow(_summary("steps"), "{:,}"),
    "parameters": TableRow(_summary("parameters"), "{:,}"),
}
SETTING_PREFIXES = ("versions.", "machine.")  # of the summary, shown if they differ


def read_run(folder: Path) -> Run:
    """Read the folder of a run.

    Raises:
        UsageError: the folder is not a run.

    Args:
        folder: of the run.

    Returns:
        Its options, numbers and metrics.
    """
    if not (folder / CONFIG).is_file():
        why = f"it has no {CONFIG}" if folder.is_dir() else "there is no such folder"
        raise UsageError(
            f"{folder} is not a run: {why}. "
            "Fix: pass folders that experiments.train wrote, such as runs/digits."
        )
    config, summary = (flat(_read(folder / name)) for name in (CONFIG, SUMMARY))
    return Run(str(folder), config, summary, read_metrics(folder))


def _read(path: Path) -> dict[str, Any]:
    """Read a JSON object; {} without a file."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise UsageError(f"{path} is damaged. Fix: run experiments.train --resume for this run.")
    return content


def differing(tables: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the values, as text, of the names whose values are not all the same.

    Args:
        tables: values by name, one table per run. An empty table differs from none.
    """
    names = dict.fromkeys(name for table in tables for name in table)
    rows = {name: [_value_text(table, name) for table in tables if table] for name in names}
    return {
        name: [_value_text(table, name) for table in tables]
        for name, known in rows.items()
        if len({*known}) > 1
    }


def _value_text(table: Mapping[str, Any], name: str) -> str:
    if name not in table:
        return ABSENT
    value = table[name]
    return value if isinstance(value, str) else as_json(value)


def numbers(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Return the numbers of all runs as text, with the best marked, if any run has them.

    Args:
        runs: to compare.

    Returns:
        For each number a text per run.
    """
    rows = {name: [number.value(run) for run in runs] for name, number in TABLE_ROWS.items()}
    return {name: _marked(row, TABLE_ROWS[name]) for name, row in rows.items() if {*row} != {None}}


def _marked(row: Sequence[float | None], number: TableRow) -> list[str]:
    known = {value for value in row if value is not None}
    best = number.best(known) if number.best and len(known) > 1 else None
    return [
        ABSENT if value is None else number.template.format(value) + (" *" if value == best else "")
        for value in row
    ]


def table(title: str, runs: Sequence[Run], rows: Mapping[str, Sequence[str]]) -> Table:
    """Return a table with one column per run.

    Args:
        title: above the table.
        runs: one column each.
        rows: for each name a text per run; those that end in " *" are highlighted.

    Returns:
        The table.
    """
    result = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    result.add_column("")
    for run in runs:
        result.add_column(Text(run.name), justify="right", overflow="fold")
    for name, cells in rows.items():
        texts = (Text(cell, "bold green" if cell.endswith(" *") else "") for cell in cells)
        result.add_row(name, *texts)
    return result


def show(runs: Sequence[Run], console: Console) -> None:
    """Print the differences and the numbers.

    Args:
        runs: to compare.
        console: to print to.
    """
    settings = [
        {k: v for k, v in run.summary.items() if k.startswith(SETTING_PREFIXES)} for run in runs
    ]
    config = differing([run.config for run in runs])
    where = differing(settings)
    if config:
        console.print(table("Options that differ", runs, config))
    else:
        console.print("The options of these runs are the same.\n")
    if where:
        console.print(table("Versions and machines that differ", runs, where))
    console.print(table("Numbers (* marks the best)", runs, numbers(runs)))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.compare", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help=f"draw the curves into this file ({', '.join(PICTURES)})",
    )
    return parser.parse_args(arguments)


def _checked(options: argparse.Namespace) -> list[Run]:
    """Return the requested runs."""
    folders = [folder.resolve() for folder in options.runs]
    if len({*folders}) < max(len(folders), 2):
        raise UsageError(
            "A comparison needs two different runs. Fix: pass two folders or more, each once."
        )
    if options.out:
        check_writable(options.out, PICTURES)
    return [read_run(folder) for folder in options.runs]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare runs. The exit status is 2 if that is not possible.

    Args:
        arguments: the command line; None for that of this process.

    Returns:
        The exit status.
    """
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
