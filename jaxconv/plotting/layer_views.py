"""The layers of a network on one photo: their maps, receptive fields, and what their filters read.

:mod:`jaxconv.plotting.explorer` shows them on a page.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Generic, TypedDict, TypeVar

import numpy as np

from jaxconv.analysis.feature_maps import trace_call
from jaxconv.analysis.index_path import PathStep, addition_of_bias, follow
from jaxconv.analysis.network import Network
from jaxconv.analysis.patches import around, reader
from jaxconv.analysis.receptive_field import Pixels, ReceptiveField, analyze_fields
from jaxconv.errors import Diagnostic, ValidationError, raise_if, raises_shape_error
from jaxconv.jaxpr.interpreter import ValueRef, shape_of
from jaxconv.jaxpr.patch_reader import MapAxes, PatchReader
from jaxconv.jaxpr.resources import bytes_of
from jaxconv.layers.windows import Window

WindowPair = tuple[Window, Window]  # over rows, over columns

R = TypeVar("R")
INPUT = "input"
# The axes of maps that no convolution made, by their number of axes.
DEFAULT_AXES = {4: MapAxes((0,), (1, 2), (3,)), 2: MapAxes((0,), (), (1,))}


@dataclass(frozen=True)
class LayerView:
    """A layer as the page shows it.

    Attributes:
        name: the layer's name; any text.
        kind: its kind, such as "convolution" or "pool".
        values: its maps after the activation, float32 (h, w, c).
        rows: for each row of neurons the half-open range of photo rows that it sees, int (h, 2).
        columns: the same for columns, int (w, 2).
        size: rows and columns of the receptive field, not cut at the border of the photo; None
            where unknown.
        stride: rows and columns of the photo between two neighbouring neurons, on average.
        exact: whether the neurons see the first and the last pixel of each range; otherwise they
            see at most the range.
        source: the layer whose maps its filter reads; None if that layer has no view.
        windows: how the filter slides over the source's rows and columns; None without a source.
        weights: (kh, kw, c_in, c_out), where c_in divides the number of the source's maps; None for
            a pool.
        bias: (c_out,); None if there is none.
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
    windows: WindowPair | None = None
    weights: np.ndarray | None = None
    bias: np.ndarray | None = None

    @classmethod
    def of(
        cls, network: Network, name: str, values: np.ndarray, field: ReceptiveField
    ) -> "LayerView":
        """Make the view of a layer, without its filter.

        Args:
            network: it is a layer of this network.
            name: of the layer, or of a named value.
            values: its maps, with the axes of the network.
            field: what its neurons see.

        Returns:
            The view of the maps of the first image.
        """
        layer, axes = network.layer(name), DEFAULT_AXES[values.ndim]
        reading = layer and reader(layer)
        if reading and shape_of(reading.eqn.outvars[0]) == values.shape:
            axes = reading.axes
        elif values.ndim == 4 and len(pixels := field.map_axes()) == 2:
            channels = tuple(axis for axis in (1, 2, 3) if axis not in pixels)
            axes = MapAxes((0,), pixels, channels) if len(channels) == 1 else axes
        sides = axes.sizes(values.shape)
        ordered = np.transpose(values, [*axes.images, *axes.pixels, *axes.channels])
        maps = ordered.reshape(-1, *(sides.pixels or (1, 1)), sides.channels)[0]  # (h, w, c)
        return cls(
            name,
            layer.kind if layer else "named value",
            maps.astype(np.float32, copy=False),
            _ranges(field, 0, maps.shape[0]),
            _ranges(field, 1, maps.shape[1]),
            field.size,
            field.stride,
            field.exact,
        )

    def finite(self) -> np.ndarray:
        """The maps with 0 for each number that is not finite."""
        values = self.values.astype(np.float32, copy=False)
        return np.nan_to_num(values, nan=0, posinf=0, neginf=0)

    def is_max_pool_of(self, source: "LayerView") -> bool:
        """Whether each number of the maps is the largest of its window on another layer's maps.

        Args:
            source: the other layer.
        """
        if self.weights is not None or self.windows is None:
            return False
        pads = [window.pads for window in self.windows]
        maxima = np.pad(source.finite(), [*pads, (0, 0)], constant_values=-np.inf)
        for axis, window in enumerate(self.windows):
            views = np.lib.stride_tricks.sliding_window_view(maxima, window.extent, axis)
            starts = np.arange(0, views.shape[axis], window.stride)
            maxima = views[..., :: window.dilation].max(-1).take(starts, axis)
        return np.array_equal(maxima, self.finite())


@raises_shape_error("explore")
def layer_views(
    fn: Callable[..., Any], *args: Any, layers: Sequence[str | int] | None = None
) -> list[LayerView]:
    """Compute the maps of a network's layers, their receptive fields, and their filters.

    What a filter reads is included if that is the map of another layer, or all numbers of it in one
    vector. Layers without a map of their own (as inside a loop) and layers with an unknown
    receptive field are left out.

    Args:
        fn: any JAX function or model; pure, that is, without dropout.
        *args: its arguments, arrays; the last one is the photo, (1, h, w, c).
        layers: names or numbers of the layers to show, as in :func:`summary`; the layers that they
            read are included. None for all.

    Returns:
        The photo as the network gets it, then the layers in the order of computation.

    Raises:
        ShapeError: a layer does not exist, or has no view.
    """
    return reduced_views(lambda view, _: view, fn, *args, layers=layers)


