"""The page as a reader uses it, in a real browser: pointer, touch, keys, colours, small screens."""

import json
import re

import numpy as np
import pytest
from matplotlib import colormaps

import jaxconv as jc
from jaxconv.analysis.classes import ClassShare
from jaxconv.plotting import packing
from jaxconv.plotting.explorer import page
from tests.support.explored import HOSTILE, HOSTILE_PHOTO, network, product

pytestmark = pytest.mark.slow

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="900" height="60" role="img">'
    "<style>text { opacity: 1 }</style>"
    '<g class="layer" data-layer="a" style="fill: teal"><rect width="50" height="40"/></g>'
    '<g class="layer" data-layer="pool"><rect x="800" width="50" height="30"/></g></svg>'
)
WEIGHTS = 3
CLASSES = [ClassShare(7, HOSTILE, 0.7512), ClassShare(2, "bow tie", 0.2), ClassShare(1, "c", 1e-5)]
FEW = 900  # numbers; the input and "a" have more, and so has the pool


# Only what shows numbers depends on whether they are rounded. A rounded page has both kinds.
both = pytest.mark.parametrize("explored", [FEW, 200_000], ids=["rounded", "exact"], indirect=True)


@pytest.fixture(scope="module")
def explored(request, tmp_path_factory):
    """The layers by name, and the file of their page; with rounded numbers, or with exact ones."""
    exact = getattr(request, "param", FEW)
    patch = pytest.MonkeyPatch()
    patch.setattr(packing, "MAX_EXACT", exact)
    photo, layers = network(np.random.default_rng(exact))
    command = "jaxconv neuron 'a photo.jpg'"
    text = page(
        photo,
        HOSTILE_PHOTO,
        "A <b>net</b>",
        SVG,
        layers,
        weights_of=WEIGHTS,
        command=command,
        classes=CLASSES,
    )
    patch.undo()
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(text, "utf-8")
    return {layer.name: layer for layer in layers}, path, photo


@pytest.fixture
def rounded(request):
    """Whether the page rounds what has many numbers."""
    return request.node.callspec.params["explored"] == FEW


WINDOW = {"width": 1300, "height": 900}
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def windows(chromium):
    """A function that gives a tab of a window or a phone, which tests share."""
    tabs = {}

    def tab(phone=False):
        if phone not in tabs:
            options = PHONE if phone else {"viewport": WINDOW}
            tabs[phone] = chromium.new_context(**options).new_page()
            tabs[phone].add_init_script(
                "addEventListener('securitypolicyviolation',"
                " (event) => console.error(event.violatedDirective + event.blockedURI))"
            )
        return tabs[phone]

    yield tab
    for used in tabs.values():
        used.context.close()


@pytest.fixture
def visit(windows, explored):
    """Open the page; at the end nothing was complained about, and nothing asked for."""
    complaints, used = [], []

    def console(said):
        complaints.append(said.text)

    def error(raised):
        complaints.append(str(raised))

    def dialog(shown):
        complaints.append(shown.message)

    def request(asked):
        if not asked.url.startswith(("data:", "blob:", explored[1].as_uri())):
            complaints.append(asked.url)

    listeners = {"console": console, "pageerror": error, "dialog": dialog, "request": request}

    def opened(phone=False):
        tab = windows(phone)
        for event, listener in listeners.items():
            tab.on(event, listener)
        used.append(tab)
        tab.mouse.move(0, 0)
        tab.goto(explored[1].as_uri())
        tab.wait_for_selector("html[data-ready]")
        return tab

    yield opened
    for tab in used:
        for event, listener in listeners.items():
            tab.remove_listener(event, listener)
        tab.goto("about:blank")
    assert complaints == []


def choose(tab, layer, channel, letter="A"):
    """Show a map."""
    tab.select_option(f"[data-letter={letter}] select.layer", layer)
    tab.wait_for_selector(f"[data-letter={letter}]:not([aria-busy])")
    tab.click(f'[data-letter={letter}] .thumb[data-channel="{channel}"]')


def point(tab, layer, y, x, *, click=False, letter="A"):
    """Point at a neuron of the large map."""
    tab.evaluate("scrollTo(0, 0)")
    frame = tab.locator(f"[data-letter={letter}] .map")
    frame.scroll_into_view_if_needed()
    box, (h, w) = frame.bounding_box(), layer.values.shape[:2]
    place = box["x"] + (x + 0.5) * box["width"] / w, box["y"] + (y + 0.5) * box["height"] / h
    (tab.mouse.click if click else tab.mouse.move)(*place)
    tab.wait_for_timeout(60)


