"""Real numbers that code computes from sizes: ``h / 16``, ``h * 0.5``, ``np.sqrt(h)``.

Python computes them as floats. Where the float is the correctly rounded value of a fraction of two
sizes, the fraction is kept, and it decides comparisons and conversions to an int exactly. Of all
other numbers only the recipe is known: their values are computed for single sizes.

What is exact here holds for sizes below 2**26, and for products and multiples of sizes below 2**52.
"""

import abc
import bisect
import contextlib
import functools
import math
import operator
import re
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from jaxconv import compat
from jaxconv.source import formats_texts, frame_of_user, is_of_user
from jaxconv.symbolic import lines
from jaxconv.symbolic.intervals import interval_of
from jaxconv.symbolic.recipes import remembered
from jaxconv.symbolic.text_uses import Use, use_of_repr, use_of_text
from jaxconv.symbolic.texts import NumberText
from jaxconv.symbolic.trace import SymbolicTrace, Undecided
from jaxconv.symbolic.undefined import is_complex, raise_where_undefined

# How near a float is to its fraction. EXACT: it is equal. ROUNDED: it is the float nearest to it.
# NEAR: it differs by a few rounding errors, and is equal where the fraction is an integer.
EXACT, ROUNDED, NEAR = range(3)

LARGEST_DENOMINATOR = 2**16  # of a constant: 0.1 is read as 1/10, since 0.1 is the float nearest it
LARGEST_SIZE = 2**52  # up to which Python's floats are evaluated
FEW_RESULTS = 16  # the largest result of a conversion to an int, up to which all are tried
MOST_RESULTS = 64  # of a conversion to an int, for sizes that are examined, if all are tried
LONGEST_TEXT = 200  # characters of a number's recipe, as an argument of another one
LARGEST_CONSTANT = 1e100  # products of larger ones may be infinite as floats
LARGEST_EXAMINED = 2**26  # a size
LARGEST_FLOAT = sys.float_info.max
LEAST_FACTOR = 1e-20  # of a product that floats do not round to 0
# Numbers that JAX computes with are 32-bit integers by default.
LARGEST_NUMBER = 2**31 - 1
LARGEST_SIDE = 2**16  # of an array, up to which it is examined whether numbers fit
FEW_ELEMENTS = 16  # an array of at most as many numbers may be a shape; a larger one is data


class Ratio(NamedTuple):
    """A fraction of two sizes, and how near the float is to it.

    Attributes:
        numerator: a size or an int.
        denominator: a size or an int, positive.
        level: EXACT, ROUNDED or NEAR.
    """

    numerator: Any
    denominator: Any
    level: int

    @property
    def is_integer(self) -> bool:
        """Whether it is one for all sizes, as its denominator is 1."""
        return isinstance(self.denominator, int) and self.denominator == 1


def _type_for_code(number: Any) -> type:
    """The type by which code other than that of libraries tells numbers apart in a trace.

    Python asks for it where ``isinstance(h, int)`` or ``case int():`` is not true by the type
    itself, and ``functools.singledispatch`` chooses by it.
    """
    frame = frame_of_user()
    dispatches = frame.f_code.co_filename == functools.__file__ and number.trace.searching
    return number.stands_for if dispatches or number.is_used_by(frame) else type(number)


# Not by a class statement: what decorates the methods of classes, as checkers of annotations do,
# cannot set this one.
HasTypeForCode = type(
    "HasTypeForCode", (), {"__slots__": (), "__class__": property(_type_for_code)}
)


