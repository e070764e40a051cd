"""What is called, and its arguments: specs, flags, models, keywords."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import jaxconv as jc
from jaxconv.adapters.call import bound_model, read_call

SIX = jnp.ones((3, 3, 3, 6))


def pooled(x, padding, window=2):
    return jc.max_pool(x, window, padding=padding)


FLAGS = {
    "marked": lambda: jc.check(pooled, "b h w c", jc.static("SAME")),
    "one word by keyword": lambda: jc.check(pooled, "b h w c", padding="SAME"),
    "bound before": lambda: jc.check(functools.partial(pooled, padding="SAME"), "b h w c"),
    "a number": lambda: jc.check(pooled, "b h w c", jc.static("SAME"), 2),
    "a number by keyword": lambda: jc.check(pooled, "b h w c", padding="SAME", window=2),
}


@pytest.mark.parametrize("form", FLAGS)
def test_a_flag_reaches_the_function(form):
    verdict = FLAGS[form]()
    assert verdict.status == "proven"
    assert str(verdict.outputs) == "(b, (h + 1)//2, (w + 1)//2, c)"


def test_a_flag_that_is_read_as_a_spec_is_said_to_be_one():
    def padded(x, padding):
        return jc.conv(x, jnp.ones((3, 3, 3, 4)), padding=padding)

    verdict = jc.check(padded, "b h w 3", "VALID")
    assert verdict.notes == ('"VALID" is the spec of one axis; a text is static("VALID")',)
    assert not jc.check(lambda x, y: x + y[:, None], "batch h", "batch").notes


def test_a_text_of_several_words_is_a_spec_also_by_keyword():
    assert jc.check(lambda x, y: x + y, "b h", y="b h").ok
    assert jc.check(lambda *, x: x, x="b h w 3", returns="b h w 3").ok


def test_a_parameter_whose_default_is_a_text_takes_texts():
    def turned(x, order="b h w"):
        return x.transpose(["bhw".index(axis) for axis in order.split()])

    assert jc.check(turned, "b h w", order="w h b", returns="w h b").ok


def test_flags_in_containers_and_none_and_functions():
    def apply(x, options, activation, nothing):
        assert nothing is None
        assert options == {"names": ["a", "b c"], "depth": 2}
        return activation(x)

    options = {"names": ["a", "b c"], "depth": 2}
    verdict = jc.check(apply, "b h", activation=jnp.tanh, nothing=None, options=options)
    assert verdict.ok


@pytest.mark.parametrize("flag", [True, False])
def test_numbers_are_not_traced(flag):
    def branching(x, flag, count):
        return jnp.concatenate([x] * count) if flag else x

    assert jc.check(branching, "b h", flag, 3, returns="3*b h" if flag else "b h").ok


def test_arrays_by_keyword_are_parameters():
    table = jc.summary(lambda x, kernel: jc.conv(x, kernel), "b h w 3", kernel=SIX)  # noqa: PLW0108
    assert table.parameters == SIX.size
    assert table.rows[0].weights == 27
    field = jc.receptive_field(jc.conv, "b h w 3", kernel=SIX, stride=2, layer=1)
    assert (field.size, field.stride) == ((3, 3), (2, 2))
    image = jnp.ones((1, 8, 8, 3))
    neuron = jc.neuron(jc.conv, image, SIX, stride=2, layer=1, at=(1, 1), channel=0)
    assert neuron.value == 27.0
    (value,) = jc.feature_maps(jc.conv)(image, SIX, stride=2).values()
    assert value.shape == (1, 4, 4, 6)


def test_a_model_with_texts_and_functions_is_an_argument():
    class Texts(eqx.Module):
        linear: eqx.nn.Linear
        mode: str
        activation: object

    model = Texts(eqx.nn.Linear(3, 4, key=jax.random.key(0)), "b h w 3", jnp.tanh)
    apply = lambda m, x: m.activation(jax.vmap(m.linear)(x))  # noqa: E731
    assert jc.check(apply, model, "b 3", returns="b 4").ok
    assert jc.summary(apply, model, "b 3").parameters == 16


def test_specs_inside_a_container_of_the_users():
    @functools.partial(jax.tree_util.register_dataclass, data_fields=["x"], meta_fields=["name"])
    class Batch:
        def __init__(self, x, name):
            self.x, self.name = x, name

    assert jc.check(lambda batch: batch.x, Batch("b h", "train"), returns="b h").ok


def test_what_is_behind_a_method_or_a_partial():
    class Model:
        def encode(self, x, *, scale):
            return scale * x

    model = Model()
    owner, method = bound_model(functools.partial(model.encode, scale=3))
    assert owner is model
    assert method(model, 2) == 6


def test_a_partial_of_an_abstract_model():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.linear = nnx.Linear(3, 4, rngs=rngs)

        def __call__(self, x, scale):
            return scale * self.linear(x)

    model = nnx.eval_shape(lambda: Net(nnx.Rngs(0)))
    assert jc.check(functools.partial(model, scale=2), "b 3", returns="b 4").ok
    assert read_call(model, (), {}).takes_model


def test_unknown_keywords_are_a_sentence():
    with pytest.raises(jc.ShapeError) as error:
        jc.check(lambda x, train: x, "b", trian=True)
    assert str(error.value) == (
        "check: the function takes (x, train), but got 1 argument and trian: missing a required "
        "argument: 'train'.\n  Fix: pass a spec, such as \"b h w 3\", or a value for each."
    )


def test_arrays_of_objects_are_no_arrays_of_jax():
    import numpy as np

    names = np.array(["a", "b"])
    assert jc.check(lambda x, names: x[:, : len(names)], "b 3", names, returns="b 2").ok
