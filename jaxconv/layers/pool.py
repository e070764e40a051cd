"""Pooling: the largest or the mean value of each window of a feature map."""

from collections.abc import Sequence
from math import prod
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv.errors import public_api
from jaxconv.kernels.max_pool import max_windows
from jaxconv.layers.operands import (
    Ints,
    Operand,
    Padding,
    as_arrays,
    as_shape,
    need_floats,
    need_numbers,
)
from jaxconv.layers.shape_rules import Plan, map_plan, pool_plan


@public_api
def max_pool(
    x: Operand,
    window: Ints = 2,
    *,
    stride: Ints | None = None,
    padding: Padding = "VALID",
    layout: str = "NHWC",
) -> jax.Array:
    """Keep the largest value of each window. Padding never wins: it counts as minus infinity.

    Where all of a window is minus infinity, the gradient may go to the padding and so be lost.

    Args:
        x: feature maps, shape (b, h, w, c) for layout "NHWC"; 1-D and 3-D by ``layout``.
        window: pixels along each spatial axis, an int or one an axis.
        stride: pixels between neighbouring windows; None means ``window``, so that none overlap.
        padding: "VALID", "SAME", "SAME_LOWER", an int, or for each axis an int or a pair
            (low, high); smaller than the window, which else could hold no pixel at all.
        layout: "NWC" "NHWC" "NDHWC" "NCW" "NCHW" or "NCDHW".

    Returns:
        Shape (b, h', w', c) in ``layout`` with ``h' = (h + low + high - window)//stride + 1``,
        dtype of ``x``.

    Raises:
        ShapeError: anything that does not fit; the message says what, where and the fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv as jc
        >>> jc.max_pool(jnp.ones((1, 224, 224, 64))).shape
        (1, 112, 112, 64)
    """
    (x,) = as_arrays(x=x)
    need_numbers(x)
    plan = pool_plan(x.shape, window=window, stride=stride, padding=padding, layout=layout)
    y = max_windows(x, **_windows(plan))
    chex.assert_shape(y, plan.shape)
    return y


@public_api
def avg_pool(
    x: Operand,
    window: Ints = 2,
    *,
    stride: Ints | None = None,
    padding: Padding = "VALID",
    count_padding: bool = False,
    layout: str = "NHWC",
) -> jax.Array:
    """Take the mean of each window.

    Args:
        x: feature maps, shape (b, h, w, c) for layout "NHWC"; 1-D and 3-D by ``layout``.
        window: pixels along each spatial axis, an int or one an axis.
        stride: pixels between neighbouring windows; None means ``window``.
        padding: as for :func:`max_pool`.
        count_padding: True divides by the whole window, its padding counted as zeros (PyTorch's
            ``count_include_pad``); False by the number of real pixels in it.
        layout: as for :func:`max_pool`.

    Returns:
        Shape (b, h', w', c) in ``layout`` with ``h' = (h + low + high - window)//stride + 1``,
        dtype of ``x``.

    Raises:
        ShapeError: anything that does not fit; the message says what, where and the fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv as jc
        >>> jc.avg_pool(jnp.arange(4.0).reshape(1, 2, 2, 1)).item()
        1.5
    """
    (x,) = as_arrays(x=x)
    need_floats(x)
    plan = pool_plan(x.shape, window=window, stride=stride, padding=padding, layout=layout)
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))  # 16 bits cannot hold long sums
    total = _sum(wide, plan)
    chex.assert_shape(total, plan.shape)
    if count_padding or not any(any(w.pads) for w in plan.windows):
        return (total / prod(w.kernel for w in plan.windows)).astype(x.dtype)
    spatial = [x.shape[i] for i in plan.layout.spatial]
    pixels = _sum(jnp.ones(plan.everywhere(spatial, 1), wide.dtype), plan)
    return (total / pixels).astype(x.dtype)


@public_api
def global_avg_pool(x: Operand, *, layout: str = "NHWC") -> jax.Array:
    """Take the mean of each whole feature map.

    Args:
        x: feature maps, shape (b, h, w, c) for layout "NHWC"; 1-D and 3-D by ``layout``.
        layout: as for :func:`max_pool`.

    Returns:
        Shape (b, c), dtype of ``x``.

    Raises:
        ShapeError: a wrong rank, an empty map, or integers.

    Example:
        >>> import jax.numpy as jnp, jaxconv as jc
        >>> jc.global_avg_pool(jnp.ones((8, 7, 7, 512))).shape
        (8, 512)
    """
    (x,) = as_arrays(x=x)
    need_floats(x)
    plan = map_plan(x.shape, layout)
    y = jnp.mean(x, plan.layout.spatial)
    chex.assert_shape(y, plan.shape)
    return y


@public_api
def pool_shape(
    x_shape: Sequence[Any],
    window: Ints = 2,
    *,
    stride: Ints | None = None,
    padding: Padding = "VALID",
    layout: str = "NHWC",
) -> tuple[Any, ...]:
    """Predict the shape of :func:`max_pool` and :func:`avg_pool` without computing anything.

    Args:
        x_shape: shape of the feature maps, in ``layout``.
        window: as for :func:`max_pool`, like all that follow.
        stride: as for :func:`max_pool`.
        padding: as for :func:`max_pool`.
        layout: as for :func:`max_pool`.

    Returns:
        The shape of the result, in ``layout``.

    Raises:
        ShapeError: whatever :func:`max_pool` would refuse of a shape.

    Example:
        >>> import jaxconv as jc
        >>> jc.pool_shape((1, 7, 7, 64), 3, stride=2)
        (1, 3, 3, 64)
    """
    x = as_shape("x_shape", x_shape)
    return pool_plan(x, window=window, stride=stride, padding=padding, layout=layout).shape


def _sum(x: jax.Array, plan: Plan) -> jax.Array:
    windows = _windows(plan)
    zero = np.asarray(0, x.dtype)[()]
    return lax.reduce_window(x, zero, lax.add, windows["size"], windows["stride"], windows["pads"])


def _windows(plan: Plan) -> dict[str, tuple[Any, ...]]:
    return {
        "size": plan.everywhere([w.kernel for w in plan.windows], 1),
        "stride": plan.everywhere([w.stride for w in plan.windows], 1),
        "pads": plan.everywhere([w.pads for w in plan.windows], (0, 0)),
    }
