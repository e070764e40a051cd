"""The command line: each command does with one line what the library does."""

import argparse
import io
import json
import math
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxconv.inspect.features import feature_maps
from jaxconv.inspect.figures import maps_figure
from jaxconv.inspect.photos import PhotoError, open_photo
from jaxconv.inspect.receptive import Row, rows
from jaxconv.inspect.summary import summary
from jaxconv.models.vgg import VGG, vgg16
from jaxconv.models.weights import WeightsError
from jaxconv.report import as_github, as_json, as_text
from jaxconv.shapes.errors import ShapeError, choice, door, message
from jaxconv.shapes.plans import Plan, conv_plan
from jaxconv.shapes.verdict import Verdict
from jaxconv.targets import Claim, TargetError, claim, claims, is_object, resolve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEFAULT_LAYERS = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3")
INSTALL = "python -m pip install 'jaxconv[maps]', or -e '.[maps]' in a checkout."
FORMATS = (".png", ".jpg", ".svg", ".pdf")


class UsageError(ValueError):
    """Arguments that make no sense; the message says which and the fix."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``jaxconv``; bad input is one message on standard error and exit status 2.

    The status is 1 where ``jaxconv check`` does not prove all.
    """
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # any file's name can be printed anywhere
            stream.reconfigure(errors="backslashreplace")
    try:
        status = options.run(options) or 0
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough, as in `jaxconv maps | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(options.run is _check)  # which then has not proven all
    except ModuleNotFoundError as error:
        needs = f"needs {error.name}, which is not installed"
        print(f"jaxconv {options.command}: it {needs}.\n  Fix: {INSTALL}", file=sys.stderr)
        return 2
    except (PhotoError, ShapeError, TargetError, UsageError, WeightsError) as error:
        said = str(error).removeprefix(f"{options.command}: ")
        print(f"jaxconv {options.command}: {said}", file=sys.stderr)
        return 2
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jaxconv", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    maps = commands.add_parser(
        "maps",
        help="show what VGG16, trained on ImageNet, sees in a photo",
        description="Print VGG16's layers and draw the feature maps of a photo.",
    )
    maps.add_argument("photo", nargs="?", help="default: Grace Hopper, which matplotlib ships")
    maps.add_argument("--layer", action="append", metavar="NAME", help="draw it; repeatable")
    maps.add_argument("--size", type=_positive, metavar="N", help="pixels of the shorter side")
    maps.add_argument("--show", type=_positive, default=24, metavar="N", help="maps per layer")
    maps.add_argument("--weights", default="imagenet", metavar="FILE", help=".safetensors file")
    maps.add_argument("--out", type=Path, metavar="FILE", help="default: PHOTO-maps.png, here")
    maps.set_defaults(run=_maps)
    shape = commands.add_parser(
        "shape",
        help="what a convolution makes of an image",
        description="Print the shape, the formula and the weights of one convolution.",
    )
    shape.add_argument("image", help="HEIGHTxWIDTHxCHANNELS, such as 128x128x3")
    shape.add_argument("--filters", type=_positive, required=True, metavar="N")
    shape.add_argument("--kernel", type=_sizes, required=True, metavar="K", help="3 or 3x5")
    shape.add_argument("--padding", default="SAME", help="SAME, VALID, ... or pixels")
    for option in ("stride", "dilation"):
        shape.add_argument(f"--{option}", type=_sizes, default=(1,), metavar="N", help="2 or 2x1")
    shape.add_argument("--groups", type=_positive, default=1, metavar="N")
    shape.set_defaults(run=_shape)
    table = commands.add_parser(
        "summary",
        help="a table of a model's layers, for every size",
        description="Print shape, parameters, multiply-accumulates and memory of each layer.",
    )
    table.add_argument("model", help="pkg.module:name, module:make(classes=10), or vgg16")
    table.add_argument("specs", nargs="+", metavar="SPEC", help='of an input, such as "b h w 3"')
    table.add_argument("--where", metavar="CONDITION", help='such as "h >= 32, w == h"')
    table.add_argument("--at", metavar="SIZES", help="show numbers too, for b=1,h=224,w=224")
    table.add_argument("--without-padding", action="store_true", help="no MACs for taps on padding")
    table.add_argument("--json", action="store_true", help="print data")
    table.set_defaults(run=_summary)
    _add_check(commands)
    return parser


def _add_check(commands: Any) -> None:
    check = commands.add_parser(
        "check",
        help="prove the shapes of a model for every size at once",
        description="Prove what a function or model of yours takes and returns, for every size.",
        epilog="Exit status: 0 all is proven, 1 something is refuted, or could only be tested, "
        "2 the command or your code does not let it begin.",
    )
    check.add_argument("target", help=NAMED)
    check.add_argument("spec", nargs="?", help='"b h w 3 -> b 1000"; default: its contract')
    check.add_argument("--where", metavar="SIZES", help='such as "h >= 32 and w == h"')
    style = check.add_mutually_exclusive_group()
    style.add_argument("--json", action="store_true", help="a list of verdicts for programs")
    style.add_argument("--format", choices=STYLES, default="text", help="text, or annotations")
    check.set_defaults(run=_check)


NAMED = "pkg.module:name, module:make(classes=10), vgg16; or a package or FILE.py: its contracts"
STYLES = {"text": as_text, "github": as_github}


def _check(options: argparse.Namespace) -> int:
    named = options.spec is not None or is_object(options.target)
    found = [claim(options.target, options.spec)] if named else claims(options.target)
    verdicts = [(one.name, verdict) for one in found if (verdict := _proven(one, options))]
    proven = sum(verdict.ok for _, verdict in verdicts)
    if options.json:
        print(json.dumps([as_json(*entry) for entry in verdicts], indent=2))
    elif len(found) > 1 or options.format == "github":
        print(f"{proven} of {len(found)} proven.")
    return 2 if len(verdicts) < len(found) else int(proven < len(found))


def _proven(one: Claim, options: argparse.Namespace) -> Verdict | None:
    """Prove one claim and print the verdict at once, since the next may take a while.

    What does not let a proof begin is told, and does not keep the others from theirs.
    """
    try:
        verdict = one.prove(options.where)
    except (ShapeError, TargetError) as error:
        said = str(error).removeprefix("check: ")
        print(f"jaxconv check: {said}", file=sys.stderr)
        return None
    if not options.json:
        text = STYLES[options.format](one.name, one.origin, verdict)
        print(text, end="\n" if text else "", flush=True)
    elif sys.stderr.isatty():
        print(f"{one.name}: {verdict.status}", file=sys.stderr)
    return verdict


def _positive(text: str) -> int:
    if not re.fullmatch("0*[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 999999999")
    return int(text)


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(_positive(part) for part in re.split("[xX]", text))


def _shape(options: argparse.Namespace) -> None:
    image = _sizes_of("image", options.image)
    if not 2 <= len(image) <= 4:
        raise UsageError(f"{options.image} is no image. Fix: write it as 128x128x3.")
    rank = len(image) - 1
    spread = {n: _spread(n, getattr(options, n), rank) for n in ("kernel", "stride", "dilation")}
    kernel = (*spread.pop("kernel"), max(image[-1] // options.groups, 1), options.filters)
    layout = {1: "NWC", 2: "NHWC", 3: "NDHWC"}[rank]
    pixels = re.fullmatch("-?[0-9]{1,9}", options.padding)
    padding = int(options.padding) if pixels else options.padding
    call = {"padding": padding, "groups": options.groups, "layout": layout, **spread}
    plan = shape((1, *image), kernel, **call)
    each = math.prod(kernel[:-1])
    print("x".join(map(str, plan.shape[1:])))
    for axis, n, window, size in zip(
        plan.layout.spatial_axes, image, plan.windows, plan.shape[1:], strict=False
    ):
        print(f"  {axis}: (n + low + high - extent)//stride + 1 = {window.formula(n, size)}")
    taps = "x".join(map(str, kernel[:-1]))
    print(f"  {each} weights a filter ({taps}), {each * options.filters} in all, ", end="")
    print(f"and {options.filters} biases")


@door
def shape(x: tuple[int, ...], kernel: tuple[int, ...], **options: Any) -> Plan:
    """Plan a convolution of given sizes; messages bear this command's name."""
    return conv_plan(x, kernel, trusted=True, **options)


def _sizes_of(name: str, text: str) -> tuple[int, ...]:
    try:
        return _sizes(text)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"{name}: {error}. Fix: write it as 128x128x3.") from None


def _spread(name: str, values: tuple[int, ...], rank: int) -> tuple[int, ...]:
    if len(values) not in (1, rank):
        raise UsageError(f"--{name} has {len(values)} numbers. Fix: give one, or {rank}.")
    return values * rank if len(values) == 1 else values


def _summary(options: argparse.Namespace) -> None:
    at = None if options.at is None else _point(options.at)
    padded = not options.without_padding
    found = summary(
        resolve(options.model), *options.specs, where=options.where, at=at, padded_taps=padded
    )
    if options.json:
        print(json.dumps(found.to_json(), indent=2))
    elif sys.stdout.isatty():
        from rich.console import Console

        Console().print(found)
    else:
        print(found)


def _point(text: str) -> dict[str, int]:
    """Read sizes such as ``b=1,h=224``."""
    found = re.findall(r"\s*([A-Za-z_]\w*)\s*=\s*([0-9]{1,9})\s*(?:,|$)", text)
    if not found or re.sub(r"\s", "", text) != ",".join(f"{name}={n}" for name, n in found):
        raise UsageError(f"--at {text} cannot be read. Fix: write it as b=1,h=224,w=224.")
    return {name: int(n) for name, n in found}


def _maps(options: argparse.Namespace) -> None:
    path = _default_photo() if options.photo is None else Path(options.photo)
    photo = open_photo(path, options.size)
    out = options.out or Path(f"{path.stem}-maps.png")
    _check_writable(out, path)
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
    _save(picture, out)
    print(f"wrote {out}")


def _call(model: VGG, x: jax.Array) -> jax.Array:
    return model(x)


def _default_photo() -> Path:
    from matplotlib import cbook

    return Path(str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))


def _table(photo: np.ndarray) -> list[Row]:
    """The layers for a photo of this size, before any weights are there."""
    model = nnx.eval_shape(lambda: vgg16(head=None))
    return rows(_call, model, jax.ShapeDtypeStruct((1, *photo.shape), jnp.float32))


def _print_table(name: str, photo: np.ndarray, table: Sequence[Row]) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    title = f"VGG16 on {escape(name)}, {photo.shape[1]} x {photo.shape[0]} pixels (width x height)"
    shown = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    shown.add_column("layer")
    for heading in ("map size", "maps", "weights per neuron", "receptive field"):
        shown.add_column(heading, justify="right")
    for row in table:
        _, height, width, count = row.shape
        weights = row.field.weights if row.field else None
        size = f"{width} x {height}"
        shown.add_row(row.name, size, f"{count}", f"{weights or '-'}", f"{row.field or '?'}")
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


def _check_writable(out: Path, photo: Path) -> None:
    if out.suffix.lower() not in FORMATS:
        raise UsageError(f"{out} is no picture's name. Fix: end it in {', '.join(FORMATS)}.")
    if out.resolve() == photo.resolve():
        _unwritable(out, "it is the photo itself")
    if out.is_dir():
        _unwritable(out, "it is a folder")
    try:
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        _unwritable(out, error.strerror)


def _unwritable(out: Path, reason: object) -> NoReturn:
    raise UsageError(f"{out} cannot be written: {reason}. Fix: pass another --out.")


def _save(picture: "Figure", out: Path) -> None:
    """Write the whole picture or nothing."""
    content = io.BytesIO()
    picture.savefig(content, format=out.suffix[1:].lower(), dpi=110)
    partial = out.with_name(f".{out.name}.part")
    try:
        partial.write_bytes(content.getvalue())
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        _unwritable(out, error.strerror)


if __name__ == "__main__":
    sys.exit(main())
