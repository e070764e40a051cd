"""The sizes of a convolution in any order of axes, and its operands with channels last."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv.kernels.registry import Operation


@dataclass(frozen=True)
class Problem:
    """A convolution as the primitive of JAX defines it; one entry per spatial axis.

    Attributes:
        images: the batch of the left operand.
        channels: of the left operand, those of all groups.
        filters: channels of the result.
        size: of the images, in pixels.
        window: the number of elements of the kernel.
        map: the size of the result, in pixels.
        stride: from one window to the next.
        pads: (low, high) around the images; negative where pixels are cut off.
        image_dilation: pixels from one pixel of the image to the next one.
        dilation: pixels between the elements of the kernel.
        groups: of channels.
        batch_groups: of images. Each gets its own filters.
    """

    images: int
    channels: int
    filters: int
    size: tuple[int, ...]
    window: tuple[int, ...]
    map: tuple[int, ...]
    stride: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    image_dilation: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    batch_groups: int

    @property
    def is_dilated(self) -> bool:
        """Whether there are zeros between the pixels of the images."""
        return max(self.image_dilation, default=1) > 1

    @property
    def products(self) -> int:
        """Multiplications of all windows, those with padding included."""
        per_window = self.channels // self.groups * prod(self.window)
        return self.images // self.batch_groups * prod(self.map) * self.filters * per_window


def read_problem(operation: Operation) -> Problem | None:
    """Read the sizes of a convolution in float32; None for any other operation.

    Args:
        operation: of the convolution primitive. With the highest precision it is left to `lax`.
    """
    params, (lhs, rhs), out = operation.params, operation.inputs, operation.output
    if not operation.is_static(jnp.float32) or params.get("out_sharding") is not None:
        return None
    if lax.Precision.HIGHEST in jax.tree.leaves(params["precision"]):
        return None
    order = params["dimension_numbers"]
    images, channels, *size = (lhs.shape[i] for i in order.lhs_spec)
    filters, _, *window = (rhs.shape[i] for i in order.rhs_spec)
    if not size:
        return None
    return Problem(
        images,
        channels,
        filters,
        tuple(size),
        tuple(window),
        tuple(out.shape[i] for i in order.out_spec[2:]),
        tuple(params["window_strides"]),
        tuple((low, high) for low, high in params["padding"]),
        tuple(params["lhs_dilation"]),
        tuple(params["rhs_dilation"]),
        params["feature_group_count"],
        params["batch_group_count"],
    )


def images_last(lhs: jax.Array, params: Mapping[str, Any]) -> jax.Array:
    """Transpose images to (images, *size, channels).

    Args:
        lhs: the left operand.
        params: of the primitive.
    """
    images, channels, *spatial = params["dimension_numbers"].lhs_spec
    return jnp.transpose(lhs, (images, *spatial, channels))


def kernel_last(rhs: jax.Array, params: Mapping[str, Any]) -> jax.Array:
    """Transpose a kernel to (*window, channels of a group, filters).

    Args:
        rhs: the right operand.
        params: of the primitive.
    """
    filters, channels, *spatial = params["dimension_numbers"].rhs_spec
    return jnp.transpose(rhs, (*spatial, channels, filters))


def result_of(y: jax.Array, params: Mapping[str, Any]) -> jax.Array:
    """Transpose a result (images, *map, filters) to the order of axes of the primitive.

    Args:
        y: the result.
        params: of the primitive.
    """
    images, filters, *spatial = params["dimension_numbers"].out_spec
    return jnp.transpose(y, np.argsort((images, *spatial, filters)).tolist())


def swapped_last(
    lhs: jax.Array, rhs: jax.Array, params: Mapping[str, Any]
) -> tuple[jax.Array, jax.Array]:
    """Transpose the operands of the gradient of a kernel, whose images and channels are swapped.

    Args:
        lhs: the images: (channels, images, *size) in the order of their spec.
        rhs: the gradient of the result: (filters, images, *map) in the order of its spec.
        params: of the primitive.

    Returns:
        The images (images, *size, channels), and the gradient (images, *map, filters).
    """
    order = params["dimension_numbers"]
    orders = (
        (images, *spatial, last) for last, images, *spatial in (order.lhs_spec, order.rhs_spec)
    )
    x, g = map(jnp.transpose, (lhs, rhs), orders)
    return x, g


def kernel_of(y: jax.Array, params: Mapping[str, Any]) -> jax.Array:
    """Transpose a kernel's gradient (*window, channels, filters) to the axes of the primitive.

    Args:
        y: the gradient.
        params: of the primitive, for which channels are a batch.
    """
    channels, filters, *spatial = params["dimension_numbers"].out_spec
    return jnp.transpose(y, np.argsort((*spatial, channels, filters)).tolist())


def result_size(lhs: jax.Array, rhs: jax.Array, params: Mapping[str, Any]) -> tuple[int, ...]:
    """Compute the spatial size of a result.

    Args:
        lhs: the left operand.
        rhs: the right operand.
        params: of the primitive.
    """
    order = params["dimension_numbers"]
    size = tuple(lhs.shape[i] for i in order.lhs_spec[2:])
    return map_size(size, tuple(rhs.shape[i] for i in order.rhs_spec[2:]), params)


def map_size(
    size: Sequence[int], window: Sequence[int], params: Mapping[str, Any]
) -> tuple[int, ...]:
    """Compute the spatial size of a result from those of its operands.

    Args:
        size: of the images.
        window: elements of the kernel along each axis.
        params: of the primitive.
    """
    sizes = zip(
        size,
        window,
        params["window_strides"],
        params["padding"],
        params["lhs_dilation"],
        params["rhs_dilation"],
        strict=True,
    )
    return tuple(
        ((n - 1) * inner + 1 + low + high - (k - 1) * d - 1) // s + 1
        for n, k, s, (low, high), inner, d in sizes
    )
