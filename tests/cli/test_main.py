"""The command line: what it prints and draws, and every bad input with exit status 2."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxconv.cli.main import main
from jaxconv.models import weights


@pytest.fixture
def folder(tmp_path, monkeypatch, hopper):
    """A working folder with a small photo in it."""
    monkeypatch.chdir(tmp_path)
    with Image.open(hopper) as photo:
        photo.resize((64, 75)).save("photo.jpg")
    return tmp_path


def run(*arguments):
    """Exit status of the command, whether argparse or we refuse."""
    try:
        return main([str(a) for a in arguments])
    except SystemExit as stop:
        return stop.code


def test_shape_prints_the_lessons_answer(capsys):
    assert run("shape", "128x128x3", "--filters", 32, "--kernel", 3, "--padding", 0) == 0
    assert capsys.readouterr().out == (
        "126x126x32\n"
        "  h: (n + low + high - extent)//stride + 1 = (128 + 0 + 0 - 3)//1 + 1 = 126\n"
        "  w: (n + low + high - extent)//stride + 1 = (128 + 0 + 0 - 3)//1 + 1 = 126\n"
        "  27 weights a filter (3x3x3), 864 in all, and 32 biases\n"
    )


SHAPES = [
    ("224x224x3 --filters 64 --kernel 3", "224x224x64", "27 weights a filter (3x3x3), 1728 in all"),
    ("7x7x512 --filters 4096 --kernel 7 --padding VALID", "1x1x4096", "25088 weights"),
    ("9x20x4 --filters 6 --kernel 3x5 --stride 2x1 --padding 1 --groups 2", "5x18x6", "3x5x2"),
    ("100x8 --filters 2 --kernel 5 --dilation 3 --padding CAUSAL", "100x2", "40 weights"),
    ("128x128x3 --filters 3 --kernel 16x3", "128x128x3", "144 weights a filter (16x3x3)"),
    ("9x9x3 --filters 1 --kernel 40000000", "9x9x1", "4800000000000000 weights a filter"),
    ("8x9x10x2 --filters 3 --kernel 2 --stride 2", "4x5x5x3", "16 weights"),
]


@pytest.mark.parametrize(("arguments", "shape", "part"), SHAPES)
def test_shape_of_other_convolutions(capsys, arguments, shape, part):
    assert run("shape", *arguments.split()) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == shape
    assert part in out


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


@pytest.mark.parametrize("suffix", ["svg", "pdf", "jpg"])
def test_maps_writes_other_formats(folder, random_weights, suffix):
    out = f"picture.{suffix}"
    given = ["--weights", random_weights, "--layer", "pool4", "--show", 2, "--out", out]
    assert run("maps", "photo.jpg", "--size", 40, *given) == 0
    starts = {"svg": b"<?xml", "pdf": b"%PDF", "jpg": b"\xff\xd8"}
    content = (folder / out).read_bytes()
    assert content.startswith(starts[suffix])
    assert (b">pool4" in content) is (suffix == "svg")  # where text can be searched for


def test_maps_draws_the_maps_of_the_network(folder, random_weights, monkeypatch):
    """What is drawn are the model's maps of the photo, prepared as the weights say."""
    import jaxconv as jc
    from jaxconv.cli import maps as command
    from jaxconv.plotting.photos import open_photo

    drawn = {}

    def spy(photo, maps, *options):
        drawn.update(maps, photo=photo)
        return figure(photo, maps, *options)

    figure = command.maps_figure
    monkeypatch.setattr(command, "maps_figure", spy)
    assert run("maps", "photo.jpg", "--weights", random_weights, "--layer", "conv3_2") == 0
    photo = open_photo("photo.jpg")
    model = jc.vgg16(weights=random_weights, head=None)
    want = jc.feature_maps(model)(weights.KERAS(photo[None]))["conv3_2"][0]
    np.testing.assert_allclose(drawn["conv3_2"], want, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(drawn["photo"], photo)


def test_summary_prints_a_table_of_formulas_and_numbers(capsys):
    assert run("summary", "vgg16", "b h w 3", "--at", "b=1, h=224,w=224") == 0
    out = capsys.readouterr().out
    assert "1728*b*h*w = 86,704,128" in out
    assert "\x1b" not in out
    assert "parameters: 138,357,544\n" in out
    assert out.endswith("taps on padding are counted.\n")


def test_summary_prints_data(capsys):
    given = ["vgg11", "b h w 3", "--where", "h == 224, w == 224", "--without-padding", "--json"]
    assert run("summary", *given) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["rows"][0]["macs"] == f"{(3 * 224 - 2) ** 2 * 3 * 64}*b"
    assert (data["parameters"], data["padded_taps"]) == (132_863_336, False)


def test_summary_is_coloured_in_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "150")
    assert run("summary", "vgg11", "b 224 224 3") == 0
    out = capsys.readouterr().out
    assert "\x1b[" in out
    assert " conv5_2 " in out


