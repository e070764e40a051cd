"""flatten and dense against NumPy."""

import jax
import numpy as np

import jaxconv as jc


def test_flatten_keeps_the_batch_and_runs_the_last_axis_fastest():
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 2)).astype(np.float32)
    np.testing.assert_array_equal(jc.flatten(x), x.reshape(3, 40))


def test_dense_is_a_matrix_product_over_the_last_axis():
    rng = np.random.default_rng(1)
    kernel, bias = rng.normal(size=(5, 7)), rng.normal(size=7)
    for shape in [(5,), (3, 5), (2, 4, 5)]:
        x = rng.normal(size=shape)
        np.testing.assert_allclose(jc.dense(x, kernel, bias), x @ kernel + bias, atol=1e-5)


def test_the_gradient_of_dense():
    rng = np.random.default_rng(2)
    x, kernel = rng.normal(size=(3, 5)), rng.normal(size=(5, 7))
    gradient = jax.grad(lambda k: jc.dense(x, k).sum())(kernel)
    np.testing.assert_allclose(gradient, np.repeat(x.sum(0)[:, None], 7, 1), atol=1e-5)
