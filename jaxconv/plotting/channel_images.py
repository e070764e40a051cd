"""Feature maps as pictures, whatever the order of their axes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jaxconv.analysis.feature_maps import values_at
from jaxconv.analysis.index_path import follow
from jaxconv.analysis.network import Layer, Network, ValueRef
from jaxconv.analysis.network_reader import read
from jaxconv.analysis.patches import around, reader
from jaxconv.errors import Diagnostic, ValidationError, choice, raise_if, raises_shape_error
from jaxconv.jaxpr.interpreter import shape_of
from jaxconv.jaxpr.patch_reader import Index
from jaxconv.prover.check import pure


class Pictures:
    """A function traced for one image, and which of its feature maps are pictures.

    A map is one if its height, its width and its channels are known, in whatever order: so are
    those of convolutions and pools, and of sums of them.

    Attributes:
        network: read of the trace.
        places: by layer, an index that takes its map as (h, w, c).
        sizes: by layer, (h, w, c).
    """

    def __init__(self, fn: Callable[..., Any], *args: Any) -> None:
        call, given = pure(fn, args)
        self.network = read(jax.make_jaxpr(call)(*given), given)
        self._leaves = jax.tree.leaves(given)
        found = ((name, _place(self.network, name)) for name in self.network.maps())
        self.places = {name: place for name, place in found if place is not None}
        self.sizes = {
            name: np.broadcast_shapes(*map(np.shape, place)) for name, place in self.places.items()
        }

    @raises_shape_error("maps")
    def refuse_unknown(self, layers: Iterable[str]) -> None:
        """Raise ShapeError for a layer that is none, or no picture."""
        raise_if(choice("layer", n, self.places) for n in layers if n not in self.places)

    def maps(self, layers: Sequence[str]) -> dict[str, np.ndarray]:
        """Compute feature maps of the first image.

        Returns:
            By name, float32 (h, w, c).

        Raises:
            ShapeError: a layer that is none, or no picture.
        """
        self.refuse_unknown(layers)
        refs = {name: self.network.maps()[name] for name in layers}
        found = values_at(self.network, refs, self._leaves)
        arrays = {name: np.asarray(found[name])[self.places[name]] for name in layers}
        return {name: array.astype(np.float32) for name, array in arrays.items()}

    def default(self) -> list[str]:
        """The last layer of each size of map that is no pool, at most five of them."""
        last: dict[tuple[int, ...], str] = {}
        for name, (*size, _) in self.sizes.items():
            layer = self.network.layer(name)
            if layer is not None and layer.kind != "pool" and size != [1, 1]:
                last[tuple(size)] = name
        names = list(last.values())
        chosen = np.linspace(0, len(names) - 1, min(len(names), 5)).round().astype(int)
        return [names[number] for number in chosen]

    @raises_shape_error("maps")
    def filters(self) -> tuple[str, np.ndarray]:
        """The filters of the first convolution.

        Returns:
            Its name, and float64 (c_out, kh, kw, c_in).

        Raises:
            ShapeError: a function without a convolution over pictures.
        """
        readings = ((name, reader(layer), layer) for name, layer in self.network.rows.items())
        for name, reading, layer in readings:
            if reading and reading.kind == "convolution" and name in self.places:
                ref = ValueRef(layer.calls, reading.operands[1])
                (kernel,) = values_at(self.network, {name: ref}, self._leaves).values()
                return name, np.moveaxis(reading.filters(np.asarray(kernel)), 1, -1)
        wrong = "the model has no convolution over pictures."
        raise ValidationError([Diagnostic(wrong, "leave --filters away.")])


def _place(network: Network, name: str) -> Index | None:
    """An index that takes a map as (h, w, c); None where it is no picture."""
    layer, end = network.layer(name), network.maps()[name]
    if layer is None or around(end.calls):
        return None
    for source in _sources(layer):
        reading = reader(source)
        if reading is None:
            continue
        sides = reading.axes.sizes(shape_of(reading.eqn.outvars[0]))
        if len(sides.pixels) != 2:
            continue
        *at, channel = np.ix_(*map(range, (*sides.pixels, sides.channels)))
        steps = follow(network, source, end, 0, at, channel)
        if steps:
            return steps[-1].place
    return None


def _sources(layer: Layer) -> Iterator[Layer]:
    """A layer, and those before it back to the first that has neurons."""
    yield layer
    if reader(layer) is None:
        for source in layer.feeding():
            yield from _sources(source)
