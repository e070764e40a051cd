"""Drawings: every layer and edge is there, nothing overlaps, and sizes are as the table says."""

import functools
import io
import itertools
from dataclasses import replace
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from PIL import Image

import jaxconv as jc
from experiments import networks as typical
from jaxconv.plotting import layered_graph
from jaxconv.plotting import network_diagram as diagram
from jaxconv.plotting.graph_layout import NodeSize, layout
from jaxconv.plotting.layered_graph import crossings, layered
from jaxconv.plotting.network_diagram import network_diagram
from jaxconv.plotting.vector_graphics import text_width
from tests.support import networks

AT = {"b": 1, "h": 224, "w": 224}
SVG = "{http://www.w3.org/2000/svg}"


def conv(x, width, size=3, name=None, **options):
    y = jax.nn.relu(jc.conv(x, jnp.ones((size, size, x.shape[-1], width)), **options))
    return y if name is None else checkpoint_name(y, name)


def inception(x):
    for i in range(2):
        three = conv(conv(x, 24), 32, name=f"{i}.three")
        five = conv(conv(x, 4, 1), 8, 5, name=f"{i}.five")
        pool = conv(jc.max_pool(x, 3, stride=1, padding="SAME"), 8, 1, name=f"{i}.pool")
        x = checkpoint_name(jnp.concatenate([conv(x, 16, 1), three, five, pool], -1), f"{i}.all")
    return x.mean((1, 2)) @ jnp.ones((64, 10))


def dense(count):
    def network(x):
        maps = [x]
        for _ in range(count):
            maps.append(conv(jnp.concatenate(maps, -1), 4))
        return jnp.concatenate(maps, -1)

    return network


def two_inputs(x, y):
    x = conv(jc.max_pool(conv(x, 8, name="left")), 16)
    return checkpoint_name(jnp.concatenate([x, conv(y, 4, name="right")], -1), "both")


def chain(rank, layout):
    def network(x):
        for width in (8, 16):
            c = x.shape[layout.index("C")]
            x = jc.conv(x, jnp.ones((3,) * rank + (c, width)), layout=layout)
            x = jc.max_pool(jax.nn.relu(x), 2, layout=layout)
        return x

    return network


def resnet():
    return nnx.eval_shape(lambda: typical.ResNet(nnx.Rngs(0), (2, 2)))


@functools.cache
def vgg(head):
    return nnx.eval_shape(lambda: jc.vgg16(head=head))


TABLES = {
    "vgg": lambda: jc.summary(vgg(None), "b h w 3"),
    "vgg with a head": lambda: jc.summary(vgg("dense"), "b h w 3", at=AT),
    "u-net": lambda: jc.summary(typical.u_net, "b h w 3", where="h % 16 == 0, w % 16 == 0"),
    "resnet": lambda: jc.summary(resnet(), "b h w 3", at=AT),
    "inception": lambda: jc.summary(inception, "b h w 3"),
    "dense": lambda: jc.summary(dense(7), "b h w 3"),
    "two inputs": lambda: jc.summary(two_inputs, "b h w 3", "b h//2 w//2 1"),
    "a long chain": lambda: jc.summary(typical.chain(30), "b h w 3"),
    "1-D": lambda: jc.summary(chain(1, "NWC"), "b n 2"),
    "3-D": lambda: jc.summary(chain(3, "NDHWC"), "b d h w 1"),
    "channels first": lambda: jc.summary(chain(2, "NCHW"), "2 3 40 48"),
    "a vector": lambda: jc.summary(lambda x: (x @ jnp.ones((5, 3))).sum(), "5"),
    "flat maps": lambda: jc.summary(functools.partial(conv, width=4), "1 1 5000 3"),
}


@functools.cache
def table(name):
    return TABLES[name]()


@functools.cache
def drawn(name):
    return network_diagram(table(name), name)


