"""What code does with the text of a symbolic number: shows it in a message, or looks at it.

The text shows a formula in the place of digits. In the message of an error that does not matter.
A text that keeps its type, as ``str(h)`` does, answers for itself (see
:mod:`jaxconv.symbolic.texts`); one that is joined to others, as in ``f"{h}x{w}"``, is an ordinary
text of Python's, and whoever looks at it has to see the digits. Which of these a text will be is
read from the instructions that follow, as they move it on the stack. What they do with it is
unknown, unless it is known to be harmless.
"""

import ast
import bisect
import dis
import enum
import functools
import types
import warnings
from collections.abc import Callable, Sequence
from types import CodeType, FrameType
from typing import Any, NamedTuple

from jaxconv.source import (
    expression_of,
    file_of,
    formats_texts,
    is_inside_library,
    is_inside_prover,
    is_of_user,
)
from jaxconv.symbolic.lookups import FutureFrame, safe_value


class Use(enum.IntEnum):
    """What becomes of a text; of several uses the largest one counts."""

    MESSAGE = 0  # only people read it
    ASKED = 1  # the object itself is asked, which answers as the digits would
    UNKNOWN = 2


class Kind(enum.Enum):
    """What an object on the stack has to do with the text."""

    WHOLE = enum.auto()  # it is the text
    JOINED = enum.auto()  # it is a text that it was joined to
    ELEMENT = enum.auto()  # it is a container of the text
    PASSED = enum.auto()  # it is what a function made of the text, such as an error


class _Place(NamedTuple):
    """An object on the stack before an instruction.

    Attributes:
        frame: where the code runs.
        next: the index of the instruction.
        depth: how many objects are above it.
        kind: what it has to do with the text.
        is_caught: whether it is an error that a handler has caught.
    """

    frame: Any
    next: int
    depth: int
    kind: Kind
    is_caught: bool = False

    def after(self, depth: int, kind: Kind | None = None) -> "_Place":
        """The object before the next instruction."""
        return self._replace(next=self.next + 1, depth=depth, kind=kind or self.kind)


Step = Use | Sequence[_Place]  # how an instruction uses an object, or where it is after it


def use_of_text(frame: FrameType, *, is_part: bool) -> Use:
    """Find out what becomes of the text that an instruction makes.

    Args:
        frame: of the code that makes it.
        is_part: whether it is a part of the text of a container, or of a longer text.
    """
    return _use(_made_by(frame, Kind.JOINED if is_part else Kind.WHOLE))


def use_of_repr(frame: FrameType, number: Any) -> Use:
    """Find out what becomes of the text that repr makes of a number, or of a container of it.

    Args:
        frame: of the code that makes it.
        number: the number.
    """
    tree = expression_of(frame.f_code, frame.f_lasti)
    match tree:
        case ast.Call(func=function, args=[one]) if safe_value(function, frame) is repr:
            return use_of_text(frame, is_part=safe_value(one, frame) is not number)
    return use_of_text(frame, is_part=True)


def _made_by(frame: Any, kind: Kind) -> Step:
    """Where the text is after the instruction that runs in a frame."""
    instructions = _instructions(frame.f_code)
    index = _index_at(frame.f_code, frame.f_lasti)
    name = instructions[index].opname
    if name == "PRECALL":  # of Python 3.11, which runs functions of C within it
        index, name = index + 1, "CALL"
    if name.startswith("CALL"):
        function, method = _callee(frame, instructions[index])
        if _shows(function, method):
            return Use.MESSAGE
        if method == "index":  # of a list, whose error has the text of what it lacks
            return _read_by_handlers(frame)
        if method in ("format", "join"):
            kind = Kind.JOINED
        elif function in (list, tuple):
            kind = Kind.ELEMENT if kind is Kind.WHOLE else kind
        elif function not in (str, repr, format):
            kind = Kind.JOINED if kind is Kind.JOINED and method is None else Kind.PASSED
    elif name == "BINARY_OP":
        kind = Kind.JOINED
    elif not name.startswith(("FORMAT", "CONVERT", "FOR_ITER")):
        return Use.UNKNOWN
    return [_Place(frame, index + 1, 0, kind)]


