"""Where functions of real numbers raise an error, which the recipe of a number does not show.

Code often computes a number from sizes whose value is never asked for. So it is asked here for
which sizes the number has a value: ``1 / (math.sqrt(h) - 2)`` has none for 4.
"""

import math
import operator
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxconv.symbolic.intervals import KNOWN
from jaxconv.symbolic.recipes import remembered
from jaxconv.symbolic.trace import SymbolicTrace

LARGEST = sys.float_info.max
MOST_BITS = sys.float_info.max_exp
LARGEST_BASE = 2**52  # of a power: larger numbers are not evaluated as floats

# Whether arguments are wrong: its questions fork the domain; None where it is not known.
Condition = Callable[..., bool | None]
Rule = tuple[Condition, type[Exception], str]


def raise_where_undefined(
    trace: SymbolicTrace, function: Callable[..., Any], *arguments: Any
) -> None:
    """Raise the error that a function raises for numbers of which some are symbolic.

    Args:
        trace: in which they are.
        function: of Python, :mod:`math` or NumPy.
        *arguments: the numbers.

    Raises:
        ArithmeticError: it cannot be computed, for any of the sizes considered.
        ValueError: likewise.
        Fork: it raises an error for some of the sizes only.
        Undecided: it is not known for which.
    """
    never = isinstance(function, np.ufunc | type) or function in TOTAL
    if never or (function in OPERATORS and any(map(is_of_numpy, arguments))):
        return
    for is_wrong, kind, text in ERRORS.get(function, UNKNOWN):
        wrong = is_wrong(*arguments)
        if wrong is None:
            name = getattr(function, "__name__", "a function")
            named = ", ".join(map(str, arguments))
            raise trace.undecided(f"whether {name}({named}) is a number")
        if wrong:
            raise kind(text)


@remembered
def is_of_numpy(value: Any) -> bool:
    """Whether arithmetic with a number is that of NumPy, which warns and raises no error.

    Args:
        value: a number, symbolic or not.
    """
    function = getattr(value, "function", None)  # of a recipe
    return isinstance(value, np.generic) or (
        isinstance(function, np.ufunc)
        or (function in OPERATORS and any(map(is_of_numpy, value.arguments)))
    )


def _is_whole(x: Any) -> bool:
    return float(x).is_integer() if isinstance(x, KNOWN) else bool(x.is_integer())


def _has_no_power(base: Any, exponent: Any) -> bool:
    is_positive = isinstance(exponent, KNOWN) and exponent >= 0
    return not is_positive and bool(base == 0 and exponent < 0)


def _has_complex_power(base: Any, exponent: Any) -> bool:
    return not (base >= 0 or _is_whole(exponent))


@remembered
def is_complex(value: Any) -> bool:
    """Whether a number is a complex one, as roots of negative numbers are.

    Args:
        value: a number, symbolic or not, that has been computed.
    """
    function = getattr(value, "function", None)
    if function is operator.pow and _has_complex_power(*value.arguments):
        return not is_of_numpy(value)
    return function in OPERATORS and any(map(is_complex, value.arguments))


def _largest_base(exponent: float) -> float:
    """The largest number whose power is finite."""
    base = LARGEST ** (1 / exponent) if exponent > 1 else LARGEST
    while True:
        try:
            math.pow(base, exponent)
        except OverflowError:  # as the root was rounded up
            base = math.nextafter(base, 0)
        else:
            return base


def _has_large_power(base: Any, exponent: Any) -> bool | None:
    if isinstance(exponent, KNOWN):
        largest = _largest_base(abs(float(exponent)))
        if largest > LARGEST_BASE:
            return False
        return abs(base) > largest if exponent > 0 else abs(base) < 1 / largest
    if not isinstance(base, KNOWN):
        return None
    bits = math.log2(abs(base)) if base else 0
    if bits == 0:
        return False
    return exponent >= MOST_BITS / bits if bits > 0 else exponent <= MOST_BITS / bits


DIVISION: Rule = (lambda _, b: b == 0, ZeroDivisionError, "division by zero")
DOMAIN = ValueError, "math domain error"
RANGE = OverflowError, "math range error"
LARGEST_EXPONENT = math.log(LARGEST)
LARGEST_OF_GAMMA = 171.62437695630274

OPERATORS = (
    operator.add, operator.sub, operator.mul, operator.neg, operator.truediv, operator.floordiv,
    operator.mod, operator.pow,
)  # fmt: skip
# Functions that give a number for all numbers.
TOTAL = frozenset((
    abs, round, operator.add, operator.sub, operator.mul, operator.neg, operator.and_,
    operator.or_, operator.xor, operator.lshift, operator.rshift, int.bit_length,
    math.asinh, math.atan, math.atan2, math.cbrt, math.copysign, math.cos, math.degrees, math.erf,
    math.erfc, math.fabs, math.frexp, math.hypot, math.isclose, math.isfinite, math.isinf,
    math.isnan, math.modf, math.nextafter, math.radians, math.sin, math.tan, math.tanh, math.ulp,
))  # fmt: skip
LARGE_POWER: Rule = (_has_large_power, OverflowError, "Numerical result out of range")
ERRORS: dict[Callable[..., Any], tuple[Rule, ...]] = {
    **dict.fromkeys((operator.truediv, operator.floordiv, operator.mod), (DIVISION,)),
    operator.pow: (
        (_has_no_power, ZeroDivisionError, "0.0 cannot be raised to a negative power"),
        LARGE_POWER,
    ),
    math.pow: ((_has_no_power, *DOMAIN), (_has_complex_power, *DOMAIN), LARGE_POWER),
    math.sqrt: ((lambda x: x < 0, *DOMAIN),),
    math.log: (
        (lambda x, base=math.e: x <= 0 or base <= 0, *DOMAIN),
        (lambda _, base=math.e: base == 1, ZeroDivisionError, "division by zero"),
    ),
    **dict.fromkeys((math.log2, math.log10), ((lambda x: x <= 0, *DOMAIN),)),
    math.log1p: ((lambda x: x <= -1, *DOMAIN),),
    **dict.fromkeys((math.exp, math.expm1), ((lambda x: x > LARGEST_EXPONENT, *RANGE),)),
    math.exp2: ((lambda x: x >= MOST_BITS, *RANGE),),
    **dict.fromkeys(
        (math.cosh, math.sinh), ((lambda x: abs(x) > LARGEST_EXPONENT + math.log(2), *RANGE),)
    ),
    **dict.fromkeys((math.acos, math.asin), ((lambda x: x < -1 or x > 1, *DOMAIN),)),
    math.acosh: ((lambda x: x < 1, *DOMAIN),),
    math.atanh: ((lambda x: x <= -1 or x >= 1, *DOMAIN),),
    math.gamma: (
        (lambda x: x <= 0 and _is_whole(x), *DOMAIN),
        (lambda x: x > LARGEST_OF_GAMMA, *RANGE),
    ),
    math.lgamma: ((lambda x: x <= 0 and _is_whole(x), *DOMAIN),),
    **dict.fromkeys((math.fmod, math.remainder), ((lambda _, b: b == 0, *DOMAIN),)),
    math.factorial: ((lambda n: n < 0, *DOMAIN),),
    **dict.fromkeys((math.comb, math.perm), ((lambda n, k=0: n < 0 or k < 0, *DOMAIN),)),
}
UNKNOWN: tuple[Rule, ...] = ((lambda *_: None, *DOMAIN),)
