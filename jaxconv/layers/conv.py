"""Convolution and transposed convolution: the shape is computed before the array."""

from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from jaxconv.errors import public_api
from jaxconv.kernels.convolution import conv_general_dilated
from jaxconv.layers.operands import (
    Bias,
    FeatureMaps,
    Images,
    Ints,
    Kernel,
    Padding,
    as_operands,
    as_precision,
    as_shape,
)
from jaxconv.layers.shape_rules import Plan, conv_plan

# Modes of jnp.pad for the paddings that repeat the image instead of adding zeros.
PAD_MODES = {"CIRCULAR": "wrap", "REFLECT": "reflect"}
# Names that lax accepts: it computes the same padding, also where sizes are symbolic.
LAX_PADDINGS = ("SAME", "SAME_LOWER", "VALID")


@public_api
def conv(
    x: Images,
    kernel: Kernel,
    bias: Bias | None = None,
    *,
    stride: Ints = 1,
    padding: Padding = "SAME",
    dilation: Ints = 1,
    groups: int = 1,
    layout: str = "NHWC",
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
) -> FeatureMaps:
    """Convolve a batch of images with a bank of filters: one feature map per filter.

    As is usual in deep learning, this is the cross-correlation: the kernel is not flipped. Along an
    axis of ``n`` pixels the result has ``(n + low + high - extent)//stride + 1`` pixels, with
    ``extent = dilation*(k - 1) + 1`` (Dumoulin and Visin, 2016, section 2.4).

    Args:
        x: images, shape (b, h, w, c_in) for layout "NHWC"; 1-D and 3-D by ``layout``.
        kernel: weights, spatial axes first in every layout: (kh, kw, c_in/groups, c_out).
        bias: (c_out,), or None.
        stride: pixels from one position of the window to the next, an int or one per axis.
        padding: zeros around the image, in pixels. "SAME" returns ceil(n/stride) pixels, with an
            odd pixel of padding at the end ("SAME_LOWER": at the start). "VALID" adds none.
            "CAUSAL" (1-D only) adds all of it at the start. "CIRCULAR" and "REFLECT" add pixels of
            the image, (extent - 1)//2 before and extent//2 after, for any stride. An int pads
            every side; a tuple has one entry per spatial axis, an int or a pair (low, high).
        dilation: pixels between neighbouring kernel elements, an int or one per axis.
        groups: the number of independent groups that the channels of ``x`` and of the result are
            divided into.
        layout: "NWC" "NHWC" "NDHWC" "NCW" "NCHW" or "NCDHW", of ``x`` and of the result.
        precision: of the multiplications, as in ``jax.lax.conv_general_dilated``.
        preferred_element_type: the dtype of the result and of its sums; None means that of ``x``.
            Booleans and integers of less than 32 bits need one, because their sums overflow: pass
            ``jnp.int32`` or ``jnp.float32``; a narrower integer would overflow as well, so it is
            refused. The bias may then have either dtype.

    Returns:
        Feature maps before the activation: shape (b, h', w', c_out) in ``layout``, dtype of ``x``
        or ``preferred_element_type``.

    Raises:
        ShapeError: shapes, dtypes or options that do not fit; the message names them and the fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv as jc
        >>> images, filters = jnp.ones((8, 224, 224, 3)), jnp.ones((3, 3, 3, 64))
        >>> jc.conv(images, filters, stride=2).shape
        (8, 112, 112, 64)
    """
    x, kernel, *biases = as_operands(x, kernel, bias, preferred_element_type)
    precision = as_precision(precision)
    plan = conv_plan(
        x.shape,
        kernel.shape,
        *(b.shape for b in biases),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        layout=layout,
    )
    pads = [w.pads for w in plan.windows]
    if isinstance(padding, str) and padding in PAD_MODES:
        x = jnp.pad(x, plan.on_all_axes(pads, (0, 0)), PAD_MODES[padding])
        pads = "VALID"
    elif isinstance(padding, str) and padding in LAX_PADDINGS:
        pads = padding
    y = conv_general_dilated(
        x,
        kernel,
        window_strides=[w.stride for w in plan.windows],
        padding=pads,
        rhs_dilation=[w.dilation for w in plan.windows],
        dimension_numbers=_dimension_numbers(plan),
        feature_group_count=plan.groups,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )
    return _add_bias(y, biases, plan)


