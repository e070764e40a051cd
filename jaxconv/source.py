"""Source locations: the user's line and layer that led to an error, an equation or a size."""

import ast
import dis
import functools
import inspect
import linecache
import os
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any, NamedTuple, TypeVar

import jax

CallSite = tuple[CodeType, int]  # a function and the instruction in it


def folder_of(package: str) -> str:
    """Find the folder of an installed package.

    Args:
        package: its name.

    Returns:
        The folder, with a separator at the end, as jax is not jaxconv; where the package is not
        installed, what begins no path, nor a name of code such as ``<stdin>``.
    """
    spec = find_spec(package)
    return str(Path(spec.origin).parent) + os.sep if spec and spec.origin else "\0"


JAX = (folder_of("jax"), folder_of("jaxlib"), folder_of("opt_einsum"))  # which plans its einsum
THIS_PACKAGE = str(Path(__file__).parent) + os.sep
PROVER = THIS_PACKAGE + "prover" + os.sep
NUMPY = folder_of("numpy")
STANDARD_LIBRARY = sysconfig.get_path("stdlib") + os.sep
LIBRARIES = (THIS_PACKAGE, STANDARD_LIBRARY, "<")


PACKAGES = (sysconfig.get_path("purelib") + os.sep, sysconfig.get_path("platlib") + os.sep)
OF_MESSAGES = tuple(
    STANDARD_LIBRARY + name
    for name in ("enum", "logging", "warnings", "traceback", "unittest", "pdb")
)


# What a runtime type checker, where one is on, puts between the functions of this package.
TYPE_CHECKERS = ("<@beartype", folder_of("jaxtyping"), folder_of("beartype"))
# Code that a person typed, rather than generated.
TYPED = ("<stdin", "<ipython", "<python-input", "<pyshell", "<console>", "<doctest")


def frame_outside(path: str) -> FrameType:
    """Find the innermost frame outside some code, which is its caller.

    Args:
        path: of a folder, with a separator at the end, or of a file.

    Returns:
        The frame; the outermost one where all are inside.
    """
    frame = sys._getframe()
    skipped = (__file__, path, *TYPE_CHECKERS)
    while frame.f_back is not None and _is_within(frame, skipped):
        frame = frame.f_back
    return frame


def frame_of_user() -> FrameType:
    """Find the frame that called the function which asks, behind the calls of a type checker.

    Returns:
        The frame; that of the function itself where nothing called it.
    """
    frame = asking = frame_outside(__file__)
    while frame.f_back is not None and (frame is asking or _is_within(frame, TYPE_CHECKERS)):
        frame = frame.f_back
    return frame


def _is_within(frame: FrameType, places: tuple[str, ...]) -> bool:
    path = frame.f_code.co_filename
    return path.startswith(places) or (path.startswith("<") and file_of(frame).startswith(places))


def file_of(frame: FrameType) -> str:
    """Find the file of the code that runs in a frame; for generated code, that of its module.

    Args:
        frame: the frame.
    """
    path = frame.f_code.co_filename
    return str(frame.f_globals.get("__file__") or path) if path.startswith("<") else path


def has_returned(frame: FrameType) -> bool:
    """Tell whether a function that has ended returned, rather than raised.

    Args:
        frame: of the function.
    """
    return dis.opname[frame.f_code.co_code[frame.f_lasti]].startswith("RETURN")


def is_inside_jax(file: str) -> bool:
    """Tell whether a file belongs to JAX.

    Args:
        file: its path.
    """
    return file.startswith(JAX)


def is_inside_prover(file: str) -> bool:
    """Tell whether a file belongs to the part of this package that calls what is checked.

    Args:
        file: its path.
    """
    return file.startswith(PROVER)


def is_inside_this_package(file: str) -> bool:
    """Tell whether a file belongs to this package.

    Args:
        file: its path.
    """
    return file.startswith(THIS_PACKAGE)


def is_inside_numpy(file: str) -> bool:
    """Tell whether a file belongs to NumPy.

    Args:
        file: its path.
    """
    return file.startswith(NUMPY)


@functools.cache
def is_inside_library(file: str) -> bool:
    """Tell whether a file is part of this package or of an installed one, not the user's own.

    Args:
        file: its path.
    """
    if file.startswith(TYPED):
        return False
    return file.startswith(LIBRARIES) or "site-packages" in file


NOTEBOOK = ".ipynb"
CODE = (".py", NOTEBOOK)  # how the names of files of code end


def file_of_user(module: ModuleType | None) -> str | None:
    """Return the file of a module of the user's, None for one of a library.

    Args:
        module: any module; None has no file.
    """
    path = getattr(module, "__file__", None)
    return path if path and path.endswith(CODE) and not is_inside_library(path) else None


