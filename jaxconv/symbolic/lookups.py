"""How code uses a size, read from its source: in a message, as a key of a set, as an index.

Python compares a key only with those of the same hash, so a size has to know which these are. They
are read from the expression in the source: ``h in KEYS``, ``table[h]``, ``table.get(h)``. So is
the number of elements of a list, all that matters of an index beyond them.
"""

import ast
import collections
import dis
import enum
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from types import CodeType, FrameType
from typing import Any, NamedTuple

import numpy as np

from jaxconv import compat
from jaxconv.source import (
    comprehension_of,
    expression_of,
    file_of,
    is_inside_prover,
    is_of_user,
)

CACHE: tuple[int, ...] = (-1,)  # stands for a function with a cache, which is the same without it
# Made of sizes, which are then compared with each other.
COLLECTIONS = (set, frozenset, dict, collections.Counter, collections.OrderedDict)
# What makes an iterable of others: itself, or for a collection what does not hash its elements.
MAKERS: dict[Any, Callable[..., Any]] = {
    **{function: function for function in (enumerate, list, reversed, sorted, tuple, zip)},
    **dict.fromkeys(COLLECTIONS, itertools.chain),
}
ADDS_ELEMENTS = ("SET_ADD", "MAP_ADD")  # instructions of comprehensions
COMPUTING = ("BINARY_OP", "COMPARE_OP", "BUILD_SLICE")  # with a constant, which is not a key
# Methods of containers that only ask for a key, and all that take one, or keep what they take.
LOOKUPS = ("__contains__", "__getitem__", "count", "discard", "get", "index", "pop", "remove")
ONE_KEY = (*LOOKUPS, "__setitem__", "add", "append", "setdefault", "update")
MOST_KEYS = 64  # with which a size is compared one by one
ITEMS = "items of a comprehension"  # a name that no code has
LISTED = (list, tuple, str, Mapping, Set)  # may be read again and again, as iterators may not
SAFE = (  # expressions without side effects
    ast.Attribute, ast.Constant, ast.Dict, ast.List, ast.Load, ast.Name, ast.Set, ast.Slice,
    ast.Subscript, ast.Tuple, ast.UnaryOp, ast.USub,
)  # fmt: skip
COMPUTED = (*SAFE, ast.BinOp, ast.operator, ast.unaryop)  # of the items of a comprehension


def keeps_key(frame: FrameType) -> tuple[bool, Any]:
    """Find out whether a container that a size is hashed for may keep it as a key.

    Args:
        frame: of the code that uses the size as a key.

    Returns:
        Whether it may, and the container; None for one that is made only then.
    """
    if frame.f_code.co_filename == enum.__file__ or _constant_container(frame) is not None:
        return False, None
    match expression_of(frame.f_code, frame.f_lasti):
        case ast.Compare():
            return False, None
        case ast.Subscript(value=tree):
            container = safe_value(tree, frame)
            is_stored = dis.opname[frame.f_code.co_code[frame.f_lasti]] == "STORE_SUBSCR"
            return is_stored or hasattr(container, "__missing__"), container
        case ast.Call(func=ast.Attribute(value=tree, attr=name)):
            container = safe_value(tree, frame)
            is_container = isinstance(container, Mapping | Set | list | tuple)
            return not (is_container and name in LOOKUPS), container if is_container else None
    return True, None


def keys_of_code(frame: FrameType) -> set[int]:
    """Collect the ints that code may look up in a container which keeps a size.

    Args:
        frame: of the code that keeps the size; the functions around it are read, too.

    Returns:
        The constants of the code, and those of the containers and shapes that it names.
    """
    keys: set[int] = set()
    around: FrameType | None = frame
    while around is not None and not is_inside_prover(file_of(around)):
        if is_of_user(around):
            keys |= _constants(around.f_code)
            names = around.f_globals
            of_module = (names[name] for name in around.f_code.co_names if name in names)
            for value in (*around.f_locals.values(), *of_module):
                known = value.shape if isinstance(value, compat.Tracer) else value
                is_container = isinstance(known, (dict, set, frozenset, list, tuple))
                if is_container and len(known) < MOST_KEYS:
                    _collect(known, keys)
        around = around.f_back
    return keys


