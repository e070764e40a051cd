"""One neuron of any network: its patch, its weights, their sum, and its value in the map."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxconv.analysis.feature_maps import TracedCall, trace_call
from jaxconv.analysis.index_path import PathStep, addition_of_bias, follow, operation_names
from jaxconv.analysis.network import Layer, Network
from jaxconv.analysis.patches import around, pooled, reader
from jaxconv.analysis.receptive_field import receptive_field
from jaxconv.display import Displayed, Grid, Grids, Note, Part, Title
from jaxconv.errors import (
    Diagnostic,
    ShapeError,
    ValidationError,
    public_api,
    raise_if,
    raises_shape_error,
    shown,
)
from jaxconv.jaxpr.interpreter import ValueRef, shape_of
from jaxconv.jaxpr.patch_reader import Index, MapSize, PatchReader

AxisBounds = tuple[tuple[int, int], ...]
AXES = ("x", "y", "z")
MAX_GRID_SIDE = 7  # of a patch whose numbers a notebook shows
MAX_GRIDS = 3  # input channels whose numbers it shows


@dataclass(frozen=True, eq=False)
class Neuron(Displayed):
    """One neuron of a feature map, computed by hand and by its network.

    Attributes:
        layer: its name.
        at: its position in the map, (y, x) of an image.
        channel: its feature map.
        image: of the batch.
        kind: "convolution" or "product"; of a pool what it makes of its patch, "max", "min", "sum".
        sources: the layers whose maps it sees.
        patch: (kh, kw, c_in), float64: the numbers under its filter. On padding, or in the gaps of
            a transposed convolution, they are 0; for a pool they are a value that cannot change the
            result, -inf for a maximum. For a matrix product (c_in,).
        weights: of its filter, in the shape of the patch; None for a pool.
        bias: added to the sum; 0.0 where there is none.
        pre: w.p + b, summed by NumPy in float64; None for a pool.
        value: f(w.p + b), or f(max p): the rest of the layer applied to that sum.
        map_value: the number in the feature map, as the network computed it.
        map: that map, one number per position: (h, w) for an image.
        box: the box of image pixels that it can see, half-open along each axis:
            ((top, bottom), (left, right)); None where that is not known.
        then: the operations of the rest of the layer, such as ("relu",).
    """

    layer: str
    at: Index
    channel: int
    image: int
    kind: str
    sources: tuple[str, ...]
    patch: np.ndarray
    weights: np.ndarray | None
    bias: float
    pre: float | None
    value: float
    map_value: float
    map: np.ndarray
    then: tuple[str, ...]
    box: AxisBounds | None

    def __str__(self) -> str:
        position = f" at {self.at}" if self.at else ""
        lines = [f"{self.layer}, channel {self.channel}{position}"]
        sides = " x ".join(map(str, self.patch.shape))
        lines.append(f"sees {sides} numbers of {' and '.join(self.sources)}")
        if self.box is not None and len(self.box) == 2:
            (top, bottom), (left, right) = self.box
            pixels = f"y = {top} to {bottom - 1}, x = {left} to {right - 1}"
            lines.append(f"and so pixels {pixels} of the image")
        count = f"{self.patch.size:,} numbers"
        if self.pre is None:
            lines.append(f"the {self.kind} of {count} = {pooled(self.kind, self.patch):.6g}")
        else:
            bias = f"; + bias {self.bias:.6g} = {self.pre:.6g}" if self.bias else ""
            product = f"{self.pre - self.bias:.6g}"
            lines.append(f"{self.patch.size:,} weights . {count} = {product}{bias}")
        if self.then:
            many = len(self.then) > 4
            names = ", ".join(self.then[:3] if many else self.then)
            more = f" and {len(self.then) - 3} more" if many else ""
            lines.append(f"{names}{more} -> {self.value:.6g}")
        return "\n  ".join([*lines, f"in the feature map: {self.map_value:.6g}"])

    def display_parts(self) -> Iterator[Part]:
        """What a notebook shows: the text, and the numbers of the channels that count most."""
        title, *lines = str(self).splitlines()
        yield Title(title)
        yield Note("\n".join(line.strip() for line in lines))
        if self.patch.ndim not in (2, 3) or max(self.patch.shape[:-1]) > MAX_GRID_SIDE:
            return
        sides = (*(1, *self.patch.shape[:-1])[-2:], self.patch.shape[-1])
        patch = self.patch.reshape(sides)
        if self.weights is None:  # a pool reads one map
            yield Grids((Grid("patch p", patch[..., 0].tolist()),))
            return
        weights = self.weights.reshape(sides)
        sums = (patch * weights).sum((0, 1))
        for channel in np.argsort(-np.abs(sums), kind="stable")[:MAX_GRIDS]:
            p, w = patch[..., channel], weights[..., channel]
            captions = (
                f"patch p of channel {channel}",
                "filter w",
                f"p * w, sum {(p * w).sum():.4g}",
            )
            pairs = zip(captions, (p, w, p * w), strict=True)
            yield Grids(tuple(Grid(caption, values.tolist()) for caption, values in pairs))


@public_api
def neuron(
    fn: Callable[..., Any],
    *args: Any,
    layer: str | int,
    at: Sequence[int],
    channel: int,
    image: int = 0,
    layout: str | None = None,
    **named: Any,
) -> Neuron:
    """Take one neuron of a network apart, and compute it by hand.

    A neuron is f(w.p + b), where p is the patch of the map before that its filter covers, w the
    weights, b the bias, and f the rest of the layer, such as batch norm and an activation. NumPy
    computes the sum from p, w and b alone; f is the network's own, applied to that sum. The result
    is the number in the feature map, up to rounding.

    Args:
        fn: any JAX function or model; pure, that is, without dropout.
        *args: its arguments, arrays; the last one is the images.
        layer: a convolution, a matrix product or a pool: its name, or its number (from 1), as in
            :func:`summary`.
        at: the neuron's position in the map: (y, x) for an image, (x,) for a signal, () for a dense
            layer, which sees everything.
        channel: its feature map.
        image: of the batch.
        layout: of the images, as in :func:`receptive_field`; used for the box only.
        **named: its keyword arguments.

    Returns:
        The neuron; ``print`` shows its sum.

    Raises:
        ShapeError: the layer does not exist, has no neurons, or is inside a loop; or the map has no
            such position, channel or image.

    Example:
        >>> import jax, jaxconv as jc
        >>> from flax import nnx
        >>> model = jc.VGG([(8, 8), (16,)], head=None, rngs=nnx.Rngs(0))
        >>> x = jax.random.normal(jax.random.key(0), (1, 32, 32, 3))
        >>> n = jc.neuron(model, x, layer="conv1_2", at=(5, 0), channel=3)
        >>> n.patch.shape, n.weights.shape, bool(n.pre == (n.weights * n.patch).sum() + n.bias)
        ((3, 3, 8), (3, 3, 8), True)
        >>> abs(n.value - n.map_value) < 1e-5
        True
    """
    plan = NeuronPlan.of(fn, *args, layer=layer, at=at, channel=channel, image=image, named=named)
    number = plan.by_hand()
    sources = tuple(source.name for source in plan.wanted.sources)
    box = None
    with contextlib.suppress(ShapeError):  # what it sees may be unknown
        field = receptive_field(fn, *args, layer=plan.name, layout=layout, **named)
        # Else the layout is wrong.
        box = field.box(*plan.at) if field.map == plan.sides.pixels else None
    kind = plan.reading.kind
    return Neuron(plan.name, plan.at, channel, image, kind, sources, **number, box=box)


@dataclass(frozen=True)
class NeuronPlan:
    """Where the numbers of a neuron are in a network, before anything is computed.

    Attributes:
        traced: the network.
        name: of the layer.
        wanted: the layer.
        reading: how it reads its operands.
        at: the neuron's position.
        steps: from the sum to the neuron's place in the feature map.
        everywhere: an index of the whole feature map, one number per position.
    """

    traced: TracedCall
    name: str
    wanted: Layer
    reading: PatchReader
    at: Index
    steps: Sequence[PathStep]
    everywhere: Index

    @classmethod
    @raises_shape_error("neuron")
    def of(
        cls,
        fn: Callable[..., Any],
        *args: Any,
        layer: str | int,
        at: Sequence[int],
        channel: int,
        image: int = 0,
        named: Mapping[str, Any] | None = None,
    ) -> "NeuronPlan":
        """Find a neuron in a network.

        Args:
            fn: as :func:`neuron` takes it.
            *args: likewise, or their shapes.
            layer: likewise.
            at: likewise.
            channel: likewise.
            image: likewise.
            named: keyword arguments of the function.

        Raises:
            ShapeError: as :func:`neuron` does.
        """
        traced = trace_call(fn, *args, **(named or {}))
        name, wanted, reading = _readable_layer(traced.network, layer)
        at, sides = read_position(at), reading.axes.sizes(shape_of(reading.eqn.outvars[0]))
        raise_if(_place_diagnostics(name, sides, at, channel, image))
        grid = np.ix_(*map(range, sides.pixels))
        end = traced.network.maps()[name]
        steps, everywhere = (
            follow(traced.network, wanted, end, image, positions, channel)
            for positions in (at, grid)
        )
        return cls(traced, name, wanted, reading, at, steps, everywhere[-1].index)

    @property
    def sides(self) -> MapSize:
        """The size of the layer's map."""
        return self.reading.axes.sizes(shape_of(self.reading.eqn.outvars[0]))

    @property
    def summed(self) -> PathStep:
        """The step after which the number is w.p + b."""
        return addition_of_bias(self.steps[1:]) or self.steps[0]

    @property
    def operands(self) -> list[ValueRef]:
        """What the layer reads: a map, and weights if it has any."""
        return [ValueRef(self.steps[0].ref.calls, variable) for variable in self.reading.operands]

    def refs(self) -> list[ValueRef]:
        """All values that are needed."""
        addend = self.summed.addend()
        added = [addend] if isinstance(addend, ValueRef) else []
        return [*self.operands, *added, self.summed.ref, self.steps[-1].ref]

    def peak_bytes(self) -> int:
        """Estimate the memory that :meth:`by_hand` takes."""
        return self.traced.peak_bytes(self.refs(), kept=[self.summed.ref])

    def by_hand(self) -> dict[str, Any]:
        """Compute the neuron by hand, and apply the rest of its layer to that sum.

        Returns:
            The fields of a :class:`Neuron` that are numbers.
        """
        summed, last = self.summed, self.steps[-1]
        seen = self._seen()
        patch, weights, bias = seen["patch"], seen["weights"], seen["bias"]
        pre = None if weights is None else float((patch * weights).sum() + bias)
        value = seen.pop("summed")
        number = np.asarray(pooled(self.reading.kind, patch) if pre is None else pre)
        changed = value.at[summed.index].set(number.astype(value.dtype))
        del value  # the memory of a map
        (then,) = self.traced.reduced(
            [last.ref], lambda _, map_: float(np.asarray(map_)[last.index]), {summed.ref: changed}
        ).values()
        return {
            "patch": patch,
            "weights": weights,
            "bias": bias,
            "pre": pre,
            "value": then,
            "map_value": seen["map_value"],
            "map": seen["map"],
            "then": operation_names(
                self.steps[self.steps.index(summed) + 1 :], len(summed.ref.calls)
            ),
        }

    def _seen(self) -> dict[str, Any]:
        """Run the network up to the neuron's map, and keep the numbers that the neuron needs."""
        summed, last, operands = self.summed, self.steps[-1], self.operands
        addend, shape = summed.addend(), shape_of(summed.ref.var)
        waiting: dict[ValueRef, np.ndarray] = {}  # operands, until all of them are there
        seen: dict[str, Any] = {"bias": 0.0}

        def add(bias: Any) -> None:
            seen["bias"] = float(np.broadcast_to(bias, shape)[summed.index])

        if not isinstance(addend, ValueRef | None):
            add(addend)

        def reduce(ref: ValueRef, value: Any) -> None:
            array = np.asarray(value)
            if ref in operands:
                waiting[ref] = array
                if waiting.keys() >= {*operands}:
                    read = self.reading.read(self.steps[0].index, *map(waiting.pop, operands))
                    seen["patch"], seen["weights"] = read
            if isinstance(addend, ValueRef) and ref == addend:
                add(array)
            if ref == summed.ref:
                seen["summed"] = jnp.asarray(value)
            if ref == last.ref:
                seen["map_value"] = float(array[last.index])
                seen["map"] = np.array(array[self.everywhere], float)

        self.traced.reduced(self.refs(), reduce)
        return seen


