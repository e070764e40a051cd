"""The memory of a compiled program: buffers by hand, and against XLA's own account."""

import contextlib

import jax
import jax.numpy as jnp
import pytest

from jaxconv.jaxpr.liveness import compiled_peak, is_fused
from jaxconv.jaxpr.resources import bytes_of

X = jax.ShapeDtypeStruct((2, 16, 16, 8), jnp.float32)
SIZE = 4 * 2 * 16 * 16 * 8
KERNEL = jnp.ones((3, 3, 8, 8))
ORDER = ("NHWC", "HWIO", "NHWC")


def conv(x):
    return jax.lax.conv_general_dilated(x, KERNEL, (1, 1), "SAME", dimension_numbers=ORDER)


def several(count):
    def network(x):
        for _ in range(count):
            x = jax.nn.relu(conv(x) + 1)
        return x

    return network


def peak(fn):
    return compiled_peak(jax.make_jaxpr(fn)(X).jaxpr, bytes_of) / SIZE


def skip(x):
    y = conv(x)
    return conv(conv(y)) + y


PEAKS = {
    "elementwise operations write their result only": (lambda x: jnp.sin(jnp.tan(x)) * 2, 1),
    "a convolution, and its ReLU in the same buffer": (several(1), 1),
    "the result's buffer has what comes before it": (several(4), 2),
    "a skip connection is kept": (skip, 3),
    "what nobody uses is not computed": (lambda x: (conv(x), x + 1)[1], 1),
    "a reshape is the same buffer": (lambda x: conv(x).reshape(-1), 1),
    "a sum is small": (lambda x: (x * x).sum(), 4 / SIZE),
    "a call is inlined": (jax.jit(several(4)), 2),
}


@pytest.mark.parametrize("name", PEAKS)
def test_buffers_are_kept_until_they_are_read_for_the_last_time(name):
    fn, expected = PEAKS[name]
    assert peak(fn) == pytest.approx(expected)


def test_training_keeps_a_map_for_each_layer():
    gradient = jax.grad(lambda x: several(6)(x).sum())
    assert 6 <= peak(gradient) <= 8
    assert peak(jax.grad(lambda x: several(12)(x).sum())) - peak(gradient) == 6


def test_the_body_of_a_loop_counts():
    assert peak(lambda x: jax.lax.fori_loop(0, 3, lambda i, y: several(3)(y), x)) >= 2


@pytest.mark.parametrize("layers", [1, 5])
@pytest.mark.parametrize("trains", [False, True])
def test_xla_needs_as_much(layers, trains):
    fn = several(layers)
    if trains:
        fn = jax.grad(lambda x: jnp.square(several(layers)(x)).sum())
    with without_cache():  # a program that is read from it says nothing of memory
        memory = jax.jit(fn).lower(X).compile().memory_analysis()
    found = memory.temp_size_in_bytes + memory.output_size_in_bytes
    assert peak(fn) * SIZE == pytest.approx(found, rel=0.15)


@contextlib.contextmanager
def without_cache():
    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)


def test_operations_that_read_other_positions_are_written():
    eqns = jax.make_jaxpr(lambda x: jax.lax.cumsum(x * 2))(X).eqns
    assert [is_fused(eqn) for eqn in eqns] == [True, False]
