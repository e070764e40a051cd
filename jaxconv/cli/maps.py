"""``jaxconv maps``: the feature maps of a photo, and what excites them."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from math import prod
from pathlib import Path

import numpy as np

from jaxconv.analysis.receptive_field import receptive_field
from jaxconv.analysis.summary import summary
from jaxconv.analysis.summary_table import Row
from jaxconv.cli.arguments import PICTURES, UsageError, check_writable, positive, render, save
from jaxconv.cli.command import Command
from jaxconv.cli.inputs import (
    add_photo_and_model,
    default_photo,
    load_weights,
    open_photo_argument,
    outline,
)
from jaxconv.cli.photo_call import Model, PhotoCall
from jaxconv.cli.photo_size import fitting_photo
from jaxconv.cli.progress import doing, shown_progress
from jaxconv.models.registry import registered_models
from jaxconv.plotting.figures import MapsPanel, panels_figure
from jaxconv.plotting.image_grid import filters_figure, peaks_figure
from jaxconv.plotting.peaks import Peak, peaks
from jaxconv.plotting.photos import PhotoError, open_photo, preprocess
from jaxconv.plotting.spatial_maps import SpatialMaps


def channel_number(text: str) -> int:
    """Read the number of a channel.

    Args:
        text: a whole number from 0, of at most 9 digits.

    Raises:
        ArgumentTypeError: it is something else.
    """
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 999999999")
    return int(text)


class MapsCommand(Command):
    """Print the layers and draw their maps, or the filters, or the strongest patches."""

    name = "maps"
    help = "show what a model, by default VGG16 trained on ImageNet, sees in a photo"
    description = "Print a model's layers and draw the feature maps of a photo."
    position = 10

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments.

        Args:
            parser: of this command.
        """
        add_photo_and_model(parser)
        parser.add_argument(
            "--layer",
            action="append",
            metavar="NAME",
            help="name of a layer to draw; repeatable; default: about five layers",
        )
        parser.add_argument(
            "--channel",
            action="append",
            type=channel_number,
            metavar="C",
            help="draw only map number C of each layer, large; repeatable",
        )
        parser.add_argument(
            "--show",
            type=positive,
            default=24,
            metavar="N",
            help="number of maps to draw per layer; default: %(default)s",
        )
        other = parser.add_mutually_exclusive_group()
        other.add_argument(
            "--filters", action="store_true", help="draw the filters of the first layer instead"
        )
        other.add_argument(
            "--strongest",
            type=positive,
            metavar="N",
            help="draw the N patches that most excite one --channel of one --layer; PHOTO may then "
            "be a folder of photos",
        )
        parser.add_argument(
            "--out",
            type=Path,
            metavar="FILE",
            help="the picture to write; default: PHOTO-maps.png in the working folder",
        )

    def run(self, options: argparse.Namespace) -> None:
        """Print the table and draw the requested pictures.

        Args:
            options: the arguments, by name.
        """
        if options.strongest:
            draw_strongest(options)
            return
        if options.photo and Path(options.photo).is_dir():
            raise UsageError(
                f"{options.photo} is a folder. Fix: pass a photo, or add --strongest N."
            )
        path, photo = open_photo_argument(options)
        out = options.out or Path(f"{path.stem}-{'filters' if options.filters else 'maps'}.png")
        check_writable(out, PICTURES, path)
        called = outline(options)
        photo = fitting_photo(photo, options, partial(bytes_to_draw, called, options))
        call = called(*photo.shape[:2])
        layers = [] if options.filters else layers_to_draw(SpatialMaps(*call), options)
        model = load_weights(call.fn, options)
        x = preprocess(model, photo)
        pictures = SpatialMaps(model, x)
        entry = registered_models().get(options.model)
        title = f"{entry.title if entry else options.model} on {path.name}"
        with doing(f"reading the layers of {options.model}"):
            rows = summary(model, x).rows
        print_table(title, photo, rows, pictures.sizes)
        if options.filters:
            figure = filters_figure(*pictures.filters())
        else:

            def panel(layer: str, maps: np.ndarray) -> MapsPanel:
                return MapsPanel.of(layer, maps, options.show, options.channel or ())

            with shown_progress(f"jaxconv maps: computing {', '.join(layers)}"):
                panels = pictures.reduced(layers, panel)
            figure = panels_figure(photo, [*panels.values()])
        save(render(figure, out), out)


def bytes_to_draw(
    called: Callable[[int, int], PhotoCall], options: argparse.Namespace, height: int, width: int
) -> int:
    """Estimate the memory that the maps of a photo take.

    Args:
        called: the model, as :func:`outline` returned it.
        options: of the command.
        height: of the photo.
        width: of the photo.

    Raises:
        ShapeError: an unknown layer.
        UsageError: a layer without the channels that are asked for, or a model without maps.
    """
    pictures = SpatialMaps(*called(height, width))
    if options.filters:
        return 0
    layers = layers_to_draw(pictures, options)
    # Of each layer the maps that are drawn are kept, in float32, and copied for the figure.
    most = len(options.channel or ()) or options.show
    counts = (min(pictures.sizes[name][-1], most) for name in layers)
    drawn = [4 * n * prod(pictures.sizes[name][:2]) for n, name in zip(counts, layers, strict=True)]
    kept = 0 if options.strongest else sum(drawn)
    return max(pictures.peak_bytes(layers) + kept, 3 * kept)


