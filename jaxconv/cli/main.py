"""The start of the command line, which Ctrl-C ends in one line, whatever is done at the moment."""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

INTERRUPTED = 130  # as a shell reports a process that Ctrl-C has ended
PATIENCE = 2.0  # seconds after Ctrl-C, in which a computation may end by itself
DELAY = 0.05  # seconds, after which an interrupt that was swallowed is repeated


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``jaxconv``; bad input is one message on standard error and exit status 2.

    Args:
        arguments: without the program's name; None takes those of the process.

    Returns:
        The exit status: that of the command, or 0 where no command is given and help is printed.
    """
    given = [*(sys.argv[1:] if arguments is None else arguments)]
    command = next((word for word in given if not word.startswith("-")), "")
    interrupts = Interrupts(f"\n{f'jaxconv {command}'.strip()}: interrupted.\n")
    status = INTERRUPTED
    try:
        with interrupts:
            from jaxconv.cli.program import run

            interrupts.may_raise = True
            status = run(given)
    except KeyboardInterrupt:
        interrupts.is_interrupted = True
    except Exception:  # as which an interrupt may come out of a library
        if not interrupts.is_interrupted:
            raise
    if not interrupts.is_interrupted:
        return status
    sys.stderr.write(interrupts.said)
    return INTERRUPTED


class Interrupts:
    """A context in which Ctrl-C raises KeyboardInterrupt, or ends the process where that fails.

    Attributes:
        said: what is written to standard error where the process is ended.
        may_raise: False while modules in C are imported, which abort where one is raised.
        is_interrupted: whether there was a Ctrl-C.

    Args:
        said: see above.
    """

    def __init__(self, said: str) -> None:
        self.said, self.may_raise, self.is_interrupted = said, False, False
        self._over = threading.Event()
        self._is_used = False

    def __enter__(self) -> None:
        is_main = threading.current_thread() is threading.main_thread()
        handled = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if not (is_main and handled) or sys.platform == "win32":
            return  # Python takes signals in its main thread only; and others may have a say
        self._is_used = True
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        signal.signal(signal.SIGINT, self._interrupt)
        self._before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._hook, sys.unraisablehook = sys.unraisablehook, self._repeat
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def __exit__(self, *_: object) -> None:
        if self._is_used:
            self._over.set()
            signal.set_wakeup_fd(self._before)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.unraisablehook = self._hook
            os.close(self._writer)
            self._watcher.join()
            os.close(self._reader)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.is_interrupted = True
        if not self.may_raise:
            self._end()
        raise KeyboardInterrupt

    def _repeat(self, unraisable: Any) -> None:
        """Repeat an interrupt where Python ignores exceptions, as while it collects garbage."""
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            threading.Timer(DELAY, os.kill, (os.getpid(), signal.SIGINT)).start()
        else:
            self._hook(unraisable)

    def _watch(self) -> None:
        """End the process some time after Ctrl-C, if a computation outside Python goes on.

        Python handles signals between two of its own instructions only, and compiling or running
        a large network is one.
        """
        while signals := os.read(self._reader, 1):
            if signals[0] == signal.SIGINT and not self._over.wait(PATIENCE):
                self._end()

    def _end(self) -> NoReturn:
        os.write(2, self.said.encode())
        os._exit(INTERRUPTED)