@raises_shape_error("explore")
def reduced_views(
    reduce: Callable[[LayerView, LayerView | None], R],
    fn: Callable[..., Any],
    *args: Any,
    layers: Sequence[str | int] | None = None,
) -> list[R]:
    """Make the views of layers one by one, and keep what is needed of each.

    Args:
        reduce: takes a view and that of the layer that it reads, if there is one, and returns what
            to keep of it.
        fn: as :func:`layer_views` takes it.
        *args: likewise.
        layers: likewise.

    Returns:
        What is kept, in the order of :func:`layer_views`.

    Raises:
        ShapeError: a layer does not exist, or has no view.
    """
    traced = trace_call(fn, *args)
    network, all_fields = traced.network, analyze_fields(fn, *args)
    fields = {name: all_fields.field(name) for name in all_fields.names()}
    # Neurons see one box each, or all the same pixels.
    fields = {name: field for name, field in fields.items() if len(field.map) in (0, 2)}
    refs = {
        name: ref
        for name, ref in network.maps().items()
        if name in fields and not around(ref.calls) and len(shape_of(ref.var)) in DEFAULT_AXES
    }
    chosen = [network.name(layer, "layers") for layer in (refs if layers is None else layers)]
    if not chosen:
        wrong = "there are no layers to show: none has maps, or their receptive fields are unknown."
        fix = "name a function with a convolution that takes images (b, h, w, c)."
        raise ValidationError([Diagnostic(wrong, fix)])
    raise_if(
        Diagnostic(
            f"{name!r} cannot be shown: it is in a loop, or what it sees is not known.",
            f"pass some of {', '.join(map(repr, refs))}.",
        )
        for name in chosen
        if name not in refs
    )
    filters = {name: LayerFilter.of(network, name) for name in refs}
    read = [filter_.inputs for name in chosen if (filter_ := filters[name])]
    refs = {name: ref for name, ref in refs.items() if name in {*chosen, *chain(*read)}}
    views = _ViewsInTurn(network, fields, refs, filters, reduce)
    views.add_photo(np.asarray(args[-1][0], np.float32))
    traced.reduced(views.needed(), views.see)
    kept = {INPUT, *chosen, *(views.sources[name] for name in chosen)}
    return [views.kept[name] for name in (INPUT, *refs) if name in kept]


class _ViewsInTurn(Generic[R]):
    """Makes each view as soon as its numbers are there, and drops numbers after their last use.

    Attributes:
        kept: what is kept of each view.
        sources: the name of the layer that each reads, if it has a view.
    """

    def __init__(
        self,
        network: Network,
        fields: Mapping[str, ReceptiveField],
        refs: Mapping[str, ValueRef],
        filters: Mapping[str, "LayerFilter | None"],
        reduce: Callable[[LayerView, LayerView | None], R],
    ) -> None:
        self._network, self._fields, self._refs = network, fields, refs
        self._filters, self._reduce = filters, reduce
        self._waiting = {
            name: {ref, *(filter_.refs() if (filter_ := filters[name]) else ())}
            for name, ref in refs.items()
        }
        self._uses = Counter(chain(*self._waiting.values()))
        self._readers = Counter(chain(*(one.inputs for name in refs if (one := filters[name]))))
        self._values: dict[ValueRef, np.ndarray] = {}
        self._views: dict[str, LayerView] = {}  # that later layers may read
        self.kept: dict[str, R] = {}
        self.sources: dict[str, str | None] = {}

    def needed(self) -> list[ValueRef]:
        """All values that views are made of."""
        return [*self._uses]

    def add_photo(self, photo: np.ndarray) -> None:
        """Make the view of the photo, whose neurons are its pixels."""
        rows, columns = (np.stack([np.arange(n), np.arange(n) + 1], 1) for n in photo.shape[:2])
        view = LayerView(INPUT, "input", photo, rows, columns, (1, 1), (1, 1))
        self._views[INPUT], self.kept[INPUT] = view, self._reduce(view, None)

    def see(self, ref: ValueRef, value: Any) -> None:
        """Take a value, and make the views that it completes."""
        self._values[ref] = np.asarray(value)
        for name, missing in [*self._waiting.items()]:
            missing.discard(ref)
            if missing:
                continue
            del self._waiting[name]
            main, filter_ = self._refs[name], self._filters[name]
            view = LayerView.of(self._network, name, self._values[main], self._fields[name])
            if filter_:
                view = replace(view, **filter_.read(self._values, self._views))
            self.sources[name] = view.source
            self.kept[name] = self._reduce(view, self._views.get(view.source or ""))
            if self._readers[name]:
                self._views[name] = view
            self._uses.subtract({main, *(filter_.refs() if filter_ else ())})
            self._readers.subtract(filter_.inputs if filter_ else ())
            self._values = {one: some for one, some in self._values.items() if self._uses[one] > 0}
            self._views = {one: some for one, some in self._views.items() if self._readers[one] > 0}


