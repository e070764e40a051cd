"""Where functions of numbers have no value, compared with Python's errors for many numbers."""

import itertools
import math
import operator

import numpy as np
import pytest

import jaxconv as jc
from jaxconv.symbolic.trace import SymbolicTrace
from jaxconv.symbolic.undefined import ERRORS, TOTAL, raise_where_undefined

NUMBERS = (
    *range(-3, 8), 20, 34, 35, 170, 171, 172, 709, 710, 711, 1023, 1024, 1030, 4096, 2**20,
    -0.5, 0.0, 0.25, 0.5, 1.0, 1.5, 2.5, -1.0, 709.7, 709.8, 710.4, 710.5, 171.7, 1e200, 1e-200,
)  # fmt: skip
OF_TWO = {
    operator.truediv, operator.floordiv, operator.mod, operator.pow, operator.add, operator.sub,
    operator.mul, math.pow, math.fmod, math.remainder, math.comb, math.perm, math.atan2,
    math.copysign, math.hypot, math.isclose, math.nextafter,
}  # fmt: skip
OF_INTEGERS = {
    math.factorial, math.comb, math.perm, operator.and_, operator.or_, operator.xor,
    int.bit_length, operator.lshift, operator.rshift,
}  # fmt: skip
OF_TWO |= {operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift}


def error_of(function, *arguments):
    """The error that Python raises; an arithmetic one of any type counts as one."""
    try:
        function(*arguments)
    except (ArithmeticError, ValueError) as error:
        return type(error)
    return None


def predicted(function, *arguments):
    trace = SymbolicTrace(jc.SizeSet.parse("h").points)
    return error_of(lambda *given: raise_where_undefined(trace, function, *given), *arguments)


def is_left_out(function, arguments):
    """Whether nothing is predicted of such arguments."""
    if function in (operator.lshift, operator.rshift):
        return arguments[1] < 0  # is found before
    if function not in (operator.pow, math.pow):
        return False
    base, exponent = arguments
    if function is operator.pow and all(isinstance(n, int) for n in arguments):
        return exponent > 1  # integers of any size
    return abs(exponent) > 1 and base != 0 and not 2**-52 <= abs(base) <= 2**52


@pytest.mark.parametrize("function", sorted([*ERRORS, *TOTAL], key=str), ids=lambda f: f.__name__)
def test_an_error_is_raised_where_python_raises_one(function):
    numbers = NUMBERS
    if function in OF_INTEGERS:
        numbers = [n for n in numbers if isinstance(n, int) and n < 1000]
    every = itertools.product(numbers, repeat=2 if function in OF_TWO else 1)
    tried = [arguments for arguments in every if not is_left_out(function, arguments)]
    assert len(tried) > 5
    for arguments in tried:
        assert predicted(function, *arguments) == error_of(function, *arguments), arguments


def test_a_logarithm_to_a_base_has_the_errors_of_both():
    for arguments in itertools.product((-1, 0, 0.5, 1, 1.0, 2, 10), repeat=2):
        assert predicted(math.log, *arguments) == error_of(math.log, *arguments), arguments


def test_numbers_of_numpy_warn_and_raise_nothing():
    assert predicted(operator.truediv, np.float64(3), 0) is None
    assert predicted(operator.truediv, 3, np.float64(0)) is None
    assert predicted(operator.pow, np.float64(0), -1) is None
    assert predicted(math.log, np.float64(0)) is ValueError
