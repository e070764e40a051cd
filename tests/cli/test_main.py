"""Ctrl-C ends every command in one line, whatever it does at the moment."""

import signal
import subprocess
import sys
import time

import pytest

from jaxconv.cli.command import commands
from jaxconv.cli.main import main
from tests.support.processes import forked

ARGUMENTS = {
    "classify": [],
    "maps": ["--size", "600"],
    "neuron": ["--layer", "conv5_3", "--at", "3,3", "--channel", "1"],
    "explore": [],
    "shape": ["8x8x3", "--filters", "1", "--kernel", "1"],
    "summary": ["vgg16"],
    "draw": ["vgg16"],
    "check": ["slow:f", "b"],
    "lsp": [],
    "export": ["vgg16", "b h w 3", "--out", "vgg16.stablehlo"],
}
# A job in the background of a shell ignores SIGINT, and so would what is started here.
HEED = ["env", "--default-signal=INT", sys.executable]
START = """
import pathlib, sys
from jaxconv.cli.main import main

pathlib.Path("reached").touch()
sys.exit(main())
"""
REACHED = "import pathlib\nimport time\n\npathlib.Path('reached').touch()\n"
SLOW = f"def f(x):\n    {REACHED.replace(chr(10), chr(10) + '    ')}time.sleep(60)\n"


def interrupted_start(arguments, folder):
    """Status and standard error of a process that is interrupted while it imports its modules."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [*HEED, *arguments], stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=folder
    )
    try:
        while not (folder / "reached").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, said


@pytest.mark.parametrize("name", commands())
def test_a_command_that_is_being_imported_ends_in_one_line(name, tmp_path):
    done = interrupted_start(["-c", START, name, *ARGUMENTS[name]], tmp_path)
    assert done == (130, f"\njaxconv {name}: interrupted.\n")


def interrupted_check(target, folder):
    """Status and standard error of a check that is interrupted after it has made a file."""
    command = ["-m", "jaxconv", "check", target, "b"]
    done = forked(*command, cwd=folder, interrupted_at=folder / "reached")
    return done.returncode, done.stderr


def test_a_function_that_is_checked_ends_in_one_line(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    assert interrupted_check("slow:f", tmp_path) == (130, "\njaxconv check: interrupted.\n")


# What swallows an exception, and what does not let Python raise one.
HOLDING = {
    "garbage": "class Bad:\n    def __del__(self):\n        time.sleep(3)\n\nBad()\ntime.sleep(60)",
    "a library": "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    raise ImportError",
    "a function in C": (
        "import ctypes\nmutex = ctypes.create_string_buffer(64)\n"
        "for _ in range(2):  # the second waits for ever\n"
        "    ctypes.CDLL(None).pthread_mutex_lock(mutex)"
    ),
}


@pytest.mark.parametrize("name", HOLDING)
def test_what_holds_an_interrupt_back_is_ended_all_the_same(name, tmp_path):
    (tmp_path / "held.py").write_text(f"{REACHED}{HOLDING[name]}\n")
    status, said = interrupted_check("held:f", tmp_path)
    assert status == 130
    assert said.endswith("\njaxconv check: interrupted.\n")
    assert said.count("\n") == 2 or name == "a library"  # which has its own message


def test_a_caller_keeps_its_own_handling(capsys):
    mine = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        handler = signal.getsignal(signal.SIGINT)
        assert main(["shape", "8x8x3", "--filters", "1", "--kernel", "1"]) == 0
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, mine)
    assert main(["shape", "8x8x3", "--filters", "1", "--kernel", "1"]) == 0
    assert signal.getsignal(signal.SIGINT) is mine
    assert capsys.readouterr().err == ""
