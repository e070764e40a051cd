"""What code refers to between two turns of a loop, described so that two moments can be compared.

Arrays are described by their shapes and types, sizes by their formulas, all other numbers and texts
by their values, and objects by what they refer to and by which of them are the same object. What
may keep a state that cannot be seen, such as an iterator, has no description.
"""

import ast
import collections
import enum
import functools
import sys
import types
import weakref
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

import numpy as np

from jaxconv import compat
from jaxconv.source import is_inside_library
from jaxconv.symbolic.real import Real, Symbolic
from jaxconv.symbolic.size import Size

MOST_OBJECTS = 20_000  # that are described
LARGEST_DATA = 2**20  # bytes of an array of NumPy that are compared


class UnknownStateError(Exception):
    """An object may keep a state that cannot be seen."""


def state_of(frame: FrameType, statement: ast.For) -> list[Any]:
    """Describe what code refers to, between two turns of a loop.

    Args:
        frame: of the code.
        statement: the loop, whose next turn overwrites its targets.

    Returns:
        What is equal if the next turn does the same, but for the values of arrays.

    Raises:
        UnknownStateError: an object may keep a state that cannot be seen, or there are too many.
    """
    targets = statement.target.elts if isinstance(statement.target, ast.Tuple) else None
    names = {n.id for n in targets or [statement.target] if isinstance(n, ast.Name)}
    variables = {name: v for name, v in frame.f_locals.items() if name not in names}
    description = _Description()
    description.add(variables)
    description.add_globals(frame.f_code, frame.f_globals)
    return description.tokens


def state_of_call(function: types.FunctionType, arguments: Any) -> list[Any]:
    """Describe what a call of a function may change.

    Args:
        function: the function, which has no variables of outer functions.
        arguments: what it is called with.

    Returns:
        What is equal if nothing has changed, but for the values of arrays.

    Raises:
        UnknownStateError: an object may keep a state that cannot be seen, or there are too many.
    """
    description = _Description()
    description.add(arguments)
    description.add_globals(function.__code__, function.__globals__)
    return description.tokens


# Objects that keep no state of their own, or none that changes what a function does.
STATELESS = (
    types.ModuleType,
    types.MethodWrapperType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    np.ufunc,
    np.dtype,
    enum.Enum,
)
VALUES = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), slice, range)
SEQUENCES = (list, tuple, collections.deque)
STATELESS_PACKAGES = ("jax", "jaxlib", "numpy", "islpy", "jaxtyping", "typing")


class _Description:
    """The description of objects, as tokens in the order in which they are reached."""

    def __init__(self) -> None:
        self.tokens: list[Any] = []
        self._numbers: dict[int, tuple[int, Any]] = {}  # keeps the objects, so that ids stay theirs

    def add(self, value: Any) -> None:
        """Describe an object and what it refers to, unless it was reached before."""
        pending = [value]
        while pending:
            value = pending.pop()
            known = self._numbers.get(id(value))
            if known is not None:
                self.tokens.append(known[0])
                continue
            if not isinstance(value, (*VALUES, Symbolic, compat.Tracer)):  # these have no identity
                self._numbers[id(value)] = len(self._numbers), value
                if len(self._numbers) > MOST_OBJECTS:
                    raise UnknownStateError
            self.tokens.append(type(value).__qualname__)
            pending += [*self._parts(value)][::-1]

    def add_globals(self, code: CodeType, names: dict[str, Any]) -> None:
        """Describe the globals that code names."""
        for name in code.co_names:
            if name in names:
                self.tokens.append(name)
                self.add(names[name])
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self.add_globals(constant, names)

    def _parts(self, value: Any) -> Iterator[Any]:
        """What else belongs to the description of an object; adds what has no parts itself."""
        if isinstance(value, (np.generic, *STATELESS)):
            self.tokens.append(id(value))
        elif isinstance(value, VALUES):
            self.tokens.append(repr(value))
        elif isinstance(value, set | frozenset):
            self.tokens.append(sorted(map(repr, value)))
        elif isinstance(value, Real):
            self.tokens.append(getattr(value.function, "__name__", id(value.function)))
            yield from value.arguments
        elif isinstance(value, Size):  # the text of its formula takes longer to make
            self.tokens.append(value.polynomial.key())
        elif isinstance(value, Symbolic):
            self.tokens.append(value.formula())
        elif isinstance(value, compat.Tracer):
            self.tokens.append((str(value.dtype), value.weak_type, value.ndim))
            yield from value.shape
        else:
            rule = next(rule for kind, rule in self.RULES if isinstance(value, kind))
            yield from rule(self, value)

    def _class(self, kind: type) -> Iterator[Any]:
        self.tokens.append(id(kind))
        module = sys.modules.get(kind.__module__)
        if not is_inside_library(str(getattr(module, "__file__", None) or "<")):
            yield from (v for name, v in vars(kind).items() if not name.startswith("__"))

    def _container(self, container: Any) -> Iterator[Any]:
        self.tokens.append(len(container))
        if isinstance(container, dict):
            yield from (part for pair in container.items() for part in pair)
        else:
            yield from container
        yield from _attributes(container)

    def _array(self, array: np.ndarray) -> Iterator[Any]:
        self.tokens.append((array.shape, str(array.dtype)))
        if array.dtype == object:
            yield from array.ravel().tolist()
        elif array.nbytes > LARGEST_DATA:
            raise UnknownStateError
        else:
            self.tokens.append(array.tobytes())

    def _function(self, function: types.FunctionType) -> Iterator[Any]:
        self.tokens.append(id(function.__code__))
        if is_inside_library(function.__code__.co_filename):
            return
        for cell in function.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:
                self.tokens.append("empty")
        yield from (function.__defaults__, function.__kwdefaults__, vars(function))
        names = function.__globals__
        yield from (names[name] for name in function.__code__.co_names if name in names)

    def _object(self, value: Any) -> Iterator[Any]:
        if hasattr(value, "__wrapped__"):  # a function with a cache, or one of jit
            self.tokens.append(id(value))
            yield value.__wrapped__
        elif type(value).__module__.partition(".")[0] in STATELESS_PACKAGES:
            # Some are made anew and are equal; the comparison of arrays is an array.
            self.tokens.append(id(value) if hasattr(value, "dtype") else value)
        else:
            attributes = [*_attributes(value)]
            if not attributes and not hasattr(value, "__dict__"):
                raise UnknownStateError
            yield from attributes

    RULES = (
        (np.ndarray, _array),
        (type, _class),
        (types.FunctionType, _function),
        (types.MethodType, lambda _, method: iter((method.__func__, method.__self__))),
        (functools.partial, lambda _, p: iter((p.func, p.args, p.keywords))),
        (
            types.BuiltinFunctionType,
            lambda _, function: iter((function.__name__, function.__self__)),
        ),
        (weakref.ReferenceType, lambda _, reference: iter((reference(),))),
        (property, lambda _, p: iter((p.fget, p.fset))),
        (staticmethod | classmethod, lambda _, method: iter((method.__func__,))),
        ((dict, *SEQUENCES), _container),
        (object, _object),
    )


def _attributes(value: Any) -> Iterator[Any]:
    """The names and values of the attributes of an object."""
    for name, attribute in (getattr(value, "__dict__", None) or {}).items():
        yield from (name, attribute)
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield from (name, getattr(value, name))
