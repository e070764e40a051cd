"""Compiled functions of libraries that a check has called, prepared in advance for the next check.

A file that makes a model with weights calls functions such as ``jax.random.truncated_normal`` for
many shapes. JAX traces and lowers each in every process, which takes longer than the proof.
"""

import contextlib
import inspect
import io
import pickle
import sys
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from jaxconv.compat import replaced, trace_state_clean
from jaxconv.source import file_of_user


@contextlib.contextmanager
def recorded_calls() -> Iterator[dict[bytes, None]]:
    """Record the functions that are compiled while this is entered, and for which shapes.

    Functions of the user's, and those that cannot be named, are left out.

    Returns:
        What :func:`compile_call` takes, in the order of the calls.
    """
    calls: dict[bytes, None] = {}

    def run(original: Any, params: Any, flat: Any, fn: Any, args: Any, options: Any) -> Any:
        with contextlib.suppress(Exception):  # pickle raises many; it is compiled when called
            name = (fn.__module__, fn.__qualname__)
            is_outermost = trace_state_clean()  # rather than within another such function
            if is_outermost and not _is_of_user(fn) and _compiled(name).__wrapped__ is fn:
                written = io.BytesIO()
                _Writer(written).dump((name, *jax.tree.map(_abstract, (args, options))))
                calls[written.getvalue()] = None
        return original(params, flat, fn, args, options)

    with replaced("run_compiled", run):
        yield calls


def compile_call(call: bytes) -> None:
    """Trace, lower and compile a function as it was called; this process remembers the result.

    Args:
        call: one of :func:`recorded_calls`.
    """
    with contextlib.suppress(Exception):  # then the call does it, or raises to the user
        fn, args, options = _Reader(io.BytesIO(call)).load()
        _compiled(fn).lower(*args, **options).compile()


def _compiled(name: tuple[str, str]) -> Any:
    """The compiled function of a module; that of a ``jnp.ufunc`` is within it."""
    value: Any = sys.modules[name[0]]
    for part in name[1].split("."):
        value = inspect.getattr_static(value, part)
    return value if hasattr(value, "lower") else value._func


def _abstract(value: Any) -> Any:
    if not isinstance(value, jax.Array | np.ndarray):
        return value
    typed = jax.typeof(value)
    return jax.ShapeDtypeStruct(typed.shape, typed.dtype, weak_type=typed.weak_type)


def _is_of_user(value: Any) -> bool:
    name = getattr(value, "__module__", None) or type(value).__module__
    return file_of_user(sys.modules.get(name)) is not None


class _Writer(pickle.Pickler):
    """Refuses objects of the user's: their code would run, and another process has none of it."""

    def reducer_override(self, obj: Any) -> Any:
        if _is_of_user(obj):
            raise pickle.PicklingError(repr(type(obj)))
        return NotImplemented


class _Reader(pickle.Unpickler):
    """Imports nothing."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        if module_name not in sys.modules:
            raise pickle.UnpicklingError(module_name)
        return super().find_class(module_name, global_name)
