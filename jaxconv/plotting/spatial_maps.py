"""The feature maps that have height, width and channels, in whatever order, as (h, w, c)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from jaxconv.analysis.feature_maps import trace_call, values_at
from jaxconv.analysis.index_path import follow
from jaxconv.analysis.network import Layer, Network
from jaxconv.analysis.partial_program import PartialProgram
from jaxconv.analysis.patches import around, reader
from jaxconv.errors import Diagnostic, ValidationError, choice, raise_if, raises_shape_error
from jaxconv.jaxpr.interpreter import ValueRef, shape_of
from jaxconv.jaxpr.patch_reader import Index

R = TypeVar("R")
MAX_DEFAULT_LAYERS = 5


class SpatialMaps:
    """A function traced for one image, and those of its feature maps that are spatial.

    A map is spatial if its axes of height, width and channels are known, in whatever order. That
    holds for convolutions and pools, and for sums of them.

    Args:
        fn: any JAX function or model; pure, that is, without dropout.
        *args: its arguments, arrays; the last one is the image.

    Attributes:
        network: the network that was read off the trace.
        indices: for each layer an index that takes its map as (h, w, c).
        sizes: for each layer (h, w, c).
    """

    def __init__(self, fn: Callable[..., Any], *args: Any) -> None:
        self.network, self._leaves = trace_call(fn, *args)
        indices = {name: _spatial_index(self.network, name) for name in self.network.maps()}
        self.indices = {name: index for name, index in indices.items() if index is not None}
        self.sizes = {
            name: np.broadcast_shapes(*map(np.shape, index)) for name, index in self.indices.items()
        }

    @raises_shape_error("maps")
    def check_layers(self, layers: Iterable[str]) -> None:
        """Check that layers exist and have spatial maps.

        Args:
            layers: their names.

        Raises:
            ShapeError: a layer does not exist, or its map is not spatial.
        """
        raise_if(choice("layer", n, self.indices) for n in layers if n not in self.indices)

    def maps(self, layers: Sequence[str]) -> dict[str, np.ndarray]:
        """Compute feature maps of the first image.

        Args:
            layers: their names.

        Returns:
            For each layer its map, float32 (h, w, c).

        Raises:
            ShapeError: a layer does not exist, or its map is not spatial.
        """
        return self.reduced(layers, lambda _, maps: np.array(maps))

    def reduced(
        self, layers: Sequence[str], reduce: Callable[[str, np.ndarray], R]
    ) -> dict[str, R]:
        """Compute feature maps of the first image one by one, and keep what is needed of each.

        Args:
            layers: their names.
            reduce: takes the name of a layer and its map, float32 (h, w, c), and returns what to
                keep of it.

        Returns:
            What is kept, by layer.

        Raises:
            ShapeError: a layer does not exist, or its map is not spatial.
        """

        def reduce_spatial(name: str, value: Any) -> R:
            maps = take(np.asarray(value), self.indices[name])
            return reduce(name, maps.astype(np.float32, copy=False))

        kept = self._program(layers).run(self._leaves, reduce_spatial)
        return {name: kept[name] for name in layers}

    def peak_bytes(self, layers: Sequence[str]) -> int:
        """Estimate the memory that :meth:`reduced` takes, besides what it keeps.

        Args:
            layers: their names.

        Raises:
            ShapeError: a layer does not exist, or its map is not spatial.
        """
        return self._program(layers).peak_bytes()

    def _program(self, layers: Sequence[str]) -> PartialProgram:
        self.check_layers(layers)
        refs = {name: self.network.maps()[name] for name in layers}
        return PartialProgram.of(self.network, refs, self._leaves)

    def default(self) -> list[str]:
        """The last layer of each map size, except pools; at most five layers."""
        last: dict[tuple[int, ...], str] = {}
        for name, (*size, _) in self.sizes.items():
            layer = self.network.layer(name)
            if layer is not None and layer.kind != "pool" and size != [1, 1]:
                last[tuple(size)] = name
        names = list(last.values())
        count = min(len(names), MAX_DEFAULT_LAYERS)
        chosen = np.linspace(0, len(names) - 1, count).round().astype(int)
        return [names[number] for number in chosen]

    @raises_shape_error("maps")
    def filters(self) -> tuple[str, np.ndarray]:
        """Compute the filters of the first convolution.

        Returns:
            Its name, and float64 (c_out, kh, kw, c_in).

        Raises:
            ShapeError: the function has no convolution with a spatial map.
        """
        for name, layer in self.network.rows.items():
            reading = reader(layer)
            if reading and reading.kind == "convolution" and name in self.indices:
                ref = ValueRef(layer.calls, reading.operands[1])
                (kernel,) = values_at(self.network, {name: ref}, self._leaves).values()
                return name, np.moveaxis(reading.filters(np.asarray(kernel)), 1, -1)
        wrong = "the model has no convolution over images."
        raise ValidationError([Diagnostic(wrong, "omit --filters.")])


def _spatial_index(network: Network, name: str) -> Index | None:
    """An index that takes a map as (h, w, c); None if the map is not spatial."""
    layer, end = network.layer(name), network.maps()[name]
    if layer is None or around(end.calls):
        return None
    for source in _nearest_neurons(layer):
        reading = reader(source)
        if reading is None:
            continue
        sides = reading.axes.sizes(shape_of(reading.eqn.outvars[0]))
        if len(sides.pixels) != 2:
            continue
        *at, channel = np.ix_(*map(range, (*sides.pixels, sides.channels)))
        steps = follow(network, source, end, 0, at, channel)
        if steps:
            return steps[-1].index
    return None


def take(values: np.ndarray, index: Index) -> np.ndarray:
    """Take part of an array by arrays of indices, without a copy where slices do.

    Args:
        values: any array.
        index: for each of its axes an integer array; they broadcast against each other.

    Returns:
        ``values[index]``; a view of it where each index array is one number, or counts up by one
        along an axis of the result that is its own.
    """
    shape = np.broadcast_shapes(*map(np.shape, index))
    plain: list[int | slice] = []
    axes: list[int] = []  # of the result, in the order of the axes that are kept of the array
    for positions in map(np.asarray, index):
        first = int(positions.flat[0]) if positions.size else 0
        if positions.size == 1:
            plain.append(first)
            continue
        long = [axis - positions.ndim for axis, n in enumerate(positions.shape) if n > 1]
        counts = np.arange(first, first + positions.size)
        if first < 0 or not np.array_equal(positions.ravel(), counts):
            return values[index]
        plain.append(slice(first, first + positions.size))
        axes += long if len(long) == 1 else [0]  # which is no axis counted from the end
    missing = [axis for axis in range(-len(shape), 0) if axis not in axes]
    if len({*axes}) < len(axes) or 0 in axes or any(shape[axis] != 1 for axis in missing):
        return values[index]
    part = np.transpose(values[tuple(plain)], np.argsort(axes))
    return np.expand_dims(part, tuple(missing)) if missing else part


def _nearest_neurons(layer: Layer) -> Iterator[Layer]:
    """A layer, and those before it back to the nearest ones that have neurons."""
    yield layer
    if reader(layer) is None:
        for source in layer.sources:
            yield from _nearest_neurons(source)
