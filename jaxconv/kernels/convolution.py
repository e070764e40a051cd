"""The convolution that is fast on a CPU, and is `lax`'s own on other platforms."""

import functools
import inspect
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv.kernels.lowering import is_static, with_cpu_primitives

SERVED = (jnp.float32, jnp.bfloat16, jnp.float16)
_SIGNATURE = inspect.signature(lax.conv_general_dilated)


@functools.wraps(lax.conv_general_dilated)
def conv_general_dilated(*args: Any, **kwargs: Any) -> jax.Array:
    """Compute :func:`jax.lax.conv_general_dilated`, faster where a faster formulation is known.

    It has the same signature and can replace that function anywhere, as in
    ``flax.nnx.Conv(..., conv_general_dilated=jaxconv.conv_general_dilated)``.

    On a CPU, convolutions in float32 and their derivatives use formulations that are faster where
    one is known (docs/performance.md lists them), and those in 16 bits are computed in float32 and
    rounded. All others are `lax`'s own, as are all with ``precision="highest"`` or under
    ``jax.default_matmul_precision("highest")``. So are all on other platforms, except that
    transposed convolutions and input gradients of strided convolutions do not multiply zeros. With
    "high", long sums over channels are split, for a smaller error.

    A policy of ``jax.checkpoint`` that selects primitives, such as ``dots_saveable``, does not
    recognise it. Name the values to save with ``jax.ad_checkpoint.checkpoint_name`` instead.

    Args:
        *args: those of :func:`jax.lax.conv_general_dilated`.
        **kwargs: likewise.

    Returns:
        What :func:`jax.lax.conv_general_dilated` returns, up to rounding.

    Example:
        >>> import jax.numpy as jnp, jaxconv as jc
        >>> images, filters = jnp.ones((8, 64, 28, 28)), jnp.ones((64, 64, 3, 3))
        >>> jc.conv_general_dilated(images, filters, (1, 1), "SAME").shape
        (8, 64, 28, 28)
    """
    options = _SIGNATURE.bind(*args, **kwargs).arguments
    lhs, rhs = options.pop("lhs"), options.pop("rhs")
    convolve = functools.partial(lax.conv_general_dilated, **options)
    # Types without formulations are spared the inner trace.
    is_served = all(v.dtype in SERVED and is_static(v) for v in (lhs, rhs))
    return with_cpu_primitives(convolve, lhs, rhs) if is_served else convolve(lhs, rhs)
