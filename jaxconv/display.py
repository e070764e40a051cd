"""How notebooks display results: the only module that writes their HTML.

A result is a :class:`Displayed`. It lists its parts, which are plain data; this module writes them
as HTML beside the plain text of the result. The colours are those of the notebook, dark or light:
text inherits its colour, lines and backgrounds are translucent. Nothing is loaded from elsewhere.
"""

import base64
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

# Here & is the class of all HTML below, twice, so that these rules override those of the notebook.
STYLE = """
& { color: inherit; font-size: 13px; line-height: 1.45; overflow-x: auto; }
& p { margin: .3em 0; }
& .title { font-weight: 600; }
& .note { opacity: .75; white-space: pre-wrap; }
& .status { color: #fff; background: #57606a; border-radius: .3em; padding: .1em .5em; }
& .proven { background: #1a7f37; }
& .refuted { background: #cf222e; }
& .tested { background: #9a6700; }
& table { border-collapse: collapse; margin: .4em 0; width: auto; color: inherit; }
& th, & td {
  text-align: left; vertical-align: top; padding: .15em 1em .15em 0; background: none;
  border: 0; border-bottom: 1px solid rgba(128, 128, 128, .3); white-space: pre-wrap;
}
& tr { background: none; }
& .word { white-space: nowrap; }
& .number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
& code {
  font-family: ui-monospace, Menlo, Consolas, monospace; color: inherit; padding: .1em .3em;
  background: rgba(128, 128, 128, .15); border-radius: .3em; white-space: pre-wrap;
}
& .row { display: flex; flex-wrap: wrap; gap: .5em .6em; align-items: flex-end; }
& figure { margin: 0; }
& figcaption { font-size: 11px; opacity: .75; text-align: center; margin: 0; }
& img { display: block; margin: 0; image-rendering: pixelated; max-width: 100%; }
& .grid td { padding: .15em .4em; border: 0; text-align: right; font-size: 11px; }
& svg { display: block; max-width: none; height: auto; color: inherit; }
& svg .background { fill: none; }
& iframe { width: 100%; border: 1px solid rgba(128, 128, 128, .3); border-radius: .3em; }
""".replace("&", ".jaxconv.jaxconv")
# Characters that HTML cannot hold, or that a notebook's file cannot.
UNPRINTABLE = re.compile(r"[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
SMALLEST_SCALE = 0.68  # of a drawing, so that its text can be read
LONGEST = 4000  # characters that are shown of a formula or a set
PLUS, MINUS = "232, 89, 12", "28, 126, 214"  # red, green and blue of what is above and below zero


class Part(ABC):
    """A part of what a result shows."""

    @abstractmethod
    def element(self) -> Element:
        """Write the part as HTML."""


@dataclass(frozen=True)
class Title(Part):
    """A heading.

    Attributes:
        text: the heading.
        status: "proven", "refuted" or "tested", written before it; may be empty.
    """

    text: str
    status: str = ""

    def element(self) -> Element:
        """Write the heading."""
        title = _element("p", "title")
        if self.status:
            badge = SubElement(title, "span", {"class": f"status {self.status}"})
            badge.text, badge.tail = self.status, f" {_clean(self.text)}"
        else:
            title.text = _clean(self.text)
        return title


@dataclass(frozen=True)
class Note(Part):
    """A paragraph in small print."""

    text: str

    def element(self) -> Element:
        """Write the paragraph."""
        return _element("p", "note", self.text)


class Fact(NamedTuple):
    """A name and what it is.

    Attributes:
        name: such as "accepts".
        text: the value; may have several lines.
        is_code: whether it is a formula, a shape or a condition.
    """

    name: str
    text: str
    is_code: bool = False


@dataclass(frozen=True)
class Facts(Part):
    """Names and what they are, one per line."""

    facts: tuple[Fact, ...]

    def element(self) -> Element:
        """Write a table of two columns."""
        table = Element("table")
        for name, text, is_code in self.facts:
            row = SubElement(table, "tr")
            row.append(_element("th", text=name))
            cell = SubElement(row, "td")
            if is_code:
                cell.append(_element("code", text=text))
            else:
                cell.text = _clean(text)
        return table


@dataclass(frozen=True)
class Table(Part):
    """A table.

    Attributes:
        headings: of the columns.
        rows: a text for each column.
        words: the headings of the columns of words; all others have numbers.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Collection[str] = ()

    def element(self) -> Element:
        """Write the table, with its headings."""
        table = Element("table")
        looks = ["word" if heading in self.words else "number" for heading in self.headings]
        head = SubElement(SubElement(table, "thead"), "tr")
        body = SubElement(table, "tbody")
        head.extend(_element("th", *cell) for cell in zip(looks, self.headings, strict=True))
        for texts in self.rows:
            row = SubElement(body, "tr")
            row.extend(_element("td", *cell) for cell in zip(looks, texts, strict=True))
        return table


class Grid(NamedTuple):
    """A small matrix, such as the weights of a filter.

    Attributes:
        caption: the line below it.
        values: rows of numbers.
    """

    caption: str
    values: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Grids(Part):
    """Matrices side by side; positive numbers are red, negative ones blue."""

    grids: tuple[Grid, ...]

    def element(self) -> Element:
        """Write a table for each matrix, with the numbers."""
        row = _element("div", "row")
        for caption, values in self.grids:
            figure = SubElement(row, "figure")
            table = SubElement(figure, "table", {"class": "grid"})
            largest = max((abs(x) for line in values for x in line), default=0.0) or 1.0
            for line in values:
                cells = SubElement(table, "tr")
                for x in line:
                    colour = f"rgba({PLUS if x > 0 else MINUS}, {0.7 * abs(x) / largest:.2f})"
                    style = {"style": f"background: {colour}"}
                    SubElement(cells, "td", style).text = f"{x + 0:.3g}"  # turns -0 into 0
            figure.append(_element("figcaption", text=caption))
        return row


class Picture(NamedTuple):
    """A picture.

    Attributes:
        png: the file.
        caption: the line below it; may be empty.
        width: in pixels of the screen.
        height: likewise.
    """

    png: bytes
    caption: str
    width: int
    height: int


@dataclass(frozen=True)
class Pictures(Part):
    """Pictures side by side."""

    pictures: tuple[Picture, ...]

    def element(self) -> Element:
        """Write the pictures into the page."""
        row = _element("div", "row")
        for png, caption, width, height in self.pictures:
            figure = SubElement(row, "figure")
            source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
            size = {"width": str(width), "height": str(height)}
            style = (
                f"width: {width}px; height: {height}px"  # whatever the notebook's style sheet says
            )
            SubElement(
                figure, "img", {"src": source, "alt": _clean(caption), "style": style, **size}
            )
            if caption:
                figure.append(_element("figcaption", text=caption))
        return row


@dataclass(frozen=True)
class Vector(Part):
    """A drawing in SVG; one that is much wider than the notebook scrolls sideways.

    Attributes:
        svg: the drawing; :meth:`element` changes its style.
        width: of the drawing, in pixels of the screen.
    """

    svg: Element
    width: float

    def element(self) -> Element:
        """Return the drawing, reduced no further than its text can be read."""
        least = SMALLEST_SCALE * self.width
        self.svg.set("style", f"width: clamp({least:.0f}px, 100%, {self.width:.0f}px)")
        return self.svg


class Box(NamedTuple):
    """A box on an image, half-open along each axis."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True)
class BoxOnImage(Part):
    """The outline of an image, with a box on it.

    Attributes:
        width: of the image, in its pixels.
        height: likewise.
        box: on the image.
        caption: the line below it.
    """

    width: int
    height: int
    box: Box
    caption: str

    def element(self) -> Element:
        """Draw the image and the box."""
        figure = Element("figure")
        scale = 160 / max(self.width, self.height)  # to pixels of the screen
        margin = 2 / scale
        sides = (self.width + 2 * margin, self.height + 2 * margin)
        size = {"width": f"{sides[0] * scale:.0f}", "height": f"{sides[1] * scale:.0f}"}
        view = f"{-margin:g} {-margin:g} {sides[0]:g} {sides[1]:g}"
        svg = SubElement(figure, "svg", {"viewBox": view, "role": "img", **size})
        svg.attrib["aria-label"] = _clean(self.caption)
        outline = {"fill": "none", "stroke": "currentColor", "vector-effect": "non-scaling-stroke"}
        SubElement(svg, "rect", {"width": f"{self.width}", "height": f"{self.height}", **outline})
        left, top, right, bottom = self.box
        place = {"x": left, "y": top, "width": right - left, "height": bottom - top}
        look = {"fill": f"rgba({PLUS}, .3)", "stroke": f"rgb({PLUS})"}
        SubElement(svg, "rect", outline | look | {name: str(n) for name, n in place.items()})
        caption = SubElement(figure, "figcaption", {"style": "text-align: left"})
        caption.text = _clean(self.caption)
        return figure


@dataclass(frozen=True)
class Frame(Part):
    """A separate page in a frame, whose scripts cannot access the notebook.

    Attributes:
        page: HTML.
        title: what screen readers call it.
        height: of the frame, in pixels.
    """

    page: str
    title: str
    height: int

    def element(self) -> Element:
        """Write the frame."""
        attributes = {"srcdoc": self.page, "title": _clean(self.title), "height": str(self.height)}
        return Element("iframe", attributes | {"sandbox": "allow-scripts"})


class Displayed(ABC):
    """A result that notebooks display: as HTML, or as ``str`` where HTML is not supported."""

    @abstractmethod
    def display_parts(self) -> Iterable[Part]:
        """List what a notebook shows."""

    def display_files(self) -> dict[str, str]:
        """Return the result in other formats, by MIME type, for viewers without HTML."""
        return {}

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        """Return the result by MIME type, as IPython asks for it."""
        html = to_html(self.display_parts())
        bundle = {"text/plain": str(self), "text/html": html, **self.display_files()}
        left_out = {*bundle} - {*(include or bundle)} | {*(exclude or ())}
        return {name: value for name, value in bundle.items() if name not in left_out}


def to_html(parts: Iterable[Part]) -> str:
    """Write parts as self-contained HTML, which does not change the page around it.

    Args:
        parts: in their order.

    Returns:
        A ``<div>`` with its style sheet.
    """
    whole = _element("div", "jaxconv")
    whole.append(_element("style", text=STYLE))
    whole.extend(part.element() for part in parts)
    # An empty element is not closed by "/>" in HTML, but an image is not closed at all.
    return tostring(whole, encoding="unicode", short_empty_elements=False).replace("></img>", ">")


def shortened(text: str) -> str:
    """Shorten a very long text.

    Args:
        text: a formula or a set.

    Returns:
        The text, or its beginning and " ...", at most 4000 characters.
    """
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 4]} ..."


def _element(tag: str, look: str = "", text: str = "") -> Element:
    element = Element(tag, {"class": look} if look else {})
    element.text = _clean(text)
    return element


def _clean(text: str) -> str:
    """A text without characters that a page or the file of a notebook cannot hold."""
    return UNPRINTABLE.sub("\ufffd", text)
