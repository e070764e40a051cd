"""A trace made ready to run: calls opened, and what depends on parameters alone computed before."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
import numpy as np

from jaxconv.compat import ClosedJaxpr, Jaxpr, JaxprEqn, Var
from jaxconv.jaxpr.interpreter import body, value_of

Values = dict[Var, Any]
# What grows more than this when it is computed, such as a bias spread over a map, is cheaper to
# compute again than to keep. A kernel grows four times by its transform.
GROWTH = 8
LITTLE = 4096  # numbers that are kept in any case, such as one a channel
LARGE = 2**22  # bytes of an array from which on NumPy asks the system for large pages
ALIGNMENT = 64  # bytes; JAX takes memory that is so aligned as it is


@dataclass(frozen=True)
class Prepared:
    """A program in two parts.

    Attributes:
        constants: what it needs beside its arguments, computed once.
        run: takes the constants and the arguments, and returns the results, all of them lists.
    """

    constants: list[jax.Array]
    run: Callable[[Sequence[Any], Sequence[Any]], list[Any]]


def retraced(closed: ClosedJaxpr, function: Callable[..., Any]) -> ClosedJaxpr:
    """Trace a function of the constants and arguments of a trace, in its place."""
    avals = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in closed.in_avals]
    return jax.make_jaxpr(lambda *args: function(closed.consts, args))(*avals)


def opened(closed: ClosedJaxpr) -> ClosedJaxpr:
    """Put the equations of all calls in the place of the calls; names are left out."""
    return retraced(closed, lambda consts, args: _opened(closed.jaxpr, consts, args))


def _opened(jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    values: Values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))
    for eqn in jaxpr.eqns:
        inputs = [_constant(value_of(atom, values)) for atom in eqn.invars]
        if eqn.primitive.name == "name":
            outputs = inputs
        elif inner := body(eqn):
            outputs = _opened(*inner, inputs)
        else:
            outputs = applied(eqn, inputs)
        values.update(zip(eqn.outvars, outputs, strict=True))
    return [value_of(atom, values) for atom in jaxpr.outvars]


def _constant(value: Any) -> Any:
    """An array of JAX for one that was written into the trace: a parameter like any other."""
    if isinstance(value, jax.Array) or np.ndim(value) == 0:
        return value
    with jax.ensure_compile_time_eval():
        return jax.numpy.asarray(np.asarray(value))


def applied(eqn: JaxprEqn, inputs: Iterable[Any]) -> list[Any]:
    """Compute one equation."""
    outputs = eqn.primitive.bind(*inputs, **eqn.primitive.get_bind_params(eqn.params))
    return list(outputs) if eqn.primitive.multiple_results else [outputs]


def prepared(closed: ClosedJaxpr) -> Prepared:
    """Compute what depends on the constants alone, and leave a program for the rest."""
    jaxpr = closed.jaxpr
    early = [*_early(jaxpr)]
    late = [eqn for eqn in jaxpr.eqns if not any(eqn is e for e in early)]
    made = {v for eqn in early for v in eqn.outvars}
    read = (*(v for eqn in late for v in eqn.invars), *jaxpr.outvars)
    needed = [v for v in dict.fromkeys(variables(read)) if v in made or v in set(jaxpr.constvars)]
    values = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    values |= _computed(early, [v for v in needed if v in made], values)

    def run(constants: Sequence[Any], args: Sequence[Any]) -> list[Any]:
        values = dict(zip((*needed, *jaxpr.invars), (*constants, *args), strict=True))
        return evaluated(late, values, jaxpr.outvars)

    return Prepared([jax.numpy.asarray(values[v]) for v in needed], run)


def evaluated(eqns: Iterable[JaxprEqn], values: Values, wanted: Iterable[Any]) -> list[Any]:
    """Compute equations one after the other, and return some of the values."""
    for eqn in eqns:
        inputs = [value_of(atom, values) for atom in eqn.invars]
        values.update(zip(eqn.outvars, applied(eqn, inputs), strict=True))
    return [value_of(atom, values) for atom in wanted]


def variables(atoms: Iterable[Any]) -> Iterator[Var]:
    """Those of some operands that are no literals."""
    return (atom for atom in atoms if isinstance(atom, Var))


def _early(jaxpr: Jaxpr) -> Iterator[JaxprEqn]:
    """Equations that depend on constants alone and do not grow much."""
    known = set(jaxpr.constvars)
    for eqn in jaxpr.eqns:
        inputs = [*variables(eqn.invars)]
        bounded = _numbers(eqn.outvars) <= max(GROWTH * _numbers(inputs), LITTLE)
        if known.issuperset(inputs) and bounded and not eqn.effects:
            known.update(eqn.outvars)
            yield eqn


def _numbers(of: Iterable[Any]) -> int:
    return sum(prod(getattr(v.aval, "shape", ())) for v in of)


def _computed(eqns: Sequence[JaxprEqn], wanted: Sequence[Var], values: Values) -> Values:
    """Compute some variables in one program; what none of them needs is not computed."""
    read = {v: values[v] for eqn in eqns for v in variables(eqn.invars) if v in values}
    run = jax.jit(lambda given: evaluated(eqns, dict(zip(read, given, strict=True)), wanted))
    made = run([*read.values()]) if wanted else []
    for place, array in enumerate(made):  # one by one: each is there twice for a moment only
        made[place] = in_large_pages(array)
    return dict(zip(wanted, made, strict=True))


def in_large_pages(array: jax.Array) -> jax.Array:
    """Move an array of a CPU to memory of large pages, where the system has them.

    What is read in every call is read faster there: a processor finds its way through 2 MB at once,
    rather than 4 kB, which takes longest on virtual machines.
    """
    if array.nbytes < LARGE or [device.platform for device in array.devices()] != ["cpu"]:
        return array
    room = np.empty(array.nbytes + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    place = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    place[...] = array
    return jax.device_put(place, array.sharding, may_alias=True)
