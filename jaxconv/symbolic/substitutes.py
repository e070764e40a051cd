"""Substitutes for ``int``, ``float``, ``len``, ``math`` and NumPy, with which sizes stay formulas.

Python lets ``int(x)``, ``float(x)`` and ``np.arange(x)`` return nothing but numbers. So a module
whose code applies them to sizes is traced once more with substitutes among its globals. For all
arguments other than sizes they are what they replace.
"""

import builtins
import contextlib
import functools
import math
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxconv import compat
from jaxconv.symbolic.loops import SizeRange
from jaxconv.symbolic.masks import OF_MASKS, Mask, counted
from jaxconv.symbolic.real import Real, Symbolic, SymbolicInt, apply_function, number_of
from jaxconv.symbolic.texts import NumberText
from jaxconv.symbolic.trace import SymbolicTrace

MOST_RESIDUES = 64  # of a size, that math.gcd tries one by one


class _NumberType(type):
    """The type of substitutes for a class of numbers: they equal the class, as keys do, too."""

    builtin: type
    symbolic: type  # what takes the place of its instances
    convert: Callable[[Any], Any]

    def __call__(cls, *arguments: Any, **named: Any) -> Any:
        if len(arguments) == 1 and not named:
            (value,) = arguments
            if isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
                value = value.item()
            if isinstance(value, NumberText) and not value.spec:
                value = value.value
            if isinstance(value, Symbolic):
                return cls.convert(value)
        return cls.builtin(*arguments, **named)

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, (cls.builtin, cls.symbolic))

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, cls.builtin)

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is cls.builtin

    def __hash__(cls) -> int:
        return hash(cls.builtin)


class _RangeType(type):
    """The type of the substitute for ``range``."""

    def __call__(cls, *arguments: Any) -> Any:
        has_sizes = any(isinstance(x, Symbolic) for x in arguments)
        return (SizeRange if has_sizes and len(arguments) <= 3 else range)(*arguments)

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, range | SizeRange)

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is range

    def __hash__(cls) -> int:
        return hash(range)


class _Range(metaclass=_RangeType):
    pass


class _Int(int, metaclass=_NumberType):
    builtin, symbolic, convert = int, SymbolicInt, staticmethod(math.trunc)
    dtype = np.dtype(int)  # by which NumPy recognises it


class _Float(float, metaclass=_NumberType):
    builtin, symbolic, convert = float, Real, staticmethod(functools.partial(apply_function, float))
    dtype = np.dtype(float)


def _len(value: Any) -> Any:
    """The number of elements; of an array its first side, which Python's len makes a number."""
    if isinstance(value, compat.Tracer) and value.ndim:
        return value.shape[0]
    return value.count if isinstance(value, SizeRange) else len(value)


@functools.cache
def _of_scalar_type(kind: type) -> type:
    """The substitute for a type of NumPy's numbers."""
    is_integer = issubclass(kind, np.integer)
    namespace = {
        "builtin": kind,
        "symbolic": SymbolicInt if is_integer else Real,
        "convert": CONVERSIONS.get(kind, _Int.convert if is_integer else _Float.convert),
        "dtype": np.dtype(kind),
    }
    return _NumberType(kind.__name__, (kind,), namespace)


# A float32 has fewer bits than the numbers of Python.
CONVERSIONS: dict[type, Any] = {
    np.float32: staticmethod(functools.partial(apply_function, np.float32))
}
SCALAR_TYPES = (np.int32, np.int64, np.float32, np.float64)
BUILTINS: dict[Any, Any] = {
    builtins.int: _Int,
    builtins.float: _Float,
    builtins.len: _len,
    builtins.range: _Range,
}


def _gcd(*numbers: Any) -> Any:
    """The greatest common divisor; of a size and a number, by the remainders of the size."""
    if all(n is numbers[0] for n in numbers):
        return abs(numbers[0])
    known = math.gcd(*(n for n in numbers if not isinstance(n, Symbolic)))
    if not 0 < known <= MOST_RESIDUES:
        return math.gcd(*map(number_of, numbers))
    for size in numbers:
        if isinstance(size, Symbolic):
            rest: Any = size
            rest = rest % known
            known = next((math.gcd(n, known) for n in range(known) if rest == n), known)
    return known


def _isclose(a: Any, b: Any) -> Any:
    """Whether two numbers are close; different integers are not, below a thousand million."""
    whole = all(isinstance(n, int | SymbolicInt) for n in (a, b))
    return a == b if whole else apply_function(math.isclose, a, b)


# What a function of math is for sizes, where Python's own asks for a number.
OF_SIZES: dict[Callable[..., Any], Callable[..., Any]] = {
    math.gcd: _gcd,
    math.lcm: lambda a, b: a * b // _gcd(a, b),
    math.isclose: _isclose,
    math.isqrt: lambda size: math.floor(apply_function(math.sqrt, size)),
    math.fabs: abs,
    math.pow: lambda a, b: apply_function(math.pow, a, b),
}
NATURAL = (math.floor, math.ceil, math.trunc, math.prod)  # ask sizes for nothing but formulas
# Functions of NumPy that make an array of a size, and JAX's of the same name.
CREATORS = frozenset((
    "arange", "bartlett", "blackman", "empty", "eye", "full", "hamming", "hanning", "identity",
    "indices", "linspace", "ones", "tri", "zeros",
))  # fmt: skip
SQUARE = (np.eye, np.identity, np.tri)  # of one size, unless there are two
LARGEST_ARRAY = 2**27  # numbers of an array that NumPy may make in a trace with numbers


