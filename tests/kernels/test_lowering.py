"""CPU primitives under every transformation of JAX: the results of lax, and nothing of lax left."""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxconv as jc
from tests.support.processes import forked

ORDER = ("NHWC", "HWIO", "NHWC")
SLOW = "stablehlo.convolution"


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def ours(x, kernel):
    return jc.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=ORDER)


def theirs(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=ORDER)


X, KERNEL = normal(1, 16, 17, 16), normal(3, 3, 16, 16)
DX, DKERNEL = normal(*X.shape, seed=1), normal(*KERNEL.shape, seed=1)
IMAGES, KERNELS = normal(3, *X.shape), normal(3, *KERNEL.shape)


def loss(conv, x, kernel):
    return jnp.mean(jnp.tanh(conv(x, kernel) / 8) ** 2)


def in_a_scan(conv, x, kernel):
    def total(x, kernel):
        return lax.scan(lambda y, _: (jnp.tanh(conv(y, kernel) / 12), y.sum()), x, None, 3)[0].sum()

    return jax.grad(total, (0, 1))(x, kernel)


def in_a_branch(conv, x, kernel):
    def total(kernel):
        return lax.cond(x.sum() > 0, conv, lambda x, k: conv(-x, 2 * k), x, kernel).sum()

    return jax.grad(total)(kernel)


def in_a_while_loop(conv, x, kernel):
    return lax.fori_loop(0, 2, lambda _, y: jnp.tanh(conv(y, kernel) / 12), x)


def in_a_custom_vjp(conv, x, kernel):
    @jax.custom_vjp
    def doubled(x, kernel):
        return conv(x, kernel)

    def forward(x, kernel):
        y, pull = jax.vjp(conv, x, kernel)
        return y, pull

    doubled.defvjp(forward, lambda pull, g: pull(2 * g))
    return jax.grad(lambda *a: loss(doubled, *a), (0, 1))(x, kernel)


def in_a_custom_jvp(conv, x, kernel):
    @jax.custom_jvp
    def doubled(x):
        return conv(x, kernel)

    doubled.defjvp(lambda x, t: (doubled(*x), 2 * conv(*t, kernel)))
    return jax.grad(lambda x: (doubled(x) ** 2).sum())(x)


def linearized(conv, x, kernel):
    y, slope = jax.linearize(functools.partial(loss, conv), x, kernel)
    return y, slope(DX, DKERNEL)


def transposed(conv, x, kernel):
    back = jax.linear_transpose(lambda x: conv(x, kernel), x)
    forth = jax.linear_transpose(lambda kernel: conv(x, kernel), kernel)
    return *back(DX), *forth(DX)


def batched(axes, out=0):
    def both(conv, x, kernel):
        x = jnp.moveaxis(IMAGES, 0, axes[0]) if axes[0] is not None else X
        kernel = jnp.moveaxis(KERNELS, 0, axes[1]) if axes[1] is not None else KERNEL
        each = jax.value_and_grad(functools.partial(loss, conv), (0, 1))
        return jax.vmap(conv, axes, out)(x, kernel), jax.vmap(each, axes)(x, kernel)

    return both


def gradient(conv, *places):
    return jax.grad(functools.partial(loss, conv), places)


def hessian_product(conv, x, kernel):
    return jax.jvp(gradient(conv, 0, 1), (x, kernel), (DX, DKERNEL))[1]


def slope(conv, x, kernel):
    return jax.jvp(functools.partial(loss, conv), (x, kernel), (DX, DKERNEL))[1]


def gradient_of_gradient(conv, x, kernel):
    def size(x, kernel):
        dx, dkernel = gradient(conv, 0, 1)(x, kernel)
        return jnp.vdot(dx, DX) + jnp.vdot(dkernel, DKERNEL)

    return jax.grad(size, (0, 1))(x, kernel)


def third(conv, x, kernel):
    def once(f):
        return lambda s: jax.jvp(f, (s,), (1.0,))[1]

    return once(once(once(lambda s: loss(conv, x + s * DX, kernel + s * DKERNEL))))(0.1)


def one_pixel(conv, x, kernel, derivative):
    def value(pixel):
        return conv(x.at[0, 3, 4, :2].set(pixel), kernel)[0, 2:5, 3:6, 1].ravel()

    return derivative(value)(x[0, 3, 4, :2])


