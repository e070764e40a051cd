"""``jaxconv explore``: one page in which to explore what a model makes of a photo."""

import argparse
import re
import shlex
import sys
import webbrowser
from pathlib import Path
from typing import Any

from jaxconv.analysis.summary import summary
from jaxconv.cli.arguments import check_writable, save
from jaxconv.cli.inputs import (
    add_subject,
    check_memory,
    loaded,
    outline,
    photo_of,
    prepared,
)
from jaxconv.plotting.explorer import page
from jaxconv.plotting.layer_views import layer_views
from jaxconv.plotting.network_diagram import network_diagram

SIZE = 224  # pixels of the shorter side: the maps of VGG16 are 15 million numbers then


def add(commands: Any) -> None:
    """Say what the command takes."""
    command = commands.add_parser(
        "explore",
        help="a page in which to explore what a model makes of a photo",
        description="Write one HTML file that shows every feature map of a photo, what each "
        "neuron sees of it, and how its number comes about. It needs no server and no network.",
    )
    add_subject(command)
    command.add_argument("--layer", action="append", metavar="NAME", help="show it; repeatable")
    command.add_argument(
        "-o", "--out", type=Path, metavar="FILE", help="default: PHOTO-explore.html, here"
    )
    command.add_argument("--open", action="store_true", help="open the page in the browser")
    command.set_defaults(run=run, size=SIZE)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    path, photo = photo_of(options)
    out = options.out or Path(f"{path.stem}-explore.html")
    check_writable(out, (".html",), path)
    check_memory(photo)
    model = loaded(outline(options), options)
    x = prepared(model, photo, options)
    layers = layer_views(model, x, layers=options.layer and [*map(_layer, options.layer)])
    picture = network_diagram(summary(model, x), options.model)
    text = page(
        photo,
        path.name,
        options.model,
        picture.to_svg(),
        layers,
        command=shlex.join(_told(options, path)),
    )
    print(f"{len(layers)} layers, {len(text) / 1e6:.1f} MB")
    save(text.encode(), out)
    if options.open and not webbrowser.open(out.resolve().as_uri()):
        print(f"jaxconv explore: there is no browser. Fix: open {out} yourself.", file=sys.stderr)


def _layer(text: str) -> str | int:
    """The name of a layer, or its number."""
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else text


def _told(options: argparse.Namespace, path: Path) -> list[str]:
    """The command line that tells about one neuron of the same model and photo."""
    photo = [] if options.photo is None else [str(path)]
    weights = ["--weights", options.weights] if options.weights else []
    chosen = ["--model", options.model, *weights, "--size", str(options.size)]
    return ["jaxconv", "neuron", *photo, *chosen]
