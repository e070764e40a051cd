"""``jaxconv maps``: the feature maps of a photo."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxconv.commands.arguments import PICTURES, UsageError, check_writable, drawn, positive, save
from jaxconv.inspect.features import feature_maps
from jaxconv.inspect.figures import maps_figure
from jaxconv.inspect.photos import open_photo
from jaxconv.inspect.summary import summary
from jaxconv.inspect.table import Row
from jaxconv.models.vgg import VGG, vgg16
from jaxconv.shapes.errors import ShapeError, choice, message

DEFAULT_LAYERS = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3")


def add(commands: Any) -> None:
    """Say what the command takes."""
    command = commands.add_parser(
        "maps",
        help="show what VGG16, trained on ImageNet, sees in a photo",
        description="Print VGG16's layers and draw the feature maps of a photo.",
    )
    command.add_argument("photo", nargs="?", help="default: Grace Hopper, which matplotlib ships")
    command.add_argument("--layer", action="append", metavar="NAME", help="draw it; repeatable")
    command.add_argument("--size", type=positive, metavar="N", help="pixels of the shorter side")
    command.add_argument("--show", type=positive, default=24, metavar="N", help="maps per layer")
    command.add_argument("--weights", default="imagenet", metavar="FILE", help=".safetensors file")
    command.add_argument("--out", type=Path, metavar="FILE", help="default: PHOTO-maps.png, here")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    path = _default_photo() if options.photo is None else Path(options.photo)
    photo = open_photo(path, options.size)
    out = options.out or Path(f"{path.stem}-maps.png")
    check_writable(out, PICTURES, path)
    _check_memory(photo)
    chosen = options.layer or DEFAULT_LAYERS
    table = _table(photo)
    unknown = [name for name in chosen if name not in [row.name for row in table]]
    if unknown:
        raise ShapeError(message("maps", [choice("layer", unknown[0], [r.name for r in table])]))
    model = vgg16(weights=options.weights, head=None)
    _print_table(path.name, photo, table)
    if model.preprocessing is None:
        raise UsageError(f"{options.weights} does not say how its pictures are prepared.")
    found = jax.jit(feature_maps(_call, chosen))(model, model.preprocessing(photo[None]))
    picture = maps_figure(photo, {n: np.asarray(v[0]) for n, v in found.items()}, options.show)
    save(drawn(picture, out), out)


def _call(model: VGG, x: jax.Array) -> jax.Array:
    return model(x)


def _default_photo() -> Path:
    from matplotlib import cbook

    return Path(str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))


def _table(photo: np.ndarray) -> Sequence[Row]:
    """The layers for a photo of this size, before any weights are there."""
    model = nnx.eval_shape(lambda: vgg16(head=None))
    return summary(model, f"1 {photo.shape[0]} {photo.shape[1]} 3").rows


def _print_table(name: str, photo: np.ndarray, table: Sequence[Row]) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    title = f"VGG16 on {escape(name)}, {photo.shape[1]} x {photo.shape[0]} pixels (width x height)"
    shown = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    shown.add_column("layer")
    for heading in ("map size", "maps", "weights per neuron", "field / stride"):
        shown.add_column(heading, justify="right")
    for row in table:
        _, height, width, count = row.output
        seen = row.field.short() if row.field else "?"
        shown.add_row(row.name, f"{width} x {height}", f"{count}", f"{row.weights or '-'}", seen)
    Console().print(shown)


def _check_memory(photo: np.ndarray) -> None:
    """Refuse a photo whose first feature maps cannot fit into this machine."""
    need = 3 * 64 * photo.shape[0] * photo.shape[1] * 4  # conv1_1, its input and its output
    have = _memory()
    if need > have:
        raise UsageError(
            f"the first feature maps of a photo of {photo.shape[1]}x{photo.shape[0]} pixels need "
            f"{need / 1e9:.2g} GB, and this machine has {have / 1e9:.2g}. Fix: pass --size 1024."
        )


def _memory() -> int | float:
    """Bytes of this machine's memory; infinite where the system does not tell."""
    known = hasattr(os, "sysconf")
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if known else float("inf")
