"""Proofs against tracing size by size, and the verdicts on networks that people write."""

from pathlib import Path

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx
from jax import lax

import jaxconv as jc
from experiments.soundness import ANSWERS, examine
from jaxconv.errors import raises_shape_error
from jaxconv.prover.check import require_callable
from tests.support.cnns import (
    bare_head,
    flatten_and_dense,
    join,
    patchify,
    stem,
    strided_gradient,
    symmetric,
    trunk,
)
from tests.support.processes import forked
from tests.support.size_programs import program


def test_proofs_agree_with_tracing_size_by_size(number):
    row = examine(number, sizes=12)
    assert row["outcome"] == "right", row


def test_proofs_of_programs_agree_with_tracing_size_by_size(program_number):
    first = 1006  # no program from here on takes as long as a check may take, for a while
    row = examine(first + program_number, sizes=12, make=program)
    assert row["outcome"] in ANSWERS, row


def test_most_random_networks_are_decided():
    rows = [examine(number, sizes=0) for number in range(1000, 1012)]
    assert sum(row["decided"] for row in rows) >= len(rows) - 1, rows


VERDICTS = {
    trunk: ("refuted", "h >= 32, w >= 32", "(b, h//32, w//32, 512)"),
    bare_head: (
        "refuted",
        "(32 <= h <= 63, 1568 <= w <= 1599) or (224 <= h <= 255, 224 <= w <= 255) or "
        "(1568 <= h <= 1599, 32 <= w <= 63)",
        "(b, 10)",
    ),
    join: ("proven", "every size", "(b, (h + 1)//2, (w + 1)//2, 8)"),
    patchify: ("refuted", "h and w multiples of 2", "(b, h//2, 2, w//2, 2, 3)"),
    stem: ("proven", "every size", "(b, (h + 3)//4, (w + 3)//4, 64)"),
    flatten_and_dense: (
        "refuted",
        "(8 <= h <= 15, 32 <= w <= 39) or (16 <= h <= 23, 16 <= w <= 23) or "
        "(32 <= h <= 39, 8 <= w <= 15)",
        "(b, 5)",
    ),
    strided_gradient: ("proven", "every size", "(3, 3, 3, 4)"),
}


@pytest.mark.parametrize("function", VERDICTS, ids=lambda f: f.__name__)
def test_verdicts_on_networks_that_people_write(function):
    verdict = jc.check(function, "b h w 3")
    found = verdict.status, str(verdict.accepts), str(verdict.outputs)
    assert found == VERDICTS[function]
    assert verdict.ok == (verdict.status == "proven")


def test_a_broadcasting_accident_is_found():
    verdict = jc.check(symmetric, "b h w 3")
    accident = jc.SizeSet.parse("b h w", "w = h or h = 1 or w = 1")
    assert verdict.accepts == accident


VGG16 = {
    None: ("h >= 32 and w >= 32", lambda h, w: (h // 32, w // 32, 512)),
    "dense": ("224 <= h <= 255 and 224 <= w <= 255", lambda h, w: (1000,)),
    "conv": ("h >= 224 and w >= 224", lambda h, w: (h // 32 - 6, w // 32 - 6, 1000)),
}


@pytest.mark.parametrize("head", VGG16)
def test_vgg16_exactly(head):
    model = nnx.eval_shape(lambda: jc.vgg16(head=head))
    where, shape = VGG16[head]
    verdict = jc.check(model, "b h w 3")
    assert verdict.accepts == jc.SizeSet.parse("b h w", where)
    for h, w in [(224, 255), (230, 224)]:
        found = [n if isinstance(n, int) else n.at(b=2, h=h, w=w) for n in verdict.outputs]
        assert found == [2, *shape(h, w)]
    assert jc.check(model, "b h w 3", where=where).ok


def test_a_training_step_is_proven_for_every_batch_size():
    model = jc.VGG([(4, 4), (8,)], head=None, batch_norm=True, rngs=nnx.Rngs(0))
    model.train()
    definition, params, rest = nnx.split(model, nnx.Param, ...)
    optimiser = optax.sgd(0.1, momentum=0.9)

    def step(params, state, x, y):
        def loss(params):
            fresh = jax.tree.map(jnp.asarray, rest)  # the statistics change in this trace
            logits = jc.global_avg_pool(nnx.merge(definition, params, fresh)(x))
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimiser.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    verdict = jc.check(
        step, params, optimiser.init(params), "b h w 3", "b:int32", where="h >= 4 and w >= 4"
    )
    assert verdict.ok, str(verdict)


def test_arguments_may_mix_arrays_specs_and_trees():
    def layer(params, x, scale):
        return jc.conv(x, params["kernel"], params["bias"]) * scale

    params = {"kernel": jnp.ones((3, 3, 3, 8)), "bias": "8"}
    verdict = jc.check(layer, params, "b h w 3", 2.0)
    assert str(verdict) == "proven: accepts every size, returns (b, h, w, 8)"
    verdict = jc.check(lambda x, y: x @ y, "b k m:bfloat16", "b m n:bfloat16", returns="b k n")
    assert verdict.ok


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
    assert failures[0].where.startswith("test_check.py:")


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
    (tmp_path / "rows_of_maps.py").write_text(CHECKED_BY_JAXTYPING)
    package = Path(jc.__file__).parents[1]  # imported again, by the hook
    said = forked("-c", "import rows_of_maps", cwd=tmp_path, package=package)
    assert said.stdout == "proven: accepts every size, returns (1 if w = h else h, w)\n", said


def test_a_check_inside_a_trace_is_a_check():
    seen = []

    @jax.jit
    def function(x):
        seen.append(jc.check(scanned, "b h w 2").ok)
        return x

    function(jnp.ones(3))
    assert seen == [True]


def test_arguments_that_a_function_does_not_take_are_refused():
    with pytest.raises(jc.ShapeError) as error:
        jc.check(lambda x, y: x, "b h")
    assert str(error.value) == (
        "check: the function takes (x, y), but got 1 argument: missing a required "
        "argument: 'y'.\n  Fix: pass a spec, such as \"b h w 3\", or a value for each."
    )
    with pytest.raises(jc.ShapeError, match=r"Nnx is a class.\n  Fix: make a model first"):
        jc.check(Nnx, "b h w 2")


def test_what_returns_no_array_is_fine():
    assert jc.check(lambda x: None, "b h").ok
    assert jc.check(lambda x: {"a": (x, None), "n": 3}, "b h").ok
    assert jc.check(lambda: jnp.ones(3)).ok


NO_FUNCTIONS = {
    "a Linen module": (
        Linen(),
        "check: what is to be called is of type Linen, which has no parameters of its own.",
    ),
    "a Haiku transformation": (
        hk.transform(haiku),
        "check: what is to be called is of type Transformed, which has no parameters of its own.",
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
