"""Flatten feature maps, and multiply them by a matrix."""

from math import gcd, isqrt, prod

import chex
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Shaped

from jaxconv.errors import Diagnostic, OperandShape, ValidationError, public_api, raise_if
from jaxconv.layers.operands import Bias, DenseKernel, Features, Operand, as_arrays, as_operands
from jaxconv.layers.shape_rules import bias_diagnostics


@public_api
def flatten(x: Operand) -> Shaped[Array, "b features"]:
    """Reshape each image to one row of numbers, the last axis varying fastest.

    Args:
        x: shape (b, ...), at least two axes.

    Returns:
        Shape (b, product of the other sizes), dtype of ``x``.

    Raises:
        ShapeError: no batch axis, or another axis of size 0.

    Example:
        >>> import jax.numpy as jnp, jaxconv as jc
        >>> jc.flatten(jnp.ones((8, 7, 7, 512))).shape
        (8, 25088)
    """
    (x,) = as_arrays(x=x)
    operands = [OperandShape("x", x.shape)]
    axes = f"{x.ndim} ax{'is' if x.ndim == 1 else 'es'}"
    fix = "pass x of shape (b, ...); x[None] adds the batch axis to a single row."
    few = Diagnostic(f"x has {axes}, but flatten needs a batch axis and at least one more.", fix)
    raise_if([few] if x.ndim < 2 else [], operands)
    empty = Diagnostic("x has no features to flatten.", "pass x without axes of size 0.")
    raise_if([empty] if 0 in x.shape[1:] else [], operands)
    count = 1
    for size in x.shape[1:]:
        count = count * size
    y = jnp.reshape(x, (x.shape[0], count))
    chex.assert_shape(y, (x.shape[0], count))
    return y


@public_api
def dense(
    x: Features,
    kernel: DenseKernel,
    bias: Bias | None = None,
    *,
    preferred_element_type: DTypeLike | None = None,
) -> Shaped[Array, "*batch c_out"]:
    """Multiply the last axis by a matrix: each output is a neuron connected to all inputs.

    Args:
        x: shape (..., c_in).
        kernel: weights, shape (c_in, c_out).
        bias: (c_out,), or None.
        preferred_element_type: as for :func:`conv`.

    Returns:
        Shape (..., c_out), dtype of ``x`` or ``preferred_element_type``.

    Raises:
        ShapeError: shapes or dtypes that do not fit; the message names them and the fix.

    Example:
        >>> import jax.numpy as jnp, jaxconv as jc
        >>> jc.dense(jnp.ones((8, 25088)), jnp.ones((25088, 10))).shape
        (8, 10)
    """
    x, kernel, *biases = as_operands(x, kernel, bias, preferred_element_type)
    operands = [OperandShape("x", x.shape), OperandShape("kernel", kernel.shape)]
    if x.ndim < 1:
        wrong = "x is a single number, but must have a last axis of features."
        raise ValidationError([Diagnostic(wrong, "pass x of shape (b, c_in).")], operands)
    if kernel.ndim != 2:
        wrong = f"kernel has {kernel.ndim} axes, but dense needs 2 (c_in, c_out)."
        fix = "reshape kernel to (c_in, c_out), or call conv."
        raise ValidationError([Diagnostic(wrong, fix)], operands)
    diagnostics = _feature_diagnostics(x, kernel)
    for b in biases:
        diagnostics += bias_diagnostics(b.shape, kernel.shape[1])
    raise_if(diagnostics, operands)
    contracted = (((x.ndim - 1,), (0,)), ((), ()))
    y = lax.dot_general(x, kernel, contracted, preferred_element_type=preferred_element_type)
    for b in biases:
        y = y + b
    chex.assert_shape(y, (*x.shape[:-1], kernel.shape[1]))
    return y


def _feature_diagnostics(x: jax.Array, kernel: jax.Array) -> list[Diagnostic]:
    """Compare the number of features with the kernel, and guess the mistake."""
    have, want = x.shape[-1], kernel.shape[0]
    if have == want:
        empty = Diagnostic("x and kernel have no features.", "pass c_in of 1 or more.")
        return [] if have else [empty]
    wrong = f"x has {have} features, but kernel expects {want}."
    if not isinstance(have, int):  # symbolic: the mistake differs from size to size
        return [Diagnostic(wrong, f"pass sizes for which x has {want} features.")]
    if have == kernel.shape[1]:
        return [Diagnostic(wrong, "transpose kernel with kernel.T.", "kernel looks transposed.")]
    if x.ndim > 2 and prod(x.shape[1:]) == want:
        return [Diagnostic(wrong, "call flatten first.", "x was not flattened.")]
    fix = f"pass a kernel of shape ({have}, {kernel.shape[1]})."
    # Both as square maps with the same channels: the most channels that are possible.
    for channels in range(gcd(have, want), 0, -1):
        sides = [isqrt(n // channels) for n in (have, want)]
        exact = (n == side**2 * channels for n, side in zip((have, want), sides, strict=True))
        if min(sides) > 1 and all(exact):
            got, expected = (f"{side}x{side}x{channels}" for side in sides)
            hint = f"As flattened maps, {have} may be {got} and {want} may be {expected}."
            fix = f"resize the images to the size that kernel was made for, or {fix}"
            return [Diagnostic(wrong, fix, hint)]
    return [Diagnostic(wrong, fix)]
