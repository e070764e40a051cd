"""Are the proofs right? Compare the verdicts of random networks with tracing size by size.

    python -m experiments.soundness --networks 10000 --seed 0 --sizes 40 --processes 1

Each network of ``tests/support/networks.py`` is checked, and its verdict compared with JAX's own
tracing at sizes where mistakes would show: around the borders of what the verdict accepts and
rejects, in the corners, and at random. Expected: no wrong answer and no crash; more than 98 % of
the networks decided for every size; a median well under a second per check. ``--grammar programs``
checks the programs of ``tests/support/size_programs.py`` instead, which compute with sizes.

Networks are checked in separate processes, since isl cannot be interrupted: a network that takes
longer than ``--limit`` seconds counts as slow. Each finished network is a line of ``--rows``.
``--resume`` continues an interrupted run with the same versions and options. The summary is
written to ``--out``.
"""

import argparse
import collections
import itertools
import json
import multiprocessing
import os
import platform
import queue
import random
import shlex
import statistics
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

import jaxconv as jc
from tests.support.networks import Network
from tests.support.networks import network as random_network
from tests.support.oracle import disagreements_within, is_considered, names_of
from tests.support.size_programs import program as random_program

BATCH = 100  # networks of one process; a new one has empty caches
SIZE_LIMITS = (4, 12, 12, 40, 300)  # random sizes go up to one of these
ANSWERS = {"right", "spec not read"}  # outcomes that are as they should be
MAX_NOTABLE = 40  # networks of each kind named in the summary
POINT_SECONDS = 3.0  # a point whose tracing takes longer is not compared
GRAMMARS: dict[str, Callable[[int], Network]] = {
    "networks": random_network,
    "programs": random_program,
}
PACKAGES = ("jax", "flax", "equinox", "dm-haiku", "numpy", "islpy")

Point = dict[str, int]
Row = dict[str, Any]


