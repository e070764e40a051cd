"""Models of each library as they are: complete or not, in training, closed over, as arguments."""

import functools
import os

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxconv as jc
from jaxconv.adapters.libraries import ADAPTERS, KERAS, adapter_of
from tests.support.cnns import with_any_numbers

os.environ.setdefault("KERAS_BACKEND", "jax")  # before Keras is imported
KEY = jax.random.key(0)
IMAGE = jnp.ones((2, 8, 8, 3))


class Linen(nn.Module):
    """A convolution, a batch norm and a dropout, with a mode."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(8, (3, 3), strides=2)(x)
        x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dense(4)(x.mean((1, 2)))


class Flattens(nn.Module):
    """Parameters that depend on the size of the image."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(4)(x.reshape(x.shape[0], -1))


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.dropout(self.norm(self.conv(x)))


class Equinox(eqx.Module):
    conv: eqx.nn.Conv2d
    norm: eqx.nn.BatchNorm
    text: str

    def __init__(self, key):
        self.conv = eqx.nn.Conv2d(3, 8, 3, padding=1, key=key)
        self.norm = eqx.nn.BatchNorm(8, "batch", mode="ema")
        self.text = "a text that is no spec"

    def __call__(self, x, state):
        return self.norm(self.conv(x), state)


def haiku_net(x, is_training):
    x = hk.BatchNorm(True, True, 0.9)(hk.Conv2D(8, 3, 2)(x), is_training)
    if is_training:
        x = hk.dropout(hk.next_rng_key(), 0.5, x)
    return hk.Linear(4)(x.mean((1, 2)))


def test_only_loaded_libraries_are_asked():
    assert adapter_of(Linen()).library == "Flax Linen"
    assert adapter_of(Nnx(nnx.Rngs(0))).library == "Flax NNX"
    assert adapter_of(hk.transform(haiku_net)).library == "Haiku"
    assert adapter_of(eqx.nn.Linear(2, 3, key=KEY)).library == "Equinox"
    assert adapter_of(lambda x: x) is adapter_of("text") is adapter_of(Linen) is None
    assert len({adapter.library for adapter in ADAPTERS}) == 6


@pytest.mark.parametrize("train", [True, False])
def test_a_linen_module_gets_its_parameters(train):
    assert jc.check(Linen(), "b h w 3", returns="b 4", train=train).ok
    assert jc.summary(Linen(), "b h w 3", train=train).parameters == 276


@pytest.mark.parametrize("train", [True, False])
def test_linen_takes_its_mode(train):
    variables = with_any_numbers(Linen().init, KEY, IMAGE)
    modes = {"train": train, "mutable": ["batch_stats"], "rngs": {"dropout": KEY}}
    verdict = jc.check(Linen().apply, variables, "b h w 3", **modes)
    assert verdict.status == "proven"
    assert str(verdict.outputs[0]) == "(b, 4)"
    assert [*verdict.outputs[1]["batch_stats"]["BatchNorm_0"].values()] == [(8,), (8,)]


def test_parameters_are_made_once_where_other_images_are_accepted_with_them():
    made = []

    class Valid(nn.Module):
        @nn.compact
        def __call__(self, x):
            made.append(self.is_initializing())
            return nn.Conv(4, (3, 3), padding="VALID")(x)

    verdict = jc.check(Valid(), "b h w 3")
    assert verdict.accepts == jc.SizeSet.parse("b h w", "h >= 3 and w >= 3")
    assert sum(made) == 1


def test_parameters_that_depend_on_the_size_are_those_of_ordinary_images():
    verdict = jc.check(Flattens(), "b h h 3")
    assert verdict.accepts == jc.SizeSet.parse("b h", "h = 224")
    assert "the parameters are made for b = 2, h = 224" in verdict.notes
    assert jc.check(Flattens(), "b h h 3", where="h == 32").ok


def test_parameters_are_made_for_few_sizes():
    """A network with a head for one size refuses all others, each after a whole trace."""
    sizes = []

    class OneSize(nn.Module):
        @nn.compact
        def __call__(self, x):
            if self.is_initializing():
                sizes.append(x.shape[1])
            assert x.shape[1] == 224
            return nn.Dense(4)(x)

    assert jc.check(OneSize(), "b n").accepts == jc.SizeSet.parse("b n", "n = 224")
    assert sizes[0] == 224
    assert len(sizes) == 4
    sizes.clear()
    assert jc.check(OneSize(), "b 224").ok
    assert sizes == [224]


