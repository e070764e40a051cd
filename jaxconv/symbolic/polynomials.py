"""Polynomials of sizes: a quasi-affine formula plus products of such formulas.

The factors of a product stay whole: ``(h//32)*(w//32)`` is not multiplied out. Products are
therefore compared factor by factor (see :mod:`jaxconv.symbolic.equality`).
"""

import functools
import math
import operator
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import islpy as isl

from jaxconv.symbolic.formulas import factor_text, formula_text
from jaxconv.symbolic.sets import bounds, integer, known_remainder, names_of, parse_affine
from jaxconv.symbolic.shortening import shorter, shorter_or_zero
from jaxconv.symbolic.sums import DIV, PARAM

Answer = TypeVar("Answer")


@dataclass(frozen=True, eq=False)
class Factor:
    """A quasi-affine formula that is a factor of a product, never multiplied out.

    Attributes:
        number: its position among the factors of its ring.
        affine: the formula.
    """

    number: int
    affine: isl.PwAff


# Products of factors, in the order of their numbers, with their coefficients.
Monomials = dict[tuple[Factor, ...], int]


@dataclass(eq=False)
class PolynomialRing:
    """The polynomials over one set of sizes.

    Attributes:
        domain: the sizes for which the polynomials are defined.
        factors: the factors of all products so far.
        simplified: formulas simplified on the domain, by their text before.
        shortened: formulas as they are written, by their text before.
        results: what was computed of the polynomials so far, by what was asked.
        shortens: whether formulas of several cases are replaced by short ones where there are some.
    """

    domain: isl.Set
    factors: list[Factor] = field(default_factory=list)
    simplified: dict[str, isl.PwAff] = field(default_factory=dict)
    shortened: dict[str, isl.PwAff] = field(default_factory=dict)
    results: dict[Hashable, Any] = field(default_factory=dict)
    shortens: bool = False

    def once(self, question: Hashable, compute: Callable[[], Answer]) -> Answer:
        """Compute what depends on the domain and the question alone, the first time it is asked.

        A network asks the same few questions of the same few formulas for each of its layers.

        Args:
            question: what is equal only for questions with the same answer.
            compute: finds the answer.

        Returns:
            The answer, the same object each time.
        """
        if question not in self.results:
            self.results[question] = compute()
        return self.results[question]

    def decides(self, points: isl.Set) -> bool | None:
        """Tell whether a condition holds on the domain.

        Args:
            points: the sizes for which it holds.

        Returns:
            True where it holds for all sizes of the domain, False for none, None for a part.
        """

        def decide() -> tuple[isl.Set, bool | None]:  # the set is kept, since its id is the key
            if self.domain.is_subset(points):
                return points, True
            return points, False if self.domain.is_disjoint(points) else None

        return self.once(("decides", id(points)), decide)[1]

    @property
    def nowhere(self) -> isl.Set:
        """The empty set of sizes."""
        return isl.Set.empty(self.domain.space)

    def formula(self, text: object) -> isl.PwAff:
        """Read an affine formula.

        Args:
            text: the formula in isl's notation, or an int.

        Returns:
            The formula over the names of the domain.
        """
        return parse_affine(names_of(self.domain), str(text))

    def number(self, value: int) -> "Polynomial":
        """Make a constant.

        Args:
            value: the constant.

        Returns:
            The polynomial that is this constant everywhere.
        """
        return Polynomial(self, self.formula(value), {})

    def simplify(self, affine: isl.PwAff, products: Monomials) -> "Polynomial":
        """Make a polynomial, as simple as it is on the domain.

        Args:
            affine: its affine part.
            products: its products of two factors or more.

        Returns:
            The polynomial, without products whose coefficient is 0.
        """
        text = str(affine)
        if text not in self.simplified:  # the same few formulas come again and again
            simple = affine.coalesce().gist_params(self.domain).coalesce()
            if self.shortens and simple.n_piece() > 1:
                simple = shorter_or_zero(simple, self.domain)
            self.simplified[text] = simple
        products = {factors: k for factors, k in products.items() if k}
        return Polynomial(self, self.simplified[text], products)

    def short(self, affine: isl.PwAff) -> isl.PwAff:
        """Find the form of a formula that is written.

        Args:
            affine: the formula.

        Returns:
            A formula with the same values on the domain.
        """
        text = str(affine)
        if text not in self.shortened:
            self.shortened[text] = shorter(affine, self.domain)
        return self.shortened[text]

    def factor(self, affine: isl.PwAff) -> Factor:
        """Find the factor of a formula.

        Args:
            affine: the formula.

        Returns:
            The same object for formulas with the same values on the domain.
        """

        def find() -> Factor:
            for known in self.factors:
                if self.domain.is_subset(known.affine.eq_set(affine)):
                    return known
            self.factors.append(Factor(len(self.factors), affine))
            return self.factors[-1]

        return self.once(("factor", str(affine)), find)

    def sum_of(self, monomials: Monomials) -> "Polynomial":
        """Add monomials.

        Args:
            monomials: products of any number of factors; those of none or one are affine.

        Returns:
            Their sum.
        """
        affine = self.formula(0)
        for factors, k in monomials.items():
            if len(factors) < 2:
                part = factors[0].affine if factors else self.formula(1)
                affine = affine.add(part.scale_val(integer(k)))
        return self.simplify(affine, {f: k for f, k in monomials.items() if len(f) > 1})

    def transfer(self, other: "Polynomial") -> "Polynomial":
        """Bring a polynomial of another ring to this one.

        Args:
            other: a polynomial over sizes of the same names.

        Returns:
            The same formula with the factors of this ring, not simplified.
        """
        if other.ring is self:
            return other
        products: Monomials = {}
        for factors, k in other.products.items():
            own = in_order(self.factor(f.affine) for f in factors)
            products[own] = products.get(own, 0) + k
        return Polynomial(self, other.affine, products)


