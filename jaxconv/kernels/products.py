"""Convolutions whose windows do not overlap as matrix products, and the gradients of their kernels.

A kernel of one element multiplies each pixel by a matrix. A window that moves by its own size sees
each pixel once: a *patch* of pixels is one pixel with as many channels as they have together.
The kernel of a transposed convolution has the gradient of a strided one.
"""

from collections.abc import Sequence
from functools import partial, reduce
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv.compat import conv_general_dilated_p
from jaxconv.kernels.columns import MAX_IMAGES
from jaxconv.kernels.lowering import with_cpu_primitives
from jaxconv.kernels.problem import (
    Problem,
    images_last,
    kernel_last,
    kernel_of,
    read_problem,
    result_of,
    result_size,
    swapped_last,
)
from jaxconv.kernels.registry import Decision, Formulation, Operation, register_formulation
from jaxconv.kernels.taps import Sliding, elements

CONVOLUTION = "pointwise convolution"
KERNEL_GRADIENT = "kernel gradient of a pointwise convolution"
PATCHES = "non-overlapping convolution"
PATCHES_GRADIENT = "kernel gradient of a non-overlapping convolution"
TRANSPOSED_GRADIENT = "kernel gradient of a transposed convolution"
# Products of images are summed afterwards, where they are small: two threads share them.
BATCH, BATCH_BYTES = 8, 2**19
FLOAT_BYTES = 4
MIN_PRODUCTS, FEW = 2**23, "so few multiplications take as long in `lax`"
barrier = lax.optimization_barrier


def _is_plain(p: Problem | None) -> bool:
    """Whether there are no groups and no zeros between pixels."""
    return p is not None and p.groups == p.batch_groups == 1 and not p.is_dilated


def matches_pointwise(operation: Operation) -> Decision | None:
    """Accept convolutions whose kernel has one element.

    Args:
        operation: of the convolution primitive.
    """
    p = read_problem(operation)
    if p is None or not _is_plain(p) or {*p.window} != {1}:
        return None
    if p.products < MIN_PRODUCTS:
        return Decision(False, FEW)
    return Decision(True, "one matrix product for all pixels")


def matches_pointwise_gradient(operation: Operation) -> Decision | None:
    """Accept the gradient of a kernel of one element.

    Args:
        operation: of the convolution primitive; the channels are its batch.
    """
    p = read_problem(operation)
    if p is None or not _is_plain(p) or {*p.map} != {1} or {*p.window} == {1}:
        return None
    return Decision(True, "matrix products, summed over the batch")


def matches_patches(operation: Operation) -> Decision | None:
    """Accept convolutions whose windows lie side by side.

    Args:
        operation: of the convolution primitive.
    """
    p = read_problem(operation)
    if p is None or not _is_plain(p) or {*p.window} == {1} or p.window != p.stride:
        return None
    if max(p.dilation) > 1:
        return None
    if p.products < MIN_PRODUCTS:
        return Decision(False, FEW)
    return Decision(True, "one matrix product for all patches")


def matches_patches_gradient(operation: Operation) -> Decision | None:
    """Accept the gradient of the kernel of such a convolution.

    Args:
        operation: of the convolution primitive; the channels are its batch, the stride is the
            dilation of its window.
    """
    p = read_problem(operation)
    if p is None or not _is_plain(p) or {*p.map} == {1} or p.map != p.dilation:
        return None
    if max(p.stride) > 1 or p.channels > MAX_IMAGES * prod(p.window):
        return None
    return Decision(True, "matrix products, summed over the batch")


def matches_transposed_gradient(operation: Operation) -> Decision | None:
    """Accept the gradient of a transposed convolution's kernel.

    Args:
        operation: of the convolution primitive; its images are dilated, its window is the result.
    """
    p = read_problem(operation)
    if p is None or not p.is_dilated or max(p.dilation) > 1 or p.groups > 1:
        return None
    if prod(p.map) >= prod(p.window):
        return None
    return Decision(True, "the images and the gradient are swapped: no zero is multiplied")


