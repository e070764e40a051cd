"""One neuron of any network: what it sees, its weights, their sum, and what becomes of it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.extend import core

from jaxconv.inspect.features import values_at
from jaxconv.inspect.flow import read
from jaxconv.inspect.network import Layer, Network, Spot
from jaxconv.inspect.patches import Index, Reading, Sides, pooled, reader
from jaxconv.inspect.trail import Step, follow, names, sum_of
from jaxconv.shapes.errors import Fact, Mismatch, door, refuse_if
from jaxconv.shapes.proof import pure
from jaxconv.shapes.traced import shape_of

LOOPS = {"scan": "a scan", "while": "a while loop", "cond": "a branch"}
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
    then: tuple[str, ...]

    def __str__(self) -> str:
        place = f" at {self.at}" if self.at else ""
        sides = " x ".join(map(str, self.patch.shape))
        lines = [
            f"{self.layer}, channel {self.channel}{place}",
            f"sees {sides} numbers of {' and '.join(self.sources)}",
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


def _some(names: Sequence[str]) -> str:
    """Names in a line; of many the first."""
    more = f" and {len(names) - 3} more" if len(names) > 4 else ""
    return ", ".join(names[:3] if more else names) + more


@door
def neuron(
    fn: Callable[..., Any],
    *args: Any,
    layer: str | int,
    at: Sequence[int],
    channel: int,
    image: int = 0,
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
    refuse_if(_place_facts(name, reading.frame.sides(shape), at, channel, image))
    place = reading.frame.place(shape, image, at, channel)
    first = Step(reading.eqn, Spot(found.calls, reading.eqn.outvars[0]), place, None)
    steps = follow(network.closed.jaxpr, first, network.maps()[name])
    number = _number(network, reading, steps, jax.tree.leaves(given))
    rows = {row: title for title, row in network.rows.items()}
    sources = tuple(rows.get(source, source.name) for source in found.feeding())
    return Neuron(name, at, channel, image, reading.kind, sources, **number)


def _number(
    network: Network, reading: Reading, steps: Sequence[Step], leaves: Sequence[Any]
) -> dict[str, Any]:
    """Compute a neuron by hand, and what its network makes of that and of its own sum."""
    first, last = steps[0], steps[-1]
    summed = sum_of(steps[1:]) or first
    operands = [Spot(first.spot.calls, variable) for variable in reading.operands]
    added = _added(summed)
    values = _values(network, [*operands, *added, summed.spot, last.spot], leaves)
    patch, weights = reading.look(first.place, *(values[spot] for spot in operands))
    bias = _bias(summed, values)
    pre = None if weights is None else float((patch * weights).sum() + bias)
    changed = values[summed.spot].copy()
    changed[summed.place] = pooled(reading.kind, patch) if pre is None else pre
    then = _values(network, [last.spot], leaves, {summed.spot: changed})
    return {
        "patch": patch,
        "weights": weights,
        "bias": bias,
        "pre": pre,
        "value": float(then[last.spot][last.place]),
        "map_value": float(values[last.spot][last.place]),
        "then": names(steps[steps.index(summed) + 1 :], len(summed.spot.calls)),
    }


def _values(
    network: Network,
    spots: Iterable[Spot],
    leaves: Sequence[Any],
    instead: Mapping[Spot, Any] | None = None,
) -> dict[Spot, np.ndarray]:
    """Values inside a network by where they stand."""
    names = {str(number): spot for number, spot in enumerate(dict.fromkeys(spots))}
    found = values_at(network, names, leaves, instead)
    return {names[number]: np.asarray(value) for number, value in found.items()}


def _added(step: Step) -> list[Spot]:
    """Where the bias is that a step adds, if it is an array."""
    return [Spot(step.spot.calls, step.fixed)] if isinstance(step.fixed, core.Var) else []


def _bias(step: Step, values: Mapping[Spot, np.ndarray]) -> float:
    """The one that a step adds to the number; 0.0 where it adds none."""
    spots = _added(step)
    added = values[spots[0]] if spots else getattr(step.fixed, "val", 0.0)
    return float(np.broadcast_to(added, shape_of(step.spot.var))[step.place])


def _layer(network: Network, layer: str | int) -> tuple[str, Layer, Reading]:
    """The layer that a user means, and how to read it."""
    known = [name for name in network.maps() if _reading(network, name)]
    nothing = "the function has no convolution, product or pool, and so no neurons."
    refuse_if([] if known else [Fact(nothing, "pass a network that has one.")])
    name = network.name(layer)
    found, reading = network.layer(name), _reading(network, name)
    if found is None or reading is None:
        kind = f"a {found.kind}" if found else "the value of no one layer"
        one_of = ", ".join(map(repr, known))
        wrong = f"{name} is {kind}, and has no neurons with a patch of their own."
        raise Mismatch([Fact(wrong, f"pass layer= one of {one_of}.")])
    around = next((call.primitive.name for call in found.calls if call.primitive.name in LOOPS), "")
    wrong = f"{name} is inside {LOOPS.get(around)}, where its neurons have no one value."
    refuse_if([Fact(wrong, "pass the body as a function of its own.")] if around else [])
    return name, found, reading


def _reading(network: Network, name: str) -> Reading | None:
    layer = network.layer(name)
    return None if layer is None else reader(layer)


def _place_facts(name: str, sides: Sides, at: Index, channel: int, image: int) -> Iterator[Fact]:
    """What is wrong with a neuron's place in a map."""
    axes = [AXES[n] if n < len(AXES) else f"axis {n}" for n in range(len(sides.pixels))][::-1]
    size = f"has a map of {' x '.join(map(str, sides.pixels))}" if axes else "sees all at once"
    wrong = f"at is {at}, but {name} {size}."
    if len(at) != len(axes):
        yield Fact(wrong, f"pass at=({', '.join(axes)}{',' * (len(axes) == 1)}).")
    elif not all(map(_within, at, sides.pixels)):
        ends = (f"{axis} from 0 to {n - 1}" for axis, n in zip(axes, sides.pixels, strict=True))
        yield Fact(wrong, f"pass {' and '.join(ends)}.")
    given = {"channel": (channel, sides.channels), "image": (image, sides.images)}
    for argument, (number, count) in given.items():
        if not _within(number, count):
            some = f"{count} {argument}s" if count > 1 else f"one {argument}"
            wrong = f"{argument} is {number}, but {name} has {some}."
            yield Fact(wrong, f"pass {argument}={' from 0 to ' * (count > 1)}{count - 1}.")


def _within(number: Any, count: int) -> bool:
    whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
    return whole and number in range(count)
