"""Augmentation inside jit, with one random key per image."""

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
    """Augment each image of a batch: crop, then flip, then cut out.

    The changes to image i depend on ``fold_in(key, i)`` only, and so neither on the other images
    nor on the sharding of the batch. Each kind of change has its own key, so it does not depend on
    whether the others are enabled.

    Args:
        key: random key of the step.
        images: images with mean 0; any dtype, shape (b, h, w, c). Images on a mesh with explicit
            axes need ``jax.set_mesh``.
        augmentation: the changes; static.

    Returns:
        Images with the dtype and shape of ``images``.
    """
    changes = _changes(augmentation)
    if not any(changes):
        return images

    def varied(image: jax.Array) -> jax.Array:
        # The index of the mapped axis, unlike an array of indices, is sharded like the images.
        return _changed(changes, jax.random.fold_in(key, jax.lax.axis_index("image")), image)

    return jax.vmap(varied, axis_name="image")(images)


Change = Callable[[jax.Array, jax.Array], jax.Array]


def _changes(augmentation: Augmentation) -> tuple[Change | None, ...]:
    """Return one entry per kind of change, None if it is disabled."""
    return (
        partial(_crop, augmentation.pad_crop) if augmentation.pad_crop else None,
        _flip if augmentation.flip else None,
        partial(_cut_out, augmentation.cutout) if augmentation.cutout else None,
    )


def _changed(changes: tuple[Change | None, ...], key: jax.Array, image: jax.Array) -> jax.Array:
    """Apply all changes to one image, shape (h, w, c)."""
    for change, own in zip(changes, jax.random.split(key, len(changes)), strict=True):
        image = change(own, image) if change else image
    return image


def _crop(pad: int, key: jax.Array, image: jax.Array) -> jax.Array:
    """Pad with zeros, and crop the original size at a random position."""
    top, left = jax.random.randint(key, (2,), 0, 2 * pad + 1)
    padded = jnp.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    return jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)


def _flip(key: jax.Array, image: jax.Array) -> jax.Array:
    """Flip left to right with probability 1/2."""
    return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


def _cut_out(side: int, key: jax.Array, image: jax.Array) -> jax.Array:
    """Set a square to zero. Its centre is random, and it is clipped at the border."""
    height, width = image.shape[:2]
    row, column = jax.random.randint(key, (2,), 0, jnp.array([height, width]))
    in_rows = _within(jnp.arange(height), row - side // 2, side)
    in_columns = _within(jnp.arange(width), column - side // 2, side)
    return jnp.where((in_rows[:, None] & in_columns)[..., None], 0, image)


def _within(places: jax.Array, first: jax.Array, count: int) -> jax.Array:
    return (places >= first) & (places < first + count)
