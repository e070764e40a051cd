"""Gradients of kernels as matrix products with the pixels that each element of a window sees.

The gradient of a kernel is the sum over all positions of products of two vectors: the pixels that
the window sees, a *column*, and the gradient of the result. The columns of some images make a
matrix (*im2col*), of as many elements of the window at once as fit into the cache.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv.compat import conv_general_dilated_p
from jaxconv.kernels.problem import kernel_of, read_problem, result_size, swapped_last
from jaxconv.kernels.registry import (
    DIRECT,
    Decision,
    Formulation,
    Operation,
    SelectionRule,
    decide,
    register_formulation,
)
from jaxconv.kernels.taps import Sliding, elements

NAME, KERNEL_GRADIENT = "products of columns", "kernel gradient of images and volumes"
MAX_ELEMENTS = 64  # of a window: each one takes a slice, which takes time to compile
# Images per position; they are the channels of the primitive. With more, it is an ordinary
# convolution with a large window, such as the first dense layer of VGG16, rather than a gradient.
MAX_IMAGES = 8
COLUMN_BYTES = 2**24  # of a matrix of columns, which stays in the cache
FLOAT_BYTES = 4
# With fewer channels, a column consists of many short pieces, and a row of the matrix is copied
# instead: the pixels that one element of the window sees.
MIN_CHANNELS = 16
MIN_FILTERS = 32
MIN_PRODUCTS = 2**24  # multiplications of all positions
RULES: Sequence[SelectionRule] = (
    SelectionRule(
        DIRECT,
        lambda p: p.products < MIN_PRODUCTS,
        "few multiplications: copying the columns takes longer than it saves",
    ),
    SelectionRule(
        DIRECT,
        lambda p: 2 * prod(p.map) > prod(p.window),
        "a window larger than half of the map: it sees mostly padding",
    ),
    SelectionRule(DIRECT, lambda p: len(p.size) == 1, "a sequence: `lax` takes as long"),
    SelectionRule(
        DIRECT,
        lambda p: p.filters < MIN_FILTERS,
        "few filters: matrix products with so few columns are slow",
    ),
    SelectionRule(
        NAME,
        lambda _: True,
        "matrix products with the pixels that all elements see, of a few images at once",
    ),
)
barrier = lax.optimization_barrier


def matches(operation: Operation) -> Decision | None:
    """Accept the gradient of a kernel with several elements.

    Args:
        operation: of the convolution primitive; the channels are its batch, the stride is the
            dilation of its window.
    """
    p = read_problem(operation)
    if p is None or p.is_dilated or p.groups > 1 or p.batch_groups > 1 or {*p.map} == {1}:
        return None
    if prod(p.map) > min(MAX_ELEMENTS, prod(p.window)) or p.channels > MAX_IMAGES * prod(p.window):
        return None
    return decide(RULES, p, NAME)


def kernel_gradient(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """Compute the gradient of a kernel, a few images at a time.

    Args:
        lhs: the images, with channels as the batch.
        rhs: the gradient of the result, with images as channels.
        **params: of the primitive.
    """
    x, g = swapped_last(lhs, rhs, params)
    (images, *size), filters = g.shape[:-1], g.shape[-1]
    window, channels = result_size(lhs, rhs, params), x.shape[-1]
    sliding = Sliding(
        window,
        size,
        params["rhs_dilation"],
        params["window_strides"],
        [low for low, _ in params["padding"]],
    )
    most = max(COLUMN_BYTES // (prod(size) * channels * FLOAT_BYTES), 1)  # images times elements
    fits = (n for n in range(2, images + 1) if images % n == 0 and n * prod(window) <= most)
    count = max(fits, default=1)  # images at once
    step = max(most // count, 1)  # elements at once
    is_narrow = channels < MIN_CHANNELS
    x = barrier(jnp.moveaxis(x, -1, 0)) if is_narrow else x  # (channels, images, *size)
    axis = 1 if is_narrow else 0

    def part(x: jax.Array, g: jax.Array) -> jax.Array:
        """The sum over the pixels of some images: (filters, elements * channels)."""
        if is_narrow:  # each channel of an image is an image of one channel
            seen = elements(x.reshape(-1, *x.shape[2:], 1), sliding)
            seen = [rows.reshape(channels, -1) for rows in seen]
        else:
            seen = [columns.reshape(-1, channels) for columns in elements(x, sliding)]
        g = g.reshape(-1, filters)
        matrices = (
            barrier(jnp.concatenate(seen[i : i + step], 1 - axis))
            for i in range(0, len(seen), step)
        )
        sums = (((0,), (axis,)), ((), ()))
        return jnp.concatenate([lax.dot_general(g, matrix, sums) for matrix in matrices], 1)

    def body(i: jax.Array, y: jax.Array) -> jax.Array:
        start = i * count
        images = lax.dynamic_slice_in_dim(x, start, count, axis)
        return y + part(images, lax.dynamic_slice_in_dim(g, start, count))

    zeros = jnp.zeros((filters, prod(window) * channels), x.dtype)
    y = part(x, g) if count == images else lax.fori_loop(0, images // count, body, zeros)
    return kernel_of(y.T.reshape(*window, channels, -1), params)


register_formulation(
    Formulation(
        name=NAME,
        operation=KERNEL_GRADIENT,
        primitive=conv_general_dilated_p,
        matches=matches,
        apply=kernel_gradient,
        reason="`lax` computes a convolution whose window is as large as the map",
        priority=-1,  # other formulations take fewer multiplications, or fewer copies
    )
)
