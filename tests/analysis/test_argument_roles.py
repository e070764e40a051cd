"""Parameters are what each library counts, however a model is passed."""

import functools

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxconv as jc
from tests.support.cnns import with_any_numbers


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


class EquinoxNet(eqx.Module):
    """A convolution, a batch norm, a layer that is not used and a constant."""

    conv: eqx.nn.Conv2d
    norm: eqx.nn.BatchNorm
    spare: eqx.nn.Linear
    mean: np.ndarray

    def __init__(self, key):
        self.conv = eqx.nn.Conv2d(3, 8, 3, padding=1, key=key)
        self.norm = eqx.nn.BatchNorm(8, "batch", mode="batch")
        self.spare = eqx.nn.Linear(2, 2, key=key)
        self.mean = np.full((3, 1, 1), 0.5, np.float32)

    def __call__(self, x, state):
        x, state = self.norm(self.conv(x - self.mean), state)
        return jax.nn.relu(x), state


def in_batch(model):
    return jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))


@pytest.mark.parametrize("training", [True, False])
def test_equinox(training):
    model, state = eqx.nn.make_with_state(EquinoxNet)(jax.random.key(0))
    want = size(eqx.filter(model, eqx.is_inexact_array))
    assert want == 216 + 8 + 16 + 6 + 3
    if not training:
        model = eqx.nn.inference_mode(model)
    closed = lambda x: in_batch(model)(x, state)[0]  # noqa: E731
    assert jc.summary(closed, "4 3 h w").parameters == want


@pytest.mark.parametrize("training", [True, False])
def test_haiku(training):
    def network(x, training):
        x = hk.BatchNorm(True, True, 0.9)(hk.Conv2D(8, 3)(x), training)
        return jax.nn.relu(x)

    made = hk.without_apply_rng(hk.transform_with_state(network))
    make = functools.partial(made.init, training=True)
    params, state = with_any_numbers(make, jax.random.key(0), jnp.ones((1, 8, 8, 3)))
    assert size(params) == 240
    passed = lambda params, state, x: made.apply(params, state, x, training)  # noqa: E731
    closed = lambda x: made.apply(params, state, x, training)[0]  # noqa: E731
    assert jc.summary(passed, params, state, "b h w 3").parameters == 240
    assert jc.summary(closed, "b h w 3").parameters == 240


def test_parameters_of_haiku_that_are_not_used():
    def network(x):
        hk.Linear(7, name="spare")(jnp.ones((1, 2)))
        return hk.Conv2D(8, 3)(x)

    made = hk.without_apply_rng(hk.transform(network))
    params = with_any_numbers(made.init, jax.random.key(0), jnp.ones((1, 8, 8, 3)))
    smaller = hk.without_apply_rng(hk.transform(lambda x: jax.nn.relu(hk.Conv2D(8, 3)(x))))
    table = jc.summary(lambda x: smaller.apply(params, x), "b h w 3")
    assert size(params) == 224 + 21
    assert table.parameters == 245
    assert table.rows[0].parameters == 224


class LinenNet(nn.Module):
    """A convolution and a batch norm."""

    training: bool

    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=not self.training)(nn.Conv(8, (3, 3))(x))
        return nn.relu(x)


@pytest.mark.parametrize("training", [True, False])
def test_linen(training):
    net = LinenNet(training)
    variables = with_any_numbers(net.init, jax.random.key(0), jnp.ones((1, 8, 8, 3)))
    want = size(variables["params"])

    def apart(params, statistics, x):
        both = {"params": params, "batch_stats": statistics}
        return net.apply(both, x, mutable=["batch_stats"])

    whole = lambda variables, x: net.apply(variables, x, mutable=["batch_stats"])  # noqa: E731
    closed = lambda x: net.apply(variables, x, mutable=["batch_stats"])  # noqa: E731
    assert jc.summary(whole, variables, "b h w 3").parameters == want
    assert jc.summary(closed, "b h w 3").parameters == want
    separate = jc.summary(apart, variables["params"], variables["batch_stats"], "b h w 3")
    assert separate.parameters == want


class NnxNet(nnx.Module):
    """A convolution, a batch norm, a layer that is not used and a constant."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.spare = nnx.Linear(2, 2, rngs=rngs)
        self.mean = jnp.full(3, 0.5)

    def __call__(self, x):
        return nnx.relu(self.norm(self.conv(x - self.mean)))


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_nnx(mode):
    model = NnxNet(nnx.Rngs(0))
    getattr(model, mode)()
    want = size(nnx.state(model, nnx.Param))
    graph, state = nnx.split(model)
    merged = lambda state, x: nnx.merge(graph, state)(x)  # noqa: E731
    assert jc.summary(model, "b h w 3").parameters == want
    assert jc.summary(lambda model, x: model(x), model, "b h w 3").parameters == want
    assert jc.summary(merged, state, "b h w 3").parameters == want
    if mode == "eval":  # a closed-over model cannot be updated in a trace
        assert jc.summary(lambda x: model(2 * x), "b h w 3").parameters == want


def test_what_is_not_learnt_is_not_confused_with_what_is():
    """A tree of a user's own has no type, and its names decide only where they are all alike."""
    params = {"mean": jnp.ones(3), "var": jnp.ones(3), "kernel": jnp.ones((3, 4))}
    fn = lambda p, x: ((x - p["mean"]) * p["var"]) @ p["kernel"]  # noqa: E731
    assert jc.summary(fn, params, "b 3").parameters == 18


def test_a_model_with_functions_in_it_is_an_argument():
    mlp = eqx.nn.MLP(3, 4, 5, 2, key=jax.random.key(0))
    table = jc.summary(lambda model, x: jax.vmap(model)(x), mlp, "b 3")
    assert table.parameters == size(eqx.filter(mlp, eqx.is_inexact_array))
    assert [str(row.macs) for row in table.rows] == ["15*b", "25*b", "20*b"]


OTHER = eqx.nn.Linear(3, 5, key=jax.random.key(1))
USED = eqx.nn.Linear(3, 5, use_bias=False, key=jax.random.key(1))


def test_a_model_that_a_function_does_not_use_does_not_count():
    fn = lambda x, flag=False: jax.vmap(OTHER if flag else USED)(x)  # noqa: E731
    assert jc.summary(fn, "b 3").parameters == 15


@pytest.mark.parametrize("optimizer", [optax.adam(0.1), optax.sgd(0.1, momentum=0.9)])
def test_the_state_of_an_optimizer(optimizer):
    kernel = jnp.ones((3, 3, 3, 4))

    def step(kernel, state, x):
        gradient = jax.grad(lambda kernel: jc.conv(x, kernel).mean())(kernel)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(kernel, updates), state

    state = optimizer.init(kernel)
    assert jc.summary(step, kernel, state, "b h w 3").parameters == kernel.size
    assert jc.summary(lambda x: step(kernel, state, x), "b h w 3").parameters == kernel.size
