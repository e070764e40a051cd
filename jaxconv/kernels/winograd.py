"""Convolution with 3x3 kernels by Winograd's minimal filtering, F(m x m, 3x3).

A tile of (m+2) x (m+2) pixels becomes m x m results with (m+2)**2 multiplications per channel,
where the sum over the window takes 9*m**2: ``Y = A^T [(G w G^T) * (B^T d B)] A``. The
multiplications of all tiles form one batched matrix product (Lavin and Gray, "Fast algorithms for
convolutional neural networks", 2015). The gradient of the kernel is the same bilinear form,
transposed.

Each transform runs along rows first and then along columns, each time on strided slices that are
stacked on a new leading axis: channels stay the last axis, and the loops over them vectorise.
Optimization barriers keep XLA from computing one stage inside the other, many times over.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial, reduce
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv.kernels.tiling import Blocks, Tiling

Matrix = tuple[tuple[Fraction, ...], ...]
PadWidths = Sequence[tuple[int, int]]
Epilogue = Callable[[jax.Array], jax.Array]

KERNEL_SIZE = 3
# The points at which the polynomials of a tile are evaluated, besides infinity. Those of F(3x3) and
# F(4x4) have the smallest error of all symmetric multiples of 1/8: half that of the usual 1 and 2.
POINTS = {
    2: (Fraction(0), Fraction(1), Fraction(-1)),
    3: (Fraction(3, 8), Fraction(-3, 8), Fraction(5, 4), Fraction(-5, 4)),
    4: (Fraction(0), Fraction(5, 8), Fraction(-5, 8), Fraction(3, 2), Fraction(-3, 2)),
}
barrier = lax.optimization_barrier


@dataclass(frozen=True)
class Transforms:
    """The exact matrices of F(m, 3).

    Attributes:
        data: B^T, (m+2, m+2), of m+2 pixels.
        kernel: G, (m+2, 3), of 3 weights.
        result: A^T, (m, m+2), of m+2 products.
    """

    data: Matrix
    kernel: Matrix
    result: Matrix


def transforms(points: Sequence[Fraction], size: int = KERNEL_SIZE) -> Transforms:
    """Derive the matrices of F(m, size) from ``m + size - 2`` points and infinity (Toom-Cook).

    A and G evaluate a polynomial per row at the points. B^T holds the polynomials that interpolate
    between them: the coefficients of ``prod(x - q)`` over all other points.

    Args:
        points: distinct numbers.
        size: weights of the filter.

    Returns:
        The matrices, exact.

    Example:
        >>> from fractions import Fraction
        >>> f2 = transforms([Fraction(0), Fraction(1), Fraction(-1)])
        >>> [[str(number) for number in row] for row in f2.kernel]
        [['-1', '0', '0'], ['1/2', '1/2', '1/2'], ['1/2', '-1/2', '1/2'], ['0', '0', '1']]
    """
    tile = len(points) + 1
    outputs = tile - size + 1
    others = [[q for q in points if q != p] for p in points]
    data = []
    for roots in (*others, points):
        polynomial = [Fraction(1)]  # its coefficients, from the constant up
        for root in roots:  # times (x - root)
            same, higher = [*polynomial, Fraction(0)], [Fraction(0), *polynomial]
            polynomial = [b - root * a for a, b in zip(same, higher, strict=True)]
        data.append((*polynomial, *[Fraction(0)] * (tile - len(polynomial))))
    kernel = [
        tuple(p**k / prod((p - q for q in rest), start=Fraction(1)) for k in range(size))
        for p, rest in zip(points, others, strict=True)
    ]
    result = [(*(p**i for p in points), Fraction(i == outputs - 1)) for i in range(outputs)]
    last = tuple(Fraction(k == size - 1) for k in range(size))
    return Transforms(tuple(data), (*kernel, last), tuple(result))


def name_of(tile: int) -> str:
    """Name the algorithm with tiles of a size.

    Args:
        tile: m of F(m x m, 3x3).

    Example:
        >>> name_of(4)
        'F(4x4, 3x3)'
    """
    return f"F({tile}x{tile}, {KERNEL_SIZE}x{KERNEL_SIZE})"


@cache
def _transforms_of(m: int) -> Transforms:
    return transforms(POINTS[m])


@cache
def _kernel_matrix(m: int) -> np.ndarray:
    """The matrix that maps 9 weights to the (m+2)**2 numbers of a tile, its column first."""
    g = np.array([[float(n) for n in row] for row in _transforms_of(m).kernel])
    return np.einsum("bj,ai->baij", g, g).reshape(-1, KERNEL_SIZE**2).astype(np.float32)


def transform_kernel(kernel: jax.Array, tile: int, channel_splits: int = 1) -> jax.Array:
    """Transform a kernel.

    Args:
        kernel: (3, 3, c, k).
        tile: m of F(m x m, 3x3).
        channel_splits: parts of the sum over channels.

    Returns:
        ((m+2)**2 * channel_splits, c/channel_splits, k).
    """
    c, k = kernel.shape[2:]
    u = jnp.asarray(_kernel_matrix(tile)) @ kernel.reshape(KERNEL_SIZE**2, c * k)
    return u.reshape(-1, c // channel_splits, k)


def output_size(x: jax.Array, pads: PadWidths) -> tuple[int, int]:
    """Compute the height and width of a convolution of stride 1, in pixels.

    Args:
        x: (b, h, w, c).
        pads: (low, high) of rows and of columns; below zero they crop.
    """
    h, w = (n + sum(p) - KERNEL_SIZE + 1 for n, p in zip(x.shape[1:3], pads, strict=True))
    return h, w


def convolve(
    x: jax.Array,
    prepared: jax.Array,
    pads: PadWidths,
    tiling: Tiling,
    epilogue: Epilogue = lambda y: y,
    pool: int = 1,
) -> jax.Array:
    """Convolve images with a prepared kernel, stride 1.

    Args:
        x: (b, h, w, c).
        prepared: by :func:`transform_kernel`, with the same tile and channel splits; or, for slabs
            of channels that each have a kernel of their own, ((m+2)**2, slabs, c/slabs, k/slabs),
            without channel splits.
        pads: (low, high) of rows and of columns; below zero they crop.
        tiling: the size of the tiles, and how many of them are computed at once.
        epilogue: an elementwise, increasing function of the result, such as a bias and a ReLU.
        pool: the side of non-overlapping windows of which only the largest value is kept; it
            divides m and the size of the result.

    Returns:
        (b, h', w', k).
    """
    b, (h, w) = x.shape[0], output_size(x, pads)
    blocks = -(-tiling.tiles(h) // tiling.tile_rows)  # of rows of tiles, per image
    tiles, splits = (blocks * tiling.tile_rows, tiling.tiles(w)), tiling.channel_splits
    x, pad = _pad_blocks(x, _missing(x, pads, tiles, tiling.tile), tiling, blocks)
    step = tiling.tile_rows * tiling.tile

    def block(x: jax.Array) -> jax.Array:
        x = pad(x)
        x = x.reshape(*x.shape[:3], splits, -1)
        x = barrier(jnp.moveaxis(x, 3, 0))  # (splits, b, h, w, c/splits)
        return _convolve_block(x, prepared, tiling, epilogue, pool)[:, :, : w // pool]

    if (blocks, tiling.images) == (1, b):
        return block(x)[:, : h // pool]
    cut = Blocks((x.shape[0] // tiling.images, blocks))
    sizes = (tiling.images, x.shape[1] if blocks == 1 else step + KERNEL_SIZE - 1)
    shape = (x.shape[0], blocks * step // pool, w // pool, _filters(prepared))

    def body(i: jax.Array, y: jax.Array) -> jax.Array:
        part = block(cut.read(x, i, (tiling.images, step), sizes))
        return cut.write(y, part, i, (tiling.images, step // pool))

    return lax.fori_loop(0, cut.count, body, jnp.zeros(shape, x.dtype))[:b, : h // pool]


def kernel_gradient(
    x: jax.Array, g: jax.Array, pads: PadWidths, tiling: Tiling, slabs: int = 1
) -> jax.Array:
    """Compute the gradient of :func:`convolve` in its kernel, summed over images and positions.

    Args:
        x: (b, h, w, c), the images.
        g: (b, h', w', k), the gradient of the result.
        pads: those of the convolution.
        tiling: as there; the sum over tiles needs no channel splits.
        slabs: the number of slabs of channels, each with a kernel of its own.

    Returns:
        (3, 3, c, k), or (3, 3, slabs, c/slabs, k/slabs) if there are several.
    """
    h, w = g.shape[1:3]
    columns = tiling.tiles(w)
    blocks = -(-tiling.tiles(h) // tiling.tile_rows)
    step = tiling.tile_rows * tiling.tile
    missing = _missing(x, pads, (blocks * tiling.tile_rows, columns), tiling.tile)
    x, pad_x = _pad_blocks(x, missing, tiling, blocks)
    missing = [(0, blocks * step - h), (0, columns * tiling.tile - w)]
    g, pad_g = _pad_blocks(g, missing, tiling, blocks)

    def part(x: jax.Array, g: jax.Array) -> jax.Array:
        return _gradient_of_block(pad_x(x), pad_g(g), tiling.tile, slabs)

    whole, steps = blocks == 1, (tiling.images, step)
    x_sizes = (tiling.images, x.shape[1] if whole else step + KERNEL_SIZE - 1)
    g_sizes = (tiling.images, g.shape[1] if whole else step)
    cut = Blocks((g.shape[0] // tiling.images, blocks))
    u = cut.sum(lambda i: part(cut.read(x, i, steps, x_sizes), cut.read(g, i, steps, g_sizes)))
    return kernel_of_tile(u, tiling.tile)


def kernel_of_tile(u: jax.Array, tile: int) -> jax.Array:
    """Map the gradient of a transformed kernel to that of the kernel.

    Args:
        u: ((m+2)**2, ...).
        tile: m of F(m x m, 3x3).

    Returns:
        (3, 3, ...).
    """
    matrix = jnp.asarray(_kernel_matrix(tile).T)
    return (matrix @ u.reshape(u.shape[0], -1)).reshape(KERNEL_SIZE, KERNEL_SIZE, *u.shape[1:])


def _gradient_of_block(x: jax.Array, g: jax.Array, tile: int, slabs: int) -> jax.Array:
    """The transformed gradient, ((m+2)**2, c, k), or ((m+2)**2, slabs, c/slabs, k/slabs)."""
    (v, _), p = transform_images(x, tile), transform_gradient(g, tile)
    if slabs == 1:
        return jnp.einsum("atc,atk->ack", v, p)
    return jnp.einsum("astc,astk->asck", _by_slab(v, slabs), _by_slab(p, slabs))


def _missing(
    x: jax.Array, pads: PadWidths, tiles: tuple[int, int], tile: int
) -> list[tuple[int, int]]:
    """The (low, high) rows and columns that images lack for whole tiles."""
    return [
        (low, count * tile + KERNEL_SIZE - 1 - n - low)
        for n, (low, _), count in zip(x.shape[1:3], pads, tiles, strict=True)
    ]


def _pad_blocks(
    x: jax.Array, missing: PadWidths, tiling: Tiling, blocks: int
) -> tuple[jax.Array, Callable[[jax.Array], jax.Array]]:
    """Pad a batch to whole blocks, and images to whole tiles.

    Args:
        x: (b, h, w, c).
        missing: (low, high) of rows and of columns.
        tiling: the size of the blocks.
        blocks: per image. Where a block has whole images, these are padded in their block, so that
            the padded images stay in the cache.

    Returns:
        The images, and the function that pads the images of a block.
    """

    def pad(x: jax.Array, batch: int, missing: PadWidths) -> jax.Array:
        amounts = [(0, batch, 0), *((low, high, 0) for low, high in missing), (0, 0, 0)]
        return barrier(lax.pad(x, np.float32(0), amounts))

    batch, none = -x.shape[0] % tiling.images, [(0, 0)] * 2
    if blocks > 1:
        return pad(x, batch, missing), lambda x: x
    return pad(x, batch, none), partial(pad, batch=0, missing=missing)


def _convolve_block(
    x: jax.Array, prepared: jax.Array, tiling: Tiling, epilogue: Epilogue, pool: int
) -> jax.Array:
    """Convolve padded images (splits, b, h, w, c/splits) at once."""
    splits, b, *_ = x.shape
    size = tiling.tile + KERNEL_SIZE - 1
    v, grid = transform_images(x.reshape(-1, *x.shape[2:]), tiling.tile)
    v = v.reshape(size**2 * splits, -1, x.shape[-1])
    y = barrier(_products(v, prepared)).reshape(size, size, splits, b, *grid, _filters(prepared))
    summed = [reduce(jnp.add, (y[:, i, p] for p in range(splits))) for i in range(size)]
    return images_of_tiles(summed, tiling.tile, epilogue, pool)


def images_of_tiles(
    y: Sequence[jax.Array], tile: int, epilogue: Epilogue, pool: int = 1
) -> jax.Array:
    """Map the products of tiles to the images of the result.

    Args:
        y: for each of the m+2 numbers of a column of a tile, (m+2, b, rows, columns, k).
        tile: m of F(m x m, 3x3).
        epilogue: see :func:`convolve`.
        pool: likewise.

    Returns:
        (b, rows * m / pool, columns * m / pool, k).
    """
    m, matrix = tile, _transforms_of(tile).result
    _, b, rows, columns, k = y[0].shape
    stacked = barrier(jnp.stack(_multiply_matrix(matrix, y)))
    # m arrays of (m, b, rows, columns, k)
    y = _multiply_matrix(matrix, [stacked[:, i] for i in range(m + KERNEL_SIZE - 1)])
    side = m // pool
    if pool > 1:  # the columns of a window are items of the list, its rows lie on axis 0
        best = [reduce(jnp.maximum, y[i : i + pool]) for i in range(0, m, pool)]
        best = [column.reshape(-1, pool, *column.shape[1:]) for column in best]
        y = [reduce(jnp.maximum, (column[:, i] for i in range(pool))) for column in best]
    result = epilogue(jnp.stack([part.transpose(1, 2, 0, 3, 4) for part in y], 4))
    return result.reshape(b, rows * side, columns * side, k)


def _products(v: jax.Array, prepared: jax.Array) -> jax.Array:
    """Multiply transformed tiles (numbers, tiles, c) by a kernel, or slabs of them by theirs."""
    if prepared.ndim == 3:
        return jnp.einsum("atc,ack->atk", v, prepared)
    y = jnp.einsum("astc,asck->astk", _by_slab(v, prepared.shape[1]), prepared)
    return jnp.swapaxes(barrier(y), 1, 2).reshape(*v.shape[:2], -1)


def _by_slab(v: jax.Array, slabs: int) -> jax.Array:
    """Split the channels of (numbers, tiles, c): (numbers, slabs, tiles, c/slabs)."""
    return barrier(jnp.swapaxes(v.reshape(*v.shape[:2], slabs, -1), 1, 2))


def _filters(prepared: jax.Array) -> int:
    """Filters of a prepared kernel, of all slabs."""
    return prepared.shape[-1] * (prepared.shape[1] if prepared.ndim == 4 else 1)


def transform_images(x: jax.Array, tile: int) -> tuple[jax.Array, tuple[int, int]]:
    """Transform the tiles of padded images.

    Args:
        x: (b, h, w, c), of whole tiles.
        tile: m of F(m x m, 3x3).

    Returns:
        ((m+2)**2, tiles, c), the column of the tile first; and the tiles along both axes.
    """
    v, grid = _transform_tiles(x, _transforms_of(tile).data, tile)
    return barrier(v), grid


def transform_gradient(g: jax.Array, tile: int) -> jax.Array:
    """Transform the tiles of the gradient of a result, the transpose of :func:`images_of_tiles`.

    Args:
        g: (b, h', w', k), of whole tiles.
        tile: m of F(m x m, 3x3).

    Returns:
        ((m+2)**2, tiles, k), the column of the tile first.
    """
    transposed = tuple(zip(*_transforms_of(tile).result, strict=True))
    return barrier(_transform_tiles(g, transposed, tile)[0])


def _transform_tiles(x: jax.Array, matrix: Matrix, m: int) -> tuple[jax.Array, tuple[int, int]]:
    """Cut (b, h, w, c) into tiles every m pixels, and transform each along both axes.

    Returns:
        (rows of the matrix squared, tiles, c), the column of the tile first; and the number of
        tiles along each axis.
    """
    rows, columns = ((n - len(matrix[0])) // m + 1 for n in x.shape[1:3])
    x = _transform_axis(x, 1, matrix, m, rows)
    x = _transform_axis(barrier(x), 3, matrix, m, columns)
    return x.reshape(len(matrix) ** 2, -1, x.shape[-1]), (rows, columns)


def _transform_axis(x: jax.Array, axis: int, matrix: Matrix, m: int, count: int) -> jax.Array:
    """Transform along one axis; the rows of the matrix become a new leading axis."""
    stop = (count - 1) * m + 1
    slices = [lax.slice_in_dim(x, i, i + stop, m, axis) for i in range(len(matrix[0]))]
    return jnp.stack(_multiply_matrix(matrix, slices))


def _multiply_matrix(matrix: Matrix, x: Sequence[jax.Array]) -> list[jax.Array]:
    """The product of a matrix and a list of arrays, without the terms that are 0."""

    def scaled(number: Fraction, value: jax.Array) -> jax.Array:
        if abs(number) == 1:
            return value if number > 0 else -value
        return value * np.float32(number)

    rows = ([(n, v) for n, v in zip(row, x, strict=True) if n] for row in matrix)
    return [reduce(jnp.add, (scaled(n, v) for n, v in row)) for row in rows]
