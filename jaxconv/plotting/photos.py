"""Photos as arrays: read from files of any format, and as a model takes them."""

import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage


CHANNELS_LAST = "NHWC"


class PhotoError(ValueError):
    """An image cannot be read. The message says why, and gives a fix."""


def open_photo(path: str | Path, size: int | None = None) -> np.ndarray:
    """Read an image: upright, in colour, with 8 bits, without transparency.

    Args:
        path: a file of any format that Pillow reads. Greyscale, palette, 16-bit and CMYK images are
            converted, the camera's rotation (EXIF) is applied, transparent parts are put on white,
            and the first frame of an animation is used.
        size: pixels of the shorter side after resizing; None keeps the size.

    Returns:
        The image, uint8 (h, w, 3), RGB.

    Raises:
        PhotoError: the file does not exist, is not an image, is damaged, or is too large.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)  # about unusual metadata
            with Image.open(path) as image:
                image.load()
                photo = ImageOps.exif_transpose(image)
    except FileNotFoundError:
        raise PhotoError(f"There is no file {path}. Fix: check the path.") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        limit = f"{Image.MAX_IMAGE_PIXELS or 0:,}"
        raise PhotoError(
            f"{path} unpacks to more than {limit} pixels. Fix: shrink it with another program."
        ) from None
    except UnidentifiedImageError:
        raise PhotoError(f"{path} is not a picture. Fix: pass a photo, as JPEG or PNG.") from None
    except IsADirectoryError:
        raise PhotoError(f"{path} is a folder. Fix: pass a photo in it.") from None
    except Exception as error:  # decoders raise many types for damaged files
        raise PhotoError(
            f"{path} cannot be read: {str(error) or type(error).__name__}. "
            "Fix: check that the file is complete, or save it anew."
        ) from None
    if photo.mode.startswith(("I", "F")):  # 16 bits and more: Pillow would clip, not scale
        numbers = np.nan_to_num(np.asarray(photo, np.float64), posinf=0, neginf=0).clip(0)
        tops = (65535,) if photo.mode.startswith("I;16") else (1, 255, 65535)
        top = next((top for top in tops if numbers.max() <= top), numbers.max())
        photo = Image.fromarray((numbers / top * 255).round().astype(np.uint8))
    if photo.has_transparency_data:
        photo = photo.convert("RGBA")
        photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo)
    photo = photo.convert("RGB")
    return np.asarray(photo if size is None else _resized(photo, size))


def resized_photo(photo: np.ndarray, size: int) -> np.ndarray:
    """Resize a photo; the result is that of :func:`open_photo` with this size.

    Args:
        photo: uint8 (h, w, 3).
        size: pixels of the shorter side afterwards.

    Returns:
        uint8 (h, w, 3).
    """
    from PIL import Image

    return np.asarray(_resized(Image.fromarray(photo), size))


def cropped_photo(photo: np.ndarray, size: int, share: float) -> np.ndarray:
    """Resize a photo, and cut a square from its middle, as torchvision and timm evaluate VGG.

    Args:
        photo: uint8 (h, w, 3).
        size: pixels of each side of the square.
        share: of the shorter side that the square covers.

    Returns:
        uint8 (size, size, 3).
    """
    from PIL import Image

    image = Image.fromarray(photo)
    width, height = resized_sides(image.size, round(size / share))
    resized = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    top, left = (round((side - size) / 2) for side in resized.shape[:2])
    return resized[top : top + size, left : left + size]


def resized_sides(sides: Sequence[int], size: int) -> tuple[int, ...]:
    """Return the sides of a photo after resizing it.

    Args:
        sides: width and height.
        size: that of the shorter one afterwards.

    Raises:
        PhotoError: it would have more pixels than any photo that can be read.
    """
    from PIL import Image

    resized = tuple(max(side * size // min(sides), 1) for side in sides)
    if size > min(sides) and math.prod(resized) > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise PhotoError(
            f"Size {size} makes a picture of {'x'.join(map(str, resized))} pixels, more than "
            f"{Image.MAX_IMAGE_PIXELS:,}. Fix: choose a smaller size, or crop the photo, which "
            f"has {'x'.join(map(str, sides))}."
        )
    return resized


def _resized(image: "PilImage", size: int) -> "PilImage":
    from PIL import Image

    width, height = resized_sides(image.size, size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def preprocess(model: Any, photo: np.ndarray) -> np.ndarray:
    """Return a batch of one photo as the model takes it: by its ``preprocessing``, else 0 to 1.

    A model that was trained on images of one channel gets the photo in grey.

    Args:
        model: of any kind.
        photo: uint8 (h, w, 3).

    Returns:
        float32 (1, h, w, 3), or (1, h, w, 1).
    """
    preprocessing = getattr(model, "preprocessing", None)
    pixels = photo.mean(-1, keepdims=True) if is_grey(preprocessing) else photo
    x = preprocessing(pixels[None]) if preprocessing else pixels[None].astype(np.float32) / 255
    x = np.asarray(x, np.float32)
    colors = (1, 3)
    is_channels_first = x.ndim == 4 and x.shape[1] in colors and x.shape[3] not in colors
    return np.moveaxis(x, 1, 3) if is_channels_first else x


def is_grey(preprocessing: Any) -> bool:
    """Whether a preprocessing is for images of one channel.

    Args:
        preprocessing: of a model; None for one without.
    """
    return len(getattr(preprocessing, "mean", "rgb")) == 1


def from_channels_last(fn: Callable[..., Any], layout: str) -> Any:
    """Make a function of a batch of one image with channels last.

    Args:
        fn: takes the image in another layout.
        layout: such as "NCHW"; without N it is of one image.

    Returns:
        The function of that image.
    """

    def call(x: Any) -> Any:
        letters = CHANNELS_LAST if "N" in layout else CHANNELS_LAST.replace("N", "")
        image = x if "N" in layout else x[0]
        return fn(
            image if letters == layout else jnp.transpose(image, [*map(letters.index, layout)])
        )

    call.__wrapped__ = fn  # type: ignore[attr-defined] - whose state and parameters matter
    return call


def real_array(value: Any) -> np.ndarray | None:
    """Read an array of real numbers of any dtype.

    Args:
        value: any object.

    Returns:
        The array; None if it is not one, or has no values, as in ``jax.jit``.
    """
    try:
        array = np.asarray(value)
        if np.iscomplexobj(array):
            return None
        array.astype(np.float32)
    except Exception:  # what can be passed is any object
        return None
    return array
