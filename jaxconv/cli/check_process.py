"""Checks in a process of their own, which imports the user's code afresh and can be stopped.

While nothing is checked, the process of the next check is prepared: it compiles what earlier checks
called of JAX and other libraries. None of the user's code runs in it before the check begins.
"""

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxconv.cli.arguments import UsageError
from jaxconv.cli.checking import NotStarted, Request, Tally, check_all
from jaxconv.cli.obligations import NoShapesError
from jaxconv.cli.prepared_calls import compile_call, recorded_calls
from jaxconv.cli.program import cache_programs
from jaxconv.cli.reports import Report
from jaxconv.cli.user_code import TargetError
from jaxconv.compat import UnsupportedJaxError
from jaxconv.errors import ShapeError
from jaxconv.source import file_of_user

# What a check imports beside the user's code. A process that has imported it is forked for each
# check, where the system can; libraries that are not installed are passed over.
PRELOADED = [
    "jaxconv.cli.check_process",
    "jaxconv.models.vgg",
    "flax.nnx",
    "flax.linen",
    "equinox",
    "haiku",
]
MOST_CALLS = 400  # that are prepared: those of the latest checks


class NothingChecked(NamedTuple):
    """A run that could not start.

    Attributes:
        message: why, and the fix.
        has_shapes: False where the code has nothing to prove.
    """

    message: str
    has_shapes: bool = True


class Imported(NamedTuple):
    """What a run has imported and called.

    Attributes:
        paths: of the files of the user's code.
        calls: what can be prepared for the next run.
    """

    paths: frozenset[str]
    calls: tuple[bytes, ...]


class NeedsNewProcess(NamedTuple):
    """A run in a prepared process is to be repeated in one in which JAX has done nothing yet."""


Message = Report | NotStarted | NothingChecked | Tally | Imported
Calls = tuple[bytes, ...]


class Checker:
    """Runs checks, and prepares the process of the next one after each."""

    def __init__(self) -> None:
        self._prepared: _Process | None = None
        self._calls: Calls = ()
        self._lock = threading.Lock()

    def start(self, request: Request, folder: Path) -> "CheckProcess":
        """Start a run.

        Args:
            request: what to prove.
            folder: the working folder of the run.
        """
        with self._lock:
            process, self._prepared = self._prepared, None
        is_ready = process is not None and process.is_alive()
        return CheckProcess(request, folder, process if is_ready else None, self._prepare)

    def _prepare(self, calls: Calls) -> None:
        """Prepare a process, if the last run has called something that can be prepared."""
        with self._lock:
            self._calls = tuple(dict.fromkeys((*calls, *self._calls)))[:MOST_CALLS]
            if calls and self._prepared is None:
                self._prepared = _Process(self._calls)


class CheckProcess:
    """One run of checks, which is stopped by :meth:`stop`, from any thread.

    Args:
        request: what to prove.
        folder: the working folder of the run.
        process: a prepared one; None for a new one.
        on_end: is called with what can be prepared for the next run.
    """

    def __init__(
        self,
        request: Request,
        folder: Path,
        process: "_Process | None" = None,
        on_end: Callable[[Calls], None] | None = None,
    ) -> None:
        self._task = (request, folder)
        self._on_end = on_end
        self._process = process or _Process()
        self._process.connection.send(self._task)
        self._is_stopped = False
        self._lock = threading.Lock()

    def messages(self) -> Iterator[Message]:
        """Yield what the run reports, as it does; end when it has ended or is stopped."""
        for message in self._process.messages():
            if isinstance(message, NeedsNewProcess):
                with self._lock:
                    if self._is_stopped:
                        return
                    self._process = _Process()
                    self._process.connection.send(self._task)
                yield from self.messages()
                return
            yield message
            if isinstance(message, Imported) and self._on_end:
                self._on_end(message.calls)
        status = self._process.exitcode
        if status and not self._is_stopped:
            died = f"the process of the check ended with status {status}"
            yield NothingChecked(f"{died}.\n  Fix: run jaxconv check to see why.")

    def stop(self) -> None:
        """Stop the run at once."""
        with self._lock:
            self._is_stopped = True
            self._process.kill()


class _Process:
    """A process that runs one task, and prepares calls until it gets it."""

    def __init__(self, calls: Calls = ()) -> None:
        method = "forkserver" if sys.platform != "win32" else "spawn"
        context = multiprocessing.get_context(method)
        if method == "forkserver":
            context.set_forkserver_preload(PRELOADED)
            is_main = threading.current_thread() is threading.main_thread()  # not in an editor
            # The new process inherits that Ctrl-C is ignored: this one stops it.
            before = signal.signal(signal.SIGINT, signal.SIG_IGN) if is_main else None
            try:
                forkserver.ensure_running()
            finally:
                if is_main:
                    signal.signal(signal.SIGINT, before)
        self.connection, other = context.Pipe()
        self._process = context.Process(target=_run, args=(calls, other), daemon=True)
        self.is_alive, self.kill = self._process.is_alive, self._process.kill
        self._process.start()
        other.close()

    @property
    def exitcode(self) -> int | None:
        """Its status, once it has ended."""
        return self._process.exitcode

    def messages(self) -> Iterator[Any]:
        """Yield what it sends, until it has ended."""
        try:
            while True:
                yield self.connection.recv()
        except (EOFError, OSError):
            self._process.join()


def _run(calls: Calls, connection: Connection) -> None:
    """Prepare calls until there is a task, and run it, in the new process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the process that started this one
    os.dup2(2, 1)  # what the user's code prints is no answer of ours
    cache_programs()  # such as those that initialize the weights of a model
    if calls and sys.platform == "linux":
        # XLA's threads, which compute the weights, inherit this, and so leave a core to the proof.
        starter = threading.Thread(target=lambda: (os.nice(5), jax.devices()))
        starter.start()
        starter.join()
    for call in calls:
        if connection.poll():
            break
        compile_call(call)
    try:
        request, folder = connection.recv()
        os.chdir(folder)
        _check(request, connection, is_prepared=bool(calls))
    except (EOFError, BrokenPipeError):
        return  # nobody listens any more


def _check(request: Request, connection: Connection, *, is_prepared: bool) -> None:
    """Run the checks, and send what they report."""
    before = _settings()
    gc.freeze()  # nothing that has been imported or prepared will be garbage

    def send(message: Message) -> None:
        # Settings of JAX that a module makes may come too late in a prepared process.
        if is_prepared and (isinstance(message, NothingChecked) or _settings() != before):
            connection.send(NeedsNewProcess())
            sys.exit()
        connection.send(message)

    with recorded_calls() as calls:
        try:
            send(check_all(request, send))
        except (TargetError, ShapeError, UnsupportedJaxError, UsageError) as error:
            send(NothingChecked(str(error), not isinstance(error, NoShapesError)))
    # A process that waits must not hold the memory of a GPU.
    can_prepare = calls and _settings() == before and jax.default_backend() == "cpu"
    files = map(file_of_user, [*sys.modules.values()])
    paths = frozenset(filter(None, files))
    connection.send(Imported(paths, tuple(calls) if can_prepare else ()))


def _settings() -> tuple[dict[str, Any], dict[str, str]]:
    """The settings of JAX, and the variables that JAX and XLA read when they start."""
    variables = {k: v for k, v in os.environ.items() if k.startswith(("JAX_", "XLA_"))}
    return dict(jax.config.values), variables
