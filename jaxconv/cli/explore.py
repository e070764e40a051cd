"""``jaxconv explore``: one page that shows what a model computes from a photo."""

import argparse
import shlex
import sys
import webbrowser
from pathlib import Path

from jaxconv.analysis.summary import summary
from jaxconv.cli.arguments import check_writable, layer_name, save
from jaxconv.cli.classification import explored_classes
from jaxconv.cli.command import Command
from jaxconv.cli.inputs import (
    add_photo_and_model,
    load_weights,
    open_photo_argument,
    outline,
)
from jaxconv.cli.photo_size import fitting_photo
from jaxconv.cli.progress import doing, shown_progress
from jaxconv.plotting.explorer import pack_layer, page_of
from jaxconv.plotting.layer_views import bytes_to_view, reduced_views
from jaxconv.plotting.network_diagram import network_diagram
from jaxconv.plotting.photos import preprocess

PAGE_PIXELS = 224  # of the shorter side: the maps of VGG16 are 15 million numbers then


class ExploreCommand(Command):
    """Write the page."""

    name = "explore"
    help = "write a web page that shows what a model sees in a photo"
    description = (
        "Write one HTML file that shows every feature map of a photo, what each neuron sees of "
        "it, and how its value is computed. It needs no server and no network."
    )
    position = 30

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments.

        Args:
            parser: of this command.
        """
        add_photo_and_model(parser, size=PAGE_PIXELS)
        parser.add_argument(
            "--layer",
            action="append",
            type=layer_name,
            metavar="NAME",
            help="name or number of a layer to show; repeatable; default: all",
        )
        parser.add_argument(
            "-o",
            "--out",
            type=Path,
            metavar="FILE",
            help="the file to write; default: PHOTO-explore.html in the working folder",
        )
        parser.add_argument("--open", action="store_true", help="open the page in the browser")

    def run(self, options: argparse.Namespace) -> None:
        """Compute the maps, write the page, and open it if asked to.

        Args:
            options: the arguments, by name.
        """
        path, photo = open_photo_argument(options)
        out = options.out or Path(f"{path.stem}-explore.html")
        check_writable(out, (".html",), path)
        called = outline(options)

        def need(height: int, width: int) -> int:
            return bytes_to_view(*called(height, width))

        photo = fitting_photo(photo, options, need)
        model = load_weights(called(*photo.shape[:2]).fn, options)
        x = preprocess(model, photo)
        with shown_progress("jaxconv explore: computing the feature maps"):
            layers = reduced_views(pack_layer, model, x, layers=options.layer)
        with doing(f"reading the layers of {options.model}"):
            picture = network_diagram(summary(model, x), options.model)
        with doing("naming what is in the photo"):
            classes = explored_classes(model, x, options)
        # The command that prints one neuron of the same model and photo.
        shown = [] if options.photo is None else [str(path)]
        weights = ["--weights", options.weights] if options.weights else []
        layout = ["--layout", options.layout] if options.layout else []
        given = [part for text in options.given for part in ("--with", text)]
        chosen = [
            "--model",
            options.model,
            *layout,
            *given,
            *weights,
            "--size",
            str(min(photo.shape[:2])),
        ]
        command = shlex.join(["jaxconv", "neuron", *shown, *chosen])
        with doing(f"writing {out.name}"):
            svg = picture.to_svg()
            text = page_of(
                photo, path.name, options.model, svg, layers, command=command, classes=classes
            )
        print(f"{len(layers)} layers, {len(text) / 1e6:.1f} MB")
        save(text.encode(), out)
        if options.open and not webbrowser.open(out.resolve().as_uri()):
            print(f"jaxconv explore: no browser was found. Fix: open {out}.", file=sys.stderr)
