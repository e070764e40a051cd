"""What Linen does again in each trace, although its result is known.

Whenever a module of Linen takes a parameter, Linen compares its shape with that of what the
initialiser returns. JAX traces the initialiser for this, which takes a third of the time of a
trace. The initialisers of JAX depend on nothing but their arguments.

Whenever a module is bound, and once more when it is set up, Linen looks for modules in each of its
attributes, which takes a fifth of the time of what is left. Numbers, strings and functions hold
none.
"""

import contextlib
import functools
import sys
import types
import weakref
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import jax
import numpy as np

from jaxconv.source import is_inside_jax

PLAIN = (int, float, str, bool, types.NoneType)  # a symbolic size is none of these types
FUNCTIONS = types.FunctionType | functools.partial | type(jax.jit(abs)) | jax.custom_jvp
CLOSED_OVER = ("init_args", "init_fn", "init_kwargs")  # by the function whose shapes Linen asks


_known: weakref.WeakKeyDictionary[Callable[..., Any], dict[Hashable, Any]] = (
    weakref.WeakKeyDictionary()
)


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
    """What ``jax.eval_shape`` returns, of an initialisation of JAX the result that is known."""
    names = getattr(getattr(fn, "__code__", None), "co_freevars", ())
    if args or named or names != CLOSED_OVER:
        return jax.eval_shape(fn, *args, **named)
    arguments, initialiser, others = (cell.cell_contents for cell in fn.__closure__ or ())
    code = getattr(initialiser, "__code__", None)
    values = (tuple(arguments), tuple(sorted(others.items())))
    if code is None or not is_inside_jax(code.co_filename) or not _is_plain(values):
        return jax.eval_shape(fn)
    known, key = _known.setdefault(initialiser, {}), _hashable(values)
    if key not in known:
        known[key] = jax.eval_shape(fn)
    return known[key]


def _is_plain(value: Any) -> bool:
    if type(value) in (tuple, list):
        return all(map(_is_plain, value))
    return type(value) in PLAIN or isinstance(value, type | np.dtype)


def _hashable(value: Any) -> Hashable:
    return tuple(map(_hashable, value)) if isinstance(value, tuple | list) else value
