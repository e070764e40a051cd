"""The language of shapes: ``"b h//2 w//2 64:bfloat16"``.

A spec has a word for each axis: a name, a number, or a formula of ``+ - * // % min max`` over names
without spaces; ``_`` is any size, ``...`` any number of axes, and ``:bfloat16`` at the end the
dtype.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jaxconv.shapes.errors import ShapeError


class SpecError(ShapeError):
    """A spec that cannot be read; the message points at the place."""


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

    def value(self, sizes: Mapping[str, Any]) -> Any:
        """What the formula gives for these sizes, ints or symbolic."""
        return _value(self.tree, sizes)


ANY = "_"
REST = "..."
Axis = Formula | str


@dataclass(frozen=True)
class Spec:
    """The shape and dtype of one array.

    Attributes:
        axes: a formula, ANY or REST each.
        dtype: its name; empty where none is given.
    """

    axes: tuple[Axis, ...]
    dtype: str

    def aligned(self, rank: int) -> list[Axis] | None:
        """An entry for each of ``rank`` axes, ANY for those that REST stands for; None: no fit."""
        axes = list(self.axes)
        if REST in axes:
            at = axes.index(REST)
            axes[at : at + 1] = [ANY] * (rank - len(axes) + 1)
        return axes if len(axes) == rank else None

    def names(self) -> list[str]:
        """Names in the order of their first use."""
        used = [n for axis in self.axes if isinstance(axis, Formula) for n in axis.names()]
        return list(dict.fromkeys(used))


def parse_spec(text: str) -> Spec:
    """Read the spec of one array, such as ``"b h w 3:bfloat16"``.

    Raises:
        SpecError: with a caret under the character that cannot be read.
    """
    shape, colon, dtype = text.partition(":")
    if colon and not dtype.strip().isidentifier():
        raise _error(text, len(shape) + 1, "a dtype, such as bfloat16, must follow the colon")
    axes, place = [], 0
    for word in shape.split():
        place = text.index(word, place)
        axes.append(word if word in (ANY, REST) else parse_formula(text, word, place))
        place += len(word)
    if axes.count(REST) > 1:
        raise _error(text, shape.rindex(REST), "... may stand once only")
    return Spec(tuple(axes), dtype.strip())


def parse_formula(whole: str, text: str, place: int = 0) -> Formula:
    """Read one formula that stands at ``place`` in ``whole``."""
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        at = min(max((getattr(error, "offset", 1) or 1) - 1, 0), len(text) - 1)
        raise _error(whole, place + at, "this is no formula") from None
    _allow(tree, whole, place)
    return Formula(text, tree)


def parse_condition(text: str) -> list[tuple[Formula, str, Formula]]:
    """Read a condition, such as ``"h >= 32, w == h"``: comparisons that all hold.

    They are joined by commas or by "and".

    Raises:
        SpecError: with a caret under the character that cannot be read.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        at = min(max((getattr(error, "offset", 1) or 1) - 1, 0), max(len(text) - 1, 0))
        raise _error(text, at, "this is no condition") from None
    match tree:
        case ast.BoolOp(op=ast.And(), values=parts) | ast.Tuple(elts=parts):
            pass
        case _:
            parts = [tree]
    found = []
    for part in parts:
        if not isinstance(part, ast.Compare):
            raise _error(text, part.col_offset, "a comparison, such as h >= 32, must stand here")
        sides = [part.left, *part.comparators]
        for left, sign, right in zip(sides, part.ops, sides[1:], strict=False):
            for side in (left, right):
                _allow(side, text, 0)
            if type(sign) not in COMPARISONS:
                raise _error(text, part.col_offset, "only < <= == >= > compare sizes")
            found.append((Formula(text, left), COMPARISONS[type(sign)], Formula(text, right)))
    return found


COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "lt_set",
    ast.LtE: "le_set",
    ast.Eq: "eq_set",
    ast.GtE: "ge_set",
    ast.Gt: "gt_set",
}
OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
FUNCTIONS = ("min", "max")


def _allow(tree: ast.expr, whole: str, place: int) -> None:
    """Refuse everything but names, ints, the operators above, min and max."""
    match tree:
        case ast.Name():
            return None
        case ast.Constant(value=int()) if not isinstance(tree.value, bool):
            return None
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return _allow(inner, whole, place)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            _allow(left, whole, place)
            return _allow(right, whole, place)
        case ast.Call(func=ast.Name(id=name), args=[left, right], keywords=[]) if name in FUNCTIONS:
            _allow(left, whole, place)
            return _allow(right, whole, place)
    allowed = "names, ints, + - * // %, min(a,b) and max(a,b)"
    raise _error(whole, place + tree.col_offset, f"only {allowed} make a formula")


def _value(tree: ast.expr, sizes: Mapping[str, Any]) -> Any:
    match tree:
        case ast.Name(id=name):
            return sizes[name]
        case ast.Constant(value=value):
            return value
        case ast.UnaryOp(operand=inner):
            return -_value(inner, sizes)
        case ast.BinOp(left=left, op=op, right=right):
            return OPERATORS[type(op)](_value(left, sizes), _value(right, sizes))
        case ast.Call(func=ast.Name(id=name), args=[left, right]):
            return extreme(name, _value(left, sizes), _value(right, sizes))
    raise AssertionError(ast.dump(tree))


def extreme(name: str, a: Any, b: Any) -> Any:
    """The "min" or "max" of two sizes, ints or symbolic."""
    for one, other in ((a, b), (b, a)):
        if hasattr(one, name):
            return getattr(one, name)(other)
    return min(a, b) if name == "min" else max(a, b)


def _error(text: str, place: int, wrong: str) -> SpecError:
    return SpecError(
        f"The spec cannot be read: {wrong}.\n  {text}\n  {' ' * place}^\n"
        "  Fix: write a word for each axis, such as b h w 3, h//2 or ((h+1)//2)."
    )
