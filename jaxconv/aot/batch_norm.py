"""Batch normalisation in evaluation mode, folded into the convolution before it.

There it is a factor and a shift for each channel. Filters times the factor give the same results,
up to rounding, so that only the shift is left to compute.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv.aot.fusion import axes_of
from jaxconv.aot.program import Environment, retrace
from jaxconv.compat import ClosedJaxpr, Jaxpr, JaxprEqn, Var
from jaxconv.jaxpr.interpreter import Atom, bind_equation, equations, shape_of, value_of, variables
from jaxconv.jaxpr.primitives import record_of

SCALING, SHIFTING = ("mul", "div"), ("add", "sub")


@dataclass(frozen=True)
class Normalisation:
    """A convolution, and operations with one number per channel that follow it.

    Attributes:
        convolution: its kernel does not depend on the arguments of the program.
        steps: the operations, each with its other operand.
    """

    convolution: JaxprEqn
    steps: tuple[tuple[JaxprEqn, Atom], ...] = ()

    @property
    def equations(self) -> Sequence[JaxprEqn]:
        """The convolution and the operations, in order."""
        return (self.convolution, *(eqn for eqn, _ in self.steps))

    def compute(self, environment: Environment) -> jax.Array:
        """Compute the result of the last operation with scaled filters.

        Args:
            environment: the values of all variables that are read.
        """
        scale: Any = 1.0
        shift: Any = 0.0
        for eqn, atom in self.steps:
            number = jnp.reshape(value_of(atom, environment), -1)
            name, is_first = eqn.primitive.name, eqn.invars[0] is atom
            if name == "div":
                scale, shift = scale / number, shift / number
            elif name == "mul":
                scale, shift = scale * number, shift * number
            elif name == "add":
                shift = shift + number
            elif is_first:  # number - result
                scale, shift = -scale, number - shift
            else:
                shift = shift - number
        images, kernel = (value_of(atom, environment) for atom in self.convolution.invars)
        filters = self.convolution.params["dimension_numbers"].rhs_spec[0]
        kernel = kernel * _along(scale, kernel.ndim, filters)
        (y,) = bind_equation(self.convolution, [images, kernel])
        (channel,) = axes_of(self.convolution)[1].channels
        return y + _along(shift, y.ndim, channel)


def _along(numbers: Any, rank: int, axis: int) -> jax.Array:
    """Numbers along one axis of an array of some rank."""
    return jnp.reshape(numbers, [-1 if i == axis else 1 for i in range(rank)])


def fold_batch_norms(closed: ClosedJaxpr) -> ClosedJaxpr:
    """Scale the filters of convolutions instead of their results.

    It applies to convolutions in float32 whose kernel and factors do not depend on the arguments,
    and whose result nothing else reads.

    Args:
        closed: a trace without calls.

    Returns:
        The trace to be used instead; the same one where nothing can be folded.
    """
    jaxpr = closed.jaxpr
    found = [*_Finder(jaxpr).normalisations()]
    if not found:
        return closed
    last = {id(normalisation.equations[-1]): normalisation for normalisation in found}
    inside = {id(eqn) for normalisation in found for eqn in normalisation.equations}

    def run(consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
        environment = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))
        for eqn in equations(jaxpr, recursive=False):
            if id(eqn) in last:
                environment[eqn.outvars[0]] = last[id(eqn)].compute(environment)
            elif id(eqn) not in inside:
                results = bind_equation(eqn, [value_of(v, environment) for v in eqn.invars])
                environment.update(zip(eqn.outvars, results, strict=True))
        return [value_of(atom, environment) for atom in jaxpr.outvars]

    return retrace(closed, run)


class _Finder:
    """Finds normalisations in a trace."""

    def __init__(self, jaxpr: Jaxpr) -> None:
        self.equations = [*equations(jaxpr, recursive=False)]
        self.readers = {v: eqn for eqn in self.equations for v in variables(eqn.invars)}
        reads = (v for eqn in self.equations for v in eqn.invars)
        self.reads = Counter(variables((*reads, *jaxpr.outvars)))
        self.dependent = set(jaxpr.invars)  # on the arguments of the program
        for eqn in self.equations:
            if self.dependent.intersection(variables(eqn.invars)):
                self.dependent.update(eqn.outvars)

    def normalisations(self) -> Iterator[Normalisation]:
        """All that scale results; shifts alone stay where they are."""
        for eqn in self.equations:
            if self.is_foldable(eqn):
                found = self.extend(Normalisation(eqn))
                if any(step.primitive.name in SCALING for step, _ in found.steps):
                    yield found

    def is_foldable(self, eqn: JaxprEqn) -> bool:
        """Whether it is a convolution whose filters may be scaled."""
        if record_of(eqn).kind != "convolution" or self.dependent.intersection(
            variables([eqn.invars[1]])
        ):
            return False
        is_exact = lax.Precision.HIGHEST in jax.tree.leaves(eqn.params["precision"])
        types = {getattr(v.aval, "dtype", None) for v in (*eqn.invars, *eqn.outvars)}
        return not is_exact and types == {jnp.dtype("float32")}

    def extend(self, found: Normalisation) -> Normalisation:
        """Add the operations that follow, as long as nothing else reads their operands."""
        (result,) = found.equations[-1].outvars
        eqn = self.readers.get(result)
        if eqn is None or self.reads[result] > 1:
            return found
        other = self.channel_operand(found, eqn, result)
        if other is None:
            return found
        return self.extend(Normalisation(found.convolution, (*found.steps, (eqn, other))))

    def channel_operand(self, found: Normalisation, eqn: JaxprEqn, result: Var) -> Atom | None:
        """The other operand of an operation, if it has one number per channel, or is one."""
        name = eqn.primitive.name
        if name not in (*SCALING, *SHIFTING):
            return None
        first, second = eqn.invars
        other = second if first is result else first
        is_divisor = name == "div" and second is result
        if is_divisor or self.dependent.intersection(variables([other])):
            return None
        (channel,) = axes_of(found.convolution)[1].channels
        shape = [1] * len(shape_of(result))
        shape[channel] = shape_of(result)[channel]
        return other if shape_of(other) in ((), tuple(shape)) else None
