"""The memory and the work that a jaxpr takes if it is evaluated equation by equation."""

from math import prod
from typing import Any

from jaxconv.compat import Jaxpr, JaxprEqn
from jaxconv.jaxpr.interpreter import (
    Atom,
    control_flow,
    equations,
    shape_of,
    subjaxprs,
    unused_after,
)
from jaxconv.jaxpr.primitives import record_of


def bytes_of(atom: Atom) -> int:
    """Bytes of a value in a jaxpr; 0 for what is not an array.

    Args:
        atom: a literal or a variable.
    """
    dtype = getattr(atom.aval, "dtype", None)
    return prod(shape_of(atom)) * getattr(dtype, "itemsize", 0)


def peak_bytes(jaxpr: Jaxpr) -> int:
    """Bytes of the results of equations that are alive at once, at most.

    Each value is dropped after its last use; what the jaxpr returns is kept. What it takes does not
    count. A convolution or a matrix product may copy its first operand, to pad or to transpose it.
    Jaxprs inside count as if evaluated in the same way; a compiler may need less.

    Args:
        jaxpr: with numbers as sizes.
    """
    sizes: dict[Any, int] = {}
    peak = alive = 0
    for eqn, unused in zip(equations(jaxpr, recursive=False), unused_after(jaxpr), strict=True):
        sizes.update((variable, bytes_of(variable)) for variable in eqn.outvars)
        results = sum(map(bytes_of, eqn.outvars))
        copied = bytes_of(eqn.invars[0]) if record_of(eqn).macs else 0
        peak = max(peak, alive + max([results + copied, *map(peak_bytes, subjaxprs(eqn))]))
        alive += results - sum(sizes.pop(variable, 0) for variable in unused)
    return peak


def work(of: Jaxpr | JaxprEqn) -> float:
    """Estimate how much there is to compute: multiply-accumulates, and numbers written.

    Args:
        of: a jaxpr, or an equation, with numbers as sizes. A while loop counts as one iteration.
    """
    if isinstance(of, Jaxpr):
        return sum(map(work, equations(of, recursive=False)))
    flow, count_macs = control_flow(of), record_of(of).macs
    inside = sum(map(work, subjaxprs(of))) * ((flow and flow.length) or 1)
    macs = float(prod(count_macs(of, lambda size: size, True))) if count_macs else 0.0
    return inside + macs + sum(float(prod(shape_of(variable))) for variable in of.outvars)