@raises_shape_error("explore")
def bytes_to_view(fn: Callable[..., Any], *args: Any) -> int:
    """Estimate the memory that the maps of all layers and their page take.

    Args:
        fn: as :func:`layer_views` takes it.
        *args: likewise, or their shapes.
    """
    traced = trace_call(fn, *args)
    maps = {
        name: ref for name, ref in traced.network.maps().items()
        if not around(ref.calls) and len(shape_of(ref.var)) in DEFAULT_AXES
    }  # fmt: skip
    sizes = [bytes_of(ref.var) for ref in maps.values()]
    # Two maps are kept at a time. To pack one of them takes some copies, and the page up to a byte
    # for each number of all maps, in some copies too.
    return traced.peak_bytes(maps.values()) + 5 * max(sizes, default=0) + sum(sizes) // 2


def _ranges(field: ReceptiveField, axis: int, count: int) -> np.ndarray:
    """What each neuron along an axis sees of that axis of the photo, int (count, 2)."""
    if not field.map:
        return np.array([field.box()[axis]] * count)
    positions = ((n, 0) if axis == 0 else (0, n) for n in range(count))
    return np.array([field.box(*position)[axis] for position in positions])


class FilterFields(TypedDict, total=False):
    """The fields of a :class:`LayerView` that describe its filter."""

    source: str
    windows: WindowPair | None
    weights: np.ndarray | None
    bias: np.ndarray | None


@dataclass(frozen=True)
class LayerFilter:
    """Where the operands of a layer's filters are in a network.

    Attributes:
        reading: how the layer's equation reads its operands.
        operands: references to the map that it reads, and to its weights if it has any.
        added: where the bias is added, and for each position and channel its index there; None if
            there is none.
        inputs: the names of the layers that feed it.
    """

    reading: PatchReader
    operands: tuple[ValueRef, ...]
    added: PathStep | None
    inputs: tuple[str, ...]

    @classmethod
    def of(cls, network: Network, name: str) -> "LayerFilter | None":
        """Find the filter of a layer.

        Args:
            network: the network.
            name: the layer's name.

        Returns:
            The filter; None if the layer has none.
        """
        layer = network.layer(name)
        reading = layer and reader(layer)
        if not layer or not reading or name not in network.rows:
            return None
        sides = reading.axes.sizes(shape_of(reading.eqn.outvars[0]))
        *at, channels = np.ix_(*map(range, (*sides.pixels, sides.channels)))
        steps = follow(network, layer, network.maps()[name], 0, at, channels)
        inputs = tuple(source.name for source in layer.sources)
        operands = tuple(ValueRef(layer.calls, variable) for variable in reading.operands)
        return cls(reading, operands, addition_of_bias(steps[1:]), inputs)

    def refs(self) -> list[ValueRef]:
        """References to all values that :meth:`read` needs."""
        addend = self.added and self.added.addend()
        return [*self.operands, *([addend] if isinstance(addend, ValueRef) else [])]

    def read(
        self, values: Mapping[ValueRef, np.ndarray], views: Mapping[str, LayerView]
    ) -> FilterFields:
        """Read the filter.

        Args:
            values: the values of :meth:`refs`.
            views: the views of the layers before this one.

        Returns:
            Source, windows, weights and bias; empty if the filter does not read the map of a layer,
            or its bias differs from position to position.
        """
        operands = [values[ref] for ref in self.operands]
        sliding = self.reading.slide(*operands)
        if sliding is None:
            return {}
        operand, weights = sliding.operand, sliding.weights
        windows: WindowPair | None = None
        if sliding.windows:
            rows, columns = (
                Window(*map(int, (axis.kernel_size, axis.stride, axis.dilation, *axis.padding)))
                for axis in sliding.windows
            )
            windows = rows, columns
        for source in self.inputs:
            if source not in views:
                continue
            maps = views[source].values  # read as they are, or all numbers in one vector
            if np.array_equal(maps if operand.ndim == 3 else maps.ravel(), operand):
                break
        else:
            return {}
        if windows is None and weights is not None:  # a dense layer on all numbers of the map
            h, w, c = maps.shape
            windows, weights = (Window(h, h), Window(w, w)), weights.reshape(h, w, c, -1)
        bias = None
        if weights is not None and self.added is not None:
            addend = self.added.addend()
            value = values[addend] if isinstance(addend, ValueRef) else addend
            everywhere = np.broadcast_to(np.float32(value), shape_of(self.added.ref.var))
            first = [index[:1, :1] if np.ndim(index) > 1 else index for index in self.added.index]
            bias = everywhere[tuple(first)].ravel()
            is_per_channel = np.asarray(value).size <= bias.size
            if not is_per_channel and (everywhere[self.added.index] != bias).any():
                return {}
        return {"source": source, "windows": windows, "weights": weights, "bias": bias}
