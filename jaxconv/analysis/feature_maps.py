"""Feature maps of any function: its named values, and its layers without a name."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv.analysis.network import Network, ValueRef
from jaxconv.analysis.network_reader import read
from jaxconv.compat import ClosedJaxpr, Jaxpr, JaxprEqn, Var, dce_jaxpr, jaxpr_as_fun
from jaxconv.errors import Diagnostic, raise_if, raises_shape_error
from jaxconv.jaxpr.interpreter import body, carried, value_of
from jaxconv.prover.check import pure

Maps = OrderedDict[str, jax.Array]  # unlike a dict, it keeps its order under jax.jit
Calls = tuple[JaxprEqn, ...]
Found = dict[ValueRef, Any]
Wanted = Mapping[ValueRef, Any]  # what to put in the place of a value; None keeps it
UNSURE = ("while", "cond")  # what is inside has no one value


def feature_maps(
    fn: Callable[..., Any], layers: str | int | Iterable[str | int] | None = None
) -> Callable[..., Maps]:
    """Turn a function into one that returns its feature maps.

    A feature map is the output of a layer after its activation: of a convolution, matrix product,
    pool, reduction or join of branches, the rows of :func:`summary`, under the same names. So is
    any value that the function names with ``jax.ad_checkpoint.checkpoint_name(value, name)``, which
    costs nothing at run time; a layer that is so named bears this name. Other layers bear that
    of their module, their parameters, or their source line, such as ``net.py:12``. Where some maps
    are named, a result without a name is left out unless it is asked for: logits are no map.

    Maps inside a scan are stacked along a new first axis, one for each step. Those inside a while
    loop or one branch of a ``lax.cond`` have no one value, and are left out.

    Args:
        fn: any JAX function or model; pure, that is, not drawing dropout.
        layers: the name or number (from 1, as in :func:`summary`) of the map or maps to return,
            or None for all. What only the others need is neither computed nor kept.

    Returns:
        A pure function of the arguments of ``fn`` that returns a dict from name to feature map,
        in the order of computation; a name used again gets ``#2``, ``#3`` ... It runs under
        ``jax.jit``, ``jax.vmap``, ``jax.grad`` and ``jax.lax.scan``.

    Raises:
        ShapeError: when called: a layer that is none, or that stands inside a while loop or a
            branch.

    Example:
        >>> import jax, jaxconv as jc
        >>> from flax import nnx
        >>> model = jc.VGG([(8, 8), (16,)], head=None, rngs=nnx.Rngs(0))
        >>> maps = jax.jit(jc.feature_maps(model))(jax.numpy.ones((1, 32, 32, 3)))
        >>> {name: value.shape[1:] for name, value in maps.items()}
        {'conv1_1': (32, 32, 8), 'conv1_2': (32, 32, 8), 'pool1': (16, 16, 8),
         'conv2_1': (16, 16, 16), 'pool2': (8, 8, 16)}
    """
    wanted = [layers] if isinstance(layers, str | int) else None if layers is None else [*layers]

    def mapped(*args: Any, **kwargs: Any) -> Maps:
        call, given = pure(fn, args)
        closed = jax.make_jaxpr(call)(*given, **kwargs)
        network = read(closed, (*given, *(kwargs[name] for name in sorted(kwargs))))
        refs = _chosen(network, wanted)
        found = values_at(network, refs, jax.tree.leaves((given, kwargs)))
        return found if wanted is None else OrderedDict((name, found[name]) for name in refs)

    return mapped


@raises_shape_error("feature_maps")
def _chosen(network: Network, wanted: Sequence[str | int] | None) -> dict[str, ValueRef]:
    """Where the maps stand that are asked for."""
    maps = network.maps()
    if wanted is None:
        results = network.results() if network.taps else set()
        own = {name for name, ref in maps.items() if name not in network.taps and ref in results}
        return {n: ref for n, ref in maps.items() if n not in own and not _inside(ref)}
    chosen = {name: maps[name] for name in (network.name(one, "layers") for one in wanted)}
    raise_if(_no_values(name for name, ref in chosen.items() if _inside(ref)))
    return chosen


def _inside(ref: ValueRef) -> bool:
    return any(call.primitive.name in UNSURE for call in ref.calls)


def _no_values(names: Iterable[str]) -> Iterable[Diagnostic]:
    for name in names:
        wrong = f"{name!r} is inside a while loop or a branch, where it has no one value."
        yield Diagnostic(wrong, "return it from there, and name it outside.")


def values_at(
    network: Network,
    refs: Mapping[str, ValueRef],
    leaves: Sequence[Any],
    instead: Mapping[ValueRef, Any] | None = None,
) -> Maps:
    """Compute values inside a network and what they need, but nothing else.

    Args:
        network: read of a trace.
        refs: by name, where they stand; not inside while loops and branches.
        leaves: the arrays that the trace takes.
        instead: values to go on with in the place of those computed there.

    Returns:
        The values by name, in the order of computation.
    """
    names = {ref: name for name, ref in refs.items()}
    wanted: Wanted = dict.fromkeys(names) | dict(instead or {})
    order: list[str] = []

    def tapped(*leaves: Any) -> list[Any]:
        jaxpr, consts = network.closed.jaxpr, network.closed.consts
        _, found = _run(jaxpr, consts, leaves, (), wanted)
        kept = {names[ref]: value for ref, value in found.items() if ref in names}
        order[:] = kept
        return [*kept.values()]

    closed = jax.make_jaxpr(tapped)(*leaves)
    needed, _ = dce_jaxpr(closed.jaxpr, [True] * len(order), instantiate=True)
    values = jaxpr_as_fun(ClosedJaxpr(needed, closed.consts))(*leaves)
    return OrderedDict(zip(order, map(jnp.asarray, values), strict=True))


def _run(
    jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any], calls: Calls, wanted: Wanted
) -> tuple[list[Any], Found]:
    """Evaluate a jaxpr; its results, and the wanted values inside it."""
    values: dict[Var, Any] = {}
    found: Found = {}

    def keep(variables: Iterable[Var], results: Iterable[Any]) -> None:
        for variable, result in zip(variables, results, strict=True):
            instead = wanted.get(ref := ValueRef(calls, variable))
            values[variable] = result if instead is None else instead
            if ref in wanted:
                found[ref] = values[variable]

    keep((*jaxpr.constvars, *jaxpr.invars), (*consts, *args))
    for eqn in jaxpr.eqns:
        inputs = [value_of(atom, values) for atom in eqn.invars]
        outputs, inside = _apply(eqn, inputs, calls, wanted)
        found.update(inside)
        keep(eqn.outvars, outputs)
    return [value_of(atom, values) for atom in jaxpr.outvars], found


def _apply(
    eqn: JaxprEqn, inputs: list[Any], calls: Calls, wanted: Wanted
) -> tuple[list[Any], Found]:
    within, found = (*calls, eqn), {}
    # A call with nothing wanted inside is bound as it is, which keeps its own gradient and its jit.
    if any(ref.calls[: len(within)] == within for ref in wanted):
        if eqn.primitive.name == "scan":
            return _scan(eqn, inputs, within, wanted)
        inner = body(eqn)
        assert inner is not None, eqn.primitive
        outputs, found = _run(*inner, inputs, within, wanted)
        changed = any(wanted[ref] is not None for ref in found)
        if changed or not eqn.primitive.name.startswith("custom_"):
            return outputs, found
        # Its values are those just computed; its own gradient is kept by the call itself.
    params = eqn.primitive.get_bind_params(eqn.params)
    outputs = eqn.primitive.bind(*inputs, **params)
    return list(outputs) if eqn.primitive.multiple_results else [outputs], found


def _scan(
    eqn: JaxprEqn, inputs: list[Any], calls: Calls, wanted: Wanted
) -> tuple[list[Any], Found]:
    """A scan that returns the wanted values of each step, stacked, as well."""
    closed, options = eqn.params["jaxpr"], ("length", "reverse", "unroll")
    first, last = carried(eqn)
    refs: list[ValueRef] = []

    def step(carry: list[Any], xs: list[Any]) -> tuple[list[Any], Any]:
        args = [*inputs[:first], *carry, *xs]
        outputs, found = _run(closed.jaxpr, closed.consts, args, calls, wanted)
        refs[:] = found
        count = last - first
        return outputs[:count], (outputs[count:], [*found.values()])

    settings = {name: eqn.params[name] for name in options}
    carry, (ys, maps) = jax.lax.scan(step, inputs[first:last], inputs[last:], **settings)
    return [*carry, *ys], dict(zip(refs, maps, strict=True))