def _readable_layer(network: Network, layer: str | int) -> tuple[str, Layer, PatchReader]:
    """The layer that a user means, and how to read it."""
    known = [name for name in network.maps() if _reading(network, name)]
    if not known:
        wrong = "the function has no convolution, product or pool, and so no neurons."
        raise ValidationError([Diagnostic(wrong, "pass a network that has one.")])
    name = network.name(layer)
    wanted, reading = network.layer(name), _reading(network, name)
    if wanted is None or reading is None:
        kind = f"a {wanted.kind}" if wanted else "the value of no one layer"
        one_of = ", ".join(map(repr, known))
        wrong = f"{name} is {kind}, and has no neurons with a patch of their own."
        raise ValidationError([Diagnostic(wrong, f"set layer= to one of {one_of}.")])
    loop = around(wanted.calls)
    if loop:
        wrong = f"{name} is inside {loop}, where its neurons have no single value."
        raise ValidationError([Diagnostic(wrong, "pass the body as a function of its own.")])
    return name, wanted, reading


def _reading(network: Network, name: str) -> PatchReader | None:
    layer = network.layer(name)
    return None if layer is None else reader(layer)


def read_position(at: Any) -> tuple[Any, ...]:
    """Read the position of a neuron, of which it is checked later that it is in the map.

    Args:
        at: what was passed.

    Raises:
        ValidationError: not a sequence.
    """
    if isinstance(at, Sequence) or (isinstance(at, np.ndarray) and at.ndim == 1):
        return tuple(int(n) if isinstance(n, np.integer) else n for n in at)
    wrong = f"at is {shown(at)}, but must have one whole number for each spatial axis."
    raise ValidationError([Diagnostic(wrong, "pass at=(y, x), or at=(x,) for a signal.")])