def convolve_pixels(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """Compute a convolution with a kernel of one element.

    Args:
        lhs: the images, as the primitive takes them.
        rhs: the kernel, likewise.
        **params: of the primitive.
    """
    size, order = result_size(lhs, rhs, params), params["dimension_numbers"]
    x = _pixels(images_last(lhs, params), size, params["window_strides"], params["padding"])
    pixels, channels = x.reshape(-1, x.shape[-1]), x.shape[-1]
    filters_axis, channels_axis, *_ = order.rhs_spec
    if filters_axis < channels_axis and len(pixels) < channels:
        # XLA would copy the kernel to transpose it; the result, of few pixels, is smaller.
        y = barrier(rhs.reshape(-1, channels) @ pixels.T).T
    else:
        y = pixels @ kernel_last(rhs, params).reshape(channels, -1)
    return result_of(y.reshape(*x.shape[:-1], -1), params)


def pointwise_gradient(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """Compute the gradient of a kernel of one element.

    Args:
        lhs: the images, with channels as the batch.
        rhs: the gradient of the result, with images as channels.
        **params: of the primitive.
    """
    x, g = swapped_last(lhs, rhs, params)
    x = _pixels(x, g.shape[1:-1], params["rhs_dilation"], params["padding"])
    y = _product_of_images(x, g)
    return kernel_of(y.reshape(*[1] * (x.ndim - 2), *y.shape), params)


def convolve_patches(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """Compute a convolution whose windows lie side by side.

    Args:
        lhs: the images, as the primitive takes them.
        rhs: the kernel, likewise.
        **params: of the primitive.
    """
    x, kernel = images_last(lhs, params), kernel_last(rhs, params)
    *window, _, filters = kernel.shape
    x = _patches(x, window, result_size(lhs, rhs, params), params["padding"])
    y = x.reshape(-1, x.shape[-1]) @ kernel.reshape(-1, filters)
    return result_of(y.reshape(*x.shape[:-1], filters), params)


def patches_gradient(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """Compute the gradient of the kernel of such a convolution.

    Args:
        lhs: the images, with channels as the batch.
        rhs: the gradient of the result, with images as channels.
        **params: of the primitive.
    """
    x, g = swapped_last(lhs, rhs, params)
    window, channels = result_size(lhs, rhs, params), x.shape[-1]
    y = _product_of_images(_patches(x, window, g.shape[1:-1], params["padding"]), g)
    return kernel_of(y.reshape(*window, channels, -1), params)


def _patches(x: jax.Array, window: Sequence[int], size: Sequence[int], pads: Any) -> jax.Array:
    """Put the pixels of each window together: (images, *size, channels of a patch)."""
    reach = [n * k for n, k in zip(size, window, strict=True)]
    amounts = [
        (low, n - pixels - low, 0)
        for (low, _), n, pixels in zip(pads, reach, x.shape[1:-1], strict=True)
    ]
    x = lax.pad(x, np.float32(0), [(0, 0, 0), *amounts, (0, 0, 0)])
    rank, channels = len(window), x.shape[-1]
    x = x.reshape(len(x), *(n for pair in zip(size, window, strict=True) for n in pair), channels)
    axes = (0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1)
    return barrier(jnp.transpose(x, axes)).reshape(len(x), *size, -1)


def _product_of_images(x: jax.Array, g: jax.Array) -> jax.Array:
    """Sum the products of the channels of two batches of maps over pixels: (channels, filters)."""
    channels, filters = x.shape[-1], g.shape[-1]
    least = channels * filters * FLOAT_BYTES
    fits = (n for n in range(2, BATCH + 1) if len(x) % n == 0 and n * least <= BATCH_BYTES)
    parts = max(fits, default=1)
    pixels, maps = (a.reshape(parts, -1, a.shape[-1]) for a in (x, g))
    is_narrow = channels <= filters or parts == 1  # of several, the smaller side comes first
    products = jnp.einsum("bpi,bpj->bij", *((pixels, maps) if is_narrow else (maps, pixels)))
    # XLA's library takes fifty times as long as these additions for a sum over the first axis.
    y = reduce(jnp.add, products)
    return y if is_narrow else y.T


def _pixels(x: jax.Array, size: Any, strides: Any, padding: Any) -> jax.Array:
    """The pixels that a window of one element sees, as an array in memory."""
    if {*strides} == {1} and not np.any(padding):
        return x
    sliding = Sliding([1] * len(size), size, strides, [1] * len(size), [low for low, _ in padding])
    (pixels,) = elements(x, sliding)
    return pixels


def transposed_gradient(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """Compute the gradient of a transposed convolution's kernel as that of a strided one.

    The sum of ``x[p] * g[stride*p + low - t]`` over p is, for the elements t in reverse order, a
    convolution of g with x as a dilated window.

    Args:
        lhs: the images, with channels as the batch.
        rhs: the gradient of the result, with images as channels.
        **params: of the primitive.
    """
    order = params["dimension_numbers"]
    window = result_size(lhs, rhs, params)
    sizes = zip(
        window,
        params["window_strides"],
        params["padding"],
        params["lhs_dilation"],
        (lhs.shape[i] for i in order.lhs_spec[2:]),
        (rhs.shape[i] for i in order.rhs_spec[2:]),
        strict=True,
    )
    pads = []
    for k, dilation, (low, _), stride, pixels, size in sizes:
        before = (k - 1) * dilation - low
        pads.append((before, (pixels - 1) * stride + 1 + low - size))
    channels, filters, *spatial = order.out_spec
    swapped = params | {
        "window_strides": params["window_strides"],
        "padding": tuple(pads),
        "lhs_dilation": params["rhs_dilation"],
        "rhs_dilation": params["lhs_dilation"],
        "dimension_numbers": lax.ConvDimensionNumbers(
            order.rhs_spec, order.lhs_spec, (0, 1, *range(2, lhs.ndim))
        ),
    }
    y = with_cpu_primitives(partial(conv_general_dilated_p.bind, **swapped), rhs, lhs)
    y = lax.rev(y, range(2, lhs.ndim))  # (filters of a group, channels of all groups, *window)
    y = y.reshape(len(y), params["batch_group_count"], -1, *window)
    y = jnp.swapaxes(y, 0, 2).reshape(y.shape[2], -1, *window)
    return jnp.transpose(y, np.argsort((channels, filters, *spatial)).tolist())


for _name, _operation, _matches, _apply in (
    ("one product", CONVOLUTION, matches_pointwise, convolve_pixels),
    ("products of images", KERNEL_GRADIENT, matches_pointwise_gradient, pointwise_gradient),
    ("products of patches", PATCHES, matches_patches, convolve_patches),
    ("products of patches", PATCHES_GRADIENT, matches_patches_gradient, patches_gradient),
    ("swapped operands", TRANSPOSED_GRADIENT, matches_transposed_gradient, transposed_gradient),
):
    register_formulation(
        Formulation(
            name=_name,
            operation=_operation,
            primitive=conv_general_dilated_p,
            matches=_matches,
            apply=_apply,
            reason="matrix products reach a larger part of the peak than convolutions of `lax`",
            everywhere=_operation == TRANSPOSED_GRADIENT,  # `lax` multiplies zeros
            # Patches need no copies of pixels, as volumes and images of few channels do.
            priority=int(_operation in (PATCHES, PATCHES_GRADIENT)),
        )
    )
