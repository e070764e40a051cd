"""Tables that fit into a terminal."""

import re

import pytest

from jaxconv.analysis.text_table import text_table

HEADINGS = ("#", "layer", "output", "weights")
ROWS = [("1", "conv1", "(b, h, w, 64)", "27"), ("2", "conv2", "(b, h//2, w//2, 64)", "576")]
LONG = [("1", "a" * 90 + ".conv", "(b, h, w, 64)", "9 = 123,456,789"), ("2", "b", "c" * 70, "-")]


def test_a_table_has_a_line_for_each_row():
    assert text_table(HEADINGS, ROWS, words=("layer", "output"), keys=2) == (
        "#  layer  output               weights\n"
        "--------------------------------------\n"
        "1  conv1  (b, h, w, 64)             27\n"
        "2  conv2  (b, h//2, w//2, 64)      576\n"
        "--------------------------------------"
    )


def test_a_wide_table_is_split_and_each_part_has_the_names():
    assert text_table(HEADINGS, ROWS, words=("layer", "output"), keys=2, width=30) == (
        "#  layer  output\n"
        "----------------------------\n"
        "1  conv1  (b, h, w, 64)\n"
        "2  conv2  (b, h//2, w//2, 64)\n"
        "----------------------------"
    ).replace("-" * 28, "-" * 29) + (
        "\n\n#  layer  weights\n"
        "-----------------\n"
        "1  conv1       27\n"
        "2  conv2      576\n"
        "-----------------"
    )


def test_each_part_has_as_many_columns_as_fit():
    text = text_table("#abcdef", ["1234567"], words=(), width=7)
    headings = [part.splitlines()[0] for part in text.split("\n\n")]
    assert headings == ["#  a  b", "#  c  d", "#  e  f"]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 300])
def test_no_line_is_wider_and_no_name_is_lost(width):
    text = text_table(HEADINGS, LONG, words=("layer", "output"), keys=2, width=width)
    assert max(map(len, text.splitlines())) <= width
    for cell in ("a" * 90, "c" * 70, "123,456,789"):
        assert cell.count(cell[0]) <= text.count(cell[0])
    assert re.sub(r"[^a]", "", text.partition("output")[2]).count("a") >= 90
