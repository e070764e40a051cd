"""``jaxconv shape``: the lesson's answer, other convolutions, and every bad input."""

import pytest

from tests.support.command_line import run


def test_shape_prints_the_lessons_answer(capsys):
    assert run("shape", "128x128x3", "--filters", 32, "--kernel", 3, "--padding", 0) == 0
    assert capsys.readouterr().out == (
        "126x126x32\n"
        "  h: (n + low + high - extent)//stride + 1 = (128 + 0 + 0 - 3)//1 + 1 = 126\n"
        "  w: (n + low + high - extent)//stride + 1 = (128 + 0 + 0 - 3)//1 + 1 = 126\n"
        "  27 weights per filter (3x3x3), 864 in all, and 32 biases\n"
    )


SHAPES = [
    (
        "224x224x3 --filters 64 --kernel 3",
        "224x224x64",
        "27 weights per filter (3x3x3), 1728 in all",
    ),
    ("7x7x512 --filters 4096 --kernel 7 --padding VALID", "1x1x4096", "25088 weights"),
    ("9x20x4 --filters 6 --kernel 3x5 --stride 2x1 --padding 1 --groups 2", "5x18x6", "3x5x2"),
    ("100x8 --filters 2 --kernel 5 --dilation 3 --padding CAUSAL", "100x2", "40 weights"),
    ("128x128x3 --filters 3 --kernel 16x3", "128x128x3", "144 weights per filter (16x3x3)"),
    ("9x9x3 --filters 1 --kernel 40000000", "9x9x1", "4800000000000000 weights per filter"),
    ("8x9x10x2 --filters 3 --kernel 2 --stride 2", "4x5x5x3", "16 weights"),
]


@pytest.mark.parametrize(("arguments", "shape", "part"), SHAPES)
def test_shape_of_other_convolutions(capsys, arguments, shape, part):
    assert run("shape", *arguments.split()) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == shape
    assert part in out


BAD_SHAPES = [
    (
        "128x128",
        "--kernel 3x3x3 --filters 1",
        "--kernel has 3 numbers. Fix: pass one, or 1: one per axis.",
    ),
    ("12", "--kernel 3 --filters 1", "12 is not an image. Fix: write it as 128x128x3."),
    ("128xAx3", "--kernel 3 --filters 1", "image: 'A' is not a whole number from 1 to 999999999."),
    ("5x5x3", "--kernel 7 --filters 1 --padding VALID", "the feature map would be empty along h"),
    ("5x5x3", "--kernel 3 --filters 1 --padding same", "padding is 'same', which is not valid."),
    ("5x5x3", "--kernel 3 --filters 4 --groups 2", "2 does not divide 3."),
    ("5x5x3", "--kernel 0 --filters 4", "'0' is not a whole number from 1 to 999999999"),
    ("5x5x3", "--kernel 3 --filters -4", "'-4' is not a whole number from 1 to 999999999"),
    ("5x5x3", "--kernel 3 --filters 4 --padding=--5", "padding is '--5', which is not valid."),
    ("9" * 5000 + "x5x3", "--kernel 3 --filters 4", "is not a whole number from 1 to 999999999"),
    ("5x5x3", "--kernel 3 --filters 4 --padding -1", "padding is -1, but must not be negative."),
]


@pytest.mark.parametrize(("image", "options", "message"), BAD_SHAPES)
def test_bad_input_to_shape_is_a_sentence(capsys, image, options, message):
    assert run("shape", image, *options.split()) == 2
    assert message in capsys.readouterr().err
