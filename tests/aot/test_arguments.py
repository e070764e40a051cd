"""What compiled functions take, and what is said where they cannot."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxconv as jc
from tests.support.programs import agree, exactly, normal

X = normal(2, 4)


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Pair:
    a: jax.Array
    b: jax.Array


TAKEN = {
    "a number keeps a narrow type": (lambda x, n: x * n, jnp.asarray(X, jnp.bfloat16), 2.5),
    "numbers": (lambda x, n, yes: jnp.where(yes, x * n, 0), X, 3, True),
    "integers": (lambda i: (i + 1, i / 2), np.arange(6).reshape(2, 3)),
    "NumPy's float64": (jnp.sin, np.linspace(0, 1, 5)),
    "None": (lambda x, nothing, w: x @ w, X, None, X.T),
    "a function": (lambda activation, x: activation(x), jnp.tanh, X),
    "a text in a dict": (
        lambda x, how: x.sum(how["axis"]),
        X,
        {"axis": 1, "kind": jc.static("a b")},
    ),
    "a random key": (lambda x, key: x + jax.random.uniform(key, ()), X, jax.random.key(3)),
    "a dataclass": (lambda pair: Pair(pair.b, pair.a * 2), Pair(X, X + 1)),
    "nothing": (lambda: jnp.sin(jnp.asarray(X)),),
    "what it ignores": (lambda x: (jnp.arange(3), 2.0), X),
    "what it returns": (lambda x: {"x": x, "same": (x, None)}, X),
}


@pytest.mark.parametrize(("fn", "args"), [(f, a) for f, *a in TAKEN.values()], ids=TAKEN)
def test_it_takes_what_jax_takes(fn, args):
    infer = jc.compile(fn, *args)
    want = exactly(lambda: fn(*args))
    agree(infer(*args), want)
    agree(infer(*args), want)


class Dropping(nnx.Module):
    def __init__(self):
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.dropout(x)


def training(model):
    model.train()
    return model


def small(**options):
    return jc.VGG([(4,)], head=None, rngs=nnx.Rngs(0), **options)


SHAPES = (
    "compile: the parameters of the model are shapes without values.\n"
    "  Fix: create it without nnx.eval_shape or jax.eval_shape, or load its weights."
)
REFUSED = {
    "an abstract model": (lambda: nnx.eval_shape(small), ("1 8 8 3",), SHAPES),
    "a method of one": (lambda: nnx.eval_shape(small).__call__, ("1 8 8 3",), SHAPES),
    "abstract parameters": (
        lambda: functools.partial(lambda w, x: w @ x, jax.ShapeDtypeStruct((2, 2), "float32")),
        ("2 4",),
        SHAPES,
    ),
    "batch norm in training": (
        lambda: training(small(batch_norm=True)),
        ("1 8 8 3",),
        "compile: the function changes a model while it is traced: Cannot mutate BatchStat",
    ),
    "dropout": (
        Dropping,
        ("1 8",),
        "  Fix: call model.eval() first; batch norm and dropout change a model in training.",
    ),
    "a class": (lambda: Dropping, ("1 8",), "compile: Dropping is a class.\n"),
    "an argument too many": (lambda: jnp.sin, ("1 8", "1 8", "1 8"), "compile: the function takes"),
    "a size without a number": (
        lambda: jnp.sin,
        ("b 8",),
        'compile: the spec "b 8" has sizes that are not numbers.\n  Fix: pass numbers, such as',
    ),
}


@pytest.mark.parametrize(("make", "args", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_compiled_is_a_sentence(make, args, said):
    with pytest.raises(jc.ShapeError) as caught:
        jc.compile(make(), *args)
    assert said in str(caught.value)


def test_errors_of_the_function_are_its_own():
    with pytest.raises(TypeError, match="dot_general requires contracting dimensions"):
        jc.compile(lambda x: x @ jnp.ones((3, 3)), "2 4")


def test_a_text_is_no_array_in_a_call():
    with pytest.raises(jc.ShapeError, match="an argument is of type str, which is not an array"):
        jc.compile(jnp.sin, "2 4")("2 4")


def scaled(x, mode, *, factor, weights):
    assert mode in ("SAME", "VALID")
    return factor * x @ weights if mode == "SAME" else x


def compiled_scaled():
    return jc.compile(scaled, X, jc.static("SAME"), factor=3, weights=X.T)


CALLS = {
    "as it was compiled": lambda infer: infer(X, "SAME", factor=3, weights=X.T),
    "with marks": lambda infer: infer(X, jc.static("SAME"), factor=jc.static(3), weights=X.T),
    "without what is fixed": lambda infer: infer(X, weights=X.T),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_what_is_fixed_may_be_left_out_of_a_call(call):
    infer = compiled_scaled()
    agree(call(infer), 3 * X @ X.T)
    assert infer.inputs[1] is None
    assert infer.named_inputs["factor"] is None
    assert infer.named_inputs["weights"].shape == (4, 2)


WRONG_CALLS = {
    "another text": (
        lambda infer: infer(X, "VALID", weights=X.T),
        "compile: it is called with 'VALID', but was compiled for 'SAME'.\n  Fix: leave it out, or",
    ),
    "another number": (
        lambda infer: infer(X, factor=True, weights=X.T),
        "it is called with True, but was compiled for 3.",
    ),
    "an array that is missing": (lambda infer: infer(X), "weights=PyTreeDef(*).\n"),
    "an unknown keyword": (
        lambda infer: infer(X, weights=X.T, bias=X),
        "  Fix: pass the arguments as they were passed to jaxconv.compile.",
    ),
    "another shape": (
        lambda infer: infer(X, weights=X),
        "is (2, 4) float32, but it was compiled for (4, 2) float32.",
    ),
}


@pytest.mark.parametrize(("call", "said"), WRONG_CALLS.values(), ids=WRONG_CALLS)
def test_a_call_that_does_not_fit_is_a_sentence(call, said):
    with pytest.raises(jc.ShapeError) as caught:
        call(compiled_scaled())
    assert said in str(caught.value)


def test_a_saved_program_takes_keyword_arguments(tmp_path):
    compiled_scaled().save(tmp_path / "scaled")
    loaded = jc.Inference.load(tmp_path / "scaled")
    agree(loaded(X, weights=X.T), 3 * X @ X.T)
    with pytest.raises(jc.ShapeError, match="called with 'SAME', but was compiled for None"):
        loaded(X, "SAME", weights=X.T)


DONATED = {
    "as its double": (lambda x: 2 * x, [True]),
    "twice": (lambda x: (x + 1, x + 2), [True]),
    "into another type": (lambda x: x.astype(jnp.int32), [False]),
    "both": (lambda x, y: (3 * y, 2 * x), [True, True]),
    "one of two": (lambda x, y: x + y, [True, False]),
}


@pytest.mark.parametrize(("fn", "gone"), DONATED.values(), ids=DONATED)
def test_inputs_are_given_away_where_a_result_fits(fn, gone):
    args = [jnp.asarray(normal(3, 5, seed=seed)) for seed in range(len(gone))]
    want = jax.tree.map(np.asarray, fn(*args))
    agree(jc.compile(fn, *args, donate=True)(*args), want)
    assert [x.is_deleted() for x in args] == gone


def test_parameters_that_are_gone_are_a_sentence(tmp_path):
    x, w = normal(2, 12, 12, 3), jnp.asarray(normal(3, 3, 3, 16))
    infer = jc.compile(lambda x: jc.conv(x, w), x)
    infer(x)
    jax.jit(lambda w: w + 1, donate_argnums=0)(w)
    for use in (lambda: infer(x), lambda: infer.save(tmp_path / "p")):
        with pytest.raises(
            jc.ShapeError, match=r"(?s)were donated or deleted .* Fix: compile it with a"
        ):
            use()
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("outer", [jax.jit, jax.vmap, jax.grad], ids=lambda f: f.__name__)
def test_a_call_inside_a_trace_is_a_sentence(outer):
    infer = jc.compile(jnp.sum, X[0])
    with pytest.raises(jc.ShapeError, match=r"(?s)inside jit, grad or vmap, .* Fix: call the o"):
        outer(lambda x: infer(x) + 0)(X if outer is jax.vmap else X[0])


def test_no_rank_is_promoted():
    x, w, b = normal(2, 12, 12, 16), normal(3, 3, 16, 16), normal(16)
    with jax.numpy_rank_promotion("raise"):
        infer = jc.compile(lambda x: jax.nn.relu(jc.conv(x, w) + b[None, None, None]), x)
    agree(infer(x), jax.nn.relu(jc.conv(x, w, b)))