def _use(step: Step) -> Use:
    """Follow objects to their last use."""
    if isinstance(step, Use):
        return step
    use, pending, seen = Use.MESSAGE, [*step], set()
    while pending and use is not Use.UNKNOWN:
        place = pending.pop()
        key = id(place.frame), *place[1:]
        if key in seen:
            continue
        seen.add(key)
        found = _step(place)
        if isinstance(found, Use):
            use = max(use, found)
        else:
            pending += found
    return use


def _step(place: _Place) -> Step:
    """Move an object by one instruction."""
    instructions = _instructions(place.frame.f_code)
    if place.next >= len(instructions):
        return Use.UNKNOWN
    instruction = instructions[place.next]
    name, depth = instruction.opname, place.depth
    operands, rule = next(
        ((count, rule) for names, count, rule in USES if name.startswith(names)), (None, None)
    )
    if rule is not None and (operands is None or depth < operands):
        return rule(place, instruction)
    if instruction.opcode in (*dis.hasjrel, *dis.hasjabs):
        return _jump(place, instruction)
    effect = dis.stack_effect(instruction.opcode, instruction.arg)
    if rule is None and effect <= 0 and depth <= -effect:
        return Use.UNKNOWN
    return [place.after(depth + effect)]


def _jump(place: _Place, instruction: dis.Instruction) -> Step:
    """Go to where an instruction jumps, and to the next one if it may not jump."""
    name, target = instruction.opname, _index_at(place.frame.f_code, instruction.argval)
    if "IF" in name and place.depth == 0:
        return _test(place, instruction)
    if "IF" not in name and name != "FOR_ITER" and "JUMP" not in name:
        return Use.UNKNOWN
    ways = []
    for jumps in (True, False):
        effect = dis.stack_effect(instruction.opcode, instruction.arg, jump=jumps)
        if jumps:
            ways.append(place._replace(next=target, depth=place.depth + effect))
        elif "IF" in name or name == "FOR_ITER":
            ways.append(place.after(place.depth + effect))
    return ways


def _call(place: _Place, instruction: dis.Instruction) -> Step:
    count = instruction.arg or 0
    popped = count + 2
    if instruction.opname != "CALL":  # which Python 3.11 splits in two instructions
        popped = 1 - dis.stack_effect(instruction.opcode, instruction.arg)
    if place.depth >= popped:
        return [place.after(place.depth - popped + 1)]
    function, method = _callee(place.frame, instruction)
    is_true = function is bool and place.kind is not Kind.PASSED
    if is_true or _shows(function, method):
        return Use.MESSAGE
    if method == "__init__" and isinstance(place.frame.f_locals.get("self"), BaseException):
        return _read_by_handlers(place.frame)
    if place.kind is Kind.JOINED and method == "append":
        return _appended(place, instruction)
    if isinstance(function, types.FunctionType) and place.depth < count:
        code = function.__code__
        if not is_inside_library(code.co_filename):
            return _argument(place, instruction, code, function.__globals__)
    return _result(place, function, method)


def _result(place: _Place, function: Any, method: str | None) -> Step:
    """What the result of a call has to do with the text that it was passed."""
    is_substitute = str(getattr(function, "__module__", "")) == "jaxconv.symbolic.substitutes"
    if place.kind is Kind.WHOLE and (function in ASKING or is_substitute or method == "format"):
        return Use.ASKED
    if place.kind is Kind.ELEMENT and function in (list, tuple):
        return [place.after(0)]
    joins = place.kind in (Kind.ELEMENT, Kind.JOINED) and method in ("format", "join")
    if joins or (place.kind is Kind.PASSED and function in (str, repr, format)):
        return [place.after(0, Kind.JOINED)]
    return [place.after(0, Kind.PASSED)]