def test_the_classes_are_shown(visit):
    tab = visit()
    rows = tab.locator("#classes li")
    assert [" ".join(row.split()) for row in rows.all_inner_texts()] == [
        f"{HOSTILE} 75.1 %",
        "bow tie 20.0 %",
        "c < 0.1 %",
    ]
    assert tab.locator("#classes meter").first.evaluate("m => m.value") == 0.7512
    for width in (390, WINDOW["width"]):
        tab.set_viewport_size(WINDOW | {"width": width})
        assert tab.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [width, width]
        boxes = [rows.nth(n).bounding_box() for n in range(3)]
        assert all(box["width"] > 50 and box["x"] + box["width"] <= width for box in boxes)


def number(tab, key):
    return read(tab.locator(f'[data-number="{key}"] .number').inner_text())


def bound(tab, key):
    text = tab.locator(f'[data-number="{key}"] .error').inner_text()
    return read(text.removeprefix("±")) if text else 0.0


def read(text):
    return float(text.replace(",", "").replace("−", "-"))  # noqa: RUF001 - a minus sign


def box(tab, selector="#photo .box.A"):
    """Top, bottom, left and right of a box that is drawn over a picture."""
    found = tab.locator(selector)
    x, y, w, h = (float(found.get_attribute(n)) for n in ("x", "y", "width", "height"))
    return y, y + h, x, x + w


def field(layer, y, x):
    return *map(float, layer.rows[y]), *map(float, layer.columns[x])


def strong(layer):
    """Channels whose weights are in the page."""
    return np.argsort(-layer.values.mean((0, 1)), kind="stable")[:WEIGHTS].tolist()


