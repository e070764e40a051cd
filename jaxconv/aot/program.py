"""Traces made ready to run: calls inlined, and what depends on parameters alone computed before."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
import numpy as np

from jaxconv.compat import ClosedJaxpr, Jaxpr, JaxprEqn, Var
from jaxconv.jaxpr.interpreter import body, value_of

Environment = dict[Var, Any]  # the values of variables
# A result that is more times larger than its operands, such as a bias broadcast to a map, is
# cheaper to compute again than to keep. A kernel grows four times by its transform.
MAX_GROWTH = 8
SMALL_SIZE = 4096  # numbers; results up to this size, such as one per channel, are always kept
LARGE_BYTES = 2**22  # NumPy asks the operating system for large pages for arrays of this size
ALIGNMENT_BYTES = 64  # JAX uses memory with this alignment without a copy


@dataclass(frozen=True)
class FoldedProgram:
    """A program whose constant part was computed.

    Attributes:
        constants: values that the program reads besides its arguments.
        run: takes the constants and the arguments, and returns the results, all of them lists.
    """

    constants: list[jax.Array]
    run: Callable[[Sequence[Any], Sequence[Any]], list[Any]]


def retrace(closed: ClosedJaxpr, function: Callable[..., Any]) -> ClosedJaxpr:
    """Trace a function in place of a trace.

    Args:
        closed: gives the constants and the types of the arguments.
        function: takes the constants and the arguments, both sequences.
    """
    avals = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in closed.in_avals]
    return jax.make_jaxpr(lambda *args: function(closed.consts, args))(*avals)


def inline_calls(closed: ClosedJaxpr) -> ClosedJaxpr:
    """Replace all calls by the equations of what they call. Names of values are dropped.

    Args:
        closed: a trace.
    """
    return retrace(closed, lambda consts, args: _opened(closed.jaxpr, consts, args))


def _opened(jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    values: Environment = dict(
        zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True)
    )
    for eqn in jaxpr.eqns:
        inputs = [_constant(value_of(atom, values)) for atom in eqn.invars]
        if eqn.primitive.name == "name":
            outputs = inputs
        elif inner := body(eqn):
            outputs = _opened(*inner, inputs)
        else:
            outputs = bind_equation(eqn, inputs)
        values.update(zip(eqn.outvars, outputs, strict=True))
    return [value_of(atom, values) for atom in jaxpr.outvars]


def _constant(value: Any) -> Any:
    """A JAX array for an array that was written into the trace: a parameter like any other."""
    if isinstance(value, jax.Array) or np.ndim(value) == 0:
        return value
    with jax.ensure_compile_time_eval():
        return jax.numpy.asarray(np.asarray(value))


def bind_equation(eqn: JaxprEqn, inputs: Iterable[Any]) -> list[Any]:
    """Compute one equation.

    Args:
        eqn: of a trace.
        inputs: the values of its operands.
    """
    outputs = eqn.primitive.bind(*inputs, **eqn.primitive.get_bind_params(eqn.params))
    return list(outputs) if eqn.primitive.multiple_results else [outputs]


def fold_constants(closed: ClosedJaxpr) -> FoldedProgram:
    """Compute what depends on the constants alone, and return a program for the rest.

    Args:
        closed: a trace without calls.
    """
    jaxpr = closed.jaxpr
    early = [*_constant_equations(jaxpr)]
    late = [eqn for eqn in jaxpr.eqns if not any(eqn is e for e in early)]
    results = {v for eqn in early for v in eqn.outvars}
    read = (*(v for eqn in late for v in eqn.invars), *jaxpr.outvars)
    constants = results | set(jaxpr.constvars)
    needed = [v for v in dict.fromkeys(variables(read)) if v in constants]
    environment = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    computed = [v for v in needed if v in results]
    # One compiled program, which leaves out what these do not need.
    read = {v: environment[v] for e in early for v in variables(e.invars) if v in environment}
    compute = jax.jit(lambda given: evaluate(early, dict(zip(read, given, strict=True)), computed))
    arrays = compute([*read.values()]) if computed else []
    for i, array in enumerate(arrays):  # one by one: each exists twice for a moment only
        arrays[i] = in_large_pages(array)
    environment |= dict(zip(computed, arrays, strict=True))

    def run(constants: Sequence[Any], args: Sequence[Any]) -> list[Any]:
        environment = dict(zip((*needed, *jaxpr.invars), (*constants, *args), strict=True))
        return evaluate(late, environment, jaxpr.outvars)

    return FoldedProgram([jax.numpy.asarray(environment[v]) for v in needed], run)


def evaluate(
    eqns: Iterable[JaxprEqn], environment: Environment, outputs: Iterable[Any]
) -> list[Any]:
    """Compute equations one after the other.

    Args:
        eqns: in order.
        environment: the values of all variables that they read; their results are added.
        outputs: variables or literals whose values are returned.
    """
    for eqn in eqns:
        inputs = [value_of(atom, environment) for atom in eqn.invars]
        environment.update(zip(eqn.outvars, bind_equation(eqn, inputs), strict=True))
    return [value_of(atom, environment) for atom in outputs]


def variables(atoms: Iterable[Any]) -> Iterator[Var]:
    """Filter the variables out of variables and literals.

    Args:
        atoms: operands of equations.
    """
    return (atom for atom in atoms if isinstance(atom, Var))


def _constant_equations(jaxpr: Jaxpr) -> Iterator[JaxprEqn]:
    """The equations that depend on constants alone and whose results are not much larger."""

    def size(atoms: Iterable[Any]) -> int:
        return sum(prod(getattr(v.aval, "shape", ())) for v in atoms)

    constant = set(jaxpr.constvars)
    for eqn in jaxpr.eqns:
        inputs = [*variables(eqn.invars)]
        is_small = size(eqn.outvars) <= max(MAX_GROWTH * size(inputs), SMALL_SIZE)
        if constant.issuperset(inputs) and is_small and not eqn.effects:
            constant.update(eqn.outvars)
            yield eqn


def in_large_pages(array: jax.Array) -> jax.Array:
    """Move an array on a CPU to memory with large pages, where the system has them.

    An array that is read in every call is read faster there: a processor translates the addresses
    of 2 MB at once rather than of 4 kB, and translation is slowest on virtual machines.

    Args:
        array: small arrays, and those of other devices, are returned as they are.
    """
    is_on_cpu = [device.platform for device in array.devices()] == ["cpu"]
    if array.nbytes < LARGE_BYTES or not is_on_cpu:
        return array
    memory = np.empty(array.nbytes + ALIGNMENT_BYTES, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT_BYTES
    aligned = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    aligned[...] = array
    return jax.device_put(aligned, array.sharding, may_alias=True)
