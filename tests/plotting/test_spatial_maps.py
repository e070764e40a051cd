"""Maps as (h, w, c): taken without a copy where slices do, and reduced one by one."""

import jax
import numpy as np
import pytest

import jaxconv as jc
from jaxconv.plotting.spatial_maps import SpatialMaps, take

VALUES = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
H, W, C = np.ix_(range(3), range(4), range(5))
ONE = np.zeros((1, 1, 1), int)
VIEWS = {
    "channels last": (VALUES, (0, H, W, C)),
    "another image": (VALUES, (ONE + 1, H, W, C)),
    "channels first": (np.moveaxis(VALUES, -1, 1), (0, C, H, W)),
    "transposed": (VALUES, (0, np.moveaxis(W, 1, 0)[:3], np.moveaxis(H, 0, 1), C)),
    "a part": (VALUES, (0, H[1:], W[:, 1:3], C)),
    "one channel": (VALUES, (0, H, W, ONE + 2)),
    "one row": (VALUES, (0, H[2:], W, C)),
}


@pytest.mark.parametrize("case", VIEWS)
def test_slices_take_what_indices_take(case):
    values, index = VIEWS[case]
    got = take(values, index)
    np.testing.assert_array_equal(got, values[index])
    assert np.shares_memory(got, values)


COPIES = {
    "reversed": (VALUES, (0, H[::-1], W, C)),
    "every other": (VALUES, (0, H, W[:, ::2], C)),
    "a diagonal": (VALUES, (0, H, np.minimum(H, 2) + 0 * W, C)),
    "the same axis twice": (VALUES, (0, H, H, C)),
    "repeated": (VALUES[..., :1], (0, H, W, np.zeros(5, int))),
    "from the end": (VALUES, (0, H - 1, W, C)),
    "two axes as one": (VALUES[0].reshape(12, 5), (4 * H + W, C)),
}


@pytest.mark.parametrize("case", COPIES)
def test_other_indices_are_taken_as_numpy_takes_them(case):
    values, index = COPIES[case]
    np.testing.assert_array_equal(take(values, index), values[index])


def test_maps_are_those_of_the_network_one_by_one():
    kernels = [jax.random.normal(jax.random.key(n), (3, 3, c, 4)) for n, c in ((0, 3), (1, 4))]

    def network(x):
        x = jc.conv(x, kernels[0], layout="NCHW")
        return jc.max_pool(jax.nn.relu(jc.conv(x, kernels[1], layout="NCHW")), 2, layout="NCHW")

    x = jax.random.normal(jax.random.key(2), (1, 3, 10, 12))
    pictures = SpatialMaps(network, x)
    names = [*pictures.sizes][::-1]
    want = {name: value[0] for name, value in jc.feature_maps(network)(x).items()}
    seen = []
    strongest = pictures.reduced(names, lambda name, maps: seen.append(name) or maps.max((0, 1)))
    assert seen == names[::-1]  # in the order of computation
    assert [*strongest] == names
    for name, maps in pictures.maps(names).items():
        np.testing.assert_allclose(maps, np.moveaxis(want[name], 0, -1), rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(strongest[name], maps.max((0, 1)))
    # One layer and the one before it, which is padded, are alive together.
    assert pictures.peak_bytes(names) == 4 * 10 * 12 * (4 + 4 + 4)