def is_of_user(frame: FrameType) -> bool:
    """Tell whether the code that runs in a frame is the user's own, or text that was executed.

    Args:
        frame: the frame.
    """
    file = file_of(frame)
    is_text = file.startswith("<") and not file.startswith(("<frozen", *TYPE_CHECKERS))
    return is_text or not is_inside_library(file)


def formats_texts(frame: FrameType) -> bool:
    """Tell whether the code that runs in a frame is of Python's library, and not for messages.

    Args:
        frame: the frame.
    """
    file = file_of(frame)
    return file.startswith(STANDARD_LIBRARY) and not file.startswith((*OF_MESSAGES, *PACKAGES))


LAYER = re.compile(r"self(\.\w+|\[[^()]*\])+")  # not self.conv(x).mean, which calls a method


@dataclass(frozen=True)
class Origin:
    """A location in the user's code.

    Attributes:
        path: of the file; empty where none is known.
        line: its number.
        layer: the layer that was called there, such as "block1.conv2"; may be empty.
        caller: the user's line that called the function around it; may be empty.
    """

    path: str = ""
    line: int = 0
    layer: str = ""
    caller: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{Path(self.path).name}:{self.line}" if self.path else ""


NOWHERE = Origin()


def origin(call_sites: Iterable[CallSite], scope: str = "") -> Origin:
    """Find the innermost line of the user's own code, and the layers called on the way to it.

    Args:
        call_sites: from the outermost call to the innermost.
        scope: the layer as its library names it; may be empty.

    Returns:
        The line; where none is the user's own, an origin that has only the layer.
    """
    own = [site for site in call_sites if not is_inside_library(site[0].co_filename)]
    is_shared, scope = SHARED in scope, scope.replace(SHARED, "")
    if not own:
        return Origin(layer=scope)
    called = (_called(code, instruction) for code, instruction in own)
    layers = [text.removeprefix("self.") for text in called if LAYER.fullmatch(text)]
    lines = [(code.co_filename, _positions(code, at)[0] or 0) for code, at in own]
    caller = f"{Path(lines[-2][0]).name}:{lines[-2][1]}" if own[1:] else ""
    layer = ".".join(layers)
    # Lines also name methods, and layers in a module that JAX has made again, which has no scope.
    says_more = is_shared or layer.startswith(f"{scope}.") or layer.endswith(f".{scope}")
    return Origin(*lines[-1], layer if (says_more and layer) or not scope else scope, caller)


def definition(fn: Any) -> Origin:
    """Find where a function or the class of an object is defined.

    Args:
        fn: a function, a method, or an object that can be called.

    Returns:
        The line; an empty one where the code is not the user's own.
    """
    fn = inspect.unwrap(fn if hasattr(fn, "__wrapped__") else getattr(fn, "__func__", fn))
    code = getattr(fn, "__code__", None)
    if code is None:
        code = getattr(inspect.unwrap(type(fn).__call__), "__code__", None)
    if code is None or is_inside_library(code.co_filename):
        return Origin()
    return Origin(code.co_filename, code.co_firstlineno)


def call_sites_of_error(error: BaseException) -> list[CallSite]:
    """List the calls that led to an error.

    Args:
        error: an error that was raised.

    Returns:
        From the outermost call to the innermost.
    """
    return [(frame.f_code, instruction) for frame, instruction in _frames_of_error(error)]


