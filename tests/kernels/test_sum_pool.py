"""The sum of each window and its derivatives: those of lax, and of sums in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxconv as jc
from jaxconv.kernels.sum_pool import sum_windows
from tests.kernels.test_max_pool import WINDOWS
from tests.support.programs import lowered

SLOW = "stablehlo.reduce_window"


def plain(x, size, stride, pads):
    return lax.reduce_window(x, np.asarray(0, x.dtype)[()], lax.add, size, stride, pads)


def derivatives(sums, windows, x, g):
    """The sums, their gradient, and the gradient of its size."""
    run = functools.partial(sums, size=windows[0], stride=windows[1], pads=windows[2])
    y, pull = jax.vjp(run, x)

    def size(x, g):
        y, pull = jax.vjp(run, x)
        return (y**2).mean() + (pull(g)[0] ** 2).mean()

    return y, *pull(g), *jax.grad(size, (0, 1))(x, g), jax.jvp(run, (x,), (x,))[1]


@pytest.mark.parametrize("name", WINDOWS)
def test_sums_and_derivatives_are_those_of_lax(name):
    shape, *windows = WINDOWS[name]
    rng = np.random.default_rng(len(name))
    x = rng.normal(size=shape).astype(np.float32)
    g = rng.normal(size=plain(x, *windows).shape).astype(np.float32)
    ours, want = jax.jit(lambda *a: [derivatives(f, windows, *a) for f in (sum_windows, plain)])(
        x, g
    )
    for mine, other in zip(ours, want, strict=True):
        np.testing.assert_allclose(mine, other, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", WINDOWS)
def test_sums_are_as_exact_as_those_of_lax(name):
    shape, size, stride, pads = WINDOWS[name]
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    padded = np.pad(np.float64(x), pads)
    seen = np.lib.stride_tricks.sliding_window_view(padded, size)[
        tuple(slice(None, None, s) for s in stride)
    ]
    exact = seen.sum(tuple(range(len(shape), 2 * len(shape))))
    both = jax.jit(lambda x: [f(x, size, stride, pads) for f in (sum_windows, plain)])
    error, other = (np.abs(y - exact).max() for y in both(x))
    assert error <= 3 * other + 5e-7


def test_windows_of_the_batch_are_mapped():
    shape, *windows = WINDOWS["overlapping"]
    x = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    mapped = jax.jit(jax.vmap(lambda x: sum_windows(x, *windows)))(x)
    np.testing.assert_allclose(mapped, [plain(one, *windows) for one in x], rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", ["overlapping", "overlapping by most", "3-D"])
def test_no_window_is_searched(name):
    shape, *windows = WINDOWS[name]
    x, g = jnp.ones(shape), jnp.ones(plain(np.ones(shape), *windows).shape)
    run = functools.partial(derivatives, sum_windows, windows)
    assert SLOW not in lowered(run, x, g)
    assert SLOW in lowered(functools.partial(derivatives, plain, windows), x, g)


@pytest.mark.parametrize("name", ["apart", "apart, not square", "gaps between"])
def test_windows_that_do_not_overlap_are_left_to_lax(name):
    shape, *windows = WINDOWS[name]
    x, g = jnp.ones(shape), jnp.ones(plain(np.ones(shape), *windows).shape)
    ours, others = (functools.partial(derivatives, f, windows) for f in (sum_windows, plain))
    assert lowered(ours, x, g).count(SLOW) == lowered(others, x, g).count(SLOW)


@pytest.mark.parametrize("dtype", ["int32", "uint8"])
def test_other_types_and_long_windows_are_left_to_lax(dtype):
    x = jnp.arange(40).reshape(1, 40, 1).astype(dtype)
    assert SLOW in lowered(lambda x: sum_windows(x, (1, 3, 1), (1, 1, 1), ((0, 0),) * 3), x)
    long = lambda x: sum_windows(x, (1, 20, 1), (1, 1, 1), ((0, 0),) * 3)  # noqa: E731
    assert SLOW in lowered(long, x.astype("float32"))


@pytest.mark.parametrize("dilation", ["base_dilation", "window_dilation"])
def test_dilated_windows_of_a_compiled_function_are_left_to_lax(dilation):
    options = {"window_strides": (1, 1, 1), "padding": "VALID", dilation: (1, 2, 1)}
    dilated = lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 3, 1), **options)  # noqa: E731
    x = np.random.default_rng(0).normal(size=(2, 9, 3)).astype(np.float32)
    np.testing.assert_allclose(jc.compile(dilated, x)(x), dilated(x), rtol=2e-6, atol=2e-6)
