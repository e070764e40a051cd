"""ShapeError, and the messages that it carries.

Internal code raises :class:`ValidationError` with diagnostics; the public function, marked with
:func:`public_api`, adds its own name and raises :class:`ShapeError` with the whole message.
"""

import difflib
import functools
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

Params = ParamSpec("Params")
Returned = TypeVar("Returned")
MAX_PIXELS = 2**31 - 1  # XLA aborts the process on a longer axis
LONGEST_VALUE = 200  # letters of a value that a message shows


class ShapeError(ValueError):
    """Shapes, types or options of a call do not fit; the message says which, where, and the fix."""


@dataclass(frozen=True)
class Diagnostic:
    """One mistake: what is wrong, what it probably was, and how to fix it.

    Attributes:
        wrong: a sentence without the function's name, such as ``"stride is 0, ..."``.
        fix: what to do, an imperative sentence.
        hint: what the mistake probably was, a complete sentence; may be empty.
    """

    wrong: str
    fix: str
    hint: str = ""


@dataclass(frozen=True)
class OperandShape:
    """An array, as it appears in a message.

    Attributes:
        name: of the argument.
        shape: its sizes.
        reading: how the axes were read, such as "read as NHWC: b=1 h=8 w=8 c=3"; may be empty.
    """

    name: str
    shape: Sequence[object]
    reading: str = ""


class ValidationError(Exception):
    """Diagnostics raised by internal code, for the public function to report."""

    def __init__(
        self, diagnostics: Iterable[Diagnostic], operands: Iterable[OperandShape] = ()
    ) -> None:
        self.diagnostics = tuple(diagnostics)
        self.operands = tuple(operands)
        super().__init__(*(diagnostic.wrong for diagnostic in self.diagnostics))


class DiagnosticCollector(list[Diagnostic]):
    """Collects diagnostics, so that one message can name all mistakes at once."""

    def attempt(
        self, parse: Callable[Params, Returned], *args: Params.args, **kwargs: Params.kwargs
    ) -> Returned | None:
        """Call a function, and collect the diagnostics that it raises.

        Args:
            parse: the function.
            *args: its arguments.
            **kwargs: likewise.

        Returns:
            What it returns; None where it raised diagnostics.
        """
        try:
            return parse(*args, **kwargs)
        except ValidationError as error:
            self.extend(error.diagnostics)
            return None


def raise_if(diagnostics: Iterable[Diagnostic], operands: Iterable[OperandShape] = ()) -> None:
    """Raise an error if there are any diagnostics.

    Args:
        diagnostics: may be empty.
        operands: the arrays, as the message shows them.

    Raises:
        ValidationError: with all diagnostics.
    """
    if diagnostics := tuple(diagnostics):
        raise ValidationError(diagnostics, operands)


def message(
    function: str, diagnostics: Sequence[Diagnostic], operands: Sequence[OperandShape] = ()
) -> str:
    """Write all mistakes of one call as one message.

    Args:
        function: the public function that was called.
        diagnostics: at least one.
        operands: the arrays, as they were read.

    Returns:
        The sentence(s), a line per operand, then the hints and the fixes.
    """
    indent = " " * (len(function) + 2)
    lines = [f"{function}: " + f"\n{indent}".join(diagnostic.wrong for diagnostic in diagnostics)]
    shapes = [
        f"({', '.join(map(str, operand.shape))}{',' if len(operand.shape) == 1 else ''})"
        for operand in operands
    ]
    name_width = max((len(operand.name) for operand in operands), default=0)
    shape_width = max(map(len, shapes), default=0)
    for operand, shape in zip(operands, shapes, strict=True):
        row = f"  {operand.name:<{name_width}}  {shape:<{shape_width}}  {operand.reading}"
        lines.append(row.rstrip())
    lines += [f"  {diagnostic.hint}" for diagnostic in diagnostics if diagnostic.hint]
    fixes = dict.fromkeys(diagnostic.fix for diagnostic in diagnostics)
    return "\n".join([*lines, *(f"  Fix: {fix}" for fix in fixes)])


