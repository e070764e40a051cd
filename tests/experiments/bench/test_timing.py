"""The benchmark through its real processes, on networks that take no time; no time is asserted."""

import contextlib
import json
import math
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from experiments.bench import __main__ as bench
from experiments.bench import machine, timing
from experiments.bench.backends import BACKENDS, NUMPY, Backend, installed
from experiments.bench.inputs import prepare
from experiments.bench.process import Worker
from experiments.bench.results import chart, result
from experiments.bench.tables import Layer, Workload
from experiments.bench.timing import time_in_turn
from experiments.bench.workloads import classifier, memory, product, vgg
from tests.support import processes

HEAD = [
    Layer("flatten"),
    Layer("dense", "fc6", (256, 32), activation="relu"),
    Layer("dense", "fc7", (32, 7)),
]
STAGES = [(8, 8), (16,)]
WORKLOADS = {
    "seen": Workload("seen", "inference", "inference", (3, 16, 16, 3), vgg(STAGES, HEAD), 2),
    "learnt": Workload(
        "learnt", "a step", "training", (3, 16, 16, 3), vgg(STAGES, classifier(16, 5)), 2
    ),
    "layer": Workload("layer", "one layer", "inference", (1, 9, 9, 4),
                      (Layer("conv", "conv", (3, 3, 4, 8), activation="relu"),), before=1),
}  # fmt: skip
SMALL = (product(32), memory("read", 50_000), memory("copy", 50_000))
QUICK = [backend for backend in installed([*BACKENDS.values()]) if not backend.may_fail]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One run of the command: its status, what it printed, and its files."""
    folder = tmp_path_factory.mktemp("bench")
    given = ["--workloads", "seen,learnt", "--peers", ",".join(backend.name for backend in QUICK)]
    files = ["--out", str(folder / "bench.json"), "--chart", str(folder / "bench.png")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "WORKLOADS", WORKLOADS)
        patch.setattr(machine, "ROOFLINE", SMALL)
        patch.setattr(timing, "SLOW", math.inf)  # each backend is timed three times
        read, write = os.pipe()
        with os.fdopen(write, "w") as out:
            patch.setattr(sys, "stdout", out)
            status = bench.main([*given, "--rounds", "3", *files])
        with os.fdopen(read) as printed:
            return status, printed.read(), folder


@pytest.mark.slow
def test_all_backends_compute_the_same(run):
    status, printed, folder = run
    assert status == 0, printed
    seen, learnt = json.loads((folder / "bench.json").read_text())["workloads"]
    assert {row["peer"] for row in seen["rows"]} == {backend.name for backend in QUICK}
    able = {backend.name for backend in QUICK if "training" in backend.kinds}
    assert {row["peer"] for row in learnt["rows"]} == able >= {"jaxconv", "jax", "flax"}
    assert seen["failures"] == learnt["failures"] == seen["notes"] == []
    errors = [row["error"] for row in (*seen["rows"], *learnt["rows"])]
    assert 0 < min(errors) <= max(errors) < 1e-3


@pytest.mark.slow
def test_the_data_are_whole(run):
    found = json.loads((run[2] / "bench.json").read_text())
    assert found["machine"]["cores_used"] == sorted(os.sched_getaffinity(0))
    assert found["versions"].keys() >= {"python", "jax", "jaxlib", "flax", "jaxconv"}
    assert min(found["roofline"][name] for name in ("gflops", "read", "copy")) > 0
    for row in found["workloads"][0]["rows"]:
        assert len(row["seconds"]) == 3
        low, high = row["quartiles_ms"]
        assert low <= row["median_ms"] <= high
        assert row["median_ms"] == pytest.approx(1e3 * sorted(row["seconds"])[1], abs=1e-3)
        assert row["peak_mb"] > 10
        assert row["build_seconds"] > 0
    ours = [row for row in found["workloads"][1]["rows"] if row["peer"] == "jaxconv"]
    assert ours[0]["times_ours"] == 1


@pytest.mark.slow
def test_tables_and_a_chart_are_made(run):
    _, printed, folder = run
    assert "Roofline of these cores: " in printed
    assert printed.count("times ours") == 3  # two tables, and the legend
    for backend in QUICK:
        assert f"│ {backend.name} " in printed
    with Image.open(folder / "bench.png") as picture:
        assert picture.size[0] > 800


@pytest.mark.slow
def test_the_chart_has_a_bar_for_each_backend(run):
    found = json.loads((run[2] / "bench.json").read_text())["workloads"]
    panels = chart(found).axes
    assert [axes.get_title(loc="left") for axes in panels] == ["inference", "a step"]
    for axes, one in zip(panels, found, strict=True):
        lengths = [bar.get_width() for bar in axes.patches]
        assert lengths == [row["times_ours"] for row in one["rows"]]


def odd(name, **options):
    return Backend(name, Path(__file__).with_name("odd_backend.py"), ("numpy",), options=options)


def test_backends_that_go_wrong_are_left_out_and_named(tmp_path):
    backends = [
        odd("right"),
        odd("wrong", change=0.5),
        odd("dying", calls=4),
        odd("raising", raises="no such\nkernel"),
        Backend("lacking", tmp_path / "none.py", ("no_such_package",), may_fail=True),
    ]
    workload, texts = SMALL[0], []
    cores = sorted(os.sched_getaffinity(0))
    timings = time_in_turn(
        workload, backends, folder=tmp_path, cores=cores, rounds=3, progress=texts.append
    )
    assert [timing.backend for timing in timings.rows] == ["right"]
    assert len(timings.rows[0].seconds) == 3
    wrong, raising, dying = timings.failures
    assert wrong.startswith("wrong computes something else: its relative error is ")
    assert raising == "raising does not run: ValueError: no such"
    assert dying == "dying was killed by SIGKILL: noise on standard output."
    assert timings.notes == [
        "lacking does not run: ModuleNotFoundError: No module named 'no_such_package'"
    ]
    assert texts[-1] == "round 3 of 3"
    peak = machine.Roofline(100.0, "numpy", 10.0, 10.0)
    assert [row["times_ours"] for row in result(timings, peak)["rows"]] == [None]


def states(parent):
    """The state of each child process: T is stopped."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, mother = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(mother) == parent:
            found[int(stat.parent.name)] = state
    return found


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
    return found


