"""The largest of each window and its derivatives: those of lax, to the bit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxconv as jc
from jaxconv.kernels.max_pool import max_windows
from tests.support.programs import lowered

WINDOWS = {  # shape, size, stride, pads
    "apart": ((2, 6, 8, 3), (1, 2, 2, 1), (1, 2, 2, 1), ((0, 0),) * 4),
    "apart and cut off": ((2, 7, 5, 3), (1, 2, 2, 1), (1, 2, 2, 1), ((0, 0),) * 4),
    "apart and padded": ((2, 5, 7, 3), (1, 3, 2, 1), (1, 3, 2, 1),
        ((0, 0), (1, 2), (1, 0), (0, 0))),
    "apart, not square": ((1, 8, 6, 2), (1, 4, 3, 1), (1, 4, 3, 1), ((0, 0),) * 4),
    "overlapping": ((2, 7, 9, 3), (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0))),
    "overlapping by most": ((1, 6, 6, 2), (1, 4, 3, 1), (1, 1, 1, 1),
        ((0, 0), (0, 3), (2, 0), (0, 0))),
    "gaps between": ((2, 9, 8, 2), (1, 2, 2, 1), (1, 3, 4, 1), ((0, 0), (1, 0), (0, 1), (0, 0))),
    "gaps and the rest cut off": ((1, 11, 7, 2), (1, 1, 2, 1), (1, 4, 3, 1), ((0, 0),) * 4),
    "channels first": ((2, 3, 6, 4), (1, 1, 2, 2), (1, 1, 2, 2), ((0, 0),) * 4),
    "along channels and images": ((4, 3, 2, 6), (2, 1, 1, 3), (2, 1, 1, 2),
        ((1, 0), (0, 0), (0, 0), (0, 2))),
    "1-D": ((3, 11, 2), (1, 3, 1), (1, 2, 1), ((0, 0), (2, 1), (0, 0))),
    "3-D": ((1, 4, 5, 6, 2), (1, 2, 2, 3, 1), (1, 2, 1, 2, 1),
        ((0, 0), (0, 1), (1, 0), (1, 1), (0, 0))),
    "as many places as are taken": ((2, 8, 9, 1), (1, 4, 4, 1), (1, 4, 4, 1), ((0, 0),) * 4),
    "one place": ((2, 3, 4, 1), (1, 1, 1, 1), (1, 1, 1, 1), ((0, 0),) * 4),
    "one window": ((2, 3, 4, 1), (1, 3, 4, 1), (1, 1, 1, 1), ((0, 0),) * 4),
}  # fmt: skip


def plain(x, size, stride, pads):
    return lax.reduce_window(x, np.float32(-np.inf), lax.max, size, stride, pads)


def drawn(rng, kind, shape):
    """Random numbers: all different, many ties, or with all that is special about floats."""
    if kind == "different":
        return rng.permutation(np.prod(shape)).reshape(shape).astype(np.float32) - 20
    if kind == "ties":
        return rng.integers(-2, 2, shape).astype(np.float32)
    special = np.float32([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1.5, 2.5])
    return rng.choice(special, shape)


def same_bits(got, want):
    """Equal to the bit; of what is not a number there is but one."""
    got, want = np.asarray(got), np.asarray(want)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(
        np.signbit(got[~np.isnan(got)]), np.signbit(want[~np.isnan(want)])
    )


@functools.partial(jax.jit, static_argnums=(0, 1))
def derivatives(pool, windows, x, tangent, cotangent):
    y, pull = jax.vjp(lambda x: pool(x, *windows), x)
    return y, *pull(cotangent), jax.jvp(lambda x: pool(x, *windows), (x,), (tangent,))[1]


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("kind", ["different", "ties", "special"])
def test_values_and_gradients_are_those_of_lax(name, kind):
    shape, *windows = WINDOWS[name]
    rng = np.random.default_rng([*name.encode(), *kind.encode()])
    x = drawn(rng, kind, shape)
    out = jax.eval_shape(lambda x: plain(x, *windows), x).shape
    # Whole numbers, so that the order in which windows that overlap are added does not matter.
    tangent, cotangent = (rng.integers(-9, 10, s).astype(np.float32) for s in (shape, out))
    y, gradient, slope = derivatives(max_windows, tuple(windows), x, tangent, cotangent)
    want, back, forth = derivatives(plain, tuple(windows), x, tangent, cotangent)
    same_bits(y, want)
    same_bits(gradient, back)
    # Forward, lax's choice among equal numbers is not always that of its own gradient; ours is.
    assert (slope * cotangent).sum() == (tangent * gradient).sum()
    if kind == "different":
        same_bits(slope, forth)


@pytest.mark.parametrize("name", ["apart", "overlapping", "gaps between"])
def test_second_derivatives_are_those_of_lax(name):
    shape, *windows = WINDOWS[name]
    rng = np.random.default_rng([4, *name.encode()])
    x, tangent = (rng.normal(size=shape).astype(np.float32) for _ in range(2))

    def twice(pool, x, tangent):
        gradient = jax.grad(lambda x: (pool(x, *windows) ** 3).sum())
        forward_over_reverse = jax.jvp(gradient, (x,), (tangent,))[1]
        reverse_over_reverse = jax.grad(lambda x: (gradient(x) * tangent).sum())(x)
        slope = lambda x: jax.jvp(lambda x: (pool(x, *windows) ** 3).sum(), (x,), (tangent,))[1]  # noqa: E731
        return forward_over_reverse, reverse_over_reverse, jax.grad(slope)(x)

    got, want = jax.jit(lambda *a: (twice(max_windows, *a), twice(plain, *a)))(x, tangent)
    assert np.abs(want[0]).max() > 1
    for ours, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("axis", [0, 2, -1])
def test_vmap_takes_windows_along_any_axis(axis):
    x = np.random.default_rng(axis + 9).normal(size=(3, 6, 4, 5)).astype(np.float32)
    windows = ((2, 1, 2), (2, 1, 2), ((0, 0),) * 3)

    def total(pool, x):
        return jax.vmap(jax.value_and_grad(lambda x: (pool(x, *windows) ** 2).sum()), axis)(x)

    ours, theirs = jax.jit(lambda x: (total(max_windows, x), total(plain, x)))(x)
    for got, want in zip(ours, theirs, strict=True):
        same_bits(got, want)


def gradient_of(pool, *windows):
    return jax.grad(lambda x: (pool(x, *windows) ** 2).sum())


@pytest.mark.parametrize("name", ["apart", "overlapping", "3-D"])
def test_on_a_cpu_nothing_is_left_of_lax_and_elsewhere_nothing_is_changed(name):
    shape, *windows = WINDOWS[name]
    x = jnp.zeros(shape, jnp.float32)

    def forward(pool):
        return lambda t: jax.jvp(lambda x: pool(x, *windows), (x,), (t,))[1]

    slow = "reduce_window", "select_and_scatter"
    for kind in (lambda pool: gradient_of(pool, *windows), forward):
        got, want = kind(max_windows), kind(plain)
        assert any(word in lowered(want, x) for word in slow)
        assert not any(word in lowered(got, x) for word in slow)
        for platform in ("cuda", "tpu"):
            text = lowered(got, x, platform=platform)
            assert text == lowered(want, x, platform=platform)


LEFT = {
    "many places": (jnp.float32, (2, 10, 11, 1), (1, 5, 5, 1), (1, 3, 3, 1), ((0, 0),) * 4),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_was_not_measured_to_be_faster_is_left_to_lax(name):
    dtype, shape, *windows = LEFT[name]
    x = jnp.zeros(shape, dtype)

    def of_lax(x, size, stride, pads):
        return lax.reduce_window(x, np.asarray(-np.inf, dtype)[()], lax.max, size, stride, pads)

    for kind in (
        lambda pool: lambda x: pool(x, *windows),
        lambda pool: gradient_of(pool, *windows),
    ):
        assert lowered(kind(max_windows), x) == lowered(kind(of_lax), x)


def test_pools_of_symbolic_sizes_are_left_to_lax():
    (b,) = jax.export.symbolic_shape("b")
    x = jax.ShapeDtypeStruct((b, 8, 8, 3), jnp.float32)
    exported = jax.export.export(jax.jit(jax.grad(lambda x: jc.max_pool(x).sum())))(x)
    assert "select_and_scatter" in exported.mlir_module()
    numbers = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype(np.float32)
    same_bits(exported.call(numbers), jax.grad(lambda x: jc.max_pool(x).sum())(numbers))


def test_eager_pools_and_gradients_run_without_jit():
    x = np.random.default_rng(2).normal(size=(2, 7, 6, 3)).astype(np.float32)
    y, pull = jax.vjp(lambda x: jc.max_pool(x, 3, stride=2, padding=1), x)
    want, pulled = jax.vjp(lambda x: plain(x, (1, 3, 3, 1), (1, 2, 2, 1),
                                           ((0, 0), (1, 1), (1, 1), (0, 0))), x)  # fmt: skip
    same_bits(y, want)
    g = np.random.default_rng(3).integers(-5, 6, y.shape).astype(np.float32)
    same_bits(pull(g)[0], pulled(g)[0])
