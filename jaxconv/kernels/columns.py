"""Gradients of kernels as matrix products with the pixels that each element of a window sees.

The gradient of a kernel is the sum over all positions of products of two vectors: the pixels that
the window sees, a *column*, and the gradient of the result. The columns of an image make a matrix.
Images are processed one by one, and as many elements of the window at once as fit into the cache.
"""

from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv.compat import conv_general_dilated_p
from jaxconv.kernels.problem import kernel_of, read_problem, result_size, swapped_last
from jaxconv.kernels.registry import Decision, Formulation, Operation, register_formulation
from jaxconv.kernels.taps import Sliding, elements

KERNEL_GRADIENT = "kernel gradient of a convolution of any kind"
MAX_ELEMENTS = 64  # of a window: each one takes a slice, which takes time to compile
COLUMN_BYTES = 2**24  # of a matrix of columns, which stays in the cache
FLOAT_BYTES = 4
# With fewer channels, a column consists of many short pieces, and a row of the matrix is copied
# instead: the pixels that one element of the window sees.
MIN_CHANNELS = 16
MIN_FILTERS = 32  # products with fewer are slow
MIN_PRODUCTS = 2**24  # in all: with fewer, copying takes longer than it saves
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
    if prod(p.map) > min(MAX_ELEMENTS, prod(p.window)):
        return None
    if p.products < MIN_PRODUCTS or 2 * prod(p.map) > prod(p.window):
        return Decision(False, "so few multiplications or positions take as long in `lax`")
    if len(p.size) == 1:
        return Decision(False, "for sequences, `lax` takes as long")
    if p.filters < MIN_FILTERS:
        return Decision(False, "with so few filters, matrix products are slow")
    return Decision(True, "one matrix product per image with the pixels that all elements see")


def kernel_gradient(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """Compute the gradient of a kernel, image by image.

    Args:
        lhs: the images, with channels as the batch.
        rhs: the gradient of the result, with images as channels.
        **params: of the primitive.
    """
    x, g = swapped_last(lhs, rhs, params)
    window, channels = result_size(lhs, rhs, params), x.shape[-1]
    sliding = Sliding(
        window,
        g.shape[1:-1],
        params["rhs_dilation"],
        params["window_strides"],
        [low for low, _ in params["padding"]],
    )
    is_narrow = channels < MIN_CHANNELS
    x = barrier(jnp.moveaxis(x, -1, 1)) if is_narrow else x
    at_once = max(COLUMN_BYTES // (g[0, ..., 0].size * channels * FLOAT_BYTES), 1)

    def part(x: jax.Array, g: jax.Array) -> jax.Array:
        """The sum over the pixels of an image: (filters, elements * channels)."""
        if is_narrow:  # the channels are images of one channel
            seen = [rows.reshape(channels, -1).T for rows in elements(x[0, ..., None], sliding)]
        else:
            seen = [columns.reshape(-1, channels) for columns in elements(x, sliding)]
        g = g.reshape(-1, g.shape[-1]).T
        parts = (seen[i : i + at_once] for i in range(0, len(seen), at_once))
        return jnp.concatenate([g @ barrier(jnp.concatenate(p, 1)) for p in parts], 1)

    def body(i: jax.Array, y: jax.Array) -> jax.Array:
        return y + part(*(lax.dynamic_slice_in_dim(a, i, 1) for a in (x, g)))

    zeros = jnp.zeros((g.shape[-1], prod(window) * channels), x.dtype)
    y = part(x, g) if len(x) == 1 else lax.fori_loop(0, len(x), body, zeros)
    return kernel_of(y.T.reshape(*window, channels, -1), params)


register_formulation(
    Formulation(
        name="products of columns",
        operation=KERNEL_GRADIENT,
        primitive=conv_general_dilated_p,
        matches=matches,
        apply=kernel_gradient,
        reason="`lax` computes a convolution whose window is as large as the map",
        priority=-1,  # other formulations take fewer multiplications, or fewer copies
    )
)
