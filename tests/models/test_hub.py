"""Models in folders and on the hub: written, read again, uploaded, and every way to be wrong."""

import json
import os
import sys
from importlib.metadata import version

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save

import jaxconv as jc
from jaxconv.models import vgg
from jaxconv.models.errors import MissingHeadError, WeightsError
from jaxconv.models.preprocessing import TORCHVISION, Preprocessing
from tests.support import torch_files
from tests.support.hub import serving
from tests.support.processes import forked
from tests.support.type_checks import WITHOUT_TYPE_CHECKS

OWN = Preprocessing(0.5, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0))


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setattr(vgg, "HIDDEN", 8)


def made(**options):
    model = jc.VGG([(4,), (6, 6)], classes=5, rngs=nnx.Rngs(1), **{"head": None} | options)
    model.preprocessing = OWN
    return model


def noise(size=16):
    return np.random.default_rng(0).normal(size=(1, size, size, 3)).astype(np.float32)


OPTIONS = [
    {},
    {"batch_norm": True, "dtype": "bfloat16"},
    {"head": "conv", "dropout": 0.25},
    {"channels": 1},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_what_is_saved_is_read(tmp_path, options):
    model = made(**options)
    model.save_pretrained(tmp_path / "new" / "net")
    folder = tmp_path / "new" / "net"
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    assert [p.name for p in folder.parent.iterdir()] == ["net"]
    read = jc.VGG.from_pretrained(str(folder))
    assert read.config() == model.config()
    assert read.preprocessing == OWN
    x = noise(64)[..., : options.get("channels", 3)]
    run = jax.jit(lambda model, x: model(x).astype("float32"))
    np.testing.assert_array_equal(run(read, x), run(model, x))
    assert read.dropout is None or read.dropout.rate == options["dropout"]


def test_the_card_and_the_configuration_say_what_it_is(tmp_path):
    made(head="dense").save_pretrained(tmp_path)
    card, config = (tmp_path / "README.md").read_text(), tmp_path / "config.json"
    assert card.startswith("---\nlibrary_name: jaxconv\npipeline_tag: image-classification\n")
    assert f'jc.VGG.from_pretrained("{tmp_path.name}")\nlogits = ' in card
    saved = json.loads(config.read_text())
    assert saved["stages"] == [[4], [6, 6]]
    assert saved["preprocessing"] == {"scale": 0.5, "mean": [1, 2, 3], "std": [4, 5, 6]}
    (tmp_path / "README.md").write_text("mine")
    made().save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


class Mine(jc.VGG):
    """A class of the user's."""


def test_the_card_of_another_class_imports_it(tmp_path):
    Mine([(4,)], head=None, rngs=nnx.Rngs(0)).save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert f"\nfrom {__name__} import Mine\n\nmodel = Mine.from_pretrained(" in card
    assert Mine.from_pretrained(tmp_path).stages == ((4,),)


def test_an_option_that_does_not_exist_is_a_sentence(tmp_path):
    made().save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"VGG has no option heads\. Fix: pass .* head, classes"):
        jc.VGG.from_pretrained(tmp_path, heads=None)


def test_a_model_of_shapes_is_a_sentence(tmp_path):
    with pytest.raises(WeightsError, match=r"has shapes in the place of weights\. Fix: make it"):
        nnx.eval_shape(made).save_pretrained(tmp_path)
    assert not [*tmp_path.iterdir()]


@WITHOUT_TYPE_CHECKS
def test_what_is_no_path_is_a_sentence():
    with pytest.raises(WeightsError, match=r"source is None, but must be a text or a path\. Fix: "):
        jc.VGG.from_pretrained(None)
    with pytest.raises(WeightsError, match=r"weights is 3, but must be a text or a path\. Fix: "):
        jc.vgg16(weights=3)


def test_options_may_differ_from_the_saved_ones(tmp_path):
    made(head="dense").save_pretrained(tmp_path)
    assert jc.VGG.from_pretrained(tmp_path, head="conv").head == "conv"
    assert jc.VGG.from_pretrained(tmp_path, head=None)(noise()).shape == (1, 4, 4, 6)


