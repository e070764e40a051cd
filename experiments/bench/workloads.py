"""The workloads: networks, image sizes, and the number of operations."""

from collections.abc import Iterator, Sequence
from math import prod

from experiments.bench import networks
from experiments.bench.tables import Layer, Workload, result_shapes, sources
from jaxconv.models.vgg import STAGES, Stages, head_shapes

TRAINING_CLASSES = 10


def vgg(stages: Stages, head: Sequence[Layer], channels: int = 3) -> tuple[Layer, ...]:
    """Build stages of 3x3 convolutions, a pool after each, then a head.

    Args:
        stages: the numbers of filters of each stage.
        head: the layers after the last pool.
        channels: the channels of the image.

    Returns:
        The layers, named as in VGG16.
    """
    layers = []
    for stage, widths in enumerate(stages, 1):
        for index, filters in enumerate(widths, 1):
            shape = (3, 3, channels, filters)
            layers.append(Layer("conv", f"conv{stage}_{index}", shape, activation="relu"))
            channels = filters
        layers.append(Layer("max_pool", shape=(2, 2), stride=2, padding=0))
    return (*layers, *head)


def classifier(channels: int, classes: int) -> list[Layer]:
    """Build a head: the mean of each map, and one dense layer.

    Args:
        channels: the number of maps.
        classes: the number of classes.

    Returns:
        The layers.
    """
    return [Layer("mean"), Layer("dense", "fc", (channels, classes))]


def macs(workload: Workload) -> Iterator[int]:
    """Count the multiply-accumulates of each layer for one image, padding included.

    Args:
        workload: the workload.

    Yields:
        The number for each layer; 0 for those without a kernel.
    """
    shapes = result_shapes(workload)
    for number, (layer, (first, *_)) in enumerate(
        zip(workload.layers, sources(workload.layers), strict=True)
    ):
        # A transposed convolution multiplies each pixel of the image by the whole kernel.
        positions = shapes[first if layer.op == "conv_transpose" else number][1:-1]
        yield prod(layer.parameters.get("kernel", (0,))) * prod(positions)


def flops(workload: Workload) -> int:
    """Count the floating-point operations of a call, 2 per MAC, for direct convolution.

    A training step computes each layer three times: forward, and the gradients of the kernel and of
    the input; the gradient of the images is not needed.

    Args:
        workload: the workload.

    Returns:
        The number for the whole batch.
    """
    first, *others = macs(workload)
    total = 3 * sum(others) + 2 * first if workload.kind == "training" else first + sum(others)
    return 2 * workload.x[0] * total


def parameter_bytes(workload: Workload) -> int:
    """Count the bytes of all parameters, in float32.

    Args:
        workload: the workload.

    Returns:
        The number of bytes.
    """
    shapes = (shape for layer in workload.layers for shape in layer.parameters.values())
    return 4 * sum(map(prod, shapes))


FC = head_shapes("dense", 512, 1000)
DENSE = [Layer("dense", n, shape, "" if n == "fc8" else "relu") for n, shape in FC.items()]
VGG16 = vgg(STAGES["vgg16"], [Layer("flatten"), *DENSE])
TRAINED = vgg(STAGES["vgg16"], classifier(512, TRAINING_CLASSES))


def _inference(batch: int, rounds: int) -> Workload:
    title = f"VGG16, 224x224, batch {batch}"
    return Workload(f"vgg16-b{batch}", title, "inference", (batch, 224, 224, 3), VGG16, rounds)


def _training(side: int, batch: int, rounds: int) -> Workload:
    title = f"VGG16, training step, {side}x{side}, batch {batch}"
    return Workload(f"train-{side}", title, "training", (batch, side, side, 3), TRAINED, rounds)


def _convolution(name: str, side: int, channels: int, filters: int) -> Workload:
    layer = Layer("conv", name, (3, 3, channels, filters), activation="relu")
    title = f"{name} of VGG16, {side}x{side}, {channels} to {filters} channels"
    return Workload(name, title, "inference", (1, side, side, channels), (layer,), 30, before=1)


WORKLOADS = {
    workload.name: workload
    for workload in (
        _inference(1, 20),
        _inference(8, 7),
        _inference(32, 5),
        _training(32, 32, 10),
        _training(224, 4, 5),
        *networks.workloads(),
        _convolution("conv1_1", 224, 3, 64),
        _convolution("conv1_2", 224, 64, 64),
        _convolution("conv2_2", 112, 128, 128),
        _convolution("conv3_2", 56, 256, 256),
        _convolution("conv4_2", 28, 512, 512),
        _convolution("conv5_2", 14, 512, 512),
    )
}


def product(n: int) -> Workload:
    """Build the workload of one matrix product.

    Args:
        n: rows and columns of both matrices.

    Returns:
        The workload.
    """
    layers = (Layer("dense", "matrix", (n, n)),)
    return Workload("product", f"matrix product, {n}x{n}", "inference", (n, n), layers, rounds=12)


def memory(op: str, n: int) -> Workload:
    """Build the workload of reading or copying an array.

    Args:
        op: "read" or "copy".
        n: the number of float32 numbers.

    Returns:
        The workload.
    """
    title = f"{op} {4 * n / 1e6:.0f} MB"
    return Workload(op, title, "memory", (n,), (Layer(op),), rounds=7)


# The rates of a machine. The arrays do not fit in caches, as in large networks.
ROOFLINE = (product(3072), memory("read", 2**26), memory("copy", 2**26))
