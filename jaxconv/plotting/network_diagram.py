"""Draw a network as the VGGNet lesson does: a row of blocks, each as large as its feature map.

The face of a block is the map, drawn aslant; its thickness is the number of channels. Everything is
read off the table of :func:`summary`, so that any model can be drawn.
"""

import functools
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from math import log, sqrt
from typing import Any, NamedTuple, TypeVar

from jaxconv.analysis.summary import read_summary
from jaxconv.analysis.summary_table import Summary
from jaxconv.errors import (
    Diagnostic,
    ValidationError,
    public_api,
    raise_if,
    raises_shape_error,
    shown,
)
from jaxconv.jaxpr.interpreter import fresh
from jaxconv.plotting.graph_layout import GraphLayout, NodeSize, Position, layout
from jaxconv.plotting.layered_graph import Edge
from jaxconv.plotting.vector_graphics import (
    Arrow,
    Drawing,
    LayerBlock,
    Polygon,
    Text,
    printable,
    text_width,
)
from jaxconv.prover.conditions import shape_text
from jaxconv.prover.verdict import point_text
from jaxconv.symbolic.size import Size

FACE_RANGE = (7.0, 150.0)  # side of a face, for one pixel and for the largest map
THICKNESS_RANGE = (5.0, 46.0)  # thickness of a block, for one channel and for the most
MIN_LARGEST = 16  # the largest size of a drawing counts as at least this
BAR = 10.0  # thickness and width of a vector's bar
SLANT = (0.40, 0.30)  # of a face's width, to the right and up
TYPICAL_SIDE = 224  # pixels, for the proportions where sizes are formulas
NAME_SIZE, SMALL_SIZE, TITLE_SIZE = 11.0, 10.5, 17.0  # font sizes
LABEL_LINE = 14.0  # from one line of text to the next
BORDER = 22.0
MIN_WIDTH = 600.0  # of the whole, for the small print
NAME_CHARACTERS, SHAPE_CHARACTERS = 18, 13  # longest line of a label
FORMULA_CHARACTERS = 22  # longest formula in a label

KIND_STYLES = {  # for each kind of layer its label in the legend, and its colour
    "input": ("input", "#8c959f"),
    "convolution": ("convolution", "#4c8fd6"),
    "pool": ("pool", "#e0563f"),
    "join": ("merge of branches", "#3fa66b"),
    "product": ("dense (matrix product)", "#eda63a"),
    "reduction": ("reduction (such as a mean)", "#9a6bc9"),
    "lookup": ("lookup (such as an embedding)", "#c2698f"),
    "unknown": ("unknown", "#a8a29a"),
}

AxisValue = TypeVar("AxisValue")
AxisSize = int | Size | None  # a number, a formula, or None if unknown


class Cuboid(NamedTuple):
    """A block of a drawing.

    Attributes:
        thickness: along the row.
        height: of its face.
        width: of its face, before it is drawn aslant.
    """

    thickness: float
    height: float
    width: float

    def slant(self) -> Position:
        """How far the back of the face is to the right of its front, and above it."""
        return self.width * SLANT[0], self.width * SLANT[1]

    def extent(self) -> Position:
        """Width and height of the block as it is drawn."""
        right, up = self.slant()
        return self.thickness + right, self.height + up


