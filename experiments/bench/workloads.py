"""The workloads: networks as lists of layers, image sizes, and their cost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from jaxconv.models.vgg import STAGES, Stages, head_shapes

CLASSES = 10  # in the training steps


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    Attributes:
        op: "conv" (any kernel size, SAME, stride 1), "pool" (2x2 max pooling), "mean" (over the
            map), "flatten", "dense", or, to measure memory, "read" and "copy".
        name: name of its parameters.
        shape: shape of its kernel: (kh, kw, c_in, c_out) or (c_in, c_out).
        relu: whether a ReLU follows.
    """

    op: str
    name: str = ""
    shape: tuple[int, ...] = ()
    relu: bool = False


@dataclass(frozen=True)
class Workload:
    """What each backend computes in one call.

    Attributes:
        name: name on the command line.
        title: title in tables.
        kind: "inference", "training", or "memory".
        x: shape of the input, (b, h, w, c).
        layers: layers of the network.
        rounds: default number of timed calls of each backend.
        before: calls before the timed one in each turn, so that short calls find warm caches.
    """

    name: str
    title: str
    kind: str
    x: tuple[int, ...]
    layers: tuple[Layer, ...]
    rounds: int = 20
    before: int = 0


def vgg(stages: Stages, head: Sequence[Layer], channels: int = 3) -> tuple[Layer, ...]:
    """Return stages of 3x3 convolutions with a pool after each, then a head."""
    layers = []
    for stage, widths in enumerate(stages, 1):
        for index, filters in enumerate(widths, 1):
            shape = (3, 3, channels, filters)
            layers.append(Layer("conv", f"conv{stage}_{index}", shape, relu=True))
            channels = filters
        layers.append(Layer("pool"))
    return (*layers, *head)


def classifier(channels: int, classes: int) -> list[Layer]:
    """Return global average pooling and one dense layer."""
    return [Layer("mean"), Layer("dense", "fc", (channels, classes))]


def macs(work: Workload) -> Iterator[int]:
    """Yield the MACs of each layer for one image; kernel elements on padding count."""
    rows, columns = (*work.x[1:3], 1)[:2]
    for layer in work.layers:
        if layer.op == "pool":
            rows, columns = rows // 2, columns // 2
        taps = prod(layer.shape) if layer.shape else 0
        yield taps * (rows * columns if layer.op == "conv" else 1)


def flops(work: Workload) -> int:
    """Return the floating-point operations of a call with direct convolution, 2 per MAC.

    A training step computes each layer three times: forwards, and the gradients of kernel and
    input. The gradient of the images is not needed.
    """
    first, *others = macs(work)
    total = 3 * sum(others) + 2 * first if work.kind == "training" else first + sum(others)
    return 2 * work.x[0] * total


def parameter_bytes(work: Workload) -> int:
    """Return the bytes of all kernels and biases, float32."""
    return 4 * sum(prod(layer.shape) + layer.shape[-1] for layer in work.layers if layer.shape)


FC = head_shapes("dense", 512, 1000)
DENSE = [Layer("dense", name, shape, relu=name != "fc8") for name, shape in FC.items()]
VGG16 = vgg(STAGES["vgg16"], [Layer("flatten"), *DENSE])
TRAINED = vgg(STAGES["vgg16"], classifier(512, CLASSES))


def _inference(batch: int, rounds: int) -> Workload:
    title = f"VGG16, 224x224, batch {batch}"
    return Workload(f"vgg16-b{batch}", title, "inference", (batch, 224, 224, 3), VGG16, rounds)


def _training(side: int, batch: int, rounds: int) -> Workload:
    title = f"VGG16, training step, {side}x{side}, batch {batch}"
    return Workload(f"train-{side}", title, "training", (batch, side, side, 3), TRAINED, rounds)


def _convolution(name: str, side: int, channels: int, filters: int) -> Workload:
    layer = Layer("conv", name, (3, 3, channels, filters), relu=True)
    title = f"{name} of VGG16, {side}x{side}, {channels} to {filters} channels"
    return Workload(name, title, "inference", (1, side, side, channels), (layer,), 30, before=1)


WORKLOADS = {
    work.name: work
    for work in (
        _inference(1, 20),
        _inference(8, 7),
        _inference(32, 5),
        _training(32, 32, 10),
        _training(224, 4, 5),
        _convolution("conv1_1", 224, 3, 64),
        _convolution("conv1_2", 224, 64, 64),
        _convolution("conv2_2", 112, 128, 128),
        _convolution("conv3_2", 56, 256, 256),
        _convolution("conv4_2", 28, 512, 512),
        _convolution("conv5_2", 14, 512, 512),
    )
}


def product(n: int) -> Workload:
    """Return a product of two (n, n) matrices."""
    layers = (Layer("dense", "matrix", (n, n)),)
    return Workload("product", f"matrix product, {n}x{n}", "inference", (n, n), layers, rounds=12)


def memory(op: str, n: int) -> Workload:
    """Return a workload that reads or copies n numbers."""
    title = f"{op} {4 * n / 1e6:.0f} MB"
    return Workload(op, title, "memory", (n,), (Layer(op),), rounds=7)


# The rates of a machine. The arrays exceed its caches, as those of large networks do.
ROOFLINE = (product(3072), memory("read", 2**26), memory("copy", 2**26))
