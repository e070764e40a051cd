"""Rounding of floats, against Python's own floats."""

import math
import operator

import numpy as np
import pytest

from jaxconv.symbolic.lines import LARGEST_SIZE, rounded

PYTHON = {np.floor: math.floor, np.ceil: math.ceil, np.rint: round}
RECIPES = {
    "0.7*n": ((operator.mul, "n", 0.7), lambda n: n * 0.7),
    "1.1*n": ((operator.mul, 1.1, "n"), lambda n: 1.1 * n),
    "n/0.3": ((operator.truediv, "n", 0.3), lambda n: n / 0.3),
    "0.29*n + 0.5": (
        (operator.add, (operator.mul, "n", 0.29), 0.5),
        lambda n: n * 0.29 + 0.5,
    ),
    "1.3 - n*0.35": (
        (operator.sub, 1.3, (operator.mul, "n", 0.35)),
        lambda n: 1.3 - n * 0.35,
    ),
}
# Sizes of all magnitudes, many of them multiples of 20.
SIZES = [*range(500), *(20 * 7**k + i for k in range(8) for i in (0, 1, 10)), LARGEST_SIZE]


def value_at(result, function, size):
    value = result.slope * size + result.offset, result.denominator
    if function is np.rint:
        quotient, rest = divmod(*value)
        up = 2 * rest > value[1] or (2 * rest == value[1] and quotient % 2)
        whole = quotient + up
    else:
        whole = value[0] // value[1] if function is np.floor else -(-value[0] // value[1])
    return whole + sum(
        one.difference
        for one in result.ranges
        if one.first <= size <= one.last and (size - one.first) % one.step == 0
    )


@pytest.mark.parametrize("name", RECIPES)
def test_sizes_are_rounded_as_python_rounds_them(name):
    recipe, function = RECIPES[name]
    for rounding, by_python in PYTHON.items():
        result = rounded(recipe, rounding)
        if result is not None:
            wrong = [
                n
                for n in SIZES
                if n <= LARGEST_SIZE and value_at(result, rounding, n) != by_python(function(n))
            ]
            assert not wrong, (rounding, wrong)


def test_some_floats_are_just_below_an_integer():
    result = rounded((operator.mul, "n", 0.7), np.floor)
    assert result.ranges[0][:3] == (90, 90, 10)
    assert int(90 * 0.7) == 62


@pytest.mark.parametrize(
    "recipe",
    [
        (operator.mul, "n", "n"),
        (operator.truediv, 1, "n"),
        (operator.mul, "n", math.sqrt(2)),
        (operator.pow, "n", 0.5),
        (operator.mul, "n", 1e12 + 0.1),
    ],
)
def test_other_numbers_are_not_rounded(recipe):
    assert rounded(recipe, np.floor) is None
