"""Peaks of a feature map: one in each neighbourhood, with the patch it sees."""

import numpy as np

import jaxconv as jc
from jaxconv.plotting.peaks import peaks


def test_peaks_are_one_in_each_neighbourhood():
    rng = np.random.default_rng(0)
    values, photo = rng.uniform(size=(20, 30)), rng.integers(0, 256, (40, 60, 3), np.uint8)

    model = lambda x: jc.max_pool(jc.conv(x, np.ones((9, 9, 3, 1), np.float32)))  # noqa: E731
    sees = jc.receptive_field(model, "1 40 60 3", layer=2)
    found = peaks(values, photo, sees, 12)
    assert found[0].value == values.max()
    for i, one in enumerate(found):
        (top, bottom), (left, right) = sees.box(*one.at)
        np.testing.assert_array_equal(one.patch, photo[top:bottom, left:right])
        for other in found[:i]:
            assert max(abs(a - b) for a, b in zip(one.at, other.at, strict=True)) > 1
    assert peaks(-values, photo, sees, 5) == []
