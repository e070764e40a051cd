"""The largest number of each window, and its gradient, from slices: fast on a CPU.

XLA's own gradient looks through each window for its largest number one by one
(`select_and_scatter`). Here all windows are compared at once, one of their places after the other;
of equal numbers the first counts, as there. These are twins of JAX's primitives, and take their
place where a program is lowered for a CPU.
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

from jaxconv.compat import JaxprEqn, primitives
from jaxconv.kernels.lowering import static, twin, with_twins

MOST = 16  # places of a window up to which this was measured to be faster


@dataclass(frozen=True)
class Windows:
    """Windows over an array: along each axis their size, their stride and the padding."""

    size: Sequence[int]
    stride: Sequence[int]
    pads: Sequence[tuple[int, int]]

    @classmethod
    def of(cls, params: Any) -> "Windows":
        """Those of a primitive."""
        return cls(params["window_dimensions"], params["window_strides"], params["padding"])

    def pad(self, x: jax.Array, value: float) -> jax.Array:
        """Pad an array of the full size."""
        amounts = [(low, high, 0) for low, high in self.pads]
        return lax.pad(x, np.asarray(value, x.dtype)[()], amounts)

    def places(self, x: jax.Array) -> Iterator[jax.Array]:
        """For each place of a window, the first row first, the numbers there in all windows."""
        count = [(n - k) // s + 1 for n, k, s in zip(x.shape, self.size, self.stride, strict=True)]
        for start in product(*map(range, self.size)):
            stop = [a + (n - 1) * s + 1 for a, n, s in zip(start, count, self.stride, strict=True)]
            yield lax.slice(x, start, stop, self.stride)

    def winners(self, x: jax.Array) -> jax.Array:
        """For each window the number of the place of its largest number, int8."""
        first, *rest = self.places(self.pad(x, -np.inf))
        best, place = first, jnp.zeros(first.shape, jnp.int8)
        for i, value in enumerate(rest, 1):
            larger = ~(best >= value)  # also where either is not a number, as in lax
            best, place = jnp.where(larger, value, best), jnp.where(larger, jnp.int8(i), place)
        return lax.optimization_barrier(place)


def max_windows(x: jax.Array, size: Any, stride: Any, pads: Any) -> jax.Array:
    """The largest number of each window, with padding that never wins.

    Args:
        x: numbers of any type.
        size: of the windows, along each axis.
        stride: likewise.
        pads: (low, high) along each axis.
    """

    def call(x: jax.Array) -> jax.Array:
        floats = jnp.issubdtype(x.dtype, jnp.floating)
        least = np.asarray(-np.inf if floats else jnp.iinfo(x.dtype).min, x.dtype)[()]
        return lax.reduce_window(x, least, lax.max, size, stride, pads)

    return with_twins(call, x) if static(x) else call(x)


def _takes(eqn: JaxprEqn) -> bool:
    x, params = eqn.outvars[0].aval, eqn.params
    dilated = {*params.get("base_dilation", ()), *params.get("window_dilation", ())} - {1}
    plain = params.get("select_prim", lax.ge_p) is lax.ge_p and not dilated
    return (
        plain
        and getattr(x, "dtype", None) == jnp.float32
        and prod(params["window_dimensions"]) <= MOST
    )


@twin(primitives.reduce_window_max_p, _takes)
def _largest(x: jax.Array, **params: Any) -> jax.Array:
    windows = Windows.of(params)
    return reduce(jnp.maximum, windows.places(windows.pad(x, -np.inf)))


@twin(primitives.select_and_gather_add_p, _takes)
def _gathered(tangent: jax.Array, x: jax.Array, **params: Any) -> jax.Array:
    windows = Windows.of(params)
    place = windows.winners(x)
    found = enumerate(windows.places(windows.pad(tangent, 0.0)))
    return reduce(jnp.add, (jnp.where(place == i, t, 0) for i, t in found))


@twin(primitives.select_and_scatter_add_p, _takes)
def _scattered(g: jax.Array, x: jax.Array, **params: Any) -> jax.Array:
    windows = Windows.of(params)
    scatter = _apart if tuple(windows.size) == tuple(windows.stride) else _overlapping
    padded = [n + sum(p) for n, p in zip(x.shape, windows.pads, strict=True)]
    y = scatter(g, windows.winners(x), windows)
    crop = zip(windows.pads, padded, y.shape, strict=True)
    return lax.pad(y, np.float32(0), [(-low, n - have - high, 0) for (low, high), n, have in crop])


def _apart(g: jax.Array, place: jax.Array, windows: Windows) -> jax.Array:
    """Put each number to its place of its window, where windows do not overlap."""
    inside = [i for size in windows.size for i in (1, size)]
    spread = [i for n in g.shape for i in (n, 1)]
    places = np.arange(prod(windows.size), dtype=np.int8).reshape(inside)
    y = jnp.where(place.reshape(spread) == places, g.reshape(spread), 0)
    return y.reshape([n * size for n, size in zip(g.shape, windows.size, strict=True)])


def _overlapping(g: jax.Array, place: jax.Array, windows: Windows) -> jax.Array:
    """Add up what each place of the windows gives, spread to the stride."""
    parts = []
    for i, start in enumerate(product(*map(range, windows.size))):
        steps = zip(start, windows.size, windows.stride, strict=True)
        amounts = [(a, size - 1 - a, stride - 1) for a, size, stride in steps]
        parts.append(lax.pad(jnp.where(place == i, g, 0), np.float32(0), amounts))
    return reduce(jnp.add, parts)
