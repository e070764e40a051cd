"""The text of a symbolic number: a formula to read, which compares as the digits would.

Code may decide by the text of a size: ``str(h) in ("7", "14")``, ``len(str(h))``. A text that is
joined to another one has the digits, unless it is a message.
"""

import contextlib
from collections.abc import Callable
from typing import Any

from jaxconv.source import frame_of_user
from jaxconv.symbolic.text_uses import Use, use_of_text

# What makes longer texts, of which those that are messages may show the formula.
JOINING = ("__add__", "__format__", "__str__", "center", "ljust", "rjust", "strip")
OPERATORS = ("contains", "ge", "gt", "iter", "le", "lt", "mod", "mul", "repr", "rmul")


class NumberText(str):
    """The text of a number that is known as a formula."""

    value: Any
    spec: str

    @classmethod
    def of(cls, formula: str, value: Any, spec: str = "") -> "NumberText":
        """Make the text of a number.

        Args:
            formula: what it shows.
            value: the number.
            spec: how it is formatted.

        Returns:
            The text.
        """
        text = cls(formula)
        text.value, text.spec = value, spec
        return text

    def digits(self) -> str:
        """Find the text of the number, where it takes few values.

        Raises:
            Fork: it takes several values on the domain.
            Undecided: it takes too many values.
        """
        return format(self.value.number(), self.spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, str):
            return False
        if isinstance(other, NumberText) and self.spec == other.spec:
            return bool(self.value == other.value)
        if self.spec or isinstance(other, NumberText) or not self.value.is_integer():
            return self.digits() == str(other)
        number = None
        with contextlib.suppress(ValueError):
            number = int(other)
        return number is not None and str(number) == other and bool(self.value == number)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.digits())

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        if self.spec or not self.value.is_integer() or self.value < 0:
            return len(self.digits())
        length = 1
        while self.value >= 10**length:
            length += 1
        return length

    def __getitem__(self, index: Any) -> str:
        nothing = isinstance(index, slice) and index.start in (None, 0) and index.stop == 0
        if nothing:
            return ""
        whole = self.spec == "" and self.value.is_integer()
        if whole and index == 0 and self.value > 0:
            return str(self.value.first_digit())
        return self.digits()[index]

    def __radd__(self, other: Any) -> str:
        is_message = use_of_text(frame_of_user(), is_part=True) is Use.MESSAGE
        return other + (str.__str__(self) if is_message else self.digits())

    def __int__(self) -> int:
        return int(self.digits())

    def __float__(self) -> float:
        return float(self.digits())


def _method_of_str(name: str) -> Callable[..., Any]:
    def method(text: NumberText, *arguments: Any, **named: Any) -> Any:
        joins = name in JOINING
        is_message = joins and use_of_text(frame_of_user(), is_part=True) is Use.MESSAGE
        shown = str.__str__(text) if is_message else text.digits()
        return getattr(shown, name)(*arguments, **named)

    return method


_OPERATORS = (f"__{name}__" for name in OPERATORS)
for _name in (*JOINING, *_OPERATORS, *(name for name in dir(str) if name[0] != "_")):
    setattr(NumberText, _name, _method_of_str(_name))