def _argument(
    place: _Place, instruction: dis.Instruction, code: CodeType, names_of_module: dict[str, Any]
) -> Step:
    """Follow an argument into a function of the user's."""
    frame = place.frame
    names = code.co_varnames[: code.co_argcount]
    position = (instruction.arg or 0) - 1 - place.depth
    before = _instructions(frame.f_code)[max(place.next - 2, 0) : place.next]
    is_named = instruction.opname != "CALL" or any(i.opname == "KW_NAMES" for i in before)
    if is_named or position >= len(names) or names[position] in code.co_cellvars:
        return [place.after(0, Kind.PASSED)]
    caller = FutureFrame(
        frame.f_code, frame.f_globals, frame.f_back, frame.f_locals, instruction.offset
    )
    called = FutureFrame(code, names_of_module, caller, {}, 0)
    return _loads(called, names[position], place.kind)


def _appended(place: _Place, instruction: dis.Instruction) -> Step:
    """Follow a list, to which a text is appended, to all places where it is read."""
    match expression_of(place.frame.f_code, instruction.offset):
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name))):
            code = place.frame.f_code
            # Only this function reads the variable.
            is_own = name in code.co_varnames and name not in code.co_cellvars
            if is_own and type(place.frame.f_locals.get(name)) is list:
                return _loads(place.frame, name, Kind.ELEMENT)
    return Use.UNKNOWN


def _build(place: _Place, instruction: dis.Instruction) -> Step:
    popped = 1 - dis.stack_effect(instruction.opcode, instruction.arg)
    if place.depth >= popped:
        return [place.after(place.depth - popped + 1)]
    if instruction.opname == "BUILD_STRING":
        return [place.after(0, Kind.JOINED)]
    return [place.after(0, Kind.ELEMENT if place.kind is Kind.WHOLE else Kind.PASSED)]


def _format(place: _Place, instruction: dis.Instruction) -> Step:
    popped = 1 - dis.stack_effect(instruction.opcode, instruction.arg)
    if place.depth >= popped:
        return [place.after(place.depth - popped + 1)]
    if place.depth < popped - 1:  # it says how to format
        return Use.UNKNOWN
    return Use.ASKED if place.kind is Kind.WHOLE else [place.after(0, Kind.JOINED)]


def _binary(place: _Place, instruction: dis.Instruction) -> Step:
    operator = instruction.argrepr.rstrip("=")
    if place.kind is Kind.WHOLE or (place.kind is Kind.ELEMENT and operator == "%"):
        return Use.ASKED
    return [place.after(0)] if operator in ("+", "%") else Use.UNKNOWN


def _compare(place: _Place, instruction: dis.Instruction) -> Step:
    if instruction.opname == "IS_OP" or place.kind not in (Kind.WHOLE, Kind.ELEMENT):
        return Use.UNKNOWN
    is_looked_up = instruction.opname == "CONTAINS_OP" and place.depth == 1
    if not is_looked_up or place.kind is not Kind.WHOLE:
        return Use.ASKED
    # A container asks the text that is looked up in it, another text does not.
    before = _instructions(place.frame.f_code)[place.next - 1]
    is_built = before.opname.startswith("BUILD") and before.opname != "BUILD_STRING"
    if is_built or (before.opname == "LOAD_CONST" and not isinstance(before.argval, str)):
        return Use.ASKED
    tree = expression_of(place.frame.f_code, instruction.offset)
    containers = getattr(tree, "comparators", None)
    container = safe_value(containers[-1], place.frame) if containers else None
    is_container = isinstance(container, dict | list | tuple | set | frozenset)
    return Use.ASKED if is_container else Use.UNKNOWN


def _subscript(place: _Place, instruction: dis.Instruction) -> Step:
    is_slice = instruction.opname == "BINARY_SLICE"  # of Python 3.12 and later
    is_key = place.depth == 0 and place.kind in (Kind.WHOLE, Kind.ELEMENT) and not is_slice
    container = {"BINARY_SUBSCR": 1, "BINARY_SLICE": 2}.get(instruction.opname)
    is_indexed = place.depth == container and place.kind is Kind.WHOLE
    return Use.ASKED if is_key or is_indexed else Use.UNKNOWN


