"""CPU primitives: primitives of JAX with a lowering of their own for CPUs.

A CPU primitive has the name, the parameters and the shapes of the original, so that whatever reads
a trace knows it. On a CPU it is computed by the formulation that :mod:`jaxconv.kernels.registry`
chooses, or by `lax` where none takes it. On any other platform it is lowered as the original is,
unless the formulation takes fewer operations on any platform. Where it is differentiated,
transposed or batched, JAX applies the rule of the original, and the primitives in the result are
replaced in turn. So derivatives of any order, forward and backward, are right by JAX's own rules,
and fast where a formulation takes their operations.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import jax

from jaxconv.compat import (
    ClosedJaxpr,
    JaxprEqn,
    Primitive,
    Zero,
    eval_jaxpr,
    is_undefined_primal,
    lower_fun,
    missing,
    primitive_batchers,
    primitive_jvps,
    primitive_transposes,
    register_lowering,
)
from jaxconv.jaxpr.interpreter import rewrite
from jaxconv.kernels.registry import Formulation, Operation, Schedule, formulations, schedule_of

_ORIGINALS: dict[Primitive, Primitive] = {}  # by their CPU primitives


@cache
def cpu_primitive(original: Primitive) -> Primitive:
    """Make the primitive that replaces one of JAX on a CPU; the same one at each call.

    Args:
        original: a primitive of JAX with one result.
    """
    primitive, rules = Primitive(original.name), _Rules(original)

    @cache
    def compiled(params: tuple[tuple[str, Any], ...]) -> Callable[..., Any]:
        return jax.jit(lambda *x: primitive.bind(*x, **dict(params)))

    def run_eagerly(*x: Any, **params: Any) -> Any:
        with jax.disable_jit(False):  # without jit, this function would call itself for ever
            return compiled(tuple(params.items()))(*x)

    primitive.def_abstract_eval(lambda *x, **params: original.abstract_eval(*x, **params)[0])
    primitive.def_impl(run_eagerly)
    lower = partial(lower_fun, multiple_results=False)
    register_lowering(primitive, lower(rules.compute_elsewhere))
    register_lowering(primitive, lower(rules.compute), platform="cpu")
    primitive_jvps[primitive] = rules.jvp
    primitive_transposes[primitive] = rules.transpose
    primitive_batchers[primitive] = rules.batch
    _ORIGINALS[primitive] = original
    return primitive


def is_cpu_primitive(primitive: Primitive) -> bool:
    """Tell whether a primitive was made by :func:`cpu_primitive`.

    Args:
        primitive: any.
    """
    return primitive in _ORIGINALS


def schedule_of_equation(eqn: JaxprEqn, is_prepared: bool = False) -> Schedule | None:
    """Choose the formulation of an equation.

    Args:
        eqn: of a primitive of JAX or of a CPU primitive.
        is_prepared: see :class:`~jaxconv.kernels.registry.Operation`.

    Returns:
        The schedule, or None where no formulation was made for such an equation.
    """
    original = _ORIGINALS.get(eqn.primitive, eqn.primitive)
    if not formulations(original):
        return None
    output: Any = eqn.outvars[0].aval
    inputs: list[Any] = [v.aval for v in eqn.invars]
    return schedule_of(Operation(original, inputs, output, eqn.params, is_prepared))


def with_cpu_primitives(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function with CPU primitives in place of the primitives that have formulations.

    Args:
        function: of JAX arrays.
        *args: pytrees of arrays.

    Returns:
        What ``function`` returns.
    """
    if missing:  # a version of JAX in which primitives cannot be made as below
        return function(*args)
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
    replaced = replace_primitives(closed)
    # The lines of the inner trace end here; those of the outer one lead to the user's code.
    leaves = jax.tree.leaves(args)
    results = eval_jaxpr(replaced.jaxpr, replaced.consts, *leaves, propagate_source_info=False)
    return jax.tree.unflatten(jax.tree.structure(shapes), results)


