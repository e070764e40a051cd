"""Where a polynomial of one size is less than 0, 0, or more: exactly, for every size.

Let all formulas in a polynomial depend on one size n only, as in ``n*n - 28*(n//4)``. For the sizes
with one remainder by a suitable number, and from some size on, each formula is a line. The
polynomial is then one in the usual sense, and its signs follow from its differences: where
``p(n + 1) - p(n)`` does not change its sign, p is monotone, and bisection finds where it changes
its own.
"""

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

import islpy as isl

from jaxconv.symbolic.polynomials import Polynomial, PolynomialRing
from jaxconv.symbolic.sets import RELATIONS, bounds, integer
from jaxconv.symbolic.sums import DIV, PARAM

LONGEST_PERIOD = 64  # of the floors of the formulas
MOST_RUNS = 8  # of remainders for which a polynomial has a sign: isl is slow with more
MOST_VALUES = 512  # of a size, that are examined one by one before the formulas are lines
LARGE = 2**40  # a size from which on formulas are taken for lines, before this is proven
POINTS_OF_LINE = 5  # through which a line goes that may be a quotient
FEW_SIZES = 32  # whose quotients are found one by one


class _TooManyValuesError(Exception):
    """The formulas are not lines, or only beyond many sizes."""


def where_ordered_in_one_size(difference: Polynomial, symbol: str) -> isl.Set | None:
    """Find where a polynomial of one size is less than 0, or 0, and so on.

    Args:
        difference: the polynomial, such as the difference of two sizes.
        symbol: the order, one of ``< <= == >= >``, between the polynomial and 0.

    Returns:
        The sizes of the ring's domain for which it holds; None for a polynomial of several sizes,
        or of formulas that take too many cases.
    """
    ring, domain, size = difference.ring, difference.ring.domain, only_size(difference)
    formulas = _formulas(difference)
    period = math.lcm(*(number for formula in formulas for number in _denominators(formula)))
    if size is None or period > LONGEST_PERIOD:
        return None
    signs: dict[int, list[tuple[int, int]]] = {}
    try:
        for rest in range(period):
            points = size.mod_val(integer(period)).eq_set(ring.formula(rest)).intersect(domain)
            if not points.is_empty():
                signs[rest] = _signs(difference, _Class(ring, size, points, period))
        holds = _where(ring, size, period, signs, symbol)
    except _TooManyValuesError:
        return None
    return holds.intersect(domain).coalesce()


def likely_quotient(dividend: Polynomial, divisor: Polynomial) -> Polynomial | None:
    """Find a line that is the quotient of two polynomials of one size, at least for one size.

    ``n*n`` divided by ``(n + 1)//2`` is ``2*n - 2`` for even n, and ``2*n - 1`` for odd n above 1.

    Args:
        dividend: the dividend.
        divisor: another polynomial of its ring, positive on the domain.

    Returns:
        The quotient for a large size and others near it; for one size, where the domain has few.
        None for polynomials of several sizes, or whose quotient is no line.
    """
    ring, size = dividend.ring, only_size(dividend, divisor)
    if size is None:
        return None

    @functools.cache
    def quotient_at(number: int) -> int | None:
        point = size.eq_set(ring.formula(number))
        values = [] if point.is_disjoint(ring.domain) else [dividend, divisor]
        numbers = [_value_of(polynomial, point) for polynomial in values]
        return numbers[0] // numbers[1] if numbers else None

    large = ring.domain.intersect(size.ge_set(ring.formula(LARGE)))
    start, _ = bounds(large, size)
    if start is None:
        low, high = bounds(ring.domain, size)
        is_few = low is not None and high is not None and high - low < FEW_SIZES
        number = quotient_at(low) if is_few else None
        return None if number is None else ring.number(number)
    for step in range(1, LONGEST_PERIOD + 1):
        values = [quotient_at(start + step * i) for i in range(POINTS_OF_LINE)]
        known = [value for value in values if value is not None]
        growths = {after - before for before, after in itertools.pairwise(known)}
        if len(known) == POINTS_OF_LINE and len(growths) == 1:
            slope = Fraction(growths.pop(), step)
            offset = slope.denominator * known[0] - slope.numerator * start
            line = size.scale_val(integer(slope.numerator)).add(ring.formula(offset))
            return ring.simplify(line.scale_down_val(integer(slope.denominator)).floor(), {})
    return None


