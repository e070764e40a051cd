"""Pooling: the maximum or the mean of each window of a feature map."""

from collections.abc import Sequence
from math import prod
from typing import Any

import chex
import jax.numpy as jnp
from jaxtyping import Array, Shaped

from jaxconv.errors import flag, public_api
from jaxconv.kernels.max_pool import max_windows
from jaxconv.kernels.sum_pool import sum_windows
from jaxconv.layers.operands import (
    FeatureMaps,
    Images,
    Ints,
    Padding,
    as_arrays,
    as_shape,
    require_floats,
    require_ordered,
)
from jaxconv.layers.shape_rules import Plan, map_plan, pool_plan


@public_api
def max_pool(
    x: Images,
    window: Ints = 2,
    *,
    stride: Ints | None = None,
    padding: Padding = "VALID",
    layout: str = "NHWC",
) -> FeatureMaps:
    """Take the maximum of each window. Padding counts as minus infinity.

    Where a whole window is minus infinity, its gradient may be assigned to the padding and is lost.

    Args:
        x: feature maps, shape (b, h, w, c) for layout "NHWC"; 1-D and 3-D by ``layout``.
        window: pixels along each spatial axis, an int or one per axis.
        stride: pixels from one window to the next, an int or one per axis; None means ``window``,
            so that windows do not overlap.
        padding: "VALID", "SAME", "SAME_LOWER", an int, or a tuple with one entry per spatial axis,
            an int or a pair (low, high), in pixels. It must be smaller than the window, so that
            every window contains a pixel.
        layout: "NWC" "NHWC" "NDHWC" "NCW" "NCHW" or "NCDHW".

    Returns:
        Shape (b, h', w', c) in ``layout`` with ``h' = (h + low + high - window)//stride + 1``,
        dtype of ``x``.

    Raises:
        ShapeError: shapes, dtypes or options that do not fit; the message names them and the fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv as jc
        >>> jc.max_pool(jnp.ones((1, 224, 224, 64))).shape
        (1, 112, 112, 64)
    """
    (x,) = as_arrays(x=x)
    require_ordered(x)
    plan = pool_plan(x.shape, window=window, stride=stride, padding=padding, layout=layout)
    y = max_windows(x, **_reduction_windows(plan))
    chex.assert_shape(y, plan.shape)
    return y


@public_api
def avg_pool(
    x: Images,
    window: Ints = 2,
    *,
    stride: Ints | None = None,
    padding: Padding = "VALID",
    count_padding: bool = False,
    layout: str = "NHWC",
) -> FeatureMaps:
    """Take the mean of each window.

    Args:
        x: feature maps, shape (b, h, w, c) for layout "NHWC"; 1-D and 3-D by ``layout``.
        window: pixels along each spatial axis, an int or one per axis.
        stride: pixels from one window to the next, an int or one per axis; None means ``window``.
        padding: as for :func:`max_pool`.
        count_padding: True divides by the size of the window and counts padding as zeros
            (PyTorch's ``count_include_pad``); False divides by the number of pixels of ``x`` in it.
        layout: as for :func:`max_pool`.

    Returns:
        Shape (b, h', w', c) in ``layout`` with ``h' = (h + low + high - window)//stride + 1``,
        dtype of ``x``.

    Raises:
        ShapeError: shapes, dtypes or options that do not fit; the message names them and the fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv as jc
        >>> jc.avg_pool(jnp.arange(4.0).reshape(1, 2, 2, 1)).item()
        1.5
    """
    (x,) = as_arrays(x=x)
    require_floats(x)
    count_padding = flag("count_padding", count_padding)
    plan = pool_plan(x.shape, window=window, stride=stride, padding=padding, layout=layout)
    wide = x.astype(
        jnp.promote_types(x.dtype, jnp.float32)
    )  # long sums overflow or lose digits in 16 bits
    windows = _reduction_windows(plan)
    total = sum_windows(wide, **windows)
    chex.assert_shape(total, plan.shape)
    pads = [pad for window in plan.windows for pad in window.pads]
    if count_padding or all(isinstance(pad, int) and pad == 0 for pad in pads):
        return (total / prod(w.kernel for w in plan.windows)).astype(x.dtype)
    spatial = [x.shape[i] for i in plan.layout.spatial]
    pixels = sum_windows(jnp.ones(plan.on_all_axes(spatial, 1), wide.dtype), **windows)
    return (total / pixels).astype(x.dtype)


@public_api
def global_avg_pool(x: Images, *, layout: str = "NHWC") -> Shaped[Array, "b c"]:
    """Take the mean of each whole feature map.

    Args:
        x: feature maps, shape (b, h, w, c) for layout "NHWC"; 1-D and 3-D by ``layout``.
        layout: as for :func:`max_pool`.

    Returns:
        Shape (b, c), dtype of ``x``.

    Raises:
        ShapeError: a wrong rank, an empty map, or a dtype that is not a float.

    Example:
        >>> import jax.numpy as jnp, jaxconv as jc
        >>> jc.global_avg_pool(jnp.ones((8, 7, 7, 512))).shape
        (8, 512)
    """
    (x,) = as_arrays(x=x)
    require_floats(x)
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
        window: as for :func:`max_pool`.
        stride: as for :func:`max_pool`.
        padding: as for :func:`max_pool`.
        layout: as for :func:`max_pool`.

    Returns:
        The shape of the result, in ``layout``.

    Raises:
        ShapeError: a shape or options that :func:`max_pool` rejects.

    Example:
        >>> import jaxconv as jc
        >>> jc.pool_shape((1, 7, 7, 64), 3, stride=2)
        (1, 3, 3, 64)
    """
    x = as_shape("x_shape", x_shape)
    return pool_plan(x, window=window, stride=stride, padding=padding, layout=layout).shape


def _reduction_windows(plan: Plan) -> dict[str, tuple[Any, ...]]:
    """The windows over all axes, those of the batch and the channels included."""
    return {
        "size": plan.on_all_axes([w.kernel for w in plan.windows], 1),
        "stride": plan.on_all_axes([w.stride for w in plan.windows], 1),
        "pads": plan.on_all_axes([w.pads for w in plan.windows], (0, 0)),
    }
