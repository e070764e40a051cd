"""Shorter formulas with the same values: ``(h + 7)//8`` for ``(7*h + 4)//8 - (3*h)//4``.

A short form is guessed from values, and counts only if isl proves it equal for all sizes.
"""

import contextlib
import math
from collections.abc import Iterator
from fractions import Fraction

import islpy as isl

from jaxconv.symbolic.sets import bounded, bounds, integer, names_of, parse_affine
from jaxconv.symbolic.sums import PARAM, Sum

ISL_OPERATIONS = 300_000  # of isl for one formula, after which it stays as it is
SAMPLES = 64  # values that a formula is guessed from
DENOMINATORS = 128  # of the fractions that are tried


def shorter(affine: isl.PwAff, domain: isl.Set) -> isl.PwAff:
    """Find a short form of a formula.

    Args:
        affine: the formula.
        domain: the sizes for which the values must be the same.

    Returns:
        A formula of one floor, one remainder or none; the one given where none is found.
    """
    with contextlib.suppress(isl.Error), bounded(ISL_OPERATIONS):
        pieces = affine.get_pieces()
        used = [i for i in range(affine.dim(PARAM)) if affine.involves_dims(PARAM, i, 1)]
        if len(used) != 1:
            return affine
        name = str(affine.get_dim_name(PARAM, used[0]))
        first = Sum.of(pieces[0][1])
        is_floor = len(first.floors) == 1 and not first.names and not first.floors[0][1].floors
        if len(pieces) == 1 and (is_floor or not first.floors):
            return affine
        values = _samples(affine, domain, name)
        if len(values) > 2:
            for text in _guesses(values, name, _slope(first)):
                guess = parse_affine(names_of(domain), text)
                if domain.is_subset(guess.eq_set(affine)):
                    return guess
    return affine


def shorter_or_zero(affine: isl.PwAff, domain: isl.Set) -> isl.PwAff:
    """Find a short form of a formula that may be 0 for small sizes, as the sides of empty maps are.

    Args:
        affine: the formula.
        domain: the sizes for which the values must be the same.

    Returns:
        What :func:`shorter` finds, or the larger one of 0 and a short form of the other values.
    """
    short = shorter(affine, domain)
    if short.n_piece() == 1:
        return short
    with contextlib.suppress(isl.Error), bounded(ISL_OPERATIONS):
        zero = parse_affine(names_of(domain), "0")
        positive = domain.intersect(affine.gt_set(zero))
        larger = shorter(affine.intersect_params(positive).gist_params(domain), positive)
        candidate = larger.max(zero)
        if larger.n_piece() == 1 and domain.is_subset(candidate.eq_set(affine)):
            return candidate
    return affine


def _samples(affine: isl.PwAff, domain: isl.Set, name: str) -> dict[int, int]:
    """The values of a formula for the first values of its name."""
    least, most = bounds(domain, parse_affine((name,), name))
    values: dict[int, int] = {}
    if least is None:
        return values
    position = domain.find_dim_by_name(PARAM, name)
    last = least + SAMPLES - 1
    for number in range(least, last + 1 if most is None else min(most, last) + 1):
        points = domain.fix_val(PARAM, position, integer(number))
        if not points.is_empty():
            value, _ = bounds(points, affine)
            if value is not None:
                values[number] = value
    return values


def _slope(one: Sum) -> Fraction:
    """The growth of a formula of one name, in the mean."""
    floors = sum((k * _slope(top) / divisor for k, top, divisor in one.floors), Fraction(0))
    return floors + sum(one.names.values())


def _guesses(values: dict[int, int], name: str, slope: Fraction) -> Iterator[str]:
    """Formulas of one floor or remainder with given values, in isl's notation."""
    numbers = set(values.values())
    if len(numbers) == 1:
        yield str(numbers.pop())
    elif slope == 0:  # of each piece: all may lie on one line nevertheless
        (first, low), (last, high) = min(values.items()), max(values.items())
        yield from _floors(values, name, Fraction(high - low, last - first), "", "")
        # k*((h + c) % d) + e, or with a minus sign.
        least, most = min(numbers), max(numbers)
        for sign, start in sorted([(1, least), (-1, most)], key=lambda end: end[1] != 0):
            heights = {x: sign * (value - start) for x, value in values.items()}
            k = math.gcd(*heights.values())
            d = (most - least) // k + 1
            zero = next(x for x, height in heights.items() if height == 0)
            c = -zero % d
            if all((x + c) % d * k == height for x, height in heights.items()):
                yield f"{sign * k}*(({name} + {c}) mod {d}) + {start}"
    else:
        rest = next(iter(values.values()))
        step = math.gcd(*(number - rest for number in numbers)) or 1
        for k in dict.fromkeys((1, step)):
            rest %= k
            inner = {x: (value - rest) // k for x, value in values.items()}
            yield from _floors(inner, name, slope / k, f"{k}*", f" + {rest}")


def _floors(
    values: dict[int, int], name: str, slope: Fraction, before: str, after: str
) -> Iterator[str]:
    """``(a*h + c)//d`` with the numerator's constant nearest to 0."""
    for scale in range(1, DENOMINATORS // slope.denominator + 1):
        a, d = slope.numerator * scale, slope.denominator * scale
        # c lies in d*value - a*x <= c < d*value - a*x + d for all x.
        low = max(d * value - a * x for x, value in values.items())
        high = min(d * value - a * x + d - 1 for x, value in values.items())
        if low <= high:
            c = min(max(0, low), high)
            yield f"{before}floor(({a}*{name} + {c})/{d}){after}"
            return
