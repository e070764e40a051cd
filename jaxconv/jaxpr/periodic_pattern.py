"""What the neurons of an endless map see along one axis of an endless image.

Far from all borders this is a pattern that repeats. A window of k elements with stride s,
dilation r and low padding p turns neuron y into one that sees what neurons ``y*s - p + i*r`` saw,
for i from 0 to k - 1 (Araujo, Norris and Sim, "Computing receptive fields of convolutional neural
networks", Distill, 2019).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from math import gcd, lcm
from typing import Any

import numpy as np

from jaxconv.symbolic.specs import extreme
from jaxconv.symbolic.trace import Undecided

PixelRange = tuple[Any, Any]  # first pixel, and the first after the last; ints or Sizes
LONGEST = 1 << 16  # pattern that is kept


def hull(intervals: Iterable[PixelRange | None]) -> PixelRange | None:
    """Find the smallest interval that covers all.

    Args:
        intervals: None is an empty one.

    Returns:
        None if all are empty.
    """
    known = [interval for interval in intervals if interval is not None]
    if not known:
        return None
    firsts, ends = zip(*known, strict=True)
    return _extreme_of("min", firsts), _extreme_of("max", ends)


def _extreme_of(which: str, numbers: Sequence[Any]) -> Any:
    return reduce(lambda a, b: extreme(which, a, b), dict.fromkeys(numbers))


@dataclass(frozen=True)
class PeriodicPattern:
    """What the neurons of an endless map see of an endless image.

    Attributes:
        intervals: what the first neurons see, one for each neuron of a period; None sees nothing.
        step: pixels from one period to the next.
    """

    intervals: tuple[PixelRange | None, ...] = ((0, 1),)
    step: Any = 1

    @property
    def size(self) -> Any:
        """Pixels that a neuron sees, at most."""
        sizes = (end - first for first, end in filter(None, self.intervals))
        return _extreme_of("max", [0, *sizes])

    @property
    def stride(self) -> Any:
        """Pixels from a neuron to the next, on average: an int, a Size, or a Fraction."""
        period = len(self.intervals)
        if period == 1:
            return self.step
        return self.step // period if self.step % period == 0 else Fraction(self.step, period)

    @property
    def offset(self) -> Any:
        """First pixel that the first neuron sees; None if it sees none."""
        return self.intervals[0] and self.intervals[0][0]

    @property
    def sees_something(self) -> tuple[bool, ...]:
        """Which neurons of a period see something."""
        return tuple(interval is not None for interval in self.intervals)

    @property
    def numbers(self) -> tuple[Any, ...]:
        """All that may be formulas: the step, then the intervals."""
        return (self.step, *(n for interval in self.intervals if interval for n in interval))

    def with_numbers(self, numbers: Sequence[Any]) -> "PeriodicPattern":
        """Replace all numbers.

        Args:
            numbers: in the order of :attr:`numbers`.
        """
        step, *rest = numbers
        pairs = iter(zip(rest[::2], rest[1::2], strict=True))
        return PeriodicPattern(tuple(seen and next(pairs) for seen in self.intervals), step)

    def at(self, index: Any) -> PixelRange | None:
        """Find what one neuron sees.

        Args:
            index: of the neuron; a formula only where the period is 1.
        """
        period = len(self.intervals)
        turns, phase = (index, 0) if period == 1 else divmod(index, period)
        interval = self.intervals[phase]
        return interval and (interval[0] + turns * self.step, interval[1] + turns * self.step)

    def read(self, stride: Any, offsets: Sequence[Any]) -> "PeriodicPattern":
        """Let neuron y see what the neurons ``stride * y + offset`` of this map see.

        Args:
            stride: neurons of this map from one result to the next.
            offsets: which neurons the first result reads.
        """
        period = len(self.intervals)
        count = 1 if period == 1 else period // gcd(period, stride)
        seen = (hull(self.at(stride * y + offset) for offset in offsets) for y in range(count))
        return PeriodicPattern(tuple(seen), self.step * stride * count // period if stride else 0)

    def window(self, kernel_size: Any, stride: Any, dilation: Any, low: Any) -> "PeriodicPattern":
        """Slide a window over this map.

        Args:
            kernel_size: elements of the window.
            stride: from a window to the next.
            dilation: from an element of the window to the next.
            low: padding before the first neuron.
        """
        # Of a regular map the first and the last element see the most.
        elements = (0, kernel_size - 1) if len(self.intervals) == 1 else range(kernel_size)
        return self.read(stride, [element * dilation - low for element in elements])

    def dilate(self, factor: int) -> "PeriodicPattern":
        """Put gaps between the neurons, in which there is nothing to see.

        Args:
            factor: from a neuron to the next.
        """
        gap = (None,) * (factor - 1)
        seen = tuple(one for interval in self.intervals for one in (interval, *gap))
        return PeriodicPattern(seen, self.step)

    def repeat(self, factor: int) -> "PeriodicPattern":
        """Repeat each neuron.

        Args:
            factor: how often.
        """
        seen = tuple(interval for interval in self.intervals for _ in range(factor))
        return PeriodicPattern(seen, self.step)

    def join(self, other: "PeriodicPattern") -> "PeriodicPattern | None":
        """Cover this pattern and another.

        Args:
            other: of a map of the same size.

        Returns:
            None where one of them runs ahead of the other.
        """
        period = lcm(len(self.intervals), len(other.intervals))
        steps = [one.step * (period // len(one.intervals)) for one in (self, other)]
        if steps[0] != steps[1]:
            return None
        seen = (hull((self.at(y), other.at(y))) for y in range(period))
        return PeriodicPattern(tuple(seen), steps[0])

    def cover(self, size: Any) -> "PeriodicPattern":
        """Let every neuron see what all neurons of a map see.

        Args:
            size: neurons of the map.
        """
        period = len(self.intervals)
        if period == 1:
            return self.read(0, [0, size - 1])
        # Those of one period at either end see the most.
        ends = {*range(min(period, size)), *range(max(size - period, 0), size)}
        return self.read(0, sorted(ends))

    def read_rows(self, table: np.ndarray) -> "PeriodicPattern | None":
        """Let each neuron see what the neurons see whose column in its row is set.

        Args:
            table: bool, (neurons that come out, neurons of this map).

        Returns:
            None where no pattern repeats.
        """
        size = table.shape[1]
        if not table.any(1).all():
            return None
        return self.fit(table.argmax(1), size - 1 - table[:, ::-1].argmax(1), size)

    def fit(self, firsts: np.ndarray, lasts: np.ndarray, size: int) -> "PeriodicPattern | None":
        """Find the pattern in the middle of a list of reads, as that of a resized image.

        Args:
            firsts: the first neuron of this map that each result reads.
            lasts: the last one.
            size: neurons of this map.

        Returns:
            None where no pattern repeats.
        """
        outputs = len(firsts)
        if len(self.intervals) > 1 or not outputs or not size:
            return None
        ratio = Fraction(size, outputs)
        period, step = ratio.denominator, ratio.numerator
        middle = outputs // 2 // period
        rows = range(middle * period, (middle + 1) * period)
        shifts = (np.arange(outputs) // period - middle) * step
        phases = middle * period + np.arange(outputs) % period
        repeats = (
            np.array_equal(indices, (indices[phases] + shifts).clip(0, size - 1))
            for indices in (firsts, lasts)
        )
        if not all(repeats):
            return None
        reads = [
            (int(firsts[row]) - middle * step, int(lasts[row]) - middle * step) for row in rows
        ]
        return PeriodicPattern(tuple(hull(map(self.at, both)) for both in reads), self.step * step)


def change_pattern(
    change: Callable[[PeriodicPattern], PeriodicPattern | None], pattern: PeriodicPattern | None
) -> PeriodicPattern | None:
    """Change a pattern that may be unknown.

    Args:
        change: what to do.
        pattern: None where none is known.

    Returns:
        None where formulas are not decided, or a long pattern is asked for at a formula.
    """
    try:
        return None if pattern is None else change(pattern)
    except (Undecided, TypeError):
        return None
