"""Augmentation inside jit: each image is varied by a key of its own."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

import jaxconv as jc
from experiments.training.recipes import Augmentation


@jc.contract(
    "b h w c -> b h w c",
    key=lambda: jax.random.key(0),
    augmentation=Augmentation(pad_crop=1, flip=True, cutout=2),
)
def augment(key: jax.Array, images: jax.Array, augmentation: Augmentation) -> jax.Array:
    """Vary each image of a batch: crop, then mirror, then cut out.

    What happens to image i depends on ``fold_in(key, i)`` alone, and so neither on the other
    images nor on how a batch is shared by devices; and each kind of change draws from a key of its
    own, so that one does not depend on whether another is on.

    Args:
        key: of this step.
        images: normalised so that 0 is their mean; any dtype, shape (b, h, w, c). Those on a mesh
            with explicit axes need ``jax.set_mesh``.
        augmentation: which changes, static.

    Returns:
        Of the dtype and shape of ``images``.
    """
    changes = _changes(augmentation)
    if not any(changes):
        return images

    def varied(image: jax.Array) -> jax.Array:
        # The index of the map, rather than of an array, is sharded as the images are.
        return _changed(changes, jax.random.fold_in(key, jax.lax.axis_index("image")), image)

    return jax.vmap(varied, axis_name="image")(images)


Change = Callable[[jax.Array, jax.Array], jax.Array]


def _changes(augmentation: Augmentation) -> tuple[Change | None, ...]:
    """One place for each kind of change, None where it is off."""
    return (
        partial(_crop, augmentation.pad_crop) if augmentation.pad_crop else None,
        _flip if augmentation.flip else None,
        partial(_cut_out, augmentation.cutout) if augmentation.cutout else None,
    )


def _changed(changes: tuple[Change | None, ...], key: jax.Array, image: jax.Array) -> jax.Array:
    """One image, shape (h, w, c), changed in turn."""
    for change, own in zip(changes, jax.random.split(key, len(changes)), strict=True):
        image = change(own, image) if change else image
    return image


def _crop(pad: int, key: jax.Array, image: jax.Array) -> jax.Array:
    """Put zeros around and cut a part of the image's size out, anywhere."""
    top, left = jax.random.randint(key, (2,), 0, 2 * pad + 1)
    padded = jnp.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    return jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)


def _flip(key: jax.Array, image: jax.Array) -> jax.Array:
    """Mirror left and right, or not."""
    return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


def _cut_out(side: int, key: jax.Array, image: jax.Array) -> jax.Array:
    """Set a square to zero, its middle anywhere in the image, and cut at the image's border."""
    height, width = image.shape[:2]
    row, column = jax.random.randint(key, (2,), 0, jnp.array([height, width]))
    in_rows = _within(jnp.arange(height), row - side // 2, side)
    in_columns = _within(jnp.arange(width), column - side // 2, side)
    return jnp.where((in_rows[:, None] & in_columns)[..., None], 0, image)


def _within(places: jax.Array, first: jax.Array, count: int) -> jax.Array:
    return (places >= first) & (places < first + count)
