"""The steps of an opened trace: single equations, and convolutions with what follows them.

What follows a convolution number by number is computed tile by tile, while the tile is at hand.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from jaxconv.aot.program import Values, applied, variables
from jaxconv.compat import Jaxpr, JaxprEqn, Var
from jaxconv.jaxpr.interpreter import shape_of, value_of
from jaxconv.jaxpr.patch_reader import MapAxes
from jaxconv.jaxpr.primitives import record_of
from jaxconv.kernels.convolution import convolve_prepared, prepare, schedule_of
from jaxconv.kernels.lowering import TWINS
from jaxconv.kernels.schedule import Schedule


@runtime_checkable
class Step(Protocol):
    """Something that computes values from values."""

    @property
    def equations(self) -> Sequence[JaxprEqn]:
        """What it stands for, in order."""
        ...

    def prepared(self, values: Values) -> "Step":
        """The same, with what all images share computed, from values that are known."""
        ...

    def compute(self, values: Values) -> list[Any]:
        """The results of the last equation."""
        ...


@dataclass(frozen=True)
class Single:
    """One equation."""

    equation: JaxprEqn

    @property
    def equations(self) -> Sequence[JaxprEqn]:
        """The one."""
        return (self.equation,)

    def prepared(self, values: Values) -> "Single":  # noqa: ARG002 - there is nothing
        """The same."""
        return self

    def compute(self, values: Values) -> list[Any]:
        """Its results."""
        return applied(self.equation, [value_of(v, values) for v in self.equation.invars])


@dataclass(frozen=True)
class Chain:
    """A convolution and what follows it.

    Attributes:
        equations: the convolution first.
        schedule: how it is computed; not the direct one.
        follows: the equations after the convolution, each with its other operand.
        pool: side of the windows of which the largest number is kept at the end; 1 for none.
        kernel: transformed, if it is so already.
    """

    equations: tuple[JaxprEqn, ...]
    schedule: Schedule
    follows: tuple[tuple[JaxprEqn, Any], ...] = ()
    pool: int = 1
    kernel: jax.Array | None = None

    def prepared(self, values: Values) -> "Chain":
        """With its kernel transformed."""
        rhs = value_of(self.equations[0].invars[1], values)
        return replace(self, kernel=prepare(rhs, self.equations[0].params, self.schedule))

    def compute(self, values: Values) -> list[Any]:
        """The last result."""
        chain = self if self.kernel is not None else self.prepared(values)
        assert chain.kernel is not None
        first = self.equations[0]
        lhs = value_of(first.invars[0], values)
        others = [(record_of(eqn).combine, value_of(atom, values)) for eqn, atom in self.follows]

        def finish(y: Any) -> Any:
            for combine, other in others:
                assert combine is not None
                y = combine(y, jnp.reshape(other, (1,) * (y.ndim - 1) + (-1,)))
            return y

        (batch,) = axes_of(first)[0].images
        schedule = self.schedule.of(lhs.shape[batch])
        return [convolve_prepared(lhs, chain.kernel, first.params, schedule, finish, self.pool)]


def steps(jaxpr: Jaxpr) -> list[Step]:
    """Put the equations of a trace together; each step stands where its last equation did."""
    graph = _Graph(jaxpr)
    chains = [graph.grown(chain) for chain in graph.convolutions()]
    ends = {id(chain.equations[-1]): chain for chain in chains}
    inside = {id(eqn) for chain in chains for eqn in chain.equations}
    return [ends.get(id(eqn)) or Single(eqn) for eqn in jaxpr.eqns
            if id(eqn) in ends or id(eqn) not in inside]  # fmt: skip


def scheduled(eqn: JaxprEqn) -> Schedule | None:
    """How an equation that is a twin of a convolution is computed."""
    is_twin = any(eqn.primitive is twin.primitive for twin in TWINS.values())
    is_convolution = record_of(eqn).kind == "convolution"
    return schedule_of(eqn, prepared=True) if is_twin and is_convolution else None


class _Graph:
    """Who reads each variable of a trace."""

    def __init__(self, jaxpr: Jaxpr) -> None:
        self.jaxpr = jaxpr
        self.readers = {v: eqn for eqn in jaxpr.eqns for v in variables(eqn.invars)}
        reads = (v for eqn in jaxpr.eqns for v in eqn.invars)
        self.reads = Counter(variables((*reads, *jaxpr.outvars)))

    def convolutions(self) -> Iterator[Chain]:
        for eqn in self.jaxpr.eqns:
            schedule = scheduled(eqn)
            if schedule and schedule.tile and not schedule.gradient:
                yield Chain((eqn,), schedule)

    def grown(self, chain: Chain) -> Chain:
        """Take in what follows, as long as it can be."""
        (result,) = chain.equations[-1].outvars
        eqn = self.readers.get(result)
        if eqn is None or self.reads[result] > 1:
            return chain
        longer = replace(chain, equations=(*chain.equations, eqn))
        if pool := _pool(eqn, chain):
            return replace(longer, pool=pool)
        other = _other(eqn, result, chain)
        if other is None:
            return chain
        return self.grown(replace(longer, follows=(*chain.follows, (eqn, other))))


def _other(eqn: JaxprEqn, result: Var, chain: Chain) -> Any:
    """The operand beside the map, if it is a number or one a channel."""
    if record_of(eqn).combine is None or eqn.invars[0] is not result:
        return None
    if getattr(eqn.outvars[0].aval, "dtype", None) != getattr(result.aval, "dtype", None):
        return None
    (channel,) = axes_of(chain.equations[0])[1].channels
    shape = [1] * len(shape_of(result))
    shape[channel] = shape_of(result)[channel]
    other = eqn.invars[1]
    return other if shape_of(other) in ((), tuple(shape)) else None


def _pool(eqn: JaxprEqn, chain: Chain) -> int:
    """The side of square windows that tile the map and the tiles of its convolution; else 0.

    The largest number of a window can only be taken first where larger numbers stay larger, which
    a product with a negative number does not keep.
    """
    record = record_of(eqn)
    increasing = all(record_of(step).increasing for step, _ in chain.follows)
    if (
        record.pooling is None
        or record.pooling.name != "max"
        or not record.window
        or not increasing
    ):
        return 0
    axes, windows = axes_of(chain.equations[0])[1], record.window(eqn)
    sides = {windows[axis].kernel_size for axis in axes.pixels}
    plain = all(
        (*w.padding, w.stride, w.dilation, w.input_dilation) == (0, 0, w.kernel_size, 1, 1)
        for w in windows
    )
    whole = all(windows[axis].kernel_size == 1 for axis in (*axes.images, *axes.channels))
    if not plain or not whole or len(sides) > 1:
        return 0
    (side,) = sides
    maps = [windows[axis].input_size for axis in axes.pixels]
    return side if side > 1 and not any(n % side for n in (*maps, chain.schedule.tile)) else 0


def axes_of(eqn: JaxprEqn) -> tuple[MapAxes, MapAxes]:
    """Which axes of a convolution's operand and of its result are which.

    Args:
        eqn: a convolution.
    """
    record = record_of(eqn)
    assert record.input_axes is not None
    assert record.output_axes is not None
    return record.input_axes(eqn), record.output_axes(eqn)
