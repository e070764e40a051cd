"""Which arguments of a function are inputs, and which are parameters."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxconv.symbolic.specs import Spec


def argument_roles(template: Any) -> Iterator[tuple[str, ...] | None]:
    """Say for each array among the arguments of a function what it is.

    Without any spec the last argument with an array of some axes is the input; beside an NNX module
    all are.

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
    arrays = [path for path, leaf in leaves if any(map(jnp.ndim, jax.tree.leaves(leaf)))]
    images = _key(arrays[-1][0]) if arrays and not has_specs else None
    for path, leaf in leaves:
        argument, *steps = map(_key, path)
        is_input = isinstance(leaf, Spec) or argument == images or (is_module and argument != "0")
        count = 1 if isinstance(leaf, Spec) else len(jax.tree.leaves(leaf))
        for _ in range(count):
            yield None if is_input else _path(template[int(argument)], leaf, argument, steps)


def _path(container: Any, leaf: Any, argument: str, steps: list[str]) -> tuple[str, ...]:
    """The path of a parameter, without what every one begins with; of state an empty one."""
    if isinstance(leaf, nnx.Variable):
        return tuple(steps) if isinstance(leaf, nnx.Param) else ()
    if isinstance(container, dict) and "params" in container:  # the variables of Linen
        return tuple(steps[1:]) if steps[0] == "params" else ()
    return tuple(step.replace("/", ".") for step in steps) or (argument,)


def _key(step: Any) -> str:
    """One step of a path, as text."""
    names = (name for name in ("key", "name", "idx") if hasattr(step, name))
    name = next(names, None)
    return str(step if name is None else getattr(step, name))
