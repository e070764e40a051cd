"""Intervals of numbers that are computed from sizes, compared with the numbers for each size."""

import itertools
import math
import operator
import random

import numpy as np
import pytest

import jaxconv as jc
from jaxconv.symbolic.intervals import BOUNDED, MONOTONE, interval_of
from jaxconv.symbolic.real import INTEGERS, Symbolic, apply_function
from jaxconv.symbolic.size import sizes_of
from jaxconv.symbolic.trace import Fork, SymbolicTrace, Undecided

CONSTANTS = (-2, -0.7, 0.3, 1, 1.5, 3, 10, 1e6)
UNARY = [f for f in (*MONOTONE, *BOUNDED) if isinstance(f, np.ufunc | type)] + [
    math.sqrt, math.exp, math.log, math.log2, math.log10, math.atan, math.sin, math.cos, math.tanh,
    math.erf, math.floor, math.ceil, round, operator.neg, int.bit_length,
]  # fmt: skip
BINARY = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod,
    operator.pow, math.pow, operator.and_, operator.rshift, math.log, round,
]  # fmt: skip
BITS = (operator.and_, operator.rshift, int.bit_length)


def recipe(rng, depth):
    """A random function of numbers h and w."""
    if depth == 0:
        chosen = rng.choice((*CONSTANTS, "h", "w", "h - w", "h*w"))
        names = {"h": 0, "w": 1}
        if chosen in names:
            return lambda *sizes: sizes[names[chosen]]
        operation = {"h - w": operator.sub, "h*w": operator.mul}.get(chosen)
        return operation or (lambda *_: chosen)
    one, other = (recipe(rng, rng.randrange(depth)) for _ in range(2))
    if rng.random() < 0.5:
        unary = rng.choice(UNARY)
        return lambda *sizes: computed(unary, one(*sizes))
    binary = rng.choice(BINARY)
    return lambda *sizes: computed(binary, one(*sizes), other(*sizes))


def computed(function, *arguments):
    if function in BITS and not all(isinstance(x, INTEGERS) for x in arguments):
        raise TypeError
    if function is operator.rshift and arguments[1] < 0:
        raise ValueError
    symbolic = any(map(is_symbolic, arguments))
    return apply_function(function, *arguments) if symbolic else function(*arguments)


def is_symbolic(x):
    return isinstance(x, Symbolic)


def test_an_integer_that_no_float_is_lies_in_its_interval():
    for number in (2**60 + 1, -(2**60) - 1, 2**53 + 1):
        assert interval_of(number).least <= number <= interval_of(number).most


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_each_number_lies_in_the_interval(draw):
    compared, bounded = 0, 0
    for seed in range(200):
        rng = random.Random(f"{draw} {seed}")
        function = recipe(rng, 3)
        condition = rng.choice(("h <= 9 and w <= 7", "3 <= h and h <= 11 and w <= 2*h and w <= 9"))
        trace = SymbolicTrace(jc.SizeSet.parse("h w", condition).points)
        sizes = sizes_of(trace)
        try:
            value = function(sizes["h"], sizes["w"])
            interval = interval_of(value) if is_symbolic(value) else None
        except (Fork, Undecided, ArithmeticError, ValueError, TypeError):
            continue
        if interval is None:
            continue
        bounded += interval != (-math.inf, math.inf)
        for h, w in itertools.product(range(1, 12), range(1, 10)):
            if not jc.SizeSet.parse("h w", condition).contains(h=h, w=w):
                continue
            try:
                number = function(h, w)
            except (ValueError, TypeError):  # NumPy's integers have 64 bits; complex numbers
                continue
            if isinstance(number, complex) or math.isnan(number):
                continue
            compared += 1
            assert interval.least <= number <= interval.most, (draw, seed, h, w, number, interval)
    assert compared > 1000
    assert bounded > 10
