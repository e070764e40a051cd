"""Random configurations of every layer against NumPy loops, onnxruntime and PyTorch.

NumPy loops and PyTorch give values and gradients, onnxruntime gives values. PyTorch is the one
that a set-up may lack: the extra ``parity`` has it.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from tests.support import onnx_layers, pytorch, reference
from tests.support.configurations import (
    broken,
    channels_last,
    conv_case,
    dense_case,
    pool_case,
)
from tests.support.programs import OPTIMIZED


@dataclass(frozen=True)
class Layer:
    """A layer: its random configurations, its options for one of them, and its NumPy loops."""

    case: Callable
    options: Callable
    loops: Callable
    loops_vjp: Callable


def pool_options(case):
    return {"window": case.window, **case.options}


LAYERS = {
    "conv": Layer(conv_case, lambda case: case.options, reference.conv, reference.conv_vjp),
    "conv_transpose": Layer(
        functools.partial(conv_case, transposed=True),
        lambda case: case.options,
        reference.conv_transpose,
        reference.conv_transpose_vjp,
    ),
    "max_pool": Layer(
        pool_case,
        pool_options,
        functools.partial(reference.pool, kind="max"),
        functools.partial(reference.pool_vjp, kind="max"),
    ),
    "avg_pool": Layer(
        pool_case,
        lambda case: {**pool_options(case), "count_padding": case.count_padding},
        functools.partial(reference.pool, kind="avg"),
        functools.partial(reference.pool_vjp, kind="avg"),
    ),
    "global_avg_pool": Layer(
        pool_case,
        lambda case: {"layout": case.layout},
        reference.global_avg_pool,
        reference.global_avg_pool_vjp,
    ),
    "flatten": Layer(pool_case, lambda case: {}, reference.flatten, reference.flatten_vjp),
    "dense": Layer(dense_case, lambda case: {}, reference.dense, reference.dense_vjp),
}
WINDOWED = ("conv", "conv_transpose", "max_pool", "avg_pool")  # the result has spatial axes


def refused(function, *args, **options):
    try:
        return function(*args, **options)
    except (jc.ShapeError, reference.Refused):
        return None


def ours(name, case):
    """The layer as a function of its arrays alone."""
    return functools.partial(getattr(jc, name), **LAYERS[name].options(case))


def valid_case(name, seed):
    """A random configuration, changed where it is invalid."""
    case = LAYERS[name].case(seed)
    ones = {"window": (1,) * len(case.sizes)} if name.endswith("pool") else {}
    if name == "conv_transpose":
        ones = {"output_padding": (0,) * len(case.sizes)}
    for changes in ({}, {"padding": "SAME"}, {"padding": "SAME", **ones}):
        case = replace(case, **changes)
        if refused(jax.eval_shape, ours(name, case), *case.arrays(seed)) is not None:
            return case
    raise AssertionError(case)


def numpy_with_gradients(name, case, arrays, direction=None):
    """Values, and gradients for a direction of the result if there is one, by NumPy loops."""
    first = name != "flatten" and getattr(case, "first", False)
    options = {key: o for key, o in LAYERS[name].options(case).items() if key != "layout"}
    x, *weights = arrays
    x = channels_last(x, first)
    y = LAYERS[name].loops(x, *weights, **options)
    gradients = []
    if direction is not None:
        direction = channels_last(direction, first and name in WINDOWED)
        found = LAYERS[name].loops_vjp(x, *weights, direction=direction, **options)
        d_x, *gradients = found if isinstance(found, tuple) else (found,)
        gradients = [np.moveaxis(d_x, -1, 1) if first else d_x, *gradients]
    return [np.moveaxis(y, -1, 1) if first and name in WINDOWED else y, *gradients]


@functools.cache
def jax_with_gradients(name, seed):
    """A valid configuration, its arrays, a direction, and what our layer makes of them."""
    case = valid_case(name, seed)
    arrays, layer = case.arrays(seed), ours(name, case)
    shape = jax.eval_shape(layer, *arrays).shape
    direction = np.random.default_rng([seed, 4]).normal(size=shape).astype(np.float32)
    return case, arrays, direction, run_with_gradients(layer, arrays, direction)


# As conftest.py says, without optimisations; the test of values below runs the optimised programs.
def run_with_gradients(layer, arrays, direction):
    @jax.jit
    def both(direction, *arrays):
        y, pull = jax.vjp(layer, *arrays)
        return y, *pull(direction)

    return both(direction, *arrays)


def oracle_with_gradients(oracle, name, case, arrays, direction):
    """Values by an oracle, and gradients for a direction where it gives any."""
    match oracle:
        case "numpy":
            return numpy_with_gradients(name, case, arrays, direction)
        case "onnxruntime":
            return [onnx_layers.LAYERS[name](case, *arrays)]
    return pytorch.with_gradients(name, case, arrays, direction)


def compare(got, want, case):
    """Compare all arrays that an oracle gives."""
    for i, array in enumerate(want):
        np.testing.assert_allclose(got[i], array, atol=1e-4, rtol=1e-4, err_msg=f"{i} of {case}")


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(
    "oracle", ["numpy", "onnxruntime", pytest.param("pytorch", marks=pytorch.needs_pytorch)]
)
def test_values_and_gradients_are_those_of_an_oracle(seed, oracle, name):
    case, arrays, direction, got = jax_with_gradients(name, seed)
    want = oracle_with_gradients(oracle, name, case, arrays, direction)
    assert len(want) == (1 if oracle == "onnxruntime" else 1 + len(arrays))
    compare(got, want, case)


@pytest.mark.parametrize("name", WINDOWED)
def test_values_and_refusals_are_those_of_numpy_loops(seed, name):
    case = LAYERS[name].case(seed)
    arrays = case.arrays(seed)
    want = refused(numpy_with_gradients, name, case, arrays)
    got = refused(jax.jit(ours(name, case), compiler_options=OPTIMIZED), *arrays)
    assert (got is None) == (want is None), case
    if want is not None:
        np.testing.assert_allclose(got, want[0], atol=2e-5, err_msg=case)


def test_predicted_size_is_the_size_or_all_refuse(seed):
    for part in range(10):
        case = broken(conv_case(10 * seed + part), 10 * seed + part)
        x, kernel, bias = case.arrays(seed)
        loops = refused(numpy_with_gradients, "conv", case, (x, kernel, bias))
        predicted = refused(jc.conv_shape, x.shape, kernel.shape, **case.options)
        shape = refused(jax.eval_shape, ours("conv", case), x, kernel)
        assert (predicted is None) == (loops is None) == (shape is None), case
        if loops is not None:
            assert predicted == shape.shape == loops[0].shape, case
    for part in range(3):
        case = pool_case(3 * seed + part)
        loops = refused(numpy_with_gradients, "max_pool", case, [case.array(seed)])
        predicted = refused(jc.pool_shape, case.x_shape, case.window, **case.options)
        assert predicted == (loops if loops is None else loops[0].shape), case


MISTAKES = {
    "other values": lambda layer: lambda *arrays: layer(*arrays) + 1e-2,
    "no gradient for x": lambda layer: lambda x, *rest: layer(jax.lax.stop_gradient(x), *rest),
    "no gradient for a kernel": lambda layer: (
        lambda x, kernel, bias: layer(x, jax.lax.stop_gradient(kernel), bias)
    ),
    "no gradient for a bias": lambda layer: (
        lambda x, kernel, bias: layer(x, kernel, jax.lax.stop_gradient(bias))
    ),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_layer_with_a_mistake_does_not_agree_with_numpy_loops(name, mistake):
    case, arrays, direction, _ = jax_with_gradients(name, 0)
    if len(arrays) == 1 and mistake.endswith(("kernel", "bias")):
        pytest.skip("this layer has no weights")
    broken_layer = MISTAKES[mistake](ours(name, case))
    got = run_with_gradients(broken_layer, arrays, direction)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        compare(got, numpy_with_gradients(name, case, arrays, direction), case)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_the_numpy_loops_are_their_central_differences(name):
    """The oracle itself: in float64, along a random line, by central differences."""
    for seed in range(3):
        case = valid_case(name, seed)
        arrays = [a.astype(np.float64) for a in case.arrays(seed)]
        rng = np.random.default_rng(seed)
        line = [rng.normal(size=a.shape) for a in arrays]
        ends = [
            numpy_with_gradients(
                name, case, [a + h * v for a, v in zip(arrays, line, strict=True)]
            )[0]
            for h in (1e-6, -1e-6)
        ]
        direction = rng.normal(size=ends[0].shape)
        difference = ((ends[0] - ends[1]) / 2e-6 * direction).sum()
        _, *gradients = numpy_with_gradients(name, case, arrays, direction)
        along = sum((g * v).sum() for g, v in zip(gradients, line, strict=True))
        assert along == pytest.approx(difference, rel=1e-5, abs=1e-6)


def test_every_configuration_is_another_one():
    for generate in (conv_case, lambda s: conv_case(s, transposed=True), pool_case):
        cases = {repr(generate(seed)) for seed in range(300)}
        assert len(cases) > 290


def test_bfloat16_and_float16_are_close_to_float32():
    x, kernel, bias = conv_case(3).arrays(3)
    options = conv_case(3).options
    want = jc.conv(x, kernel, bias, **options)
    for dtype in (jnp.bfloat16, jnp.float16):
        got = jc.conv(*(jnp.asarray(a, dtype) for a in (x, kernel, bias)), **options)
        assert got.dtype == dtype
        np.testing.assert_allclose(got.astype(jnp.float32), want, atol=0.2, rtol=0.05)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrow_transposed_convolutions_and_products_are_close_to_wide_ones(dtype):
    x, kernel, bias = conv_case(5, transposed=True).arrays(5)
    options = conv_case(5, transposed=True).options
    rng = np.random.default_rng(5)
    calls = {
        "transposed": (lambda *a: jc.conv_transpose(*a, **options), (x, kernel, bias)),
        "dense": (jc.dense, tuple(rng.normal(size=s) for s in [(3, 50), (50, 4), (4,)])),
    }
    for call, arrays in calls.values():
        narrow = [jnp.asarray(a, dtype) for a in arrays]
        got, want = call(*narrow), call(*(a.astype(jnp.float32) for a in narrow))
        assert got.dtype == dtype
        size = np.abs(want).max()
        np.testing.assert_allclose(got.astype(jnp.float32) / size, want / size, atol=0.01)
