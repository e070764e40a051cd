"""Read a jaxpr as a graph of layers.

A layer is a convolution, a matrix product, a pool, a reduction, a merge of branches, or a lookup in
a table that was learnt. Whatever follows one and needs nothing of another, such as a bias, batch
norm or an activation, belongs to it. So do the statistics with which it is normalised: a mean that
is only put back into the map it was taken of is not a layer. A resize is one layer, though JAX
computes it as a product for each axis, in an order that depends on the sizes, and so is an adaptive
pool of an axis, whose windows JAX computes in groups.
"""

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby, takewhile
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxconv.adapters.adapter import ADAPTIVE_POOL
from jaxconv.analysis.argument_roles import argument_roles, closed_over_roles
from jaxconv.analysis.dataflow import Dataflow, OperationNode, Producer, dataflow
from jaxconv.analysis.network import Conditional, Layer, Layers, NamedValue, Network, Parameter
from jaxconv.compat import ClosedJaxpr, JaxprEqn, file_of_called
from jaxconv.jaxpr.interpreter import (
    Scope,
    ValueRef,
    equations,
    fresh,
    shape_of,
    subjaxprs,
)
from jaxconv.jaxpr.primitives import record_of
from jaxconv.source import called_by, frame_of_equation, is_inside_jax, origin_of_equation

RESIZE = "_resize"  # the name of the function that jax.image.resize compiles


def read_network(
    closed: ClosedJaxpr, template: Any, fn: Callable[..., Any] | None = None
) -> Network:
    """Read a trace as a network.

    Args:
        closed: the trace.
        template: its arguments, with specs as leaves.
        fn: what was traced, to tell parameters from state that it closes over.

    Returns:
        The layers of the trace, and which feeds which.
    """
    closed_over = [] if fn is None else closed_over_roles(fn)
    graph = dataflow(closed, argument_roles(template), closed_over)
    grouping = _Grouping(graph)
    layers = _final_layers(graph, grouping)
    rows = [core for core in grouping.cores if core not in grouping.merged]
    known = {*grouping.owners, *grouping.constants}
    scopes = (core.operation.scope if core.operation else Scope() for core in rows)
    return Network(
        closed,
        _nested(
            [(scope.alternatives(), layers[core]) for scope, core in zip(scopes, rows, strict=True)]
        ),
        {layers[core].name: layers[core] for core in rows},
        {
            name: NamedValue(ref, core and layers[grouping.whole(core)])
            for name, (ref, core) in grouping.named_values.items()
        },
        {one.name: one.var for one in graph.inputs},
        tuple(one for one in graph.parameters if one not in known),
        frozenset(
            layers[root].name
            for core, root in ((one, grouping.root(one)) for one in grouping.merged)
            if root.kind != "product"  # whose softmax is a part of attention
            and _reduces_axes(core) > 1  # not the channels of each pixel alone
        ),
    )


@dataclass(frozen=True, eq=False)
class Core:
    """What a layer is built around: an operation, or an input.

    Attributes:
        kind: as that of a :class:`Layer`.
        name: of the user's layer or its parameters; what the operation does, and its line, where
            it is part of no layer.
        action: what the operation does, such as "add".
        operation: None for an input.
        sources: what it takes.
        fixed: for each operand whether it is the same for all inputs.
        earlier_products: those of the same resize that JAX computes before ``operation``.
    """

    kind: str
    name: str
    action: str = ""
    operation: OperationNode | None = None
    sources: tuple["Core", ...] = ()
    fixed: tuple[bool, ...] = ()
    earlier_products: tuple[OperationNode, ...] = ()