BAD_SUMMARIES = [
    (["vgg12", "b h w 3"], "summary: vgg12 names no function and no model."),
    (["vgg16", "b h w 4"], "summary: no size is accepted. VGG: x has 4 channels"),
    (["vgg16", "b h ? 3"], "summary: The spec cannot be read: this is no formula."),
    (["vgg16", "b h w 3", "--at", "b=1;h=2"], "--at b=1;h=2 cannot be read. Fix: write it as b=1"),
    (["vgg16", "b h w 3", "--at", "b=1,h=-2"], "--at b=1,h=-2 cannot be read."),
    (["vgg16", "b h w 3", "--at", "b=1"], "at= is {'b': 1}, but must have b, h, w, each a whole"),
    (["vgg16", "b h w 3", "--at", "b=1,h=9,w=9"], "b = 1, h = 9, w = 9 is not accepted: VGG: x"),
    (["vgg16", "b h w 3", "--where", "h > 300"], "no size is accepted. VGG: x has hxw"),
    (["vgg16", "b h w 3", "--where", "k > 3"], "where= names k, but the sizes are b, h, w."),
    (["vgg16"], "the following arguments are required: SPEC"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_SUMMARIES)
def test_bad_input_to_summary_is_a_sentence(capsys, arguments, message):
    assert run("summary", *arguments) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert "summary: summary:" not in said


def bad_photo(name, content):
    def make(folder, good):
        (folder / name).write_bytes(content(good))
        return [name]

    return make


def one_pixel(folder, good):
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    return ["dot.png"]


def bomb(folder, good):
    Image.new("1", (30_000, 30_000)).save(folder / "bomb.png")
    return ["bomb.png"]


def cut_weights(folder, good):
    (folder / "cut.safetensors").write_bytes(good.read_bytes()[:1_000_000])
    return ["photo.jpg", "--weights", "cut.safetensors"]


def lacking_weights(folder, good):
    from safetensors.numpy import save_file

    tensors = weights.read(good).tensors
    del tensors["conv3_2.bias"]
    save_file(tensors, folder / "lacking.safetensors")
    return ["photo.jpg", "--weights", "lacking.safetensors"]


def silent_weights(folder, good):
    from safetensors.numpy import save_file

    save_file(weights.read(good).tensors, folder / "silent.safetensors")
    return ["photo.jpg", "--weights", "silent.safetensors"]


BAD_MAPS = {
    "no such file": (lambda *_: ["gone.jpg"], "There is no file gone.jpg."),
    "no picture": (bad_photo("text.jpg", lambda good: b"hello"), "text.jpg is not a picture."),
    "a truncated JPEG": (
        lambda folder, good: [(folder / "cut.jpg").write_bytes(
            (folder / "photo.jpg").read_bytes()[:900]) and "cut.jpg"],
        "cut.jpg cannot be read: image file is truncated",
    ),
    "a bomb": (bomb, "bomb.png unpacks to more than 89,478,485 pixels."),
    "a single pixel": (one_pixel, "x has 1x1 pixels, but 5 pools need 32x32"),
    "an unknown layer": (
        lambda *_: ["photo.jpg", "--layer", "conv3_9"],
        "layer is 'conv3_9', which is not known.\n  Fix: pass layer= one of 'conv3_3', 'conv1_1', ",
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
        "maps.txt is of no known format. Fix: end it in .png, .jpg, .svg, .pdf.",
    ),
    "the photo as output": (
        lambda *_: ["photo.jpg", "--out", "./photo.jpg"],
        "photo.jpg cannot be written: it is the photo itself.",
    ),
    "no name": (lambda *_: [""], "cannot be read: "),
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
    "truncated weights": (cut_weights, "cut.safetensors is truncated or no file of weights"),
    "weights that lack a tensor": (lacking_weights, "it lacks conv3_2.bias, and has nothing"),
    "weights without preprocessing": (silent_weights, "does not say how its pictures"),
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


def test_a_photo_too_large_for_the_machine_is_a_sentence(folder, capsys, monkeypatch):
    monkeypatch.setattr("jaxconv.cli.inputs._memory", lambda: 3e6)
    assert run("maps", "photo.jpg") == 2
    assert capsys.readouterr().err == (
        "jaxconv maps: the first feature maps of a photo of 64x75 pixels need 0.0037 GB, and this "
        "machine has 0.003. Fix: pass --size 1024.\n"
    )


def test_a_cache_with_a_wrong_hash_is_a_sentence(folder, capsys, monkeypatch):
    monkeypatch.setenv("JAXCONV_CACHE", str(folder / "cache"))
    (folder / "cache").mkdir()
    (folder / "cache" / "vgg16-tv_in1k.safetensors").write_bytes(b"half a file")
    assert run("maps", "photo.jpg") == 2
    assert "vgg16-tv_in1k.safetensors is damaged or not the published file" in (
        capsys.readouterr().err
    )


BAD_SHAPES = [
    ("128x128", "--kernel 3x3x3 --filters 1", "--kernel has 3 numbers. Fix: give one, or 1."),
    ("12", "--kernel 3 --filters 1", "12 is no image. Fix: write it as 128x128x3."),
    ("128xAx3", "--kernel 3 --filters 1", "image: 'A' is not a whole number from 1 to 999999999."),
    ("5x5x3", "--kernel 7 --filters 1 --padding VALID", "the feature map would be empty along h"),
    ("5x5x3", "--kernel 3 --filters 1 --padding same", "padding is 'same', which is not known."),
    ("5x5x3", "--kernel 3 --filters 4 --groups 2", "2 does not divide 3."),
    ("5x5x3", "--kernel 0 --filters 4", "'0' is not a whole number from 1 to 999999999"),
    ("5x5x3", "--kernel 3 --filters -4", "'-4' is not a whole number from 1 to 999999999"),
    ("5x5x3", "--kernel 3 --filters 4 --padding=--5", "padding is '--5', which is not known."),
    ("9" * 5000 + "x5x3", "--kernel 3 --filters 4", "is not a whole number from 1 to 999999999"),
    ("5x5x3", "--kernel 3 --filters 4 --padding -1", "padding is -1, but must not be negative."),
]


@pytest.mark.parametrize(("image", "options", "message"), BAD_SHAPES)
def test_bad_input_to_shape_is_a_sentence(capsys, image, options, message):
    assert run("shape", image, *options.split()) == 2
    assert message in capsys.readouterr().err


def test_the_installed_command_runs(folder, random_weights):
    command = os.path.join(os.path.dirname(sys.executable), "jaxconv")
    given = ["maps", "photo.jpg", "--weights", str(random_weights), "--layer", "pool5"]
    done = subprocess.run([command, *given], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.endswith("wrote photo-maps.png\n")


def test_importing_jaxconv_loads_nothing_heavy():
    heavy = "matplotlib PIL onnx huggingface_hub safetensors platformdirs orbax"
    code = f"import sys, jaxconv; print([m for m in {heavy.split()!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_names_of_files_are_printed_as_they_are(folder, random_weights):
    (folder / "photo.jpg").rename("IMG[bold]é.jpg")
    command = [sys.executable, "-m", "jaxconv.cli.main"]
    given = ["maps", "IMG[bold]é.jpg", "--weights", str(random_weights), "--layer", "pool5"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*command, *given], env=environment, capture_output=True, check=True)
    assert rb"VGG16 on IMG[bold]\xe9.jpg" in done.stdout
    assert (folder / "IMG[bold]é-maps.png").exists()


def test_a_missing_extra_is_a_sentence(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert run("maps", "photo.jpg") == 2
    said = capsys.readouterr().err
    assert said.startswith("jaxconv maps: it needs PIL, which is not installed.\n  Fix: python -m")


def test_a_reader_may_stop_early():
    reader, writer = os.pipe()
    os.close(reader)
    command = [
        sys.executable,
        "-m",
        "jaxconv.cli.main",
        "shape",
        "8x8x3",
        "--filters=1",
        "--kernel=1",
    ]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("size", [(40_00, 32), (32, 40_00)])
def test_long_photos_are_drawn(folder, random_weights, size):
    Image.effect_noise(size, 80).save("long.png")
    given = ["--weights", random_weights, "--layer", "conv3_1", "--show", 9]
    assert run("maps", "long.png", *given) == 0
    with Image.open("long-maps.png") as picture:
        assert min(picture.size) > 200