class Symbolic(HasTypeForCode):
    """What is known as a formula of sizes; NumPy's functions are computed with the formula."""

    __slots__ = ()
    __array_priority__ = 1000  # for arrays of objects
    trace: SymbolicTrace
    stands_for: type  # Python's type of such numbers

    def is_used_by(self, frame: FrameType) -> bool:
        """Whether it is the code that is traced, not that of a library, which runs in a frame.

        Args:
            frame: the frame.
        """
        return self.trace.searching and is_of_user(frame)

    @abc.abstractmethod
    def formula(self) -> str:
        """The text of the formula."""

    varies = False  # whether it differs from turn to turn of a loop

    def __copy__(self) -> "Symbolic":
        return self

    def __deepcopy__(self, _: Any) -> "Symbolic":  # as dataclasses.asdict makes
        return self

    def __format__(self, spec: str) -> str:
        frame = frame_of_user()
        shown = self._is_shown_to(frame)
        return self._text(use_of_text(frame, is_part=False), spec) if shown else self.formula()

    def __str__(self) -> str:
        frame = frame_of_user()
        shown = self._is_shown_to(frame)
        return self._text(use_of_text(frame, is_part=False)) if shown else self.formula()

    def __repr__(self) -> str:  # of which the texts of containers are made
        frame = frame_of_user()
        shown = self._is_shown_to(frame)
        return self._text(use_of_repr(frame, self)) if shown else self.formula()

    def _is_shown_to(self, frame: FrameType) -> bool:
        """Whether the code in a frame may pass a text on to the code that is traced."""
        return self.is_used_by(frame) or (self.trace.searching and formats_texts(frame))

    def _text(self, use: Use, spec: str = "") -> str:
        """The text for code that may look at its digits."""
        text = self.formula()
        if use is Use.ASKED and not self.varies:
            return NumberText.of(text, self, spec)
        return text if use is Use.MESSAGE else format(self.number(), spec)

    @abc.abstractmethod
    def number(self) -> Any:
        """Find the number, where the sizes considered have one.

        Raises:
            Fork: it differs within the domain.
            Undecided: there are too many numbers.
        """

    @abc.abstractmethod
    def __jax_array__(self) -> Any:
        """What JAX computes with in the place of the number."""

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **named: Any) -> Any:
        arrays = [x for x in inputs if isinstance(x, np.ndarray)]
        if method != "__call__" or named:
            raise self.trace.undecided(f"the code needs {self} as a number, for {ufunc.__name__}")
        if any(array.size > FEW_ELEMENTS and array.dtype != object for array in arrays):
            from jax import numpy

            # The values of an array of numbers do not matter for shapes.
            values = (x.__jax_array__() if isinstance(x, Symbolic) else x for x in inputs)
            return getattr(numpy, ufunc.__name__)(*values)
        function = UFUNCS.get(ufunc, functools.partial(apply_function, ufunc))
        if not arrays:  # the operators of NumPy's own numbers would come here again
            return function(*(x.item() if isinstance(x, np.generic) else x for x in inputs))
        boxed = [x if isinstance(x, np.ndarray) else np.empty((), object) for x in inputs]
        for box, value in zip(boxed, inputs, strict=True):
            if box is not value:
                box[()] = value
        result = np.frompyfunc(function, len(inputs), ufunc.nout)(*boxed)
        return np.asarray(result, dtype=bool) if ufunc in COMPARISONS else result


class SymbolicInt(Symbolic):
    """An integer that is known as a formula of sizes."""

    __slots__ = ()
    stands_for = int


