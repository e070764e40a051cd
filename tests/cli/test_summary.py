"""``jaxconv summary``: the table as text, in colours and as data, and every bad input."""

import json
import sys

import pytest

from tests.support.command_line import run


def test_summary_prints_a_table_of_formulas_and_numbers(capsys):
    assert run("summary", "vgg16", "b h w 3", "--at", "b=1, h=224,w=224") == 0
    out = capsys.readouterr().out
    assert "1728*b*h*w = 86,704,128" in out
    assert "\x1b" not in out
    assert "parameters: 138,357,544\n" in out
    assert out.endswith("kernel elements on padding are counted.\n")


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


def test_a_summary_without_a_spec_is_of_images(capsys):
    model = "jaxconv:VGG(((4,), (4, 4)), head=None)"
    assert run("summary", model, "--layout", "NHWC") == 0
    without = capsys.readouterr().out
    assert run("summary", model, "b h w 3") == 0
    assert capsys.readouterr().out == without


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_summary_fits_the_terminal(capsys, monkeypatch, is_terminal):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    monkeypatch.setenv("COLUMNS", "80")
    assert run("summary", "vgg16", "--at", "b=1,h=224,w=224") == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith(" 1  conv1_1  ") for line in lines) == 3


BAD_SUMMARIES = [
    (["vgg12", "b h w 3"], "summary: vgg12 does not name a function or a model."),
    (["vgg16", "b h w 4"], "summary: no size is accepted. VGG: x has 4 channels"),
    (["vgg16", "b h ? 3"], "summary: The spec cannot be read: this is not a formula."),
    (["vgg16", "b h w 3", "--at", "b=1;h=2"], "--at b=1;h=2 cannot be read. Fix: write it as b=1"),
    (["vgg16", "b h w 3", "--at", "b=1,h=-2"], "--at b=1,h=-2 cannot be read."),
    (["vgg16", "b h w 3", "--at", "b=1"], "--at is {'b': 1}, but must have b, h, w, each a whole"),
    (["vgg16", "b h w 3", "--at", "b=1,h=9,w=9"], "b = 1, h = 9, w = 9 is not accepted: VGG: x"),
    (
        ["vgg16", "b h w 3", "--where", "h > 300"],
        "no size is accepted. VGG: the dense head flattens",
    ),
    (["vgg16", "b h w 3", "--where", "k > 3"], "--where names k, but the sizes are b, h, w."),
    (["vgg16", "b h w 3 -> b 9"], "describes a result, and summary takes inputs only."),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_SUMMARIES)
def test_bad_input_to_summary_is_a_sentence(capsys, arguments, message):
    assert run("summary", *arguments) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert "summary: summary:" not in said
