"""jaxconv neuron, and what jaxconv maps draws of channels, filters, and other models."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

import jaxconv as jc
from jaxconv.cli.main import main
from jaxconv.models import weights
from jaxconv.plotting.peaks import peaks
from jaxconv.plotting.photos import open_photo

NETS = """
import equinox as eqx, jax, jax.numpy as jnp, jaxconv as jc
from flax import nnx

class Net(nnx.Module):
    def __init__(self, width, rngs):
        self.stem = nnx.Conv(3, width, (5, 3), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.deep = nnx.Conv(width, 6, (3, 3), rngs=rngs)
        self.head = nnx.Linear(6, 4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        x = jax.nn.relu(self.norm(self.stem(x)))
        return self.head(self.dropout(nnx.relu(self.deep(x)).mean((1, 2))))

def net():
    return Net(8, nnx.Rngs(3))

trunk = eqx.nn.Conv2d(3, 5, 3, key=jax.random.key(0))

def first(x):
    assert x.shape[::3] == (1, 3) and x.dtype == jnp.float32
    return jax.nn.relu(trunk(x[0].transpose(2, 0, 1)))

def head(x):
    return x.mean((1, 2)) @ jnp.ones((3, 2))

def broken(x):
    return jc.conv(x, jnp.ones((3, 3, 4, 2)))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch, hopper):
    """A working folder with a small photo, and a module of networks."""
    monkeypatch.chdir(tmp_path)
    with Image.open(hopper) as photo:
        photo.resize((64, 75)).save("photo.jpg")
        photo.transpose(Image.Transpose.ROTATE_90).resize((70, 60)).save("other.png")
    (tmp_path / "lookednets.py").write_text(NETS)
    return tmp_path


def run(*arguments):
    try:
        return main([str(a) for a in arguments])
    except SystemExit as stop:
        return stop.code


def spied(monkeypatch, module, name):
    """What a command gives a function that draws."""
    given, draw = [], getattr(module, name)

    def spy(*args, **options):
        given.append(args)
        return draw(*args, **options)

    monkeypatch.setattr(module, name, spy)
    return given


def not_blank(path):
    with Image.open(path) as picture:
        assert np.asarray(picture.convert("RGB")).std() > 15
        return picture.size


PLACES = [("conv1_1", "74,0", 7), ("conv3_2", "5,6", 17), ("pool4", "3,2", 2), ("16", "0,3", 500)]


@pytest.mark.parametrize(("layer", "at", "channel"), PLACES)
def test_neuron_prints_and_draws(folder, capsys, random_weights, monkeypatch, layer, at, channel):
    from jaxconv.cli import neuron as command

    given = spied(monkeypatch, command, "neuron_figure")
    place = ["--layer", layer, "--at", at, "--channel", channel]
    assert run("neuron", "photo.jpg", "--weights", random_weights, *place) == 0
    out = capsys.readouterr().out
    photo = open_photo("photo.jpg")
    model = jc.vgg16(weights=random_weights, head=None)
    layer = int(layer) if layer.isdigit() else layer
    y, x = map(int, at.split(","))
    n = jc.neuron(model, weights.KERAS(photo[None]), layer=layer, at=(y, x), channel=channel)
    assert out == f"{n}\nwrote photo-neuron.png\n"
    assert not_blank("photo-neuron.png")[0] == 1320
    ((seen, drawn, colour),) = given
    np.testing.assert_array_equal(seen, photo)
    assert drawn.map[y, x] == drawn.map_value == n.map_value
    if layer == "conv1_1":  # in the corner: what is not padding are the photo's own pixels
        want = photo[73:75, :2] / 255
        np.testing.assert_allclose(colour[:2, 1:], want, atol=1e-5)
    else:
        assert colour is None


def test_neuron_of_other_models(folder, capsys):
    place = ["--layer", "stem", "--at", "3,30", "--channel", 4, "--out", "a.svg"]
    assert run("neuron", "photo.jpg", "--model", "lookednets:net()", *place) == 0
    out = capsys.readouterr().out
    assert "45 weights . 45 numbers" in out
    assert (folder / "a.svg").stat().st_size > 10_000
    head = ["--layer", "head", "--channel", 2, "--out", "b.png"]
    assert run("neuron", "photo.jpg", "--model", "lookednets:net()", *head) == 0
    assert "6 weights . 6 numbers" in capsys.readouterr().out
    assert not_blank("b.png")
    first = ["--layer", 1, "--at", "1,2", "--channel", 3, "--out", "c.png"]
    assert run("neuron", "photo.jpg", "--model", "lookednets:first", *first) == 0
    assert "27 weights . 27 numbers" in capsys.readouterr().out


def test_maps_of_one_channel_are_large(folder, monkeypatch, random_weights):
    from jaxconv.cli import maps as command

    given = spied(monkeypatch, command, "maps_figure")
    chosen = ["--layer", "conv2_1", "--channel", 100, "--channel", 3]
    assert run("maps", "photo.jpg", "--weights", random_weights, *chosen) == 0
    assert given[0][3] == [100, 3]
    large = not_blank("photo-maps.png")
    assert run("maps", "photo.jpg", "--weights", random_weights, *chosen[:2], "--show", 2) == 0
    assert large[1] > not_blank("photo-maps.png")[1] + 200


def test_the_filters_of_the_first_layer(folder, monkeypatch, random_weights):
    from jaxconv.cli import maps as command

    given = spied(monkeypatch, command, "filters_figure")
    assert run("maps", "photo.jpg", "--weights", random_weights, "--filters") == 0
    not_blank("photo-filters.png")
    ((layer, filters),) = given
    model = jc.vgg16(weights=random_weights, head=None)
    assert layer == "conv1_1"
    kernel = np.asarray(model.conv1_1.kernel[...])
    np.testing.assert_array_equal(filters, kernel.transpose(3, 0, 1, 2))
    assert run("maps", "photo.jpg", "--model", "lookednets:first", "--filters") == 0
    assert given[1][1].shape == (5, 3, 3, 3)


def test_maps_of_other_models_whatever_their_axes(folder, monkeypatch, capsys):
    from jaxconv.cli import maps as command

    given = spied(monkeypatch, command, "maps_figure")
    assert run("maps", "photo.jpg", "--model", "lookednets:first", "--show", 3) == 0
    _, maps, *_ = given[0]
    (values,) = maps.values()
    assert values.shape == (73, 62, 5)
    import lookednets

    x = open_photo("photo.jpg")[None].astype(np.float32) / 255
    want = np.asarray(lookednets.first(x)).transpose(1, 2, 0)
    np.testing.assert_allclose(values, want, atol=1e-5)
    assert run("maps", "photo.jpg", "--model", "lookednets:net()") == 0
    assert [*given[1][1]] == ["deep"]
    assert run("maps", "photo.jpg", "--model", "lookednets:net()", "--layer", "stem") == 0
    assert given[2][1]["stem"].shape == (38, 32, 8)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_model_of_the_users_gets_its_weights_and_its_pictures(folder, monkeypatch, channels):
    from jaxconv.cli import maps as command

    given = spied(monkeypatch, command, "maps_figure")
    make = f"jaxconv:VGG(((5,), (7,)), head=None, channels={channels}, batch_norm=True)"
    trained = jc.VGG(((5,), (7,)), head=None, channels=channels, batch_norm=True, rngs=nnx.Rngs(9))
    trained.conv1_1.norm.mean[...] = jnp.linspace(-1, 1, 5)
    trained.preprocessing = weights.Preprocessing(1 / 255, (0.3,) * channels, (0.2,) * channels)
    weights.write(trained, folder / "trained.safetensors")
    chosen = ["--layer", "conv2_1", "--weights", "trained.safetensors"]
    assert run("maps", "photo.jpg", "--model", make, *chosen) == 0
    photo = open_photo("photo.jpg")[None].astype(np.float32)
    photo = photo.mean(-1, keepdims=True) if channels == 1 else photo
    want = jc.feature_maps(trained)((photo / 255 - 0.3) / 0.2)["conv2_1"][0]
    np.testing.assert_allclose(given[0][1]["conv2_1"], want, atol=1e-4)


def test_the_strongest_patches_of_a_folder(folder, monkeypatch, capsys, random_weights):
    from jaxconv.cli import maps as command

    given = spied(monkeypatch, command, "peaks_figure")
    (folder / "notes.txt").write_text("no picture")
    chosen = ["--layer", "conv2_2", "--channel", 3, "--strongest", 7, "--out", "best.jpg"]
    assert run("maps", ".", "--weights", random_weights, *chosen) == 0
    said = capsys.readouterr()
    assert "left out: notes.txt is not a picture." in said.err
    assert "left out: lookednets.py is not a picture." in said.err
    ((title, found),) = given
    assert title == "conv2_2, channel 3:  what excites it most in 2 photos"
    assert len(found) == 7
    assert [peak.value for peak in found] == sorted((p.value for p in found), reverse=True)
    model = jc.vgg16(weights=random_weights, head=None)
    maps = {}
    for name in {peak.photo for peak in found}:
        x = weights.KERAS(open_photo(name)[None])
        maps[name] = np.asarray(jc.feature_maps(model, "conv2_2")(x)["conv2_2"][0, ..., 3])
    assert found[0].value == pytest.approx(max(m.max() for m in maps.values()), rel=1e-4)
    for peak in found:
        assert peak.value == pytest.approx(maps[peak.photo][peak.at], rel=1e-4, abs=1e-4)
        assert f"at {peak.at[0]},{peak.at[1]} in {peak.photo}" in said.out
    not_blank("best.jpg")


def test_peaks_are_one_in_each_neighbourhood():
    rng = np.random.default_rng(0)
    values, photo = rng.uniform(size=(20, 30)), rng.integers(0, 256, (40, 60, 3), np.uint8)

    model = lambda x: jc.max_pool(jc.conv(x, np.ones((9, 9, 3, 1), np.float32)))  # noqa: E731
    sees = jc.receptive_field(model, "1 40 60 3", layer=2)
    found = peaks(values, photo, sees, 12)
    assert found[0].value == values.max()
    for i, one in enumerate(found):
        (top, bottom), (left, right) = sees.box(*one.at)
        np.testing.assert_array_equal(one.seen, photo[top:bottom, left:right])
        for other in found[:i]:
            assert max(abs(a - b) for a, b in zip(one.at, other.at, strict=True)) > 1
    assert peaks(-values, photo, sees, 5) == []


NEURON = ["--layer", "conv1_2", "--at", "3,4", "--channel", "5"]
BAD = {
    "a place that cannot be read": (["neuron", "--layer", "1", "--at", "3;4", "--channel", "1"],
        "--at 3;4 cannot be read. Fix: write it as 20,30 for y, x."),
    "a place outside": (["neuron", "--layer", "conv1_1", "--at", "75,0", "--channel", "1"],
        "jaxconv neuron: at is (75, 0), but conv1_1 has a map of 75 x 64.\n"
        "  Fix: pass y from 0 to 74 and x from 0 to 63."),
    "a layer": (["neuron", "--layer", "conv9_1", "--at", "3,4", "--channel", "1"],
        "jaxconv neuron: layer is 'conv9_1', which is not known."),
    "a channel": (["neuron", "--layer", "conv1_1", "--at", "3,4", "--channel", "64"],
        "jaxconv neuron: channel is 64, but conv1_1 has 64 channels.\n"
        "  Fix: pass channel= from 0 to 63."),
    "the photo itself": (["neuron", *NEURON, "--out", "photo.jpg"],
        "photo.jpg cannot be written: it is the photo itself."),
    "no layer": (["neuron", "--at", "3,4", "--channel", "1"],
        "the following arguments are required: --layer"),
    "weights of no model": (["maps", "--model", "lookednets:first", "--weights", "x.safetensors"],
        "--weights is for models of Flax NNX. Fix: load them in a function"),
    "weights that are not there": (
        ["maps", "--model", "lookednets:net()", "--weights", "x.safetensors"],
        "There is no file x.safetensors."),
    "no model": (["neuron", "--model", "lookednets:nets", *NEURON],
        "lookednets has no nets.\n  Fix: write net."),
    "a model that fails": (["maps", "--model", "lookednets:broken"],
        "running lookednets:broken on an image (1, 75, 64, 3) fails."),
    "a model without pictures": (["maps", "--model", "lookednets:head"],
        "the model has no feature maps with height and width. Fix: pass another."),
    "no filters": (["maps", "--model", "lookednets:head", "--filters"],
        "the model has no convolution over images."),
    "a channel of maps": (["maps", "--layer", "conv1_1", "--channel", "64"],
        "conv1_1 has 64 maps, and no channel 64. Fix: pass --channel from 0 to 63."),
    "a channel of none": (["maps", "--channel", "512"],
        "conv5_3 has 512 maps, and no channel 512."),
    "a negative channel": (["maps", "--channel", "-1"],
        "argument --channel: '-1' is not a whole number from 0"),
    "no one channel": (["maps", "--strongest", "3", "--layer", "conv1_1"],
        "--strongest needs one channel. Fix: pass one --layer and one --channel."),
    "two tasks": (["maps", "--strongest", "3", "--filters"],
        "argument --filters: not allowed with argument --strongest"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_a_sentence_and_leaves_nothing(folder, capsys, random_weights, case):
    (command, *given), message = BAD[case]
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    given += [] if {"--model", "--weights"} & {*given} else ["--weights", random_weights]
    assert run(command, "photo.jpg", *given) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert (
        "jaxconv" not in re.sub("jaxconv (neuron|maps)|Fix:.*", "", said.err) or "fails" in message
    )
    assert "wrote" not in said.out
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before


def test_the_strongest_of_nothing(folder, capsys, random_weights):
    (folder / "empty").mkdir()
    (folder / "empty" / "text.txt").write_text("no picture")
    chosen = ["--weights", random_weights, "--layer", "conv1_1", "--channel", 3, "--strongest", 2]
    assert run("maps", "empty", *chosen) == 2
    assert (
        "empty has no pictures. Fix: pass a photo, or a folder of photos."
        in capsys.readouterr().err
    )
    assert run("maps", ".", *chosen[:-2]) == 2
    assert "Fix:" in capsys.readouterr().err
    assert run("maps", ".", *chosen, "--out", "other.png") == 2
    assert "other.png cannot be written: it is the photo itself." in capsys.readouterr().err