def _of_math(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def substitute(*arguments: Any, **named: Any) -> Any:
        if any(isinstance(x, Symbolic) for x in arguments) and not named:
            return OF_SIZES.get(function, functools.partial(apply_function, function))(*arguments)
        return function(*arguments, **named)

    return substitute


def _of_numpy(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def substitute(*arguments: Any, **named: Any) -> Any:
        from jax import dtypes, numpy

        values = [*_flat(arguments), *_flat(tuple(named.values()))]
        name = getattr(function, "__name__", "")
        sizes = [x for x in values if isinstance(x, Symbolic)]
        creates = name in CREATORS and bool(sizes)
        for size in sizes:  # with numbers there will be arrays of them
            size.trace.uses_numbers = True
        if creates or any(isinstance(x, compat.Tracer) for x in values):
            if named.get("dtype") is not None:
                named["dtype"] = dtypes.canonicalize_dtype(named["dtype"])
            name = {"empty": "zeros"}.get(name, name)
            if len(values) == 1 and isinstance(values[0], Mask) and function in OF_MASKS:
                return OF_MASKS[function](values[0])
            result = getattr(numpy, name, function)(*arguments, **named)
            counts = function is np.arange and len(arguments) <= 3 and not named
            return counted(result, *arguments) if counts else result
        return function(*arguments, **named)

    return substitute


def _flat(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, tuple | list):
            yield from _flat(value)
        else:
            yield value


class _Module(types.ModuleType):
    """A substitute for a module, whose functions are substituted when they are looked up."""

    def __init__(
        self, module: types.ModuleType, substitute: Callable[[Callable[..., Any]], Any]
    ) -> None:
        super().__init__(module.__name__)
        self._module = module
        self._substitute = substitute

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        if value in SCALAR_TYPES:
            return _of_scalar_type(value)
        if callable(value) and not isinstance(value, type | np.ufunc) and value not in NATURAL:
            return self._substitute(value)
        return value


class _LimitedNumpy(types.ModuleType):
    """A substitute for NumPy, which makes no arrays that fill the memory."""

    def __init__(self, trace: SymbolicTrace) -> None:
        super().__init__("numpy")
        self._trace = trace

    def __getattr__(self, name: str) -> Any:
        value = getattr(np, name)
        return _limited(value, self._trace) if name in CREATORS else value


def _limited(function: Callable[..., Any], trace: SymbolicTrace) -> Callable[..., Any]:
    @functools.wraps(function)
    def substitute(*arguments: Any, **named: Any) -> Any:
        sides = [n for n in _flat((*arguments, *named.values())) if isinstance(n, int | np.integer)]
        if function in SQUARE:
            sides = (sides * 2)[:2]
        count = max if function is np.arange else math.prod
        if sides and count([abs(int(n)) for n in sides]) > LARGEST_ARRAY:
            raise trace.undecided(f"the code makes an array of {sides} numbers")
        return function(*arguments, **named)

    return substitute


MODULES = {math: _Module(math, _of_math), np: _Module(np, _of_numpy)}
MATH_FUNCTIONS = tuple(
    value for value in vars(math).values() if callable(value) and value not in NATURAL
)


def _substitute_of(value: Any) -> Any:
    """The substitute for one global of a module; None where it needs none."""
    if isinstance(value, types.ModuleType):
        return MODULES.get(value)
    if isinstance(value, types.BuiltinFunctionType):
        return _of_math(value) if value in MATH_FUNCTIONS else None
    return _of_numpy(value) if _creates(value) else None


def _creates(value: Any) -> bool:
    """Whether a value is a function of NumPy that makes an array of a size."""
    name = getattr(value, "__name__", "")
    return isinstance(value, Callable) and name in CREATORS and vars(np).get(name) is value


@contextlib.contextmanager
def limited(modules: Sequence[dict[str, Any]], trace: SymbolicTrace) -> Iterator[None]:
    """Let a trace with numbers be undecided where NumPy would fill the memory with an array.

    Args:
        modules: whose calls of NumPy are watched, as dictionaries.
        trace: the trace.
    """
    with contextlib.ExitStack() as stack:
        for module in modules:
            new = {
                name: _LimitedNumpy(trace) if value is np else _limited(value, trace)
                for name, value in module.items()
                if value is np or _creates(value)
            }
            stack.enter_context(_with_globals(module, new))
        yield


ABSENT = object()  # for a name that is a builtin, and not among the globals


@contextlib.contextmanager
def substituted(modules: Sequence[dict[str, Any]]) -> Iterator[None]:
    """Put substitutes among the globals of modules, and take them out again.

    Modules of JAX that apply ``len`` to arrays, as ``jnp.convolve`` does, get one for ``len``.

    Args:
        modules: their dictionaries.
    """
    with contextlib.ExitStack() as stack:
        for module in modules:
            new = {name: _substitute_of(value) for name, value in module.items()}
            for builtin, substitute in BUILTINS.items():
                if module.get(builtin.__name__, builtin) is builtin:
                    new[builtin.__name__] = substitute
            stack.enter_context(_with_globals(module, new))
        for module in compat.modules_that_measure_arrays():
            stack.enter_context(_with_globals(module, {"len": _len}))
        yield


@contextlib.contextmanager
def _with_globals(module: dict[str, Any], new: Mapping[str, Any]) -> Iterator[None]:
    """Put values among the globals of a module, but for None, and take them out again."""
    new = {name: value for name, value in new.items() if value is not None}
    originals = {name: module.get(name, ABSENT) for name in new}
    module.update(new)
    try:
        yield
    finally:
        for name, original in originals.items():
            if original is ABSENT:
                module.pop(name, None)
            else:
                module[name] = original
