"""Multiply-accumulates of convolutions and matrix products, as numbers or as formulas in sizes.

A convolution multiplies once for each pair of an output position and a weight tap. Whether a pair
meets a pixel, padding, or a hole between the pixels of a dilated image is counted axis by axis,
since each axis decides alone; the numbers of the axes and of the channels are then multiplied.
"""

from collections.abc import Callable, Iterator
from math import gcd, inf
from typing import Any, NamedTuple

from jaxconv.compat import JaxprEqn
from jaxconv.jaxpr.equation import Substitute
from jaxconv.jaxpr.interpreter import shape_of
from jaxconv.symbolic.size import Size, Undecided
from jaxconv.symbolic.specs import extreme


class Line(NamedTuple):
    """One spatial axis of a convolution.

    Attributes:
        pixels: of the image, before it is dilated.
        outputs: positions of the window.
        taps: of the kernel.
        low: padding before the first pixel.
        stride: from one position to the next.
        dilation: from one tap to the next.
        holes: from one pixel of the dilated image to the next; 1 leaves no hole.
    """

    pixels: Any
    outputs: Any
    taps: Any
    low: Any
    stride: int
    dilation: int
    holes: int

    def met(self, padded_taps: bool) -> Any:
        """Pairs of a position and a tap that meet a pixel, or padding where that counts.

        In a dilated image the grid of pixels goes on into the padding; holes count never.

        Raises:
            Undecided: neither the positions nor the taps are a number, and padding is left out.
        """
        if padded_taps and self.holes == 1:
            return self.outputs * self.taps
        sides = [(self.outputs, self.stride), (self.taps, self.dilation)]
        few, many = sorted(sides, key=lambda side: inf if isinstance(side[0], Size) else side[0])
        if isinstance(few[0], Size):
            raise Undecided(f"the padding among {few[0]} taps at {many[0]} positions")
        starts = (i * few[1] - self.low for i in range(few[0]))
        return sum(self._along(*many, start, padded_taps) for start in starts)

    def _along(self, count: Any, step: int, start: Any, padded_taps: bool) -> Any:
        """Count those of ``start, start + step, ...`` that meet a pixel."""
        period = self.holes // gcd(step, self.holes)
        total = 0
        for first in range(period):  # every period-th of them is in the same place between pixels
            place = start + first * step
            on_grid = 1 - extreme("min", 1, place % self.holes)
            times = extreme("max", (count - first + period - 1) // period, 0)
            pixel, stride = place // self.holes, step * period // self.holes
            total += on_grid * (times if padded_taps else self._inside(times, stride, pixel))
        return total

    def _inside(self, count: Any, stride: int, first: Any) -> Any:
        """Count those of ``first, first + stride, ...`` that are pixels."""
        low = extreme("max", -(first // stride), 0)
        high = extreme("min", (self.pixels - 1 - first) // stride + 1, count)
        return extreme("max", high - low, 0)


def _convolution(eqn: JaxprEqn, here: Substitute, padded_taps: bool) -> tuple[Any, ...]:
    numbers = eqn.params["dimension_numbers"]
    kernel, out = (shape_of(atom) for atom in (eqn.invars[1], eqn.outvars[0]))
    batch, features = (here(out[axis]) for axis in numbers.out_spec[:2])
    met = (line.met(padded_taps) for line in _lines(eqn, here))
    return batch, features, here(kernel[numbers.rhs_spec[1]]), *met


def _lines(eqn: JaxprEqn, here: Substitute) -> Iterator[Line]:
    numbers = eqn.params["dimension_numbers"]
    shapes = [shape_of(atom) for atom in (eqn.invars[0], eqn.outvars[0], eqn.invars[1])]
    orders = (numbers.lhs_spec[2:], numbers.out_spec[2:], numbers.rhs_spec[2:])
    sides = [
        [here(shape[axis]) for axis in order] for shape, order in zip(shapes, orders, strict=True)
    ]
    lows = [here(low) for low, _ in eqn.params["padding"]]
    steps = (eqn.params[name] for name in ("window_strides", "rhs_dilation", "lhs_dilation"))
    return (Line(*settings) for settings in zip(*sides, lows, *steps, strict=True))


def _product(eqn: JaxprEqn, here: Substitute, _: bool) -> tuple[Any, ...]:
    """One for each number of the result and each number contracted."""
    return *map(here, shape_of(eqn.outvars[0])), *_contracted(eqn, here)


def _contracted(eqn: JaxprEqn, here: Substitute) -> tuple[Any, ...]:
    (summed, _), _ = eqn.params["dimension_numbers"]
    return tuple(here(shape_of(eqn.invars[0])[axis]) for axis in summed)


def _filter(eqn: JaxprEqn, here: Substitute) -> tuple[Any, ...]:
    kernel, filters = shape_of(eqn.invars[1]), eqn.params["dimension_numbers"].rhs_spec[0]
    return tuple(here(n) for axis, n in enumerate(kernel) if axis != filters)


class Product(NamedTuple):
    """How to count in a primitive that multiplies by weights; counts are factors to multiply.

    Attributes:
        macs: the multiply-accumulates of an equation.
        weights: those of one neuron.
        kernels: which operands may be weights.
    """

    macs: Callable[[JaxprEqn, Substitute, bool], tuple[Any, ...]]
    weights: Callable[[JaxprEqn, Substitute], tuple[Any, ...]]
    kernels: slice


PRODUCTS = {
    "conv_general_dilated": Product(_convolution, _filter, slice(1, 2)),
    "dot_general": Product(_product, _contracted, slice(0, 2)),
}
