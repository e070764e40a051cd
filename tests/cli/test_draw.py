"""``jaxconv draw``: the files it writes, and every bad input with exit status 2."""

import sys
from xml.etree import ElementTree

import pytest
from PIL import Image

from jaxconv.cli.main import main

MODELS = """
import jax.numpy as jnp
import jaxconv as jc

def plain(x):
    return jc.max_pool(jc.conv(x, jnp.ones((3, 3, 3, 4))))

def two(x, y):
    return jnp.concatenate([jc.max_pool(x), y], -1)

@jc.contract("b n 5 -> b n 7", where="n >= 300")
def promised(x):
    return x @ jnp.ones((5, 7))

def nothing(x):
    return x + 1
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "nets_to_draw", raising=False)
    (tmp_path / "nets_to_draw.py").write_text(MODELS)
    return tmp_path


def run(*arguments):
    """Exit status of the command, whether argparse or we refuse."""
    try:
        return main(["draw", *map(str, arguments)])
    except SystemExit as stop:
        return stop.code


def texts(path):
    root = ElementTree.parse(path).getroot()
    return [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]


WRITTEN = [
    (["nets_to_draw.py:plain"], "plain.svg", ["h x w x 4", "h//2 x w//2"]),
    (["nets_to_draw.py:plain", "2 9 20 3"], "plain.svg", ["9 x 20 x 4", "4 x 10 x 4"]),
    (["nets_to_draw.py:plain", "--at", "b=2,h=17,w=6"], "plain.svg", ["17 x 6 x 4", "8 x 3 x 4"]),
    (["nets_to_draw.py:plain", "--where", "h == 8"], "plain.svg", ["8 x w x 4", "4 x w//2 x 4"]),
    (["nets_to_draw.py:two", "b h w 3", "b h//2 w//2 5", "-o", "a.SVG"], "a.SVG", ["x 3", "x 8"]),
    (["nets_to_draw.py:promised"], "promised.svg", ["n x 7"]),
    (["vgg11(classes=10)"], "vgg11.svg", ["conv1_1", "fc8", "10"]),
]


@pytest.mark.parametrize(("arguments", "file", "shown"), WRITTEN)
def test_it_writes_a_picture_with_the_sizes(capsys, arguments, file, shown):
    assert run(*arguments) == 0
    assert capsys.readouterr().out == f"wrote {file}\n"
    found = texts(file)
    assert set(shown) <= set(found), found
    assert found[0] == arguments[0] or arguments[0] in found


def test_a_contract_says_the_sizes(capsys):
    assert run("nets_to_draw.py:promised") == 0
    said = " ".join(texts("promised.svg"))
    assert "Formulas hold for n >= 300. Proportions are for b = 1, n = 300." in said


def test_it_writes_png(folder, capsys):
    assert run("vgg16(head=None)", "-o", "vgg.png") == 0
    with Image.open("vgg.png") as picture:
        assert picture.format == "PNG"
        assert picture.size[0] > 3 * picture.size[1]
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 50
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == [
        "nets_to_draw.py", "vgg.png"
    ]  # fmt: skip


BAD = [
    (
        ["nets_to_draw.py:nothing"],
        "draw: there are no layers to draw: no convolution, product, pool",
    ),
    (["nets_to_draw.py:plane"], "nets_to_draw has no plane.\n  Fix: write plain."),
    (["nets_to_draw.py:plain", "b h w 4"], "draw: no size is accepted. nets_to_draw.py:6: conv"),
    (["nets_to_draw.py:plain", "b h ? 3"], "The spec cannot be read: this is not a formula."),
    (["nets_to_draw.py:two"], "draw: the function takes (x, y), but got 1"),
    (["nets_to_draw.py:plain", "--at", "h"], "--at h cannot be read. Fix: write it as b=1,h=224"),
    (["nets_to_draw.py:plain", "--at", "h=5"], "--at is {'h': 5}, but must have b, h, w"),
    (["nets_to_draw.py:plain", "--where", "h < 2"], "draw: no size is accepted."),
    (
        ["vgg16", "-o", "vgg.gif"],
        "vgg.gif has an unknown format. Fix: choose a name that ends in .svg, .png.",
    ),
    (["vgg16", "-o", "no/vgg.svg"], "no/vgg.svg cannot be written: No such file or directory."),
    ([], "the following arguments are required: MODEL"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input_is_a_sentence_and_leaves_nothing(folder, capsys, arguments, message):
    assert run(*arguments) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert "Traceback" not in said.err
    assert "summary:" not in said.err
    assert "check:" not in said.err
    assert "wrote" not in said.out
    assert [path.name for path in folder.iterdir() if path.is_file()] == ["nets_to_draw.py"]
