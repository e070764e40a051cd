"""Traces prepared to run: calls inlined, and values that depend on parameters alone precomputed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import jax
import numpy as np

from jaxconv.compat import ClosedJaxpr, JaxprEqn, Var
from jaxconv.jaxpr.interpreter import (
    Evaluator,
    FlowKind,
    Interpreter,
    Scope,
    bind_equation,
    shape_of,
    variables,
)
from jaxconv.jaxpr.primitives import record_of
from jaxconv.kernels.lowering import is_cpu_primitive, schedule_of_equation

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
    """Trace a function of the constants and arguments of a trace.

    Args:
        closed: the trace.
        function: takes a list of constants and a list of arguments, and returns a list of results.

    Returns:
        The trace to be used instead.
    """
    avals = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in closed.in_avals]
    return jax.make_jaxpr(lambda *args: function(closed.consts, args))(*avals)


def inline_calls(closed: ClosedJaxpr) -> ClosedJaxpr:
    """Replace calls, and formulations that consist of others, by the equations of their bodies.

    Names of values are dropped.


    Args:
        closed: a trace.
    """
    return retrace(closed, partial(_Inliner().run, closed.jaxpr))


class _Inliner(Evaluator):
    """Evaluates calls by their bodies."""

    enters = frozenset({FlowKind.CALL})

    def equation(self, eqn: JaxprEqn, inputs: Sequence[Any], scope: Scope) -> Sequence[Any]:
        del scope
        if record_of(eqn).names_value:
            return inputs
        schedule = schedule_of_equation(eqn) if is_cpu_primitive(eqn.primitive) else None
        if schedule and schedule.selected and schedule.selected.expands:
            return [schedule.selected.apply(*inputs, **eqn.params)]
        return bind_equation(eqn, inputs)

    def constant(self, const: Any) -> Any:
        """An array of JAX for one that was written into the trace: a parameter like any other."""
        if isinstance(const, jax.Array) or np.ndim(const) == 0:
            return const
        with jax.ensure_compile_time_eval():
            return jax.numpy.asarray(np.asarray(const))


def fold_constants(closed: ClosedJaxpr) -> FoldedProgram:
    """Compute everything that depends on constants alone, and return a program for the rest.

    Args:
        closed: a trace without calls.
    """
    jaxpr, splitter = closed.jaxpr, _Splitter()
    splitter.run(jaxpr, closed.consts, [False] * len(jaxpr.invars))
    early, late = splitter.early, splitter.late
    made = {v for eqn in early for v in eqn.outvars}
    read = variables((*(v for eqn in late for v in eqn.invars), *jaxpr.outvars))
    needed = [v for v in dict.fromkeys(read) if v in made or v in set(jaxpr.constvars)]
    values = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    # All in one program, so that what none of them needs is not computed. Constants become inputs,
    # because a jaxpr of JAX 0.12 holds its constants itself.
    inputs = {v for eqn in early for v in variables(eqn.invars)}
    taken = [v for v in jaxpr.constvars if v in inputs]
    wanted = [v for v in needed if v in made]
    program = jaxpr.replace(eqns=early, constvars=[], invars=taken, outvars=wanted)
    run = jax.jit(lambda given: Evaluator().run(program, [], given))
    arrays = run([values[v] for v in taken]) if wanted else []
    for number, array in enumerate(arrays):  # one by one: each is there twice for a moment only
        arrays[number] = in_large_pages(array)
    values.update(zip(wanted, arrays, strict=True))
    rest = jaxpr.replace(eqns=late, constvars=[], invars=[*needed, *jaxpr.invars])
    return FoldedProgram(
        [jax.numpy.asarray(values[v]) for v in needed],
        lambda constants, args: Evaluator().run(rest, [], [*constants, *args]),
    )


class _Splitter(Interpreter[bool]):
    """Finds out whether each value depends on constants alone."""

    enters = frozenset()

    def __init__(self) -> None:
        self.early: list[JaxprEqn] = []
        self.late: list[JaxprEqn] = []

    def constant(self, const: Any) -> bool:
        del const
        return True

    def equation(self, eqn: JaxprEqn, inputs: Sequence[bool], scope: Scope) -> Sequence[bool]:
        del scope
        bounded = _size(eqn.outvars) <= max(MAX_GROWTH * _size(variables(eqn.invars)), SMALL_SIZE)
        is_early = all(inputs) and bounded and not eqn.effects
        (self.early if is_early else self.late).append(eqn)
        return [is_early] * len(eqn.outvars)


def _size(of: Iterable[Any]) -> int:
    return sum(prod(shape_of(v)) for v in of)


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
