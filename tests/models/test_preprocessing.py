"""Preprocessing: what it takes, what it warns about, and what it refuses."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from jaxconv.models.preprocessing import (
    KERAS_PREPROCESSING,
    TORCHVISION,
    Preprocessing,
)
from tests.support.type_checks import TYPE_CHECKS, WITHOUT_TYPE_CHECKS

PHOTO = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
MNIST = Preprocessing(1 / 255, (0.13,), (0.31,))


@pytest.mark.parametrize("make", [np.uint8, np.float32, np.float64, np.int32, jnp.asarray, list])
@pytest.mark.parametrize("recipe", [KERAS_PREPROCESSING, TORCHVISION])
def test_pixels_of_every_type_give_the_same(recipe, make):
    want = (PHOTO * np.float64(recipe.scale) - recipe.mean) / recipe.std
    made = recipe(make(PHOTO))
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, want, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(recipe(PHOTO[None])[0], made)


REFUSED = {
    "NCHW": (PHOTO.transpose(2, 0, 1)[None], "the last axis must have 3 channels.",
             "Axis 1 of pixels has size 3: this looks like an NCHW image.\n"
             "  Fix: transpose pixels with (0, 2, 3, 1)."),
    "CHW": (PHOTO.transpose(2, 0, 1), "has shape (3, 5, 7)",
            "Fix: transpose pixels with (1, 2, 0)."),
    "grey": (PHOTO[..., :1], "has shape (5, 7, 1)",
             "Fix: repeat the grey channel with np.repeat(pixels, 3, -1)."),
    "no channels": (PHOTO[..., 0], "has shape (5, 7)", "Fix: pass an array of shape (b, h, w, 3)"),
    "grey of 4 columns": (PHOTO[:, :4, 0], "has shape (5, 4)",
                          "(h, w, 3), such as np.stack([pixels] * 3, -1) of a grey image."),
    "transparency": (PHOTO[..., [0, 1, 2, 0]], "has shape (5, 7, 4)", "pixels[..., :3]"),
    "one number": (3, "has shape ()", "Fix: pass an array of shape (b, h, w, 3)"),
    "a text": ("photo.jpg", "pixels is 'photo.jpg'", "Fix: pass uint8 or floats"),
    "nothing": (None, "pixels is None", "Fix: pass uint8 or floats"),
    "truth values": (PHOTO > 3, "pixels is an array of bool", "Fix: pass uint8 or floats"),
    "complex numbers": (PHOTO * 1j, "an array of complex128", "Fix: pass uint8 or floats"),
    "objects": (np.array([[["a"] * 3]], object), "an array of object", "Fix: pass uint8 or floats"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_other_values_are_an_error_with_a_fix(case):
    pixels, wrong, fix = REFUSED[case]
    with pytest.raises(jc.ShapeError) as error:
        TORCHVISION(pixels)
    assert str(error.value).startswith("preprocessing: pixels ")
    assert wrong in str(error.value)
    assert fix in str(error.value)


def test_a_traced_image_is_an_error_with_a_fix():
    with pytest.raises(jc.ShapeError, match=r"(?s)pixels are traced, .* outside the jitted"):
        jax.jit(TORCHVISION)(PHOTO)


def test_grey_images_have_one_channel():
    assert MNIST(PHOTO[..., :1]).shape == (5, 7, 1)
    with pytest.raises(jc.ShapeError, match="the last axis must have 1 channels"):
        MNIST(PHOTO)


UNUSUAL = {
    "0 to 1": (PHOTO / 255, "0 to 255 is expected. Fix: pass pixels * 255."),
    "0 to 1, dark": (np.float32(PHOTO) / 4000, "Fix: pass pixels * 255."),
    "preprocessed": (TORCHVISION(PHOTO), "they may be preprocessed already."),
    "-1 to 1": (PHOTO / 127.5 - 1, "they may be preprocessed already."),
    "16 bits": (PHOTO.astype(np.uint16) * 257, "Fix: scale them to 0 to 255."),
}


@pytest.mark.parametrize("case", UNUSUAL)
def test_numbers_that_are_not_pixels_are_a_warning(case):
    pixels, message = UNUSUAL[case]
    with pytest.warns(UserWarning, match="0 to 255 is expected") as said:
        TORCHVISION(pixels)
    assert len(said) == 1
    assert message in str(said[0].message)
    if not TYPE_CHECKS:  # which call the function
        assert said[0].filename == __file__


USUAL = {
    "black": np.zeros((2, 2, 3), np.float32),
    "nearly black, of 8 bits": np.ones((2, 2, 3), np.uint8),
    "resampled": np.float32([[[-0.4, 3, 255.6]]]),
    "mean subtracted": KERAS_PREPROCESSING(PHOTO),
    "no images": np.zeros((0, 2, 2, 3), np.float32),
    "not a number": np.full((2, 2, 3), np.nan),
}


@pytest.mark.parametrize("case", USUAL)
def test_what_may_be_pixels_is_no_warning(case):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TORCHVISION(USUAL[case])


@WITHOUT_TYPE_CHECKS
def test_it_is_read_from_json():
    fields = {"scale": 1, "mean": [1, 2, 3], "std": [4, 5, 6.5]}
    assert Preprocessing.from_json(fields) == Preprocessing(1.0, (1, 2, 3), (4, 5, 6.5))
    for wrong in (fields | {"size": 3}, {"scale": 1}, fields | {"mean": 3}, [1]):
        with pytest.raises(TypeError):
            Preprocessing.from_json(wrong)
    for useless in (
        {"scale": np.inf},
        {"mean": [1, 2]},
        {"std": [1, 0, 1]},
        {"mean": [np.nan] * 3},
    ):
        with pytest.raises(ValueError, match="images cannot be prepared with scale "):
            Preprocessing.from_json(fields | useless)
