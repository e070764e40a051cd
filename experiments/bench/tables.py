"""Networks as tables of layers, and what a backend computes in one call."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class Layer:
    """One layer of a network. Maps are (b, *size, c).

    Attributes:
        op: one of ``OPS``; or "read" and "copy" for memory.
        name: the prefix of its parameters' names; empty without parameters.
        shape: of its kernel: (*window, c_in/groups, c_out), or (c_in, c_out), or (c,) for one
            number per channel; for a pool, its window.
        activation: a function that follows: one of ``ACTIVATIONS``, or empty.
        inputs: the numbers of the layers whose results it reads, -1 for the image; empty for the
            result of the layer before.
        stride: from one window to the next, an int or one per axis; of a transposed convolution,
            from one pixel to the next one.
        dilation: pixels between the elements of a kernel.
        groups: of channels.
        padding: zeros at each end of each axis; None for half of the window.
        has_bias: whether a convolution has one.
        gain: of the factors of a normalisation, before the first step.
    """

    op: str
    name: str = ""
    shape: tuple[int, ...] = ()
    activation: str = ""
    inputs: tuple[int, ...] = ()
    stride: int | tuple[int, ...] = 1
    dilation: int = 1
    groups: int = 1
    padding: int | None = None
    has_bias: bool = True
    gain: float = 1.0

    @property
    def window(self) -> tuple[int, ...]:
        """The elements of its window along each axis; empty where it has none."""
        if self.op == "max_pool":
            return self.shape
        return self.shape[:-2] if self.op in ("conv", "conv_transpose") else ()

    @property
    def strides(self) -> tuple[int, ...]:
        """The stride along each axis."""
        return self.stride if isinstance(self.stride, tuple) else (self.stride,) * len(self.window)

    @property
    def pads(self) -> tuple[int, ...]:
        """Zeros at each end of each axis."""
        if self.padding is not None:
            return (self.padding,) * len(self.window)
        return tuple((k - 1) * self.dilation // 2 for k in self.window)

    @property
    def parameters(self) -> dict[str, tuple[int, ...]]:
        """The shape of each of its parameters, by kind."""
        if not self.name:
            return {}
        kinds = [k for k in OPS.get(self.op, ("kernel", "bias")) if k != "bias" or self.has_bias]
        return {kind: self.shape if kind == "kernel" else self.shape[-1:] for kind in kinds}


# The operations, and the kinds of parameters of each. The mean is that of whole maps; "multiply"
# takes maps and one number per map; "scale" has a factor for each channel.
OPS: dict[str, tuple[str, ...]] = {
    "conv": ("kernel", "bias"),
    "conv_transpose": ("kernel", "bias"),
    "dense": ("kernel", "bias"),
    "batch_norm": ("scale", "bias", "mean", "var"),
    "layer_norm": ("scale", "bias"),
    "scale": ("scale",),
    "max_pool": (),
    "mean": (),
    "flatten": (),
    "add": (),
    "multiply": (),
    "concatenate": (),
    "activation": (),
}
STATISTICS = ("mean", "var")  # parameters that are not learnt
ACTIVATIONS = ("relu", "relu6", "silu", "gelu", "sigmoid", "tanh")


@dataclass(frozen=True)
class Workload:
    """What each backend computes in one call.

    Attributes:
        name: its name on the command line.
        title: its title in tables.
        kind: "inference", "training" or "memory".
        x: the shape of the input, (b, *size, c).
        layers: the network.
        rounds: timed calls of each backend, by default.
        before: calls before the timed one in each turn, so that short calls have warm caches.
    """

    name: str
    title: str
    kind: str
    x: tuple[int, ...]
    layers: tuple[Layer, ...]
    rounds: int = 20
    before: int = 0

    @property
    def is_chain(self) -> bool:
        """Whether each layer reads the result of the layer before."""
        return not any(layer.inputs for layer in self.layers)


def sources(layers: Sequence[Layer]) -> list[tuple[int, ...]]:
    """Number the layers that each layer reads; -1 is the image.

    Args:
        layers: the network.
    """
    return [layer.inputs or (number - 1,) for number, layer in enumerate(layers)]


def result_shapes(workload: Workload) -> dict[int, tuple[int, ...]]:
    """Compute the shape of the result of each layer, (b, *size, c) or (b, c).

    Args:
        workload: the workload.

    Returns:
        The shapes by the numbers of layers; that of the image is -1.
    """
    shapes = {-1: workload.x}
    for number, (layer, read) in enumerate(
        zip(workload.layers, sources(workload.layers), strict=True)
    ):
        b, *size, c = shapes[read[0]]
        if layer.op == "flatten":
            c *= prod(size)
        if layer.op in ("mean", "flatten"):
            size = []
        elif layer.op == "concatenate":
            c = sum(shapes[i][-1] for i in read)
        elif layer.op in ("conv", "conv_transpose", "dense"):
            c = layer.shape[-1]
        shapes[number] = (b, *_map_size(layer, size), c)
    return shapes


def _map_size(layer: Layer, size: Sequence[int]) -> Sequence[int]:
    """The size of a result, from that of the images."""
    if not layer.window:
        return size
    axes = zip(size, layer.window, layer.strides, layer.pads, strict=True)
    if layer.op == "conv_transpose":
        return [(n - 1) * s + k - 2 * p for n, k, s, p in axes]
    return [(n + 2 * p - layer.dilation * (k - 1) - 1) // s + 1 for n, k, s, p in axes]