def _frames_of_error(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    traceback = error.__traceback__
    while traceback is not None:
        yield traceback.tb_frame, traceback.tb_lasti
        traceback = traceback.tb_next


def is_same_expression(site: CallSite, other: CallSite) -> bool:
    """Tell whether two instructions belong to one expression of the source.

    A call is several instructions, and which of them runs it changes once Python has specialized
    the code.

    Args:
        site: an instruction.
        other: another one.
    """
    return site[0] is other[0] and _positions(*site) == _positions(*other)


ROOT = "^"  # begins the name of a scope that is a path in the model, whatever is around it
SHARED = "~"  # begins one of several paths to a layer: a line that calls it says which is meant


def joined(scopes: Iterable[str]) -> str:
    """Join the names of scopes into the path of a layer.

    Args:
        scopes: from the outermost to the innermost.

    Returns:
        The path, without :data:`ROOT`.

    Example:
        >>> joined(["^", "blocks", "[3]", "conv"]), joined(["^", "block", "^head.pool"])
        ('blocks[3].conv', 'head.pool')
    """
    path = ""
    for scope in scopes:
        if scope.startswith(ROOT):
            path = scope.removeprefix(ROOT) or path
        elif path and scope:
            path += scope if scope.startswith("[") else f".{scope}"
        else:
            path = path or scope
    return path


T = TypeVar("T")


def call_layer(scope: str, call: Callable[[], T]) -> T:
    """Call a layer in a named scope, which can also be read from the traceback of an error.

    Args:
        scope: its name, as part of the layer around it or after :data:`ROOT`.
        call: the call.

    Returns:
        What the call returns.
    """
    with jax.named_scope(scope):
        return call()


def _calls_layer(frame: FrameType) -> bool:
    """Whether a frame is a call of :func:`call_layer`, also where a type checker has wrapped it."""
    return frame.f_code.co_filename == __file__ and frame.f_code.co_name == call_layer.__name__


def origin_of_error(error: BaseException) -> Origin:
    """Find the user's line that led to an error.

    Args:
        error: an error that was raised.

    Returns:
        The line; its layer is the module that was running, where there is one.
    """
    layer = ""
    for frame, _ in _frames_of_error(error):
        if _calls_layer(frame):
            layer = joined((layer, frame.f_locals["scope"]))
            continue
        module = frame.f_locals.get("self")
        if type(module).__module__ == "builtins":
            continue
        try:
            path, name = (getattr(module, attribute, None) for attribute in ("path", "module_name"))
        except ValueError:  # a module of Linen that is not bound has no path
            continue
        if isinstance(path, tuple) and all(isinstance(part, str) for part in path):
            layer = ".".join(path) or layer
        elif isinstance(name, str):
            layer = name.replace("/", ".") or layer
    return origin(call_sites_of_error(error), layer)


def current_call_sites() -> list[CallSite]:
    """List the calls in the user's code that are running, from the outermost to the innermost."""
    frames = (frame for frame in _running() if not is_inside_library(frame.f_code.co_filename))
    return [(frame.f_code, frame.f_lasti) for frame in frames][::-1]


def current_scope() -> str:
    """Name the layer that is running, as :func:`call_layer` was told; empty where there is none."""
    calls = filter(_calls_layer, _running())
    return joined([frame.f_locals["scope"] for frame in calls][::-1])


def _running() -> Iterator[FrameType]:
    """The frames that are running, from the innermost to the outermost."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


OF_JAX = ("checkpoint", "rematted_computation")  # scopes that JAX enters itself
OF_EQUINOX = "eqx.nn."  # begins the named scope of a layer, which is its class


def origin_of_equation(eqn: Any, calls: Iterable[Any] = ()) -> Origin:
    """Find the user's line that led to an equation.

    Args:
        eqn: an equation of a jaxpr.
        calls: the equations whose jaxprs it is in, the outermost first.

    Returns:
        The line; its layer is that of the named scopes, where there are some.
    """
    traceback = eqn.source_info.traceback
    frames = () if traceback is None else zip(*traceback.raw_frames(), strict=True)
    names = [*chain.from_iterable(map(_scopes, (*calls, eqn)))]
    classes = [name.removeprefix(OF_EQUINOX) for name in names if name.startswith(OF_EQUINOX)]
    line = origin([*frames][::-1], joined(n for n in names if not n.startswith(OF_EQUINOX)))
    if line.layer or not classes:
        return line
    return replace(line, layer=classes[0])  # the outermost: MaxPool2d calls Pool, its base


def _scopes(eqn: Any) -> Iterator[str]:
    """The named scopes of an equation, without the transformations that JAX lists among them."""
    for part in eqn.source_info.name_stack.stack:
        if type(part).__name__ == "Scope" and part.name not in OF_JAX:
            yield part.name.strip("/").replace("/", ".")


class CallFrame(NamedTuple):
    """The innermost call in the user's code that led to an equation.

    Attributes:
        function: the calls around it and the code of the function, equal for calls of one loop.
        instruction: in that function.
        called: what it calls if that belongs to ``self``, such as "conv1" or "layers[0]".
    """

    function: Any = None
    instruction: int = 0
    called: str = ""


def frame_of_equation(eqn: Any) -> CallFrame:
    """Find the innermost call in the user's code that led to an equation.

    Args:
        eqn: an equation of a jaxpr.

    Returns:
        The call; an empty one where there is none.
    """
    own = _own_call_sites(eqn)
    if not own:
        return CallFrame()
    (*around, (code, instruction)) = own
    text = _called(code, instruction)
    called = text.removeprefix("self.") if LAYER.fullmatch(text) else ""
    return CallFrame((*around, code), instruction, called)


OPERATORS = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.MatMult: "matmul",
}


def called_by(eqn: Any) -> str:
    """Say what the user's expression that led to an equation does: "add", "mean", "conv".

    Args:
        eqn: an equation of a jaxpr.

    Returns:
        The name of the operator, of the function of a module, or of the method; empty for others,
        such as a variable that is called.
    """
    own = _own_call_sites(eqn)
    match expression_of(*own[-1]) if own else None:
        case ast.BinOp(op=operation):
            return OPERATORS.get(type(operation), "")
        case ast.Call(func=ast.Attribute(value=ast.Name(id="self"))):
            return ""
        case ast.Call(func=ast.Attribute(attr=name)):
            return name
    return ""


def _own_call_sites(eqn: Any) -> list[CallSite]:
    """The calls in the user's code that led to an equation, the outermost first."""
    traceback = eqn.source_info.traceback
    frames = () if traceback is None else zip(*traceback.raw_frames(), strict=True)
    return [site for site in [*frames][::-1] if not is_inside_library(site[0].co_filename)]


Loop = TypeVar("Loop", ast.For, ast.While)


def loop_statement(code: CodeType, instruction: int, kind: type[Loop]) -> Loop | None:
    """Find the loop whose iterator an instruction makes, or whose condition it compares.

    Args:
        code: of the function.
        instruction: the instruction in it.
        kind: ``ast.For`` or ``ast.While``.

    Returns:
        The statement; None where there is no source, or where it is not that of a loop.
    """
    at = _positions(code, instruction)
    for statement in _nodes(tuple(linecache.getlines(code.co_filename)), kind):
        # The instruction of a for statement has the place of it, or of what it iterates over.
        parts = (statement, statement.iter) if kind is ast.For else (statement.test,)
        if at in map(_place, parts):
            return statement
    return None


def comprehension_of(code: CodeType, instruction: int) -> ast.SetComp | ast.DictComp | None:
    """Find the comprehension that adds an element to a set or dict by an instruction.

    Args:
        code: of the comprehension, or of the function that it is part of.
        instruction: the instruction in it.

    Returns:
        The comprehension; None where there is no source.
    """
    first, last, start, end = _positions(code, instruction)
    if None in (first, last, start, end):
        return None
    lines = tuple(linecache.getlines(code.co_filename))
    around = [
        made
        for made in _nodes(lines, ast.SetComp, ast.DictComp)
        # The instruction has the place of the comprehension, of the element or of a condition.
        if (made.lineno, made.col_offset) <= (first, start)
        and (last, end) <= (made.end_lineno, made.end_col_offset)
    ]
    return max(around, key=lambda made: (made.lineno, made.col_offset), default=None)


@functools.lru_cache(maxsize=64)
def _nodes(lines: tuple[str, ...], *kinds: type[ast.AST]) -> tuple[Any, ...]:
    """The nodes of some kinds in a source; none where it cannot be read."""
    try:
        tree = ast.parse("".join(lines))
    except (SyntaxError, ValueError):
        return ()
    return tuple(node for node in ast.walk(tree) if isinstance(node, kinds))


def _place(node: ast.stmt | ast.expr) -> tuple[int | None, ...]:
    return node.lineno, node.end_lineno, node.col_offset, node.end_col_offset


def _positions(code: CodeType, instruction: int) -> tuple[int | None, ...]:
    """First and last line, first and last column (in bytes) of an instruction."""
    positions = list(code.co_positions())
    index = instruction // 2
    return positions[index] if 0 <= index < len(positions) else (None,) * 4


def _called(code: CodeType, instruction: int) -> str:
    """The callee of an instruction, as written: ``self.conv1``; empty if it is not a call."""
    tree = expression_of(code, instruction)
    return ast.unparse(tree.func) if isinstance(tree, ast.Call) else ""


def expression_of(code: CodeType, instruction: int) -> ast.expr | None:
    """Read the expression that an instruction belongs to from the source.

    Args:
        code: of the function.
        instruction: the instruction in it.

    Returns:
        The expression; None where there is no source, or where it is not an expression.
    """
    # Code is equal to that of another file, or of a line that was moved.
    return _read_expression(code, code.co_filename, code.co_linetable, instruction)


@functools.lru_cache(maxsize=1024)
def _read_expression(
    code: CodeType, path: str, linetable: bytes, instruction: int
) -> ast.expr | None:
    del linetable  # part of the key
    first, last, start, end = _positions(code, instruction)
    if first is None or last is None:
        return None
    lines = [linecache.getline(path, n).encode() for n in range(first, last + 1)]
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][start:]
    try:
        return ast.parse(b"".join(lines).strip(), mode="eval").body
    except (SyntaxError, ValueError):
        return None
