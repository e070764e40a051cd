"""Progress of a long computation, on standard error."""

import contextlib
import sys
import time
from collections.abc import Iterator

from jaxconv.analysis.partial_program import reporting

SECONDS_BETWEEN = {True: 0.2, False: 20.0}  # reports, on a terminal and elsewhere


@contextlib.contextmanager
def shown_progress(doing: str) -> Iterator[None]:
    """Show how much of a network is computed: in one place of a terminal, else now and then a line.

    Args:
        doing: what is done, such as "jaxconv maps: computing conv5_3".
    """
    on_terminal = sys.stderr.isatty()
    start = last = time.monotonic()

    def show(share: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN[on_terminal]:
            last = now
            text = f"{doing}: {share:4.0%} after {now - start:.0f} s"
            print(f"\r{text}" if on_terminal else text, end="" if on_terminal else "\n",
                  file=sys.stderr, flush=True)  # fmt: skip

    with reporting(show):
        try:
            yield
        finally:
            if on_terminal and last > start:
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)  # clear the line
