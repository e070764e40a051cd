"""Checks in a process of their own: what it reports, and that it can be stopped."""

import multiprocessing
import time
from pathlib import Path

import pytest

from jaxconv.cli.check_process import Checker, CheckProcess, Imported, NothingChecked
from jaxconv.cli.checking import Request, Tally
from jaxconv.cli.reports import Report

CODE = """
import helper_of_process
import jaxconv as jc


@jc.contract("b -> b")
def same(x):
    print("tracing")
    return x
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "helper_of_process.py").write_text("")
    (tmp_path / "in_process.py").write_text(CODE)
    return tmp_path


def test_a_process_reports_as_the_command_does(folder, capfd):
    report, tally, files = CheckProcess(Request(("in_process.py",)), folder).messages()
    assert isinstance(report, Report)
    assert (report.name, report.status) == ("in_process:same", "proven")
    assert tally == Tally(1, 0, 0)
    names = {"in_process.py", "helper_of_process.py"}
    assert isinstance(files, Imported)
    assert {str(folder / name) for name in names} <= files.paths
    assert capfd.readouterr().out == ""  # which may be an answer to an editor


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("1/0\n", "ZeroDivisionError"),
        ("import jax\n", "has no contract"),
        ("import os; os._exit(3)\n", "ended with status 3"),
    ],
)
def test_why_nothing_was_checked(folder, code, said):
    (folder / "in_process.py").write_text(code)
    first, *_ = CheckProcess(Request(("in_process.py",)), folder).messages()
    assert isinstance(first, NothingChecked)
    assert said in first.message
    assert "Fix: " in first.message or "in_process.py" in first.message


def test_programs_are_cached(folder):
    """A model's weights are initialized by programs that take seconds to compile."""
    seen = "import jax\nassert jax.config.jax_compilation_cache_dir\n"
    seen += "assert jax.config.jax_persistent_cache_min_compile_time_secs == 0\n"
    (folder / "in_process.py").write_text(seen + CODE)
    report, *_ = CheckProcess(Request(("in_process.py",)), folder).messages()
    assert isinstance(report, Report), report


def test_a_process_is_stopped_at_once(folder):
    (folder / "in_process.py").write_text("import time; time.sleep(1000)\n")
    process = CheckProcess(Request(("in_process.py",)), folder)
    start = time.monotonic()
    process.stop()
    assert [*process.messages()] == []
    assert time.monotonic() - start < 500


WEIGHTS = "import jax\nweights = jax.random.normal(jax.random.key(0), (3,))\n"
FLAG = "--xla_force_host_platform_device_count=2"
IN_TIME = {
    "more code": (True, "import math\n"),
    "a setting": (False, "import jax\njax.config.update('jax_num_cpu_devices', 2)\n"),
    "a variable": (False, f"import os\nos.environ['XLA_FLAGS'] = {FLAG!r}\n"),
}


@pytest.mark.parametrize(("is_prepared", "first"), IN_TIME.values(), ids=IN_TIME)
def test_a_process_is_prepared_and_settings_still_come_in_time(folder, is_prepared, first):
    """It starts JAX, so what a module sets before that needs another process."""
    others = {*multiprocessing.active_children()}
    checker, path, request = Checker(), folder / "in_process.py", Request(("in_process.py",))
    path.write_text(WEIGHTS + CODE)
    *_, imported = checker.start(request, folder).messages()
    assert isinstance(imported, Imported)
    assert imported.calls
    (waiting,) = {*multiprocessing.active_children()} - others

    seen = "import os\nopen('pid', 'w').write(f'{os.getpid()} {len(jax.devices())}')\n"
    path.write_text(first + WEIGHTS + seen + CODE)
    report, *_, imported = checker.start(request, folder).messages()
    assert isinstance(report, Report), report
    pid, devices = map(int, Path(folder, "pid").read_text().split())
    assert (pid == waiting.pid) == is_prepared
    assert devices == 1 if is_prepared else 2
    assert isinstance(imported, Imported)
    assert bool(imported.calls) == is_prepared


COUNTED = """
import jax
lowered = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, fun_name="", **__: "to_mlir" in event and lowered.append(fun_name)
)
"""
TOLD = "open('lowered', 'w').write(str('jit(_normal)' in lowered))\n"


def test_what_a_run_called_is_prepared_for_the_next_one(folder):
    checker, request = Checker(), Request(("in_process.py",))
    (folder / "in_process.py").write_text(COUNTED + WEIGHTS + TOLD + CODE)
    lowered = []
    for attempt in range(12):  # the next one may begin before all is prepared
        time.sleep(0.1 * attempt)
        report, *_ = checker.start(request, folder).messages()
        assert isinstance(report, Report), report
        lowered.append((folder / "lowered").read_text())
        if lowered[-1] == "False":
            break
    assert (lowered[0], lowered[-1]) == ("True", "False")
