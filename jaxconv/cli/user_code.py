"""Errors of the user's code, reported as Python reports them, without the frames of jaxconv."""

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax

from jaxconv.cli.progress import doing
from jaxconv.compat import UnsupportedJaxError
from jaxconv.errors import ShapeError
from jaxconv.models.errors import WeightsError
from jaxconv.source import JAX, folder_of

OURS = (
    str(Path(__file__).parents[1]) + os.sep,
    str(importlib.__file__),
    "<frozen ",
    "<@beartype(jaxconv.",  # checks of our annotations, where a user or a test asks for them
)
OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"  # in the messages of XLA
CALLED_THROUGH = (*OURS, *JAX, *map(folder_of, ("flax", "re")), str(contextlib.__file__))


class TargetError(ValueError):
    """A name cannot be resolved, or the user's code fails; the message is the reason."""


@contextlib.contextmanager
def user_code(text: str) -> Iterator[None]:
    """Report an error in the user's code as such; output of that code goes to standard error.

    Args:
        text: what is done, such as "importing models"; a terminal shows it if it takes long.

    Raises:
        TargetError: the error, with the user's frames only.
    """
    try:
        with doing(text), contextlib.redirect_stdout(sys.stderr):
            yield
    except (TargetError, UnsupportedJaxError):
        raise
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):
            raise  # which says more than the frames of the code
        report = traceback.TracebackException.from_exception(error)
        is_users = bool(_without_ours(report.stack))
        if isinstance(error, ShapeError | WeightsError) and not is_users:
            raise TargetError(str(error)) from None
        is_clear = not is_users and isinstance(error, SyntaxError | ImportError)
        chain = [report] if is_users else []  # where the error is ours, all frames stay
        while chain:
            part = chain.pop()
            part.stack = traceback.StackSummary.from_list(_without_ours(part.stack))
            chain += [linked for linked in (part.__cause__, part.__context__) if linked]
        lines = report.format_exception_only() if is_clear else report.format()
        raise TargetError(f"{text} failed.\n{''.join(lines).rstrip()}") from None


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error is that of a device whose memory does not suffice.

    Args:
        error: any exception.
    """
    return isinstance(error, jax.errors.JaxRuntimeError) and OUT_OF_MEMORY in str(error)


def user_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the frames of the user's code, and of what it called, in a traceback.

    Args:
        error: any exception that was raised.
    """
    return _without_ours(traceback.extract_tb(error.__traceback__))


def _without_ours(frames: Sequence[traceback.FrameSummary]) -> list[traceback.FrameSummary]:
    known = [frame.filename.startswith(CALLED_THROUGH) for frame in frames]
    first = known.index(False) if False in known else len(frames)
    return [frame for frame in frames[first:] if not frame.filename.startswith(OURS)]
