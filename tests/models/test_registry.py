"""The registry of models: found by name, in any module of the package, with their weights."""

import os
import shutil
from pathlib import Path

import pytest

import jaxconv as jc
from jaxconv.models import registry
from jaxconv.models.weights import WeightsError
from tests.support.processes import forked

PACKAGE = Path(jc.__file__).parent

TOY = """
from flax import nnx

from jaxconv.models.registry import find_weights, register_model, register_weights
from jaxconv.models.sources import HubFile
from jaxconv.models.weights import fill


class Toy(nnx.Module):
    def __init__(self, classes, rngs):
        self.conv = nnx.Conv(3, classes, (3, 3), rngs=rngs)

    def __call__(self, x):
        return nnx.relu(self.conv(x))


@register_model("toy", title="Toy", description="one convolution, to try the registry")
def toy(*, classes=4, weights=None, rngs=None):
    model = Toy(classes, rngs or nnx.Rngs(0))
    if weights is not None:
        fill(model, find_weights("toy", weights, head=True))
    return model


register_weights("vgg16", "places", HubFile(repository="nobody/places", sha256="0" * 64))
"""


@pytest.fixture(scope="module")
def with_toy(tmp_path_factory):
    """A copy of the package with one more file."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(PACKAGE, folder / "jaxconv")
    (folder / "jaxconv" / "models" / "toy.py").write_text(TOY)
    return folder


def python(folder, *arguments):
    """Run Python with that copy."""
    return forked(*arguments, package=folder, cwd=folder, env=os.environ | {"HF_HUB_OFFLINE": "1"})


def jaxconv(folder, *arguments):
    return python(folder, "-m", "jaxconv", *arguments)


def test_a_model_in_a_new_file_is_known_to_the_commands(with_toy):
    done = jaxconv(with_toy, "check", "toy(classes=7)", "b h w 3 -> b h w 7")
    assert done.stdout == "toy(classes=7): proven: accepts every size, returns (b, h, w, 7)\n"
    assert "one convolution, to try the registry" in jaxconv(with_toy, "--help").stdout


def test_a_model_without_published_weights_needs_a_file(with_toy):
    done = jaxconv(with_toy, "maps", "--model", "toy")
    assert done.returncode == 2
    assert "toy has no published weights.\n  Fix: pass --weights FILE" in done.stderr


def test_weights_in_a_new_file_are_known_by_name(with_toy):
    code = "import jaxconv as jc; jc.vgg16(weights='places')"
    said = python(with_toy, "-c", code).stderr.splitlines()[-1]
    assert "The places weights of vgg16 are unavailable" in said
    assert "Tried: the weights nobody/places, from the Hugging Face hub (" in said


def test_models_are_registered_with_a_title():
    models = registry.registered_models()
    order = ["vgg11", "vgg13", "vgg16", "vgg19"]
    assert [name for name in models if name in order] == order
    assert all(model.title and model.description for model in models.values())
    assert models["vgg16"].make is jc.vgg16
    assert models["vgg16"].title == "VGG16"


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="two models named 'vgg16'"):
        registry.register_model("vgg16", title="", description="")(jc.vgg16)
    with pytest.raises(ValueError, match="vgg16 has two sets of weights named 'imagenet'"):
        registry.register_weights("vgg16", "imagenet")


def test_only_vgg16_is_published():
    with pytest.raises(WeightsError, match="imagenet weights exist for vgg16 only, not for vgg11"):
        jc.vgg11(weights="imagenet")
