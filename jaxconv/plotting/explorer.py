"""One page in which a reader explores what a network makes of a photo.

The page asks nothing of anyone: its policy (CSP) lets it run its own script, use its own style and
show its own pictures, no more. Its sources lie in ``page/``.
"""

import base64
import hashlib
import html
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any
from xml.etree import ElementTree

import numpy as np

from jaxconv.layers.windows import Window
from jaxconv.plotting import packing
from jaxconv.plotting.figures import BRIGHTEST, strongest
from jaxconv.plotting.layer_views import Shown
from jaxconv.plotting.packing import Packed, packed_evenly

SCRIPTS = tuple(
    f"{name}.js"
    for name in ("unpacking", "layers", "pictures", "neuron", "panel", "viewer", "explorer")
)
REFUSED = ("script", "foreignObject")  # in a drawing
PALETTES = {"positive": "magma", "signed": "berlin"}  # both are black at 0


def page(
    photo: np.ndarray,
    photo_name: str,
    model_name: str,
    network_svg: str,
    layers: Sequence[Shown],
    *,
    weights_of: int = 24,
    command: str = "jaxconv neuron",
) -> str:
    """Write the page.

    Maps of few numbers are exact, larger ones rounded to 8 bits, and the page says which. It
    computes w.p + b from what it has, and bounds what the rounding may do to it.

    Args:
        photo: uint8 (h, w, 3), as the network sees it.
        photo_name: what to call it; any text.
        model_name: the network; any text.
        network_svg: a drawing with a group ``class="layer" data-layer="NAME"`` for each layer;
            empty for none.
        layers: at least one, in the order of computation, with names that differ.
        weights_of: for how many filters of each layer, those of the strongest maps, the weights
            are in the page.
        command: the beginning of a command line that tells about any neuron, to which the page
            adds ``--layer NAME --channel N --at Y,X``.

    Returns:
        HTML that needs no other file.
    """
    blocks: dict[str, Packed] = {}
    by_name = {layer.name: layer for layer in layers}
    described = [_described(layer, by_name, weights_of, blocks) for layer in layers]
    data = {
        "photo": {"name": photo_name, "height": photo.shape[0], "width": photo.shape[1]},
        "model": model_name,
        "command": command,
        "palettes": _palettes(),
        "layers": described,
    }
    drawing, styles = _drawing(network_svg)
    script, style = "\n".join(map(_source, SCRIPTS)), _source("explorer.css")
    return _filled(
        _source("explorer.html"),
        {
            "policy": _policy([script], [style, *styles]),
            "title": html.escape(f"{model_name} on {photo_name}"),
            "photo": _photo(photo),
            "drawing": drawing,
            "data": json.dumps(data).replace("<", "\\u003c"),
            "blocks": "\n".join(f'<script type="text/plain" id="{i}">{b.text}</script>'
                                for i, b in blocks.items()),
            "style": style,
            "script": script,
        },
    )  # fmt: skip


def _described(
    layer: Shown, layers: Mapping[str, Shown], weights_of: int, blocks: dict[str, Packed]
) -> dict[str, Any]:
    """A layer as data; its large arrays go into ``blocks``."""
    values = _finite(layer)
    order = strongest(values)
    top = np.percentile(np.abs(values), BRIGHTEST) or np.abs(values).max() or 1
    return {
        "name": layer.name,
        "kind": layer.kind,
        "maps": _maps(layer, layers, blocks),
        "means": [float(f"{mean:.6g}") for mean in values.mean((0, 1), dtype=np.float64)],
        "order": order.tolist(),
        "top": float(top),
        "signed": bool((values < 0).any()),
        "unknown": int((~np.isfinite(layer.values)).sum()),
        "rows": layer.rows.tolist(),
        "columns": layer.columns.tolist(),
        "size": [_pixels(n) for n in layer.size],
        "stride": [_pixels(n) for n in layer.stride],
        "exact": layer.exact,
        "source": layer.source,
        "windows": layer.windows and [_window(window) for window in layer.windows],
        "filters": _filters(layer, order[:weights_of], blocks),
    }


def _pixels(number: Any) -> str:
    return "?" if number is None else str(number if isinstance(number, int) else float(number))


def _finite(layer: Shown) -> np.ndarray:
    return np.nan_to_num(layer.values, nan=0, posinf=0, neginf=0).astype(np.float32)


