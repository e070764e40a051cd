"""Models of every library, under every transformation, and functions that behave badly."""

import inspect
import subprocess
import sys

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

import jaxconv as jc
from jaxconv.errors import raises_shape_error
from jaxconv.prover.check import require_callable

KEY = jax.random.key(0)
KERNEL = jnp.ones((3, 3, 2, 2))


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(2, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.head = nnx.Linear(4, 5, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.conv(x)))
        return self.head(nnx.max_pool(x, (2, 2), (2, 2)).mean((1, 2)))


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3), name="first")(x))
        x = nn.max_pool(x, (2, 2), (2, 2))
        return nn.Dense(5)(x.mean((1, 2)))


class Equinox(eqx.Module):
    conv: eqx.nn.Conv2d
    pool: eqx.nn.MaxPool2d
    head: eqx.nn.Linear

    def __init__(self, key):
        self.conv = eqx.nn.Conv2d(2, 4, 3, padding="SAME", key=key)
        self.pool = eqx.nn.MaxPool2d(2, 2)
        self.head = eqx.nn.Linear(4, 5, key=key)

    def __call__(self, x):  # of one image (c, h, w)
        x = self.pool(jax.nn.relu(self.conv(x.transpose(2, 0, 1))))
        return self.head(x.mean((1, 2)))


def haiku(x):
    x = jax.nn.relu(hk.Conv2D(4, 3)(x))
    return hk.Linear(5)(hk.MaxPool((2, 2, 1), (2, 2, 1), "VALID")(x).mean((1, 2)))


IMAGE = jax.ShapeDtypeStruct((1, 8, 8, 2), jnp.float32)


def models():
    transformed = hk.without_apply_rng(hk.transform(haiku))
    equinox = Equinox(KEY)
    return {
        "NNX": (Nnx(nnx.Rngs(0)),),
        "NNX under nnx.jit": (nnx.jit(lambda model, x: model(x)), Nnx(nnx.Rngs(0))),
        "Linen": (Linen().apply, jax.eval_shape(Linen().init, KEY, IMAGE)),
        "Haiku": (transformed.apply, jax.eval_shape(transformed.init, KEY, IMAGE)),
        "Equinox": (jax.vmap(equinox),),
        "Equinox under filter_jit": (eqx.filter_jit(lambda x: jax.vmap(equinox)(x) + 0),),
    }


MODELS = models()


@pytest.mark.parametrize("name", MODELS)
def test_models_of_every_library_are_proven(name):
    function, *parameters = MODELS[name]
    verdict = jc.check(function, *parameters, "b h w 2", returns="b 5")
    assert verdict.accepts == jc.SizeSet.parse("b h w", "h >= 2 and w >= 2")
    assert str(verdict.outputs) == "(b, 5)"
    assert jc.check(function, *parameters, "b h w 2", returns="b 5", where="h >= 2, w >= 2").ok
    wrong = jc.check(function, *parameters, "b h w 2", returns="b 6", where="h >= 2, w >= 2")
    assert wrong.accepts.is_empty()


@pytest.mark.parametrize(
    ("name", "layer"), [("NNX", "conv"), ("Linen", "first"), ("Haiku", "conv2_d")]
)
def test_a_failure_names_the_layer(name, layer):
    function, *parameters = MODELS[name]
    failures = jc.check(function, *parameters, "b h w 3").failures
    assert failures[0].layer == layer, failures
    assert failures[0].where.startswith("test_libraries.py:")


@jax.custom_vjp
def doubled(x):
    return 2 * x


doubled.defvjp(lambda x: (2 * x, None), lambda _, g: (2 * g,))


def scanned(x):
    return lax.scan(lambda y, _: (jc.conv(y, KERNEL), None), x, None, length=3)[0]


def either(x):
    return lax.cond(x.sum() > 0, lambda y: jc.max_pool(y, 2), lambda y: y[:, 1::2, 1::2], x)