@dataclass(frozen=True)
class _Node:
    """What is drawn for a layer or an input.

    Attributes:
        name: unique name.
        kind: a key of :data:`KIND_STYLES`.
        cuboid: the block.
        heading: the lines of its name.
        shape: the lines of its shape, below the name.
        description: name, kind, shape and parameters in one sentence.
    """

    name: str
    kind: str
    cuboid: Cuboid
    heading: tuple[str, ...]
    shape: tuple[str, ...]
    description: str

    def labels(self) -> Iterator[tuple[str, float, bool]]:
        """The lines below the block, each with its font size, and whether it is bold."""
        yield from ((line, NAME_SIZE, True) for line in self.heading)
        yield from ((line, SMALL_SIZE, False) for line in self.shape)

    def size(self) -> NodeSize:
        """The space that it needs, including its labels."""
        block_width, height = self.cuboid.extent()
        width = max([block_width, *(text_width(*label) + 6 for label in self.labels())])
        left, (right, up) = (width - block_width) / 2, self.cuboid.slant()
        # Edges enter at the front edge; at the slope of the top where a face is very wide.
        enter = left + max(0.0, up - height / 2) * right / up - 1
        leave = left + self.cuboid.thickness + right / 2
        below = height / 2 + 5 + LABEL_LINE * (len(self.heading) + len(self.shape))
        return NodeSize(width, height / 2, below, enter, leave)

    def draw(self, x: float, y: float) -> tuple[LayerBlock, list[Polygon], list[Text]]:
        """Draw the node.

        Args:
            x: its left side.
            y: the height at which edges enter and leave.

        Returns:
            The block, its polygons, and its labels.
        """
        (width, height), node_width = self.cuboid.extent(), self.size().width
        left, top = x + (node_width - width) / 2, y - height / 2
        bottom, centre = top + height, x + node_width / 2
        texts = []
        for i, (line, size, bold) in enumerate(self.labels()):
            baseline = bottom + 5 + LABEL_LINE * (i + 0.8)
            texts.append(Text(centre, baseline, line, size, bold, middle=True, layer=self.name))
        box = (left, top, left + width, bottom)
        block = LayerBlock(self.name, self.kind, self.description, box)
        colour = KIND_STYLES[self.kind][1]
        return block, list(_cuboid_polygons(self.cuboid, left, top, colour, self.name)), texts


@public_api
def draw(
    fn: Callable[..., Any],
    *args: Any,
    title: str | None = None,
    where: str | None = None,
    at: Mapping[str, int] | None = None,
    layout: str | None = None,
    **named: Any,
) -> Drawing:
    """Draw the layers of a function as blocks, in proportion to their maps, with arrows.

    Args:
        fn: any JAX function or model, as :func:`summary` takes it.
        *args: its arguments, likewise: specs such as ``"b h w 3"``, arrays, parameters.
        title: the title above the drawing; default: the name of the function or of its class.
        where: the sizes to consider, such as ``"h >= 32"``.
        at: write numbers for these sizes, such as ``{"b": 1, "h": 224, "w": 224}``.
        layout: the axes of the image, such as ``"NCHW"``, as in :func:`receptive_field`.
        **named: keyword arguments of the function.

    Returns:
        The drawing, which a notebook displays. ``to_svg()`` and ``to_png()`` return the contents of
        a file.

    Raises:
        ShapeError: there are no layers, the title is not a text, or :func:`summary` raises it.

    Example:
        >>> import jaxconv as jc
        >>> from flax import nnx
        >>> drawing = jc.draw(jc.VGG([(8,)], head=None, rngs=nnx.Rngs(0)), "b h w 3")
        >>> print(drawing)
        VGG
          input: an input, (b, h, w, 3)
          conv1_1: convolution, (b, h, w, 8), 224 parameters, fed by input
          pool1: pool, (b, h//2, w//2, 8), 0 parameters, fed by conv1_1
        >>> drawing.to_svg().startswith("<svg ")
        True
    """
    table = read_summary(fn, args, named, where, at, True, layout)
    return network_diagram(table, title_of(fn, title))


def title_of(fn: Any, title: Any) -> str:
    """Return what a drawing of a function is called.

    Args:
        fn: the function or the model.
        title: what the caller wants; None for the name of the function, or of the model's class.

    Raises:
        ValidationError: the title is not a text.
    """
    if title is None:
        while isinstance(fn, functools.partial):
            fn = fn.func
        fn = getattr(fn, "__self__", fn)  # the model of a method
        return str(getattr(fn, "__name__", type(fn).__name__))
    if isinstance(title, str):
        return title
    wrong = f"title is {shown(title)}, but must be a text."
    raise ValidationError([Diagnostic(wrong, 'pass title="my network".')])


