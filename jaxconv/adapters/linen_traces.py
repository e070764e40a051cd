"""Skip work that Linen repeats in every trace, although its result is known.

Whenever a module of Linen takes a parameter, Linen compares its shape with that of what the
initialiser returns. JAX traces the initialiser for this, which takes a third of the time of a
trace. The initialisers of JAX and Flax depend on nothing but their arguments and what they close
over.

Whenever a module is bound, and once more when it is set up, Linen looks for modules in each of its
attributes, which takes a fifth of the time of what is left. Numbers, strings and functions hold
none.
"""

import contextlib
import dataclasses
import enum
import functools
import sys
import types
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import jax
import numpy as np

PLAIN = (int, float, str, bool, types.NoneType)  # a symbolic size is none of these types
FUNCTIONS = types.FunctionType | functools.partial | type(jax.jit(abs)) | jax.custom_jvp
MOST_KNOWN = 10_000  # initialisations
OF_PLACE = ("parent", "name")  # fields of a module that say where it is
CLOSED_OVER = ("init_args", "init_fn", "init_kwargs")  # by the function whose shapes Linen asks


_known: dict[Hashable, Any] = {}  # what initialisations return


@contextlib.contextmanager
def shortened_traces() -> Iterator[None]:
    """Leave out of the traces of Linen what is known."""
    with _remembered_initialisers(), _plain_attributes():
        yield


@contextlib.contextmanager
def _remembered_initialisers() -> Iterator[None]:
    """Let Linen evaluate the shapes of each initialisation once."""
    scope = sys.modules.get("flax.core.scope")
    if scope is None or getattr(scope, "jax", None) is not jax:  # or it is in force already
        yield
        return
    namespace = types.ModuleType("jax")
    namespace.__dict__.update(__getattr__=functools.partial(getattr, jax), eval_shape=_shapes)
    vars(scope)["jax"] = namespace
    try:
        yield
    finally:
        vars(scope)["jax"] = jax


@contextlib.contextmanager
def _plain_attributes() -> Iterator[None]:
    """Let Linen set attributes that hold no modules as they are."""
    linen = sys.modules.get("flax.linen")
    original = getattr(getattr(linen, "Module", None), "_register_submodules", None)
    if linen is None or original is None or original.__module__ == __name__:
        yield
        return

    def register(module: Any, name: str, value: Any) -> None:
        if module.scope is not None and _holds_no_modules(value):
            object.__setattr__(module, name, value)
        else:
            original(module, name, value)

    linen.Module._register_submodules = register
    try:
        yield
    finally:
        linen.Module._register_submodules = original


def _holds_no_modules(value: Any) -> bool:
    if type(value) is tuple:
        return all(map(_holds_no_modules, value))
    return type(value) in PLAIN or isinstance(value, FUNCTIONS | type | np.dtype)


def _shapes(fn: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """What ``jax.eval_shape`` returns, of an initialisation the result that is known."""
    names = getattr(getattr(fn, "__code__", None), "co_freevars", ())
    if args or named or names != CLOSED_OVER:
        return jax.eval_shape(fn, *args, **named)
    try:
        key = _key(tuple(cell.cell_contents for cell in fn.__closure__ or ()))
    except (_UnknownError, ValueError):  # of a variable that has no value yet
        return jax.eval_shape(fn)
    if len(_known) >= MOST_KNOWN:
        _known.clear()
    if key not in _known:
        _known[key] = jax.eval_shape(fn)
    return _known[key]


class _UnknownError(Exception):
    """What a value computes may depend on more than can be compared."""


def _key(value: Any) -> Hashable:
    """A key that two values, or functions of JAX and Flax, share only if they do the same.

    Raises:
        _UnknownError: the value is another one, such as a function of the user's, or a size.
    """
    if type(value) in PLAIN or isinstance(value, type | np.dtype | enum.Enum):
        return type(value), value
    if type(value) in (tuple, list):
        return type(value), *map(_key, value)
    if type(value) is dict:
        return dict, *map(_key, value.items())
    if isinstance(value, types.FunctionType) and _is_of_library(value.__globals__.get("__name__")):
        cells = tuple(cell.cell_contents for cell in value.__closure__ or ())
        return value.__code__, *map(_key, (cells, value.__defaults__, value.__kwdefaults__))
    if _is_of_library(type(value).__module__) and dataclasses.is_dataclass(value):  # a module
        names = [field.name for field in dataclasses.fields(value) if field.name not in OF_PLACE]
        return type(value), *(_key(getattr(value, name)) for name in names)
    raise _UnknownError


def _is_of_library(module: Any) -> bool:
    return str(module).partition(".")[0] in ("jax", "flax")
