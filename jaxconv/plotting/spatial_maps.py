"""The feature maps that have height, width and channels, in whatever order, as (h, w, c)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from jaxconv.analysis.feature_maps import trace_call, values_at
from jaxconv.analysis.index_path import follow
from jaxconv.analysis.network import Layer, Network
from jaxconv.analysis.patches import around, reader
from jaxconv.errors import Diagnostic, ValidationError, choice, raise_if, raises_shape_error
from jaxconv.jaxpr.interpreter import ValueRef, shape_of
from jaxconv.jaxpr.patch_reader import Index

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
        self.check_layers(layers)
        refs = {name: self.network.maps()[name] for name in layers}
        values = values_at(self.network, refs, self._leaves)
        arrays = {name: np.asarray(values[name])[self.indices[name]] for name in layers}
        return {name: array.astype(np.float32) for name, array in arrays.items()}

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


def _nearest_neurons(layer: Layer) -> Iterator[Layer]:
    """A layer, and those before it back to the nearest ones that have neurons."""
    yield layer
    if reader(layer) is None:
        for source in layer.sources:
            yield from _nearest_neurons(source)
