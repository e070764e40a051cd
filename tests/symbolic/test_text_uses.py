"""What code does with a text, read from the instructions that follow."""

import contextlib
import logging
import sys

import pytest

from jaxconv.symbolic.text_uses import Use, use_of_text

LOG = logging.getLogger(__name__)


class Number:
    """A number that notes what becomes of its text."""

    uses: list

    def __init__(self):
        self.uses = []

    def __format__(self, spec):
        self.uses.append(use_of_text(sys._getframe(1), is_part=False))
        return "7"


class SizeError(ValueError):
    def __init__(self, text):
        super().__init__(f"{text}!")


def raised(n):
    raise ValueError(f"bad size {n}")


def logged(n):
    LOG.debug(f"size {n}")


def kept_and_raised(n):
    text = f"size {n}"
    raise SizeError(text)


def kept_and_compared(n):
    text = f"size {n}"
    return text == "size 7"


def compared(n):
    return f"{n}" in ("7", "14")


def looked_up(n):
    return {"size 7": 1}.get(f"size {n}", 2)


def within_a_text(n):
    return f"{n}" in "7 14"


def read_from_an_error(n):
    try:
        raise ValueError(f"size {n}")
    except ValueError as error:
        return str(error) == "size 7"


def measured(n):
    return len(next(f"{n}{i}" for i in range(3)))


# As text, since pytest writes the assert statements of tests anew.
SCOPE: dict = {}
exec("def asserted(n):\n    assert not n, f'{n} rows' + f' of {n}'", SCOPE)


def first_letter(text):
    return text[0]


def asked_in_a_function(n):
    return first_letter(f"{n}") == "7"


def cut_in_a_function(n):
    return first_letter(f"h{n}") == "h"


USES = {
    SCOPE["asserted"]: Use.MESSAGE,
    asked_in_a_function: Use.ASKED,
    cut_in_a_function: Use.UNKNOWN,
    raised: Use.MESSAGE,
    logged: Use.MESSAGE,
    kept_and_raised: Use.MESSAGE,
    compared: Use.ASKED,
    kept_and_compared: Use.UNKNOWN,
    looked_up: Use.UNKNOWN,
    within_a_text: Use.UNKNOWN,
    read_from_an_error: Use.UNKNOWN,
    measured: Use.UNKNOWN,
}


@pytest.mark.parametrize("function", USES)
def test_the_use_of_a_text_is_found_in_the_code(function):
    number = Number()
    with contextlib.suppress(ValueError, AssertionError):
        function(number)
    assert number.uses
    if USES[function] is Use.MESSAGE:
        assert set(number.uses) == {Use.MESSAGE}
    else:
        assert max(number.uses) is USES[function]
