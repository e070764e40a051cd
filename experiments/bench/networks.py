"""The networks of the benchmark as tables of layers, with the sizes of their publications.

Dropout, stochastic depth and initialisation are left out. Every library builds its network from
the same table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from experiments.bench.tables import Layer, Workload

IMAGE = -1  # the number of the input
CLASSES = 1000
# The last normalisation of a residual block starts small, as is usual for training (Goyal et al.,
# 2017, start at 0). At 1 the maps grow with each block, and so do rounding errors of gradients.
RESIDUAL_GAIN = 0.2


@dataclass
class Builder:
    """Collects the layers of a network. Each method adds layers and returns the last one's number.

    Attributes:
        channels: those of the input and of each result.
        layers: in order.
    """

    channels: dict[int, int]
    layers: list[Layer] = field(default_factory=list)

    def add(self, op: str, *inputs: int, channels: int = 0, **options: Any) -> int:
        """Add any layer; it keeps the channels of its first input unless told otherwise."""
        number = len(self.layers)
        self.layers.append(Layer(op, inputs=inputs, **options))
        self.channels[number] = channels or self.channels[inputs[0]]
        return number

    def _named(self, op: str, x: int, shape: Sequence[int], **options: Any) -> int:
        name = f"{op}{len(self.layers)}"
        return self.add(op, x, name=name, shape=tuple(shape), channels=shape[-1], **options)

    def conv(self, x: int, filters: int, *window: int, groups: int = 1, **options: Any) -> int:
        """A convolution."""
        shape = (*window, self.channels[x] // groups, filters)
        return self._named("conv", x, shape, groups=groups, **options)

    def up(self, x: int, filters: int, *window: int) -> int:
        """A transposed convolution whose windows do not overlap."""
        shape = (*window, self.channels[x], filters)
        return self._named("conv_transpose", x, shape, stride=window[0], padding=0)

    def norm(self, x: int, op: str = "batch_norm", activation: str = "", gain: float = 1.0) -> int:
        """A normalisation."""
        return self._named(op, x, (self.channels[x],), activation=activation, gain=gain)

    def unit(
        self,
        x: int,
        filters: int,
        *window: int,
        activation: str = "",
        gain: float = 1.0,
        **options: Any,
    ) -> int:
        """A convolution without bias, batch normalisation, and an activation."""
        y = self.conv(x, filters, *window, has_bias=False, **options)
        return self.norm(y, activation=activation, gain=gain)

    def dense(self, x: int, outputs: int, activation: str = "") -> int:
        """A product with a matrix."""
        return self._named("dense", x, (self.channels[x], outputs), activation=activation)

    def classifier(self, x: int) -> int:
        """The mean of each map, and scores of the classes."""
        return self.dense(self.add("mean", x), CLASSES)


def resnet(net: Builder, groups: int = 1, width: int = 64) -> None:
    """ResNet-50 (He et al., 2015), with strides in the 3x3 convolutions; ResNeXt by ``groups``.

    Args:
        net: takes the layers.
        groups: of the 3x3 convolutions.
        width: channels of the 3x3 convolutions in the first stage.
    """
    x = net.unit(IMAGE, 64, 7, 7, stride=2, activation="relu")
    x = net.add("max_pool", x, shape=(3, 3), stride=2)
    for stage, count in enumerate((3, 4, 6, 3)):
        for i in range(count):
            stride, filters = 2 if stage and not i else 1, 256 << stage
            y = net.unit(x, width << stage, 1, 1, activation="relu")
            options = {"stride": stride, "groups": groups}
            y = net.unit(y, width << stage, 3, 3, activation="relu", **options)
            y = net.unit(y, filters, 1, 1, gain=RESIDUAL_GAIN)
            x = x if i else net.unit(x, filters, 1, 1, stride=stride)
            x = net.add("add", y, x, activation="relu")
    net.classifier(x)


def resnext(net: Builder) -> None:
    """ResNeXt-50 32x4d (Xie et al., 2017).

    Args:
        net: takes the layers.
    """
    resnet(net, groups=32, width=128)


class Block(NamedTuple):
    """The sizes of an inverted residual block.

    Attributes:
        window: rows and columns of the depthwise kernel.
        growth: the wide maps have so many times the channels of the input.
        filters: channels of the result.
        stride: of the depthwise convolution.
    """

    window: int
    growth: int
    filters: int
    stride: int


def inverted_residual(net: Builder, x: int, block: Block, *, squeeze: bool, act: str) -> int:
    """The block of MobileNetV2 and EfficientNet: wide depthwise maps between narrow ones.

    Args:
        net: takes the layers.
        x: the number of its input.
        block: its sizes.
        squeeze: whether wide channels are scaled by a function of their means.
        act: the activation.

    Returns:
        The number of the result.
    """
    window, growth, filters, stride = block
    inputs = net.channels[x]
    wide = inputs * growth
    y = x if growth == 1 else net.unit(x, wide, 1, 1, activation=act)
    y = net.unit(y, wide, window, window, stride=stride, groups=wide, activation=act)
    if squeeze:
        gate = net.dense(net.add("mean", y), max(inputs // 4, 1), act)
        y = net.add("multiply", y, net.dense(gate, wide, "sigmoid"))
    if stride > 1 or inputs != filters:
        return net.unit(y, filters, 1, 1)
    return net.add("add", x, net.unit(y, filters, 1, 1, gain=RESIDUAL_GAIN))


def mobilenet(net: Builder) -> None:
    """MobileNetV2 (Sandler et al., 2018).

    Args:
        net: takes the layers.
    """
    x = net.unit(IMAGE, 32, 3, 3, stride=2, activation="relu6")
    for growth, filters, count, stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):  # fmt: skip
        for i in range(count):
            step = 1 if i else stride
            block = Block(3, growth, filters, step)
            x = inverted_residual(net, x, block, squeeze=False, act="relu6")
    net.classifier(net.unit(x, 1280, 1, 1, activation="relu6"))


def efficientnet(net: Builder) -> None:
    """EfficientNet-B0 (Tan and Le, 2019).

    Args:
        net: takes the layers.
    """
    x = net.unit(IMAGE, 32, 3, 3, stride=2, activation="silu")
    for window, growth, filters, count, stride in (
        (3, 1, 16, 1, 1), (3, 6, 24, 2, 2), (5, 6, 40, 2, 2), (3, 6, 80, 3, 2), (5, 6, 112, 3, 1),
        (5, 6, 192, 4, 2), (3, 6, 320, 1, 1),
    ):  # fmt: skip
        for i in range(count):
            step = 1 if i else stride
            block = Block(window, growth, filters, step)
            x = inverted_residual(net, x, block, squeeze=True, act="silu")
    net.classifier(net.unit(x, 1280, 1, 1, activation="silu"))


def convnext(net: Builder) -> None:
    """ConvNeXt-T (Liu et al., 2022).

    Args:
        net: takes the layers.
    """
    x = IMAGE
    for stage, (count, filters) in enumerate(zip((3, 3, 9, 3), (96, 192, 384, 768), strict=True)):
        side = 2 if stage else 4
        if stage:
            x = net.norm(x, "layer_norm")
        x = net.conv(x, filters, side, side, stride=side, padding=0)
        x = x if stage else net.norm(x, "layer_norm")
        for _ in range(count):
            y = net.conv(x, filters, 7, 7, groups=filters)
            y = net.norm(y, "layer_norm")
            y = net.conv(y, 4 * filters, 1, 1, activation="gelu")
            y = net.conv(y, filters, 1, 1)
            y = net.add("scale", y, name=f"scale{len(net.layers)}", shape=(filters,))
            x = net.add("add", x, y)
    net.dense(net.norm(net.add("mean", x), "layer_norm"), CLASSES)


def u_net(net: Builder, levels: int = 4, width: int = 32) -> None:
    """U-Net (Ronneberger, Fischer and Brox, 2015), with padding, for two classes of pixels.

    Args:
        net: takes the layers.
        levels: the number of pools.
        width: filters of the first level; each level has twice as many.
    """

    def pair(x: int, filters: int) -> int:
        for _ in range(2):
            x = net.conv(x, filters, 3, 3, activation="relu")
        return x

    x, skips = pair(IMAGE, width), []
    for level in range(1, levels + 1):
        skips.append(x)
        x = net.add("max_pool", x, shape=(2, 2), stride=2, padding=0)
        x = pair(x, width << level)
    for skip in reversed(skips):
        filters = net.channels[skip]
        x = net.up(x, filters, 2, 2)
        x = pair(net.add("concatenate", skip, x, channels=2 * filters), filters)
    net.conv(x, 2, 1, 1)


def resnet_3d(net: Builder) -> None:
    """R3D-18 (Tran et al., 2018).

    Args:
        net: takes the layers.
    """
    x = net.unit(IMAGE, 64, 3, 7, 7, stride=(1, 2, 2), activation="relu")
    for stage in range(4):
        for i in range(2):
            stride, filters = 2 if stage and not i else 1, 64 << stage
            y = net.unit(x, filters, 3, 3, 3, stride=stride, activation="relu")
            y = net.unit(y, filters, 3, 3, 3, gain=RESIDUAL_GAIN)
            x = x if stride == 1 else net.unit(x, filters, 1, 1, 1, stride=stride)
            x = net.add("add", y, x, activation="relu")
    net.classifier(x)


def wavenet(net: Builder, width: int = 64, layers: int = 20) -> None:
    """A network of the kind of WaveNet (van den Oord et al., 2016): gated, dilated, 1-D.

    Args:
        net: takes the layers.
        width: of the maps.
        layers: the dilation doubles in each, and starts again after ten.
    """
    x, total = net.conv(IMAGE, width, 3), None
    for i in range(layers):
        dilation = 1 << i % 10
        gate = net.conv(x, width, 3, dilation=dilation, activation="sigmoid")
        y = net.conv(x, width, 3, dilation=dilation, activation="tanh")
        y = net.add("multiply", y, gate)
        skip = net.conv(y, width, 1)
        total = skip if total is None else net.add("add", total, skip)
        x = net.add("add", x, net.conv(y, width, 1))
    assert total is not None
    x = net.add("activation", total, activation="relu")
    net.conv(net.conv(x, width, 1, activation="relu"), 256, 1)


# Name, title, how it is built, an input for inference and one for training, without the batch.
NETWORKS: tuple[tuple[str, str, Callable[[Builder], None], Any, Any], ...] = (
    ("resnet50", "ResNet-50", resnet, (224, 224, 3), (128, 128, 3)),
    ("mobilenetv2", "MobileNetV2", mobilenet, (224, 224, 3), (128, 128, 3)),
    ("efficientnet-b0", "EfficientNet-B0", efficientnet, (224, 224, 3), (128, 128, 3)),
    ("convnext-t", "ConvNeXt-T", convnext, (224, 224, 3), (128, 128, 3)),
    ("resnext50", "ResNeXt-50 32x4d", resnext, (224, 224, 3), (128, 128, 3)),
    ("unet", "U-Net", u_net, (128, 128, 3), (128, 128, 3)),
    ("resnet3d-18", "R3D-18", resnet_3d, (8, 64, 64, 3), (8, 64, 64, 3)),
    ("wavenet", "WaveNet", wavenet, (4096, 1), (4096, 1)),
)
TRAINING_BATCH = 4
ROUNDS = {"b1": 9, "b8": 5, "train": 5}


def layers_of(build: Callable[[Builder], None], channels: int) -> tuple[Layer, ...]:
    """Build the table of a network.

    Args:
        build: adds the layers.
        channels: of the input.
    """
    net = Builder({IMAGE: channels})
    build(net)
    return tuple(net.layers)


def workloads() -> list[Workload]:
    """List three workloads of each network: inference with one and eight inputs, and training."""
    found = []
    for name, title, build, size, trained in NETWORKS:
        layers = layers_of(build, size[-1])
        for suffix, kind, x in (
            ("b1", "inference", (1, *size)),
            ("b8", "inference", (8, *size)),
            ("train", "training", (TRAINING_BATCH, *trained)),
        ):
            about = f"{'training step, ' * (kind == 'training')}{'x'.join(map(str, x[1:-1]))}"
            text = f"{title}, {about}, batch {x[0]}"
            found.append(Workload(f"{name}-{suffix}", text, kind, x, layers, ROUNDS[suffix]))
    return found
