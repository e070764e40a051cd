"""How the images of a training were prepared."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.errors import Diagnostic, ValidationError, raises_shape_error, shown


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing that a training used: ``(pixels*scale - mean)/std``, channels RGB.

    Attributes:
        scale: factor for pixels of 0 to 255.
        mean: subtracted from each channel, after scaling.
        std: divisor of each channel.
    """

    scale: float
    mean: Sequence[float]
    std: Sequence[float]

    @raises_shape_error("preprocessing")
    def __call__(self, pixels: Any) -> np.ndarray:
        """Convert pixels to the inputs that the network was trained on.

        Args:
            pixels: (..., channels), RGB or grey, of 0 to 255: integers, such as uint8, or floats.
                Other values, such as floats of 0 to 1, are converted with a warning.

        Returns:
            float32 of the same shape.

        Raises:
            ShapeError: not an array of real numbers, or the channels are not on the last axis.
        """
        array = _as_pixels(pixels, len(self.mean))
        low, high = (array.min(), array.max()) if array.size else (0, 0)
        unusual = ""
        if array.dtype.kind == "f" and low >= 0 and 0 < high <= 1:  # all 0 is a black image
            unusual = ". Fix: pass pixels * 255."
        elif array.dtype.kind == "f" and -10 <= low < -0.5 and high <= 10:
            unusual = ": they may be preprocessed already. Fix: pass pixels."
        elif high > 256:
            unusual = ". Fix: scale them to 0 to 255."
        if unusual:
            given = f"preprocessing: the pixels are numbers of {low:.3g} to {high:.3g}"
            warnings.warn(f"{given}, but 0 to 255 is expected{unusual}", stacklevel=3)
        scaled = array.astype(np.float32) * np.float32(self.scale)
        return (scaled - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Preprocessing":
        """Read one from its fields, as ``dataclasses.asdict`` and JSON have them.

        Args:
            fields: by name.

        Raises:
            TypeError: not exactly these fields, or not numbers.
            ValueError: numbers that no images can be prepared with.
        """
        known = cls(**fields)  # so that unknown and missing ones are an error
        mean, std = (tuple(map(float, values)) for values in (known.mean, known.std))
        made = cls(float(known.scale), mean, std)
        if not np.isfinite([made.scale, *mean, *std]).all() or 0 in std or len(mean) != len(std):
            wrong = f"scale {made.scale}, mean {mean} and std {std}"
            raise ValueError(f"images cannot be prepared with {wrong}")
        return made


# The Visual Geometry Group trained on BGR less a mean; their first kernels are turned to RGB here.
KERAS_PREPROCESSING = Preprocessing(1.0, (123.68, 116.779, 103.939), (1.0, 1.0, 1.0))
TORCHVISION = Preprocessing(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def _as_pixels(pixels: Any, channels: int) -> np.ndarray:
    try:
        array = np.asarray(pixels)
        kinds = (jnp.integer, jnp.floating)  # bfloat16 among them, which NumPy does not know
        is_real = any(jnp.issubdtype(array.dtype, kind) for kind in kinds)
        array = array if array.dtype.kind in "iuf" or not is_real else array.astype(np.float32)
    except jax.errors.TracerArrayConversionError:
        wrong = "pixels are traced, but they are prepared by NumPy, before a program runs."
        fix = "call preprocessing outside the jitted function."
        raise ValidationError([Diagnostic(wrong, fix)]) from None
    except Exception:  # what can be passed is any object
        array, is_real = np.zeros(()), False
    if not is_real:
        kind = f"an array of {pixels.dtype}" if hasattr(pixels, "dtype") else shown(pixels)
        wrong = f"pixels is {kind}, but must be an array of numbers of 0 to 255."
        raise ValidationError([Diagnostic(wrong, "pass uint8 or floats of shape (h, w, 3).")])
    if array.shape[-1:] == (channels,):
        return array
    wrong = f"pixels has shape {array.shape}, but the last axis must have {channels} channels."
    fix = f"pass an array of shape (b, h, w, {channels}) or (h, w, {channels})."
    if channels in array.shape[-3:-2]:
        hint = (
            f"Axis {array.ndim - 3} of pixels has size {channels}: this looks like an NCHW image."
        )
        order = (*range(array.ndim - 3), array.ndim - 2, array.ndim - 1, array.ndim - 3)
        raise ValidationError([Diagnostic(wrong, f"transpose pixels with {order}.", hint)])
    if array.ndim == 2:
        fix = f"{fix[:-1]}, such as np.stack([pixels] * {channels}, -1) of a grey image."
    elif array.shape[-1:] == (1,):
        fix = "repeat the grey channel with np.repeat(pixels, 3, -1)."
    elif array.shape[-1:] == (4,) and channels == 3:
        fix = "leave out the fourth channel, transparency, with pixels[..., :3]."
    raise ValidationError([Diagnostic(wrong, fix)])