def flattened(path):
    """Points along a path, close to each other on curves."""
    points = [path.start]
    for step in path.steps:
        controls = np.array([points[-1], *step])
        t = np.linspace(0, 1, 2 if len(step) == 1 else 16)[1:, None]
        weights = [1 - t, t] if len(step) == 1 else [
            (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3
        ]  # fmt: skip
        points += map(tuple, sum(w * c for w, c in zip(weights, controls, strict=True)).tolist())
    return points


def overlaps(boxes):
    """The pairs of boxes that overlap, by their numbers."""
    one, other = np.array(boxes)[:, None], np.array(boxes)[None]
    begins_before_the_end = one[..., :2] < other[..., 2:] - 0.01
    both = (begins_before_the_end & begins_before_the_end.swapaxes(0, 1)).all(-1)
    return np.argwhere(np.triu(both, 1)).tolist()


def hits(path, boxes):
    """Whether a path passes through the inside of each box (Liang and Barsky, 1984)."""
    points, boxes = np.array(flattened(path)), np.array(boxes)
    start, step = points[:-1, None], np.diff(points, axis=0)[:, None]
    near, far = boxes[:, :2] + 0.01 - start, boxes[:, 2:] - 0.01 - start
    still, inside = step == 0, (near < 0) & (far > 0)
    step = np.where(still, 1, step)
    low = np.where(still, np.where(inside, 0, np.inf), np.minimum(near / step, far / step))
    high = np.where(still, 1, np.maximum(near / step, far / step))
    return (low.max(-1).clip(min=0) < high.min(-1).clip(max=1)).any(0)


def crossed(lines):
    """The pairs of arrows that cross; those of one source are one line until they part."""
    found = []
    for one, other in itertools.combinations(lines, 2):
        apart = one.source != other.source and one.target != other.target
        if apart and cross(one.path, other.path):
            found.append((one.source, one.target, other.source, other.target))
    return found


def cross(one, other):
    """Whether two paths cross at a point that is no end of a straight piece of them."""
    a, b = (np.array(flattened(path)) for path in (one, other))

    def sides(points, lines):
        """On which side of each piece of some lines each point is."""
        start, step = lines[:-1, None], np.diff(lines, axis=0)[:, None]
        along = points[None] - start
        return np.sign(np.round(step[..., 0] * along[..., 1] - step[..., 1] * along[..., 0], 6))

    def parted(points, lines):
        """Whether the ends of each piece are on different sides of each piece of the lines."""
        side = sides(points, lines)
        return side[:, :-1] * side[:, 1:] < 0

    return (parted(b, a) & parted(a, b).T).any()


def check_apart(picture):
    """No block, label or arrow runs over another one's, and none leaves the paper."""
    names = [block.name for block in picture.blocks] + [text.layer for text in picture.texts]
    boxes = [block.box for block in picture.blocks] + [text.box() for text in picture.texts]
    assert [(names[a], names[b]) for a, b in overlaps(boxes)] == []
    for left, top, right, bottom in boxes:
        assert 0 <= left <= right <= picture.width
        assert 0 <= top < bottom <= picture.height
    for arrow in picture.arrows:
        run_over = {number for number, hit in enumerate(hits(arrow.path, boxes)) if hit}
        # What follows the blocks is labels, which have the names of their layers.
        blocks = names[: len(picture.blocks)]
        assert run_over <= {blocks.index(arrow.source), blocks.index(arrow.target)}, arrow


@pytest.fixture(scope="module", params=TABLES)
def name(request):
    """Each table; of the module, so that all tests of a table follow each other."""
    return request.param


def test_nothing_overlaps(name):
    check_apart(drawn(name))


def test_every_layer_is_there_once_and_edges_are_those_of_the_table(name):
    picture, rows = drawn(name), table(name).rows
    layers = [block.name for block in picture.blocks if block.kind != "input"]
    assert layers == [row.name for row in rows]
    assert len({block.name for block in picture.blocks}) == len(picture.blocks)
    want = sorted((source, row.name) for row in rows for source in row.inputs)
    assert sorted((arrow.source, arrow.target) for arrow in picture.arrows) == want
    for row in rows:
        heading = [t.text for t in picture.texts if t.layer == row.name and t.bold]
        assert "".join(heading).lstrip("\u2026") in row.name
        assert len([p for p in picture.polygons if p.layer == row.name]) == 3


def test_arrows_begin_and_end_at_their_blocks(name):
    picture = drawn(name)
    boxes = {block.name: block.box for block in picture.blocks}
    for arrow in picture.arrows:
        start, end = arrow.path.start, arrow.path.steps[-1][-1]
        left, top, right, bottom = boxes[arrow.source]
        assert left <= start[0] <= right
        assert top <= start[1] <= bottom
        left, top, right, bottom = boxes[arrow.target]
        assert left - 2 <= end[0] <= right
        assert top <= end[1] <= bottom


@pytest.mark.parametrize("name", ["u-net", "resnet", "inception", "vgg", "two inputs"])
def test_no_arrows_cross(name):
    assert crossed(drawn(name).arrows) == []


def test_crossings_are_found_where_there_must_be_some():
    assert crossed(drawn("dense").arrows)


def sides(picture, name):
    """Thickness, height and width aslant of a block, off its polygons."""
    side, _, face = [p.points for p in picture.polygons if p.layer == name]
    return side[1][0] - side[0][0], face[3][1] - face[0][1], face[1][0] - face[0][0]


@pytest.mark.parametrize("name", ["vgg with a head", "resnet"])
def test_faces_and_thicknesses_are_monotone(name):
    picture = drawn(name)
    shapes = {row.name: row.output[1:] for row in table(name).numbers}
    maps = [n for n, shape in shapes.items() if len(shape) == 3]
    for one, other in itertools.permutations(maps, 2):
        (h, w, c), (h2, w2, c2) = shapes[one], shapes[other]
        sizes = zip(
            (c, h, w), (c2, h2, w2), sides(picture, one), sides(picture, other), strict=True
        )
        for n, n2, length, length2 in sizes:
            assert np.sign(n - n2) == np.sign(round(length - length2, 6))
    vectors = [(shape[0], sides(picture, n)[1]) for n, shape in shapes.items() if len(shape) == 1]
    assert len({round(length, 6) for _, length in vectors}) == len({n for n, _ in vectors})
    assert sorted(vectors) == sorted(vectors, key=lambda pair: pair[1])


def test_long_sides_are_those_of_long_axes():
    narrow = jc.summary(functools.partial(conv, width=5), "1 9 400 3")
    (name,) = [row.name for row in narrow.rows]
    _, tall, wide = sides(network_diagram(narrow), name)
    assert wide > diagram.SLANT[0] * tall * 3


def test_channels_first_and_last_look_alike():
    first, last = drawn("channels first"), jc.summary(chain(2, "NHWC"), "2 40 48 3")
    pairs = zip(table("channels first").rows, last.rows, strict=True)
    for one, other in pairs:
        assert sides(first, one.name) == pytest.approx(sides(network_diagram(last), other.name))


def label(name, row):
    return [t.text for t in drawn(name).texts if t.layer == row and not t.bold]


def test_labels_have_formulas_or_numbers():
    assert label("vgg", "pool5") == ["h//32 x w//32", "x 512"]
    assert label("vgg with a head", "conv1_1") == ["224 x 224", "x 64"]
    assert label("vgg with a head", "pool5") == ["7 x 7 x 512"]
    assert label("vgg with a head", "fc8") == ["1000"]
    first = table("1-D").rows[1].name
    assert label("1-D", first) == ["n//2 x 8"]
    assert label("3-D", table("3-D").rows[1].name) == ["d//2 x h//2", "x w//2 x 8"]
    assert label("channels first", table("channels first").rows[0].name) == ["8 x 40 x 48"]
    assert label("a vector", table("a vector").rows[1].name) == ["1 number"]


def test_sums_have_brackets():
    table = jc.summary(lambda x: conv(x, 4, padding=0), "b h w 3")
    texts = [t.text for t in network_diagram(table).texts if t.layer == table.rows[0].name]
    assert texts[-2:] == ["(h - 2)", "x (w - 2) x 4"]


def notes(picture):
    return " ".join(text.text for text in picture.texts if not text.layer)


def test_small_print_says_what_the_proportions_are_for():
    assert "Formulas hold for h >= 32, w >= 32." in notes(drawn("vgg"))
    assert "Proportions are for b = 1, h = 224, w = 224." in notes(drawn("vgg"))
    assert "Sizes are for b = 1, h = 224, w = 224." in notes(drawn("resnet"))
    assert "14,714,688 parameters" in notes(drawn("vgg"))
    assert "Labels omit the batch axis, b." in notes(drawn("vgg"))
    assert "batch" not in notes(drawn("a vector"))
    small = network_diagram(jc.summary(vgg(None), "b h w 3", where="w == 2*h, h >= 300"))
    assert "b = 1, h = 300, w = 600" in notes(small)


def test_the_legend_has_the_kinds_that_are_there():
    legend = {text.text for text in drawn("vgg").texts if not text.layer}
    assert {"input", "convolution", "pool"} <= legend
    assert not {"merge of branches", "reduction (such as a mean)"} & legend
    assert {"dense (matrix product)", "merge of branches"} <= {
        text.text for text in drawn("inception").texts
    }
    fills = {p.layer: p.fill for p in drawn("inception").polygons if p.layer}
    kinds = {block.name: block.kind for block in drawn("inception").blocks}
    assert len(set(fills.values())) == len(set(kinds.values())) == 6


def test_svg_is_xml_without_styles(name):
    root = ElementTree.fromstring(drawn(name).to_svg())
    assert root.tag == f"{SVG}svg"
    assert (root.get("role"), root.find(f"{SVG}title").text) == ("img", name)
    assert [float(n) for n in root.get("viewBox").split()[2:]] == pytest.approx(
        [drawn(name).width, drawn(name).height], abs=0.1
    )
    assert not any("style" in (*element.keys(), element.tag) for element in root.iter())
    groups = [group for group in root.iter(f"{SVG}g") if group.get("class") == "layer"]
    known = [group for group in groups if group.get("data-kind") != "input"]
    assert [group.get("data-layer") for group in known] == [row.name for row in table(name).rows]
    for group, row in zip(known, table(name).rows, strict=True):
        told = group.find(f"{SVG}title").text
        assert group.get("aria-label") == told
        assert told.startswith(f"{row.name}: {row.kind}, (")
        assert f", {row.parameters:,} parameters" in told
        assert len(group.findall(f"{SVG}polygon")) == 3
    edges = [group for group in root.iter(f"{SVG}g") if group.get("class") == "edge"]
    assert [(e.get("data-from"), e.get("data-to")) for e in edges] == [
        (arrow.source, arrow.target) for arrow in drawn(name).arrows
    ]


NAMES = [
    '<script>alert("1")</script>',
    "a & b",
    "\x00\x1b\ud800",
    "$x^{$",
    "层",
    "input",
    "]]>",
    "",
]


def test_names_are_data():
    def network(x):
        for name in NAMES:
            x = conv(x, 4, name=name)
        return x

    found = jc.summary(network, "b h w 3")
    picture = network_diagram(found, "<b>\x07")
    check_apart(picture)
    text = picture.to_svg()
    assert "<script" not in text
    assert "<b>" not in text
    root = ElementTree.fromstring(text.encode())
    groups = [group for group in root.iter(f"{SVG}g") if group.get("class") == "layer"]
    names = [group.get("data-layer") for group in groups]
    assert names[0] == "input#2"
    assert names[1:3] == NAMES[:2]
    assert names[3] == "\ufffd" * 3
    assert names[4:7] == NAMES[3:6]
    assert len(Image.open(io.BytesIO(picture.to_png())).getcolors(1 << 24)) > 20


def test_two_names_that_look_alike_stay_two_layers():
    found = jc.summary(lambda x: conv(conv(x, 4, name="\x01"), 5, name="\x02"), "b h w 3")
    groups = [*ElementTree.fromstring(network_diagram(found).to_svg()).iter(f"{SVG}g")]
    assert [len(g.findall(f"{SVG}polygon")) for g in groups if g.get("class") == "layer"] == [3] * 3


def test_long_names_and_formulas_are_cut_but_told_whole():
    name = "encoder.a_long_name_of_a_block.another_one/" + "x" * 50
    found = jc.summary(lambda x: conv(x, 4, name=name), "b h w 3")
    picture = network_diagram(found)
    heading = [text.text for text in picture.texts if text.layer == name and text.bold]
    assert len(heading) == 2
    assert heading[1] == "\u2026" + "x" * 17
    assert picture.blocks[1].description.startswith(f"{name}: convolution, (b, h, w, 4)")
    check_apart(picture)
    assert diagram._shape_lines(["h" * 99, "?", "4"]) == ["h" * 21 + "\u2026", "x ? x 4"]


def test_png_shows_the_same_blocks():
    picture = drawn("inception")
    with Image.open(io.BytesIO(picture.to_png())) as image:
        assert image.format == "PNG"
        assert image.size == pytest.approx((2 * picture.width, 2 * picture.height), abs=2)
        pixels = image.convert("RGB")
        for shape in picture.polygons:
            x, y = np.mean(shape.points, axis=0)
            near = {pixels.getpixel((int(2 * x) + i, int(2 * y) + 9)) for i in (-7, 0, 7)}
            want = tuple(int(shape.fill[i : i + 2], 16) for i in (1, 3, 5))
            small = not shape.layer or shape.layer == "input" or shape.points[0][1] == y
            top = max(p[1] for p in shape.points) - min(p[1] for p in shape.points) < 30
            assert small or top or want in near


def test_very_long_pictures_are_coarser():
    wide = replace(drawn("two inputs"), width=40_000.0)
    with Image.open(io.BytesIO(wide.to_png())) as image:
        assert max(image.size) <= 16_000


def table_of(number):
    """The table of the random network of a number; None if it has none."""
    network = networks.network(number)
    try:
        return jc.summary(network.fn, *network.specs)
    except (jc.ShapeError, jc.SpecError):
        return None


def test_random_networks(number):
    found = next(filter(None, (table_of(100 * number + turn) for turn in range(100))))
    if not found.rows:
        with pytest.raises(jc.ShapeError, match="no layers to draw"):
            network_diagram(found)
        return
    picture = network_diagram(found)
    check_apart(picture)
    ElementTree.fromstring(picture.to_svg())
    layers = [block.name for block in picture.blocks if block.kind != "input"]
    assert layers == [row.name for row in found.rows]


def random_graph(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 40))
    far = float(rng.uniform(0, 0.1))
    edges = [
        (a, b) for b in range(count) for a in range(b)
        if rng.random() < (0.6 if b - a == 1 else far)
    ]  # fmt: skip
    sizes = []
    for _ in range(count):
        width, above, below = rng.uniform(5, 120, 3).tolist()
        sizes.append(NodeSize(width, above, below, width / 3, width / 2))
    return sizes, edges


