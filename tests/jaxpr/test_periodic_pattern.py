"""What neurons of endless maps see, against explicit sets of pixels."""

from fractions import Fraction

import numpy as np
import pytest

import jaxconv as jc
from jaxconv.jaxpr.periodic_pattern import PeriodicPattern, change_pattern, hull

NEURONS = range(-12, 13)


def interval(pixels):
    return (min(pixels), max(pixels) + 1) if pixels else None


def window(rng, pattern, sees):
    kernel, stride, dilation = (int(n) for n in rng.integers(1, 4, 3))
    low, stride = int(rng.integers(-3, 4)), stride * int(rng.choice([1, 1, -1]))
    return pattern.window(kernel, stride, dilation, low), lambda y: {
        pixel for i in range(kernel) for pixel in sees(y * stride + i * dilation - low)
    }


def dilate(rng, pattern, sees):
    factor = int(rng.integers(1, 4))
    return pattern.dilate(factor), lambda y: set() if y % factor else sees(y // factor)


def repeat(rng, pattern, sees):
    factor = int(rng.integers(1, 4))
    return pattern.repeat(factor), lambda y: sees(y // factor)


def read(rng, pattern, sees):
    stride, offsets = int(rng.integers(0, 4)), rng.integers(-5, 6, 3).tolist()
    return pattern.read(stride, offsets), lambda y: {
        pixel for offset in offsets for pixel in sees(y * stride + offset)
    }


def cover(rng, pattern, sees):
    size = int(rng.integers(1, 9))
    return pattern.cover(size), lambda y: {p for i in range(size) for p in sees(i)}


OPERATIONS = (window, window, dilate, repeat, read)


def random_pattern(rng, operations=OPERATIONS):
    """A pattern, and a function from the index of a neuron to the pixels that it sees."""
    pattern, sees = PeriodicPattern(), lambda y: {y}
    for number in rng.integers(0, len(operations), rng.integers(0, 4)):
        pattern, sees = operations[number](rng, pattern, sees)
    return pattern, sees


@pytest.mark.parametrize("last", [window, dilate, repeat, read, cover])
def test_operations_see_what_sets_of_pixels_say(last):
    rng = np.random.default_rng(0)
    for _ in range(150):
        pattern, sees = last(rng, *random_pattern(rng))
        assert [pattern.at(y) for y in NEURONS] == [interval(sees(y)) for y in NEURONS]


def test_a_join_sees_what_either_sees_or_is_unknown_where_one_runs_ahead():
    rng, joined = np.random.default_rng(1), 0
    for _ in range(300):
        (a, a_sees), (b, b_sees) = random_pattern(rng), random_pattern(rng)
        both = a.join(b)
        same_speed = Fraction(a.step, len(a.intervals)) == Fraction(b.step, len(b.intervals))
        assert (both is not None) == same_speed
        if both is not None:
            assert [both.at(y) for y in NEURONS] == [
                interval(a_sees(y) | b_sees(y)) for y in NEURONS
            ]
            joined += 1
    assert joined > 30


def test_numbers_of_a_pattern():
    rng = np.random.default_rng(2)
    for _ in range(100):
        pattern, sees = random_pattern(rng)
        period = len(pattern.intervals)
        sets = [sees(y) for y in range(period)]
        assert pattern.size == max(max(s) + 1 - min(s) if s else 0 for s in sets)
        assert pattern.offset == (min(sets[0]) if sets[0] else None)
        assert pattern.sees_something == tuple(map(bool, sets))
        assert pattern.stride * period == pattern.step
        assert PeriodicPattern(pattern.intervals, 99).with_numbers(pattern.numbers) == pattern
        moved = pattern.with_numbers([n + 1 for n in pattern.numbers])
        assert moved.at(0) == ((sets[0] and (min(sets[0]) + 1, max(sets[0]) + 2)) or None)


@pytest.mark.parametrize(("period", "step"), [(1, 1), (1, 2), (2, 1), (3, 2), (2, 3)])
def test_reads_of_a_resized_image_are_fitted(period, step):
    rng = np.random.default_rng(period * 10 + step)
    for turns in (5, 6, 9):
        phases = [sorted(rng.integers(-2, 3, 2).tolist()) for _ in range(period)]
        outputs, size = period * turns, step * turns
        pairs = [[n + y // period * step for n in phases[y % period]] for y in range(outputs)]
        firsts, lasts = np.clip(pairs, 0, size - 1).T
        before, sees = random_pattern(rng, (window, repeat))
        while len(before.intervals) > 1 or before.step < 0:
            before, sees = random_pattern(rng, (window, repeat))
        pattern = before.fit(firsts, lasts, size)
        expected = [interval(sees(first) | sees(last)) for first, last in pairs]
        assert [pattern.at(y) for y in range(outputs)] == expected
        table = (np.arange(size) >= firsts[:, None]) & (np.arange(size) <= lasts[:, None])
        assert before.read_rows(table) == pattern
        broken = firsts.copy()
        broken[outputs // 3] = (broken[outputs // 3] + size // 2) % size
        assert before.fit(broken, np.maximum(broken, lasts), size) is None


def test_what_cannot_be_fitted():
    rows = np.arange(4)
    assert PeriodicPattern(((0, 1), (5, 6)), 9).fit(rows, rows, 4) is None  # two kinds of neurons
    assert PeriodicPattern().fit(rows[:0], rows[:0], 4) is None
    assert PeriodicPattern().fit(rows, rows, 0) is None
    blind = np.eye(4, dtype=bool)
    blind[2] = False
    assert PeriodicPattern().read_rows(blind) is None
    assert PeriodicPattern().read_rows(np.eye(4, dtype=bool)) == PeriodicPattern()


def test_the_hull_of_intervals():
    assert hull([None, None]) is None
    assert hull([]) is None
    assert hull([(3, 5), None, (-1, 0)]) == (-1, 5)
    (n,) = jc.sizes("n")
    assert [str(end) for end in hull([(0, n), (1, n + 2)])] == ["0", "n + 2"]


def test_an_unknown_pattern_and_an_undecided_one():
    (n,) = jc.sizes("n")
    assert change_pattern(lambda pattern: pattern.dilate(2), None) is None
    assert change_pattern(lambda pattern: pattern.dilate(2), PeriodicPattern()).step == 1
    longer = PeriodicPattern(((0, 1), None), 1)
    assert change_pattern(lambda pattern: pattern.cover(n), PeriodicPattern()).size == n
    assert change_pattern(lambda pattern: pattern.cover(n), longer) is None
