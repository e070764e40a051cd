"""JAX's symbolic dimensions, decided by isl over a set of sizes while a program is exported.

``jax.export`` traces with dimensions of its own, and refuses what it cannot decide about them: that
the ceilings of two divisions are equal, for example. Here each dimension is translated into a
:class:`~jaxconv.symbolic.size.Size` over the sizes for which the program is exported. Dimensions
that are equal for all of these sizes become the same object, and constant ones become numbers.
"""

import functools
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import islpy as isl

from jaxconv.compat import dimension_constraints, dimension_terms
from jaxconv.source import current_call_sites, origin
from jaxconv.symbolic.constraints import ISL_OPERATIONS
from jaxconv.symbolic.equality import zeros
from jaxconv.symbolic.factoring import in_shared_factors
from jaxconv.symbolic.order import where_ordered
from jaxconv.symbolic.polynomials import Polynomial
from jaxconv.symbolic.sets import SizeSet, bounded
from jaxconv.symbolic.size import Size, polynomial_of, sizes_of
from jaxconv.symbolic.spec_errors import SpecError
from jaxconv.symbolic.specs import parse_formula
from jaxconv.symbolic.trace import SymbolicTrace, Undecided

SPREAD = ((1, 0), (3, 4), (37, 14), (211, 90), (997, 331))  # sizes at which dimensions are computed


class BranchError(TypeError):
    """Code compares a dimension in a way that differs from size to size."""


class DecidedDimensions:
    """Answers what JAX asks about its dimensions, for one set of sizes.

    Attributes:
        trace: the sizes; questions that differ within them are not answered.
        branches: sentences on comparisons of the user's code that differ within them.
        is_users_code: whether code outside JAX that compares dimensions is the user's.

    Args:
        sizes: the set.
        dimensions: what stands for each name in JAX.
    """

    def __init__(self, sizes: SizeSet, dimensions: Mapping[str, Any]) -> None:
        self._dimensions = dimensions
        self.trace = SymbolicTrace(sizes.points, searching=False)
        self.branches: list[str] = []
        self.is_users_code = True
        self._sizes = sizes_of(self.trace)
        self._translated: dict[str, Size | int | None] = {}
        self._by_values: dict[tuple[int, ...], list[Any]] = {}  # dimensions that were met
        self._points = [
            sizes.nearest({name: first + step * i for i, name in enumerate(sizes.names)})
            for first, step in SPREAD
        ]

    def simplify(self, dimension: Any) -> Any:
        """An int where a dimension is constant, else the same for equal dimensions.

        Only dimensions that have the same values at a few points are compared exactly.

        Args:
            dimension: of JAX.
        """
        try:
            values = tuple(translated(dimension, point) for point in self._points)
        except (KeyError, ZeroDivisionError):
            return dimension
        if len(set(values)) == 1 and self.is_same(dimension, values[0]):
            return values[0]
        alike = self._by_values.setdefault(values, [])
        for known in alike:
            size = self.size_of(dimension)
            is_known = str(known) == str(dimension)
            if is_known or (size is not None and self.is_same(known, size)):
                return known
        simple = self._without_division(dimension)
        alike.append(simple)
        return simple

    def _without_division(self, dimension: Any) -> Any:
        """The formula of a quotient of dimensions, such as 6*w for 3*h*w//(h//2) where h is even.

        For sizes that are refused its divisor may be 0, which would end the process that computes
        it before JAX refuses them.
        """
        size = self.size_of(dimension)
        factors = [factor for _, product in dimension_terms(dimension) for factor, _ in product]
        operations = [factor for factor in factors if not isinstance(factor, str)]
        divisors = [of[1] for operation, of in operations if operation in ("floordiv", "mod")]
        is_quotient = any(not isinstance(self.size_of(divisor), int) for divisor in divisors)
        if not isinstance(size, Size) or not is_quotient:
            return dimension
        try:
            formula = parse_formula(str(size), str(size)).value(self._dimensions)
        except SpecError:
            return dimension
        return formula if self.is_same(formula, size) else dimension

    def bounds(self, dimension: Any) -> tuple[float, float] | None:
        """The least and the largest value, or infinite; None where they are not known.

        Args:
            dimension: of JAX.
        """
        size = self.size_of(dimension)
        if not isinstance(size, Size):
            return None if size is None else (size, size)
        low, high = size.bounds()
        low, high = -math.inf if low is None else low, math.inf if high is None else high
        if not size.polynomial.products:
            return low, high
        if self._holds(size.polynomial, ">="):
            return max(low, 0), high
        if self._holds(size.polynomial, "<"):
            return low, min(high, -1)
        return (low, min(high, 0)) if self._holds(size.polynomial, "<=") else None

    def is_branch_equal(self, difference: Any) -> bool:
        """Whether code outside JAX takes a dimension for 0.

        Args:
            difference: of JAX, not constant.

        Raises:
            BranchError: it is 0 for some of the sizes only, or that is not known.
        """
        size = self.size_of(difference)
        if isinstance(size, int):
            return size == 0
        if size is not None:
            points, exact = zeros(size.polynomial)
            if exact and (decided := self.trace.ring.decides(points)) is not None:
                return decided
        if not self.is_users_code:  # but a converter's, which takes it as JAX does
            return False
        question = f"whether {difference} is 0 differs from size to size"
        line = origin(current_call_sites())
        self.branches.append(f"{question}, at {line}" if str(line) else question)
        raise BranchError(self.branches[-1])

    def size_of(self, dimension: Any) -> Size | int | None:
        """Translate a dimension.

        Args:
            dimension: of JAX, or an int.

        Returns:
            The same formula; None where it has none, or names of other sizes.
        """
        if isinstance(dimension, int):
            return dimension
        key = str(dimension)  # a lookup by the dimension itself would compare it with others
        if key not in self._translated:
            try:
                self._translated[key] = translated(dimension, self._sizes)
            except (Undecided, KeyError, ZeroDivisionError):
                self._translated[key] = None
        return self._translated[key]

    def is_same(self, dimension: Any, size: Size | int) -> bool:
        """Whether a dimension is a size of another trace, for all sizes of this one.

        Args:
            dimension: of JAX, or an int.
            size: of any trace over the same names.
        """
        ours = self.size_of(dimension)
        if ours is None:
            return False
        difference = polynomial_of(ours, self.trace) - polynomial_of(size, self.trace)
        points, exact = zeros(difference)
        return exact and self.trace.domain.is_subset(points)

    def _holds(self, difference: Polynomial, symbol: str) -> bool:
        points = where_ordered(difference, symbol)
        return points is not None and self.trace.domain.is_subset(points)


