"""Vector graphics as plain data: polygons, arrows and texts of layers, written as SVG or PNG."""

import io
import re
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from jaxconv.display import Displayed, Part, Vector
from jaxconv.plotting.graph_layout import Path, Position

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FONTS = ("DejaVu Sans", "Verdana", "Helvetica", "Arial", "sans-serif")
INK, PAPER, EDGE = "#1f2328", "#ffffff", "#6e7781"
ARROWHEAD_LENGTH = 5.0
MAX_PNG_DPI = 144  # dots of a PNG for 72 units of a drawing
MAX_PNG_SIDE = 16_000  # pixels

CHARACTER_WIDTHS = {  # in ems, of characters that are not DEFAULT_WIDTH wide
    0.43: " .,:;|!'()[]/iljtfrI",
    0.78: "ABCDEFGHJKLNOPQRSTUVXYZ",
    1.0: "mwMW%@+=<>#",
}
DEFAULT_WIDTH, FULL_WIDTH = 0.66, 1.05  # in ems; FULL_WIDTH of East Asian characters
MOVE_TO, PATH_CODES = 1, {1: 2, 3: 4}  # matplotlib's numbers of MOVETO, LINETO and CURVE4


@dataclass(frozen=True)
class Polygon:
    """A filled polygon.

    Attributes:
        points: its corners.
        fill: the colour inside, such as "#ffffff".
        stroke: the colour of its outline.
        layer: the name of the layer that it belongs to; empty if it belongs to none.
    """

    points: tuple[Position, ...]
    fill: str
    stroke: str
    layer: str = ""

    def add_to(self, parent: ElementTree.Element) -> None:
        """Write it in SVG.

        Args:
            parent: the element that gets it.
        """
        attributes = {"points": _svg_points(self.points), "stroke-linejoin": "round"}
        attributes |= {"fill": self.fill, "stroke": self.stroke, "stroke-width": "0.8"}
        ElementTree.SubElement(parent, "polygon", attributes)

    def draw(self, axes: "Axes") -> None:
        """Draw it with matplotlib.

        Args:
            axes: what gets it.
        """
        from matplotlib import patches

        patch = patches.Polygon(
            self.points,
            closed=True,
            linewidth=0.8,
            facecolor=self.fill,
            edgecolor=self.stroke,
            joinstyle="round",
        )
        axes.add_patch(patch)


@dataclass(frozen=True)
class Arrow:
    """An arrow from the layer ``source`` to the layer ``target``."""

    path: Path
    source: str
    target: str

    @property
    def head(self) -> tuple[Position, ...]:
        """The corners of its head, which points to the right."""
        x, y = self.path.steps[-1][-1]
        back, half = x - ARROWHEAD_LENGTH, ARROWHEAD_LENGTH / 2
        return (x, y), (back, y - half), (back, y + half)

    def add_to(self, parent: ElementTree.Element) -> None:
        """Write it in SVG.

        Args:
            parent: the element that gets it.
        """
        attributes = {"class": "edge", "aria-hidden": "true"}
        attributes |= {"data-from": printable(self.source), "data-to": printable(self.target)}
        group = ElementTree.SubElement(parent, "g", attributes)
        steps = [("L" if len(step) == 1 else "C") + _svg_points(step) for step in self.path.steps]
        data = " ".join([f"M{_svg_points([self.path.start])}", *steps])
        line = {"d": data, "fill": "none", "stroke": EDGE, "stroke-width": "1.2"}
        ElementTree.SubElement(group, "path", line)
        ElementTree.SubElement(group, "polygon", {"points": _svg_points(self.head), "fill": EDGE})

    def draw(self, axes: "Axes") -> None:
        """Draw it with matplotlib.

        Args:
            axes: what gets it.
        """
        from matplotlib import patches
        from matplotlib.path import Path as PatchPath

        points = [self.path.start, *(point for step in self.path.steps for point in step)]
        codes = [PATH_CODES[len(step)] for step in self.path.steps for _ in step]
        curve = PatchPath(points, [MOVE_TO, *codes])
        axes.add_patch(patches.PathPatch(curve, facecolor="none", edgecolor=EDGE, linewidth=1.2))
        axes.add_patch(patches.Polygon(self.head, closed=True, color=EDGE, linewidth=0))


