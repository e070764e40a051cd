"""``jaxconv export``: the files it writes, and every bad input with exit status 2."""

import sys

import jax
import numpy as np
import pytest

import jaxconv as jc
from jaxconv.cli.main import main

MODELS = """
import jax.numpy as jnp
import jaxconv as jc
from flax import nnx

def halve(x):
    return jc.max_pool(x)

def by_parity(x):
    return x[:, ::2] if x.shape[1] % 2 else x + 1

def nothing(x):
    return x.reshape(7)

class Net(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 4, (3, 3), rngs=rngs)

    def __call__(self, x):
        return self.conv(x)

net = Net(nnx.Rngs(0))

def closes_over(x):
    return net(x) * 2

@jc.contract("b h w 3 -> b h w 4")
def promises(x):
    return net(x)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "nets_to_export", raising=False)
    (tmp_path / "nets_to_export.py").write_text(MODELS)
    return tmp_path


def run(*arguments):
    """Exit status of the command, whether argparse or we refuse."""
    try:
        return main(["export", *map(str, arguments)])
    except SystemExit as stop:
        return stop.code


def read(path):
    return jax.export.deserialize(bytearray(path.read_bytes()))


def test_the_file_is_named_like_the_model_and_can_be_called(folder, capsys):
    assert run("nets_to_export.py:halve") == 0
    out = capsys.readouterr().out
    assert out == "wrote halve.stablehlo\nfor h >= 2, w >= 2, on cpu, cuda, tpu\n"
    assert read(folder / "halve.stablehlo").call(np.ones((1, 5, 6, 3), "float32")).shape[1] == 2


def test_parameters_are_in_the_file_or_the_first_argument(folder):
    assert run("nets_to_export.py:Net", "1 h w 3", "--platforms", "cpu") == 0
    assert run("nets_to_export.py:Net", "--without-parameters", "-o", "bare.stablehlo") == 0
    whole, bare = (read(folder / f"{name}.stablehlo") for name in ("Net", "bare"))
    assert (len(whole.in_avals), whole.platforms) == (1, ("cpu",))
    assert len(bare.in_avals) == 3


def test_a_registered_model_without_weights_is_said_to_have_random_ones(capsys):
    assert run("vgg11(head=None)", "--where", "h == 32 and w == 32") == 0
    assert "vgg11 has random parameters; \"vgg11(weights='imagenet')\"" in capsys.readouterr().err


BAD = [
    (["nets_to_export.py:by_parity"], 'Fix: pass --where "h % 2 == 0", or another of these.'),
    (["nets_to_export.py:nothing"], "no size is proven to be accepted"),
    (["nets_to_export.py:halve", "-o", "no/such.stablehlo"], "no/such.stablehlo cannot be written"),
    (["nets_to_export.py:halve", "-o", "halve.txt"], "Fix: choose a name that ends in .stablehlo"),
    (["nets_to_export.py:halve", "--platforms", "gpu"], "'gpu' does not name platforms, of cpu"),
    (["nets_to_export.py:halve", "--where", "h >"], "The condition cannot be read"),
    (["nets_to_export.py:absent"], "absent"),
    *(
        (
            [f"nets_to_export.py:{name}", "--without-parameters"],
            f"nets_to_export.py:{name} does not take parameters as an argument: those that it "
            "uses are constants. Fix: name the model itself, or leave out --without-parameters.",
        )
        for name in ("closes_over", "promises", "net", "halve")
    ),
    (["vgg16(weights='no.pth')"], "jaxconv export: There is no file no.pth. Fix: check the path."),
]


@pytest.mark.parametrize(("arguments", "said"), BAD)
def test_bad_input_is_one_message_and_writes_nothing(arguments, said, folder, capsys):
    before = {*folder.iterdir()}
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert {path for path in folder.iterdir() if path.name != "__pycache__"} == before


def test_without_jax2onnx_the_fix_is_named(folder, capsys, monkeypatch):
    from jaxconv.cli import export

    monkeypatch.setattr(export, "find_spec", lambda name: None)
    assert run("nets_to_export.py:halve", "--format", "onnx") == 2
    assert "jax2onnx is not installed. Fix: make an environment" in capsys.readouterr().err
    assert not (folder / "halve.onnx").exists()


def test_the_format_onnx_writes_what_jax2onnx_makes(folder, capsys, monkeypatch):
    from jaxconv.cli import export

    def made(model, specs, named, where):
        return f"{model.__name__} {specs} {named} {where}".encode(), jc.SizeSet.parse(
            "b h", "h >= 2"
        )

    monkeypatch.setattr(export, "find_spec", lambda name: name)
    monkeypatch.setattr(export, "export_onnx", made)
    assert run("nets_to_export.py:halve", "b h 6 3", "--where", "h < 9", "--format", "onnx") == 0
    assert (folder / "halve.onnx").read_text() == "halve ['b h 6 3'] {} h < 9"
    assert "for h >= 2, where ONNX runs" in capsys.readouterr().out


def test_a_fix_of_the_message_works(folder):
    assert run("nets_to_export.py:by_parity", "--where", "h % 2 == 0") == 0
    assert (folder / "by_parity.stablehlo").exists()