@both
@pytest.mark.parametrize("name", ["a", HOSTILE])
def test_the_numbers_are_those_of_numpy(visit, explored, rounded, name):
    layers, tab = explored[0], visit()
    layer = layers[name]
    h, w, _ = layer.values.shape
    places = [(0, 0), (h - 1, w - 2), (h // 2, w // 3)]
    for channel, (y, x) in zip(strong(layer), places, strict=True):
        choose(tab, name, channel)
        point(tab, layer, y, x)
        assert tab.locator("#place dd").first.inner_text() == f"y {y}, x {x}"
        total, added = product(layer, layers[layer.source], channel, y, x)
        bias, value = float(layer.bias[channel]), float(layer.values[y, x, channel])
        off = {key: 1.05 * bound(tab, key) for key in ("product", "pre", "value")}  # of 2 digits
        assert [n > 0 for n in off.values()] == [rounded, rounded, rounded and name == "a"]
        assert number(tab, "product") == pytest.approx(total, rel=1e-4, abs=off["product"] + 1e-3)
        assert number(tab, "bias") == pytest.approx(bias, rel=1e-4)
        assert number(tab, "pre") == pytest.approx(total + bias, rel=1e-4, abs=off["pre"] + 1e-3)
        assert number(tab, "value") == pytest.approx(value, rel=1e-4, abs=off["value"] + 1e-6)
        names = map(int, tab.locator(".inputs .from").all_inner_texts())
        parts = map(read, tab.locator(".inputs tr:not(.rest) .number").all_inner_texts())
        listed = dict(zip(names, parts, strict=True))
        assert len(listed) == min(6, len(added))
        for source, part in listed.items():
            assert part == pytest.approx(added[source], rel=1e-4, abs=off["product"] + 1e-3)
        said = tab.locator("#rounding").inner_text()
        assert ("stores its numbers exactly" in said) == (off["value"] == 0)
        assert ("exact numbers of" in said) == (not rounded)
        assert ("exact weights" in said) == (not rounded or name == HOSTILE)  # which has few


def test_hovering_draws_the_field_and_a_click_holds_it(visit, explored):
    layer, tab = explored[0]["pool"], visit()
    choose(tab, "pool", 4)
    h, w, _ = layer.values.shape
    for y, x in [(0, 0), (h - 1, w - 1), (3, 7)]:
        point(tab, layer, y, x)
        assert box(tab) == field(layer, y, x)
        assert box(tab, ".map .box.A") == (y, y + 1, x, x + 1)
    point(tab, layer, 2, 5, click=True)
    point(tab, layer, 6, 1)
    assert box(tab) == field(layer, 2, 5)
    assert tab.locator(".held").is_visible()
    tab.keyboard.press("Escape")
    point(tab, layer, 6, 2)
    assert box(tab) == field(layer, 6, 2)
    tab.mouse.move(2, 2)
    assert box(tab) == field(layer, 6, 2)


@both
def test_a_map_has_the_colours_of_its_numbers(visit, explored):
    layer, tab = explored[0]["a"], visit()
    for own in (False, True):
        tab.set_checked(".own", own)
        check_colours(tab, layer, own)


def check_colours(tab, layer, own):
    for channel in (strong(layer)[0], 5, 0):
        choose(tab, "a", channel)
        values = layer.values[..., channel]
        top = values.max() if own else np.percentile(layer.values, 99.9)
        want = colormaps["magma"](np.sqrt(values / top).clip(0, 1))[..., :3] * 255
        tab.wait_for_selector(f'.thumb[data-channel="{channel}"][data-drawn]')
        for canvas in (".map canvas", f'.thumb[data-channel="{channel}"] canvas'):
            got = pixels(tab, canvas).reshape((*values.shape, 4))
            assert (got[..., 3] == 255).all()
            assert np.abs(got[..., :3] - want).max() < 12
            assert got[..., :3].max() > 200
        assert tab.locator(".legend .high").inner_text().startswith("≥ ")


def pixels(tab, canvas):
    """The bytes of a canvas."""
    script = """(canvas) => {
        const copy = Object.assign(document.createElement("canvas"), {
            width: canvas.width, height: canvas.height});
        const context = copy.getContext("2d", {willReadFrequently: true});
        context.drawImage(canvas, 0, 0);
        return [...context.getImageData(0, 0, canvas.width, canvas.height).data];
    }"""
    return np.array(tab.eval_on_selector(canvas, script), float)


def test_keys_do_all_that_a_pointer_does(visit, explored):
    layers, tab = explored[0], visit()
    drawn = tab.locator('#network [data-layer="a"]')
    tab.select_option("select.layer", "a")
    tab.wait_for_selector('#network [data-layer="a"][tabindex="0"]')
    assert tab.locator("#network [tabindex='0']").count() == 1
    drawn.focus()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Enter")
    tab.wait_for_function("() => document.querySelector('select.layer').value === 'pool'")
    assert tab.locator('#network [data-layer="pool"]').get_attribute("aria-pressed") == "true"
    tab.locator(".map").focus()
    tab.keyboard.press("Home")
    for _ in range(30):
        tab.keyboard.press("ArrowUp")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft"):
        tab.keyboard.press(key)
    assert box(tab, ".map .box.A") == (2, 3, 2, 3)
    assert box(tab) == field(layers["pool"], 2, 2)
    tab.keyboard.press("End")
    assert box(tab, ".map .box.A")[3] == layers["pool"].values.shape[1]
    tab.keyboard.press("PageDown")
    order = np.argsort(-layers["pool"].values.mean((0, 1)), kind="stable")
    assert tab.locator("[aria-selected=true]").get_attribute("data-channel") == str(order[1])
    tab.keyboard.press("]")
    tab.wait_for_selector(".about:has-text('convolution, 4 maps')")
    tab.locator(".thumb[tabindex='0']").focus()
    tab.keyboard.press("End")
    last = np.argsort(-layers[HOSTILE].values.mean((0, 1)), kind="stable")[-1]
    assert tab.locator(".thumb:focus").get_attribute("data-channel") == str(last)
    outline = tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    tab.wait_for_function(
        f"() => document.querySelector('#announcement').textContent.includes('map {last}')"
    )


def test_every_control_has_a_name_and_is_reached_by_tab(visit, explored):
    tab = visit()
    reached = set()
    for _ in range(25):
        tab.keyboard.press("Tab")
        reached.add(tab.evaluate(
            "(document.activeElement.className.baseVal ?? document.activeElement.className)"
            " || document.activeElement.id || document.activeElement.tagName"))  # fmt: skip
    assert {"SUMMARY", "layer", "sort", "own", "compare", "frame map", "thumb", "from"} <= reached
    unnamed = tab.locator("select, button, [role], [tabindex]").evaluate_all(
        "(all) => all.filter((e) => !e.getAttribute('aria-label') && !e.labels?.length"
        " && !e.textContent.trim() && e.id !== 'announcement').map((e) => e.outerHTML)"
    )
    assert unnamed == []
    tree = tab.locator("body").aria_snapshot()
    label = r"application .Map \d+ of \w+, \d+ by \d+ neurons; move with the arrow keys"
    assert re.search(label, tree)
    assert "listbox" in tree
    assert "option" in tree


def test_tapping_on_a_phone(visit, explored):
    layer = explored[0]["a"]
    tab = visit(phone=True)
    assert tab.evaluate("document.documentElement.scrollWidth") == 360
    drawn = tab.locator('#network [data-layer="pool"]')
    choose(tab, "a", strong(layer)[1])
    assert drawn.bounding_box()["x"] + drawn.bounding_box()["width"] > 360
    tab.select_option("select.layer", "pool")
    tab.wait_for_selector('#network [data-layer="pool"][data-shown="A"]')
    assert drawn.bounding_box()["x"] + drawn.bounding_box()["width"] < 360
    choose(tab, "a", strong(layer)[1])
    frame = tab.locator(".map")
    frame.scroll_into_view_if_needed()
    size, (h, w) = frame.bounding_box(), layer.values.shape[:2]
    place = {"x": 20.5 * size["width"] / w, "y": 7.5 * size["height"] / h}
    frame.tap(position=place)
    assert box(tab) == field(layer, 7, 20)
    assert tab.locator("#photo").is_visible()
    tab.tap("button.compare")
    tab.wait_for_selector("[data-letter=B] .thumb[data-drawn]")
    assert tab.evaluate("document.documentElement.scrollWidth") == 360


def test_a_second_layer_looks_at_the_same_place(visit, explored):
    layers, tab = explored[0], visit()
    choose(tab, "a", 0)
    tab.click("button.compare")
    choose(tab, "pool", 2, "B")
    for here, there, letters in (("a", "pool", "AB"), ("pool", "a", "BA")):
        for y, x in ((1, 2), (5, 8)):
            point(tab, layers[here], y, x, letter=letters[0])
            assert box(tab, f"#photo .box.{letters[0]}") == field(layers[here], y, x)
            row, column = (
                np.mean(seen) for seen in (layers[here].rows[y], layers[here].columns[x])
            )
            other = tuple(
                int(np.abs(seen.mean(1) - place).argmin())
                for seen, place in ((layers[there].rows, row), (layers[there].columns, column))
            )
            assert box(tab, f"#photo .box.{letters[1]}") == field(layers[there], *other)
            assert tab.locator("#neuron-title").inner_text().endswith(f" in {here}")
    tab.click("[data-letter=B] .compare")
    assert tab.locator(".viewer").count() == 1
    assert tab.locator("#photo .box").count() == 1


def test_pointing_at_the_photo_finds_the_neuron(visit, explored):
    layer, tab = explored[0]["pool"], visit()
    choose(tab, "pool", 1)
    shown, (h, w) = tab.locator("#photo img").bounding_box(), explored[2].shape[:2]
    y, x = 4, 6
    row, column = layer.rows[y].mean(), layer.columns[x].mean()
    tab.mouse.move(shown["x"] + column * shown["width"] / w, shown["y"] + row * shown["height"] / h)
    assert box(tab, ".map .box.A") == (y, y + 1, x, x + 1)


def test_a_filter_whose_weights_are_not_there_says_how_to_get_them(visit, explored):
    layer, tab = explored[0][HOSTILE], visit()
    channel = next(n for n in range(4) if n not in strong(layer))
    choose(tab, HOSTILE, channel)
    point(tab, layer, 3, 2)
    want = f"jaxconv neuron 'a photo.jpg' --layer '{HOSTILE}' --channel {channel} --at 3,2"
    assert tab.locator(".command").inner_text() == want
    assert tab.locator('[data-number="product"]').count() == 0


def test_from_an_input_one_goes_to_its_map(visit, explored):
    layer, tab = explored[0]["a"], visit()
    choose(tab, "a", strong(layer)[0])
    from_ = tab.locator(".inputs .from").first.inner_text()
    tab.locator(".inputs .from").first.click()
    tab.wait_for_selector(f"#neuron-title:text-is('Neuron of map {from_} in input')")


def test_maps_are_sorted_by_strength_or_number(visit, explored):
    layer, tab = explored[0]["a"], visit()
    choose(tab, "a", 2)
    shown = lambda: [int(t) for t in tab.locator(".thumb").all_inner_texts()]  # noqa: E731
    assert shown() == np.argsort(-layer.values.mean((0, 1)), kind="stable").tolist()
    tab.select_option(".sort", "number")
    assert shown() == [*range(6)]
    assert tab.locator("[aria-selected=true]").inner_text() == "2"


def test_names_are_text(visit, explored):
    tab = visit()
    assert tab.locator("h1").inner_text() == f"A <b>net</b> on {HOSTILE_PHOTO}"
    assert tab.locator("h1 b").count() == 0
    choose(tab, HOSTILE, 0)
    assert HOSTILE in tab.locator("#neuron-title").inner_text()
    assert tab.title() == f"A <b>net</b> on {HOSTILE_PHOTO}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_schemes(visit, explored, scheme):
    tab = visit()
    tab.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    choose(tab, "a", 1)
    for selector in ("h1", "h1 small", ".about", "dd", "dt", ".thumb span", ".number", "button"):
        assert _contrast(tab, selector) >= 4.5, selector
    paper = tab.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(_colour(paper)) < 200) == (scheme == "dark")


def _contrast(tab, selector):
    """The ratio of luminances of a text and what lies behind it, as WCAG 2 defines it."""
    found = tab.eval_on_selector(
        selector,
        """(element) => {
        let behind = element;
        const colour = () => getComputedStyle(behind).backgroundColor;
        while (/, 0\\)$/.test(colour())) behind = behind.parentElement;
        return [getComputedStyle(element).color, colour()];
    }""",
    )
    dark, light = sorted(_luminance(_colour(text)) for text in found)
    return (light + 0.05) / (dark + 0.05)


def _colour(text):
    return [float(n) for n in re.findall(r"[\d.]+", text)[:3]]


def _luminance(colour):
    parts = [c / 255 for c in colour]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_nothing_moves_if_reduced_motion_is_requested(visit, explored):
    tab = visit()
    durations = "getComputedStyle(document.querySelector('button.compare')).transitionDuration"
    tab.emulate_media(reduced_motion="reduce")
    assert tab.evaluate(durations) == "0s"
    tab.emulate_media(reduced_motion="no-preference")
    assert tab.evaluate(durations) != "0s"


def test_the_policy_is_at_work(windows, explored, tmp_path):
    """A script that was slipped in does not run, and asks for nothing."""
    slipped = '<script>document.title = "owned"</script><img src="http://localhost:9/x.png">'
    path = tmp_path / "page.html"
    path.write_text(explored[1].read_text("utf-8").replace("<main>", f"<main>{slipped}"), "utf-8")
    tab, refused = windows().context.new_page(), []
    tab.on("console", lambda said: refused.append(said.text))
    tab.goto(path.as_uri())
    tab.wait_for_selector("html[data-ready]")
    assert tab.title() != "owned"
    assert sum("Content Security Policy" in text for text in refused) >= 2
    tab.close()


def test_it_is_ready_soon(visit, explored, capsys):
    tab = visit()
    entry = json.loads(
        tab.evaluate("JSON.stringify(performance.getEntriesByType('navigation')[0])")
    )
    now = tab.evaluate("performance.now()")
    with capsys.disabled():
        print(
            f"\n  loaded in {entry['domContentLoadedEventEnd']:.0f} ms, ready before {now:.0f} ms"
        )
    assert now < 10_000


def test_a_notebook_shows_the_page_in_a_frame(chromium, tmp_path):
    """In a sandbox the page runs and asks for nothing, and a neuron is described as a call."""
    photo = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
    kernel = np.random.default_rng(1).normal(size=(3, 3, 3, 30)).astype(np.float32)
    made = jc.explore(lambda x: jc.conv(x, kernel), photo, title="net")
    (tmp_path / "notebook.html").write_text(made._repr_mimebundle_()["text/html"], "utf-8")
    tab, asked, complaints = chromium.new_page(), [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda said: complaints.append(said.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto((tmp_path / "notebook.html").as_uri())
    frame = tab.frame_locator("iframe")
    frame.locator("html[data-ready]").wait_for()
    weakest = jc.feature_maps(lambda x: jc.conv(x, kernel))(photo[None] / np.float32(255))
    (values,) = weakest.values()
    channel = int(np.argmin(values[0].mean((0, 1))))
    frame.locator(".sort").select_option("number")
    frame.locator(".thumb").nth(channel).click()
    command = frame.locator("code.command").text_content()
    assert re.fullmatch(
        rf'jc\.neuron\(fn, image, layer=".+", at=\(\d+, \d+\), channel={channel}\)', command
    )
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:", "about:"))] == []
    assert complaints == []
    tab.close()
