"""Tensors of PyTorch with the axes of a model, and with its order of the numbers along them."""

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flax import nnx

from jaxconv.errors import shown
from jaxconv.models.errors import WeightsError

# The layers that an option can name, and what its numbers count.
KINDS = {
    "flattened": ("linear layer or norm", "channels of the image"),
    "unflattened": ("linear layer", "channels of the image"),
    "transposed": ("kernel for jc.conv_transpose", "groups"),
}


@dataclass(frozen=True)
class Layer:
    """A module of the model that has variables of its own.

    Attributes:
        name: its path, such as "blocks.0.conv"; "" for the model itself.
        module: what has the variables.
        variables: by their names in the module.
    """

    name: str
    module: Any
    variables: Mapping[str, nnx.Variable]

    @property
    def kernel(self) -> tuple[int, ...]:
        """The shape of its kernel; () where it has none."""
        return tuple(self.variables["kernel"].shape) if "kernel" in self.variables else ()

    @property
    def is_linear(self) -> bool:
        """Whether the kernel is a matrix."""
        return len(self.kernel) == 2

    @property
    def values(self) -> set[tuple[int, ...]]:
        """The shapes of the parameters of a norm, or of another layer without a kernel."""
        if {"kernel", "embedding"} & {*self.variables}:
            return set()
        return {tuple(v.shape) for v in self.variables.values() if v.size > 1}

    @property
    def shape(self) -> tuple[int, ...]:
        """The one shape of all these parameters; () where they have none or several."""
        return next(iter(self.values)) if len(self.values) == 1 else ()


@dataclass(frozen=True)
class Orders:
    """What the shapes of tensors do not say, by the names of layers.

    Attributes:
        flattened: the channels of the image that a linear layer or a norm takes as one vector.
        unflattened: the channels of the image that the outputs of a linear layer become.
        transposed: the groups of each kernel for ``jc.conv_transpose``.
    """

    flattened: Mapping[str, int]
    unflattened: Mapping[str, int]
    transposed: Mapping[str, int]


def checked_orders(layers: list[Layer], **options: Any) -> Orders:
    """Read the options that give numbers for layers.

    Args:
        layers: of the model.
        options: what was passed for each attribute of :class:`Orders`, by its name.

    Raises:
        WeightsError: anything but a dict of names of such layers, and of numbers that are possible.
    """
    return Orders(**{option: _checked(layers, option, given) for option, given in options.items()})


def with_axes(layer: Layer, name: str, tensor: np.ndarray, orders: Orders) -> np.ndarray:
    """Give a tensor the axes of a variable of a layer. The numbers are not copied.

    Args:
        layer: of the model.
        name: of the variable.
        tensor: of PyTorch.
        orders: what its shape does not say.

    Raises:
        ValueError: the tensor has other axes.
    """
    channels = orders.flattened.get(layer.name, 1)
    if layer.values and tensor.ndim > 1 and 1 not in (channels, tensor.size):  # of a whole image
        return np.moveaxis(tensor, tensor.shape.index(channels), -1)
    if name != "kernel":
        return tensor
    if layer.name in orders.transposed:  # to what jc.conv_transpose takes
        groups = orders.transposed[layer.name]
        c_in, each, *window = tensor.shape
        split = tensor.reshape(groups, c_in // groups, each, *window)
        moved = np.moveaxis(split, (1, 0, 2), (-3, -2, -1))
        return moved.reshape(*window, c_in // groups, groups * each)
    if isinstance(layer.module, nnx.ConvTranspose) and not layer.module.transpose_kernel:
        spatial = tuple(range(tensor.ndim - 2))
        return np.flip(np.moveaxis(tensor, (0, 1), (-2, -1)), spatial)
    return np.moveaxis(tensor, (1, 0), (-2, -1))


def converted(layer: Layer, name: str, tensor: np.ndarray, orders: Orders) -> np.ndarray:
    """Give a tensor the axes of a variable of a layer, and the order of its numbers.

    Args:
        layer: of the model.
        name: of the variable.
        tensor: of PyTorch, which fits.
        orders: what its shape does not say.
    """
    tensor = with_axes(layer, name, tensor, orders)
    if name == "kernel" or (layer.values and tensor.ndim == 1 and tensor.size > 1):
        tensor = _channels_last(tensor, 0, orders.flattened.get(layer.name, 1))
    if layer.is_linear and tensor.shape[-1:] == layer.kernel[-1:]:  # its bias, too
        tensor = _channels_last(tensor, -1, orders.unflattened.get(layer.name, 1))
    return tensor


def _channels_last(tensor: np.ndarray, axis: int, channels: int) -> np.ndarray:
    """Put the numbers along an axis, which are an image (c, h, w), into the order (h, w, c)."""
    if channels == 1:
        return tensor
    order = np.arange(tensor.shape[axis]).reshape(channels, -1).T
    return tensor.take(order.ravel(), axis)


def _checked(layers: list[Layer], option: str, given: Any) -> dict[str, int]:
    if given is None:
        return {}
    possible = {one.name: found for one in layers if (found := _possible(option, one))}
    kind, unit = KINDS[option]
    names = f"pass names of {', '.join(map(repr, possible))}" if possible else "leave it out"
    if not isinstance(given, Mapping):
        fix = f"pass a dict such as {{{next(iter(possible))!r}: 1}}" if possible else names
        raise WeightsError(f"{option} is {shown(given)}, but must be a dict. Fix: {fix}.")
    for name, number in given.items():
        if name not in possible:
            wrong = f"{option} has {shown(name)}, but the model has no {kind} of this name."
            raise WeightsError(f"{wrong} Fix: {names}.")
        if _whole(number) not in possible[name]:
            choices = ", ".join(map(str, possible[name]))
            wrong = f"{option} has {name!r}: {shown(number)}, which must be one of {choices}."
            raise WeightsError(f"{wrong} Fix: pass the number of {unit}.")
    return {name: operator.index(number) for name, number in given.items()}


def _possible(option: str, layer: Layer) -> list[int]:
    """The numbers that an option can give for a layer; none where it says nothing about it."""
    kernel: tuple[int, ...] = layer.kernel
    shapes: set[tuple[int, ...]] = set()
    if option == "transposed":
        of_flax = isinstance(layer.module, nnx.Conv | nnx.ConvTranspose)
        shapes = {kernel[-1:]} if len(kernel) > 2 and not of_flax else set()
    elif layer.is_linear:
        shapes = {kernel[:1] if option == "flattened" else kernel[1:]}
    elif option == "flattened":
        shapes = layer.values
    longest = max((shape[-1] for shape in shapes), default=0)
    return [n for n in range(1, longest + 1) if all(_can_have(shape, n) for shape in shapes)]


def _can_have(shape: tuple[int, ...], channels: int) -> bool:
    if len(shape) == 1:
        return shape[0] % channels == 0
    return channels in (1, shape[-1])


def _whole(number: Any) -> int | None:
    """The number as an int; None for what is not a whole number, such as True."""
    try:
        return None if isinstance(number, bool) else operator.index(number)
    except TypeError:
        return None
