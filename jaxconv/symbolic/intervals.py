"""Between which numbers a real number lies that code computes from sizes, for the sizes considered.

Where the recipe of a number depends on several sizes, this is often enough to compare it:
``math.sqrt(h) + math.sqrt(w)`` is never 0.
"""

import itertools
import math
import operator
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from jaxconv.symbolic.recipes import remembered


class Interval(NamedTuple):
    """Numbers between two floats, which are among them.

    Attributes:
        least: the smallest one, or minus infinity.
        most: the largest one, or infinity.
    """

    least: float
    most: float


ANY = Interval(-math.inf, math.inf)
LARGEST = 2.0**52  # an integer that is smaller is a float, too
MARGIN = 2.0**-40  # of larger ones, which floats round
KNOWN = (int, float, Fraction, np.number, np.bool_)  # types of numbers that are not symbolic
# Functions that only grow or only fall with each of their arguments, as floats compute them, where
# they have a value and, for a quotient or a power, its divisor or its base does not change its
# sign; and how floats that may be infinite compute them.
MONOTONE: dict[Any, Callable[..., Any]] = {
    **{
        f: f
        for f in (
            operator.add, operator.sub, operator.mul, operator.truediv, operator.neg, operator.pow,
            float, math.pow, math.sqrt, math.exp, math.log, math.log2, math.log10, math.atan,
            np.sqrt, np.exp, np.log, np.log2, np.log10, np.floor, np.ceil, np.rint,
        )
    },
    math.floor: np.floor, math.ceil: np.ceil, int: np.trunc, round: np.rint,
    operator.floordiv: lambda a, b: a / b if math.isinf(a) else a // b,
}  # fmt: skip
POWERS, QUOTIENTS = (operator.pow, math.pow), (operator.truediv, operator.floordiv)
WITHIN_ONE = (math.sin, math.cos, math.tanh, math.erf, np.sin, np.cos, np.tanh)


@remembered
def interval_of(value: Any, largest: float = LARGEST) -> Interval:
    """Find an interval in which a number lies, for the sizes considered or some more.

    Args:
        value: a number, symbolic or not.
        largest: the largest size that is considered.
    """
    if isinstance(value, complex | np.complexfloating):
        return ANY
    if isinstance(value, KNOWN):
        return _interval([float(value)])
    function = getattr(value, "function", None)
    if function is None:  # a size
        end = largest**value.degree
        least, most = value.bounds()
        low = -end if least is None else max(float(least), -end)
        return _interval([low, end if most is None else max(min(float(most), end), low)])
    intervals = [interval_of(x, largest) for x in value.arguments]
    if function in BOUNDED:
        return BOUNDED[function](*intervals)
    return _of_corners(function, intervals) if function in MONOTONE else ANY


def _of_remainder(_: Interval, divisor: Interval) -> Interval:
    return Interval(0.0, divisor.most) if divisor.least > 0 else ANY


def _of_common_bits(one: Interval, other: Interval) -> Interval:
    mosts = [number.most for number in (one, other) if number.least >= 0]
    return Interval(0.0, min(mosts)) if mosts else ANY


def _of_shifted(number: Interval, _: Interval) -> Interval:
    return Interval(min(number.least, 0.0), max(number.most, 0.0))


def _of_bit_length(number: Interval) -> Interval:
    most = max(map(abs, number))
    return Interval(0.0, most if math.isinf(most) else int(most).bit_length())


BOUNDED: dict[Any, Callable[..., Interval]] = {
    **dict.fromkeys(WITHIN_ONE, lambda _: Interval(-1.0, 1.0)),
    operator.mod: _of_remainder,
    operator.and_: _of_common_bits,
    operator.rshift: _of_shifted,
    int.bit_length: _of_bit_length,
}


def _of_corners(function: Any, intervals: Sequence[Interval]) -> Interval:
    """The interval of a monotone function: from its values at the ends of the arguments' ones."""
    first, *others = intervals
    if (
        (function in POWERS and first.least <= 0)
        or (function in QUOTIENTS and others[0].least <= 0 <= others[0].most)
        or (function in (math.log, round) and others)
    ):
        return ANY
    return _interval([_at(MONOTONE[function], *corner) for corner in itertools.product(*intervals)])


def _interval(numbers: Sequence[float]) -> Interval:
    """The smallest interval that has some numbers; it is wider where floats round integers."""
    if any(map(math.isnan, numbers)):
        return ANY
    least, most = min(numbers), max(numbers)
    return Interval(
        least - abs(least) * MARGIN if LARGEST < abs(least) < math.inf else least,
        most + abs(most) * MARGIN if LARGEST < abs(most) < math.inf else most,
    )


def _at(function: Callable[..., Any], *arguments: float) -> float:
    try:
        with np.errstate(all="ignore"):
            return float(function(*arguments))
    except OverflowError:  # of exponentials and powers
        return math.inf
    except (ArithmeticError, ValueError):
        return math.nan
