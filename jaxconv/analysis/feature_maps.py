"""Feature maps of any function: its named values, and its layers without a name."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.adapters.call import library_contexts, read_call, require_callable
from jaxconv.analysis.network import Network
from jaxconv.analysis.network_reader import read_network
from jaxconv.compat import (
    ClosedJaxpr,
    JaxprEqn,
    Var,
    dce_jaxpr,
    jaxpr_as_fun,
    require_supported_jax,
)
from jaxconv.errors import Diagnostic, ValidationError, raise_if, raises_shape_error, shown
from jaxconv.jaxpr.interpreter import (
    ControlFlow,
    Evaluator,
    FlowKind,
    Scope,
    ValueRef,
    bind_equation,
    control_flow,
)

Maps = OrderedDict[str, jax.Array]  # unlike a dict, it keeps its order under jax.jit


def feature_maps(
    fn: Callable[..., Any], layers: str | int | Iterable[str | int] | None = None
) -> Callable[..., Maps]:
    """Turn a function into one that returns its feature maps.

    A feature map is the output of a layer after its activation: of a convolution, matrix product,
    pool, reduction or merge of branches, the rows of :func:`summary`, under the same names. So is
    any value that the function names with ``jax.ad_checkpoint.checkpoint_name(value, name)``, which
    costs nothing at run time; a layer named in this way has this name. Other layers are named after
    their module or parameters, or after what they do, such as ``add (net.py:12)``. If some maps are
    named, a result without a name is left out unless it is requested: logits are not a map.

    Maps inside a scan are stacked along a new first axis, one for each step. Those inside a while
    loop or one branch of a ``lax.cond`` have no single value, and are left out.

    Args:
        fn: any JAX function or model; pure, that is, without dropout.
        layers: the name or number (from 1, as in :func:`summary`) of the map or maps to return,
            or None for all. Values that only the other maps need are neither computed nor kept.

    Returns:
        A pure function of the arguments of ``fn`` that returns a dict from name to feature map,
        in the order of computation; a name used again gets ``#2``, ``#3`` ... It runs under
        ``jax.jit``, ``jax.vmap``, ``jax.grad`` and ``jax.lax.scan``.

    Raises:
        ShapeError: when called: an unknown layer, or one inside a while loop or a branch.

    Example:
        >>> import jax, jaxconv as jc
        >>> from flax import nnx
        >>> model = jc.VGG([(8, 8), (16,)], head=None, rngs=nnx.Rngs(0))
        >>> maps = jax.jit(jc.feature_maps(model))(jax.numpy.ones((1, 32, 32, 3)))
        >>> {name: value.shape[1:] for name, value in maps.items()}
        {'conv1_1': (32, 32, 8), 'conv1_2': (32, 32, 8), 'pool1': (16, 16, 8),
         'conv2_1': (16, 16, 16), 'pool2': (8, 8, 16)}
    """
    wanted = _read_layers(layers)

    def mapped(*args: Any, **kwargs: Any) -> Maps:
        network, leaves = raises_shape_error("feature_maps")(trace_call)(fn, *args, **kwargs)
        refs = _chosen(network, wanted)
        maps = values_at(network, refs, leaves)
        return maps if wanted is None else OrderedDict((name, maps[name]) for name in refs)

    return mapped


@raises_shape_error("feature_maps")
def _read_layers(layers: Any) -> list[str | int] | None:
    """The layers asked for; None for all."""
    if layers is None or isinstance(layers, list | tuple):
        return None if layers is None else [*layers]
    if isinstance(layers, str | int):
        return [layers]
    try:
        return [*layers]
    except Exception:  # what can be passed is any object
        wrong = f"layers is {shown(layers)}, but must be a layer, several, or None for all."
        fix = "pass the name or number of a layer, or a list of these."
        raise ValidationError([Diagnostic(wrong, fix)]) from None


@raises_shape_error("feature_maps")
def _chosen(network: Network, wanted: Sequence[str | int] | None) -> dict[str, ValueRef]:
    """Where the maps stand that are asked for."""
    maps = network.maps()
    if wanted is not None:
        names = [network.name(layer, "layers") for layer in wanted]
        raise_if(
            Diagnostic(
                f"{name!r} is inside a while loop or a branch, where it has no single value.",
                "return it from there, and name it outside.",
            )
            for name in names
            if not _has_one_value(maps[name])
        )
        return {name: maps[name] for name in names}
    maps = {name: ref for name, ref in maps.items() if _has_one_value(ref)}
    if not network.named_values:
        return maps
    results = network.results()
    return {n: ref for n, ref in maps.items() if n in network.named_values or ref not in results}


def _has_one_value(ref: ValueRef) -> bool:
    """Whether a value is outside all branches and while loops; those of a scan are stacked."""
    flows = filter(None, map(control_flow, ref.calls))
    return all(flow.kind is not FlowKind.BRANCHES and not flow.condition for flow in flows)


class TracedCall(NamedTuple):
    """A function traced with the arrays that it is called with.

    Attributes:
        network: the trace, read as a network.
        leaves: the arrays that the trace takes.
    """

    network: Network
    leaves: list[Any]

    def values(
        self, refs: Iterable[ValueRef], replaced: Mapping[ValueRef, Any] | None = None
    ) -> dict[ValueRef, np.ndarray]:
        """Compute values inside the network, as :func:`values_at` does.

        Args:
            refs: where they stand.
            replaced: values to go on with in place of those computed there.

        Returns:
            The values by where they stand.
        """
        names = {str(number): ref for number, ref in enumerate(dict.fromkeys(refs))}
        values = values_at(self.network, names, self.leaves, replaced)
        return {names[name]: np.asarray(value) for name, value in values.items()}


def trace_call(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> TracedCall:
    """Trace a function or a model, and read the trace as a network.

    Args:
        fn: any JAX function or model; pure, that is, without dropout.
        *args: its arguments, arrays; the last one is the images.
        **kwargs: likewise.

    Raises:
        ShapeError: arguments that are not arrays.
    """
    require_supported_jax()
    raises_shape_error("feature_maps")(require_callable)(fn)
    call = raises_shape_error("feature_maps")(read_call)(fn, args, kwargs)
    if call.complete is not None:  # with values, as those without were rejected
        call = call.complete({})
    with library_contexts():
        closed = jax.make_jaxpr(call.fn)(*call.arguments)
    network = read_network(closed, call.arguments, call.fn)
    return TracedCall(network, jax.tree.leaves(call.arguments))


def values_at(
    network: Network,
    refs: Mapping[str, ValueRef],
    leaves: Sequence[Any],
    replaced: Mapping[ValueRef, Any] | None = None,
) -> Maps:
    """Compute values inside a network and what they need, but nothing else.

    Args:
        network: read of a trace.
        refs: by name, where they stand; not inside while loops and branches.
        leaves: the arrays that the trace takes.
        replaced: values to go on with in place of those computed there.

    Returns:
        The values by name, in the order of computation.
    """
    names = {ref: name for name, ref in refs.items()}
    order: list[str] = []

    def recorded(*leaves: Any) -> list[Any]:
        recorder = _Recorder(dict.fromkeys(names) | dict(replaced or {}))
        recorder.run(network.closed.jaxpr, network.closed.consts, leaves)
        kept = {names[ref]: value for ref, value in recorder.values.items() if ref in names}
        order[:] = kept
        return [*kept.values()]

    closed = jax.make_jaxpr(recorded)(*leaves)
    needed, _ = dce_jaxpr(closed.jaxpr, [True] * len(order), instantiate=True)
    values = jaxpr_as_fun(ClosedJaxpr(needed, closed.consts))(*leaves)
    return OrderedDict(zip(order, map(jnp.asarray, values), strict=True))


class _Recorder(Evaluator):
    """Evaluates a jaxpr, and records or replaces values inside it.

    A call with no such value inside is made as it is, which keeps its own gradient and its jit.

    Attributes:
        wanted: what to put in place of each value; None keeps and records it.
        values: the wanted values, in the order of computation.
    """

    enters = frozenset({FlowKind.CALL, FlowKind.LOOP})

    def __init__(self, wanted: Mapping[ValueRef, Any]) -> None:
        self.wanted = wanted
        self.values: dict[ValueRef, Any] = {}

    def bind(self, variables: Sequence[Var], values: Sequence[Any], scope: Scope) -> Sequence[Any]:
        bound = []
        for variable, value in zip(variables, values, strict=True):
            ref = ValueRef(scope.calls, variable)
            new = self.wanted.get(ref)
            bound.append(value if new is None else new)
            if ref in self.wanted:
                self.values[ref] = bound[-1]
        return bound

    def apply(self, eqn: JaxprEqn, inputs: list[Any], scope: Scope) -> Sequence[Any]:
        within = scope.inside(eqn).calls
        has_wanted = any(ref.calls[: len(within)] == within for ref in self.wanted)
        return super().apply(eqn, inputs, scope) if has_wanted else bind_equation(eqn, inputs)

    def call(
        self, eqn: JaxprEqn, flow: ControlFlow, inputs: list[Any], scope: Scope
    ) -> Sequence[Any]:
        inner = _Recorder(self.wanted)
        results = inner.enter(flow.bodies[0], inputs, scope.inside(eqn))
        self.values |= inner.values
        replaced = any(self.wanted[ref] is not None for ref in inner.values)
        if replaced or not eqn.primitive.name.startswith("custom_"):
            return results
        return bind_equation(eqn, inputs)  # its own gradient is kept by the call itself

    def loop(
        self, eqn: JaxprEqn, flow: ControlFlow, inputs: list[Any], scope: Scope
    ) -> Sequence[Any]:
        """A scan that also returns the wanted values of each iteration, stacked."""
        assert flow.condition is None, eqn.primitive
        first, last = flow.carry.start, flow.carry.stop
        refs: list[ValueRef] = []

        def step(carry: list[Any], xs: list[Any]) -> tuple[list[Any], Any]:
            inner = _Recorder(self.wanted)
            results = inner.enter(flow.bodies[0], [*inputs[:first], *carry, *xs], scope.inside(eqn))
            refs[:] = inner.values
            return results[: flow.carried], (results[flow.carried :], [*inner.values.values()])

        settings = {name: eqn.params[name] for name in ("length", "reverse", "unroll")}
        carry, (ys, values) = jax.lax.scan(step, inputs[first:last], inputs[last:], **settings)
        self.values.update(zip(refs, values, strict=True))
        return [*carry, *ys]
