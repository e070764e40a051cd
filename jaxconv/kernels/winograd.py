"""Convolution with 3x3 kernels by Winograd's minimal filtering, F(m x m, 3x3).

A tile of (m+2) x (m+2) pixels becomes m x m results with (m+2)**2 products a channel, where the
sum over the window takes 9*m**2: as ``Y = A^T [(G w G^T) * (B^T d B)] A``, the products being those
of one batched matrix product over all tiles (Lavin and Gray, "Fast algorithms for convolutional
neural networks", 2015). The gradient of the kernel is the same bilinear form, transposed.

Each transform is done along rows first and then along columns, each time from strided slices that
are stacked on a new leading axis: channels stay the last axis, and the loops over them vectorise.
The barriers keep XLA from computing one inside the other, many times over.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv.kernels.schedule import Blocks

Matrix = tuple[tuple[Fraction, ...], ...]
Pads = Sequence[tuple[int, int]]
Finish = Callable[[jax.Array], jax.Array]

TAPS = 3
# The points that the polynomials of a tile are read at, beside infinity. For F(4x4) those of
# least error among symmetric multiples of 1/8: half that of the usual 1 and 2.
POINTS = {
    2: (Fraction(0), Fraction(1), Fraction(-1)),
    4: (Fraction(0), Fraction(5, 8), Fraction(-5, 8), Fraction(3, 2), Fraction(-3, 2)),
}
barrier = lax.optimization_barrier


@dataclass(frozen=True)
class Transforms:
    """The matrices of F(m, 3), exact.

    Attributes:
        data: B^T, (m+2, m+2), of m+2 pixels.
        kernel: G, (m+2, 3), of 3 weights.
        result: A^T, (m, m+2), of m+2 products.
    """

    data: Matrix
    kernel: Matrix
    result: Matrix


def transforms(points: Sequence[Fraction], taps: int = TAPS) -> Transforms:
    """Derive the matrices of F(m, taps) from ``m + taps - 2`` points and infinity (Toom, Cook).

    A polynomial of each row is evaluated at the points by A and G; B^T holds the polynomials that
    interpolate between them, the coefficients of ``prod(x - q)`` over all other points.

    Args:
        points: numbers that all differ.
        taps: weights of the filter.

    Example:
        >>> from fractions import Fraction
        >>> f2 = transforms([Fraction(0), Fraction(1), Fraction(-1)])
        >>> [[str(number) for number in row] for row in f2.kernel]
        [['-1', '0', '0'], ['1/2', '1/2', '1/2'], ['1/2', '-1/2', '1/2'], ['0', '0', '1']]
    """
    size = len(points) + 1
    outputs = size - taps + 1
    others = [[q for q in points if q != p] for p in points]
    data = [_from_roots(q, size) for q in (*others, points)]
    kernel = [
        tuple(p**k / reduce(lambda n, q, p=p: n * (p - q), rest, Fraction(1)) for k in range(taps))
        for p, rest in zip(points, others, strict=True)
    ]
    result = [(*(p**i for p in points), Fraction(i == outputs - 1)) for i in range(outputs)]
    last = tuple(Fraction(k == taps - 1) for k in range(taps))
    return Transforms(tuple(data), (*kernel, last), tuple(result))


def _from_roots(roots: Iterable[Fraction], size: int) -> tuple[Fraction, ...]:
    """Coefficients of the polynomial with these roots, from the constant up."""
    found = [Fraction(1)]
    for root in roots:
        same, higher = [*found, Fraction(0)], [Fraction(0), *found]
        found = [b - root * a for a, b in zip(same, higher, strict=True)]
    return (*found, *[Fraction(0)] * (size - len(found)))


@cache
def _of(m: int) -> Transforms:
    return transforms(POINTS[m])


@cache
def _kernel_matrix(m: int) -> np.ndarray:
    """What takes 9 weights to the (m+2)**2 numbers of a tile, the column of the tile first."""
    g = np.array([[float(n) for n in row] for row in _of(m).kernel])
    return np.einsum("bj,ai->baij", g, g).reshape(-1, TAPS**2).astype(np.float32)


def prepare(kernel: jax.Array, blocks: Blocks) -> jax.Array:
    """Transform a kernel (3, 3, c, k) into ((m+2)**2 * pieces, c/pieces, k)."""
    c, k = kernel.shape[2:]
    u = jnp.asarray(_kernel_matrix(blocks.tile)) @ kernel.reshape(TAPS**2, c * k)
    return u.reshape(-1, c // blocks.pieces, k)


def convolve(
    x: jax.Array,
    prepared: jax.Array,
    pads: Pads,
    blocks: Blocks,
    finish: Finish = lambda y: y,
    pool: int = 1,
) -> jax.Array:
    """Convolve images with a prepared kernel, stride 1.

    Args:
        x: (b, h, w, c).
        prepared: by :func:`prepare`, with the same ``blocks``.
        pads: (low, high) of rows and of columns; below zero they crop.
        blocks: size of the tiles, and how many are computed at once.
        finish: what follows, number by number, and never falls: a bias and a ReLU.
        pool: side of the non-overlapping windows of which only the largest is kept; divides m
            and the size of the result.

    Returns:
        (b, h', w', k).
    """
    b, (h, w) = x.shape[0], _result(x, pads)
    rows, columns = blocks.tiles(h), blocks.tiles(w)
    stripes = -(-rows // blocks.rows)
    x = _padded(x, pads, (stripes * blocks.rows, columns), blocks)
    x = barrier(_in_pieces(x, blocks.pieces))
    block = partial(_block, prepared=prepared, blocks=blocks, finish=finish, pool=pool)
    if (stripes, blocks.images) == (1, b):
        return block(x)[:, : h // pool, : w // pool]
    step, tall = blocks.rows * blocks.tile, blocks.rows * blocks.tile + TAPS - 1
    start = (blocks.pieces, blocks.images, tall, *x.shape[3:])

    def body(i: jax.Array, y: jax.Array) -> jax.Array:
        image, stripe = i // stripes * blocks.images, i % stripes
        part = lax.dynamic_slice(x, (0, image, stripe * step, 0, 0), start)
        part = block(part)[:, :, : w // pool]
        return lax.dynamic_update_slice(y, part, (image, stripe * (step // pool), 0, 0))

    size = (x.shape[1], stripes * step // pool, w // pool, prepared.shape[-1])
    y = lax.fori_loop(0, size[0] // blocks.images * stripes, body, jnp.zeros(size, x.dtype))
    return y[:b, : h // pool]


def kernel_gradient(x: jax.Array, g: jax.Array, pads: Pads, blocks: Blocks) -> jax.Array:
    """The gradient of :func:`convolve` in its kernel, summed over images and places.

    Args:
        x: (b, h, w, c), the images.
        g: (b, h', w', k), the gradient of the result.
        pads: those of the convolution.
        blocks: as there; the sum over tiles needs no pieces.

    Returns:
        (3, 3, c, k).
    """
    b, h, w, k = g.shape
    rows, columns = blocks.tiles(h), blocks.tiles(w)
    stripes = -(-rows // blocks.rows)
    x = _padded(x, pads, (stripes * blocks.rows, columns), blocks)
    fill = stripes * blocks.rows * blocks.tile - h, columns * blocks.tile - w
    images = -b % blocks.images
    g = lax.pad(g, np.float32(0), [(0, n, 0) for n in (images, *fill, 0)])
    step = blocks.rows * blocks.tile
    part = partial(_products, blocks=blocks)
    if (stripes, blocks.images) == (1, b):
        u = part(barrier(x), barrier(g))
    else:
        x, g = barrier(x), barrier(g)

        def body(i: jax.Array, u: jax.Array) -> jax.Array:
            at = (i // stripes * blocks.images, i % stripes * step, 0, 0)
            tall = (blocks.images, step + TAPS - 1, *x.shape[2:])
            flat = (blocks.images, step, *g.shape[2:])
            return u + part(lax.dynamic_slice(x, at, tall), lax.dynamic_slice(g, at, flat))

        start = jnp.zeros(((blocks.tile + TAPS - 1) ** 2, x.shape[-1], k), x.dtype)
        u = lax.fori_loop(0, g.shape[0] // blocks.images * stripes, body, start)
    matrix = jnp.asarray(_kernel_matrix(blocks.tile).T)
    return (matrix @ u.reshape(u.shape[0], -1)).reshape(TAPS, TAPS, *u.shape[1:])


def _result(x: jax.Array, pads: Pads) -> tuple[int, int]:
    rows, columns = (n + sum(p) - TAPS + 1 for n, p in zip(x.shape[1:3], pads, strict=True))
    return rows, columns


def _padded(x: jax.Array, pads: Pads, tiles: tuple[int, int], blocks: Blocks) -> jax.Array:
    """Pad images up to whole tiles, and their number up to whole blocks."""
    amounts = [(0, -x.shape[0] % blocks.images, 0)]
    for n, (low, _), count in zip(x.shape[1:3], pads, tiles, strict=True):
        amounts.append((low, count * blocks.tile + TAPS - 1 - n - low, 0))
    return lax.pad(x, np.float32(0), [*amounts, (0, 0, 0)])


def _in_pieces(x: jax.Array, pieces: int) -> jax.Array:
    """(b, h, w, c) as (pieces, b, h, w, c/pieces)."""
    return jnp.moveaxis(x.reshape(*x.shape[:3], pieces, -1), 3, 0)


def _block(
    x: jax.Array, prepared: jax.Array, blocks: Blocks, finish: Finish, pool: int
) -> jax.Array:
    """Convolve padded images (pieces, b, h, w, c) in one go."""
    pieces, b, *_ = x.shape
    m, size, k = blocks.tile, blocks.tile + TAPS - 1, prepared.shape[-1]
    v, (rows, columns) = _tiles(x.reshape(-1, *x.shape[2:]), _of(m).data, m)
    v = barrier(v).reshape(size**2 * pieces, -1, x.shape[-1])
    y = barrier(jnp.einsum("atc,ack->atk", v, prepared))
    y = y.reshape(size, size, pieces, b, rows, columns, k)
    summed = [reduce(jnp.add, (y[:, i, p] for p in range(pieces))) for i in range(size)]
    y = barrier(jnp.stack(_combined(_of(m).result, summed)))
    y = _combined(_of(m).result, [y[:, i] for i in range(size)])  # m of (m, b, rows, columns, k)
    side = m // pool
    if pool > 1:
        y = [_largest(y[i : i + pool], pool) for i in range(0, m, pool)]
    y = finish(jnp.stack([part.transpose(1, 2, 0, 3, 4) for part in y], 4))
    return y.reshape(b, rows * side, columns * side, k)


def _largest(y: Sequence[jax.Array], pool: int) -> jax.Array:
    """The largest of each window: neighbours along columns are list items, along rows axis 0."""
    best = reduce(jnp.maximum, y)
    best = best.reshape(-1, pool, *best.shape[1:])
    return reduce(jnp.maximum, (best[:, i] for i in range(pool)))


def _products(x: jax.Array, g: jax.Array, blocks: Blocks) -> jax.Array:
    """The transformed gradient of the kernel, ((m+2)**2, c, k)."""
    m = blocks.tile
    spread = tuple(zip(*_of(m).result, strict=True))  # A
    v, _ = _tiles(x, _of(m).data, m)
    p, _ = _tiles(g, spread, m)
    return jnp.einsum("atc,atk->ack", barrier(v), barrier(p))


def _tiles(x: jax.Array, matrix: Matrix, m: int) -> tuple[jax.Array, tuple[int, int]]:
    """Cut (b, h, w, c) into tiles every m pixels, and transform each along both axes.

    Returns:
        (rows of the matrix squared, tiles, c), the column of the tile first; and the number of
        tiles along each axis.
    """
    long = len(matrix[0])
    rows, columns = ((n - long) // m + 1 for n in x.shape[1:3])
    x = _slid(x, 1, matrix, m, rows)
    x = _slid(barrier(x), 3, matrix, m, columns)
    return x.reshape(len(matrix) ** 2, -1, x.shape[-1]), (rows, columns)


def _slid(x: jax.Array, axis: int, matrix: Matrix, m: int, count: int) -> jax.Array:
    """Transform along one axis; the rows of the matrix become a new leading axis."""
    stop = (count - 1) * m + 1
    taps = [lax.slice_in_dim(x, i, i + stop, m, axis) for i in range(len(matrix[0]))]
    return jnp.stack(_combined(matrix, taps))


def _combined(matrix: Matrix, x: Sequence[jax.Array]) -> list[jax.Array]:
    """The product of a matrix and a list of arrays, without its zeros."""
    return [reduce(jnp.add, (_scaled(n, v) for n, v in zip(row, x, strict=True) if n))
            for row in matrix]  # fmt: skip


def _scaled(number: Fraction, x: jax.Array) -> jax.Array:
    if abs(number) == 1:
        return x if number > 0 else -x
    return x * np.float32(number)