def test_a_model_of_timm_is_read_by_its_configuration(tmp_path, monkeypatch):
    monkeypatch.setattr(vgg, "STAGES", {"vgg11": ((4,), (6,), (6, 6), (6, 6), (6, 6))})
    tensors, channels = {}, 3
    for number, width in zip((0, 4, 8, 11, 15, 18, 22, 25), (4, *[6] * 7), strict=True):
        tensors[f"features.{number}.weight"] = np.ones((width, channels, 3, 3), np.float32)
        tensors[f"features.{number}.bias"] = np.zeros(width, np.float32)
        for kind in ("weight", "bias", "running_mean", "running_var"):
            tensors[f"features.{number + 1}.{kind}"] = np.ones(width, np.float32)
        tensors[f"features.{number + 1}.num_batches_tracked"] = np.zeros((), np.int64)
        channels = width
    config = {
        "architecture": "vgg11_bn",
        "num_classes": 0,
        "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "pytorch_model.bin").write_bytes(torch_files.archive(tensors))
    model = jc.VGG.from_pretrained(tmp_path)
    assert model.batch_norm
    assert model.head is None
    assert model.preprocessing == Preprocessing(1 / 255, (0.5,) * 3, (0.25,) * 3)
    (tmp_path / "model.safetensors").write_bytes(save(tensors))
    del config["pretrained_cfg"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert jc.VGG.from_pretrained(tmp_path).preprocessing == TORCHVISION


def damaged(change):
    def apply(folder):
        config = json.loads((folder / "config.json").read_text())
        config |= change
        (folder / "config.json").write_text(json.dumps(config))

    return apply


def wrong_tensors(**changes):
    def apply(folder):
        path = folder / "model.safetensors"
        tensors = {name: t for name, t in (load_file(path) | changes).items() if t is not None}
        path.write_bytes(save(tensors))

    return apply


DAMAGE = {
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors. Fix: "),
    "no configuration": (lambda f: (f / "config.json").unlink(),
        "does not describe a VGG (it is not there). Fix: "),
    "truncated weights": (lambda f: (f / "model.safetensors").write_bytes(b"\x08" * 60),
        "is truncated or not a file of weights"),
    "truncated configuration": (lambda f: (f / "config.json").write_text('{"stages": [['),
        "config.json is not a configuration ("),
    "another configuration": (lambda f: (f / "config.json").write_text("[3]"),
        "config.json is not a configuration (it is not an object)"),
    "nested configuration": (lambda f: (f / "config.json").write_text("[" * 100_000),
        "config.json is not a configuration ("),
    "another model": (lambda f: (f / "config.json").write_text('{"architecture": "resnet50"}'),
        "does not describe a VGG (it has no stages). Fix: "),
    "stages": (damaged({"stages": 3}), "does not describe a VGG (VGG: stages is 3"),
    "a head": (damaged({"head": "none"}), "does not describe a VGG (VGG: head is 'none'"),
    "a dtype": (damaged({"dtype": "int"}), "does not describe a VGG ("),
    "no dtype": (damaged({"dtype": "float31"}), "does not describe a VGG ("),
    "a preprocessing": (damaged({"preprocessing": {"mean": 3}}),
        "has a preprocessing that cannot be read ("),
    "terabytes": (damaged({"stages": [[1000, 10**9]]}), "does not fit the model: "),
    "a million layers": (damaged({"stages": [[1] * 1000] * 1000}), "does not describe a VGG (its "
        "stages have 1000000 convolutions, more than there are weights). Fix: "),
    "another width": (damaged({"stages": [[4], [6, 7]]}), "conv2_2.bias has shape (6,), but the "
        "model has (7,)"),
    "a missing tensor": (wrong_tensors(**{"conv1_1.bias": None}), "it lacks conv1_1.bias"),
    "an extra tensor": (wrong_tensors(x=np.ones(2, np.float32)), "has x without a counterpart"),
    "whole numbers": (wrong_tensors(**{"conv1_1.bias": np.ones(4, np.int8)}),
        "conv1_1.bias is int8, but must be floats."),
    "no batch norm": (damaged({"batch_norm": True}), "Fix: pass batch_norm=False."),
}  # fmt: skip


@WITHOUT_TYPE_CHECKS
@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_folder_is_a_sentence(tmp_path, case):
    damage, message = DAMAGE[case]
    made().save_pretrained(tmp_path)
    damage(tmp_path)
    with pytest.raises(WeightsError) as error:
        jc.VGG.from_pretrained(tmp_path)
    assert message in str(error.value)
    assert "Fix: " in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_head_and_other_classes_say_what_to_pass(tmp_path):
    made().save_pretrained(tmp_path / "trunk")
    with pytest.raises(MissingHeadError, match="pass head=None"):
        jc.VGG.from_pretrained(tmp_path / "trunk", head="conv")
    made(head="conv").save_pretrained(tmp_path / "whole")
    with pytest.raises(WeightsError, match=r"Fix: pass classes=5\."):
        jc.VGG.from_pretrained(tmp_path / "whole", classes=7)


FULL = """
import resource, sys
import jaxconv as jc
from flax import nnx
zeros = nnx.initializers.zeros
model = jc.VGG([(40,), (60, 60)], head=None, kernel_init=zeros, rngs=nnx.Rngs(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
for folder in sys.argv[1:]:
    try:
        model.save_pretrained(folder)
    except ValueError as error:
        print(error)
"""


def test_on_a_full_disk_nothing_is_written(tmp_path):
    made().save_pretrained(tmp_path / "net")
    before = {p.name: p.read_bytes() for p in (tmp_path / "net").iterdir()}
    said = forked("-c", FULL, tmp_path / "net", tmp_path / "new").stdout
    wrong = "model.safetensors cannot be written: File too large. Fix: choose another place."
    assert said.splitlines() == [f"{tmp_path}/{folder}/{wrong}" for folder in ("net", "new")]
    assert {p.name: p.read_bytes() for p in (tmp_path / "net").iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["net"]
    said = forked("-c", FULL, tmp_path / "a" / "b" / "new").stdout
    assert "new/model.safetensors cannot be written: File too large." in said
    assert [p.name for p in tmp_path.iterdir()] == ["net"]


def test_a_place_that_is_a_file_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "net"):
        with pytest.raises(WeightsError, match=r"cannot be written: .+\. Fix: choose another"):
            made().save_pretrained(path)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


NOT_OF_THE_HUB = ["../..", "a/..", "-a/net", "a/net-", "a--b/net", "net.git/x.git", f"a/{'n' * 99}"]


@pytest.mark.parametrize("name", ["net", "a/b/c", "", "hf:net", "no such/net", *NOT_OF_THE_HUB])
def test_a_name_that_is_no_repository_is_a_sentence(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match="is neither a folder nor a repository of the Hugging"):
        jc.VGG.from_pretrained(f"{name}@main" if name else "@")
    with pytest.raises(WeightsError, match=r"is not a repository\. Fix: pass owner/repository"):
        made().push_to_hub(name)


def test_a_missing_package_is_a_sentence(tmp_path, monkeypatch):
    made().save_pretrained(tmp_path / "net")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for use in (jc.VGG.from_pretrained, made().push_to_hub):
        with pytest.raises(WeightsError, match="Weights need the package huggingface_hub"):
            use("me/net")
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(WeightsError, match="Weights need the package safetensors"):
        made().save_pretrained(tmp_path / "other")
    assert [p.name for p in tmp_path.iterdir()] == ["net"]


PROGRAM = """
import sys
import jaxconv as jc
from jaxconv.models import vgg
from jaxconv.models.errors import WeightsError
vgg.HIDDEN = 8
vgg.STAGES = {"vgg11": ((4,), (6, 6))}
for code in sys.argv[1:]:
    try:
        exec(code)
    except WeightsError as error:
        print(error)
"""
OFFLINE = "http://127.0.0.1:9"


@pytest.fixture
def served(tmp_path):
    """The server with a model, and a function that runs programs and returns what they print."""
    made(head="dense").save_pretrained(tmp_path / "saved")
    files = {p.name: p.read_bytes() for p in (tmp_path / "saved").iterdir()}
    with serving({"you/net": files}) as server:

        def program(*codes, endpoint=server.address, **environment):
            variables = {
                "HF_ENDPOINT": endpoint,
                "HF_HOME": str(tmp_path / "hf"),
                "HF_HUB_DISABLE_PROGRESS_BARS": "1",
                "HF_HUB_DISABLE_XET": "1",
                "JAXCONV_CACHE": str(tmp_path / "cache"),
            }
            done = forked("-c", PROGRAM, *codes, env=os.environ | variables | environment)
            assert done.returncode == 0, done.stderr
            return done.stdout.splitlines()

        yield server, program


READ = "m = jc.VGG.from_pretrained('you/net'); print(m.stages, m.preprocessing.scale)"
NET = "((4,), (6, 6)) 0.5"
WEIGHTS = "m = jc.vgg11(weights='hf:you/net', classes=5); print(m.stages, m.preprocessing.scale)"


@pytest.mark.slow
def test_a_model_of_the_hub_is_read_and_kept_in_its_cache_until_there_is_a_new_version(served):
    server, program = served
    assert program(READ) == [NET]
    assert program(READ, WEIGHTS, endpoint=OFFLINE) == [NET, NET]
    assert program(READ, HF_HUB_OFFLINE="1") == [NET]
    config = json.loads(server.repositories["you/net"]["config.json"])
    config["preprocessing"]["scale"] = 0.25
    server.repositories["you/net"]["config.json"] = json.dumps(config).encode()
    assert program(READ) == [NET.replace("0.5", "0.25")]


def push(to):
    """A program that uploads the saved model."""
    return f"print(jc.VGG.from_pretrained('saved').push_to_hub('{to}', token='hf_me'))"


@pytest.mark.slow
def test_what_is_pushed_is_read(served, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    server, program = served
    server.repositories["me/card"] = {"README.md": b"mine"}
    codes = push("me/copy"), push("me/card"), READ.replace("you/net", "me/copy")
    commits = [f"{server.address}/{name}/commit/{'b' * 40}" for name in ("me/copy", "me/card")]
    assert program(*codes) == [*commits, NET]
    copy, card = (server.repositories[name] for name in ("me/copy", "me/card"))
    assert copy.keys() == card.keys() == {"README.md", "config.json", "model.safetensors"}
    assert b'from_pretrained("me/copy")' in copy["README.md"]
    assert card["README.md"] == b"mine"


PUSH = "jc.VGG.from_pretrained('saved').push_to_hub('me/new')"
# What programs say, and each environment that they share.
UNAVAILABLE = {
    "offline": ({"endpoint": OFFLINE, "HF_TOKEN": "hf_me"}, {
        READ: "you/net is unavailable: it is not in the cache, and could not be downloaded from "
            "the Hugging Face hub (",
        WEIGHTS: "you/net is unavailable: ",
        PUSH: "me/new cannot be uploaded to the Hugging Face hub (",
    }),
    "the offline mode": ({"HF_HUB_OFFLINE": "1"}, {READ: "offline mode"}),
    "online": ({"HF_TOKEN": ""}, {
        READ.replace("you", "nobody"):
            "(there is no repository nobody/net, or it is private). Fix: check the name",
        PUSH: "me/new cannot be uploaded to the Hugging Face hub (",
    }),
}  # fmt: skip


@pytest.mark.parametrize("case", UNAVAILABLE)
def test_where_the_hub_fails_it_is_a_sentence(served, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    options, messages = UNAVAILABLE[case]
    said = served[1](*messages, **options)
    for line, message in zip(said, messages.values(), strict=True):
        assert message in line
        assert "Fix: " in line
    assert not [*(tmp_path / "hf").rglob("*.safetensors")]


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_file_that_the_hub_damaged_is_a_sentence_and_not_kept(served, tmp_path, file):
    server, program = served
    digits = 64 if file == "model.safetensors" else 40
    server.etags[file] = "0" * digits
    (said,) = program(READ)
    assert " is damaged" in said
    assert "0" * digits in said
    assert not [*(tmp_path / "hf").rglob(file)]


@pytest.mark.slow
def test_a_damaged_cache_is_a_sentence(served, tmp_path):
    _, program = served
    assert program(READ) == [NET]
    (stored,) = (tmp_path / "hf").rglob("model.safetensors")
    content = stored.read_bytes()
    stored.resolve().write_bytes(content[:-1] + b"!")
    (said,) = program(READ, endpoint=OFFLINE)
    assert said.startswith(f"{stored.resolve()} is damaged or not the published file")
    assert said.endswith("Fix: delete this file; it is then downloaded again.")


def test_on_a_full_disk_a_download_is_a_sentence_and_not_kept(served, tmp_path):
    _, program = served
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); "
    (said,) = program(limit + READ)
    assert said.startswith("you/net is unavailable: it is not in the cache, and could not be ")
    assert "File too large" in said
    files = (tmp_path / "hf").rglob("*")
    left = [path for path in files if path.is_file() and path.stat().st_size > 1000]
    if version("huggingface_hub").startswith("1."):  # it keeps these, and continues them later
        left = [path for path in left if path.suffix != ".incomplete"]
    assert not left


def test_a_repository_without_weights_is_a_sentence(served):
    server, program = served
    del server.repositories["you/net"]["model.safetensors"]
    fix = "Fix: pass a model that was saved."
    assert program(READ) == [f"you/net has no model.safetensors. {fix}"]
