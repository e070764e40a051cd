"""The memory of a compiled program: buffers by hand, and against XLA's own account."""

import contextlib
import os
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from jaxconv.jaxpr.flat_jaxpr import is_elementwise
from jaxconv.jaxpr.liveness import compiled_peak
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


def test_a_long_chain_of_additions_takes_no_long_time():
    def chain(x):
        first = last = conv(x) + x
        for _ in range(60):  # 2 ** 60 paths from the first to the last
            last = last * x + last
        return conv(last * first), conv(first)

    assert peak(chain) == 3


def test_an_empty_map_takes_no_memory():
    empty = jax.ShapeDtypeStruct((0, 8, 8, 3), jnp.float32)
    jaxpr = jax.make_jaxpr(gradient(pool))(empty).jaxpr
    assert compiled_peak(jaxpr, bytes_of) == 0


def test_the_body_of_a_loop_counts():
    assert peak(lambda x: jax.lax.fori_loop(0, 3, lambda i, y: several(3)(y), x)) >= 2


def conv_with(x, kernel, stride=1):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=ORDER
    )


def pool(x, window=2, pad=0):
    padding = ((0, 0), (pad, pad), (pad, pad), (0, 0))
    sizes = (1, window, window, 1), (1, 2, 2, 1)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, *sizes, padding)


def blocks(x, activation=jax.nn.relu):
    x = activation(conv_with(x, POINTWISE))
    for _ in range(3):
        x = activation(conv_with(activation(conv_with(x, KERNEL)), POINTWISE) + x)
    return x.mean((1, 2))


def dense(x, layers):
    for _ in range(layers):
        x = jnp.concatenate([x, jax.nn.relu(conv_with(x, jnp.ones((3, 3, x.shape[-1], 8))))], -1)
    return x.mean((1, 2))


def pools_and_skip(x):
    y = jax.nn.relu(conv(jax.nn.relu(conv(x))))
    return (conv(pool(y)) + conv_with(y, KERNEL, 2)).mean((1, 2))


def normalized(x):
    y = conv(x)
    return jax.nn.relu((y - y.mean(-1, keepdims=True)) * jax.lax.rsqrt(y.var(-1, keepdims=True)))


def three_readers(kernels, x):
    y = jax.nn.relu(conv(x))
    maps = [conv_with(y, kernel, 4) for kernel in kernels]
    return sum(jnp.square(one).sum() for one in maps)


def gradient(fn):
    return jax.grad(lambda x: jnp.square(fn(x)).sum())


def by_kernels(fn):
    def loss(kernels, x):
        for kernel in kernels:
            x = fn(conv_with(x, kernel))
        return jnp.square(x).sum()

    return jax.grad(loss)


def softmax(x):
    return jax.nn.softmax(x.reshape(4, -1, 8), axis=1).reshape(x.shape)


def wide(x):
    return conv_with(jnp.cos(x @ jnp.ones((8, 32))), jnp.ones((3, 3, 32, 8)), 2)


def recomputed(fn):
    return jax.checkpoint(fn, policy=jax.checkpoint_policies.dots_saveable)


def looped(x):
    return jax.lax.scan(lambda x, _: (jax.nn.relu(conv(x)), None), conv(x), length=4)[0]


LARGE = jax.ShapeDtypeStruct((4, 32, 32, 8), jnp.float32)
LONG = jax.ShapeDtypeStruct((4, 33, 32, 8), jnp.float32)
POINTWISE = jnp.ones((1, 1, 8, 8))
KERNELS = [jax.ShapeDtypeStruct(KERNEL.shape, jnp.float32)] * 3
PROGRAMS = {
    "one layer": (several(1), LARGE),
    "layers": (several(5), LARGE),
    "layers, gradient": (gradient(several(5)), LARGE),
    "what an addition and a ReLU are computed from is kept": (blocks, LARGE),
    "a tanh is kept": (gradient(lambda x: blocks(x, jnp.tanh)), LARGE),
    "a GELU": (gradient(lambda x: blocks(x, jax.nn.gelu)), LARGE),
    "parts that are read by a concatenation": (lambda x: dense(x, 5), LARGE),
    "a concatenation that is read by a long reduction": (lambda x: dense(x, 5), LONG),
    "a concatenation of many parts": (lambda x: dense(x, 9), LARGE),
    "the indices of a pool's gradient": (gradient(lambda x: conv(pool(conv(x)))), LARGE),
    "a pool with padding": (gradient(lambda x: conv(pool(conv(x), 3, 1))), LARGE),
    "a pool whose gradient is added to another": (gradient(pools_and_skip), LARGE),
    "a long reduction reads what is written": (lambda x: jnp.abs(conv(x)).max((1, 2)), LARGE),
    "layer norm": (gradient(normalized), LARGE),
    "copies for the gradients of kernels": (by_kernels(jax.nn.relu), KERNELS, LARGE),
    "one copy for three gradients": (jax.grad(three_readers), KERNELS, LARGE),
    "a product is a matrix": (wide, LARGE),
    "a softmax over pixels, which are reshaped": (softmax, LARGE),
    "recomputed": (gradient(recomputed(lambda x: blocks(x, jnp.tanh))), LARGE),
    "a loop overwrites what it carries": (looped, LARGE),
}
# As in experiments/memory.py, and with the fusion that conftest.py may have turned off.
OPTIONS: dict[str, Any] = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_experimental_ynn_fusion_type": "",
}
if "xla_cpu_use_fusion_emitters" in os.environ.get("XLA_FLAGS", ""):
    OPTIONS["xla_cpu_use_fusion_emitters"] = True


@pytest.mark.parametrize("name", PROGRAMS)
def test_xla_needs_as_much(name):
    fn, *types = PROGRAMS[name]
    with without_cache():  # a program that is read from it says nothing of memory
        memory = jax.jit(fn).lower(*types).compile(OPTIONS).memory_analysis()
    assert memory is not None
    found = memory.temp_size_in_bytes + memory.output_size_in_bytes
    estimate = compiled_peak(jax.make_jaxpr(fn)(*types).jaxpr, bytes_of)
    assert estimate == pytest.approx(found, rel=0.05)


@contextlib.contextmanager
def without_cache():
    before = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)


def test_operations_that_read_other_positions_are_written():
    eqns = jax.make_jaxpr(lambda x: jax.lax.cumsum(x * 2))(X).eqns
    assert [is_elementwise(eqn) for eqn in eqns] == [True, False]
