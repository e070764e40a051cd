"""Feature maps in a notebook: the strongest ones, in any layout, in colours of their values."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

import jaxconv as jc
from jaxconv.display import Pictures
from jaxconv.plotting.shown_maps import MAX_SIDE
from tests.support.type_checks import WITHOUT_TYPE_CHECKS

RNG = np.random.default_rng(0)
MAPS = np.maximum(RNG.normal(size=(2, 6, 9, 5)), 0).astype(np.float32)


def pictures(shown):
    """The pixels of all pictures, by layer."""
    parts = [part for part in shown.display_parts() if isinstance(part, Pictures)]
    return [[pixels(picture.png) for picture in part.pictures] for part in parts]


def pixels(png):
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def test_the_strongest_maps_are_shown_first():
    shown = jc.show({"a": MAPS, "b": MAPS[..., ::-1]}, count=3)
    order = np.argsort(-MAPS[0].mean((0, 1)))[:3]
    assert shown.layers[0].channels == tuple(order)
    assert shown.layers[1].channels == tuple(4 - order)
    np.testing.assert_array_equal(shown.layers[0].maps, MAPS[0][..., order])
    assert str(shown).splitlines()[0] == (
        f"a: the 3 strongest of 5 maps of 6 x 9, 0 to {MAPS[0].max():.4g}, "
        f"shown: {', '.join(map(str, order))}"
    )
    captions = [one.caption for one in [*shown.display_parts()][1].pictures]
    assert captions == [*map(str, order)]


def test_all_maps_of_few_are_shown():
    assert str(jc.show({"a": MAPS})).startswith("a: 5 maps of 6 x 9, ")


LAYOUTS = {
    "channels first": ("NCHW", np.moveaxis(MAPS, -1, 1)),
    "one image": ("HWC", MAPS[0]),
    "one image, channels first": ("CHW", np.moveaxis(MAPS[0], -1, 0)),
    "the batch last": ("HWCN", np.moveaxis(MAPS, 0, -1)),
    "bfloat16": (None, jnp.asarray(MAPS, jnp.bfloat16)),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_maps_of_any_layout_are_the_same(case):
    layout, maps = LAYOUTS[case]
    got, want = (jc.show({"a": m}, layout=at) for m, at in ((maps, layout), (MAPS, None)))
    np.testing.assert_allclose(got.layers[0].maps, want.layers[0].maps, rtol=1e-2)
    assert got.layers[0].channels == want.layers[0].channels


def test_another_image_of_the_batch():
    shown = jc.show({"a": MAPS}, image=1)
    np.testing.assert_array_equal(shown.layers[0].maps, MAPS[1][..., shown.layers[0].channels])


def test_colours_run_from_black_at_0_with_the_square_root():
    maps = np.zeros((1, 2, 2, 1), np.float32)
    maps[0, :, :, 0] = [[0, 1], [4, 4]]
    ((picture,),) = pictures(jc.show({"a": maps}))
    magma = (np.array([colormaps["magma"](level)[:3] for level in (0, 128, 255)]) * 255).round()
    np.testing.assert_array_equal(picture[0, 0], magma[0])
    np.testing.assert_allclose(picture[0, 1], magma[1], atol=3)
    np.testing.assert_allclose(picture[1], [magma[2]] * 2, atol=3)


def test_colours_of_negative_numbers_are_others():
    maps = np.zeros((1, 1, 3, 1), np.float32)
    maps[0, 0, :, 0] = [-2, 0, 2]
    ((picture,),) = pictures(jc.show({"a": maps}))
    low, zero, high = picture[0].astype(int)
    assert zero.sum() < 60 < min(low.sum(), high.sum())
    assert low[2] > low[0]  # blue
    assert high[0] > high[2]  # red


OTHERS = {
    "a vector": ((2, 30), "30 numbers", (1, 30)),
    "a signal": ((2, 12, 7), "7 maps of 12", (7, 12)),
    "a volume": ((2, 5, 6, 9, 3), "3 maps of 5 x 6 x 9, slice 2 of 5", (6, 9)),
    "a large map": ((1, 300, 200, 3), "3 maps of 300 x 200", (100, 66)),
    "a long vector": ((1, 4096), "4096 numbers", (1, 512)),
}


@pytest.mark.parametrize("case", OTHERS)
def test_maps_of_other_axes(case):
    shape, description, drawn = OTHERS[case]
    shown = jc.show({"a": RNG.random(shape).astype(np.float32)})
    assert str(shown).startswith(f"a: {description}, ")
    ((picture, *_),) = pictures(shown)
    assert picture.shape[:2] == drawn
    assert max(drawn) <= MAX_SIDE or len(shape) < 4


def test_a_volume_shows_the_slice_in_the_middle():
    maps = RNG.random((1, 5, 6, 9, 1)).astype(np.float32)
    shown = jc.show({"a": maps})
    np.testing.assert_array_equal(shown.layers[0].maps[..., 0], maps[0, 2, :, :, 0])


def test_numbers_that_are_not_finite_are_counted_and_shown_as_0():
    maps = MAPS.copy()
    maps[0, 0, 0, :3] = np.nan, np.inf, -np.inf
    shown = jc.show({"a": maps})
    assert shown.layers[0].unknown == 3
    assert ", 3 not finite" in str(shown)
    assert "3 numbers are not finite" in shown._repr_mimebundle_()["text/html"]
    assert shown.layers[0].maps.max() == shown.layers[0].high < 10


def test_maps_of_nothing_but_zeros_are_black():
    (blacks,) = pictures(jc.show({"a": 0 * MAPS}))
    assert np.max(blacks) < 5


BAD = {
    "no array": (lambda: jc.show({"a": "b"}), "the map 'a' is 'b', but must be an array"),
    "complex numbers": (lambda: jc.show({"a": 1j * MAPS}), "must be an array of real numbers"),
    "an image too many": (lambda: jc.show({"a": MAPS}, image=2), "has 2 images"),
    "too many axes": (lambda: jc.show({"a": np.zeros([1] * 6)}), "which cannot be shown"),
    "a scalar": (lambda: jc.show({"a": np.zeros(())}), "which cannot be shown"),
    "no numbers": (lambda: jc.show({"a": np.zeros((1, 0, 3, 3))}), "which cannot be shown"),
    "a layout": (lambda: jc.show({"a": MAPS}, layout="NHW"), "C among them"),
    "a layout twice": (lambda: jc.show({"a": MAPS}, layout="NHHC"), "C among them"),
    "a count": (lambda: jc.show({"a": MAPS}, count=0), "count is 0, but must be 1 or more"),
    "in jit": (lambda: jax.jit(lambda x: jc.show({"a": x}) and x)(MAPS), "outside of jax.jit"),
}
WRONG_TYPES = {
    "an array": (lambda: jc.show(MAPS), "must be a dict from names to arrays"),
}


@pytest.mark.parametrize(
    "case",
    [*BAD, *(pytest.param(case, marks=WITHOUT_TYPE_CHECKS) for case in WRONG_TYPES)],
)
def test_bad_arguments_are_refused(case):
    call, message = (BAD | WRONG_TYPES)[case]
    with pytest.raises(jc.ShapeError) as raised:
        call()
    assert str(raised.value).startswith("show: ")
    assert message in str(raised.value)
