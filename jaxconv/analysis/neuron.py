"""One neuron of any network: what it sees, its weights, their sum, and what becomes of it."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxconv.analysis.feature_maps import values_at
from jaxconv.analysis.index_path import Step, follow, names, sum_of
from jaxconv.analysis.network import Layer, Network, ValueRef
from jaxconv.analysis.network_reader import read
from jaxconv.analysis.patches import around, pooled, reader
from jaxconv.analysis.receptive_field import ReceptiveField, receptive_field
from jaxconv.compat import Var
from jaxconv.errors import Diagnostic, ShapeError, ValidationError, public_api, raise_if
from jaxconv.jaxpr.interpreter import shape_of
from jaxconv.jaxpr.patch_reader import Index, MapSize, PatchReader
from jaxconv.prover.check import pure

Box = tuple[tuple[int, int], ...]
AXES = ("x", "y", "z")


@dataclass(frozen=True, eq=False)
class Neuron:
    """One neuron of a feature map, computed by hand and by its network.

    Attributes:
        layer: its name.
        at: its place in the map, (y, x) of an image.
        channel: its feature map.
        image: of the batch.
        kind: "convolution" or "product"; of a pool what it makes of its patch, "max", "min", "sum".
        sources: the layers whose maps it sees.
        patch: (kh, kw, c_in), float64: the numbers that its filter meets. Where it looks into
            padding, or into the holes of a transposed convolution, they are 0; of a pool they are
            what never wins, -inf for a maximum. Of a product (c_in,).
        weights: of its filter, as many as the patch; None for a pool.
        bias: added to the sum; 0.0 where there is none.
        pre: w.p + b, summed by NumPy in float64; None for a pool.
        value: f(w.p + b), or f(max p): what the rest of the layer makes of that sum.
        map_value: the number in the feature map, as the network computed it.
        map: that map: a number for each place, (h, w) of an image.
        box: the pixels of the image outside of which it sees none: for each axis the first, and the
            first behind them, ((top, bottom), (left, right)); None where that is not known.
        then: the names of what the rest of the layer does, such as ("relu",).
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
    box: Box | None

    def __str__(self) -> str:
        place = f" at {self.at}" if self.at else ""
        sides = " x ".join(map(str, self.patch.shape))
        lines = [
            f"{self.layer}, channel {self.channel}{place}",
            f"sees {sides} numbers of {' and '.join(self.sources)}",
            *_boxed(self.box),
            *self._terms(),
            *([f"{_some(self.then)} -> {self.value:.6g}"] if self.then else []),
            f"in the feature map: {self.map_value:.6g}",
        ]
        return "\n  ".join(lines)

    def _terms(self) -> Iterator[str]:
        """The sum, term by term."""
        count = f"{self.patch.size:,} numbers"
        if self.pre is None:
            yield f"the {self.kind} of {count} = {pooled(self.kind, self.patch):.6g}"
            return
        bias = f"; + bias {self.bias:.6g} = {self.pre:.6g}" if self.bias else ""
        yield f"{self.patch.size:,} weights . {count} = {self.pre - self.bias:.6g}{bias}"


def _boxed(box: Box | None) -> Iterator[str]:
    """Where in an image it looks."""
    if box is not None and len(box) == 2:
        (top, bottom), (left, right) = box
        yield f"and so pixels y = {top} to {bottom - 1}, x = {left} to {right - 1} of the image"


def _some(names: Sequence[str]) -> str:
    """Names in a line; of many the first."""
    more = f" and {len(names) - 3} more" if len(names) > 4 else ""
    return ", ".join(names[:3] if more else names) + more


