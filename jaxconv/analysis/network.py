"""A traced function as a network: its layers and named values, and where they stand."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

from jaxconv.compat import ClosedJaxpr, Jaxpr, JaxprEqn, Var
from jaxconv.errors import Diagnostic, choice, raise_if
from jaxconv.jaxpr.interpreter import body, fresh, shape_of


@dataclass(frozen=True, eq=False)
class Parameter:
    """An array of weights: where it stands among the arguments, and how many numbers it has."""

    path: tuple[str, ...]
    count: int


class ValueRef(NamedTuple):
    """Where a value stands in a trace: one variable of one call.

    Attributes:
        calls: the equations around it, such as jit or scan, the outermost first.
        var: its variable. A function that is called twice may have one jaxpr for both.
    """

    calls: tuple[JaxprEqn, ...]
    var: Var


@dataclass(eq=False)
class Layer:
    """One layer of a trace.

    Attributes:
        kind: "convolution", "product", "pool", "reduction", "join", "unknown" or "input".
        name: of the user's layer, its parameters, its source line, or its primitive.
        eqn: what computes it; None for an input.
        calls: those around ``eqn``, the outermost first.
        ref: its value after the activation; None for an input.
        sources: the layers whose maps it takes.
        times: how often it runs, as the body of a scan does.
        output: shape and dtype after the activation.
        parameters: those that no layer before it used.
        fixed: for each operand whether it is the same for all inputs, as weights are.
        part_of: the layer that it normalises.
        named: whether its name was given with ``checkpoint_name``.
    """

    kind: str
    name: str
    eqn: JaxprEqn | None = None
    ref: ValueRef | None = None
    sources: tuple["Layer", ...] = ()
    times: tuple[Any, ...] = ()
    output: Any = None
    parameters: list[Parameter] = field(default_factory=list)
    fixed: tuple[bool, ...] = ()
    part_of: "Layer | None" = None
    named: bool = False
    calls: tuple[JaxprEqn, ...] = ()

    def whole(self) -> "Layer":
        """The layer itself, or the one it is a part of."""
        return self if self.part_of is None else self.part_of.whole()

    def feeding(self) -> tuple["Layer", ...]:
        """The layers whose maps it takes, each once."""
        return tuple(dict.fromkeys(source.whole() for source in self.sources))

    def rests_on(self, root: "Layer") -> bool:
        """Whether it is ``root`` or made of statistics of it alone."""
        layer = self.whole()
        if layer is root:
            return True
        statistic = layer.kind in ("reduction", "join")
        return statistic and all(source.rests_on(root) for source in layer.sources)

    def join_to(self, root: "Layer") -> None:
        """Become a part of the layer that this and all it is made of rest on."""
        layer = self.whole()
        if layer is root:
            return
        layer.part_of = root
        root.parameters += layer.parameters
        for source in layer.sources:
            source.join_to(root)


@dataclass(eq=False)
class Conditional:
    """Branches of which one runs."""

    branches: list[list["Layer | Conditional"]]


Layers = list[Layer | Conditional]


def flat(layers: Layers) -> Iterator[Layer]:
    """All layers, those of every branch too, that are not parts of others."""
    for entry in layers:
        if isinstance(entry, Conditional):
            yield from chain.from_iterable(map(flat, entry.branches))
        elif entry.part_of is None:
            yield entry


class Tap(NamedTuple):
    """A value that was named with ``checkpoint_name``, and the layer it belongs to, if any."""

    ref: ValueRef
    layer: Layer | None


class Network:
    """What was read of one trace.

    Attributes:
        closed: the trace.
        layers: in the order of computation, with their branches.
        rows: those of all branches, each under a name of its own.
        taps: the named values, each under a name of its own.
        inputs: by name, the variables of the trace that are inputs, not parameters.
        unused: parameters that no layer uses.
    """

    def __init__(
        self,
        closed: ClosedJaxpr,
        layers: Layers,
        taps: dict[str, Tap],
        inputs: Mapping[str, Var],
        unused: Iterable[Parameter],
    ) -> None:
        self.closed = closed
        self.layers = layers
        self.taps = taps
        self.inputs = inputs
        self.unused = list(unused)
        self.rows: dict[str, Layer] = {}
        for layer in flat(layers):
            name = layer.name if layer.named else fresh(layer.name, {**taps, **self.rows})
            self.rows[name] = layer

    def image(self) -> Var:
        """The first input that may be a batch of images, or the first of all.

        Raises:
            ValidationError: the function takes no input.
        """
        raise_if([] if self.inputs else [Diagnostic("the function takes no image.", "pass one.")])
        inputs = list(self.inputs.values())
        return next((var for var in inputs if len(shape_of(var)) > 2), inputs[0])

    def maps(self) -> dict[str, ValueRef]:
        """Where each feature map stands: the named values, and the layers without such a name."""
        found = {name: tap.ref for name, tap in self.taps.items()}
        unnamed = {name: layer for name, layer in self.rows.items() if not layer.named}
        return found | {name: layer.ref for name, layer in unnamed.items() if layer.ref}

    def results(self) -> set[ValueRef]:
        """Where the values stand that the function returns, in the calls that compute them too."""
        return set(_returned(self.closed.jaxpr, self.closed.jaxpr.outvars, ()))

    def name(self, layer: str | int, argument: str = "layer") -> str:
        """Find what a user calls a layer: its name, or its number among the rows.

        Args:
            layer: as the user passes it.
            argument: what the message calls it.

        Raises:
            ValidationError: neither; all names are listed, the nearest first.
        """
        known, rows = self.maps(), [*self.rows]
        if isinstance(layer, str):
            raise_if([] if layer in known else [choice(argument, layer, known)])
            return layer
        number = layer if isinstance(layer, int) and not isinstance(layer, bool) else 0
        raise_if([] if 1 <= number <= len(rows) else [_no_number(argument, layer, len(rows))])
        return rows[number - 1]

    def layer(self, name: str) -> Layer | None:
        """The layer that a name belongs to; None where a named value is of none."""
        return self.taps[name].layer if name in self.taps else self.rows[name]


def _returned(
    jaxpr: Jaxpr, wanted: Sequence[Any], calls: tuple[JaxprEqn, ...]
) -> Iterator[ValueRef]:
    yield from (ValueRef(calls, var) for var in wanted)
    for eqn in jaxpr.eqns:
        inner = body(eqn)
        if inner is not None:
            pairs = zip(eqn.outvars, inner[0].outvars, strict=True)
            within = [var for outer, var in pairs if outer in wanted]
            yield from _returned(inner[0], within, (*calls, eqn))


def _no_number(argument: str, layer: object, count: int) -> Diagnostic:
    wrong = f"{argument} is {layer!r}, which is no layer."
    return Diagnostic(
        wrong, f"pass its name, or its number, 1 to {count}." if count else "name a value."
    )