@functools.lru_cache(maxsize=256)
def _constants(code: CodeType) -> set[int]:
    """The whole numbers in code, but for those that are only computed with."""
    keys: set[int] = set()
    instructions = [*dis.get_instructions(code)]
    for index, one in enumerate(instructions[:-1]):
        before, after = instructions[index - 1], instructions[index + 1]
        is_axis = after.opname == "BINARY_SUBSCR" and before.argval == "shape"
        if one.opname == "LOAD_CONST" and not (is_axis or after.opname in COMPUTING):
            _collect(one.argval, keys)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            keys |= _constants(constant)
    return keys


def keys_of_lookup(frame: FrameType) -> tuple[int, ...] | None:
    """List the ints with which a size is compared by the lookup that is running.

    Args:
        frame: of the code that looks a size up.

    Returns:
        The ints; CACHE where a function with a cache is called; None where they are not known.
    """
    if frame.f_code.co_filename == enum.__file__:
        containers = [getattr(frame.f_locals.get("cls"), "_value2member_map_", UNKNOWN)]
    elif (constant := _constant_container(frame)) is not None:
        containers = [constant]  # as there may be no source of what was typed
    elif dis.opname[frame.f_code.co_code[frame.f_lasti]] in ADDS_ELEMENTS:
        containers = [_keys_of_comprehension(frame)]
    else:
        expression = expression_of(frame.f_code, frame.f_lasti)
        function = expression.func if isinstance(expression, ast.Call) else None
        if function is not None and hasattr(safe_value(function, frame), "cache_info"):
            return CACHE
        trees = _containers_of(expression, frame)
        containers = [UNKNOWN if tree is None else _elements(tree, frame) for tree in trees]
    keys: set[int] = set()
    is_known = all(_collect(container, keys) for container in containers)
    return tuple(sorted(keys)) if is_known and len(keys) <= MOST_KEYS else None


def keys_beside(frame: FrameType, size: Any) -> tuple[int, ...]:
    """Find the ints that a set has in the place of a size, as in a set of shapes.

    Args:
        frame: of the code that makes the set.
        size: the size.

    Returns:
        The ints at the same positions of other tuples in it; none where they are not known.
    """
    made: Sequence[Any] = ()
    if dis.opname[frame.f_code.co_code[frame.f_lasti]] in ADDS_ELEMENTS:
        made = [_keys_of_comprehension(frame)]
    else:
        match expression_of(frame.f_code, frame.f_lasti):
            case ast.Call(func=function, args=parts) if safe_value(function, frame) in COLLECTIONS:
                made = [_elements(part, frame) for part in parts]
    elements = [one for part in made if isinstance(part, (list, tuple)) for one in part]
    tuples = [one if isinstance(one, tuple) else (one,) for one in elements]
    beside = (
        other[i]
        for one in tuples
        for i, part in enumerate(one)
        if part is size
        for other in tuples
        if len(other) == len(one)
    )
    return tuple(dict.fromkeys(key for key in beside if isinstance(key, int)))


def _containers_of(expression: ast.expr | None, frame: FrameType) -> Sequence[ast.expr | None]:
    """The containers whose keys an expression may compare with a size; None for an unknown one."""
    match expression:
        case ast.Compare(ops=[ast.In() | ast.NotIn()], comparators=[container]):
            return [container]
        case ast.Call(func=function, args=containers) if safe_value(function, frame) in COLLECTIONS:
            return containers
        case ast.Call(func=ast.Attribute(value=container, attr=name), args=others):
            # Such as dict.fromkeys(x.shape), or set().union(x.shape).
            return [container] if name in ONE_KEY else [container, *others]
        case ast.Subscript(value=container):
            return [container]
        case ast.Set(elts=containers) | ast.Dict(keys=containers):
            return containers
    return [None]