def _ask(place: _Place, _: dis.Instruction) -> Step:
    return Use.ASKED if place.kind is Kind.WHOLE else Use.UNKNOWN


def _attribute(place: _Place, instruction: dis.Instruction) -> Step:
    if place.is_caught and place.kind is Kind.PASSED and instruction.argval not in TEXTS_OF_ERRORS:
        return Use.MESSAGE
    if place.kind is Kind.ELEMENT and instruction.argval == "append":
        return Use.MESSAGE
    return _ask(place, instruction)


def _discard(place: _Place, _: dis.Instruction) -> Step:
    return Use.UNKNOWN if place.kind is Kind.PASSED else Use.MESSAGE


def _loads(frame: Any, name: str, kind: Kind) -> Step:
    """Follow a variable of a function to all places where it is read."""
    places = []
    for index, instruction in enumerate(_instructions(frame.f_code)):
        if "LOAD_FAST" in instruction.opname and name in (
            instruction.argval if isinstance(instruction.argval, tuple) else (instruction.argval,)
        ):
            if instruction.opname not in ("LOAD_FAST", "LOAD_FAST_CHECK"):
                return Use.UNKNOWN
            places.append(_Place(frame, index + 1, 0, kind))
    return places


def _raise(place: _Place, instruction: dis.Instruction) -> Step:
    is_raised = place.depth < (instruction.arg or 0)
    if is_raised and place.is_caught:
        return Use.MESSAGE
    return _read_by_handlers(place.frame) if is_raised else Use.UNKNOWN


def _read_by_handlers(frame: Any) -> Use:
    """How the code around uses the message of an error: ``except ValueError as e: ... str(e)``."""
    use = Use.MESSAGE
    while frame is not None and not is_inside_prover(file_of(frame)):
        if not is_inside_library(file_of(frame)):
            code = _instructions(frame.f_code)
            errors = {i.argval for i in code if i.opname.startswith("DELETE_FAST")}
            for name in errors:  # of the handlers: how does each use the error that it has caught?
                step = _loads(frame, name, Kind.PASSED)
                if not isinstance(step, Use):
                    step = [place._replace(is_caught=True) for place in step]
                use = max(use, _use(step))
        frame = frame.f_back
    return use


def _return(place: _Place, instruction: dis.Instruction) -> Step:
    is_item = instruction.opname == "YIELD_VALUE"
    if place.depth > 0:
        return [place.after(place.depth)] if is_item else Use.UNKNOWN
    back = place.frame.f_back
    if back is None or place.kind is Kind.PASSED:
        return Use.UNKNOWN
    if not (is_of_user(back) or formats_texts(back)):
        return Use.UNKNOWN
    at = _instructions(back.f_code)[_index_at(back.f_code, back.f_lasti)]
    function, _ = _callee(back, at)
    is_called = function is None or isinstance(function, types.FunctionType | types.MethodType)
    if is_item or not (is_called and at.opname in ("PRECALL", "CALL", "CALL_KW")):
        return _made_by(back, place.kind)  # by a function of Python's, such as join or str
    index = _index_at(back.f_code, back.f_lasti) + (at.opname == "PRECALL")
    return [_Place(back, index + 1, 0, place.kind)]


def _append(place: _Place, instruction: dis.Instruction) -> Step:
    kind = Kind.ELEMENT if place.kind in (Kind.WHOLE, Kind.JOINED) else Kind.PASSED
    return [place.after((instruction.arg or 1) - 1, kind)]


def _test(place: _Place, instruction: dis.Instruction) -> Step:
    """A text with digits in it is true, and so is a container of it."""
    return Use.ASKED if place.kind is Kind.WHOLE else _discard(place, instruction)


def _copy(place: _Place, instruction: dis.Instruction) -> Step:
    original = place.after(place.depth + 1)
    is_copied = place.depth == (instruction.arg or 1) - 1
    return [original, place.after(0)] if is_copied else [original]


def _swap(place: _Place, instruction: dis.Instruction) -> Step:
    other = (instruction.arg or 1) - 1
    depth = {0: other, other: 0}.get(place.depth, place.depth)
    return [place.after(depth)]