def test_an_error_while_parameters_are_made_belongs_to_the_verdict():
    class Fails(nn.Module):
        @nn.compact
        def __call__(self, x):
            raise KeyError("no such layer")

    verdict = jc.check(Fails(), "b h")
    assert verdict.status == "refuted"
    assert "no such layer" in verdict.failures[0].message


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("by_name", [True, False])
def test_a_pair_of_haiku_gets_its_parameters(is_training, by_name):
    pair = hk.transform_with_state(haiku_net)
    given = ((), {"is_training": is_training}) if by_name else ((is_training,), {})
    assert jc.check(pair, "b h w 3", *given[0], returns="b 4", **given[1]).ok
    assert jc.summary(pair, "b h w 3", *given[0], **given[1]).parameters == 276
    by_default = hk.transform_with_state(lambda x, is_training=False: haiku_net(x, is_training))
    assert jc.check(by_default, "b h w 3", *given[0], returns="b 4", **given[1]).ok
    assert jc.check(by_default, "b h w 3", returns="b 4").ok
    flat = hk.without_apply_rng(hk.transform(lambda x: hk.Flatten(1)(x)))  # noqa: PLW0108
    assert jc.check(flat, "b 3 4", returns="b 12").ok


@pytest.mark.parametrize("is_training", [True, False])
def test_haiku_with_its_state(is_training):
    pair = hk.transform_with_state(haiku_net)
    params, state = with_any_numbers(functools.partial(pair.init, is_training=True), KEY, IMAGE)
    assert jc.check(pair.apply, params, state, KEY, "b h w 3", is_training).ok


@pytest.mark.parametrize("form", ["argument", "mapped"])
def test_equinox_in_training_under_a_named_axis(form):
    model, state = eqx.nn.make_with_state(Equinox)(KEY)

    def apply(model, x, state):
        axes = {"axis_name": "batch", "in_axes": (0, None), "out_axes": (0, None)}
        return jax.vmap(model, **axes)(x, state)

    if form == "argument":
        verdict = jc.check(apply, model, "b 3 h w", state)
    else:
        verdict = jc.check(lambda x, state: apply(model, x, state), "b 3 h w", state)
    assert verdict.status == "proven"
    assert str(verdict.outputs[0]) == "(b, 8, h, w)"
    assert jc.summary(apply, model, "b 3 h w", state).parameters == 240


def test_an_abstract_equinox_model():
    made = eqx.filter_eval_shape(eqx.nn.MLP, 3, 4, 5, 2, key=KEY)
    assert jc.check(made, "3", returns="4").ok
    assert jc.summary(made, "3").parameters == 74


def test_a_closed_over_model_of_nnx_in_training_is_as_it_was():
    model = Nnx(nnx.Rngs(0))
    before = jax.tree.leaves(nnx.state(model))
    assert jc.check(lambda x: model(x), "b h w 3", returns="b h w 8").ok  # noqa: PLW0108
    assert jc.summary(lambda x: model(2 * x), "b h w 3").parameters == 240
    after = jax.tree.leaves(nnx.state(model))
    assert all(one is other for one, other in zip(before, after, strict=True))
    assert model(IMAGE).shape == (2, 8, 8, 8)  # and it can be updated again
    assert float(model.norm.mean.get_value().sum()) != 0


# Keras


def the_keras():
    """Imported in the tests, so that those above run without it."""
    return pytest.importorskip("keras", reason="Keras is not installed")


def sequential():
    keras = the_keras()
    some = keras.layers
    return keras.Sequential([
        some.Conv2D(8, 3, strides=2, padding="same"),
        some.BatchNormalization(),
        some.ReLU(),
        some.Dropout(0.5),
        some.GlobalAveragePooling2D(),
        some.Dense(4),
    ])  # fmt: skip


@pytest.mark.parametrize("training", [True, False, None])
def test_a_keras_model_that_is_not_built_yet(training):
    model = sequential()
    assert jc.check(model, "b h w 3", returns="b 4", training=training).ok
    assert model(IMAGE).shape == (2, 4)
    assert model(jnp.ones((3, 9, 7, 3))).shape == (3, 4)


