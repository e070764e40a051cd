"""Formulas and conditions of specs over a set of sizes, case by case.

A formula that is no polynomial on all of the sizes, such as ``64//h``, is one on each of finitely
many parts: here for each value of the quotient.
"""

import ast
from collections.abc import Iterator

import islpy as isl

from jaxconv.symbolic.equality import zeros
from jaxconv.symbolic.order import where_ordered
from jaxconv.symbolic.polynomials import Polynomial, PolynomialRing
from jaxconv.symbolic.sets import bounded
from jaxconv.symbolic.size import Divided, Size, divide, polynomial_of
from jaxconv.symbolic.spec_errors import SpecError
from jaxconv.symbolic.specs import All, Comparison, Condition, Formula
from jaxconv.symbolic.trace import Fork, SymbolicTrace, Undecided

CASES = 1024  # of one formula, after which it is not decided
ISL_OPERATIONS = 10_000_000  # of isl for one condition, after which it is not decided


def where_holds(condition: Condition, domain: isl.Set) -> isl.Set:
    """Find where a condition of a spec holds.

    Args:
        condition: the condition.
        domain: the sizes to consider.

    Returns:
        The sizes of the domain for which it holds.

    Raises:
        SpecError: that cannot be decided, or the condition divides by zero.
    """
    try:
        with bounded(ISL_OPERATIONS):
            return _where(condition, domain).coalesce()
    except SpecError:
        raise
    except (isl.Error, RecursionError, ValueError):  # Python writes no number of 4300 digits
        raise _undecided(condition.text, "it takes too long") from None


def where_at_least_one(formula: Formula, domain: isl.Set) -> isl.Set:
    """Find where a formula of a spec is a size.

    Args:
        formula: the formula.
        domain: the sizes to consider.

    Returns:
        The sizes of the domain for which its value is 1 or more.

    Raises:
        SpecError: that cannot be decided, or the formula divides by zero.
    """
    one = Formula("1", ast.Constant(1))
    return where_holds(Comparison(formula.text, formula, ">=", one), domain)


def _where(condition: Condition, domain: isl.Set) -> isl.Set:
    if domain.is_empty():
        return domain
    if isinstance(condition, Comparison):
        return _Comparing(condition).where(domain)
    if isinstance(
        condition, All
    ):  # each is evaluated only where those before it hold, as in Python
        for part in condition.parts:
            domain = _where(part, domain)
        return domain
    rest = domain
    for part in condition.parts:
        rest = rest.subtract(_where(part, rest))
    return domain.subtract(rest)


