"""Depthwise convolutions, and the gradients of their kernels, as sums of shifted products.

Each channel has a kernel of its own, so there is no matrix product: a result is the sum of a few
shifted images, each multiplied by one weight per channel. Channels are the last axis, along which
all loops vectorise.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from math import ceil, prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv.compat import conv_general_dilated_p
from jaxconv.kernels.problem import (
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

NAME = "shifted products"
CONVOLUTION = "depthwise convolution"
KERNEL_GRADIENT = "kernel gradient of a depthwise convolution"
MAX_INPUTS = 8  # channels of a group with one filter: with more, a matrix product is faster
# Channels of a group with several filters: their images are copied once for each filter.
FEW_INPUTS = 4
MAX_TERMS = 32  # of a sum in one loop
MAX_ELEMENTS = 128  # of a window: each one takes a slice, which takes time to compile
# Arrays that XLA sums up at once over an axis of 8: a loop of this length is unrolled, and the
# loop around it vectorises. Longer axes take four to eight times as long.
PIECES = 8
MOST_SUMS = 2**18  # numbers that a loop adds to: they stay in the second-level cache
FEW_ELEMENTS, AT_ONCE = 9, 5  # of a window: all at once up to the first number, else the second
barrier = lax.optimization_barrier


def matches_convolution(operation: Operation) -> Decision | None:
    """Accept convolutions of groups with one channel, or with few channels.

    Args:
        operation: of the convolution primitive.
    """
    p = read_problem(operation)
    if p is None or p.groups == 1 or p.batch_groups > 1 or p.is_dilated:
        return None
    inputs = p.channels // p.groups
    if prod(p.window) * (inputs if p.filters > p.groups else 1) > MAX_ELEMENTS:
        return None
    if inputs == 1:
        return Decision(True, "one channel per filter: a sum of shifted images, not a product")
    if p.filters == p.groups and inputs <= MAX_INPUTS:
        return Decision(True, "one filter per group of few channels: a sum of shifted images each")
    if inputs <= FEW_INPUTS:
        return Decision(True, "few channels per filter: sums of shifted images; one copy of each")
    return None


def matches_kernel_gradient(operation: Operation) -> Decision | None:
    """Accept the gradient of a kernel that has one channel per filter.

    Args:
        operation: of the convolution primitive; the channels are its batch.
    """
    p = read_problem(operation)
    if p is None or p.batch_groups == 1 or p.groups > 1 or p.is_dilated:
        return None
    if prod(p.map) > MAX_ELEMENTS:
        return None
    inputs = p.images // p.batch_groups
    if inputs > 1 and (p.filters > p.batch_groups or inputs > MAX_INPUTS):
        return None
    return Decision(True, "one number per channel and element: sums over pixels of products")


def convolve(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """Compute a depthwise convolution, or one of groups with few channels.

    Args:
        lhs: the images, as the primitive takes them.
        rhs: the kernel, likewise.
        **params: of the primitive.
    """
    x, kernel = images_last(lhs, params), kernel_last(rhs, params)
    groups, (*window, inputs, filters) = params["feature_group_count"], kernel.shape
    sliding = Sliding(
        window,
        result_size(lhs, rhs, params),
        params["window_strides"],
        params["rhs_dilation"],
        [low for low, _ in params["padding"]],
    )
    if filters == groups:  # the weights of a filter follow one another, as its channels do
        kernel = jnp.swapaxes(kernel, -1, -2).reshape(prod(window), inputs * filters)
        y = sum_products(zip(elements(x, sliding), kernel, strict=True))
        return result_of(reduce(jnp.add, (y[..., i::inputs] for i in range(inputs))), params)
    x, kernel = x.reshape(*x.shape[:-1], groups, inputs), kernel.reshape(-1, inputs, filters)
    pairs = (
        pair
        for i in range(inputs)
        for pair in zip(
            elements(jnp.repeat(x[..., i], filters // groups, -1), sliding),
            kernel[:, i],
            strict=True,
        )
    )
    return result_of(sum_products(pairs), params)


def sum_products(pairs: Iterable[tuple[jax.Array, jax.Array]]) -> jax.Array:
    """Sum products, a limited number of them in each loop.

    Args:
        pairs: images, and weights that broadcast with them.
    """
    terms = [pixels * weights for pixels, weights in pairs]
    y = terms[0]
    for i in range(1, len(terms), MAX_TERMS):
        y = barrier(reduce(jnp.add, terms[i : i + MAX_TERMS], y))
    return y


def kernel_gradient(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """Compute the gradient of the kernel of a depthwise convolution.

    Args:
        lhs: the images, with channels as the batch.
        rhs: the gradient of the result, with images as channels.
        **params: of the primitive.
    """
    x, g = swapped_last(lhs, rhs, params)
    groups, window = params["batch_group_count"], result_size(lhs, rhs, params)
    inputs, outputs = x.shape[-1] // groups, g.shape[-1] // groups
    x, g = jnp.repeat(x, outputs, -1), jnp.repeat(g, inputs, -1)
    sliding = Sliding(
        window,
        g.shape[1:-1],
        params["rhs_dilation"],
        params["window_strides"],
        [low for low, _ in params["padding"]],
    )
    sums = _sums(x, g, sliding)
    ones = np.ones((1, sums[0].size // x.shape[-1]), np.float32)
    y = jnp.concatenate([ones @ part.reshape(-1, x.shape[-1]) for part in barrier(sums)])
    y = jnp.swapaxes(y.reshape(*window, groups * outputs, inputs), -1, -2)
    return kernel_of(y, params)


def _pad_axis(x: jax.Array, axis: int, low: int, high: int) -> jax.Array:
    """Pad an axis with zeros."""
    amounts = [(low, high, 0) if i == axis else (0, 0, 0) for i in range(x.ndim)]
    return lax.pad(x, np.float32(0), amounts)


def _sums(x: jax.Array, g: jax.Array, sliding: Sliding) -> list[jax.Array]:
    """Sum the products of images and maps over all images: (rows, *map, channels) per element.

    Images are cut into strips along their first axis, and 8 of them are summed up at once; each
    strip has the pixels that its windows see. The sums are always in a loop: XLA computes what a
    loop reads once, and would compute what a sum reads, such as the gradient of an activation, for
    each element of the window again.
    """
    size = min(x.shape[0], PIECES)
    groups, stride = ceil(x.shape[0] / size), sliding.stride[0]
    at_once = min(PIECES // size, ceil(g.shape[1] / 2))
    most = MOST_SUMS // (prod(sliding.window) * prod(g.shape[2:]))  # rows of a strip
    strips = ceil(g.shape[1] / (at_once * max(most, sliding.window[0])))
    strips = max(strips, 3 - groups)
    rows = ceil(g.shape[1] / (at_once * strips))
    length = (rows - 1) * stride + (sliding.window[0] - 1) * sliding.dilation[0] + 1
    low, last = sliding.pads[0], (strips * at_once - 1) * rows * stride
    x, g = (_pad_axis(a, 0, 0, groups * size - len(a)) for a in (x, g))
    x = _pad_axis(x, 1, low, last + length - low - x.shape[1])
    g = _pad_axis(g, 1, 0, strips * at_once * rows - g.shape[1])
    sliding = replace(sliding, map=(rows, *sliding.map[1:]), pads=(0, *sliding.pads[1:]))

    def body(i: jax.Array, sums: list[jax.Array]) -> list[jax.Array]:
        starts = [(i % strips * at_once + j) * rows for j in range(at_once)]
        part, maps = (
            jnp.concatenate([_strip(a, i // strips * size, size, n * k, count) for n in starts])
            for a, k, count in ((x, stride, length), (g, 1, rows))
        )
        return [a + b for a, b in zip(sums, _sum_images(part, maps, sliding), strict=True)]

    zeros = [jnp.zeros((rows, *g.shape[2:]), g.dtype)] * prod(sliding.window)
    return lax.fori_loop(0, groups * strips, body, zeros)


def _strip(a: jax.Array, image: jax.Array, images: int, row: jax.Array, rows: int) -> jax.Array:
    """Some rows of some images."""
    starts = (image, row, *[0] * (a.ndim - 2))
    return lax.dynamic_slice(a, starts, (images, rows, *a.shape[2:]))


def _sum_images(x: jax.Array, g: jax.Array, sliding: Sliding) -> list[jax.Array]:
    """Sum the products of at most 8 images and maps over these images."""

    def add(a: Sequence[jax.Array], b: Sequence[jax.Array]) -> list[jax.Array]:
        return [i + j for i, j in zip(a, b, strict=True)]

    sums: list[jax.Array] = []
    products = [pixels * g for pixels in elements(x, sliding)]
    step = AT_ONCE if len(products) > FEW_ELEMENTS else FEW_ELEMENTS
    for i in range(0, len(products), step):
        part = products[i : i + step]
        sums += lax.reduce(part, [np.float32(0)] * len(part), add, (0,))
    return sums


for _operation, _matches, _apply in (
    (CONVOLUTION, matches_convolution, convolve),
    (KERNEL_GRADIENT, matches_kernel_gradient, kernel_gradient),
):
    register_formulation(
        Formulation(
            name=NAME,
            operation=_operation,
            primitive=conv_general_dilated_p,
            matches=_matches,
            apply=_apply,
            reason="`lax` computes a matrix product with a single row for each channel",
            gradients=(CONVOLUTION, KERNEL_GRADIENT),
        )
    )