@raises_shape_error("draw")
def network_diagram(summary: Summary, title: str = "network") -> Drawing:
    """Draw the layers of a summary, each as large as its map and as thick as it has channels.

    Sides and thicknesses grow with the square root of the sizes, so that both 224 and 7 are
    visible. Where sizes are formulas, so are the labels, and the proportions are those of 224
    pixels, or of the nearest size that the function accepts. A summary with ``at`` is drawn for
    those sizes.

    Args:
        summary: the table of the function, from :func:`summary`.
        title: the title above the drawing, such as the name of the model.

    Returns:
        The drawing, with ``to_svg`` and ``to_png``.

    Raises:
        ShapeError: there are no layers.

    Example:
        >>> import jax, jaxconv as jc
        >>> from jaxconv.plotting.network_diagram import network_diagram
        >>> table = jc.summary(lambda x: jc.max_pool(x), "b h w 3")
        >>> [text.text for text in network_diagram(table).texts][-2:]
        ['h//2 x w//2', 'x 3']
    """
    nothing = (
        "there are no layers to draw: no convolution, product, pool, reduction, merge or lookup."
    )
    fix = "name a function that has one; jaxconv summary lists the layers of a function."
    raise_if([] if summary.rows else [Diagnostic(nothing, fix)])
    scale = _Scale(summary)
    nodes, edges = _nodes(summary, scale)
    graph = layout([node.size() for node in nodes], edges)
    if graph.omitted:
        omitted = Counter(target for _, target in graph.omitted)
        for i, count in omitted.items():
            nodes[i] = replace(nodes[i], shape=(*nodes[i].shape, f"+ {count} distant inputs"))
        graph = layout([node.size() for node in nodes], edges)
    notes = [f"{summary.parameters:,} parameters"]
    if scale.batched:
        batch = next(row.output[0] for row in summary.rows if row.output)
        notes.append(f"Labels omit the batch axis, {batch}.")
    if summary.at:
        notes.append(f"Sizes are for {point_text(scale.point)}.")
    elif scale.point:
        point = point_text(scale.point)
        notes.append(f"Formulas hold for {summary.sizes}. Proportions are for {point}.")
    faces = "The face of a block is the map, its thickness the channels"
    notes.append(f"{faces}, on square-root scales.")
    return _drawing(nodes, graph, title, notes)


class _Scale:
    """How large blocks are drawn, and which axis is the batch and which the channels.

    The first axis is the batch if it has the same size in all layers. The channels come last,
    unless the last two sizes are more alike than the two before the last, as in NCHW.

    Args:
        summary: the table of the function.

    Attributes:
        point: the sizes that the proportions are for.
    """

    def __init__(self, summary: Summary) -> None:
        self.point = summary.at or {}
        if not summary.at:  # images of 224 pixels, or the nearest that are accepted
            formulas = " ".join(str(size) for row in summary.rows for size in row.output[1:])
            sides = set(re.findall(r"[A-Za-z_]\w*", formulas))
            self.point = {n: TYPICAL_SIDE if n in sides else 1 for n in summary.sizes.names}
            if not summary.sizes.contains(**self.point):
                self.point = summary.sizes.nearest(self.point)
        self._numbers: dict[str, int] = {}  # by formula, since evaluation takes time
        shapes = [self.numbers(row.output) for row in summary.numbers or summary.rows]
        self.batched = len({s[0] for s in shapes if s}) == 1 and any(len(s) > 1 for s in shapes)
        images = [sizes for sizes in map(self.without_batch, shapes) if len(sizes) >= 3]
        ratio = lambda a, b: abs(log((a or 1) / (b or 1)))  # noqa: E731
        first = sum(ratio(sizes[-2], sizes[-1]) for sizes in images)
        self.channels_first = first < sum(ratio(sizes[-3], sizes[-2]) for sizes in images)
        sizes = [self._map_size(shape) for shape in shapes]
        self.vector = max([MIN_LARGEST, *(height for count, height, _ in sizes if not count)])
        self.side = max([MIN_LARGEST, *(max(sides) for count, *sides in sizes if count)])
        self.channels = max([MIN_LARGEST, *(count for count, *_ in sizes)])

    def numbers(self, shape: Sequence[AxisSize]) -> list[int | None]:
        """Evaluate the formulas of a shape.

        Args:
            shape: numbers and formulas.

        Returns:
            The sizes at the point; None for each that is unknown.
        """
        for size in shape:
            if isinstance(size, Size) and str(size) not in self._numbers:
                self._numbers[str(size)] = size.at(**self.point)
        return [self._numbers[str(n)] if isinstance(n, Size) else n for n in shape]

    def without_batch(self, shape: Sequence[AxisValue]) -> tuple[AxisValue, ...]:
        """Leave the batch axis out of a shape.

        Args:
            shape: the shape of a layer's output.

        Returns:
            The sizes of the other axes.
        """
        return tuple(shape[1:] if self.batched else shape)

    def _map_size(self, shape: Sequence[int | None]) -> tuple[int, int, int]:
        """Channels, height and width of a map; 0, length and 1 of a vector."""
        sizes = [1 if size is None else size for size in self.without_batch(shape)]
        if len(sizes) < 2:
            return 0, (sizes or [1])[0], 1
        channels = sizes.pop(0 if self.channels_first and len(sizes) > 2 else -1)
        return (channels, sizes[-2], sizes[-1]) if len(sizes) > 1 else (channels, sizes[0], 1)

    def cuboid(self, shape: Sequence[AxisSize]) -> Cuboid:
        """The block of a map, or the bar of a vector.

        Args:
            shape: the shape of a layer's output; formulas are evaluated at the point.

        Returns:
            Its size in the drawing.
        """

        def scaled(limits: tuple[float, float], size: int, largest: int) -> float:
            low, high = limits
            return low + (high - low) * sqrt(size / largest)

        channels, height, width = self._map_size(self.numbers(shape))
        if not channels:
            return Cuboid(BAR, scaled(FACE_RANGE, height, self.vector), BAR)
        sides = (scaled(FACE_RANGE, side, self.side) for side in (height, width))
        return Cuboid(scaled(THICKNESS_RANGE, channels, self.channels), *sides)


