"""Numbers that floats compute from one integer by a linear formula, rounded to integers exactly.

``int(n * 0.7)`` is ``n * 7 // 10``, but for some multiples of 10: the float of ``90 * 0.7`` is just
below 63. Between the values at which the result changes, the error of the floats is too small to
matter. At these values, the floats are computed for every size that is examined, and the sizes for
which the result differs are found to be a few ranges.
"""

import functools
import itertools
import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

LARGEST_SIZE = 2**26 + 2**16  # that is examined, such as h + 3
LARGEST_COEFFICIENT = 2**32
LARGEST_DENOMINATOR = 2**16
MOST_RANGES = 64  # of sizes for which floats round to another integer
CHUNK = 2**20  # sizes whose floats are computed at once
ROUNDING_ERROR = Fraction(1, 2**52)  # of one operation, as a part of its result; with a margin of 2

# A formula as it is computed: "n", a number, or a function and its arguments.
Recipe = Any
OPERATIONS = (operator.neg, operator.add, operator.sub, operator.mul, operator.truediv)


class Range(NamedTuple):
    """Integers for which floats round to another one than their exact value does.

    Attributes:
        first: the first of them.
        last: the last of them.
        step: from one of them to the next.
        difference: what is to be added to the exact result: 1 or -1.
    """

    first: int
    last: int
    step: int
    difference: int


class Rounded(NamedTuple):
    """The integer that floats give: ``(slope*n + offset) / denominator``, rounded, and corrected.

    Attributes:
        slope: a number.
        offset: a number.
        denominator: a positive number.
        ranges: where the result is to be corrected.
    """

    slope: int
    offset: int
    denominator: int
    ranges: tuple[Range, ...]


class _Line(NamedTuple):
    """A linear formula, and a bound of the difference between it and what floats compute."""

    slope: Fraction
    offset: Fraction
    error: Fraction

    def size(self) -> Fraction:
        return max(abs(self.offset), abs(self.slope * LARGEST_SIZE + self.offset))


@functools.lru_cache(maxsize=256)
def rounded(recipe: Recipe, function: Callable[[Any], Any]) -> Rounded | None:
    """Find the integer to which a number is rounded.

    Args:
        recipe: how floats compute the number from an integer "n" from 0 to ``LARGEST_SIZE``.
        function: of NumPy: floor, ceil or rint.

    Returns:
        The result; None where the error is too large, or where the sizes to correct are no few
        ranges.
    """
    line = _line(recipe)
    if line is None or not line.slope:
        return None
    # Between the critical values function is constant: integers, or halves for rint.
    shift = Fraction(1, 2) if function is np.rint else Fraction(0)
    denominator = math.lcm(line.slope.denominator, (line.offset - shift).denominator)
    if denominator > LARGEST_DENOMINATOR or line.error * denominator >= 1:
        return None
    slope, offset = int(line.slope * denominator), int((line.offset - shift) * denominator)
    if max(abs(slope), abs(offset)) > LARGEST_COEFFICIENT:
        return None
    common = math.gcd(slope, denominator)
    ranges: list[Range] | None = []
    if offset % common == 0:
        step = denominator // common
        inverse = pow(slope // common, -1, step) if step > 1 else 0
        rest = -offset // common * inverse % step
        ranges = _ranges(recipe, function, (slope, offset, denominator), step, rest)
    if ranges is None:
        return None
    whole = line.offset.denominator if function is np.rint else 1
    scale = math.lcm(denominator, whole)
    return Rounded(int(line.slope * scale), int(line.offset * scale), scale, tuple(ranges))


def _line(recipe: Recipe) -> _Line | None:
    """Read a recipe as a linear formula; None where it is none, or where floats may not be near."""
    if recipe == "n":
        return _Line(Fraction(1), Fraction(0), Fraction(0))
    if isinstance(recipe, int | float):
        exact = Fraction(recipe)
        simple = exact.limit_denominator(LARGEST_DENOMINATOR)
        is_nearest = simple.numerator / simple.denominator == recipe
        return _Line(Fraction(0), simple, abs(exact - simple)) if is_nearest else None
    function, *arguments = recipe
    lines = [_line(argument) for argument in arguments]
    if None in lines or function not in OPERATIONS:
        return None
    result = LINES[function](*lines)
    if result is None:
        return None
    return result._replace(error=result.error + result.size() * ROUNDING_ERROR)


def _product(a: _Line, b: _Line) -> _Line | None:
    if a.slope and b.slope:
        return None
    line, k = (a, b) if a.slope else (b, a)
    error = line.error * abs(k.offset) + (line.size() + line.error) * k.error
    return _Line(line.slope * k.offset, line.offset * k.offset, error)


def _quotient(a: _Line, b: _Line) -> _Line | None:
    if b.slope or not b.offset:
        return None
    inverse = 1 / b.offset
    error = 2 * b.error * inverse**2  # of the inverse, whose relative error is far below 1/2
    return _product(a, _Line(Fraction(0), inverse, error))


LINES: dict[Callable[..., Any], Callable[..., _Line | None]] = {
    operator.neg: lambda a: _Line(-a.slope, -a.offset, a.error),
    operator.add: lambda a, b: _Line(a.slope + b.slope, a.offset + b.offset, a.error + b.error),
    operator.sub: lambda a, b: _Line(a.slope - b.slope, a.offset - b.offset, a.error + b.error),
    operator.mul: _product,
    operator.truediv: _quotient,
}


def _ranges(
    recipe: Recipe,
    function: Callable[[Any], Any],
    line: tuple[int, int, int],
    step: int,
    rest: int,
) -> list[Range] | None:
    """Where floats round another way than the exact values, each an integer, or a half for rint."""
    slope, offset, denominator = line
    ranges: list[Range] = []
    starts = (
        (rest, rest + step) if function is np.rint else (rest,)
    )  # one half of two is rounded up
    step *= len(starts)
    for first in starts:
        for start in range(first, LARGEST_SIZE + 1, step * CHUNK):
            sizes = np.arange(start, min(start + step * CHUNK, LARGEST_SIZE + 1), step)
            exact = (slope * sizes + offset) // denominator
            if function is np.rint:  # to the even one of two integers
                exact += exact % 2
            found = function(_floats(recipe, sizes.astype(float))).astype(int) - exact
            borders = np.flatnonzero(np.diff(found, prepend=0, append=0))
            for low, high in itertools.pairwise(borders.tolist()):
                if found[low]:
                    last = int(sizes[high - 1])
                    ranges.append(Range(int(sizes[low]), last, step, int(found[low])))
            if len(ranges) > MOST_RANGES:
                return None
    return ranges


def _floats(recipe: Recipe, sizes: np.ndarray) -> Any:
    """The floats that a recipe gives for sizes: NumPy rounds each operation as Python does."""
    if isinstance(recipe, str):
        return sizes
    if isinstance(recipe, int | float):
        return float(recipe)
    function, *arguments = recipe
    return function(*(_floats(argument, sizes) for argument in arguments))
