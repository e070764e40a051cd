"""``jaxconv draw``: a picture of a network, as the lesson draws VGGNet."""

import argparse
import re
from pathlib import Path

from jaxconv.analysis.summary import summary
from jaxconv.cli.arguments import (
    CONDITION_HELP,
    OBJECT_HELP,
    UsageError,
    check_writable,
    file_of_model,
    parse_point,
    save,
)
from jaxconv.cli.command import Command
from jaxconv.cli.loader import resolve
from jaxconv.cli.models import (
    add_keyword_arguments,
    add_specs,
    as_called,
    keyword_arguments,
    specs_of,
)
from jaxconv.cli.progress import doing
from jaxconv.cli.user_code import TargetError, user_code
from jaxconv.plotting.network_diagram import network_diagram


class DrawCommand(Command):
    """Draw the layers of a model as blocks."""

    name = "draw"
    help = "draw a model's layers as blocks"
    description = (
        "Draw each layer as a block in proportion to its feature map, and arrows for its inputs."
    )
    position = 60

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments.

        Args:
            parser: of this command.
        """
        parser.add_argument("model", metavar="MODEL", help=f"what to draw: {OBJECT_HELP}")
        add_specs(parser)
        add_keyword_arguments(parser)
        parser.add_argument(
            "--layout", help="layout of the image, such as NCHW; default: channels last"
        )
        parser.add_argument("--where", metavar="CONDITION", help=CONDITION_HELP)
        parser.add_argument(
            "--at", metavar="SIZES", help="write numbers for these sizes, such as b=1,h=224,w=224"
        )
        parser.add_argument(
            "-o",
            "--out",
            type=Path,
            metavar="FILE",
            help="the .svg or .png file to write; default: MODEL.svg",
        )

    def run(self, options: argparse.Namespace) -> None:
        """Write the picture.

        Args:
            options: the arguments, by name.
        """
        out = options.out or file_of_model(options.model, ".svg")
        check_writable(out, (".svg", ".png"))
        at = None if options.at is None else parse_point(options.at)
        model = resolve(options.model)
        specs = specs_of(model, options)
        model, named = as_called(model, options.model, specs, keyword_arguments(options.given))
        try:
            with user_code(f"reading the layers of {options.model}"):
                table = summary(
                    model, *specs, where=options.where, at=at, layout=options.layout, **named
                )
        except TargetError as error:
            raise UsageError(re.sub("^(summary|check): ", "", str(error))) from None
        with doing(f"drawing {out.name}"):
            picture = network_diagram(table, options.model)
            is_svg = out.suffix.lower() == ".svg"
            content = picture.to_svg().encode() if is_svg else picture.to_png()
        save(content, out)
