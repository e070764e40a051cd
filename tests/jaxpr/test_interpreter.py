"""The one interpreter: how values pass through calls, loops and branches, and what may walk."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxconv.jaxpr.interpreter import (
    Evaluator,
    FixpointInterpreter,
    FlowKind,
    Interpreter,
    control_flow,
    equations,
    rewrite,
    subjaxprs,
)

PACKAGE = Path(__file__).parents[2] / "jaxconv"
X = jnp.arange(6.0).reshape(3, 2)


@jax.custom_jvp
def own_jvp(x):
    return jnp.sin(x)


own_jvp.defjvp(lambda primals, tangents: (own_jvp(*primals), tangents[0]))


@jax.custom_vjp
def own_vjp(x):
    return jnp.sin(x)


own_vjp.defvjp(lambda x: (own_vjp(x), None), lambda _, g: (g,))


def scan_of_three(x):
    carry, ys = lax.scan(lambda c, row: (c + row * X[0], (c * row, row)), x[0], x)
    return carry, *ys


def while_until_large(x):
    limit, step = jnp.sum(X), jnp.cos(X)
    return lax.while_loop(lambda c: jnp.sum(c) < limit, lambda c: c + step, x)


def one_of_three(x):
    branches = (jnp.sin, jnp.cos, lambda x: x * 2)
    return lax.switch(jnp.int32(jnp.sum(x)), branches, x)


CALLS = {
    "jit": jax.jit(jnp.sin),
    "remat2": jax.checkpoint(jnp.sin),
    "custom_jvp_call": own_jvp,
    "custom_vjp_call": own_vjp,
}
FLOWS = {**CALLS, "scan": scan_of_three, "while": while_until_large, "cond": one_of_three}


class Entering(Evaluator):
    """Computes calls, loops and branches by the description of their control flow alone."""

    enters = Interpreter.enters

    def branches(self, eqn, flow, inputs, scope):
        number = int(np.clip(inputs[0], 0, len(flow.bodies) - 1))
        return self.enter(flow.bodies[number], inputs, scope.inside(eqn, number))

    def loop(self, eqn, flow, inputs, scope):
        (body,), inner, inputs = flow.bodies, scope.inside(eqn), list(inputs)
        arrays, stacks = inputs[flow.carry.stop :], []
        for turn in range(flow.length if flow.condition is None else 1000):
            if flow.condition and not self.enter(flow.condition, inputs, inner)[0]:
                break
            inputs[flow.carry.stop :] = [array[turn] for array in arrays]
            results = self.enter(body, inputs, inner)
            inputs[flow.carry] = results[: flow.carried]
            stacks.append(results[flow.carried :])
        return [*inputs[flow.carry], *map(jnp.stack, zip(*stacks, strict=True))]


@pytest.mark.parametrize("name", FLOWS)
def test_control_flow_says_which_values_go_where(name):
    closed = jax.make_jaxpr(FLOWS[name])(X)
    assert name in {eqn.primitive.name for eqn in closed.jaxpr.eqns}
    got = Entering().run(closed.jaxpr, closed.consts, [X])
    for one, other in zip(got, jax.tree.leaves(FLOWS[name](X)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_a_shard_map_is_described_and_not_entered():
    mesh = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("i")
    mapped = jax.shard_map(jnp.sin, mesh=mesh, in_specs=spec, out_specs=spec)
    (eqn,) = jax.make_jaxpr(mapped)(X).jaxpr.eqns
    flow = control_flow(eqn)
    assert flow is not None
    assert flow.kind is FlowKind.SHARDED
    assert FlowKind.SHARDED not in Interpreter.enters
    assert [*subjaxprs(eqn)] == [flow.bodies[0].jaxpr]


class Depends(FixpointInterpreter[bool]):
    """Whether each value depends on an input, by the default rules for loops and branches."""

    def constant(self, const):
        return False

    def equation(self, eqn, inputs, scope):
        return [any(inputs)] * len(eqn.outvars)

    def join(self, one, other, atom):
        return one or other

    def absent(self):
        return False

    def settled(self, before, after, known):
        return before == after

    def unsettled(self, eqn, inputs):
        return [True] * len(eqn.outvars)


def depends(fn, *inputs):
    closed = jax.make_jaxpr(fn)(*(jnp.ones(()) for _ in inputs))
    return Depends().run(closed.jaxpr, closed.consts, [*inputs])


@pytest.mark.parametrize(("length", "reached"), [(1, False), (2, True), (3, True), (None, True)])
def test_a_loop_runs_until_its_carry_settles(length, reached):
    """A value needs two iterations from the input to the last of three carried values."""

    def shift(carry, _):
        a, b, c = carry
        return (a, a, b), c

    def fn(x, y, z):
        if length is None:
            return lax.while_loop(lambda c: c[2] < 3, lambda c: (*shift(c, None)[0],), (x, y, z))
        return lax.scan(shift, (x, y, z), None, length)[0]

    assert depends(fn, True, False, False) == [True, True, reached]


def test_branches_are_joined():
    def fn(which, x, y):
        return lax.cond(which > 0, lambda x, y: (x, y, 1.0), lambda x, y: (y, y, 2.0), x, y)

    assert depends(fn, False, True, False) == [True, False, False]


def test_inner_equations_come_before_the_call_that_has_them():
    closed = jax.make_jaxpr(lambda x: jax.jit(lambda y: jnp.cos(jnp.sin(y)))(x) + 1)(X)
    assert [eqn.primitive.name for eqn in equations(closed.jaxpr)] == ["sin", "cos", "jit", "add"]
    own = [eqn.primitive.name for eqn in equations(closed.jaxpr, recursive=False)]
    assert own == ["jit", "add"]


def cosine(eqn):
    return eqn.replace(primitive=lax.cos_p) if eqn.primitive is lax.sin_p else None


@pytest.mark.parametrize("name", FLOWS)
def test_equations_are_replaced_at_any_depth(name):
    fn = jax.jit(FLOWS[name])
    closed = jax.make_jaxpr(fn)(X)
    before = str(closed)
    new = rewrite(closed, cosine)
    assert "sin" not in {eqn.primitive.name for eqn in equations(new.jaxpr)}
    assert str(closed) == before
    assert (new is closed) == (" sin " not in before)


def test_nothing_else_walks_a_jaxpr():
    walkers = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if re.search(r"\.eqns\b", path.read_text())
    }
    assert walkers == {"jaxpr/interpreter.py", "compat.py"}  # which looks at one equation
