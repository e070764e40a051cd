"""The page as text: it holds what it shows, escapes what it is told, and trusts only itself."""

import base64
import dataclasses
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jaxconv as jc
from jaxconv.analysis.classes import ClassShare, top_classes
from jaxconv.plotting import packing
from jaxconv.plotting.explorer import SCRIPTS, page
from jaxconv.plotting.packing import PackedArray
from tests.plotting.test_packing import unpacked
from tests.support.explored import HOSTILE, HOSTILE_PHOTO, network
from tests.support.type_checks import WITHOUT_TYPE_CHECKS

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9" onload="alert(1)">'
    "<style>.layer { stroke: red }</style><script>alert(1)</script>"
    '<g class="layer" data-layer="a" style="fill: blue; stroke-width:2"><rect width="3"/></g></svg>'
)


class Reader(HTMLParser):
    """The tags and attributes of a page, and the text inside each script and style by its id."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.inside = [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style", "title"):
            self.inside = dict(attrs).get("id", tag)
            self.texts[self.inside] = ""

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside:
            self.texts[self.inside] += data

    def block(self, form):
        return unpacked(PackedArray(form, self.texts[form["block"]]))


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr(packing, "MAX_EXACT", 900)
    photo, layers = network(np.random.default_rng(5))
    return layers, Reader(page(photo, HOSTILE_PHOTO, "</title>&", "", layers, weights_of=3))


def test_maps_and_weights_are_those_of_the_network(made):
    layers, read = made
    data = json.loads(read.texts["data"])
    assert [entry["name"] for entry in data["layers"]] == ["input", "a", "pool", HOSTILE]
    codings = []
    assert data["layers"][0]["maps"]["predicted"]
    for layer, entry in zip(layers, data["layers"], strict=True):
        codings.append(entry["maps"]["coding"])
        if codings[-1] == "largest":
            continue
        got = np.moveaxis(read.block(entry["maps"]), 0, -1)
        step = entry["maps"].get("step", 0)
        assert np.abs(_root(got) - _root(layer.values)).max() <= step / 2 + 1e-4
        assert entry["order"] == np.argsort(-layer.values.mean((0, 1)), kind="stable").tolist()
        assert (entry["rows"], entry["source"]) == (layer.rows.tolist(), layer.source)
        if layer.weights is None:
            assert entry["filters"] is None
            continue
        chosen = entry["filters"]["of"]
        assert chosen == entry["order"][:3]
        kernels = np.moveaxis(layer.weights[..., chosen], (3, 2), (0, 1))
        np.testing.assert_allclose(read.block(entry["filters"]), kernels, atol=1e-4)
        np.testing.assert_array_equal(np.float32(entry["filters"]["bias"]), layer.bias)
    assert codings == ["root8", "root8", "largest", "float32"]


def _root(values):
    return np.sign(values) * np.sqrt(np.abs(values))


def test_names_are_text(made):
    _, read = made
    assert read.texts["title"] == f"</title>& on {HOSTILE_PHOTO}"
    assert json.loads(read.texts["data"])["photo"]["name"] == HOSTILE_PHOTO
    assert [tag for tag, _ in read.tags].count("img") == 1
    kinds = [attrs.get("type") for tag, attrs in read.tags if tag == "script"]
    assert kinds == ["application/json", *["text/plain"] * 5, "module"]


@pytest.mark.parametrize("svg", ["", SVG], ids=["no drawing", "a drawing with styles and scripts"])
def test_the_policy_lets_only_the_pages_own_script_and_styles_run(svg):
    photo, layers = network(np.random.default_rng(6))
    read = Reader(page(photo, "photo", "model", svg, layers))
    (policy,) = (a["content"] for _, a in read.tags if "http-equiv" in a)
    rules = {name: rest for name, *rest in (rule.split() for rule in policy.split("; "))}
    assert rules["default-src"] == ["'none'"]
    assert rules["img-src"] == ["data:", "blob:"]
    assert rules["script-src"] == [_hash(read.texts["script"])]
    assert _hash(read.texts["style"]) in rules["style-src"]
    assert len(rules["style-src"]) == 1 + bool(svg)
    assert not {"style", "onload", "onclick"} & {n for _, attrs in read.tags for n in attrs}
    scripts = [attrs for tag, attrs in read.tags if tag == "script"]
    assert len(scripts) == 1 + 6 + 1
    addresses = [v for _, a in read.tags for n, v in a.items() if n in ("src", "href")]
    assert all(value.startswith("data:") for value in addresses)


def _hash(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_a_drawings_style_attributes_become_attributes():
    photo, layers = network(np.random.default_rng(7))
    tags = Reader(page(photo, "photo", "model", SVG, layers)).tags
    (group,) = (attrs for tag, attrs in tags if attrs.get("data-layer") == "a")
    assert (group["fill"], group["stroke-width"]) == ("blue", "2")


def test_what_looks_like_a_place_in_the_page_is_text():
    photo, layers = network(np.random.default_rng(8))
    read = Reader(page(photo, "{{script}}", "{{style}}", "", layers))
    assert read.texts["title"] == "{{style}} on {{script}}"


def test_numbers_that_are_none_are_counted():
    photo, layers = network(np.random.default_rng(9))
    broken = layers[1].values.copy()
    broken[0, 0, 0], broken[3, 1, 2] = np.nan, -np.inf
    layers[1] = dataclasses.replace(layers[1], values=broken)
    data = json.loads(Reader(page(photo, "photo", "model", "", layers)).texts["data"])
    assert [entry["unknown"] for entry in data["layers"]] == [0, 2, 0, 0]


def test_a_page_names_classes_or_says_why_not():
    photo, layers = network(np.random.default_rng(5))

    def classes(given):
        read = Reader(page(photo, "photo", "model", "", layers, classes=given))
        return json.loads(read.texts["data"])["classes"]

    named = [ClassShare(3, HOSTILE, 0.75), ClassShare(1, "b", 0.25)]
    assert classes(named) == {"top": [[HOSTILE, 0.75], ["b", 0.25]], "note": ""}
    assert classes("</script>none") == {"top": [], "note": "</script>none"}
    assert classes([]) == {"top": [], "note": ""}


def test_classes_are_those_of_a_function_of_imagenets_classes():
    kernel = np.random.default_rng(0).normal(size=(3, 1000)).astype(np.float32)
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)

    def top(fn):
        data = json.loads(Reader(jc.explore(fn, pixels).html).texts["data"])
        return data["classes"]["top"]

    def classifier(x):
        return jnp.tanh(x).mean((1, 2)) @ kernel

    want = top_classes(classifier(np.float32(pixels[None]) / 255))
    assert [name for name, _ in top(classifier)] == [one.name for one in want]
    assert top(lambda x: classifier(x)[:, :10]) == []
    assert top(lambda x: classifier(x) * jnp.nan) == []


def test_more_weights_make_a_larger_page():
    photo, layers = network(np.random.default_rng(10))
    sizes = [len(page(photo, "p", "m", "", layers, weights_of=n)) for n in (1, 3, 6)]
    assert all(less < more for less, more in pairwise(sizes))


def test_the_scripts_are_strict_and_write_no_markup(made):
    _, read = made
    script = read.texts["script"]
    assert script.startswith('"use strict"')
    assert len(SCRIPTS) == 7
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|fetch\(", script)


def test_a_pool_that_is_not_the_largest_is_kept(monkeypatch):
    monkeypatch.setattr(packing, "MAX_EXACT", 0)
    photo, layers = network(np.random.default_rng(11))
    changed = layers[2].values.copy()
    changed[-1, 3, 2] = np.nextafter(changed[-1, 3, 2], np.float32(9e9))
    for values, coding in ((layers[2].values, "largest"), (changed, "root8")):
        layers[2] = dataclasses.replace(layers[2], values=values)
        data = json.loads(Reader(page(photo, "p", "m", "", layers)).texts["data"])
        assert data["layers"][2]["maps"]["coding"] == coding


KERNEL = np.random.default_rng(1).normal(size=(3, 3, 3, 4)).astype(np.float32)
PHOTO = np.random.default_rng(2).integers(0, 256, (20, 24, 3), np.uint8)


def filtered(x):
    return jc.max_pool(jnp.maximum(jc.conv(x, KERNEL), 0))


def filtered_first(x):
    """The same with the channels before the pixels."""
    y = jc.conv(x, KERNEL, layout="NCHW")
    return jc.max_pool(jnp.maximum(y, 0), layout="NCHW")


def contents(made):
    read = Reader(made.html)
    return read, json.loads(read.texts["data"])


def test_explore_makes_the_page_of_a_photo():
    made = jc.explore(filtered, PHOTO)
    read, data = contents(made)
    assert (made.title, made.layers, data["model"]) == ("filtered", 3, "filtered")
    photo, conv, pool = (read.block(layer["maps"]) for layer in data["layers"])
    np.testing.assert_allclose(np.moveaxis(photo, 0, -1), PHOTO / np.float32(255), atol=1e-6)
    want = jc.feature_maps(filtered)(PHOTO[None] / np.float32(255))
    for got, values in zip((conv, pool), want.values(), strict=True):
        np.testing.assert_allclose(np.moveaxis(got, 0, -1), values[0], atol=1e-4)
    assert data["command"] == ""
    drawn = {attrs["data-layer"] for _, attrs in read.tags if "data-layer" in attrs}
    assert {layer["name"] for layer in data["layers"]} <= drawn


def test_explore_prepares_a_photo_as_the_model_says():
    class Model:
        def preprocessing(self, x):
            return x.astype(np.float32) - 100

        def __call__(self, x):
            return filtered(x)

    read, data = contents(jc.explore(Model(), PHOTO))
    photo = np.moveaxis(read.block(data["layers"][0]["maps"]), 0, -1)
    np.testing.assert_allclose(photo, PHOTO.astype(np.float32) - 100, atol=1e-4)


def as_input(photo):
    return photo[None].astype(np.float32) / 255


def one_by_one(layout):
    """A function of one image, each of whose layers makes a batch of it, as those of Equinox."""

    def one(x):
        y = jnp.maximum(jc.conv(x[None], KERNEL, layout=layout)[0], 0)
        return jc.max_pool(y[None], layout=layout)[0]

    return one


LAYOUTS = {
    "NHWC": (filtered, as_input(PHOTO)),
    "NCHW": (filtered_first, np.moveaxis(as_input(PHOTO), -1, 1)),
    "HWC": (one_by_one("NHWC"), as_input(PHOTO)[0]),
    "CHW": (one_by_one("NCHW"), np.moveaxis(as_input(PHOTO)[0], -1, 0)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_explore_takes_images_in_any_layout(layout):
    fn, x = LAYOUTS[layout]
    want = jc.feature_maps(filtered)(as_input(PHOTO))
    for image in (x, PHOTO):
        read, data = contents(jc.explore(fn, image, layout=layout, title="net"))
        assert data["photo"] == {"name": "an image", "height": 20, "width": 24}
        kinds = [layer["kind"] for layer in data["layers"]]
        assert kinds == ["input", "convolution", "pool"]
        for layer, values in zip(data["layers"][1:], want.values(), strict=True):
            got = np.moveaxis(read.block(layer["maps"]), 0, -1)
            np.testing.assert_allclose(got, values[0], atol=1e-4)


def test_explore_takes_parameters_before_the_image():
    made = jc.explore(lambda kernel, x: jc.conv(x, kernel), KERNEL, as_input(PHOTO), title="net")
    _, data = contents(made)
    assert data["layers"][1]["filters"]["count"] == 4
    first = jc.explore(
        lambda kernel, x: jc.conv(x, kernel, layout="NCHW"), KERNEL, PHOTO, layout="NCHW", title="n"
    )
    assert contents(first)[1]["layers"][1]["filters"]["count"] == 4


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_an_input_is_shown_as_a_picture(channels):
    x = np.linspace(-3, 7, 12 * 10 * channels).reshape(1, 12, 10, channels).astype(np.float32)
    kernel = np.ones((3, 3, channels, 2), np.float32)
    read, _ = contents(jc.explore(lambda y: jc.conv(y, kernel), x))
    (image,) = (attrs["src"] for tag, attrs in read.tags if tag == "img")
    with Image.open(io.BytesIO(base64.b64decode(image.partition(",")[2]))) as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (12, 10, 3)
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_only_the_chosen_layers_and_what_they_read_are_in_the_page(tmp_path):
    made = jc.explore(filtered, PHOTO, layers=1)
    _, data = contents(made)
    assert len(data["layers"]) == made.layers == 2
    made.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text("utf-8") == made.html
    assert str(made) == f"explorer page of filtered: 2 layers, {len(made.html) / 1e6:.1f} MB"


BAD = {
    "no image": (lambda: jc.explore(filtered), "there is no image"),
    "no batch": (lambda: jc.explore(filtered, as_input(PHOTO)[0]), "must have the axes NHWC"),
    "complex numbers": (lambda: jc.explore(filtered, 1j * as_input(PHOTO)), "must have the axes"),
    "a text": (lambda: jc.explore(filtered, "photo.jpg"), "the image is 'photo.jpg', but"),
    "a layer": (lambda: jc.explore(filtered, PHOTO, layers="no"), "layers is 'no'"),
    "a layout": (lambda: jc.explore(filtered, PHOTO, layout="HCW"), "layout is 'HCW'"),
    "no layers": (lambda: jc.explore(lambda x: x + 1, PHOTO), "there are no layers to show"),
}
WRONG_TYPES = {
    "a title": (lambda: jc.explore(filtered, PHOTO, title=3), "title is 3, but must be a text"),
}


@pytest.mark.parametrize(
    "case",
    [*BAD, *(pytest.param(case, marks=WITHOUT_TYPE_CHECKS) for case in WRONG_TYPES)],
)
def test_explore_says_what_is_wrong(case):
    call, message = (BAD | WRONG_TYPES)[case]
    with pytest.raises(jc.ShapeError) as raised:
        call()
    assert str(raised.value).startswith("explore: ")
    assert message in str(raised.value)
