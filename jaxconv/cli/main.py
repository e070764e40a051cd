"""The start of the command line, which Ctrl-C ends in one line even while JAX is being imported."""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

INTERRUPTED = 130  # as a shell reports a process that Ctrl-C has ended
PATIENCE = 2.0  # seconds after Ctrl-C, in which a computation may end by itself
NAME = "jaxconv"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``jaxconv``; bad input is one message on standard error and exit status 2.

    Args:
        arguments: without the program's name; None takes those of the process.

    Returns:
        The exit status: that of the command, or 0 where no command is given and help is printed.
    """
    given = [*(sys.argv[1:] if arguments is None else arguments)]
    command = next((word for word in given if not word.startswith("-")), "")
    said = f"\n{f'{NAME} {command}'.strip()}: interrupted.\n"
    try:
        with ended_by_force(said):
            from jaxconv.cli.program import run

            return run(given)
    except KeyboardInterrupt:
        sys.stderr.write(said)
        return INTERRUPTED


@contextmanager
def ended_by_force(said: str) -> Iterator[None]:
    """End the process some time after Ctrl-C, where a computation outside Python goes on.

    Python raises KeyboardInterrupt between two of its own instructions only, and compiling or
    running a large network is one.

    Args:
        said: what is written to standard error then.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or sys.platform == "win32":  # Python takes signals in its main thread only
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    over = threading.Event()

    def wait() -> None:
        while signals := os.read(reader, 1):
            if signals[0] == signal.SIGINT and not over.wait(PATIENCE):
                os.write(2, said.encode())
                os._exit(INTERRUPTED)

    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    watcher = threading.Thread(target=wait, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        os.close(writer)
        watcher.join()
        os.close(reader)
