"""Models of every library as functions of a photo: initialised, mapped, transposed."""

import argparse
import os

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxconv.cli.arguments import UsageError
from jaxconv.cli.main import main
from jaxconv.cli.photo_call import PhotoModel, photo_model
from jaxconv.cli.user_code import TargetError

os.environ.setdefault("KERAS_BACKEND", "jax")  # before Keras is imported
KERNEL = jax.random.normal(jax.random.key(1), (8, 3, 3, 3))


def channels_first(x):
    orders = ("NCHW", "OIHW", "NCHW")
    return jax.lax.conv_general_dilated(x, KERNEL, (2, 2), "SAME", dimension_numbers=orders)


def of_one_image(x):
    assert x.ndim == 3
    return channels_first(x[None])[0]


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(8, (3, 3), strides=2)(x)
        return nn.BatchNorm(use_running_average=not train)(x)


class Flattens(nn.Module):
    """Parameters that depend on the size."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(4)(nn.Conv(8, (3, 3), strides=2)(x).reshape(x.shape[0], -1))


class Nnx(nnx.Module):
    def __init__(self):
        self.conv = nnx.Conv(3, 8, (3, 3), rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.conv(x)


class Equinox(eqx.Module):
    conv: eqx.nn.Conv2d
    pool: eqx.nn.MaxPool2d

    def __init__(self):
        self.conv = eqx.nn.Conv2d(3, 8, 3, key=jax.random.key(0))
        self.pool = eqx.nn.MaxPool2d(2, 2)

    def __call__(self, x):
        return self.pool(self.conv(x))


def keras_net(data_format):
    keras = pytest.importorskip("keras")
    return keras.Sequential([keras.layers.Conv2D(8, 3, data_format=data_format)])


def haiku_net(data_format):
    def forward(x):
        return hk.Conv2D(8, 3, 2, data_format=data_format, name="stem")(x)

    return hk.transform(forward)


MODELS = {  # with the layout and the size of the map of a photo of 20 x 24
    "function": (lambda: channels_first, "NCHW", (1, 8, 10, 12)),
    "function of one image": (lambda: of_one_image, "CHW", (8, 10, 12)),
    "Linen": (Linen, "NHWC", (1, 10, 12, 8)),
    "Linen with a dense layer": (Flattens, "NHWC", (1, 4)),
    "NNX": (Nnx, "NHWC", (1, 20, 24, 8)),
    "Equinox": (Equinox, "NCHW", (1, 8, 9, 11)),
    "Haiku": (lambda: haiku_net("NHWC"), "NHWC", (1, 10, 12, 8)),
    "Haiku, channels first": (lambda: haiku_net("NCHW"), "NCHW", (1, 8, 10, 12)),
    "Keras": (lambda: keras_net("channels_last"), "NHWC", (1, 18, 22, 8)),
    "Keras, channels first": (lambda: keras_net("channels_first"), "NCHW", (1, 8, 18, 22)),
}


def options(layout=None, given=()):
    return argparse.Namespace(model="nets:net", layout=layout, given=[*given])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("is_given", [True, False])
def test_a_model_is_called_with_a_photo_in_its_layout(name, is_given):
    make, layout, shape = MODELS[name]
    fn, spec = PhotoModel(make(), options(layout if is_given else None))(20, 24)
    assert spec.shape == (1, 20, 24, 3)
    assert fn(jnp.ones(spec.shape)).shape == shape


@pytest.mark.parametrize("name", ["function", "Linen", "Equinox", "Haiku, channels first"])
def test_another_layout_is_refused_with_the_right_one(name):
    make, layout, _ = MODELS[name]
    other = "NCHW" if layout == "NHWC" else "NHWC"
    with pytest.raises(TargetError, match=rf"Fix: pass --layout {layout}\."):
        PhotoModel(make(), options(other))(20, 24)


def test_parameters_are_made_again_only_where_their_shapes_change():
    called = PhotoModel(Linen(), options())
    x = jax.random.normal(jax.random.key(0), (1, 20, 24, 3))
    before = called(20, 24).fn(x)
    called(40, 30)
    np.testing.assert_array_equal(called(20, 24).fn(x), before)
    assert PhotoModel(Flattens(), options())(40, 30).fn(jnp.ones((1, 40, 30, 3))).shape == (1, 4)


def test_notes_say_what_is_added_once(capsys):
    called = PhotoModel(Linen(), options())
    called(20, 24)
    called(40, 48)
    assert capsys.readouterr().err.splitlines() == [
        "nets:net is called with train=False; for training add --with train=True.",
        "nets:net has no weights of its own: they are random.",
    ]
    PhotoModel(channels_first, options())(20, 24)
    assert capsys.readouterr().err == "nets:net takes photos in layout NCHW.\n"


def test_a_layout_is_one_of_photos():
    with pytest.raises(UsageError, match="Fix: pass one of NHWC, NCHW, HWC, CHW"):
        PhotoModel(channels_first, options("NCDHW"))


def test_a_registered_model_takes_no_layout():
    chosen = argparse.Namespace(model="vgg16", layout="NCHW", given=[])
    with pytest.raises(UsageError, match=r"vgg16 takes no --layout\. Fix: omit it"):
        photo_model(None, chosen)


NETS = """
import equinox as eqx, haiku as hk, jax
import flax.linen as nn

class Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.relu(nn.Conv(5, (3, 3), name="stem")(x))

def haiku(x):
    return jax.nn.relu(hk.Conv2D(5, 3, data_format="NCHW", name="stem")(x))

haiku = hk.transform(haiku)

class Equinox(eqx.Module):
    stem: eqx.nn.Conv2d

    def __init__(self, key):
        self.stem = eqx.nn.Conv2d(3, 5, 3, padding=1, key=key)

    def __call__(self, x):
        return jax.nn.relu(self.stem(x))
"""


@pytest.mark.slow
@pytest.mark.parametrize("model", ["Linen", "haiku", "Equinox"])
def test_every_command_takes_models_of_every_library(model, nets, capsys):
    (nets / "librarynets.py").write_text(NETS)
    chosen = ["photo.jpg", "--model", f"librarynets:{model}", "--size", "40"]
    assert main(["maps", *chosen]) == 0
    assert ["40", "x", "46", "5", "27", "3/1"] in [
        line.split()[1:] for line in capsys.readouterr().out.splitlines()
    ]
    assert main(["neuron", *chosen, "--layer", "1", "--at", "5,6", "--channel", "2"]) == 0
    assert "pixels y = 4 to 6, x = 5 to 7" in capsys.readouterr().out
    assert main(["explore", *chosen]) == 0
    assert "2 layers, " in capsys.readouterr().out
    layout = ["--layout", "NCHW"] if model == "haiku" else []
    assert main(["draw", f"librarynets:{model}", "-o", "net.svg", *layout]) == 0
    assert ">convolution</text>" in (nets / "net.svg").read_text()
