"""``jaxconv shape``: the output shape of one convolution."""

import argparse
import math
import re

from jaxconv.cli.arguments import UsageError, parse_sizes, positive
from jaxconv.cli.command import Command
from jaxconv.errors import raises_shape_error
from jaxconv.layers.shape_rules import conv_plan


class ShapeCommand(Command):
    """Print the output shape of one convolution."""

    name = "shape"
    help = "compute the output shape of one convolution"
    description = "Print the output shape, its formula and the number of weights of a convolution."
    position = 40

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments.

        Args:
            parser: of this command.
        """
        parser.add_argument(
            "image", metavar="IMAGE", help="HEIGHTxWIDTHxCHANNELS, such as 128x128x3"
        )
        parser.add_argument(
            "--filters", type=positive, required=True, metavar="N", help="number of filters"
        )
        parser.add_argument(
            "--kernel",
            type=parse_sizes,
            required=True,
            metavar="K",
            help="kernel size, such as 3 or 3x5",
        )
        parser.add_argument(
            "--padding",
            default="SAME",
            help="SAME, VALID, ..., or the number of pixels on each side; default: %(default)s",
        )
        for option in ("stride", "dilation"):
            parser.add_argument(
                f"--{option}",
                type=parse_sizes,
                default=(1,),
                metavar="N",
                help=f"{option} for all axes, such as 2, or per axis, such as 2x1",
            )
        parser.add_argument(
            "--groups", type=positive, default=1, metavar="N", help="number of channel groups"
        )

    def run(self, options: argparse.Namespace) -> None:
        """Print the shape, a formula per axis, and the number of weights.

        Args:
            options: the arguments, by name.
        """
        try:
            image = parse_sizes(options.image)
        except argparse.ArgumentTypeError as error:
            raise UsageError(f"image: {error}. Fix: write it as 128x128x3.") from None
        if not 2 <= len(image) <= 4:
            raise UsageError(f"{options.image} is not an image. Fix: write it as 128x128x3.")
        rank = len(image) - 1
        windows = {}
        for name in ("kernel", "stride", "dilation"):
            values = getattr(options, name)
            if len(values) not in (1, rank):
                raise UsageError(
                    f"--{name} has {len(values)} numbers. Fix: pass one, or {rank}: one per axis."
                )
            windows[name] = values * rank if len(values) == 1 else values
        kernel = (*windows["kernel"], max(image[-1] // options.groups, 1), options.filters)
        pixels = re.fullmatch("-?[0-9]{1,9}", options.padding)
        plan = raises_shape_error("shape")(conv_plan)(
            (1, *image),
            kernel,
            trusted=True,
            stride=windows["stride"],
            dilation=windows["dilation"],
            padding=int(options.padding) if pixels else options.padding,
            groups=options.groups,
            layout={1: "NWC", 2: "NHWC", 3: "NDHWC"}[rank],
        )
        print("x".join(map(str, plan.shape[1:])))
        for axis, n, window, size in zip(
            plan.layout.spatial_axes, image, plan.windows, plan.shape[1:], strict=False
        ):
            print(f"  {axis}: (n + low + high - extent)//stride + 1 = {window.formula(n, size)}")
        each, extent = math.prod(kernel[:-1]), "x".join(map(str, kernel[:-1]))
        print(f"  {each} weights per filter ({extent}), {each * options.filters} in all, ", end="")
        print(f"and {options.filters} biases")
