"""Checks in a process of their own, which imports the user's code afresh and can be stopped."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from jaxconv.cli.arguments import UsageError
from jaxconv.cli.checking import NotStarted, Request, Tally, check_all
from jaxconv.cli.obligations import NoShapesError
from jaxconv.cli.program import cache_programs
from jaxconv.cli.reports import Report
from jaxconv.cli.user_code import TargetError
from jaxconv.compat import UnsupportedJaxError
from jaxconv.errors import ShapeError
from jaxconv.source import file_of_user

# What a check imports beside the user's code. A process that has imported it is forked for each
# check, where the system can; libraries that are not installed are passed over.
PRELOADED = ["jaxconv.cli.check_process", "flax.nnx", "flax.linen", "equinox", "haiku"]


class NothingChecked(NamedTuple):
    """A run that could not start.

    Attributes:
        message: why, and the fix.
        has_shapes: False where the code has nothing to prove.
    """

    message: str
    has_shapes: bool = True


class Files(NamedTuple):
    """The files of the user's code that a run has imported.

    Attributes:
        paths: their paths.
    """

    paths: frozenset[str]


Message = Report | NotStarted | NothingChecked | Tally | Files


class CheckProcess:
    """One run of checks, which is stopped by :meth:`stop`, from any thread.

    Args:
        request: what to prove.
        folder: the working folder of the run.
    """

    def __init__(self, request: Request, folder: Path) -> None:
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
        self._receiver, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_run, args=(request, folder, sender), daemon=True)
        self._process.start()
        sender.close()
        self._is_stopped = threading.Event()

    def messages(self) -> Iterator[Message]:
        """Yield what the run reports, as it does; end when it has ended or is stopped."""
        try:
            while True:
                yield self._receiver.recv()
        except (EOFError, OSError):
            self._process.join()
        if self._process.exitcode and not self._is_stopped.is_set():
            died = f"the process of the check ended with status {self._process.exitcode}"
            yield NothingChecked(f"{died}.\n  Fix: run jaxconv check to see why.")

    def stop(self) -> None:
        """Stop the run at once."""
        self._is_stopped.set()
        self._process.kill()


def _run(request: Request, folder: Path, sender: Connection) -> None:
    """Run the checks, in the new process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the process that started this one
    os.dup2(2, 1)  # what the user's code prints is no answer of ours
    os.chdir(folder)
    cache_programs()  # such as those that initialize the weights of a model
    try:
        sender.send(check_all(request, sender.send))
    except (TargetError, ShapeError, UnsupportedJaxError, UsageError) as error:
        sender.send(NothingChecked(str(error), not isinstance(error, NoShapesError)))
    except BrokenPipeError:
        return  # nobody listens any more
    files = map(file_of_user, [*sys.modules.values()])
    sender.send(Files(frozenset(filter(None, files))))
