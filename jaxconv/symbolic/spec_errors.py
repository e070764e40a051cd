"""Errors of texts that describe shapes: a caret points at the character."""

import re
import unicodedata

from jaxconv.errors import ShapeError

WIDEST = 72  # columns of a text that are shown around the caret
CUT = "..."


class SpecError(ShapeError):
    """A spec that cannot be read; the message points at the character."""


def spec_error(wrong: str, text: str, column: int, fix: str) -> SpecError:
    """Make the error of a character.

    Args:
        wrong: what is wrong, a sentence.
        text: as the user wrote it.
        column: the number of the character in the text, from 0; the length of the text for its end.
        fix: what to do, a sentence.

    Returns:
        The error. Of a long text it shows the part around the character.
    """
    line = re.sub(r"\s", " ", text)  # a caret below several lines would point into the last one
    first = max(column - WIDEST // 2, 0) if len(line) > WIDEST else 0
    start = CUT if first else ""
    end = CUT if len(line) > first + WIDEST else ""
    # In a terminal, an accent takes no column of its own, and a wide character two.
    before = [one for one in line[first:column] if not unicodedata.combining(one)]
    wide = sum(unicodedata.east_asian_width(one) in "WF" for one in before)
    indent = " " * (len(start) + len(before) + wide)
    shown = f"{start}{line[first : first + WIDEST]}{end}"
    return SpecError(f"{wrong}\n  {shown}\n  {indent}^\n  Fix: {fix}")


def word_error(wrong: str, text: str, word: str, fix: str) -> SpecError:
    """Make the error of a word.

    Args:
        wrong: what is wrong, a sentence.
        text: as the user wrote it.
        word: a part of the text; its first occurrence as a whole word is meant.
        fix: what to do, a sentence.
    """
    found = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text)
    return spec_error(wrong, text, found.start() if found else 0, fix)
