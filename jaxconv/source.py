"""Whose line it was: the user's source line and layer behind an error, an equation or a size."""

import ast
import functools
import inspect
import linecache
import os
import re
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from types import CodeType
from typing import Any

Step = tuple[CodeType, int]  # a function and the instruction in it


def folder_of(package: str) -> str:
    """The folder of an installed package, with a separator at the end: jax is not jaxconv."""
    spec = find_spec(package)
    return str(Path(spec.origin).parent) + os.sep if spec and spec.origin else "<"


JAX = (folder_of("jax"), folder_of("jaxlib"))
LIBRARIES = (
    str(Path(__file__).parent) + os.sep,
    sysconfig.get_path("stdlib") + os.sep,
    "<",
)


def is_inside_jax(file: str) -> bool:
    """Whether a file belongs to JAX."""
    return file.startswith(JAX)


@functools.cache
def is_inside_library(file: str) -> bool:
    """Whether a file is part of this package or of an installed one, not the user's own."""
    return file.startswith(LIBRARIES) or "site-packages" in file


@dataclass(frozen=True)
class Origin:
    """The user's code behind something.

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


def origin(steps: Iterable[Step]) -> Origin:
    """The innermost line of the user's own code, and the layers called on the way there.

    Args:
        steps: from the outermost call to the innermost.
    """
    own = [step for step in steps if not is_inside_library(step[0].co_filename)]
    if not own:
        return Origin()
    called = (_called(code, instruction) for code, instruction in own)
    layers = [text.removeprefix("self.") for text in called if text.startswith("self.")]
    places = [(code.co_filename, _positions(code, place)[0] or 0) for code, place in own]
    caller = f"{Path(places[-2][0]).name}:{places[-2][1]}" if own[1:] else ""
    return Origin(*places[-1], ".".join(layers), caller)


def definition(fn: Any) -> Origin:
    """Where a function or the class of an object is defined."""
    fn = inspect.unwrap(fn if hasattr(fn, "__wrapped__") else getattr(fn, "__func__", fn))
    code = getattr(fn, "__code__", None)
    if code is None:
        code = getattr(inspect.unwrap(type(fn).__call__), "__code__", None)
    if code is None or is_inside_library(code.co_filename):
        return Origin()
    return Origin(code.co_filename, code.co_firstlineno)


def steps_of_error(error: BaseException) -> list[Step]:
    """The calls that led to an error."""
    found, step = [], error.__traceback__
    while step is not None:
        found.append((step.tb_frame.f_code, step.tb_lasti))
        step = step.tb_next
    return found


def origin_of_error(error: BaseException) -> Origin:
    """The user's line behind an error; its layer is that of Linen or Haiku, where it is theirs."""
    found, step, layer = origin(steps_of_error(error)), error.__traceback__, ""
    while step is not None:
        layer = _own_name(step.tb_frame.f_locals.get("self")) or layer
        step = step.tb_next
    return replace(found, layer=layer) if layer else found


def _own_name(module: Any) -> str:
    """The name by which a module of Linen or Haiku knows itself."""
    if type(module).__module__ == "builtins":
        return ""
    path, name = (getattr(module, attribute, None) for attribute in ("path", "module_name"))
    if isinstance(path, tuple) and all(isinstance(part, str) for part in path):
        return ".".join(path)
    return name.replace("/", ".") if isinstance(name, str) else ""


def steps_of_equation(eqn: Any) -> list[Step]:
    """The calls that led to an equation of a jaxpr."""
    found = eqn.source_info.traceback
    return [] if found is None else list(zip(*found.raw_frames(), strict=True))[::-1]


def steps_here() -> list[Step]:
    """The calls of the user's that led here."""
    found, frame = [], sys._getframe(1)
    while frame is not None:
        if not is_inside_library(frame.f_code.co_filename):
            found.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return found[::-1]


def origin_of_equation(eqn: Any) -> Origin:
    """The user's line behind an equation; its layer is that of Linen, Haiku or a named scope."""
    found = origin(steps_of_equation(eqn))
    scope = _scope(str(eqn.source_info.name_stack))
    # Equinox names the class of a layer only; the line says which layer it is.
    named = scope and not (found.layer and "eqx." in scope)
    return replace(found, layer=scope) if named else found


TRANSFORMATIONS = r"\b(jvp|transpose|vmap|jit|pjit|remat|checkpoint|rematted_computation)\b|[()]"


def _scope(stack: str) -> str:
    """The named scopes of an equation without the transformations around them."""
    inner = re.sub(
        r"\b(jvp|transpose|vmap|jit|pjit|remat|checkpoint|rematted_computation)\b", "", stack
    )
    return re.sub("[()]", "", inner).strip("/").replace("/", ".")


def _positions(code: CodeType, instruction: int) -> tuple[int | None, ...]:
    """First and last line, first and last column (in bytes) of an instruction."""
    found = list(code.co_positions())
    return found[instruction // 2] if 0 <= instruction // 2 < len(found) else (None,) * 4


def _called(code: CodeType, instruction: int) -> str:
    """What an instruction calls, as written: ``self.conv1``; empty where it is no call."""
    first, last, start, end = _positions(code, instruction)
    if first is None or last is None:
        return ""
    lines = [linecache.getline(code.co_filename, n).encode() for n in range(first, last + 1)]
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][start:]
    try:
        tree = ast.parse(b"".join(lines).strip(), mode="eval").body
    except (SyntaxError, ValueError):
        return ""
    return ast.unparse(tree.func) if isinstance(tree, ast.Call) else ""
