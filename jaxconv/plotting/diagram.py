"""Draw a network as the lesson draws VGGNet: a row of blocks as large as their maps.

The face of a block is the map, seen aslant; its thickness is the number of channels. All comes from
the table of :func:`summary`, so that any model can be drawn.
"""

import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from math import log, sqrt
from typing import Any, NamedTuple

from jaxconv.analysis.summary_table import Row, Summary
from jaxconv.errors import Diagnostic, raise_if, raises_shape_error
from jaxconv.jaxpr.interpreter import fresh
from jaxconv.plotting.canvas import Block, Drawing, Line, Polygon, Text, clean, text_width
from jaxconv.plotting.graph_layout import Path, Places, Point, Room, places
from jaxconv.plotting.layered_graph import Edge
from jaxconv.prover.conditions import shape_text
from jaxconv.prover.verdict import point_text
from jaxconv.symbolic.size import Size

SIDE = (7.0, 150.0)  # of a face, of one pixel and of the largest map
THICK = (5.0, 46.0)  # of a block, for one channel and for the most
BAR = 10.0  # thickness and width of a vector's bar
SLANT = (0.40, 0.30)  # of a face's width, to the right and up
TYPICAL = 224  # pixels of a side, where sizes are formulas
NAME, SMALL, TITLE = 11.0, 10.5, 17.0  # sizes of fonts
LINE = 14.0  # from one line of text to the next
BORDER = 22.0
WIDEST_NAME, WIDEST_SIZE = 18, 13  # characters of a line below a block
LONGEST = 22  # characters of one formula there

KINDS = {
    "input": ("input", "#8c959f"),
    "convolution": ("convolution", "#4c8fd6"),
    "pool": ("pool", "#e0563f"),
    "join": ("join of branches", "#3fa66b"),
    "product": ("dense, a matrix product", "#eda63a"),
    "reduction": ("reduction, such as a mean", "#9a6bc9"),
    "unknown": ("unknown", "#a8a29a"),
}


class Solid(NamedTuple):
    """A cuboid: thickness along the row, height, and width of the face seen aslant."""

    thick: float
    tall: float
    wide: float

    def rise(self) -> Point:
        """How far the back of the face is to the right, and above its front."""
        return self.wide * SLANT[0], self.wide * SLANT[1]

    def size(self) -> Point:
        """Width and height of the picture of it."""
        right, up = self.rise()
        return self.thick + right, self.tall + up


@dataclass(frozen=True)
class _Node:
    """What is drawn for a layer or an input."""

    name: str
    kind: str
    solid: Solid
    heading: tuple[str, ...]
    sizes: tuple[str, ...]
    told: str

    def texts(self) -> Iterator[tuple[str, float, bool]]:
        """The lines below it, each with its size, and whether it is bold."""
        yield from ((line, NAME, True) for line in self.heading)
        yield from ((line, SMALL, False) for line in self.sizes)

    def room(self) -> Room:
        """What it needs, with its label below."""
        wide, tall = self.solid.size()
        width = max([wide, *(text_width(*text) + 6 for text in self.texts())])
        left, (right, up) = (width - wide) / 2, self.solid.rise()
        front = max(0.0, up - tall / 2) * right / up  # of a very wide face the edge is its slope
        leave = left + self.solid.thick + right / 2
        return Room(
            width,
            tall / 2,
            tall / 2 + 5 + LINE * (len(self.heading) + len(self.sizes)),
            left + front - 1,
            leave,
        )


