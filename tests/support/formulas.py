"""Random formulas over h and w, and sizes to evaluate them at."""

import itertools

from hypothesis import strategies as st

NAMES = ("h", "w")


POINTS = [dict(zip(NAMES, p, strict=True)) for p in itertools.product(range(1, 9), range(1, 7))]


DIVISORS = st.sampled_from([-5, -2, -1, 1, 2, 3, 4, 5])


def formulas():
    """Python expressions over h and w that have a value for every size."""
    leaves = st.sampled_from([*NAMES, "1", "2", "3", "7"])

    def larger(inner):
        return st.one_of(
            st.tuples(inner, st.sampled_from("+-"), inner).map("({0[0]} {0[1]} {0[2]})".format),
            st.tuples(inner, DIVISORS).map("({0[0]} // {0[1]})".format),
            st.tuples(inner, DIVISORS).map("({0[0]} % {0[1]})".format),
            st.tuples(inner, st.integers(-3, 5)).map("({0[0]} * {0[1]})".format),
        )

    return st.recursive(leaves, larger, max_leaves=6)


def at(size, point):
    return size if isinstance(size, int) else size.at(**point)
