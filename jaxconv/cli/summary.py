"""``jaxconv summary``: a table of a model's layers."""

import argparse
import json
import sys
from typing import Any

from jaxconv.analysis.summary import summary
from jaxconv.cli.arguments import point
from jaxconv.cli.loader import resolve


def add(commands: Any) -> None:
    """Say what the command takes."""
    command = commands.add_parser(
        "summary",
        help="a table of a model's layers, for every size",
        description="Print shape, parameters, multiply-accumulates and memory of each layer.",
    )
    command.add_argument("model", help="pkg.module:name, module:make(classes=10), or vgg16")
    command.add_argument("specs", nargs="+", metavar="SPEC", help='of an input, such as "b h w 3"')
    command.add_argument("--where", metavar="CONDITION", help='such as "h >= 32, w == h"')
    command.add_argument("--at", metavar="SIZES", help="show numbers too, for b=1,h=224,w=224")
    command.add_argument("--without-padding", action="store_true", help="count no taps on padding")
    command.add_argument("--layout", help="of the image, such as NCHW; default: channels last")
    command.add_argument("--json", action="store_true", help="print data")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    at = None if options.at is None else point(options.at)
    padded = not options.without_padding
    found = summary(
        resolve(options.model),
        *options.specs,
        where=options.where,
        at=at,
        padded_taps=padded,
        layout=options.layout,
    )
    if options.json:
        print(json.dumps(found.to_json(), indent=2))
    elif sys.stdout.isatty():
        from rich.console import Console

        Console().print(found)
    else:
        print(found)
