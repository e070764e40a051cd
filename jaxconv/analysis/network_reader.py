"""Read a jaxpr as layers, and which feeds which.

A layer is a convolution, a matrix product, a pool, a reduction, or a join of branches. Whatever
follows one and needs nothing of another, such as a bias, batch norm or an activation, belongs to
it. So do the statistics with which it is normalised: a mean that is only put back into the map it
was taken of is no layer.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxconv.analysis.network import Conditional, Layer, Layers, Network, Parameter, Tap, ValueRef
from jaxconv.compat import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var
from jaxconv.jaxpr.interpreter import body, fresh, shape_of
from jaxconv.jaxpr.primitives import record_of
from jaxconv.prover.conditions import equations, inside
from jaxconv.source import origin_of_equation
from jaxconv.symbolic.specs import Spec


@dataclass(frozen=True)
class Value:
    """What a value in a jaxpr is made of.

    Attributes:
        layers: of which it is the output.
        parameters: that went into it and belong to no layer yet.
        whole: it has every number of its layer once, perhaps in another order.
    """

    layers: tuple[Layer, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    whole: bool = True

    def is_whole(self) -> bool:
        """Whether it has every number of its layers, and is no statistic of them."""
        return self.whole and all(layer.part_of is None for layer in self.layers)


@dataclass(frozen=True)
class Place:
    """Where the equations that are read stand.

    Attributes:
        into: the list of layers they add to.
        times: how often they run: the lengths of the scans around them.
        calls: the calls around them, the outermost first.
    """

    into: Layers
    times: tuple[Any, ...] = ()
    calls: tuple[JaxprEqn, ...] = ()

    def name(self, eqn: JaxprEqn, parameters: Iterable[Parameter]) -> str:
        """The layer of the user's that an equation is; else its parameters, else its line."""
        origins = [origin_of_equation(step) for step in (eqn, *self.calls[::-1])]
        layer = next((origin.layer for origin in origins if origin.layer), "")
        home = ".".join(_shared([parameter.path[:-1] for parameter in parameters]))
        if not re.search(r"[^\W\d]", home):  # of a list of parameters only the number is known
            home = ""
        if home.endswith(f".{layer}") or (home and "[" in layer):  # it says which of the blocks
            return home
        return layer or home or str(origins[0]) or eqn.primitive.name


