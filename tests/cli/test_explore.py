"""``jaxconv explore``: the page it writes, and every bad input with exit status 2."""

import json
import shlex
import sys
import webbrowser

import numpy as np
import pytest
from flax import nnx
from PIL import Image

import jaxconv as jc
from jaxconv.analysis.classes import top_classes
from jaxconv.cli.main import main
from jaxconv.models import vgg, weights
from jaxconv.models.sources import HubFile, WheelFile
from jaxconv.plotting.photos import open_photo
from tests.plotting.test_explorer import Reader
from tests.support.explored import HOSTILE_PHOTO

NET = """
from flax import nnx

class Net(nnx.Module):
    def __init__(self, rngs):
        self.stem = nnx.Conv(3, 4, (3, 3), strides=2, rngs=rngs)

    def __call__(self, x):
        return nnx.relu(self.stem(x))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, hopper):
    """A working folder with a small photo and a model in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "net_to_explore", raising=False)
    (tmp_path / "net_to_explore.py").write_text(NET)
    with Image.open(hopper) as photo:
        photo.resize((48, 60)).save("my photo.png")
        photo.resize((40, 44)).save(HOSTILE_PHOTO)
    return tmp_path


def run(*arguments):
    """Exit status of the command, whether argparse or we refuse."""
    try:
        return main([str(a) for a in arguments])
    except SystemExit as stop:
        return stop.code


def written(path):
    read = Reader((path).read_text("utf-8"))
    return read, json.loads(read.texts["data"])


def test_the_page_has_the_maps_of_the_photo(folder, random_weights, capsys):
    given = ["my photo.png", "--size", 40, "--weights", random_weights]
    assert run("explore", *given, "--layer", "conv2_1", "--layer", "3") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("4 layers, ")
    assert said[1] == "wrote my photo-explore.html"
    read, data = written(folder / "my photo-explore.html")
    assert [layer["name"] for layer in data["layers"]] == ["input", "conv1_2", "pool1", "conv2_1"]
    photo = open_photo("my photo.png", 40)
    model = jc.vgg16(weights=random_weights, head=None)
    want = jc.feature_maps(model, "conv2_1")(model.preprocessing(photo[None]))["conv2_1"][0]
    got = np.moveaxis(read.block(data["layers"][-1]["maps"]), 0, -1)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-3)
    words = shlex.split(data["command"])
    assert words[:3] == ["jaxconv", "neuron", "my photo.png"]
    assert words[3:] == ["--model", "vgg16", "--weights", str(random_weights), "--size", "40"]
    drawn = {attrs["data-layer"] for _, attrs in read.tags if "data-layer" in attrs}
    assert {"input", "conv1_2", "pool5"} <= drawn


@pytest.mark.slow
def test_the_command_in_the_page_tells_of_a_neuron(folder, random_weights, capsys):
    """What the page says to type is a command that runs, and tells the page's number."""
    given = ["my photo.png", "--size", 40, "--weights", random_weights, "--layer", "conv1_2"]
    assert run("explore", *given, "-o", "page.html") == 0
    read, data = written(folder / "page.html")
    _, *words = shlex.split(f"{data['command']} --layer conv1_2 --channel 5 --at 7,3")
    assert run(*words) == 0
    value = read.block(data["layers"][-1]["maps"])[5, 7, 3]
    told = capsys.readouterr().out.rpartition("in the feature map: ")[2].split()[0]
    assert float(told) == pytest.approx(value, rel=1e-4)


def test_a_model_of_yours_gets_numbers_of_0_to_1(folder):
    assert run("explore", HOSTILE_PHOTO, "--model", "net_to_explore:Net", "-o", "page.HTML") == 0
    read, data = written(folder / "page.HTML")
    assert data["photo"] == {"name": HOSTILE_PHOTO, "height": 246, "width": 224}
    assert [layer["name"] for layer in data["layers"]] == ["input", "stem"]
    image = np.moveaxis(read.block(data["layers"][0]["maps"]), 0, -1)
    np.testing.assert_array_equal(image, np.float32(open_photo(HOSTILE_PHOTO, 224)) / 255)
    assert [tag for tag, _ in read.tags].count("img") == 1


