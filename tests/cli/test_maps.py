"""``jaxconv maps``: the table, maps, filters, the strongest patches, and every bad input."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

import jaxconv as jc
from jaxconv.models import weights
from jaxconv.plotting.figures import by_strength
from jaxconv.plotting.photos import open_photo
from tests.support.command_line import check_refusal, not_blank, run, spied


def test_maps_prints_the_table_and_draws_the_maps(folder, capsys, random_weights):
    chosen = ["--layer", "conv2_1", "--layer", "pool1"]
    assert run("maps", "photo.jpg", "--weights", random_weights, *chosen, "--show", 5) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["conv2_1", "32", "x", "37", "128", "576", "10/2"] in lines
    assert ["pool5", "2", "x", "2", "512", "-", "212/32"] in lines
    assert lines[-1] == ["wrote", "photo-maps.png"]
    with Image.open("photo-maps.png") as picture:
        assert picture.size[0] == 1320
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.std() > 20
    assert sorted(p.name for p in folder.iterdir()) == ["photo-maps.png", "photo.jpg"]


SMALL = ["--model", "jaxconv:VGG(((4,), (9,)), head=None)"]


@pytest.mark.parametrize("suffix", ["svg", "pdf", "jpg"])
def test_maps_writes_other_formats(folder, suffix):
    out = f"picture.{suffix}"
    given = [*SMALL, "--layer", "pool2", "--show", 2, "--out", out]
    assert run("maps", "photo.jpg", "--size", 40, *given) == 0
    starts = {"svg": b"<?xml", "pdf": b"%PDF", "jpg": b"\xff\xd8"}
    content = (folder / out).read_bytes()
    assert content.startswith(starts[suffix])
    assert (b">pool2" in content) is (suffix == "svg")  # where text can be searched for


def test_maps_draws_the_maps_of_the_network(folder, random_weights, monkeypatch):
    """What is drawn are the model's maps of the photo, prepared as the weights say."""
    from jaxconv.cli import maps as command

    given = spied(monkeypatch, command, "panels_figure")
    assert run("maps", "photo.jpg", "--weights", random_weights, "--layer", "conv3_2") == 0
    photo = open_photo("photo.jpg")
    model = jc.vgg16(weights=random_weights, head=None)
    want = jc.feature_maps(model, "conv3_2")(weights.KERAS_PREPROCESSING(photo[None]))["conv3_2"][0]
    ((seen, (panel,)),) = given
    assert panel.channels == by_strength(np.asarray(want))[:24].tolist()
    np.testing.assert_allclose(panel.maps, want[..., panel.channels], rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(seen, photo)


@pytest.mark.parametrize("size", [(40_00, 32), (32, 40_00)])
def test_long_photos_are_drawn(folder, size):
    Image.effect_noise(size, 80).save("long.png")
    assert run("maps", "long.png", *SMALL, "--layer", "conv2_1") == 0
    with Image.open("long-maps.png") as picture:
        assert min(picture.size) > 200


def test_maps_of_one_channel_are_large(folder, monkeypatch):
    from jaxconv.cli import maps as command

    given = spied(monkeypatch, command, "panels_figure")
    chosen = [*SMALL, "--layer", "conv2_1"]
    assert run("maps", "photo.jpg", *chosen, "--channel", 8, "--channel", 3) == 0
    assert [panel.channels for panel in given[0][1]] == [[8, 3]]
    large = not_blank("photo-maps.png")
    assert run("maps", "photo.jpg", *chosen, "--show", 2) == 0
    assert large[1] > not_blank("photo-maps.png")[1] + 200


def test_the_filters_of_the_first_layer(nets, monkeypatch, random_weights):
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


def test_maps_of_other_models_whatever_their_axes(nets, monkeypatch, capsys):
    from jaxconv.cli import maps as command

    given = spied(monkeypatch, command, "panels_figure")
    assert run("maps", "photo.jpg", "--model", "lookednets:first", "--show", 3) == 0
    ((panel,),) = given[0][1:]
    assert ":  5 maps of 62 x 73," in panel.title
    import lookednets

    x = open_photo("photo.jpg")[None].astype(np.float32) / 255
    want = np.asarray(lookednets.first(x)).transpose(1, 2, 0)
    np.testing.assert_allclose(panel.maps, want[..., panel.channels], atol=1e-5)
    assert run("maps", "photo.jpg", "--model", "lookednets:net()") == 0
    assert [panel.title[:5] for panel in given[1][1]] == ["deep:"]
    assert run("maps", "photo.jpg", "--model", "lookednets:net()", "--layer", "stem") == 0
    assert given[2][1][0].maps.shape == (38, 32, 8)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_model_of_the_users_gets_its_weights_and_its_pictures(folder, monkeypatch, channels):
    from jaxconv.cli import maps as command

    given = spied(monkeypatch, command, "panels_figure")
    make = f"jaxconv:VGG(((5,), (7,)), head=None, channels={channels}, batch_norm=True)"
    trained = jc.VGG(((5,), (7,)), head=None, channels=channels, batch_norm=True, rngs=nnx.Rngs(9))
    trained.conv1_1.norm.mean[...] = jnp.linspace(-1, 1, 5)
    trained.preprocessing = weights.Preprocessing(1 / 255, (0.3,) * channels, (0.2,) * channels)
    weights.write_weights(trained, folder / "trained.safetensors")
    chosen = ["--layer", "conv2_1", "--weights", "trained.safetensors"]
    assert run("maps", "photo.jpg", "--model", make, *chosen) == 0
    photo = open_photo("photo.jpg")[None].astype(np.float32)
    photo = photo.mean(-1, keepdims=True) if channels == 1 else photo
    want = jc.feature_maps(trained)((photo / 255 - 0.3) / 0.2)["conv2_1"][0]
    (panel,) = given[0][1]
    np.testing.assert_allclose(panel.maps, want[..., panel.channels], atol=1e-4)


def test_the_strongest_patches_of_a_folder(nets, monkeypatch, capsys, random_weights):
    from jaxconv.cli import maps as command

    given = spied(monkeypatch, command, "peaks_figure")
    (nets / "notes.txt").write_text("no picture")
    chosen = ["--layer", "conv2_2", "--channel", 3, "--strongest", 7, "--out", "best.jpg"]
    assert run("maps", ".", "--weights", random_weights, *chosen) == 0
    said = capsys.readouterr()
    assert "skipped: notes.txt is not a picture." in said.err
    assert "skipped: lookednets.py is not a picture." in said.err
    ((title, found),) = given
    assert title == "conv2_2, channel 3:  what excites it most in 2 photos"
    assert len(found) == 7
    assert [peak.value for peak in found] == sorted((p.value for p in found), reverse=True)
    model = jc.vgg16(weights=random_weights, head=None)
    maps = {}
    for name in {peak.photo for peak in found}:
        x = weights.KERAS_PREPROCESSING(open_photo(name)[None])
        maps[name] = np.asarray(jc.feature_maps(model, "conv2_2")(x)["conv2_2"][0, ..., 3])
    assert found[0].value == pytest.approx(max(m.max() for m in maps.values()), rel=1e-4)
    for peak in found:
        assert peak.value == pytest.approx(maps[peak.photo][peak.at], rel=1e-4, abs=1e-4)
        assert f"at {peak.at[0]},{peak.at[1]} in {peak.photo}" in said.out
    not_blank("best.jpg")


def test_the_strongest_of_nothing(nets, capsys, random_weights):
    (nets / "empty").mkdir()
    (nets / "empty" / "text.txt").write_text("no picture")
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


def bad_photo(name, content):
    def make(folder, good):
        (folder / name).write_bytes(content(good))
        return [name]

    return make


def one_pixel(folder, good):
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    return ["dot.png"]


def bomb(folder, good):
    (folder / "bomb.pbm").write_bytes(b"P4 30000 30000\n")  # the header alone
    return ["bomb.pbm"]


def cut_weights(folder, good):
    (folder / "cut.safetensors").write_bytes(good.read_bytes()[:1_000_000])
    return ["photo.jpg", "--weights", "cut.safetensors"]


def lacking_weights(folder, good):
    from safetensors.numpy import save_file

    tensors = weights.read_weights(good).tensors
    del tensors["conv3_2.bias"]
    save_file(tensors, folder / "lacking.safetensors")
    return ["photo.jpg", "--weights", "lacking.safetensors"]


def silent_weights(folder, good):
    from safetensors.numpy import save_file

    save_file(weights.read_weights(good).tensors, folder / "silent.safetensors")
    return ["photo.jpg", "--weights", "silent.safetensors"]


BAD_MAPS = {
    "no such file": (lambda *_: ["gone.jpg"], "There is no file gone.jpg."),
    "no picture": (bad_photo("text.jpg", lambda good: b"hello"), "text.jpg is not a picture."),
    "a truncated JPEG": (
        lambda folder, good: [(folder / "cut.jpg").write_bytes(
            (folder / "photo.jpg").read_bytes()[:900]) and "cut.jpg"],
        "cut.jpg cannot be read: image file is truncated",
    ),
    "a bomb": (bomb, "bomb.pbm unpacks to more than 89,478,485 pixels."),
    "a single pixel": (one_pixel, "x has 1x1 pixels, but 5 pools need 32x32"),
    "an unknown layer": (
        lambda *_: ["photo.jpg", "--layer", "conv3_9"],
        "layer is 'conv3_9', which is not valid.\n  Fix: set --layer to one of 'conv3_3', ",
    ),
    "a folder that is not there": (
        lambda *_: ["photo.jpg", "--out", "no/where.png"],
        "no/where.png cannot be written: No such file or directory.",
    ),
    "a folder as output": (
        lambda folder, good: [(folder / "dir.png").mkdir() or "photo.jpg", "--out", "dir.png"],
        "dir.png cannot be written: it is a folder.",
    ),
    "of no known format": (
        lambda *_: ["photo.jpg", "--out", "maps.txt"],
        "maps.txt has an unknown format. Fix: choose a name that ends in .png, .jpg, .svg, .pdf.",
    ),
    "the photo as output": (
        lambda *_: ["photo.jpg", "--out", "./photo.jpg"],
        "photo.jpg cannot be written: it is the photo itself.",
    ),
    "no name": (lambda *_: [""], "is a folder. Fix: pass a photo in it."),
    "a size beyond all memory": (
        lambda *_: ["photo.jpg", "--size", "60000"],
        "Size 60000 makes a picture of 60000x70312 pixels, more than 89,478,485.",
    ),
    "size 0": (
        lambda *_: ["photo.jpg", "--size", "0"],
        "'0' is not a whole number from 1 to 999999999",
    ),
    "no weights": (
        lambda *_: ["photo.jpg", "--weights", "gone.safetensors"],
        "There is no file gone.safetensors.",
    ),
    "truncated weights": (cut_weights, "cut.safetensors is truncated or not a file of weights"),
    "weights that lack a tensor": (lacking_weights, "it lacks conv3_2.bias, and has nothing"),
    "weights without preprocessing": (silent_weights, "does not say how to preprocess images"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_MAPS)
def test_bad_input_to_maps_is_a_sentence_and_leaves_nothing(folder, capsys, random_weights, case):
    make, message = BAD_MAPS[case]
    arguments = make(folder, random_weights)
    before = sorted(p.name for p in folder.iterdir())
    given = [] if "--weights" in arguments else ["--weights", random_weights]
    assert run("maps", *arguments, *given) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert "Traceback" not in said.err
    assert "wrote" not in said.out
    assert sorted(p.name for p in folder.iterdir()) == before


BAD = {
    "a model without pictures": (["--model", "lookednets:head"],
        "the model has no feature maps with height and width. Fix: pass another --model."),
    "no filters": (["--model", "lookednets:head", "--filters"],
        "the model has no convolution over images."),
    "a channel of maps": (["--layer", "conv1_1", "--channel", "64"],
        "conv1_1 has 64 maps, so there is no channel 64. Fix: pass --channel from 0 to 63."),
    "a channel of none": (["--channel", "512"],
        "conv5_3 has 512 maps, so there is no channel 512."),
    "a negative channel": (["--channel", "-1"],
        "argument --channel: '-1' is not a whole number from 0"),
    "no one channel": (["--strongest", "3", "--layer", "conv1_1"],
        "--strongest needs one channel. Fix: pass one --layer and one --channel."),
    "two tasks": (["--strongest", "3", "--filters"],
        "argument --filters: not allowed with argument --strongest"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_a_sentence_and_leaves_nothing(nets, capsys, random_weights, case):
    given, message = BAD[case]
    given = given if {"--model", "--weights"} & {*given} else [*given, "--weights", random_weights]
    check_refusal(capsys, nets, "maps", given, message)
