"""The language of shapes: ``"b h//2 w//2 64:bfloat16"``.

A spec has a word for each axis: a name, a number, or a formula of ``+ - * // % min max`` over names
without spaces; ``_`` is any size, ``...`` any number of axes, and ``:bfloat16`` at the end the
dtype.
"""

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jaxconv.errors import ShapeError


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

    def is_name(self) -> bool:
        """Whether it is a name alone, which an argument's size is then known by."""
        return isinstance(self.tree, ast.Name)

    def value(self, sizes: Mapping[str, Any]) -> Any:
        """What the formula gives for these sizes, ints or symbolic.

        Raises:
            SpecError: if it divides by zero.
        """
        try:
            return _value(self.tree, sizes)
        except ZeroDivisionError:
            fix = "Fix: divide by what is never 0."
            raise SpecError(f"{self.text} divides by zero.\n  {fix}") from None


ANY = "_"
REST = "..."
Axis = Formula | str


@dataclass(frozen=True)
class Spec:
    """The shape and dtype of one array.

    Attributes:
        text: as written.
        axes: a formula, ANY or REST each.
        dtype: its name; empty where none is given.
    """

    text: str
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
    return _spec(text, 0, len(text))


def _spec(whole: str, start: int, end: int) -> Spec:
    """Read the spec that stands between two places of a text."""
    shape, colon, dtype = whole[start:end].partition(":")
    if colon and not dtype.strip().isidentifier():
        place = start + len(shape) + 1
        raise _error(whole, place, "a dtype, such as bfloat16, must follow the colon")
    axes = [_axis(whole, start + word.start(), word[0]) for word in re.finditer(r"\S+", shape)]
    if axes.count(REST) > 1:
        raise _error(whole, start + shape.rindex(REST), "... may stand once only")
    return Spec(whole[start:end].strip(), tuple(axes), dtype.strip())


def _axis(whole: str, place: int, word: str) -> Axis:
    return word if word in (ANY, REST) else parse_formula(whole, word, place)


@dataclass(frozen=True)
class Signature:
    """The shapes that a function takes and returns.

    Attributes:
        text: as written.
        inputs: a spec for each argument that is an array.
        outputs: a spec for each array returned.
        where: the condition on the sizes, as written.
        conditions: the comparisons in it.
    """

    text: str
    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]
    where: str
    conditions: tuple[tuple[Formula, str, Formula], ...]


def parse_contract(text: str, where: str = "") -> Signature:
    """Read a contract, such as ``"b h w 3, b -> b 10"``.

    Raises:
        SpecError: with a caret under the character that cannot be read, or for a name that no
            argument has alone as a size.
    """
    arrow = text.find("->")
    if arrow < 0 or "->" in text[arrow + 2 :]:
        wrong = "one -> must stand before what is returned"
        raise _error(text, max(text.rfind("->"), 0), wrong, ARROW)
    inputs = tuple(_spec(text, *part) for part in _parts(text, 0, arrow))
    outputs = tuple(_spec(text, *part) for part in _parts(text, arrow + 2, len(text)))
    conditions = tuple(parse_condition(where)) if where else ()
    known = {a.text for spec in inputs for a in spec.axes if isinstance(a, Formula) and a.is_name()}
    used = [name for spec in (*inputs, *outputs) for name in spec.names()]
    used += [
        name for left, _, right in conditions for side in (left, right) for name in side.names()
    ]
    if unknown := [name for name in used if name not in known]:
        raise SpecError(
            f"The contract uses {unknown[0]}, which is no argument's size.\n  {text}\n"
            f"  Fix: let {unknown[0]} alone be a size of an argument, or write _ for any size."
        )
    return Signature(text, inputs, outputs, where, conditions)


def _parts(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where the specs stand that commas, outside brackets, separate; none in an empty text."""
    depth, begin = 0, start
    for place in range(start, end):
        depth += (text[place] == "(") - (text[place] == ")")
        if text[place] == "," and depth == 0:
            yield begin, place
            begin = place + 1
    if begin > start or text[start:end].strip():
        yield begin, end


NOUNS = {"b": "image", "h": "row", "w": "column", "c": "channel"}


def broken_text(
    sizes: Mapping[str, int], got: int, promise: Formula, axis: str, formula: str
) -> str:
    """Say by an example that a promise about one axis is not kept.

    Args:
        sizes: of the example.
        got: what the function returns for it.
        promise: what it should return.
        axis: which one it is.
        formula: what the function returns in general.
    """
    names = [n for n in sizes if n in re.findall(r"\w+", f"{formula} {promise.text}")]
    here = ", ".join(f"{name} = {sizes[name]}" for name in names) or "every size"
    noun = NOUNS.get(next(iter(promise.names()), ""))
    counted = f"{got} {noun}{'s' * (got != 1)}" if noun else f"{got} on {axis}"
    general = f" ({axis} is {formula}, not {promise.text})" if formula != str(got) else ""
    said = promise.value(sizes)
    return f"for {here} the function returns {counted}, the contract says {said}{general}."


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
        raise _error(text, at, "this is no condition", CONDITION) from None
    found = []
    for part in _conjuncts(tree):
        if not isinstance(part, ast.Compare):
            wrong = "a comparison, such as h >= 32, must stand here"
            raise _error(text, part.col_offset, wrong, CONDITION)
        sides = [part.left, *part.comparators]
        for left, sign, right in zip(sides, part.ops, sides[1:], strict=False):
            for side in (left, right):
                _allow(side, text, 0)
            if type(sign) not in COMPARISONS:
                wrong = "only < <= == >= > compare sizes"
                raise _error(text, part.col_offset, wrong, CONDITION)
            found.append((Formula(text, left), COMPARISONS[type(sign)], Formula(text, right)))
    return found


def _conjuncts(tree: ast.expr) -> Iterator[ast.expr]:
    match tree:
        case ast.BoolOp(op=ast.And(), values=parts) | ast.Tuple(elts=parts):
            for part in parts:
                yield from _conjuncts(part)
        case _:
            yield tree


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


SPEC = "write a word without spaces for each axis, such as b h w 3, h//2 or ((h+1)//2)"
CONDITION = 'write comparisons joined by "and", such as h >= 32 and h % 4 == 0'
ARROW = "write it as b h w 3 -> b 10, arguments and results separated by commas"


def _error(text: str, place: int, wrong: str, fix: str = SPEC) -> SpecError:
    what = "condition" if fix == CONDITION else "spec"
    return SpecError(
        f"The {what} cannot be read: {wrong}.\n  {text}\n  {' ' * place}^\n  Fix: {fix}."
    )
