"""How fast are common networks in jaxconv, and in other libraries on the same cores?

    python -m experiments.bench

Writes ``experiments/results/bench.json`` and ``docs/pictures/bench.svg`` by default (``--help``).
The whole benchmark takes about an hour; ``--workloads vgg16-b1 --rounds 3`` takes one minute, and
``--workloads "*-b1"`` times one image in each network.

Expected on two cores of an AMD EPYC (Zen 5), for VGG16 at 224 pixels and batch 1: 75 to 82 ms with
OpenVINO and ONNX Runtime, 90 ms with PyTorch in channels-last layout and 120 ms in channels-first,
110 to 150 ms with plain JAX; a roofline of 430 to 460 GFLOP/s and 35 to 46 GB/s read; errors below
1e-5.
"""

import argparse
import fnmatch
import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from experiments.bench.backends import BACKENDS, Backend, installed
from experiments.bench.machine import machine, roofline
from experiments.bench.process import BackendError
from experiments.bench.results import LEGEND, chart, result, table
from experiments.bench.tables import Workload
from experiments.bench.timing import time_in_turn
from experiments.bench.workloads import WORKLOADS
from jaxconv.cli.arguments import (
    PICTURES,
    UsageError,
    check_writable,
    positive,
    render,
    save,
)
from jaxconv.errors import choice

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")
WIDTH = 120  # characters per line without a terminal
INTERRUPTED = 130
OUT = Path("experiments/results/bench.json")
CHART = Path("docs/pictures/bench.svg")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark.

    Args:
        arguments: the command line; None for that of this process.

    Returns:
        The exit status.
    """
    try:
        return run(_parser().parse_args(arguments))
    except UsageError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.bench",
        description="Time networks, their training and single layers in each library that is "
        "installed: with the same numbers, on the same cores, each in its own process, in turn "
        "call by call. The results are first compared with float64.",
        epilog="Exit status: 0 if all ran, 1 if a library failed or computed something else, "
        "2 if the benchmark could not start.",
    )
    parser.add_argument(
        "--workloads",
        metavar="NAMES",
        help=f"such as vgg16-b1,resnet50-*; default: all of {', '.join(WORKLOADS)}",
    )
    parser.add_argument(
        "--peers",
        metavar="NAMES",
        help=f"libraries; default: those installed of {', '.join(BACKENDS)}",
    )
    parser.add_argument("--rounds", type=positive, metavar="N", help="timed calls of each library")
    parser.add_argument("--cores", metavar="NUMBERS", help="such as 0,1; default: all cores")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        default=OUT,
        help=f"where to write all numbers (default: {OUT})",
    )
    parser.add_argument(
        "--chart",
        type=Path,
        metavar="FILE",
        default=CHART,
        help=f"the chart: {', '.join(PICTURES)} (default: {CHART})",
    )
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the benchmark with parsed options.

    Args:
        options: of the command line.

    Returns:
        The exit status.

    Raises:
        UsageError: an option is wrong, or the reference could not be computed.
    """
    backends = _backends(options.peers)
    workloads = _workloads(options.workloads, backends)
    cores = _cores(options.cores)
    for path, suffixes in ((options.out, (".json",)), (options.chart, PICTURES)):
        if path is not None:
            check_writable(path, suffixes)
    try:
        report = _measure(workloads, backends, cores, options.rounds)
    except KeyboardInterrupt:
        print("bench: interrupted; nothing was written.", file=sys.stderr)
        return INTERRUPTED
    except BackendError as error:  # of the reference
        raise UsageError(f"{error}\n  Fix: choose fewer with --peers or --workloads.") from None
    results = report["workloads"]
    if options.out:
        save((json.dumps(report, indent=1) + "\n").encode(), options.out)
    if options.chart and any(result["rows"] for result in results):
        save(render(chart(results), options.chart), options.chart)
    return int(any(result["failures"] for result in results))


