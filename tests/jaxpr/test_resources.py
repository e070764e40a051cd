"""Memory and work of a jaxpr that is evaluated equation by equation."""

import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxconv as jc
from jaxconv.jaxpr.interpreter import Evaluator
from jaxconv.jaxpr.resources import peak_bytes, work

X = jnp.ones((8, 16))
SIZE = X.nbytes


def two_uses(x):
    y = jnp.sin(x)
    return jnp.cos(y) + y


PEAKS = {
    "a chain": (lambda x: jnp.sin(jnp.cos(jnp.tan(x))), 2),
    "two uses": (two_uses, 3),
    "a sum": (lambda x: jnp.sin(x).sum(), 1 + 4 / SIZE),
    "a call": (jax.jit(lambda x: jnp.sin(jnp.cos(jnp.tan(x)))), 2),
    "two side by side": (lambda x: jnp.concatenate([jnp.sin(x), jnp.cos(x)]), 4),
    "a type of two bytes": (lambda x: x.astype(jnp.bfloat16) * 2, 1),
    "nothing": (lambda x: x, 0),
}


@pytest.mark.parametrize("name", PEAKS)
def test_values_count_until_their_last_use(name):
    fn, want = PEAKS[name]
    assert peak_bytes(jax.make_jaxpr(fn)(X).jaxpr) == want * SIZE


class Counting(Evaluator):
    """Finds out how many bytes of results there are after each equation."""

    def __init__(self):
        super().__init__()
        self.made, self.most = [], 0

    def equation(self, eqn, inputs, scope):
        results = super().equation(eqn, inputs, scope)
        self.made += map(weakref.ref, results)
        kept = [array for made in self.made if (array := made()) is not None]
        self.most = max(self.most, sum(array.nbytes for array in kept))
        return results


@pytest.mark.parametrize("name", ["a chain", "two uses", "a sum", "nothing"])
def test_the_evaluator_has_no_more_values_than_that(name):
    fn, _ = PEAKS[name]
    x = jnp.array(X)
    closed = jax.make_jaxpr(fn)(x)
    counting = Counting()
    (result,) = counting.run(closed.jaxpr, closed.consts, [x])
    np.testing.assert_array_equal(result, fn(x))
    assert counting.most <= peak_bytes(closed.jaxpr)


def test_a_convolution_may_copy_its_operand():
    kernel = jnp.ones((3, 3, 3, 5))
    closed = jax.make_jaxpr(lambda x: jc.conv(x, kernel))(jnp.ones((1, 8, 8, 3)))
    assert peak_bytes(closed.jaxpr) == 4 * 64 * (3 + 5)


def test_work_is_counted_once_per_iteration():
    weights = jnp.ones((16, 16))

    def work_of(fn):
        return work(jax.make_jaxpr(fn)(X).jaxpr)

    product = 8 * 16 * 16 + 8 * 16
    assert work_of(lambda x: x @ weights) == product
    scanned = work_of(lambda x: lax.scan(lambda c, _: (c @ weights, None), x, None, 5)[0])
    assert 5 * product <= scanned <= 6 * product
    assert work_of(lambda x: lax.while_loop(lambda c: c.sum() < 3, jnp.sin, x)) > 8 * 16
