"""Networks for which a receptive field was once wrong, each the smallest of its kind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name

import jaxconv as jc

SHAPE = (1, 6, 7, 2)


def noise(*shape):
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


def conv(x, *extent):
    return jc.conv(x, noise(*extent, x.shape[-1], 2))


def cells(x):
    """Pixels out of channels: (b, h, w, 4 c) to (b, 2 h, 2 w, c)."""
    b, h, w, c = x.shape
    parts = x.reshape(b, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5)
    return parts.reshape(b, 2 * h, 2 * w, c // 4)


def wide_and_narrow(x, axis):
    return jnp.concatenate([conv(x, 5, 5), x], axis)


def moved_as_it_is_asked(x):
    double, more = lambda c: (2 * c[0], c[1] + 1), lambda c: c[0].sum() < c[1]
    return lax.while_loop(more, double, (x, 0))[0]


def masked(x, other):
    return jnp.where(jnp.arange(6)[:, None, None] > 2, conv(x, 3, 3), other)


def grouped_rows(x):
    order = ("NWHC", "HWIO", "NWHC")
    x = x.transpose(0, 3, 1, 2)
    return lax.conv_general_dilated(
        x, noise(3, 1, 1, 7), (1, 1), "SAME", feature_group_count=7, dimension_numbers=order
    )[..., :1]


def collapsed_but_not_looked_up(x):
    numbers = lax.GatherDimensionNumbers((0, 1, 2), (1,), (2,))
    return lax.gather(x[:, :1], jnp.array([1]), numbers, (1, 1, 3, 2))


def in_a_row(x):
    """Pixels in one row, those of two rows of padding among them."""
    row = jnp.pad(x, ((0, 0), (2, 0), (0, 0), (0, 0))).reshape(1, 56, 2)
    return jc.conv(row, noise(3, 2, 2), layout="NWC")


# Names of functions of an image, and whether their fields are exact.
TRAPS = {
    "rows that see more or less to their sides":
        (lambda x: conv(jnp.concatenate([conv(x, 1, 3), x], 1), 1, 1), False),
    "one image of a batch that sees less": (lambda x: conv(wide_and_narrow(x, 0), 1, 1)[1:], False),
    "channels that become pixels": (lambda x: cells(wide_and_narrow(x, -1)), False),
    "channels of which some become rows":
        (lambda x: wide_and_narrow(x, -1).transpose(0, 3, 1, 2)[..., None], True),
    "rows of channels that see different pixels":
        (lambda x: conv(jnp.concatenate([wide_and_narrow(x, -1)] * 2, 1)[..., 2:], 1, 1), False),
    "as often as the image says": (moved_as_it_is_asked, False),
    "rows that are chosen": (lambda x: masked(x, 0.0), False),
    "rows of two kinds": (lambda x: masked(x, x), False),
    "rows times zero": (lambda x: (jnp.arange(6)[:, None, None] > 2) * conv(x, 3, 3), False),
    "a kernel that is zero at its ends": (lambda x: jc.conv(x, jnp.eye(3)[..., None, None] *
        jnp.ones((2, 2)) * (jnp.arange(3) > 1)[:, None, None, None]), False),
    "rows that are outside": (lambda x: jnp.take(x, jnp.array([0, 3, 99]), 1), False),
    "a diagonal": (lambda x: jnp.einsum("bhhc->bhc", x[:, :, :6]), False),
    "a matrix with a hole":
        (lambda x: jnp.einsum("bhwc,hwk->bkc", x, jnp.ones((6, 7, 4)) * jnp.eye(6, 7)[..., None]),
         False),
    "columns as channels, in groups": (grouped_rows, False),
    "an axis that is not looked up": (collapsed_but_not_looked_up, False),
    "padding in a row": (in_a_row, True),
}  # fmt: skip


def depends(fn, shape):
    """For each pixel and each number of the result, whether changing the one changes the other."""
    dice, found = np.random.default_rng(3), False
    pixels = [(y, x) for y in range(shape[1]) for x in range(shape[2])]
    for _ in range(3):
        image, other = dice.normal(size=(2, *shape)).astype(np.float32)
        images = np.repeat(image[None], len(pixels), 0)
        for changed, (y, x) in zip(images, pixels, strict=True):
            changed[:, y, x] = other[:, y, x]
        each = jax.jit(jax.vmap(fn))(np.stack([image, *images]))
        found = found | ((each[1:] != each[0]) & (each[1:] == each[1:]))
    return np.asarray(found).reshape(*shape[1:3], *found.shape[1:])


def box_of(found):
    """The box of what is set; (0, 0) along both axes where nothing is."""
    places = np.argwhere(found)
    if not len(places):
        return ((0, 0), (0, 0))
    return tuple(zip(places.min(0).tolist(), (places.max(0) + 1).tolist(), strict=True))


@pytest.mark.parametrize("trap", TRAPS)
def test_nothing_outside_the_box_matters_and_its_ends_do_where_it_is_exact(trap):
    fn, exact = TRAPS[trap]
    field = jc.receptive_field(lambda x: checkpoint_name(fn(x), "map"), "1 6 7 2", layer="map")
    assert field.exact == exact
    changes = depends(fn, SHAPE)
    axes = dict.fromkeys(reach.axis for reach in field._field if reach.axis is not None)
    places = np.moveaxis(changes, [2 + axis for axis in axes], range(2, 2 + len(axes)))
    for at in np.ndindex(*field.map):
        got = box_of(places[:, :, *at].reshape(6, 7, -1).any(-1))
        box = field.box(*at)
        inside = all(a <= b and d <= c for (a, c), (b, d) in zip(box, got, strict=True))
        assert box == got if exact else inside or got == ((0, 0), (0, 0)), at
