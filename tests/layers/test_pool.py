"""Pooling beyond the parity tests: what padding counts for, integers, and global means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc


def test_padding_never_wins_a_max_pool():
    x = -np.arange(1.0, 17.0, dtype=np.float32).reshape(1, 4, 4, 1)
    assert jc.max_pool(x, 3, stride=2, padding=1).max() == -1.0
    assert (jc.max_pool(x, 3, stride=2, padding=1) < 0).all()


def test_count_padding_divides_by_the_whole_window():
    x = np.float32([[[[4.0], [8.0]]]])
    assert jc.avg_pool(x, (1, 2), padding=((0, 0), (1, 1))).ravel().tolist() == [4, 8]
    counted = jc.avg_pool(x, (1, 2), padding=((0, 0), (1, 1)), count_padding=True)
    assert counted.ravel().tolist() == [2, 4]


def test_max_pool_keeps_integers_and_narrow_floats():
    numbers = np.random.default_rng(0).integers(-90, 90, (2, 6, 6, 3))
    for dtype in (jnp.int8, jnp.int32, jnp.float16, jnp.bfloat16, jnp.float32):
        got = jc.max_pool(jnp.asarray(numbers, dtype))
        assert got.dtype == dtype
        want = numbers.reshape(2, 3, 2, 3, 2, 3).max((2, 4))
        np.testing.assert_array_equal(np.asarray(got, np.int64), want)


def test_global_avg_pool_in_every_layout():
    x = np.random.default_rng(1).normal(size=(2, 5, 4, 3)).astype(np.float32)
    want = x.mean((1, 2))
    np.testing.assert_allclose(jc.global_avg_pool(x), want, atol=1e-6)
    first = jc.global_avg_pool(np.moveaxis(x, -1, 1), layout="NCHW")
    np.testing.assert_allclose(first, want, atol=1e-6)
    flat = jc.global_avg_pool(x.reshape(2, 20, 3), layout="NWC")
    np.testing.assert_allclose(flat, want, atol=1e-6)


def test_pools_run_under_jit_and_vmap():
    x = np.random.default_rng(2).normal(size=(3, 2, 6, 4, 3)).astype(np.float32)
    for pool in (jc.max_pool, jc.avg_pool):
        each = jnp.stack([pool(a) for a in x])
        np.testing.assert_allclose(jax.jit(jax.vmap(pool))(x), each, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("options", [{}, {"padding": 3}, {"padding": 3, "count_padding": True}])
def test_means_of_many_narrow_numbers_do_not_saturate(dtype, options):
    """Summed up in 16 bits, 400 numbers of about 2 would stop growing at 256, or overflow."""
    x = jnp.asarray(np.random.default_rng(3).normal(2, 1, (1, 40, 40, 2)), dtype)
    want = jc.avg_pool(x.astype(jnp.float32), 20, **options)
    got = jc.avg_pool(x, 20, **options)
    assert got.dtype == dtype
    np.testing.assert_allclose(got.astype(jnp.float32), want, rtol=0.005)
    assert jc.avg_pool(jnp.full((1, 30, 30, 1), 1000, jnp.float16), 30).item() == 1000
    total = jc.global_avg_pool(x)
    assert total.dtype == dtype
    want = x.astype(jnp.float32).mean((1, 2))
    np.testing.assert_allclose(total.astype(jnp.float32), want, rtol=0.005)
