"""What Linen does again in each trace is left out, and nothing else changes."""

import functools

import flax.core
import flax.core.scope
import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

import jaxconv as jc
from jaxconv.adapters import linen_traces
from jaxconv.adapters.linen_traces import shortened_traces

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
    monkeypatch.setattr(linen_traces, "_known", {})

    def eval_shape(fn, *args, **named):
        functions.append(fn)
        return original(fn, *args, **named)

    monkeypatch.setattr(jax, "eval_shape", eval_shape)
    return functions


def applied_twice(module, x):
    variables = module.init(KEY, x)
    with shortened_traces():
        for _ in range(2):
            jax.make_jaxpr(module.apply)(variables, x)


def test_an_initialiser_of_jax_is_evaluated_once(evaluated):
    applied_twice(Dense(nn.initializers.xavier_normal()), jnp.ones((1, 3)))
    assert len(evaluated) == 1


def test_an_initialiser_of_the_user_is_evaluated_each_time(evaluated):
    applied_twice(Dense(lambda key, shape, dtype: jnp.ones(shape, dtype)), jnp.ones((1, 3)))
    assert len(evaluated) == 2


def users(key, shape, dtype=jnp.float32):
    return jnp.ones(shape, dtype)


@pytest.mark.parametrize(
    ("kernel_init", "times"),
    [
        (nn.initializers.lecun_normal(), 1),
        (nn.with_partitioning(nn.initializers.lecun_normal(), ("in", None)), 1),
        (users, 2),
        (nn.with_partitioning(users, ("in", None)), 2),
        (nn.initializers.constant(jnp.ones(1)), 2),
        (nn.initializers.constant(0.5), 1),
    ],
)
def test_an_initialiser_inside_one_of_flax_is_evaluated_once(evaluated, kernel_init, times):
    """The function that DenseGeneral initialises by closes over the module, and is a new one."""
    module = nn.DenseGeneral(4, use_bias=False, kernel_init=kernel_init)
    applied_twice(module, jnp.ones((1, 3)))
    assert len(evaluated) == times
    applied_twice(module, jnp.ones((1, 5)))
    applied_twice(
        nn.DenseGeneral((4, 2), use_bias=False, kernel_init=kernel_init), jnp.ones((1, 3))
    )
    assert len(evaluated) == 3 * times


def test_an_initialiser_of_executed_text():
    namespace = {"jnp": jnp}
    exec("def init(key, shape, dtype=None): return jnp.ones(shape)", namespace)
    assert jc.check(nn.Dense(4, kernel_init=namespace["init"]), "b 3", returns="b 4").ok


def test_an_initialiser_is_evaluated_for_each_shape(evaluated):
    initialiser = nn.initializers.xavier_normal()
    applied_twice(Dense(initialiser), jnp.ones((1, 3)))
    applied_twice(Dense(initialiser), jnp.ones((1, 5)))
    assert len(evaluated) == 2


def test_a_parameter_of_another_shape_is_refused():
    variables = Dense().init(KEY, jnp.ones((1, 3)))
    with shortened_traces(), pytest.raises(flax.errors.ScopeParamShapeError):
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
    with shortened_traces():
        assert evaluations((size, 4), jnp.float32) == 2
        assert evaluations((3, 4), jnp.float32) == 1
    assert flax.core.scope.jax is jax


def test_flax_is_as_before_afterwards():
    def fails_in_a_trace():
        with shortened_traces():
            assert flax.core.scope.jax is not jax
            assert flax.core.scope.jax.tree_util is jax.tree_util
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails_in_a_trace()
    assert flax.core.scope.jax is jax


class Attributes(nn.Module):
    """A module with fields of many types, and attributes that its setup makes."""

    numbers: object = (1, 2.5, ("same", None))
    listed: object = (1,)
    table: object = None
    activation: object = nn.relu
    made: object = functools.partial(nn.Dense, features=2)
    inner: object = None

    def setup(self):
        self.first = self.made()
        self.rest = [nn.Dense(3), (nn.Dense(4), 5)]
        self.names = ["a", "b"]

    def __call__(self, x):
        x = self.rest[1][0](self.rest[0](self.activation(self.first(x))))
        return self.inner(x) if self.inner is not None else x


def seen_attributes(module, variables):
    bound = module.bind(variables)
    names = ("numbers", "listed", "table", "activation", "names")
    return [(type(value), value) for value in (getattr(bound, name) for name in names)]


def test_attributes_are_what_they_are_without_the_shortening():
    module = Attributes(
        listed=[1, [2, 3]], table={"a": [1, nn.Dense(2)]}, inner=nn.Sequential([nn.Dense(2), abs])
    )
    x = jnp.ones((1, 3))
    variables = module.init(KEY, x)
    expected, result = seen_attributes(module, variables), module.apply(variables, x)
    with shortened_traces():
        assert jax.tree.all(jax.tree.map(jnp.array_equal, module.init(KEY, x), variables))
        assert jnp.array_equal(module.apply(variables, x), result)
        assert str(seen_attributes(module, variables)) == str(expected)
    assert {"first", "rest_0", "rest_1_0", "inner"} <= {*variables["params"]}


def test_plain_attributes_are_not_searched_for_modules(monkeypatch):
    searched, original = {}, nn.Module._register_submodules

    def search(module, name, value):
        searched[name] = value
        original(module, name, value)

    monkeypatch.setattr(nn.Module, "_register_submodules", search)
    with shortened_traces():
        Attributes(inner=nn.Dense(2)).init(KEY, jnp.ones((1, 3)))
    assert {"inner", "first", "rest", "names"} <= {*searched}
    assert not {"numbers", "listed", "table", "activation", "made"} & {*searched}
    assert nn.Module._register_submodules is search
