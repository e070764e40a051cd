"""``jaxconv draw``: a picture of a network, as the lesson draws VGGNet."""

import argparse
import re
from pathlib import Path
from typing import Any

from jaxconv.analysis.summary import summary
from jaxconv.cli.arguments import UsageError, check_writable, point, save
from jaxconv.cli.loader import resolve
from jaxconv.errors import ShapeError
from jaxconv.plotting.network_diagram import network_diagram
from jaxconv.prover.contract import contract_of

FORMATS = (".svg", ".png")
IMAGES = ("b h w 3",)


def add(commands: Any) -> None:
    """Say what the command takes."""
    command = commands.add_parser(
        "draw",
        help="a picture of a model's layers as blocks",
        description="Draw each layer as a block as large as its map, and what feeds it.",
    )
    command.add_argument("model", help="pkg.module:name, module:make(classes=10), or vgg16")
    default = f'of an input; default: the contract of the model, or "{IMAGES[0]}"'
    command.add_argument("specs", nargs="*", metavar="SPEC", help=default)
    command.add_argument("--where", metavar="CONDITION", help='such as "h >= 32, w == h"')
    command.add_argument("--at", metavar="SIZES", help="numbers, for b=1,h=224,w=224")
    command.add_argument("-o", "--out", type=Path, metavar="FILE", help=".svg or .png")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    out = options.out or Path(f"{_stem(options.model)}.svg")
    check_writable(out, FORMATS)
    at = None if options.at is None else point(options.at)
    model = resolve(options.model)
    specs = options.specs or (() if contract_of(model) else IMAGES)
    try:
        found = summary(model, *specs, where=options.where, at=at)
    except ShapeError as error:
        raise UsageError(re.sub("^(summary|check): ", "", str(error))) from None
    picture = network_diagram(found, options.model)
    save(picture.to_png() if out.suffix.lower() == ".png" else picture.to_svg().encode(), out)


def _stem(model: str) -> str:
    """The name in what names a model: ``Net`` of ``pkg.models:Net(classes=10)``."""
    return re.sub(
        r"\W", "_", model.rpartition("(")[0].rpartition(":")[2] or model.rpartition(":")[2]
    )
