"""The error of everything that reads, fetches or writes weights."""

from pathlib import Path
from typing import Any

from jaxconv.errors import shown


class WeightsError(ValueError):
    """Weights are unavailable or do not fit; the message says what was tried and the fix."""


class MissingHeadError(WeightsError):
    """Weights have the convolutions only, and a classifier was asked for.

    Attributes:
        tried: which sources of the whole network failed, and why; empty for a file.

    Args:
        message: see above.
        tried: likewise.
    """

    def __init__(self, message: str, tried: str = "") -> None:
        super().__init__(message)
        self.tried = tried


def missing_extra(error: ModuleNotFoundError) -> WeightsError:
    """Return the error that says which package is missing.

    Args:
        error: of the import.
    """
    return WeightsError(
        f"Weights need the package {error.name}, which is not installed. Fix: python -m pip "
        "install 'jaxconv[maps]', or -e '.[maps]' in a checkout."
    )


def require_path(name: str, value: Any, fix: str) -> None:
    """Check that an argument may be a path.

    Args:
        name: of the argument.
        value: what was passed.
        fix: what to pass.

    Raises:
        WeightsError: it is neither a text nor a path.
    """
    if not isinstance(value, str | Path):
        wrong = f"{name} is {shown(value)}, but must be a text or a path."
        raise WeightsError(f"{wrong} Fix: {fix}")
