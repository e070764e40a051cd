"""What a traced function returns, in any structure: containers are compared by their leaves."""

from collections.abc import Hashable, Sequence
from typing import Any

import jax

from jaxconv.adapters.adapter import is_array
from jaxconv.adapters.libraries import adapter_of
from jaxconv.symbolic.real import Symbolic

NUMBERS = (bool, int, float, complex, Symbolic)


def split_results(leaves: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Take the arrays out of what a function returns.

    Args:
        leaves: of the result.

    Returns:
        The arrays and numbers, which a trace returns; and all leaves, with None in their places.

    Raises:
        TypeError: the function returns a model, or another function.
    """
    for leaf in leaves:
        is_model = adapter_of(leaf) is not None
        if is_model or (len(leaves) == 1 and callable(leaf)):
            kind = f"{type(leaf).__name__}, a model" if is_model else "function"
            raise TypeError(
                f"the function returns a {kind}, and no array.\n"
                "  Fix: call the function first, as in make(), and pass what it returns."
            )
    varies = [is_array(leaf) or isinstance(leaf, NUMBERS) for leaf in leaves]
    arrays = [
        # JAX does not check that a symbolic number it returns fits in 32 bits, as Python's must.
        leaf.__jax_array__() if isinstance(leaf, Symbolic) else leaf
        for leaf, one in zip(leaves, varies, strict=True)
        if one
    ]
    return arrays, [None if one else leaf for leaf, one in zip(leaves, varies, strict=True)]


def merge_results(arrays: Sequence[Any], tree: Any, others: Sequence[Any]) -> Any:
    """Put the arrays back into what a function returned.

    Args:
        arrays: what the trace returned.
        tree: the structure of the result.
        others: its leaves, with None in the places of arrays.

    Returns:
        The result.
    """
    remaining = iter(arrays)
    return jax.tree.unflatten(tree, [next(remaining) if one is None else one for one in others])


def structure_key(tree: Any) -> Hashable:
    """Describe a structure by the types of its containers and the paths of its leaves.

    Fields that are no leaves, such as functions made in each call, are left out.

    Args:
        tree: any tree.

    Returns:
        What is equal for trees of the same structure.
    """
    paths = tuple(
        jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)
    )
    return paths, _node_types(jax.tree.structure(tree))


def _node_types(structure: Any) -> Hashable:
    data = structure.node_data()
    name = "" if data is None else f"{data[0].__module__}.{data[0].__qualname__}"
    return (name, *map(_node_types, structure.children()))


def same_shapes(one: Any, other: Any) -> bool:
    """Tell whether two results have the same structure and the same shapes.

    Args:
        one: a tree of shapes, with numbers as sizes.
        other: likewise.
    """
    if structure_key(one) != structure_key(other):
        return False
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(
        # A function or another object is made anew in each call.
        a == b if isinstance(a, int | str) or isinstance(b, int | str) else type(a) is type(b)
        for a, b in pairs
    )
