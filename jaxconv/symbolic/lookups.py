"""How code uses a size, read from its source: in a message, as a key of a set, as an index.

Python compares a key only with those of the same hash, so a size has to know which these are. They
are read from the expression in the source: ``h in KEYS``, ``table[h]``, ``table.get(h)``. So is
the number of elements of a list, all that matters of an index beyond them.
"""

import ast
import dis
import enum
import functools
from collections.abc import Iterable, Mapping, Set
from types import CodeType, FrameType
from typing import Any, NamedTuple

import numpy as np

from jaxconv.source import expression_of, file_of, is_inside_prover, is_of_user

CACHE: tuple[int, ...] = (-1,)  # stands for a function with a cache, which is the same without it
COLLECTIONS = (set, frozenset, dict)  # made of sizes, which are then compared with each other
COMPUTING = ("BINARY_OP", "COMPARE_OP", "BUILD_SLICE")  # with a constant, which is not a key
# Methods of containers that only ask for a key.
ASKING = ("__contains__", "__getitem__", "count", "discard", "get", "index", "pop", "remove")
MOST_KEYS = 64  # with which a size is compared one by one
SAFE = (  # expressions without side effects
    ast.Attribute, ast.Constant, ast.Dict, ast.List, ast.Load, ast.Name, ast.Set, ast.Slice,
    ast.Subscript, ast.Tuple, ast.UnaryOp, ast.USub,
)  # fmt: skip


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
            return not (is_container and name in ASKING), container if is_container else None
    return True, None


def keys_of_code(frame: FrameType) -> set[int]:
    """Collect the ints that code may look up in a container which keeps a size.

    Args:
        frame: of the code that keeps the size; the functions around it are read, too.

    Returns:
        The constants of the code, and those of the containers that it names.
    """
    keys: set[int] = set()
    around: FrameType | None = frame
    while around is not None and not is_inside_prover(file_of(around)):
        if is_of_user(around):
            keys |= _constants(around.f_code)
            names = around.f_globals
            of_module = (names[name] for name in around.f_code.co_names if name in names)
            for value in (*around.f_locals.values(), *of_module):
                is_container = isinstance(value, (dict, set, frozenset, list, tuple))
                if is_container and len(value) < MOST_KEYS:
                    _collect(value, keys)
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
    keys: set[int] = set()
    if frame.f_code.co_filename == enum.__file__:
        members = getattr(frame.f_locals.get("cls"), "_value2member_map_", UNKNOWN)
        return tuple(sorted(keys)) if _collect(members, keys) else None
    constant = _constant_container(frame)  # as there may be no source of what was typed
    if constant is not None and _collect(constant, keys):
        return tuple(sorted(keys))
    match expression_of(frame.f_code, frame.f_lasti):
        case ast.Call(func=function) if hasattr(safe_value(function, frame), "cache_info"):
            return CACHE
        case ast.Compare(ops=[ast.In() | ast.NotIn()], comparators=[container]):
            containers = [container]
        case ast.Subscript(value=container) | ast.Call(func=ast.Attribute(value=container)):
            containers = [container]
        case ast.Call(func=function, args=containers) if safe_value(function, frame) in COLLECTIONS:
            pass
        case ast.Set(elts=containers) | ast.Dict(keys=containers):
            pass
        case _:
            return None
    for container in containers:
        if container is None or not _collect(safe_value(container, frame), keys):
            return None
    return tuple(sorted(keys)) if len(keys) <= MOST_KEYS else None


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
    try:
        code = compile(ast.fix_missing_locations(ast.Expression(tree)), "<lookup>", "eval")
        return eval(code, frame.f_globals, frame.f_locals)
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
