"""The results of equations that are constants of a trace, such as indices and masks."""

import functools
from collections.abc import Sequence
from math import prod
from typing import Any

import jax

from jaxconv.compat import Var
from jaxconv.jaxpr.equation import Compute, EquationContext
from jaxconv.jaxpr.interpreter import shape_of
from jaxconv.jaxpr.primitives import record_of

LARGEST_CONSTANT = 1 << 22  # numbers of a constant that is computed


def constant_results(context: EquationContext) -> dict[Var, Compute | None]:
    """Find out how to compute the results of an equation, where all its operands are constants.

    Args:
        context: the equation.

    Returns:
        By variable a function that computes it, once at most; None for a constant that is large,
        or that only running the program would show. Empty where some operand is not a constant.
    """
    eqn = context.eqn
    if not all(map(context.is_constant, eqn.invars)):
        return {}
    operands = [context.constant(atom) for atom in eqn.invars]
    shapes = map(shape_of, eqn.outvars)
    small = all(all(isinstance(n, int) for n in s) and prod(s) <= LARGEST_CONSTANT for s in shapes)
    hidden = eqn.effects or record_of(eqn).unknown_when_traced
    if None in operands or not small or hidden:
        return dict.fromkeys(eqn.outvars)

    @functools.cache
    def results() -> Sequence[Any]:
        with jax.ensure_compile_time_eval():
            params = eqn.primitive.get_bind_params(eqn.params)
            values = eqn.primitive.bind(*(compute() for compute in operands if compute), **params)
        return values if eqn.primitive.multiple_results else [values]

    return {var: lambda index=index: results()[index] for index, var in enumerate(eqn.outvars)}
