"""The caret stands below the character that is meant."""

import unicodedata

import pytest

import jaxconv as jc
from jaxconv.symbolic.spec_errors import spec_error, word_error


def pointed_at(error):
    """The character above the caret, counted in columns of a terminal."""
    _, text, caret, *_ = str(error).split("\n")
    wanted, column = caret.index("^"), 0
    for character in text:
        wide = unicodedata.east_asian_width(character) in "WF"
        columns = 0 if unicodedata.combining(character) else 1 + wide
        if columns and column == wanted:
            return character
        column += columns
    return ""


@pytest.mark.parametrize(
    "text", ["b h ? 3", "é h ? 3", "高 高 ? 3", "e\u0301 h ? 3", "b\th\n? 3", "h " * 90 + "? 3"]
)
def test_the_caret_is_below_the_character(text):
    error = spec_error("Wrong.", text, text.index("?"), "fix it.")
    assert pointed_at(error) == "?"
    assert str(error).count("\n") == 3
    assert max(map(len, str(error).splitlines())) <= 80


def test_the_caret_is_below_a_whole_word():
    assert (
        str(word_error("Wrong.", "hh h", "h", "fix it."))
        == "Wrong.\n  hh h\n     ^\n  Fix: fix it."
    )


WRONG = {
    "  b h/2": "h",
    "é h/2": "h",
    "b h 3:float33": "f",
    "b 0 3": "0",
    "b ... 3": ".",
    "b _ 3": "_",
    "b mod": "m",
}


@pytest.mark.parametrize("spec", WRONG)
def test_every_wrong_spec_has_a_caret(spec):
    with pytest.raises(jc.SpecError) as error:
        jc.check(lambda x: x, spec)
    assert pointed_at(error.value) == WRONG[spec]


@pytest.mark.parametrize("where", ["   b >> 3", "é + b", "b > 2 and k > 3", "(b >\n 2 and b)"])
def test_every_wrong_condition_has_a_caret(where):
    with pytest.raises(jc.SpecError) as error:
        jc.check(lambda x: x, "b", where=where)
    at = {"   b >> 3": "b", "é + b": "é", "b > 2 and k > 3": "k", "(b >\n 2 and b)": "b"}
    assert pointed_at(error.value) == at[where]


@pytest.mark.parametrize("contract", ["b -> q", "b h//2 -> b"])
def test_a_name_that_is_no_size_has_a_caret(contract):
    with pytest.raises(jc.SpecError, match="is not the size of an argument") as error:
        jc.contract(contract)
    assert pointed_at(error.value) in "qh"
