"""Feature maps of any function: its named values, and its layers without a name."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.adapters.call import library_contexts, read_call, require_callable
from jaxconv.analysis.network import Network
from jaxconv.analysis.network_reader import read_network
from jaxconv.analysis.partial_program import PartialProgram
from jaxconv.compat import require_supported_jax
from jaxconv.errors import Diagnostic, ValidationError, raise_if, raises_shape_error, shown
from jaxconv.jaxpr.interpreter import FlowKind, ValueRef, control_flow
from jaxconv.symbolic.specs import Spec

R = TypeVar("R")
Maps = OrderedDict[str, jax.Array]  # unlike a dict, it keeps its order under jax.jit


def feature_maps(
    fn: Callable[..., Any], layers: str | int | Iterable[str | int] | None = None
) -> Callable[..., Maps]:
    """Turn a function into one that returns its feature maps.

    A feature map is the output of a layer after its activation: of a convolution, matrix product,
    pool, reduction, merge of branches or lookup in an embedding, the rows of :func:`summary`, under
    the same names. So is any value that the function names with
    ``jax.ad_checkpoint.checkpoint_name(value, name)``, which costs nothing at run time; a layer
    named in this way has this name. Other layers are named after their module or parameters, or
    after what they do, such as ``add (net.py:12)``. If some maps are named, a result without a name
    is left out unless it is requested: logits are not a map.

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
    wanted = raises_shape_error("feature_maps")(read_layers)(layers)

    def mapped(*args: Any, **kwargs: Any) -> Maps:
        network, leaves = raises_shape_error("feature_maps")(trace_call)(fn, *args, **kwargs)
        raises_shape_error("feature_maps")(require_values)(leaves)
        refs = _chosen(network, wanted)
        maps = values_at(network, refs, leaves)
        return maps if wanted is None else OrderedDict((name, maps[name]) for name in refs)

    return mapped


def read_layers(layers: Any) -> list[str | int] | None:
    """Read the layers asked for.

    Args:
        layers: one, several, or None for all.

    Returns:
        A list; None for all.

    Raises:
        ValidationError: it is none of these.
    """
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
        return self.reduced(refs, lambda _, value: np.asarray(value), replaced)

    def reduced(
        self,
        refs: Iterable[ValueRef],
        reduce: Callable[[ValueRef, Any], R],
        replaced: Mapping[ValueRef, Any] | None = None,
    ) -> dict[ValueRef, R]:
        """Compute values inside the network one by one, and keep what is needed of each.

        Args:
            refs: where they stand.
            reduce: takes where a value stands and the value, and returns what to keep of it.
            replaced: values to go on with in place of those computed there.

        Returns:
            What is kept, by where the values stand.

        Raises:
            ValidationError: parameters without values.
        """
        require_values(self.leaves)
        names = _numbered(refs)
        program = PartialProgram.of(self.network, names, self.leaves, replaced)
        kept = program.run(self.leaves, lambda name, value: reduce(names[name], value))
        return {names[name]: value for name, value in kept.items()}

    def peak_bytes(self, refs: Iterable[ValueRef], kept: Iterable[ValueRef] = ()) -> int:
        """Estimate the memory that :meth:`reduced` takes.

        Args:
            refs: where the values stand.
            kept: those that are kept whole until the end.

        Returns:
            Bytes.
        """
        names, whole = _numbered(refs), {*kept}
        program = PartialProgram.of(self.network, names, self.leaves)
        return program.peak_bytes({name for name, ref in names.items() if ref in whole})


def _numbered(refs: Iterable[ValueRef]) -> dict[str, ValueRef]:
    return {str(number): ref for number, ref in enumerate(dict.fromkeys(refs))}


def trace_call(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> TracedCall:
    """Trace a function or a model, and read the trace as a network.

    Args:
        fn: any JAX function or model; pure, that is, without dropout.
        *args: its arguments, arrays; the last one is the images.
        **kwargs: likewise.

    Raises:
        ValidationError: what cannot be called, or arguments that are not arrays.
    """
    require_supported_jax()
    require_callable(fn)
    call = read_call(fn, args, kwargs)
    if call.complete is not None:  # with values, as those without were rejected
        call = call.complete({})
    wrong = []
    for leaf in jax.tree.leaves(call.arguments):
        try:
            jax.typeof(leaf)
        except Exception:  # what may have been passed is any object
            what = "a spec" if isinstance(leaf, Spec) else f"of type {type(leaf).__name__}"
            fix = "pass an array of numbers."
            wrong.append(Diagnostic(f"an argument is {what}, but must be an array.", fix))
    raise_if(wrong)
    with library_contexts():
        closed = jax.make_jaxpr(call.fn)(*call.arguments)
    network = read_network(closed, call.arguments, call.fn)
    return TracedCall(network, jax.tree.leaves(call.arguments))


def require_values(leaves: Iterable[Any]) -> None:
    """Check that arrays have values.

    Args:
        leaves: arrays or their shapes.

    Raises:
        ValidationError: one is a shape.
    """
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves):
        wrong = "parameters are shapes without values."
        fix = "pass arrays; for a module of Linen or Haiku, pass its apply and the parameters."
        raise ValidationError([Diagnostic(wrong, fix)])


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
    program = PartialProgram.of(network, refs, leaves, replaced)
    return OrderedDict(program.run(leaves, lambda _, value: jnp.asarray(value)))
