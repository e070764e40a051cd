"""Contracts: what they refuse while a function runs, and what a proof says of them."""

from pathlib import Path

import chex
import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from equinox.internal import unvmap_all
from flax import nnx
from jaxtyping import Array, Float

import jaxconv as jc


@jc.contract("b h w c, k k c d -> b h-k+1 w-k+1 d", where="h >= k and w >= k")
def valid(x, kernel):
    return jc.conv(x, kernel, padding="VALID")


@jc.contract("b h w 3:float32 -> b (h+1)//2 w//2 3")
def wrong(x):
    return x[:, ::2, : x.shape[2] // 2] if x.shape[1] < 33 else x[:, 1::2, : x.shape[2] // 2]


def random(*shape, dtype=jnp.float32):
    return jax.random.normal(jax.random.key(0), shape).astype(dtype)


def test_a_contract_that_is_kept_changes_nothing():
    x, kernel = random(2, 7, 5, 3), random(3, 3, 3, 4)
    want = jc.conv(x, kernel, padding="VALID")
    assert (valid(x, kernel) == want).all()
    assert jax.jit(valid)(x, kernel=kernel).shape == want.shape
    kept = jax.make_jaxpr(valid)(x, kernel).eqns
    plain = jax.make_jaxpr(lambda *a: jc.conv(*a, padding="VALID"))(x, kernel).eqns
    assert [e.primitive for e in kept] == [e.primitive for e in plain]
    assert valid.__name__ == "valid"


REFUSED = {
    "a number": (
        lambda: wrong(random(1, 4, 4, 5)),
        "wrong: axis 3 of x is 5, but the contract says 3.\n"
        "  x  (1, 4, 4, 5)  the contract says b h w 3:float32\n"
        "  Fix: call it as the contract says, or change the contract.",
    ),
    "a name bound before": (
        lambda: valid(random(1, 7, 5, 3), random(3, 2, 3, 4)),
        "valid: axis 1 of kernel is 2, but the contract says k = 3.\n"
        "  x       (1, 7, 5, 3)  the contract says b h w c\n"
        "  kernel  (3, 2, 3, 4)  the contract says k k c d\n"
        "  Fix: call it as the contract says, or change the contract.",
    ),
    "the rank": (
        lambda: wrong(random(4, 4, 3)),
        "wrong: x has 3 axes, but the contract says 'b h w 3:float32'.\n"
        "  x  (4, 4, 3)  the contract says 'b h w 3:float32'\n"
        "  Fix: call it as the contract says, or change the contract.",
    ),
    "the dtype": (
        lambda: wrong(random(1, 4, 4, 3, dtype=jnp.bfloat16)),
        "wrong: x is bfloat16, but the contract says float32.\n"
        "  x  (1, 4, 4, 3)  the contract says b h w 3:float32\n"
        "  Fix: call it as the contract says, or change the contract.",
    ),
    "the condition": (
        lambda: valid(random(1, 2, 5, 3), random(3, 3, 3, 4)),
        "valid: h = 2, k = 3, but the contract is for h >= k and w >= k only.\n"
        "  x       (1, 2, 5, 3)  the contract says b h w c\n"
        "  kernel  (3, 3, 3, 4)  the contract says k k c d\n"
        "  Fix: call it as the contract says, or change the contract.",
    ),
    "too few": (
        lambda: wrong("no array"),
        "wrong: it is called with 0 arrays, but the contract says 1.\n"
        "  Fix: call it as the contract says, or change the contract.",
    ),
    "a promise": (
        lambda: wrong(random(1, 33, 4, 3)),
        "wrong: for h = 33 the function returns 16 rows, but the contract says 17.\n"
        "  Fix: fix the function, or change the contract to what it returns.",
    ),
    "the rank promised": (
        lambda: jc.contract("b h -> b")(lambda x: x)(random(2, 3)),
        "<lambda>: it returns shape (2, 3), but the contract says 'b'.\n"
        "  Fix: fix the function, or change the contract to what it returns.",
    ),
    "the count promised": (
        lambda: jc.contract("b h -> b, h")(lambda x: x)(random(2, 3)),
        "<lambda>: it returns 1 array, but the contract says 2.\n"
        "  Fix: fix the function, or change the contract to what it returns.",
    ),
    "the dtype promised": (
        lambda: jc.contract("b h -> b h:int32")(lambda x: x)(random(2, 3)),
        "<lambda>: it returns float32, but the contract says int32.\n"
        "  Fix: fix the function, or change the contract to what it returns.",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(jc.ShapeError) as error:
        call()
    assert str(error.value) == message


MALFORMED = {
    "no arrow": ("b h", "exactly one -> must precede what is returned.\n  b h\n  ^"),
    "two arrows": ("b -> b -> b", "what is returned.\n  b -> b -> b\n         ^"),
    "in the result": ("b h -> b h/2", "make a formula.\n  b h -> b h/2\n           ^"),
    "in the second": ("b, c+ -> b", "this is not a formula.\n  b, c+ -> b\n     ^"),
    "an unknown name": ("b h -> b k", "The contract uses k, which is not the size of an argument."),
    "a name in formulas only": ("b 2*h -> b h", "The contract uses h, which is not the size of an"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_contract_gets_a_caret(name):
    text, message = MALFORMED[name]
    with pytest.raises(jc.SpecError) as error:
        jc.contract(text)
    assert message in str(error.value)
    assert "Fix: " in str(error.value)


def test_what_is_decorated_must_be_a_function():
    with pytest.raises(TypeError, match="Fix: decorate its __call__"):
        jc.contract("b -> b")(nnx.Linear)


def test_a_proof_finds_the_smallest_counterexample():
    verdict = jc.check(wrong)
    (failure,) = (f for f in verdict.failures if "returns" in f.message)
    assert failure.smallest == {"b": 1, "h": 33, "w": 2}
    assert failure.message.startswith(
        "for h = 33 the function returns 16 rows, but the contract says 17 ("
    )
    assert failure.where.startswith("test_contract.py:")
    assert jc.check(valid).ok
    assert str(jc.check(valid).outputs) == "(b, h - k + 1, w - k + 1, d)"


def test_a_contract_inside_a_larger_network_is_proven_with_it():
    kernel = jnp.zeros((3, 3, 2, 4))
    verdict = jc.check(lambda x: valid(x[:, ::2], kernel), "b h w 2")
    assert verdict.accepts == jc.SizeSet.parse("b h w", "h >= 5 and w >= 3")
    assert {f.where for f in verdict.failures} == {f"test_contract.py:{line_of('verdict = ')}"}
    assert jc.check(jax.vmap(valid, (0, None)), "n b h w 2", kernel, where="h >= 3, w >= 3").ok


def line_of(text):
    lines = Path(__file__).read_text().splitlines()
    inside = next(i for i, line in enumerate(lines) if "inside_a_larger" in line)
    return next(i + 1 for i, line in enumerate(lines) if i > inside and text in line)


class Net(nnx.Module):
    def __init__(self, width, rngs):
        self.conv = nnx.Conv(3, width, (3, 3), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)

    @jc.contract("b h w 3 -> b (h+1)//2 (w+1)//2 _", self=lambda: Net(6, rngs=nnx.Rngs(0)))
    def __call__(self, x, train=True):
        self.norm.use_running_average = not train
        return nnx.relu(self.norm(self.conv(x)))


class Linear(eqx.Module):
    layer: eqx.nn.Linear

    @jc.contract("3 -> 5")
    def __call__(self, x):
        return self.layer(x)


def init():
    return {"w": jnp.ones((12, 5)), "b": jnp.ones(5)}


@jc.contract("b 12 -> b 5", params=init, scale=2.0)
def plain(params, scale, x, key=None):
    return scale * (x @ params["w"] + params["b"])


PROVEN = {
    "a method, unbound": Net.__call__,
    "a model": Net(4, rngs=nnx.Rngs(0)),
    "a bound method": Net(5, rngs=nnx.Rngs(1)).__call__,
    "an Equinox model": Linear(eqx.nn.Linear(3, 5, key=jax.random.key(0))),
    "a tree of parameters": plain,
    "under jit": jax.jit(plain),
    "under nnx.jit": nnx.jit(valid),
    "under eqx.filter_jit": eqx.filter_jit(valid),
}


@pytest.mark.parametrize("name", PROVEN)
def test_a_contract_is_proven_without_arguments(name):
    verdict = jc.check(PROVEN[name])
    assert verdict.ok, str(verdict)


def test_a_proof_needs_every_argument():
    lacking = jc.contract("b 3 -> b 3")(lambda params, x: x)
    with pytest.raises(jc.SpecError, match="needs params, x, and its contract has 1 spec"):
        jc.check(lacking)
    # What changes the shapes of a function does not have its contract.
    with pytest.raises(jc.ShapeError, match="but got 0 arguments"):
        jc.check(jax.vmap(valid))


def test_nothing_after_the_arrow_is_a_scalar():
    @jc.contract("b, b -> ")
    def inner(x, y):
        return jnp.dot(x, y)

    chex.assert_shape(inner(jnp.ones(3), jnp.ones(3)), ())
    verdict = jc.check(inner)
    assert verdict.status == "proven"
    assert verdict.outputs == ()
    refused = jc.check(jc.contract("b ->")(lambda x: x))
    assert refused.accepts.is_empty()
    assert "the contract says a scalar" in refused.failures[0].message


def scaled(x: Float[Array, "b h"]) -> Float[Array, "b h"]:
    return x * 2


def total(x: Float[Array, "b h"]) -> Float[Array, ""]:
    return x.sum()


def split(function):
    """The function for each device of a mesh of one."""
    mesh = jax.make_mesh((1,), ("data",))
    return jax.shard_map(function, mesh=mesh, in_specs=jax.P("data"), out_specs=jax.P("data"))


TRANSFORMED = {
    "vmap": lambda: jax.vmap(scaled),
    "vmap, compiled": lambda: jax.jit(jax.vmap(scaled)),
    "vmap of Equinox": lambda: eqx.filter_vmap(scaled),
    "vmap of NNX": lambda: nnx.vmap(scaled),
    "scan of NNX": lambda: nnx.scan(scaled),
    "shard_map": lambda: split(scaled),
    "grad": lambda: jax.grad(total),
    "value_and_grad": lambda: jax.value_and_grad(total),
    "grad of Equinox": lambda: eqx.filter_grad(total),
    "hessian": lambda: jax.hessian(total),
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_annotations_are_not_those_of_what_a_transformation_makes(name):
    with pytest.raises(jc.ShapeError, match=r"annotations are those of (scaled|total), not"):
        jc.check(TRANSFORMED[name]())


def test_annotations_are_those_of_a_librarys_function_that_has_vmap_in_its_name():
    """Not a wrapper: it wraps nothing."""
    assert jc.check(unvmap_all).ok


SAME_SHAPES = [jax.jit, jax.checkpoint, jax.named_call, nnx.jit, nnx.remat]
SAME_SHAPES += [eqx.filter_jit, eqx.filter_checkpoint]


@pytest.mark.parametrize("transform", SAME_SHAPES, ids=lambda f: f.__name__)
def test_annotations_are_those_of_what_keeps_the_shapes(transform):
    assert jc.check(transform(scaled)).ok
