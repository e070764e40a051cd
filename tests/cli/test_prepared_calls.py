"""Calls that are prepared: they compile nothing when they are made, and none of the user's code."""

import sys

import jax
import jax.numpy as jnp
import pytest

from jaxconv.cli.prepared_calls import compile_call, recorded_calls
from tests.support.processes import forked

COUNTED = """
import jax, jax.numpy as jnp, numpy as np
from flax import nnx
from jaxconv.cli.prepared_calls import compile_call, recorded_calls

lowered = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, fun_name="", **__: "to_mlir" in event and lowered.append(fun_name)
)

def make():
    key = jax.random.fold_in(jax.random.key(0), 7)
    made = nnx.initializers.lecun_normal()(key, (3, 4)), jax.random.uniform(key, (5,))
    return *made, jnp.multiply(np.ones(6), 2.0), jnp.linspace(0, 1, 7)

with recorded_calls() as calls:
    before = make()
jax.clear_caches()
for call in calls:
    compile_call(call)
prepared = {*lowered}
lowered.clear()
after = make()
named = {f"jit({name})" for name in ("_truncated_normal", "_uniform", "multiply", "_linspace")}
print(named - prepared, named & {*lowered}, all(map(np.array_equal, before, after)))
"""


def test_prepared_calls_are_not_compiled_again():
    run = forked("-c", COUNTED)
    assert run.stdout == "set() set() True\n", run.stderr


def of_user(x):
    return x


compiled = jax.jit(of_user)
called_by_jax = jnp.frompyfunc(of_user, 1, 1)


def test_nothing_of_the_users_is_recorded():
    value = jnp.ones(3)
    with recorded_calls() as calls:
        compiled(value)
        called_by_jax(value)
        jnp.take(value, jnp.array([0]), mode="clip")
    (call,) = calls
    assert b"take" in call


@pytest.mark.parametrize("name", ["this", "antigravity"])
def test_preparing_imports_nothing(name):
    compile_call(f"c{name}\nname\n.".encode())
    assert name not in sys.modules
