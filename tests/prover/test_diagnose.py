"""Failures: the line, the layer, the reason and the fix."""

import inspect
import json

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax import lax

import jaxconv as jc
from tests.support.cnns import pool, u_net


def test_a_failure_names_the_line_the_reason_and_the_smallest_size():
    verdict = jc.check(u_net, "b h w 3")
    assert (str(verdict.accepts), str(verdict.outputs)) == (
        "h and w multiples of 16",
        "(b, h, w, 4)",
    )
    empty, failure = verdict.failures
    first = inspect.getsourcelines(u_net)[1]
    assert empty.message.startswith("a feature map is empty: one of its sides is ")
    assert empty.message.endswith(", which is 0 for h = 1.")
    assert empty.sizes == jc.SizeSet.parse("b h w", "h < 16 or w < 16")
    assert empty.where == f"cnns.py:{inspect.getsourcelines(pool)[1] + 1}"
    assert failure.where == f"cnns.py:{first + 7}"  # where it concatenates
    assert failure.path == inspect.getsourcefile(u_net)
    assert failure.message.startswith("TypeError: Cannot concatenate arrays with shapes")
    assert failure.smallest == {"b": 1, "h": 16, "w": 17}
    assert failure.fix.endswith("nearest to the first failure: b = 1, h = 16, w = 32.")
    assert failure.sizes | empty.sizes == jc.SizeSet.parse("b h w") - verdict.accepts
    data = json.loads(json.dumps(verdict.to_json()))
    assert data["status"] == "refuted"
    assert data["failures"][-1]["smallest"] == failure.smallest


def loops(x):
    for _ in range(x.shape[1]):
        x = jnp.pad(x, 1)
    return x


def raises(x):
    raise RuntimeError("broken (on purpose)")


BAD = {
    "a loop over a size": (loops, "tested", "not decided: the code needs h as a number"),
    "its own error": (raises, "refuted", "RuntimeError: broken (on purpose)"),
    "a text": (jax.jit(lambda x: "text"), "refuted", "is not a valid JAX type"),
    "a number of a size": (lambda x: x[: int(jnp.pi * x.shape[1]) + 1], "tested", "not decided: "),
    "a failed assertion": (lambda x: 1 / 0, "refuted", "ZeroDivisionError: division by zero"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_functions_get_an_honest_verdict(name):
    function, status, text = BAD[name]
    verdict = jc.check(function, "b h")
    assert verdict.status == status
    assert text in str(verdict)
    assert not verdict.ok


def test_channels_that_fit_no_size_get_the_fix():
    kernel, weights = jnp.ones((3, 3, 4, 8)), jnp.ones((12, 5))
    order = ("NHWC", "HWIO", "NHWC")

    def helper(x):
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=order)

    def network(x):
        return helper(x)

    (failure,) = jc.check(network, "b h w 3").failures
    assert failure.fix == (
        "make the kernel of this layer for 3 channels in 1 group(s), or pass it 4 channels per "
        "group."
    )
    first = inspect.getsourcelines(network)[1]
    assert failure.caller == f"test_diagnose.py:{first + 1}"
    assert f"at {failure.where}, called at {failure.caller}: ValueError: conv" in str(failure)
    (failure,) = jc.check(lambda x: x @ weights, "b 7").failures
    assert failure.fix == "make the weights of this layer for 7 features, or pass it 12 features."


def test_a_model_without_weights_that_a_function_closes_over_is_to_be_an_argument():
    net = nnx.eval_shape(lambda: nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0)))

    def scaled(x):
        return net(x) * 2

    verdict = jc.check(scaled, "b h w 3")
    assert "pass the model that has shapes in the place of weights" in verdict.failures[0].fix
    contracted = jc.contract("b h w 3 -> b h w 4", net=net)(lambda net, x: net(x))
    assert jc.check(contracted).ok