def _maps(layer: Shown, layers: Mapping[str, Shown], blocks: dict[str, Packed]) -> dict[str, Any]:
    """The form of a layer's maps; those that the page can make out of the source's have no block.

    Rounding keeps the order of numbers, so that the largest of rounded ones is the rounded largest.
    """
    planes = np.moveaxis(_finite(layer), -1, 0)
    if planes.size > packing.EXACT and layer.source and _is_largest(layer, layers[layer.source]):
        return {"coding": "largest", "shape": planes.shape}
    block = f"maps-{len(blocks)}"
    blocks[block] = packed = packing.packed_maps(planes)
    return packed.form | {"block": block}


def _is_largest(layer: Shown, source: Shown) -> bool:
    """Whether each number of a layer is the largest of its window on the source, as in a pool."""
    if layer.weights is not None or layer.windows is None:
        return False
    pads = [window.pads for window in layer.windows]
    framed = np.pad(_finite(source), [*pads, (0, 0)], constant_values=-np.inf)
    found = framed
    for axis, window in enumerate(layer.windows):
        views = np.lib.stride_tricks.sliding_window_view(found, window.extent, axis)
        found = (
            views[..., :: window.dilation]
            .max(-1)
            .take(np.arange(0, views.shape[axis], window.stride), axis)
        )
    return np.array_equal(found, _finite(layer))


def _window(window: Window) -> dict[str, int]:
    names = ("kernel", "stride", "dilation", "low")
    return {name: int(getattr(window, name)) for name in names}


def _filters(layer: Shown, chosen: np.ndarray, blocks: dict[str, Packed]) -> dict[str, Any] | None:
    """The weights of the chosen filters, and all biases."""
    if layer.weights is None:
        return None
    block, count = f"weights-{len(blocks)}", layer.weights.shape[-1]
    kernels = np.moveaxis(layer.weights[..., chosen], (3, 2), (0, 1))
    blocks[block] = packed = packed_evenly(kernels)
    bias = np.zeros(count) if layer.bias is None else layer.bias
    return {
        **packed.form,
        "block": block,
        "of": chosen.tolist(),
        "count": count,
        "bias": np.float32(bias).astype(float).tolist(),
        "biased": layer.bias is not None,
    }


def _palettes() -> dict[str, list[list[int]]]:
    """The colours of each scale, 256 of red, green and blue."""
    from matplotlib import colormaps

    steps = np.linspace(0, 1, 256)
    return {
        use: (colormaps[name](steps)[:, :3] * 255).round().astype(int).tolist()
        for use, name in PALETTES.items()
    }


def _photo(photo: np.ndarray) -> str:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(photo).save(content, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def _drawing(svg: str) -> tuple[str, list[str]]:
    """A drawing as markup that the page's policy lets through, and the styles in it.

    Attributes named "style" become attributes of their own; scripts and handlers are left out.
    """
    if not svg:
        return "", []
    root = ElementTree.fromstring(svg)
    root.attrib.pop("role", None)  # of an image one would not hear the layers inside
    for element in root.iter():
        element.tag = _plain(element.tag)
        for child in [child for child in element if _plain(child.tag) in REFUSED]:
            element.remove(child)
        styled = element.attrib.pop("style", "")
        named = {_plain(name): value for name, value in element.attrib.items()}
        kept = {name: value for name, value in named.items() if not name.startswith("on")}
        parts = (part.partition(":") for part in styled.split(";") if part.strip())
        element.attrib.clear()
        element.attrib |= kept | {name.strip(): value.strip() for name, _, value in parts}
    styles = [element.text or "" for element in root.iter("style")]
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False), styles


def _plain(name: str) -> str:
    """A name without its namespace, which HTML knows from ``<svg>``."""
    return name.rpartition("}")[2]


def _source(name: str) -> str:
    return resources.files("jaxconv.plotting").joinpath("page", name).read_text("utf-8")


def _policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    rules = {
        "default-src": ["'none'"],
        "script-src": [*_hashes(scripts)],
        "style-src": [*_hashes(styles)],
        "img-src": ["data:", "blob:"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }
    return "; ".join(" ".join([name, *allowed]) for name, allowed in rules.items())


def _hashes(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        digest = hashlib.sha256(text.encode()).digest()
        yield f"'sha256-{base64.b64encode(digest).decode()}'"


def _filled(template: str, parts: Mapping[str, str]) -> str:
    """Put each part in its ``{{place}}``, once: what a part contains is never filled again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)