@public_api
def neuron(
    fn: Callable[..., Any],
    *args: Any,
    layer: str | int,
    at: Sequence[int],
    channel: int,
    image: int = 0,
    layout: str | None = None,
) -> Neuron:
    """Take one neuron of a network apart, and compute it by hand.

    A neuron is f(w.p + b): p the numbers that its filter meets in the map before, w the weights, b
    the bias, f what the layer does then, such as batch norm and an activation. The sum is computed
    by NumPy from p, w and b alone; f is the network's own, applied to that sum. The result is the
    number in the feature map, up to rounding.

    Args:
        fn: any JAX function or model; pure, that is, not drawing dropout.
        *args: its arguments, arrays; the last one is the images.
        layer: a convolution, a product or a pool: its name, or its number (from 1), as in
            :func:`summary`.
        at: the neuron's place in the map: (y, x) of an image, (x,) of a signal, () of a product
            that sees all.
        channel: its feature map.
        image: of the batch.
        layout: of the images, as in :func:`receptive_field`; for the box only.

    Returns:
        The neuron; ``print`` it for its sum.

    Raises:
        ShapeError: no such layer, or one without neurons, or inside a loop; a place, a channel or
            an image that the map does not have.

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
    call, given = pure(fn, args)
    network = read(jax.make_jaxpr(call)(*given), given)
    name, found, reading = _layer(network, layer)
    shape = shape_of(reading.eqn.outvars[0])
    at = tuple(at)
    sides = reading.axes.sizes(shape)
    raise_if(_place_diagnostics(name, sides, at, channel, image))
    grid = np.ix_(*map(range, sides.pixels))
    end = network.maps()[name]
    steps, everywhere = (
        follow(network, found, end, image, places, channel) for places in (at, grid)
    )
    number = _number(network, reading, steps, jax.tree.leaves(given), everywhere[-1].place)
    rows = {row: title for title, row in network.rows.items()}
    sources = tuple(rows.get(source, source.name) for source in found.feeding())
    sees = functools.partial(receptive_field, fn, *args, layer=name, layout=layout)
    box = _box(sees, at, sides.pixels)
    return Neuron(name, at, channel, image, reading.kind, sources, **number, box=box)


def _number(
    network: Network,
    reading: PatchReader,
    steps: Sequence[Step],
    leaves: Sequence[Any],
    everywhere: Index,
) -> dict[str, Any]:
    """Compute a neuron by hand, and what its network makes of that and of its own sum."""
    first, last = steps[0], steps[-1]
    summed = sum_of(steps[1:]) or first
    operands = [ValueRef(first.ref.calls, variable) for variable in reading.operands]
    added = _added(summed)
    values = _values(network, [*operands, *added, summed.ref, last.ref], leaves)
    patch, weights = reading.read(first.place, *(values[ref] for ref in operands))
    bias = _bias(summed, values)
    pre = None if weights is None else float((patch * weights).sum() + bias)
    changed = values[summed.ref].copy()
    changed[summed.place] = pooled(reading.kind, patch) if pre is None else pre
    then = _values(network, [last.ref], leaves, {summed.ref: changed})
    return {
        "patch": patch,
        "weights": weights,
        "bias": bias,
        "pre": pre,
        "value": float(then[last.ref][last.place]),
        "map_value": float(values[last.ref][last.place]),
        "map": np.asarray(values[last.ref][everywhere], float),
        "then": names(steps[steps.index(summed) + 1 :], len(summed.ref.calls)),
    }


def _values(
    network: Network,
    refs: Iterable[ValueRef],
    leaves: Sequence[Any],
    instead: Mapping[ValueRef, Any] | None = None,
) -> dict[ValueRef, np.ndarray]:
    """Values inside a network by where they stand."""
    names = {str(number): ref for number, ref in enumerate(dict.fromkeys(refs))}
    found = values_at(network, names, leaves, instead)
    return {names[number]: np.asarray(value) for number, value in found.items()}


def _added(step: Step) -> list[ValueRef]:
    """Where the bias is that a step adds, if it is an array."""
    return [ValueRef(step.ref.calls, step.fixed)] if isinstance(step.fixed, Var) else []


def _bias(step: Step, values: Mapping[ValueRef, np.ndarray]) -> float:
    """The one that a step adds to the number; 0.0 where it adds none."""
    refs = _added(step)
    added = values[refs[0]] if refs else getattr(step.fixed, "val", 0.0)
    return float(np.broadcast_to(added, shape_of(step.ref.var))[step.place])


def _layer(network: Network, layer: str | int) -> tuple[str, Layer, PatchReader]:
    """The layer that a user means, and how to read it."""
    known = [name for name in network.maps() if _reading(network, name)]
    nothing = "the function has no convolution, product or pool, and so no neurons."
    raise_if([] if known else [Diagnostic(nothing, "pass a network that has one.")])
    name = network.name(layer)
    found, reading = network.layer(name), _reading(network, name)
    if found is None or reading is None:
        kind = f"a {found.kind}" if found else "the value of no one layer"
        one_of = ", ".join(map(repr, known))
        wrong = f"{name} is {kind}, and has no neurons with a patch of their own."
        raise ValidationError([Diagnostic(wrong, f"pass layer= one of {one_of}.")])
    loop = around(found.calls)
    wrong = f"{name} is inside {loop}, where its neurons have no one value."
    raise_if([Diagnostic(wrong, "pass the body as a function of its own.")] if loop else [])
    return name, found, reading


def _reading(network: Network, name: str) -> PatchReader | None:
    layer = network.layer(name)
    return None if layer is None else reader(layer)


def _place_diagnostics(
    name: str, sides: MapSize, at: Index, channel: int, image: int
) -> Iterator[Diagnostic]:
    """What is wrong with a neuron's place in a map."""
    axes = [AXES[n] if n < len(AXES) else f"axis {n}" for n in range(len(sides.pixels))][::-1]
    size = f"has a map of {' x '.join(map(str, sides.pixels))}" if axes else "sees all at once"
    wrong = f"at is {at}, but {name} {size}."
    if len(at) != len(axes):
        yield Diagnostic(wrong, f"pass at=({', '.join(axes)}{',' * (len(axes) == 1)}).")
    elif not all(map(_within, at, sides.pixels)):
        ends = (f"{axis} from 0 to {n - 1}" for axis, n in zip(axes, sides.pixels, strict=True))
        yield Diagnostic(wrong, f"pass {' and '.join(ends)}.")
    given = {"channel": (channel, sides.channels), "image": (image, sides.images)}
    for argument, (number, count) in given.items():
        if not _within(number, count):
            some = f"{count} {argument}s" if count > 1 else f"one {argument}"
            wrong = f"{argument} is {number}, but {name} has {some}."
            yield Diagnostic(wrong, f"pass {argument}={' from 0 to ' * (count > 1)}{count - 1}.")


def _within(number: Any, count: int) -> bool:
    whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
    return whole and number in range(count)


def _box(found: Callable[[], ReceptiveField], at: Index, pixels: Index) -> Box | None:
    """The pixels that a neuron sees; None where that is not known.

    Args:
        found: finds the receptive field of its layer.
        at: its place.
        pixels: the neurons along each axis of its map; a map of others shows a wrong layout.
    """
    try:
        field = found()
        return field.box(*at) if field.map == pixels else None
    except ShapeError:
        return None
