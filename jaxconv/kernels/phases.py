"""Transposed convolutions, and the gradients of strided ones, by phases.

A transposed convolution with stride s slides its window over an image with s - 1 zeros after each
pixel. Results whose positions have the same remainder modulo s form a *phase*: they see the same
elements of the kernel on pixels, and the others on zeros. So each phase is an ordinary convolution
with a part of the kernel, and no zero is multiplied.
"""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from math import ceil, gcd, prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv.compat import conv_general_dilated_p
from jaxconv.kernels.lowering import with_cpu_primitives
from jaxconv.kernels.problem import (
    images_last,
    kernel_last,
    map_size,
    read_problem,
    result_of,
    result_size,
)
from jaxconv.kernels.registry import Decision, Formulation, Operation, register_formulation

CONVOLUTION = "transposed convolution"
SEPARATE, TOGETHER = "phases", "phases as filters"


class Phase(NamedTuple):
    """What a phase sees along one axis.

    Attributes:
        taps: the elements of the kernel.
        dilation: pixels between them.
        low: padding before the first pixel.
        high: padding after the last pixel.
    """

    taps: slice
    dilation: int
    low: int
    high: int


def phases_of(
    pixels: int, count: int, size: int, stride: int, dilation: int, low: int
) -> list[Phase | None]:
    """Divide a transposed convolution along one axis.

    Args:
        pixels: of the image.
        count: results of each phase.
        size: elements of the kernel.
        stride: pixels of the result from one pixel of the image to the next.
        dilation: pixels of the result between elements of the kernel.
        low: padding before the dilated image.

    Returns:
        A phase per remainder; None where it sees zeros only.
    """
    common = gcd(stride, dilation)
    found: list[Phase | None] = []
    for r in range(stride):
        seen = [t for t in range(size) if (r - low + t * dilation) % stride == 0]
        if not seen:
            found.append(None)
            continue
        first = (r - low + seen[0] * dilation) // stride  # the pixel that the first result sees
        last = first + count - 1 + (len(seen) - 1) * dilation // common
        taps = slice(seen[0], seen[-1] + 1, stride // common)
        found.append(Phase(taps, dilation // common, -first, last - pixels + 1))
    return found


def matches(name: str, operation: Operation) -> Decision | None:
    """Accept convolutions of images that are dilated, with windows that move by one pixel.

    Args:
        name: of the formulation.
        operation: of the convolution primitive.
    """
    p = read_problem(operation)
    if p is None or not p.is_dilated or max(p.stride) > 1 or p.batch_groups > 1:
        return None
    # All phases see the same number of elements, and the same pixels.
    is_even = all(k % s == 0 for k, s in zip(p.window, p.image_dilation, strict=True))
    is_whole = is_even and p.groups == 1 and {*p.dilation} == {1}
    if prod(p.window) > prod(p.map) or is_whole != (name == TOGETHER):
        return None
    return Decision(True, "no zero of the dilated image is multiplied")


def prepare_together(rhs: jax.Array, params: Mapping[str, Any]) -> jax.Array:
    """Make the filters of all phases: element s*j + s-1-r of the kernel belongs to phase r.

    Args:
        rhs: the kernel, as the primitive takes it.
        params: of the primitive.

    Returns:
        (*window of a phase, channels, filters of all phases); the last phase's come last.
    """
    kernel, strides = kernel_last(rhs, params), params["lhs_dilation"]
    rank, (*sizes, channels, filters) = len(strides), kernel.shape
    pairs = [n for k, s in zip(sizes, strides, strict=True) for n in (k // s, s)]
    split = jnp.flip(kernel.reshape(*pairs, channels, filters), range(1, 2 * rank, 2))
    axes = (*range(0, 2 * rank, 2), 2 * rank, *range(1, 2 * rank, 2), 2 * rank + 1)
    return jnp.transpose(split, axes).reshape(*pairs[::2], channels, -1)


def apply_prepared_together(
    lhs: jax.Array,
    kernel: jax.Array,
    params: Mapping[str, Any],
    epilogue: Callable[[jax.Array], jax.Array] = lambda y: y,
    pool: int = 1,
) -> jax.Array:
    """Compute all phases as filters of one convolution, and put them side by side.

    Args:
        lhs: the images, as the primitive takes them.
        kernel: by :func:`prepare_together`.
        params: of the primitive.
        epilogue: a function of the result, channels last.
        pool: 1.
    """
    assert pool == 1
    x, strides = images_last(lhs, params), params["lhs_dilation"]
    *window, _, all_filters = kernel.shape
    rank, filters = len(strides), all_filters // prod(strides)
    size = map_size(x.shape[1:-1], [k * s for k, s in zip(window, strides, strict=True)], params)
    # Results are computed from the first one on for which all phases see the same pixels.
    added = [(s - 1 - low) % s for s, (low, _) in zip(strides, params["padding"], strict=True)]
    lows = [
        (low + n) // s for n, s, (low, _) in zip(added, strides, params["padding"], strict=True)
    ]
    counts = [ceil((n + more) / s) for n, more, s in zip(size, added, strides, strict=True)]
    pads = [
        (low, count + k - 1 - low - n)
        for low, count, k, n in zip(lows, counts, window, x.shape[1:], strict=False)
    ]
    phases = [Phase(slice(None), 1, *pair) for pair in pads]
    y = lax.optimization_barrier(_phase(x, kernel, phases, params))
    y = y.reshape(len(x), *counts, *strides, filters)
    order = [axis for i in range(1, rank + 1) for axis in (i, rank + i)]
    y = jnp.transpose(y, (0, *order, 2 * rank + 1))
    y = y.reshape(len(x), *[n * s for n, s in zip(counts, strides, strict=True)], filters)
    ends = [more + n for more, n in zip(added, size, strict=True)]
    y = lax.slice(y, (0, *added, 0), (len(x), *ends, filters))
    return result_of(epilogue(y), params)


def apply_together(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """Compute all phases as filters of one convolution.

    Args:
        lhs: the images, as the primitive takes them.
        rhs: the kernel, likewise.
        **params: of the primitive.
    """
    return apply_prepared_together(lhs, prepare_together(rhs, params), params)


def apply(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """Compute a transposed convolution.

    Args:
        lhs: the images, as the primitive takes them.
        rhs: the kernel, likewise.
        **params: of the primitive.
    """
    x, kernel = images_last(lhs, params), kernel_last(rhs, params)
    size, strides = result_size(lhs, rhs, params), params["lhs_dilation"]
    counts = [ceil(n / s) for n, s in zip(size, strides, strict=True)]
    axes = [
        phases_of(n, count, k, s, d, low)
        for n, count, k, s, d, (low, _) in zip(
            x.shape[1:-1],
            counts,
            kernel.shape[:-2],
            strides,
            params["rhs_dilation"],
            params["padding"],
            strict=True,
        )
    ]
    zeros = jnp.zeros((x.shape[0], *counts, kernel.shape[-1]), x.dtype)
    parts = [
        _phase(x, kernel, [p for p in phase if p], params) if all(phase) else zeros
        for phase in product(*axes)
    ]
    parts = lax.optimization_barrier(parts)
    for axis in range(len(strides), 0, -1):  # put the results of the phases side by side
        stride = strides[axis - 1]
        groups = [parts[i : i + stride] for i in range(0, len(parts), stride)]
        parts = [
            jnp.stack(g, axis + 1).reshape(*g[0].shape[:axis], -1, *g[0].shape[axis + 1 :])
            for g in groups
        ]
    (y,) = parts
    return result_of(lax.slice(y, [0] * y.ndim, (y.shape[0], *size, y.shape[-1])), params)


def _phase(x: jax.Array, kernel: jax.Array, phase: list[Phase], params: Any) -> jax.Array:
    """Compute the results of one phase: an ordinary convolution."""
    rank = len(phase)
    order = lax.ConvDimensionNumbers(
        (0, rank + 1, *range(1, rank + 1)),
        (rank + 1, rank, *range(rank)),
        (0, rank + 1, *range(1, rank + 1)),
    )

    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            x,
            kernel,
            window_strides=[1] * rank,
            padding=[(p.low, p.high) for p in phase],
            rhs_dilation=[p.dilation for p in phase],
            dimension_numbers=order,
            feature_group_count=params["feature_group_count"],
            precision=params["precision"],
        )

    return with_cpu_primitives(convolve, x, kernel[tuple(p.taps for p in phase)])


_REASON = "`lax` multiplies the zeros of the dilated image"
register_formulation(
    Formulation(
        name=SEPARATE,
        operation=CONVOLUTION,
        primitive=conv_general_dilated_p,
        matches=partial(matches, SEPARATE),
        apply=apply,
        reason=_REASON,
        everywhere=True,
    )
)
register_formulation(
    Formulation(
        name=TOGETHER,
        operation=CONVOLUTION,
        primitive=conv_general_dilated_p,
        matches=partial(matches, TOGETHER),
        apply=apply_together,
        reason=_REASON,
        everywhere=True,
        prepare=prepare_together,
        apply_prepared=apply_prepared_together,
    )
)
