"""The size at which commands show a photo to a network, and the memory that it takes."""

import argparse
import contextlib
import math
import sys
from collections.abc import Callable

import numpy as np

from jaxconv.cli.arguments import UsageError, positive
from jaxconv.cli.memory import available_memory
from jaxconv.cli.progress import doing
from jaxconv.plotting.photos import resized_photo, resized_sides

FULL_SIZE = "full"
COMFORTABLE = 2.5e9  # bytes for the maps of a photo, unless a user asks for more
SHARE_OF_FREE = 0.5  # of the memory that is free, which they may take likewise
ALIGNMENT = 32  # pixels; most networks halve a map up to five times

Need = Callable[[int, int], int]  # bytes that a command needs, given height and width of a photo


def add_size(parser: argparse.ArgumentParser, *, size: int | None = None) -> None:
    """Declare ``--size`` and ``--full-size``, which mean the same for all commands.

    Args:
        parser: of the command.
        size: the shorter side of a photo by default; None for the photo's own.
    """
    parser.set_defaults(default_size=size)
    sizes = parser.add_mutually_exclusive_group()
    usual = "the photo's own size" if size is None else f"{size}"
    sizes.add_argument(
        "--size",
        type=positive,
        metavar="N",
        help=f"resize the shorter side to N pixels; default: {usual}, or what fits into memory "
        f"comfortably ({COMFORTABLE / 1e9:.2g} GB of feature maps)",
    )
    sizes.add_argument(
        "--full-size",
        dest="size",
        action="store_const",
        const=FULL_SIZE,
        help="keep all pixels of the photo, however long it takes",
    )


def fitting_photo(photo: np.ndarray, options: argparse.Namespace, need: Need) -> np.ndarray:
    """Resize a photo as the options say, or shrink it to what fits into memory comfortably.

    Args:
        photo: uint8 (h, w, 3), of its own size.
        options: of the command.
        need: the bytes that the command needs for a photo of some height and width.

    Returns:
        uint8 (h, w, 3).

    Raises:
        UsageError: its maps do not fit into memory at the size that was asked for.
    """
    sides, available = (photo.shape[1], photo.shape[0]), available_memory()
    asked = options.default_size if options.size is None else options.size
    size = min(sides) if asked in (None, FULL_SIZE) else asked
    width, height = resized_sides(sides, size)
    with doing("estimating the memory that a photo of this size takes"):
        needed = need(height, width)
    is_default = options.size is None
    comfortable = min(COMFORTABLE, available * SHARE_OF_FREE)
    if needed > (comfortable if is_default else available):
        with doing("finding the largest size that fits into memory"):
            smaller = largest_size(sides, size, need, comfortable)
        maps = f"the feature maps of a photo of {width}x{height} pixels need {_gigabytes(needed)}"
        if smaller and is_default:
            width, height = resized_sides(sides, smaller)
            print(
                f"jaxconv {options.command}: {maps}, so it is reduced to {width}x{height}. "
                "Pass --full-size to keep its pixels, or --size N to choose its shorter side.",
                file=sys.stderr,
            )
            size = smaller
        elif needed > available:
            free = f"{maps}, but {_gigabytes(available)} are free"
            fix = f"pass --size {smaller}" if smaller else "use a machine with more memory"
            raise UsageError(f"{free}. Fix: {fix}.")
    return photo if size == min(sides) else resized_photo(photo, size)


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.2g} GB"


def largest_size(sides: tuple[int, int], size: int, need: Need, limit: float) -> int | None:
    """Find about the largest photo that needs no more than some memory.

    Where it costs few pixels, both sides are multiples of 32, in the ratio of the photo.

    Args:
        sides: width and height of the photo.
        size: its shorter side where it needs too much.
        need: the bytes that the command needs for some height and width.
        limit: bytes.

    Returns:
        The shorter side; None if the model does not take a photo that would fit.
    """
    step = ALIGNMENT * min(sides) // math.gcd(*sides)

    def needed_by(size: int) -> int:
        width, height = resized_sides(sides, size)
        return need(height, width)

    def fitting(power: float) -> int:
        """A size that fits, barely, if memory grows with a power of the size."""
        guess = min(int(size * (0.98 * limit / needed) ** (1 / power)), size * 99 // 100)
        return guess - (guess % step if step * 4 <= guess else 0)

    power, needed = 2.0, needed_by(size)  # of convolutions; attention has 4
    with contextlib.suppress(ValueError):  # which is how a model refuses a size
        while guess := fitting(power):
            found = needed_by(guess)
            power = min(max(math.log(needed / found) / math.log(size / guess), 0.5), 8.0)
            if found <= limit:
                larger = fitting(power)
                return larger if larger > guess and needed_by(larger) <= limit else guess
            size, needed = guess, found
    return None
