"""How fast is VGG16 in jaxconv, and in other libraries on the same cores?

    python -m experiments.bench

Writes ``experiments/results/bench.json`` and ``docs/pictures/bench.svg`` by default (``--help``).
The whole benchmark takes about half an hour; ``--workloads vgg16-b1 --rounds 3`` takes one minute.

Expected on two cores of an AMD EPYC (Zen 5), for VGG16 at 224 pixels and batch 1: 75 to 82 ms with
OpenVINO and ONNX Runtime, 90 ms with PyTorch in channels-last layout and 120 ms in channels-first,
110 to 150 ms with plain JAX; a roofline of 430 to 460 GFLOP/s and 35 to 46 GB/s read; errors below
1e-5.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from experiments.bench.backends import BACKENDS, Backend, installed
from experiments.bench.machine import Roofline, machine, roofline
from experiments.bench.process import BackendError
from experiments.bench.results import LEGEND, chart, result, table
from experiments.bench.timing import time_in_turn
from experiments.bench.workloads import WORKLOADS, Workload
from jaxconv.cli.arguments import (
    PICTURES,
    UsageError,
    check_writable,
    drawn,
    positive,
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
    """Run the benchmark, and return its exit status."""
    try:
        return run(_parser().parse_args(arguments))
    except UsageError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.bench",
        description="Time inference, training and single layers of VGG16 in each installed "
        "library. All get the same inputs and cores. Each runs in its own process, and they "
        "take turns call by call. The results are first compared with float64.",
        epilog="Exit status: 0 if all succeeded, 1 if a library failed or gave a wrong result, "
        "2 if the benchmark could not start.",
    )
    parser.add_argument(
        "--workloads", metavar="NAMES", help=f"workloads to run, of {_listed(WORKLOADS)}"
    )
    parser.add_argument(
        "--peers", metavar="NAMES", help=f"backends to time, of {_listed(BACKENDS)}"
    )
    parser.add_argument("--rounds", type=positive, metavar="N", help="timed calls of each backend")
    parser.add_argument(
        "--cores", metavar="NUMBERS", help="cores to use, such as 0,1; default: all"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", default=OUT, help=f"write all numbers (default: {OUT})"
    )
    parser.add_argument(
        "--chart",
        type=Path,
        metavar="FILE",
        default=CHART,
        help=f"draw the chart: {_listed(PICTURES)} (default: {CHART})",
    )
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    backends = _backends(options.peers)
    workloads = _workloads(options.workloads, backends)
    cores = _cores(options.cores)
    for path, suffixes in ((options.out, (".json",)), (options.chart, PICTURES)):
        if path is not None:
            check_writable(path, suffixes)
    try:
        found = _measured(workloads, backends, cores, options.rounds)
    except KeyboardInterrupt:
        print("bench: interrupted; nothing was written.", file=sys.stderr)
        return INTERRUPTED
    except BackendError as error:  # of the reference
        raise UsageError(f"{error}\n  Fix: select fewer with --peers or --workloads.") from None
    results = found["workloads"]
    if options.out:
        save((json.dumps(found, indent=1) + "\n").encode(), options.out)
    if options.chart and any(one["rows"] for one in results):
        save(drawn(chart(results), options.chart), options.chart)
    return int(any(one["failures"] for one in results))


def _measured(
    workloads: Sequence[Workload],
    backends: Sequence[Backend],
    cores: Sequence[int],
    rounds: int | None,
) -> dict[str, Any]:
    """Measure everything, print each table as soon as it is complete, and return plain data."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    about = _about(backends, cores)
    console.print(_sentence(about), markup=False)
    with tempfile.TemporaryDirectory(prefix="jaxconv-bench-") as folder:
        home = Path(folder)
        with _Telling("roofline") as tell:
            peak = roofline(backends, home=home, cores=cores, tell=tell)
        console.print(f"{peak}\n")
        results = [
            _result(work, backends, home, cores, rounds, peak, console) for work in workloads
        ]
    console.print("\n".join(LEGEND), markup=False)
    return about | {"roofline": vars(peak), "workloads": results}