def test_a_keras_model_whose_weights_depend_on_the_size():
    """It gets those for an ordinary image, as models of other libraries do, and stays unbuilt."""
    some = the_keras().layers
    model = the_keras().Sequential([some.Flatten(), some.Dense(3)])
    verdict = jc.check(model, "b h w 3")
    assert verdict.accepts.contains(b=5, h=224, w=224)
    assert not verdict.accepts.contains(b=5, h=224, w=225)
    assert "the parameters are made for b = 2, h = 224, w = 224" in verdict.notes
    assert jc.check(model, "b h w 3", where="h == 6 and w == 5", returns="b 3").ok
    assert model(jnp.ones((2, 4, 4, 3))).shape == (2, 3)


@pytest.mark.parametrize("count", [1, 2, (3, 5)])
@pytest.mark.parametrize("name", ["AdaptiveAveragePooling2D", "AdaptiveMaxPooling2D"])
def test_an_adaptive_pool_of_keras_is_one_layer(name, count):
    """It computes windows of two widths, of which one may have no rows, and takes some of each."""
    some = the_keras().layers
    if not hasattr(some, name):
        pytest.skip("this Keras has no adaptive pools")
    pool = getattr(some, name)(count)
    rows, columns = (count, count) if isinstance(count, int) else count
    assert jc.check(pool, "b h w 3", returns=f"b {rows} {columns} 3").ok
    assert pool(jnp.ones((1, 1, 1, 3))).shape == (1, rows, columns, 3)
    table = jc.summary(pool, "b h w 3", at={"b": 1, "h": 7, "w": 10})
    assert [row.output[1:] for row in table.rows] == [(rows, columns, 3)]
    assert not table.notes


def test_a_first_call_does_not_change_a_keras_model():
    keras = the_keras()

    class Named(keras.Model):  # such as the backbones of keras-hub
        pass

    x = keras.Input((None, None, 3))
    called, other = (Named(x, keras.layers.Conv2D(4, 3)(x)) for _ in range(2))
    called(jnp.ones((1, 8, 8, 3)))
    assert jc.check(called, "b h w 3").runs == jc.check(other, "b h w 3").runs
    assert called._called
    assert not other._called


def test_a_keras_model_is_as_it_was():
    model = sequential()
    model(IMAGE)
    values = [variable.value for variable in model.variables]
    assert jc.check(model, "b h w 3", training=True).ok
    assert jc.check(lambda x: model(x, training=True), "b h w 3").ok
    assert all(v.value is one for v, one in zip(model.variables, values, strict=True))
    assert the_keras().config.is_traceback_filtering_enabled()


def test_parameters_of_keras_are_those_that_are_learnt_or_frozen():
    model = sequential()
    table = jc.summary(model, "b h w 3")
    assert table.parameters == model.count_params() - 2 * 8  # the averages of the batch norm
    assert [row.name.rstrip("_0123456789") for row in table.rows] == [
        "conv2d", "global_average_pooling2d", "dense",
    ]  # fmt: skip
    model.trainable = False
    assert jc.summary(model, "b h w 3").parameters == table.parameters
    assert jc.summary(lambda x: model(x), "b h w 3").parameters == table.parameters  # noqa: PLW0108


def test_keras_compares_sizes_with_those_it_is_made_for():
    """Keras itself takes a symbolic size for one that fits."""
    keras = the_keras()
    some = keras.layers
    x = keras.Input((32, 24, 3))
    verdict = jc.check(keras.Model(x, some.Conv2D(4, 3, padding="same")(x)), "b h w 3")
    assert verdict.accepts == jc.SizeSet.parse("b h w", "h = 32 and w = 24")
    assert verdict.status == "refuted"
    assert "is incompatible with the layer" in verdict.failures[0].message


def test_the_inner_reason_of_an_error_of_keras_is_shown():
    keras = the_keras()
    some = keras.layers
    x = keras.Input((None, None, 3))
    joined = some.Concatenate()([x, some.UpSampling2D()(some.MaxPooling2D()(x))])
    verdict = jc.check(keras.Model(x, joined), "b h w 3", where="h >= 2 and w >= 2")
    assert str(verdict.accepts) == "h and w multiples of 2"
    assert verdict.failures[0].message.startswith("TypeError: Cannot concatenate arrays")
    wrong = jc.check(keras.Sequential([some.Dense(3), some.Reshape((7,))]), "b 4 4")
    assert wrong.status == "refuted"
    assert "total size of the tensor must be unchanged" in wrong.failures[0].message


