"""ShapeError, and the one place where mismatches become a sentence.

Inner code raises :class:`ValidationError` with diagnostics; the public function, marked with
:func:`public_api`, adds its own name once and raises what the user reads.
"""

import difflib
import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class ShapeError(ValueError):
    """Shapes, types or options of a call do not fit; the message says which, where and the fix."""


@dataclass(frozen=True)
class Diagnostic:
    """One mismatch: what is wrong, what it looks like, and how to mend it.

    Attributes:
        wrong: a sentence without the function's name, such as ``"stride is 0, ..."``.
        fix: the remedy, an imperative sentence.
        hint: what the mistake probably was, a whole sentence; may be empty.
    """

    wrong: str
    fix: str
    hint: str = ""


@dataclass(frozen=True)
class OperandShape:
    """An array as the message shows it: its name, its shape, and how the shape was read."""

    name: str
    shape: Sequence[object]
    reading: str = ""


class ValidationError(Exception):
    """Facts found by inner code, on their way to the door of a public function."""

    def __init__(
        self, diagnostics: Iterable[Diagnostic], operands: Iterable[OperandShape] = ()
    ) -> None:
        self.diagnostics = tuple(diagnostics)
        self.operands = tuple(operands)
        super().__init__(*(diagnostic.wrong for diagnostic in self.diagnostics))


class DiagnosticCollector(list[Diagnostic]):
    """Facts gathered while going on, so that one message can name all mismatches at once."""

    def attempt(self, parse: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
        """Return what ``parse`` returns; where it finds mismatches, keep them and return None."""
        try:
            return parse(*args, **kwargs)
        except ValidationError as mismatch:
            self.extend(mismatch.diagnostics)
            return None


def raise_if(diagnostics: Iterable[Diagnostic], operands: Iterable[OperandShape] = ()) -> None:
    """Raise :class:`ValidationError` if there are any facts."""
    if diagnostics := tuple(diagnostics):
        raise ValidationError(diagnostics, operands)


def message(
    function: str, diagnostics: Sequence[Diagnostic], operands: Sequence[OperandShape] = ()
) -> str:
    """Write all mismatches of one call as one message.

    Args:
        function: the public function that was called.
        diagnostics: what is wrong, at least one.
        operands: the arrays, as they were read.

    Returns:
        The sentence(s), a line an operand, then the hints and the fixes.
    """
    indent = " " * (len(function) + 2)
    lines = [f"{function}: " + f"\n{indent}".join(diagnostic.wrong for diagnostic in diagnostics)]
    names = max((len(operand.name) for operand in operands), default=0)
    shapes = max((len(_tuple(operand.shape)) for operand in operands), default=0)
    for operand in operands:
        row = f"  {operand.name:<{names}}  {_tuple(operand.shape):<{shapes}}  {operand.reading}"
        lines.append(row.rstrip())
    lines += [f"  {diagnostic.hint}" for diagnostic in diagnostics if diagnostic.hint]
    lines += [
        f"  Fix: {fix}" for fix in dict.fromkeys(diagnostic.fix for diagnostic in diagnostics)
    ]
    return "\n".join(lines)


def raises_shape_error(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function raise :class:`ShapeError`, under this name, for every inner mismatch."""

    def decorate(public: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(public)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return public(*args, **kwargs)
            except ValidationError as mismatch:
                text = message(name, mismatch.diagnostics, mismatch.operands)
            raise ShapeError(text)

        return guarded

    return decorate


def public_api(public: Callable[P, R]) -> Callable[P, R]:
    """Make a public function raise :class:`ShapeError` under its own name."""
    return raises_shape_error(public.__name__)(public)


def choice(name: str, value: object, allowed: Iterable[str], also: str = "") -> Diagnostic:
    """Say that ``value`` is none of the ``allowed`` names, the nearest first.

    Args:
        name: the argument.
        value: what was passed.
        allowed: the names that the code tests against.
        also: other forms the argument takes, such as ``", an int"``.
    """
    allowed = tuple(allowed)
    near = difflib.get_close_matches(str(value).upper(), [a.upper() for a in allowed], 1)
    first = sorted(allowed, key=lambda a: a.upper() not in near)
    options = ", ".join(repr(option) for option in first) + also
    return Diagnostic(
        f"{name} is {value!r}, which is not known.", f"pass {name}= one of {options}."
    )


def _tuple(shape: Sequence[object]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
