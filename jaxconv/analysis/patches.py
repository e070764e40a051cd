"""What one neuron of a layer sees of the map before it, cut out with plain NumPy.

A layer is a convolution, a product or a pool, the equation that computes it in a trace. All is read
off the parameters of that equation; nothing here computes the layer.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from math import inf, prod
from typing import Any, NamedTuple, cast

import numpy as np

from jaxconv.analysis.network import Layer
from jaxconv.compat import JaxprEqn, Var
from jaxconv.jaxpr.interpreter import shape_of

Index = tuple[int, ...]
Place = tuple[Any, ...]  # an index of one number, or of many where its entries are arrays
Look = tuple[np.ndarray, np.ndarray | None]


class Frame(NamedTuple):
    """Which axes of a layer's result are which.

    Attributes:
        images: of the batch; none where it has no such axis.
        pixels: y and x, say.
        channels: of the feature maps.
    """

    images: Index
    pixels: Index
    channels: Index

    def place(self, shape: Index, image: int, at: Sequence[Any], channel: Any) -> Place:
        """Where in the result of a shape a neuron stands, or many, where ``at`` are arrays."""
        found = dict(zip(self.pixels, at, strict=True))
        for axes, number in ((self.images, image), (self.channels, channel)):
            sides = [shape[axis] for axis in axes]
            found |= zip(axes, np.unravel_index(number, sides), strict=True)
        return tuple(found[axis] for axis in range(len(shape)))

    def sides(self, shape: Index) -> "Sides":
        """The numbers of images, pixels and channels of a result of a shape."""
        images, pixels, channels = ([shape[axis] for axis in axes] for axes in self)
        return Sides(prod(images), tuple(pixels), prod(channels))


class Sides(NamedTuple):
    """How large a map is: its images, its pixels along each axis, and its channels."""

    images: int
    pixels: Index
    channels: int


@dataclass(frozen=True)
class Reading(ABC):
    """How to read what the neurons of a layer see.

    Attributes:
        eqn: what computes the layer.
        fixed: for each operand whether it is the same for all inputs.
    """

    eqn: JaxprEqn
    fixed: tuple[bool, ...]

    @property
    def operands(self) -> list[Var]:
        """The map, and where there are weights these, as :meth:`look` takes them."""
        return [cast(Var, atom) for atom in self.eqn.invars]

    @property
    def kind(self) -> str:
        """What a neuron makes of its patch."""
        return KINDS[self.eqn.primitive.name]

    @property
    @abstractmethod
    def frame(self) -> Frame:
        """The axes of the layer's result."""

    @abstractmethod
    def look(self, place: Place, *operands: np.ndarray) -> Look:
        """The patch and the weights of the neuron at a place of the result, channels last."""


class Convolution(Reading):
    """A convolution with any order of axes, strides, padding, dilations and groups."""

    @property
    def frame(self) -> Frame:
        """Its axes as the equation names them."""
        image, channel, *pixels = self.eqn.params["dimension_numbers"].out_spec
        return Frame((image,), tuple(pixels), (channel,))

    def look(self, place: Place, *operands: np.ndarray) -> Look:
        """The patch in the neuron's group of channels, and its filter."""
        params, numbers = self.eqn.params, self.eqn.params["dimension_numbers"]
        x, filters = np.transpose(operands[0], numbers.lhs_spec), self.filters(operands[1])
        image, channel, *at = (place[axis] for axis in numbers.out_spec)
        width = filters.shape[1]
        group = channel // (filters.shape[0] // params["feature_group_count"])
        seen = x[image, group * width : (group + 1) * width]
        names = ("window_strides", "padding", "rhs_dilation", "lhs_dilation")
        lines = map(Line, seen.shape[1:], filters.shape[2:], *(params[name] for name in names))
        patch = _cut(seen, [Line(width, width), *lines], [0, *at], 0.0)
        return np.moveaxis(patch, 0, -1), np.moveaxis(filters[channel], 0, -1)

    def filters(self, kernel: np.ndarray) -> np.ndarray:
        """The weights as (c_out, c_in, kh, kw), float64."""
        return np.transpose(kernel, self.eqn.params["dimension_numbers"].rhs_spec).astype(float)


class Pool(Reading):
    """The largest, the smallest or the sum of each window."""

    @property
    def frame(self) -> Frame:
        """Those without a window are the axes of images and channels, at the ends if they can."""
        window = self.eqn.params["window_dimensions"]
        whole = [axis for axis, side in enumerate(window) if side == 1]
        last = len(window) - 1
        channels = [last] if last in whole else whole[1:2] or whole
        images = [0] if 0 in whole and channels != [0] else []
        pixels = [axis for axis in range(len(window)) if axis not in images + channels]
        return Frame(tuple(images), tuple(pixels), tuple(channels))

    def look(self, place: Place, *operands: np.ndarray) -> Look:
        """The patch in the one channel that the neuron sees; it has no weights."""
        (x,) = operands
        names = "window_dimensions window_strides padding window_dilation base_dilation"
        lines = map(Line, x.shape, *(self.eqn.params[name] for name in names.split()))
        patch = _cut(x, [*lines], place, POOLS[self.kind][1])
        return patch.reshape([*(patch.shape[axis] for axis in self.frame.pixels), 1]), None