WAYS = {
    "values": lambda conv, x, k: conv(x, k),
    "gradient": lambda conv, x, k: gradient(conv, 0, 1)(x, k),
    "gradient of the images": lambda conv, x, k: gradient(conv, 0)(x, k),
    "gradient of the kernel": lambda conv, x, k: gradient(conv, 1)(x, k),
    "forward": slope,
    "forward along the kernel": lambda conv, x, k: jax.jvp(lambda k: conv(x, k), (k,), (DKERNEL,)),
    "rows of a Jacobian": functools.partial(one_pixel, derivative=jax.jacrev),
    "columns of a Jacobian": functools.partial(one_pixel, derivative=jax.jacfwd),
    "Jacobian of a Jacobian": functools.partial(
        one_pixel, derivative=lambda f: jax.jacrev(jax.jacrev(lambda x: jnp.tanh(f(x)).sum()))
    ),
    "forward over reverse": hessian_product,
    "reverse over reverse": gradient_of_gradient,
    "reverse over forward": lambda conv, x, k: jax.grad(functools.partial(slope, conv))(x, k),
    "three times forward": third,
    "batch of images": batched((0, None)),
    "batch of kernels": batched((None, 0)),
    "batch of both": batched((0, 0)),
    "batch along other axes": batched((-2, 2), -1),
    "batch along the last axes": batched((-1, -1), 1),
    "scan": in_a_scan,
    "branch": in_a_branch,
    "while loop": in_a_while_loop,
    "jit": lambda conv, x, k: gradient(jax.jit(conv), 0, 1)(x, k),
    "checkpoint": lambda conv, x, k: gradient(jax.checkpoint(conv), 0, 1)(x, k),
    "checkpoint of dots": lambda conv, x, k: gradient(
        jax.checkpoint(conv, policy=jax.checkpoint_policies.dots_saveable), 0, 1
    )(x, k),
    "custom_vjp": in_a_custom_vjp,
    "custom_jvp": in_a_custom_jvp,
    "linearize": linearized,
    "linear_transpose": transposed,
}


BY_RULE = {  # of JAX, that bring in another kind of convolution
    "reverse over reverse": "a gradient of a kernel's gradient has windows as large as the image",
    "batch of images": "kernels for each image have groups of images",
    "batch of both": "likewise",
    "batch along other axes": "likewise",
    "batch along the last axes": "likewise",
}


def alike(got, want):
    for mine, other in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert (mine.shape, mine.dtype) == (other.shape, other.dtype)
        size = np.sqrt(np.mean(np.square(other)))
        assert size > 0
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=3e-5 * size)


@pytest.mark.parametrize("way", WAYS)
def test_any_transformation_gives_what_it_gives_of_lax_and_is_fast(way):
    mine, other = (
        jax.jit(functools.partial(WAYS[way], conv)).lower(X, KERNEL) for conv in (ours, theirs)
    )
    text, plain = mine.as_text(), other.as_text()
    assert (SLOW in text) == (way in BY_RULE)
    assert SLOW in plain
    assert text.count(SLOW) <= plain.count(SLOW)
    assert jax.tree.structure(mine.out_info) == jax.tree.structure(other.out_info)
    alike(mine.compile()(X, KERNEL), other.compile()(X, KERNEL))


@pytest.mark.parametrize("way", ["values", "gradient", "forward", "batch of both", "linearize"])
def test_eager_calls_give_the_same(way):
    alike(WAYS[way](ours, X, KERNEL), WAYS[way](theirs, X, KERNEL))


def test_parameters_that_are_lists_may_be_eager():
    y = jc.conv_general_dilated(
        X, KERNEL, [1, 1], [[1, 1], (1, 1)], [1, 1], [1, 1], ORDER, precision=None
    )
    alike(y, theirs(X, KERNEL))
    alike(jc.conv(X, KERNEL, padding=((1, 1), 1)), y)


def test_a_trace_shows_the_primitives_of_jax():
    def names(conv):
        jaxpr = jax.make_jaxpr(gradient(conv, 0, 1))(X, KERNEL)
        return [(e.primitive.name, str(e.outvars[0].aval)) for e in jaxpr.eqns]

    assert names(ours) == names(theirs)


