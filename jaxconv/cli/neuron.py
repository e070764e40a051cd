"""``jaxconv neuron``: one neuron of a model, computed by hand."""

import argparse
import re
from pathlib import Path

import numpy as np

from jaxconv.analysis.neuron import Neuron, NeuronPlan, neuron
from jaxconv.cli.arguments import (
    PICTURES,
    UsageError,
    check_writable,
    layer_name,
    render,
    save,
)
from jaxconv.cli.command import Command
from jaxconv.cli.inputs import (
    add_photo_and_model,
    load_weights,
    open_photo_argument,
    outline,
)
from jaxconv.cli.photo_size import fitting_photo
from jaxconv.cli.progress import shown_progress
from jaxconv.plotting.neuron_figure import neuron_figure
from jaxconv.plotting.photos import preprocess


class NeuronCommand(Command):
    """Print and draw one neuron."""

    name = "neuron"
    help = "compute one neuron of a feature map by hand: f(w.p + b)"
    description = "Print and draw what one neuron sees in a photo, its weights and their sum."
    position = 20

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments.

        Args:
            parser: of this command.
        """
        add_photo_and_model(parser)
        parser.add_argument(
            "--layer",
            type=layer_name,
            required=True,
            metavar="NAME",
            help="the layer's name, or its number from 1",
        )
        parser.add_argument(
            "--at",
            default="",
            metavar="Y,X",
            help="position of the neuron in the feature map; omit for a dense layer",
        )
        parser.add_argument(
            "--channel", type=int, required=True, metavar="C", help="number of the map, from 0"
        )
        parser.add_argument(
            "--out",
            type=Path,
            metavar="FILE",
            help="the picture to write; default: PHOTO-neuron.png in the working folder",
        )

    def run(self, options: argparse.Namespace) -> None:
        """Compute the neuron, print it and draw it.

        Args:
            options: the arguments, by name.
        """
        if not re.fullmatch(r"([0-9]{1,9}(,[0-9]{1,9})*)?", re.sub(r"\s", "", options.at)):
            raise UsageError(f"--at {options.at} cannot be read. Fix: write it as 20,30 for y, x.")
        at = tuple(map(int, filter(None, options.at.split(","))))
        path, photo = open_photo_argument(options)
        out = options.out or Path(f"{path.stem}-neuron.png")
        check_writable(out, PICTURES, path)
        called = outline(options)
        chosen = {"layer": options.layer, "at": at, "channel": options.channel}

        def need(height: int, width: int) -> int:
            return NeuronPlan.of(*called(height, width), **chosen).peak_bytes()

        photo = fitting_photo(photo, options, need)
        model = load_weights(called(*photo.shape[:2]).fn, options)
        x = preprocess(model, photo)
        with shown_progress(f"jaxconv neuron: computing {options.layer}"):
            result = neuron(model, x, **chosen)
        print(result)
        figure = neuron_figure(photo, result, patch_colors(result, photo, x[0]))
        save(render(figure, out), out)


def patch_colors(result: Neuron, photo: np.ndarray, x: np.ndarray) -> np.ndarray | None:
    """Return the patch of a neuron of a first layer as colours of the photo.

    Args:
        result: the neuron.
        photo: uint8 (h, w, 3).
        x: the photo as the model takes it, (h, w, channels).

    Returns:
        (kh, kw, 3) of 0 to 1; None where the patch is not a part of the photo.
    """
    if result.sources != ("input",) or result.patch.shape[2:] != (3,) or x.shape != photo.shape:
        return None
    colors = np.empty(result.patch.shape)
    for channel in range(3):  # preprocessing keeps the order of the numbers
        pixels, numbers = photo[..., channel].ravel() / 255, x[..., channel].ravel()
        extremes = [numbers.argmin(), numbers.argmax()]
        colors[..., channel] = np.interp(
            result.patch[..., channel], numbers[extremes], pixels[extremes]
        )
    return colors
