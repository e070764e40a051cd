"""Compare the memory that a summary plans with the memory that XLA allocates.

Run ``python -m experiments.memory [NETWORK ...]``. It compiles twelve networks on the CPU backend,
for inference, for training, and for training with rematerialisation, and prints XLA's temporary
buffers and results in MB, the estimate, and their ratio. The last column is what XLA allocates with
its scheduler for memory, which ``jc.jit`` selects. Nothing is run, and the compiled code is not
optimised, so that any machine will do; it takes about four minutes. XLA's own library of fused
operations is off, as it writes what a GPU does not: each broadcast as a whole map. To see the
buffers, add ``--xla_dump_to=DIRECTORY --xla_dump_hlo_as_text`` to XLA's flags below.
"""

import itertools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

os.environ["XLA_FLAGS"] = (
    "--xla_cpu_experimental_ynn_fusion_type= --xla_backend_optimization_level=0"
)
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"  # a program that is read says nothing of memory

import jax
import jax.numpy as jnp
from flax import nnx

import jaxconv as jc
from experiments.networks import Attention, ResNet, chain, u_net
from jaxconv.jaxpr.liveness import compiled_peak
from jaxconv.jaxpr.resources import bytes_of

VGG11 = (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0)
VGG16 = (64, 64, 0, 128, 128, 0, *(256,) * 3, 0, *(512,) * 3, 0, *(512,) * 3, 0)
SEPARABLE = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1))
SAVED = ("conv_general_dilated", "dot_general")
FOR_MEMORY = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}


class Stack(nnx.Module):
    """Convolutions of 3x3 with ReLU; a width of 0 is a pool."""

    def __init__(self, widths: Sequence[int], norm: bool = False) -> None:
        rngs, c = nnx.Rngs(0), 3
        self.widths, self.convs, self.norms = widths, nnx.List(), nnx.List()
        for width in filter(None, widths):
            self.convs.append(nnx.Conv(c, width, (3, 3), rngs=rngs))
            batch_norm = nnx.BatchNorm(width, use_running_average=True, rngs=rngs)
            self.norms.append(batch_norm if norm else None)
            c = width
        self.head = nnx.Linear(c, 10, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        """Map images (b, h, w, 3) to (b, 10)."""
        layers = iter(zip(self.convs, self.norms, strict=True))
        for width in self.widths:
            if not width:
                x = nnx.max_pool(x, (2, 2), (2, 2))
                continue
            conv, norm = next(layers)
            x = nnx.relu(conv(x) if norm is None else norm(conv(x)))
        return self.head(x.mean((1, 2)))


class Separable(nnx.Module):
    """Depthwise and pointwise convolutions, as in MobileNet."""

    def __init__(self) -> None:
        rngs, c = nnx.Rngs(0), 32
        self.stem = nnx.Conv(3, c, (3, 3), (2, 2), rngs=rngs)
        self.layers = nnx.List()
        for width, stride in SEPARABLE:
            strides = (stride, stride)
            self.layers.append(nnx.Conv(c, c, (3, 3), strides, feature_group_count=c, rngs=rngs))
            self.layers.append(nnx.Conv(c, width, (1, 1), rngs=rngs))
            c = width
        self.head = nnx.Linear(c, 10, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        """Map images (b, h, w, 3) to (b, 10)."""
        for layer in (self.stem, *self.layers):
            x = nnx.relu(layer(x))
        return self.head(x.mean((1, 2)))


class Dense(nnx.Module):
    """A block of DenseNet: each layer sees all maps before it."""

    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.convs = nnx.List([nnx.Conv(3 + 16 * i, 16, (3, 3), rngs=rngs) for i in range(8)])
        self.head = nnx.Linear(131, 10, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        """Map images (b, h, w, 3) to (b, 10)."""
        for conv in self.convs:
            x = jnp.concatenate([x, nnx.relu(conv(x))], -1)
        return self.head(x.mean((1, 2)))


class Perceptron(nnx.Module):
    """Six matrix products with GELU."""

    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        widths = (3072, *(2048,) * 6)
        pairs = itertools.pairwise(widths)
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in pairs])

    def __call__(self, x: Any) -> Any:
        """Map (b, 3072) to (b, 2048)."""
        for layer in self.layers:
            x = nnx.gelu(layer(x))
        return x


class Patches(nnx.Module):
    """A vision transformer of four blocks."""

    def __init__(self, width: int = 192) -> None:
        rngs = nnx.Rngs(0)
        self.stem = nnx.Conv(3, width, (16, 16), (16, 16), rngs=rngs)
        self.blocks = nnx.List()
        for _ in range(4):
            self.blocks.append(Attention(width, width, 3, rngs))
            self.blocks.append(nnx.LayerNorm(width, rngs=rngs))
            self.blocks.append(nnx.Linear(width, 4 * width, rngs=rngs))
            self.blocks.append(nnx.Linear(4 * width, width, rngs=rngs))

    def __call__(self, x: Any) -> Any:
        """Map images (b, h, w, 3) to (b, width)."""
        x = self.stem(x)
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        for i in range(0, len(self.blocks), 4):
            attend, norm, up, down = self.blocks[i : i + 4]
            x = attend(x)
            x = x + down(nnx.gelu(up(norm(x))))
        return x.mean(1)


IMAGES = (32, 224, 224, 3)
NETWORKS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "VGG16": (lambda: Stack(VGG16), IMAGES),
    "VGG11 with batch norm": (lambda: Stack(VGG11, norm=True), IMAGES),
    "ResNet-50": (lambda: ResNet(nnx.Rngs(0)), IMAGES),
    "ResNet-26": (lambda: ResNet(nnx.Rngs(0), (2, 2, 2, 2)), IMAGES),
    "U-Net": (lambda: u_net, (16, 256, 256, 3)),  # without parameters, as the next one
    "20 convolutions": (lambda: chain(20), IMAGES),
    "separable": (Separable, IMAGES),
    "DenseNet block": (Dense, (32, 128, 128, 3)),
    "perceptron": (Perceptron, (8192, 3072)),
    "vision transformer": (Patches, IMAGES),
    # On a CPU these have formulations of their own, of which the estimate knows nothing.
    "jaxconv.vgg16": (lambda: jc.vgg16(head=None), IMAGES),
    "jaxconv.vgg11 with batch norm": (lambda: jc.vgg11(head=None, batch_norm=True), IMAGES),
}


