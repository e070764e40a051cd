"""Batch normalisation folded into kernels gives the results of the program that is not folded."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import jaxconv as jc
from jaxconv.aot.batch_norm import fold_batch_norms
from jaxconv.aot.program import inline_calls
from jaxconv.jaxpr.interpreter import Evaluator
from jaxconv.kernels.lowering import replace_primitives
from tests.support.programs import agree, normal

X = normal(2, 12, 10, 16)
FACTOR, SHIFT = np.exp(normal(24)), normal(24)
KERNEL = normal(3, 3, 16, 24)


def traced(fn, *args):
    return inline_calls(replace_primitives(jax.make_jaxpr(fn)(*args)))


def evaluated(closed, *args):
    return Evaluator().run(closed.jaxpr, closed.consts, args)


def scalings(closed, size):
    """Operations of the trace that multiply or divide arrays of this many numbers."""
    return sum(
        eqn.primitive.name in ("mul", "div") and eqn.outvars[0].aval.size == size
        for eqn in closed.jaxpr.eqns
    )


class Unit(nnx.Module):
    def __init__(self, **options):
        self.conv = nnx.Conv(16, 24, rngs=nnx.Rngs(0), **options)
        self.norm = nnx.BatchNorm(24, use_running_average=True, rngs=nnx.Rngs(0))
        for name, values in (
            ("mean", normal(24)), ("var", FACTOR), ("scale", SHIFT), ("bias", normal(24)),
        ):  # fmt: skip
            getattr(self.norm, name).set_value(jnp.asarray(values))

    def __call__(self, x):
        return nnx.relu(self.norm(self.conv(x)))


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(24, (3, 3), strides=2)(x)
        return nn.BatchNorm(use_running_average=True)(x)


def linen():
    model = Linen()
    variables = jax.tree.map(lambda v: v + 0.3, model.init(jax.random.key(0), X))
    return functools.partial(model.apply, variables)


def all_operations(x):
    y = SHIFT - jc.conv(x, KERNEL)
    y = (y * FACTOR + 2.0) / (1 + FACTOR)
    return jnp.maximum(3.0 * (y - SHIFT), 0.1)


def first(x):
    """Channels first, with a kernel that is not square."""
    y = jc.conv(jnp.moveaxis(x, -1, 1), KERNEL[:, :2], layout="NCHW", stride=2)
    return y * FACTOR[:, None, None] - SHIFT[:, None, None]


def transposed(x):
    return jc.conv_transpose(x, KERNEL, stride=2) * FACTOR + SHIFT


FOLDED = {
    "winograd": Unit(kernel_size=(3, 3), use_bias=False),
    "biased": Unit(kernel_size=(5, 5)),
    "1x1": Unit(kernel_size=(1, 1)),
    "grouped": Unit(
        kernel_size=(3, 3), feature_group_count=8, conv_general_dilated=jc.conv_general_dilated
    ),
    "strided": Unit(kernel_size=(3, 3), strides=2, padding="VALID"),
    "linen": linen(),
    "all operations": all_operations,
    "channels first": first,
    "transposed": transposed,
}


@pytest.mark.parametrize("name", FOLDED)
def test_values_are_those_of_the_program_that_is_not_folded(name):
    fn = FOLDED[name]
    closed = traced(fn.__call__, X)
    folded = fold_batch_norms(closed)
    want, (before,), (after,) = jax.jit(
        lambda x: (fn(x), evaluated(closed, x), evaluated(folded, x))
    )(X)
    agree(after, before)
    assert scalings(closed, want.size) > scalings(folded, want.size) == 0
    agree(before, want)
    agree(jc.compile(fn, X)(X), want)


def read_twice(x):
    y = jc.conv(x, KERNEL)
    return y * FACTOR + y


def returned(x):
    y = jc.conv(x, KERNEL)
    return y, y * FACTOR


def kernel_of_the_input(x):
    return jc.conv(x, KERNEL * x.mean()) * FACTOR


def factor_of_the_input(x):
    return jc.conv(x, KERNEL) * x.mean((0, 1, 2)).sum()


def highest(x):
    return jc.conv(x, KERNEL, precision="highest") * FACTOR


def bfloat16(x):
    kernel, factor = (jnp.asarray(v, jnp.bfloat16) for v in (KERNEL, FACTOR))
    return jc.conv(jnp.asarray(x, jnp.bfloat16), kernel) * factor


def shifted(x):
    return jc.conv(x, KERNEL) + SHIFT


def divided(x):
    return FACTOR / jc.conv(x, KERNEL)


def along_columns(x):
    return jc.conv(x, KERNEL) * normal(10, 1)


def squared(x):
    y = jc.conv(x, KERNEL)
    return y * y


def of_the_batch(x):
    y = jc.conv(x, KERNEL)
    return (y - y.mean((0, 1, 2))) * lax.rsqrt(y.var((0, 1, 2)) + 1e-5) * FACTOR + SHIFT


LEFT = [
    read_twice, returned, kernel_of_the_input, factor_of_the_input, highest, bfloat16, shifted,
    divided, along_columns, squared, of_the_batch,
]  # fmt: skip


@pytest.mark.parametrize("fn", LEFT)
def test_other_programs_are_left_alone(fn):
    closed = traced(fn, X)
    assert fold_batch_norms(closed) is closed


@pytest.mark.parametrize(("kernel", "factor"), [(1.0, np.inf), (1e30, 1e30)])
def test_factors_that_are_too_large_for_filters_scale_results(kernel, factor):
    """Rows of zeros times infinity are not numbers, and filters may overflow where maps do not."""
    factors = np.where(np.arange(24) % 2, np.float32(factor), 1)
    kernels = np.float32(kernel) * KERNEL[:1, :1]

    def fn(x):
        return jc.conv(x, kernels) * factors

    x = np.float32(1e-30) * X
    np.testing.assert_allclose(jc.compile(fn, x)(x), fn(x), rtol=1e-4)


GRID = normal(2, 24, 20, 32)


@pytest.mark.parametrize(
    ("fn", "shape"),
    [
        (lambda x: jc.conv(x, normal(3, 3, 8, 64), groups=4), (16, 2, 16, 32)),
        (lambda x: jc.conv(x, normal(5, 3, 8, 32), groups=4, stride=2), None),
        (lambda x: jc.conv(x, normal(3, 3, 1, 64), groups=32) * FACTOR[0], (3, 3, 1, 64)),
        (lambda x: jc.conv_transpose(x, normal(4, 4, 32, 8), stride=2), (2, 2, 32, 32)),
    ],
    ids=["slabs of tiles", "slabs", "depthwise", "phases"],
)
def test_kernels_of_all_formulations_are_prepared(fn, shape):
    def network(x):
        return jax.nn.relu(fn(x) + 0.5)

    infer = jc.compile(network, GRID)
    agree(infer(GRID), jax.jit(network)(GRID))
    (schedule,) = infer.schedules
    assert schedule.formulation != "direct"
    if shape:
        assert shape in {constant.shape for constant in infer._program.constants}
