"""``jaxconv maps``: the feature maps of a photo, and what excites them."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence, Sized
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv.analysis.receptive_field import receptive_field
from jaxconv.analysis.summary import summary
from jaxconv.analysis.summary_table import Row
from jaxconv.cli.arguments import PICTURES, UsageError, check_writable, drawn, positive, save
from jaxconv.cli.inputs import (
    Model,
    add_subject,
    check_memory,
    default_photo,
    loaded,
    outline,
    photo_of,
    prepared,
)
from jaxconv.models.vgg import STAGES
from jaxconv.plotting.figures import maps_figure
from jaxconv.plotting.image_grid import filters_figure, peaks_figure
from jaxconv.plotting.peaks import Peak, peaks
from jaxconv.plotting.photos import PhotoError, open_photo
from jaxconv.plotting.spatial_maps import SpatialMaps


def add(commands: Any) -> None:
    """Say what the command takes."""
    command = commands.add_parser(
        "maps",
        help="show what a model, by default VGG16 trained on ImageNet, sees in a photo",
        description="Print a model's layers and draw the feature maps of a photo.",
    )
    add_subject(command)
    command.add_argument(
        "--layer",
        action="append",
        metavar="NAME",
        help="draw it; repeatable; default: about five layers",
    )
    command.add_argument("--channel", action="append", type=channel, metavar="C",
                         help="draw this map only, large; repeatable")  # fmt: skip
    command.add_argument("--show", type=positive, default=24, metavar="N", help="maps per layer")
    other = command.add_mutually_exclusive_group()
    other.add_argument("--filters", action="store_true", help="draw the first layer's filters")
    other.add_argument("--strongest", type=positive, metavar="N",
                       help="draw the N patches of a photo, or of a folder of photos, "
                       "that excite one --channel of one --layer most")  # fmt: skip
    command.add_argument("--out", type=Path, metavar="FILE", help="default: PHOTO-maps.png, here")
    command.set_defaults(run=run)


def channel(text: str) -> int:
    """Read the number of a channel, from 0."""
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 999999999")
    return int(text)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    if options.strongest:
        _draw_strongest(options)
        return
    if options.photo and Path(options.photo).is_dir():
        raise UsageError(f"{options.photo} is a folder. Fix: pass a photo, or add --strongest N.")
    path, photo = photo_of(options)
    out = options.out or Path(f"{path.stem}-{'filters' if options.filters else 'maps'}.png")
    check_writable(out, PICTURES, path)
    check_memory(photo)
    model = outline(options)
    pictures = _pictures(model, photo, options)
    layers = [] if options.filters else _layers(pictures, options)
    model, table = loaded(model, options), _table(model, photo, options)
    _print_table(options.model, path.name, photo, table, pictures.sizes)
    pictures = _pictures(model, photo, options)
    if options.filters:
        picture = filters_figure(*pictures.filters())
    else:
        maps = pictures.maps(layers)
        picture = maps_figure(photo, maps, options.show, options.channel or ())
    save(drawn(picture, out), out)


def _pictures(model: Model, photo: np.ndarray, options: argparse.Namespace) -> SpatialMaps:
    return SpatialMaps(model, prepared(model, photo, options))


def _layers(pictures: SpatialMaps, options: argparse.Namespace) -> list[str]:
    """The layers to draw; those that are named must be there, and have the channels."""
    if options.layer:
        pictures.check_layers(options.layer)
    named = options.layer or pictures.default()
    most = max(options.channel or [0])
    fitting = [name for name in named if most < pictures.sizes[name][-1]]
    lacking = [name for name in named if name not in fitting]
    if lacking and (options.layer or not fitting):
        count = pictures.sizes[lacking[-1]][-1]
        raise UsageError(
            f"{lacking[-1]} has {count} maps, and no channel {most}. "
            f"Fix: pass --channel from 0 to {count - 1}."
        )
    if not fitting:
        raise UsageError("the model has no feature maps with height and width. Fix: pass another.")
    return fitting


def _draw_strongest(options: argparse.Namespace) -> None:
    """Draw what excites one channel most."""
    if len(options.channel or ()) != 1 or len(options.layer or ()) != 1:
        raise UsageError("--strongest needs one channel. Fix: pass one --layer and one --channel.")
    home = default_photo() if options.photo is None else Path(options.photo)
    paths = sorted(filter(Path.is_file, home.iterdir())) if home.is_dir() else [home]
    out = options.out or Path(f"{home.resolve().stem}-strongest.png")
    for path in (home, *paths):
        check_writable(out, PICTURES, path)
    photos = dict(_photos(paths, options, alone=not home.is_dir()))
    if not photos:
        raise UsageError(f"{home} has no pictures. Fix: pass a photo, or a folder of photos.")
    model = outline(options)
    for photo in photos.values():
        check_memory(photo)
        _layers(_pictures(model, photo, options), options)
    model = loaded(model, options)
    found = [peak for item in photos.items() for peak in _peaks(model, *item, options)]
    best = sorted(found, key=lambda peak: -peak.value)[: options.strongest]
    (layer,), (channel,) = options.layer, options.channel
    if not best:
        raise UsageError(f"no neuron of {layer}, channel {channel} is above 0. Fix: pass another.")
    for peak in best:
        print(f"{peak.value:10.5g} at {peak.at[0]},{peak.at[1]} in {peak.photo}")
    if len(best) < options.strongest:
        print("There are no more: all other neurons are weaker neighbours of these, or 0.")
    title = f"{layer}, channel {channel}:  what excites it most in {_count(photos)}"
    save(drawn(peaks_figure(title, best), out), out)


def _count(photos: Sized) -> str:
    return "one photo" if len(photos) == 1 else f"{len(photos)} photos"


def _photos(
    paths: Sequence[Path], options: argparse.Namespace, alone: bool
) -> Iterator[tuple[str, np.ndarray]]:
    """Photos by name; of several, those that cannot be read are told and left out."""
    for path in paths:
        try:
            yield path.name, open_photo(path, options.size)
        except PhotoError as error:
            if alone:
                raise
            print(f"jaxconv maps: left out: {error}", file=sys.stderr)


def _peaks(model: Model, name: str, photo: np.ndarray, options: argparse.Namespace) -> list[Peak]:
    (layer,), (channel,) = options.layer, options.channel
    values = _pictures(model, photo, options).maps([layer])[layer][..., channel]
    sees = receptive_field(model, prepared(model, photo, options), layer=layer)
    return peaks(values, photo, sees, options.strongest, name)


def _table(model: Model, photo: np.ndarray, options: argparse.Namespace) -> Sequence[Row]:
    """The layers for a photo of this size."""
    return summary(model, prepared(model, photo, options)).rows


def _print_table(
    model: str,
    name: str,
    photo: np.ndarray,
    table: Sequence[Row],
    sizes: Mapping[str, Sequence[int]],
) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    called = model.upper() if model in STAGES else model
    title = f"{escape(called)} on {escape(name)}, {photo.shape[1]} x {photo.shape[0]} pixels"
    title += " (width x height)"
    shown = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    shown.add_column("layer")
    for heading in ("map size", "maps", "weights per neuron", "field / stride"):
        shown.add_column(heading, justify="right")
    for row in table:
        height, width, count = sizes.get(row.name, (1, 1, prod(row.output)))
        seen = row.field.short() if row.field else "?"
        shown.add_row(row.name, f"{width} x {height}", f"{count}", f"{row.weights or '-'}", seen)
    Console().print(shown)
