"""The language of shapes: ``"b h//2 w//2 64:bfloat16"``.

A spec has a word for each axis: a name, a number, or a formula of ``+ - * // % min max`` over
names, without spaces. ``_`` is any size, ``...`` any number of axes. ``:bfloat16`` at the end is
the dtype.

A condition, as ``where=`` takes it, compares such formulas by ``< <= == != >= >``, joined by
``and``, ``or``, ``not`` and brackets as in Python; a comma is "and", too.
"""

import ast
import operator
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxconv.symbolic.sets import RELATIONS
from jaxconv.symbolic.spec_errors import SpecError, spec_error, word_error


@dataclass(frozen=True)
class Formula:
    """A formula over names, as written and as parsed.

    Attributes:
        text: as written.
        tree: the expression.
    """

    text: str
    tree: ast.expr

    def names(self) -> list[str]:
        """Names in the order of their first use."""
        nodes = sorted(
            (n for n in ast.walk(self.tree) if isinstance(n, ast.Name)), key=lambda n: n.col_offset
        )
        called = {id(n.func) for n in ast.walk(self.tree) if isinstance(n, ast.Call)}
        return list(dict.fromkeys(n.id for n in nodes if id(n) not in called))

    def is_name(self) -> bool:
        """Whether it is a name alone, which an argument's size is then known by."""
        return isinstance(self.tree, ast.Name)

    def value(self, sizes: Mapping[str, Any]) -> Any:
        """Compute the value of the formula.

        Args:
            sizes: an int or a symbolic size for each name.

        Returns:
            The value, an int or a symbolic size.

        Raises:
            SpecError: it divides by zero.
        """
        try:
            return _evaluate(self.tree, sizes)
        except ZeroDivisionError:
            fix = "Fix: divide by a formula that is never 0."
            raise SpecError(f"{self.text} divides by zero.\n  {fix}") from None

    def bound_name(self, size: Any) -> str | None:
        """Find the name that stands for the size of an axis; None where this is a formula.

        Args:
            size: of the axis, an int or a symbolic size.
        """
        del size
        return self.text if self.is_name() else None


class OneOr(Formula):
    """A size that may be 1 instead, to be broadcast."""

    def bound_name(self, size: Any) -> str | None:
        """Find the name that stands for the size of an axis; a size of 1 tells nothing of it.

        Args:
            size: of the axis, an int or a symbolic size.
        """
        return None if size == 1 else super().bound_name(size)


ANY = "_"
REST = "..."
Axis = Formula | str


@dataclass(frozen=True)
class Spec:
    """The shape and dtype of one array.

    Attributes:
        text: as written.
        axes: a formula, ANY or REST each.
        dtypes: the names of those it may have; empty where none is given.
    """

    text: str
    axes: tuple[Axis, ...]
    dtypes: tuple[str, ...] = ()

    @property
    def dtype(self) -> str:
        """The first dtype that it may have; empty where none is given."""
        return self.dtypes[0] if self.dtypes else ""

    def described(self) -> str:
        """Write the spec in a message: as written, or "a scalar" where nothing is written."""
        return repr(self.text) if self.text else "a scalar"

    def aligned(self, rank: int) -> list[Axis] | None:
        """Align the spec with the axes of an array.

        Args:
            rank: the number of axes of the array.

        Returns:
            An entry for each axis, ANY for those that REST stands for; None where the numbers of
            axes differ.
        """
        axes = list(self.axes)
        if REST in axes:
            position = axes.index(REST)
            axes[position : position + 1] = [ANY] * (rank - len(axes) + 1)
        return axes if len(axes) == rank else None

    def names(self) -> list[str]:
        """Names in the order of their first use."""
        used = [n for axis in self.axes if isinstance(axis, Formula) for n in axis.names()]
        return list(dict.fromkeys(used))

    def shape(self, sizes: Mapping[str, Any]) -> tuple[Any, ...]:
        """Compute the shape of an array.

        Args:
            sizes: an int or a symbolic size for each name.

        Returns:
            The value of each formula; ANY and REST have none.
        """
        return tuple(axis.value(sizes) for axis in self.axes if isinstance(axis, Formula))


def parse_spec(text: str) -> Spec:
    """Read the spec of one array.

    Args:
        text: the spec, such as ``"b h w 3:bfloat16"``.

    Returns:
        The spec.

    Raises:
        SpecError: with a caret under the character that cannot be read.
    """
    _require_text(text, SPEC)
    return _spec(text, 0, len(text))


