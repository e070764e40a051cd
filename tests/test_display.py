"""What notebooks show: what the text says, well-formed, escaped, of no other host, in any theme."""

import json
import re
from html.parser import HTMLParser

import islpy as isl
import jax
import jax.numpy as jnp
import nbformat
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name
from nbformat.v4 import new_code_cell, new_notebook, new_output

import jaxconv as jc
from jaxconv.display import (
    LONGEST,
    Box,
    BoxOnImage,
    Fact,
    Facts,
    Grid,
    Grids,
    Note,
    Table,
    Title,
    shortened,
    to_html,
)
from jaxconv.symbolic.sets import SizeSet

HOSTILE = '<script>alert("1 & 2")</script>'
KERNEL = jax.random.normal(jax.random.key(0), (3, 3, 3, 4))
IMAGE = jax.random.normal(jax.random.key(1), (1, 12, 14, 3))


def network(x):
    return jc.max_pool(checkpoint_name(jax.nn.relu(jc.conv(x, KERNEL)), HOSTILE))


def failing(x):
    if x.shape[1] == 5:
        raise ValueError(HOSTILE)
    return network(x)


RESULTS = {
    "a proven verdict": lambda: jc.check(network, "b h w 3", where="h >= 2 and w >= 2"),
    "a refuted verdict": lambda: jc.check(failing, "b h w 3"),
    "a tested verdict": lambda: jc.check(lambda x: jnp.zeros(hash(x.shape[1]) % 7), "h w"),
    "a verdict of nothing": lambda: jc.check(lambda x: jc.conv(x, KERNEL), "b h w 4"),
    "a table": lambda: jc.summary(network, "b h w 3", at={"b": 1, "h": 12, "w": 14}),
    "a field": lambda: jc.receptive_field(network, "1 12 14 3", layer=HOSTILE),
    "a field of formulas": lambda: jc.receptive_field(network, "b h w 3", layer=2),
    "a field that is whole": lambda: jc.receptive_field(
        lambda x: x.mean((1, 2)) @ jnp.ones((3, 2)), "1 12 14 3", layer=2
    ),
    "a field of a signal": lambda: jc.receptive_field(
        lambda x: jc.conv(x, KERNEL[0], layout="NWC"), "1 12 3", layer=1
    ),
    "a neuron": lambda: jc.neuron(network, IMAGE, layer=HOSTILE, at=(0, 0), channel=1),
    "a neuron of a pool": lambda: jc.neuron(network, IMAGE, layer=2, at=(0, 0), channel=1),
    "a neuron of a dense layer": lambda: jc.neuron(
        lambda x: x @ jnp.ones((3, 2)), IMAGE[0, 0], layer=1, at=(), channel=1
    ),
    "a set": lambda: SizeSet.parse("h w", "h mod 2 = 0 and w >= h"),
    "an empty set": lambda: SizeSet.parse("h", "h < 0"),
    "a set without a least size": lambda: SizeSet(isl.Set("[h] -> { : h mod 2 = 0 }")),
    "a set of no names": lambda: SizeSet.parse(""),
    "maps": lambda: jc.show(jc.feature_maps(network)(IMAGE)),
    "no maps": lambda: jc.show({}),
    "a drawing": lambda: jc.draw(network, "b h w 3", title=HOSTILE),
    "a page": lambda: jc.explore(network, IMAGE, title=HOSTILE),
}


@pytest.fixture(scope="module")
def shown(request):
    """A result, and what it shows."""
    result = RESULTS[request.param]()
    return result, result._repr_mimebundle_()


each_result = pytest.mark.parametrize("shown", RESULTS, indirect=True)


