"""The instructions of a program: single equations, and convolutions with what follows them.

Elementwise operations after a convolution are computed block by block, while a block is in the
cache.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from jaxconv.aot.program import Environment, bind_equation, variables
from jaxconv.compat import Jaxpr, JaxprEqn, Var
from jaxconv.jaxpr.interpreter import value_of
from jaxconv.kernels.lowering import is_cpu_primitive, schedule_of_equation
from jaxconv.kernels.registry import Formulation, Schedule

# The elementwise operations that can follow: of a map and a number per channel. A max pool can be
# taken before them where larger numbers stay larger, which a negative factor does not ensure.
INCREASING = {"add": jnp.add, "max": jnp.maximum}
FUSED_OPERATIONS: dict[str, Callable[..., Any]] = {
    **INCREASING,
    "mul": jnp.multiply,
    "sub": jnp.subtract,
}


@runtime_checkable
class Instruction(Protocol):
    """A part of a program that computes values from values."""

    @property
    def equations(self) -> Sequence[JaxprEqn]:
        """The equations that it computes, in order."""
        ...

    def prepare(self, environment: Environment) -> "Instruction":
        """Compute before what does not depend on the images.

        Args:
            environment: the values of all variables that do not depend on them.

        Returns:
            An instruction with the same results.
        """
        ...

    def compute(self, environment: Environment) -> list[Any]:
        """Compute the results of the last equation.

        Args:
            environment: the values of all variables that are read.
        """
        ...


@dataclass(frozen=True)
class SingleEquation:
    """One equation as it is."""

    equation: JaxprEqn

    @property
    def equations(self) -> Sequence[JaxprEqn]:
        """The equation."""
        return (self.equation,)

    def prepare(self, environment: Environment) -> "SingleEquation":  # noqa: ARG002
        """Return the same instruction: there is nothing to prepare.

        Args:
            environment: not read.
        """
        return self

    def compute(self, environment: Environment) -> list[Any]:
        """Compute the results.

        Args:
            environment: the values of all variables that are read.
        """
        return bind_equation(
            self.equation, [value_of(v, environment) for v in self.equation.invars]
        )


@dataclass(frozen=True)
class FusedConvolution:
    """A convolution with the elementwise operations and the max pool that follow it.

    Attributes:
        equations: the convolution first.
        formulation: computes the convolution; one that can prepare the kernel.
        epilogue: the names of the elementwise operations, each with the other operand.
        pool: the side of the windows of the max pool at the end; 1 for none.
        kernel: prepared; None where it is not yet.
    """

    equations: tuple[JaxprEqn, ...]
    formulation: Formulation
    epilogue: tuple[tuple[str, Any], ...] = ()
    pool: int = 1
    kernel: jax.Array | None = None

    def prepare(self, environment: Environment) -> "FusedConvolution":
        """Prepare the kernel.

        Args:
            environment: has the value of the kernel.
        """
        convolution = self.equations[0]
        rhs = value_of(convolution.invars[1], environment)
        assert self.formulation.prepare
        return replace(self, kernel=self.formulation.prepare(rhs, convolution.params))

    def compute(self, environment: Environment) -> list[Any]:
        """Compute the result of the last equation.

        Args:
            environment: the values of all variables that are read.
        """
        fused = self if self.kernel is not None else self.prepare(environment)
        convolution = self.equations[0]
        operations = [
            (FUSED_OPERATIONS[name], value_of(atom, environment)) for name, atom in self.epilogue
        ]

        def epilogue(y: Any) -> Any:
            for operation, other in operations:
                y = operation(y, jnp.reshape(other, (1,) * (y.ndim - 1) + (-1,)))
            return y

        lhs = value_of(convolution.invars[0], environment)
        assert self.formulation.apply_prepared
        return [
            self.formulation.apply_prepared(
                lhs, fused.kernel, convolution.params, epilogue=epilogue, pool=self.pool
            )
        ]

    def channel_operand(self, eqn: JaxprEqn, result: Var) -> Any:
        """Find the second operand of an elementwise operation that can be fused.

        Args:
            eqn: reads the result.
            result: of the last equation.

        Returns:
            A variable or a literal, with one number or one per channel; None for other equations.
        """
        if eqn.primitive.name not in FUSED_OPERATIONS or eqn.invars[0] is not result:
            return None
        if getattr(eqn.outvars[0].aval, "dtype", None) != getattr(result.aval, "dtype", None):
            return None
        channel = self.equations[0].params["dimension_numbers"].out_spec[1]
        shape = [1] * len(aval_shape(result))
        shape[channel] = aval_shape(result)[channel]
        other = eqn.invars[1]
        return other if aval_shape(other) in ((), tuple(shape)) else None

    def pool_side(self, eqn: JaxprEqn) -> int:
        """Read the side of the windows of a max pool that can be fused.

        Args:
            eqn: reads the result of the last equation.

        Returns:
            The side in pixels; 0 where the equation is not such a pool.
        """
        is_pool = eqn.primitive.name == "reduce_window_max"
        if not is_pool or set(dict(self.epilogue)) - set(INCREASING):
            return 0
        params, order = eqn.params, self.equations[0].params["dimension_numbers"].out_spec
        size = params["window_dimensions"]
        sides = {size[i] for i in order[2:]}
        is_plain = size == params["window_strides"] and not any(map(any, params["padding"]))
        is_dilated = {*params["base_dilation"], *params["window_dilation"]} != {1}
        if not is_plain or is_dilated or len(sides) > 1 or {size[i] for i in order[:2]} != {1}:
            return 0
        (side,) = sides
        is_cut_off = any(aval_shape(eqn.invars[0])[i] % side for i in order[2:])
        return side if side in self.formulation.pool_sides and not is_cut_off else 0


def fuse(jaxpr: Jaxpr) -> list[Instruction]:
    """Turn the equations of a trace into instructions.

    Args:
        jaxpr: with CPU primitives and without calls.

    Returns:
        The instructions in order; each one stands where its last equation does.
    """
    uses = _Uses(jaxpr)
    convolutions = [uses.extend(convolution) for convolution in uses.convolutions()]
    last = {id(fused.equations[-1]): fused for fused in convolutions}
    inside = {id(eqn) for fused in convolutions for eqn in fused.equations}
    return [last.get(id(eqn)) or SingleEquation(eqn) for eqn in jaxpr.eqns
            if id(eqn) in last or id(eqn) not in inside]  # fmt: skip


def convolution_schedule(eqn: JaxprEqn) -> Schedule | None:
    """Choose the formulation of a convolution whose kernel can be prepared.

    Args:
        eqn: any equation of a trace with CPU primitives.

    Returns:
        The schedule; None for all other equations.
    """
    is_convolution = eqn.primitive.name == "conv_general_dilated"
    if not is_convolution or not is_cpu_primitive(eqn.primitive):
        return None
    return schedule_of_equation(eqn, is_prepared=True)


class _Uses:
    """The equations that read each variable of a trace."""

    def __init__(self, jaxpr: Jaxpr) -> None:
        self.jaxpr = jaxpr
        self.readers = {v: eqn for eqn in jaxpr.eqns for v in variables(eqn.invars)}
        reads = (v for eqn in jaxpr.eqns for v in eqn.invars)
        self.reads = Counter(variables((*reads, *jaxpr.outvars)))

    def convolutions(self) -> Iterator[FusedConvolution]:
        """The convolutions whose kernels can be prepared, with nothing fused yet."""
        for eqn in self.jaxpr.eqns:
            schedule = convolution_schedule(eqn)
            if schedule and schedule.selected and schedule.selected.prepare:
                yield FusedConvolution((eqn,), schedule.selected)

    def extend(self, fused: FusedConvolution) -> FusedConvolution:
        """Add the operations that follow, as far as they can be fused."""
        (result,) = fused.equations[-1].outvars
        eqn = self.readers.get(result)
        if eqn is None or self.reads[result] > 1:
            return fused
        longer = replace(fused, equations=(*fused.equations, eqn))
        if pool := fused.pool_side(eqn):
            return replace(longer, pool=pool)
        other = fused.channel_operand(eqn, result)
        if other is None:
            return fused
        return self.extend(replace(longer, epilogue=(*fused.epilogue, (eqn.primitive.name, other))))


def aval_shape(atom: Any) -> tuple[int, ...]:
    """Return the shape of an operand.

    Args:
        atom: a variable or a literal of a trace.
    """
    return tuple(atom.aval.shape)
