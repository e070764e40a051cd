"""Which arguments of a function are inputs, and which are parameters."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxconv.symbolic.specs import Spec


def argument_roles(template: Any) -> Iterator[tuple[str, ...] | None]:
    """Classify each array among the arguments of a function.

    Without any spec, the last argument with an array of at least one axis is the input; for an NNX
    module all arguments are inputs.

    Args:
        template: the arguments, with specs as leaves.

    Yields:
        The path of a parameter, an empty path for state, or None for an input.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(
        template, is_leaf=lambda value: isinstance(value, Spec | nnx.Variable)
    )
    has_specs = any(isinstance(leaf, Spec) for _, leaf in leaves)
    is_module = isinstance(template[0], nnx.State) if template else False
    candidates = [] if has_specs else leaves
    arrays = [path for path, leaf in candidates if any(map(jnp.ndim, jax.tree.leaves(leaf)))]
    images = _key(arrays[-1][0]) if arrays else None
    variables_of_linen = {
        str(n)
        for n, argument in enumerate(template)
        if isinstance(argument, dict) and "params" in argument
    }
    for path, leaf in leaves:
        argument, *steps = map(_key, path)
        is_input = isinstance(leaf, Spec) or argument == images or (is_module and argument != "0")
        # The path of a parameter has nothing that every path begins with; that of state is empty.
        if isinstance(leaf, nnx.Variable):
            role = tuple(steps) if isinstance(leaf, nnx.Param) else ()
        elif argument in variables_of_linen:
            role = tuple(steps[1:]) if steps[0] == "params" else ()
        else:
            role = tuple(step.replace("/", ".") for step in steps) or (argument,)
        count = 1 if isinstance(leaf, Spec) else len(jax.tree.leaves(leaf))
        for _ in range(count):
            yield None if is_input else role


def _key(step: Any) -> str:
    """One step of a path, as text."""
    names = (name for name in ("key", "name", "idx") if hasattr(step, name))
    name = next(names, None)
    return str(step if name is None else getattr(step, name))
