"""One HTML page in which a reader explores what a network computes for a photo.

:func:`explore` makes the page of a function; a notebook shows it in a frame. The page loads
nothing: its content security policy (CSP) allows it to run its own script, use its own style sheet
and show its own images, and no more. Its sources are in ``page/``.
"""

import base64
import hashlib
import html
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import jax
import numpy as np

from jaxconv.analysis.classes import ClassShare, is_classification, top_classes
from jaxconv.analysis.feature_maps import read_layers
from jaxconv.analysis.receptive_field import Pixels
from jaxconv.analysis.summary import read_summary
from jaxconv.display import Displayed, Frame, Part
from jaxconv.errors import Diagnostic, ValidationError, choice, public_api, raise_if, shown
from jaxconv.plotting import packing
from jaxconv.plotting.figures import TOP_PERCENTILE, by_strength
from jaxconv.plotting.layer_views import LayerView, reduced_views
from jaxconv.plotting.network_diagram import network_diagram, title_of
from jaxconv.plotting.packing import PackedArray, pack_int16, pack_maps
from jaxconv.plotting.photos import CHANNELS_LAST, from_channels_last, preprocess, real_array

SCRIPTS = (
    "unpacking.js",
    "layers.js",
    "images.js",
    "neuron.js",
    "panel.js",
    "viewer.js",
    "explorer.js",
)
REMOVED_TAGS = ("script", "foreignObject")  # from the drawing of the network
PALETTES = {"positive": "magma", "signed": "berlin"}  # both are black at 0
POLICY = (  # the content security policy
    "default-src 'none'; script-src {scripts}; style-src {styles}; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)
ENOUGH = 4_000_000  # numbers of a map, of which a percentile is taken
IMAGE_LAYOUTS = (CHANNELS_LAST, "NCHW", "HWC", "CHW")  # those without N are of one image
FRAME_HEIGHT = 820  # pixels of a notebook
Json = dict[str, Any]


class PackedLayer(NamedTuple):
    """A layer as data for the page.

    Attributes:
        data: all but its arrays.
        arrays: "maps", unless the page computes them by pooling, and "filters".
    """

    data: Json
    arrays: Mapping[str, PackedArray]


@dataclass(frozen=True)
class ExplorerPage(Displayed):
    """A page in which a reader explores a network; a notebook shows it in a frame.

    Attributes:
        title: the name of the network.
        layers: how many it shows, the image among them.
        html: the page, which needs no other file.
    """

    title: str
    layers: int
    html: str

    def save(self, path: str | Path) -> None:
        """Write the page to a file.

        Args:
            path: of the file.
        """
        Path(path).write_text(self.html, "utf-8")

    def __str__(self) -> str:
        return f"explorer page of {self.title}: {self.layers} layers, {len(self.html) / 1e6:.1f} MB"

    def __repr__(self) -> str:
        return f"<{self}>"

    def display_parts(self) -> Iterator[Part]:
        """What a notebook shows: the page in a frame."""
        yield Frame(self.html, str(self), FRAME_HEIGHT)


@public_api
def explore(
    fn: Callable[..., Any],
    *args: Any,
    layers: str | int | Iterable[str | int] | None = None,
    title: str | None = None,
    layout: str = CHANNELS_LAST,
) -> ExplorerPage:
    """Make a page that shows every feature map of an image, and what each neuron sees of it.

    The page is that of ``jaxconv explore``. It needs no server and no network. Its size and the
    time to make it grow with the image: for a photo of 224x224 pixels and VGG16, it takes 12 MB.
    If the function returns one number for each class of ImageNet, (1, 1000), the page names the
    most probable ones.

    Args:
        fn: any JAX function or model of images; pure, that is, without dropout.
        *args: its arguments, arrays; the last one is the image: a photo, uint8 (h, w, 3), which
            the ``preprocessing`` of the model prepares, or which is divided by 255; or an array as
            the function takes it, of which the first image is shown.
        layers: name or number of the layer or layers to show, as in :func:`summary`; the layers
            that they read are included. None for all.
        title: the name of the network; default: that of the function or of its class.
        layout: the axes of the images that the function takes: "NHWC" or "NCHW" for a batch, "HWC"
            or "CHW" for one image.

    Returns:
        The page. A notebook shows it in a frame; ``save("page.html")`` writes it.

    Raises:
        ShapeError: no image or an unusable one, a layer that does not exist or cannot be shown, or
            an invalid layout or title.

    Example:
        >>> import jax, jaxconv as jc
        >>> from flax import nnx
        >>> model = jc.VGG([(8, 8), (16,)], head=None, rngs=nnx.Rngs(0))
        >>> photo = jax.numpy.full((32, 32, 3), 128, jax.numpy.uint8)
        >>> page = jc.explore(model, photo)
        >>> page.title, page.layers
        ('VGG', 6)
    """
    is_layout = isinstance(layout, str) and layout in IMAGE_LAYOUTS
    raise_if([] if is_layout else [choice("layout", layout, IMAGE_LAYOUTS)])
    raise_if([] if args else [Diagnostic("there is no image.", "pass the image last.")])
    *others, image = args
    photo, x = _photo_and_input(fn, image, layout)
    call, given = fn, (*others, x)
    if layout != CHANNELS_LAST:
        of_image = partial(fn, *others)
        of_batch = of_image if "N" in layout else jax.vmap(of_image)
        call, given = from_channels_last(of_batch, f"N{layout.removeprefix('N')}"), (x,)
    packed = reduced_views(pack_layer, call, *given, layers=read_layers(layers))
    name = title_of(fn, title)
    drawing = network_diagram(read_summary(call, given, {}, None, None, True, None), name)
    classes: list[ClassShare] = []  # of a function that returns one number for each of ImageNet
    if is_classification(getattr(jax.eval_shape(call, *given), "shape", ())):
        values = np.asarray(call(*given))
        classes = top_classes(values) if np.isfinite(values).all() else []
    html = page_of(
        photo,
        "an image",
        name,
        drawing.to_svg(),
        packed,
        command="",
        classes=classes,
    )
    return ExplorerPage(name, len(packed), html)


def _photo_and_input(fn: Any, image: Any, layout: str) -> tuple[np.ndarray, np.ndarray]:
    """The picture that the page shows, uint8 (h, w, 3), and the input (1, h, w, c)."""
    array = real_array(image)
    if array is not None and array.dtype == np.uint8 and array.shape[2:] == (3,):
        return array, preprocess(fn, array)
    if array is None or array.ndim != len(layout) or not array.size:
        what = shown(image) if array is None else f"an array of shape {array.shape}"
        wrong = f"the image is {what}, but must have the axes {layout}, or be a photo."
        fix = f"pass a photo, uint8 (h, w, 3), or an array with the axes {layout}."
        raise ValidationError([Diagnostic(wrong, fix)])
    batch = array if "N" in layout else array[None]
    x = np.moveaxis(batch, 1, -1)[:1] if layout.endswith("CHW") else batch[:1]
    pixels = np.nan_to_num(x[0].astype(np.float32))
    if pixels.shape[-1] != 3:
        pixels = np.repeat(pixels.mean(-1, keepdims=True), 3, -1)
    scaled = (pixels - pixels.min()) / (np.ptp(pixels) or 1)
    return (scaled * 255).round().astype(np.uint8), x


def page(
    photo: np.ndarray,
    photo_name: str,
    model_name: str,
    network_svg: str,
    layers: Sequence[LayerView],
    *,
    weights_of: int = 24,
    command: str = "jaxconv neuron",
    classes: Sequence[ClassShare] | str = (),
) -> str:
    """Write the page.

    Small maps are exact, larger ones rounded to 8 bits, and the page says which. It computes
    w.p + b from the numbers that it has, and bounds the effect of the rounding.

    Args:
        photo: uint8 (h, w, 3), as the network sees it.
        photo_name: its name; any text.
        model_name: the network's name; any text.
        network_svg: a drawing with a group ``class="layer" data-layer="NAME"`` for each layer;
            empty for none.
        layers: at least one, in the order of computation, with different names.
        weights_of: the number of filters of each layer, those of the strongest maps, whose weights
            are in the page.
        command: the beginning of a command line that describes any neuron, to which the page adds
            ``--layer NAME --channel N --at Y,X``; empty for a call of :func:`neuron` in Python.
        classes: what the network says is in the photo, or a sentence that says why there are none;
            empty for a network that is not a classifier.

    Returns:
        HTML that needs no other file.
    """
    by_name = {layer.name: layer for layer in layers}
    packed = [pack_layer(one, by_name.get(one.source or ""), weights_of) for one in layers]
    return page_of(
        photo, photo_name, model_name, network_svg, packed, command=command, classes=classes
    )


def page_of(
    photo: np.ndarray,
    photo_name: str,
    model_name: str,
    network_svg: str,
    layers: Sequence[PackedLayer],
    *,
    command: str = "jaxconv neuron",
    classes: Sequence[ClassShare] | str = (),
) -> str:
    """Write the page of layers that are packed already.

    Args:
        photo: as for :func:`page`.
        photo_name: likewise.
        model_name: likewise.
        network_svg: likewise.
        layers: what :func:`pack_layer` made.
        command: as for :func:`page`.
        classes: likewise.

    Returns:
        HTML that needs no other file.
    """
    from matplotlib import colormaps
    from PIL import Image

    palettes = {  # 256 triples of red, green and blue
        use: (colormaps[name](np.linspace(0, 1, 256))[:, :3] * 255).round().astype(int).tolist()
        for use, name in PALETTES.items()
    }
    blocks: dict[str, PackedArray] = {}
    data = {
        "photo": {"name": photo_name, "height": photo.shape[0], "width": photo.shape[1]},
        "model": model_name,
        "command": command,
        "classes": {
            "top": [] if isinstance(classes, str) else [(c.name, c.probability) for c in classes],
            "note": classes if isinstance(classes, str) else "",
        },
        "palettes": palettes,
        "layers": [_with_blocks(layer, blocks) for layer in layers],
    }
    png = io.BytesIO()
    Image.fromarray(photo).save(png, "png", optimize=True)
    drawing, drawing_styles = _safe_drawing(network_svg)
    script, style = "\n".join(map(_source, SCRIPTS)), _source("explorer.css")
    policy = POLICY.format(scripts=_hashes([script]), styles=_hashes([style, *drawing_styles]))
    parts = {
        "policy": policy,
        "title": html.escape(f"{model_name} on {photo_name}"),
        "photo": "data:image/png;base64," + base64.b64encode(png.getvalue()).decode(),
        "drawing": drawing,
        "data": json.dumps(data).replace("<", "\\u003c"),
        "blocks": "\n".join(
            f'<script type="text/plain" id="{name}">{block.text}</script>'
            for name, block in blocks.items()
        ),
        "style": style,
        "script": script,
    }
    # In one pass, so that a "{{...}}" inside a part is never replaced.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _source("explorer.html"))


def _with_blocks(layer: PackedLayer, blocks: dict[str, PackedArray]) -> Json:
    """The data of a layer; its arrays go into ``blocks``, under names of the page."""
    data = dict(layer.data)
    for part, array in layer.arrays.items():
        block = f"{part}-{len(blocks)}"
        blocks[block] = array
        data[part] = layer.data[part] | {"block": block}
    return data


def pack_layer(layer: LayerView, source: LayerView | None, weights_of: int = 24) -> PackedLayer:
    """Pack a layer for the page, which takes a small part of its memory.

    Args:
        layer: its view.
        source: the view of the layer that it reads, if there is one.
        weights_of: as for :func:`page`.

    Returns:
        Its data and its arrays.
    """
    values = layer.finite()
    order = by_strength(values)
    sizes = np.abs(values)
    some = sizes.ravel()[:: max(sizes.size // ENOUGH, 1)]  # a percentile sorts
    top = np.percentile(some, TOP_PERCENTILE) or sizes.max() or 1
    window_fields = ("kernel", "stride", "dilation", "low")
    windows = layer.windows and [
        {name: int(getattr(window, name)) for name in window_fields} for window in layer.windows
    ]
    arrays: dict[str, PackedArray] = {}
    planes = np.moveaxis(values, -1, 0)
    if planes.size > packing.MAX_EXACT and source and layer.is_max_pool_of(source):
        # The page computes them. Rounding keeps the order of numbers, so that the maximum of
        # rounded ones is the rounded maximum.
        coding = {"coding": "largest", "shape": planes.shape}
    else:
        arrays["maps"] = pack_maps(planes)
        coding = arrays["maps"].header
    data = {
        "name": layer.name,
        "kind": layer.kind,
        "maps": coding,
        "means": [float(f"{mean:.6g}") for mean in values.mean((0, 1), dtype=np.float64)],
        "order": order.tolist(),
        "top": float(top),
        "signed": bool((values < 0).any()),
        "unknown": int((~np.isfinite(layer.values)).sum()),
        "rows": layer.rows.tolist(),
        "columns": layer.columns.tolist(),
        "size": [_pixel_count(n) for n in layer.size],
        "stride": [_pixel_count(n) for n in layer.stride],
        "exact": layer.exact,
        "source": layer.source,
        "windows": windows,
        "filters": _filters_data(layer, order[:weights_of], arrays),
    }
    return PackedLayer(data, arrays)


def _pixel_count(number: Pixels) -> str:
    return "?" if number is None else str(number if isinstance(number, int) else float(number))


def _filters_data(
    layer: LayerView, chosen: np.ndarray, arrays: dict[str, PackedArray]
) -> Json | None:
    """The weights of the chosen filters, and all biases; None for a layer without weights."""
    if layer.weights is None:
        return None
    count = layer.weights.shape[-1]
    kernels = np.moveaxis(layer.weights[..., chosen], (3, 2), (0, 1))
    arrays["filters"] = packed = pack_int16(kernels)
    bias = np.zeros(count) if layer.bias is None else layer.bias
    return {
        **packed.header,
        "of": chosen.tolist(),
        "count": count,
        "bias": np.float32(bias).astype(float).tolist(),
        "biased": layer.bias is not None,
    }


def _safe_drawing(svg: str) -> tuple[str, list[str]]:
    """A drawing as markup that the policy of the page allows, and the style sheets in it.

    Properties in "style" attributes become attributes of their own; scripts and event handlers are
    removed.
    """
    if not svg:
        return "", []
    root = ElementTree.fromstring(svg)
    root.attrib.pop("role", None)  # screen readers skip what is inside an image
    for element in root.iter():
        element.tag = _without_namespace(element.tag)
        for child in [c for c in element if _without_namespace(c.tag) in REMOVED_TAGS]:
            element.remove(child)
        style = element.attrib.pop("style", "")
        named = {_without_namespace(name): value for name, value in element.attrib.items()}
        kept = {name: value for name, value in named.items() if not name.startswith("on")}
        properties = (part.partition(":") for part in style.split(";") if part.strip())
        element.attrib.clear()
        element.attrib |= kept | {name.strip(): value.strip() for name, _, value in properties}
    styles = [element.text or "" for element in root.iter("style")]
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False), styles


def _without_namespace(name: str) -> str:
    """A name without its namespace, which HTML infers from ``<svg>``."""
    return name.rpartition("}")[2]


def _source(name: str) -> str:
    """The text of a source file of the page."""
    return resources.files("jaxconv.plotting").joinpath("page", name).read_text("utf-8")


def _hashes(texts: Sequence[str]) -> str:
    """The scripts or style sheets that a policy allows, by their hashes."""
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
