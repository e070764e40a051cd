"""What a command does, on standard error, where it takes more than a second."""

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jaxconv.analysis.partial_program import reporting

SECONDS_BEFORE = 1.0  # anything is shown on a terminal
SECONDS_BETWEEN = {True: 0.2, False: 20.0}  # reports, on a terminal and elsewhere
CLEAR = "\r\x1b[K"


@dataclass
class _Task:
    """Something that takes a while.

    Attributes:
        text: what is done.
        start: when it began.
        share: how much of it is done; None where that is not known.
    """

    text: str
    start: float
    share: float | None = None

    def line(self) -> str:
        share = "" if self.share is None else f"{self.share:4.0%} after "
        return f"{self.text}: {share}{time.monotonic() - self.start:.0f} s"


class _StatusLine:
    """The last line of a terminal, which says what is done at the moment.

    Args:
        stream: standard error.
        first: what is done.
    """

    def __init__(self, stream: Any, first: _Task) -> None:
        self._stream, self.tasks = stream, [first]
        self._is_shown, self._lock, self._over = False, threading.RLock(), threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)
        self._thread.start()

    def _show(self) -> None:
        seconds = SECONDS_BEFORE
        while not self._over.wait(seconds):
            seconds = SECONDS_BETWEEN[True]
            with self._lock:
                width = shutil.get_terminal_size().columns - 1  # a longer line could not be cleared
                self._stream.write(f"\r{self.tasks[-1].line()[:width]}\x1b[K")
                self._stream.flush()
                self._is_shown = True

    def write(self, text: str) -> int:
        """Write a text of the command above the line.

        Args:
            text: to be written.
        """
        with self._lock:
            self.clear()
            return self._stream.write(text)

    def clear(self) -> None:
        """Clear the line until it is shown again."""
        with self._lock:
            if self._is_shown:
                self._stream.write(CLEAR)
                self._stream.flush()
                self._is_shown = False

    def end(self) -> None:
        """Clear the line for good."""
        self._over.set()
        self._thread.join()
        self.clear()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def doing(text: str) -> Iterator[_Task]:
    """Show on a terminal what is done, from one second on.

    Args:
        text: what is done, such as "importing models".
    """
    task, stream = _Task(text, time.monotonic()), sys.stderr
    if isinstance(stream, _StatusLine):
        stream.tasks.append(task)
        try:
            yield task
        finally:
            stream.tasks.remove(task)
    elif stream.isatty():
        line = _StatusLine(stream, task)
        try:
            with contextlib.redirect_stderr(line):  # type: ignore[type-var] - it is written to
                yield task
        finally:
            line.end()
    else:
        yield task


@contextlib.contextmanager
def shown_progress(text: str) -> Iterator[None]:
    """Show how much of a network is computed: in one place of a terminal, else now and then a line.

    Args:
        text: what is done, such as "jaxconv maps: computing conv5_3".
    """
    with doing(text) as task:
        on_terminal = isinstance(sys.stderr, _StatusLine)
        last = time.monotonic()

        def show(share: float) -> None:
            nonlocal last
            task.share = share
            if not on_terminal and time.monotonic() - last >= SECONDS_BETWEEN[False]:
                last = time.monotonic()
                print(task.line(), file=sys.stderr, flush=True)

        with reporting(show):
            yield
