"""``jaxconv classify``: what it prints, and every bad input with exit status 2."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

import jaxconv as jc
from jaxconv.analysis.classes import imagenet_classes, top_classes
from jaxconv.models import vgg, weights
from jaxconv.models.errors import WeightsError
from jaxconv.models.sources import HubFile, WheelFile
from tests.support import torch_files
from tests.support.command_line import run

NETS = """
import jax, jax.numpy as jnp, jaxconv as jc

def ten(x):
    assert x.shape == (1, 64, 64, 3)
    return x.mean((1, 2)) @ jnp.arange(30.0).reshape(3, 10)

def channels_first(x):
    x = jax.lax.conv_general_dilated(x, jnp.ones((10, 3, 3, 3)), (1, 1), "SAME")
    return jax.nn.softmax(x.mean((2, 3)) * jnp.arange(10.0))

def maps(x):
    return jc.max_pool(x)

def two(x):
    return x, x

def undefined(x):
    return x.mean((1, 2)) * jnp.nan

def needs_too_much(x):
    return jnp.cumsum(jnp.full((2**22, 2**22), x.mean()), 0)[:1, :10]

def one_size(x):
    return x.reshape(1, -1) @ jnp.ones((3 * 64 * 64, 10))
"""


@pytest.fixture(autouse=True, scope="module")
def narrow():
    """Networks with few channels: of the true ones, the head has 500 MB."""
    stages = {n: [[w // 32 for w in s] for s in stages] for n, stages in vgg.STAGES.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vgg, "STAGES", stages)
        patch.setattr(vgg, "HIDDEN", 16)
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory, hopper, narrow):
    """Photos, networks, and weights of VGG16."""
    folder = tmp_path_factory.mktemp("files")
    with Image.open(hopper) as photo:
        photo.save(folder / "hopper.png")
        photo.transpose(Image.Transpose.ROTATE_90).resize((300, 260)).save(folder / "lying.png")
    (folder / "classifiednets.py").write_text(NETS)
    write(folder / "w.safetensors")
    return folder


@pytest.fixture
def photos(tmp_path, monkeypatch, files):
    """A working folder with a copy of all files."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, name="vgg16", **options):
    """Random weights, whose outputs differ. JAX would compile a program for each shape."""
    model, rng = nnx.eval_shape(lambda: getattr(jc, name)(**options)), np.random.default_rng(7)

    def drawn(parameter):
        shape = parameter.shape
        if len(shape) == 1:  # biases, and what a batch norm multiplies and divides by
            return jnp.asarray(rng.uniform(0.5, 1.5, shape), "float32")
        return jnp.asarray(rng.normal(size=shape) * (2 / np.prod(shape[:-1])) ** 0.5, "float32")

    nnx.update(model, jax.tree.map(drawn, nnx.state(model, (nnx.Param, nnx.BatchStat))))
    model.preprocessing = weights.KERAS_PREPROCESSING
    weights.write_weights(model, path)
    return model