def _spec(whole: str, start: int, end: int) -> Spec:
    """Read the spec between two positions of a text."""
    shape, colon, dtype = whole[start:end].partition(":")
    if colon and not dtype.strip().isidentifier():
        column = start + len(shape) + 1
        raise _error(whole, column, "a dtype, such as bfloat16, must follow the colon")
    axes = [
        word[0] if word[0] in (ANY, REST) else parse_formula(whole, word[0], start + word.start())
        for word in re.finditer(r"\S+", shape)
    ]
    if axes.count(REST) > 1:
        raise _error(whole, start + shape.rindex(REST), "... may occur only once")
    dtypes = (dtype.strip(),) if colon else ()
    return Spec(whole[start:end].strip(), tuple(axes), dtypes)


class Comparison(NamedTuple):
    """A comparison of two formulas, such as ``h >= 32``.

    Attributes:
        text: the condition that it is part of, as written.
        left: the formula on the left.
        symbol: ``"<"``, ``"<="``, ``"=="``, ``"!="``, ``">="`` or ``">"``.
        right: the formula on the right.
    """

    text: str
    left: Formula
    symbol: str
    right: Formula

    def names(self) -> list[str]:
        """Names in the order of their first use."""
        return list(dict.fromkeys([*self.left.names(), *self.right.names()]))

    def holds(self, sizes: Mapping[str, Any]) -> bool:
        """Tell whether it holds.

        Args:
            sizes: an int or a symbolic size for each name.

        Returns:
            Whether it holds of these.
        """
        return RELATIONS[self.symbol].on_ints(self.left.value(sizes), self.right.value(sizes))


@dataclass(frozen=True)
class _Joined:
    """Conditions that are joined by one word.

    Attributes:
        text: the condition that they are part of, as written.
        parts: the conditions.
    """

    text: str
    parts: "tuple[Condition, ...]"

    def names(self) -> list[str]:
        """Names in the order of their first use."""
        return list(dict.fromkeys(name for part in self.parts for name in part.names()))


class All(_Joined):
    """Conditions of which all must hold."""

    def holds(self, sizes: Mapping[str, Any]) -> bool:
        """Tell whether all hold.

        Args:
            sizes: an int or a symbolic size for each name.

        Returns:
            Whether they hold of these.
        """
        return all(part.holds(sizes) for part in self.parts)


class Either(_Joined):
    """Conditions of which one must hold."""

    def holds(self, sizes: Mapping[str, Any]) -> bool:
        """Tell whether one holds.

        Args:
            sizes: an int or a symbolic size for each name.

        Returns:
            Whether it holds of these.
        """
        return any(part.holds(sizes) for part in self.parts)


Condition = Comparison | All | Either


@dataclass(frozen=True)
class Signature:
    """The shapes that a function takes and returns.

    Attributes:
        text: as written.
        inputs: a spec for each argument that is an array.
        outputs: a spec for each array returned.
        where: the condition on the sizes, as written.
        conditions: its parts, which must all hold.
    """

    text: str
    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]
    where: str
    conditions: tuple[Condition, ...]


def parse_contract(text: str, where: str = "") -> Signature:
    """Read a contract.

    Args:
        text: the contract, such as ``"b h w 3, b -> b 10"``; ``"b, b ->"`` returns a scalar.
        where: a condition on the sizes, such as ``"h >= 32"``; may be empty.

    Returns:
        The shapes and the condition.

    Raises:
        SpecError: with a caret under the character that cannot be read, or for a name that is not
            on its own the size of an argument.
    """
    _require_text(text, ARROW)
    arrow = text.find("->")
    if arrow < 0 or "->" in text[arrow + 2 :]:
        wrong = "exactly one -> must precede what is returned"
        raise _error(text, max(text.rfind("->"), 0), wrong, ARROW)
    inputs = _specs(text, 0, arrow)
    # Nothing after -> is one result without axes, as in einsum.
    ranges = [*_spec_ranges(text, arrow + 2, len(text))] or [(arrow + 2, len(text))]
    outputs = tuple(_spec(text, *part) for part in ranges)
    where = joined_conditions("", where)
    conditions = tuple(parse_condition(where)) if where else ()
    _require_names(inputs, (*outputs, *conditions), text, where)
    return Signature(text, inputs, outputs, where, conditions)


def parse_inputs(text: str) -> tuple[Spec, ...]:
    """Read the shapes of arguments.

    Args:
        text: separated by commas, such as ``"b h w 3, b"``.

    Returns:
        A spec for each argument.

    Raises:
        SpecError: as for :func:`parse_contract`.
    """
    _require_text(text, SPEC)
    inputs = _specs(text, 0, len(text))
    _require_names(inputs, (), text, "")
    return inputs


def _specs(text: str, start: int, end: int) -> tuple[Spec, ...]:
    return tuple(_spec(text, *part) for part in _spec_ranges(text, start, end))


