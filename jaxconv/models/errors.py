"""The error of everything that reads, fetches or writes weights."""


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