def programs(name: str) -> tuple[dict[str, Callable[..., Any]], tuple[Any, Any]]:
    """Return the programs of a network, and the types of their arguments.

    Args:
        name: of the network.

    Returns:
        For inference, training and training with rematerialisation a function of the parameters
        and the images. Without parameters the gradient is that of the images.
    """
    make, shape = NETWORKS[name]
    model, parameters = make(), ()
    if isinstance(model, nnx.Module):
        graph, parameters = nnx.split(model)

        def forward(parameters: Any, x: Any) -> Any:
            return nnx.merge(graph, parameters)(x)
    else:

        def forward(parameters: Any, x: Any) -> Any:
            del parameters
            return model(x)

    def loss(fn: Callable[..., Any]) -> Callable[..., Any]:
        return lambda parameters, x: jnp.square(fn(parameters, x)).sum()

    remat = jax.checkpoint(forward, policy=lambda primitive, *_, **__: primitive.name in SAVED)  # type: ignore[arg-type]
    by = 0 if jax.tree.leaves(parameters) else 1
    gradients = {"training": jax.grad(loss(forward), by), "remat": jax.grad(loss(remat), by)}
    types = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), parameters)
    return {"inference": forward} | gradients, (types, jax.ShapeDtypeStruct(shape, jnp.float32))


def allocated(lowered: Any, options: dict[str, Any]) -> int:
    """Return the bytes of temporary buffers and results that XLA allocates.

    Args:
        lowered: the program.
        options: of the compiler.

    Returns:
        Bytes.
    """
    memory = lowered.compile(compiler_options=options).memory_analysis()
    return memory.temp_size_in_bytes + memory.output_size_in_bytes


def main(names: Sequence[str]) -> None:
    """Print the table.

    Args:
        names: of networks; all by default.
    """
    print("| network | program | XLA, MB | estimate, MB | ratio | XLA for memory, MB |")
    print("|---|---|---|---|---|---|")
    for name in names or NETWORKS:
        functions, arguments = programs(name)
        for kind, function in functions.items():
            lowered = jax.jit(function).lower(*arguments)
            found, for_memory = (allocated(lowered, options) for options in ({}, FOR_MEMORY))
            estimate = compiled_peak(jax.make_jaxpr(function)(*arguments).jaxpr, bytes_of)
            numbers = f"{found / 1e6:,.0f} | {estimate / 1e6:,.0f} | {estimate / found:.2f}"
            numbers += f" | {for_memory / 1e6:,.0f}"
            print(f"| {name} | {kind} | {numbers} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
