"""Sizes that are known only as formulas: integers that isl decides about.

The arithmetic of shapes is quasi-affine: sums, constants, floor division, remainders, min and max.
Equality and order of such formulas are decidable (Presburger), and isl, the integer set library of
polyhedral compilers, decides them (Verdoolaege, "isl: An integer set library for the polyhedral
model", 2010). Products of sizes, as a flatten makes them, are kept as products of whole factors and
compared factor by factor.

A :class:`Size` lives in a :class:`~jaxconv.symbolic.trace.SymbolicTrace`: one run of a function for
all sizes of a domain at once.
"""

import functools
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import islpy as isl

from jaxconv import compat
from jaxconv.source import current_call_sites, is_inside_library
from jaxconv.symbolic.equality import zeros
from jaxconv.symbolic.polynomials import Polynomial
from jaxconv.symbolic.sets import RELATIONS, SizeSet, bounds
from jaxconv.symbolic.trace import SymbolicTrace, Undecided, caller, comparison_site

FEW_VALUES = 8  # values that a size may take, to be tried one by one where a number is needed


def _binary(method: Callable[["Size", "Size"], Any]) -> Callable[["Size", Any], Any]:
    """Let a method of two sizes take an int as the second one."""

    @functools.wraps(method)
    def operation(self: "Size", other: Any) -> Any:
        if not isinstance(other, Size):
            try:
                number = operator.index(other)
            except TypeError:
                return NotImplemented
            other = Size(self.trace, self.trace.ring.number(number))
        return method(self, other)

    return operation


class Size:
    """An integer of at least one size, known as a formula: ``h``, ``(h + 7)//8``, ``512*h*w``.

    :func:`sizes` makes them. They add, multiply, divide and compare as ints do.
    """

    __slots__ = ("polynomial", "trace")
    __array_priority__ = 1000  # so that NumPy leaves the arithmetic to us

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

    @_binary
    def __add__(self, other: "Size") -> "Size | int":
        return Size.of(self.trace, self.polynomial + other.polynomial)

    __radd__ = __add__

    @_binary
    def __sub__(self, other: "Size") -> "Size | int":
        return Size.of(self.trace, self.polynomial - other.polynomial)

    @_binary
    def __rsub__(self, other: "Size") -> "Size | int":
        return Size.of(self.trace, other.polynomial - self.polynomial)

    @_binary
    def __mul__(self, other: "Size") -> "Size | int":
        return Size.of(self.trace, self.polynomial * other.polynomial)

    __rmul__ = __mul__

    @_binary
    def __floordiv__(self, other: "Size") -> "Size | int":
        return _divide(self, other)[0]

    @_binary
    def __rfloordiv__(self, other: "Size") -> "Size | int":
        return _divide(other, self)[0]

    @_binary
    def __mod__(self, other: "Size") -> "Size | int":
        return _divide(self, other)[1]

    @_binary
    def __rmod__(self, other: "Size") -> "Size | int":
        return _divide(other, self)[1]

    @_binary
    def __divmod__(self, other: "Size") -> "tuple[Size | int, Size | int]":
        return _divide(self, other)

    @_binary
    def __rdivmod__(self, other: "Size") -> "tuple[Size | int, Size | int]":
        return _divide(other, self)

    @_binary
    def max(self, other: "Size") -> "Size | int":
        """Find the larger one of two sizes.

        Args:
            other: the other one, a size or an int.

        Returns:
            The larger one, as a formula where it differs from size to size.
        """
        if self.polynomial.products or other.polynomial.products:
            larger = self if _compare(self, ">=", other) else other
            return Size.of(self.trace, larger.polynomial)
        largest = self.polynomial.affine.max(other.polynomial.affine)
        return Size.of(self.trace, self.trace.ring.simplify(largest, {}))

    @_binary
    def min(self, other: "Size") -> "Size | int":
        """Find the smaller one of two sizes.

        Args:
            other: the other one, a size or an int.

        Returns:
            The smaller one, as a formula where it differs from size to size.
        """
        if self.polynomial.products or other.polynomial.products:
            smaller = self if _compare(self, "<=", other) else other
            return Size.of(self.trace, smaller.polynomial)
        smallest = self.polynomial.affine.min(other.polynomial.affine)
        return Size.of(self.trace, self.trace.ring.simplify(smallest, {}))

    rmax, rmin = max, min  # noqa: A003 - these are the methods above

    def __abs__(self) -> Any:
        return self.max(-self)

    def __and__(self, mask: int) -> Any:
        if mask < 0 or mask & (mask + 1):
            raise self.trace.undecided(f"{self} & {mask} is not a formula")
        return self % (mask + 1)

    def __rshift__(self, bits: int) -> Any:
        return self // 2**bits

    def __lshift__(self, bits: int) -> Any:
        return self * 2**bits

    def __round__(self) -> "Size":
        return self

    __floor__ = __ceil__ = __trunc__ = __round__

    # Comparisons.

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Size) and other.trace is not self.trace:
            return False
        answer = _equals(self, other)
        return False if answer is NotImplemented else answer

    def __ne__(self, other: object) -> bool:
        return not self == other

    @_binary
    def __lt__(self, other: "Size") -> bool:
        return _compare(self, "<", other)

    @_binary
    def __le__(self, other: "Size") -> bool:
        return _compare(self, "<=", other)

    @_binary
    def __gt__(self, other: "Size") -> bool:
        return _compare(self, ">", other)

    @_binary
    def __ge__(self, other: "Size") -> bool:
        return _compare(self, ">=", other)

    def __bool__(self) -> bool:
        return self != 0

    def __hash__(self) -> int:
        code = caller().f_code
        if compat.hashes_for_cache(code):
            return hash((id(self.trace), self.polynomial.key()))
        if not is_inside_library(code.co_filename):
            raise self.trace.undecided(f"the code looks {self} up in a set or a dict")
        return hash(id(self.trace))  # the same for all, so that a set of sizes compares them

    # Numbers.

    def __index__(self) -> int:
        code = caller().f_code
        if compat.asks_for_new_array(code):
            self.trace.array_sizes.append((self, current_call_sites()))
            raise TypeError(f"{self} is symbolic")
        if compat.asks_if_constant(code):
            raise TypeError(f"{self} is symbolic")
        trace, affine = self.trace, self.polynomial.affine
        low, high = (None, None) if self.polynomial.products else bounds(trace.domain, affine)
        if low is None or high is None or high - low >= FEW_VALUES:
            raise self._no_number()
        for value in range(low, high + 1):
            if trace.settle(affine.eq_set(trace.ring.formula(value))):
                return value
        raise AssertionError(f"{self} takes none of its values")

    __int__ = __index__

    def __float__(self) -> float:
        raise self._no_number()

    def _no_number(self) -> Undecided:
        return self.trace.undecided(f"the code needs {self} as a number")

    def dimension_as_value(self) -> Any:
        """What JAX computes with where a size is used as a number: any, unknown while tracing."""
        from jax import lax, numpy

        value = lax.optimization_barrier(numpy.int32(1))  # constant folding does not look behind it
        if not isinstance(value, compat.Tracer):
            raise self._no_number()
        return value

    __jax_array__ = dimension_as_value

    def __truediv__(self, other: Any) -> Any:
        return self.dimension_as_value() / other

    def __rtruediv__(self, other: Any) -> Any:
        return other / self.dimension_as_value()

    def __pow__(self, other: Any) -> Any:
        if isinstance(other, int) and other >= 0:
            return math.prod([self] * other)
        return self.dimension_as_value() ** other

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

    def __format__(self, spec: str) -> str:
        return str(self)

    def __str__(self) -> str:
        return str(self.polynomial)

    __repr__ = __str__


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
    if isinstance(size, int):
        return trace.domain if size >= 1 else trace.ring.nowhere
    polynomial = polynomial_of(size, trace)
    if not polynomial.products:
        return polynomial.affine.ge_set(trace.ring.formula(1))
    low, high = polynomial.bounds()
    if low >= 1:
        return trace.domain
    if high < 1:
        return trace.ring.nowhere
    raise Undecided(f"whether {size} is at least 1")