@raises_shape_error("draw")
def drawing(summary: Summary, title: str = "network") -> Drawing:
    """Draw the layers of a summary, each as large as its map and as thick as it has channels.

    Sides and thicknesses grow with the square root of the sizes, so that 224 and 7 are both to be
    seen. Where sizes are formulas the labels are, too, and the proportions are those of 224 pixels,
    or of the nearest size accepted; a summary with ``at`` is drawn for those sizes.

    Args:
        summary: of the function.
        title: written above, such as the name of the model.

    Returns:
        The drawing, with ``to_svg`` and ``to_png``.

    Raises:
        ShapeError: there is no layer.

    Example:
        >>> import jax, jaxconv as jc
        >>> from jaxconv.plotting.diagram import drawing
        >>> table = jc.summary(lambda x: jc.max_pool(x), "b h w 3")
        >>> [text.text for text in drawing(table).texts][-2:]
        ['h//2 x w//2', 'x 3']
    """
    nothing = "there is no layer to draw: no convolution, product, pool, reduction or join."
    fix = "name a function that has one; jaxconv summary lists the layers of a function."
    raise_if([] if summary.rows else [Diagnostic(nothing, fix)])
    point = summary.at or _sample(summary)
    numbers = summary.numbers or _numbered(summary.rows, point)
    maps = _Maps(numbers)
    shown = numbers if summary.at else summary.rows
    inputs = {
        n: _input(n, shape, bool(summary.at), point, maps) for n, shape in summary.inputs.items()
    }
    nodes, edges = _nodes(shown, numbers, maps, inputs)
    spread = places([node.room() for node in nodes], edges)
    if spread.omitted:
        nodes = _counted(nodes, spread.omitted)
        spread = places([node.room() for node in nodes], edges)
    notes = [f"{summary.parameters:,} parameters", *_notes(summary, point, maps)]
    return _drawn(nodes, spread, title, notes)


