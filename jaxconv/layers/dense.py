"""Flatten feature maps, and multiply them by a matrix."""

from math import gcd, isqrt, prod

import chex
import jax
import jax.numpy as jnp
from jax import lax

from jaxconv.errors import Diagnostic, OperandShape, public_api, raise_if
from jaxconv.layers.operands import Operand, as_arrays
from jaxconv.layers.shape_rules import bias_diagnostics


@public_api
def flatten(x: Operand) -> jax.Array:
    """Lay out each image's numbers in one row, the last axis fastest.

    Args:
        x: shape (b, ...), at least two axes.

    Returns:
        Shape (b, product of the rest), dtype of ``x``.

    Raises:
        ShapeError: no batch axis, or an axis of size 0 beside it.

    Example:
        >>> import jax.numpy as jnp, jaxconv as jc
        >>> jc.flatten(jnp.ones((8, 7, 7, 512))).shape
        (8, 25088)
    """
    (x,) = as_arrays(x=x)
    operands = [OperandShape("x", x.shape)]
    fix = "pass x of shape (b, ...); a single row becomes one with x[None]."
    few = Diagnostic(f"x has {x.ndim} axes, but flatten needs a batch axis and one more.", fix)
    raise_if([few] if x.ndim < 2 else [], operands)
    empty = Diagnostic("x holds no numbers to flatten.", "pass maps of 1 pixel or more.")
    raise_if([empty] if 0 in x.shape[1:] else [], operands)
    count = 1
    for size in x.shape[1:]:
        count = count * size
    y = jnp.reshape(x, (x.shape[0], count))
    chex.assert_shape(y, (x.shape[0], count))
    return y


@public_api
def dense(x: Operand, kernel: Operand, bias: Operand | None = None) -> jax.Array:
    """Multiply the last axis by a matrix: every output is a neuron that sees all inputs.

    Args:
        x: shape (..., c_in).
        kernel: weights, shape (c_in, c_out).
        bias: (c_out,), or None for none.

    Returns:
        Shape (..., c_out), dtype of ``x``.

    Raises:
        ShapeError: widths, ranks or types that do not fit.

    Example:
        >>> import jax.numpy as jnp, jaxconv as jc
        >>> jc.dense(jnp.ones((8, 25088)), jnp.ones((25088, 10))).shape
        (8, 10)
    """
    x, kernel, *biases = as_arrays(x=x, kernel=kernel, bias=bias)
    operands = [OperandShape("x", x.shape), OperandShape("kernel", kernel.shape)]
    raise_if(_rank_diagnostics(x, kernel), operands)
    diagnostics = _width_diagnostics(x, kernel)
    for b in biases:
        diagnostics += bias_diagnostics(b.shape, kernel.shape[1])
    raise_if(diagnostics, operands)
    y = lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())))
    for b in biases:
        y = y + b
    chex.assert_shape(y, (*x.shape[:-1], kernel.shape[1]))
    return y


def _rank_diagnostics(x: jax.Array, kernel: jax.Array) -> list[Diagnostic]:
    diagnostics = []
    if x.ndim < 1:
        diagnostics.append(Diagnostic("x is a single number.", "pass x of shape (b, c_in)."))
    if kernel.ndim != 2:
        wrong = f"kernel has {kernel.ndim} axes, but dense needs 2 (c_in, c_out)."
        diagnostics.append(Diagnostic(wrong, "reshape kernel to (c_in, c_out), or call conv."))
    return diagnostics


def _width_diagnostics(x: jax.Array, kernel: jax.Array) -> list[Diagnostic]:
    have, want = x.shape[-1], kernel.shape[0]
    if have == want:
        return [] if have else [Diagnostic("x and kernel are empty.", "pass c_in of 1 or more.")]
    wrong = f"x has {have} features, but kernel expects {want}."
    if not isinstance(have, int):  # symbolic: what the mistake was differs from size to size
        return [Diagnostic(wrong, f"pass sizes for which x has {want} features.")]
    if have == kernel.shape[1]:
        return [Diagnostic(wrong, "transpose kernel with kernel.T.", "kernel looks transposed.")]
    if x.ndim > 2 and prod(x.shape[1:]) == want:
        return [Diagnostic(wrong, "call flatten first.", "x was not flattened.")]
    if (maps := _square_maps(have, want)) is None:
        return [Diagnostic(wrong, f"pass a kernel of shape ({have}, {kernel.shape[1]}).")]
    got, expected = maps
    hint = f"As flattened maps, {have} may be {got} and {want} {expected}."
    fix = "resize the images to those that kernel was made for, "
    fix += f"or pass a kernel of shape ({have}, {kernel.shape[1]})."
    return [Diagnostic(wrong, fix, hint)]


def _square_maps(have: int, want: int) -> tuple[str, str] | None:
    """Read both widths as square maps with the same channels, the most channels first."""
    for channels in range(gcd(have, want), 0, -1):
        sides = [isqrt(n // channels) for n in (have, want)]
        exact = (n == s * s * channels for n, s in zip((have, want), sides, strict=True))
        if min(sides) > 1 and all(exact):
            got, expected = (f"{side}x{side}x{channels}" for side in sides)
            return got, expected
    return None