def _nodes(summary: Summary, scale: _Scale) -> tuple[list[_Node], list[Edge]]:
    """The inputs and the layers, and which feeds which.

    A name means the layer above that has it, or else an input of the function.
    """
    rows = summary.numbers or summary.rows
    above: set[str] = set()
    index: dict[str, int] = {}  # by name: the inputs that some layer reads, later the layers
    for row in rows:
        for name in row.inputs:
            if name not in above:
                index.setdefault(name, len(index))
        above.add(row.name)
    nodes, edges = [], []
    for name in index:
        shape = scale.numbers(summary.inputs[name]) if summary.at else summary.inputs[name]
        node = _node(scale, name, "input", shape, ("an input", ""))
        nodes.append(replace(node, name=fresh(name, above)))
    for row in rows:
        heading = f"{row.name} x {row.times}" if row.times != 1 else row.name
        fed_by = f", fed by {', '.join(row.inputs)}" if row.inputs else ""
        words = (row.kind, f", {row.parameters:,} parameters{fed_by}")
        edges += [(index[name], len(nodes)) for name in dict.fromkeys(row.inputs)]
        index[row.name] = len(nodes)
        nodes.append(replace(_node(scale, heading, row.kind, row.output, words), name=row.name))
    return nodes, edges


def _node(
    scale: _Scale, heading: str, kind: str, shape: Sequence[AxisSize], words: tuple[str, str]
) -> _Node:
    """A node named by its heading; its description has ``words`` before and after the shape."""
    known = ["?" if size is None else str(size) for size in shape]
    description = f"{heading}: {words[0]}, {shape_text(known)}{words[1]}"
    lines = [""]  # the heading in at most two, broken after dots and slashes; the end of a long one
    for part in re.findall(r"[^./]*[./]?", heading)[:-1]:
        if lines[-1] and len(lines[-1]) + len(part) > NAME_CHARACTERS:
            lines.append("")
        lines[-1] += part
    end = slice(1 - NAME_CHARACTERS, None)
    cut = [f"\u2026{line[end]}" if len(line) > NAME_CHARACTERS else line for line in lines]
    cut = cut if len(cut) <= 2 else [f"\u2026{cut[-2][end]}", cut[-1]]
    shape_lines = _shape_lines(scale.without_batch(known))
    return _Node(heading, kind, scale.cuboid(shape), tuple(cut), tuple(shape_lines), description)