def _divide(a: Size, b: Size) -> tuple[Size | int, Size | int]:
    """Quotient and remainder, as Python rounds them: down."""
    number = b.polynomial.constant
    if number is not None:
        quotient, remainder = _divide_by(a.trace, a.polynomial, number)
        return Size.of(a.trace, quotient), Size.of(a.trace, remainder)
    zero, exact = zeros(b.polynomial)
    if not exact:
        raise a.trace.undecided(f"whether {b}, by which {a} is divided, is 0")
    if a.trace.settle(zero):
        raise ZeroDivisionError("a size is divided by zero.")
    canceled = a.polynomial.cancel(b.polynomial)
    if canceled is not None:
        reduced, coefficient, factors = canceled
        quotient, remainder = _divide_by(a.trace, reduced, coefficient)
        return Size.of(a.trace, quotient), Size.of(a.trace, remainder * factors)
    number = a.polynomial.constant
    if number is None:
        raise a.trace.undecided(f"{a} divided by {b} is not a formula")
    # A larger size divides a number 0 times, or -1 times.
    if number >= 0 and b > number:
        return 0, number
    if number < 0 and b >= -number:
        return -1, b + number
    return divmod(number, b.__index__())


def _divide_by(
    trace: SymbolicTrace, dividend: Polynomial, number: int
) -> tuple[Polynomial, Polynomial]:
    divided = dividend.divide(number)
    if divided is None:
        raise trace.undecided(f"{dividend} divided by {number} is not a formula")
    return divided


def _compare(a: Size, symbol: str, b: Size) -> bool:
    """Decide an order, such as ``a < b``."""
    trace, difference = a.trace, a.polynomial - b.polynomial
    relation = RELATIONS[symbol]
    if difference.constant is not None:
        return relation.on_ints(difference.constant, 0)
    if not difference.products:
        return trace.settle(relation.on_formulas(difference.affine, trace.ring.formula(0)))
    answers = {relation.on_ints(bound, 0) for bound in difference.bounds()}
    if len(answers) == 1:
        return answers.pop()
    raise trace.undecided(f"{a} {symbol} {b} is not decided for a product of sizes")


@_binary
def _equals(a: Size, b: Size) -> bool:
    trace, difference = a.trace, a.polynomial - b.polynomial
    if difference.constant is not None:
        return difference.constant == 0
    points, exact = zeros(difference)
    if not exact and not trace.domain.is_subset(points):
        question = f"whether {a} equals {b}"
        trace.unknowns.append(question)
        _, is_branch = comparison_site()
        if is_branch:
            raise trace.undecided(question)
    return trace.settle(points, difference)
