"""Max pooling and its derivatives on a CPU, from slices.

XLA's gradient searches the windows for their largest number one by one (`select_and_scatter`).
Here all windows are compared at once, one element of the window after the other. Of equal numbers
the first one counts, as in XLA.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv.compat import reduce_window_max_p, select_and_gather_add_p, select_and_scatter_add_p
from jaxconv.kernels.lowering import is_static, with_cpu_primitives
from jaxconv.kernels.registry import (
    DIRECT,
    Decision,
    Formulation,
    Operation,
    SelectionRule,
    decide,
    register_formulation,
)

NAME = "slices"
MAX_POOLING, TANGENT, GRADIENT = "max pooling", "tangent of max pooling", "gradient of max pooling"
POOL_RULES: Sequence[SelectionRule] = (
    SelectionRule(
        DIRECT,
        lambda windows: prod(windows.size) > 16,
        "windows of more than 16 elements take as many slices, which were not measured to be "
        "faster",
    ),
    SelectionRule(
        NAME,
        lambda _: True,
        "all windows are compared at once, with vector instructions",
    ),
)


@dataclass(frozen=True)
class PoolWindows:
    """The windows of a pool over an array.

    Attributes:
        size: of a window along each axis.
        stride: from one window to the next along each axis.
        pads: (low, high) along each axis.
    """

    size: Sequence[int]
    stride: Sequence[int]
    pads: Sequence[tuple[int, int]]

    @classmethod
    def of(cls, params: Any) -> "PoolWindows":
        """Read the windows of a primitive.

        Args:
            params: its parameters.
        """
        return cls(params["window_dimensions"], params["window_strides"], params["padding"])

    def pad(self, x: jax.Array, value: float) -> jax.Array:
        """Pad an array that the windows slide over.

        Args:
            x: without padding.
            value: of the padding.
        """
        amounts = [(low, high, 0) for low, high in self.pads]
        return lax.pad(x, np.asarray(value, x.dtype)[()], amounts)

    def elements(self, x: jax.Array) -> Iterator[jax.Array]:
        """Slice an array: for each element of a window, its value in all windows.

        Args:
            x: padded.

        Yields:
            An array with a value per window; the elements of the first row come first.
        """
        count = [(n - k) // s + 1 for n, k, s in zip(x.shape, self.size, self.stride, strict=True)]
        for start in product(*map(range, self.size)):
            stop = [a + (n - 1) * s + 1 for a, n, s in zip(start, count, self.stride, strict=True)]
            yield lax.slice(x, start, stop, self.stride)

    def argmax(self, x: jax.Array) -> jax.Array:
        """Find the element with the largest value of each window.

        Args:
            x: without padding.

        Returns:
            The number of the element per window, int8: a wider type takes several times as long.
        """
        first, *rest = self.elements(self.pad(x, -np.inf))
        best, index = first, jnp.zeros(first.shape, jnp.int8)
        for i, value in enumerate(rest, 1):
            is_larger = ~(best >= value)  # also where either is not a number, as in lax
            best = jnp.where(is_larger, value, best)
            index = jnp.where(is_larger, jnp.int8(i), index)
        return lax.optimization_barrier(index)

    def scatter(self, g: jax.Array, index: jax.Array) -> jax.Array:
        """Put each number at its element of its window, where windows do not overlap.

        Args:
            g: a number per window.
            index: the element per window.

        Returns:
            All windows side by side, 0 at the other elements.
        """
        window_axes = [i for size in self.size for i in (1, size)]
        map_axes = [i for n in g.shape for i in (n, 1)]
        elements = np.arange(prod(self.size), dtype=np.int8).reshape(window_axes)
        y = jnp.where(index.reshape(map_axes) == elements, g.reshape(map_axes), 0)
        return y.reshape([n * size for n, size in zip(g.shape, self.size, strict=True)])

    def scatter_add(self, g: jax.Array, index: jax.Array) -> jax.Array:
        """Add up the numbers that each position receives from the windows over it.

        Args:
            g: a number per window.
            index: the element per window.

        Returns:
            An array that covers all windows, from the first padded position on.
        """
        # Positions with the same remainder modulo the stride see the same elements of a window.
        reach = [(size - 1) // stride for size, stride in zip(self.size, self.stride, strict=True)]
        amounts = [(n, n, 0) for n in reach]
        count = [n + far for n, far in zip(g.shape, reach, strict=True)]
        index, g = lax.optimization_barrier(
            (lax.pad(index, np.int8(-1), amounts), lax.pad(g, np.float32(0), amounts))
        )
        parts = [self._phase(index, g, start, count) for start in product(*map(range, self.stride))]
        parts = lax.optimization_barrier(parts) if len(parts) > 1 else parts
        for axis in reversed(range(g.ndim)):
            step = self.stride[axis]
            if step > 1:
                sides = [parts[i : i + step] for i in range(0, len(parts), step)]
                size = (*count[:axis], count[axis] * step)
                parts = [
                    jnp.stack(p, axis + 1).reshape(*size, *p[0].shape[axis + 1 :]) for p in sides
                ]
        return parts[0]

    def _phase(
        self, index: jax.Array, g: jax.Array, start: Sequence[int], count: Sequence[int]
    ) -> jax.Array:
        """Add up what the positions of one remainder receive."""
        steps = zip(start, self.size, self.stride, index.shape, count, strict=True)
        axes = [
            [(a, n - total - (a - low) // stride) for a in range(low, size, stride)]
            for low, size, stride, n, total in steps
        ]
        terms = []
        for places in product(*axes):
            element = int(np.ravel_multi_index([a for a, _ in places], self.size))
            first = [begin for _, begin in places]
            stop = [begin + n for begin, n in zip(first, count, strict=True)]
            here = lax.slice(index, first, stop) == element
            terms.append(jnp.where(here, lax.slice(g, first, stop), 0))
        return reduce(jnp.add, terms) if terms else jnp.zeros(count, g.dtype)


def max_windows(x: jax.Array, size: Any, stride: Any, pads: Any) -> jax.Array:
    """Take the largest number of each window. Padding never is the largest.

    Args:
        x: numbers of any type.
        size: of the windows along each axis.
        stride: likewise.
        pads: (low, high) along each axis.

    Returns:
        A number per window, in the type of ``x``.
    """

    def call(x: jax.Array) -> jax.Array:
        is_float = jnp.issubdtype(x.dtype, jnp.floating)
        least = np.asarray(-np.inf if is_float else jnp.iinfo(x.dtype).min, x.dtype)[()]
        return lax.reduce_window(x, least, lax.max, size, stride, pads)

    return with_cpu_primitives(call, x) if is_static(x) else call(x)


def matches(operation: Operation) -> Decision | None:
    """Decide whether slices compute a max pool or one of its derivatives.

    Args:
        operation: of a primitive of max pooling.
    """
    params = operation.params
    dilations = {*params.get("base_dilation", ()), *params.get("window_dilation", ())}
    is_maximum = params.get("select_prim", lax.ge_p) is lax.ge_p
    if not is_maximum or dilations - {1} or operation.output.dtype != jnp.float32:
        return None
    return decide(POOL_RULES, PoolWindows.of(params), NAME)


def max_pool_slices(x: jax.Array, **params: Any) -> jax.Array:
    """Compute a max pool.

    Args:
        x: the operand of the primitive.
        **params: of the primitive.
    """
    windows = PoolWindows.of(params)
    return reduce(jnp.maximum, windows.elements(windows.pad(x, -np.inf)))


def max_pool_tangent(tangent: jax.Array, x: jax.Array, **params: Any) -> jax.Array:
    """Compute the forward derivative of a max pool: the tangent of the largest element.

    Args:
        tangent: of ``x``.
        x: the operand of the pool.
        **params: of the primitive.
    """
    windows = PoolWindows.of(params)
    index = windows.argmax(x)
    tangents = enumerate(windows.elements(windows.pad(tangent, 0.0)))
    return reduce(jnp.add, (jnp.where(index == i, t, 0) for i, t in tangents))


def max_pool_gradient(g: jax.Array, x: jax.Array, **params: Any) -> jax.Array:
    """Compute the gradient of a max pool: that of the largest element of each window.

    Args:
        g: the gradient of the result.
        x: the operand of the pool.
        **params: of the primitive.
    """
    windows = PoolWindows.of(params)
    index = windows.argmax(x)
    is_disjoint = tuple(windows.size) == tuple(windows.stride)
    y = windows.scatter(g, index) if is_disjoint else windows.scatter_add(g, index)
    sizes = zip(windows.pads, x.shape, y.shape, strict=True)
    return lax.pad(y, np.float32(0), [(-low, n + low - size, 0) for (low, _), n, size in sizes])


for _operation, _primitive, _apply, _gradients in (
    (MAX_POOLING, reduce_window_max_p, max_pool_slices, (TANGENT, GRADIENT)),
    (TANGENT, select_and_gather_add_p, max_pool_tangent, (GRADIENT,)),
    (GRADIENT, select_and_scatter_add_p, max_pool_gradient, (TANGENT,)),
):
    register_formulation(
        Formulation(
            name=NAME,
            operation=_operation,
            primitive=_primitive,
            matches=matches,
            apply=_apply,
            reason="slices of whole arrays use vector instructions; searching each window does not",
            gradients=_gradients,
        )
    )
