"""Sums over overlapping windows on a CPU, from slices: average pools and their gradients.

The sums along one axis are taken before those along the next, so that a window of 3x3 takes six
slices.
"""

from dataclasses import replace
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv.compat import reduce_window_sum_p
from jaxconv.kernels.lowering import is_static, with_cpu_primitives
from jaxconv.kernels.max_pool import NAME, PoolWindows
from jaxconv.kernels.registry import Decision, Formulation, Operation, register_formulation

SUMS = "sums over windows"
MAX_ELEMENTS = 16  # of a window along one axis: each takes a slice


def sum_windows(x: jax.Array, size: Any, stride: Any, pads: Any) -> jax.Array:
    """Sum the numbers of each window; padding is 0.

    Args:
        x: numbers of any type.
        size: of the windows along each axis.
        stride: likewise.
        pads: (low, high) along each axis.

    Returns:
        A number per window, in the type of ``x``.
    """

    def call(x: jax.Array) -> jax.Array:
        return lax.reduce_window(x, np.asarray(0, x.dtype)[()], lax.add, size, stride, pads)

    # The gradient of others pads first, so that it does not show that they do not overlap.
    overlap = any(n > step for n, step in zip(size, stride, strict=True))
    return with_cpu_primitives(call, x) if overlap and is_static(x) else call(x)


def matches(operation: Operation) -> Decision | None:
    """Accept sums over windows that overlap.

    Args:
        operation: of the primitive of sums over windows.
    """
    params = operation.params
    dilations = {*params["base_dilation"], *params["window_dilation"]}
    if dilations - {1} or operation.output.dtype != jnp.float32:
        return None
    size = params["window_dimensions"]
    if max(size) > MAX_ELEMENTS:
        return Decision(False, "such long windows take too many slices")
    if all(n <= step for n, step in zip(size, params["window_strides"], strict=True)):
        return Decision(False, "each number is in one window at most, and is read once by `lax`")
    return Decision(True, "sums along one axis use vector instructions, and windows share them")


def sum_slices(x: jax.Array, **params: Any) -> jax.Array:
    """Sum the numbers of each window, one axis after the other.

    Args:
        x: the operand of the primitive.
        **params: of the primitive.
    """
    whole = PoolWindows.of(params)
    y = whole.pad(x, 0)
    ones = (1,) * x.ndim
    # Long strides leave few numbers for the sums along the other axes.
    order = sorted(range(x.ndim), key=lambda axis: -whole.stride[axis])
    for axis in order:
        if whole.size[axis] == whole.stride[axis] == 1:
            continue

        def along(sizes: Any, axis: int = axis) -> tuple[int, ...]:
            return (*ones[:axis], sizes[axis], *ones[axis + 1 :])

        windows = replace(whole, size=along(whole.size), stride=along(whole.stride))
        y = lax.optimization_barrier(reduce(jnp.add, windows.elements(y)))
    return y


register_formulation(
    Formulation(
        name=NAME,
        operation=SUMS,
        primitive=reduce_window_sum_p,
        matches=matches,
        apply=sum_slices,
        reason="slices of whole arrays use vector instructions; sums of single windows do not",
        gradients=(SUMS,),
    )
)
