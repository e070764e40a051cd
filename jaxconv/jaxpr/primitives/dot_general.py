"""``dot_general`` and its ragged relatives: matrix products.

The result has the batch axes first, then the free axes of the left operand, then those of the right
one (https://openxla.org/stablehlo/spec#dot_general).
"""

from typing import NamedTuple

import numpy as np

from jaxconv.compat import JaxprEqn
from jaxconv.jaxpr.axis_field import AxisField, Field, join_fields
from jaxconv.jaxpr.equation import EquationContext
from jaxconv.jaxpr.interpreter import shape_of
from jaxconv.jaxpr.patch_reader import Axes, Index, MapAxes, Patch, PatchReader, SlidingOperands
from jaxconv.jaxpr.primitives.registry import Factors, PrimitiveRecord, register, register_rule
from jaxconv.jaxpr.window_axis import Substitute, WindowAxis


class OperandAxes(NamedTuple):
    """The axes of one operand of a matrix product.

    Attributes:
        batch: shared with the other operand and the result.
        free: that the other operand does not have.
        contracted: that are summed over.
        batch_in_result: the axes of the result that are the batch axes.
        free_in_result: those that are the free axes of this operand.
    """

    batch: Axes
    free: Axes
    contracted: Axes
    batch_in_result: Axes
    free_in_result: Axes

    @classmethod
    def of(cls, eqn: JaxprEqn, operand: int) -> "OperandAxes":
        """Read the axes of an operand off the equation.

        Args:
            eqn: a matrix product.
            operand: 0 is the left one, 1 the right one.
        """
        contracted, batch = eqn.params["dimension_numbers"]

        def free(operand: int) -> Axes:
            taken = {*contracted[operand], *batch[operand]}
            return tuple(a for a in range(len(shape_of(eqn.invars[operand]))) if a not in taken)

        count = len(batch[operand])
        first = count + operand * len(free(0))
        own = free(operand)
        return cls(
            tuple(batch[operand]),
            own,
            tuple(contracted[operand]),
            tuple(range(count)),
            tuple(range(first, first + len(own))),
        )


def _contracted_sizes(eqn: JaxprEqn, substitute: Substitute) -> Factors:
    """One multiply-accumulate for each number that is summed over, as one neuron has weights."""
    shape = shape_of(eqn.invars[0])
    return tuple(substitute(shape[axis]) for axis in OperandAxes.of(eqn, 0).contracted)


class MatmulPatch(PatchReader):
    """A product of a map with a matrix of weights; its neurons see one pixel, or all."""

    @property
    def kind(self) -> str:
        """A neuron computes a scalar product."""
        return "product"

    @property
    def _map(self) -> int:
        """Which operand is the map: the one that is not the same for all inputs."""
        return int(self.fixed[0] and not self.fixed[1])

    @property
    def axes(self) -> MapAxes:
        """The axes of the result; the first free axis of the map is that of the images."""
        map_axes, weights = (OperandAxes.of(self.eqn, i) for i in (self._map, 1 - self._map))
        free = map_axes.free_in_result
        return MapAxes(free[:1], map_axes.batch_in_result + free[1:], weights.free_in_result)

    def read(self, index: Index, *operands: np.ndarray) -> Patch:
        """Take the numbers that are multiplied with each other.

        Args:
            index: of the neuron in the result.
            *operands: both factors.

        Returns:
            Both float64 (*contracted sizes).
        """

        def numbers(operand: int) -> np.ndarray:
            axes = OperandAxes.of(self.eqn, operand)
            position = tuple(index[axis] for axis in axes.batch_in_result + axes.free_in_result)
            ordered = np.transpose(operands[operand], axes.batch + axes.free + axes.contracted)
            return ordered[position].astype(float)

        return numbers(self._map), numbers(1 - self._map)

    def slide(self, *operands: np.ndarray) -> SlidingOperands | None:
        """Describe a product with a matrix on the right.

        Args:
            *operands: both factors.

        Returns:
            A map (h, w, c) and weights (1, 1, c_in, c_out), or a vector and weights (n, c_out).
        """
        x, matrix = operands
        left, right = OperandAxes.of(self.eqn, 0), OperandAxes.of(self.eqn, 1)
        on_the_right = (left.contracted, right.contracted) == ((x.ndim - 1,), (0,))
        if matrix.ndim != 2 or left.batch or not on_the_right or x.ndim not in (2, 4):
            return None
        weights = matrix.astype(np.float32)
        if x.ndim == 2:
            return SlidingOperands(x[0], None, weights)
        _, h, w, _ = x.shape
        windows = WindowAxis(1, 1, h, h, 1), WindowAxis(2, 2, w, w, 1)
        return SlidingOperands(x[0], windows, weights[None, None])


MATMUL = PrimitiveRecord(
    kind="product",
    macs=lambda eqn, substitute, _: (
        *map(substitute, shape_of(eqn.outvars[0])),
        *_contracted_sizes(eqn, substitute),
    ),
    weights=_contracted_sizes,
    weight_operands=(0, 1),
    # The product of two maps has no weights.
    patch=lambda eqn, fixed: MatmulPatch(eqn, fixed) if any(fixed) else None,
    # XLA computes with the batch axes first.
    copied=lambda eqn: [
        tuple(axes) if [*axes] != [*range(len(axes))] else None
        for axes in eqn.params["dimension_numbers"][1]
    ],
    is_matrix=lambda eqn: not any(eqn.params["dimension_numbers"][1]),
)
# How much they multiply depends on the sizes of the groups, which are data.
register(PrimitiveRecord(kind="unknown"), "ragged_dot", "ragged_dot_general")


@register_rule(MATMUL, "dot_general")
def _multiplied_field(context: EquationContext) -> Field:
    """Let each number see its row of one operand and its column of the other."""

    def operand_field(index: int) -> Field:
        axes, other = (OperandAxes.of(context.eqn, operand) for operand in (index, 1 - index))
        has_no_zero = context.has_no_zero(context.eqn.invars[1 - index])
        into_result = dict(zip(axes.batch, axes.batch_in_result, strict=True))
        into_result |= zip(axes.free, axes.free_in_result, strict=True)

        def change(axis_field: AxisField, axis: int) -> AxisField:
            if axis in into_result:
                return axis_field.move(into_result[axis])
            # An image is resized by a product with a constant matrix, of which many numbers are 0.
            compute = context.constant(context.eqn.invars[1 - index])
            is_matrix = len(context.shapes[1 - index]) == 2 and len(other.free) == 1
            if compute is None or not is_matrix or len(axes.contracted) != 1:
                return axis_field.collapse(context.shapes[index][axis], exact=has_no_zero)
            nonzero = np.asarray(compute()) != 0
            rows = nonzero if other.free[0] == 0 else nonzero.T  # (free, contracted)
            return axis_field.read_rows(rows).move(other.free_in_result[0])

        return context.change_operand(index, change)

    fields = [operand_field(index) for index in context.operands_with_field()]
    return join_fields(fields, context.result_shape())