def prepared(path, size=224):
    """The middle of a photo, by other means."""
    with Image.open(path) as photo:
        short = round(size * 8 / 7)
        width, height = (side * short // min(photo.size) for side in photo.size)
        resized = photo.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


def test_it_prints_the_five_most_probable_classes(photos, capsys):
    model = jc.vgg16(weights="w.safetensors")
    assert run("classify", "hopper.png", "--weights", "w.safetensors") == 0
    said = capsys.readouterr()
    want = top_classes(model(weights.KERAS_PREPROCESSING(prepared("hopper.png")[None])))
    assert said.out.splitlines()[0] == "hopper.png"
    rows = [line.split("  ") for line in said.out.splitlines()[1:]]
    assert [row[-1] for row in rows] == [one.name for one in want]
    assert [float(row[-2].strip(" %")) for row in rows] == pytest.approx(
        [100 * one.probability for one in want], abs=0.06
    )
    assert {one.name for one in want} < {*imagenet_classes()}
    assert not said.err


def test_several_photos_as_json(photos, capsys):
    model = write("w.safetensors", "vgg11", batch_norm=True)
    given = ["hopper.png", "lying.png", "--model", "vgg11_bn", "--weights", "w.safetensors"]
    assert run("classify", *given, "--top", 2, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["photo"] for entry in found] == ["hopper.png", "lying.png"]
    for entry in found:
        want = top_classes(model(weights.KERAS_PREPROCESSING(prepared(entry["photo"])[None])), 2)
        assert [one["number"] for one in entry["classes"]] == [one.number for one in want]
        np.testing.assert_allclose(
            [one["probability"] for one in entry["classes"]],
            [one.probability for one in want],
            rtol=1e-3,
        )


def test_a_photo_that_is_named_twice_is_there_twice(photos, capsys):
    options = ["--model", "classifiednets:ten", "--size", 64, "--json"]
    assert run("classify", "hopper.png", "hopper.png", *options) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first == second


def test_full_memory_of_a_device_is_a_sentence(photos, capsys):
    options = ["--model", "classifiednets:needs_too_much", "--size", 64]
    assert run("classify", "hopper.png", *options) == 2
    said = capsys.readouterr().err
    assert said == "jaxconv classify: out of memory. Fix: pass a smaller --size.\n"


def test_a_larger_square_is_averaged(photos, capsys):
    model = jc.vgg16(weights="w.safetensors", head="conv")
    given = ["lying.png", "--weights", "w.safetensors", "--json", "--top", 1000]
    assert run("classify", *given, "--size", 256) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    logits = model(weights.KERAS_PREPROCESSING(prepared("lying.png", 256)[None]))
    assert logits.shape == (1, 2, 2, 1000) or logits.shape[1:3] == (2, 2)
    want = top_classes(np.asarray(logits).mean((1, 2)), 1000)
    assert [one["number"] for one in entry["classes"]][:5] == [one.number for one in want][:5]
    assert sum(one["probability"] for one in entry["classes"]) == pytest.approx(1)


def test_models_of_yours_have_names_of_yours(photos, capsys):
    (photos / "names.txt").write_text("\n".join(f"kind {chr(97 + i)}" for i in range(10)))
    ten = ["--model", "classifiednets:ten", "--size", 64, "--top", 1]
    assert run("classify", "hopper.png", *ten) == 0
    assert capsys.readouterr().out.endswith("  class 9\n")
    assert run("classify", "hopper.png", *ten, "--names", "names.txt") == 0
    assert capsys.readouterr().out.endswith("  kind j\n")
    first = ["--model", "classifiednets:channels_first", "--size", 64]
    assert run("classify", *first, "--layout", "NCHW") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("grace_hopper.jpg")
    shares = [float(line.split("%")[0]) for line in lines[1:]]
    assert shares == sorted(shares, reverse=True)


def test_classes_of_another_number(photos, capsys):
    """The message says which model fits, and that model does."""
    write("ten.safetensors", classes=10)
    given = ["hopper.png", "--weights", "ten.safetensors"]
    assert run("classify", *given) == 2
    said = capsys.readouterr().err
    assert said.endswith("Fix: pass --model 'vgg16(classes=10)' with these weights.\n")
    assert run("classify", *given, "--model", "vgg16(classes=10)") == 0
    assert "  class " in capsys.readouterr().out


@pytest.fixture
def offline(monkeypatch):
    def fail(self):
        raise OSError("no route")

    for source in (HubFile, WheelFile):
        monkeypatch.setattr(source, "cached", lambda self: None)
        monkeypatch.setattr(source, "download", fail)


def test_without_the_head_it_says_what_it_cannot_do(photos, capsys, offline):
    write("trunk.safetensors", head=None)
    assert run("classify", "hopper.png", "--weights", "trunk.safetensors") == 2
    assert capsys.readouterr().err == (
        "jaxconv classify: trunk.safetensors has the convolutions only: they give feature maps "
        "(jaxconv maps), but cannot name classes. Fix: pass --weights model.safetensors of "
        "timm/vgg16.tv_in1k (553 MB), from the Hugging Face hub.\n"
    )
    assert run("classify", "hopper.png") == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == (
        "jaxconv classify: the classifier of vgg16 is unavailable, and its convolutions alone give "
        "feature maps (jaxconv maps), but cannot name classes. It is not in the cache, and could "
        "not be downloaded. Tried: the weights timm/vgg16.tv_in1k, from the Hugging Face hub (no "
        "route). Fix: connect to the internet once, or download model.safetensors of "
        "timm/vgg16.tv_in1k (553 MB) elsewhere and pass --weights its path."
    )
    assert run("classify", "hopper.png", "--model", "vgg19_bn") == 2
    assert "The imagenet weights of vgg19_bn are unavailable" in capsys.readouterr().err


BAD = {
    "no photo": (["none.png"], "There is no file none.png."),
    "one of several": (["hopper.png", "classifiednets.py"], "classifiednets.py is not a picture."),
    "a folder": (["."], ". is a folder. Fix: pass a photo in it."),
    "a layout": (["hopper.png", "--layout", "NCHW"], "vgg16 takes no --layout. Fix: omit it."),
    "no weights": (["hopper.png", "--weights", "x.pth"], "There is no file x.pth."),
    "weights that run code": (["hopper.png", "--weights", "evil.pth"],
        "evil.pth cannot be used: it is a program that calls posix.mkdir, which is not run."),
    "small": (["hopper.png", "--weights", "w.safetensors", "--size", 100],
        "vgg16 needs 224 pixels. Fix: pass --size 224 or more."),
    "no classes": (["hopper.png", "--model", "classifiednets:maps"],
        "classifiednets:maps returns an array of shape (1, 112, 112, 3) for one photo, not one "
        "number for each class. Fix: pass a --model that ends in a classifier."),
    "two outputs": (["hopper.png", "--model", "classifiednets:two"],
        "classifiednets:two returns several arrays for one photo"),
    "not a number": (["hopper.png", "--model", "classifiednets:undefined"],
        "classifiednets:undefined returns NaN or infinity for hopper.png. Fix: check its weights."),
    "another size": (["hopper.png", "--model", "classifiednets:one_size"],
        "running classifiednets:one_size on an image (1, 224, 224, 3) failed."),
    "names": (["hopper.png", "--model", "classifiednets:ten", "--size", 64, "--names", "none.txt"],
        "none.txt cannot be read: No such file or directory. Fix: pass another --names."),
    "binary names": (["hopper.png", "--names", "hopper.png"], "it is not text in UTF-8"),
    "too few names": (["hopper.png", "--model", "classifiednets:ten", "--size", 64, "--names",
        "classifiednets.py"], "classifiednets:ten has 10 classes, but --names has "),
    "a number": (["hopper.png", "--top", "0"], "argument --top: '0' is not a whole number"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_a_sentence(photos, capsys, case):
    arguments, message = BAD[case]
    (photos / "evil.pth").write_bytes(
        torch_files.zipped({"a/data.pkl": b"cposix\nmkdir\n(Vx\ntR."})
    )
    before = sorted(path.name for path in photos.iterdir() if path.is_file())
    assert run("classify", *arguments) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""
    assert sorted(path.name for path in photos.iterdir() if path.is_file()) == before


def test_an_error_of_python_speaks_of_arguments(photos):
    write("ten.safetensors", classes=10)
    with pytest.raises(WeightsError, match=r"Fix: pass classes=10\."):
        jc.vgg16(weights="ten.safetensors")
