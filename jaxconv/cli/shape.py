"""``jaxconv shape``: what one convolution makes of an image."""

import argparse
import math
import re
from typing import Any

from jaxconv.cli.arguments import UsageError, positive, sizes
from jaxconv.errors import public_api
from jaxconv.layers.shape_rules import Plan, conv_plan


def add(commands: Any) -> None:
    """Say what the command takes."""
    command = commands.add_parser(
        "shape",
        help="what a convolution makes of an image",
        description="Print the shape, the formula and the weights of one convolution.",
    )
    command.add_argument("image", help="HEIGHTxWIDTHxCHANNELS, such as 128x128x3")
    command.add_argument("--filters", type=positive, required=True, metavar="N", help="how many")
    command.add_argument("--kernel", type=sizes, required=True, metavar="K", help="3 or 3x5")
    command.add_argument("--padding", default="SAME", help="SAME, VALID, ... or pixels")
    for option in ("stride", "dilation"):
        command.add_argument(f"--{option}", type=sizes, default=(1,), metavar="N", help="2 or 2x1")
    command.add_argument("--groups", type=positive, default=1, metavar="N", help="of channels")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
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


@public_api
def shape(x: tuple[int, ...], kernel: tuple[int, ...], **options: Any) -> Plan:
    """Plan a convolution of given sizes; messages bear this command's name."""
    return conv_plan(x, kernel, trusted=True, **options)


def _sizes_of(name: str, text: str) -> tuple[int, ...]:
    try:
        return sizes(text)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"{name}: {error}. Fix: write it as 128x128x3.") from None


def _spread(name: str, values: tuple[int, ...], rank: int) -> tuple[int, ...]:
    if len(values) not in (1, rank):
        raise UsageError(f"--{name} has {len(values)} numbers. Fix: give one, or {rank}.")
    return values * rank if len(values) == 1 else values