def _result(
    work: Workload,
    backends: Sequence[Backend],
    home: Path,
    cores: Sequence[int],
    rounds: int | None,
    peak: Roofline,
    console: "Console",
) -> dict[str, Any]:
    """Measure one workload, and print its table."""
    able = [backend for backend in backends if work.kind in backend.kinds]
    with _Telling(work.title) as tell:
        timings = time_in_turn(
            work, able, home=home, cores=cores, rounds=rounds or work.rounds, tell=tell
        )
    found = result(timings, peak)
    console.print(table(found))
    for said in found["notes"]:
        console.print(said, markup=False)
    for said in found["failures"]:
        console.print(said, markup=False, style="bold red")
    console.print()
    return found


class _Telling:
    """A temporary line of the terminal that shows the current activity."""

    def __init__(self, title: str) -> None:
        from rich.console import Console

        self.title = title
        # Drawn once per second, because drawing uses the cores that are measured.
        self.status = Console(stderr=True).status(title, refresh_per_second=1)

    def __enter__(self) -> "_Telling":
        self.status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.status.stop()

    def __call__(self, text: str) -> None:
        self.status.update(f"{self.title}: {text}")


def _about(backends: Sequence[Backend], cores: Sequence[int]) -> dict[str, Any]:
    """Return the date, the machine and the versions."""
    versions = {name: v for backend in backends for name, v in (backend.versions() or {}).items()}
    return {
        "command": "python -m experiments.bench",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(cores),
        "versions": {"python": platform.python_version(), **versions},
    }


def _sentence(about: Mapping[str, Any]) -> str:
    here = about["machine"]
    used = ", ".join(map(str, here["cores_used"]))
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    vectors = ", ".join(here["vectors"])
    return f"{here['processor']} ({vectors}), cores {used}.\n{versions}."


def _backends(text: str | None) -> list[Backend]:
    """Return the named backends, which must be installed; default: all installed ones."""
    chosen = [*_chosen("--peers", text, BACKENDS, installed([*BACKENDS.values()]))]
    for backend in chosen:
        if backend.versions() is None:
            needs = " and ".join(backend.packages)
            fix = "python -m pip install 'jaxconv[bench]', or -e '.[bench]' in a checkout."
            raise UsageError(
                f"{backend.name} needs {needs}, which must be installed.\n  Fix: {fix}"
            )
    return chosen


def _workloads(text: str | None, backends: Sequence[Backend]) -> list[Workload]:
    """Return the named workloads; default: all that some backend can run."""
    able = {kind for backend in backends for kind in backend.kinds}
    chosen = [*_chosen("--workloads", text, WORKLOADS, [*WORKLOADS.values()])]
    for work in chosen:
        if text is not None and work.kind not in able:
            names = _listed(
                backend.name for backend in BACKENDS.values() if work.kind in backend.kinds
            )
            fix = f"pass one of --peers={names}."
            raise UsageError(
                f"No selected backend can run {work.name} ({work.kind}).\n  Fix: {fix}"
            )
    return [work for work in chosen if work.kind in able]


def _cores(text: str | None) -> list[int]:
    """Return the numbers of the cores to use; default: all that this process may use."""
    if not hasattr(os, "sched_getaffinity"):
        raise UsageError(
            f"The benchmark pins processes to cores, which {platform.system()} does not support. "
            "Fix: run it on Linux."
        )
    known = {str(core): core for core in sorted(os.sched_getaffinity(0))}
    return [*_chosen("--cores", text, known, [*known.values()])]


def _chosen(option: str, text: str | None, known: Mapping[str, T], default: list[T]) -> Iterable[T]:
    """Return the named values in that order, without repetitions."""
    if text is None:
        return default
    names = dict.fromkeys(name.strip() for name in text.split(","))
    for name in names:
        if name not in known:
            diagnostic = choice(option, name, known)
            raise UsageError(f"{diagnostic.wrong}\n  Fix: {diagnostic.fix}")
    return [known[name] for name in names]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


if __name__ == "__main__":
    sys.exit(main())
