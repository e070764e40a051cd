"""Convolutions and pools in 16 bits are those in float32, rounded at the end."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxconv as jc
from jaxconv.kernels import half_precision
from jaxconv.kernels.lowering import schedule_of_equation
from tests.support.convolutions import SLOW
from tests.support.programs import lowered, normal

KINDS = {
    "winograd": (partial(jc.conv), (2, 16, 18, 16), (3, 3, 16, 24)),
    "depthwise": (partial(jc.conv, groups=16, stride=2), (2, 13, 12, 16), (5, 5, 1, 16)),
    "grouped": (partial(jc.conv, groups=2), (2, 16, 18, 16), (3, 3, 8, 24)),
    "1x1": (partial(jc.conv), (2, 64, 64, 48), (1, 1, 48, 48)),
    "patches": (partial(jc.conv, stride=4), (2, 64, 64, 32), (4, 4, 32, 64)),
    "strided": (partial(jc.conv, stride=2), (2, 64, 64, 32), (3, 3, 32, 64)),
    "volumes": (partial(jc.conv, layout="NDHWC"), (1, 4, 12, 10, 8), (3, 3, 3, 8, 16)),
    "transposed": (partial(jc.conv_transpose, stride=2), (1, 12, 10, 8), (4, 4, 8, 16)),
    "max pool": (partial(jc.max_pool, window=3, stride=2), (2, 13, 12, 16)),
    "average pool": (partial(jc.avg_pool, window=3, stride=2), (2, 13, 12, 16)),
}


# Some of their operations have no formulation: lax computes them in 16 bits as fast as in 32.
LEFT = ("volumes", "transposed", "strided")


def results(call, *args):
    """The result and all gradients."""
    y, pull = jax.vjp(call, *args)
    return y, *pull(jnp.ones_like(y) * 0.5)


@cache
def program(kind):
    """One for all types, so that what is compiled for float32 is compiled once."""
    return jax.jit(partial(results, KINDS[kind][0]))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_results_and_gradients_are_those_in_float32(kind, dtype):
    run, (_, *shapes) = program(kind), KINDS[kind]
    halves = [normal(*shape).astype(dtype) for shape in shapes]
    got, want = run(*halves), run(*(half.astype(np.float32) for half in halves))
    for ours, exact in zip(got, want, strict=True):
        assert (ours.dtype, ours.shape) == (dtype, exact.shape)
        off = np.abs(np.float32(ours) - exact).max()
        assert off <= 2 * float(jnp.finfo(dtype).eps) * np.abs(exact).max()
    if kind not in LEFT:
        assert SLOW not in run.lower(*halves).as_text()


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_other_platforms_compute_in_16_bits(platform):
    call, *shapes = KINDS["winograd"]
    halves = [jnp.asarray(normal(*shape), jnp.bfloat16) for shape in shapes]
    text = lowered(call, *halves, platform=platform)
    assert SLOW in text
    assert "f32" not in text


def test_sums_may_be_returned_in_float32():
    call, *shapes = KINDS["winograd"]
    halves = [jnp.asarray(normal(*shape), jnp.bfloat16) for shape in shapes]
    y = call(*halves, preferred_element_type=jnp.float32)
    want = call(*(half.astype(jnp.float32) for half in halves))
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, want, atol=1e-5 * float(jnp.abs(want).max()))


def chosen(call, *args):
    schedules = map(schedule_of_equation, jax.make_jaxpr(call)(*args).eqns)
    return {schedule.formulation for schedule in schedules if schedule}


def test_what_lax_computes_in_float32_is_left_to_it():
    x, kernel = (jnp.asarray(normal(*s), jnp.bfloat16) for s in ((2, 16, 18, 16), (5, 5, 16, 8)))
    assert half_precision.NAME not in chosen(jc.conv, x, kernel)
    highest = partial(jc.conv, precision="highest")
    assert half_precision.NAME not in chosen(highest, x, kernel[:3, :3])
    assert half_precision.NAME in chosen(jc.conv, x, jnp.repeat(kernel[:3, :3], 2, 3))


def test_compiled_programs_prepare_their_kernels():
    x, kernel = (jnp.asarray(normal(*s), jnp.bfloat16) for s in ((2, 24, 18, 16), (3, 3, 16, 24)))
    infer = jc.compile(lambda x: jax.nn.relu(jc.conv(x, kernel)), x)
    want = np.float32(lax.conv_general_dilated(
        *(a.astype(jnp.float32) for a in (x, kernel)), (1, 1), "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest",
    ))  # fmt: skip
    np.testing.assert_allclose(np.float32(infer(x)), np.maximum(want, 0), atol=0.01 * want.max())
    assert infer.schedules[0].formulation.startswith("F(")
    assert (16, 16, 24) in {constant.shape for constant in infer._program.constants}
