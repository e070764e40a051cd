"""Numbers that are computed from sizes, compared with Python's at each size, one by one."""

import itertools
import math
import operator
from fractions import Fraction

import numpy as np
import pytest

import jaxconv as jc
from jaxconv.symbolic.domains import split
from jaxconv.symbolic.real import number_of
from jaxconv.symbolic.sets import SizeSet
from jaxconv.symbolic.size import sizes_of
from jaxconv.symbolic.trace import Fork, SymbolicTrace, Undecided

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
