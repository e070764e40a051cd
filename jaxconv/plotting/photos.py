"""Photographs of every kind as arrays of red, green and blue."""

import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


class PhotoError(ValueError):
    """A picture that cannot be read; the message says why and the fix."""


def open_photo(path: str | Path, size: int | None = None) -> np.ndarray:
    """Read a picture: upright, in colour, 8 bits, without transparency.

    Args:
        path: of any format that Pillow reads; grey, palette, 16-bit and CMYK are converted, the
            camera's rotation (EXIF) is applied, transparency is laid over white, and of an
            animation the first frame is taken.
        size: resize so that the shorter side has so many pixels; None keeps the size.

    Returns:
        uint8, shape (h, w, 3), RGB.

    Raises:
        PhotoError: no such file, no picture, a damaged one, or one too large to be meant.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)  # odd metadata is not our subject
            with Image.open(path) as image:
                image.load()
                upright = ImageOps.exif_transpose(image)
    except FileNotFoundError:
        raise PhotoError(f"There is no file {path}. Fix: check the path.") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        limit = f"{Image.MAX_IMAGE_PIXELS or 0:,}"
        raise PhotoError(
            f"{path} unpacks to more than {limit} pixels. Fix: shrink it with another program."
        ) from None
    except UnidentifiedImageError:
        raise PhotoError(f"{path} is not a picture. Fix: pass a photo, as JPEG or PNG.") from None
    except Exception as error:  # decoders raise many types on damaged files
        raise PhotoError(
            f"{path} cannot be read: {str(error) or type(error).__name__}. "
            "Fix: check that the file is complete, or save it anew."
        ) from None
    rgb = _rgb(upright)
    return np.asarray(rgb if size is None else _resize(rgb, size))


def _resize(image: "Picture", size: int) -> "Picture":
    from PIL import Image

    width, height = (max(side * size // min(image.size), 1) for side in image.size)
    if width * height > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise PhotoError(
            f"Size {size} makes a picture of {width}x{height} pixels, more than "
            f"{Image.MAX_IMAGE_PIXELS:,}. Fix: choose a smaller size."
        )
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _rgb(image: "Picture") -> "Picture":
    from PIL import Image

    if image.mode.startswith(("I", "F")):  # 16 bits and more: Pillow would clip, not scale
        numbers = np.nan_to_num(np.asarray(image, np.float64), posinf=0, neginf=0).clip(0)
        tops = (65535,) if image.mode.startswith("I;16") else (1, 255, 65535)
        top = next((top for top in tops if numbers.max() <= top), numbers.max())
        image = Image.fromarray((numbers / top * 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
