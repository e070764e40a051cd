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


def dropped(x):
    kept = jax.random.bernoulli(jax.random.key(3), 0.5, (6, 7, 1))
    return jnp.where(kept, conv(x, 3, 3), 0)


def grouped_rows(x):
    order = ("NWHC", "HWIO", "NWHC")
    x = x.transpose(0, 3, 1, 2)
    return lax.conv_general_dilated(
        x,
        jnp.asarray(noise(3, 1, 1, 7)),
        (1, 1),
        "SAME",
        feature_group_count=7,
        dimension_numbers=order,
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
    "rows that a closed-over mask chooses":
        (lambda x: jnp.where(np.arange(6)[:, None, None] > 2, conv(x, 3, 3), 0.0), False),
    "dropout of one seed": (dropped, False),
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
    "a variance, which a number chooses": (lambda x: conv(x, 3, 3) / x.var((1, 2)), True),
}  # fmt: skip


def depends(fn, shape):
    """For each pixel and each number of the result, whether changing the one changes the other."""
    dice, found = np.random.default_rng(3), np.array(False)
    pixels = [(y, x) for y in range(shape[1]) for x in range(shape[2])]
    run = jax.jit(jax.vmap(fn))
    for _ in range(3):
        image, other = dice.normal(size=(2, *shape)).astype(np.float32)
        images = np.repeat(image[None], len(pixels), 0)
        for changed, (y, x) in zip(images, pixels, strict=True):
            changed[:, y, x] = other[:, y, x]
        each = np.asarray(run(np.stack([image, *images])))
        found = found | ((each[1:] != each[0]) & (each[1:] == each[1:]))
    return found.reshape(*shape[1:3], *found.shape[1:])


def box_of(found):
    """The box of what is set; (0, 0) along both axes where nothing is."""
    places = np.argwhere(found)
    if not len(places):
        return ((0, 0), (0, 0))
    return tuple(zip(places.min(0).tolist(), (places.max(0) + 1).tolist(), strict=True))


@pytest.mark.parametrize("trap", TRAPS)
def test_nothing_outside_the_box_matters_and_its_ends_do_where_it_is_exact(trap):
    fn, exact = TRAPS[trap]
    named = lambda x: checkpoint_name(fn(x), "map")  # noqa: E731
    field = jc.receptive_field(named, "1 6 7 2", layer="map", layout="NHWC")
    assert field.exact == exact
    changes = depends(fn, SHAPE)
    axes = dict.fromkeys(
        axis_field.axis for axis_field in field._field if axis_field.axis is not None
    )
    places = np.moveaxis(changes, [2 + axis for axis in axes], range(2, 2 + len(axes)))
    for at in np.ndindex(*field.map):
        got = box_of(places[:, :, *at].reshape(6, 7, -1).any(-1))
        box = field.box(*at)
        inside = all(a <= b and d <= c for (a, c), (b, d) in zip(box, got, strict=True))
        assert box == got if exact else inside or got == ((0, 0), (0, 0)), at


# Functions of an image whose fields hold for all sizes, and for some of them what is said then.
FORMULAS = {
    "own numbers as padding": (lambda x: jc.conv(x, noise(3, 3, 2, 2), padding="CIRCULAR"), None),
    "own numbers in reverse as padding":
        (lambda x: conv(jnp.pad(x, ((0, 0), (4, 4), (1, 1), (0, 0)), "reflect"), 3, 3), None),
    "one copy behind the other": (lambda x: jnp.concatenate([x, x], 1), None),
    "resized to a number": (lambda x: jax.image.resize(x, (1, 8, 8, 2), "linear"), False),
    "as many turns as rows":
        (lambda x: lax.scan(lambda c, _: ((c[1], conv(c[0], 3, 3)), None),
                            (conv(x, 3, 3), x), x[0])[0][0], False),
    "padding all around": (lambda x: jnp.pad(x, ((0, 0), (4, 4), (4, 4), (0, 0))), True),
    "padding up to a multiple":
        (lambda x: jnp.pad(x, ((0, 0), (0, -x.shape[1] % 4), (0, 0), (0, 0))), True),
    "rolled": (lambda x: jnp.roll(x, 1, 1), None),
    "loops": (lambda x: lax.scan(lambda c, _: (conv(c, 3, 3), None), x, None, length=3)[0], True),
}  # fmt: skip


