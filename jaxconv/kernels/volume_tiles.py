"""Convolutions of volumes with windows of 3x3 along the last two axes, by Winograd's algorithm.

A block of several slices is computed at once. Each slice is cut into tiles that are transformed
once for all windows of the block. The transformed tiles of the slices that a window sees are then
channels of one matrix product. Blocks are small, so that their tiles stay in the cache; slices at
their borders are transformed for both neighbours.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from math import ceil, prod
from operator import add, mul
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv.compat import conv_general_dilated_p
from jaxconv.kernels import winograd
from jaxconv.kernels.problem import (
    Problem,
    images_last,
    kernel_last,
    kernel_of,
    read_problem,
    result_of,
    swapped_last,
)
from jaxconv.kernels.registry import (
    Decision,
    Formulation,
    Operation,
    SelectionRule,
    decide,
    register_formulation,
)
from jaxconv.kernels.tiling import Blocks, ConvProblem, choose_volume_tiling
from jaxconv.kernels.volumes import CONVOLUTION, KERNEL_GRADIENT, MAX_DEPTH
from jaxconv.kernels.winograd_formulations import (
    CONVOLUTION_RULES,
    KERNEL_GRADIENT_RULES,
    NAMES,
)

SQUARE = (winograd.KERNEL_SIZE,) * 2
REASON = "in a block of slices, the tiles of each are transformed once for all windows"
# The error of `lax` is smaller for volumes than for images: it hardly grows with the channels.
# Tiles of 4x4 have up to six times as much, those of 3x3 three times. In gradients, those of 4x4
# have three times as much if their sums are short, and take half of the time of those of 3x3.
SMALL, LARGE, LARGE_OF_GRADIENT = 2, 3, 4
SUM_TILES = 32  # at least, in each of the partial sums of a gradient
PRIORITY = 2  # before `padding.py`: tiles pad the volumes themselves
MAX_FILTERS = 64  # with more, small tiles take less time than short sums


def _is_plain(p: Problem | None) -> bool:
    """Whether it is of volumes, without groups, strides and dilation."""
    return (
        p is not None
        and len(p.size) == 3
        and p.groups == p.batch_groups == 1
        and {*p.stride, *p.dilation, *p.image_dilation} == {1}
    )


def matches_convolution(tile: int, operation: Operation) -> Decision | None:
    """Decide whether F(tile x tile, 3x3) computes a convolution of volumes.

    Args:
        tile: m of F(m x m, 3x3).
        operation: of the convolution primitive.
    """
    p = read_problem(operation)
    if p is None or not _is_plain(p) or p.window[1:] != SQUARE:
        return None
    depth, (slices, height, width) = p.window[0], p.map
    if depth > MAX_DEPTH:
        return None
    problem = ConvProblem(
        p.images * slices, height, width, p.channels * depth, p.filters, operation.is_prepared
    )
    return _decide(CONVOLUTION_RULES, problem, operation, tile == LARGE)


def matches_kernel_gradient(tile: int, operation: Operation) -> Decision | None:
    """Decide whether the transpose of F(tile x tile, 3x3) computes the gradient of a kernel.

    Args:
        tile: m of F(m x m, 3x3).
        operation: of the convolution primitive; the channels are its batch.
    """
    p = read_problem(operation)
    if p is None or not _is_plain(p) or p.map[1:] != SQUARE:
        return None
    depth, (slices, height, width) = p.map[0], p.window
    if depth > MAX_DEPTH or prod(p.map) >= prod(p.window):
        return None
    problem = ConvProblem(p.channels * slices, height, width, p.images * depth, p.filters)
    is_large = tile == LARGE_OF_GRADIENT
    return _decide(KERNEL_GRADIENT_RULES, problem, operation, is_large, p.filters <= MAX_FILTERS)


def _decide(
    rules: Sequence[SelectionRule],
    problem: ConvProblem,
    operation: Operation,
    is_large: bool,
    may_be_large: bool = True,
) -> Decision | None:
    """Accept what the rules for images give to tiles, with sizes of tiles that suit volumes.

    Args:
        rules: for images.
        problem: the slices as images.
        operation: of the convolution primitive.
        is_large: decide on large tiles, rather than on small ones.
        may_be_large: large tiles are an option.
    """
    is_high = lax.Precision.HIGH in jax.tree.leaves(operation.params["precision"])
    for_images = (decide(rules, problem, NAMES[size]) for size in (2, 4))
    small, large = (decision is not None and decision.accepted for decision in for_images)
    if not (small or large) or is_large != (large and may_be_large and not is_high):
        return None
    return Decision(True, REASON)


def prepare(tile: int, rhs: jax.Array, params: Mapping[str, Any]) -> jax.Array:
    """Transform the kernel of each slice of a window.

    Args:
        tile: m of F(m x m, 3x3).
        rhs: the kernel, as the primitive takes it.
        params: of the primitive.

    Returns:
        ((m+2)**2, slices of a window * channels, filters).
    """
    kernel = kernel_last(rhs, params)
    depth, *window, channels, filters = kernel.shape
    kernel = jnp.moveaxis(kernel, 0, 2).reshape(*window, depth * channels, filters)
    return winograd.transform_kernel(kernel, tile)


def apply_prepared(
    tile: int,
    lhs: jax.Array,
    kernel: jax.Array,
    params: Mapping[str, Any],
    epilogue: winograd.Epilogue = lambda y: y,
    pool: int = 1,
) -> jax.Array:
    """Compute a convolution of volumes with a prepared kernel.

    Args:
        tile: m of F(m x m, 3x3).
        lhs: the volumes, as the primitive takes them.
        kernel: by :func:`prepare`.
        params: of the primitive.
        epilogue: an elementwise function of each block of the result, channels last.
        pool: 1.
    """
    assert pool == 1
    x, filters = images_last(lhs, params), kernel.shape[-1]
    depth, pads = kernel.shape[1] // x.shape[-1], params["padding"]
    window = (depth, *SQUARE)
    sizes = zip(x.shape[1:4], pads, window, strict=True)
    shape = (len(x), *(n + sum(p) - k + 1 for n, p, k in sizes), filters)
    cut = _Cut(tile, shape, x.shape[-1], depth)
    x = cut.padded_volumes(x, pads)

    def block(i: jax.Array | int) -> jax.Array:
        v = cut.windows(cut.blocks.read(x, i, cut.steps, cut.seen))
        y = winograd.barrier(jnp.einsum("atc,ack->atk", v, kernel))
        y = y.reshape(tile + 2, tile + 2, -1, *cut.grid, filters)
        y = winograd.images_of_tiles([y[:, i] for i in range(tile + 2)], tile, epilogue)
        return y.reshape(*cut.steps, -1, filters)[:, :, :, : shape[3]]

    if cut.blocks.count == 1:
        y = block(0)
    else:
        padded = jnp.zeros((*cut.size, *shape[3:]), x.dtype)
        y = lax.fori_loop(
            0,
            cut.blocks.count,
            lambda i, y: cut.blocks.write(y, block(i), i, cut.steps),
            padded,
        )
    return result_of(lax.slice(y, [0] * y.ndim, shape), params)


def convolve(tile: int, lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """Compute a convolution of volumes.

    Args:
        tile: m of F(m x m, 3x3).
        lhs: the volumes, as the primitive takes them.
        rhs: the kernel, likewise.
        **params: of the primitive.
    """
    return apply_prepared(tile, lhs, prepare(tile, rhs, params), params)


def kernel_gradient(tile: int, lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """Compute the gradient of the kernel of a convolution of volumes.

    Args:
        tile: m of F(m x m, 3x3).
        lhs: the volumes, with channels as the batch.
        rhs: the gradient of the result, with volumes as channels.
        **params: of the primitive.
    """
    x, g = swapped_last(lhs, rhs, params)
    pads = params["padding"]
    depth = x.shape[1] + sum(pads[0]) - g.shape[1] + 1
    cut = _Cut(tile, g.shape, x.shape[-1], depth)
    x, g = cut.padded_volumes(x, pads), cut.padded_gradient(g)
    sums = cut.short_sums if tile == LARGE_OF_GRADIENT else 1

    def part(i: jax.Array | int) -> jax.Array:
        v = cut.windows(cut.blocks.read(x, i, cut.steps, cut.seen))
        block = cut.blocks.read(g, i, cut.steps, cut.steps)
        p = winograd.transform_gradient(block.reshape(-1, *block.shape[2:]), tile)
        v = v.reshape(v.shape[0], sums, -1, v.shape[-1])
        p = p.reshape(p.shape[0], sums, -1, p.shape[-1])
        return winograd.barrier(jnp.einsum("astc,astk->asck", v, p)).sum(1)

    kernels = winograd.kernel_of_tile(cut.blocks.sum(part), tile)
    kernels = kernels.reshape(*SQUARE, depth, *x.shape[-1:], -1)
    return kernel_of(jnp.moveaxis(kernels, 2, 0), params)


class _Cut:
    """How volumes are cut into blocks of whole tiles.

    Attributes:
        blocks: along volumes, slices and rows.
        steps: volumes, slices and rows of the result in a block.
        seen: volumes, slices and rows that a block reads, with the borders of its windows.
        size: volumes, slices and rows of the result, in whole blocks.
        grid: tiles of each slice of a block, along rows and columns.
    """

    def __init__(self, tile: int, shape: Sequence[int], channels: int, depth: int) -> None:
        """Choose the blocks.

        Args:
            tile: m of F(m x m, 3x3).
            shape: of the result, (volumes, slices, h, w, filters).
            channels: of the volumes.
            depth: slices of a window.
        """
        volumes, slices, height, width, filters = shape
        problem = ConvProblem(volumes * slices, height, width, channels, filters)
        tiling = choose_volume_tiling(problem, volumes, depth, tile)
        self.tile, self.depth = tile, depth
        self.steps = (tiling.volumes, tiling.slices, tiling.tile_rows * tile)
        counts = [ceil(n / step) for n, step in zip(shape[:3], self.steps, strict=True)]
        self.blocks = Blocks(tuple(counts))
        self.size = tuple(map(mul, counts, self.steps))
        self.seen = (*map(add, self.steps, (0, depth - 1, winograd.KERNEL_SIZE - 1)),)
        self.grid = (tiling.tile_rows, ceil(width / tile))

    def padded_volumes(self, x: jax.Array, pads: winograd.PadWidths) -> jax.Array:
        """Pad volumes, so that each block of the result sees as much as any other.

        Args:
            x: (volumes, slices, h, w, channels).
            pads: (low, high) of slices, rows and columns of the convolution.
        """
        volumes, slices, rows = self.size
        reach = (
            slices + self.depth - 1,
            *(n + winograd.KERNEL_SIZE - 1 for n in (rows, self._columns)),
        )
        lows = [low for low, _ in pads]
        amounts = [
            (low, n - size - low, 0) for low, n, size in zip(lows, reach, x.shape[1:4], strict=True)
        ]
        batch = (0, volumes - x.shape[0], 0)
        return winograd.barrier(lax.pad(x, np.float32(0), [batch, *amounts, (0, 0, 0)]))

    def padded_gradient(self, g: jax.Array) -> jax.Array:
        """Pad the gradient of a result to whole blocks.

        Args:
            g: (volumes, slices, h, w, filters).
        """
        sizes = zip((*self.size, self._columns, g.shape[-1]), g.shape, strict=True)
        return winograd.barrier(lax.pad(g, np.float32(0), [(0, n - size, 0) for n, size in sizes]))

    def windows(self, x: jax.Array) -> jax.Array:
        """Transform the slices of a block, and put those that a window sees side by side.

        Args:
            x: (volumes, slices, h, w, channels), a block of padded volumes.

        Returns:
            (numbers of a tile, volumes * positions * tiles, slices of a window * channels).
        """
        volumes, slices, *image = x.shape
        v, _ = winograd.transform_images(x.reshape(-1, *image), self.tile)
        v = v.reshape(v.shape[0], volumes, slices, -1, v.shape[-1])
        positions = slices - self.depth + 1
        seen = jnp.concatenate([v[:, :, i : i + positions] for i in range(self.depth)], -1)
        return winograd.barrier(seen.reshape(v.shape[0], -1, seen.shape[-1]))

    @property
    def short_sums(self) -> int:
        """The number of equal sums over the tiles of a block, as short as is allowed."""
        tiles = prod(self.steps[:2]) * prod(self.grid)
        lengths = range(min(SUM_TILES, tiles), tiles + 1)
        return tiles // next(length for length in lengths if tiles % length == 0)

    @property
    def _columns(self) -> int:
        """Pixels of whole tiles, along columns."""
        return self.grid[1] * self.tile


for _tile in (SMALL, LARGE):
    register_formulation(
        Formulation(
            name=winograd.name_of(_tile),
            operation=CONVOLUTION,
            primitive=conv_general_dilated_p,
            matches=partial(matches_convolution, _tile),
            apply=partial(convolve, _tile),
            reason="fewer multiplications per result than the 9 of each slice of a window",
            gradients=(CONVOLUTION, KERNEL_GRADIENT),
            prepare=partial(prepare, _tile),
            apply_prepared=partial(apply_prepared, _tile),
            priority=PRIORITY,
        )
    )
for _tile in (SMALL, LARGE_OF_GRADIENT):
    register_formulation(
        Formulation(
            name=winograd.name_of(_tile),
            operation=KERNEL_GRADIENT,
            primitive=conv_general_dilated_p,
            matches=partial(matches_kernel_gradient, _tile),
            apply=partial(kernel_gradient, _tile),
            reason="the same bilinear form as the convolution, transposed",
            gradients=(CONVOLUTION, KERNEL_GRADIENT),
            priority=PRIORITY,
        )
    )