class Content(NamedTuple):
    """What a value is made of.

    Attributes:
        cores: of the layers that it belongs to.
        parameters: that went into it and belong to no layer yet.
        whole: whether it has every number of its layer once, perhaps in another order.
    """

    cores: tuple[Core, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    whole: bool = True


class _Grouping:
    """Finds out, operation by operation, which layer each belongs to.

    Attributes:
        contents: what is made of each operation, input and parameter.
        cores: of the layers, in order of computation.
        merged: cores of statistics, with the core that they normalise.
        replaced: the core that a part of a one-layer call was merged into.
        owners: the first layer that uses each parameter.
        ends: the last operation of each layer that still gives its map.
        names: of the layers that the function names.
        named_values: the values that the function names, with the core they belong to, if any.
        constants: arrays that the images are normalised with before the first layer.
        blocks: of each function of the user that called a layer, the module that it belongs to and
            the instruction of the last call.
    """

    def __init__(self, graph: Dataflow) -> None:
        self.contents: dict[Producer, Content] = {
            **{one: Content((Core("input", one.name),)) for one in graph.inputs},
            **{one: Content((), (one,)) for one in graph.parameters},
        }
        self.cores: list[Core] = []
        self.merged: dict[Core, Core] = {}
        self.replaced: dict[Core, Core] = {}
        self.owners: dict[Parameter, Core] = {}
        self.ends: dict[Core, OperationNode] = {}
        self.names: dict[Core, str] = {}
        self.named_values: dict[str, tuple[ValueRef, Core | None]] = {}
        self.blocks: dict[Any, tuple[str, int]] = {}
        self.constants: set[Parameter] = set()
        for operation in graph.operations:
            self.contents[operation] = self._add(operation)

    def _add(self, operation: OperationNode) -> Content:
        """Begin a layer with an operation, or let it belong to the layers that feed it."""
        eqn, record = operation.eqn, record_of(operation.eqn)
        inputs = [
            Content(
                _unique(self.contents[one].cores for one in value.producers),
                _unique(self.contents[one].parameters for one in value.producers),
                not value.partial and all(self.contents[one].whole for one in value.producers),
            )
            for value in operation.inputs
        ]
        # Where jaxprs inside multiply, it is not known how often they run.
        inner = (step for jaxpr in subjaxprs(eqn) for step in equations(jaxpr))
        multiplies = any(record_of(step).macs is not None for step in inner)
        kind = record.kind or ("unknown" if multiplies else "")
        if record.looks_up and inputs[0].parameters and not inputs[0].cores:
            kind = "lookup"  # unless the indices, too, are the same for all inputs
        always = kind == "unknown" or record.macs is not None
        if kind and (always or any(content.cores for content in inputs)):
            return self._begin_layer(kind, operation, inputs)
        content = self._follow(operation, inputs)
        if record.names_value:  # its layer has this name from now on
            name = fresh(eqn.params["name"], self.named_values)
            alone = len(content.cores) == 1 and self._is_whole(content)
            core = content.cores[0] if alone and content.cores[0].kind != "input" else None
            self.named_values[name] = (operation.scope.ref(eqn.outvars[0]), core)
            if core is not None:
                self.names[core] = name
        return content

    def root(self, core: Core) -> Core:
        """The core itself, or the one that it is a statistic or a part of."""
        into = self.replaced.get(core) or self.merged.get(core)
        return core if into is None else self.root(into)

    def whole(self, core: Core) -> Core:
        """The core itself, or that of the one-layer call that it is a part of."""
        return self.whole(self.replaced[core]) if core in self.replaced else core

    def _is_whole(self, content: Content) -> bool:
        """Whether it has every number of its layers, and is not a statistic of them."""
        return content.whole and not any(core in self.merged for core in content.cores)

    def _begin_layer(
        self, kind: str, operation: OperationNode, inputs: Sequence[Content]
    ) -> Content:
        parameters = chain.from_iterable(c.parameters for c in inputs if not c.cores)
        core = Core(
            kind,
            *self._named(operation, parameters),
            operation,
            tuple(chain.from_iterable(content.cores for content in inputs)),
            tuple(not content.cores for content in inputs),
        )
        if (earlier := self._of_same_call(operation)) is not None:
            outside = [one for one in map(self.root, core.sources) if one is not earlier]
            core = _united(earlier, replace(core, sources=tuple(outside)))
            self.replaced[earlier] = core
            self.cores.remove(earlier)
            del self.ends[earlier]
            if earlier in self.names:
                self.names[core] = self.names.pop(earlier)
        self.cores.append(core)
        self.ends[core] = operation
        self._claim(core, inputs)
        return Content((core,))

    def _of_same_call(self, operation: OperationNode) -> Core | None:
        """The last layer, if the operation is in the same one-layer call."""
        calls, last = _one_layer_call(operation), self.cores[-1] if self.cores else None
        others = _one_layer_call(last.operation) if last is not None and last.operation else ()
        same = len(calls) == len(others) and all(map(operator.is_, calls, others))
        return last if calls and same else None

    def _named(self, operation: OperationNode, parameters: Iterable[Parameter]) -> tuple[str, str]:
        """The name of a layer, and what its operation does."""
        eqns = (operation.eqn, *operation.scope.calls[::-1])
        origins = [origin_of_equation(one, eqns[:n:-1]) for n, one in enumerate(eqns)]
        layer = next((origin.layer for origin in origins if origin.layer), "")
        # Inside what JAX has compiled as a whole, such as resize, there is no line of the user.
        place = next((i for i, origin in enumerate(origins) if str(origin)), 0)
        is_repeated = place and operation.scope.iterations()
        action = ("" if is_repeated else called_by(eqns[place])) or _action(operation.eqn)
        steps = zip(*(parameter.path[:-1] for parameter in parameters), strict=False)
        shared = takewhile(lambda step: len({*step}) == 1, steps)
        module = ".".join(step[0] for step in shared)
        frame = frame_of_equation(operation.eqn)
        if re.search(r"[^\W\d]", module):  # of a list of parameters only the number is known
            if frame.called and f".{module}".endswith(f".{frame.called}"):
                block = module.removesuffix(frame.called).removesuffix(".")
                self.blocks[frame.function] = (block, frame.instruction)
            is_longer = len(layer) >= len(module)  # it has the name of the model in front
            same = layer.rpartition(".")[2] == module.rpartition(".")[2]
            return layer if same and is_longer else module, action
        # A layer before it in the same call says which block this is.
        block, before = self.blocks.get(frame.function, ("", -1))
        if block.startswith(layer) and block and frame.instruction > before:
            return f"{block}.{action}", action
        line = str(origins[place])
        return layer or (f"{action} ({line})" if line else action), action

    def _claim(self, core: Core, inputs: Iterable[Content]) -> None:
        """Give a layer the parameters that come in and have no owner."""
        for parameter in chain.from_iterable(content.parameters for content in inputs):
            self.owners.setdefault(parameter, core)

    def _follow(self, operation: OperationNode, inputs: Sequence[Content]) -> Content:
        """A value of the layers that feed it; a join where they are several."""
        parameters = _unique(content.parameters for content in inputs)
        results = operation.eqn.outvars[:1]  # a callback or an assertion has none
        if any(getattr(one.aval, "dtype", None) == jnp.bool_ for one in results):
            # A mask is not a map.
            return Content((), parameters, whole=False)
        feeding = [content for content in inputs if content.cores]
        cores = self._together(feeding)
        if cores is None:
            return self._begin_layer("join", operation, inputs)
        owner = next((core for core in cores if core.kind != "input"), None)
        if owner is None:
            # Those of an image's own statistics belong to the next layer.
            given = [one for one, core in self.owners.items() if self.root(core) in cores]
            parameters = (*parameters, *given)
            for one in given:
                del self.owners[one]
            # A number that the image is normalised with, and that no model calls a parameter.
            constants = [one for one in parameters if cores and not one.path]
            self.constants.update(constants)
            return Content(cores, tuple(one for one in parameters if one not in constants))
        self._claim(owner, inputs)
        eqn, record = operation.eqn, record_of(operation.eqn)
        # Where the sizes are formulas, x[0] of one image is not a squeeze but a gather of all of x.
        squeezes = (
            eqn.primitive.name == "gather"
            and len(shape_of(eqn.invars[1])) == 1
            # as text, because == would be a question
            and [*map(str, shape_of(eqn.invars[0]))] == [*map(str, eqn.params["slice_sizes"])]
        )
        rearranges = record.index_map is not None or squeezes
        whole = rearranges and any(map(self._is_whole, feeding))
        if whole and (record.keeps_feature_map or squeezes):  # not after a flatten
            self.ends.update(dict.fromkeys(cores, operation))
        if cores[-1:] == tuple(self.cores[-1:]) and self._of_same_call(operation) is not None:
            self.ends[cores[-1]], whole = operation, True  # all of the call is one layer
        return Content(cores, (), whole)

    def _together(self, contents: Sequence[Content]) -> tuple[Core, ...] | None:
        """The layers that values belong to together; None where they are branches that join."""
        each = [dict.fromkeys(map(self.root, content.cores)) for content in contents]
        cores = _unique(each)
        if len({frozenset(some) for some in each}) < 2 or all(c.kind == "input" for c in cores):
            return cores
        roots = (root for root in cores if all(self._rests_on(core, root) for core in cores))
        root = next(roots, None)
        if root is None:
            return None
        for core in cores:
            self._merge(core, root)
        return (root,)

    def _rests_on(self, core: Core, root: Core) -> bool:
        """Whether a layer is ``root`` or made of statistics of it alone."""
        core = self.root(core)
        if core is root:
            return True
        is_statistic = core.kind in ("reduction", "join")
        return is_statistic and all(self._rests_on(source, root) for source in core.sources)

    def _merge(self, core: Core, root: Core) -> None:
        """Put a statistic, and all that it is made of, into the layer that it rests on."""
        core = self.root(core)
        if core is root:
            return
        self.merged[core] = root
        for source in core.sources:
            self._merge(source, root)


def _one_layer_call(operation: OperationNode) -> tuple[JaxprEqn, ...]:
    """The calls around an operation, from the outermost to that of a function that is one layer."""
    calls = operation.scope.calls
    for number, call in enumerate(calls, 1):
        name = call.params.get("name")
        if name == ADAPTIVE_POOL or (name == RESIZE and is_inside_jax(file_of_called(call))):
            return calls[:number]
    return ()  # as an equation of JAX's may be in several calls, those around it matter, too


def _united(one: Core, other: Core) -> Core:
    """The core of two parts of a one-layer call."""
    core = replace(one, sources=tuple(dict.fromkeys((*one.sources, *other.sources))))
    if (one.kind, other.kind) != ("product", "product") or one.operation is None:
        return core
    earlier = (*one.earlier_products, one.operation)
    return replace(core, operation=other.operation, fixed=other.fixed, earlier_products=earlier)


def _reduces_axes(core: Core) -> int:
    """How many axes a statistic reduces."""
    return len(core.operation.eqn.params.get("axes", ())) if core.operation else 0


def _unique(groups: Iterable[Iterable[Any]]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(chain.from_iterable(groups)))


def _final_layers(graph: Dataflow, grouping: _Grouping) -> dict[Core, Layer]:
    """Make a layer of each core, with its final name, parameters and map."""
    layers = {
        grouping.contents[one].cores[0]: Layer("input", one.name, one.var.aval)
        for one in graph.inputs
    }
    parameters: dict[Core, list[Parameter]] = {}
    for parameter, owner in grouping.owners.items():
        parameters.setdefault(grouping.root(owner), []).append(parameter)
    names = [core.name for core in grouping.cores]
    blocks = {n[: match.start()] for n in names for match in re.finditer(r"[.\[]", n)}
    taken = {*grouping.named_values}
    for core in grouping.cores:
        operation, end = core.operation, grouping.ends[core]
        assert operation is not None
        # A layer that has the name of a block around others is called by its action.
        found = f"{core.name}.{core.action}" if core.name in blocks else core.name
        name = grouping.names.get(core) or found
        if core not in grouping.names and core not in grouping.merged:
            name = fresh(name, taken)
            taken.add(name)
        layers[core] = Layer(
            core.kind,
            name,
            end.eqn.outvars[0].aval,
            operation.eqn,
            operation.scope.calls,
            end.scope.ref(end.eqn.outvars[0]),
            tuple(layers[source] for source in dict.fromkeys(map(grouping.root, core.sources))),
            operation.scope.iterations(),
            tuple(parameters.get(core, ())),
            core.fixed,
            tuple(one.eqn for one in core.earlier_products),
        )
    return layers


Alternatives = tuple[tuple[tuple[JaxprEqn, ...], int], ...]  # as a Scope has them


def _nested(entries: Sequence[tuple[Alternatives, Layer]]) -> Layers:
    """Put the layers of branches into conditionals."""
    layers: list[Layer | Conditional] = []
    for calls, group in groupby(entries, lambda entry: entry[0][0][0] if entry[0] else None):
        inside = [*group]
        if calls is None:
            layers += [layer for _, layer in inside]
            continue
        branches = (
            _nested([(path[1:], layer) for path, layer in inside if path[0][1] == number])
            for number in range(len(calls[-1].params["branches"]))
        )
        layers.append(Conditional(tuple(branches)))
    return tuple(layers)


def _action(eqn: JaxprEqn) -> str:
    """What an operation does, in a word, where the line of the user does not say it."""
    name = eqn.primitive.name
    match record_of(eqn).kind:
        case "convolution":
            return "conv"
        case "product":
            return "dot"
        case "reduction":
            return name.removeprefix("reduce_")
        case "pool":
            return f"{name.removeprefix('reduce_window')}_pool".lstrip("_")
    return name.removesuffix("_any")  # of add_any