def raises_shape_error(
    name: str,
) -> Callable[[Callable[Params, Returned]], Callable[Params, Returned]]:
    """Decorate a function that raises :class:`ShapeError` for diagnostics of inner code.

    Args:
        name: of the public function, as messages show it.
    """

    def decorate(public: Callable[Params, Returned]) -> Callable[Params, Returned]:
        @functools.wraps(public)
        def guarded(*args: Params.args, **kwargs: Params.kwargs) -> Returned:
            try:
                return public(*args, **kwargs)
            except ValidationError as error:
                text = message(name, error.diagnostics, error.operands)
            raise ShapeError(text)

        return guarded

    return decorate


def public_api(public: Callable[Params, Returned]) -> Callable[Params, Returned]:
    """Decorate a public function that raises :class:`ShapeError` under its own name.

    Args:
        public: the function.
    """
    return raises_shape_error(public.__name__)(public)


def shown(value: object) -> str:
    """Write a value as messages show it; it need not have a ``repr`` that works or ends.

    Args:
        value: any object.

    Returns:
        Its ``repr``, shortened in the middle; for one that fails the name of the type.
    """
    try:
        text = repr(value)
    except Exception:  # any object may have been passed, and its repr is the user's code
        return f"of type {type(value).__name__}"
    half = LONGEST_VALUE // 2
    return text if len(text) <= LONGEST_VALUE else f"{text[:half]}...{text[-half:]}"


def flag(name: str, value: object) -> bool:
    """Read an option that is True or False.

    Args:
        name: of the option.
        value: what was passed.

    Raises:
        ValidationError: anything else.
    """
    if type(value).__name__ in ("bool", "bool_"):  # of Python, or of NumPy, which is not needed
        return bool(value)
    wrong = f"{name} is {shown(value)}, but must be True or False."
    raise ValidationError([Diagnostic(wrong, f"pass {name}=True or {name}=False.")])


def whole(name: str, value: Any, least: int = 1) -> int:
    """Read an option that is one int.

    Args:
        name: of the option.
        value: what was passed.
        least: the smallest int allowed.

    Raises:
        ValidationError: not a whole number, too small, or too large.
    """
    try:
        number = operator.index(value)
    except TypeError:
        wrong = f"{name} is {shown(value)}, but must be an int."
        raise ValidationError([Diagnostic(wrong, f"pass an int such as {name}=1.")]) from None
    raise_if(range_diagnostics(name, value, [number], least))
    return number


def range_diagnostics(
    name: str, value: object, numbers: Sequence[int], least: int | None = None
) -> list[Diagnostic]:
    """Say whether the numbers of an option are too small, or too large for XLA.

    Args:
        name: of the option.
        value: what was passed.
        numbers: those in it.
        least: the smallest int allowed; None allows any.
    """
    if least is not None and min(numbers) < least:
        wrong = f"{name} is {shown(value)}, but must be {least} or more."
        return [Diagnostic(wrong, f"pass {name} of {least} or more.")]
    # A window of a symbolic size is as large as the image allows.
    if max((abs(n) for n in numbers if type(n) is int), default=0) <= MAX_PIXELS:
        return []
    wrong = f"{name} is {shown(value)}, but must be at most {MAX_PIXELS}."
    return [Diagnostic(wrong, f"pass a smaller {name}.")]


def choice(name: str, value: object, allowed: Iterable[str], also: str = "") -> Diagnostic:
    """Describe an argument that is not one of the allowed names.

    Args:
        name: of the argument.
        value: what was passed.
        allowed: the names; the fix lists the one nearest to ``value`` first.
        also: other forms that the argument may have, such as ``", an int"``.
    """
    allowed = tuple(allowed)
    near = difflib.get_close_matches(shown(value).strip("'").upper(), map(str.upper, allowed), 1)
    first = sorted(allowed, key=lambda a: a.upper() not in near)
    options = ", ".join(repr(option) for option in first) + also
    wrong = f"{name} is {shown(value)}, which is not valid."
    return Diagnostic(wrong, f"set {name}= to one of {options}.")
