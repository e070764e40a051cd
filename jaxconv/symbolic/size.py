"""Sizes that are known only as formulas, and sets of sizes: integers that isl decides about.

The arithmetic of shapes is quasi-affine: sums, constants, floor division, remainders, min and max.
Equality and order of such formulas are decidable (Presburger), and isl, the integer set library of
polyhedral compilers, decides them (Verdoolaege, "isl: An integer set library for the polyhedral
model", 2010). Products of sizes, as a flatten makes them, are kept as products of whole factors and
compared factor by factor.

A :class:`Size` lives in a :class:`SymbolicTrace`: one run of a function for all sizes of a domain
at once. What is true on the whole domain is True, what is true nowhere is False. What holds for a
part of it splits the domain; but an equality that JAX asks, which it does often and to take
shortcuts only, is answered False and remembered (see :mod:`jaxconv.prover.check`).
"""

import functools
import itertools
import math
import operator
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NamedTuple, cast

import islpy as isl

from jaxconv.source import (
    Step,
    folder_of,
    is_inside_jax,
    is_inside_library,
    steps_here,
)
from jaxconv.symbolic.formulas import DIV, factor_text, formula_text
from jaxconv.symbolic.sets import PARAM, SizeSet, bounds, names_of
from jaxconv.symbolic.specs import SpecError, parse_condition

FEW = 8  # values that a size may take, to be tried one by one where a number is needed


# Functions of JAX that ask whether a size is a number, and are content if it is not; the first of
# them asks of each side of each new array.
NEW_SIDE, *PROBES = ("_canonicalize_dimension", "is_constant_dim", "convert_to_index")


# Functions of JAX that keep what they made for a shape; others compare sizes by sets of them.
CACHES = frozenset({"wrapper", "__new__", "to_tangent_aval"})


class Fork(BaseException):
    """A comparison holds on a part of the domain only: run once for each part."""

    def __init__(self, condition: isl.Set) -> None:
        self.condition = condition
        super().__init__(str(condition))


class Undecided(TypeError):  # noqa: N818 - JAX expects a TypeError of a size that is no int
    """A question about sizes that has no answer here."""


class DeferredEquality(NamedTuple):
    """An equality that holds on a part of the domain and was answered False.

    Attributes:
        condition: where it holds.
        place: the innermost instruction outside JAX that was running.
        difference: what is 0 where it holds.
    """

    condition: isl.Set
    place: Step
    difference: Any


# This module, and what a runtime type checker, where one is on, puts between its functions.
OWN = (__file__, "<", folder_of("jaxtyping"), folder_of("beartype"))


def _asking() -> tuple[Step, bool]:
    """Where a comparison was made: the place, and whether no function of JAX is in between."""
    frame = asking = _caller()
    while frame.f_back is not None and is_inside_jax(frame.f_code.co_filename):
        frame = frame.f_back
    return (frame.f_code, frame.f_lasti), frame is asking


def _caller() -> FrameType:
    """The innermost frame outside this module."""
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(OWN):
        frame = frame.f_back
    return frame


@functools.lru_cache(maxsize=10_000)
def _parsed(names: tuple[str, ...], text: str) -> isl.PwAff:
    return isl.PwAff(f"[{', '.join(names)}] -> {{ [({text})] }}")