@pytest.mark.parametrize("graph", range(60))
def test_places_of_random_graphs(graph):
    sizes, edges = random_graph(graph)
    found = layout(sizes, edges)
    boxes = [
        (x, y - size.above, x + size.width, y + size.below)
        for size, (x, y) in zip(sizes, found.nodes, strict=True)
    ]
    assert overlaps(boxes) == []
    for left, top, right, bottom in boxes:
        assert min(left, top) >= -0.01
        assert right <= found.width + 0.01
        assert bottom <= found.height + 0.01
    assert set(found.paths) == set(edges)
    for (source, target), path in found.paths.items():
        assert {*np.flatnonzero(hits(path, boxes))} <= {source, target}


@pytest.mark.parametrize("other", range(100, 120))
def test_ways_lead_from_column_to_column(other):
    sizes, edges = random_graph(other)
    graph = layered(len(sizes), edges)
    column = {vertex: i for i, column in enumerate(graph.columns) for vertex in column}
    assert len(column) == sum(map(len, graph.columns))
    for (source, target), way in graph.routes.items():
        assert (way[0], way[-1]) == (source, target)
        assert [column[v] for v in way] == list(range(column[source], column[target] + 1))
        assert all(v >= len(sizes) for v in way[1:-1])


def test_crossings_are_counted():
    assert crossings([[0, 1], [2, 3]], [[(0, 2), (1, 3)]]) == 0
    assert crossings([[0, 1], [3, 2]], [[(0, 2), (1, 3)]]) == 1
    three = [(a, b) for a in (0, 1, 2) for b in (3, 4, 5)]
    graph = layered(6, three)
    assert crossings(graph.columns, graph.gaps()) == 9  # as any drawing of it in two columns has
    tangled = [(0, 5), (1, 4), (2, 3), (3, 8), (4, 7), (5, 6)]
    graph = layered(9, tangled)
    assert crossings(graph.columns, graph.gaps()) == 0


