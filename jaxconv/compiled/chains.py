"""Convolutions with what follows them, number by number: computed tile by tile, in one go."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Var

from jaxconv.compiled.program import Values, applied, retraced
from jaxconv.inspect.trace import value_of
from jaxconv.layers.fast import convolved, schedule_of
from jaxconv.layers.schedule import Schedule
from jaxconv.layers.twins import TWINS

# What may follow: of a map and a number a channel. The largest of a window can only be taken first
# where larger numbers stay larger, which a product with a negative one does not keep.
RISING = {"add": jnp.add, "max": jnp.maximum}
FOLLOWING: dict[str, Callable[..., Any]] = {**RISING, "mul": jnp.multiply, "sub": jnp.subtract}


@dataclass(frozen=True)
class Chain:
    """A convolution and what follows it.

    Attributes:
        convolution: the equation.
        schedule: how it is computed; not the direct one.
        follows: for each operation its name, and the other operand.
        pool: side of the windows of which the largest number is kept at the end; 1 for none.
        end: the last equation.
    """

    convolution: JaxprEqn
    schedule: Schedule
    end: JaxprEqn
    follows: tuple[tuple[str, Any], ...] = ()
    pool: int = 1

    def compute(self, values: Values) -> Any:
        """The last equation's result."""
        lhs, rhs = (value_of(atom, values) for atom in self.convolution.invars)
        others = [(FOLLOWING[name], value_of(atom, values)) for name, atom in self.follows]

        def finish(y: Any) -> Any:
            for step, other in others:
                y = step(y, jnp.reshape(other, (-1,)))
            return y

        return convolved(lhs, rhs, self.convolution.params, self.schedule, finish, self.pool)


def chained(closed: ClosedJaxpr) -> tuple[ClosedJaxpr, list[Schedule]]:
    """Compute a trace's convolutions by their schedules; calls must have been opened.

    Returns:
        The new trace, and the schedules of all convolutions that have one.
    """
    graph = _Graph(closed.jaxpr)
    chains = {id(chain.end): chain for chain in graph.chains()}
    inside = {id(eqn) for chain in chains.values() for eqn in graph.equations(chain)}
    found = map(_scheduled, closed.jaxpr.eqns)

    def run(consts: Any, args: Any) -> list[Any]:
        jaxpr = closed.jaxpr
        values: Values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))
        for eqn in jaxpr.eqns:
            if chain := chains.get(id(eqn)):
                values[eqn.outvars[0]] = chain.compute(values)
            elif id(eqn) not in inside:
                inputs = [value_of(atom, values) for atom in eqn.invars]
                values.update(zip(eqn.outvars, applied(eqn, inputs), strict=True))
        return [value_of(atom, values) for atom in jaxpr.outvars]

    return retraced(closed, run), [schedule for schedule in found if schedule]


def _scheduled(eqn: JaxprEqn) -> Schedule | None:
    is_twin = any(eqn.primitive is t.primitive for t in TWINS.values())
    is_convolution = eqn.primitive.name == "conv_general_dilated"
    return schedule_of(eqn, prepared=True) if is_twin and is_convolution else None


class _Graph:
    """Who reads and who makes each variable of a trace."""

    def __init__(self, jaxpr: Jaxpr) -> None:
        self.jaxpr = jaxpr
        self.makers = {v: eqn for eqn in jaxpr.eqns for v in eqn.outvars}
        self.readers = {v: eqn for eqn in jaxpr.eqns for v in eqn.invars if isinstance(v, Var)}
        reads = (v for eqn in jaxpr.eqns for v in eqn.invars)
        self.reads = Counter(v for v in (*reads, *jaxpr.outvars) if isinstance(v, Var))

    def chains(self) -> Iterator[Chain]:
        for eqn in self.jaxpr.eqns:
            schedule = _scheduled(eqn)
            if schedule and schedule.blocks and not schedule.gradient:
                yield self._grown(Chain(eqn, schedule, eqn))

    def equations(self, chain: Chain) -> Iterator[JaxprEqn]:
        """From the convolution to the end."""
        eqn = chain.convolution
        while eqn is not chain.end:
            yield eqn
            eqn = self.readers[eqn.outvars[0]]

    def _grown(self, chain: Chain) -> Chain:
        """Take in what follows, as long as it can be."""
        result = chain.end.outvars[0]
        eqn = self.readers.get(result)
        if eqn is None or self.reads[result] > 1:
            return chain
        if pool := _pool(eqn, chain):
            return replace(chain, end=eqn, pool=pool)
        other = self._other(eqn, result, chain)
        if other is None:
            return chain
        follows = (*chain.follows, (eqn.primitive.name, other))
        return self._grown(replace(chain, end=eqn, follows=follows))

    def _other(self, eqn: JaxprEqn, result: Var, chain: Chain) -> Any:
        """The operand beside the map, if it is a number or one a channel."""
        if eqn.primitive.name not in FOLLOWING or eqn.invars[0] is not result:
            return None
        if _dtype(eqn.outvars[0]) != _dtype(result):
            return None
        channel = chain.convolution.params["dimension_numbers"].out_spec[1]
        shape = [1] * len(_shape(result))
        shape[channel] = _shape(result)[channel]
        other = eqn.invars[1]
        return other if _shape(other) in ((), tuple(shape)) else None


def _pool(eqn: JaxprEqn, chain: Chain) -> int:
    """The side of square windows that tile the map and the tiles of its convolution; else 0."""
    if eqn.primitive.name != "reduce_window_max" or set(dict(chain.follows)) - set(RISING):
        return 0
    params, order = eqn.params, chain.convolution.params["dimension_numbers"].out_spec
    size = params["window_dimensions"]
    sides = {size[i] for i in order[2:]}
    plain = size == params["window_strides"] and not any(map(any, params["padding"]))
    dilated = {*params["base_dilation"], *params["window_dilation"]} != {1}
    if not plain or dilated or len(sides) > 1 or {size[i] for i in order[:2]} != {1}:
        return 0
    (side,) = sides
    maps = [_shape(eqn.invars[0])[i] for i in order[2:]]
    assert chain.schedule.blocks
    fits = not any(n % side for n in (*maps, chain.schedule.blocks.tile))
    return side if fits and side > 1 else 0


def _shape(atom: Any) -> tuple[int, ...]:
    return tuple(atom.aval.shape)


def _dtype(atom: Any) -> Any:
    return atom.aval.dtype
