"""The instructions of a program: single equations, and convolutions with what follows them.

Elementwise operations after a convolution are computed block by block, while a block is in the
cache.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from jaxconv.aot.program import Environment
from jaxconv.compat import Jaxpr, JaxprEqn, Var
from jaxconv.jaxpr.interpreter import Atom, bind_equation, equations, shape_of, value_of, variables
from jaxconv.jaxpr.patch_reader import MapAxes
from jaxconv.jaxpr.primitives import PrimitiveRecord, record_of
from jaxconv.kernels.lowering import is_cpu_primitive, schedule_of_equation
from jaxconv.kernels.registry import Formulation, Schedule


@runtime_checkable
class Instruction(Protocol):
    """A part of a program that computes values from values."""

    @property
    def equations(self) -> Sequence[JaxprEqn]:
        """The equations that it computes, in order."""
        ...

    def prepare(self, environment: Environment) -> "Instruction":
        """Compute in advance everything that does not depend on the images.

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
        epilogue: the elementwise equations after it, each with its other operand.
        pool: the side of the windows of the max pool at the end; 1 for none.
        kernel: prepared; None where it is not yet.
    """

    equations: tuple[JaxprEqn, ...]
    formulation: Formulation
    epilogue: tuple[tuple[JaxprEqn, Any], ...] = ()
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
            (record_of(eqn).combine, value_of(atom, environment)) for eqn, atom in self.epilogue
        ]

        def epilogue(y: Any) -> Any:
            for operation, other in operations:
                assert operation is not None
                y = operation(y, jnp.reshape(other, (1,) * (y.ndim - 1) + (-1,)))
            return y

        lhs = value_of(convolution.invars[0], environment)
        assert self.formulation.apply_prepared
        return [
            self.formulation.apply_prepared(
                lhs, fused.kernel, convolution.params, epilogue=epilogue, pool=self.pool
            )
        ]

    def channel_operand(self, eqn: JaxprEqn, result: Var) -> Atom | None:
        """Find the operand besides the map in an operation that can follow.

        Args:
            eqn: reads the result.
            result: of the last equation.

        Returns:
            The operand, if it is a number or has one number per channel.
        """
        if record_of(eqn).combine is None or eqn.invars[0] is not result:
            return None
        if getattr(eqn.outvars[0].aval, "dtype", None) != getattr(result.aval, "dtype", None):
            return None
        (channel,) = axes_of(self.equations[0])[1].channels
        shape = [1] * len(shape_of(result))
        shape[channel] = shape_of(result)[channel]
        other = eqn.invars[1]
        return other if shape_of(other) in ((), tuple(shape)) else None

    def pool_side(self, eqn: JaxprEqn) -> int:
        """Find the side of the windows of a max pool that can be fused.

        A max pool can be taken before operations for which larger operands give larger results,
        which a negative factor does not ensure.

        Args:
            eqn: reads the result.

        Returns:
            The side; 0 where it is not such a pool.
        """
        record = record_of(eqn)
        is_increasing = all(record_of(step).increasing for step, _ in self.epilogue)
        if not is_increasing or not is_max_pool(record) or record.window is None:
            return 0
        axes, windows = axes_of(self.equations[0])[1], record.window(eqn)
        sides = {windows[axis].kernel_size for axis in axes.pixels}
        is_plain = all(
            (*w.padding, w.stride, w.dilation, w.input_dilation) == (0, 0, w.kernel_size, 1, 1)
            for w in windows
        )
        is_per_map = all(windows[axis].kernel_size == 1 for axis in (*axes.images, *axes.channels))
        if not is_plain or not is_per_map or len(sides) > 1:
            return 0
        (side,) = sides
        is_cut_off = any(windows[axis].input_size % side for axis in axes.pixels)
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
    return [
        last.get(id(eqn)) or SingleEquation(eqn)
        for eqn in uses.equations
        if id(eqn) in last or id(eqn) not in inside
    ]


def convolution_schedule(eqn: JaxprEqn) -> Schedule | None:
    """Choose the formulation of a convolution whose kernel can be prepared.

    Args:
        eqn: any equation of a trace with CPU primitives.

    Returns:
        The schedule; None for all other equations.
    """
    if record_of(eqn).kind != "convolution" or not is_cpu_primitive(eqn.primitive):
        return None
    return schedule_of_equation(eqn, is_prepared=True)


class _Uses:
    """The equations that read each variable of a trace."""

    def __init__(self, jaxpr: Jaxpr) -> None:
        self.equations = [*equations(jaxpr, recursive=False)]
        self.readers = {v: eqn for eqn in self.equations for v in variables(eqn.invars)}
        reads = (v for eqn in self.equations for v in eqn.invars)
        self.reads = Counter(variables((*reads, *jaxpr.outvars)))

    def convolutions(self) -> Iterator[FusedConvolution]:
        """The convolutions whose kernels can be prepared, with nothing fused yet."""
        for eqn in self.equations:
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
        return self.extend(replace(longer, epilogue=(*fused.epilogue, (eqn, other))))


def is_max_pool(record: PrimitiveRecord) -> bool:
    """Whether a primitive takes the maximum of each window.

    Args:
        record: of the primitive.
    """
    return record.pooling is not None and record.pooling.name == "max"


def axes_of(eqn: JaxprEqn) -> tuple[MapAxes, MapAxes]:
    """Return which axes of a convolution's input and of its result are which.

    Args:
        eqn: a convolution.
    """
    record = record_of(eqn)
    assert record.input_axes is not None
    assert record.output_axes is not None
    return record.input_axes(eqn), record.output_axes(eqn)
