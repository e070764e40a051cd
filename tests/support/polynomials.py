"""Random polynomials over b, h and w as Python expressions, and sizes to evaluate them at."""

import functools
import itertools
import operator

from hypothesis import strategies as st

from jaxconv.symbolic.polynomials import PolynomialRing
from jaxconv.symbolic.sets import SizeSet

NAMES = ("b", "h", "w")
ORDERS = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    ">=": operator.ge,
    ">": operator.gt,
}
POINTS = [
    dict(zip(NAMES, sizes, strict=True))
    for sizes in itertools.product((1, 2, 3), (*range(1, 8), 20), (*range(1, 8), 23))
]
FACTORS = ("b", "h", "w", "(h - 3)", "(w + 1)", "(2*h + w)", "(5 - h)", "(w//2)")
COEFFICIENTS = st.sampled_from([1, 1, 2, -1, -2, 3, -4])
DOMAINS = st.sampled_from(["", "h >= 2", "h <= 6", "w mod 2 = 0", "h mod 3 = 1 and w >= 4"])
PRODUCTS = st.tuples(COEFFICIENTS, st.lists(st.sampled_from(FACTORS), min_size=1, max_size=3))


def polynomials():
    """Sums of up to three products, and a number."""
    numbers = st.sampled_from([0, 0, -1, 5, -9, -16, -36, 7])
    return st.tuples(st.lists(PRODUCTS, min_size=1, max_size=3), numbers).map(
        lambda parts: " + ".join("*".join([str(k), *fs]) for k, fs in parts[0]) + f" + {parts[1]}"
    )


def ring_over(where=""):
    """The polynomials over sizes of a condition in isl's notation."""
    return PolynomialRing(SizeSet.parse(NAMES, where).points)


def read(ring, text):
    """The polynomial of an expression."""

    class Operand:
        def __init__(self, polynomial):
            self.polynomial = polynomial

        def __add__(self, other):
            return Operand(self.polynomial + _polynomial(other))

        def __sub__(self, other):
            return Operand(self.polynomial - _polynomial(other))

        def __mul__(self, other):
            return Operand(self.polynomial * _polynomial(other))

        def __rsub__(self, other):
            return Operand(_polynomial(other) - self.polynomial)

        def __floordiv__(self, other):
            return Operand(self.polynomial.divide(other)[0])

        __radd__, __rmul__ = __add__, __mul__

    def _polynomial(value):
        return value.polynomial if isinstance(value, Operand) else ring.number(value)

    names = {name: Operand(ring.simplify(ring.formula(name), {})) for name in NAMES}
    return _polynomial(eval(text, names))


def values(ring, text):
    """The points of a ring's domain, and the values of an expression there."""
    inside = SizeSet(ring.domain)
    return [(point, eval(text, dict(point))) for point in POINTS if inside.contains(**point)]


@functools.cache
def set_at(b, h, w):
    """The set of one point."""
    return SizeSet.parse(NAMES, f"b = {b} and h = {h} and w = {w}").points
