"""What neurons see along one axis of an image, against explicit sets of pixels."""

from dataclasses import replace

import numpy as np
import pytest

import jaxconv as jc
from jaxconv.jaxpr.axis_field import (
    NO_PIXEL,
    AxisField,
    align_blind,
    change_axis,
    concatenate_fields,
    is_at_least,
    is_equal,
    join_fields,
    same_fields,
)
from jaxconv.jaxpr.periodic_pattern import LONGEST, PeriodicPattern
from jaxconv.jaxpr.window_axis import WindowAxis

PIXELS = 9
MAP_AXIS = 1


def bounds(sets):
    return (
        [min(pixels, default=NO_PIXEL) for pixels in sets],
        [max(pixels, default=-NO_PIXEL - 1) + 1 for pixels in sets],
    )


def assert_sees(axis_field, sets):
    assert [ends.tolist() for ends in axis_field.bounds] == [*bounds(sets)]
    assert axis_field.is_blind() == any(not pixels for pixels in sets)


def union(sets, indices):
    return {p for i in indices if 0 <= i < len(sets) for p in sets[i]}


def window(rng, axis_field, sets):
    count, kernel, stride, dilation = (int(n) for n in rng.integers(1, 5, 4))
    low = int(rng.integers(-3, 4))
    seen = [
        union(sets, [y * stride + i * dilation - low for i in range(kernel)]) for y in range(count)
    ]
    return axis_field.window(count, kernel, stride, dilation, low), seen


def slide(rng, axis_field, sets):
    count, kernel, stride, dilation, gap = (int(n) for n in rng.integers(1, 4, 5))
    low = int(rng.integers(-2, 3))
    axis = WindowAxis(0, MAP_AXIS, len(sets), count, kernel, stride, (low, 0), dilation, gap)
    seen = [union(sets, [i for i in axis.input_indices(y) if i >= 0]) for y in range(count)]
    return axis_field.slide(axis), seen