TRANSFORMED = {
    "scan": (scanned, "b h w 2", ""),
    "cond": (either, "b h//2 w//2 2", "h >= 2 and w >= 2"),
    "jit": (jax.jit(scanned), "b h w 2", ""),
    "remat": (jax.checkpoint(either), "b h//2 w//2 2", "h >= 2 and w >= 2"),
    "custom_vjp": (jax.grad(lambda x: (doubled(x) ** 2).sum()), "b h w 2", ""),
    "grad of scan": (jax.grad(lambda x: scanned(x).sum()), "b h w 2", ""),
    "vmap": (jax.vmap(lambda y: scanned(y[None])[0]), "b h w 2", ""),
    "jvp": (lambda x: jax.jvp(scanned, (x,), (x,))[1], "b h w 2", ""),
    "inside jit": (lambda x: jax.jit(either)(x) + 1, "b h//2 w//2 2", "h >= 2 and w >= 2"),
    "while": (
        lambda x: lax.while_loop(lambda y: y.sum() < 9, lambda y: y + 1, x),
        "b h w 2",
        "",
    ),
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_transformations_are_proven(name):
    function, returns, where = TRANSFORMED[name]
    verdict = jc.check(function, "b h w 2", returns=returns)
    assert verdict.untried.is_empty()
    assert verdict.accepts == jc.SizeSet.parse("b h w", where)


CHECKED_BY_JAXTYPING = """
from jaxtyping import install_import_hook

install_import_hook("jaxconv", "beartype.beartype")
import jaxconv as jc

def rows(x):
    return x[:1] if x.shape[0] == x.shape[1] else x

print(jc.check(rows, "h w"))
"""


def test_who_asks_is_known_behind_the_calls_of_a_type_checker(tmp_path):
    """In a process of its own, for our tests have beartype's hook."""
    file = tmp_path / "rows.py"
    file.write_text(CHECKED_BY_JAXTYPING)
    command = [sys.executable, file]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.stdout == "proven: accepts every size, returns (1 if w = h else h, w)\n", said


def test_a_check_inside_a_trace_is_a_check():
    seen = []

    @jax.jit
    def function(x):
        seen.append(jc.check(scanned, "b h w 2").ok)
        return x

    function(jnp.ones(3))
    assert seen == [True]


def loops(x):
    for _ in range(x.shape[1]):
        x = x + 1
    return x


def raises(x):
    raise RuntimeError("broken (on purpose)")


BAD = {
    "a loop over a size": (loops, "tested", "not decided: the code needs h as a number"),
    "its own error": (raises, "refuted", "RuntimeError: broken (on purpose)"),
    "a text": (lambda x: "text", "refuted", "which is not a valid JAX type"),
    "a number of a size": (lambda x: x * float(x.shape[1]), "tested", "not decided: "),
    "a failed assertion": (lambda x: 1 / 0, "refuted", "ZeroDivisionError: division by zero"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_functions_get_an_honest_verdict(name):
    function, status, text = BAD[name]
    verdict = jc.check(function, "b h")
    assert verdict.status == status
    assert text in str(verdict)
    assert not verdict.ok


def test_arguments_that_a_function_does_not_take_are_refused():
    with pytest.raises(jc.ShapeError) as error:
        jc.check(lambda x, y: x, "b h")
    assert str(error.value) == (
        "check: the function takes (x, y), and it is given 1 arguments: missing a required "
        "argument: 'y'.\n  Fix: pass a spec, such as \"b h w 3\", or a value for each."
    )
    with pytest.raises(jc.ShapeError, match=r"Nnx is a class.\n  Fix: make a model first"):
        jc.check(Nnx, "b h w 2")


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
    assert failure.caller == f"test_libraries.py:{first + 1}"
    assert f"at {failure.where}, called at {failure.caller}: ValueError: conv" in str(failure)
    (failure,) = jc.check(lambda x: x @ weights, "b 7").failures
    assert failure.fix == "make the weights of this layer for 7 features, or pass it 12 features."


def test_what_returns_no_array_is_fine():
    assert jc.check(lambda x: None, "b h").ok
    assert jc.check(lambda x: {"a": (x, None), "n": 3}, "b h").ok
    assert jc.check(lambda: jnp.ones(3)).ok


def test_shapes_that_differ_from_case_to_case_are_given_case_by_case():
    verdict = jc.check(lambda x: x if x.shape[0] > 3 else x[0], "b h")
    assert verdict.ok
    assert str(verdict.outputs) in (
        "(b, h) for b >= 4 or (h,) for b <= 3",
        "(h,) for b <= 3 or (b, h) for b >= 4",
    )
    assert str(verdict.outputs.at(b=2, h=5)) == "(h,)"


NO_FUNCTIONS = {
    "a Linen module": (
        Linen(),
        "check: what is to be called is of type Linen, which has no parameters of its own.",
    ),
    "a Haiku transformation": (
        hk.transform(haiku),
        "check: what is to be called is of type Transformed, which is not a function.",
    ),
    "a text": ("vgg16", "check: what is to be called is of type str, which is not a function."),
}


@pytest.mark.parametrize("name", NO_FUNCTIONS)
def test_what_is_no_function_is_refused(name):
    thing, message = NO_FUNCTIONS[name]
    with pytest.raises(jc.ShapeError) as error:
        raises_shape_error("check")(require_callable)(thing)
    assert str(error.value).startswith(message)
    assert "Fix: pass " in str(error.value)


SIGNS = ["...", "_", "->", ",", ":", "//", "*", "(", ")", "-1", "and", "==", ">="]
WORDS = ["b", "h", "3", "min(h,2)", *SIGNS]
TEXTS = st.text(max_size=20) | st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)


@settings(deadline=None, max_examples=150)
@given(TEXTS, TEXTS, TEXTS)
def test_no_text_does_anything_but_work_or_raise_a_sentence(spec, returns, where):
    calls = [
        lambda: jc.check(lambda x: x, spec, returns=returns, where=where),
        lambda: jc.contract(f"{spec} -> {returns}", where=where),
        lambda: jc.sizes(spec, where=where),
    ]
    for call in calls:
        try:
            call()
        except jc.SpecError as error:
            fixed = "Fix: " in str(error)
        else:
            fixed = True
        assert fixed
