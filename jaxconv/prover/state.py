"""The state that a function keeps between calls, restored after each trace.

A model may remember a shape, ``self.size = x.shape[1]``, or fill a cache. A trace must not leave
its sizes there, nor what the next trace would take for the user's own.
"""

import collections
import dis
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from jaxconv.adapters.libraries import loaded
from jaxconv.compat import Tracer
from jaxconv.source import is_inside_library
from jaxconv.symbolic.real import Symbolic

MOST_OBJECTS = 20_000  # that are looked at


class State:
    """The attributes and elements of the objects that a function refers to."""

    def __init__(self, fn: Any) -> None:
        """Record the state.

        Args:
            fn: a function, a method, or an object that can be called.
        """
        self._records: list[tuple[Any, Any]] = []
        self._hidden: list[tuple[Any, str, Any]] = []  # attributes of libraries' own objects
        self._cells: list[tuple[types.CellType, tuple[Any, ...]]] = []  # of nonlocal variables
        self._globals: dict[tuple[int, str], tuple[dict[str, Any], Any]] = {}  # that code assigns
        self._classes: list[tuple[type, dict[str, Any]]] = []  # of the user's
        self._opened: list[tuple[Callable[[Any], None], Any]] = []
        self._seen: dict[int, Any] = {}
        pending = [fn]
        while pending and len(self._seen) < MOST_OBJECTS:
            value = pending.pop()
            package = type(value).__module__.partition(".")[0]
            pending += self._record_classes(value if isinstance(value, type) else type(value))
            if id(value) in self._seen or isinstance(value, PLAIN) or package in STATELESS:
                continue
            self._seen[id(value)] = value
            self._record_hidden(value)
            if any(adapter.adds_values and adapter.is_incomplete(value) for adapter in loaded()):
                continue  # a call completes the model, which then keeps what it got
            if isinstance(value, types.FunctionType):
                self._cells += [(cell, content(cell)) for cell in value.__closure__ or ()]
                module = value.__globals__
                for name in _assigned_globals(value.__code__):
                    self._globals[id(module), name] = module, module.get(name, ABSENT)
            # An object of the user's keeps its attributes in a dict.
            is_container = isinstance(value, CONTAINERS)
            container = value if is_container else getattr(value, "__dict__", None)
            if isinstance(container, CONTAINERS):
                self._records.append((container, container.copy()))
            pending += _references(value)

    def _record_hidden(self, value: Any) -> None:
        for adapter in loaded():
            before = [*adapter.hidden(value)]
            self._hidden += [(owner, name, getattr(owner, name)) for owner, name in before]
            if before and adapter.open is not None:
                self._opened.append((adapter.open, value))

    def _record_classes(self, kind: type) -> Iterator[Any]:
        """Record the attributes of the user's classes; what methods refer to follows.

        Yields:
            Their functions.
        """
        for one in () if id(kind) in self._seen else kind.__mro__:
            if id(one) in self._seen:
                continue
            self._seen[id(one)] = one
            module = sys.modules.get(one.__module__)
            file = str(getattr(module, "__file__", None) or "<")
            if one.__module__ == "__main__" or not is_inside_library(file):
                self._classes.append((one, dict(vars(one))))
                yield from (v for v in vars(one).values() if isinstance(v, types.FunctionType))

    def open(self) -> None:
        """Let the trace that runs change the objects, as NNX asks for; they are restored later."""
        for open_value, value in self._opened:
            open_value(value)

    def restore(self) -> bool:
        """Give every object the attributes and elements that it had.

        Returns:
            Whether some had others, apart from what belongs to a library.
        """
        changed = False
        for owner, name, before in self._hidden:
            object.__setattr__(owner, name, before)
        for cell, values in self._cells:
            changed |= [*map(id, content(cell))] != [*map(id, values)]
            for value in values:
                cell.cell_contents = value
        for (_, name), (module, before) in self._globals.items():
            changed |= module.get(name, ABSENT) is not before
            if before is ABSENT:
                module.pop(name, None)
            else:
                module[name] = before
        for kind, before in self._classes:
            changed |= _restore_class(kind, before)
        for container, before in self._records:
            if _same(container, before):
                continue
            changed = True
            container.clear()
            if isinstance(container, list | collections.deque):
                container.extend(before)
            else:
                container.update(before)
        return changed


ABSENT = object()  # for a global that code assigns, and that is not there yet
CONTAINERS = (dict, list, set, collections.deque)
PLAIN = (str, bytes, int, float, complex, type(None), types.ModuleType, type)
# Packages whose objects keep no sizes of the user's, but caches of their own.
STATELESS = (
    "jax",
    "jaxlib",
    "jaxconv",
    "numpy",
    "threading",
    "logging",
    "weakref",
    "islpy",
    "keras",
)


def _restore_class(kind: type, before: dict[str, Any]) -> bool:
    """Give a class the attributes that it had, and tell whether it had others.

    What a library has added to it stays, unless that is of the trace.
    """
    changed = False
    for name, value in dict(vars(kind)).items():
        if value is before.get(name, ABSENT) or name.startswith("__"):
            continue
        if name in before:
            setattr(kind, name, before[name])
        elif isinstance(value, Symbolic | Tracer):
            delattr(kind, name)
        else:
            continue
        changed = True
    return changed


def _assigned_globals(code: types.CodeType) -> Iterator[str]:
    """The globals that code assigns."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _assigned_globals(constant)


def _names(code: types.CodeType) -> Iterator[str]:
    """The names of globals and attributes in code, and in functions that it makes."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def content(cell: types.CellType) -> tuple[Any, ...]:
    """Look up a variable of an enclosing function.

    Args:
        cell: of the variable.

    Returns:
        Its value; nothing where it has none yet.
    """
    try:
        return (cell.cell_contents,)
    except ValueError:
        return ()


def _references(value: Any) -> Iterator[Any]:
    """The objects that an object refers to and that a call may change."""
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset | collections.deque):
        yield from value
    elif isinstance(value, types.MethodType):
        yield from (value.__self__, value.__func__)
    elif isinstance(value, types.FunctionType):
        for cell in value.__closure__ or ():
            yield from content(cell)
        yield from (value.__defaults__ or ())
        if not is_inside_library(value.__code__.co_filename):
            names = dict.fromkeys(_names(value.__code__))
            yield from (value.__globals__[name] for name in names if name in value.__globals__)
    else:
        yield from (getattr(value, "__dict__", None) or {}).values()
        for name in ("func", "args", "keywords", "__wrapped__"):  # of functools.partial and wraps
            if (part := getattr(type(value), name, None)) is not None and part is not value:
                yield getattr(value, name, None)


def _same(container: Any, before: Any) -> bool:
    """Whether a container holds the very objects that it held; their equality is not asked."""
    if len(container) != len(before):
        return False
    if isinstance(container, dict):
        return all(k in container and container[k] is v for k, v in before.items())
    if isinstance(container, set):
        return set(map(id, container)) == set(map(id, before))
    return all(one is other for one, other in zip(container, before, strict=True))
