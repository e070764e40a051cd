"""Convolutions of volumes, and the gradients of their kernels, as convolutions of images.

The slices of a volume that a window sees along its first axis become channels of one image. The
convolution of these images with a kernel of two axes gives the slices of the result, and there are
fast formulations for it.
"""

from collections.abc import Mapping
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv.compat import conv_general_dilated_p
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

CONVOLUTION = "convolution of volumes"
KERNEL_GRADIENT = "kernel gradient of volumes"
MAX_DEPTH = 8  # slices of a window: each slice of the volume is copied as often
MIN_PIXELS = 256  # of results: the sums of a gradient over fewer are short
IMAGES = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
SWAPPED = lax.ConvDimensionNumbers((3, 0, 1, 2), (3, 0, 1, 2), (2, 3, 0, 1))


def _is_plain(p: Problem | None) -> bool:
    """Whether it is of volumes, without groups and without zeros between pixels."""
    return (
        p is not None and len(p.size) == 3 and p.groups == p.batch_groups == 1 and not p.is_dilated
    )


def matches_convolution(operation: Operation) -> Decision | None:
    """Accept convolutions of volumes with windows of few slices.

    Args:
        operation: of the convolution primitive.
    """
    p = read_problem(operation)
    if p is None or not _is_plain(p) or {*p.window} == {1} or p.window[0] > MAX_DEPTH:
        return None
    if prod(p.window) > prod(p.map):
        return None
    return Decision(True, "slices of a volume are channels of an image; copied once per slice")


def matches_kernel_gradient(operation: Operation) -> Decision | None:
    """Accept the gradient of the kernel of such a convolution.

    Args:
        operation: of the convolution primitive; the channels are its batch.
    """
    p = read_problem(operation)
    if p is None or not _is_plain(p) or {*p.map} == {1} or p.map[0] > MAX_DEPTH:
        return None
    if max(p.dilation) > 1 or prod(p.map) >= prod(p.window):
        return None
    if p.channels * prod(p.window) < MIN_PIXELS:
        return Decision(False, "for so few pixels, a convolution of images takes longer")
    return Decision(True, "slices of a volume are channels of an image; copied once per slice")


def convolve(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """Compute a convolution of volumes. It takes a copy of them per slice of a window.

    Args:
        lhs: the volumes, as the primitive takes them.
        rhs: the kernel, likewise.
        **params: of the primitive.
    """
    x, kernel = images_last(lhs, params), kernel_last(rhs, params)
    depth, *window, channels, filters = kernel.shape
    count = result_size(lhs, rhs, params)[0]
    x = _slices(x, depth, count, params["rhs_dilation"][0], params["window_strides"][0], params)
    kernel = jnp.moveaxis(kernel, 0, 2).reshape(*window, depth * channels, filters)
    y = _convolve(x, kernel, IMAGES, params)
    return result_of(y.reshape(-1, count, *y.shape[1:]), params)


def kernel_gradient(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """Compute the gradient of the kernel of a convolution of volumes.

    Args:
        lhs: the volumes, with channels as the batch.
        rhs: the gradient of the result, with volumes as channels.
        **params: of the primitive.
    """
    x, g = swapped_last(lhs, rhs, params)
    depth, count = result_size(lhs, rhs, params)[0], g.shape[1]
    x = _slices(x, depth, count, params["window_strides"][0], params["rhs_dilation"][0], params)
    y = _convolve(x, g.reshape(-1, *g.shape[2:]), SWAPPED, params)
    y = y.reshape(*y.shape[:2], depth, -1, y.shape[-1])
    return kernel_of(jnp.moveaxis(y, 2, 0), params)


def _slices(
    x: jax.Array, depth: int, count: int, dilation: int, stride: int, params: Mapping[str, Any]
) -> jax.Array:
    """The slices that each window sees, as channels of images: (volumes * count, h, w, channels).

    Args:
        x: (volumes, slices, h, w, channels).
        depth: slices of a window.
        count: positions of the window.
        dilation: slices from one of a window to the next one.
        stride: slices from one position to the next one.
        params: of the primitive.
    """
    low, high = params["padding"][0]
    x = lax.pad(x, np.float32(0), [(0, 0, 0), (low, high, 0), *[(0, 0, 0)] * 3])
    reach = (count - 1) * stride + 1
    starts = range(0, depth * dilation, dilation)
    parts = [lax.slice_in_dim(x, i, i + reach, stride, axis=1) for i in starts]
    seen = jnp.concatenate(parts, -1)
    return lax.optimization_barrier(seen.reshape(-1, *seen.shape[2:]))


def _convolve(
    x: jax.Array, kernel: jax.Array, order: lax.ConvDimensionNumbers, params: Mapping[str, Any]
) -> jax.Array:
    """Compute a convolution along the last two of three axes."""
    axes = ("window_strides", "padding", "lhs_dilation", "rhs_dilation")
    options = {name: tuple(params[name][1:]) for name in axes} | {"dimension_numbers": order}

    def bind(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return conv_general_dilated_p.bind(x, kernel, **(dict(params) | options))

    return with_cpu_primitives(bind, x, kernel)


for _operation, _matches, _apply in (
    (CONVOLUTION, matches_convolution, convolve),
    (KERNEL_GRADIENT, matches_kernel_gradient, kernel_gradient),
):
    register_formulation(
        Formulation(
            name="slices as channels",
            operation=_operation,
            primitive=conv_general_dilated_p,
            matches=_matches,
            apply=_apply,
            reason="`lax` takes several times as long for volumes as for images",
            gradients=(CONVOLUTION, KERNEL_GRADIENT),
        )
    )