def test_equations_name_the_line_of_the_caller():
    jaxpr = jax.make_jaxpr(ours)(X, KERNEL)
    (eqn,) = [e for e in jaxpr.eqns if e.primitive.name == "conv_general_dilated"]
    frame = eqn.source_info.traceback.frames
    assert any(f.function_name == "ours" for f in frame)


@pytest.mark.parametrize(
    "setting", ["jax_debug_nans", "jax_enable_checks", "jax_check_tracer_leaks"]
)
def test_it_runs_under_settings_that_look_closely(setting):
    with getattr(jax, {"jax_enable_checks": "enable_checks"}.get(setting, setting[4:]))(True):
        got = jax.jit(gradient(ours, 0, 1))(X, KERNEL)
    alike(got, gradient(theirs, 0, 1)(X, KERNEL))


def test_it_runs_where_types_and_ranks_are_not_promoted():
    def net(x, kernel):
        return jc.max_pool(jc.conv(x, kernel)).sum()

    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        got = jax.jit(jax.grad(net, (0, 1)))(X, KERNEL)
    alike(got, jax.grad(net, (0, 1))(X, KERNEL))


def test_it_runs_without_jit():
    with jax.disable_jit():
        got = gradient(ours, 0, 1)(X, KERNEL), jc.max_pool(X)
    alike(got, (gradient(theirs, 0, 1)(X, KERNEL), jc.max_pool(X)))


SHARDED = """
import jax, numpy as np, jaxconv as jc
from jax import lax
from jax.sharding import AxisType, PartitionSpec as P

jax.config.update("jax_platforms", "cpu")

def loss(conv, pool, x, kernel):
    y = conv(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return (pool(y) ** 2).mean()

def pool(y):
    return lax.reduce_window(y, np.float32(-np.inf), lax.max, *[(1, 2, 2, 1)] * 2, "VALID")

draw = np.random.default_rng(0).normal
x, kernel = (draw(size=s).astype(np.float32) for s in ((4, 16, 18, 32), (3, 3, 32, 32)))
run = lambda f, *layers: jax.jit(jax.value_and_grad(lambda *a: f(*layers, *a), (0, 1)))
want = run(loss, lax.conv_general_dilated, pool)(x, kernel)
ours = run(loss, jc.conv_general_dilated, jc.max_pool)

def compare(got):
    for mine, other in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-4 * np.std(other))

second = jax.devices()[1]
large = jax.device_put(draw(size=(3, 3, 384, 384)).astype(np.float32), second)  # 5 MB
infer = jc.compile(lambda x: jc.conv(x, large), np.zeros((1, 8, 8, 384), np.float32))
assert infer(jax.device_put(np.ones((1, 8, 8, 384), np.float32), second)).devices() == {second}

for kind in (AxisType.Auto, AxisType.Explicit):
    mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(kind, kind))
    with jax.set_mesh(mesh):
        compare(ours(jax.device_put(x, P("a")), jax.device_put(kernel, P())))
        each = lambda x, kernel: jax.vmap(lambda x: loss(  # noqa: E731
            jc.conv_general_dilated, jc.max_pool, x[None], kernel))(x).mean()
        compare(run(each)(jax.device_put(x, P("a")), jax.device_put(kernel, P())))
        if kind is AxisType.Auto:
            compare(ours(jax.device_put(x, P(None, ("a", "b"))), jax.device_put(kernel, P())))
            split = jax.device_put(kernel, P(None, None, "b", "a"))
            compare(ours(jax.device_put(x, P(None, None, None, "b")), split))

        def mean(x, kernel):
            part = loss(jc.conv_general_dilated, jc.max_pool, x, kernel)
            return lax.pmean(part, ("a", "b"))

        shard = jax.shard_map(mean, in_specs=(P(("a", "b")), P()), out_specs=P())
        parts = jax.device_put(x, P(("a", "b"))), jax.device_put(kernel, P())
        compare(jax.jit(jax.value_and_grad(shard, (0, 1)))(*parts))
"""


def test_arrays_may_be_sharded_in_every_way():
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4"
    done = forked("-c", SHARDED, env=os.environ | {"XLA_FLAGS": flags})
    assert done.returncode == 0, done.stderr


def test_an_empty_batch_is_left_to_lax():
    empty = X[:0]
    y, pull = jax.vjp(ours, empty, KERNEL)
    assert y.shape == (0, 16, 17, 16)
    dx, dkernel = pull(y)
    assert dx.shape == empty.shape
    assert not dkernel.any()