def test_every_analysis_takes_a_keras_model():
    keras = the_keras()
    some = keras.layers
    model = keras.Sequential([some.Conv2D(4, 3, name="first"), some.Conv2D(5, 3, name="second")])
    assert {k: v.shape for k, v in jc.feature_maps(model)(IMAGE).items()} == {
        "first": (2, 6, 6, 4),
        "second": (2, 4, 4, 5),
    }
    assert jc.receptive_field(model, "b h w 3", layer="second").size == (5, 5)
    neuron = jc.neuron(model, IMAGE, layer="second", at=(1, 1), channel=2)
    assert neuron.value == pytest.approx(neuron.map_value, abs=1e-5)
    assert jc.compile(model, "2 8 8 3")(IMAGE).shape == (2, 4, 4, 5)
    assert jc.check(model.call, "b h w 3", where="h >= 5 and w >= 5").ok
    given = (model.trainable_variables, model.non_trainable_variables)
    assert jc.check(model.stateless_call, *given, "b h w 3", where="h >= 5 and w >= 5").ok


def test_a_layer_inside_a_function_is_built_without_tracers():
    keras = the_keras()
    some = keras.layers

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.conv = some.Conv2D(4, 3, padding="same")

        def call(self, x):
            self.size = x.shape[1]
            return self.conv(x)

    model = Net()
    assert jc.check(lambda x: model(x), "b h w 3", returns="b h w 4").ok  # noqa: PLW0108
    assert isinstance(model.conv.kernel.value, jax.Array)
    assert not isinstance(model.conv.kernel.value, jax.core.Tracer)
    assert model(IMAGE).shape == (2, 8, 8, 4)
    assert jc.check(lambda x: model(x), "b h w 3", returns="b h w 4").ok  # noqa: PLW0108
    assert model.size == 8


def test_a_model_is_made_without_values_and_stays_so():
    keras = the_keras()
    some = keras.layers
    model = KERAS.abstract(lambda: keras.Sequential([keras.Input((None, 3)), some.Dense(4)]))
    assert jc.check(model, "b t 3", returns="b t 4").ok
    assert model.layers[0].kernel._value is None


def test_another_backend_of_keras_is_a_sentence(monkeypatch):
    keras = the_keras()
    some = keras.layers
    model = some.Dense(3)
    model.build((None, 2))
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    with pytest.raises(jc.ShapeError, match=r"Keras runs on tensorflow here.\n  Fix: set the"):
        jc.check(model, "b 2")


def scaled(model):
    """A call with a text, a number and None by position and by keyword."""

    def call(x, mode, factor, *, nothing, train):
        assert (mode, nothing, train) == ("a b", None, False)
        return factor * model(x)

    return call


def called_in_keras(layer):
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.layers.Conv2D(8, 3), keras.layers.BatchNormalization()])
    model.build((None, 8, 8, 3))
    return (model.layers[0], (IMAGE,), {}) if layer else (model, (IMAGE,), {"training": False})


def called_in_haiku():
    pair = hk.transform_with_state(haiku_net)
    make = functools.partial(pair.init, is_training=True)
    parameters, state = with_any_numbers(make, KEY, IMAGE)
    return pair.apply, (parameters, state, None, IMAGE), {"is_training": False}


def evaluated():
    net = Nnx(nnx.Rngs(0))
    net.eval()
    return net


SMALL = jnp.ones((3, 3, 3, 2)) / 8
FUNCTIONS = {
    "check": jc.check,
    "summary": jc.summary,
    "receptive_field": functools.partial(jc.receptive_field, layer=1),
    "effective_receptive_field": functools.partial(jc.effective_receptive_field, layer=1, inputs=1),
    "neuron": functools.partial(jc.neuron, layer=1, at=(1, 1), channel=0),
    "feature_maps": lambda fn, *args, **named: jc.feature_maps(fn)(*args, **named),
    "compile": lambda fn, *args, **named: jc.compile(fn, *args, **named)(*args, **named),
}