def _shared(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """What paths have in common at their beginning."""
    found = ()
    for steps in zip(*paths, strict=False):
        if len(set(steps)) > 1:
            break
        found += steps[:1]
    return found


@dataclass
class Reader:
    """Reads the equations of one trace in order, and keeps what belongs to which layer."""

    claimed: set[Parameter] = field(default_factory=set)
    taps: dict[str, Tap] = field(default_factory=dict)
    constants: dict[int, Value] = field(default_factory=dict)

    def walk(
        self, jaxpr: Jaxpr, consts: Sequence[Any], inputs: Sequence[Value], place: Place
    ) -> list[Value]:
        """Read a jaxpr; what its results are made of."""
        values: dict[Any, Value] = dict(zip(jaxpr.invars, inputs, strict=True))
        for variable, const in zip(jaxpr.constvars, consts, strict=True):
            values[variable] = self._constant(const)

        def value(atom: Any) -> Value:
            return Value() if isinstance(atom, Literal) else values[atom]

        for eqn in jaxpr.eqns:
            outputs = self._apply(eqn, [value(atom) for atom in eqn.invars], place)
            values.update(zip(eqn.outvars, outputs, strict=True))
        return [value(atom) for atom in jaxpr.outvars]

    def _constant(self, array: Any) -> Value:
        """A closed-over array; where several calls close over it, it is one."""
        if id(array) not in self.constants:
            learnt = jnp.issubdtype(jnp.result_type(array), jnp.inexact)
            found = (Parameter((), prod(jnp.shape(array))),) if learnt else ()
            self.constants[id(array)] = Value((), found)
        return self.constants[id(array)]

    def _apply(self, eqn: JaxprEqn, inputs: list[Value], place: Place) -> list[Value]:
        inner = body(eqn)
        if inner is not None:
            calls = (*place.calls, eqn)
            return self.walk(*inner, inputs, replace(place, calls=calls))
        name = eqn.primitive.name
        if name in LOOPS:
            return LOOPS[name](self, eqn, inputs, place)
        kind = _kind(eqn)
        always = kind == "unknown" or record_of(eqn).macs is not None
        if kind and (always or any(value.layers for value in inputs)):
            output = self._layer(kind, eqn, inputs, place)
        else:
            output = self._cheap(eqn, inputs, place)
        return [output] * len(eqn.outvars)

    def _layer(self, kind: str, eqn: JaxprEqn, inputs: Sequence[Value], place: Place) -> Value:
        """A new layer that takes these."""
        layer = Layer(
            kind,
            place.name(eqn, chain.from_iterable(v.parameters for v in inputs if not v.layers)),
            eqn,
            ValueRef(place.calls, eqn.outvars[0]),
            tuple(chain.from_iterable(value.layers for value in inputs)),
            place.times,
            eqn.outvars[0].aval,
            fixed=tuple(not value.layers for value in inputs),
            calls=place.calls,
        )
        self._claim(layer, inputs)
        place.into.append(layer)
        return Value((layer,))

    def _claim(self, layer: Layer, inputs: Iterable[Value]) -> None:
        """Give a layer the parameters that come in and are nobody's."""
        for parameter in chain.from_iterable(value.parameters for value in inputs):
            if parameter not in self.claimed:
                self.claimed.add(parameter)
                layer.parameters.append(parameter)

    def _cheap(self, eqn: JaxprEqn, inputs: list[Value], place: Place) -> Value:
        """What belongs to the layer that it follows, unless it joins several."""
        output = self._follow(eqn, inputs, place)
        if eqn.primitive.name == "name":
            self._tap(eqn, output, place)
        return output

    def _tap(self, eqn: JaxprEqn, value: Value, place: Place) -> None:
        """Take down a named value; its layer bears the name from now on."""
        name = fresh(eqn.params["name"], self.taps)
        alone = value.is_whole() and len(value.layers) == 1 and value.layers[0].kind != "input"
        layer = value.layers[0] if alone else None
        self.taps[name] = Tap(ValueRef(place.calls, eqn.outvars[0]), layer)
        if layer is not None:
            layer.name, layer.named = name, True

    def _follow(self, eqn: JaxprEqn, inputs: list[Value], place: Place) -> Value:
        """A value of the layers that feed it; a join where they are several."""
        parameters = tuple(dict.fromkeys(chain.from_iterable(v.parameters for v in inputs)))
        if getattr(eqn.outvars[0].aval, "dtype", None) == jnp.bool_:  # a mask is no map
            return Value((), parameters, whole=False)
        feeding = [value for value in inputs if value.layers]
        layers = _together(feeding)
        if layers is None:
            return self._layer("join", eqn, inputs, place)
        home = next((layer for layer in layers if layer.kind != "input"), None)
        if home is None:
            return Value(layers, parameters)
        record = record_of(eqn)
        self._claim(home, inputs)
        whole = record.index_map is not None and any(map(Value.is_whole, feeding))
        for layer in layers if whole and record.keeps_feature_map else ():  # not after a flatten
            layer.output = eqn.outvars[0].aval
            layer.ref = ValueRef(place.calls, eqn.outvars[0])
        return Value(layers, (), whole)

    def _scan(self, eqn: JaxprEqn, inputs: list[Value], place: Place) -> list[Value]:
        closed = eqn.params["jaxpr"]
        again = replace(
            place, times=(*place.times, eqn.params["length"]), calls=(*place.calls, eqn)
        )
        slices = map(_step, inputs, eqn.invars, closed.jaxpr.invars)
        outputs = self.walk(closed.jaxpr, closed.consts, list(slices), again)
        return list(map(_step, outputs, eqn.outvars, closed.jaxpr.outvars))

    def _while(self, eqn: JaxprEqn, inputs: list[Value], place: Place) -> list[Value]:
        asking, doing = (eqn.params[f"{part}_jaxpr"] for part in ("cond", "body"))
        first = eqn.params["cond_nconsts"]
        second = first + eqn.params["body_nconsts"]
        place = replace(place, calls=(*place.calls, eqn))
        self.walk(asking.jaxpr, asking.consts, inputs[:first] + inputs[second:], place)
        return self.walk(doing.jaxpr, doing.consts, inputs[first:], place)

    def _cond(self, eqn: JaxprEqn, inputs: list[Value], place: Place) -> list[Value]:
        conditional, results = Conditional([]), []
        for branch in eqn.params["branches"]:
            conditional.branches.append([])
            inner = Place(conditional.branches[-1], place.times, (*place.calls, eqn))
            results.append(self.walk(branch.jaxpr, branch.consts, inputs[1:], inner))
        place.into.append(conditional)
        return [_either(ways) for ways in zip(*results, strict=True)]


def _together(values: Sequence[Value]) -> tuple[Layer, ...] | None:
    """The layers that values belong to together; None where they are branches that join."""
    each = [dict.fromkeys(layer.whole() for layer in value.layers) for value in values]
    layers = tuple(dict.fromkeys(chain.from_iterable(each)))
    if len({frozenset(some) for some in each}) < 2 or all(n.kind == "input" for n in layers):
        return layers
    root = next((r for r in layers if all(layer.rests_on(r) for layer in layers)), None)
    if root is None:
        return None
    for layer in layers:
        layer.join_to(root)
    return (root,)


def _step(value: Value, outer: Any, inner: Any) -> Value:
    """A value at the border of a scan: of an array with an axis more, one step only."""
    same = len(shape_of(outer)) == len(shape_of(inner))
    return value if same else replace(value, whole=False)


def _either(ways: Sequence[Value]) -> Value:
    layers = dict.fromkeys(chain.from_iterable(value.layers for value in ways))
    parameters = dict.fromkeys(chain.from_iterable(value.parameters for value in ways))
    return Value(tuple(layers), tuple(parameters), all(value.whole for value in ways))


def _kind(eqn: JaxprEqn) -> str:
    """The kind of layer that an equation is; empty where it belongs to the layer before it.

    Inner jaxprs that multiply make it an unknown one: how often they run is not known.
    """
    inner = (step for jaxpr in inside(eqn) for step in equations(jaxpr))
    multiplies = any(record_of(step).macs is not None for step in inner)
    return record_of(eqn).kind or ("unknown" if multiplies else "")


LOOPS: dict[str, Callable[..., list[Value]]] = {
    "scan": Reader._scan,
    "while": Reader._while,
    "cond": Reader._cond,
}


def read(closed: ClosedJaxpr, template: Any) -> Network:
    """Read a trace as a network.

    Args:
        closed: the trace.
        template: its arguments, with specs as leaves.
    """
    values: list[Value] = []
    inputs: dict[str, Var] = {}
    for role, variable in zip(_roles(template), closed.jaxpr.invars, strict=True):
        if role is None:
            name = f"input {len(inputs) + 1}" if inputs else "input"
            inputs[name] = variable
            values.append(Value((Layer("input", name, output=variable.aval),)))
        else:
            learnt = role and jnp.issubdtype(variable.aval.dtype, jnp.inexact)
            found = (Parameter(role, prod(shape_of(variable))),) if learnt else ()
            values.append(Value((), found))
    reader, layers = Reader(), []
    reader.walk(closed.jaxpr, closed.consts, values, Place(layers))
    known = chain(values, reader.constants.values())
    unused = (p for value in known for p in value.parameters if p not in reader.claimed)
    return Network(closed, layers, reader.taps, inputs, unused)


def _roles(template: Any) -> Iterator[tuple[str, ...] | None]:
    """For each array among the arguments: its path if it is a parameter, None if an input.

    An empty path is that of state. Without any spec the last argument with an array of some axes
    is the input; beside an NNX module all are.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(template, is_leaf=_is_leaf)
    specs = any(isinstance(leaf, Spec) for _, leaf in leaves)
    module = isinstance(template[0], nnx.State) if template else False
    arrays = [] if specs else [_key(path[0]) for path, leaf in leaves if _has_axes(leaf)]
    images = arrays[-1] if arrays else None
    for path, leaf in leaves:
        argument, *steps = (_key(step) for step in path)
        given = isinstance(leaf, Spec) or argument == images or (module and argument != "0")
        count = 1 if isinstance(leaf, Spec) else len(jax.tree.leaves(leaf))
        for _ in range(count):
            yield None if given else _path(template[int(argument)], leaf, argument, steps)


def _has_axes(leaf: Any) -> bool:
    return any(map(jnp.ndim, jax.tree.leaves(leaf)))


def _is_leaf(value: Any) -> bool:
    return isinstance(value, Spec | nnx.Variable)


def _path(home: Any, leaf: Any, argument: str, steps: list[str]) -> tuple[str, ...]:
    """The path of a parameter, without what every one begins with; of state an empty one."""
    if isinstance(leaf, nnx.Variable):
        return tuple(steps) if isinstance(leaf, nnx.Param) else ()
    if isinstance(home, dict) and "params" in home:  # the variables of Linen
        return tuple(steps[1:]) if steps[0] == "params" else ()
    return tuple(step.replace("/", ".") for step in steps) or (argument,)


def _key(step: Any) -> str:
    """One step of a path, as text."""
    for attribute in ("key", "name", "idx"):
        if hasattr(step, attribute):
            return str(getattr(step, attribute))
    return str(step)
