"""``jaxconv neuron``: one neuron of a model, computed by hand."""

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv.analysis.neuron import Neuron, neuron
from jaxconv.cli.arguments import PICTURES, UsageError, check_writable, drawn, save
from jaxconv.cli.inputs import (
    add_subject,
    check_memory,
    loaded,
    outline,
    photo_of,
    prepared,
)
from jaxconv.plotting.neuron_figure import neuron_figure


def add(commands: Any) -> None:
    """Say what the command takes."""
    command = commands.add_parser(
        "neuron",
        help="one neuron of a feature map, computed by hand: f(w.p + b)",
        description="Print and draw what one neuron sees in a photo, its weights and their sum.",
    )
    add_subject(command)
    command.add_argument("--layer", required=True, metavar="NAME", help="or its number, from 1")
    command.add_argument(
        "--at", default="", metavar="Y,X", help="its place in the map; none for a dense layer"
    )
    command.add_argument("--channel", type=int, required=True, metavar="C", help="its feature map")
    command.add_argument("--out", type=Path, metavar="FILE", help="default: PHOTO-neuron.png, here")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    at = _place(options.at)
    layer = int(options.layer) if re.fullmatch("[0-9]{1,9}", options.layer) else options.layer
    path, photo = photo_of(options)
    out = options.out or Path(f"{path.stem}-neuron.png")
    check_writable(out, PICTURES, path)
    check_memory(photo)
    model = loaded(outline(options), options)
    x = prepared(model, photo, options)
    found = neuron(model, x, layer=layer, at=at, channel=options.channel)
    print(found)
    save(drawn(neuron_figure(photo, found, _colour(found, photo, x[0])), out), out)


def _place(text: str) -> tuple[int, ...]:
    """Read a place such as ``20,30``."""
    if not re.fullmatch(r"([0-9]{1,9}(,[0-9]{1,9})*)?", re.sub(r"\s", "", text)):
        raise UsageError(f"--at {text} cannot be read. Fix: write it as 20,30 for y, x.")
    return tuple(map(int, filter(None, text.split(","))))


def _colour(found: Neuron, photo: np.ndarray, x: np.ndarray) -> np.ndarray | None:
    """The patch of a first layer as colours of 0 to 1, where it is a piece of the photo."""
    if found.sources != ("input",) or found.patch.shape[2:] != (3,) or x.shape != photo.shape:
        return None
    colour = np.empty(found.patch.shape)
    for channel in range(3):  # what prepared the photo keeps the order of its numbers
        pixels, numbers = photo[..., channel].ravel() / 255, x[..., channel].ravel()
        ends = [numbers.argmin(), numbers.argmax()]
        colour[..., channel] = np.interp(found.patch[..., channel], numbers[ends], pixels[ends])
    return colour