def test_edges_that_are_too_many_are_counted(monkeypatch):
    monkeypatch.setattr(layered_graph, "MAX_DUMMIES", 300)

    def network(x):
        maps = [x]
        for _ in range(40):
            maps.append(conv(maps[-1], 3))
        return checkpoint_name(jnp.concatenate(maps, -1), "all")

    picture = network_diagram(jc.summary(network, "1 16 16 3"))
    (text,) = [text.text for text in picture.texts if text.text.endswith("distant inputs")]
    shown = sum(arrow.target == "all" for arrow in picture.arrows)
    assert int(text.split()[1]) + shown == 41
    assert 10 < shown < 41
    assert overlaps([text.box() for text in picture.texts]) == []


def test_widths_of_texts_are_no_less_than_those_of_the_font():
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    rng = np.random.default_rng(0)
    signs = "abcdefghijklmnopqrstuvwxyz_ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./#:-()*+ "
    words = ["".join(rng.choice(list(signs), 14)) for _ in range(40)]
    for word in [*words, "h//16 x w//16", "blocks.0.units.0", "MobileNetMmWw@%", "conv5_3"]:
        for bold in (False, True):
            font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
            box = TextPath((0, 0), word, size=11, prop=font).get_extents()
            assert box.x1 - 2 <= text_width(word, 11.0, bold) <= 1.4 * box.width + 12


