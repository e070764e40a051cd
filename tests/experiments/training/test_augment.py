"""Augmentation: compared with NumPy on the same draws, and its draws with what they should be."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.training.augment import augment
from experiments.training.recipes import Augmentation
from tests.support.processes import forked

RANDOM = np.random.default_rng(21)
vary = jax.jit(augment, static_argnums=2)
ALL = Augmentation(pad_crop=2, flip=True, cutout=3)


def photos(*shape, dtype=np.float32):
    """Random numbers, none of which is zero, for zeros are what augmentation puts in."""
    return (RANDOM.uniform(0.5, 2, shape) * RANDOM.choice([-1, 1], shape)).astype(dtype)


def expected(key, images, augmentation):
    """The same in NumPy, image by image and pixel by pixel."""
    results = []
    for i, image in enumerate(images):
        crop, flip, cutout = jax.random.split(jax.random.fold_in(key, i), 3)
        changed = image
        if pad := augmentation.pad_crop:
            top, left = np.asarray(jax.random.randint(crop, (2,), 0, 2 * pad + 1)) - pad
            changed = moved(changed, top, left)
        if augmentation.flip and jax.random.bernoulli(flip):
            changed = np.stack([row[::-1] for row in changed])
        if side := augmentation.cutout:
            limits = jnp.array(image.shape[:2])
            row, column = np.asarray(jax.random.randint(cutout, (2,), 0, limits)) - side // 2
            changed = changed.copy()
            changed[max(row, 0) : row + side, max(column, 0) : column + side] = 0
        results.append(changed)
    return np.stack(results)


def moved(image, top, left):
    """What is seen of an image from ``top`` and ``left``, with zeros where nothing is."""
    out = np.zeros_like(image)
    for row, column in np.ndindex(*image.shape[:2]):
        y, x = row + top, column + left
        if 0 <= y < image.shape[0] and 0 <= x < image.shape[1]:
            out[row, column] = image[y, x]
    return out


@pytest.mark.parametrize(
    ("augmentation", "shape", "dtype"),
    [
        (Augmentation(pad_crop=1), (6, 5, 7, 1), np.float32),
        (Augmentation(pad_crop=9), (6, 4, 4, 2), np.float32),  # farther than the image is large
        (Augmentation(flip=True), (9, 3, 6, 3), np.float32),
        (Augmentation(cutout=4), (7, 6, 9, 2), np.float32),
        (Augmentation(cutout=1), (7, 3, 2, 1), np.float32),
        (ALL, (16, 8, 6, 3), np.float32),
        (ALL, (5, 7, 9, 1), jnp.bfloat16),
    ],
)
def test_it_is_what_numpy_makes_of_the_same_draws(augmentation, shape, dtype):
    images, key = photos(*shape, dtype=dtype), jax.random.key(RANDOM.integers(1000))
    found = vary(key, jnp.asarray(images), augmentation)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected(key, images, augmentation))
    assert not np.array_equal(found, images)


def test_all_off_is_the_identity_without_an_operation():
    images = jnp.asarray(photos(3, 4, 4, 1))
    key = jax.random.key(1)
    assert augment(key, images, Augmentation()) is images
    traced = jax.make_jaxpr(augment, static_argnums=2)(key, images, Augmentation())
    assert not traced.eqns
    assert jax.make_jaxpr(augment, static_argnums=2)(key, images, ALL).eqns


def test_an_image_is_changed_alike_in_any_company():
    images, key = jnp.asarray(photos(12, 6, 6, 2)), jax.random.key(2)
    found = vary(key, images, ALL)
    np.testing.assert_array_equal(vary(key, images[:5], ALL), found[:5])
    others = images.at[:7].set(0)
    np.testing.assert_array_equal(vary(key, others, ALL)[7:], found[7:])


def test_other_keys_change_otherwise():
    images = jnp.asarray(photos(8, 6, 6, 2))
    first, second = (vary(jax.random.key(seed), images, ALL) for seed in (3, 4))
    assert not np.array_equal(first, second)


def test_one_change_does_not_depend_on_another():
    images, key = jnp.asarray(photos(40, 6, 6, 1)), jax.random.key(5)
    flipped = vary(key, images, Augmentation(flip=True))
    both = vary(key, images, Augmentation(flip=True, cutout=2))
    np.testing.assert_array_equal(both, jnp.where(both == 0, 0, flipped))


def test_flips_are_half_of_many():
    images = jnp.asarray(photos(2000, 1, 2, 1))
    flipped = (vary(jax.random.key(6), images, Augmentation(flip=True)) != images).all((1, 2, 3))
    assert 0.45 < flipped.mean() < 0.55


def test_crops_begin_everywhere_equally_often():
    """A ramp tells where it was cut: each of the 25 places, of 4000 images about 160 times."""
    ramp = jnp.arange(1.0, 82.0).reshape(1, 9, 9, 1).repeat(4000, 0)
    cropped = vary(jax.random.key(7), ramp, Augmentation(pad_crop=2))
    middles, counts = np.unique(cropped[:, 4, 4, 0], return_counts=True)
    assert set(middles) == {9 * row + column + 1 for row in range(2, 7) for column in range(2, 7)}
    assert 110 < counts.min() <= counts.max() < 215


def test_squares_are_cut_out_everywhere_and_cut_at_the_border():
    ones = jnp.ones((4000, 5, 7, 1))
    holes = np.asarray(vary(jax.random.key(8), ones, Augmentation(cutout=3)) == 0)[..., 0]
    sizes = {(rows.any(1).sum(), rows.any(0).sum()) for rows in holes}
    assert sizes == {(2, 2), (2, 3), (3, 2), (3, 3)}
    middle = 4000 * 9 / 35  # a pixel away from borders is hit by nine middles of 35
    assert 0.85 * middle < holes[:, 2, 3].sum() < 1.15 * middle
    assert 0.85 * middle < holes[:, 2, 2].sum() < 1.15 * middle


SHARED = """
import jax, numpy as np

jax.config.update("jax_platforms", "cpu")
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from experiments.training.augment import augment
from experiments.training.recipes import Augmentation

images = np.random.default_rng(22).normal(size=(32, 6, 6, 2)).astype(np.float32)
key, options = jax.random.key(9), Augmentation(pad_crop=2, flip=True, cutout=3)
vary = jax.jit(augment, static_argnums=2)
alone = vary(key, images, options)
assert not np.array_equal(alone, images)
for kind in (AxisType.Auto, AxisType.Explicit):
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(kind,))
    spread = jax.device_put(images, NamedSharding(mesh, PartitionSpec("batch")))
    with jax.set_mesh(mesh):
        found = vary(key, spread, options)
        text = vary.lower(key, spread, options).compile().as_text()
    assert [part.data.shape[0] for part in found.addressable_shards] == [4] * 8
    np.testing.assert_array_equal(alone, found)
    assert "all-" not in text  # nothing is sent
"""


def test_eight_devices_make_the_same_and_send_each_other_nothing():
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    done = forked("-c", SHARED, env=os.environ | {"XLA_FLAGS": flags})
    assert done.returncode == 0, done.stderr