def _place_diagnostics(
    name: str, sides: MapSize, at: Index, channel: int, image: int
) -> Iterator[Diagnostic]:
    """What is wrong with a neuron's place in a map."""
    axes = [AXES[n] if n < len(AXES) else f"axis {n}" for n in range(len(sides.pixels))][::-1]
    size = f"has a map of {' x '.join(map(str, sides.pixels))}" if axes else "sees all at once"
    wrong = f"at is {shown(at)}, but {name} {size}."
    if len(at) != len(axes):
        yield Diagnostic(wrong, f"pass at=({', '.join(axes)}{',' * (len(axes) == 1)}).")
    elif not all(map(_is_index, at, sides.pixels)):
        whole = all(map(_is_whole, at))
        wrong = wrong if whole else f"at is {shown(at)}, but must have an int for each axis."
        ends = (f"{axis} from 0 to {n - 1}" for axis, n in zip(axes, sides.pixels, strict=True))
        yield Diagnostic(wrong, f"pass {'' if whole else 'ints, '}{' and '.join(ends)}.")
    given = {"channel": (channel, sides.channels), "image": (image, sides.images)}
    for argument, (number, count) in given.items():
        if not _is_index(number, count):
            some = f"{count} {argument}s" if count > 1 else f"one {argument}"
            problem = f"{name} has {some}" if _is_whole(number) else "must be an int"
            wrong = f"{argument} is {shown(number)}, but {problem}."
            yield Diagnostic(wrong, f"pass {argument}={' from 0 to ' * (count > 1)}{count - 1}.")


def _is_index(number: Any, count: int) -> bool:
    return _is_whole(number) and number in range(count)


def _is_whole(number: Any) -> bool:
    return isinstance(number, int | np.integer) and not isinstance(number, bool)
