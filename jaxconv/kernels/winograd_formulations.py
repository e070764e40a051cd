"""When Winograd's algorithm computes a convolution, or the gradient of a kernel, on a CPU.

The tables give the conditions and the reasons; the first row that holds decides.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv.compat import conv_general_dilated_p
from jaxconv.kernels import winograd
from jaxconv.kernels.registry import (
    DIRECT,
    Decision,
    Formulation,
    Operation,
    SelectionRule,
    decide,
    register_formulation,
)
from jaxconv.kernels.tiling import ConvProblem, channel_splits, choose_tiling

PrimitiveParams = Mapping[str, Any]

CONVOLUTION, KERNEL_GRADIENT = "convolution", "kernel gradient of a convolution"
NAMES = {tile: winograd.name_of(tile) for tile in (2, 4)}
PLAIN = {  # the parameters of the convolutions that are served; not every JAX has all of these
    "window_strides": (1, 1),
    "lhs_dilation": (1, 1),
    "rhs_dilation": (1, 1),
    "feature_group_count": 1,
    "batch_group_count": 1,
    "out_sharding": None,
}

FEW_CHANNELS = SelectionRule(
    DIRECT,
    lambda p: min(p.channels, p.filters) < 16,
    "with fewer than 16 channels or filters the transforms cost more than the multiplications "
    "they save",
)
TINY_MAPS = SelectionRule(
    NAMES[2],
    lambda p: max(p.height, p.width) <= 4,
    "a tile of 4x4 would be as large as the map; direct convolution is very slow on such maps",
)
WEIGHTS_PER_TILE = 3072  # with more weights per tile of 4x4, gradients by tiles of 2x2 are faster
CONVOLUTION_RULES: Sequence[SelectionRule] = (
    FEW_CHANNELS,
    TINY_MAPS,
    SelectionRule(
        DIRECT,
        lambda p: not p.is_prepared and p.pixels < 256,
        "transforming the kernel in each call costs more than so few pixels save",
    ),
    SelectionRule(
        NAMES[2],
        lambda p: p.large_tiles < 128,
        "few tiles: reading a kernel transformed for 4x4 would take longer than multiplying by it",
    ),
    SelectionRule(
        NAMES[4],
        lambda _: True,
        "the fewest multiplications of those with small rounding errors: 2.25 per result, not 9",
    ),
)
KERNEL_GRADIENT_RULES: Sequence[SelectionRule] = (
    FEW_CHANNELS,
    TINY_MAPS,
    SelectionRule(
        NAMES[2],
        lambda p: WEIGHTS_PER_TILE * p.large_tiles < p.channels * p.filters,
        "few tiles and a large kernel: mapping the 36 numbers of each transformed gradient to 9 "
        "takes longer than the multiplications that it saves",
    ),
    SelectionRule(
        NAMES[4],
        lambda _: True,
        "2.25 multiplications per result, not 9, and long sums that share their transforms",
    ),
)


def convolution_problem(operation: Operation) -> ConvProblem | None:
    """Read the sizes of a convolution with a 3x3 kernel; None where it is not of that kind.

    Args:
        operation: of the convolution primitive.
    """
    sizes = _plain_sizes(operation)
    if sizes is None or sizes["window"] != (winograd.KERNEL_SIZE,) * 2:
        return None
    (images, channels), filters, (height, width) = sizes["lhs"], sizes["filters"], sizes["map"]
    return ConvProblem(images, height, width, channels, filters, operation.is_prepared)


def kernel_gradient_problem(operation: Operation) -> ConvProblem | None:
    """Read the sizes of the gradient of a 3x3 kernel; None where it is not of that kind.

    In this convolution channels take the place of the batch, and the sum runs over images. Its
    window is as large as the map of the original convolution.

    Args:
        operation: of the convolution primitive.
    """
    sizes = _plain_sizes(operation)
    square = (winograd.KERNEL_SIZE,) * 2
    if sizes is None or sizes["map"] != square or sizes["window"] == square:
        return None
    # A small window over images without padding is an ordinary convolution, and fast in `lax`.
    is_padded = any(n for pads in operation.params["padding"] for n in pads)
    if not is_padded and min(sizes["window"]) < winograd.KERNEL_SIZE:
        return None
    (channels, images), filters, (height, width) = sizes["lhs"], sizes["filters"], sizes["window"]
    return ConvProblem(images, height, width, channels, filters)


def _plain_sizes(operation: Operation) -> dict[str, Any] | None:
    """The sizes of a 2-D convolution of stride 1 in float32; None for any other operation."""
    params, (lhs, rhs), out = operation.params, operation.inputs, operation.output
    if any(params.get(name, value) != value for name, value in PLAIN.items()):
        return None
    if not operation.is_static(jnp.float32) or len(out.shape) != 4:
        return None
    if lax.Precision.HIGHEST in jax.tree.leaves(params["precision"]):
        return None
    order = params["dimension_numbers"]
    images, channels, *_ = (lhs.shape[i] for i in order.lhs_spec)
    filters, _, *window = (rhs.shape[i] for i in order.rhs_spec)
    *_, height, width = (out.shape[i] for i in order.out_spec)
    return {
        "lhs": (images, channels),
        "filters": filters,
        "window": tuple(window),
        "map": (height, width),
    }


def _spec_axes(spec: Sequence[int], names: str) -> list[int]:
    """The positions of these axes in a spec of JAX, which has them in the order n, c, h, w."""
    return [spec["nchw".index(name)] for name in names]


def _to_spec(y: jax.Array, names: str, spec: Sequence[int]) -> jax.Array:
    """Transpose an array whose axes are called ``names`` to the order of a spec."""
    axes = _spec_axes(spec, names)
    return jnp.transpose(y, [axes.index(position) for position in range(len(names))])


def matches_convolution(tile: int, operation: Operation) -> Decision | None:
    """Decide whether F(tile x tile, 3x3) computes a convolution.

    Args:
        tile: m of F(m x m, 3x3).
        operation: of the convolution primitive.
    """
    problem = convolution_problem(operation)
    return decide(CONVOLUTION_RULES, problem, NAMES[tile]) if problem else None


def matches_kernel_gradient(tile: int, operation: Operation) -> Decision | None:
    """Decide whether the transpose of F(tile x tile, 3x3) computes the gradient of a kernel.

    Args:
        tile: m of F(m x m, 3x3).
        operation: of the convolution primitive.
    """
    problem = kernel_gradient_problem(operation)
    return decide(KERNEL_GRADIENT_RULES, problem, NAMES[tile]) if problem else None


def prepare(tile: int, rhs: jax.Array, params: PrimitiveParams) -> jax.Array:
    """Transform the kernel of a convolution. The number of images does not matter.

    Args:
        tile: m of F(m x m, 3x3).
        rhs: the kernel, as the primitive takes it.
        params: of the primitive.

    Returns:
        See :func:`jaxconv.kernels.winograd.transform_kernel`.
    """
    kernel = jnp.transpose(rhs, _spec_axes(params["dimension_numbers"].rhs_spec, "hwcn"))
    is_high = lax.Precision.HIGH in jax.tree.leaves(params["precision"])
    return winograd.transform_kernel(
        kernel, tile, channel_splits(kernel.shape[2]) if is_high else 1
    )


def apply_prepared(
    tile: int,
    lhs: jax.Array,
    kernel: jax.Array,
    params: PrimitiveParams,
    epilogue: winograd.Epilogue = lambda y: y,
    pool: int = 1,
) -> jax.Array:
    """Compute a convolution with a prepared kernel.

    Args:
        tile: m of F(m x m, 3x3).
        lhs: the images, as the primitive takes them.
        kernel: by :func:`prepare`.
        params: of the primitive.
        epilogue: see :func:`jaxconv.kernels.winograd.convolve`; channels are the last axis.
        pool: likewise.

    Returns:
        What the primitive returns, in its order of axes.
    """
    order, pads = params["dimension_numbers"], params["padding"]
    x = jnp.transpose(lhs, _spec_axes(order.lhs_spec, "nhwc"))
    problem = ConvProblem(x.shape[0], *winograd.output_size(x, pads), x.shape[3], kernel.shape[2])
    tiling = choose_tiling(problem, tile, x.shape[3] // kernel.shape[1])
    y = winograd.convolve(x, kernel, pads, tiling, epilogue, pool)
    return _to_spec(y, "nhwc", order.out_spec)


def apply_convolution(tile: int, lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """Compute a convolution.

    Args:
        tile: m of F(m x m, 3x3).
        lhs: the images, as the primitive takes them.
        rhs: the kernel, likewise.
        **params: of the primitive.
    """
    return apply_prepared(tile, lhs, prepare(tile, rhs, params), params)


def apply_kernel_gradient(tile: int, lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """Compute the gradient of a kernel, which is a convolution with a window as large as the map.

    Args:
        tile: m of F(m x m, 3x3).
        lhs: the images, with channels as the batch.
        rhs: the gradient of the result, with images as channels.
        **params: of the primitive.
    """
    order = params["dimension_numbers"]
    x = jnp.transpose(lhs, _spec_axes(order.lhs_spec, "chwn"))
    g = jnp.transpose(rhs, _spec_axes(order.rhs_spec, "chwn"))
    images, height, width, filters = g.shape
    tiling = choose_tiling(ConvProblem(images, height, width, x.shape[-1], filters), tile)
    y = winograd.kernel_gradient(x, g, params["padding"], tiling)
    return _to_spec(y, "hwnc", order.out_spec)


for _tile, _name in NAMES.items():
    register_formulation(
        Formulation(
            name=_name,
            operation=CONVOLUTION,
            primitive=conv_general_dilated_p,
            matches=partial(matches_convolution, _tile),
            apply=partial(apply_convolution, _tile),
            reason="fewer multiplications per result than the 9 of a 3x3 window",
            # That of the images is a convolution with the kernel flipped.
            gradients=(CONVOLUTION, KERNEL_GRADIENT),
            prepare=partial(prepare, _tile),
            apply_prepared=partial(apply_prepared, _tile),
            pool_sides=frozenset(side for side in range(2, _tile + 1) if _tile % side == 0),
        )
    )
    register_formulation(
        Formulation(
            name=_name,
            operation=KERNEL_GRADIENT,
            primitive=conv_general_dilated_p,
            matches=partial(matches_kernel_gradient, _tile),
            apply=partial(apply_kernel_gradient, _tile),
            reason="the same bilinear form as the convolution, transposed",
            # That of the images has windows as large as the image: `lax` computes it.
            gradients=(CONVOLUTION,),
        )
    )