@dataclass
class SymbolicTrace:
    """One run of a function: the sizes still considered, and what was asked about them.

    Attributes:
        domain: the sizes considered.
        searching: whether an order that holds in part raises :class:`Fork`.
        deferred: equalities that hold on a part of the domain and were answered False, in the
            order of asking.
        unknowns: equalities whose condition was known in part only, as sentences.
        factors: those of all products.
        made: sizes of the arrays that JAX made so far, and the calls that led there.
        fork: what the run stopped at, even where the code caught that.
        unanswered: what code outside JAX asked without an answer, even where it caught that.
        simplified: formulas on the domain, by their text before.
    """

    domain: isl.Set
    searching: bool = True
    deferred: list[DeferredEquality] = field(default_factory=list)
    unknowns: list[str] = field(default_factory=list)
    factors: list["Factor"] = field(default_factory=list)
    made: list[tuple["Size", list[Step]]] = field(default_factory=list)
    simplified: dict[str, isl.PwAff] = field(default_factory=dict)
    fork: isl.Set | None = None
    unanswered: list[str] = field(default_factory=list)

    def names(self) -> tuple[str, ...]:
        """Names of the sizes."""
        return names_of(self.domain)

    def size(self, name: str) -> "Size | int":
        """The size of this name."""
        return self.make(self.formula(name), {})

    def formula(self, text: object) -> isl.PwAff:
        """An affine formula in isl's notation."""
        return _parsed(self.names(), str(text))

    def make(self, affine: isl.PwAff, products: "Products") -> "Size | int":
        """Simplify on the domain; a constant becomes an int."""
        text = str(affine)
        if text not in self.simplified:  # the same few formulas come again and again
            self.simplified[text] = affine.coalesce().gist_params(self.domain).coalesce()
        affine = self.simplified[text]
        products = {factors: k for factors, k in products.items() if k}
        constant = None if products else _constant(affine)
        return Size(self, affine, products) if constant is None else constant

    def settle(self, condition: isl.Set, difference: "Size | None" = None) -> bool:
        """Decide a condition, or remember it where it is an equality, or split on it."""
        if self.domain.is_subset(condition):
            return True
        if self.domain.is_disjoint(condition):
            return False
        place, branch = _asking()
        if difference is not None and not (branch and self.searching):
            self.deferred.append(DeferredEquality(condition, place, difference))
            return False
        if self.searching:
            self.fork = condition
            raise Fork(condition)
        holds = SizeSet(self.domain.intersect(condition))
        raise self.undecided(
            f"The comparison holds for {holds} only. Fix: narrow the sizes with where=, or let "
            "jaxconv.check try both cases."
        )

    def undecided(self, text: str) -> Undecided:
        """The error for a question without an answer; JAX may live without one, others may not."""
        if not is_inside_jax(_caller().f_code.co_filename):
            self.unanswered.append(text)
        return Undecided(text)

    def factor(self, affine: isl.PwAff) -> "Factor":
        """The factor of this formula, the same object for the same values."""
        for known in self.factors:
            if self.domain.is_subset(known.affine.eq_set(affine)):
                return known
        self.factors.append(Factor(len(self.factors), affine))
        return self.factors[-1]


@dataclass(frozen=True, eq=False)
class Factor:
    """A quasi-affine formula that is a factor of a product, never multiplied out."""

    number: int
    affine: isl.PwAff


# Products of two factors or more, in the order of their numbers, with their coefficients.
Products = dict[tuple[Factor, ...], int]


def _binary(
    method: Callable[["Size", "Size"], Any],
) -> Callable[["Size", Any], Any]:
    def operation(self: "Size", other: Any) -> Any:
        if not isinstance(other, Size):
            try:
                number = operator.index(other)
            except TypeError:
                return NotImplemented
            other = _as_size(self.trace, number)
        return method(self, other)

    return operation


def _swapped(method: Callable[["Size", "Size"], Any]) -> Callable[["Size", Any], Any]:
    return _binary(lambda self, other: method(other, self))


