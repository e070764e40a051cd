"""Sizes at which formulas are compared with numbers."""

import jaxconv as jc
from jaxconv.prover.confirm import sample_points


def test_shapes_that_people_use_are_sampled_once_each():
    points = [jc.SizeSet(point).smallest() for point in sample_points(jc.SizeSet.parse("h").points)]
    assert [point["h"] for point in points] == [1, 3, 5, 8, 16, 33, 32, 64, 128, 224, 256, 100]
    shapes = [
        tuple(jc.SizeSet(point).smallest().values())
        for point in sample_points(jc.SizeSet.parse("b h w").points)
    ]
    assert {(1, 64, 64), (1, 128, 64), (2, 224, 224), (1, 256, 256)} <= set(shapes)
    few = list(sample_points(jc.SizeSet.parse("h w", "h <= 2 and w = 3").points))
    assert [jc.SizeSet(point).smallest() for point in few] == [{"h": 1, "w": 3}, {"h": 2, "w": 3}]
