"""How fast is VGG16 in jaxconv, and in other libraries on the same cores?

    python -m experiments.bench

Writes ``experiments/results/bench.json`` and ``docs/pictures/bench.svg`` unless told otherwise
(``--help``). Everything takes about half an hour; ``--workloads vgg16-b1 --rounds 3`` takes one
minute.

Expected on two cores of an AMD EPYC (Zen 5), for VGG16 at 224 pixels and batch 1: 75 to 82 ms with
OpenVINO and ONNX Runtime, 90 ms with PyTorch in channels-last layout and 120 ms in its own, 110 to
150 ms with plain JAX; a roofline of 430 to 460 GFLOP/s and 35 to 46 GB/s read; errors below 1e-5.
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

from experiments.bench.backends import PEERS, Peer, installed
from experiments.bench.machine import Roofline, machine, roofline
from experiments.bench.process import PeerError
from experiments.bench.results import LEGEND, chart, result, table
from experiments.bench.timing import time_in_turn
from experiments.bench.workloads import WORKLOADS, Workload
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
WIDTH = 120  # characters of a line where there is no terminal
INTERRUPTED = 130
OUT = Path("experiments/results/bench.json")
CHART = Path("docs/pictures/bench.svg")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; its exit status."""
    try:
        return run(_parser().parse_args(arguments))
    except UsageError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.bench",
        description="Time VGG16, its training and single layers in each library that is "
        "installed: the same numbers, the same cores, processes of their own, in turn call by "
        "call. What they compute is compared with float64 first.",
        epilog="Exit status: 0 if all ran, 1 if a library failed or computed something else, "
        "2 if the benchmark could not start.",
    )
    parser.add_argument("--workloads", metavar="NAMES", help=f"of {_listed(WORKLOADS)}")
    parser.add_argument("--peers", metavar="NAMES", help=f"of {_listed(PEERS)}")
    parser.add_argument("--rounds", type=positive, metavar="N", help="timed calls of each")
    parser.add_argument("--cores", metavar="NUMBERS", help="such as 0,1; default: all")
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
    """Run the command; its exit status."""
    peers = _peers(options.peers)
    workloads = _workloads(options.workloads, peers)
    cores = _cores(options.cores)
    for path, suffixes in ((options.out, (".json",)), (options.chart, PICTURES)):
        if path is not None:
            check_writable(path, suffixes)
    try:
        found = _measured(workloads, peers, cores, options.rounds)
    except KeyboardInterrupt:
        print("bench: interrupted; nothing was written.", file=sys.stderr)
        return INTERRUPTED
    except PeerError as error:  # of what all others are compared with
        raise UsageError(f"{error}\n  Fix: choose fewer with --peers or --workloads.") from None
    results = found["workloads"]
    if options.out:
        save((json.dumps(found, indent=1) + "\n").encode(), options.out)
    if options.chart and any(one["rows"] for one in results):
        save(render(chart(results), options.chart), options.chart)
    return int(any(one["failures"] for one in results))


def _measured(
    workloads: Sequence[Workload], peers: Sequence[Peer], cores: Sequence[int], rounds: int | None
) -> dict[str, Any]:
    """Measure all, print each table when it is there, and return everything as plain data."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    about = _about(peers, cores)
    console.print(_sentence(about), markup=False)
    with tempfile.TemporaryDirectory(prefix="jaxconv-bench-") as folder:
        home = Path(folder)
        with _Telling("roofline") as tell:
            peak = roofline(peers, home=home, cores=cores, tell=tell)
        console.print(f"{peak}\n")
        results = [_result(work, peers, home, cores, rounds, peak, console) for work in workloads]
    console.print("\n".join(LEGEND), markup=False)
    return about | {"roofline": vars(peak), "workloads": results}


def _result(
    work: Workload,
    peers: Sequence[Peer],
    home: Path,
    cores: Sequence[int],
    rounds: int | None,
    peak: Roofline,
    console: "Console",
) -> dict[str, Any]:
    """Measure one workload, and print its table."""
    able = [peer for peer in peers if work.kind in peer.kinds]
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
    """What is being done, on a line of the terminal that goes away again."""

    def __init__(self, title: str) -> None:
        from rich.console import Console

        self.title = title
        # Drawn once a second, for drawing takes time of the cores that are measured.
        self.status = Console(stderr=True).status(title, refresh_per_second=1)

    def __enter__(self) -> "_Telling":
        self.status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.status.stop()

    def __call__(self, text: str) -> None:
        self.status.update(f"{self.title}: {text}")


def _about(peers: Sequence[Peer], cores: Sequence[int]) -> dict[str, Any]:
    """When, where and with which versions."""
    versions = {name: v for peer in peers for name, v in (peer.versions() or {}).items()}
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


def _peers(text: str | None) -> list[Peer]:
    """Those that are named, which must be installed; else those that are."""
    chosen = [*_chosen("--peers", text, PEERS, installed([*PEERS.values()]))]
    for peer in chosen:
        if peer.versions() is None:
            needs = " and ".join(peer.packages)
            fix = "python -m pip install 'jaxconv[bench]', or -e '.[bench]' in a checkout."
            raise UsageError(f"{peer.name} needs {needs}, and not all is installed.\n  Fix: {fix}")
    return chosen


def _workloads(text: str | None, peers: Sequence[Peer]) -> list[Workload]:
    """Those that are named, else all; those that some peer can run."""
    able = {kind for peer in peers for kind in peer.kinds}
    chosen = [*_chosen("--workloads", text, WORKLOADS, [*WORKLOADS.values()])]
    for work in chosen:
        if text is not None and work.kind not in able:
            names = _listed(peer.name for peer in PEERS.values() if work.kind in peer.kinds)
            fix = f"pass one of --peers={names}."
            raise UsageError(f"{work.name} is {work.kind}, which no peer can do.\n  Fix: {fix}")
    return [work for work in chosen if work.kind in able]


def _cores(text: str | None) -> list[int]:
    """The numbers of cores that this process may use, or some of them."""
    if not hasattr(os, "sched_getaffinity"):
        raise UsageError(
            f"bench pins processes to cores, which {platform.system()} does not let it do. "
            "Fix: run it on Linux."
        )
    known = {str(core): core for core in sorted(os.sched_getaffinity(0))}
    return [*_chosen("--cores", text, known, [*known.values()])]


def _chosen(option: str, text: str | None, known: Mapping[str, T], default: list[T]) -> Iterable[T]:
    """What is named, in that order, each once."""
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
