"""The input of receptive-field rules: one equation of a trace, and the fields of its operands."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jaxconv.compat import JaxprEqn, Literal, Var
from jaxconv.jaxpr.axis_field import (
    AxisChange,
    AxisField,
    Field,
    Fields,
    align_blind,
    change_axis,
    join_fields,
)
from jaxconv.jaxpr.window_axis import Substitute

Compute = Callable[[], Any]
Known = Mapping[Any, Compute | None]  # constants; None is one that is not computed


@dataclass(frozen=True)
class IndexLine:
    """Whole numbers that count evenly along one axis of an array.

    Attributes:
        axis: along which; None where all numbers are the same.
        first: the first number, an int or a formula.
        step: from a number to the next.
    """

    axis: int | None
    first: Any
    step: Any

    @classmethod
    def of(cls, numbers: np.ndarray) -> "IndexLine | None":
        """Find the line that an array of numbers follows.

        Args:
            numbers: the array.

        Returns:
            The line; None where they do not count evenly, or are not whole.
        """
        if numbers.dtype.kind not in "bi" or not numbers.size:
            return None
        numbers = numbers.astype(int)
        first = int(numbers.flat[0])
        if (numbers == first).all():
            return cls(None, first, 0)
        for axis, size in enumerate(numbers.shape):
            step = int(numbers.take(1, axis).flat[0]) - first if size > 1 else 0
            shape = [1] * axis + [size] + [1] * (numbers.ndim - axis - 1)
            if (numbers == (first + step * np.arange(size)).reshape(shape)).all():
                return cls(axis, first, step)
        return None

    def along(self, axis: int) -> "IndexLine":
        """The same numbers along another axis.

        Args:
            axis: of another array.
        """
        return IndexLine(axis, self.first, self.step)


IndexLines = IndexLine | tuple[IndexLine, ...]  # or one for each entry of the last axis


@runtime_checkable
class FieldPropagator(Protocol):
    """Propagates fields through the equations of a trace.

    Attributes:
        substitute: rewrites sizes of the trace in terms of the sizes that results are for.
    """

    substitute: Substitute

    def shape(self, atom: Any) -> tuple[Any, ...]:
        """The shape of a value, rewritten.

        Args:
            atom: a variable or a literal.
        """
        ...


class EquationContext:
    """One equation, and what its operands see.

    Attributes:
        propagator: what carries fields through the trace.
        eqn: the equation.
        params: its parameters.
        fields: what each operand sees; None depends on no image.
        shapes: of the operands, rewritten.
        known: the values of the trace that are constants.
        counting: those whose numbers count evenly.
        substitute: rewrites sizes of the trace in terms of the sizes that results are for.
    """

    def __init__(
        self,
        propagator: FieldPropagator,
        eqn: JaxprEqn,
        fields: Fields,
        known: Known,
        counting: Mapping[Any, IndexLines] | None = None,
    ) -> None:
        self.propagator, self.eqn, self.params = propagator, eqn, eqn.params
        self.fields, self.known, self.counting = fields, known, counting or {}
        self.substitute = propagator.substitute
        self.shapes = [propagator.shape(atom) for atom in eqn.invars]

    def result_shape(self, result: int = 0) -> tuple[Any, ...]:
        """The shape of one of the results, rewritten.

        Args:
            result: which one.
        """
        return self.propagator.shape(self.eqn.outvars[result])

    def sizes(self, name: str) -> list[Any]:
        """A parameter that is a list of sizes, rewritten.

        Args:
            name: of the parameter.
        """
        return [self.substitute(size) for size in self.params[name]]

    def axes(self, name: str) -> tuple[int, ...]:
        """A parameter that is a list of axes.

        Args:
            name: of the parameter.
        """
        return tuple(map(int, self.params[name]))

    def operands_with_field(self) -> list[int]:
        """The operands that see something of the image."""
        return [index for index, field in enumerate(self.fields) if field is not None]

    def everything(self, exact: bool = False) -> Field:
        """Let every neuron of the result see what any operand sees.

        Args:
            exact: whether each of them does; if not, it may.
        """
        fields = [self.collapsed(index, exact) for index in self.operands_with_field()]
        return join_fields(fields, self.result_shape())

    def collapsed(self, index: int, exact: bool) -> Field:
        """What all neurons of an operand see together.

        Args:
            index: of the operand.
            exact: whether each neuron of the result sees that; if not, it may.
        """
        every = (one.collapse_in(self.shapes[index], exact) for one in self._field(index))
        return tuple(every if exact else map(AxisField.loose, every))

    def elementwise(self) -> Field:
        """Let each neuron see what those at its position see; a scalar is the same everywhere."""
        shape = self.result_shape()
        fields = [
            field if len(self.shapes[index]) == len(shape) else self.collapsed(index, exact=True)
            for index, field in enumerate(self.fields)
            if field is not None
        ]
        return join_fields(fields, shape)

    def change(self, change: AxisChange, result: int = 0) -> Field:
        """Change what the first operand sees, axis by axis.

        If another operand sees the image too, every neuron may see everything.

        Args:
            change: takes what is seen along one axis of the image, and the axis of the operand
                along which neighbours see different pixels. What is the same for all neurons stays.
            result: which result comes out.
        """
        if self.fields[0] is None or any(self.fields[1:]):
            return self.everything()
        return self.change_operand(0, change, result)

    def change_operand(self, index: int, change: AxisChange, result: int = 0) -> Field:
        """Change what one operand sees, axis by axis.

        Args:
            index: of the operand.
            change: as in :meth:`change`.
            result: which result comes out.
        """
        shapes = self.shapes[index], self.result_shape(result)
        return align_blind(tuple(change_axis(a, change, *shapes) for a in self._field(index)))

    def _field(self, index: int) -> Field:
        field = self.fields[index]
        assert field is not None
        return field

    def is_constant(self, atom: Var | Literal) -> bool:
        """Whether an operand depends on no input and no weights.

        Args:
            atom: an operand of the equation.
        """
        return isinstance(atom, Literal) or atom in self.known

    def constant(self, atom: Var | Literal) -> Compute | None:
        """Find out how to compute an operand that is a constant.

        Args:
            atom: an operand of the equation.

        Returns:
            A function that computes it; None where it is not a constant, or not computed.
        """
        if isinstance(atom, Literal):
            return lambda: atom.val
        return self.known.get(atom)

    def lines(self, atom: Var | Literal) -> IndexLines | None:
        """Find out how the numbers of an operand count.

        Args:
            atom: an operand of the equation.

        Returns:
            One line, or one for each entry of the last axis; None where that is not known.
        """
        if not isinstance(atom, Literal) and atom in self.counting:
            return self.counting[atom]
        compute = self.constant(atom)
        return None if compute is None else IndexLine.of(np.asarray(compute()))

    def has_no_zero(self, atom: Var | Literal) -> bool:
        """Whether an operand is weights, which count as any numbers, or a constant without zeros.

        Args:
            atom: an operand of the equation.
        """
        compute = self.constant(atom)
        if compute is None:
            return not self.is_constant(atom)
        return bool(np.all(np.asarray(compute()) != 0))