class _Comparing:
    """One comparison, and the number of cases so far."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self.text = comparison.text
        self.cases = 0

    def where(self, domain: isl.Set) -> isl.Set:
        """Where the comparison holds."""
        left, symbol, right = (
            self.comparison.left.tree,
            self.comparison.symbol,
            self.comparison.right.tree,
        )
        if not _is_quotient(left) and _is_quotient(right):
            left, right, symbol = right, left, SWAPPED[symbol]
        holds = isl.Set.empty(domain.space)
        if symbol == "!=":
            equal = Comparison(self.text, self.comparison.left, "==", self.comparison.right)
            return domain.subtract(_Comparing(equal).where(domain))
        if isinstance(left, ast.BinOp) and _is_quotient(left):
            for dividend, divisor in self._pairs(left.left, left.right, domain):
                for one, by in self._of_positive_divisor(dividend, divisor):
                    for number in self._values(right, by.ring.domain):
                        holds = holds.union(self._of_quotient(one, by, symbol, number))
            return holds
        for one, other in self._pairs(left, right, domain):
            holds = holds.union(self._ordered(one - other, symbol))
        return holds

    def _of_quotient(
        self, dividend: Polynomial, divisor: Polynomial, symbol: str, number: Polynomial
    ) -> isl.Set:
        """Where ``dividend//divisor`` is in an order to a number, for a positive divisor."""
        ring = number.ring
        a, b = _in(ring, dividend), _in(ring, divisor)
        at_least = lambda limit: self._ordered(a - limit * b, ">=")  # noqa: E731
        following = number + ring.number(1)
        match symbol:
            case ">=":
                return at_least(number)
            case ">":
                return at_least(following)
            case "<":
                return ring.domain.subtract(at_least(number))
            case "<=":
                return ring.domain.subtract(at_least(following))
        return at_least(number).subtract(at_least(following))

    def _pairs(
        self, left: ast.expr, right: ast.expr, domain: isl.Set
    ) -> Iterator[tuple[Polynomial, Polynomial]]:
        """The values of two formulas over the same parts of the sizes."""
        for one in self._values(left, domain):
            for other in self._values(right, one.ring.domain):
                yield _in(other.ring, one), other

    def _values(self, tree: ast.expr, domain: isl.Set) -> Iterator[Polynomial]:
        """The values of a formula over parts of the sizes, which are the domains of their rings."""
        self._count()
        ring = PolynomialRing(domain)
        match tree:
            case ast.Name(id=name):
                yield ring.simplify(ring.formula(name), {})
            case ast.Constant(value=int(value)):
                yield ring.number(value)
            case ast.UnaryOp(operand=inner):
                yield from (-value for value in self._values(inner, domain))
            case ast.BinOp(left=left, op=operation, right=right):
                for one, other in self._pairs(left, right, domain):
                    yield from self._operation(operation, one, other)
            case ast.Call(func=ast.Name(id=name), args=[left, right]):
                for one, other in self._pairs(left, right, domain):
                    smaller = self._ordered(one - other, "<=" if name == "min" else ">=")
                    parts = (smaller, one), (one.ring.domain.subtract(smaller), other)
                    yield from (_on(where, value) for where, value in parts if not where.is_empty())

    def _operation(
        self, operation: ast.operator, one: Polynomial, other: Polynomial
    ) -> Iterator[Polynomial]:
        match operation:
            case ast.Add():
                yield one + other
            case ast.Sub():
                yield one - other
            case ast.Mult():
                yield one * other
            case _:
                yield from self._divided(operation, one, other)

    def _divided(
        self, operation: ast.operator, dividend: Polynomial, divisor: Polynomial
    ) -> Iterator[Polynomial]:
        """Quotients or remainders over parts of the sizes, where they are one formula each."""
        self._refuse_zero(divisor)
        is_quotient = isinstance(operation, ast.FloorDiv)
        pending = [divisor.ring.domain]
        while pending:
            self._count()
            trace = SymbolicTrace(pending.pop())
            one, other = (Size(trace, _in(trace.ring, p)) for p in (dividend, divisor))
            try:
                quotient, remainder = divide(one, other, CASES)
                result = quotient if is_quotient else remainder
                if isinstance(result, Divided) and is_quotient:
                    result = result.number()  # by the remainders of the factors
                elif isinstance(result, Divided):
                    rests = (n for n, points in result.cases() if trace.settle(points))
                    result = next(rests, None)
            except Fork as fork:
                points = fork.condition.intersect(trace.domain)
                pending += [trace.domain.subtract(points), points]
                continue
            except Undecided:
                result = None
            if result is None:
                by_number = divisor.constant is not None
                why = "it divides a product of sizes" if by_number else "it has too many cases"
                raise self._error(why)
            yield polynomial_of(result, trace)

    def _refuse_zero(self, divisor: Polynomial) -> None:
        zero, exact = zeros(divisor)
        if not exact:
            raise self._error(f"it divides by {divisor}")
        if not zero.is_disjoint(divisor.ring.domain):
            text = f"({self.text})" if " or " in self.text or "," in self.text else self.text
            raise SpecError(
                f"{self.text} divides by zero, as {divisor} may be 0.\n"
                f"  Fix: exclude that first: {divisor} != 0 and {text}."
            )

    def _of_positive_divisor(
        self, dividend: Polynomial, divisor: Polynomial
    ) -> Iterator[tuple[Polynomial, Polynomial]]:
        """A dividend and a divisor with the same quotient, the divisor positive."""
        self._refuse_zero(divisor)
        domain = divisor.ring.domain
        positive = self._ordered(divisor, ">")
        for points, sign in ((positive, 1), (domain.subtract(positive), -1)):
            if not points.is_empty():
                yield (_on(points, dividend.scaled(sign)), _on(points, divisor.scaled(sign)))

    def _ordered(self, difference: Polynomial, symbol: str) -> isl.Set:
        points = where_ordered(difference, symbol)
        if points is None:
            raise self._error("it compares products of sizes that are not bounded")
        return points.intersect(difference.ring.domain)

    def _count(self) -> None:
        self.cases += 1
        if self.cases > CASES:
            raise self._error("it has too many cases")

    def _error(self, why: str) -> SpecError:
        compared = self.comparison.left.tree, self.comparison.symbol, self.comparison.right.tree
        match compared:
            case (ast.BinOp(ast.Name(n), ast.Mod(), ast.Name(divisor)), "==", ast.Constant(0)):
                fix = f"write {n} as a product in the spec, such as {n}_per_{divisor}*{divisor}"
                return _undecided(self.text, why, f"{fix}, in the place of this condition")
        return _undecided(self.text, why)


SWAPPED = {"<": ">", "<=": ">=", "==": "==", "!=": "!=", ">=": "<=", ">": "<"}


def _is_quotient(tree: ast.expr) -> bool:
    """Whether a formula divides by one that has names."""
    if not (isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.FloorDiv)):
        return False
    return any(isinstance(node, ast.Name) for node in ast.walk(tree.right))


def _on(points: isl.Set, polynomial: Polynomial) -> Polynomial:
    """A polynomial on a part of its domain, as simple as it is there."""
    return _in(PolynomialRing(points), polynomial)


def _in(ring: PolynomialRing, polynomial: Polynomial) -> Polynomial:
    """A polynomial in the ring of a part of its domain, as simple as it is there."""
    total = ring.simplify(polynomial.affine, {})
    for factors, k in polynomial.products.items():
        product = ring.number(k)
        for factor in factors:
            product = product * ring.simplify(factor.affine, {})
        total = total + product
    return total


def _undecided(
    text: str,
    why: str,
    fix: str = "bound the sizes first, such as h <= 255, or divide by numbers only",
) -> SpecError:
    return SpecError(f"{text} cannot be decided for all sizes: {why}.\n  Fix: {fix}.")