@pytest.fixture
def narrow(monkeypatch):
    """A VGG16 with few channels, and its weights with a head and without."""
    stages = {"vgg16": [[w // 32 for w in widths] for widths in vgg.STAGES["vgg16"]]}
    monkeypatch.setattr(vgg, "STAGES", stages)
    monkeypatch.setattr(vgg, "HIDDEN", 16)
    for name, head in {"whole": "dense", "trunk": None}.items():
        model = jc.vgg16(head=head, rngs=nnx.Rngs(3))
        model.preprocessing = weights.KERAS_PREPROCESSING
        weights.write_weights(model, f"{name}.safetensors")


def classes_of(folder, *arguments):
    given = [*arguments, "-o", "page.html", "--layer", "conv1_1"]
    assert run("explore", "my photo.png", *given) == 0
    return written(folder / "page.html")[1]["classes"]


@pytest.mark.slow
def test_the_page_names_the_classes_of_a_network_with_a_head(folder, narrow, monkeypatch):
    found = classes_of(folder, "--weights", "whole.safetensors")
    photo = open_photo("my photo.png", 224)
    model = jc.vgg16(weights="whole.safetensors", head="conv")
    logits = np.asarray(model(weights.KERAS_PREPROCESSING(photo[None])))
    assert logits.shape == (1, 2, 1, 1000)
    want = top_classes(logits.mean((1, 2)))
    assert [name for name, _ in found["top"]] == [one.name for one in want]
    assert found["note"] == ""
    # The published file, which is in the cache.
    monkeypatch.setattr(HubFile, "cached", lambda self: folder / "whole.safetensors")
    monkeypatch.setattr(HubFile, "verify", lambda self, path: None)
    assert classes_of(folder) == found


@pytest.mark.slow
def test_the_page_says_why_it_names_no_classes(folder, narrow, monkeypatch):
    said = "These weights are of the convolutions only: they show feature maps, but name no classes"
    trunk = classes_of(folder, "--weights", "trunk.safetensors")
    assert trunk["note"].startswith(said)
    assert trunk["top"] == []
    small = classes_of(folder, "--weights", "whole.safetensors", "--size", 40)
    assert small["note"] == (
        "To name classes, the network needs a photo of 224x224 pixels or more."
    )
    # The copy without a head is in the cache, the whole network is not: nothing is downloaded.
    monkeypatch.setattr(HubFile, "cached", lambda self: None)
    monkeypatch.setattr(HubFile, "download", lambda self: 1 / 0)
    monkeypatch.setattr(WheelFile, "cached", lambda self: folder / "trunk.safetensors")
    monkeypatch.setattr(WheelFile, "verify", lambda self, path: None)
    assert classes_of(folder)["note"].startswith(said)
    own = run("explore", "my photo.png", "--model", "net_to_explore:Net", "-o", "own.html")
    assert own == 0
    assert written(folder / "own.html")[1]["classes"] == {"top": [], "note": ""}


@pytest.mark.parametrize("there", [True, False], ids=["a browser", "no browser"])
def test_open_opens_the_page(folder, monkeypatch, capsys, there):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: bool(opened.append(address)) or there)
    assert run("explore", "my photo.png", "--model", "net_to_explore:Net", "--open") == 0
    assert opened == [(folder / "my photo-explore.html").as_uri()]
    said = "jaxconv explore: no browser was found. Fix: open my photo-explore.html.\n"
    assert capsys.readouterr().err == ("" if there else said)


BAD = {
    "a layer": (["--layer", "stam"], "layers is 'stam', which is not valid."),
    "a number": (["--layer", "7"], "layers is 7, which is not a layer."),
    "a format": (
        ["-o", "page.png"],
        "page.png has an unknown format. Fix: choose a name that ends in .html.",
    ),
    "a folder": (["-o", "no/page.html"], "no/page.html cannot be written:"),
    "no photo": (["none.jpg"], "There is no file none.jpg."),
    "a size": (["--size", "0"], "argument --size: '0' is not a whole number"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_a_sentence(capsys, case):
    arguments, message = BAD[case]
    given = [] if case == "no photo" else ["my photo.png"]
    assert run("explore", *given, "--model", "net_to_explore:Net", *arguments) == 2
    assert message in capsys.readouterr().err
