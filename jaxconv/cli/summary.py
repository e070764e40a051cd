"""``jaxconv summary``: a table of a model's layers."""

import argparse
import json
import shutil
import sys

from jaxconv.analysis.summary import summary
from jaxconv.analysis.summary_table import Summary
from jaxconv.cli.arguments import CONDITION_HELP, OBJECT_HELP, parse_point
from jaxconv.cli.command import Command
from jaxconv.cli.loader import resolve
from jaxconv.cli.models import (
    add_keyword_arguments,
    add_specs,
    as_called,
    keyword_arguments,
    specs_of,
)
from jaxconv.cli.user_code import user_code


class SummaryCommand(Command):
    """Print the table."""

    name = "summary"
    help = "print a table of a model's layers, for every size"
    description = "Print the shape, parameters, multiply-accumulates and memory of each layer."
    position = 50

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments.

        Args:
            parser: of this command.
        """
        parser.add_argument("model", metavar="MODEL", help=OBJECT_HELP)
        add_specs(parser)
        add_keyword_arguments(parser)
        parser.add_argument("--where", metavar="CONDITION", help=CONDITION_HELP)
        parser.add_argument(
            "--at",
            metavar="SIZES",
            help="also print the numbers for these sizes, such as b=1,h=224,w=224",
        )
        parser.add_argument(
            "--without-padding",
            action="store_true",
            help="do not count multiply-accumulates on padding",
        )
        parser.add_argument(
            "--layout", help="layout of the image, such as NCHW; default: channels last"
        )
        parser.add_argument("--json", action="store_true", help="print the table as JSON")

    def run(self, options: argparse.Namespace) -> None:
        """Print the table as text, in colours on a wide terminal, or as JSON.

        Args:
            options: the arguments, by name.
        """
        given = keyword_arguments(options.given)
        model = resolve(options.model)
        specs = specs_of(model, options)
        model, named = as_called(model, options.model, specs, given)
        at = None if options.at is None else parse_point(options.at)
        with user_code(f"reading the layers of {options.model}"):
            table = summary(
                model,
                *specs,
                **named,
                where=options.where,
                at=at,
                padded_taps=not options.without_padding,
                layout=options.layout,
            )
        if options.json:
            print(json.dumps(table.to_json(), indent=2))
        elif sys.stdout.isatty():
            print_in_colours(table)
        else:
            print(table.text(shutil.get_terminal_size().columns))


def print_in_colours(table: Summary) -> None:
    """Print a table on a terminal: in colours where it fits, else split into narrower ones.

    Args:
        table: of a model.
    """
    from rich.console import Console

    console = Console()
    as_wide_as_it_is = console.options.update(max_width=sys.maxsize)
    if console.measure(table, options=as_wide_as_it_is).maximum <= console.width:
        console.print(table)
    else:
        print(table.text(console.width))
