"""The layers of a network on one photo, with what their filters read and see."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import jax
import numpy as np

from jaxconv.analysis.feature_maps import values_at
from jaxconv.analysis.index_path import Step, follow, sum_of
from jaxconv.analysis.network import Network, ValueRef
from jaxconv.analysis.network_reader import read
from jaxconv.analysis.patches import reader
from jaxconv.analysis.receptive_field import Look, Pixels, ReceptiveField, look
from jaxconv.compat import Literal
from jaxconv.errors import Diagnostic, public_api, raise_if
from jaxconv.jaxpr.interpreter import shape_of
from jaxconv.jaxpr.patch_reader import MapAxes, PatchReader
from jaxconv.jaxpr.window_axis import WindowAxis
from jaxconv.layers.windows import Window
from jaxconv.prover.check import pure


@dataclass(frozen=True)
class Shown:
    """A layer as the page shows it.

    Attributes:
        name: of the layer; any text.
        kind: such as "convolution" or "pool".
        values: its maps after the activation, float32 (h, w, c).
        rows: for each neuron row the half-open range of photo rows that it sees, int (h, 2).
        columns: the same of columns, int (w, 2).
        size: rows and columns of the receptive field, before the photo's border cuts it; None where
            that is not known.
        stride: rows and columns of the photo between two neighbours, on average.
        exact: whether each range ends with pixels that its neurons do see; else none is outside.
        source: the layer whose maps its filter reads; None where that is not shown.
        windows: how the filter slides over the source's rows and columns; None without source.
        weights: (kh, kw, c_in, c_out), where c_in divides the maps of the source; None of a pool.
        bias: (c_out,); None where it has none.
    """

    name: str
    kind: str
    values: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    size: tuple[Pixels, ...]
    stride: tuple[Pixels, ...]
    exact: bool = True
    source: str | None = None
    windows: tuple[Window, Window] | None = None
    weights: np.ndarray | None = None
    bias: np.ndarray | None = None


Windows = tuple[Window, Window]
Values = Mapping[ValueRef, np.ndarray]
LOOPS = ("scan", "while", "cond")  # what is inside has not one value
IMAGE = "input"


@public_api
def explore(
    fn: Callable[..., Any], *args: Any, layers: Sequence[str | int] | None = None
) -> list[Shown]:
    """Compute the maps of a network's layers, and gather what their filters read and see.

    A filter's patches can be shown where it reads the map of a layer, or all of it as a vector,
    number by number. Layers are left out that have no map of one photo, as inside a loop, or whose
    receptive field is not known.

    Args:
        fn: any JAX function or model; pure, that is, not drawing dropout.
        *args: its arguments, arrays; the last one is the photo, (1, h, w, c).
        layers: names or numbers of those to show, as in :func:`summary`; what they read is shown as
            well. None for all.

    Returns:
        The photo as the network gets it, then the layers in the order of computation.

    Raises:
        ShapeError: no such layer, or none that can be shown.
    """
    call, given = pure(fn, args)
    network = read(jax.make_jaxpr(call)(*given), given)
    fields = _fields(look(fn, *args))
    maps = {name: ref for name, ref in network.maps().items() if name in fields}
    maps = {name: ref for name, ref in maps.items() if _has_map(ref)}
    chosen = [network.name(layer, "layers") for layer in (maps if layers is None else layers)]
    raise_if(_not_shown(chosen, maps))
    filters = {name: found for name in maps if (found := _filter(network, name))}
    refs = chain(maps.values(), *(one.refs() for one in filters.values()))
    values = _values(network, refs, jax.tree.leaves(given))
    found = {IMAGE: _image(np.asarray(given[-1][0], np.float32))}
    for name, ref in maps.items():
        found[name] = _shown(network, name, values[ref], fields[name])
        if name in filters:
            found[name] = replace(found[name], **filters[name].read(values, found))
    return _kept(found, chosen)


def _has_map(ref: ValueRef) -> bool:
    inside = any(call.primitive.name in LOOPS for call in ref.calls)
    return not inside and len(shape_of(ref.var)) in FRAMES


def _fields(seen: Look) -> dict[str, ReceptiveField]:
    """What the neurons of each layer see, where each sees one box of its own, or all the same."""
    fields = {name: seen.field(name) for name in seen.names()}
    return {name: field for name, field in fields.items() if len(field.map) in (0, 2)}


def _not_shown(chosen: Collection[str], maps: Collection[str]) -> Iterator[Diagnostic]:
    if not chosen:
        wrong = "there is no layer to show: none has maps, or what they see is not known."
        yield Diagnostic(
            wrong, "name a function with a convolution that takes images (b, h, w, c)."
        )
    for name in chosen:
        if name not in maps:
            wrong = f"{name!r} cannot be shown: it is in a loop, or what it sees is not known."
            yield Diagnostic(wrong, f"pass some of {', '.join(map(repr, maps))}.")


def _kept(found: Mapping[str, Shown], chosen: Collection[str]) -> list[Shown]:
    """The photo, the layers that were chosen, and what those read."""
    kept = {IMAGE, *chosen, *(found[name].source for name in chosen)}
    return [layer for name, layer in found.items() if name in kept]


def _values(network: Network, refs: Iterable[ValueRef], leaves: Sequence[Any]) -> Values:
    """Values inside a network by where they stand."""
    names = {str(number): ref for number, ref in enumerate(dict.fromkeys(refs))}
    found = values_at(network, names, leaves)
    return {names[number]: np.asarray(value) for number, value in found.items()}


# The axes of maps that no convolution made, by their number.
FRAMES = {4: MapAxes((0,), (1, 2), (3,)), 2: MapAxes((0,), (), (1,))}


def _image(values: np.ndarray) -> Shown:
    rows, columns = (np.stack([np.arange(n), np.arange(n) + 1], 1) for n in values.shape[:2])
    return Shown(IMAGE, "input", values, rows, columns, (1, 1), (1, 1))


def _shown(network: Network, name: str, values: np.ndarray, field: ReceptiveField) -> Shown:
    """A layer, without what its filters read."""
    layer, frame = network.layer(name), FRAMES[values.ndim]
    reading = layer and reader(layer)
    if reading and shape_of(reading.eqn.outvars[0]) == values.shape:
        frame = reading.axes
    planes = _planes(values, frame)
    return Shown(
        name,
        layer.kind if layer else "named value",
        planes,
        _ranges(field, 0, planes.shape[0]),
        _ranges(field, 1, planes.shape[1]),
        field.size,
        field.stride,
        field.exact,
    )


def _ranges(field: ReceptiveField, axis: int, count: int) -> np.ndarray:
    """What each neuron along an axis sees of that axis of the photo."""
    if not field.map:
        return np.array([field.box()[axis]] * count)
    places = ((n, 0) if axis == 0 else (0, n) for n in range(count))
    return np.array([field.box(*place)[axis] for place in places])


def _planes(values: np.ndarray, frame: MapAxes) -> np.ndarray:
    """The maps of the first image, float32 (h, w, c)."""
    sides = frame.sizes(values.shape)
    ordered = np.transpose(values, [*frame.images, *frame.pixels, *frame.channels])
    rows, columns = sides.pixels or (1, 1)
    return ordered.reshape(-1, rows, columns, sides.channels)[0].astype(np.float32)


@dataclass(frozen=True)
class Filter:
    """Where what a layer's filters read stands in a network.

    Attributes:
        reading: of the layer.
        operands: where the map that it reads stands, and where there are weights these.
        added: where the bias stands, or what it is; None where there is none.
        feeding: the names of the layers that feed it.
    """

    reading: PatchReader
    operands: tuple[ValueRef, ...]
    added: ValueRef | float | None
    feeding: tuple[str, ...]

    def refs(self) -> list[ValueRef]:
        """All that must be computed."""
        return [*self.operands, *([self.added] if isinstance(self.added, ValueRef) else [])]

    def read(self, values: Values, shown: Mapping[str, Shown]) -> dict[str, Any]:
        """Source, windows, weights and bias as :class:`Shown` has them; nothing if not readable."""
        operands = [values[ref] for ref in self.operands]
        sliding = self.reading.slide(*operands)
        if sliding is None:
            return {}
        seen, weights = sliding.operand, sliding.weights
        windows = sliding.windows and tuple(map(_window, sliding.windows))
        source = next(
            (n for n in self.feeding if n in shown and _same(shown[n].values, seen)), None
        )
        if source is None:
            return {}
        if windows is None and weights is not None:  # a product with all numbers of the map
            h, w, c = shown[source].values.shape
            windows, weights = (Window(h, h), Window(w, w)), weights.reshape(h, w, c, -1)
        bias = self._bias(values, weights)
        return {"source": source, "windows": windows, "weights": weights, "bias": bias}

    def _bias(self, values: Values, weights: np.ndarray | None) -> np.ndarray | None:
        if weights is None or self.added is None:
            return None
        added = values[self.added] if isinstance(self.added, ValueRef) else self.added
        return np.broadcast_to(np.float32(added).ravel(), weights.shape[-1:])


def _same(map_: np.ndarray, seen: np.ndarray) -> bool:
    """Whether a filter reads a map as it is, or all its numbers in a row."""
    return np.array_equal(map_ if seen.ndim == 3 else map_.ravel(), seen)


def _filter(network: Network, name: str) -> Filter | None:
    """What the filters of a layer read; None where it has none."""
    layer = network.layer(name)
    reading = layer and reader(layer)
    if not layer or not reading or name not in network.rows:
        return None
    first = [0] * len(reading.axes.pixels)
    summed = sum_of(follow(network, layer, network.maps()[name], 0, first, 0)[1:])
    rows = {row: title for title, row in network.rows.items()}
    feeding = tuple(rows.get(source, source.name) for source in layer.feeding())
    operands = tuple(ValueRef(layer.calls, variable) for variable in reading.operands)
    return Filter(reading, operands, _added(summed), feeding)


def _added(step: Step | None) -> ValueRef | float | None:
    if step is None or step.fixed is None:
        return None
    if isinstance(step.fixed, Literal):
        return float(step.fixed.val)
    return ValueRef(step.ref.calls, step.fixed)


def _window(axis: WindowAxis) -> Window:
    low, high = axis.padding
    return Window(*map(int, (axis.kernel_size, axis.stride, axis.dilation, low, high)))
