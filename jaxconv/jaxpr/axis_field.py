"""How far neurons see along one axis of the image: arithmetic of intervals, without JAX.

Two descriptions go side by side. A :class:`PeriodicPattern` is what neurons would see if the image
went on forever: a pattern that repeats, with formulas where sizes are formulas. The bounds are what
each neuron does see of an image of known size, to the pixel, where maps end and padding begins.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np

from jaxconv.jaxpr.periodic_pattern import LONGEST, PeriodicPattern, PixelRange, change_pattern
from jaxconv.jaxpr.window_axis import WindowAxis
from jaxconv.symbolic.specs import extreme
from jaxconv.symbolic.trace import Undecided

Bounds = tuple[np.ndarray, np.ndarray]  # of each neuron: first pixel, and the first after the last
NO_PIXEL = 1 << 40  # first pixel of a neuron that sees none; its end is -NO_PIXEL


@dataclass(frozen=True, eq=False)
class AxisField:
    """What the neurons of a map see along one axis of the image.

    Attributes:
        axis: of the map, along which neighbours see different pixels; None where all see the same.
        pattern: in an endless image; None where no pattern is known.
        bounds: in this image; None where sizes are formulas.
        exact: whether each neuron sees the first and the last pixel of its interval; if not, it
            sees nothing outside of it.
        mixed: axis of the map, such as that of its channels, along which neighbours see different
            parts of the interval, as after a concatenation; None if there is none.
        everywhere: whether the pattern covers all that each neuron sees; a map that is padded with
            its own numbers has neurons that see others.
    """

    axis: int | None
    pattern: PeriodicPattern | None
    bounds: Bounds | None
    exact: bool = True
    mixed: int | None = None
    everywhere: bool = True

    @classmethod
    def of_image(cls, axis: int, size: Any) -> "AxisField":
        """Let each pixel see itself.

        Args:
            axis: of the image.
            size: its pixels, an int or a formula.
        """
        pixels = np.arange(size) if isinstance(size, int) else None
        return cls(axis, PeriodicPattern(), None if pixels is None else (pixels, pixels + 1))

    def same(self, other: "AxisField") -> bool:
        """Whether two maps see the same: of this image, where its size is known.

        Args:
            other: what the other map sees.
        """
        marks = [(one.axis, one.exact, one.mixed, one.everywhere) for one in (self, other)]
        if marks[0] != marks[1]:
            return False
        if self.bounds is None or other.bounds is None:
            return self.pattern == other.pattern
        return all(map(np.array_equal, self.bounds, other.bounds))

    def is_blind(self) -> bool:
        """Whether some neuron sees nothing."""
        return self.bounds is not None and bool((self.bounds[0] == NO_PIXEL).any())

    def move(self, axis: int | None) -> "AxisField":
        """See the same along another axis of the map.

        Args:
            axis: of the new map; None where all of its neurons see the same.
        """
        return replace(self, axis=axis)

    def mix(self, *axes: int | None) -> "AxisField":
        """Let neighbours along some axes of the map see different parts of this.

        Args:
            *axes: of the map; None is left out.
        """
        mixed = {axis for axis in (self.mixed, *axes) if axis is not None}
        if len(mixed) > 1:
            return replace(self, mixed=None, exact=False)
        return replace(self, mixed=next(iter(mixed), None))

    def loose(self) -> "AxisField":
        """Claim no more than that nothing outside is seen."""
        return replace(self, mixed=None, exact=False)

    def window(
        self, count: Any, kernel_size: Any, stride: Any = 1, dilation: Any = 1, low: Any = 0
    ) -> "AxisField":
        """Slide a window over the map.

        Args:
            count: neurons that come out.
            kernel_size: neurons that a window reads.
            stride: from a window to the next.
            dilation: from one element of a window to the next.
            low: padding before the first neuron.
        """
        settings = (kernel_size, stride, dilation, low)
        pattern = change_pattern(lambda pattern: pattern.window(*settings), self.pattern)
        if self.bounds is None:
            return replace(self, pattern=pattern)
        begins = np.arange(count) * stride - low
        indices = begins[:, None] + np.arange(kernel_size) * dilation  # (results, elements)
        size = len(self.bounds[0])
        # Reads outside the map go to one more neuron, which sees nothing.
        indices = np.where((indices >= 0) & (indices < size), indices, size)
        firsts = np.append(self.bounds[0], NO_PIXEL)[indices].min(1, initial=NO_PIXEL)
        ends = np.append(self.bounds[1], -NO_PIXEL)[indices].max(1, initial=-NO_PIXEL)
        return replace(self, pattern=pattern, bounds=(firsts, ends))

    def slide(self, window: WindowAxis) -> "AxisField":
        """Slide the window of a convolution or a pool over the map.

        Args:
            window: along the axis of this map.

        Returns:
            What the neurons along the window's output axis see.
        """
        positions = (window.output_size, window.kernel_size, window.stride, window.dilation)
        dilated = self.dilate(window.input_dilation)
        return dilated.window(*positions, window.padding[0]).move(window.output_axis)

    def dilate(self, factor: int) -> "AxisField":
        """Put gaps between the neurons, in which there is nothing to see.

        Args:
            factor: from a neuron to the next.
        """
        if factor == 1:
            return self
        pattern = self.pattern and self.pattern.dilate(factor)
        if self.bounds is None:
            return replace(self, pattern=pattern)
        length = max((len(self.bounds[0]) - 1) * factor + 1, 0)
        bounds = np.full(length, NO_PIXEL), np.full(length, -NO_PIXEL)
        for dilated, bound in zip(bounds, self.bounds, strict=True):
            dilated[::factor] = bound
        return replace(self, pattern=pattern, bounds=bounds)

    def repeat(self, factor: Any) -> "AxisField":
        """Repeat each neuron.

        Args:
            factor: how often, an int or a formula.
        """
        if not isinstance(factor, int):
            return replace(self, pattern=None, bounds=None, exact=False)
        bounds = self.bounds and (self.bounds[0].repeat(factor), self.bounds[1].repeat(factor))
        short = self.pattern is not None and len(self.pattern.intervals) * factor <= LONGEST
        pattern = self.pattern.repeat(factor) if self.pattern and short else None
        return replace(self, pattern=pattern, bounds=bounds)

    def tile(self, size: Any, factor: Any) -> "AxisField":
        """Repeat the whole axis.

        Args:
            size: neurons along it.
            factor: how often.
        """
        if not (isinstance(size, int) and isinstance(factor, int)):
            return replace(self, pattern=None, bounds=None, exact=False)
        bounds = self.bounds and (np.tile(self.bounds[0], factor), np.tile(self.bounds[1], factor))
        known = self.pattern if size <= LONGEST else None
        pattern = known and PeriodicPattern(tuple(map(known.at, range(size))), 0)
        return replace(self, pattern=pattern, bounds=bounds)

    def read_rows(self, table: np.ndarray) -> "AxisField":
        """Let each neuron see what the neurons see whose column in its row is set.

        Args:
            table: bool, (neurons that come out, neurons of this map).
        """
        if self.bounds is None:
            return replace(self, pattern=None, exact=False)
        firsts = np.where(table, self.bounds[0], NO_PIXEL).min(1, initial=NO_PIXEL)
        ends = np.where(table, self.bounds[1], -NO_PIXEL).max(1, initial=-NO_PIXEL)
        pattern = self.pattern and self.pattern.read_rows(table)
        return replace(self, pattern=pattern, bounds=(firsts, ends))

    def take(self, indices: np.ndarray) -> "AxisField":
        """Let each neuron see what one neuron of this map sees.

        Args:
            indices: int (neurons that come out,): which one.
        """
        if self.bounds is None:
            return replace(self, pattern=None, exact=False)
        firsts, ends = self.bounds
        strides = {*np.diff(indices).tolist()}
        if len(strides) == 1:
            stride, low = strides.pop(), -int(indices[0])
            pattern = self.pattern and self.pattern.window(1, stride, 1, low)
        else:
            pattern = self.pattern and self.pattern.fit(indices, indices, len(firsts))
        return replace(self, pattern=pattern, bounds=(firsts[indices], ends[indices]))

    def accumulate(self, backwards: bool) -> "AxisField":
        """Let each neuron see what it and all neurons before it see.

        In an endless map none would be the first, so that no pattern remains.

        Args:
            backwards: all neurons after it instead.
        """
        assert self.bounds is not None
        order = slice(None, None, -1 if backwards else 1)
        firsts, ends = (bound[order] for bound in self.bounds)
        bounds = np.minimum.accumulate(firsts)[order], np.maximum.accumulate(ends)[order]
        return replace(self, pattern=None, bounds=bounds)

    def collapse(self, size: Any, exact: bool = True) -> "AxisField":
        """Let every neuron see what all of them see.

        Args:
            size: neurons along the axis.
            exact: whether each of them does; if not, it may.
        """
        exact = exact and self.exact
        if self.axis is None:
            return replace(self, exact=exact)
        pattern = change_pattern(lambda pattern: pattern.cover(size), self.pattern)
        bounds = None
        if self.bounds is not None:
            firsts, ends = self.bounds
            first, end = firsts.min(initial=NO_PIXEL), ends.max(initial=-NO_PIXEL)
            bounds = np.array([first]), np.array([end])
        return replace(self, axis=None, pattern=pattern, bounds=bounds, exact=exact)

    def bounds_along(self, axis: int, size: Any) -> Bounds | None:
        """List what the neurons along any axis of the map see.

        Args:
            axis: of the map.
            size: neurons along it.

        Returns:
            The bounds, two int arrays (size,); None where sizes are formulas.
        """
        if self.bounds is None or not isinstance(size, int):
            return None
        if self.axis == axis:
            return self.bounds
        return np.full(size, self.bounds[0].min()), np.full(size, self.bounds[1].max())

    def interval(self, position: int, image: Any = None) -> PixelRange | None:
        """Find what one neuron sees.

        Args:
            position: of the neuron along the axis of the map.
            image: pixels of the image, at which the interval is cut; None goes on as if image and
                maps had no border.

        Returns:
            The first pixel, and the first after the last; (0, 0) where it sees none, None where
            that is not known.
        """
        if image is not None and self.bounds is not None:
            first, end = (int(ends[position if len(ends) > 1 else 0]) for ends in self.bounds)
            return (0, 0) if first == NO_PIXEL else (first, end)
        if self.pattern is None or not (image is None or self.everywhere):
            return None
        pixels = self.pattern.at(position) or (0, 0)
        if image is None:
            return pixels
        first, end = (extreme("min", extreme("max", pixel, 0), image) for pixel in pixels)
        return first, end

    def covers(self, image: Any) -> bool:
        """Whether all neurons see the same, all pixels along the axis, or may, for all one knows.

        Args:
            image: pixels of the image.
        """
        if self.pattern is None and self.bounds is None:
            return True
        stays = self.pattern is not None and is_equal(self.pattern.step, 0)
        if self.axis is not None and not stays:
            return False
        if self.bounds is not None:
            firsts, ends = self.bounds
            return bool((firsts <= 0).all() and (ends >= image).all())
        interval = self.interval(0, image)
        return not interval or (is_at_least(0, interval[0]) and is_at_least(interval[1], image))

    def join(self, other: "AxisField", shape: Sequence[Any]) -> "AxisField":
        """See what the neurons at the same positions of two maps see.

        Args:
            other: what the other map sees.
            shape: of both maps.
        """
        exact = self.exact and other.exact
        both = (self, other)
        if None not in (self.axis, other.axis) and self.axis != other.axis:
            both, exact = tuple(axis_field.collapse_in(shape) for axis_field in both), False
        axes = [axis_field.axis for axis_field in both if axis_field.axis is not None]
        bounds = None
        if both[0].bounds is not None and both[1].bounds is not None:
            firsts, ends = zip(both[0].bounds, both[1].bounds, strict=True)
            bounds = np.minimum(*firsts), np.maximum(*ends)
        if len(axes) == 1:  # one of them sees the same everywhere
            both = tuple(axis_field.collapse_in(shape) for axis_field in both)
            axes, exact = ([], False) if bounds is None else (axes, exact)
        pattern, second = both[0].pattern, both[1].pattern
        pattern = change_pattern(lambda first: second and first.join(second), pattern)
        everywhere = self.everywhere and other.everywhere
        axis = axes[0] if axes else None
        return AxisField(axis, pattern, bounds, exact, self.mixed, everywhere).mix(other.mixed)

    def collapse_in(self, shape: Sequence[Any], exact: bool = True) -> "AxisField":
        """Let every neuron of a map see what all of them see.

        Args:
            shape: of the map.
            exact: whether each of them does; if not, it may.
        """
        return self if self.axis is None else self.collapse(shape[self.axis], exact)


Field = tuple[AxisField, ...]  # for each axis of the image that has pixels
Fields = list[Field | None]  # of several values; None depends on no image
AxisChange = Callable[[AxisField, int], AxisField]


def join_fields(fields: Sequence[Field], shape: Sequence[Any]) -> Field:
    """Find what the neurons at the same positions of several maps see.

    A neuron that sees nothing along one axis sees nothing at all. That is not followed here: the
    result is not exact then.

    Args:
        fields: of the maps.
        shape: of all of them.
    """
    joined = tuple(
        reduce(lambda a, b: a.join(b, shape), axis_fields)
        for axis_fields in zip(*fields, strict=True)
    )
    several = len(fields) > 1
    if several and any(axis_field.is_blind() for field in fields for axis_field in field):
        return tuple(replace(axis_field, exact=False) for axis_field in joined)
    return joined


def concatenate_fields(
    parts: Sequence[AxisField | None], sizes: Sequence[Any], axis: int
) -> AxisField:
    """Put maps side by side.

    The pattern is that of the longest one: that of the map, where it is padded with its own
    numbers.

    Args:
        parts: what each map sees along one axis of the image; None sees nothing.
        sizes: of each map along the axis.
        axis: along which they are put together.
    """
    exact = all(part is None or (part.exact and part.axis in (None, axis)) for part in parts)
    blind = AxisField(None, None, (np.array([NO_PIXEL]), np.array([-NO_PIXEL])))
    each = [(part or blind).bounds_along(axis, n) for part, n in zip(parts, sizes, strict=True)]
    known = [bounds for bounds in each if bounds is not None]
    bounds = None
    if len(known) == len(each):
        firsts, ends = zip(*known, strict=True)
        bounds = np.concatenate(firsts), np.concatenate(ends)
    starts = itertools.accumulate(sizes, initial=0)
    patterns = [
        (size, replace(part, bounds=None).window(size, 1, 1, 1, start).pattern)
        for part, size, start in zip(parts, sizes, starts, strict=False)
        if part is not None and part.axis == axis
    ]
    try:
        pattern = max(patterns, key=lambda pair: pair[0])[1]
    except Undecided:  # which one is the longest
        pattern = None
    seeing = [part for part in parts if part is not None]
    everywhere = len(seeing) == 1 and seeing[0].everywhere
    joined = AxisField(axis, pattern, bounds, exact, everywhere=everywhere)
    return joined.mix(*(part.mixed for part in seeing))


def change_axis(
    axis_field: AxisField, change: AxisChange, shape: Sequence[Any], result_shape: Sequence[Any]
) -> AxisField:
    """Change what neurons see, given the axis of the map along which they see different pixels.

    What is mixed along another axis of the map stays mixed, if that axis keeps its neurons.

    Args:
        axis_field: of a map.
        change: what an operation does along any axis.
        shape: of the map.
        result_shape: of the map that comes out.
    """
    result = axis_field if axis_field.axis is None else change(axis_field, axis_field.axis)
    if axis_field.mixed is None:
        return result
    along = change(AxisField(axis_field.mixed, None, None), axis_field.mixed)
    kept = along.axis is None or is_at_least(result_shape[along.axis], shape[axis_field.mixed])
    return replace(result, mixed=along.axis) if along.exact and kept else result.loose()


def align_blind(field: Field) -> Field:
    """Let neurons that see nothing along one axis of the image see nothing along the other.

    This matters where neurons along one axis of the map see different pixels of two axes.

    Args:
        field: of the map.
    """
    known = [a for a in field if a.axis is not None and a.bounds is not None]
    if len({axis_field.axis for axis_field in known}) == len(known):
        return field

    def without_blind(axis_field: AxisField) -> AxisField:
        if axis_field.bounds is None:
            return axis_field
        along = [a.bounds for a in field if a.axis == axis_field.axis and a.bounds is not None]
        blind = np.any([firsts == NO_PIXEL for firsts, _ in along], axis=0)
        firsts, ends = axis_field.bounds
        bounds = np.where(blind, NO_PIXEL, firsts), np.where(blind, -NO_PIXEL, ends)
        return replace(axis_field, bounds=bounds)

    return tuple(map(without_blind, field))


def same_fields(some: Fields, others: Fields) -> bool:
    """Whether maps see the same.

    Args:
        some: what some maps see.
        others: what as many others see.
    """
    return all(
        a is b or (a is not None and b is not None and all(map(AxisField.same, a, b)))
        for a, b in zip(some, others, strict=True)
    )


def is_equal(size: Any, other: Any) -> bool:
    """Whether two sizes are known to be equal.

    Args:
        size: an int or a formula.
        other: the same.
    """
    try:
        return bool(size == other)
    except Undecided:
        return False


def is_at_least(size: Any, other: Any) -> bool:
    """Whether a size is known to be no smaller than another.

    Args:
        size: an int or a formula.
        other: the same.
    """
    try:
        return bool(size >= other)
    except Undecided:
        return False