class Real(Symbolic):
    """A real number that is computed from sizes."""

    __slots__ = ("answers", "arguments", "function", "ratio", "sign", "trace", "varies")
    stands_for = float

    def __init__(
        self,
        trace: SymbolicTrace,
        function: Callable[..., Any],
        arguments: Sequence[Any],
        ratio: Ratio | None,
    ) -> None:
        self.trace = trace
        self.function = function
        self.arguments = arguments
        self.ratio = ratio
        self.sign = 0
        self.answers: dict[Any, Any] = {}  # to questions about the recipe, in the run
        self.varies = any(isinstance(x, Real) and x.varies for x in arguments)  # turn by turn

    def with_sign(self, sign: int) -> "Real":
        """Note that the number is known not to be 0.

        Args:
            sign: 1 where it is above 0, -1 where it is below.

        Returns:
            The number itself.
        """
        self.sign = sign
        return self

    @remembered
    def number(self) -> Any:
        """Compute the number, for the single sizes that the run then considers.

        Raises:
            Fork: the sizes differ within the domain.
            Undecided: there are too many of them.
        """
        if self.function in WHOLE_PARTS:
            return np.float64(number_of(WHOLE_PARTS[self.function](*self.arguments)))
        # First the numbers that are not formulas: where they are known, the code asks a formula.
        known = [x.number() if isinstance(x, Real) else x for x in self.arguments]
        return self.function(*map(number_of, known))

    # Conversions.

    def _to_int(self, function: Callable[[Any], int], divide: Callable[[Ratio], Any]) -> Any:
        if self.ratio is not None:
            return divide(self.ratio)
        is_finite = all(map(math.isfinite, interval_of(self)))
        if not is_finite and not -LARGEST_FLOAT <= self <= LARGEST_FLOAT:
            raise OverflowError("cannot convert float infinity to integer")
        size, sign = variable_of(self)
        recipe = _recipe(self) if sign and self.trace.searching else None
        rounding, line = function, None
        is_examined = recipe is not None and _range_of(size)[0] >= 0
        if is_examined and size.largest_examined() <= lines.LARGEST_SIZE:
            if function is int:
                rounding, divide = (math.floor, _floor) if self >= 0 else (math.ceil, _ceiling)
            line = lines.rounded(recipe, ROUNDINGS[rounding])
        if line is None:
            return _opaque_int(self.trace, function, self)
        # A linear function of one size is rounded as its floats are.
        exact = divide(Ratio(line.slope * size + line.offset, line.denominator, NEAR))
        for difference in (1, -1):
            ranges = [one for one in line.ranges if one.difference == difference]
            if ranges and size.is_in(ranges):
                return exact + difference
        return exact

    def __floor__(self) -> Any:
        return self._to_int(math.floor, _floor)

    def __ceil__(self) -> Any:
        return self._to_int(math.ceil, _ceiling)

    def __trunc__(self) -> Any:
        return self._to_int(int, _truncated)  # as float32 has no __trunc__

    def __round__(self, digits: int | None = None) -> Any:
        if digits is None:
            return self._to_int(round, _nearest)
        return apply_function(np.rint, self) if digits == 0 else apply_function(round, self, digits)

    def at(self, size: int) -> Any:
        """Compute the number for one size.

        Args:
            size: the value of the only size that the number depends on.
        """
        arguments = (
            x.at(size) if isinstance(x, Real) else size if isinstance(x, Symbolic) else x
            for x in self.arguments
        )
        return self.function(*arguments)

    def __int__(self) -> int:
        self.trace.ask_for_substitutes()
        return operator.index(number_of(math.trunc(self)))

    def __float__(self) -> float:
        self.trace.ask_for_substitutes()
        return float(self.number())

    def is_integer(self) -> bool:
        """Whether the number is whole, as for a float."""
        if self.ratio is None:
            return bool(self == number_of(math.floor(self)))
        return bool(self.ratio.numerator % self.ratio.denominator == 0)

    def __jax_array__(self) -> Any:
        return placeholder(self, 1j if is_complex(self) else 1.0)

    # The names under which NumPy looks for its functions in an array of objects.
    def floor(self) -> Any:
        """Round down, to a float as NumPy does."""
        return apply_function(np.floor, self)

    def ceil(self) -> Any:
        """Round up, to a float as NumPy does."""
        return apply_function(np.ceil, self)

    def rint(self) -> Any:
        """Round to the nearest integer, to a float as NumPy does."""
        return apply_function(np.rint, self)

    def sqrt(self) -> Any:
        """The square root."""
        return apply_function(np.sqrt, self)

    # Arithmetic.

    def __pos__(self) -> "Real":
        return self

    def __neg__(self) -> Any:
        return apply_function(operator.neg, self)

    def __abs__(self) -> Any:
        return self if self >= 0 else -self

    def __add__(self, other: Any) -> Any:
        return apply_function(operator.add, self, other)

    def __radd__(self, other: Any) -> Any:
        return apply_function(operator.add, other, self)

    def __sub__(self, other: Any) -> Any:
        return apply_function(operator.sub, self, other)

    def __rsub__(self, other: Any) -> Any:
        return apply_function(operator.sub, other, self)

    def __mul__(self, other: Any) -> Any:
        return apply_function(operator.mul, self, other)

    def __rmul__(self, other: Any) -> Any:
        return apply_function(operator.mul, other, self)

    def __truediv__(self, other: Any) -> Any:
        return apply_function(operator.truediv, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return apply_function(operator.truediv, other, self)

    def __floordiv__(self, other: Any) -> Any:
        return apply_function(operator.floordiv, self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return apply_function(operator.floordiv, other, self)

    def __mod__(self, other: Any) -> Any:
        return apply_function(operator.mod, self, other)

    def __rmod__(self, other: Any) -> Any:
        return apply_function(operator.mod, other, self)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __pow__(self, other: Any) -> Any:
        return apply_function(operator.pow, self, other)

    def __rpow__(self, other: Any) -> Any:
        return apply_function(operator.pow, other, self)

    # Comparisons.

    def __bool__(self) -> bool:
        return self != 0

    def __eq__(self, other: object) -> Any:
        return compare(operator.eq, self, other)

    def __ne__(self, other: object) -> Any:
        equal = compare(operator.eq, self, other)
        return equal if equal is NotImplemented else not equal

    def __lt__(self, other: Any) -> Any:
        return compare(operator.lt, self, other)

    def __le__(self, other: Any) -> Any:
        return compare(operator.le, self, other)

    def __gt__(self, other: Any) -> Any:
        return compare(operator.gt, self, other)

    def __ge__(self, other: Any) -> Any:
        return compare(operator.ge, self, other)

    def __hash__(self) -> int:
        return hash(self.number())

    @remembered
    def formula(self) -> str:
        """The text of the fraction, or of the recipe."""
        if self.ratio is not None:
            return f"({self.ratio.numerator})/({self.ratio.denominator})"
        if self.function in INFIX and len(self.arguments) == 2:
            operands = []
            for text in map(_short_text, self.arguments):
                has_operator = re.search(r"[-+*/% ]", text[1:]) and not text.endswith(")")
                operands.append(f"({text})" if has_operator else text)
            return INFIX[self.function].join(operands)
        name = "int" if self.function is int else getattr(self.function, "__name__", "number")
        return f"{name}({', '.join(map(_short_text, self.arguments))})"


def _short_text(value: Any) -> str:
    """The text of an argument; a longer one would tell a reader nothing."""
    text = value.formula() if isinstance(value, Symbolic) else str(value)
    return text if len(text) <= LONGEST_TEXT else "..."


# Operators as they are written.
INFIX: dict[Any, str] = {
    operator.add: " + ",
    operator.sub: " - ",
    operator.mul: "*",
    operator.truediv: "/",
    operator.floordiv: "//",
    operator.mod: " % ",
    operator.pow: "**",
}


class OpaqueInt(Real, SymbolicInt):
    """An integer of which only the recipe is known: ``int(np.sqrt(h))``, ``h.bit_length()``.

    Code often computes such a number and only compares it, or does not use it at all.
    """

    __slots__ = ()
    stands_for = int

    def number(self) -> int:
        """Find the number, where it takes few values; else try its least values one by one.

        Raises:
            Fork: it takes several values on the domain.
            Undecided: it takes more values than are tried.
        """
        size, sign = variable_of(self)
        if sign <= 0:
            with contextlib.suppress(Undecided):
                return operator.index(super().number())  # it may be one of NumPy's
        else:
            least, most = _range_of(size)
            first, last = (self.at(n) for n in (least, min(most, LARGEST_EXAMINED)))
            end = last if last - first < MOST_RESULTS else FEW_RESULTS
            is_tried = least > -LARGEST_SIZE and not _is_irregular_root(self, size)
            for result in range(first, end + 1) if is_tried else ():
                if _is_below(self, size, lambda n, result=result: self.at(n) > result):
                    return result
        error = self.trace.undecided(f"the code needs {self.formula()} as a number")
        self.trace.unanswered.append(str(error))  # JAX does not say so where it catches the error
        raise error

    def __index__(self) -> int:
        return operator.index(self.number())

    __int__ = __index__

    # Bits.

    def __invert__(self) -> Any:
        return -self - 1

    def bit_length(self) -> Any:
        """The number of bits of the number, as for an int."""
        return apply_function(int.bit_length, self)

    def __lshift__(self, other: Any) -> Any:
        return apply_to_ints(operator.lshift, self, other)

    def __rlshift__(self, other: Any) -> Any:
        return apply_to_ints(operator.lshift, other, self)

    def __rshift__(self, other: Any) -> Any:
        return apply_to_ints(operator.rshift, self, other)

    def __rrshift__(self, other: Any) -> Any:
        return apply_to_ints(operator.rshift, other, self)

    def __and__(self, other: Any) -> Any:
        return apply_to_ints(operator.and_, self, other)

    def __or__(self, other: Any) -> Any:
        return apply_to_ints(operator.or_, self, other)

    def __xor__(self, other: Any) -> Any:
        return apply_to_ints(operator.xor, self, other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __float__(self) -> float:
        return float(self.number())

    def _to_int(self, function: Callable[[Any], int], divide: Callable[[Ratio], Any]) -> Any:  # noqa: ARG002 - it is one
        return self

    def is_integer(self) -> bool:
        """Whether the number is whole, as for an int."""
        return True

    def first_digit(self) -> int:
        """Find the first decimal digit of the number, which is positive."""
        return int(str(self.number())[0])

    def __jax_array__(self) -> Any:
        if self.varies and _growth(self) * LARGEST_EXAMINED > LARGEST_NUMBER:
            self.number()  # one of the turns of a loop may have a number that is too large
        most = 0 if self.varies else max(map(abs, interval_of(self, LARGEST_SIDE)))
        if most > LARGEST_NUMBER and abs(self) > LARGEST_NUMBER:
            raise OverflowError(f"{self.formula()} does not fit in the 32 bits of JAX's numbers")
        return placeholder(self, 1)


def _growth(value: Any) -> float:
    """By how much a number grows from turn to turn of a loop at most, where that is known."""
    if not (isinstance(value, Real) and value.varies):
        return 0
    parts = [_growth(argument) for argument in value.arguments]
    if not parts:
        return 1
    if value.function in (operator.add, operator.sub, operator.neg):
        return sum(parts)
    others = [x for x in value.arguments if isinstance(x, int | np.integer)]
    is_scaled = value.function is operator.mul and len(others) == 1
    return sum(parts) * abs(int(others[0])) if is_scaled else math.inf


def placeholder(value: Symbolic, like: Any) -> Any:
    """Make what JAX computes with in the place of a number: any value, unknown while tracing.

    Args:
        value: the number.
        like: a Python number of the same type.

    Returns:
        A scalar of JAX's default type, which gives way to other types as Python's numbers do.
    """
    from jax import lax, numpy

    hidden = lax.optimization_barrier(numpy.asarray(like))  # constant folding does not look inside
    if not isinstance(hidden, compat.Tracer):
        raise value.trace.undecided(f"the code needs {value} as a number")
    return hidden


def number_of(value: Any) -> Any:
    """Replace a symbolic number by its value.

    Args:
        value: anything.

    Returns:
        The number, where it is symbolic; else the value itself.

    Raises:
        Fork: the number differs within the domain.
        Undecided: there are too many numbers.
    """
    return value.number() if isinstance(value, Symbolic) else value


def is_number(value: Any) -> bool:
    """Whether a value takes part in Python's arithmetic of real numbers.

    Args:
        value: anything.
    """
    return isinstance(value, Symbolic | int | float | Fraction | np.number | np.bool_)


def ratio_of(value: Any) -> Ratio | None:
    """Find the fraction of a number.

    Args:
        value: a number, symbolic or not.

    Returns:
        The fraction; None where only the recipe of the number is known.
    """
    if isinstance(value, Real):
        return value.ratio
    if isinstance(value, Symbolic):
        return Ratio(value, 1, EXACT)
    if isinstance(value, np.floating):  # of fewer bits, or more, than Python's
        return _constant(float(value)) if isinstance(value, np.float64) else None
    if isinstance(value, float):
        return _constant(value)
    if isinstance(value, int | np.integer | np.bool_):
        return Ratio(int(value), 1, EXACT)
    return None


def _constant(value: float) -> Ratio | None:
    """The simplest fraction to which a float is the nearest float."""
    if not abs(value) < LARGEST_CONSTANT:
        return None
    exact = Fraction(value)
    simple = exact.limit_denominator(LARGEST_DENOMINATOR)
    if simple.numerator / simple.denominator != value:
        return None
    return Ratio(simple.numerator, simple.denominator, EXACT if simple == exact else ROUNDED)


def apply_function(function: Callable[..., Any], *arguments: Any) -> Any:
    """Compute a real number from numbers of which one at least is symbolic.

    Args:
        function: computes it from Python's numbers.
        *arguments: numbers, symbolic or not.

    Returns:
        The number, with its fraction where that is known; NotImplemented for what is no number.

    Raises:
        ArithmeticError: the function has no value for any of the sizes considered.
        ValueError: likewise.
    """
    traces = [x.trace for x in arguments if isinstance(x, Symbolic)]
    if not all(map(is_number, arguments)):
        return NotImplemented
    raise_where_undefined(traces[0], function, *arguments)
    rule = FRACTIONS.get(function)
    ratios = [ratio_of(x) for x in arguments]
    ratio = rule(*ratios) if rule is not None and None not in ratios else None
    if ratio is None and function in WHOLE_PARTS and isinstance(arguments[0], Real):
        whole = WHOLE_PARTS[function](arguments[0])
        if isinstance(whole, int):
            return np.float64(whole)
        ratio = None if isinstance(whole, Real) else Ratio(whole, 1, EXACT)
    if all(isinstance(x, INTEGERS) for x in arguments) and (
        function in WHOLE or (function is operator.pow and arguments[1] >= 0)
    ):
        return _opaque_int(traces[0], function, *arguments)
    return Real(traces[0], function, arguments, ratio)


def _opaque_int(trace: SymbolicTrace, function: Callable[..., Any], *arguments: Any) -> Any:
    """Compute an integer by a recipe: an int where it is the same for all sizes of the domain."""
    value = OpaqueInt(trace, function, arguments, None)
    size, sign = variable_of(value)
    least, most = _range_of(size) if sign else (0, LARGEST_SIZE)
    if most < LARGEST_SIZE and value.at(least) == value.at(most):
        return operator.index(value.at(least))
    return value


def apply_to_ints(function: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    """Compute an integer from two of which one at least is symbolic, as an operator on bits does.

    Args:
        function: the operator.
        a: an integer, symbolic or not.
        b: an integer, symbolic or not.

    Returns:
        The number; NotImplemented for what is no integer.

    Raises:
        ValueError: a number is shifted by a negative number of bits.
    """
    if not all(isinstance(x, INTEGERS) for x in (a, b)):
        return NotImplemented
    if function in (operator.lshift, operator.rshift) and b < 0:
        raise ValueError("negative shift count")
    return apply_function(function, a, b)


def compare(relation: Callable[[Any, Any], bool], a: Any, b: Any) -> Any:
    """Compare two numbers of which one at least is symbolic.

    Args:
        relation: a comparison of :mod:`operator`.
        a: a number.
        b: a number.

    Returns:
        Whether it holds; NotImplemented for what is no number.
    """
    if not (is_number(a) and is_number(b)):
        return NotImplemented
    if not isinstance(a, Symbolic):
        return compare(REFLECTED[relation], b, a)
    if not isinstance(b, Symbolic) and not math.isfinite(b):
        return bool(relation(0, b))  # a size is below infinity, and in no relation to NaN, as 0 is
    if isinstance(a, Real) and a.sign and not isinstance(b, Symbolic) and a.sign * b <= 0:
        return bool(relation(a.sign, 0))
    left, right = ratio_of(a), ratio_of(b)
    if (
        right is None
        and left is not None
        and left.level == EXACT
        and isinstance(b, float | Fraction)
    ):
        right = Ratio(*b.as_integer_ratio(), EXACT)  # which Python compares exactly, too
    # Floats compare as their fractions do; one that is only near its fraction needs an int.
    if (
        left is None
        or right is None
        or (left.level == NEAR and not right.is_integer)
        or (right.level == NEAR and not left.is_integer)
    ):
        return _compare_values(relation, a, b)
    one = left.numerator * right.denominator
    other = right.numerator * left.denominator
    return bool(relation(one, other))


def _compare_values(relation: Callable[[Any, Any], bool], a: Any, b: Any) -> bool:
    """Compare numbers without fractions.

    The intervals in which they lie may tell. A product has the sign of its factors. Others are
    functions of one size that only grow, or only fall; or the numbers are computed.
    """
    one, other = interval_of(a), interval_of(b)
    if one.most < other.least or one.least > other.most:
        return bool(relation(one.least, other.least))
    is_product = isinstance(a, Real) and a.function in (operator.mul, operator.truediv)
    if is_product and not isinstance(b, Symbolic) and b == 0:
        numbers = [x for x in a.arguments if not isinstance(x, Symbolic)]
        if all(x == 0 or LEAST_FACTOR < abs(x) < 1 / LEAST_FACTOR for x in numbers):
            signs = (int(x > 0) - int(x < 0) for x in a.arguments)
            return bool(relation(math.prod(signs), 0))
    size, sign = variable_of(a)
    if not sign or isinstance(b, Symbolic):
        # Where the recipes have numbers, formulas are compared with these.
        one, other = (x.number() if isinstance(x, Real) else x for x in (a, b))
        return bool(relation(one, other))

    def at(n: int) -> Any:
        return a.at(n) if isinstance(a, Real) else n

    if sign > 0:
        below = _is_below(a, size, lambda n: at(n) >= b)
        above = not below and not _is_below(a, size, lambda n: at(n) > b)
    else:
        above = _is_below(a, size, lambda n: at(n) <= b)
        below = not above and not _is_below(a, size, lambda n: at(n) < b)
    return bool(relation(above - below, 0))


def variable_of(value: Any) -> tuple[Any, int]:
    """Find the size of which a number is a growing or a falling function, as floats compute it.

    Args:
        value: a number.

    Returns:
        The size, and 1 where the number grows with it, -1 where it falls; 0 where neither is known,
        or where it depends on several sizes.
    """
    if not isinstance(value, Real):
        return value, int(isinstance(value, Symbolic))
    symbolic = [i for i, x in enumerate(value.arguments) if isinstance(x, Symbolic)]
    others = [x for x in value.arguments if not isinstance(x, Symbolic)]
    rule = MONOTONE.get((value.function, *symbolic))
    if rule is None:
        return None, 0
    argument = value.arguments[symbolic[0]]
    size, sign = variable_of(argument)
    has_sign = (value.function, *symbolic) in MONOTONE_ABOVE_ZERO
    if not sign or (has_sign and interval_of(argument).least < 0):
        return None, 0
    return size, sign * rule(*others)


def _range_of(size: Any) -> tuple[int, int]:
    """The least and the largest value of a size, of those for which floats are evaluated."""
    least, most = size.bounds()
    return (
        -LARGEST_SIZE if least is None else max(int(least), -LARGEST_SIZE),
        LARGEST_SIZE if most is None else min(int(most), LARGEST_SIZE),
    )


def _recipe(value: Any) -> lines.Recipe:
    """How a number is computed from one size "n"; None where other than by Python's floats."""
    if isinstance(value, Real):
        if value.function is float:
            return _recipe(*value.arguments)
        arguments = [_recipe(x) for x in value.arguments]
        return None if None in arguments else (value.function, *arguments)
    if isinstance(value, Symbolic):
        return "n"
    is_of_numpy = isinstance(value, np.integer | np.float64)
    return value.item() if is_of_numpy else value if isinstance(value, int | float) else None


def _has_root(value: Any) -> bool:
    """Whether a function of one size takes a square root."""
    if not isinstance(value, Real):
        return False
    rule, exponents = FRACTIONS.get(value.function), [ratio_of(x) for x in value.arguments[1:]]
    is_root = rule is _square_root or (rule is _power and exponents == [Ratio(1, 2, EXACT)])
    return is_root or any(map(_has_root, value.arguments))


def _is_irregular_root(value: Any, size: Any) -> bool:
    """Whether a number is the root of a product that has each value for many small sets of sizes.

    Square images are examined on their own: for them, the root is a formula.

    Raises:
        Fork: the two factors of the product are equal for a part of the domain.
    """
    factors = size.irregular_factors() if _has_root(value) else None
    return factors is not None and not size.trace.settle(factors[0].eq_set(factors[1]))


def _is_below(value: Any, size: Any, condition: Callable[[int], bool]) -> bool:
    """Decide whether a size is below the least one that meets a condition, as do all above it.

    The condition is one of a number that is a function of the size.
    """
    low, high = _range_of(size)
    with np.errstate(all="ignore"):  # of sizes that the code does not compute with
        least = low + bisect.bisect_left(range(low, high + 1), True, key=condition)
    if not low < least <= high:
        return least > low
    _is_irregular_root(value, size)  # forks on square images before the order splits the sizes
    return bool(size < least)


def _floor(r: Ratio) -> Any:
    return r.numerator // r.denominator


def _ceiling(r: Ratio) -> Any:
    return -(-r.numerator // r.denominator)


def _truncated(r: Ratio) -> Any:
    numerator, denominator = r.numerator, r.denominator
    return numerator // denominator if numerator >= 0 else -(-numerator // denominator)


def _nearest(r: Ratio) -> Any:
    """Round a fraction to the nearest integer, to the even one of two."""
    numerator, denominator = r.numerator, r.denominator
    half_up = (2 * numerator + denominator) // (2 * denominator)
    if (2 * numerator + denominator) % (4 * denominator) == 2 * denominator:
        return half_up - 1
    return half_up


def _is_power_of_two(value: Any) -> bool:
    return isinstance(value, int) and value & (value - 1) == 0


def _sum(a: Ratio, b: Ratio) -> Ratio | None:
    numerator = a.numerator * b.denominator + b.numerator * a.denominator
    if a.level == b.level == EXACT:
        return Ratio(numerator, a.denominator * b.denominator, EXACT)
    for one, other in ((a, b), (b, a)):
        if other.level == EXACT and other.is_integer:
            return Ratio(numerator, one.denominator, NEAR)
    return None


def _product(a: Ratio, b: Ratio) -> Ratio | None:
    level = max(a.level, b.level)
    scaled = [r.level == EXACT and _is_power_of_two(r.numerator) for r in (a, b)]
    if level != EXACT and not any(scaled):
        return None
    return Ratio(a.numerator * b.numerator, a.denominator * b.denominator, level)


def _quotient(a: Ratio, b: Ratio) -> Ratio | None:
    if b.numerator == 0:
        return None  # a number of NumPy, which is infinite or not a number
    sign = 1 if b.numerator > 0 else -1
    numerator = sign * a.numerator * b.denominator
    denominator = sign * b.numerator * a.denominator
    if a.level == EXACT and b.level == EXACT:
        level = EXACT if _is_power_of_two(denominator) else ROUNDED
        return Ratio(numerator, denominator, level)
    if b.level == EXACT and _is_power_of_two(b.numerator):
        return Ratio(numerator, denominator, a.level)
    return None


def _floor_quotient(a: Ratio, b: Ratio) -> Ratio | None:
    if a.level != EXACT or b.level != EXACT:
        return None
    quotient = _quotient(a, b)
    return quotient and Ratio(quotient.numerator // quotient.denominator, 1, EXACT)


def _remainder(a: Ratio, b: Ratio) -> Ratio | None:
    quotient = _floor_quotient(a, b)
    if quotient is None:
        return None
    product = _product(quotient, b)
    return product and _sum(a, Ratio(-product.numerator, product.denominator, product.level))


def _square_root(r: Ratio) -> Ratio | None:
    """The root of a number that is a square for all sizes: its float is exact.

    The float of a square below 2**104 differs from it by so little that the nearest root is whole.
    """
    is_size = r.level == EXACT and r.is_integer and hasattr(r.numerator, "square_root")
    root = r.numerator.square_root() if is_size else None
    return None if root is None else Ratio(abs(root), 1, EXACT)


def _power(base: Ratio, exponent: Ratio) -> Ratio | None:
    return _square_root(base) if exponent[:2] == (1, 2) else None


def _whole(divide: Callable[[Ratio], Any]) -> Callable[[Ratio], Ratio]:
    return lambda r: Ratio(divide(r), 1, EXACT)


# The fraction of a result, from those of the arguments.
FRACTIONS: dict[Callable[..., Any], Callable[..., Ratio | None]] = {
    float: lambda r: r,
    operator.neg: lambda r: r._replace(numerator=-r.numerator),
    operator.add: _sum,
    operator.sub: lambda a, b: _sum(a, b._replace(numerator=-b.numerator)),
    operator.mul: _product,
    operator.truediv: _quotient,
    operator.floordiv: _floor_quotient,
    operator.mod: _remainder,
    operator.pow: _power,
    math.pow: _power,
    math.sqrt: _square_root,
    np.sqrt: _square_root,
    np.floor: _whole(_floor),
    np.ceil: _whole(_ceiling),
    np.rint: _whole(_nearest),
}

# What NumPy calls a conversion to an int, and the conversion that gives the same number.
ROUNDINGS: dict[Any, Any] = {math.floor: np.floor, math.ceil: np.ceil, round: np.rint}
WHOLE_PARTS: dict[Any, Any] = {np.floor: math.floor, np.ceil: math.ceil, np.rint: round}

REFLECTED = {
    operator.eq: operator.eq,
    operator.ne: operator.ne,
    operator.lt: operator.gt,
    operator.le: operator.ge,
    operator.gt: operator.lt,
    operator.ge: operator.le,
}


def _sign(number: float | np.number) -> int:
    return int(number > 0) - int(number < 0)  # also for numbers of NumPy


# How floats of a function change with one of its arguments: 1 where they grow, or stay the same,
# -1 where they fall, 0 where neither is known; by the position of the argument, from the others.
MONOTONE: dict[tuple[Any, ...], Callable[..., int]] = {
    **{(f, 0): lambda: 1 for f in (float, np.float32, math.sqrt, math.log2, math.log10, math.exp)},
    **{(f, 0): lambda: 1 for f in (np.sqrt, np.log, np.log2, np.log10, np.floor, np.ceil, np.rint)},
    **{(f, 0): lambda: 1 for f in (math.floor, math.ceil, int, int.bit_length, np.exp, math.log1p)},
    **{(f, 0): lambda: 1 for f in (math.expm1, math.exp2, math.sinh, math.tanh, math.atan)},
    (round, 0): lambda _=0: 1,
    (math.log, 0): lambda base=math.e: int(base > 1),
    (operator.neg, 0): lambda: -1,
    (operator.add, 0): lambda _: 1,
    (operator.add, 1): lambda _: 1,
    (operator.sub, 0): lambda _: 1,
    (operator.sub, 1): lambda _: -1,
    (operator.mul, 0): _sign,
    (operator.mul, 1): _sign,
    (operator.truediv, 0): _sign,
    (operator.truediv, 1): lambda number: -_sign(number),
    (operator.floordiv, 0): _sign,
    (operator.rshift, 0): lambda bits: int(bits >= 0),
    (operator.pow, 0): _sign,
    (operator.pow, 1): lambda base: _sign(base - 1) if base > 0 else 0,
    (math.pow, 0): _sign,
    (math.pow, 1): lambda base: _sign(base - 1) if base > 0 else 0,
}
# Those for which this holds only where the argument is not negative.
MONOTONE_ABOVE_ZERO = frozenset(
    (
        *((f, 0) for f in (math.sqrt, math.log, math.log2, math.log10, math.log1p, int.bit_length)),
        *((f, 0) for f in (np.sqrt, np.log, np.log2, np.log10, operator.pow, math.pow)),
        (operator.truediv, 1),
    )
)

INTEGERS = (SymbolicInt, int, np.integer, np.bool_)
# Functions that compute integers from integers.
WHOLE = frozenset((
    operator.neg, operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod,
    operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift, int.bit_length,
    math.comb, math.factorial, math.perm,
))  # fmt: skip

COMPARISONS = (np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal)
# NumPy's functions that Python's operators compute, too.
UFUNCS: dict[np.ufunc, Callable[..., Any]] = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.true_divide: operator.truediv,
    np.floor_divide: operator.floordiv,
    np.remainder: operator.mod,
    np.divmod: divmod,
    np.power: operator.pow,
    np.negative: operator.neg,
    np.absolute: abs,
    np.square: lambda x: x * x,
    np.maximum: lambda a, b: a if a >= b else b,
    np.minimum: lambda a, b: a if a <= b else b,
    np.bitwise_and: operator.and_,
    np.bitwise_or: operator.or_,
    np.bitwise_xor: operator.xor,
    np.left_shift: operator.lshift,
    np.right_shift: operator.rshift,
    np.equal: operator.eq,
    np.not_equal: operator.ne,
    np.less: operator.lt,
    np.less_equal: operator.le,
    np.greater: operator.gt,
    np.greater_equal: operator.ge,
}
