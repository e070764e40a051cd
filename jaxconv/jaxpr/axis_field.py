"""How far neurons see along one axis of the image: arithmetic of intervals, without JAX.

Two descriptions go side by side. A :class:`PeriodicPattern` is what neurons would see if the image
went on for ever: a pattern that repeats, with formulas where sizes are. Ends are what each neuron
does see of an image of known size, to the pixel, where maps end and padding begins.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import reduce
from math import gcd, lcm
from typing import Any

import numpy as np

from jaxconv.symbolic.size import Undecided
from jaxconv.symbolic.specs import extreme

Interval = tuple[Any, Any]  # first pixel, and the first behind it; ints or Sizes
Ends = tuple[np.ndarray, np.ndarray]  # the same of every neuron along an axis
LONGEST = 1 << 16  # pattern that is kept
FAR = 1 << 40  # first pixel of a neuron that sees none; its end is -FAR


def hull(intervals: Iterable[Interval | None]) -> Interval | None:
    """The smallest interval that covers all; None is empty."""
    seen = [interval for interval in intervals if interval is not None]
    if not seen:
        return None
    firsts, ends = zip(*seen, strict=True)
    return _extreme("min", firsts), _extreme("max", ends)


def _extreme(which: str, numbers: Sequence[Any]) -> Any:
    return reduce(lambda a, b: extreme(which, a, b), dict.fromkeys(numbers))


@dataclass(frozen=True)
class PeriodicPattern:
    """What the neurons of an endless map see of an endless image.

    Attributes:
        seen: of the first neurons, as many as the pattern has; None sees nothing.
        step: pixels from one repetition of the pattern to the next.
    """

    seen: tuple[Interval | None, ...] = ((0, 1),)
    step: Any = 1

    @property
    def size(self) -> Any:
        """Pixels that a neuron sees, at most."""
        return _extreme("max", [0, *(end - first for first, end in filter(None, self.seen))])

    @property
    def stride(self) -> Any:
        """Pixels from a neuron to the next, on average: an int, a Size, or a Fraction."""
        period = len(self.seen)
        if period == 1:
            return self.step
        return self.step // period if self.step % period == 0 else Fraction(self.step, period)

    @property
    def offset(self) -> Any:
        """First pixel that the first neuron sees; None if it sees none."""
        return self.seen[0] and self.seen[0][0]

    @property
    def pattern(self) -> tuple[bool, ...]:
        """Which neurons of a repetition see something."""
        return tuple(seen is not None for seen in self.seen)

    @property
    def numbers(self) -> tuple[Any, ...]:
        """All that may be formulas: the step, then the intervals."""
        return (self.step, *(n for seen in self.seen if seen is not None for n in seen))

    def with_numbers(self, numbers: Sequence[Any]) -> "PeriodicPattern":
        """The same pattern with other numbers."""
        step, *rest = numbers
        pairs = iter(zip(rest[::2], rest[1::2], strict=True))
        return PeriodicPattern(tuple(seen and next(pairs) for seen in self.seen), step)

    def at(self, place: Any) -> Interval | None:
        """What one neuron sees; the pattern has length 1 where ``place`` is a formula."""
        turns, phase = (place, 0) if len(self.seen) == 1 else divmod(place, len(self.seen))
        found = self.seen[phase]
        return found and (found[0] + turns * self.step, found[1] + turns * self.step)

    def read(self, stride: Any, places: Sequence[Any]) -> "PeriodicPattern":
        """Let neuron y see what the neurons ``stride * y + place`` of this map see."""
        period = len(self.seen)
        count = 1 if period == 1 else period // gcd(period, stride)
        seen = (hull(self.at(stride * y + place) for place in places) for y in range(count))
        return PeriodicPattern(tuple(seen), self.step * stride * count // period if stride else 0)

    def window(self, taps: Any, stride: Any, dilation: Any, low: Any) -> "PeriodicPattern":
        """Slide a window over this map."""
        outer = (0, taps - 1) if len(self.seen) == 1 else range(taps)
        return self.read(stride, [tap * dilation - low for tap in outer])

    def dilate(self, factor: int) -> "PeriodicPattern":
        """Put holes between the neurons, in which there is nothing to see."""
        holes = (None,) * (factor - 1)
        return PeriodicPattern(
            tuple(one for seen in self.seen for one in (seen, *holes)), self.step
        )

    def repeat(self, factor: int) -> "PeriodicPattern":
        """Have each neuron ``factor`` times."""
        return PeriodicPattern(tuple(seen for seen in self.seen for _ in range(factor)), self.step)

    def join(self, other: "PeriodicPattern") -> "PeriodicPattern | None":
        """Cover both; None where one runs ahead of the other."""
        period = lcm(len(self.seen), len(other.seen))
        steps = [span.step * (period // len(span.seen)) for span in (self, other)]
        if steps[0] != steps[1]:
            return None
        return PeriodicPattern(
            tuple(hull((self.at(y), other.at(y))) for y in range(period)), steps[0]
        )


@dataclass(frozen=True, eq=False)
class AxisField:
    """What the neurons of a map see along one axis of the image.

    Attributes:
        axis: of the map, along which neighbours see different pixels; None where all see the same.
        span: in an endless image; None where no pattern is known.
        ends: in this image; None where sizes are formulas.
        exact: whether each neuron sees the first and the last pixel of what is said here; else it
            sees nothing outside.
        mixed: axis of the map, such as that of its channels, along which neighbours see different
            parts of what is said here, as behind a concatenation; None if there is none.
        everywhere: whether the pattern tells of each neuron all that it sees; a map that is padded
            with its own numbers has neurons that see others.
    """

    axis: int | None
    span: PeriodicPattern | None
    ends: Ends | None
    exact: bool = True
    mixed: int | None = None
    everywhere: bool = True

    @classmethod
    def of_image(cls, axis: int, size: Any) -> "AxisField":
        """Let each pixel see itself."""
        places = np.arange(size) if isinstance(size, int) else None
        return cls(axis, PeriodicPattern(), None if places is None else (places, places + 1))

    @property
    def _marks(self) -> tuple[Any, ...]:
        return self.exact, self.mixed, self.everywhere

    def same(self, other: "AxisField") -> bool:
        """Whether another sees the same: of this image, where its size is known."""
        if (self.axis, *self._marks) != (other.axis, *other._marks):
            return False
        if self.ends is None or other.ends is None:
            return self.span == other.span
        return all(map(np.array_equal, self.ends, other.ends))

    def is_blind(self) -> bool:
        """Whether some neuron sees nothing."""
        return self.ends is not None and bool((self.ends[0] == FAR).any())

    def move(self, axis: int | None) -> "AxisField":
        """Have the same along another axis of the map."""
        return replace(self, axis=axis)

    def mix(self, *axes: int | None) -> "AxisField":
        """Have neighbours along these axes of the map see different parts of this."""
        mixed = {axis for axis in (self.mixed, *axes) if axis is not None}
        if len(mixed) > 1:
            return replace(self, mixed=None, exact=False)
        return replace(self, mixed=next(iter(mixed), None))

    def loose(self) -> "AxisField":
        """Say no more than that nothing outside is seen."""
        return replace(self, mixed=None, exact=False)

    def window(
        self, count: Any, taps: Any, stride: Any = 1, dilation: Any = 1, low: Any = 0
    ) -> "AxisField":
        """Slide a window over the map.

        Args:
            count: how many neurons come out.
            taps: how many neurons a window reads, ``dilation`` apart.
            stride: from a window to the next.
            dilation: from a tap to the next.
            low: how far the first window begins before the map.
        """
        span = _if_known(lambda s: s.window(taps, stride, dilation, low), self.span)
        if self.ends is None:
            return replace(self, span=span, ends=None)
        begins = np.arange(count) * stride - low
        return replace(self, span=span, ends=_hulls(self.ends, begins, np.arange(taps) * dilation))

    def dilate(self, factor: int) -> "AxisField":
        """Put holes between the neurons."""
        if factor == 1:
            return self
        ends = self.ends and _dilated(self.ends, factor)
        return replace(self, span=self.span and self.span.dilate(factor), ends=ends)

    def repeat(self, factor: Any) -> "AxisField":
        """Have each neuron ``factor`` times."""
        if not isinstance(factor, int):
            return replace(self, span=None, ends=None, exact=False)
        ends = self.ends and (self.ends[0].repeat(factor), self.ends[1].repeat(factor))
        span = self.span if self.span and len(self.span.seen) * factor <= LONGEST else None
        return replace(self, span=span and span.repeat(factor), ends=ends)

    def tile(self, size: Any, factor: Any) -> "AxisField":
        """Have the whole axis, of some size, ``factor`` times."""
        if not (isinstance(size, int) and isinstance(factor, int)):
            return replace(self, span=None, ends=None, exact=False)
        ends = self.ends and (np.tile(self.ends[0], factor), np.tile(self.ends[1], factor))
        span = self.span if size <= LONGEST else None
        seen = () if span is None else tuple(map(span.at, range(size)))
        return replace(self, span=span and PeriodicPattern(seen, 0), ends=ends)

    def reads(self, table: np.ndarray) -> "AxisField":
        """Let each neuron see what the neurons see whose column in its row is set.

        Args:
            table: bool, (neurons that come out, neurons of this map).
        """
        if self.ends is None:
            return replace(self, span=None, exact=False)
        firsts = np.where(table, self.ends[0], FAR).min(1, initial=FAR)
        ends = np.where(table, self.ends[1], -FAR).max(1, initial=-FAR)
        return replace(self, span=self.span and _rows(self.span, table), ends=(firsts, ends))

    def take(self, places: np.ndarray) -> "AxisField":
        """Let each neuron see what the neuron at one place of this map sees."""
        if self.ends is None:
            return replace(self, span=None, exact=False)
        size, strides = len(self.ends[0]), {*np.diff(places).tolist()}
        if len(strides) == 1:
            span = self.span and self.span.window(1, strides.pop(), 1, -int(places[0]))
        else:
            span = self.span and _fitted(self.span, places, places, size)
        return replace(self, span=span, ends=(self.ends[0][places], self.ends[1][places]))

    def accumulate(self, backwards: bool) -> "AxisField":
        """Let each neuron see what it and all before it see, or all behind it.

        In an endless map none would be the first.
        """
        assert self.ends is not None
        order = slice(None, None, -1 if backwards else 1)
        firsts = np.minimum.accumulate(self.ends[0][order])[order]
        return replace(
            self, span=None, ends=(firsts, np.maximum.accumulate(self.ends[1][order])[order])
        )

    def collapse(self, size: Any, exact: bool = True) -> "AxisField":
        """Let every neuron see what all of them see.

        Args:
            size: neurons along the axis.
            exact: whether they do, or only may.
        """
        exact = exact and self.exact
        if self.axis is None:
            return replace(self, exact=exact)
        span = _if_known(lambda span: span.read(0, _outermost(span, size)), self.span)
        if self.ends is not None:
            firsts, ends = self.ends
            both = firsts.min(initial=FAR), ends.max(initial=-FAR)
            ends_of_all = np.array([both[0]]), np.array([both[1]])
            return replace(self, axis=None, span=span, ends=ends_of_all, exact=exact)
        return replace(self, axis=None, span=span, ends=None, exact=exact)

    def join(self, other: "AxisField", shape: Sequence[Any]) -> "AxisField":
        """See what both see, in maps of the same shape."""
        exact = self.exact and other.exact
        both = (self, other)
        if None not in (self.axis, other.axis) and self.axis != other.axis:
            both, exact = tuple(axis_field.collapse_in(shape) for axis_field in both), False
        axes = [axis_field.axis for axis_field in both if axis_field.axis is not None]
        ends = None
        if both[0].ends is not None and both[1].ends is not None:
            firsts, behind = zip(both[0].ends, both[1].ends, strict=True)
            ends = np.minimum(*firsts), np.maximum(*behind)
        if len(axes) == 1:  # one of them sees the same everywhere
            both = tuple(axis_field.collapse_in(shape) for axis_field in both)
            axes, exact = ([], False) if ends is None else (axes, exact)
        span = _if_known(lambda span: both[1].span and span.join(both[1].span), both[0].span)
        everywhere = self.everywhere and other.everywhere
        found = AxisField(axes[0] if axes else None, span, ends, exact, self.mixed, everywhere)
        return found.mix(other.mixed)

    def collapse_in(self, shape: Sequence[Any], exact: bool = True) -> "AxisField":
        """Let every neuron of a map of this shape see what all of them see."""
        return self if self.axis is None else self.collapse(shape[self.axis], exact)


Field = tuple[AxisField, ...]  # for each axis of the image that has pixels
Fields = list[Field | None]  # None depends on no image


def joined(fields: Sequence[Field], shape: Sequence[Any]) -> Field:
    """What neurons of maps of one shape see together.

    A neuron that sees nothing along one axis sees nothing at all; that is not followed here.
    """
    found = tuple(
        reduce(lambda a, b: a.join(b, shape), axis_fields)
        for axis_fields in zip(*fields, strict=True)
    )
    blind = len(fields) > 1 and any(
        axis_field.is_blind() for field in fields for axis_field in field
    )
    return tuple(replace(axis_field, exact=False) for axis_field in found) if blind else found


def changed(
    axis_field: AxisField,
    change: Callable[[AxisField, int], AxisField],
    shape: Sequence[Any],
    out: Sequence[Any],
) -> AxisField:
    """Change a reach, given its axis; what is mixed along another axis stays so, if all is kept.

    Args:
        axis_field: of a map.
        change: what an operation does along any axis.
        shape: of the map.
        out: shape of the map that comes out.
    """
    found = axis_field if axis_field.axis is None else change(axis_field, axis_field.axis)
    if axis_field.mixed is None:
        return found
    along = change(AxisField(axis_field.mixed, None, None), axis_field.mixed)
    kept = along.axis is None or covers(out[along.axis], shape[axis_field.mixed])
    return replace(found, mixed=along.axis) if along.exact and kept else found.loose()


def aligned(field: Field) -> Field:
    """Neurons along one axis of a map that see different pixels of two axes of the image.

    Those that see nothing along one of them see nothing along the other.
    """
    axes = [
        axis_field.axis
        for axis_field in field
        if axis_field.axis is not None and axis_field.ends is not None
    ]
    if len(set(axes)) == len(axes):
        return field
    return tuple(_without(axis_field, _blind(field, axis_field.axis)) for axis_field in field)


def _blind(field: Field, axis: int | None) -> np.ndarray | bool:
    """Which neurons along an axis see nothing along one of the axes of the image."""
    there = [
        axis_field.ends
        for axis_field in field
        if axis_field.axis == axis and axis_field.ends is not None
    ]
    return reduce(np.logical_or, (firsts == FAR for firsts, _ in there), False)


def _without(axis_field: AxisField, blind: np.ndarray | bool) -> AxisField:
    if axis_field.ends is None:
        return axis_field
    firsts, behind = axis_field.ends
    return replace(axis_field, ends=(np.where(blind, FAR, firsts), np.where(blind, -FAR, behind)))


def covers(size: Any, other: Any) -> bool:
    """Whether a size is known to be no smaller than another."""
    try:
        return bool(size >= other)
    except Undecided:
        return False


def _if_known(
    change: Callable[[PeriodicPattern], PeriodicPattern | None], span: PeriodicPattern | None
) -> PeriodicPattern | None:
    """Change a span; None where formulas are not decided, or a long pattern is at a formula."""
    try:
        return None if span is None else change(span)
    except (
        Undecided,
        TypeError,
    ):
        return None


def _outermost(span: PeriodicPattern, size: Any) -> list[Any]:
    """The places of those that may see the most: one pattern at either end."""
    period = len(span.seen)
    if period == 1:
        return [0, size - 1]
    return sorted({*range(min(period, size)), *range(max(size - period, 0), size)})


def _hulls(ends: Ends, begins: np.ndarray, taps: np.ndarray) -> Ends:
    """What windows see that read the places ``begins + taps``; outside the map is nothing."""
    places = begins[:, None] + taps
    inside = (places >= 0) & (places < len(ends[0]))
    places = np.where(inside, places, 0)
    if not len(ends[0]):
        return np.full(len(begins), FAR), np.full(len(begins), -FAR)
    firsts = np.where(inside, ends[0][places], FAR).min(1, initial=FAR)
    return firsts, np.where(inside, ends[1][places], -FAR).max(1, initial=-FAR)


def _dilated(ends: Ends, factor: int) -> Ends:
    length = max((len(ends[0]) - 1) * factor + 1, 0)
    firsts, behind = np.full(length, FAR), np.full(length, -FAR)
    firsts[::factor], behind[::factor] = ends
    return firsts, behind


def _rows(span: PeriodicPattern, table: np.ndarray) -> PeriodicPattern | None:
    """The pattern of a table of reads."""
    inputs = table.shape[1]
    if not table.any(1).all():
        return None
    return _fitted(span, table.argmax(1), inputs - 1 - table[:, ::-1].argmax(1), inputs)


def _fitted(
    span: PeriodicPattern, firsts: np.ndarray, lasts: np.ndarray, inputs: int
) -> PeriodicPattern | None:
    """The pattern in the middle of a list of reads, as that of an image that is resized.

    Args:
        span: of what is read.
        firsts: the first place that each neuron reads.
        lasts: the last one.
        inputs: how many places there are.
    """
    outputs = len(firsts)
    if len(span.seen) > 1 or not outputs or not inputs:
        return None
    ratio = Fraction(inputs, outputs)
    period, step = ratio.denominator, ratio.numerator
    middle = outputs // 2 // period
    rows = [*range(middle * period, (middle + 1) * period)]
    shifted = (np.arange(outputs) // period - middle) * step
    phases = middle * period + np.arange(outputs) % period
    same = (
        np.array_equal(places, (places[phases] + shifted).clip(0, inputs - 1))
        for places in (firsts, lasts)
    )
    if not all(same):
        return None
    places = [(firsts[row] - middle * step, lasts[row] - middle * step) for row in rows]
    seen = (hull(span.at(int(place)) for place in both) for both in places)
    return PeriodicPattern(tuple(seen), span.step * step)
