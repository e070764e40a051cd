"""Prove public models of other libraries, and write the page about them.

    python -m experiments.zoo

It writes ``docs/zoo.md`` and ``experiments/results/zoo.json``. The libraries are listed in
``experiments/zoo/requirements.txt``; a model whose library is missing is listed as not installed.
Expected: more than 90 % of the models are decided for every size, no size is wrong, and all
parameters are equal. ``--resume`` continues an interrupted run.
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from experiments.bench.machine import machine
from experiments.zoo.page import summarize, write_page

ROOT = Path(__file__).parents[2]
OUT = ROOT / "experiments" / "results" / "zoo.json"
PAGE = ROOT / "docs" / "zoo.md"
LIMIT = 60.0  # seconds for a proof
SECONDS_OF_PROCESS = 240.0  # for the proof, the parameters and the comparison
MEMORY_GB = 8.0  # for a process

Row = dict[str, Any]


def run(name: str, number: int, limit: float, memory_gb: float) -> Row:
    """Measure one model in a process of its own.

    Args:
        name: of the model, for messages.
        number: its place in the catalogue.
        limit: seconds for its proof.
        memory_gb: of the process.

    Returns:
        Its row.
    """
    command = [sys.executable, "-m", "experiments.zoo", "--measure", str(number)]
    command += ["--limit", str(limit), "--memory", str(memory_gb)]
    start = time.perf_counter()
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=SECONDS_OF_PROCESS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        reason = f"{name} took longer than {SECONDS_OF_PROCESS:.0f} s in all"
        return {"status": "timed out", "decided": False, "reason": reason}
    with contextlib.suppress(json.JSONDecodeError, IndexError):
        return json.loads(done.stdout.splitlines()[-1])
    last = (done.stderr.strip().splitlines() or ["no message"])[-1][:300]
    reason = f"the process ended with {done.returncode} after {time.perf_counter() - start:.0f} s"
    return {"status": "crashed", "decided": False, "reason": f"{reason}: {last}"}


def _measure(number: int, limit: float, memory_gb: float) -> None:
    """Print the row of one model, as JSON."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    with contextlib.suppress(ImportError, ValueError):
        import resource

        limit_bytes = int(memory_gb * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))
    from experiments.zoo.catalogue import MODELS
    from experiments.zoo.measure import measure

    row = measure(MODELS[number], limit)
    print()
    print(json.dumps(row))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.zoo", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--only", nargs="*", default=[], help="parts of names or libraries")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds for a proof")
    parser.add_argument("--memory", type=float, default=MEMORY_GB, help="GB for a process")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="keep the rows there are")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _write(options: argparse.Namespace, rows: Mapping[int, Row], tests: str) -> Row:
    """Write what there is so far, so that an interrupted run can be resumed."""
    report = {
        "command": "python -m experiments.zoo",
        "limit": options.limit,
        "memory_gb": options.memory,
        "machine": _machine(),
        "versions": {
            "Python": platform.python_version(),
            **{name: version(name) for name in ("jax", "flax", "islpy")},
        },
        "tests_of_libraries": tests,
        "models": [rows[number] for number in sorted(rows)],
    }
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    options.page.write_text(write_page(report))
    return report


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the models, and write the page.

    Args:
        arguments: the command line; None for that of this process.
    """
    options = _parse(arguments)
    if options.measure is not None:
        _measure(options.measure, options.limit, options.memory)
        return
    os.environ.setdefault("KERAS_BACKEND", "jax")
    from experiments.zoo.catalogue import MODELS

    earlier = json.loads(options.out.read_text()) if options.out.exists() else {}
    tests = earlier.get("tests_of_libraries", "")
    rows: dict[int, Row] = {}
    by_key = {
        (row["library"], row["name"], row["version"]): row for row in earlier.get("models", [])
    }

    def wanted(number: int) -> bool:
        model = MODELS[number]
        known = (model.library, model.name, model.version) in by_key
        text = f"{model.library} {model.name}"
        chosen = not options.only or any(part in text for part in options.only)
        return chosen and not (options.resume and known)

    chosen = [number for number in range(len(MODELS)) if wanted(number)]
    for number, model in enumerate(MODELS):
        key = (model.library, model.name, model.version)
        if number not in chosen and key in by_key:
            rows[number] = by_key[key]

    def work(number: int) -> tuple[int, Row]:
        model = MODELS[number]
        facts = {"name": model.name, "library": model.library, "version": model.version}
        row = run(model.name, number, options.limit, options.memory)
        return number, facts | {"about": model.about} | row

    with concurrent.futures.ThreadPoolExecutor(options.processes) as pool:
        for done, (number, row) in enumerate(pool.map(work, chosen), start=1):
            rows[number] = row
            _write(options, rows, tests)
            print(f"{done}/{len(chosen)} {progress(row)}", flush=True)
    report = _write(options, rows, tests)
    print(summarize(report["models"], report))


def _machine() -> str:
    """The machine, and how busy it was, as other work makes a proof slower."""
    text = f"{os.cpu_count()} cores, {platform.machine()}"
    if sys.platform == "linux":  # which says what processor it is
        facts = machine(range(os.cpu_count() or 1))
        text = f"{os.cpu_count()} cores of {facts['processor']} ({', '.join(facts['vectors'])})"
    return f"{text}, load {os.getloadavg()[1]:.0f}" if hasattr(os, "getloadavg") else text


def progress(row: Row) -> str:
    """One line about a finished model.

    Args:
        row: of the model.

    Returns:
        The line.
    """
    parts = [f"{row['library']} {row['name']}: {row['status']}"]
    if "seconds" in row:
        parts.append(f"{row['seconds']:.1f} s, {row['traces']} traces")
    if row.get("wrong"):
        parts.append(f"{row['wrong']} of {row['compared']} sizes are wrong")
    if row.get("own_parameters") != row.get("parameters"):
        parts.append(f"{row['parameters']} parameters, not {row['own_parameters']}")
    if not row.get("decided") and row.get("reason"):
        parts.append(row["reason"][:150])
    return "; ".join(parts)


if __name__ == "__main__":
    main()