FLAGS = {"nothing": None, "train": False}
CHANNELS_FIRST, SINGLE = IMAGE.transpose(0, 3, 1, 2), eqx.nn.Conv2d(3, 8, 3, key=KEY)
VARIABLES = with_any_numbers(Linen().init, KEY, IMAGE)
CALLS = {
    "function": lambda: (scaled(lambda x: jc.conv(x, SMALL)), (IMAGE, jc.static("a b"), 3), FLAGS),
    "NNX": lambda: (evaluated(), (IMAGE,), {}),
    "method of NNX": lambda: (evaluated().conv, (IMAGE,), {}),
    "flags around NNX": lambda: (
        scaled(evaluated()),
        (IMAGE, jc.static("a b"), jc.static(3)),
        FLAGS,
    ),
    "apply of Linen": lambda: (Linen().apply, (VARIABLES, IMAGE), {"train": False}),
    "bound Linen": lambda: (Linen().bind(VARIABLES), (IMAGE,), {"train": jc.static(False)}),
    "apply of Haiku": called_in_haiku,
    "Equinox": lambda: (SINGLE, (CHANNELS_FIRST[0],), {}),
    "argument of Equinox": lambda: (lambda m, x: jax.vmap(m)(x), (SINGLE, CHANNELS_FIRST), {}),
    "Keras": lambda: called_in_keras(layer=False),
    "layer of Keras": lambda: called_in_keras(layer=True),
}


@functools.cache
def called(form):
    return CALLS[form]()


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("form", CALLS)
def test_every_function_takes_the_calls_of_every_library(form, function):
    fn, args, named = called(form)
    result = FUNCTIONS[function](fn, *args, **named)
    if function == "check":
        assert result.ok
    if function == "neuron":
        assert abs(result.value - result.map_value) < 1e-4
    if function == "compile":
        plain, words = jax.tree.map(lambda leaf: getattr(leaf, "value", leaf), (args, named))
        leaves = zip(jax.tree.leaves(result), jax.tree.leaves(fn(*plain, **words)), strict=True)
        assert all(jnp.allclose(one, other, atol=1e-5) for one, other in leaves)


WITHOUT_PARAMETERS = {
    "Linen": Linen,
    "Haiku": lambda: hk.transform(lambda x: hk.Conv2D(4, 3)(x)),  # noqa: PLW0108
    "abstract NNX": lambda: nnx.eval_shape(evaluated),
}


@pytest.mark.parametrize("function", ["effective_receptive_field", "neuron", "compile"])
@pytest.mark.parametrize("make", WITHOUT_PARAMETERS.values(), ids=WITHOUT_PARAMETERS)
def test_what_needs_values_says_so(make, function):
    with pytest.raises(jc.ShapeError, match=rf"{function}: .*(parameters|ShapeDtype).*\n  Fix: "):
        FUNCTIONS[function](make(), "1 8 8 3" if function == "compile" else IMAGE)


def test_a_layer_of_keras_that_is_not_built_can_be_compiled():
    keras = pytest.importorskip("keras")
    infer = jc.compile(keras.layers.Conv2D(4, 3), "2 8 8 3")
    assert infer(IMAGE).shape == (2, 6, 6, 4)


def test_adaptive_pools_of_equinox():
    pool = jax.vmap(eqx.nn.AdaptiveMaxPool2d((3, 2)))
    verdict = jc.check(pool, "b c h w", returns="b c 3 2")
    assert verdict.accepts == jc.SizeSet.parse("b c h w", "h >= 3 and w >= 2")
    assert verdict.runs < 25
    shape = jax.ShapeDtypeStruct((2, 3, 10, 9), "float32")
    assert jax.eval_shape(pool, shape).shape == (2, 3, 3, 2)  # as before the proof


ROWS = {
    "mean": eqx.nn.AdaptiveAvgPool1d,
    "maximum": eqx.nn.AdaptiveMaxPool1d,
    "the last": lambda count: eqx.nn.AdaptivePool(count, 1, lambda window: window.ravel()[-1]),
}


@pytest.mark.parametrize(
    ("kind", "count"), [("mean", 1), ("mean", 5), ("maximum", 9), ("the last", 1), ("the last", 2)]
)
def test_adaptive_pools_of_a_row_of_pixels(kind, count):
    """The remainder of h*w and the number of windows is not a formula."""
    pool = ROWS[kind](count)

    def pixels(x):
        return jax.vmap(lambda image: pool(image.reshape(-1, 2).T))(x)

    verdict = jc.check(pixels, "b h w 2", timeout=20)
    assert verdict.untried.is_empty()
    assert verdict.runs < 40
    for h, w in np.random.default_rng(count).integers(1, [5, 12], (12, 2)).tolist():
        image = jax.ShapeDtypeStruct((3, h, w, 2), "float32")
        try:
            accepts = jax.eval_shape(pixels, image).shape == (3, 2, count)
        except ZeroDivisionError:
            accepts = False
        assert verdict.accepts.contains(b=3, h=h, w=w) == accepts
