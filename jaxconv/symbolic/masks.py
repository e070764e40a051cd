"""Masks of NumPy over positions that count: ``np.arange(h) % 2 == 0``, ``np.arange(h) < 4``.

With numbers NumPy computes such a mask, and JAX indexes by it while it traces. With a size,
``np.arange`` is an array of JAX, of which only the shape is known. So the array remembers how it
counts, and a mask of it where it is true: at positions that count evenly, as many as a size.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxconv.compat import TracedArray
from jaxconv.symbolic.size import Size, larger


class Positions(NamedTuple):
    """Positions that count evenly.

    Attributes:
        first: the first of them.
        step: from each to the next.
        count: how many there are; a size or an int.
    """

    first: Any
    step: int
    count: Any

    def array(self) -> Any:
        """The positions as an array of JAX."""
        from jax import numpy

        return self.first + self.step * numpy.arange(self.count)


class Line(NamedTuple):
    """Numbers that count evenly.

    Attributes:
        first: the first number; a size or an int.
        step: from each to the next, above 0.
        count: how many there are; a size or an int.
    """

    first: Any
    step: int
    count: Any

    def with_remainder(self, rest: int, divisor: int) -> Positions:
        """Where the numbers have a remainder.

        Args:
            rest: the remainder, from 0 to below the divisor.
            divisor: the number to divide by.
        """
        shared = math.gcd(self.step, divisor)
        quotient, odd = divmod(rest - self.first, shared)
        if odd != 0:
            return Positions(0, 1, 0)
        period = divisor // shared
        first = quotient * pow(self.step // shared, -1, period) % period
        return Positions(first, period, (self.count - first + period - 1) // period)

    def below(self, number: Any) -> tuple[Positions, Positions]:
        """Where the numbers are below another one, and where they are not.

        Args:
            number: the other one; a size or an int.
        """
        length = larger(0, (number - self.first + self.step - 1) // self.step)
        length = -larger(-length, -self.count)
        return Positions(0, 1, length), Positions(length, 1, self.count - length)


class Mask(TracedArray):
    """An array of truth values that are true at positions which count evenly."""

    __slots__ = ("others", "positions")
    positions: Positions
    others: Positions | None  # where it is false, if these count evenly too

    def sum(self, *arguments: Any, **named: Any) -> Any:
        """The number of positions, as a size."""
        return super().sum(*arguments, **named) if arguments or named else self.positions.count

    def __invert__(self) -> Any:
        return _mask(super().__invert__(), self.others, self.positions)


class _Remainders(TracedArray):
    """The remainders of numbers that count evenly."""

    __slots__ = ("divisor", "line")
    __hash__ = None  # as arrays of JAX have none
    line: Line
    divisor: int

    def __eq__(self, other: Any) -> Any:
        return _mask(super().__eq__(other), *self._where(other))

    def __ne__(self, other: Any) -> Any:
        return _mask(super().__ne__(other), *reversed(self._where(other)))

    def astype(self, dtype: Any, *arguments: Any, **named: Any) -> Any:
        """Convert to another type; a remainder other than 0 is true."""
        converted = super().astype(dtype, *arguments, **named)
        return _mask(converted, *reversed(self._where(0))) if converted.dtype == bool else converted

    def _where(self, rest: Any) -> tuple[Positions | None, Positions | None]:
        """Where the remainder is a number, and where it is not, as far as these count evenly."""
        if type(rest) is not int:
            return None, None
        if not 0 <= rest < self.divisor:
            return Positions(0, 1, 0), Positions(0, 1, self.line.count)
        found = self.line.with_remainder(rest, self.divisor)
        return found, self.line.with_remainder(1 - rest, 2) if self.divisor == 2 else None


class _Counting(TracedArray):
    """Numbers that count evenly."""

    __slots__ = ("line",)
    line: Line

    def __mod__(self, other: Any) -> Any:
        result = super().__mod__(other)
        if type(other) is int and other > 0:
            return _known(result, _Remainders, line=self.line, divisor=other)
        return result

    def __and__(self, other: Any) -> Any:
        return self % 2 if type(other) is int and other == 1 else super().__and__(other)

    def __lt__(self, other: Any) -> Any:
        return self._split(super().__lt__(other), other)

    def __ge__(self, other: Any) -> Any:
        return self._split(super().__ge__(other), other, swap=True)

    def __le__(self, other: Any) -> Any:
        return self._split(super().__le__(other), other, 1)

    def __gt__(self, other: Any) -> Any:
        return self._split(super().__gt__(other), other, 1, swap=True)

    def _split(self, result: Any, other: Any, more: int = 0, *, swap: bool = False) -> Any:
        if not isinstance(other, Size) and type(other) is not int:
            return result
        parts = self.line.below(other + more)
        return _mask(result, *(reversed(parts) if swap else parts))


def _mask(array: Any, positions: Positions | None, others: Positions | None) -> Any:
    return array if positions is None else _known(array, Mask, positions=positions, others=others)


def _known(array: Any, kind: type, **facts: Any) -> Any:
    """The same array of the trace, of which more is known."""
    if type(array) is not TracedArray:
        return array
    known = object.__new__(kind)
    for base in TracedArray.__mro__:
        for name in getattr(base, "__slots__", ()):
            if not name.startswith("__") and hasattr(array, name):
                setattr(known, name, getattr(array, name))
    for name, fact in facts.items():
        setattr(known, name, fact)
    return known


def counted(array: Any, start: Any, stop: Any = None, step: Any = 1) -> Any:
    """Let the result of ``np.arange`` remember how it counts.

    Args:
        array: the result, in a trace.
        start: the first argument, or the only one.
        stop: the second one.
        step: the third one.

    Returns:
        The array, of a class that knows what its masks are.
    """
    first = 0 if stop is None else start
    is_line = type(step) is int and step > 0 and (type(first) is int or isinstance(first, Size))
    if not is_line:
        return array
    return _known(array, _Counting, line=Line(first, step, array.shape[0]))


# What NumPy's functions of a mask return.
OF_MASKS: dict[Callable[..., Any], Callable[[Mask], Any]] = {
    np.sum: lambda mask: mask.positions.count,
    np.count_nonzero: lambda mask: mask.positions.count,
    np.flatnonzero: lambda mask: mask.positions.array(),
    np.nonzero: lambda mask: (mask.positions.array(),),
    np.where: lambda mask: (mask.positions.array(),),
}


def parsed_indices(original: Callable[..., Any], indices: Any, shape: Any) -> list[Any]:
    """Let JAX index by a mask: by the positions where it is true.

    Args:
        original: what JAX does with the indices of an array.
        indices: one for each axis, or for several.
        shape: of the array.

    Returns:
        The indices as JAX has them, each with its axes.
    """
    parsed = original(indices, shape)
    for i, (mask, kind, axes) in enumerate(parsed):
        if isinstance(mask, Mask):
            (size,) = (shape[axis] for axis in axes)
            if mask.shape[0] not in (0, size):
                raise IndexError(
                    f"boolean index did not match shape of indexed array in index {i}:"
                    f" got {mask.shape}, expected [{size}]"
                )
            parsed[i] = type(parsed[i])(mask.positions.array(), type(kind).ARRAY, axes)
    return parsed
