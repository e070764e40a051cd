"""The text of a size, which compares as the digits of the number do."""

import pytest

import jaxconv as jc

# A question about the text of h, and the h for which the answer is yes.
QUESTIONS = {
    "equal": (lambda text: text == "12", "h = 12"),
    "with a zero before": (lambda text: text == "012", "h < 1"),
    "not a number": (lambda text: text != "twelve", "h >= 1"),
    "another type": (lambda text: text == 12, "h < 1"),
    "in a tuple": (lambda text: text in ("7", "14"), "h = 7 or h = 14"),
    "long": (lambda text: len(text) >= 3, "h >= 100"),
    "with a digit": (
        lambda text: text[0] == "1",
        " or ".join(f"{10**i} <= h < {2 * 10**i}" for i in range(7)),
    ),
    "with a second digit": (lambda text: text[:2] == "12", "h = 12"),
    "in a dict": (lambda text: text in {"5": 0}, "h = 5"),
    "above another": (lambda text: text > "5", "6 <= h <= 9"),
    "no text": (lambda text: not text, "h < 1"),
    "no part of it": (lambda text: text[:0] == "", "h >= 1"),
    "joined": (lambda text: bool("h is " + text), "h >= 1"),
}


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize("write", [str, "{}".format, lambda h: f"{h}"], ids=["str", "format", "f"])
def test_a_question_about_a_text_is_answered_for_all_digits(name, write):
    question, holds = QUESTIONS[name]
    if write == "{}".format and name != "joined":
        pytest.skip("the text is joined from parts, of which nothing is known")

    def branch(x):
        return x[:, :0] if not question(write(x.shape[1])) else x

    few = name in ("with a second digit", "in a dict", "above another")
    where = "h <= 12" if few else "h <= 1000000"
    verdict = jc.check(branch, "b h", where=where)
    assert verdict.untried.is_empty(), verdict
    domain = jc.SizeSet.parse("b h", where)
    assert verdict.accepts == domain & jc.SizeSet.parse("b h", holds), verdict


def test_outside_a_trace_a_text_is_only_a_text():
    (h,) = jc.sizes("h")
    assert type(f"{h}") is type(str(h)) is str
    assert f"{h // 2:>4}" == "h//2"