class Strict(HTMLParser):
    """Reads HTML, and complains where a tag is not closed in its order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag != "img":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        raise AssertionError(f"<{tag}/> is not closed in HTML")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def handle_comment(self, data):
        raise AssertionError("a comment")


@each_result
def test_the_plain_text_is_that_of_the_result(shown):
    result, bundle = shown
    assert bundle["text/plain"] == str(result) != ""


@each_result
def test_the_html_is_well_formed_and_has_only_its_own_tags(shown):
    read = Strict(shown[1]["text/html"])
    own = {"div", "style", "p", "span", "table", "thead", "tbody", "tr", "th", "td", "code"}
    own |= {"figure", "figcaption", "img", "iframe"}
    own |= {"svg", "title", "g", "rect", "polygon", "path", "text"}
    assert {tag for tag, _ in read.tags} <= own
    assert not [name for _, attrs in read.tags for name in attrs if name.startswith("on")]


@each_result
def test_the_html_asks_no_other_host(shown):
    read = Strict(shown[1]["text/html"])
    loading = {"src", "href", "xlink:href", "srcset", "data", "poster", "action", "background"}
    loaded = [attrs[name] for _, attrs in read.tags for name in loading & attrs.keys()]
    assert [text for text in loaded if not text.startswith("data:image/png;base64,")] == []
    styles = "".join(attrs.get("style", "") for _, attrs in read.tags) + "".join(read.texts)
    assert not re.search(r"url\(|@import", styles)


@each_result
def test_user_text_is_escaped(shown):
    result, bundle = shown
    assert "<script" not in bundle["text/html"].lower()
    if HOSTILE in str(result):
        read = Strict(bundle["text/html"])
        values = [value for _, attrs in read.tags for value in attrs.values()]
        assert any(HOSTILE in text for text in [*read.texts, *values])


def test_user_text_is_there_to_be_escaped():
    named = [name for name, make in RESULTS.items() if HOSTILE in str(make())]
    assert len(named) >= 6, named


@each_result
def test_a_notebook_can_be_saved_with_it(shown, tmp_path):
    output = new_output("execute_result", data=shown[1], execution_count=1)
    notebook = new_notebook(cells=[new_code_cell(outputs=[output])])
    nbformat.write(notebook, tmp_path / "saved.ipynb")
    assert json.loads((tmp_path / "saved.ipynb").read_text())


def test_a_text_that_cannot_be_written_is_replaced():
    text = to_html([Title("a\x00b\ud800c\x1b"), Note("\x7f\u0085")])
    assert "a\ufffdb\ufffdc\ufffd" in text
    text.encode()


def test_ipython_may_ask_for_some_forms_only():
    drawing = RESULTS["a drawing"]()
    assert set(drawing._repr_mimebundle_()) == {"text/plain", "text/html", "image/svg+xml"}
    assert set(drawing._repr_mimebundle_(include={"text/plain"})) == {"text/plain"}
    assert set(drawing._repr_mimebundle_(None, ["text/html"])) == {"text/plain", "image/svg+xml"}


def words(result):
    return " ".join(" ".join(Strict(result._repr_mimebundle_()["text/html"]).texts).split())


def test_a_verdict_shows_all_that_its_text_says():
    verdict = RESULTS["a refuted verdict"]()
    seen = words(verdict)
    for part in ("refuted", str(verdict.accepts), str(verdict.outputs), HOSTILE):
        assert part in seen
    (failure,) = (failure for failure in verdict.failures if HOSTILE in failure.message)
    for part in (failure.where, f"for {failure.sizes}", f"Fix: {failure.fix}", *verdict.notes):
        assert part in seen
    tested = RESULTS["a tested verdict"]()
    assert tested.status == "tested"
    assert tested.notes[0] in words(tested)


def test_a_table_has_a_cell_for_each_of_its_text():
    table = RESULTS["a table"]()
    read = Strict(table._repr_mimebundle_()["text/html"])
    headings, *rows = str(table).replace(HOSTILE, "layer 1").splitlines()
    assert [tag for tag, _ in read.tags].count("th") == len(headings.split())
    seen = words(table).replace(HOSTILE, "layer 1")
    for line in rows:
        for part in re.split(r"\s{2,}", line.strip("- ")):
            assert part in seen


def test_a_field_shows_the_box_of_the_neuron_in_the_middle():
    field = RESULTS["a field"]()
    read = Strict(field._repr_mimebundle_()["text/html"])
    (top, bottom), (left, right) = field.box(6, 7)
    _, box = (attrs for tag, attrs in read.tags if tag == "rect")
    sides = {"x": left, "y": top, "width": right - left, "height": bottom - top}
    assert {name: int(box[name]) for name in sides} == sides
    assert f"rows {top}:{bottom}, columns {left}:{right}" in words(field)
    assert "rect" not in RESULTS["a field of formulas"]()._repr_mimebundle_()["text/html"]


def test_a_neuron_shows_the_numbers_of_the_channels_that_count_most():
    neuron = RESULTS["a neuron"]()
    sums = (neuron.patch * neuron.weights).sum((0, 1))
    order = np.argsort(-np.abs(sums))
    captions = re.findall(r"patch p of channel (\d)", words(neuron))
    assert [*map(int, captions)] == [*order]
    assert f"sum {sums[order[0]]:.4g}" in words(neuron)
    assert f"{neuron.weights[0, 0, order[0]]:.3g}" in words(neuron)
    assert "patch p" not in words(RESULTS["a neuron of a dense layer"]())


def test_a_set_shows_its_smallest_sizes():
    assert words(RESULTS["a set"]()).endswith("smallest h = 2, w = 2")
    assert "smallest" not in words(RESULTS["an empty set"]())
    assert words(RESULTS["a set without a least size"]()).endswith("smallest h = 2")


def test_a_set_with_too_many_parts_is_shown_without_an_example(monkeypatch):
    monkeypatch.setattr("jaxconv.symbolic.sets.EXAMPLE_OPERATIONS", 1)
    assert "smallest" not in words(RESULTS["a set"]())


def test_a_page_is_in_a_frame_that_sees_nothing_of_the_notebook():
    page = RESULTS["a page"]()
    read = Strict(page._repr_mimebundle_()["text/html"])
    (frame,) = (attrs for tag, attrs in read.tags if tag == "iframe")
    assert frame["srcdoc"] == page.html
    assert frame["sandbox"] == "allow-scripts"


def test_colours_of_numbers_follow_their_sign():
    text = to_html([Grids((Grid("w", [[-1.0, -0.0], [0.5, 2.0]]),))])
    numbers = re.findall(r'rgba\((\d+), \d+, \d+, ([\d.]+)\)">([^<]+)<', text)
    red, blue = "232", "28"
    assert [(colour, strength, number) for colour, strength, number in numbers] == [
        (blue, "0.35", "-1"),
        (blue, "0.00", "0"),
        (red, "0.17", "0.5"),
        (red, "0.70", "2"),
    ]


def test_long_formulas_are_cut():
    assert shortened("x" * LONGEST) == "x" * LONGEST
    assert shortened("x" * (LONGEST + 1)) == "x" * (LONGEST - 4) + " ..."


PARTS = (
    Title("a title", "proven"),
    Note("a note"),
    Facts((Fact("accepts", "h >= 1", is_code=True), Fact("note", "a text"))),
    Table(("layer", "bytes"), [("a", "1")], ("layer",)),
    Grids((Grid("weights", [[1.0, -2.0]]),)),
    BoxOnImage(20, 10, Box(2, 3, 7, 8), "a box"),
)
# The colour of each element with text, but of the status, which has a ground of its own.
COLOURS = """() => [...document.querySelectorAll(".jaxconv *:not(style, .status, title)")]
  .filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
  .map((one) => [one, getComputedStyle(one)])
  .map(([one, style]) => [
    one.tagName, one.tagName === "text" ? style.fill : style.color, style.backgroundColor])"""
# As notebooks have it.
ZEBRA = ".cell.output :is(td, th, code) { background: white; text-align: center }"


@pytest.mark.parametrize(
    ("ink", "paper"), [("rgb(220, 221, 222)", "#111"), ("rgb(1, 2, 3)", "#fff")]
)
def test_texts_have_the_colour_of_the_notebook(chromium, ink, paper):
    tab = chromium.new_page()
    drawing = RESULTS["a drawing"]()._repr_mimebundle_()["text/html"]
    body = f"<body class='cell output' style='color: {ink}; background: {paper}'>"
    tab.set_content(f"<style>{ZEBRA}</style>{body}{to_html(PARTS)}{drawing}")
    colours = tab.evaluate(COLOURS)
    assert len(colours) > 10
    assert {tag for tag, *_ in colours} >= {"TD", "TH", "P", "CODE", "FIGCAPTION", "text"}
    assert [one for one in colours if one[1] != ink] == []
    assert [one for one in colours if one[2] == "rgb(255, 255, 255)"] == []
    assert tab.evaluate("getComputedStyle(document.querySelector('.background')).fill") == "none"
    tab.close()