def points(verdict: jc.Verdict, network: Network, seed: int, count: int) -> list[Point]:
    """Choose the sizes at which to compare, among those that the verdict decides.

    Half of them at most are at borders; the rest are corners and random sizes.

    Args:
        verdict: of the network.
        network: what was checked.
        seed: of the random choices.
        count: the largest number of points.

    Returns:
        Different points, sizes by name.
    """
    rng, names = random.Random(seed), names_of(network.specs)
    borders = list(_borders(verdict, names, rng))
    rng.shuffle(borders)
    corners = [
        dict(zip(names, sizes, strict=True))
        for sizes in itertools.product((1, 2, 9), repeat=len(names))
    ]
    rng.shuffle(corners)
    wanted = [
        *borders[: count // 2],
        *corners[: count // 4],
        *_random_points(names, rng, 4 * count, network.special),
    ]
    unique = {tuple(point.values()): point for point in wanted}.values()
    known = (
        point
        for point in unique
        if is_considered(network, point) and not verdict.untried.contains(**point)
    )
    return list(itertools.islice(known, count))


def _borders(verdict: jc.Verdict, names: Sequence[str], rng: random.Random) -> Iterator[Point]:
    """Yield the smallest sizes of each set, those nearest to random sizes, and their neighbours."""
    sets = [verdict.accepts, *(failure.sizes for failure in verdict.failures)]
    for sizes in sets:
        if sizes.is_empty():
            continue
        for point in [sizes.smallest(), *map(sizes.nearest, _random_points(names, rng, 3))]:
            yield point
            for name, step in itertools.product(names, (-1, 1)):
                if point[name] + step >= 1:
                    yield point | {name: point[name] + step}


def _random_points(
    names: Sequence[str], rng: random.Random, count: int, special: Sequence[int] = ()
) -> Iterator[Point]:
    """Yield random sizes, half of them at or near a multiple of a special one."""

    def size() -> int:
        if special and rng.random() < 0.5:
            return max(
                1, rng.choice(special) * rng.choice((1, 1, 2, 3)) + rng.choice((0, 0, 1, -1))
            )
        return rng.randint(1, rng.choice(SIZE_LIMITS))

    for _ in range(count):
        yield {name: size() for name in names}


def examine(
    seed: int,
    sizes: int,
    *,
    make: Callable[[int], Network] = random_network,
    check: Callable[..., jc.Verdict] = jc.check,
) -> Row:
    """Check one network and compare its verdict with tracing.

    Args:
        seed: of the network.
        sizes: points to compare.
        make: makes the network of a seed.
        check: the function under test.

    Returns:
        A row of results, for JSON.
    """
    network = make(seed)
    row: Row = {
        "seed": seed,
        "specs": network.specs,
        "where": network.where,
        "returns": network.returns,
        "layers": network.layers,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        try:
            verdict = check(
                network.fn, *network.specs, returns=network.returns, where=network.where
            )
        except jc.SpecError as error:
            return row | {"outcome": "spec not read", "error": str(error)}
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # also what is meant to stay within the package
            return row | {
                "outcome": "crashed",
                "error": traceback.format_exc(),
                "source": network.source,
            }
        row["seconds"] = round(time.perf_counter() - start, 4)
        row["peak_mib"] = _peak_memory()
        return row | _compared(network, verdict, points(verdict, network, seed, sizes))


def _peak_memory() -> int | None:
    """Return the most memory that this process has held so far, in MiB; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit


def _compared(network: Network, verdict: jc.Verdict, sizes: Sequence[Point]) -> Row:
    """Describe a verdict, and the sizes at which tracing disagrees."""
    results = []
    for point in sizes:
        found = disagreements_within(POINT_SECONDS, network, verdict, point)
        results += [(point, text) for text in found]
    wrong = [[point, text] for point, text in results if text]
    undecided = not verdict.untried.is_empty()
    return {
        "outcome": "wrong" if wrong else "right",
        "status": verdict.status,
        "runs": verdict.runs,
        "decided": not undecided,
        "accepts_some": not verdict.accepts.is_empty(),
        "not_decided": verdict.notes if undecided else (),
        "compared": len(results),
        "skipped": len(sizes) - len(results),
        "wrong": wrong,
        **({"verdict": str(verdict)} if wrong else {}),
        **({"source": network.source} if network.source and (wrong or undecided) else {}),
    }


# Many networks: one process per batch, killed if it is silent for too long.


def _work(seeds: Sequence[int], sizes: int, grammar: str, send: Any) -> None:
    """Examine networks in a separate process, and send each row."""
    jax.config.update("jax_traceback_filtering", "off")  # it takes an eighth of the time
    for seed in seeds:
        send.send(examine(seed, sizes, make=GRAMMARS[grammar]))
    send.close()


def watched(
    seeds: Sequence[int], sizes: int, limit: float, grammar: str = "networks"
) -> Iterator[Row]:
    """Yield a row per network. One that takes too long or ends its process has no verdict.

    Args:
        seeds: of the networks.
        sizes: points to compare for each.
        limit: seconds for one network.
        grammar: what makes the networks, a key of ``GRAMMARS``.

    Yields:
        A row of results per network.
    """
    rest = list(seeds)
    spawn = multiprocessing.get_context("spawn")
    while rest:
        receive, send = spawn.Pipe(duplex=False)
        worker = spawn.Process(target=_work, args=(rest[:BATCH], sizes, grammar, send), daemon=True)
        worker.start()
        send.close()
        for _ in range(len(rest[:BATCH])):
            row = _receive_row(receive, limit)
            yield {"seed": rest[0], **row}
            rest.pop(0)
            if row["outcome"] in ("slow", "died"):
                break
        worker.kill()
        worker.join()


def _receive_row(receive: Any, limit: float) -> Row:
    try:
        return receive.recv() if receive.poll(limit) else {"outcome": "slow", "limit": limit}
    except EOFError:
        return {"outcome": "died", "error": "the process ended without an answer"}


def run(
    seeds: Sequence[int], sizes: int, processes: int, limit: float, grammar: str = "networks"
) -> Iterator[Row]:
    """Yield a row per network, from several processes, in the order of completion.

    Args:
        seeds: of the networks.
        sizes: points to compare for each.
        processes: how many work at the same time.
        limit: seconds for one network.
        grammar: what makes the networks, a key of ``GRAMMARS``.

    Yields:
        A row of results per network.
    """
    rows: queue.Queue[Row] = queue.Queue()

    def supervise(part: Sequence[int]) -> None:
        for row in watched(part, sizes, limit, grammar):
            rows.put(row)

    for i in range(processes):
        threading.Thread(target=supervise, args=(seeds[i::processes],), daemon=True).start()
    for _ in seeds:
        yield rows.get()


def summary(rows: Iterable[Row]) -> dict[str, Any]:
    """Summarise all rows.

    Args:
        rows: of :func:`run`.

    Returns:
        Counts, times and notable networks, for JSON.
    """
    rows = sorted(rows, key=lambda row: row["seed"])
    checked = [row for row in rows if "seconds" in row]
    undecided = [row for row in checked if not row["decided"]]
    seconds = sorted(row["seconds"] for row in checked) or [float("nan")]
    outcomes = collections.Counter(row["outcome"] for row in rows)
    return {
        "networks": len(rows),
        "outcomes": dict(outcomes),
        "wrong_answers": sum(len(row["wrong"]) for row in checked),
        "comparisons": sum(row["compared"] for row in checked),
        "share_decided": round(sum(row["decided"] for row in checked) / max(1, len(rows)), 4),
        "share_accepting_some_size": round(
            sum(row["accepts_some"] for row in checked) / max(1, len(rows)), 4
        ),
        "status": dict(collections.Counter(row["status"] for row in checked)),
        "seconds_a_check": {
            "median": round(statistics.median(seconds), 4),
            "percentile_99": seconds[int(0.99 * (len(seconds) - 1))],
            "worst": seconds[-1],
        },
        "peak_mib": max((row["peak_mib"] or 0 for row in checked), default=0),
        "networks_with_layer": dict(sorted(_layers(rows).items())),
        "share_undecided_with_layer": _shares(_layers(undecided), _layers(rows)),
        "notable": _notable(rows, checked),
    }


def _layers(rows: Sequence[Row]) -> collections.Counter[str]:
    return collections.Counter(name for row in rows for name in set(row.get("layers", ())))


def _shares(some: collections.Counter[str], of: collections.Counter[str]) -> dict[str, float]:
    """Return the share of each layer, the largest first."""
    shares = {name: round(some[name] / of[name], 3) for name in of}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _notable(rows: Sequence[Row], checked: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the networks with a problem in full, and the slowest of the others in short."""
    undecided = [row for row in checked if not row["decided"]]
    slowest = sorted(checked, key=lambda row: -row["seconds"])[:10]
    return {
        "not right": [row for row in rows if row["outcome"] not in ANSWERS],
        "not decided": [_brief(row) for row in undecided[:MAX_NOTABLE]],
        "slowest": [_brief(row) for row in slowest],
    }


def _brief(row: Row) -> Row:
    kept = ("seed", "layers", "specs", "where", "returns", "seconds", "runs", "not_decided")
    return {key: row[key] for key in (*kept, "source") if row.get(key) not in (None, [], ())}


def _setting(options: argparse.Namespace) -> dict[str, Any]:
    """Return the versions and options that the numbers depend on."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return {
        "commit": commit.stdout.strip(),
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        "grammar": options.grammar,
        "sizes": options.sizes,
        "limit": options.limit,
    }


def _rows(options: argparse.Namespace, setting: dict[str, Any]) -> list[Row]:
    """Return the rows of the run to resume, or start a new file."""
    path = options.rows
    if not (options.resume and path.exists()):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(setting) + "\n")
        return []
    before, *rows = map(json.loads, path.read_text().splitlines())
    if before != setting:
        sys.exit(
            f"{path} is from another run: {before}, but now {setting}.\n"
            "Fix: omit --resume, or use the same commit, versions and options."
        )
    return rows


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.soundness", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--grammar", choices=GRAMMARS, default="networks", help="what makes the networks"
    )
    parser.add_argument("--networks", type=int, default=10_000, help="number of networks")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the first network; the next have seed + 1, ..."
    )
    parser.add_argument("--sizes", type=int, default=40, help="sizes to compare per network")
    parser.add_argument("--processes", type=int, default=1, help="number of parallel processes")
    parser.add_argument("--limit", type=float, default=120, help="seconds per network")
    parser.add_argument("--rows", type=Path, default=Path("runs/soundness.jsonl"))
    parser.add_argument("--out", type=Path, default=Path("experiments/results/soundness.json"))
    parser.add_argument("--resume", action="store_true", help="continue the run in --rows")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment. The exit status is 1 if an answer is wrong or missing.

    Args:
        arguments: the command line; None for that of this process.

    Returns:
        The exit status.
    """
    options = _parse(arguments)
    setting = _setting(options)
    rows = _rows(options, setting)
    done = {row["seed"] for row in rows}
    seeds = [s for s in range(options.seed, options.seed + options.networks) if s not in done]
    start = time.perf_counter()
    with options.rows.open("a") as file:
        work = run(seeds, options.sizes, options.processes, options.limit, options.grammar)
        for row in work:
            rows.append(row)
            print(json.dumps(row), file=file, flush=True)
            _report_progress(row, len(rows), options.networks, start)
    words = sys.argv[1:] if arguments is None else arguments
    report = {
        "command": shlex.join(["python", "-m", "experiments.soundness", *words]),
        **setting,
        "cores_of_the_machine": os.cpu_count(),
        "minutes": round((time.perf_counter() - start) / 60, 1),
        **summary(rows),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps({key: report[key] for key in report if key != "notable"}, indent=1))
    return 0 if set(report["outcomes"]) <= ANSWERS else 1


def _report_progress(row: Row, done: int, count: int, start: float) -> None:
    """Print each network with a problem, and from time to time the progress."""
    if row["outcome"] not in ANSWERS:
        print(json.dumps(row | {"wrong": row.get("wrong", [])[:1]}), flush=True)
    if done % 50 == 0 or done == count:
        minutes = (time.perf_counter() - start) / 60
        print(f"{done} of {count} networks, {minutes:.1f} minutes", flush=True)


if __name__ == "__main__":
    sys.exit(main())
