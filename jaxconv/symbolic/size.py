"""Sizes that are known only as formulas: integers that isl decides about.

The arithmetic of shapes is quasi-affine: sums, constants, floor division, remainders, min and max.
Equality and order of such formulas are decidable (Presburger), and isl, the integer set library of
polyhedral compilers, decides them (Verdoolaege, "isl: An integer set library for the polyhedral
model", 2010). Products of sizes, as a flatten makes them, are kept as products of whole factors and
compared factor by factor.

A :class:`Size` lives in a :class:`~jaxconv.symbolic.trace.SymbolicTrace`: one run of a function for
all sizes of a domain at once.
"""

import bisect
import collections
import functools
import itertools
import math
import operator
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import islpy as isl
import numpy as np

from jaxconv import compat
from jaxconv.source import current_call_sites, current_scope, file_of, is_inside_jax, is_of_user
from jaxconv.symbolic.equality import zeros
from jaxconv.symbolic.factoring import (
    as_product,
    in_shared_factors,
    where_floors_are_exact,
    without_shared_factors,
)
from jaxconv.symbolic.lines import Range
from jaxconv.symbolic.long_division import divide_out
from jaxconv.symbolic.lookups import (
    CACHE,
    is_formatting,
    is_unequal_anyway,
    keeps_key,
    keys_beside,
    keys_of_code,
    keys_of_lookup,
    length_of_indexed,
)
from jaxconv.symbolic.order import where_ordered
from jaxconv.symbolic.polynomials import Polynomial, PolynomialRing, constant_of
from jaxconv.symbolic.real import (
    LARGEST_EXAMINED,
    LARGEST_NUMBER,
    LARGEST_SIDE,
    OpaqueInt,
    Real,
    SymbolicInt,
    apply_function,
    apply_to_ints,
    compare,
    is_number,
    number_of,
    placeholder,
)
from jaxconv.symbolic.residues import division_cases, steps_to_divisibility, where_divisible
from jaxconv.symbolic.sets import RELATIONS, SizeSet, bounds, integer
from jaxconv.symbolic.text_uses import Use, use_of_text
from jaxconv.symbolic.trace import Overflow, SymbolicTrace, Undecided, caller, comparison_site
from jaxconv.symbolic.univariate import likely_quotient, only_size

MOST_REMAINDERS = 16  # of a product, that are tried one by one
POWERS_OF_TEN = tuple(10**exponent for exponent in range(9))  # of sizes that are examined
LARGEST_DIVIDEND = 1024  # that is divided by a size
LARGEST_LIKELY = 8  # quotient of two sizes that is tried
LARGEST_QUOTIENT = 1024  # of two formulas that take few quotients
MOST_QUOTIENTS = 64  # of two formulas, that are tried one by one
FEW_PARTS = 8  # of a domain, that is split by the remainders of a product
LARGEST_BIT = 30  # of a number that JAX computes with
LARGEST_POWER = 8  # of a size that is multiplied out
MOST_IRREGULAR = 64  # pairs of factors of a product that is needed as a number
FEW_VALUES = 8  # of a size, and its least values, that are tried where a number is needed


def _binary(method: Callable[["Size", "Size"], Any]) -> Callable[["Size", Any], Any]:
    """Let a method of two sizes take an int as the second one."""

    @functools.wraps(method)
    def operation(self: "Size", other: Any) -> Any:
        if not isinstance(other, Size):
            if not isinstance(other, int | np.integer | np.bool_):
                return NotImplemented
            other = Size(self.trace, self.trace.ring.number(int(other)))
        return method(self, other)

    return operation


def _arithmetic(
    on_numbers: Callable[[Any, Any], Any], *, reflected: bool = False
) -> Callable[[Callable[["Size", "Size"], Any]], Callable[["Size", Any], Any]]:
    """Let a method of two sizes take an int as the second one, or a real number.

    Args:
        on_numbers: the operator, for a result that is a real number.
        reflected: whether the size is the operator's second argument.
    """

    def decorate(method: Callable[["Size", "Size"], Any]) -> Callable[["Size", Any], Any]:
        on_sizes = _binary(method)

        @functools.wraps(method)
        def operation(self: "Size", other: Any) -> Any:
            result = on_sizes(self, other)
            if result is not NotImplemented or isinstance(other, Real):
                return result  # a Real has operators of its own
            return (
                apply_function(on_numbers, other, self)
                if reflected
                else apply_function(on_numbers, self, other)
            )

        return operation

    return decorate


def _extremum(
    relation: Callable[[Any, Any], bool],
) -> Callable[[Callable[["Size", "Size"], Any]], Callable[["Size", Any], Any]]:
    """Let a method that chooses one of two sizes take an int, or a real number, as the second."""

    def decorate(method: Callable[["Size", "Size"], Any]) -> Callable[["Size", Any], Any]:
        on_sizes = _binary(method)

        @functools.wraps(method)
        def operation(self: "Size", other: Any) -> Any:
            if isinstance(other, Real):
                return self if relation(self, other) else other
            return on_sizes(self, other)

        return operation

    return decorate