def _shape_lines(sizes: Sequence[str]) -> list[str]:
    """Sizes with an x between them, in short lines; sums are in brackets."""
    lines: list[str] = []
    for i, size in enumerate(sizes):
        depths = accumulate((sign == "(") - (sign == ")") for sign in size)
        is_sum = any(s == " " and not depth for s, depth in zip(size, depths, strict=True))
        text = f"({size})" if len(sizes) > 1 and is_sum else size
        if len(text) > FORMULA_CHARACTERS:
            text = f"{text[: FORMULA_CHARACTERS - 1]}\u2026"
        text = f"x {text}" if i else text
        if lines and len(lines[-1]) + 1 + len(text) <= SHAPE_CHARACTERS:
            lines[-1] += f" {text}"
        else:
            lines.append(text)
    return lines or ["1 number"]


def _drawing(
    nodes: Sequence[_Node], graph: GraphLayout, title: str, notes: Sequence[str]
) -> Drawing:
    """Put the title, the legend, the network and the small print together."""
    legend_polygons, legend_texts = [], []  # what the colours mean, in a row
    x, y = BORDER, BORDER + TITLE_SIZE + 8.0
    kinds = {node.kind for node in nodes}
    for label, colour in (style for kind, style in KIND_STYLES.items() if kind in kinds):
        legend_polygons += _cuboid_polygons(Cuboid(6.0, 9.0, 9.0), x, y, colour, "")
        legend_texts.append(Text(x + 15, y + 10, label, SMALL_SIZE))
        x += 15 + text_width(label, SMALL_SIZE) + 14
    legend_width = x - BORDER - 14
    title_width = text_width(title, TITLE_SIZE, bold=True)
    width = max(graph.width, legend_width, title_width, MIN_WIDTH)
    top = BORDER + TITLE_SIZE + 40.0
    left = BORDER + (width - graph.width) / 2
    blocks = [node.draw(left + x, top + y) for node, (x, y) in zip(nodes, graph.nodes, strict=True)]
    arrows = tuple(
        Arrow(path.moved(left, top), nodes[a].name, nodes[b].name)
        for (a, b), path in graph.paths.items()
    )
    y = top + graph.height + 28.0
    characters = int(width / text_width("x", SMALL_SIZE) * 1.1)
    small_print = [line for note in notes for line in textwrap.wrap(printable(note), characters)]
    texts = [Text(BORDER, BORDER + TITLE_SIZE * 0.8, title, TITLE_SIZE, bold=True)]
    texts += [
        Text(BORDER, y + i * LABEL_LINE, line, SMALL_SIZE) for i, line in enumerate(small_print)
    ]
    return Drawing(
        title,
        width + 2 * BORDER,
        y + LABEL_LINE * (len(small_print) - 1) + BORDER,
        tuple(block for block, _, _ in blocks),
        tuple(chain(legend_polygons, *(polygons for _, polygons, _ in blocks))),
        arrows,
        tuple(chain(texts, legend_texts, *(labels for _, _, labels in blocks))),
    )


def _cuboid_polygons(
    cuboid: Cuboid, x: float, y: float, colour: str, layer: str
) -> Iterator[Polygon]:
    """The side, the top and the face of a cuboid."""
    (right, up), (thick, tall, _) = cuboid.slant(), cuboid
    corners = {
        0.80: ((0, up), (thick, up), (thick, up + tall), (0, up + tall)),
        1.35: ((0, up), (right, 0), (thick + right, 0), (thick, up)),
        1.15: ((thick, up), (thick + right, 0), (thick + right, tall), (thick, up + tall)),
    }
    for brightness, points in corners.items():
        moved = tuple((x + a, y + b) for a, b in points)
        yield Polygon(moved, _shaded(colour, brightness), _shaded(colour, 0.55), layer)


def _shaded(colour: str, brightness: float) -> str:
    """A darker colour for a brightness below 1, a lighter one (nearer to white) above 1."""
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    shaded = [n * brightness if brightness <= 1 else 255 - (255 - n) / brightness**2 for n in parts]
    return "#" + "".join(f"{round(n):02x}" for n in shaded)