def _formulas(*polynomials: Polynomial) -> list[isl.PwAff]:
    """The affine parts of polynomials, and the factors of their products."""
    products = [factors for one in polynomials for factors in one.products]
    factors = dict.fromkeys(factor for factors in products for factor in factors)
    return [*(one.affine for one in polynomials), *(factor.affine for factor in factors)]


def only_size(*polynomials: Polynomial) -> isl.PwAff | None:
    """Find the one size on which polynomials depend.

    Args:
        *polynomials: polynomials of one ring.

    Returns:
        The size as a formula; None where there are several, or there is none.
    """
    ring, formulas = polynomials[0].ring, _formulas(*polynomials)
    names = [
        ring.domain.get_dim_name(PARAM, i)
        for i in range(ring.domain.dim(PARAM))
        if any(formula.involves_dims(PARAM, i, 1) for formula in formulas)
    ]
    return ring.formula(names[0]) if len(names) == 1 else None


def _denominators(formula: isl.PwAff) -> Iterator[int]:
    """The numbers by which floors in a formula divide, and in the conditions of its pieces."""
    for points, aff in formula.get_pieces():
        parts = [aff, *points.get_basic_sets()]
        for part in parts:
            for i in range(part.dim(DIV)):
                yield part.get_div(i).get_denominator_val().to_python()


class _Class(NamedTuple):
    """The sizes of one remainder.

    Attributes:
        ring: the ring of the polynomial.
        size: the formula of the size itself.
        points: the sizes.
        period: the number whose remainder they have.
    """

    ring: PolynomialRing
    size: isl.PwAff
    points: isl.Set
    period: int


def _signs(polynomial: Polynomial, sizes: _Class) -> list[tuple[int, int]]:
    """The signs of a polynomial for the sizes of one remainder: from which size on it is which."""
    affine, products = polynomial.affine, polynomial.products
    factors = dict.fromkeys(factor for product in products for factor in product)
    lines = {factor: _line(factor.affine, sizes) for factor in factors}
    base = _line(affine, sizes)
    start = max(line.first for line in (base, *lines.values()))
    signs = []
    rest = sizes.points.intersect(sizes.size.lt_set(sizes.ring.formula(start)))
    for value, point in _each(rest, sizes):
        signs.append((value, _sign(_value_of(polynomial, point))))
    degree = max(map(len, products), default=1)
    values = [
        base.at(n) + sum(k * math.prod(lines[f].at(n) for f in fs) for fs, k in products.items())
        for n in range(start, start + (degree + 1) * sizes.period, sizes.period)
    ]
    for steps, sign in _signs_of_differences(_differences(values)):
        signs.append((start + steps * sizes.period, sign))
    return signs


class _Line(NamedTuple):
    """A formula that is linear from a size on.

    Attributes:
        slope: by how much it grows with the size.
        offset: its value at 0.
        first: the size.
    """

    slope: Fraction
    offset: Fraction
    first: int

    def at(self, size: int) -> Fraction:
        return self.slope * size + self.offset


def _line(formula: isl.PwAff, sizes: _Class) -> _Line:
    """The line that a formula is from some size on, which isl proves.

    Raises:
        _TooManyValuesError: it is none.
    """
    ring, size, points, _ = sizes
    low, high = bounds(points, size)
    assert low is not None
    if high is None:
        low, _ = bounds(points.intersect(size.ge_set(ring.formula(LARGE))), size)
        high, _ = bounds(points.intersect(size.gt_set(ring.formula(low))), size)
    else:
        _, low = bounds(points.intersect(size.lt_set(ring.formula(high))), size)
    assert high is not None
    at_high = _value(formula, size.eq_set(ring.formula(high)))
    if low is None:  # there is one size
        return _Line(Fraction(0), Fraction(at_high), high)
    at_low = _value(formula, size.eq_set(ring.formula(low)))
    slope = Fraction(at_high - at_low, high - low)
    offset = at_low - slope * low
    common = math.lcm(slope.denominator, offset.denominator)
    expected = size.scale_val(integer(int(slope * common))).add(ring.formula(int(offset * common)))
    is_other = points.subtract(formula.scale_val(integer(common)).eq_set(expected))
    if is_other.is_empty():
        first, _ = bounds(points, size)
    else:
        _, first = bounds(is_other, size)
        if first is None:
            raise _TooManyValuesError
        first += sizes.period
    assert first is not None
    return _Line(slope, offset, first)


