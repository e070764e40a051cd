"""Feature maps of any function, by the names that its values bear."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from jaxconv.inspect.trace import body, fresh, names, value_of
from jaxconv.shapes.errors import ShapeError, choice, message

Maps = OrderedDict[str, jax.Array]  # unlike a dict, it keeps its order under jax.jit


def feature_maps(
    fn: Callable[..., Any], layers: str | Iterable[str] | None = None
) -> Callable[..., Maps]:
    """Turn a function into one that returns its feature maps.

    A feature map is any value that the function names with
    ``jax.ad_checkpoint.checkpoint_name(value, name)``, which costs nothing at run time. The
    models here name every map after its activation; your own functions may do the same.

    Args:
        fn: any JAX function or model; pure, that is, not drawing dropout.
        layers: the name or names to return, or None for all. Under ``jax.jit`` what only the
            others need is not computed.

    Returns:
        A pure function of the arguments of ``fn`` that returns a dict from name to feature map,
        in the order of computation; a name used again gets ``#2``, ``#3`` ... It runs under
        ``jax.jit``, ``jax.vmap`` and ``jax.grad``.

    Raises:
        ShapeError: when called: a name in ``layers`` that no value bears, or that stands inside a
            loop or a branch.

    Example:
        >>> import jax, jaxconv as jc
        >>> from flax import nnx
        >>> model = jc.VGG([(8, 8), (16,)], head=None, rngs=nnx.Rngs(0))
        >>> maps = jax.jit(jc.feature_maps(model))(jax.numpy.ones((1, 32, 32, 3)))
        >>> {name: value.shape[1:] for name, value in maps.items()}
        {'conv1_1': (32, 32, 8), 'conv1_2': (32, 32, 8), 'pool1': (16, 16, 8),
         'conv2_1': (16, 16, 16), 'pool2': (8, 8, 16)}
    """
    wanted = [layers] if isinstance(layers, str) else None if layers is None else [*layers]

    def mapped(*args: Any, **kwargs: Any) -> Maps:
        closed = jax.make_jaxpr(fn)(*args, **kwargs)
        found: Maps = OrderedDict()
        _run(closed.jaxpr, closed.consts, jax.tree.leaves((args, kwargs)), found)
        return found if wanted is None else _pick(wanted, found, closed.jaxpr)

    return mapped


def _pick(wanted: Sequence[str], found: Maps, jaxpr: core.Jaxpr) -> Maps:
    unknown = [name for name in wanted if name not in found]
    if not unknown:
        return OrderedDict((name, found[name]) for name in wanted)
    if unknown[0] in names(jaxpr):
        raise ShapeError(
            f"feature_maps: {unknown[0]!r} is named inside a loop or a branch, where it has no one "
            "value.\n  Fix: return it from there, and name it outside."
        )
    raise ShapeError(message("feature_maps", [choice("layers", unknown[0], found)]))


def _run(jaxpr: core.Jaxpr, consts: Sequence[Any], args: Sequence[Any], found: Maps) -> list[Any]:
    """Evaluate a jaxpr and put each named value into ``found``."""
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))
    for eqn in jaxpr.eqns:
        inputs = [value_of(atom, values) for atom in eqn.invars]
        if eqn.primitive.name == "name":
            found[fresh(eqn.params["name"], found)] = jnp.asarray(inputs[0])
        values.update(zip(eqn.outvars, _apply(eqn, inputs, found), strict=True))
    return [value_of(atom, values) for atom in jaxpr.outvars]


def _apply(eqn: core.JaxprEqn, inputs: list[Any], found: Maps) -> list[Any]:
    inner = body(eqn)
    # A call without names inside is bound as it is, which keeps its own gradient and its jit.
    if inner is not None and names(inner[0]):
        outputs = _run(*inner, inputs, found)
        if not eqn.primitive.name.startswith("custom_"):
            return outputs
        # Its values are those just computed; its own gradient is kept by the call itself.
    params = eqn.primitive.get_bind_params(eqn.params)
    outputs = eqn.primitive.bind(*inputs, **params)
    return list(outputs) if eqn.primitive.multiple_results else [outputs]