class Size:
    """An integer of at least one size, known as a formula: ``h``, ``(h + 7)//8``, ``512*h*w``.

    :func:`sizes` makes them. They add, multiply, divide and compare as ints do.
    """

    __slots__ = ("affine", "products", "trace")
    __array_priority__ = 1000  # so that NumPy leaves the arithmetic to us

    def __init__(self, trace: SymbolicTrace, affine: isl.PwAff, products: Products) -> None:
        self.trace = trace
        self.affine = affine
        self.products = products

    def __neg__(self) -> Any:
        return _scale(self, -1)

    def __pos__(self) -> "Size":
        return self

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Size) and other.trace is not self.trace:
            return False
        answer = _equal(self, other)
        return False if answer is NotImplemented else answer

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        code = _caller().f_code
        if code.co_name in CACHES:
            products = frozenset(
                (tuple(f.number for f in fs), k) for fs, k in self.products.items()
            )
            return hash((id(self.trace), str(self.affine), products))
        if not is_inside_library(code.co_filename):
            raise self.trace.undecided(f"the code looks {self} up in a set or a dict")
        return hash(id(self.trace))  # all alike, so that a set of sizes asks which are equal

    def __index__(self) -> int:
        name = _caller().f_code.co_name
        if name == NEW_SIDE:
            self.trace.made.append((self, steps_here()))
        if name == NEW_SIDE or name in PROBES:
            raise TypeError(f"{self} is symbolic")
        trace = self.trace
        low, high = (None, None) if self.products else bounds(trace.domain, self.affine)
        if low is None or high is None or high - low >= FEW:
            raise trace.undecided(f"the code needs {self} as a number")
        for value in range(low, high + 1):
            if trace.settle(self.affine.eq_set(trace.formula(value))):
                return value
        raise AssertionError(f"{self} takes none of its values")

    __int__ = __index__

    def __bool__(self) -> bool:
        return self != 0

    def __float__(self) -> float:
        raise self.trace.undecided(f"the code needs {self} as a number")

    def dimension_as_value(self) -> Any:
        """What JAX computes with where a size is used as a number: any, unknown while tracing."""
        from jax import lax, numpy

        from jaxconv.compat import Tracer

        value = lax.optimization_barrier(numpy.int32(1))  # who computes constants leaves it alone
        if not isinstance(value, Tracer):
            raise self.trace.undecided(f"the code needs {self} as a number")
        return value

    __jax_array__ = dimension_as_value

    def __truediv__(self, other: Any) -> Any:
        return self.dimension_as_value() / other

    def __rtruediv__(self, other: Any) -> Any:
        return other / self.dimension_as_value()

    def __pow__(self, other: Any) -> Any:
        if isinstance(other, int) and other >= 0:
            return math.prod([cast(Any, self)] * other)
        return self.dimension_as_value() ** other

    def __and__(self, mask: int) -> Any:
        if mask < 0 or mask & (mask + 1):
            raise self.trace.undecided(f"{self} & {mask} is no formula")
        return cast(Any, self) % (mask + 1)

    def __rshift__(self, bits: int) -> Any:
        return cast(Any, self) // 2**bits

    def __lshift__(self, bits: int) -> Any:
        return cast(Any, self) * 2**bits

    def __abs__(self) -> Any:
        return cast(Any, self).max(-self)

    def __round__(self) -> "Size":
        return self

    __floor__ = __ceil__ = __trunc__ = __round__

    def __format__(self, spec: str) -> str:
        return str(self)

    def at(self, **sizes: int) -> int:
        """The number that the formula gives for these sizes."""
        conditions = " and ".join(f"{name} = {size}" for name, size in sizes.items())
        point = SizeSet.parse(self.trace.names(), conditions).points

        def value(affine: isl.PwAff) -> int:
            found, _ = bounds(point, affine)
            assert found is not None
            return found

        products = (k * math.prod(value(f.affine) for f in fs) for fs, k in self.products.items())
        return value(self.affine) + sum(products)

    def __str__(self) -> str:
        return _size_text(self)

    __repr__ = __str__


def _constant(affine: isl.PwAff) -> int | None:
    pieces = affine.get_pieces()
    if len(pieces) == 1 and pieces[0][1].is_cst():
        value = pieces[0][1].get_constant_val()
        return value.to_python() if value.is_int() else None
    return None


def _add(a: Size, b: Size) -> Any:
    products = dict(a.products)
    for factors, k in b.products.items():
        products[factors] = products.get(factors, 0) + k
    return a.trace.make(a.affine.add(b.affine), products)


def _scale(a: Size, k: int) -> Any:
    products = {factors: k * c for factors, c in a.products.items()}
    return a.trace.make(a.affine.scale_val(isl.Val(k)), products)


def _subtract(a: Size, b: Size) -> Any:
    return _add(a, Size(b.trace, b.affine.neg(), {f: -k for f, k in b.products.items()}))


def _monomials(a: Size) -> Products:
    """The summands as products of any number of factors, coefficients taken out."""
    content = _content(a.affine)
    found = dict(a.products)
    constant = _constant(a.affine)
    if constant is None:
        whole = a.affine.scale_down_val(isl.Val(content))
        negative = a.trace.domain.is_subset(whole.le_set(a.trace.formula(0)))
        factor = a.trace.factor(whole.neg() if negative else whole)
        found[(factor,)] = -content if negative else content
    elif constant:
        found[()] = constant
    return found


def _content(affine: isl.PwAff) -> int:
    """The greatest number that divides every coefficient of a formula."""
    return math.gcd(*(_aff_content(aff) for _, aff in affine.get_pieces())) or 1