@public_api
def conv_transpose(  # noqa: PLR0913 - one more than conv
    x: Images,
    kernel: Kernel,
    bias: Bias | None = None,
    *,
    stride: Ints = 1,
    padding: Padding = "SAME",
    output_padding: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
    layout: str = "NHWC",
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
) -> FeatureMaps:
    """Run a convolution backwards, from its feature maps to the shape of its input.

    This is the gradient of :func:`conv` with respect to its input, for a kernel whose two channel
    axes are swapped within each group. It equals PyTorch's ``ConvTranspose``. The size of the
    result, along an axis of ``n`` pixels with ``extent = dilation*(k - 1) + 1``:

    - "SAME" and "SAME_LOWER": ``n*stride + output_padding``;
    - "VALID": ``(n - 1)*stride + extent + output_padding``;
    - explicit (low, high): ``(n - 1)*stride + extent - low - high + output_padding``. This is the
      padding of the convolution that is run backwards, so it crops the result (Dumoulin and Visin,
      2016, chapter 4).

    A convolution with a stride maps several sizes to one; ``output_padding`` selects which of them
    the result has. With "SAME" and stride 2, 113 and 114 pixels both become 57: back from 57,
    ``output_padding=-1`` returns 113, and 0 returns 114.

    Args:
        x: feature maps, shape (b, h, w, c_in) for layout "NHWC"; 1-D and 3-D by ``layout``.
        kernel: weights, spatial axes first in every layout: (kh, kw, c_in/groups, c_out).
        bias: (c_out,), or None.
        stride: pixels of the result from one pixel of ``x`` to the next, an int or one per axis.
        padding: "SAME", "SAME_LOWER", "VALID", an int, or a tuple with one entry per spatial axis,
            an int or a pair (low, high), in pixels.
        output_padding: pixels added at the end of each spatial axis of the result, an int or one
            per axis. With "SAME" and "SAME_LOWER" it is from ``1 - stride`` to 0; otherwise it is
            at least 0 and less than ``stride`` or ``dilation``, as in PyTorch.
        dilation: pixels between neighbouring kernel elements, an int or one per axis.
        groups: the number of independent groups that the channels of ``x`` and of the result are
            divided into.
        layout: as for :func:`conv`.
        precision: of the multiplications, as in ``jax.lax.conv_general_dilated``.
        preferred_element_type: the dtype of the result and of its sums; None means that of ``x``.
            Booleans and integers of less than 32 bits need one, because their sums overflow: pass
            ``jnp.int32`` or ``jnp.float32``; a narrower integer would overflow as well, so it is
            refused. The bias may then have either dtype.

    Returns:
        Shape (b, h', w', c_out) in ``layout``, dtype of ``x`` or ``preferred_element_type``.

    Raises:
        ShapeError: shapes, dtypes or options that do not fit; the message names them and the fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv as jc
        >>> jc.conv_transpose(jnp.ones((1, 7, 7, 64)), jnp.ones((2, 2, 64, 32)), stride=2).shape
        (1, 14, 14, 32)
    """
    x, kernel, *biases = as_operands(x, kernel, bias, preferred_element_type)
    precision = as_precision(precision)
    plan = conv_plan(
        x.shape,
        kernel.shape,
        *(b.shape for b in biases),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        layout=layout,
        output_padding=0 if output_padding is None else output_padding,
    )
    y = conv_general_dilated(
        x,
        lax.rev(kernel, range(len(plan.windows))),
        window_strides=[1] * len(plan.windows),
        padding=[(w.extent - 1 - w.low, w.extent - 1 - w.high) for w in plan.windows],
        lhs_dilation=[w.stride for w in plan.windows],
        rhs_dilation=[w.dilation for w in plan.windows],
        dimension_numbers=_dimension_numbers(plan),
        feature_group_count=plan.groups,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )
    return _add_bias(y, biases, plan)


@public_api
def conv_shape(
    x_shape: Sequence[Any],
    kernel_shape: Sequence[Any],
    *,
    stride: Ints = 1,
    padding: Padding = "SAME",
    dilation: Ints = 1,
    groups: int = 1,
    layout: str = "NHWC",
) -> tuple[Any, ...]:
    """Predict the shape of :func:`conv` without computing anything.

    Args:
        x_shape: shape of the images, in ``layout``.
        kernel_shape: (kh, kw, c_in/groups, c_out).
        stride: as for :func:`conv`.
        padding: as for :func:`conv`.
        dilation: as for :func:`conv`.
        groups: as for :func:`conv`.
        layout: as for :func:`conv`.

    Returns:
        The shape of the result, in ``layout``.

    Raises:
        ShapeError: shapes or options that :func:`conv` rejects.

    Example:
        >>> import jaxconv as jc
        >>> jc.conv_shape((1, 128, 128, 3), (3, 3, 3, 32), padding=0)
        (1, 126, 126, 32)
    """
    return conv_plan(
        as_shape("x_shape", x_shape),
        as_shape("kernel_shape", kernel_shape),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        layout=layout,
    ).shape


def _dimension_numbers(plan: Plan) -> tuple[str, str, str]:
    return plan.layout.name, plan.layout.kernel, plan.layout.name


def _add_bias(y: jax.Array, biases: Sequence[jax.Array], plan: Plan) -> jax.Array:
    """Add the bias, if there is one, and check that the result has the predicted shape."""
    after = range(1, len(plan.shape) - plan.layout.channel)
    for b in biases:
        y = y + jnp.expand_dims(b, after)
    chex.assert_shape(y, plan.shape)
    return y
