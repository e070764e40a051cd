"""Programs in processes that start at once: forked from one that has imported JAX and jaxconv.

Starting Python and importing JAX takes seconds. Use this where a test needs a process of its own,
and not where it is about the start of the program: environment variables that Python, JAX or XLA
read when they are imported are those of the test run.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What the commands import, also where they use it. No backend of JAX may be started before a fork.
IMPORTED = (
    "jaxconv.analysis.summary",
    "jaxconv.aot.compile",
    "jaxconv.cli.check",
    "jaxconv.cli.main",
    "jaxconv.models.vgg",
    "jaxconv.prover.check",
)
SECONDS = 120  # a process that runs longer is killed


def forked(*arguments, cwd=None, env=None, package=None, interrupted_at=None):
    """Run ``python -m MODULE ...`` or ``python -c CODE ...``.

    Args:
        arguments: those of the interpreter.
        cwd: its working directory; default: that of the test.
        env: its environment variables; default: those of the test.
        package: a folder with another copy of jaxconv, which is imported instead of this one.
        interrupted_at: a file; shortly after the process has made it, the process gets SIGINT.

    Returns:
        What ``subprocess.run`` returns, with the text of both outputs.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        task = [
            [str(argument) for argument in arguments],
            str(cwd or Path.cwd()),
            dict(os.environ if env is None else env),
            [os.devnull, str(out), str(err)],
            package and str(package),
            interrupted_at and str(interrupted_at),
        ]
        server = _server()
        server.stdin.write(json.dumps(task) + "\n")
        server.stdin.flush()
        status = int(server.stdout.readline())
        return subprocess.CompletedProcess(arguments, status, out.read_text(), err.read_text())


@functools.cache
def _server():
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.support.processes"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    @atexit.register
    def stop():
        with server:
            server.stdin.close()

    return server


def _serve():
    """Fork a process for each task, and answer with its status."""
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # so that no process looks for garbage in what all of them share
    for line in sys.stdin:
        *task, interrupted_at = json.loads(line)
        if child := os.fork():
            if interrupted_at:
                _interrupt(child, Path(interrupted_at))
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        else:
            _run(*task)
            break


def _interrupt(child, path):
    """Send SIGINT to a process after it has made a file; one that ends before is left alone."""
    while not path.exists():
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.01)
    time.sleep(0.3)
    os.kill(child, signal.SIGINT)


def _run(arguments, cwd, environment, streams, package):
    """Do what the interpreter does with these arguments."""
    signal.alarm(SECONDS)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell may have ignored
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.path[:0] = [cwd]
    if package:
        sys.path[:0] = [package]
        for name in [name for name in sys.modules if name.partition(".")[0] == "jaxconv"]:
            del sys.modules[name]
    for number, path in enumerate(streams):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
    kind, what, *sys.argv[1:] = arguments
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<string>", "exec"), vars(sys.modules["__main__"]))


# Of the module that is given, with an output that nobody reads.
UNREAD = """
import os, runpy, sys
reader, writer = os.pipe()
os.close(reader)
os.dup2(writer, 1)
sys.stdout = open(1, "w", closefd=False)
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""

if __name__ == "__main__":
    _serve()
