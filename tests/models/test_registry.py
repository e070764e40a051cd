"""The registry of models: found by name, in any module of the package, with their weights."""

import json
import os
import shutil
from pathlib import Path

import jax
import pytest
from flax import nnx

import jaxconv as jc
from jaxconv.models import registry
from jaxconv.models.errors import MissingHeadError, WeightsError
from jaxconv.models.sources import HubFile
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


# Runs commands after each other, and prints the status and the texts of each as JSON.
COMMANDS = """
import contextlib, io, json, sys
import jaxconv as jc
from jaxconv.cli.main import main
from jaxconv.models.errors import WeightsError

def run(arguments):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        with contextlib.redirect_stderr(io.StringIO()) as err:
            try:
                status = main(arguments)
            except SystemExit as stop:
                status = stop.code
    return status, out.getvalue(), err.getvalue()

try:
    jc.vgg16(weights="places")
except WeightsError as error:
    print(json.dumps([*map(run, json.loads(sys.argv[1])), str(error)]))
"""


@pytest.fixture(scope="module")
def with_toy(tmp_path_factory):
    """What commands say in a copy of the package with one more file, and of weights of its own."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(PACKAGE, folder / "jaxconv")
    (folder / "jaxconv" / "models" / "toy.py").write_text(TOY)
    commands = [
        ["check", "toy(classes=7)", "b h w 3 -> b h w 7"],
        ["--help"],
        ["maps", "--model", "toy"],
    ]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    given = "-c", COMMANDS, json.dumps(commands)
    done = forked(*given, package=folder, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_model_in_a_new_file_is_known_to_the_commands(with_toy):
    checked, helped, (status, _, error), _ = with_toy
    proven = "toy(classes=7): proven: accepts every size, returns (b, h, w, 7)\n"
    assert checked == [0, proven, ""]
    assert "one convolution, to try the registry" in helped[1]
    assert status == 2
    assert "toy has no published weights.\n  Fix: pass --weights FILE" in error


def test_weights_in_a_new_file_are_known_by_name(with_toy):
    assert "The places weights of vgg16 are unavailable" in with_toy[-1]
    assert "Tried: the weights nobody/places, from the Hugging Face hub (" in with_toy[-1]


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


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("name", ["vgg11", "vgg13", "vgg16", "vgg19"])
def test_all_eight_are_published_by_timm(name, batch_norm, monkeypatch, tmp_path):
    """A file in the cache is read, and its hash is compared with the hub's."""
    published = f"{name}_bn" if batch_norm else name
    source, *others = registry.published_weights(published)["imagenet"]
    assert source.repository == f"timm/{published}.tv_in1k"
    assert source.has_head
    assert bool(source.sha256) == bool(others) == (published == "vgg16")
    parameters = nnx.eval_shape(lambda: getattr(jc, name)(batch_norm=batch_norm))
    size = sum(p.size for p in jax.tree.leaves(nnx.state(parameters))) * 4 / 1e6
    assert abs(source.megabytes - size) < 1
    asked = []
    (tmp_path / "none").touch()
    monkeypatch.setattr(HubFile, "cached", lambda self: asked.append(self) or tmp_path / "none")
    with pytest.raises(WeightsError):
        getattr(jc, name)(weights="imagenet", batch_norm=batch_norm)
    assert asked == [source]


def test_weights_of_one_model_are_not_those_of_another():
    with pytest.raises(WeightsError, match=r"not for lenet.+hf:owner/repository"):
        registry.find_weights("lenet", "imagenet", head=True)


def test_a_source_that_lacks_the_head_is_named_with_its_size_and_content(monkeypatch):
    def fail(self):
        raise OSError("no route")

    monkeypatch.setattr(HubFile, "cached", lambda self: None)
    monkeypatch.setattr(HubFile, "download", fail)
    with pytest.raises(MissingHeadError) as error:
        jc.vgg16(weights="imagenet")
    assert "Tried: the weights timm/vgg16.tv_in1k, from the Hugging Face hub (no route). " in str(
        error.value
    )
    assert "would fit too. It takes 65 MB, and has no classifier" in str(error.value)
    with pytest.raises(WeightsError, match="unavailable") as error:
        jc.vgg16(weights="imagenet", batch_norm=True)
    assert "would fit" not in str(error.value)
