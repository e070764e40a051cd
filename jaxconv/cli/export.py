"""``jaxconv export``: one program for every size that a model accepts, as a file."""

import argparse
import re
import sys
from importlib.util import find_spec
from pathlib import Path

from jaxconv.aot.export import KNOWN_PLATFORMS, PLATFORMS, export_program, takes_parameters
from jaxconv.aot.onnx import export_onnx
from jaxconv.cli.arguments import (
    CONDITION_HELP,
    OBJECT_HELP,
    UsageError,
    check_writable,
    file_of_model,
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
from jaxconv.cli.user_code import TargetError, user_code
from jaxconv.models.registry import registered_models

SUFFIXES = {"stablehlo": ".stablehlo", "onnx": ".onnx"}


class ExportCommand(Command):
    """Export a model."""

    name = "export"
    help = "write a model as one program for every size that it accepts"
    description = (
        "Prove which sizes a model accepts, and write one program for all of them. "
        "jax.export.deserialize reads it, in a process without jaxconv, and refuses other sizes."
    )
    position = 65

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments.

        Args:
            parser: of this command.
        """
        parser.add_argument("model", metavar="MODEL", help=f"what to export: {OBJECT_HELP}")
        add_specs(parser)
        add_keyword_arguments(parser)
        parser.add_argument("--where", metavar="CONDITION", help=CONDITION_HELP)
        parser.add_argument(
            "--platforms",
            type=_platforms,
            default=PLATFORMS,
            metavar="NAMES",
            help="what the program runs on, of cpu, cuda, rocm and tpu; default: cpu,cuda,tpu",
        )
        parser.add_argument(
            "--format",
            choices=SUFFIXES,
            default="stablehlo",
            help="of the file; onnx needs jax2onnx, and has no check of sizes; default: stablehlo",
        )
        parser.add_argument(
            "--without-parameters",
            action="store_true",
            help="do not write the parameters: they are the first argument of the program",
        )
        parser.add_argument(
            "--layout", help="layout of the image, such as NCHW; default: channels last"
        )
        parser.add_argument(
            "-o",
            "--out",
            type=Path,
            metavar="FILE",
            help="the file to write; default: MODEL.stablehlo or MODEL.onnx",
        )

    def run(self, options: argparse.Namespace) -> None:
        """Write the file.

        Args:
            options: the arguments, by name.
        """
        out = options.out or file_of_model(options.model, SUFFIXES[options.format])
        check_writable(out, (SUFFIXES[options.format],))
        if options.format == "onnx" and find_spec("jax2onnx") is None:
            raise UsageError(
                "the package jax2onnx is not installed. Fix: make an environment for it, as it "
                "needs an older orbax-checkpoint: python3 -m venv onnx && onnx/bin/pip install "
                "-e . jax2onnx==0.17.1"
            )
        name = options.model.partition("(")[0]
        has_weights = options.without_parameters or "weights" in options.model
        if name in registered_models() and not has_weights:
            published = f"\"{name}(weights='imagenet')\" has the published ones"
            print(f"{name} has random parameters; {published}.", file=sys.stderr)
        model = resolve(options.model, abstract=options.without_parameters)
        specs = specs_of(model, options)
        fn, named = as_called(model, options.model, specs, keyword_arguments(options.given))
        with user_code(f"exporting {options.model}"):
            if options.without_parameters and not takes_parameters(fn, specs, named):
                raise TargetError(
                    f"{options.model} does not take parameters as an argument: those that it uses "
                    "are constants. Fix: name the model itself, or leave out --without-parameters."
                )
            if options.format == "onnx":
                content, sizes = export_onnx(fn, specs, named, options.where)
                place = "where ONNX runs; it does not refuse other sizes"
            else:
                exported, sizes = export_program(fn, specs, named, options.where, options.platforms)
                content, place = bytes(exported.serialize()), f"on {', '.join(exported.platforms)}"
        save(content, out)
        print(f"for {sizes}, {place}")


def _platforms(text: str) -> tuple[str, ...]:
    names = tuple(filter(None, re.split(r"[\s,]+", text)))
    if not names or not set(names) <= KNOWN_PLATFORMS:
        known = ", ".join(sorted(KNOWN_PLATFORMS))
        raise argparse.ArgumentTypeError(f"{text!r} does not name platforms, of {known}")
    return names
