"""Which arguments of a function are inputs, which are parameters, and which are state.

Libraries tell parameters from state: Flax by collections and types of variables, Equinox by its
``State``, Haiku by separate trees, Optax by the types of its states. Where a tree is passed or
closed over without its type, state is known by the names that the normalisations of these libraries
give to it.
"""

import contextlib
import dis
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from types import CodeType
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxconv.adapters.adapter import ModelArrays
from jaxconv.adapters.libraries import adapter_of
from jaxconv.source import is_inside_library
from jaxconv.symbolic.specs import Spec

AVERAGES = {"average", "counter", "hidden"}  # of an hk.ExponentialMovingAverage
STATISTICS = {"mean", "var"}  # of a BatchNorm of Flax Linen, in its collection batch_stats


def argument_roles(template: Any) -> Iterator[tuple[str, ...] | None]:
    """Classify each array among the arguments of a function.

    Without any spec, the last argument with an array of at least one axis is the input; for an NNX
    module all arguments are inputs.

    Args:
        template: the arguments, with specs as leaves.

    Yields:
        The path of a parameter, an empty path for state, or None for an input.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(template, is_leaf=_is_whole)
    has_specs = any(isinstance(leaf, Spec) for _, leaf in leaves)
    is_module = isinstance(template[0], nnx.State | ModelArrays) if template else False
    candidates = [] if has_specs else leaves
    arrays = [path for path, leaf in candidates if any(map(jnp.ndim, _arrays(leaf)))]
    images = _key(arrays[-1][0]) if arrays else None
    kinds = {str(n): _kind(argument) for n, argument in enumerate(template)}
    for path, leaf in leaves:
        argument, *steps = map(_key, path)
        is_input = isinstance(leaf, Spec) or argument == images or (is_module and argument != "0")
        role = None if is_input else _role(kinds[argument], argument, steps, leaf)
        yield from [role] * len(_arrays(leaf))


def _role(kind: str, argument: str, steps: list[str], leaf: Any) -> tuple[str, ...]:
    """The path of a parameter, which has nothing that every path begins with; empty for state."""
    if kind == "arrays":
        path = tuple(step.replace("/", ".") for step in steps[1:])
        return path if steps[0] == "parameters" else ()
    if isinstance(leaf, nnx.Variable):
        return tuple(steps) if isinstance(leaf, nnx.Param) else ()
    if kind == "linen":
        return tuple(steps[1:]) if steps[0] == "params" else ()
    if kind in ("nnx", "state") or _is_state(leaf):
        return ()
    if kind != "equinox":
        return tuple(step.replace("/", ".") for step in steps) or (argument,)
    attributes = [""]  # as Python writes them: layers[3], conv1, weight
    for step in steps:
        if step.isdigit():
            attributes[-1] += f"[{step}]"
        else:
            attributes.append(step)
    return tuple(filter(None, attributes))


def _kind(argument: Any) -> str:
    """Which library an argument is of, as far as it says what state is; "state" where all is."""
    equinox: Any = sys.modules.get("equinox")
    if isinstance(argument, ModelArrays):
        return "arrays"
    if isinstance(argument, nnx.State | nnx.Module):
        return "nnx"
    if equinox is not None and isinstance(argument, equinox.Module):
        return "equinox"
    if not isinstance(argument, dict):
        return ""
    if "params" in argument:
        return "linen"
    names = [*_innermost_names(argument)]
    averages = any(some == AVERAGES for some in names)
    is_state = averages or (names and all(some == STATISTICS for some in names))
    # Haiku makes for each module a dict of arrays by name.
    groups = [group for group in argument.values() if isinstance(group, dict)]
    arrays = [leaf for group in groups for leaf in group.values()]
    keys = [*argument, *(name for group in groups for name in group)]
    is_of_haiku = (
        "haiku" in sys.modules
        and bool(arrays)
        and len(groups) == len(argument)
        and all(isinstance(key, str) for key in keys)
        and all(hasattr(leaf, "dtype") for leaf in arrays)
    )
    return "state" if is_state else "haiku" if is_of_haiku else ""


def _innermost_names(tree: dict[Any, Any]) -> Iterator[set[Any]]:
    """The keys of each dict that has no dict inside."""
    inner = [value for value in tree.values() if isinstance(value, dict)]
    for value in inner:
        yield from _innermost_names(value)
    if tree and not inner:
        yield {*tree}


def _is_state(value: Any) -> bool:
    """Whether a part of the arguments is the state of an Equinox model, or of an optimizer."""
    if type(value) is tuple and value:
        return all(map(_is_state, value))
    equinox: Any = sys.modules.get("equinox")
    is_of_model = equinox is not None and isinstance(value, equinox.nn.State)
    return is_of_model or type(value).__module__.partition(".")[0] == "optax"


def _is_whole(value: Any) -> bool:
    """Whether a part of the arguments says itself what it is."""
    return isinstance(value, Spec | nnx.Variable) or _is_state(value)


def _arrays(leaf: Any) -> list[Any]:
    return [leaf] if isinstance(leaf, Spec) else jax.tree.leaves(leaf)


ClosedOver = Mapping[int, tuple[Any, tuple[str, ...]]]  # by the identity of an array


def closed_over_roles(fn: Callable[..., Any]) -> list[ClosedOver]:
    """Classify the arrays in the models and variables that a function closes over.

    Args:
        fn: the function, or a model.

    Returns:
        For each model its arrays, each with the path of a parameter or an empty one for state.
        Arrays of which no library says what they are are left out.
    """
    models = ((value, adapter_of(value)) for value in _closed_over(fn, set()))
    values = [
        adapter.arrays(value) if adapter and adapter.arrays else value for value, adapter in models
    ]
    classified: list[ClosedOver] = []
    for value in values:
        kind = _kind(value)
        if not kind and not _is_state(value):
            continue
        roles: dict[int, tuple[Any, tuple[str, ...]]] = {}
        try:  # a module may have been updated in a trace that is over
            leaves, _ = jax.tree_util.tree_flatten_with_path(value, is_leaf=_is_whole)
            arrays = [(path, leaf, _arrays(leaf)) for path, leaf in leaves]
        except ValueError:
            arrays = []
        for path, leaf, parts in arrays:
            role = _role(kind, "", [*map(_key, path)] or [""], leaf)
            roles |= {id(array): (array, role) for array in parts if hasattr(array, "dtype")}
        classified.append(roles)
    return classified


def _closed_over(value: Any, seen: set[int]) -> Iterator[Any]:
    """What a function refers to: by its closure, its module, or as an argument bound to it."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, functools.partial):
        parts = [value.func, *value.args, *value.keywords.values()]
    elif inspect.isfunction(value):
        parts = [getattr(value, "__wrapped__", None), *(value.__defaults__ or ())]
        for cell in value.__closure__ or ():
            with contextlib.suppress(ValueError):  # an empty cell
                parts.append(cell.cell_contents)
        if not is_inside_library(value.__code__.co_filename):
            parts += [value.__globals__.get(name) for name in _global_names(value.__code__)]
    elif inspect.ismethod(value):
        parts = [value.__self__]
    elif hasattr(value, "__wrapped__"):
        parts = [value.__wrapped__]
    else:
        linen: Any = sys.modules.get("flax.linen")
        is_bound = linen is not None and isinstance(value, linen.Module) and value.scope is not None
        yield value.variables if is_bound else value
        return
    for part in parts:
        yield from _closed_over(part, seen)


def _global_names(code: CodeType) -> Iterator[str]:
    """The globals that a function and those defined inside it read."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield instruction.argval
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _global_names(inner)


def _key(step: Any) -> str:
    """One step of a path, as text."""
    names = (name for name in ("key", "name", "idx") if hasattr(step, name))
    name = next(names, None)
    return str(step if name is None else getattr(step, name))
