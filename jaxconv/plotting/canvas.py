"""A drawing as plain data: polygons, lines and texts of layers; written as SVG or PNG."""

import io
import re
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from jaxconv.plotting.graph_layout import Path, Point

FONTS = ("DejaVu Sans", "Verdana", "Helvetica", "Arial", "sans-serif")
INK, PAPER, EDGE = "#1f2328", "#ffffff", "#6e7781"
HEAD = 5.0  # of an arrow
SHARPEST = 144  # dots of a PNG for 72 units of a drawing
LONGEST = 16_000  # pixels of a PNG's side


@dataclass(frozen=True)
class Polygon:
    """A filled polygon of one layer; of none where ``layer`` is empty."""

    points: tuple[Point, ...]
    fill: str
    stroke: str
    layer: str = ""


@dataclass(frozen=True)
class Line:
    """An arrow from one layer to another."""

    path: Path
    source: str
    target: str


@dataclass(frozen=True)
class Text:
    """A line of text of one layer, or of none; ``y`` is that of its baseline.

    Attributes:
        x: of its start or its middle.
        y: of its baseline.
        text: shown.
        size: of the font.
        bold: whether it is.
        middle: whether ``x`` is that of its middle.
        layer: that it belongs to.
    """

    x: float
    y: float
    text: str
    size: float = 11.0
    bold: bool = False
    middle: bool = False
    layer: str = ""

    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom, estimated for the widest of the fonts."""
        width = text_width(self.text, self.size, self.bold)
        left = self.x - width / 2 if self.middle else self.x
        return left, self.y - 0.8 * self.size, left + width, self.y + 0.25 * self.size


@dataclass(frozen=True)
class Block:
    """What is known of one layer of a drawing.

    Attributes:
        name: of the layer.
        kind: such as "convolution".
        told: name, kind, shape and parameters as one sentence.
        box: left, top, right and bottom of its polygons.
    """

    name: str
    kind: str
    told: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Drawing:
    """A picture of layers, x to the right and y down.

    Attributes:
        title: of the whole.
        width: of the whole.
        height: of the whole.
        blocks: the layers, in their order.
        polygons: filled.
        lines: arrows between layers.
        texts: on top of all.
    """

    title: str
    width: float
    height: float
    blocks: tuple[Block, ...]
    polygons: tuple[Polygon, ...]
    lines: tuple[Line, ...]
    texts: tuple[Text, ...]

    def to_svg(self) -> str:
        """An SVG file, which a page may also hold inline.

        Each layer is a ``<g class="layer" data-layer="NAME" data-kind="KIND">`` with a title, each
        arrow a ``<g class="edge" data-from="NAME" data-to="NAME">``. Colours are attributes, so
        that a page's style sheet wins: texts have the ``color`` of the ``<svg>``, and
        ``.background`` is the white paper.
        """
        size = {"width": _number(self.width), "height": _number(self.height)}
        svg = ElementTree.Element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "class": "network",
                "viewBox": f"0 0 {size['width']} {size['height']}",
                "role": "img",
                "aria-label": clean(self.title),
                "color": INK,
                "font-family": ", ".join(FONTS),
                **size,
            },
        )
        ElementTree.SubElement(svg, "title").text = clean(self.title)
        ElementTree.SubElement(svg, "rect", {"class": "background", "fill": PAPER, **size})
        groups = {block.name: _add_block(svg, block) for block in self.blocks}
        for polygon in self.polygons:
            _add_polygon(groups.get(polygon.layer, svg), polygon)
        for line in self.lines:
            _add_line(svg, line)
        for text in self.texts:
            _add_text(groups.get(text.layer, svg), text)
        ElementTree.indent(svg)
        return ElementTree.tostring(svg, encoding="unicode") + "\n"

    def to_png(self) -> bytes:
        """A PNG file, of 2 pixels for each unit, or fewer where the drawing is very large."""
        from matplotlib.figure import Figure

        dots = min(SHARPEST, 72 * LONGEST / max(self.width, self.height))
        figure = Figure(figsize=(self.width / 72, self.height / 72), dpi=dots, facecolor=PAPER)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set(xlim=(0, self.width), ylim=(self.height, 0))
        for patch in self._patches():
            axes.add_patch(patch)
        for text in self.texts:
            look = {"fontsize": text.size, "weight": "bold" if text.bold else "normal"}
            across = "center" if text.middle else "left"
            words = clean(text.text)
            axes.text(text.x, text.y, words, color=INK, ha=across, parse_math=False, **look)
        content = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            figure.savefig(content, format="png")
        return content.getvalue()

    def _patches(self) -> Iterator[Any]:
        from matplotlib.patches import PathPatch
        from matplotlib.patches import Polygon as Area
        from matplotlib.path import Path as Curve

        for shape in self.polygons:
            look = {"facecolor": shape.fill, "edgecolor": shape.stroke, "joinstyle": "round"}
            yield Area(shape.points, closed=True, linewidth=0.8, **look)
        for line in self.lines:
            points = [line.path.start, *(point for step in line.path.steps for point in step)]
            codes = [CODES[len(step)] for step in line.path.steps for _ in step]
            curve = Curve(points, [MOVE, *codes])
            yield PathPatch(curve, facecolor="none", edgecolor=EDGE, linewidth=1.2)
            yield Area(_head(line.path), closed=True, color=EDGE, linewidth=0)


WIDTHS = {  # in ems, of letters that are not 0.66 wide
    0.43: " .,:;|!'()[]/iljtfrI",
    0.78: "ABCDEFGHJKLNOPQRSTUVXYZ",
    1.0: "mwMW%@+=<>#",
}
MOVE, CODES = 1, {1: 2, 3: 4}  # as matplotlib numbers MOVETO, LINETO and CURVE4


def clean(text: str) -> str:
    """A text without what XML or a font has no sign for, on one line."""
    return re.sub(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)


def text_width(text: str, size: float, bold: bool = False) -> float:
    """The width of a line of text in the widest of the fonts, roughly and rather too wide."""
    ems = sum(map(_ems, text))
    return size * ems * (1.1 if bold else 1.0)


def _ems(sign: str) -> float:
    if unicodedata.east_asian_width(sign) in "WF":
        return 1.05
    return next((width for width, signs in WIDTHS.items() if sign in signs), 0.66)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _points(points: Sequence[Point]) -> str:
    return " ".join(f"{_number(x)},{_number(y)}" for x, y in points)


def _add_block(svg: ElementTree.Element, block: Block) -> ElementTree.Element:
    told = clean(block.told)
    look = {"class": "layer", "data-layer": clean(block.name), "data-kind": block.kind}
    group = ElementTree.SubElement(svg, "g", {**look, "role": "group", "aria-label": told})
    ElementTree.SubElement(group, "title").text = told
    return group


def _add_polygon(home: ElementTree.Element, shape: Polygon) -> None:
    look = {"fill": shape.fill, "stroke": shape.stroke, "stroke-width": "0.8"}
    points = {"points": _points(shape.points), "stroke-linejoin": "round"}
    ElementTree.SubElement(home, "polygon", points | look)


def _add_line(svg: ElementTree.Element, line: Line) -> None:
    ends = {"data-from": clean(line.source), "data-to": clean(line.target)}
    look = {"class": "edge", "aria-hidden": "true"}
    group = ElementTree.SubElement(svg, "g", look | ends)
    steps = [("L" if len(step) == 1 else "C") + _points(step) for step in line.path.steps]
    way = {"d": " ".join([f"M{_points([line.path.start])}", *steps]), "fill": "none"}
    ElementTree.SubElement(group, "path", way | {"stroke": EDGE, "stroke-width": "1.2"})
    head = {"points": _points(_head(line.path)), "fill": EDGE}
    ElementTree.SubElement(group, "polygon", head)


def _head(path: Path) -> tuple[Point, ...]:
    """The head of an arrow, which comes from the left."""
    x, y = path.steps[-1][-1]
    return (x, y), (x - HEAD, y - HEAD / 2), (x - HEAD, y + HEAD / 2)


def _add_text(home: ElementTree.Element, text: Text) -> None:
    look = {"x": _number(text.x), "y": _number(text.y), "font-size": _number(text.size)}
    look |= {"fill": "currentColor"}
    look |= {"font-weight": "bold"} if text.bold else {}
    look |= {"text-anchor": "middle"} if text.middle else {}
    ElementTree.SubElement(home, "text", look).text = clean(text.text)