def _skip(place: _Place, _: dis.Instruction) -> Step:
    return [place.after(place.depth)]


# How instructions use an object on the stack, by the beginnings of their names; the first counts.
# An instruction of so many operands does not use what is below them; None: its rule counts them.
USES: tuple[tuple[tuple[str, ...], int | None, Callable[[_Place, dis.Instruction], Step]], ...] = (
    (("NOP", "RESUME", "PRECALL", "KW_NAMES", "EXTENDED_ARG", "CACHE"), None, _skip),
    (("LIST_TO_TUPLE",), None, _skip),
    (
        ("CALL_INTRINSIC",),
        None,
        lambda place, _: Use.UNKNOWN if place.depth < 2 else _skip(place, _),
    ),
    (("CALL",), None, _call),
    (("BUILD",), None, _build),
    (("FORMAT", "CONVERT_VALUE"), None, _format),
    (("BINARY_OP",), 2, _binary),
    (("COMPARE_OP", "CONTAINS_OP", "IS_OP"), 2, _compare),
    (("BINARY_SUBSCR",), 2, _subscript),
    (("BINARY_SLICE", "STORE_SUBSCR"), 3, _subscript),
    (("GET_ITER", "UNPACK"), 1, _ask),
    (("LOAD_ATTR", "LOAD_METHOD"), 1, _attribute),
    (("POP_TOP",), 1, _discard),
    (("STORE_FAST_",), None, lambda _, __: Use.UNKNOWN),
    (("STORE_FAST",), 1, lambda place, one: _loads(place.frame, one.argval, place.kind)),
    (("RAISE",), None, _raise),
    (("RETURN_VALUE", "YIELD_VALUE"), None, _return),
    (("LIST_APPEND",), 1, _append),
    (("UNARY_NOT", "TO_BOOL"), 1, _test),
    (("COPY_FREE_VARS",), None, _skip),
    (("COPY",), None, _copy),
    (("SWAP",), None, _swap),
)
TEXTS_OF_ERRORS = ("args", "__str__", "__repr__", "message", "msg")
# Functions that ask a text of this package, rather than reading its characters.
ASKING = (int, float, len, list, tuple, set, sorted, hash, isinstance, bool, iter, map, str, repr)
# Packages whose functions show a text to people, and names of those of objects.
SHOWING = ("logging", "absl", "loguru", "rich", "tqdm")
NAMING = ("named_scope", "named_call", "checkpoint_name", "TraceAnnotation")  # in JAX
SHOWN_BY = ("debug", "info", "warning", "error", "exception", "critical", "log", "print", "write")


def _shows(function: Any, method: str | None) -> bool:
    """Whether a function only shows a text to people, or does not look at it."""
    if function in (print, warnings.warn, isinstance):
        return True
    receiver = getattr(function, "__self__", function)
    module = str(getattr(type(receiver), "__module__", "")).partition(".")[0]
    own = str(getattr(function, "__module__", "")).partition(".")[0]
    if own == "jax" and getattr(function, "__name__", "") in NAMING:
        return True
    return method in SHOWN_BY and (module in SHOWING or own in SHOWING)


def _callee(frame: Any, instruction: dis.Instruction) -> tuple[Any, str | None]:
    """The function that an instruction calls, and its name if it is a method."""
    tree = expression_of(frame.f_code, instruction.offset)
    function = getattr(tree, "func", None)
    if function is None:
        return None, None
    called = safe_value(function, frame)
    is_of_text = isinstance(getattr(called, "__self__", None), str)
    return called, called.__name__ if is_of_text else getattr(function, "attr", None)


@functools.lru_cache(maxsize=256)
def _instructions(code: CodeType) -> tuple[dis.Instruction, ...]:
    return tuple(dis.get_instructions(code))


def _index_at(code: CodeType, offset: int) -> int:
    """The index of an instruction: a call of Python's function has gone past its own offset."""
    return bisect.bisect_right(_instructions(code), offset, key=lambda one: one.offset) - 1