def is_static(x: Any) -> bool:
    """Tell whether all sizes are numbers, and no axis is sharded in its type.

    Where meshes are explicit, only JAX's own rules know the sharding of each result.

    Args:
        x: an array.
    """
    return all(isinstance(n, int) for n in x.shape) and not any(jax.typeof(x).sharding.spec)


def replace_primitives(closed: ClosedJaxpr) -> ClosedJaxpr:
    """Put CPU primitives into a trace, and into all traces inside it.

    Args:
        closed: the trace.
    """

    def rule(eqn: JaxprEqn) -> JaxprEqn | None:
        # Also where `lax` computes the operation itself: its derivatives may have formulations.
        if is_cpu_primitive(eqn.primitive) or not formulations(eqn.primitive):
            return None
        return eqn.replace(primitive=cpu_primitive(eqn.primitive))

    return rewrite(closed, rule)


class _Rules:
    """The rules of a CPU primitive, derived from those of the original."""

    def __init__(self, original: Primitive) -> None:
        self.original = original

    def compute(self, *operands: jax.Array, **params: Any) -> jax.Array:
        """Compute by the formulation that takes the operation; by `lax` where none does."""
        selected = self.selected(*operands, **params)
        return (selected.apply if selected else self.original.bind)(*operands, **params)

    def compute_elsewhere(self, *operands: jax.Array, **params: Any) -> jax.Array:
        """Compute on other platforms than CPUs: by `lax`, except where it takes more operations."""
        selected = self.selected(*operands, **params)
        if selected is None or not selected.everywhere:
            return self.original.bind(*operands, **params)
        return selected.apply(*operands, **params)

    def selected(self, *operands: jax.Array, **params: Any) -> Formulation | None:
        """The formulation that takes the operation."""
        inputs = [jax.typeof(x) for x in operands]
        output, _ = self.original.abstract_eval(*inputs, **params)
        schedule = schedule_of(Operation(self.original, inputs, output, params))
        return schedule.selected if schedule else None

    def jvp(self, x: Any, tangents: Any, **params: Any) -> Any:
        """Differentiate forward, in the operands that have a tangent."""
        free = [i for i, t in enumerate(tangents) if not isinstance(t, Zero)]

        def jvp(x: Any, tangents: Any) -> Any:
            function = _with_fixed(partial(self.original.bind, **params), x, free)
            return jax.jvp(function, [x[i] for i in free], tangents)

        return with_cpu_primitives(jvp, list(x), [tangents[i] for i in free])

    def transpose(self, cotangent: Any, *x: Any, **params: Any) -> list[Any]:
        """Transpose the linear function of the operands that have no value."""
        unknown = [i for i, value in enumerate(x) if is_undefined_primal(value)]
        if isinstance(cotangent, Zero):
            return [Zero(value.aval) if i in unknown else None for i, value in enumerate(x)]
        known = [None if i in unknown else value for i, value in enumerate(x)]

        def transposed(cotangent: Any, known: Any) -> Any:
            function = _with_fixed(partial(self.original.bind, **params), known, unknown)
            return jax.linear_transpose(function, *(x[i].aval for i in unknown))(cotangent)

        results = with_cpu_primitives(transposed, cotangent, known)
        by_position = dict(zip(unknown, results, strict=True))
        return [by_position.get(i) for i in range(len(x))]

    def batch(self, x: Any, axes: Any, **params: Any) -> tuple[Any, int]:
        """Compute a batch of operations as one."""
        function = jax.vmap(partial(self.original.bind, **params), axes)
        return (with_cpu_primitives(function, *x) if all(map(is_static, x)) else function(*x)), 0


def _with_fixed(
    function: Callable[..., Any], x: Sequence[Any], free: Sequence[int]
) -> Callable[..., Any]:
    """Make a function of the operands at the positions ``free``; ``x`` gives the others."""

    def of_free(*values: Any) -> Any:
        changed = dict(zip(free, values, strict=True))
        return function(*(changed.get(i, value) for i, value in enumerate(x)))

    return of_free