def _aff_content(aff: isl.Aff) -> int:
    if not aff.get_denominator_val().is_one():
        return 1
    values = [aff.get_constant_val()]
    values += [aff.get_coefficient_val(PARAM, i) for i in range(aff.dim(PARAM))]
    values += [aff.get_coefficient_val(DIV, i) for i in range(aff.dim(DIV))]
    return math.gcd(*(value.to_python() for value in values))


def _multiply(a: Size, b: Size) -> Any:
    for one, other in ((a, b), (b, a)):
        constant = None if one.products else _constant(one.affine)
        if constant is not None:
            return _scale(other, constant)
    found: Products = {}
    for left, i in _monomials(a).items():
        for right, j in _monomials(b).items():
            factors = tuple(sorted(left + right, key=lambda f: f.number))
            found[factors] = found.get(factors, 0) + i * j
    return _sum(a.trace, found)


def _sum(trace: SymbolicTrace, monomials: Products) -> Any:
    """Back from monomials: those of no factor or one are affine again."""
    affine = trace.formula(0)
    for factors, k in monomials.items():
        if len(factors) < 2:
            part = factors[0].affine if factors else trace.formula(1)
            affine = affine.add(part.scale_val(isl.Val(k)))
    return trace.make(affine, {f: k for f, k in monomials.items() if len(f) > 1})


def _divide(a: Size, b: Size) -> tuple[Any, Any]:
    """Quotient and remainder, as Python rounds them: down."""
    by = None if b.products else _constant(b.affine)
    if by is not None:
        return _divide_by(a, by)
    zero, exact = equality(b, _as_size(b.trace, 0))
    if not exact:
        raise a.trace.undecided(f"whether {b}, by which {a} is divided, is 0")
    if a.trace.settle(zero):
        raise ZeroDivisionError("a size is divided by zero.")
    found = _cancel(a, b)
    if found is not None:
        return found
    number = None if a.products else _constant(a.affine)
    if number is None:
        raise a.trace.undecided(f"{a} divided by {b} is no formula")
    return _divide_number(number, b)


