"""Read jaxprs: the equations of a function, those of inner calls included."""

import itertools
from collections.abc import Container
from typing import Any

from jax.extend import core

from jaxconv.shapes.traced import inside

# Calls that stand for their body, so that it can be read or run in place, by their parameter.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}


def body(eqn: core.JaxprEqn) -> tuple[core.Jaxpr, list[Any]] | None:
    """The jaxpr that a call stands for and its constants; None where ``eqn`` is no such call."""
    inner = eqn.params.get(CALLS.get(eqn.primitive.name, ""))
    if inner is None:
        return None
    return getattr(inner, "jaxpr", inner), getattr(inner, "consts", [])


def names(jaxpr: core.Jaxpr) -> set[str]:
    """All names given with ``checkpoint_name``, at any depth, in loops and branches too."""
    found = {eqn.params["name"] for eqn in jaxpr.eqns if eqn.primitive.name == "name"}
    return found.union(*(names(inner) for eqn in jaxpr.eqns for inner in inside(eqn)))


def value_of(atom: Any, values: dict[core.Var, Any]) -> Any:
    """What an equation's input stands for: a literal's number, or a variable's entry."""
    return atom.val if isinstance(atom, core.Literal) else values[atom]


def fresh(name: str, taken: Container[str]) -> str:
    """The name, or ``name#2``, ``name#3`` where it was given before."""
    candidates = itertools.chain([name], (f"{name}#{count}" for count in itertools.count(2)))
    return next(candidate for candidate in candidates if candidate not in taken)
