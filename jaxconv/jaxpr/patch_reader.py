"""What one neuron of a layer reads of the array before it, with plain NumPy.

All of it is read off the parameters of the layer's equation; nothing here computes the layer.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple, cast

import numpy as np

from jaxconv.compat import JaxprEqn, Var
from jaxconv.jaxpr.window_axis import WindowAxis

Axes = tuple[int, ...]
Index = tuple[Any, ...]  # of one number, or of many where its entries are arrays
Patch = tuple[np.ndarray, np.ndarray | None]  # the numbers, and the weights they are multiplied by


class MapSize(NamedTuple):
    """How large a feature map is.

    Attributes:
        images: of the batch.
        pixels: along each spatial axis.
        channels: how many.
    """

    images: int
    pixels: Axes
    channels: int


class MapAxes(NamedTuple):
    """Which axes of an array are which.

    Attributes:
        images: those of the batch; empty where there are none.
        pixels: the spatial axes, such as y and x.
        channels: those of the channels.
    """

    images: Axes
    pixels: Axes
    channels: Axes

    def locate(
        self, shape: Sequence[int], image: int, at: Sequence[Any], channel: int | np.ndarray
    ) -> Index:
        """Find a neuron in an array, or many neurons at once.

        Args:
            shape: of the array.
            image: index in the batch.
            at: index along each spatial axis; arrays for many neurons.
            channel: index among the channels, or an array.

        Returns:
            The index of the neuron in the array.
        """
        index = dict(zip(self.pixels, at, strict=True))
        for axes, number in ((self.images, image), (self.channels, channel)):
            index |= zip(
                axes, np.unravel_index(number, [shape[axis] for axis in axes]), strict=True
            )
        return tuple(index[axis] for axis in range(len(shape)))

    def sizes(self, shape: Sequence[int]) -> MapSize:
        """Count the images, pixels and channels of an array.

        Args:
            shape: of the array.
        """
        images, pixels, channels = ([shape[axis] for axis in axes] for axes in self)
        return MapSize(prod(images), tuple(pixels), prod(channels))


class Pooling(NamedTuple):
    """How a pool turns a window into one number.

    Attributes:
        name: "max", "min" or "sum".
        reduce: takes the numbers of the window.
        padding_value: what padding counts as; it never changes the result.
    """

    name: str
    reduce: Callable[[np.ndarray], Any]
    padding_value: float


class SlidingOperands(NamedTuple):
    """A layer whose neurons read a map (h, w, c), or a vector.

    Attributes:
        operand: (h, w, c), or (n,): the map of the first image as the neurons read it.
        windows: over its rows and columns; None where every neuron reads all of a vector.
        weights: float32 (kh, kw, c_in, c_out), or (n, c_out) for a vector; None of a pool.
    """

    operand: np.ndarray
    windows: tuple[WindowAxis, WindowAxis] | None
    weights: np.ndarray | None


@dataclass(frozen=True)
class PatchReader(ABC):
    """Reads what the neurons of one layer see. Each kind of layer has its own subclass.

    Attributes:
        eqn: the equation that computes the layer.
        fixed: for each operand whether it is the same for all inputs, as weights are.
    """

    eqn: JaxprEqn
    fixed: tuple[bool, ...]

    @property
    def operands(self) -> list[Var]:
        """The operands of the equation, in the order in which :meth:`read` takes them."""
        return [cast(Var, atom) for atom in self.eqn.invars]

    @property
    @abstractmethod
    def kind(self) -> str:
        """What a neuron computes of its patch: "convolution", "product", "max", "min" or "sum"."""

    @property
    @abstractmethod
    def axes(self) -> MapAxes:
        """The axes of the layer's result."""

    @abstractmethod
    def read(self, index: Index, *operands: np.ndarray) -> Patch:
        """Cut out what one neuron reads.

        Args:
            index: of the neuron in the layer's result.
            *operands: the values of the equation's operands.

        Returns:
            The patch and the weights, float64 with the channels last; the weights are None where
            the layer has none.
        """

    @abstractmethod
    def slide(self, *operands: np.ndarray) -> SlidingOperands | None:
        """Describe the layer as a filter that slides over a map of two spatial axes.

        Args:
            *operands: the values of the equation's operands.

        Returns:
            None where the layer is not one, for example if its input is dilated.
        """

    def filters(self, kernel: np.ndarray) -> np.ndarray:
        """Bring weights into one order of axes.

        Args:
            kernel: the value of the operand with the weights.

        Returns:
            float64 (c_out, c_in, kh, kw).

        Raises:
            TypeError: the layer is not a convolution, and has no filters.
        """
        raise TypeError(f"{self.eqn.primitive.name} of shape {kernel.shape} has no filters")


def window_values(
    x: np.ndarray, windows: Sequence[WindowAxis], position: Sequence[Any], padding_value: float
) -> np.ndarray:
    """Cut out the numbers under a window.

    Args:
        x: its last axes are those of the windows, in order.
        windows: one for each of these axes.
        position: of the window along each of them.
        padding_value: stands where the window is on padding, or between dilated inputs.

    Returns:
        float64 (..., *kernel sizes).
    """
    indices = [axis.input_indices(int(p)) for axis, p in zip(windows, position, strict=True)]
    inside = functools.reduce(
        np.logical_and.outer, [each >= 0 for each in indices], np.asarray(True)
    )
    return np.where(inside, x[(..., *np.ix_(*indices))].astype(float), padding_value)
