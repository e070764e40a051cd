"""Convolutions of groups of channels, and the gradients of their kernels, by slabs.

A slab is a few neighbouring groups. Their kernels on the diagonal of one dense kernel, with zeros
elsewhere, make the slab an ordinary convolution, for which there are fast formulations. Multiplying
the zeros costs less than products of a few channels each.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv.compat import conv_general_dilated_p
from jaxconv.kernels import winograd
from jaxconv.kernels.lowering import with_cpu_primitives
from jaxconv.kernels.problem import (
    images_last,
    kernel_last,
    kernel_of,
    read_problem,
    result_of,
    swapped_last,
)
from jaxconv.kernels.registry import Decision, Formulation, Operation, register_formulation
from jaxconv.kernels.tiling import FLOAT_BYTES, ConvProblem, Tiling, choose_tiling

CONVOLUTION = "grouped convolution"
KERNEL_GRADIENT = "kernel gradient of a grouped convolution"
SLABS = "slabs"
TILES = {2: "F(2x2, 3x3) of slabs", 4: "F(4x4, 3x3) of slabs"}  # by the size of the tiles
GRADIENT_TILE = 2  # with tiles of 4x4 the error would be up to six times that of `lax`
MIN_INPUTS = 16  # of a group, for tiles of 4x4: with fewer the error is four times that of `lax`
MIN_LARGE_TILES = 128  # of 4x4, in a batch: fewer take less time than reading their kernels
MIN_SIDE = 5  # of a map, for tiles of 4x4
CHANNELS = 32  # of a slab: products of fewer are slow, more are mostly zeros
MIN_CHANNELS = 16  # of a slab, for Winograd's algorithm
MIN_PIXELS = 256  # of a batch: with fewer, transforming the kernel costs more than it saves
IMAGE_BYTES = 4_000_000  # of the transformed tiles of an image; images with fewer share a block
MAX_SLABS = 16  # convolutions of one program that are not in a loop: each takes time to compile


@dataclass(frozen=True)
class Slabs:
    """How groups are put together.

    Attributes:
        count: the number of slabs.
        groups: in each slab.
        inputs: channels of a group.
        outputs: filters of a group.
    """

    count: int
    groups: int
    inputs: int
    outputs: int

    @property
    def width(self) -> int:
        """Channels or filters of a slab, whichever are fewer."""
        return self.groups * min(self.inputs, self.outputs)

    @classmethod
    def of(cls, channels: int, filters: int, total: int, most: int | None = None) -> "Slabs":
        """Choose the slabs of a convolution: of 32 channels, or of one group with more.

        Args:
            channels: of all groups.
            filters: likewise.
            total: the number of groups.
            most: the largest number of slabs, if any.
        """
        inputs, outputs = channels // total, filters // total
        sizes = [n for n in range(1, total + 1) if total % n == 0]
        small = [n for n in sizes if n == 1 or n * max(inputs, outputs) <= CHANNELS]
        fits = [n for n in sizes if n >= small[-1] and (most is None or total // n <= most)]
        return cls(total // fits[0], fits[0], inputs, outputs)

    def dense(self, kernel: jax.Array) -> jax.Array:
        """Put the kernels of groups on the diagonals of dense ones.

        Args:
            kernel: (*window, inputs, filters).

        Returns:
            (slabs, *window, inputs of a slab, filters of a slab).
        """
        window = kernel.shape[:-2]
        blocks = kernel.reshape(*window, self.inputs, self.count, self.groups, self.outputs)
        blocks = jnp.moveaxis(blocks, -3, 0)[..., None, :, :, :]  # of each row of the diagonal
        rows = jnp.arange(self.groups).reshape(-1, 1, 1, 1)
        same = rows == jnp.arange(self.groups).reshape(-1, 1)
        shape = (self.groups * self.inputs, self.groups * self.outputs)
        return jnp.where(same, blocks, 0).reshape(self.count, *window, *shape)

    def diagonal(self, kernels: jax.Array) -> jax.Array:
        """Take the kernels of groups out of dense ones: the transpose of :meth:`dense`.

        Args:
            kernels: (slabs, *window, inputs of a slab, filters of a slab).

        Returns:
            (*window, inputs, filters).
        """
        window = kernels.shape[1:-2]
        shape = (self.groups, self.inputs, self.groups, self.outputs)
        blocks = kernels.reshape(self.count, *window, *shape)
        blocks = jnp.stack([blocks[..., i, :, i, :] for i in range(self.groups)], -2)
        return jnp.moveaxis(blocks, 0, -3).reshape(*window, self.inputs, -1)


def tiling_of(p: ConvProblem, tile: int) -> Tiling:
    """Cut a batch into blocks: of one image, unless images are small.

    Args:
        p: the sizes of the convolution of all groups.
        tile: the size of the tiles.
    """
    tiling = choose_tiling(p, tile)
    transformed = (tile + 2) ** 2 * tiling.tiles(p.height) * tiling.tiles(p.width)
    is_large = FLOAT_BYTES * transformed * (p.channels + p.filters) > IMAGE_BYTES
    return replace(tiling, images=1) if is_large else tiling


def matches(name: str, operation: Operation) -> Decision | None:
    """Decide whether a formulation computes a grouped convolution.

    Args:
        name: of the formulation.
        operation: of the convolution primitive.
    """
    p = read_problem(operation)
    if p is None or p.groups == 1 or p.batch_groups > 1 or p.is_dilated:
        return None
    slabs = Slabs.of(p.channels, p.filters, p.groups)
    if p.images * prod(p.map) < MIN_PIXELS and not operation.is_prepared:
        return Decision(False, "so few pixels: transforming a denser kernel takes longer")
    is_square = p.window == (winograd.KERNEL_SIZE,) * 2 and {*p.stride, *p.dilation} == {1}
    is_high = lax.Precision.HIGH in jax.tree.leaves(operation.params["precision"])
    is_exact = slabs.inputs >= MIN_INPUTS and not is_high
    count = p.images * prod(ceil(n / 4) for n in p.map)
    is_large = count >= MIN_LARGE_TILES and min(p.map) >= MIN_SIDE
    by_tiles = TILES[4 if is_exact and is_large else 2]
    if name != (by_tiles if is_square and slabs.width >= MIN_CHANNELS else SLABS):
        return None
    return Decision(True, "a few groups at a time are computed as one ordinary convolution")


def matches_kernel_gradient(name: str, operation: Operation) -> Decision | None:
    """Decide whether a formulation computes the gradient of a grouped kernel.

    Args:
        name: of the formulation.
        operation: of the convolution primitive; the channels are its batch.
    """
    p = read_problem(operation)
    if p is None or p.batch_groups == 1 or p.groups > 1 or p.is_dilated:
        return None
    if prod(p.map) > prod(p.window):  # rather a convolution with a kernel for each image
        return None
    slabs = Slabs.of(p.images, p.filters, p.batch_groups)
    is_square = p.map == (winograd.KERNEL_SIZE,) * 2 and {*p.stride, *p.dilation} == {1}
    if name != (TILES[GRADIENT_TILE] if is_square and slabs.width >= MIN_CHANNELS else SLABS):
        return None
    return Decision(True, "a few groups at a time are the gradient of an ordinary kernel")


def prepare_tiles(tile: int, rhs: jax.Array, params: Mapping[str, Any]) -> jax.Array:
    """Transform the dense kernels of all slabs.

    Args:
        tile: the size of the tiles.
        rhs: the kernel, as the primitive takes it.
        params: of the primitive.

    Returns:
        ((tile + 2)**2, slabs, channels of a slab, filters of a slab).
    """
    return jax.vmap(partial(winograd.transform_kernel, tile=tile), out_axes=1)(prepare(rhs, params))


def convolve_prepared_tiles(
    tile: int,
    lhs: jax.Array,
    kernels: jax.Array,
    params: Mapping[str, Any],
    epilogue: winograd.Epilogue = lambda y: y,
    pool: int = 1,
) -> jax.Array:
    """Compute a grouped convolution by Winograd's algorithm, all slabs in one loop over images.

    Args:
        tile: the size of the tiles.
        lhs: the images, as the primitive takes them.
        kernels: by :func:`prepare_tiles`.
        params: of the primitive.
        epilogue: an elementwise function of each block of the result, channels last.
        pool: 1.
    """
    assert pool == 1
    x, pads = images_last(lhs, params), params["padding"]
    height, width = winograd.output_size(x, pads)
    filters = kernels.shape[1] * kernels.shape[-1]
    tiling = tiling_of(ConvProblem(len(x), height, width, x.shape[-1], filters), tile)
    return result_of(winograd.convolve(x, kernels, pads, tiling, epilogue), params)


def convolve_tiles(tile: int, lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """Compute a grouped convolution by Winograd's algorithm.

    Args:
        tile: the size of the tiles.
        lhs: the images, as the primitive takes them.
        rhs: the kernel, likewise.
        **params: of the primitive.
    """
    return convolve_prepared_tiles(tile, lhs, prepare_tiles(tile, rhs, params), params)


def kernel_gradient_tiles(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """Compute the gradient of a grouped kernel by Winograd's algorithm, all slabs in one loop.

    Args:
        lhs: the images, with channels as the batch.
        rhs: the gradient of the result, with images as channels.
        **params: of the primitive.
    """
    x, g = swapped_last(lhs, rhs, params)
    slabs = Slabs.of(x.shape[-1], g.shape[-1], params["batch_group_count"])
    images, height, width, filters = g.shape
    tiling = tiling_of(ConvProblem(images, height, width, x.shape[-1], filters), GRADIENT_TILE)
    kernels = winograd.kernel_gradient(x, g, params["padding"], tiling, slabs.count)
    kernels = kernels.reshape(*kernels.shape[:2], slabs.count, *kernels.shape[-2:])
    return kernel_of(slabs.diagonal(jnp.moveaxis(kernels, 2, 0)), params)


def prepare(rhs: jax.Array, params: Mapping[str, Any], most: int | None = None) -> jax.Array:
    """Put the kernels of groups on the diagonals of dense ones.

    Args:
        rhs: the kernel, as the primitive takes it.
        params: of the primitive.
        most: the largest number of slabs, if any.

    Returns:
        (slabs, *window, channels of a slab, filters of a slab).
    """
    kernel, groups = kernel_last(rhs, params), params["feature_group_count"]
    inputs, filters = kernel.shape[-2:]
    return Slabs.of(inputs * groups, filters, groups, most).dense(kernel)


def convolve_prepared(
    lhs: jax.Array,
    kernels: jax.Array,
    params: Mapping[str, Any],
    epilogue: winograd.Epilogue = lambda y: y,
    pool: int = 1,
) -> jax.Array:
    """Compute a grouped convolution, one slab after the other.

    Args:
        lhs: the images, as the primitive takes them.
        kernels: by :func:`prepare`.
        params: of the primitive.
        epilogue: a function of the result, channels last.
        pool: 1.
    """
    assert pool == 1
    x, rank = images_last(lhs, params), lhs.ndim - 2
    last = (0, rank + 1, *range(1, rank + 1))
    order = lax.ConvDimensionNumbers(last, (rank + 1, rank, *range(rank)), last)
    conv = partial(_convolve, dict(params) | {"dimension_numbers": order})
    channels = jnp.split(x, len(kernels), -1)
    parts = [conv(x, kernel) for x, kernel in zip(channels, kernels, strict=True)]
    return result_of(epilogue(jnp.concatenate(parts, -1)), params)


def convolve(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """Compute a grouped convolution, one slab after the other.

    Args:
        lhs: the images, as the primitive takes them.
        rhs: the kernel, likewise.
        **params: of the primitive.
    """
    return convolve_prepared(lhs, prepare(rhs, params, MAX_SLABS), params)


def kernel_gradient(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """Compute the gradient of a grouped kernel, one slab after the other.

    Args:
        lhs: the images, with channels as the batch.
        rhs: the gradient of the result, with images as channels.
        **params: of the primitive.
    """
    order, total = params["dimension_numbers"], params["batch_group_count"]
    (inputs, filters, *spatial) = order.out_spec
    channels, maps = lhs.shape[order.lhs_spec[0]], rhs.shape[order.rhs_spec[0]]
    slabs = Slabs.of(channels, maps, total, MAX_SLABS)
    pairs = zip(
        jnp.split(lhs, slabs.count, order.lhs_spec[0]),
        jnp.split(rhs, slabs.count, order.rhs_spec[0]),
        strict=True,
    )
    parts = [_convolve(params, x, g) for x, g in pairs]
    kernels = jnp.stack([jnp.transpose(part, (*spatial, inputs, filters)) for part in parts])
    return kernel_of(slabs.diagonal(kernels), params)


def _convolve(params: Any, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    """Compute an ordinary convolution with the options of a grouped one."""
    options = dict(params) | {"feature_group_count": 1, "batch_group_count": 1}
    return with_cpu_primitives(partial(conv_general_dilated_p.bind, **options), lhs, rhs)


_REASON = "`lax` computes products of the few channels of each group"
for _name, _apply, _prepare, _apply_prepared in (
    *(
        (
            name,
            partial(convolve_tiles, tile),
            partial(prepare_tiles, tile),
            partial(convolve_prepared_tiles, tile),
        )
        for tile, name in TILES.items()
    ),
    (SLABS, convolve, partial(prepare, most=MAX_SLABS), convolve_prepared),
):
    register_formulation(
        Formulation(
            name=_name,
            operation=CONVOLUTION,
            primitive=conv_general_dilated_p,
            matches=partial(matches, _name),
            apply=_apply,
            reason=_REASON,
            gradients=(CONVOLUTION, KERNEL_GRADIENT),
            prepare=_prepare,
            apply_prepared=_apply_prepared,
            priority=-1,  # depthwise convolutions have a formulation of their own
        )
    )
for _name, _apply in (
    (TILES[GRADIENT_TILE], kernel_gradient_tiles),
    (SLABS, kernel_gradient),
):
    register_formulation(
        Formulation(
            name=_name,
            operation=KERNEL_GRADIENT,
            primitive=conv_general_dilated_p,
            matches=partial(matches_kernel_gradient, _name),
            apply=_apply,
            reason=_REASON,
            gradients=(CONVOLUTION, KERNEL_GRADIENT),
            priority=-1,
        )
    )
