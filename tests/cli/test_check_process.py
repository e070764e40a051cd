"""Checks in a process of their own: what it reports, and that it can be stopped."""

import time

import pytest

from jaxconv.cli.check_process import CheckProcess, Files, NothingChecked
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
    assert isinstance(files, Files)
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