@pytest.mark.parametrize("trap", FORMULAS)
def test_formulas_say_at_each_size_what_the_numbers_say(trap):
    """Sizes, strides and offsets if they are exact, and boxes, which may be larger or not known."""
    fn, exact = FORMULAS[trap]
    named = lambda x: checkpoint_name(fn(x), "map")  # noqa: E731
    formula = jc.receptive_field(named, "1 h w 2", layer="map")
    assert formula.exact == (exact is not False)
    if exact is None:
        with pytest.raises(jc.ShapeError, match="follows no pattern"):
            formula.box(0, 0)
    for h, w in ((2, 2), (3, 7), (6, 5)):
        number = jc.receptive_field(named, f"1 {h} {w} 2", layer="map")
        for what in ("size", "stride", "offset") if exact is not False else ():
            for one, other in zip(getattr(formula, what), getattr(number, what), strict=True):
                assert one is None or at(one, h, w) == other, what
        places = [(0,) * len(formula.map), tuple(at(n, h, w) - 1 for n in formula.map)]
        for place in places if exact is not None and len(formula.map) == len(number.map) else ():
            pairs = zip(formula.box(*place), number.box(*place), strict=True)
            for (first, end), (low, high) in pairs:
                assert at(first, h, w) <= low <= high <= at(end, h, w) or low == high, place


def at(number, h, w):
    return number if isinstance(number, int) else number.at(h=h, w=w)


def test_a_place_that_a_size_decides_is_not_known():
    middle = lambda x: checkpoint_name(x[:, :, jnp.array([x.shape[1] // 2])], "map")  # noqa: E731
    field = jc.receptive_field(middle, "1 h 9 2", layer="map", where="h <= 8")
    assert (field.box(0), field.exact) == (((0, 1), (0, 9)), False)
    assert jc.receptive_field(middle, "1 6 9 2", layer="map").box(0, 0) == ((0, 1), (3, 4))


def test_the_size_of_a_loop_in_a_small_image_is_that_without_borders():
    deep = lambda x: lax.scan(lambda c, _: (conv(c, 3, 3), None), x, None, length=20)[0]  # noqa: E731
    field = jc.receptive_field(lambda x: checkpoint_name(deep(x), "map"), "1 5 6 2", layer="map")
    assert (field.size, field.box(2, 3)) == ((41, 41), ((0, 5), (0, 6)))


def test_a_running_sum_has_no_pattern():
    total = lambda x: checkpoint_name(jnp.cumsum(x.reshape(1, -1, 2), 1), "map")  # noqa: E731
    field = jc.receptive_field(total, "1 200 240 2", layer="map")
    assert (field.size, field.box(500)) == ((None, None), ((0, 3), (0, 240)))
    assert field.exact


def test_rows_in_any_order_of_a_large_image():
    """Tables of pixels by pixels would not fit into memory."""
    order = np.random.default_rng(0).permutation(300 * 300)
    pixels = lambda x: checkpoint_name(x.reshape(1, -1, 2)[:, order], "map")  # noqa: E731
    field = jc.receptive_field(pixels, "1 300 300 2", layer="map")
    y, x = divmod(int(order[7]), 300)
    assert field.box(7) == ((y, y + 1), (x, x + 1))


def test_pixels_looked_up_in_steps_have_these_steps_as_stride():
    some = lambda x: checkpoint_name(x[:, jnp.arange(1, 8, 3)], "map")  # noqa: E731
    field = jc.receptive_field(some, "1 9 9 2", layer="map")
    assert (field.stride, field.offset) == ((3, 1), (1, 0))


def test_a_closed_over_key_counts_as_any():
    key = jax.random.key(3)
    drop = lambda x: jnp.where(jax.random.bernoulli(key, 0.5, (6, 7, 1)), conv(x, 3, 3), 0)  # noqa: E731
    field = jc.receptive_field(lambda x: checkpoint_name(drop(x), "map"), "1 6 7 2", layer="map")
    assert (field.exact, field.size) == (True, (3, 3))
