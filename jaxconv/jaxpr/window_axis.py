"""How a window slides along one axis of an array: arithmetic that needs no JAX.

Convolutions and pools share it. The sizes are ints or formulas. For n inputs, padding (low, high),
input dilation d, a kernel of k elements with dilation r, and a stride s, the window covers an
extent of ``(k - 1)*r + 1``, and element i of the window at position p meets the input
``(p*s - low + i*r) / d``, if that is a whole number from 0 to ``n - 1``. This is the definition of
XLA's ConvWithGeneralPadding and ReduceWindow (https://openxla.org/xla/operation_semantics).
"""

from collections.abc import Callable
from math import gcd, inf
from typing import Any, NamedTuple

import numpy as np

from jaxconv.symbolic.size import Size
from jaxconv.symbolic.specs import extreme
from jaxconv.symbolic.trace import Undecided

Substitute = Callable[[Any], Any]  # rewrites a size of a trace in the terms of another trace


class WindowAxis(NamedTuple):
    """A window along one axis.

    Attributes:
        input_axis: the axis of the operand along which the window slides.
        output_axis: the axis of the result that counts its positions.
        input_size: elements of the operand, before it is dilated.
        output_size: positions of the window.
        kernel_size: elements of the window.
        stride: elements of the dilated operand from one position to the next.
        padding: elements before the first input and after the last one.
        dilation: elements of the dilated operand from one element of the window to the next.
        input_dilation: elements of the dilated operand from one input to the next; 1 leaves no gap.
    """

    input_axis: int
    output_axis: int
    input_size: Any
    output_size: Any
    kernel_size: Any
    stride: Any = 1
    padding: tuple[Any, Any] = (0, 0)
    dilation: Any = 1
    input_dilation: Any = 1

    @property
    def extent(self) -> Any:
        """Elements of the dilated operand from the first of a window to its last, inclusive."""
        return (self.kernel_size - 1) * self.dilation + 1

    def substitute(self, change: Substitute) -> "WindowAxis":
        """Rewrite all sizes.

        Args:
            change: takes and returns a size.

        Returns:
            The same window in terms of the new sizes.
        """
        low, high = self.padding
        return self._replace(
            input_size=change(self.input_size),
            output_size=change(self.output_size),
            kernel_size=change(self.kernel_size),
            stride=change(self.stride),
            padding=(change(low), change(high)),
            dilation=change(self.dilation),
            input_dilation=change(self.input_dilation),
        )

    def input_indices(self, position: int) -> np.ndarray:
        """Find the inputs under the window at one position.

        Args:
            position: index along the output axis.

        Returns:
            int (kernel_size,): the index of the input under each element of the window; -1 where
            the element is on padding or in a gap between dilated inputs.
        """
        offsets = np.arange(self.kernel_size) * self.dilation
        indices, gap = np.divmod(
            position * self.stride - self.padding[0] + offsets, self.input_dilation
        )
        return np.where((gap == 0) & (indices >= 0) & (indices < self.input_size), indices, -1)

    def count_products(self, count_padding: bool) -> Any:
        """Count the pairs of a position and an element of the window that meet an input.

        Args:
            count_padding: whether pairs on padding count as well. The grid of a dilated operand
                continues in its padding; pairs in its gaps never count.

        Returns:
            An int, or a formula in the sizes.

        Raises:
            Undecided: neither the positions nor the elements are a number, and either padding does
                not count, or the operand is dilated.
        """
        if count_padding and self.input_dilation == 1:
            return self.output_size * self.kernel_size
        sides = [(self.output_size, self.stride), (self.kernel_size, self.dilation)]
        (few, few_step), (many, many_step) = sorted(
            sides, key=lambda side: inf if isinstance(side[0], Size) else side[0]
        )
        if isinstance(few, Size):
            raise Undecided(f"the padding among {few} elements at {many} positions")
        starts = (index * few_step - self.padding[0] for index in range(few))
        return sum(self._count_along(many, many_step, start, count_padding) for start in starts)

    def _count_along(self, count: Any, step: int, start: Any, count_padding: bool) -> Any:
        """Count those of ``start, start + step, ...`` that meet an input."""
        period = self.input_dilation // gcd(step, self.input_dilation)
        total = 0
        for first in range(period):  # every period-th one has the same offset between two inputs
            place = start + first * step
            on_grid = 1 - extreme("min", 1, place % self.input_dilation)
            times = extreme("max", (count - first + period - 1) // period, 0)
            index = place // self.input_dilation
            stride = step * period // self.input_dilation
            if not count_padding:  # of index, index + stride, ... those of inputs
                low = extreme("max", -(index // stride), 0)
                high = extreme("min", (self.input_size - 1 - index) // stride + 1, times)
                times = extreme("max", high - low, 0)
            total += on_grid * times
        return total
