"""Read jaxprs: the equations of a function, those of inner calls included."""

import itertools
from collections.abc import Container
from typing import Any

# Calls that stand for their body, so that it can be read or run in place, by their parameter.
from jaxconv.compat import Jaxpr, JaxprEqn, Literal, Var

CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}


def body(eqn: JaxprEqn) -> tuple[Jaxpr, list[Any]] | None:
    """The jaxpr that a call stands for and its constants; None where ``eqn`` is no such call."""
    inner = eqn.params.get(CALLS.get(eqn.primitive.name, ""))
    if inner is None:
        return None
    return getattr(inner, "jaxpr", inner), getattr(inner, "consts", [])


def value_of(atom: Any, values: dict[Var, Any]) -> Any:
    """What an equation's input stands for: a literal's number, or a variable's entry."""
    return atom.val if isinstance(atom, Literal) else values[atom]


def shape_of(atom: Any) -> tuple[Any, ...]:
    """The shape of a value in a jaxpr.

    Args:
        atom: a variable or a literal.

    Returns:
        Ints and formulas; empty for what is not an array.
    """
    return getattr(atom.aval, "shape", ())


def fresh(name: str, taken: Container[str]) -> str:
    """The name, or ``name#2``, ``name#3`` where it was given before."""
    candidates = itertools.chain([name], (f"{name}#{count}" for count in itertools.count(2)))
    return next(candidate for candidate in candidates if candidate not in taken)


def carried(scan: JaxprEqn) -> tuple[int, int]:
    """Where the carry begins and ends among the operands of a scan.

    Before it stand the constants, after it the arrays that are sliced, which have an axis more
    than the body sees of them; so have the stacked results. (Versions of JAX differ in how their
    parameters count these.)
    """
    jaxpr = scan.params["jaxpr"].jaxpr
    sliced = sum(map(_has_more_axes, scan.invars, jaxpr.invars))
    stacked = sum(map(_has_more_axes, scan.outvars, jaxpr.outvars))
    last = len(scan.invars) - sliced
    return last - (len(scan.outvars) - stacked), last


def _has_more_axes(outer: Any, inner: Any) -> bool:
    return len(outer.aval.shape) > len(inner.aval.shape)
