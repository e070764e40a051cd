"""Name what a model computes by the attributes of its layers, such as ``blocks[3].conv``.

JAX keeps with each operation the named scopes in which it was traced. Flax Linen, Haiku and Keras
enter one for each layer. Equinox names the class of a layer only, and Flax NNX and Objax name
nothing. So a scope is entered here for each call of a module, named by its path in the module that
calls it.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import FrameType, MappingProxyType
from typing import Any, NamedTuple

import jax

from jaxconv.adapters.adapter import is_array
from jaxconv.source import (
    ROOT,
    SHARED,
    call_layer,
    frame_outside,
    is_inside_jax,
    is_inside_this_package,
    joined,
)


@contextlib.contextmanager
def named_by_attributes(base: type, item_format: str) -> Iterator[None]:
    """Enter a named scope with the attribute path of each module that is called.

    Args:
        base: the class of all modules of a library.
        item_format: of the step of a path to an item of a list, such as "[{}]".
    """
    methods = ((kind, vars(kind).get("__call__")) for kind in _subclasses(base))
    # A method that is replaced already belongs to a trace around this one or in another thread.
    replaced = [(kind, one) for kind, one in methods if callable(one) and not hasattr(one, NAMED)]
    token = _calls.set({**_calls.get(), base: _Calls(base, item_format)})
    try:
        for kind, original in replaced:
            type.__setattr__(kind, "__call__", _naming(base, original))
        yield
    finally:
        for kind, original in replaced:
            type.__setattr__(kind, "__call__", original)
        _calls.reset(token)


NAMED = "names_layers_by_attributes"  # an attribute of the methods that are put in place


def _subclasses(base: type) -> Iterable[type]:
    kinds = base.__subclasses__()
    return dict.fromkeys((*kinds, *(inner for kind in kinds for inner in _subclasses(kind))))


def _naming(base: type, original: Any) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(self: Any, *args: Any, **named: Any) -> Any:
        bound = original.__get__(self, type(self)) if hasattr(original, "__get__") else original
        calls = _calls.get().get(base)
        if calls is None:  # in another thread, or once the trace is over
            return bound(*args, **named)
        return calls.run(self, functools.partial(bound, *args, **named))

    setattr(call, NAMED, True)
    return call


class _Call(NamedTuple):
    """A module whose call has not ended, and its path in the model."""

    module: Any
    path: str


class _Part(NamedTuple):
    """A module in another one, or that one itself, and the first of its paths there."""

    module: Any
    path: str


@dataclass
class _Calls:
    """The modules of one library that are called in a trace.

    Attributes:
        base: the class of all modules.
        item_format: of the step of a path to an item of a list.
        running: the calls that have not ended, from the outermost to the innermost.
        parts: by the identity of a module, the modules in it and itself, by their identities.
    """

    base: type
    item_format: str
    running: list[_Call] = field(default_factory=list)
    parts: dict[int, dict[int, _Part]] = field(default_factory=dict)

    def run(self, module: Any, call: Callable[[], Any]) -> Any:
        """Call a module in a scope of its own."""
        module = _unwrapped(module)
        if not self._is_module(module):  # a function that filter_jit compiles has no path
            return call()
        scope = self._scope(module)
        around = self.running[-1].path if self.running else ""
        self.running.append(_Call(module, joined((around, scope))))
        try:
            return call_layer(scope or ROOT, call)
        finally:
            self.running.pop()

    def _scope(self, module: Any) -> str:
        """The path of a module in the one that calls it, or in the model; empty if not known."""
        if not self.running:
            return ROOT + self._path_in_variables(module)
        if _is_traced_apart() and not _arrays(module):
            # JAX reuses what it traced with one module for calls with equal ones, so that the name
            # must not depend on the caller. A module that has arrays is equal to itself only.
            return self._path_in_variables(module, is_compiled=True)
        caller, *others = self.running[::-1]
        path = self._path_in(caller.module, module)
        if path is not None:
            return path
        if type(module) is type(caller.module):  # probably the caller, which JAX has made again
            return ""
        for other in others:
            path = self._path_in(other.module, module)
            if path is not None:
                return ROOT + joined((other.path, path)) if path else ""
        return self._path_in_variables(module)

    def _path_in(self, around: Any, module: Any) -> str | None:
        """The path of a module in another one; empty for that one itself, None if not inside.

        It is empty, too, where modules made again may be one of several that share their arrays.
        """
        parts = self._parts(around)
        if id(module) in parts:
            return parts[id(module)].path
        arrays = _arrays(module)
        if not arrays:
            return None
        # Transformations make modules again, of the same arrays.
        candidates = [part for part in parts.values() if type(part.module) is type(module)]
        paths = [part.path for part in candidates if _arrays(part.module) == arrays]
        return None if not paths else paths[0] if len(paths) == 1 else ""

    def _path_in_variables(self, module: Any, *, is_compiled: bool = False) -> str:
        """The path of a module in one that is a variable where it is called.

        This is "encoder.conv" in ``lambda x: model.encoder.conv(x)``, and what a method that is
        compiled calls, whose ``self`` was made again. Only the code since the innermost call of a
        module is searched, which begins with a frame of this package.

        Args:
            module: the module.
            is_compiled: whether to search only in the function that JAX compiles, and only in
                modules that have arrays.
        """
        frame: FrameType | None = frame_outside(__file__)
        while frame is not None and not is_inside_this_package(frame.f_code.co_filename):
            if is_compiled and is_inside_jax(frame.f_code.co_filename):
                break
            variables = (*frame.f_locals.values(), *map(frame.f_globals.get, frame.f_code.co_names))
            for value in variables:
                if value is not module and self._is_module(value):
                    part = self._parts(value).get(id(module))
                    if part is not None and (_arrays(value) or not is_compiled):
                        return part.path
            frame = frame.f_back
        return ""

    def _parts(self, module: Any) -> dict[int, _Part]:
        if id(module) not in self.parts:
            parts: dict[int, _Part] = {}
            self._collect(module, "", parts, ())
            self.parts[id(module)] = parts
        return self.parts[id(module)]

    def _collect(
        self, value: Any, path: str, parts: dict[int, _Part], around: tuple[int, ...]
    ) -> None:
        """Add a value to the parts of a module, if it is one, and what is inside it."""
        is_module = self._is_module(value)
        if id(value) in around or not (is_module or issubclass(type(value), list | tuple | dict)):
            return
        if is_module:
            known = parts.get(id(value))
            parts[id(value)] = _Part(value, SHARED + known.path if known else path)
            if known and known.path.startswith(SHARED):
                return  # what is inside has several paths, too, and is known
        for step, item in self._items(value):
            self._collect(item, f"{path}{step}".removeprefix("."), parts, (*around, id(value)))

    def _items(self, value: Any) -> Iterator[tuple[str, Any]]:
        """What is inside a module or a container, each with the end of its path."""
        kind = type(value)
        # Methods of a user's classes might raise errors, or make the items.
        if self._is_module(value):
            yield from ((f".{name}", item) for name, item in vars(value).items())
        if issubclass(kind, dict):
            for key, item in dict.items(value):
                yield f".{key}" if isinstance(key, str) else self.item_format.format(key), item
        elif issubclass(kind, list | tuple):  # a module, too, such as a Sequential of Objax
            items = [*(list if issubclass(kind, list) else tuple).__iter__(value)]
            names = getattr(kind, "_fields", None)  # of a NamedTuple
            for number, item in enumerate(items):
                yield f".{names[number]}" if names else self.item_format.format(number), item

    def _is_module(self, value: Any) -> bool:
        return issubclass(type(value), self.base)  # isinstance would ask the value itself


def _unwrapped(module: Any) -> Any:
    """What a module calls that transforms it, as ``filter_jit`` makes one; else the module."""
    if isinstance(getattr(type(module), "__wrapped__", None), property):
        with contextlib.suppress(Exception):
            return module.__wrapped__
    return module


def _arrays(module: Any) -> tuple[int, ...]:
    """The identities of the arrays of a module; none if it cannot be flattened."""
    with contextlib.suppress(Exception):
        return tuple(id(leaf) for leaf in jax.tree.leaves(module) if is_array(leaf))
    return ()


def _is_traced_apart() -> bool:
    """Whether JAX traces a function inside the model on its own: there is no scope around it."""
    with jax.named_scope("") as scopes:
        return len(scopes) == 1


_calls: ContextVar[Mapping[type, _Calls]] = ContextVar("calls", default=MappingProxyType({}))
