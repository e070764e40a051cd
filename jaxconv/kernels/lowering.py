"""Twins of JAX's primitives: the same in all but how they are lowered on a CPU.

A twin has the name, the parameters and the shapes of its original, so that whatever reads a trace
knows it. On any other platform it *is* the original, and wherever it is differentiated, transposed
or batched, JAX derives the rule of the original and twins take the place of the primitives in it:
derivatives of any order, forward and backward, are right by JAX's rules, and fast where they are
operations that have a twin.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax

from jaxconv.compat import ClosedJaxpr, JaxprEqn, Primitive, ad, batching, eval_jaxpr, mlir
from jaxconv.jaxpr.interpreter import rewrite

Takes = Callable[[JaxprEqn], Any]


@dataclass(frozen=True)
class Twin:
    """A primitive that takes the place of another.

    Attributes:
        primitive: the twin itself.
        cpu: what it computes on a CPU, from its operands and parameters.
        takes: whether there is something to win in an equation of the original.
    """

    primitive: Primitive
    cpu: Callable[..., jax.Array]
    takes: Takes


TWINS: dict[Primitive, Twin] = {}  # by their originals


def twin(original: Primitive, takes: Takes) -> Callable[[Callable[..., jax.Array]], Twin]:
    """Make a function, of operands and parameters, what ``original`` computes on a CPU."""

    def make(cpu: Callable[..., jax.Array]) -> Twin:
        made = Primitive(original.name)
        made.def_abstract_eval(lambda *x, **params: original.abstract_eval(*x, **params)[0])
        made.def_impl(partial(_eager, made))
        mlir.register_lowering(made, _lowered(original.bind))
        mlir.register_lowering(made, _lowered(cpu), platform="cpu")
        ad.primitive_jvps[made] = partial(_jvp, original)
        ad.primitive_transposes[made] = partial(_transpose, original)
        batching.primitive_batchers[made] = partial(_batch, original)
        return TWINS.setdefault(original, Twin(made, cpu, takes))

    return make


def with_twins(function: Callable[..., Any], *args: Any) -> Any:
    """Call ``function`` with twins in the place of the primitives that have some."""
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
    twins = swapped(closed)
    # The lines of the inner trace end here; those of the outer one lead to the user's code.
    leaves = jax.tree.leaves(args)
    results = eval_jaxpr(twins.jaxpr, twins.consts, *leaves, propagate_source_info=False)
    return jax.tree.unflatten(jax.tree.structure(shapes), results)


def static(x: Any) -> bool:
    """Whether all sizes are numbers, and no axis is sharded in its type.

    Where meshes are explicit, only JAX's own rules know the sharding of each result.
    """
    return all(isinstance(n, int) for n in x.shape) and not any(jax.typeof(x).sharding.spec)


def swapped(closed: ClosedJaxpr) -> ClosedJaxpr:
    """Put twins into a trace, and into all traces inside it.

    Args:
        closed: the trace.
    """

    def rule(eqn: JaxprEqn) -> JaxprEqn | None:
        found = TWINS.get(eqn.primitive)
        return eqn.replace(primitive=found.primitive) if found and found.takes(eqn) else None

    return rewrite(closed, rule)


def _eager(primitive: Primitive, *x: Any, **params: Any) -> Any:
    with jax.disable_jit(False):  # which would come back here, again and again
        return _compiled(primitive, tuple(params.items()))(*x)


@cache
def _compiled(primitive: Primitive, params: tuple[tuple[str, Any], ...]) -> Callable[..., Any]:
    return jax.jit(lambda *x: primitive.bind(*x, **dict(params)))


def _lowered(function: Callable[..., Any]) -> Any:
    return mlir.lower_fun(function, multiple_results=False)


def _at(function: Callable[..., Any], x: Sequence[Any], places: Sequence[int]) -> Any:
    """The function of the operands at ``places`` alone."""

    def of(*moving: Any) -> Any:
        given = dict(zip(places, moving, strict=True))
        return function(*(given.get(i, value) for i, value in enumerate(x)))

    return of


def _jvp(original: Primitive, x: Any, tangents: Any, **params: Any) -> Any:
    moving = [i for i, t in enumerate(tangents) if not isinstance(t, ad.Zero)]

    def jvp(x: Any, tangents: Any) -> Any:
        function = _at(partial(original.bind, **params), x, moving)
        return jax.jvp(function, [x[i] for i in moving], tangents)

    return with_twins(jvp, list(x), [tangents[i] for i in moving])


def _transpose(original: Primitive, cotangent: Any, *x: Any, **params: Any) -> list[Any]:
    unknown = [i for i, value in enumerate(x) if ad.is_undefined_primal(value)]
    if isinstance(cotangent, ad.Zero):
        return [ad.Zero(value.aval) if i in unknown else None for i, value in enumerate(x)]
    known = [None if i in unknown else value for i, value in enumerate(x)]

    def transposed(cotangent: Any, known: Any) -> Any:
        function = _at(partial(original.bind, **params), known, unknown)
        return jax.linear_transpose(function, *(x[i].aval for i in unknown))(cotangent)

    found = dict(zip(unknown, with_twins(transposed, cotangent, known), strict=True))
    return [found.get(i) for i in range(len(x))]


def _batch(original: Primitive, x: Any, axes: Any, **params: Any) -> tuple[Any, int]:
    function = jax.vmap(partial(original.bind, **params), axes)
    return (with_twins(function, *x) if all(map(static, x)) else function(*x)), 0