def test_a_function_without_layers_is_refused():
    with pytest.raises(jc.ShapeError, match=r"draw: there are no layers to draw: no convolution"):
        network_diagram(jc.summary(lambda x: x + 1, "b h w 3"))


class Net(nnx.Module):
    def __init__(self):
        self.stem = nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.stem(x)


def test_draw_is_the_diagram_of_the_summary():
    specs = "b h w 3", "b h//2 w//2 3"
    options = {"where": "h >= 8 and w >= 8", "at": {"b": 2, "h": 40, "w": 48}}
    drawing, table = (fn(two_inputs, *specs, **options) for fn in (jc.draw, jc.summary))
    assert drawing == network_diagram(table, "two_inputs")
    assert str(drawing).splitlines()[0] == "two_inputs"
    assert len(str(drawing).splitlines()) == 1 + len(drawing.blocks)


TITLES = {
    "a function": (inception, {}, "inception"),
    "a model": (Net(), {}, "Net"),
    "a method of a model": (Net().__call__, {}, "Net"),
    "a partial function": (functools.partial(functools.partial(inception)), {}, "inception"),
    "a compiled function": (jax.jit(inception), {}, "inception"),
    "a title": (inception, {"title": "a <title>"}, "a <title>"),
}


@pytest.mark.parametrize("case", TITLES)
def test_a_drawing_is_named_after_the_function(case):
    fn, options, title = TITLES[case]
    assert jc.draw(fn, "1 32 32 3", **options).title == title


def test_draw_says_what_is_wrong_under_its_own_name():
    with pytest.raises(jc.ShapeError, match=r"^draw: there are no layers to draw"):
        jc.draw(lambda x: x + 1, "b h w 3")
    with pytest.raises(jc.ShapeError, match=r"^draw: at= is 3"):
        jc.draw(inception, "b h w 3", at=3)