def _divide_by(a: Size, by: int) -> tuple[Any, Any]:
    if by == 0:
        raise ZeroDivisionError("a size is divided by zero.")
    if by < 0:
        quotient, rest = _divide_by(_as_size(a.trace, -a), -by)
        return quotient, -rest
    if any(k % by for k in a.products.values()):
        raise a.trace.undecided(f"{a} divided by {by} is no formula")
    quotient = a.affine.scale_down_val(isl.Val(by)).floor()
    whole = a.trace.make(quotient, {f: k // by for f, k in a.products.items()})
    rest = a.trace.make(a.affine.sub(quotient.scale_val(isl.Val(by))), {})
    return whole, rest


def _divide_number(number: int, b: Size) -> tuple[Any, Any]:
    """A number by a size: a larger size takes it 0 times, or -1 times."""
    if number >= 0 and _compare(">")(b, _as_size(b.trace, number)):
        return 0, number
    if number < 0 and _compare(">=")(b, _as_size(b.trace, -number)):
        return -1, b + cast(Any, number)
    return divmod(number, b.__index__())


def _as_size(trace: SymbolicTrace, value: Any) -> Size:
    return value if isinstance(value, Size) else Size(trace, trace.formula(value), {})


def _cancel(a: Size, b: Size) -> tuple[Any, Any] | None:
    """Divide where every summand of ``a`` has all factors of the one summand of ``b``."""
    divisor = _monomials(b)
    if len(divisor) != 1:
        return (1, 0) if _monomials(a) == divisor else None
    ((by, k),) = divisor.items()
    found: Products = {}
    for factors, c in _monomials(a).items():
        left = list(factors)
        for factor in by:
            if factor not in left:
                return None
            left.remove(factor)
        found[tuple(left)] = c
    quotient, rest = divmod(_sum(a.trace, found), k)
    return quotient, rest * _sum(a.trace, {by: 1})


def _extreme(which: str) -> Callable[[Size, Size], Any]:
    def method(a: Size, b: Size) -> Any:
        if a.products or b.products:
            first = a if _compare(">=" if which == "max" else "<=")(a, b) else b
            return a.trace.make(first.affine, first.products)
        return a.trace.make(getattr(a.affine, which)(b.affine), {})

    return method


def _compare(symbol: str) -> Callable[[Size, Size], bool]:
    on_sets = {"<": "lt_set", "<=": "le_set", ">": "gt_set", ">=": "ge_set"}[symbol]
    on_ints = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}[symbol]

    def method(a: Size, b: Size) -> bool:
        trace, difference = a.trace, _subtract(a, b)
        if isinstance(difference, int):
            return on_ints(difference, 0)
        if not difference.products:
            condition = getattr(difference.affine, on_sets)(trace.formula(0))
            return trace.settle(condition)
        low, high = _range(difference)
        answers = {on_ints(bound, 0) for bound in (low, high)}
        if len(answers) == 1:
            return answers.pop()
        raise trace.undecided(f"{a} {symbol} {b} is not decided for a product of sizes")

    return method


def _range(a: Size) -> tuple[float, float]:
    """Bounds of a sum of products over the domain, by intervals; infinite where there is none."""
    total = [0.0, 0.0]
    for factors, k in _monomials(a).items():
        low, high = float(k), float(k)
        for factor in factors:
            least, most = bounds(a.trace.domain, factor.affine)
            ends = (-math.inf if least is None else least, math.inf if most is None else most)
            corners = [0.0 if 0 in (x, y) else x * y for x in (low, high) for y in ends]
            low, high = min(corners), max(corners)
        total = [total[0] + low, total[1] + high]
    return total[0], total[1]


def _same(a: Size, b: Size) -> bool:
    difference = _subtract(a, b)
    if isinstance(difference, int):
        return difference == 0
    condition, exact = equality(a, b)
    trace = a.trace
    if not exact and not trace.domain.is_subset(condition):
        doubt = f"whether {a} equals {b}"
        trace.unknowns.append(doubt)
        if _asking()[1]:
            raise trace.undecided(doubt)
    return trace.settle(condition, difference)


def equality(a: Size, b: Size) -> tuple[isl.Set, bool]:
    """Where two sizes of one trial are equal, and whether that set is exact or only a part."""
    trace, difference = a.trace, _subtract(a, b)
    if isinstance(difference, int):
        return (trace.domain if difference == 0 else isl.Set.empty(trace.domain.space)), True
    if not difference.products:
        return difference.affine.eq_set(trace.formula(0)), True
    low, high = _range(difference)
    if low > 0 or high < 0:
        return isl.Set.empty(trace.domain.space), True
    monomials = _monomials(difference)
    constant = monomials.pop((), 0)
    if len(monomials) == 1:
        ((factors, k),) = monomials.items()
        return _product_equals(trace, factors, k, -constant), True
    if len(monomials) == 2 and not constant:
        return _products_equal(trace, monomials)
    return isl.Set.empty(trace.domain.space), False


def _product_equals(
    trace: SymbolicTrace, factors: tuple[Factor, ...], k: int, value: int
) -> isl.Set:
    """Where ``k*f*g*... == value``: each factor is one of the value's finitely many divisors."""
    empty = isl.Set.empty(trace.domain.space)
    if value == 0:
        zero = trace.formula(0)
        for factor in factors:
            empty = empty.union(factor.affine.eq_set(zero))
        return empty
    if value % k:
        return empty
    points = (where for _, where in _divisors(trace, factors, value // k))
    return functools.reduce(isl.Set.union, points, empty)


def _divisors(
    trace: SymbolicTrace, factors: tuple[Factor, ...], value: int
) -> Iterator[tuple[tuple[int, ...], isl.Set]]:
    """The numbers that factors with this product may be, and where they are."""
    first, *rest = factors
    numbers = range(1, abs(value) + 1) if rest else [value]
    for number in numbers:
        for signed in (number, -number) if rest and value % number == 0 else (number,) * (not rest):
            here = first.affine.eq_set(trace.formula(signed)).intersect(trace.domain)
            if here.is_empty():
                continue
            if not rest:
                yield (signed,), here
                continue
            for others, there in _divisors(trace, tuple(rest), value // signed):
                if not there.is_disjoint(here):
                    yield (signed, *others), there.intersect(here)


def ways(difference: Size) -> list[tuple[str, isl.Set]]:
    """How a product of sizes comes to equal a number: the values of its factors, and where.

    Empty where the difference is no product less a number.
    """
    monomials = _monomials(difference)
    value = -monomials.pop((), 0)
    if len(monomials) != 1 or not value:
        return []
    ((factors, k),) = monomials.items()
    names = [formula_text(factor.affine) for factor in factors]
    return [
        (", ".join(f"{n} = {x}" for n, x in zip(names, numbers, strict=True)), points)
        for numbers, points in _divisors(difference.trace, factors, value // k)
        if value % k == 0
    ]


def _products_equal(trace: SymbolicTrace, monomials: Products) -> tuple[isl.Set, bool]:
    """Where ``k*f*g == l*u*v``, for positive factors that dominate one another in pairs.

    Common factors cancel. If the others can be paired so that, everywhere, each of one side is at
    least its partner, then the products are equal only where all pairs are.
    """
    (left, k), (right, c) = monomials.items()
    c = -c
    if k * c < 0:
        return isl.Set.empty(trace.domain.space), False
    shared = math.gcd(k, c)
    k, c = k // shared, c // shared
    left, right = list(left), list(right)
    one = trace.formula(1)
    for factor in list(left):
        if factor in right and trace.domain.is_subset(factor.affine.ge_set(one)):
            left.remove(factor)
            right.remove(factor)
    for side, i, j in ((left, k, c), (right, c, k)):
        if not side:
            other = right if side is left else left
            return _product_equals(trace, tuple(other), abs(j), abs(i)), True
    sides = [(left, abs(k)), (right, abs(c))]
    for (big, i), (small, j) in (sides, sides[::-1]):
        pairs = _dominate(trace, [f.affine for f in big], [f.affine for f in small], i, j)
        if pairs is not None:
            return pairs, True
    return isl.Set.empty(trace.domain.space), False


def _dominate(
    trace: SymbolicTrace, big: list[isl.PwAff], small: list[isl.PwAff], i: int, j: int
) -> isl.Set | None:
    """Where all pairs are equal, if ``big`` can be paired to dominate ``small``; else None.

    The coefficients ``i`` and ``j`` of the products are spread over their factors.
    """
    if len(big) != len(small) or not big:
        return None
    first, *rest = big
    for place, partner in enumerate(small):
        others = small[:place] + small[place + 1 :]
        shares = itertools.product(_shares(i), _shares(j)) if rest else [(i, j)]
        for p, q in shares:
            one, other = first.scale_val(isl.Val(p)), partner.scale_val(isl.Val(q))
            # Where the partner is 0, its product is 0 and the other is not: never equal there.
            positive = one.ge_set(trace.formula(1)).intersect(other.ge_set(trace.formula(0)))
            if not trace.domain.is_subset(one.ge_set(other).intersect(positive)):
                continue
            found = _dominate(trace, rest, others, i // p, j // q) if rest else trace.domain
            if found is not None:
                return one.eq_set(other).intersect(found)
    return None


def _shares(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


_equal = _binary(_same)
OPERATIONS: dict[str, Callable[[Size, Size], Any]] = {
    "add": _add,
    "sub": _subtract,
    "mul": _multiply,
    "floordiv": lambda a, b: _divide(a, b)[0],
    "mod": lambda a, b: _divide(a, b)[1],
    "divmod": _divide,
}
for _name, _method in OPERATIONS.items():
    setattr(Size, f"__{_name}__", _binary(_method))
    setattr(Size, f"__r{_name}__", _swapped(_method))
for _name in ("max", "min"):
    setattr(Size, _name, _binary(_extreme(_name)))
    setattr(Size, f"r{_name}", _binary(_extreme(_name)))
for _name, _symbol in {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}.items():
    setattr(Size, f"__{_name}__", _binary(_compare(_symbol)))


def domain_of(names: Sequence[str], where: str) -> isl.Set:
    """All sizes of at least 1 for which a condition, such as ``"h >= 32 and w == h"``, holds.

    Raises:
        SpecError: a condition that cannot be read, or names other sizes.
    """
    if twice := [name for name in names if list(names).count(name) > 1]:
        raise SpecError(f"The size {twice[0]} is there twice.\n  Fix: name each size once.")
    for name in names:
        if not _is_name(name):
            raise SpecError(f"{name!r} cannot name a size.\n  Fix: call it h, height or h2.")
    domain = SizeSet.parse(names).points
    if not where.strip():
        return domain
    trace = SymbolicTrace(domain)
    sizes = {name: trace.size(name) for name in names}
    for left, sign, right in parse_condition(where):
        unknown = {*left.names(), *right.names()} - {*names}
        if unknown:
            raise SpecError(
                f"where= names {', '.join(sorted(unknown))}, but the sizes are "
                f"{', '.join(names)}.\n  Fix: use their names."
            )
        sides = [trace.formula(0) + _affine(trace, f.value(sizes)) for f in (left, right)]
        domain = domain.intersect(getattr(sides[0], sign)(sides[1]))
    if domain.is_empty():
        raise SpecError(f"where= holds for no size: {where}.\n  Fix: pass one that some meet.")
    return domain


def _is_name(text: str) -> bool:
    """Whether isl, too, takes a text for a name; it has words of its own, such as mod."""
    if not (text.isidentifier() and text.isascii()):
        return False
    try:
        return names_of(isl.Set(f"[{text}] -> {{ : {text} mod 2 = 1 and {text} >= 3 }}")) == (text,)
    except isl.Error:
        return False


def _affine(trace: SymbolicTrace, size: Any) -> isl.PwAff:
    if isinstance(size, int):
        return trace.formula(size)
    if size.products:
        raise SpecError("where= has a product of sizes.\n  Fix: compare sums and quotients only.")
    return size.affine


def sizes(names: str, where: str = "") -> tuple[Any, ...]:
    """Make symbolic sizes that decide every comparison.

    Args:
        names: separated by spaces, such as "b h w"; each is at least 1.
        where: a condition on them, such as "h >= 32 and w == h".

    Returns:
        A :class:`Size` for each name. An order that holds only for some sizes raises
        :class:`Undecided`; ``==`` is True only where it holds for all.

    Raises:
        SpecError: a condition that cannot be read.

    Example:
        >>> import jaxconv as jc
        >>> b, h, w = jc.sizes("b h w", where="h >= 32")
        >>> h // 2 // 2 == h // 4, h > 31, (h + 1) // 2 - h // 2, 3 * b * h * w
        (True, True, h % 2, 3*b*h*w)
    """
    trace = SymbolicTrace(domain_of(names.split(), where), searching=False)
    return tuple(trace.size(name) for name in names.split())


def unite(parts: Sequence[tuple[SymbolicTrace, isl.Set, Any]]) -> Any:
    """One formula for a size that several trials gave, each on its own part of the sizes.

    The formula of one trial that gives the others' values on their parts, too, is preferred; else
    affine ones are joined piece by piece.
    """
    whole = functools.reduce(isl.Set.union, [sizes for _, sizes, _ in parts])
    home = SymbolicTrace(whole.coalesce(), searching=False)
    own = [(sizes, moved(home, size)) for _, sizes, size in parts]
    for _, candidate in own:
        if all(_agree(sizes, candidate, other) for sizes, other in own):
            return home.make(candidate.affine, candidate.products)
    if any(size.products for _, size in own):
        raise Undecided("the result has products of sizes that differ from case to case")
    joined = [size.affine.intersect_params(sizes) for sizes, size in own]
    return home.make(functools.reduce(isl.PwAff.union_add, joined), {})


def moved(home: SymbolicTrace, size: Any) -> Size:
    """The same formula in another trial."""
    if isinstance(size, int):
        return Size(home, home.formula(size), {})
    products: Products = {}
    for factors, k in size.products.items():
        own = tuple(sorted((home.factor(f.affine) for f in factors), key=lambda f: f.number))
        products[own] = products.get(own, 0) + k
    return Size(home, size.affine, products)


def _agree(sizes: isl.Set, a: Size, b: Size) -> bool:
    part = SymbolicTrace(sizes, searching=False)
    difference = _subtract(moved(part, a), moved(part, b))
    if isinstance(difference, int):
        return difference == 0
    condition, exact = equality(moved(part, a), moved(part, b))
    return exact and sizes.is_subset(condition)


def _by_name(text: str) -> tuple[str, str]:
    """The order of factors: by their first name, ``b*(h//2)``."""
    return text.lstrip("(-0123456789*"), text


def _size_text(size: Size) -> str:
    parts = []
    for factors, k in size.products.items():
        texts = sorted((factor_text(f.affine) for f in factors), key=_by_name)
        parts.append("*".join([str(k)] * (k != 1) + texts))
    if _constant(size.affine) != 0:
        parts.append(formula_text(size.affine))
    return " + ".join(parts).replace("+ -", "- ")
