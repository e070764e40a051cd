"""The convolution that is fast on a CPU, and is `lax`'s own elsewhere.

It is a twin of JAX's primitive: what is here is computed where a program is lowered for a CPU.
"""

import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv.compat import JaxprEqn, primitives
from jaxconv.kernels import schedule, winograd
from jaxconv.kernels.lowering import static, twin, with_twins
from jaxconv.kernels.schedule import Schedule, Work

SIDE = winograd.TAPS
PLAIN = {  # what a convolution must be like; not every JAX has all of these
    "window_strides": (1, 1),
    "lhs_dilation": (1, 1),
    "rhs_dilation": (1, 1),
    "feature_group_count": 1,
    "batch_group_count": 1,
    "out_sharding": None,
}
_PARAMETERS = inspect.signature(lax.conv_general_dilated)
Params = Mapping[str, Any]


@functools.wraps(lax.conv_general_dilated)
def conv_general_dilated(*args: Any, **kwargs: Any) -> jax.Array:
    """Compute :func:`jax.lax.conv_general_dilated`, faster where it is known how.

    Takes what that takes and can stand wherever it does, as in
    ``flax.nnx.Conv(..., conv_general_dilated=jaxconv.conv_general_dilated)``.

    On a CPU, 2-D convolutions in float32 with 3x3 kernels and stride 1, and all their derivatives,
    are computed by Winograd's algorithm where :mod:`jaxconv.kernels.schedule` says so. All else,
    and everything on other platforms, is `lax`'s own convolution. With ``precision="highest"``, or
    under ``jax.default_matmul_precision("highest")``, it always is; with "high" long sums are cut
    into pieces, for less error (docs/performance.md).

    A policy of ``jax.checkpoint`` that goes by primitives, such as ``dots_saveable``, does not know
    it: name what is to be kept with ``jax.ad_checkpoint.checkpoint_name``.

    Example:
        >>> import jax.numpy as jnp, jaxconv as jc
        >>> images, filters = jnp.ones((8, 64, 28, 28)), jnp.ones((64, 64, 3, 3))
        >>> jc.conv_general_dilated(images, filters, (1, 1), "SAME").shape
        (8, 64, 28, 28)
    """
    bound = _PARAMETERS.bind(*args, **kwargs)
    lhs, rhs = bound.arguments.pop("lhs"), bound.arguments.pop("rhs")
    call = functools.partial(lax.conv_general_dilated, **bound.arguments)
    known = all(v.dtype == jnp.float32 and static(v) for v in (lhs, rhs))
    return with_twins(call, lhs, rhs) if known else call(lhs, rhs)


def _numbers(x: Any) -> bool:
    """Whether all sizes are numbers and none is 0, in the one type that is fast."""
    return x.dtype == jnp.float32 and all(isinstance(n, int) and n for n in x.shape)


def schedule_of(eqn: JaxprEqn, prepared: bool = False) -> Schedule | None:
    """Say how a convolution of a trace is computed on a CPU; None where that is `lax`'s matter."""
    lhs, rhs, out = (v.aval for v in (*eqn.invars, *eqn.outvars))
    return _schedule(lhs, rhs, out, eqn.params, prepared)


@twin(primitives.conv_general_dilated_p, takes=schedule_of)
def _convolution(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    direct = functools.partial(primitives.conv_general_dilated_p.bind, **params)
    found = _schedule(lhs, rhs, jax.eval_shape(direct, lhs, rhs), params)
    return _convolved(lhs, rhs, params, found) if found and found.tile else direct(lhs, rhs)


def _convolved(lhs: jax.Array, rhs: jax.Array, params: Params, found: Schedule) -> jax.Array:
    """Compute a convolution as its schedule says, which must not be the direct one."""
    if not found.gradient:
        return convolve_prepared(lhs, prepare(rhs, params, found), params, found)
    blocks, order = found.blocks, params["dimension_numbers"]
    assert blocks
    x, g = (
        jnp.transpose(v, _axes(s, "chwn"))
        for v, s in ((lhs, order.lhs_spec), (rhs, order.rhs_spec))
    )
    y = winograd.kernel_gradient(x, g, params["padding"], blocks)
    return jnp.transpose(y, _places(order.out_spec, "hwnc"))


def prepare(rhs: jax.Array, params: Params, found: Schedule) -> jax.Array:
    """Transform the kernel of a convolution; the number of images does not matter."""
    assert found.blocks
    axes = _axes(params["dimension_numbers"].rhs_spec, "hwcn")
    return winograd.prepare(jnp.transpose(rhs, axes), found.blocks)


def convolve_prepared(
    lhs: jax.Array,
    kernel: jax.Array,
    params: Params,
    found: Schedule,
    finish: winograd.Finish = lambda y: y,
    pool: int = 1,
) -> jax.Array:
    """Compute a convolution as its schedule says.

    Args:
        lhs: as of the primitive.
        kernel: by :func:`prepare`.
        params: as of the primitive.
        found: the schedule, which must not be the direct one, nor that of a gradient.
        finish: see :func:`jaxconv.kernels.winograd.convolve`; channels are the last axis.
        pool: likewise.
    """
    assert found.blocks
    order = params["dimension_numbers"]
    x = jnp.transpose(lhs, _axes(order.lhs_spec, "nhwc"))
    y = winograd.convolve(x, kernel, params["padding"], found.blocks, finish, pool)
    return jnp.transpose(y, _places(order.out_spec, "nhwc"))


def _axes(spec: Sequence[int], names: str) -> list[int]:
    """The places of these axes, of which a spec of JAX has them in the order n, c, h, w."""
    return [spec["nchw".index(name)] for name in names]


def _places(spec: Sequence[int], names: str) -> list[int]:
    """What takes these axes to the places that a spec has them at."""
    axes = _axes(spec, names)
    return [axes.index(place) for place in range(len(names))]


def _schedule(
    lhs: Any, rhs: Any, out: Any, params: Params, prepared: bool = False
) -> Schedule | None:
    if any(params.get(name, value) != value for name, value in PLAIN.items()):
        return None
    if not all(_numbers(v) and len(v.shape) == 4 for v in (lhs, rhs, out)):
        return None
    asked = jax.tree.leaves(params["precision"])
    if lax.Precision.HIGHEST in asked:
        return None
    careful = lax.Precision.HIGH in asked
    order = params["dimension_numbers"]
    images, channels, *_ = _sizes(lhs, order.lhs_spec)
    filters, _, *window = _sizes(rhs, order.rhs_spec)
    *_, height, width = _sizes(out, order.out_spec)
    if window == [SIDE, SIDE]:
        return schedule.forward(Work(images, height, width, channels, filters, prepared, careful))
    # The gradient of a kernel: channels are the batch here, and images are summed over. A small
    # window over images that are not padded is a convolution of its own, and fast in `lax`.
    padded = any(n for pads in params["padding"] for n in pads)
    if (height, width) == (SIDE, SIDE) and (padded or min(window) >= SIDE):
        return schedule.kernel_gradient(Work(channels, window[0], window[1], images, filters))
    return None


def _sizes(x: Any, spec: Sequence[int]) -> list[int]:
    return [x.shape[i] for i in spec]
