"""Models of other libraries on the command line: made, completed, mapped over a batch."""

import sys

import pytest

from jaxconv.cli.arguments import UsageError
from jaxconv.cli.main import main
from jaxconv.cli.models import keyword_arguments

FILE = """
import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jaxconv as jc


class Linen(nn.Module):
    width: int = 8

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(self.width, (3, 3), strides=2)(x)
        x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(4)(x.mean((1, 2)))


class Haiku(hk.Module):
    def __init__(self, classes=4):
        super().__init__()
        self.classes = classes

    def __call__(self, x, is_training):
        x = hk.BatchNorm(True, True, 0.9)(hk.Conv2D(8, 3, 2)(x), is_training)
        return hk.Linear(self.classes)(x.mean((1, 2)))


pair = hk.transform(lambda x: hk.Linear(3)(x))


class Plain(eqx.Module):
    conv: eqx.nn.Conv2d

    def __init__(self, key):
        self.conv = eqx.nn.Conv2d(3, 8, 3, padding=1, key=key)

    def __call__(self, x):
        return self.conv(x)


class Stateful(Plain):
    norm: eqx.nn.BatchNorm
    dropout: eqx.nn.Dropout

    def __init__(self, key):
        super().__init__(key)
        self.norm = eqx.nn.BatchNorm(8, "batch", mode="ema")
        self.dropout = eqx.nn.Dropout(0.5)

    def __call__(self, x, state, key):
        x, state = self.norm(self.conv(x), state)
        return self.dropout(x, key=key), state


def resnet(classes=10, pretrained=False):
    return Linen(classes)


def network():
    return lambda x: x[:, ::2]


def needs(classes):
    return Linen(classes)


def product(x, y):
    return x @ y


def doubled(x=None):
    return x * 2


def pool(x, padding="VALID"):
    return jc.max_pool(x, 2, padding=padding)
"""


@pytest.fixture(autouse=True)
def _project(tmp_path, monkeypatch):
    (tmp_path / "zoo_models.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("zoo_models", None)


PROVEN = [
    ("Linen", ["b h w 3 -> b 4"], "(b, 4)"),
    ("Linen(width=3)", ["b h w 3 -> b 4", "--with", "train=True"], "(b, 4)"),
    ("Haiku", ["b h w 3 -> b 4"], "(b, 4)"),
    ("Haiku(7)", ["b h w 3", "--with", "is_training=True"], "(b, 7)"),
    ("pair", ["b 5 -> b 3"], "(b, 3)"),
    ("Plain", ["b 3 h w -> b 8 h w"], "(b, 8, h, w)"),
    ("Plain", ["3 h w -> 8 h w"], "(8, h, w)"),
    ("Stateful", ["b 3 h w -> b 8 h w"], "(b, 8, h, w)"),
    ("Stateful", ["3 h w -> 8 h w"], "(8, h, w)"),
    ("resnet", ["b h w 3 -> b 4"], "(b, 4)"),
    ("network", ["b h"], "(b, (h + 1)//2)"),
    ("product", ["a b", "b c -> a c"], "(a, c)"),
    ("product", ["a b", "b c"], "(a, c)"),
    ("doubled", ["b"], "(b,)"),
    ("pool", ["b h w c", "--with", "padding=SAME"], "(b, (h + 1)//2, (w + 1)//2, c)"),
]


@pytest.mark.parametrize(("name", "arguments", "returns"), PROVEN)
def test_a_model_as_it_is_written(capsys, name, arguments, returns):
    assert main(["check", f"zoo_models:{name}", *arguments]) == 0
    out = capsys.readouterr().out
    assert out == f"zoo_models:{name}: proven: accepts every size, returns {returns}\n"


def test_what_is_assumed_is_said(capsys):
    assert main(["check", "zoo_models:resnet", "b h w 3"]) == 0
    assert capsys.readouterr().err == (
        "zoo_models:resnet is a function that makes a model: zoo_models:resnet() is used.\n"
        "zoo_models:resnet is called with train=False; for training add --with train=True.\n"
    )


def test_a_function_that_makes_a_model_and_needs_arguments_is_a_sentence(capsys):
    assert main(["check", "zoo_models:needs", "b h w 3"]) == 1
    out = capsys.readouterr().out
    assert "the function returns a Linen, a model, and no array" in out
    assert "Fix: call the function first, as in make(), and pass what it returns." in out


def test_summary_and_draw_take_the_same_models(capsys, tmp_path):
    assert main(["summary", "zoo_models:Stateful", "b 3 h w"]) == 0
    assert "parameters: 240" in capsys.readouterr().out
    assert main(["summary", "zoo_models:Haiku", "b h w 3", "--json"]) == 0
    assert '"parameters": 276' in capsys.readouterr().out
    assert main(["draw", "zoo_models:Plain", "--layout", "NCHW"]) == 0
    assert main(["draw", "zoo_models:Linen", "--with", "train=True"]) == 0
    assert (tmp_path / "Plain.svg").exists()
    assert (tmp_path / "Linen.svg").exists()


def test_a_model_of_keras_is_made_without_weights(capsys):
    pytest.importorskip("keras", reason="Keras is not installed")
    target = "keras.applications:MobileNetV2(input_shape=(None, None, 3), include_top=False)"
    assert main(["check", target, "1 h 32 3 -> 1 (h+1)//32 1 1280", "--where", "h >= 31"]) == 0
    assert main(["check", "keras.applications:MobileNetV2", "b h w 3"]) == 1
    said = capsys.readouterr()
    assert "refuted: accepts h = 224, w = 224, returns (b, 1000)" in said.out
    assert "MobileNetV2 is a function that makes a model" in said.err


def test_keyword_arguments_are_literals_or_words():
    given = keyword_arguments(["a=3", "b=SAME", "c=(1, 2)", "d=x=y"])
    assert {name: value.value for name, value in given.items()} == {
        "a": 3,
        "b": "SAME",
        "c": (1, 2),
        "d": "x=y",
    }
    for wrong in ("train", "=3", "a b=3"):
        with pytest.raises(UsageError, match=r"cannot be read\. Fix: write it as train=True"):
            keyword_arguments([wrong])
