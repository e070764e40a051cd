"""Photos of all kinds against the plain one, and files that are none."""

import argparse
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxconv.models.preprocessing import TORCHVISION
from jaxconv.plotting.photos import (
    PhotoError,
    cropped_photo,
    from_channels_last,
    open_photo,
    preprocess,
)
from tests.support.pytorch import import_torchvision


@pytest.fixture
def image(hopper):
    with Image.open(hopper) as photo:
        return photo.resize((64, 75))


def grey16(image):
    return Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257)


def with_alpha(image):
    image = image.convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def over_white(image):
    alpha = np.asarray(Image.linear_gradient("L").resize(image.size), float)[..., None] / 255
    return np.asarray(image, float) * alpha + 255 * (1 - alpha)


KINDS = {
    # name: (save as, picture, what it must look like, tolerance)
    "plain": ("png", lambda i: i, np.asarray, 0),
    "jpeg": ("jpg", lambda i: i, np.asarray, 130),
    "grey": ("png", lambda i: i.convert("L"), lambda i: np.asarray(i.convert("L"))[..., None], 0),
    "16-bit grey": ("png", grey16, lambda i: np.asarray(i.convert("L"))[..., None], 0),
    "dark 16-bit grey": (
        "png",
        lambda i: Image.fromarray(np.asarray(i.convert("L"), np.uint16)),
        lambda i: np.asarray(i.convert("L"))[..., None] / 257,
        0.51,
    ),
    "16-bit tiff": ("tif", grey16, lambda i: np.asarray(i.convert("L"))[..., None], 0),
    "bilevel": ("png", lambda i: i.convert("1"),
                lambda i: np.asarray(i.convert("1").convert("RGB")), 0),
    "palette": ("gif", lambda i: i.quantize(64),
                lambda i: np.asarray(i.quantize(64).convert("RGB")), 0),
    "transparent": ("png", with_alpha, over_white, 1.01),
    "grey and transparent": ("png", lambda i: with_alpha(i).convert("LA"),
                             lambda i: over_white(i.convert("L").convert("RGB")), 1.01),
    "cmyk": ("jpg", lambda i: i.convert("CMYK"), np.asarray, 130),
    "webp": ("webp", lambda i: i, np.asarray, 130),
    "float": ("tif", lambda i: i.convert("F"), lambda i: np.asarray(i.convert("L"))[..., None], 3),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_picture_comes_out_as_rgb(tmp_path, image, kind):
    suffix, make, want, tolerance = KINDS[kind]
    path = tmp_path / f"photo.{suffix}"
    make(image).save(path)
    got = open_photo(path)
    assert (got.shape, got.dtype) == ((75, 64, 3), np.uint8)
    difference = np.abs(got - np.broadcast_to(want(image), got.shape).astype(float))
    assert difference.max() <= tolerance
    assert difference.mean() <= tolerance / 3 or tolerance < 1
    assert got.std() > (20 if "dark" not in kind else 0.1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_cameras_rotation_is_applied(tmp_path, image, orientation):
    turns = {
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1], 5: lambda a: a.transpose(1, 0, 2),
        6: np.rot90, 7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 3),
    }  # fmt: skip
    upright = np.asarray(image)
    stored = Image.fromarray(np.ascontiguousarray(turns[orientation](upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "photo.png", exif=exif)
    np.testing.assert_array_equal(open_photo(tmp_path / "photo.png"), upright)


def test_size_is_the_shorter_side(hopper):
    assert open_photo(hopper).shape == (600, 512, 3)
    assert open_photo(hopper, 128).shape == (150, 128, 3)


def test_the_middle_of_a_photo_is_that_of_torchvision():
    torchvision = import_torchvision()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 79, 3), np.uint8)
    transform = torchvision.models.VGG16_Weights.IMAGENET1K_V1.transforms(
        crop_size=49, resize_size=56
    )
    for photo in (pixels, pixels.swapaxes(0, 1)):  # 56 x 69: half a pixel is rounded
        want = transform(Image.fromarray(photo)).movedim(0, -1).numpy()
        np.testing.assert_allclose(TORCHVISION(cropped_photo(photo, 49, 0.875)), want, atol=1e-5)


def test_files_that_are_no_photos(tmp_path, hopper):
    def refused(name, content):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(PhotoError) as error:
            open_photo(tmp_path / name)
        return str(error.value)

    content = hopper.read_bytes()
    assert "cannot be read: image file is truncated" in refused("cut.jpg", content[:20_000])
    assert "is not a picture" in refused("text.jpg", b"hello" * 100)
    assert "is not a picture" in refused("empty.png", b"")
    with pytest.raises(PhotoError, match="There is no file"):
        open_photo(tmp_path / "gone.jpg")
    with pytest.raises(PhotoError, match=r"is a folder\. Fix: pass a photo in it\."):
        open_photo(tmp_path)


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    Image.new("1", (1, 1)).save(tmp_path / "bomb.png")
    content = bytearray((tmp_path / "bomb.png").read_bytes())
    content[16:24] = struct.pack(">II", 30_000, 30_000)  # in the header, which has a checksum
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "bomb.png").write_bytes(content)
    with pytest.raises(PhotoError, match="unpacks to more than 89,478,485 pixels"):
        open_photo(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600_000_000)  # the warning, not the error
    with pytest.raises(PhotoError, match="unpacks to more than 600,000,000 pixels"):
        open_photo(tmp_path / "bomb.png")


@pytest.mark.parametrize("top", [1.0, 234.0, 60_000.0, 3e6])
def test_numbers_of_any_range_are_scaled_and_bad_pixels_are_black(tmp_path, top):
    numbers = np.linspace(0, top, 48, dtype=np.float32).reshape(6, 8)
    numbers[0, 1:3] = np.nan, np.inf
    Image.fromarray(numbers).save(tmp_path / "float.tif")
    floats = open_photo(tmp_path / "float.tif")
    assert (
        floats[-1, -1].tolist() == [round(255 * top / {234: 255, 60_000: 65535}.get(top, top))] * 3
    )
    assert floats[0, 1:3].max() == 0
    assert floats.std() > 20
    if top > 1:
        whole = np.nan_to_num(numbers, posinf=0).astype(np.int32)
        Image.fromarray(whole).save(tmp_path / "int.tif")
        difference = open_photo(tmp_path / "int.tif").astype(int) - floats
        assert np.abs(difference).max() <= 1


def test_a_preprocessing_may_put_channels_first():
    fn = argparse.Namespace(preprocessing=lambda x: x.transpose(0, 3, 1, 2) / 255)
    assert preprocess(fn, np.zeros((20, 24, 3), np.uint8)).shape == (1, 20, 24, 3)


@pytest.mark.parametrize(
    ("layout", "shape"),
    {"NHWC": (1, 4, 5, 3), "NCHW": (1, 3, 4, 5), "HWC": (4, 5, 3), "CHW": (3, 4, 5)}.items(),
)
def test_an_image_reaches_a_function_in_its_layout(layout, shape):
    image = np.arange(60.0).reshape(1, 4, 5, 3)
    got = np.asarray(from_channels_last(lambda x: x, layout)(image))
    assert got.shape == shape
    numbers = got if "N" in layout else got[None]
    back = np.moveaxis(numbers, 1, -1) if layout.endswith("CHW") else numbers
    np.testing.assert_array_equal(back, image)
