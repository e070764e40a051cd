"""Loops such as ``while n > 28: n -= 2``, whose turns add the same numbers to some variables.

What such a loop compares changes by the same number from turn to turn. So it is a formula in which
turn a comparison first has another result, and the turns before that one are skipped: the variables
get the values that they have there. Where it changes otherwise, as in ``while n * n < h: n += 1``,
the number of turns is unknown, and the loop is traced turn by turn if the code needs it.
"""

import ast
import collections
import dis
import functools
import itertools
import operator
from collections.abc import Callable, MutableMapping
from types import CodeType
from typing import Any, NamedTuple

from jaxconv import compat
from jaxconv.source import is_inside_jax, loop_statement
from jaxconv.symbolic.loops import LoopIndex
from jaxconv.symbolic.size import Size, larger
from jaxconv.symbolic.trace import SymbolicTrace, caller

OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}
NEGATED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}
BACKWARD = frozenset(number for name, number in dis.opmap.items() if "JUMP_BACKWARD" in name)
OF_SHAPES = frozenset(("shape", "size", "ndim"))  # attributes that have no effect


class _Exit(NamedTuple):
    """A comparison that ends a loop where it is true.

    Attributes:
        left: what is compared.
        relation: the comparison.
        right: with what.
        after: the variables that each turn changes before it.
    """

    left: ast.expr
    relation: type[ast.cmpop]
    right: ast.expr
    after: frozenset[str] = frozenset()


class _Loop(NamedTuple):
    """A loop of nothing but additions and comparisons.

    Attributes:
        exits: the comparisons that end it, that of the statement itself first.
        steps: what each turn adds to each variable, as formulas.
    """

    exits: list[_Exit]
    steps: dict[str, ast.expr]


def skip_turns(trace: SymbolicTrace) -> bool | None:
    """Skip turns of the loop whose condition the code compares.

    Args:
        trace: the run.

    Returns:
        Whether the condition holds then; None where it is that of no such loop.

    Raises:
        Fork: it differs within the domain which comparison ends the loop.
    """
    frame = caller()
    loop = None if trace.skips_turns else _loop_at(frame.f_code, frame.f_lasti)
    if loop is None:
        return None
    names = collections.ChainMap(frame.f_locals, frame.f_globals)
    variables = {name: names.get(name) for name in loop.steps}
    steps = {name: _value(step, names) for name, step in loop.steps.items()}
    if {*map(type, steps.values())} != {int} or not all(map(_is_whole, variables.values())):
        return None
    compared = [_differences(one, names, variables, steps) for one in loop.exits]
    trace.skips_turns = True
    try:
        turns, holds = _first_exit(loop, compared) or (_unknown_turns(trace, loop, compared), False)
    finally:
        trace.skips_turns = False
    if turns is None:
        return None
    for name, value in variables.items():
        compat.set_local(frame, name, value + steps[name] * turns)
    return holds


@functools.lru_cache(maxsize=4096)
def _loop_at(code: CodeType, instruction: int) -> _Loop | None:
    """The loop whose condition an instruction compares; None where it does anything else."""
    may_repeat = not BACKWARD.isdisjoint(code.co_code[::2]) and not is_inside_jax(code.co_filename)
    statement = loop_statement(code, instruction, ast.While) if may_repeat else None
    loop = None if statement is None else _read(statement)
    return loop if loop is not None and loop.steps.keys() <= {*code.co_varnames} else None


def _read(statement: ast.While) -> _Loop | None:
    condition = _exit(statement.test, frozenset())
    if condition is None:
        return None
    loop = _Loop([condition._replace(relation=NEGATED[condition.relation])], {})
    for line in statement.body:
        match line:
            case ast.AugAssign(ast.Name(name), ast.Add(), step) if name not in loop.steps:
                loop.steps[name] = step
            case ast.AugAssign(ast.Name(name), ast.Sub(), step) if name not in loop.steps:
                loop.steps[name] = ast.UnaryOp(ast.USub(), step)
            case ast.Assign([ast.Name(name)], ast.BinOp(ast.Name(same), ast.Add(), step)) if (
                name == same and name not in loop.steps
            ):
                loop.steps[name] = step
            case ast.Assign([ast.Name(name)], ast.BinOp(ast.Name(same), ast.Sub(), step)) if (
                name == same and name not in loop.steps
            ):
                loop.steps[name] = ast.UnaryOp(ast.USub(), step)
            case ast.If(test, [ast.Break()], []) if left := _exit(test, frozenset(loop.steps)):
                loop.exits.append(left)
            case _:
                return None
    names = (node for step in loop.steps.values() for node in ast.walk(step))
    changed = any(isinstance(node, ast.Name) and node.id in loop.steps for node in names)
    return None if changed or not loop.steps else loop