def computed_once(function: Callable[..., Answer]) -> Callable[..., Answer]:
    """Let a function of a polynomial, and of others of its ring, compute each result once.

    Args:
        function: takes a polynomial, and other polynomials or values that can be hashed.

    Returns:
        The function, which keeps its results in the ring.
    """

    @functools.wraps(function)
    def remembering(one: "Polynomial", *others: Any) -> Answer:
        if any(isinstance(other, Polynomial) and other.ring is not one.ring for other in others):
            return function(one, *others)
        keys = (other.key() if isinstance(other, Polynomial) else other for other in others)
        return one.ring.once((function, one.key(), *keys), lambda: function(one, *others))

    return remembering


@dataclass(frozen=True, eq=False)
class Polynomial:
    """A quasi-affine formula plus products of two factors or more.

    Attributes:
        ring: the ring that it belongs to.
        affine: the affine part.
        products: the products, with their coefficients.
    """

    ring: PolynomialRing
    affine: isl.PwAff
    products: Monomials

    @functools.cached_property
    def constant(self) -> int | None:
        """The number that it is everywhere; None where it is not constant."""
        return None if self.products else constant_of(self.affine)

    @computed_once
    def __add__(self, other: "Polynomial") -> "Polynomial":
        products = dict(self.products)
        for factors, k in other.products.items():
            products[factors] = products.get(factors, 0) + k
        return self.ring.simplify(self.affine.add(other.affine), products)

    def __neg__(self) -> "Polynomial":
        return self.scaled(-1)

    @computed_once
    def __sub__(self, other: "Polynomial") -> "Polynomial":
        negated = {factors: -k for factors, k in other.products.items()}
        return self + Polynomial(self.ring, other.affine.neg(), negated)

    @computed_once
    def __mul__(self, other: "Polynomial") -> "Polynomial":
        for one, another in ((self, other), (other, self)):
            if one.constant is not None:
                return another.scaled(one.constant)
        product: Monomials = {}
        for left, i in self.monomials().items():
            for right, j in other.monomials().items():
                factors = in_order(left + right)
                product[factors] = product.get(factors, 0) + i * j
        return self.ring.sum_of(product)

    @computed_once
    def scaled(self, k: int) -> "Polynomial":
        """Multiply by a number.

        Args:
            k: the number.

        Returns:
            ``k`` times this polynomial.
        """
        products = {factors: k * c for factors, c in self.products.items()}
        return self.ring.simplify(self.affine.scale_val(integer(k)), products)

    @computed_once
    def monomials(self) -> Mapping[tuple[Factor, ...], int]:
        """The summands as products of any number of factors, coefficients taken out."""
        monomials = dict(self.products)
        constant = constant_of(self.affine)
        if constant is None:
            pieces = [aff for _, aff in self.affine.get_pieces()]
            content = 1  # the greatest number that divides every coefficient
            if all(aff.get_denominator_val().is_one() for aff in pieces):
                numbers = [aff.get_constant_val() for aff in pieces]
                numbers += [
                    aff.get_coefficient_val(kind, i)
                    for aff in pieces
                    for kind in (PARAM, DIV)
                    for i in range(aff.dim(kind))
                ]
                content = math.gcd(*(number.to_python() for number in numbers)) or 1
            primitive = self.affine.scale_down_val(integer(content))
            negative = self.ring.domain.is_subset(primitive.le_set(self.ring.formula(0)))
            factor = self.ring.factor(primitive.neg() if negative else primitive)
            monomials[(factor,)] = -content if negative else content
        elif constant:
            monomials[()] = constant
        return monomials

    @computed_once
    def divide(self, by: int) -> "tuple[Polynomial, Polynomial] | None":
        """Divide by a number, rounding down as Python does.

        Where a factor f has one remainder r by d on the whole domain, it is d*(f//d) + r. So h*w
        divided by 2 is (h//2)*w where h is even.

        Args:
            by: the divisor.

        Returns:
            The quotient and the remainder; None where the quotient is not a polynomial.

        Raises:
            ZeroDivisionError: the divisor is 0.
        """
        if by == 0:
            raise ZeroDivisionError("a size is divided by zero.")
        if by < 0:
            divided = (-self).divide(-by)
            return None if divided is None else (divided[0], -divided[1])
        dividend = self
        if any(k % by for k in self.products.values()):
            monomials = _multiples(self.ring, self.monomials(), by)
            if monomials is None:
                return None
            dividend = self.ring.sum_of(monomials)
        quotient = dividend.affine.scale_down_val(integer(by)).floor()
        remainder = dividend.affine.sub(quotient.scale_val(integer(by)))
        products = {factors: k // by for factors, k in dividend.products.items()}
        return self.ring.simplify(quotient, products), self.ring.simplify(remainder, {})

    def cancel(self, other: "Polynomial") -> "tuple[Polynomial, int, Polynomial] | None":
        """Cancel a divisor that has one summand, or of which the dividend is a product with others.

        Args:
            other: the divisor.

        Returns:
            The dividend without what cancels, the divisor's coefficient that remains, and what
            cancels. None where some summand of the dividend lacks a factor of the divisor.
        """
        dividend, divisor = self.monomials(), other.monomials()
        if len(divisor) != 1:  # the dividend may be a multiple of a sum, such as b*(h*w + 1)
            more = in_each_summand(dividend) - in_each_summand(divisor)
            dividend = {
                in_order((Counter(factors) - more).elements()): k for factors, k in dividend.items()
            }
            if not divisor or dividend.keys() != divisor.keys():
                return None
            first = next(iter(divisor))
            shared = math.gcd(dividend[first], divisor[first])
            i, j = dividend[first] // shared, divisor[first] // shared
            if any(j * dividend[factors] != i * divisor[factors] for factors in divisor):
                return None
            common = self.ring.sum_of({factors: k // j for factors, k in divisor.items()})
            return self.ring.sum_of({in_order(more.elements()): i}), j, common
        ((by, coefficient),) = divisor.items()
        reduced: Monomials = {}
        for factors, k in dividend.items():
            rest = list(factors)
            for factor in by:
                if factor not in rest:
                    return None
                rest.remove(factor)
            reduced[tuple(rest)] = k
        return self.ring.sum_of(reduced), coefficient, self.ring.sum_of({by: 1})

    @computed_once
    def bounds(self) -> tuple[float, float]:
        """Bounds over the domain by interval arithmetic: ints, or infinite where there is none."""
        intervals = []
        for factors, k in self.monomials().items():
            interval: Interval = (k, k)
            for factor in factors:
                interval = _times(interval, bounds(self.ring.domain, factor.affine))
            intervals.append(interval)
        lows, highs = [low for low, _ in intervals], [high for _, high in intervals]
        low = -math.inf if None in lows else sum(end or 0 for end in lows)
        return low, math.inf if None in highs else sum(end or 0 for end in highs)

    def is_whole(self) -> bool:
        """Whether its formulas are integers on the domain, as w/4 is not on another one."""
        factors = (factor.affine for factors in self.products for factor in factors)
        formulas = [self.affine, *factors]
        return all(self.ring.domain.is_subset(f.eq_set(f.floor())) for f in formulas)

    def value_at(self, point: isl.Set) -> int:
        """Compute the value for given sizes.

        Args:
            point: a set of exactly one element.

        Returns:
            The number that the polynomial is there.
        """

        def value(affine: isl.PwAff) -> int:
            least, _ = bounds(point, affine)
            assert least is not None
            return least

        products = (k * math.prod(value(f.affine) for f in fs) for fs, k in self.products.items())
        return value(self.affine) + sum(products)

    def key(self) -> Hashable:
        """What is equal for polynomials of one ring that are written alike."""
        return self._key

    @functools.cached_property
    def _key(self) -> Hashable:
        products = ((tuple(f.number for f in fs), k) for fs, k in self.products.items())
        return str(self.affine), frozenset(products)

    def __str__(self) -> str:
        parts = []
        for factors, k in self.products.items():
            # In the order of their first names: b*(h//2).
            texts = [factor_text(self.ring.short(f.affine)) for f in factors]
            texts.sort(key=lambda text: (text.lstrip("(-0123456789*"), text))
            parts.append("*".join([str(k)] * (k != 1) + texts))
        if not parts or constant_of(self.affine) != 0:
            parts.append(formula_text(self.ring.short(self.affine)))
        return " + ".join(parts).replace("+ -", "- ")


def in_each_summand(monomials: Iterable[tuple[Factor, ...]]) -> Counter[Factor]:
    """Find the factors that all summands have.

    Args:
        monomials: the factors of each summand.

    Returns:
        How often each factor is in every summand.
    """
    counts = [Counter(factors) for factors in monomials]
    return functools.reduce(operator.and_, counts) if counts else Counter()


def constant_of(affine: isl.PwAff) -> int | None:
    """Find the value of a constant formula.

    Args:
        affine: the formula.

    Returns:
        Its value; None where it is not written as a constant.
    """
    pieces = affine.get_pieces()
    if len(pieces) == 1 and pieces[0][1].is_cst():
        value = pieces[0][1].get_constant_val()
        return value.to_python() if value.is_int() else None
    return None


Interval = tuple[int | None, int | None]  # None is infinite: floats would round


def _times(one: Interval, other: Interval) -> Interval:
    """All products of a number of each of two intervals."""

    def corner(i: int, j: int) -> tuple[int, int]:
        """The sign of an infinite product and 0, or 0 and the product; 0 times anything is 0."""
        x, y = one[i], other[j]
        if x == 0 or y == 0:
            return 0, 0
        if x is not None and y is not None:
            return 0, x * y
        negative = [i == 0 if x is None else x < 0, j == 0 if y is None else y < 0]
        return -1 if negative[0] != negative[1] else 1, 0

    corners = sorted(corner(i, j) for i in (0, 1) for j in (0, 1))
    (low_sign, low), (high_sign, high) = corners[0], corners[-1]
    return None if low_sign else low, None if high_sign else high


def _multiples(
    ring: PolynomialRing, monomials: Mapping[tuple[Factor, ...], int], by: int
) -> Monomials | None:
    """Write products as multiples of a number, and summands of fewer factors; None: they are not.

    A factor f that has one remainder r by d is d*f' + r.
    """
    done: Monomials = {}
    work = [*monomials.items()]
    while work:
        factors, k = work.pop()
        missing = by // math.gcd(by, k)
        if len(factors) < 2 or missing == 1:
            done[factors] = done.get(factors, 0) + k
            continue
        step, rest, i = _known_remainder_of_one(ring, factors, missing)
        if rest is None:
            return None
        others = factors[:i] + factors[i + 1 :]
        quotient = factors[i].affine.scale_down_val(integer(step)).floor()
        quotient = ring.simplify(quotient, {})
        if quotient.constant is None:
            work += [(in_order((ring.factor(quotient.affine), *others)), k * step)]
        else:
            work += [(others, k * step * quotient.constant)]
        work += [(others, k * rest)] if rest else []
    return done


def _known_remainder_of_one(
    ring: PolynomialRing, factors: Sequence[Factor], number: int
) -> tuple[int, int | None, int]:
    """A divisor of a number, the remainder of a factor by it, and the position of the factor.

    Where a factor is a multiple of a divisor, this one keeps the product a single one. The
    remainder is None where none is known.
    """
    best: tuple[int, int | None, int] = (1, None, 0)
    for i, factor in enumerate(factors):
        for step in reversed(positive_divisors(number)[1:]):
            rest = known_remainder(ring.domain, factor.affine, step)
            if rest == 0:
                return step, rest, i
            if rest is not None and best[1] is None:
                best = step, rest, i
    return best


LARGEST_FACTORED = 2**44  # number whose divisors are listed


@functools.lru_cache(maxsize=1000)
def positive_divisors(number: int) -> tuple[int, ...]:
    """List the divisors of a number.

    Args:
        number: the number, positive.

    Returns:
        Its positive divisors in order; only 1 and the number itself above ``LARGEST_FACTORED``.
    """
    if number > LARGEST_FACTORED:
        return (1, number)
    small = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    return tuple(sorted({*small, *(number // n for n in small)}))


def in_order(factors: Iterable[Factor]) -> tuple[Factor, ...]:
    """Put factors in the order of their numbers.

    Args:
        factors: of one ring.

    Returns:
        What stands for their product.
    """
    return tuple(sorted(factors, key=lambda factor: factor.number))