class Size(SymbolicInt):
    """An integer of at least one size, known as a formula: ``h``, ``(h + 7)//8``, ``512*h*w``.

    :func:`sizes` makes them. They add, multiply, divide and compare as ints do.
    """

    __slots__ = ("polynomial", "trace")

    def __init__(self, trace: SymbolicTrace, polynomial: Polynomial) -> None:
        self.trace = trace
        self.polynomial = polynomial

    @classmethod
    def of(cls, trace: SymbolicTrace, polynomial: Polynomial) -> "Size | int":
        """Make the size of a polynomial.

        Args:
            trace: the run that it belongs to.
            polynomial: its formula.

        Returns:
            A size; an int where the polynomial is constant.
        """
        constant = polynomial.constant
        return cls(trace, polynomial) if constant is None else constant

    # Arithmetic.

    def __pos__(self) -> "Size":
        return self

    def __neg__(self) -> "Size | int":
        return Size.of(self.trace, -self.polynomial)

    @_arithmetic(operator.add)
    def __add__(self, other: "Size") -> "Size | int":
        return Size.of(self.trace, self.polynomial + other.polynomial)

    __radd__ = __add__

    @_arithmetic(operator.sub)
    def __sub__(self, other: "Size") -> "Size | int":
        return Size.of(self.trace, self.polynomial - other.polynomial)

    @_arithmetic(operator.sub, reflected=True)
    def __rsub__(self, other: "Size") -> "Size | int":
        return Size.of(self.trace, other.polynomial - self.polynomial)

    @_arithmetic(operator.mul)
    def __mul__(self, other: "Size") -> "Size | int":
        return Size.of(self.trace, self.polynomial * other.polynomial)

    __rmul__ = __mul__

    @_arithmetic(operator.floordiv)
    def __floordiv__(self, other: "Size") -> Any:
        return divide(self, other)[0]

    @_arithmetic(operator.floordiv, reflected=True)
    def __rfloordiv__(self, other: "Size") -> Any:
        return divide(other, self)[0]

    @_arithmetic(operator.mod)
    def __mod__(self, other: "Size") -> Any:
        return divide(self, other)[1]

    @_arithmetic(operator.mod, reflected=True)
    def __rmod__(self, other: "Size") -> Any:
        return divide(other, self)[1]

    def __divmod__(self, other: Any) -> Any:
        pair = self._quotient_and_remainder(other)
        if pair is NotImplemented and is_number(other):
            return self // other, self % other
        return pair

    @_binary
    def _quotient_and_remainder(self, other: "Size") -> tuple[Any, Any]:
        quotient, remainder = divide(self, other)
        if compat.divides_shapes(caller().f_code) and remainder != 0:
            # JAX's own error for symbolic sizes is not one that code catches for numbers.
            high = other.bounds()[1]
            count = -other if high is not None and high < 0 else other
            raise TypeError(
                f"cannot reshape an array: its {self} elements do not divide by {count}."
            )
        return quotient, remainder

    def __rdivmod__(self, other: Any) -> Any:
        return (other // self, other % self) if is_number(other) else NotImplemented

    @_extremum(operator.ge)
    def max(self, other: "Size") -> "Size | int":
        """Find the larger one of two sizes.

        Args:
            other: the other one, a size or an int.

        Returns:
            The larger one, as a formula where it differs from size to size.
        """
        return _extreme(self, ">=", other, isl.PwAff.max)

    @_extremum(operator.le)
    def min(self, other: "Size") -> "Size | int":
        """Find the smaller one of two sizes.

        Args:
            other: the other one, a size or an int.

        Returns:
            The smaller one, as a formula where it differs from size to size.
        """
        return _extreme(self, "<=", other, isl.PwAff.min)

    rmax, rmin = max, min  # noqa: A003 - these are the methods above

    def __abs__(self) -> Any:
        return self.max(-self)

    def __and__(self, other: Any) -> Any:
        if not isinstance(other, Size) and isinstance(other, int | np.integer):
            mask, selected = int(other), 0
            if mask < 0:
                return self - (self & ~mask)
            while mask:  # each run of ones at once
                low = (mask & -mask).bit_length() - 1
                high = low + ((~(mask >> low)) & ((mask >> low) + 1)).bit_length() - 1
                selected = selected + self % 2**high - self % 2**low
                mask &= -(2**high)
            return selected
        if isinstance(other, Size) and not self.polynomial.products and self - other in (1, -1):
            # n & (n - 1) is 0 where n is a power of two, or 0.
            ring = self.trace.ring
            affine = (self if self - other == 1 else other).polynomial.affine
            powers = (affine.eq_set(ring.formula(2**bit)) for bit in range(LARGEST_BIT + 1))
            zero = affine.eq_set(ring.formula(0))
            if self.trace.settle(functools.reduce(isl.Set.union, powers, zero)):
                return 0
            return apply_function(operator.and_, self, other).with_sign(1)
        return apply_to_ints(operator.and_, self, other)

    __rand__ = __and__

    def __or__(self, other: Any) -> Any:
        return self + other - (self & other)

    __ror__ = __or__

    def __xor__(self, other: Any) -> Any:
        return self + other - 2 * (self & other)

    __rxor__ = __xor__

    def __invert__(self) -> Any:
        return -self - 1

    def __rshift__(self, bits: Any) -> Any:
        if isinstance(bits, int | np.integer) and bits >= 0:
            return self // 2 ** int(bits)
        return apply_to_ints(operator.rshift, self, bits)

    def __lshift__(self, bits: Any) -> Any:
        if isinstance(bits, int | np.integer) and bits >= 0:
            return self * 2 ** int(bits)
        return apply_to_ints(operator.lshift, self, bits)

    def __rrshift__(self, other: Any) -> Any:
        return apply_to_ints(operator.rshift, other, self)

    def __rlshift__(self, other: Any) -> Any:
        return apply_to_ints(operator.lshift, other, self)

    def __round__(self, digits: int = 0) -> Any:
        return self if digits >= 0 else apply_function(round, self, digits)

    __floor__ = __ceil__ = __trunc__ = __round__

    # Comparisons.

    def __eq__(self, other: object) -> Any:
        if isinstance(other, Size) and other.trace is not self.trace:
            return False
        if compat.hashes_for_cache(sys._getframe(1)):
            # By their formulas: a cache that does not find its key only computes again.
            return isinstance(other, Size) and self.polynomial.key() == other.polynomial.key()
        answer = _equals(self, other)
        return compare(operator.eq, self, other) if answer is NotImplemented else answer

    def __ne__(self, other: object) -> Any:
        answer = self == other
        return answer if answer is NotImplemented else not answer

    def __lt__(self, other: Any) -> Any:
        return _order(self, "<", operator.lt, other)

    def __le__(self, other: Any) -> Any:
        return _order(self, "<=", operator.le, other)

    def __gt__(self, other: Any) -> Any:
        return _order(self, ">", operator.gt, other)

    def __ge__(self, other: Any) -> Any:
        return _order(self, ">=", operator.ge, other)

    def __bool__(self) -> bool:
        return self != 0

    def __hash__(self) -> int:
        self.trace.stop_in_time()  # a set of many shapes asks for the hash of each of their sides
        by_formula = hash((id(self.trace), self.polynomial.key()))
        if compat.hashes_for_cache(sys._getframe(1)):
            return by_formula
        counting = caller()
        while file_of(counting) == collections.__file__ and counting.f_back is not None:
            counting = counting.f_back  # a Counter counts for the function that made it
        if is_inside_jax(file_of(counting)):
            keys = keys_beside(counting, self)
        else:
            keys = keys_of_lookup(counting)
            if keys is CACHE:
                return by_formula
            if keys is None:
                return hash(self.number())
            is_kept, container = keeps_key(counting)
            if self.trace.searching and is_kept:
                self.trace.keep(self.polynomial, container)
                keys = (*keys, *sorted(keys_of_code(counting)))
        for key in dict.fromkeys(keys):
            if self == key:
                return hash(key)
        return self.trace.hash_of(self.polynomial)

    # Numbers.

    def bounds(self) -> tuple[int | None, int | None]:
        """Bounds on the domain of the run; None where there are none."""
        if not self.polynomial.products:
            return bounds(self.trace.domain, self.polynomial.affine)
        low, high = (None if math.isinf(n) else int(n) for n in self.polynomial.bounds())
        return low, high

    @property
    def degree(self) -> int:
        """The most sizes that the formula multiplies with each other."""
        return max(map(len, self.polynomial.products), default=1)

    def number(self) -> int:
        """Find the number, where the size takes few values; else try its least values one by one.

        Raises:
            Fork: it takes several values on the domain.
            Undecided: it takes more values than are tried.
        """
        self.trace.uses_numbers = True
        low, _ = self.bounds()
        if low is None or not self.trace.searching or self.irregular_factors() is not None:
            return self._one_of_few()
        return self._one_of_few(range(low, FEW_VALUES + 1))

    def _one_of_few(self, tried: Sequence[int] = ()) -> int:
        """The number, where the size takes few values, or one of those to be tried."""
        low, high = self.bounds()
        if low is not None and high is not None and high - low < FEW_VALUES:
            tried = range(low, high + 1)
        for value in tried:
            condition, exact = zeros(self.polynomial - self.trace.ring.number(value))
            if exact and self.trace.settle(condition):
                return value
        raise self._no_number()

    def largest_examined(self) -> int:
        """The largest number, for sizes that are examined; -1 where it is a product of sizes."""
        trace = self.trace
        if self.polynomial.products:
            return -1
        ring = trace.ring
        small = (
            ring.formula(name).le_set(ring.formula(LARGEST_EXAMINED)) for name in trace.names()
        )
        points = functools.reduce(isl.Set.intersect, small, trace.domain)
        return bounds(points, self.polynomial.affine)[1] or 0

    def is_in(self, ranges: Sequence[Range]) -> bool:
        """Decide whether the number is in one of several ranges, as a branch of the code.

        Args:
            ranges: ranges of numbers.
        """
        ring, affine = self.trace.ring, self.polynomial.affine
        points = ring.nowhere
        for first, last, step, _ in ranges:
            part = affine.ge_set(ring.formula(first)).intersect(affine.le_set(ring.formula(last)))
            rest = affine.sub(ring.formula(first)).mod_val(integer(step)).eq_set(ring.formula(0))
            points = points.union(part.intersect(rest) if last > first else part)
        return self.trace.settle(points.coalesce())

    def _is(self, number: int) -> bool:
        """Decide whether the size is a number, as a branch of the code."""
        points, exact = zeros(self.polynomial - self.trace.ring.number(number))
        if not exact:
            raise self._no_number()
        return self.trace.settle(points)

    def __index__(self) -> int:
        frame = caller()
        code = frame.f_code
        if compat.asks_for_new_array(code):
            key = self.polynomial.key()
            if key not in self.trace.array_sizes:
                self.trace.array_sizes[key] = self, current_call_sites(), current_scope()
            self.trace.raise_symbolic()
        if compat.asks_if_constant(code):
            if compat.is_within_squeeze(frame):
                return 1 if self._is(1) else 2  # any other number; JAX asks for no more
            self.trace.raise_symbolic()
        if is_formatting(frame) and (
            not is_of_user(frame) or use_of_text(frame, is_part=True) is Use.MESSAGE
        ):
            return self.bounds()[0] or 0  # which number a message shows does not matter
        length = length_of_indexed(frame)
        if length is not None:  # any other number is the index of no element either
            return next((i for i in range(-length, length) if self._is(i)), length)
        self.trace.ask_for_substitutes()
        return self._one_of_few() if is_inside_jax(file_of(caller())) else self.number()

    __int__ = __index__

    def __float__(self) -> float:
        return float(self.__index__())

    def _no_number(self) -> Undecided:
        return self.trace.undecided(f"the code needs {self} as a number")

    def _by_value(self, operation: Callable[[Any, Any], Any], other: Any) -> Any:
        if not is_number(other):
            return NotImplemented
        return operation(self.number(), number_of(other))

    def dimension_as_value(self) -> Any:
        """What JAX computes with where a size is used as a number: any, unknown while tracing."""
        value = placeholder(self, 1)
        if not self.trace.checks_overflow:
            self.trace.ring.once(("overflow", self.polynomial.key()), lambda: _note_overflow(self))
            return value
        # Numbers have shown that one which is too large is an error: the run forks on it.
        large, safe = _overflow_of(self)
        if self.trace.settle(safe):
            return value
        if _is_monomial(self.polynomial) and self.trace.settle(large):
            raise OverflowError(f"{self} does not fit in the 32 bits of JAX's numbers")
        raise self.trace.undecided(f"whether {self} fits in the 32 bits of JAX's numbers")

    __jax_array__ = dimension_as_value

    def __truediv__(self, other: Any) -> Any:
        return apply_function(operator.truediv, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return apply_function(operator.truediv, other, self)

    def __pow__(self, other: Any) -> Any:
        if isinstance(other, int) and 0 <= other <= LARGEST_POWER:
            return math.prod([self] * other)
        if isinstance(other, Size):
            return self._by_value(operator.pow, other)
        return apply_function(operator.pow, self, other)

    def __rpow__(self, other: Any) -> Any:
        if isinstance(other, int):
            return other ** self.number()
        return apply_function(operator.pow, other, self)

    def is_integer(self) -> bool:
        """Whether the number is whole, as for an int."""
        return True

    def bit_length(self) -> Any:
        """The number of bits of the number, as for an int."""
        return apply_function(int.bit_length, self)

    def first_digit(self) -> int:
        """Find the first decimal digit of the number, which is positive.

        Raises:
            Fork: there are several within the domain.
            Undecided: the number is not a formula of single sizes, or it is not small.
        """
        ring, affine = self.trace.ring, self.polynomial.affine
        for digit in () if self.polynomial.products else range(1, 10):
            ranges = [
                affine.ge_set(ring.formula(digit * power)).intersect(
                    affine.lt_set(ring.formula((digit + 1) * power))
                )
                for power in POWERS_OF_TEN
            ]
            if self.trace.settle(functools.reduce(isl.Set.union, ranges)):
                return digit
        return int(str(self.number())[0])

    def square_root(self) -> Any:
        """Find a formula whose square this one is; None where there is none."""
        ring, point = self.trace.ring, SizeSet(self.trace.domain).smallest()
        value = self.at(**point)
        at_point = math.isqrt(max(value, 0))
        for factors, k in self.polynomial.products.items():
            leading = Size(self.trace, ring.sum_of({factors[::2]: math.isqrt(abs(k))}))
            for number in (at_point, -at_point):
                root = leading + (number - leading.at(**point))
                if (self.polynomial - (root * root).polynomial).constant == 0:
                    return root
        return None

    def irregular_factors(self) -> tuple[isl.PwAff, isl.PwAff] | None:
        """Find the factors of a product that has each value for many small sets of sizes.

        Returns:
            The two formulas, those of h and w for ``4*h*w``, which is 144 for nine sizes of images;
            None for other formulas, those of one size, and where the factors have few values.
        """
        is_of_several = self.polynomial.products and only_size(self.polynomial) is None
        product = as_product(self.polynomial) if is_of_several else None
        counts = collections.Counter(product.factors if product else ())
        different = [factor.affine for factor, count in counts.items() if count % 2]
        if product is None or product.constant or len(different) != 2:
            return None
        values: float = 1
        for low, high in (bounds(self.trace.domain, factor) for factor in different):
            values *= math.inf if low is None or high is None else high - low + 1
        return (different[0], different[1]) if values > MOST_IRREGULAR else None

    # The names under which NumPy looks for its functions in an array of objects.
    def sqrt(self) -> Any:
        """The square root."""
        return apply_function(np.sqrt, self)

    floor = ceil = rint = __round__

    def at(self, **sizes: int) -> int:
        """Compute the number that the formula gives.

        Args:
            **sizes: a number for each name.

        Returns:
            The value of the formula.
        """
        conditions = " and ".join(f"{name} = {size}" for name, size in sizes.items())
        return self.polynomial.value_at(SizeSet.parse(self.trace.names(), conditions).points)

    # Text.

    def formula(self) -> str:
        """The text of the formula."""
        return str(self.polynomial)


class Divided(OpaqueInt):
    """The quotient or the remainder of a product of sizes and a number that does not divide it.

    It is a formula only where the remainders of the factors are known, and seldom needed.
    """

    __slots__ = ()

    def number(self) -> int:
        """Find the number by the remainders: of the product, or else of its factors.

        Raises:
            Fork: the remainders differ within the domain.
            Undecided: there are too many.
        """
        trace, (dividend, divisor) = self.trace, self.arguments
        if trace.searching and self.function is operator.mod and self.is_simple():
            for rest, points in self.cases():
                if trace.settle(points):
                    return rest
        if trace.searching and self.is_simple():
            for case in division_cases(dividend.polynomial, divisor) or ():
                trace.settle(case)
        return super().number()

    def is_simple(self) -> bool:
        """Whether isl splits the domain by remainders quickly."""
        return self.trace.domain.n_basic_set() <= FEW_PARTS

    def cases(self) -> Iterator[tuple[int, isl.Set]]:
        """Find where the product has which remainder.

        Yields:
            Each remainder other than 0, and the sizes for which it is the one; none if they are
            many.
        """
        dividend, divisor = self.arguments
        if abs(divisor) <= MOST_REMAINDERS:
            for rest in range(1, abs(divisor)):
                points = where_divisible((dividend - rest).polynomial, abs(divisor))
                if points is not None:
                    yield (rest if divisor > 0 else rest + divisor), points


compat.register_number(Size, int)
compat.register_number(Divided, int)
compat.register_number(Real, float)
compat.register_number(OpaqueInt, int)


def sizes_of(trace: SymbolicTrace) -> dict[str, Size | int]:
    """Make the sizes of a run.

    Args:
        trace: the run.

    Returns:
        The size of each name of its domain; an int where the domain has one value for it.
    """
    ring = trace.ring
    return {name: Size.of(trace, ring.simplify(ring.formula(name), {})) for name in trace.names()}


def transfer(size: Size | int, trace: SymbolicTrace) -> Size | int:
    """Bring a size to another run.

    Args:
        size: a size of any run over the same names, or an int.
        trace: the run to bring it to. On fewer sizes than those of its own run, more is known.

    Returns:
        The same formula, as simple as it is on the domain of that run.
    """
    if isinstance(size, int):
        return size
    moved = trace.ring.transfer(size.polynomial)
    return Size.of(trace, trace.ring.simplify(moved.affine, moved.products))


def polynomial_of(size: Size | int, trace: SymbolicTrace) -> Polynomial:
    """Bring the formula of a size to the ring of a run, as it is.

    Args:
        size: a size of any run over the same names, or an int.
        trace: the run.

    Returns:
        The formula, not simplified.
    """
    ring = trace.ring
    return ring.transfer(size.polynomial) if isinstance(size, Size) else ring.number(size)


def value_at(size: Size | int, point: Mapping[str, int]) -> int:
    """Compute the number that a size is at a point.

    Args:
        size: a formula, or an int.
        point: a number for each name of the formula.

    Returns:
        The number.
    """
    return size.at(**point) if isinstance(size, Size) else size


def larger(a: Size | int, b: Size | int) -> Size | int:
    """Find the larger one of two sizes, either of which may be an int.

    Args:
        a: one size.
        b: the other one.

    Returns:
        The larger one, as a formula where it differs from size to size.
    """
    if isinstance(a, Size):
        return a.max(b)
    return b.max(a) if isinstance(b, Size) else max(a, b)


def equal(trace: SymbolicTrace, a: Size | int, b: Size | int) -> isl.Set:
    """Find where two sizes are equal.

    Args:
        trace: the run whose domain is considered.
        a: one size, of any run over the same names.
        b: the other one.

    Returns:
        The sizes for which they are.

    Raises:
        Undecided: that is not known.
    """
    points, exact = zeros(polynomial_of(a, trace) - polynomial_of(b, trace))
    if not exact:
        raise Undecided(f"whether {a} equals {b}")
    return points


def at_least_one(trace: SymbolicTrace, size: Size | int) -> isl.Set:
    """Find where a size is 1 or more.

    Args:
        trace: the run whose domain is considered.
        size: the size, of any run over the same names.

    Returns:
        The sizes for which it is.

    Raises:
        Undecided: that is not known.
    """
    ring = trace.ring
    if isinstance(size, int):
        return trace.domain if size >= 1 else ring.nowhere
    polynomial = polynomial_of(size, trace)

    def find() -> isl.Set | None:
        if not polynomial.products:
            return polynomial.affine.ge_set(ring.formula(1))
        points = ring.nowhere
        # Where no summand is less than 0, their sum is at least 1 where some summand is.
        for factors, k in polynomial.monomials().items():
            formulas = [factor.affine for factor in factors]
            least = [bounds(ring.domain, formula)[0] for formula in formulas]
            if k < 0 or any(low is None or low < 0 for low in least):
                return where_ordered(polynomial - ring.number(1), ">=")
            positive = (formula.ge_set(ring.formula(1)) for formula in formulas)
            points = points.union(functools.reduce(isl.Set.intersect, positive, ring.domain))
        return points

    points = ring.once(("at least one", polynomial.key()), find)
    if points is None:
        raise Undecided(f"whether {size} is at least 1")
    return points


def _extreme(
    a: Size, symbol: str, b: Size, of_formulas: Callable[[isl.PwAff, isl.PwAff], isl.PwAff]
) -> Size | int:
    """The one of two sizes that is in an order to the other."""
    if a.polynomial.products or b.polynomial.products:
        return Size.of(a.trace, (a if _compare(a, symbol, b) else b).polynomial)
    ring, one, other = a.trace.ring, a.polynomial, b.polynomial

    def find() -> Polynomial:
        is_first = RELATIONS[symbol].on_formulas
        for extreme, least in ((one, other), (other, one)):  # the same one for all sizes
            if ring.domain.is_subset(is_first(extreme.affine, least.affine)):
                return extreme
        return ring.simplify(of_formulas(one.affine, other.affine), {})

    return Size.of(a.trace, ring.once(("extreme", symbol, one.key(), other.key()), find))


def divide(a: Any, b: Any, cases: int = FEW_VALUES) -> tuple[Any, Any]:
    """Find the quotient and the remainder of two sizes, as Python rounds them: down.

    Args:
        a: the dividend, a size or an int.
        b: the divisor, a size.
        cases: how many values of the divisor, or of the quotient, are tried one by one.

    Returns:
        Both; opaque numbers where only is known that something remains.

    Raises:
        Fork: they are other formulas on a part of the domain, and the run searches.
        Undecided: they are not known.
        ZeroDivisionError: the divisor is 0.
    """
    if not isinstance(a, Size):
        a = Size(b.trace, b.trace.ring.number(a))
    number = b.polynomial.constant
    if number is not None:
        return _divide_by(a, number)
    zero, exact = zeros(b.polynomial)
    if not exact:
        raise a.trace.undecided(f"whether {b}, by which {a} is divided, is 0")
    if a.trace.settle(zero):
        raise ZeroDivisionError("a size is divided by zero.")
    canceled = a.polynomial.cancel(b.polynomial)
    if canceled is None and a.polynomial.products and a.trace.searching:
        canceled = _cancel_shared_factors(a, b)
    if canceled is not None:
        reduced, coefficient, factors = canceled
        quotient, part = _divide_by(Size(b.trace, reduced), coefficient)
        remainder = part * Size(b.trace, factors)
        if isinstance(part, Real) and part.sign:  # it is not 0, and has the sign of the divisor
            remainder = remainder.with_sign(1 if b > 0 else -1)
        return quotient, remainder
    dividend, divisor, shared = without_shared_factors(a.polynomial, b.polynomial)
    if shared.constant is None:  # factors of the divisor, which are not 0
        quotient, remainder = divide(Size(a.trace, dividend), Size(a.trace, divisor), cases)
        return quotient, remainder * Size(a.trace, shared)
    if b < 0:
        quotient, remainder = divide(-a, -b, cases)
        return quotient, -remainder
    return _divide_case_by_case(a, b, cases)


def _cancel_shared_factors(a: Size, b: Size) -> tuple[Polynomial, int, Polynomial] | None:
    """Cancel parts of factors that are multiples of one formula: h and h//2, where h is even.

    Raises:
        Fork: they are multiples on a part of the domain.
    """
    dividend, divisor = in_shared_factors(a.polynomial, b.polynomial)
    canceled = dividend.cancel(divisor)
    if canceled is None:
        for condition in where_floors_are_exact(b.polynomial):
            if not a.trace.settle(condition):
                break
    return canceled


def _divide_out(a: Size, b: Size) -> tuple[Any, Any] | None:
    """Divide by a positive size where the quotient is a polynomial and the rest has no products.

    Of a multiple of ``h + w``, the quotient by ``2*h + 2*w`` is half of that by ``h + w``.
    """
    divided = divide_out(a.polynomial, b.polynomial)
    if divided is None or divided.rest.products:
        return None
    whole, rest = Size.of(a.trace, divided.whole), Size.of(a.trace, divided.rest)
    part = b // divided.content
    for n in (0, 1, -1):
        if 0 <= rest + n * part < part:
            quotient, more = divmod(whole - n, divided.content)
            return quotient, more * part + rest + n * part
    return None


def _divide_case_by_case(a: Size, b: Size, cases: int) -> tuple[Any, Any]:
    """Divide by a positive size that takes few values, or whose quotient does."""
    low, high = b.bounds()
    if low is not None and high is not None and high - low < cases:
        return _divide_by(a, _largest_where(low, high, lambda n: b >= n))
    divided = _divide_out(a, b)
    if divided is not None:
        return divided
    number = a.polynomial.constant
    has_products = a.polynomial.products or b.polynomial.products
    most = cases if has_products else max(cases, MOST_QUOTIENTS)
    largest, squares = LARGEST_LIKELY, _squares_of_many_quotients(a, b, most)
    if squares is not None:  # their quotients are one formula
        a.trace.settle(squares)
        largest = 1
    # A number has few quotients; two sizes may have few, too: (h + 4)//h.
    if number is not None and 0 <= number <= LARGEST_DIVIDEND:
        quotients = {0, *(number // n for n in range(1, number + 1))}
    else:  # those of some sizes, small ones and large ones
        domain = SizeSet(a.trace.domain)
        wished = ({n: size + i for i, n in enumerate(domain.names)} for size in (1, 5, 50, 9999))
        points = [domain.nearest(point) for point in wished]
        values = ((a.at(**point), b.at(**point)) for point in points)
        quotients = {i // j for i, j in values if j > 0 and abs(i // j) <= largest}
    for quotient in sorted(quotients):
        if quotient * b <= a < (quotient + 1) * b:
            return quotient, a - quotient * b
    if (ends := _range_of_quotient(a, b)) is not None and ends[1] - ends[0] < most:
        quotient = _largest_where(*ends, lambda n: a >= n * b)
        return quotient, a - quotient * b
    line = likely_quotient(a.polynomial, b.polynomial)
    if line is not None:
        quotient = Size.of(a.trace, line)
        if quotient * b <= a < (quotient + 1) * b:
            return quotient, a - quotient * b
    _fork_on_few_values(a.trace, a.polynomial)
    raise a.trace.undecided(f"{a} divided by {b} is not a formula")


def _squares_of_many_quotients(a: Size, b: Size, most: int) -> isl.Set | None:
    """Where two sizes are equal whose formulas have more quotients than are tried, as h//w has."""
    one, other = only_size(a.polynomial), only_size(b.polynomial)
    if one is None or other is None or one.plain_is_equal(other):
        return None
    ends = _range_of_quotient(a, b)
    return one.eq_set(other) if ends is None or ends[1] - ends[0] >= most else None


def _largest_where(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The largest number for which a condition holds; forks the run where that takes several."""
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low


def _range_of_quotient(a: Size, b: Size) -> tuple[int, int] | None:
    """The least and the largest quotient by a positive divisor, or numbers below and above."""
    if not (a.polynomial.products or b.polynomial.products):
        ring, one, other = a.trace.ring, a.polynomial.affine, b.polynomial.affine

        def is_always(symbol: str, number: int) -> bool:
            multiple = other.scale_val(integer(number))
            return ring.domain.is_subset(RELATIONS[symbol].on_formulas(one, multiple))

        numbers = range(-LARGEST_QUOTIENT, LARGEST_QUOTIENT + 1)
        above = bisect.bisect_left(numbers, True, key=lambda n: not is_always(">=", n))
        high = bisect.bisect_left(numbers, True, key=lambda n: is_always("<", n))
        if above > 0 and high < len(numbers):
            return numbers[above - 1], numbers[high] - 1
    (least, most), (small, large) = a.bounds(), b.bounds()
    if least is None or most is None or small is None or small < 1:
        return None
    at_largest = [-(n < 0) if large is None else n // large for n in (least, most)]
    return min(least // small, at_largest[0]), max(most // small, at_largest[1])


def _fork_on_few_values(trace: SymbolicTrace, polynomial: Polynomial) -> None:
    """Fork a run where a factor of a product takes few values, as a remainder does.

    ``(h % 7)*(h//7 + 1)``, of which little is known as a product, is then a formula.

    Args:
        trace: the run.
        polynomial: what a question is about that is not decided.

    Raises:
        Fork: there is such a factor, and the run searches.
    """
    factors = dict.fromkeys(factor for product in polynomial.products for factor in product)
    for factor in factors if trace.searching else ():
        low, high = bounds(trace.domain, factor.affine)
        if low is not None and high is not None and high - low < FEW_VALUES:
            for value in range(low, high):
                trace.settle(factor.affine.eq_set(trace.ring.formula(value)))


def _divide_by(a: Size, number: int) -> tuple[Any, Any]:
    """Divide by a number; a product of sizes where it is a multiple of the number."""
    trace, dividend = a.trace, a.polynomial
    divided = dividend.divide(number)
    if divided is None:
        for condition in steps_to_divisibility(dividend, number):
            trace.settle(condition)
        multiple = where_divisible(dividend, number)
        if multiple is None:
            _fork_on_few_values(trace, dividend)
            raise trace.undecided(f"{a} divided by {number} is not a formula")
        if not trace.settle(multiple):  # then only this is known of the quotient and the remainder
            quotient = Divided(trace, operator.floordiv, (a, number), None)
            remainder = Divided(trace, operator.mod, (a, number), None)
            cases = remainder.cases() if remainder.is_simple() else ()
            rest = next((n for n, points in cases if trace.ring.decides(points)), None)
            if rest is not None:
                return _divide_by(a - rest, number)[0], rest
            return quotient, remainder.with_sign(1 if number > 0 else -1)
        for case in division_cases(dividend, number) or ():
            if trace.settle(case):
                break
        divided = dividend.divide(number)
        if divided is None:
            raise trace.undecided(f"{a} divided by {number} is not a formula")
    return Size.of(trace, divided[0]), Size.of(trace, divided[1])


def _note_overflow(size: Size) -> None:
    """Note for which sizes a number does not fit."""
    trace, ring = size.trace, size.trace.ring
    large, safe = _overflow_of(size)
    sides = (ring.formula(name).le_set(ring.formula(LARGEST_SIDE)) for name in trace.names())
    overflow = functools.reduce(isl.Set.intersect, sides, trace.domain.intersect(large))
    if not overflow.is_empty():
        trace.overflows.append(Overflow(overflow, safe.intersect(trace.domain)))


def _overflow_of(size: Size) -> tuple[isl.Set, isl.Set]:
    """Some sizes for which a number does not fit in 32 bits, and some for which it does."""
    ring, affine, products = size.trace.ring, size.polynomial.affine, size.polynomial.products
    if not products:
        safe = _within(ring, affine, LARGEST_NUMBER)
        return safe.complement(), safe
    is_alone = _is_monomial(size.polynomial)
    large, safe = ring.domain, ring.domain
    if not is_alone:  # half of the largest number is left for the affine part
        safe = safe.intersect(_within(ring, affine, LARGEST_NUMBER // 2))
        large, names, domain = ring.nowhere, size.trace.names(), SizeSet(size.trace.domain)
        for sides in itertools.product((1, LARGEST_SIDE), repeat=len(names)):
            corner = domain.nearest(dict(zip(names, sides, strict=True)))
            if abs(size.at(**corner)) > LARGEST_NUMBER:
                text = " and ".join(f"{name} = {side}" for name, side in corner.items())
                large = large.union(SizeSet.parse(names, text).points)
    for product, k in products.items():
        # Where each factor is above this root the product is too large; where none is, it fits.
        most = LARGEST_NUMBER // (abs(k) if is_alone else 2 * abs(k) * len(products))
        root = bisect.bisect_right(range(most + 1), most, key=lambda n: n ** len(product)) - 1
        for factor in product:
            small = _within(ring, factor.affine, root)
            safe = safe.intersect(small)
            large = large.subtract(small) if is_alone else large
    return large, safe


def _is_monomial(polynomial: Polynomial) -> bool:
    """Whether a polynomial is affine, or one product."""
    products = len(polynomial.products)
    return products == 0 or (products == 1 and constant_of(polynomial.affine) == 0)


def _within(ring: PolynomialRing, affine: isl.PwAff, limit: int) -> isl.Set:
    """Where a formula is from minus a number to the number."""
    low, high = (ring.formula(n) for n in (-limit, limit))
    return affine.ge_set(low).intersect(affine.le_set(high))


def _order(a: Size, symbol: str, relation: Callable[[Any, Any], bool], b: Any) -> Any:
    answer = _binary(lambda one, other: _compare(one, symbol, other))(a, b)
    return compare(relation, a, b) if answer is NotImplemented else answer


def _compare(a: Size, symbol: str, b: Size) -> bool:
    """Decide an order, such as ``a < b``."""
    trace, difference = a.trace, a.polynomial - b.polynomial
    relation = RELATIONS[symbol]
    if difference.constant is not None:
        return relation.on_ints(difference.constant, 0)
    if trace.searching:
        from jaxconv.symbolic.while_loops import skip_turns

        holds = skip_turns(trace)
        if holds is not None:
            return holds
    condition = where_ordered(difference, symbol)
    if condition is not None:
        return trace.settle(condition)
    _fork_on_few_values(trace, difference)
    raise trace.undecided(f"{a} {symbol} {b} is not decided for a product of sizes")


@_binary
def _equals(a: Size, b: Size) -> bool:
    trace, difference = a.trace, a.polynomial - b.polynomial
    if difference.constant is not None:
        return difference.constant == 0
    points, exact = zeros(difference)
    if not exact and not trace.ring.decides(points):
        _fork_on_few_values(trace, difference)
        question = f"whether {a} equals {b}"
        trace.unknowns.append(question)
        _, is_branch = comparison_site()
        if is_branch:
            raise trace.undecided(question)
    if trace.ring.decides(points) is None:
        _, is_branch = comparison_site()
        if is_branch and is_unequal_anyway(caller()):
            return False
    return trace.settle(points, difference)