def layers_to_draw(pictures: SpatialMaps, options: argparse.Namespace) -> list[str]:
    """Return the layers to draw: those that are named, or the default ones with the channels.

    Args:
        pictures: the maps of the model.
        options: of the command.

    Raises:
        ShapeError: an unknown layer.
        UsageError: a layer without the channels that are asked for, or a model without maps.
    """
    if options.layer:
        pictures.check_layers(options.layer)
    candidates = options.layer or pictures.default()
    most = max(options.channel or [0])
    fitting = [name for name in candidates if most < pictures.sizes[name][-1]]
    others = [name for name in candidates if name not in fitting]
    if others and (options.layer or not fitting):
        count = pictures.sizes[others[-1]][-1]
        raise UsageError(
            f"{others[-1]} has {count} maps, so there is no channel {most}. "
            f"Fix: pass --channel from 0 to {count - 1}."
        )
    if not fitting:
        raise UsageError(
            "the model has no feature maps with height and width. Fix: pass another --model."
        )
    return fitting


def draw_strongest(options: argparse.Namespace) -> None:
    """Draw the patches of photos that excite one channel most.

    Args:
        options: of the command.

    Raises:
        UsageError: no channel, no photo, or no neuron above 0.
        PhotoError: the only photo cannot be read.
    """
    if len(options.channel or ()) != 1 or len(options.layer or ()) != 1:
        raise UsageError("--strongest needs one channel. Fix: pass one --layer and one --channel.")
    source = default_photo() if options.photo is None else Path(options.photo)
    paths = sorted(filter(Path.is_file, source.iterdir())) if source.is_dir() else [source]
    out = options.out or Path(f"{source.resolve().stem}-strongest.png")
    for path in (source, *paths):
        check_writable(out, PICTURES, path)
    called = outline(options)
    load = cache(lambda fn: load_weights(fn, options))  # a registered model is the same each time
    best: list[Peak] = []
    count = 0
    for path in paths:
        try:
            photo = open_photo(path)
        except PhotoError as error:
            if path == source:
                raise
            print(f"jaxconv maps: skipped: {error}", file=sys.stderr)
            continue
        photo = fitting_photo(photo, options, partial(bytes_to_draw, called, options))
        loaded = load(called(*photo.shape[:2]).fn)
        best = strongest(loaded, photo, path.name, options, best)
        count += 1
    if not count:
        raise UsageError(f"{source} has no pictures. Fix: pass a photo, or a folder of photos.")
    (layer,), (channel,) = options.layer, options.channel
    if not best:
        raise UsageError(
            f"no neuron of {layer}, channel {channel} is above 0. Fix: pass another --channel."
        )
    for peak in best:
        print(f"{peak.value:10.5g} at {peak.at[0]},{peak.at[1]} in {peak.photo}")
    if len(best) < options.strongest:
        print("There are no more peaks: all other neurons are weaker neighbours of these, or 0.")
    photos = {1: "one photo"}.get(count, f"{count} photos")
    title = f"{layer}, channel {channel}:  what excites it most in {photos}"
    save(render(peaks_figure(title, best), out), out)


def strongest(
    model: Model, photo: np.ndarray, name: str, options: argparse.Namespace, best: list[Peak]
) -> list[Peak]:
    """Return the strongest of some peaks and of those of one more photo.

    Args:
        model: with its weights.
        photo: uint8 (h, w, 3).
        name: of the photo.
        options: of the command.
        best: the strongest peaks of other photos.

    Returns:
        As many as the options say, the strongest first.
    """
    (layer,), (channel,) = options.layer, options.channel
    x = preprocess(model, photo)
    with shown_progress(f"jaxconv maps: computing {layer} of {name}"):
        kept = SpatialMaps(model, x).reduced([layer], lambda _, maps: maps[..., channel].copy())
    with doing(f"reading the layers of {options.model}"):
        field = receptive_field(model, x, layer=layer)
        found = peaks(kept[layer], photo, field, options.strongest, name)
    found = [peak._replace(patch=peak.patch.copy()) for peak in found]  # not the whole photo
    return sorted([*best, *found], key=lambda peak: -peak.value)[: options.strongest]


def print_table(
    title: str, photo: np.ndarray, rows: Sequence[Row], sizes: Mapping[str, Sequence[int]]
) -> None:
    """Print a line for each layer.

    Args:
        title: of the table.
        photo: (h, w, 3).
        rows: the layers.
        sizes: height, width and number of the maps, by layer.
    """
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    title = f"{title}, {photo.shape[1]} x {photo.shape[0]} pixels (width x height)"
    table = Table(title=escape(title), box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("layer", overflow="fold")
    for heading in ("map size", "maps", "weights per neuron", "field / stride"):
        table.add_column(heading, justify="right", overflow="fold")
    for row in rows:
        height, width, count = sizes.get(row.name, (1, 1, prod(row.output)))
        field = row.field.short() if row.field else "?"
        table.add_row(row.name, f"{width} x {height}", f"{count}", f"{row.weights or '-'}", field)
    Console().print(table)