def _value_of(polynomial: Polynomial, point: isl.Set) -> int:
    products = (
        k * math.prod(_value(factor.affine, point) for factor in factors)
        for factors, k in polynomial.products.items()
    )
    return _value(polynomial.affine, point) + sum(products)


def _value(formula: isl.PwAff, point: isl.Set) -> int:
    value, _ = bounds(point, formula)
    if value is None:  # the formula is not defined there
        raise _TooManyValuesError
    return value


def _each(points: isl.Set, sizes: _Class) -> Iterator[tuple[int, isl.Set]]:
    """The sizes of a set in order, each with the set of it alone."""
    low, high = bounds(points, sizes.size)
    if low is None:
        return
    if high is None or high - low > MOST_VALUES * sizes.period:
        raise _TooManyValuesError
    for value in range(low, high + 1, sizes.period):
        point = sizes.size.eq_set(sizes.ring.formula(value))
        if not point.is_disjoint(points):
            yield value, point


def _where(
    ring: PolynomialRing,
    size: isl.PwAff,
    period: int,
    signs: Mapping[int, Sequence[tuple[int, int]]],
    symbol: str,
) -> isl.Set:
    """The sizes for which the sign is in an order to 0, from the signs for each remainder.

    Raises:
        _TooManyValuesError: these are the sizes of very many remainders.
    """
    starts = sorted({start for runs in signs.values() for start, _ in runs})
    holds = ring.nowhere

    def between(first: int, end: int | None) -> isl.Set:
        points = size.ge_set(ring.formula(first))
        return points if end is None else points.intersect(size.lt_set(ring.formula(end)))

    for first, end in itertools.zip_longest(starts, starts[1:]):
        answers: dict[int, bool] = {}  # without the remainders that no size below end has
        for rest, runs in signs.items():
            before = [sign for start, sign in runs if start <= first]
            if before:
                answers[rest] = RELATIONS[symbol].on_ints(before[-1], 0)
        if all(answers.values()):
            holds = holds.union(between(first, end))
        elif end is not None and end - first <= period:
            for n in range(first, end):
                holds = holds.union(between(n, n + 1)) if answers.get(n % period) else holds
        else:
            remainder = size.mod_val(integer(period))
            runs = [
                [*run] for answer, run in itertools.groupby(sorted(answers), answers.get) if answer
            ]
            if len(runs) > MOST_RUNS:
                raise _TooManyValuesError
            for run in runs:
                points = remainder.ge_set(ring.formula(run[0]))
                points = points.intersect(remainder.le_set(ring.formula(run[-1])))
                holds = holds.union(between(first, end).intersect(points))
    return holds


def _sign(number: Fraction | int) -> int:
    return (number > 0) - (number < 0)


def _differences(values: list[Fraction]) -> list[Fraction]:
    """The first value, the first difference, the difference of differences, and so on."""
    differences = []
    while values:
        differences.append(values[0])
        values = [after - before for before, after in itertools.pairwise(values)]
    while len(differences) > 1 and differences[-1] == 0:
        differences.pop()
    return differences


def _signs_of_differences(differences: Sequence[Fraction]) -> list[tuple[int, int]]:
    """The signs of a polynomial at 0, 1, 2 and so on: from which number on it is which.

    Its value at n is the sum of its differences times binomial coefficients (Newton's formula).
    """

    def sign_at(n: int) -> int:
        return _sign(sum(d * math.comb(n, k) for k, d in enumerate(differences)))

    if len(differences) == 1:
        return [(0, sign_at(0))]
    starts = {0}
    slopes = _signs_of_differences(differences[1:])
    ends = [*(start for start, _ in slopes[1:]), None]
    for (first, slope), end in zip(slopes, ends, strict=True):
        last = first + 1 if end is None else end
        while end is None and sign_at(last) != slope:  # where it is monotone up to infinity
            last = 2 * last
        for level in (0, 1):
            low, high = first, last  # the first number whose sign times the slope is the level
            while low < high:
                middle = (low + high) // 2
                low, high = (
                    (low, middle) if slope * sign_at(middle) >= level else (middle + 1, high)
                )
            starts.add(low)
    return [(n, sign_at(n)) for n in sorted(starts)]