def _measure(
    workloads: Sequence[Workload],
    backends: Sequence[Backend],
    cores: Sequence[int],
    rounds: int | None,
) -> dict[str, Any]:
    """Measure all workloads, print each table as soon as it is ready, and return plain data."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    setting = _setting(backends, cores)
    console.print(_setting_text(setting), markup=False)
    with tempfile.TemporaryDirectory(prefix="jaxconv-bench-") as name:
        folder = Path(name)
        with _StatusLine("roofline") as progress:
            peak = roofline(backends, folder=folder, cores=cores, progress=progress)
        console.print(f"{peak}\n")
        results = []
        for workload in workloads:
            able = [backend for backend in backends if backend.can_run(workload)]
            with _StatusLine(workload.title) as progress:
                timings = time_in_turn(
                    workload,
                    able,
                    folder=folder,
                    cores=cores,
                    rounds=rounds or workload.rounds,
                    progress=progress,
                )
            results.append(result(timings, peak))
            _print(results[-1], console)
    console.print("\n".join(LEGEND), markup=False)
    return setting | {"roofline": vars(peak), "workloads": results}


def _print(result: Mapping[str, Any], console: "Console") -> None:
    """Print the table of a workload, and what went wrong."""
    console.print(table(result))
    for note in result["notes"]:
        console.print(note, markup=False)
    for failure in result["failures"]:
        console.print(failure, markup=False, style="bold red")
    console.print()


class _StatusLine:
    """A line of the terminal that says what is being done, and disappears at the end."""

    def __init__(self, title: str) -> None:
        from rich.console import Console

        self.title = title
        # Drawn only once a second, since drawing takes time of the cores that are measured.
        self.status = Console(stderr=True).status(title, refresh_per_second=1)

    def __enter__(self) -> "_StatusLine":
        self.status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.status.stop()

    def __call__(self, text: str) -> None:
        self.status.update(f"{self.title}: {text}")


def _setting(backends: Sequence[Backend], cores: Sequence[int]) -> dict[str, Any]:
    """When, where and with which versions."""
    versions = {name: v for one in backends for name, v in (one.versions() or {}).items()}
    return {
        "command": "python -m experiments.bench",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(cores),
        "versions": {"python": platform.python_version(), **versions},
    }


def _setting_text(setting: Mapping[str, Any]) -> str:
    about = setting["machine"]
    cores = ", ".join(map(str, about["cores_used"]))
    versions = ", ".join(f"{name} {number}" for name, number in setting["versions"].items())
    return f"{about['processor']} ({', '.join(about['vectors'])}), cores {cores}.\n{versions}."


def _backends(text: str | None) -> list[Backend]:
    """The named backends, which must be installed; by default all that are installed."""
    chosen = _chosen("--peers", text, BACKENDS, installed(BACKENDS.values()))
    for backend in chosen:
        if backend.versions() is None:
            needs = " and ".join(backend.packages)
            fix = "python -m pip install 'jaxconv[bench]', or -e '.[bench]' in a checkout."
            raise UsageError(
                f"{backend.name} needs {needs}, and not all is installed.\n  Fix: {fix}"
            )
    return chosen


def _workloads(text: str | None, backends: Sequence[Backend]) -> list[Workload]:
    """The named workloads, or all; without those that no backend can run."""
    chosen = _chosen("--workloads", text, WORKLOADS, [*WORKLOADS.values()])
    for workload in chosen:
        if text is not None and not any(backend.can_run(workload) for backend in backends):
            able = (name for name, backend in BACKENDS.items() if backend.can_run(workload))
            raise UsageError(
                f"{workload.name} is {workload.kind}, which none of these libraries can run.\n"
                f"  Fix: pass one of --peers={', '.join(able)}."
            )
    return [w for w in chosen if any(backend.can_run(w) for backend in backends)]


def _cores(text: str | None) -> list[int]:
    """Return the numbers of the cores to use; default: all that this process may use."""
    if not hasattr(os, "sched_getaffinity"):
        raise UsageError(
            f"bench pins processes to cores, which is not possible on {platform.system()}. "
            "Fix: run it on Linux."
        )
    known = {str(core): core for core in sorted(os.sched_getaffinity(0))}
    return _chosen("--cores", text, known, [*known.values()])


def _chosen(option: str, text: str | None, known: Mapping[str, T], default: list[T]) -> list[T]:
    """What the text of an option names, in that order, each once; "*" stands for any characters."""
    if text is None:
        return default
    given = [name.strip() for name in text.split(",")]
    names = dict.fromkeys(n for name in given for n in fnmatch.filter(known, name) or [name])
    for name in names:
        if name not in known:
            diagnostic = choice(option, name, known)
            raise UsageError(f"{diagnostic.wrong}\n  Fix: {diagnostic.fix}")
    return [known[name] for name in names]


if __name__ == "__main__":
    sys.exit(main())