class Product(Reading):
    """A product of a map with a matrix of weights; its neurons see one pixel, or all."""

    @property
    def _map(self) -> int:
        """Which operand is the map: the one that is not the same for all inputs."""
        return int(self.fixed[0] and not self.fixed[1])

    def _axes(self, operand: int) -> tuple[Index, Index, Index]:
        """The axes of an operand: those it shares with the other, its own, and those summed."""
        summed, shared = self.eqn.params["dimension_numbers"]
        taken = {*summed[operand], *shared[operand]}
        rank = len(shape_of(self.eqn.invars[operand]))
        own = tuple(axis for axis in range(rank) if axis not in taken)
        return tuple(shared[operand]), own, tuple(summed[operand])

    def _results(self, operand: int) -> tuple[Index, Index]:
        """The axes of the result that are an operand's: those shared, and its own."""
        shared, own, _ = self._axes(operand)
        first = len(shared) + operand * len(self._axes(0)[1])
        return tuple(range(len(shared))), tuple(range(first, first + len(own)))

    @property
    def frame(self) -> Frame:
        """The first axis that the map alone has is that of the images."""
        shared, own = self._results(self._map)
        return Frame(own[:1], (*shared, *own[1:]), self._results(1 - self._map)[1])

    def look(self, place: Place, *operands: np.ndarray) -> Look:
        """What is multiplied with what."""

        def numbers(operand: int) -> np.ndarray:
            there = tuple(place[axis] for axis in chain(*self._results(operand)))
            return np.transpose(operands[operand], [*chain(*self._axes(operand))])[there]

        return numbers(self._map).astype(float), numbers(1 - self._map).astype(float)


class Line(NamedTuple):
    """How a window moves along one axis of a map.

    Attributes:
        pixels: of the map.
        taps: of the window.
        stride: from one position to the next.
        padding: before the first pixel, and after the last.
        dilation: from one tap to the next.
        holes: from one pixel of a dilated map to the next; 1 leaves no hole.
    """

    pixels: int
    taps: int
    stride: int = 1
    padding: tuple[int, int] = (0, 0)
    dilation: int = 1
    holes: int = 1

    def under(self, position: int) -> np.ndarray:
        """The pixel under each tap at a position; -1 where there is none."""
        grid = position * self.stride - self.padding[0] + np.arange(self.taps) * self.dilation
        pixels, between = np.divmod(grid, self.holes)
        return np.where((between == 0) & (pixels >= 0) & (pixels < self.pixels), pixels, -1)


def _cut(x: np.ndarray, lines: Sequence[Line], place: Sequence[Any], outside: float) -> np.ndarray:
    """The numbers under a window, float64, with ``outside`` where there are none."""
    pixels = [line.under(int(position)) for line, position in zip(lines, place, strict=True)]
    met = functools.reduce(np.logical_and.outer, [each >= 0 for each in pixels])
    return np.where(met, x[np.ix_(*pixels)].astype(float), outside)


# How each kind of pool makes one number of its patch, and what it counts padding as.
POOLS: dict[str, tuple[Callable[[np.ndarray], Any], float]] = {
    "max": (np.max, -inf),
    "min": (np.min, inf),
    "sum": (np.sum, 0.0),
}
KINDS = {
    "conv_general_dilated": "convolution",
    "dot_general": "product",
    **{f"reduce_window_{kind}": kind for kind in POOLS},
}
READINGS: dict[str, type[Reading]] = {
    "convolution": Convolution,
    "product": Product,
    **dict.fromkeys(POOLS, Pool),
}


LOOPS = {"scan": "a scan", "while": "a while loop", "cond": "a branch"}


def around(calls: Iterable[JaxprEqn]) -> str:
    """What keeps a value inside some calls from having one value; empty where nothing does."""
    return next((LOOPS[c.primitive.name] for c in calls if c.primitive.name in LOOPS), "")


def pooled(kind: str, patch: np.ndarray) -> float:
    """What a pool makes of a patch."""
    return float(POOLS[kind][0](patch))


def reader(layer: Layer) -> Reading | None:
    """How to read what the neurons of a layer see; None where it has none.

    Such are joins and reductions, products of two maps, and the gradient of a grouped kernel.
    """
    kind = KINDS.get(layer.eqn.primitive.name) if layer.eqn else None
    if layer.eqn is None or kind is None:
        return None
    two_maps = kind == "product" and not any(layer.fixed)
    across_images = layer.eqn.params.get("batch_group_count", 1) > 1
    return None if two_maps or across_images else READINGS[kind](layer.eqn, layer.fixed)
