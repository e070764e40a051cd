"""The page as text: it holds what it shows, escapes what it is told, and trusts only itself."""

import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest

from jaxconv.plotting import packing
from jaxconv.plotting.explorer import SCRIPTS, page
from jaxconv.plotting.packing import PackedArray
from tests.plotting.test_packing import unpacked
from tests.support.explored import HOSTILE, HOSTILE_PHOTO, network

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