def _require_names(
    inputs: Sequence[Spec], others: Sequence[Spec | Condition], text: str, where: str
) -> None:
    """Reject names that are not on their own the size of an argument."""
    known = {a.text for spec in inputs for a in spec.axes if isinstance(a, Formula) and a.is_name()}
    for part in (*inputs, *others):
        for name in part.names():
            if name not in known:
                raise word_error(
                    f"The contract uses {name}, which is not the size of an argument.",
                    text if isinstance(part, Spec) else where,
                    name,
                    f"use {name} alone as a size of an argument, or write _ for any size.",
                )


def _spec_ranges(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Start and end of each spec between commas outside brackets; none in an empty text."""
    depth, begin = 0, start
    for column in range(start, end):
        depth += (text[column] == "(") - (text[column] == ")")
        if text[column] == "," and depth == 0:
            yield begin, column
            begin = column + 1
    if begin > start or text[start:end].strip():
        yield begin, end


NOUNS = {"b": "image", "h": "row", "w": "column", "c": "channel"}


class Correction(NamedTuple):
    """What a contract must say of one axis to be true.

    Attributes:
        axis: which axis of the result it is, such as "axis 1" or "axis 1 of result 0".
        expected: the formula in the contract.
        returned: the size that the function returns, a formula of the same names.
    """

    axis: str
    expected: str
    returned: str


def violation_text(
    sizes: Mapping[str, int], returned: int, expected: Formula, axis: str, formula: str
) -> str:
    """Say by an example that one axis of a result violates the contract.

    Args:
        sizes: the sizes of the example.
        returned: the size of the axis that the function returns for them.
        expected: the size that the contract says.
        axis: which axis it is, such as ``"axis 1"``.
        formula: the size that the function returns in general.

    Returns:
        A sentence.
    """
    names = [n for n in sizes if n in re.findall(r"\w+", f"{formula} {expected.text}")]
    example = ", ".join(f"{name} = {sizes[name]}" for name in names) or "every size"
    noun = NOUNS.get(next(iter(expected.names()), ""))
    counted = f"{returned} {noun}{'s' * (returned != 1)}" if noun else f"{returned} on {axis}"
    general = f" ({axis} is {formula}, not {expected.text})" if formula != str(returned) else ""
    value = expected.value(sizes)
    return f"for {example} the function returns {counted}, but the contract says {value}{general}."


def parse_formula(whole: str, text: str, column: int = 0) -> Formula:
    """Read one formula.

    Args:
        whole: the text that it is part of, for the error message.
        text: the formula.
        column: where the formula begins in the whole text.

    Returns:
        The formula.

    Raises:
        SpecError: with a caret under the character that cannot be read.
    """
    try:
        tree = _parse(text)
        _allow(tree, whole, column, SPEC)
    except SpecError:
        raise
    except UNREADABLE as error:
        raise _error(whole, column + _offset(error, len(text)), "this is not a formula") from None
    return Formula(text, tree)


UNREADABLE = (
    SyntaxError,
    ValueError,
    MemoryError,
    RecursionError,
)  # errors of ast.parse, and of deep trees


def _offset(error: BaseException, length: int) -> int:
    """The position in a text at which ast.parse failed."""
    return max(min((getattr(error, "offset", 1) or 1) - 1, length - 1), 0)


def parse_condition(text: str) -> list[Condition]:
    """Read a condition.

    Args:
        text: comparisons joined by "and", commas, "or" and "not", such as ``"h >= 32, w == h"``.

    Returns:
        Conditions that must all hold.

    Raises:
        SpecError: with a caret under the character that cannot be read.
    """
    _require_text(text, CONDITION)
    text = re.sub(r"\s", " ", text).strip()
    try:
        tree = _parse(text)
        condition = _condition(tree, text, negated=False)
    except SpecError:
        raise
    except UNREADABLE as error:
        wrong = "this is not a condition"
        raise _error(text, _offset(error, len(text)), wrong, CONDITION) from None
    return list(condition.parts) if isinstance(condition, All) else [condition]


def _condition(tree: ast.expr, text: str, *, negated: bool) -> Condition:
    """The condition of an expression; if negated, its opposite, with "not" only in comparisons."""
    match tree:
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            return _condition(inner, text, negated=not negated)
        case ast.BoolOp(values=parts) | ast.Tuple(elts=parts):
            join = Either if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.Or) else All
            conditions = [_condition(part, text, negated=negated) for part in parts]
        case ast.Compare(left=first, ops=operations, comparators=others):
            join, conditions = All, []
            for left, operation, right in zip([first, *others], operations, others, strict=False):
                for side in (left, right):
                    _allow(side, text, 0, CONDITION)
                symbol = SYMBOLS.get(type(operation))
                if symbol is None:
                    wrong = f"only {' '.join(OPPOSITES)} compare sizes"
                    raise _error(text, _position(tree, text), wrong, CONDITION)
                symbol = OPPOSITES[symbol] if negated else symbol
                conditions.append(
                    Comparison(text.strip(), Formula(text, left), symbol, Formula(text, right))
                )
        case _:
            wrong = "a comparison is expected, such as h >= 32"
            raise _error(text, _position(tree, text), wrong, CONDITION)
    if len(conditions) == 1:
        return conditions[0]
    if negated:
        join = All if join is Either else Either
    nested = [part.parts if isinstance(part, join) else (part,) for part in conditions]
    return join(text, tuple(one for parts in nested for one in parts))


def joined_conditions(first: str, second: object) -> str:
    """Join two conditions that must both hold.

    Args:
        first: a condition; may be empty.
        second: likewise, as a user passed it; or None.

    Raises:
        SpecError: the second one is not text.
    """
    if second is None:
        return first
    if not isinstance(second, str):
        raise SpecError(f"A condition is text, not {type(second).__name__}.\n  Fix: {CONDITION}.")
    return ", ".join(filter(None, (first, second)))


def _require_text(text: object, fix: str) -> None:
    if not isinstance(text, str):
        what = "condition" if fix == CONDITION else "spec"
        raise SpecError(f"A {what} is text, not {type(text).__name__}.\n  Fix: {fix}.")


def _parse(text: str) -> ast.expr:
    with warnings.catch_warnings():  # Python warns of 1if, for example
        warnings.simplefilter("ignore")
        return ast.parse(text, mode="eval").body


OPPOSITES = {"<": ">=", "<=": ">", "==": "!=", "!=": "==", ">=": "<", ">": "<="}
SYMBOLS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.GtE: ">=",
    ast.Gt: ">",
}
OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
FUNCTIONS = ("min", "max")


def _allow(tree: ast.expr, whole: str, column: int, fix: str) -> None:
    """Reject everything but names, ints, the operators above, min and max."""
    match tree:
        case ast.Name():
            return None
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            if value < 2**63:
                return None
            wrong = "a number of a formula must be less than 2**63"
            raise _error(whole, _position(tree, whole, column), wrong, fix)
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return _allow(inner, whole, column, fix)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            _allow(left, whole, column, fix)
            return _allow(right, whole, column, fix)
        case ast.Call(func=ast.Name(id=name), args=[left, right], keywords=[]) if name in FUNCTIONS:
            _allow(left, whole, column, fix)
            return _allow(right, whole, column, fix)
    allowed = "names, ints, + - * // %, min(a,b) and max(a,b)"
    raise _error(whole, _position(tree, whole, column), f"only {allowed} make a formula", fix)


def _position(tree: ast.expr, whole: str, column: int = 0) -> int:
    """Where an expression stands in a text: Python counts bytes from where it began to read."""
    return column + len(whole[column:].encode()[: tree.col_offset].decode())


def _evaluate(tree: ast.expr, sizes: Mapping[str, Any]) -> Any:
    match tree:
        case ast.Name(id=name):
            return sizes[name]
        case ast.Constant(value=value):
            return value
        case ast.UnaryOp(operand=inner):
            return -_evaluate(inner, sizes)
        case ast.BinOp(left=left, op=op, right=right):
            return OPERATORS[type(op)](_evaluate(left, sizes), _evaluate(right, sizes))
        case ast.Call(func=ast.Name(id=name), args=[left, right]):
            return extreme(name, _evaluate(left, sizes), _evaluate(right, sizes))
    raise AssertionError(ast.dump(tree))


def extreme(name: str, a: Any, b: Any) -> Any:
    """Compute the minimum or maximum of two sizes.

    Args:
        name: "min" or "max".
        a: one size, an int or symbolic.
        b: the other one.

    Returns:
        The smaller or larger one, as a formula where it differs from size to size.
    """
    for one, other in ((a, b), (b, a)):
        if hasattr(one, name):
            return getattr(one, name)(other)
    return min(a, b) if name == "min" else max(a, b)


SPEC = "write a word without spaces for each axis, such as b h w 3, h//2 or ((h+1)//2)"
CONDITION = 'write comparisons joined by "and" or "or", such as h >= 32 and h % 4 == 0'
ARROW = "write it as b h w 3 -> b 10, arguments and results separated by commas"


def _error(text: str, column: int, wrong: str, fix: str = SPEC) -> SpecError:
    what = "condition" if fix == CONDITION else "spec"
    return spec_error(f"The {what} cannot be read: {wrong}.", text, column, f"{fix}.")
