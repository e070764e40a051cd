"""Feature maps in a notebook: the strongest ones of each layer, as small pictures."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxconv.display import Displayed, Note, Part, Picture, Pictures, Title
from jaxconv.errors import Diagnostic, ValidationError, public_api, shown, whole
from jaxconv.plotting.figures import CMAP, by_strength, map_norm, shrunk_maps
from jaxconv.plotting.photos import real_array

# The axes of a map by their number: N is the images, C the channels, and all others are places.
DEFAULT_LAYOUTS = {1: "C", 2: "NC", 3: "NWC", 4: "NHWC", 5: "NDHWC"}
IMAGE_LAYOUTS = {1: "C", 2: "WC", 3: "HWC", 4: "DHWC"}  # without images
SIGNED_CMAP = "berlin"  # black at 0
MAP_PIXELS, STRIP_PIXELS = 88, 560  # widths on the screen
MAX_SIDE = 128  # numbers of a picture's side
MAX_HEIGHT = 2  # times its width


@dataclass(frozen=True)
class ShownLayer:
    """The maps of one layer that are shown.

    Attributes:
        name: of the layer; any text.
        description: how many maps it has, and of which size.
        maps: float32 (h, w, n), those that are shown, reduced where they are large.
        channels: which they are; none where all channels are one picture.
        low: the least number of all maps.
        high: the largest.
        unknown: how many numbers are not finite; they are shown as 0.
    """

    name: str
    description: str
    maps: np.ndarray
    channels: tuple[int, ...]
    low: float
    high: float
    unknown: int

    @classmethod
    def of(cls, name: str, array: Any, count: int, image: int, layout: str | None) -> "ShownLayer":
        """Choose what is shown of a layer.

        Args:
            name: of the layer.
            array: its maps.
            count: how many maps to show.
            image: as for :func:`show`.
            layout: likewise.

        Returns:
            The maps that are shown.

        Raises:
            ValidationError: it is not an array that can be shown.
        """
        values = _places_and_channels(name, array, image, layout)
        finite = np.nan_to_num(values, nan=0, posinf=0, neginf=0)
        facts = (float(finite.min()), float(finite.max()), int((~np.isfinite(values)).sum()))
        *places, channels = finite.shape
        if len(places) < 2:
            description = f"{channels} maps of {places[0]}" if places else f"{channels} numbers"
            rows = finite.T if places else finite[None]
            return cls(name, description, shrunk_maps(rows[..., None], STRIP_PIXELS), (), *facts)
        description = f"{channels} maps of {' x '.join(map(str, places))}"
        while finite.ndim > 3:
            description += f", slice {len(finite) // 2} of {len(finite)}"
            finite = finite[len(finite) // 2]
        chosen = by_strength(finite)[:count]
        if len(chosen) < channels:
            description = f"the {len(chosen)} strongest of {description}"
        drawn = shrunk_maps(finite[..., chosen], MAX_SIDE)
        return cls(name, description, drawn, tuple(chosen.tolist()), *facts)

    def __str__(self) -> str:
        which = f", shown: {', '.join(map(str, self.channels))}" if self.channels else ""
        unknown = f", {self.unknown:,} not finite" if self.unknown else ""
        return f"{self.name}: {self.description}, {self.low:.4g} to {self.high:.4g}{unknown}{which}"

    def pictures(self) -> Iterator[Picture]:
        """Colour the maps, all on one scale."""
        from matplotlib import colormaps
        from matplotlib.colors import TwoSlopeNorm
        from PIL import Image

        norm, colours = map_norm(self.maps), colormaps[CMAP]
        if self.low < 0:
            largest = max(float(np.abs(self.maps).max()), 1e-30)
            norm, colours = TwoSlopeNorm(0, -largest, largest), colormaps[SIGNED_CMAP]
        palette = (colours(np.arange(256))[:, :3] * 255).round().astype(np.uint8)
        captions = [*map(str, self.channels)] if self.channels else [""]
        rows, columns = self.maps.shape[:2]
        width, height = STRIP_PIXELS, int(np.clip(rows * 4, 20, STRIP_PIXELS))  # on the screen
        if self.channels:
            width, most = MAP_PIXELS, MAX_HEIGHT * MAP_PIXELS
            height = int(np.clip(MAP_PIXELS * rows / columns, 8, most))
        for number, caption in enumerate(captions):
            levels = np.asarray(norm(self.maps[..., number]), np.float32)
            indices = (np.nan_to_num(levels).clip(0, 1) * 255).round().astype(np.uint8)
            image = Image.fromarray(indices)
            image.putpalette(palette.tobytes())
            png = io.BytesIO()
            image.save(png, "png")
            yield Picture(png.getvalue(), caption, width, height)


@dataclass(frozen=True)
class ShownMaps(Displayed):
    """Feature maps that a notebook shows, layer by layer.

    Attributes:
        layers: in the order of computation.
    """

    layers: tuple[ShownLayer, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.layers)) or "no feature maps"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.layers)} layers>"

    def display_parts(self) -> Iterator[Part]:
        """What a notebook shows: for each layer a title and its maps."""
        for layer in self.layers:
            unknown = f", {layer.unknown:,} numbers are not finite" if layer.unknown else ""
            yield Title(f"{layer.name}: {layer.description}{unknown}")
            yield Pictures(tuple(layer.pictures()))
        scale = "Black is 0; within a layer all maps share one scale"
        yield Note(f"{scale}. The number below a map is its channel." if self.layers else str(self))


@public_api
def show(
    maps: Mapping[str, Any], *, count: int = 8, image: int = 0, layout: str | None = None
) -> ShownMaps:
    """Show feature maps in a notebook: for each layer the strongest ones, as small pictures.

    The strength of a map is its mean. All maps of a layer share one scale of colours, from 0 with
    the square root of the value; where some numbers are negative, the scale is linear, and 0 is
    black. Vectors are shown as one strip, and maps of one axis as one picture with a row for each
    channel. Of maps of three axes, the slice in the middle is shown.

    Args:
        maps: what :func:`feature_maps` returns: a dict from the name of a layer to its maps.
        count: how many maps to show of each layer.
        image: which image of the batch, from 0.
        layout: the axes of the maps, such as ``"NCHW"``, or ``"CHW"`` for maps of one image. Maps
            with another number of axes have the channels last. Default: channels last.

    Returns:
        The pictures, which a notebook displays; ``print`` lists the layers.

    Raises:
        ShapeError: maps is not a dict of arrays with values, there is no such image, or the layout
            is invalid.

    Example:
        >>> import jax, jaxconv as jc
        >>> from flax import nnx
        >>> model = jc.VGG([(8, 8)], head=None, rngs=nnx.Rngs(0))
        >>> maps = jc.feature_maps(model)(jax.numpy.zeros((1, 32, 32, 3)))
        >>> print(jc.show(maps, count=3))
        conv1_1: the 3 strongest of 8 maps of 32 x 32, 0 to 0, shown: 0, 1, 2
        conv1_2: the 3 strongest of 8 maps of 32 x 32, 0 to 0, shown: 0, 1, 2
        pool1: the 3 strongest of 8 maps of 16 x 16, 0 to 0, shown: 0, 1, 2
    """
    count, image = whole("count", count), whole("image", image, 0)
    is_text = isinstance(layout, str) and layout.isalpha() and layout.isupper()
    if layout is not None and not (is_text and "C" in layout and len({*layout}) == len(layout)):
        wrong = f"layout is {shown(layout)}, but must have a letter for each axis, C among them."
        raise ValidationError([Diagnostic(wrong, 'pass layout="NCHW" or layout="NHWC".')])
    if not isinstance(maps, Mapping):
        wrong = f"maps is {shown(maps)}, but must be a dict from names to arrays."
        raise ValidationError([Diagnostic(wrong, "pass what jc.feature_maps(fn)(x) returns.")])
    layers = (ShownLayer.of(str(name), maps[name], count, image, layout) for name in maps)
    return ShownMaps(tuple(layers))


def _places_and_channels(name: str, array: Any, image: int, layout: str | None) -> np.ndarray:
    """The maps of one image, float32, with the channels last."""
    read = real_array(array)
    if read is None:
        wrong = f"the map {name!r} is {shown(array)}, but must be an array of real numbers."
        fix = "pass what jc.feature_maps(fn)(x) returns, outside of jax.jit."
        raise ValidationError([Diagnostic(wrong, fix)])
    values = read.astype(np.float32)
    defaults = DEFAULT_LAYOUTS if "N" in (layout or "N") else IMAGE_LAYOUTS
    letters = layout if layout and len(layout) == values.ndim else defaults.get(values.ndim)
    if letters is None or not values.size:
        wrong = f"the map {name!r} has the shape {values.shape}, which cannot be shown."
        fix = "choose maps of 1 to 5 axes, with jc.feature_maps(fn, layers)."
        raise ValidationError([Diagnostic(wrong, fix)])
    values = np.moveaxis(values, letters.index("C"), -1)
    if "N" not in letters:
        return values
    images = letters.replace("C", "").index("N")
    if image >= values.shape[images]:
        wrong = f"image is {image}, but the map {name!r} has {values.shape[images]} images."
        raise ValidationError([Diagnostic(wrong, "pass a smaller image=; it counts from 0.")])
    return np.asarray(values.take(image, images))
