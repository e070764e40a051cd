"""Numbers that are computed from sizes, compared with Python's at each size, one by one."""

import itertools
import math
import operator
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from jaxconv.symbolic.domains import split
from jaxconv.symbolic.real import number_of
from jaxconv.symbolic.sets import SizeSet
from jaxconv.symbolic.size import sizes_of
from jaxconv.symbolic.trace import Fork, SymbolicTrace, Undecided
from tests.support.networks import Network
from tests.support.oracle import disagreement

LARGEST = 3  # of the sizes that are compared
NUMBERS = {
    "a product": lambda h, w: h * w,
    "a quotient": lambda h, w: h * w // 2,
    "a remainder": lambda h, w: (h * w + 1) % 5,
    "bits": lambda h, w: h.bit_length(),
    "a fraction": lambda h, w: h / 3,
}
UNARY = (
    operator.neg, operator.pos, operator.invert, abs, bool, round, math.floor, math.ceil,
    lambda n: n.bit_length(), lambda n: -n % 2, lambda n: ~n // 2,
)  # fmt: skip
BINARY = (
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod,
    operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift, divmod, max, min,
    operator.eq, operator.le, operator.gt,
)  # fmt: skip
OTHERS = (-3, 2.5, 50**0.5, np.int64(3), np.float32(1.5), Fraction(7, 3), "2")


def numbers(result):
    return tuple(map(number_of, result)) if isinstance(result, tuple) else number_of(result)


def outcome(function, sizes):
    """What a function of sizes returns, or the type of the error that it raises."""
    try:
        return numbers(function(**sizes))
    except Exception as error:
        return type(error)


def differences(function):
    """The sizes at which a function of formulas does not what it does with numbers."""
    work = [SizeSet.parse(("h", "w"), f"h <= {LARGEST} and w <= {LARGEST}").points]
    while work:
        trace = SymbolicTrace(work.pop())
        trace.substituted = frozenset([id(globals())])
        try:
            found = outcome(function, sizes_of(trace))
        except Fork as fork:
            work += split(trace.domain, fork.condition)
            continue
        if found is Undecided:  # a question, which is no answer
            continue
        domain = SizeSet(trace.domain)
        for h, w in itertools.product(range(1, LARGEST + 1), repeat=2):
            if domain.contains(h=h, w=w) and found != (true := outcome(function, {"h": h, "w": w})):
                yield {"h": h, "w": w}, found, true


@pytest.mark.parametrize("name", NUMBERS)
def test_operators_give_what_they_give_for_numbers(name):
    number = NUMBERS[name]
    for function in UNARY:
        found = list(differences(lambda h, w, f=function: f(number(h, w))))
        assert not found, (function, found[0])
    for function, other in itertools.product(BINARY, OTHERS):
        for swapped in (False, True):

            def applied(h, w, f=function, other=other, swapped=swapped):
                pair = (number(h, w), other)
                return f(*(pair[::-1] if swapped else pair))

            found = list(differences(applied))
            assert not found, (function, other, swapped, found[0])


def test_floats_below_zero_are_rounded_towards_zero():
    verdict = jc.check(lambda x: x[: int(4 - x.shape[0] * 0.3) + 6], "h", where="h <= 30")
    assert verdict.status == "proven"
    for h in range(1, 31):
        assert eval(str(verdict.outputs), {"h": h}) == (min(h, int(4 - h * 0.3) + 6),)


ROOTS = {
    "of a square": lambda h, w: math.sqrt(h * h),
    "of a square of a quotient": lambda h, w: np.sqrt((h // 16) * (h // 16)),
    "of a square of a sum": lambda h, w: ((2 * h + 3) * (3 + 2 * h)) ** 0.5,
    "of a square of a difference": lambda h, w: math.pow((h - 7) * (h - 7), 0.5),
    "of squares": lambda h, w: math.isqrt(9 * h * h * w * w),
}
OTHER_ROOTS = {
    "of squares beside a number": lambda h, w: math.isqrt((h * w - 5) ** 2),
    "of a square and a number": lambda h, w: math.isqrt(h * h + 1),
    "of a product": lambda h, w: math.isqrt(h * w),
    "of a number of squares": lambda h, w: math.isqrt(2 * h * h),
    "of a cube": lambda h, w: math.sqrt(h * h * h),
    "of a product that is not a square": lambda h, w: math.sqrt(h * h + 2 * h * w),
    "of a square below 0": lambda h, w: math.sqrt(abs(-h * h)) - h,
    "third": lambda h, w: (h * h) ** (1 / 3),
}


@pytest.mark.parametrize("name", ROOTS | OTHER_ROOTS)
def test_roots_of_squares_are_formulas(name):
    root = (ROOTS | OTHER_ROOTS)[name]
    network = Network(lambda x: jnp.zeros(1 + int(root(*x.shape))), ("h w",), None, ())
    verdict = jc.check(network.fn, *network.specs)
    points = [{"h": h, "w": w} for h in range(1, 36, 2) for w in (1, 4, 9)]
    decided = [point for point in points if not verdict.untried.contains(**point)]
    assert not any(disagreement(network, verdict, point) for point in decided)
    assert decided == points or name not in ROOTS
