"""Functions that are interrupted in a trace, after they asked about sizes and went on."""

import contextlib
import itertools


def fork(x, y):
    """Compare a size, and go on even where the comparison forks the run."""
    with contextlib.suppress(BaseException):
        return x if x.shape[1] > 3 else y
    return x


def ask(x, y):
    """Ask a size for its number, and go on even where there is none."""
    with contextlib.suppress(TypeError):
        int(x.shape[1])
    return y


def add(x, y):
    """Ask, then fork, then add what fits for some sizes only."""
    ask(x, y)
    return fork(x, y) + y


class Interrupted:
    """A function whose n-th call is interrupted, as Ctrl-C does, whatever it would have done."""

    def __init__(self, function, number, interrupt):
        self.function, self.number, self.interrupt = function, number, interrupt
        self.made = itertools.count(1)  # no attribute or element changes, which would be restored

    def __call__(self, x, y):
        call = next(self.made)
        try:
            return self.function(x, y)
        finally:
            if call == self.number:
                raise self.interrupt

    @property
    def calls(self):
        """How often it was called."""
        return int(repr(self.made)[len("count(") : -1]) - 1