def _exit(test: ast.expr, after: frozenset[str]) -> _Exit | None:
    match test:
        case ast.Compare(left, [relation], [right]) if type(relation) in NEGATED:
            return _Exit(left, type(relation), right, after)
    return None


def _value(tree: ast.expr, names: MutableMapping[str, Any]) -> Any:
    """The value of an expression; None where it may have an effect, or is none of numbers."""
    value = None
    match tree:
        case ast.Constant(int(number)):
            value = number
        case ast.Name(name):
            value = names.get(name)
        case ast.UnaryOp(ast.USub(), inner) if _is_whole(number := _value(inner, names)):
            value = -number
        case ast.BinOp(left, sign, right) if type(sign) in OPERATIONS:
            one, other = _value(left, names), _value(right, names)
            if _is_whole(one) and _is_whole(other):
                value = OPERATIONS[type(sign)](one, other)
        case ast.Attribute(inner, name) if name in OF_SHAPES:
            if isinstance(array := _value(inner, names), compat.Tracer):
                value = getattr(array, name)
        case ast.Subscript(inner, index):
            sides, place = _value(inner, names), _value(index, names)
            if type(sides) is tuple and type(place) is int:
                value = next(iter(sides[place:][:1]), None)
    return value


def _is_whole(value: Any) -> bool:
    return type(value) is int or isinstance(value, Size)


def _differences(
    one: _Exit, names: MutableMapping[str, Any], variables: dict[str, Any], steps: dict[str, int]
) -> list[Any] | None:
    """By how much what is compared differs in the first turn, and how this changes.

    Returns:
        The difference of the first turn, its own difference to that of the second turn, and so on,
        up to one that is the same number for all turns; None where there is none.
    """

    def difference(turn: int) -> Any:
        changed = {
            name: value + steps[name] * (turn + (name in one.after))
            for name, value in variables.items()
        }
        now = collections.ChainMap(changed, names)
        left, right = _value(one.left, now), _value(one.right, now)
        return left - right if _is_whole(left) and _is_whole(right) else None

    nodes = [*ast.walk(one.left), *ast.walk(one.right)]
    degree = 1 + sum(isinstance(node, ast.Mult) for node in nodes)
    values = [difference(turn) for turn in range(degree + 2)]
    found = []
    while len(values) > 1 and None not in values:
        found.append(values[0])
        values = [after - before for before, after in itertools.pairwise(values)]
        if {*map(type, values)} == {int} and len({*values}) == 1:
            return [*found, values[0]]
    return None


def _first_exit(loop: _Loop, compared: list[list[Any] | None]) -> tuple[Any, bool] | None:
    """The turn in which a loop ends, and whether its condition holds then.

    Returns:
        None where what is compared does not change by the same number in each turn, and where the
        loop does not end.
    """
    ends = []
    for one, values in zip(loop.exits, compared, strict=True):
        if (
            values is None
            or len(values) > 2
            or (isinstance(values[0], Size) and values[0].polynomial.products)
        ):
            return None
        ends.append(_first(values[0], values[-1], one.relation))
    first, *earlier = ends
    if first is None:
        return None
    holds = False
    for end in earlier:
        if end is not None and end < first:
            first, holds = end, True
    return first, holds


def _first(value: Any, growth: int, relation: type[ast.cmpop]) -> Any:
    """The first turn in which a value may be in a relation to 0; None where it never is."""
    if relation is ast.Eq:
        if growth == 0:
            return 0 if value == 0 else None
        turn = value // -growth  # the last one before the value passes 0
        return turn if turn >= 0 else None
    if relation is ast.NotEq:
        return 0 if value != 0 else 1 if growth else None
    if relation in (ast.Gt, ast.GtE):
        value, growth = -value, -growth
    if relation in (ast.LtE, ast.GtE):
        value = value - 1  # below 0 where it was at most 0
    if growth < 0:
        return larger(0, value // -growth + 1)
    return 0 if value < 0 else None


def _unknown_turns(trace: SymbolicTrace, loop: _Loop, compared: list[list[Any] | None]) -> Any:
    """The number of turns of a loop, until the code asks for it; None where it may not end."""
    (one, *others), (values, *_) = loop.exits, compared
    if others or values is None:
        return None
    sign = {ast.Lt: -1, ast.LtE: -1, ast.Gt: 1, ast.GtE: 1}.get(one.relation, 0)
    frame = caller()
    places = [*frame.f_code.co_positions()]
    site = frame.f_code, 2 * places.index(places[frame.f_lasti // 2])  # the first of its two
    is_counted = trace.counted_loops is None or site in trace.counted_loops
    if is_counted or values[-1] * sign <= 0:
        return None
    return LoopIndex(trace, site).with_sign(0)