def _keys_of_comprehension(frame: FrameType) -> Any:
    """The keys that a comprehension, which is running, adds to a set or dict; or UNKNOWN."""
    made = comprehension_of(frame.f_code, frame.f_lasti)
    # Before Python 3.12 a comprehension is a function of its own.
    is_function = frame.f_code.co_name in ("<setcomp>", "<dictcomp>")
    around = frame.f_back if is_function and frame.f_back is not None else frame
    return UNKNOWN if made is None else _elements(made, around)


def _computed(element: ast.expr, made: Any, frame: FrameType) -> Any:
    """What a comprehension or generator computes for each item, or UNKNOWN.

    What its conditions leave out is among it.
    """
    generator, *others = made.generators
    items = _elements(generator.iter, frame)
    is_computed = all(isinstance(node, COMPUTED) for node in ast.walk(element))
    if others or not is_computed or not isinstance(items, LISTED):
        return UNKNOWN
    over = ast.comprehension(generator.target, ast.Name(ITEMS, ast.Load()), [], 0)
    names = {**frame.f_globals, **frame.f_locals, ITEMS: items}
    return _evaluated(ast.ListComp(element, [over]), names)


def _elements(tree: ast.expr, frame: FrameType) -> Any:
    """The value of an expression, as a list where it makes a container of others; or UNKNOWN.

    An iterator that the code has is not known: to read it would change what the code reads.
    """
    match tree:
        case (
            ast.GeneratorExp(elt=element)
            | ast.ListComp(elt=element)
            | ast.SetComp(elt=element)
            | ast.DictComp(key=element)
        ):
            return _computed(element, tree, frame)
        case ast.Starred(value=container):
            return _elements(container, frame)
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
            values = [_elements(part, frame) for part in parts]  # of [*x.shape, 28] and the like
            lists = [
                value if isinstance(part, ast.Starred) else [value]
                for part, value in zip(parts, values, strict=True)
            ]
            known = all(isinstance(one, LISTED) for one in lists)
            return [*itertools.chain.from_iterable(lists)] if known else UNKNOWN
        case ast.Call() if (made := _made_by(tree, frame)) is not None:
            return made
    value = safe_value(tree, frame)
    return [*value] if isinstance(value, range) and len(value) <= MOST_KEYS else value


def _made_by(call: ast.Call, frame: FrameType) -> Any:
    """What a call makes of containers, as a list, or UNKNOWN; None where it is not one of these."""
    function, arguments = safe_value(call.func, frame), call.args
    if any(function is one for one in compat.LIST_LEAVES):
        is_variable = len(arguments) == 1 and isinstance(arguments[0], ast.Name | ast.Attribute)
        known = is_variable and not call.keywords
        return function(safe_value(arguments[0], frame)) if known else UNKNOWN
    if function is np.shape and len(arguments) == 1:
        return safe_value(ast.Attribute(arguments[0], "shape", ast.Load()), frame)
    maker = next((made for maker, made in MAKERS.items() if maker is function), None)
    if maker is None:
        return None
    parts = [_elements(argument, frame) for argument in arguments]
    options = {one.arg: safe_value(one.value, frame) for one in call.keywords if one.arg}
    known = all(isinstance(part, (*LISTED, int)) for part in parts)
    try:
        return list(maker(*parts, **options)) if known else UNKNOWN
    except (TypeError, ValueError):
        return UNKNOWN


def is_formatting(frame: FrameType) -> bool:
    """Tell whether the code that is running formats a text, as ``"%d rows" % h`` does.

    Args:
        frame: of the code that needs the number of a size.
    """
    match expression_of(frame.f_code, frame.f_lasti):
        case ast.BinOp(left=left, op=ast.Mod()):
            return isinstance(safe_value(left, frame), str)
    return False


def length_of_indexed(frame: FrameType) -> int | None:
    """Find the number of elements of the list, tuple or text that the running code indexes.

    Args:
        frame: of the code that needs the number of a size.

    Returns:
        The number; None where the size is not an index of one, or where it has many elements.
    """
    match expression_of(frame.f_code, frame.f_lasti):
        case ast.Subscript(value=sequence, slice=index) if not isinstance(index, ast.Slice):
            value = safe_value(sequence, frame)
            if isinstance(value, list | tuple | str | range) and len(value) <= MOST_KEYS:
                return len(value)
    return None


