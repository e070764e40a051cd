"""A traced function as a network: its layers and named values, and references to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from jaxconv.compat import ClosedJaxpr, JaxprEqn, Var
from jaxconv.errors import Diagnostic, choice, raise_if, shown
from jaxconv.jaxpr.interpreter import FlowKind, Interpreter, Scope, ValueRef, shape_of


@dataclass(frozen=True, eq=False)
class Parameter:
    """An array of weights: its path among the arguments, and its number of elements."""

    path: tuple[str, ...]
    count: int


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer of a trace.

    Attributes:
        kind: "convolution", "product", "pool", "reduction", "join", "lookup", "unknown" or
            "input".
        name: unique among the rows of its network.
        eqn: what computes it; None for an input.
        calls: those around ``eqn``, the outermost first.
        ref: its value after the activation; None for an input.
        sources: the layers whose maps it takes, each once.
        times: how often each scan around it runs.
        output: shape and dtype after the activation.
        parameters: those that no layer before it used.
        fixed: for each operand whether it is the same for all inputs, as weights are.
        earlier_products: those of the same resize that JAX computes before ``eqn``.
    """

    kind: str
    name: str
    output: Any
    eqn: JaxprEqn | None = None
    calls: tuple[JaxprEqn, ...] = ()
    ref: ValueRef | None = None
    sources: tuple["Layer", ...] = ()
    times: tuple[Any, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    fixed: tuple[bool, ...] = ()
    earlier_products: tuple[JaxprEqn, ...] = ()


@dataclass(frozen=True, eq=False)
class Conditional:
    """Branches, one of which runs; each has layers, and conditionals inside it."""

    branches: "tuple[Layers, ...]"


Layers = tuple[Layer | Conditional, ...]


class NamedValue(NamedTuple):
    """A value that was named with ``checkpoint_name``, and the layer it belongs to, if any."""

    ref: ValueRef
    layer: Layer | None


@dataclass(frozen=True, eq=False)
class Network:
    """One trace, read as a network of layers.

    Attributes:
        closed: the trace.
        layers: in the order of computation, with their branches.
        rows: those of all branches, by name.
        named_values: the values that the function names, by name.
        inputs: by name, the variables of the trace that are inputs, not parameters.
        unused: parameters that no layer uses.
        normalised: the names of layers whose maps are normalised by their own statistics.
    """

    closed: ClosedJaxpr
    layers: Layers
    rows: Mapping[str, Layer]
    named_values: Mapping[str, NamedValue]
    inputs: Mapping[str, Var]
    unused: tuple[Parameter, ...]
    normalised: frozenset[str] = frozenset()

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
        named = {name: value.ref for name, value in self.named_values.items()}
        return named | {
            name: layer.ref for name, layer in self.rows.items() if layer.ref and name not in named
        }

    def results(self) -> set[ValueRef]:
        """Where the values stand that the function returns, in the calls that compute them too."""
        jaxpr = self.closed.jaxpr
        nothing = [frozenset[ValueRef]()] * len(jaxpr.invars)
        return {*chain.from_iterable(_Names().run(jaxpr, self.closed.consts, nothing))}

    def name(self, layer: str | int, argument: str = "layer") -> str:
        """Find a layer by its name, or by its number among the rows.

        Args:
            layer: as the user passes it.
            argument: what the message calls it.

        Returns:
            Its name.

        Raises:
            ValidationError: neither; all names are listed, the nearest first.
        """
        known, rows = self.maps(), [*self.rows]
        if isinstance(layer, str):
            raise_if([] if layer in known else [choice(argument, layer, known)])
            return layer
        number = layer if isinstance(layer, int) and not isinstance(layer, bool) else 0
        if not 1 <= number <= len(rows):
            fix = f"pass its name, or its number, 1 to {len(rows)}." if rows else "name a value."
            raise_if([Diagnostic(f"{argument} is {shown(layer)}, which is not a layer.", fix)])
        return rows[number - 1]

    def layer(self, name: str) -> Layer | None:
        """Find the layer that a name belongs to.

        Args:
            name: one of :meth:`maps`.

        Returns:
            The layer; None for a named value that is not the map of one layer.
        """
        named = self.named_values.get(name)
        return self.rows[name] if named is None else named.layer


class _Names(Interpreter[frozenset[ValueRef]]):
    """Finds all variables that stand for a value, in the calls that compute it, too."""

    enters = frozenset({FlowKind.CALL})

    def constant(self, const: Any) -> frozenset[ValueRef]:
        del const
        return frozenset()

    def equation(
        self, eqn: JaxprEqn, inputs: Sequence[frozenset[ValueRef]], scope: Scope
    ) -> Sequence[frozenset[ValueRef]]:
        del inputs, scope
        return [frozenset()] * len(eqn.outvars)

    def bind(
        self, variables: Sequence[Var], values: Sequence[frozenset[ValueRef]], scope: Scope
    ) -> Sequence[frozenset[ValueRef]]:
        pairs = zip(variables, values, strict=True)
        return [names | {ValueRef(scope.calls, var)} for var, names in pairs]
