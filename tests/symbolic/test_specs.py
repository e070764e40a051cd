"""The language of shapes: what cannot be read gets a caret."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxconv as jc
from jaxconv.symbolic.specs import parse_condition, parse_spec
from tests.support.type_checks import WITHOUT_TYPE_CHECKS

MALFORMED = {
    "h + ": ("b h+ 3", "this is not a formula.\n  b h+ 3\n    ^"),
    "a call": ("b f(h) 3", "make a formula.\n  b f(h) 3\n    ^"),
    "a fraction": ("b h/2 3", "make a formula.\n  b h/2 3\n    ^"),
    "no dtype": ("b h 3:", "must follow the colon.\n  b h 3:\n        ^"),
    "two rests": ("... h ...", "may occur only once.\n  ... h ...\n        ^"),
    "an attribute": ("b h.w", "make a formula.\n  b h.w\n    ^"),
    "a huge number": ("b 9223372036854775808", "must be less than 2**63.\n  b 9223372036854775808"),
    "deep brackets": ("(" * 300 + "h" + ")" * 300, "this is not a formula."),
    "a long sum": ("+".join(["h"] * 5000), "this is not a formula."),
    "no name": ("b mod 3", "'mod' cannot name a size."),
    "a rest as argument": ("... 3", "An argument has _ or ... as a size."),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_spec_gets_a_caret(name):
    spec, message = MALFORMED[name]
    with pytest.raises(jc.SpecError) as error:
        jc.check(lambda x: x, spec)
    assert message in str(error.value)
    assert "Fix: " in str(error.value)


SIGNS = ["...", "_", "->", ",", ":", "//", "*", "(", ")", "-1", "and", "==", ">="]


WORDS = ["b", "h", "3", "min(h,2)", *SIGNS]


TEXTS = st.text(max_size=20) | st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)


@settings(deadline=None, max_examples=150)
@given(TEXTS, TEXTS, TEXTS)
def test_no_text_does_anything_but_work_or_raise_a_sentence(spec, returns, where):
    calls = [
        lambda: jc.check(lambda x: x, spec, returns=returns, where=where),
        lambda: jc.contract(f"{spec} -> {returns}", where=where),
        lambda: jc.sizes(spec, where=where),
    ]
    for call in calls:
        try:
            call()
        except jc.SpecError as error:
            fixed = "Fix: " in str(error)
        else:
            fixed = True
        assert fixed


@WITHOUT_TYPE_CHECKS
@pytest.mark.parametrize("call", [parse_spec, jc.contract, lambda text: jc.sizes("h", where=text)])
def test_what_is_no_text_is_refused(call):
    with pytest.raises(jc.SpecError, match="is text, not bytes"):
        call(b"h")


def test_not_is_the_opposite_of_each_comparison():
    (either,) = parse_condition("not (h < 3 and (w == 2 or h >= w))")
    assert either.names() == ["h", "w"]
    for h in range(1, 6):
        for w in range(1, 6):
            holds = not (h < 3 and (w == 2 or h >= w))
            assert either.holds({"h": h, "w": w}) == holds
    assert len(parse_condition("1 < h < w, h != 5")) == 3