class _Maps:
    """How the shapes of a network are read: which axis counts the batch, and which the channels.

    The first axis is the batch where it is the same in all layers. The channels come last, unless
    the two last sides are more alike than those before the last, as in NCHW.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        shapes = [row.output for row in rows]
        self.batched = len({s[0] for s in shapes if s}) == 1 and any(len(s) > 1 for s in shapes)
        images = [sides for sides in map(self.sides, shapes) if len(sides) >= 3]
        last = sum(_unlike(sides[-3], sides[-2]) for sides in images)
        self.first = sum(_unlike(sides[-2], sides[-1]) for sides in images) < last
        solid = [self.solid_sizes(shape) for shape in shapes]
        self.vector = max([16, *(tall for channels, tall, _ in solid if not channels)])
        self.side = max([16, *(max(sides) for channels, *sides in solid if channels)])
        self.channels = max([16, *(channels for channels, *_ in solid)])

    def sides(self, shape: Sequence[Any]) -> tuple[Any, ...]:
        """A shape without the batch."""
        return tuple(shape[1:] if self.batched else shape)

    def solid_sizes(self, shape: Sequence[Any]) -> tuple[int, int, int]:
        """Channels, height and width of a map; 0 channels mark a vector, whose height is given."""
        sides = [1 if n is None else n for n in self.sides(shape)]
        if len(sides) < 2:
            return 0, (sides or [1])[0], 1
        channels = sides.pop(0 if self.first and len(sides) > 2 else -1)
        return (channels, sides[-2], sides[-1]) if len(sides) > 1 else (channels, sides[0], 1)

    def solid(self, shape: Sequence[Any]) -> Solid:
        """The block of a map, or the bar of a vector."""
        channels, tall, wide = self.solid_sizes(shape)
        if not channels:
            return Solid(BAR, _grown(SIDE, tall, self.vector), BAR)
        sides = (_grown(SIDE, side, self.side) for side in (tall, wide))
        return Solid(_grown(THICK, channels, self.channels), *sides)


def _unlike(a: int | None, b: int | None) -> float:
    return abs(log((a or 1) / (b or 1)))


def _grown(span: tuple[float, float], size: int, top: int) -> float:
    low, high = span
    return low + (high - low) * sqrt(size / top)


def _sample(summary: Summary) -> dict[str, int]:
    """The sizes that the proportions are for: images of 224 pixels, or the nearest accepted."""
    sides = " ".join(str(size) for row in summary.rows for size in row.output[1:])
    within = set(re.findall(r"[A-Za-z_]\w*", sides))
    point = {name: TYPICAL if name in within else 1 for name in summary.sizes.names}
    return point if summary.sizes.contains(**point) else summary.sizes.nearest(point)


def _numbered(rows: Sequence[Row], point: Mapping[str, int]) -> tuple[Row, ...]:
    """Rows with the outputs that they have for a point."""
    known: dict[str, int] = {}

    def number(size: Any) -> Any:
        text = str(size)
        if text not in known:
            known[text] = _number(size, point)
        return known[text]

    return tuple(replace(row, output=tuple(map(number, row.output))) for row in rows)


def _number(size: Any, point: Mapping[str, int]) -> Any:
    return size.at(**point) if isinstance(size, Size) else size


def _nodes(
    shown: Sequence[Row], numbers: Sequence[Row], maps: _Maps, inputs: Mapping[str, _Node]
) -> tuple[list[_Node], list[Edge]]:
    """The inputs and the layers, and which feeds which.

    A name stands for the layer above that bears it, else for an input of the function.
    """
    above: set[str] = set()
    given: dict[str, int] = {}
    for row in shown:
        for name in row.inputs:
            if name not in above:
                given.setdefault(name, len(given))
        above.add(row.name)
    nodes = [replace(inputs[name], name=fresh(name, above)) for name in given]
    edges, place = [], dict(given)
    for row, number in zip(shown, numbers, strict=True):
        edges += [(place[name], len(nodes)) for name in dict.fromkeys(row.inputs)]
        place[row.name] = len(nodes)
        nodes.append(_node(row, maps, maps.solid(number.output)))
    return nodes, edges


def _input(
    name: str, shape: Sequence[Any], concrete: bool, point: Mapping[str, int], maps: _Maps
) -> _Node:
    numbers = [_number(size, point) for size in shape]
    sizes = [str(size) for size in maps.sides(numbers if concrete else shape)]
    told = f"{name}: an input, {shape_text(numbers if concrete else shape)}"
    lines = tuple(_wrapped(sizes))
    return _Node(name, "input", maps.solid(numbers), tuple(_named(name)), lines, told)


def _node(row: Row, maps: _Maps, solid: Solid) -> _Node:
    sizes = ["?" if n is None else str(n) for n in maps.sides(row.output)]
    times = f" x {row.times}" if row.times != 1 else ""
    heading = tuple(_named(row.name + times))
    fed = f", fed by {', '.join(row.inputs)}" if row.inputs else ""
    shape = shape_text(["?" if n is None else n for n in row.output])
    told = f"{row.name}{times}: {row.kind}, {shape}, {row.parameters:,} parameters{fed}"
    return _Node(row.name, row.kind, solid, heading, tuple(_wrapped(sizes)), told)


def _named(name: str) -> list[str]:
    """A name in two lines at most, broken after dots and slashes; of a longer one the end."""
    lines = [""]
    for part in re.findall(r"[^./]*[./]?", name)[:-1]:
        if lines[-1] and len(lines[-1]) + len(part) > WIDEST_NAME:
            lines.append("")
        lines[-1] += part
    cut = [
        f"\u2026{line[1 - WIDEST_NAME :]}" if len(line) > WIDEST_NAME else line for line in lines
    ]
    return cut if len(cut) <= 2 else [f"\u2026{cut[-2][1 - WIDEST_NAME :]}", cut[-1]]


def _wrapped(sizes: Sequence[str]) -> list[str]:
    """Sizes with an x between them, in short lines."""
    lines: list[str] = []
    for i, size in enumerate(sizes):
        text = f"({size})" if len(sizes) > 1 and _is_sum(size) else size
        text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}\u2026"
        text = f"x {text}" if i else text
        if lines and len(lines[-1]) + 1 + len(text) <= WIDEST_SIZE:
            lines[-1] += f" {text}"
        else:
            lines.append(text)
    return lines or ["1 number"]


def _is_sum(formula: str) -> bool:
    """Whether a formula has spaces outside its brackets."""
    depths = accumulate((sign == "(") - (sign == ")") for sign in formula)
    return any(sign == " " and not depth for sign, depth in zip(formula, depths, strict=True))


def _counted(nodes: Sequence[_Node], omitted: Iterable[Edge]) -> list[_Node]:
    """The nodes, with how many of their inputs are too far away to be drawn."""
    far = Counter(target for _, target in omitted)
    return [
        replace(node, sizes=(*node.sizes, f"+ {far[i]} from afar")) if far[i] else node
        for i, node in enumerate(nodes)
    ]


def _notes(summary: Summary, point: dict[str, int], maps: _Maps) -> Iterator[str]:
    """The small print."""
    if maps.batched:
        batch = next(row.output[0] for row in summary.rows if row.output)
        yield f"Labels leave out the first axis, {batch}: the batch."
    if summary.at:
        yield f"Sizes are those for {point_text(point)}."
    elif point:
        yield f"Formulas hold for {summary.sizes}. Proportions are those of {point_text(point)}."
    yield "A block's face is its map, its thickness the channels; both grow with the square root."


def _drawn(nodes: Sequence[_Node], spread: Places, title: str, notes: Sequence[str]) -> Drawing:
    """Everything at its place: the title, the legend, the network, the small print."""
    legend, wide = _legend(dict.fromkeys(node.kind for node in nodes))
    width = max(spread.width, wide, text_width(title, TITLE, bold=True), 600.0)
    top = BORDER + TITLE + 40.0
    left = BORDER + (width - spread.width) / 2
    found = [
        _block(node, left + x, top + y) for node, (x, y) in zip(nodes, spread.nodes, strict=True)
    ]
    lines = [
        Line(_moved(path, left, top), nodes[a].name, nodes[b].name)
        for (a, b), path in spread.paths.items()
    ]
    y = top + spread.height + 28.0
    fits = int(width / text_width("x", SMALL) * 1.1)
    small = [line for note in notes for line in textwrap.wrap(clean(note), fits)]
    texts = [Text(BORDER, BORDER + TITLE * 0.8, title, TITLE, bold=True)]
    texts += [Text(BORDER, y + i * LINE, line, SMALL) for i, line in enumerate(small)]
    texts += [part for part in legend if isinstance(part, Text)]
    areas = [part for part in legend if isinstance(part, Polygon)]
    return Drawing(
        title,
        width + 2 * BORDER,
        y + LINE * (len(small) - 1) + BORDER,
        tuple(block for block, _, _ in found),
        tuple(chain(areas, *(polygons for _, polygons, _ in found))),
        tuple(lines),
        tuple(chain(texts, *(labels for _, _, labels in found))),
    )


def _block(node: _Node, x: float, y: float) -> tuple[Block, list[Polygon], list[Text]]:
    """One layer, whose room begins at x, and whose edges come and go at y."""
    width, height = node.solid.size()
    room = node.room()
    left, top = x + (room.width - width) / 2, y - height / 2
    texts = [
        Text(
            x + room.width / 2,
            top + height + 5 + LINE * (i + 0.8),
            text,
            size,
            bold,
            True,
            node.name,
        )
        for i, (text, size, bold) in enumerate(node.texts())
    ]
    block = Block(node.name, node.kind, node.told, (left, top, left + width, top + height))
    return block, list(_cuboid(node.solid, left, top, KINDS[node.kind][1], node.name)), texts


def _cuboid(solid: Solid, x: float, y: float, colour: str, layer: str) -> Iterator[Polygon]:
    """The side, the top and the face of a cuboid."""
    (right, up), (thick, tall, _) = solid.rise(), solid
    corners = {
        0.80: ((0, up), (thick, up), (thick, up + tall), (0, up + tall)),
        1.35: ((0, up), (right, 0), (thick + right, 0), (thick, up)),
        1.15: ((thick, up), (thick + right, 0), (thick + right, tall), (thick, up + tall)),
    }
    for light, points in corners.items():
        moved = tuple((x + a, y + b) for a, b in points)
        yield Polygon(moved, _lit(colour, light), _lit(colour, 0.55), layer)


def _lit(colour: str, light: float) -> str:
    """A colour that is darker, or lighter: nearer to white."""
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    lit = [n * light if light <= 1 else 255 - (255 - n) / light**2 for n in parts]
    return "#" + "".join(f"{round(n):02x}" for n in lit)


def _legend(kinds: Iterable[str]) -> tuple[list[Polygon | Text], float]:
    """What the colours mean, in a row, and how wide that is."""
    parts: list[Polygon | Text] = []
    x, y = BORDER, BORDER + TITLE + 8.0
    for kind in (kind for kind in KINDS if kind in set(kinds)):
        told, colour = KINDS[kind]
        parts += _cuboid(Solid(6.0, 9.0, 9.0), x, y, colour, "")
        parts.append(Text(x + 15, y + 10, told, SMALL))
        x += 15 + text_width(told, SMALL) + 14
    return parts, x - BORDER - 14


def _moved(path: Path, x: float, y: float) -> Path:
    shift = lambda point: (point[0] + x, point[1] + y)  # noqa: E731
    steps = tuple(tuple(map(shift, step)) for step in path.steps)
    return Path(shift(path.start), steps)