def dilate(rng, axis_field, sets):
    factor = int(rng.integers(1, 4))
    seen = [
        sets[i // factor] if i % factor == 0 else set() for i in range((len(sets) - 1) * factor + 1)
    ]
    return axis_field.dilate(factor), seen


def repeat(rng, axis_field, sets):
    factor = int(rng.integers(1, 4))
    return axis_field.repeat(factor), [pixels for pixels in sets for _ in range(factor)]


def tile(rng, axis_field, sets):
    factor = int(rng.integers(1, 4))
    return axis_field.tile(len(sets), factor), sets * factor


def read_rows(rng, axis_field, sets):
    table = rng.random((4, len(sets))) < 0.3
    return axis_field.read_rows(table), [union(sets, np.flatnonzero(row)) for row in table]


def take(rng, axis_field, sets):
    indices = rng.integers(0, len(sets), 5)
    return axis_field.take(indices), [sets[i] for i in indices]


def accumulate(rng, axis_field, sets):
    backwards = bool(rng.integers(2))
    parts = [range(y, len(sets)) if backwards else range(y + 1) for y in range(len(sets))]
    return axis_field.accumulate(backwards), [union(sets, part) for part in parts]


OPERATIONS = {
    operation.__name__: operation
    for operation in (window, slide, dilate, repeat, tile, read_rows, take, accumulate)
}


def random_field(rng):
    """A field, and the pixels that each neuron sees."""
    axis_field, sets = AxisField.of_image(MAP_AXIS, PIXELS), [{n} for n in range(PIXELS)]
    for name in rng.choice([*OPERATIONS], rng.integers(0, 4)):
        axis_field, sets = OPERATIONS[name](rng, axis_field, sets)
    return axis_field, sets


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_see_what_sets_of_pixels_say(name):
    rng = np.random.default_rng([*OPERATIONS].index(name))
    for _ in range(150):
        axis_field, sets = OPERATIONS[name](rng, *random_field(rng))
        assert_sees(axis_field, sets)
        assert axis_field.axis == MAP_AXIS
        intervals = [(min(s), max(s) + 1) if s else (0, 0) for s in sets]
        assert [axis_field.interval(y, PIXELS) for y in range(len(sets))] == intervals


def test_a_window_over_an_empty_map_sees_nothing():
    empty = AxisField.of_image(0, 0)
    assert_sees(empty.window(3, 2, 1, 1, 1), [set(), set(), set()])
    assert_sees(empty.window(3, 0), [set(), set(), set()])


def test_collapsed_neurons_see_what_all_see():
    rng = np.random.default_rng(0)
    for _ in range(100):
        axis_field, sets = random_field(rng)
        seen = union(sets, range(len(sets)))
        for one in (axis_field.collapse(len(sets)), axis_field.collapse_in((7, len(sets)))):
            assert (one.axis, one.exact) == (None, True)
            assert_sees(one, [seen])
            assert one.interval(5, PIXELS) == ((min(seen), max(seen) + 1) if seen else (0, 0))
        assert not axis_field.collapse(len(sets), exact=False).exact
        assert axis_field.collapse(len(sets)).collapse(3, exact=False).exact is False


def test_a_join_sees_what_either_sees():
    rng = np.random.default_rng(1)
    for _ in range(100):
        (a, a_sets), (b, b_sets) = random_field(rng), random_field(rng)
        count = int(rng.integers(1, 6))
        a, b = a.window(count, 2), b.window(count, 2)
        a_sets, b_sets = (
            [union(sets, [y, y + 1]) for y in range(count)] for sets in (a_sets, b_sets)
        )
        both = [x | y for x, y in zip(a_sets, b_sets, strict=True)]
        joined = a.join(b, (1, count))
        assert_sees(joined, both)
        assert joined.axis == MAP_AXIS
        (field,) = join_fields([(a,), (b,)], (1, count))
        assert_sees(field, both)
        assert field.exact == (all(a_sets) and all(b_sets))
        everywhere = b.collapse(count)
        assert_sees(
            a.join(everywhere, (1, count)), [x | union(b_sets, range(count)) for x in a_sets]
        )
        # Along different axes of the map: every neuron may see all that any sees.
        crossed = a.join(b.move(0), (count, count))
        assert (crossed.axis, crossed.exact) == (None, False)
        assert_sees(crossed, [union(both, range(count))])


def test_concatenated_maps_see_what_their_parts_see():
    rng = np.random.default_rng(2)
    for _ in range(100):
        parts, sizes, expected = [], [], []
        for kind in rng.integers(0, 4, 3):
            axis_field, sets = random_field(rng)
            if kind == 0:  # no pixel
                axis_field, sets = None, [set()] * len(sets)
            elif kind == 1:  # each sees the same
                axis_field, sets = (
                    axis_field.collapse(len(sets)),
                    [union(sets, range(99))] * len(sets),
                )
            parts.append(axis_field)
            sizes.append(len(sets))
            expected += sets
        if not any(part is not None and part.axis == MAP_AXIS for part in parts):
            continue
        joined = concatenate_fields(parts, sizes, MAP_AXIS)
        assert_sees(joined, expected)
        assert joined.exact


def test_bounds_along_another_axis_and_of_formulas():
    (n,) = jc.sizes("n")
    field = AxisField.of_image(0, 3)
    assert field.bounds_along(0, 3) is field.bounds
    assert [ends.tolist() for ends in field.bounds_along(1, 2)] == [[0, 0], [3, 3]]
    assert field.bounds_along(1, n) is None
    assert AxisField.of_image(0, n).bounds_along(0, 3) is None


def test_patterns_go_side_by_side_with_bounds():
    """Inside a large image each neuron sees what its pattern says."""
    rng = np.random.default_rng(3)
    for _ in range(100):
        axis_field, size = AxisField.of_image(0, 200), 200
        for _ in range(2):
            kernel, stride, dilation, low = (int(n) for n in rng.integers(1, 4, 4))
            size = (size - (kernel - 1) * dilation - 1) // stride + 1
            axis_field = axis_field.window(size, kernel, stride, dilation, low)
            if rng.integers(2):
                axis_field, size = axis_field.repeat(2), size * 2
        middle = range(size // 3, size // 2)
        inside = [axis_field.interval(y, 200) for y in middle]
        assert inside == [axis_field.interval(y) for y in middle]


def test_intervals_of_formulas_are_cut_at_the_image():
    (n,) = jc.sizes("n")
    axis_field = AxisField.of_image(0, n).window(n, 5, 1, 1, 2)
    assert axis_field.bounds is None
    assert axis_field.interval(0) == (-2, 3)
    first, end = axis_field.interval(0, n)
    assert (first, [end.at(n=size) for size in range(1, 6)]) == (0, [1, 2, 3, 3, 3])
    assert replace(axis_field, everywhere=False).interval(0, n) is None
    assert replace(axis_field, everywhere=False).interval(0) == (-2, 3)
    assert replace(axis_field, pattern=None).interval(0) is None
    blind = replace(axis_field, pattern=PeriodicPattern((None,), 1))
    assert blind.interval(0) == blind.interval(0, n) == (0, 0)


def test_what_is_not_known_of_formulas():
    (n,) = jc.sizes("n")
    field = AxisField.of_image(0, n)
    for changed in (field.repeat(n), field.tile(n, 2), field.take(np.arange(2))):
        assert (changed.pattern, changed.bounds, changed.exact) == (None, None, False)
    assert AxisField.of_image(0, 3).repeat(LONGEST + 1).pattern is None
    assert AxisField.of_image(0, 3).repeat(4).pattern is not None
    assert not field.read_rows(np.eye(3, dtype=bool)).exact
    assert [is_equal(n, 1), is_equal(n + 1, 1), is_equal(n - n, 0)] == [False, False, True]
    assert [is_at_least(n, 1), is_at_least(n, 2)] == [True, False]


def test_maps_that_see_the_same():
    field = AxisField.of_image(0, 5).window(4, 2)
    others = [field.move(5), field.loose(), field.mix(4), replace(field, everywhere=False)]
    others.append(field.window(4, 1, 1, 1, 1))
    assert field.same(replace(field, pattern=None))  # in this image
    assert not any(field.same(other) for other in others)
    formulas = [replace(one, bounds=None) for one in (field, others[-1])]
    assert formulas[0].same(replace(field, bounds=None))
    assert not formulas[0].same(formulas[1])
    assert same_fields([None, (field,)], [None, (replace(field),)])
    assert not same_fields([None], [(field,)])
    assert not same_fields([(field, field)], [(field, others[0])])


def test_parts_of_an_interval_that_neighbours_see():
    field = AxisField.of_image(0, 4)
    assert field.mix(None).mixed is None
    assert (field.mix(3).mixed, field.mix(3).exact) == (3, True)
    twice = field.mix(3).mix(2)
    assert (twice.mixed, twice.exact) == (None, False)

    def change(axis_field, axis):
        return axis_field.move(axis + 1)

    moved = change_axis(field.mix(3), change, (4, 1, 1, 5), (1, 4, 1, 1, 5))
    assert (moved.axis, moved.mixed, moved.exact) == (1, 4, True)
    cut = change_axis(field.mix(3), change, (4, 1, 1, 5), (1, 4, 1, 1, 3))
    assert (cut.mixed, cut.exact) == (None, False)


def test_blind_neurons_see_nothing_along_any_axis():
    """Where both axes of the image lie along one axis of the map."""
    rows = AxisField.of_image(0, 3).window(4, 1, 1, 1, 1)  # the first sees nothing
    columns = AxisField.of_image(0, 3).window(4, 1)  # the last sees nothing
    for one, sets in zip(align_blind((rows, columns)), [({0}, {1}), ({1}, {2})], strict=True):
        assert_sees(one, [set(), *sets, set()])
    apart = (rows, columns.move(1))
    assert align_blind(apart) is apart