@dataclass(frozen=True)
class Text:
    """One line of text.

    Attributes:
        x: horizontal position of its start, or of its middle if ``middle`` is true.
        y: vertical position of its baseline.
        text: the characters.
        size: font size.
        bold: whether the font is bold.
        middle: whether the text is centred on ``x``.
        layer: the name of the layer that it belongs to; empty if it belongs to none.
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

    def add_to(self, parent: ElementTree.Element) -> None:
        """Write it in SVG.

        Args:
            parent: the element that gets it.
        """
        attributes = {
            "x": _svg_number(self.x),
            "y": _svg_number(self.y),
            "font-size": _svg_number(self.size),
            "fill": "currentColor",
        }
        attributes |= {"font-weight": "bold"} if self.bold else {}
        attributes |= {"text-anchor": "middle"} if self.middle else {}
        ElementTree.SubElement(parent, "text", attributes).text = printable(self.text)

    def draw(self, axes: "Axes") -> None:
        """Draw it with matplotlib.

        Args:
            axes: what gets it.
        """
        axes.text(
            self.x,
            self.y,
            printable(self.text),
            color=INK,
            ha="center" if self.middle else "left",
            fontsize=self.size,
            weight="bold" if self.bold else "normal",
            parse_math=False,
        )


@dataclass(frozen=True)
class LayerBlock:
    """What a drawing says about one layer.

    Attributes:
        name: the layer's name.
        kind: its kind, such as "convolution".
        description: name, kind, shape and number of parameters in one sentence.
        box: left, top, right and bottom of its polygons.
    """

    name: str
    kind: str
    description: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Drawing(Displayed):
    """A drawing of layers; a notebook shows it. The x axis points right, the y axis down.

    Attributes:
        title: the title of the drawing.
        width: total width, in units of 1/72 inch.
        height: total height, in the same units.
        blocks: the layers, in order of computation.
        polygons: filled polygons, drawn first.
        arrows: arrows between layers.
        texts: texts, drawn last.
    """

    title: str
    width: float
    height: float
    blocks: tuple[LayerBlock, ...]
    polygons: tuple[Polygon, ...]
    arrows: tuple[Arrow, ...]
    texts: tuple[Text, ...]

    def to_svg(self) -> str:
        """Write an SVG file, which an HTML page may also hold inline.

        Each layer is a ``<g class="layer" data-layer="NAME" data-kind="KIND">`` with a title, each
        arrow a ``<g class="edge" data-from="NAME" data-to="NAME">``. Colours are attributes, so
        that the style sheet of a page overrides them: texts have the ``color`` of the ``<svg>``,
        and ``.background`` is the white paper.
        """
        svg = self._element()
        ElementTree.indent(svg)
        return ElementTree.tostring(svg, encoding="unicode") + "\n"

    def __str__(self) -> str:
        return "\n  ".join([self.title, *(block.description for block in self.blocks)])

    def display_parts(self) -> Iterator[Part]:
        """What a notebook shows: the drawing, whose texts have the colour of the notebook."""
        yield Vector(self._element(), self.width)

    def display_files(self) -> dict[str, str]:
        """Return the drawing on white paper, for what shows no HTML."""
        return {"image/svg+xml": self.to_svg()}

    def _element(self) -> ElementTree.Element:
        size = {"width": _svg_number(self.width), "height": _svg_number(self.height)}
        svg = ElementTree.Element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "class": "network",
                "viewBox": f"0 0 {size['width']} {size['height']}",
                "role": "img",
                "aria-label": printable(self.title),
                "color": INK,
                "font-family": ", ".join(FONTS),
                **size,
            },
        )
        ElementTree.SubElement(svg, "title").text = printable(self.title)
        ElementTree.SubElement(svg, "rect", {"class": "background", "fill": PAPER, **size})
        groups = {}
        for block in self.blocks:
            description = printable(block.description)
            attributes = {"class": "layer", "data-layer": printable(block.name)}
            attributes |= {"data-kind": block.kind, "role": "group", "aria-label": description}
            groups[block.name] = ElementTree.SubElement(svg, "g", attributes)
            ElementTree.SubElement(groups[block.name], "title").text = description
        for polygon in self.polygons:
            polygon.add_to(groups.get(polygon.layer, svg))
        for arrow in self.arrows:
            arrow.add_to(svg)
        for text in self.texts:
            text.add_to(groups.get(text.layer, svg))
        return svg

    def to_png(self) -> bytes:
        """Write a PNG file with 2 pixels per unit, or fewer if the drawing is very large."""
        from matplotlib.figure import Figure

        dpi = min(MAX_PNG_DPI, 72 * MAX_PNG_SIDE / max(self.width, self.height))
        figure = Figure(figsize=(self.width / 72, self.height / 72), dpi=dpi, facecolor=PAPER)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set(xlim=(0, self.width), ylim=(self.height, 0))
        for part in (*self.polygons, *self.arrows, *self.texts):
            part.draw(axes)
        content = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            figure.savefig(content, format="png")
        return content.getvalue()


def printable(text: str) -> str:
    """Replace the characters of a text that XML or the fonts cannot represent.

    Args:
        text: any text.

    Returns:
        The text on one line, with U+FFFD for each character that cannot be represented.
    """
    return re.sub(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Estimate the width of a line of text from above, for the widest of the fonts.

    Args:
        text: the line.
        size: font size.
        bold: whether the font is bold.

    Returns:
        The width, in the unit of ``size``.
    """
    ems = sum(
        FULL_WIDTH
        if unicodedata.east_asian_width(character) in "WF"
        else next(
            (width for width, group in CHARACTER_WIDTHS.items() if character in group),
            DEFAULT_WIDTH,
        )
        for character in text
    )
    return size * ems * (1.1 if bold else 1.0)


def _svg_number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _svg_points(points: Sequence[Position]) -> str:
    return " ".join(f"{_svg_number(x)},{_svg_number(y)}" for x, y in points)
