"""The state that a function keeps between calls, restored after each trace.

A model may remember a shape, ``self.size = x.shape[1]``, or fill a cache. A trace must not leave
its sizes there, nor what the next trace would take for the user's own.
"""

import collections
import types
from collections.abc import Callable, Iterator
from typing import Any

from jaxconv.adapters.libraries import loaded
from jaxconv.source import is_inside_library

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
        self._opened: list[tuple[Callable[[Any], None], Any]] = []
        self._seen: dict[int, Any] = {}
        pending = [fn]
        while pending and len(self._seen) < MOST_OBJECTS:
            value = pending.pop()
            package = type(value).__module__.partition(".")[0]
            if id(value) in self._seen or isinstance(value, PLAIN) or package in STATELESS:
                continue
            self._seen[id(value)] = value
            self._record_hidden(value)
            if _is_being_made(value):
                continue
            if isinstance(value, types.FunctionType):
                self._cells += [(cell, content(cell)) for cell in value.__closure__ or ()]
            is_container = isinstance(value, dict | list | set | collections.deque)
            container = value if is_container else _attributes(value)
            if container is not None:
                self._records.append((container, container.copy()))
            pending += _references(value)

    def _record_hidden(self, value: Any) -> None:
        for adapter in loaded():
            before = [*adapter.hidden(value)]
            self._hidden += [(owner, name, getattr(owner, name)) for owner, name in before]
            if before and adapter.open is not None:
                self._opened.append((adapter.open, value))

    def open(self) -> None:
        """Let the trace that runs change the objects, as NNX asks for; they are restored later."""
        for open_value, value in self._opened:
            open_value(value)

    def restore(self) -> None:
        """Give every object the attributes and elements that it had."""
        for owner, name, before in self._hidden:
            object.__setattr__(owner, name, before)
        for cell, values in self._cells:
            for value in values:
                cell.cell_contents = value
        for container, before in self._records:
            if _same(container, before):
                continue
            container.clear()
            if isinstance(container, list | collections.deque):
                container.extend(before)
            else:
                container.update(before)


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


def _is_being_made(value: Any) -> bool:
    """Whether a call completes a model, which then keeps what it got."""
    return any(adapter.adds_values and adapter.is_incomplete(value) for adapter in loaded())


def _attributes(value: Any) -> dict[str, Any] | None:
    """The attributes of an object of the user's; those of functions are left alone."""
    attributes = getattr(value, "__dict__", None)
    if not isinstance(attributes, dict) or isinstance(value, types.FunctionType):
        return None
    return attributes


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
            names = value.__code__.co_names
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
