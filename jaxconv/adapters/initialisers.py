"""The shapes of Linen's parameters, evaluated once instead of in each trace.

Whenever a module of Linen takes a parameter, Linen compares its shape with that of what the
initialiser returns. JAX traces the initialiser for this, which takes a third of the time of a
trace. The initialisers of JAX depend on nothing but their arguments.
"""

import contextlib
import functools
import sys
import types
import weakref
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxconv.source import is_inside_jax

PLAIN = (int, float, str, bool, types.NoneType)  # a symbolic size is none of these types
CLOSED_OVER = ("init_args", "init_fn", "init_kwargs")  # by the function whose shapes Linen asks


class Initialisation(NamedTuple):
    """A call of an initialiser.

    Attributes:
        initialiser: a function of JAX.
        arguments: those after the key.
    """

    initialiser: Callable[..., Any]
    arguments: Hashable


_known: weakref.WeakKeyDictionary[Callable[..., Any], dict[Hashable, Any]] = (
    weakref.WeakKeyDictionary()
)


@contextlib.contextmanager
def remembered_initialisers() -> Iterator[None]:
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


def _shapes(fn: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """What ``jax.eval_shape`` returns, of an initialisation of JAX the result that is known."""
    call = None if args or named else _initialisation(fn)
    if call is None:
        return jax.eval_shape(fn, *args, **named)
    known = _known.setdefault(call.initialiser, {})
    if call.arguments not in known:
        known[call.arguments] = jax.eval_shape(fn)
    return known[call.arguments]


def _initialisation(fn: Callable[..., Any]) -> Initialisation | None:
    """The initialisation that a function of Linen closes over; None where it is another one."""
    names = getattr(getattr(fn, "__code__", None), "co_freevars", ())
    if names != CLOSED_OVER:
        return None
    arguments, initialiser, named = (cell.cell_contents for cell in fn.__closure__ or ())
    code = getattr(initialiser, "__code__", None)
    key = (tuple(arguments), tuple(sorted(named.items())))
    if code is None or not is_inside_jax(code.co_filename) or not _is_plain(key):
        return None
    return Initialisation(initialiser, _hashable(key))


def _is_plain(value: Any) -> bool:
    if type(value) in (tuple, list):
        return all(map(_is_plain, value))
    return type(value) in PLAIN or isinstance(value, type | np.dtype)


def _hashable(value: Any) -> Hashable:
    return tuple(map(_hashable, value)) if isinstance(value, tuple | list) else value
