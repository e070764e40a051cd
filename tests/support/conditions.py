"""Random conditions on h and w, and what Python says of them."""

import itertools

from hypothesis import strategies as st

import jaxconv as jc
from jaxconv.symbolic.domains import domain_of

SIZES = [*range(1, 10), 30, 64, 65]
POINTS = [{"h": h, "w": w} for h, w in itertools.product(SIZES, SIZES)]


def formulas():
    """Formulas that may divide by zero."""
    leaves = st.sampled_from(["h", "w", "1", "2", "3", "7", "64"])
    patterns = st.sampled_from(
        ["({} + {})", "({} - {})", "({}*{})", "({}//{})", "({} % {})", "min({},{})", "max({},{})"]
    )

    def larger(inner):
        return st.tuples(patterns, inner, inner).map(lambda parts: parts[0].format(*parts[1:]))

    return st.recursive(leaves, larger, max_leaves=3)


def conditions():
    """Comparisons joined by and, or and not."""
    symbols = st.sampled_from(["<", "<=", "==", "!=", ">=", ">"])
    comparisons = st.tuples(formulas(), symbols, formulas()).map(" ".join)

    def larger(inner):
        either = st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join)
        return st.one_of(either.map("({})".format), inner.map("not ({})".format))

    return st.recursive(comparisons, larger, max_leaves=3)


def value(text, point):
    """What Python says; None where it divides by zero."""
    try:
        return bool(eval(text, {"min": min, "max": max}, dict(point)))
    except ZeroDivisionError:
        return None


def decided(text):
    """The sizes for which a condition holds; None where it is refused."""
    try:
        return jc.SizeSet(domain_of(["h", "w"], text))
    except jc.SpecError as error:
        return jc.SizeSet.parse("h w", "h = 0") if "for no size" in str(error) else None