def test_a_worker_stands_still_between_its_answers(tmp_path):
    with Worker(odd("right"), prepare(SMALL[0], tmp_path, onnx=False), [0]) as worker:
        stopped = lambda: states(os.getpid()).get(worker.process.pid) == "T"  # noqa: E731
        until(stopped)
        assert worker.ask("call")["seconds"] > 0
        until(stopped)
        assert os.sched_getaffinity(worker.process.pid) == {0}
    assert worker.process.pid not in states(os.getpid())


# Long enough to be interrupted, with the process of NumPy only, which starts at once. A job in the
# background of a shell ignores SIGINT, and so would what is started here.
LONG = """
import dataclasses, runpy, signal, sys
from experiments.bench import machine, workloads
signal.signal(signal.SIGINT, signal.default_int_handler)
machine.ROOFLINE = 3 * (dataclasses.replace(workloads.memory("read", 9), rounds=10**9),)
sys.argv = ["bench", "--peers", "jaxconv"]
runpy.run_module("experiments.bench", run_name="__main__")
"""


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left(blow):
    server = processes._server().pid
    stopped_below = lambda parent: [pid for pid, state in states(parent).items() if state == "T"]  # noqa: E731
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(processes.forked, "-c", LONG, cwd=processes.ROOT)
        command, *_ = until(lambda: [*states(server)])
        stopped = until(lambda: stopped_below(command))
        os.kill(command, blow)
        done = running.result(timeout=30)
    if blow == signal.SIGINT:
        assert done.returncode == 130
        assert done.stderr == "bench: interrupted; nothing was written.\n"
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in stopped))


BAD = {
    "--peers torhc": "is 'torhc', which is not valid.\n  Fix: set --peers= to one of 'torch', ",
    "--peers jax,": "--peers is '', which is not valid.",
    "--workloads vgg16_b8": "'vgg16_b8', which is not valid.\n  Fix: set --workloads= to one of "
    "'vgg16-b8', ",
    "--workloads train-32 --peers onnxruntime": "train-32 is training, which none of these "
    "libraries can run.\n  Fix: pass one of --peers=jaxconv, jax, ",
    "--cores 0,4096": "--cores is '4096', which is not valid.",
    "--rounds 0": "'0' is not a whole number from 1 to 999999999",
    "--out bench.txt": "bench.txt has an unknown format. Fix: choose a name that ends in .json.",
    "--chart no/such.png": "no/such.png cannot be written: No such file or directory.",
}


@pytest.mark.parametrize("given", BAD)
def test_bad_input_is_a_sentence(capsys, given):
    with contextlib.suppress(SystemExit):  # argparse refuses numbers
        assert bench.main([*given.split(" ")]) == 2
    assert BAD[given] in capsys.readouterr().err


def test_a_backend_that_is_not_installed_is_a_sentence(capsys, monkeypatch):
    lacking = Backend("gone", NUMPY.file, ("no-such-package",))
    monkeypatch.setattr(bench, "BACKENDS", {**BACKENDS, "gone": lacking})
    assert bench.main(["--peers", "gone"]) == 2
    assert "gone needs no-such-package, and not all is installed.\n  Fix: python -m pip" in (
        capsys.readouterr().err
    )
    assert lacking not in installed([*BACKENDS.values(), lacking])