def translated(dimension: Any, sizes: Mapping[str, Size | int]) -> Any:
    """Translate a dimension of JAX into a formula of sizes.

    Args:
        dimension: the dimension, or an int.
        sizes: of each name.

    Returns:
        The formula, or an int.

    Raises:
        KeyError: it has another name.
        Undecided: a division has no formula.
    """
    if isinstance(dimension, int):
        return dimension
    total: Any = 0
    for coefficient, factors in dimension_terms(dimension):
        product: Any = coefficient
        for factor, exponent in factors:
            if isinstance(factor, str):
                value = sizes[factor]
            else:
                operation, operands = factor
                value = OPERATIONS[operation](*(translated(one, sizes) for one in operands))
            product = product * math.prod([value] * exponent)
        total = total + product
    return total


def _extreme(name: str) -> Callable[[Any, Any], Any]:
    """The larger or the smaller one of two sizes as a formula, without a comparison."""
    of_ints = {"max": max, "min": min}[name]

    def extreme(one: Any, other: Any) -> Any:
        if isinstance(one, Size):
            return getattr(one, name)(other)
        return getattr(other, name)(one) if isinstance(other, Size) else of_ints(one, other)

    return extreme


def _divided(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A quotient or a remainder, of sizes whose factors may be multiples of each other's: h//2."""

    def divided(one: Any, other: Any) -> Any:
        if isinstance(one, Size) and isinstance(other, Size):
            alike = in_shared_factors(one.polynomial, other.polynomial)
            one, other = (Size.of(one.trace, polynomial) for polynomial in alike)
        return operation(one, other)

    return divided


OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "floordiv": _divided(operator.floordiv),
    "mod": _divided(operator.mod),
    "max": _extreme("max"),
    "min": _extreme("min"),
}


def constraints_are(sizes: SizeSet, dimension: Any) -> bool:
    """Whether the constraints of a dimension's scope, as JAX has read them, describe a set.

    Args:
        sizes: the set.
        dimension: of JAX.

    Returns:
        Whether they allow exactly these sizes.

    Raises:
        Undecided: a constraint has no formula, or they have too many cases.
    """
    every = SizeSet.parse(sizes.names).points
    trace = SymbolicTrace(every, searching=False)
    formulas = sizes_of(trace)

    def where(relation: Callable[[isl.PwAff, isl.PwAff], isl.Set], difference: Any) -> isl.Set:
        polynomial = polynomial_of(translated(difference, formulas), trace)
        if polynomial.products:
            raise Undecided(f"where {difference} is 0")
        return relation(polynomial.affine, trace.ring.formula(0))

    try:
        with bounded(ISL_OPERATIONS):
            others = every.subtract(sizes.points)  # that no constraint yet refuses
            for is_equality, difference in dimension_constraints(dimension):
                if is_equality:
                    allowed = where(isl.PwAff.eq_set, difference)
                else:
                    cases = [where(isl.PwAff.ge_set, one) for one in _cases(difference)]
                    allowed = functools.reduce(isl.Set.union, cases)
                if not sizes.points.is_subset(allowed):
                    return False
                others = others.intersect(allowed).coalesce()
            return others.is_empty()
    except isl.Error as error:
        raise Undecided("what all constraints allow") from error


def _cases(dimension: Any) -> list[Any]:
    """Dimensions, one of which is at least 0 where another one is.

    Those of ``max(a, b)`` are a and b, and those of ``max(a, 0) + max(b, 0) - 1`` are a - 1 and
    b - 1. The formula of such a sum has a piece for each subset of them.
    """
    constant, operands = 0, []
    for coefficient, product in dimension_terms(dimension):
        match product:
            case []:
                constant = coefficient
            case [(("max", pair), 1)] if coefficient == 1:
                operands.append(pair)
            case _:
                return [dimension]
    if constant == 0 and len(operands) == 1:
        return [*operands[0]]
    if constant == -1 and all(str(other) == "0" for _, other in operands):
        return [one - 1 for one, _ in operands]
    return [dimension]
