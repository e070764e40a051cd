"""Linen's parameters are compared with the shapes of their initialisers, evaluated once."""

import flax.core
import flax.core.scope
import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

import jaxconv as jc
from jaxconv.adapters.initialisers import remembered_initialisers

KEY = jax.random.key(0)


class Dense(nn.Module):
    kernel_init: object = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", self.kernel_init, [x.shape[-1], 4], jnp.float32)
        return x @ kernel


@pytest.fixture
def evaluated(monkeypatch):
    """The functions whose shapes JAX evaluates."""
    functions, original = [], jax.eval_shape

    def eval_shape(fn, *args, **named):
        functions.append(fn)
        return original(fn, *args, **named)

    monkeypatch.setattr(jax, "eval_shape", eval_shape)
    return functions


def applied_twice(module, x):
    variables = module.init(KEY, x)
    with remembered_initialisers():
        for _ in range(2):
            jax.make_jaxpr(module.apply)(variables, x)


def test_an_initialiser_of_jax_is_evaluated_once(evaluated):
    applied_twice(Dense(nn.initializers.xavier_normal()), jnp.ones((1, 3)))
    assert len(evaluated) == 1


def test_an_initialiser_of_the_user_is_evaluated_each_time(evaluated):
    applied_twice(Dense(lambda key, shape, dtype: jnp.ones(shape, dtype)), jnp.ones((1, 3)))
    assert len(evaluated) == 2


def test_an_initialiser_is_evaluated_for_each_shape(evaluated):
    initialiser = nn.initializers.xavier_normal()
    applied_twice(Dense(initialiser), jnp.ones((1, 3)))
    applied_twice(Dense(initialiser), jnp.ones((1, 5)))
    assert len(evaluated) == 2


def test_a_parameter_of_another_shape_is_refused():
    variables = Dense().init(KEY, jnp.ones((1, 3)))
    with remembered_initialisers(), pytest.raises(flax.errors.ScopeParamShapeError):
        Dense().apply(variables, jnp.ones((1, 5)))
    verdict = jc.check(Dense().apply, variables, "b c")
    assert verdict.accepts == jc.SizeSet.parse("b c", "c = 3")


def test_symbolic_arguments_are_not_remembered(evaluated):
    init_fn, init_kwargs = nn.initializers.constant(2), {}

    def evaluations(*init_args):
        before = len(evaluated)
        for _ in range(2):
            flax.core.scope.jax.eval_shape(lambda: init_fn(KEY, *init_args, **init_kwargs))
        return len(evaluated) - before

    (size,) = jc.sizes("c")
    with remembered_initialisers():
        assert evaluations((size, 4), jnp.float32) == 2
        assert evaluations((3, 4), jnp.float32) == 1
    assert flax.core.scope.jax is jax


def test_flax_is_as_before_afterwards():
    def fails_in_a_trace():
        with remembered_initialisers():
            assert flax.core.scope.jax is not jax
            assert flax.core.scope.jax.tree_util is jax.tree_util
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails_in_a_trace()
    assert flax.core.scope.jax is jax