def is_unequal_anyway(frame: FrameType) -> bool:
    """Tell whether two tuples that the running code compares differ in a number, or in length.

    ``x.shape == y.shape`` is False where the channels are 64 and 128, whatever the sizes are.

    Args:
        frame: of the code that compares.
    """
    match expression_of(frame.f_code, frame.f_lasti):
        case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq()], comparators=[right]):
            one, other = safe_value(left, frame), safe_value(right, frame)
            if type(one) is not tuple or type(other) is not tuple:
                return False
            pairs = zip(one, other, strict=False)
            return len(one) != len(other) or any(
                type(a) is int and type(b) is int and a != b for a, b in pairs
            )
    return False


def _constant_container(frame: FrameType) -> Any:
    """The container of ``h in {7, 14}``, a constant in the code; None for anything else."""
    before = None
    for instruction in dis.get_instructions(frame.f_code):
        if instruction.offset == frame.f_lasti:
            if before is None or (before.opname, instruction.opname) != CONSTANT_LOOKUP:
                return None
            return before.argval
        before = instruction
    return None


CONSTANT_LOOKUP = ("LOAD_CONST", "CONTAINS_OP")
UNKNOWN = object()  # the value of an expression that may have side effects


class FutureFrame(NamedTuple):
    """A function that will be called, with the attributes of its frame that are known before.

    Attributes:
        f_code: its code.
        f_globals: its globals.
        f_back: where it is called.
        f_locals: its variables, which have no values yet.
        f_lasti: the instruction that runs; of the caller, the call.
    """

    f_code: CodeType
    f_globals: dict[str, Any]
    f_back: Any
    f_locals: dict[str, Any]
    f_lasti: int


def safe_value(tree: ast.expr, frame: FrameType | FutureFrame) -> Any:
    """Compute the value of an expression without side effects, in code that is running.

    Args:
        tree: the expression.
        frame: of the code.

    Returns:
        The value; UNKNOWN where the expression may have side effects.
    """
    if isinstance(tree, ast.Set | ast.List | ast.Tuple):  # a set would be another lookup
        return tuple(safe_value(element, frame) for element in tree.elts)
    if isinstance(tree, ast.Dict):
        return tuple(UNKNOWN if key is None else safe_value(key, frame) for key in tree.keys)
    if not all(isinstance(node, SAFE) or _makes_numbers(node, frame) for node in ast.walk(tree)):
        return UNKNOWN
    return _evaluated(tree, frame.f_globals, frame.f_locals)


def _evaluated(
    tree: ast.expr, names: dict[str, Any], variables: Mapping[str, Any] | None = None
) -> Any:
    """The value of an expression without side effects; UNKNOWN where it raises an error."""
    try:
        code = compile(ast.fix_missing_locations(ast.Expression(tree)), "<lookup>", "eval")
        return eval(code, names, variables)
    except Exception:
        return UNKNOWN


def _makes_numbers(node: ast.AST, frame: FrameType | FutureFrame) -> bool:
    """Whether an expression is ``frozenset(range(8))`` or the like, which makes the same again."""
    match node:
        case ast.Call(func=ast.Name() as function, args=[_], keywords=[]):
            return safe_value(function, frame) in (set, frozenset, range)
        case ast.Call(func=ast.Name() as function, args=[_, _] | [_, _, _], keywords=[]):
            return safe_value(function, frame) is range
    return False


def _collect(value: Any, keys: set[int]) -> bool:
    """Collect the ints of a container and of the tuples in it; False where some are not known."""
    if value is UNKNOWN:
        return False
    if isinstance(value, Mapping | Set | tuple | list):
        return all(_collect(key, keys) for key in value)
    if isinstance(value, range):
        keys.update(value[: MOST_KEYS + 1])
        return True
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return False
    if isinstance(value, int | float | np.number) and float(value).is_integer():
        keys.add(int(value))
    return True
