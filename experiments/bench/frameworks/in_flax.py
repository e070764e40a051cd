"""Flax NNX with JAX's default flags: its layers and pools, split from their parameters for jit."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

if TYPE_CHECKING:
    from experiments.bench.worker import Calls, Task

LEARNING_RATE = 0.01
Layer = dict[str, Any]


@dataclass(frozen=True)
class Library:
    """What the layers of Flax are computed with.

    Attributes:
        convolve: takes the arguments of ``lax.conv_general_dilated``.
        transposed: a class with the arguments of ``nnx.ConvTranspose``.
        max_pool: takes maps, a window, strides and padding.
        jit: compiles a training step.
    """

    convolve: Callable[..., Any] = lax.conv_general_dilated
    transposed: type[nnx.ConvTranspose] = nnx.ConvTranspose
    max_pool: Callable[..., Any] = nnx.max_pool
    jit: Callable[..., Any] = jax.jit


def inference(task: "Task") -> "Calls":
    """Run the network on images.

    Args:
        task: what to compute.

    Returns:
        One call, and its parameters: none.
    """
    graph, state = nnx.split(network(task, Library(), is_training=False))
    run, x = jax.jit(lambda state, x: nnx.merge(graph, state)(x)), task.array("x")
    return lambda: np.asarray(run(state, x)), dict


def training(task: "Task") -> "Calls":
    """Take steps of gradient descent.

    Args:
        task: what to compute.

    Returns:
        One step, and the parameters after it.
    """
    return descend(task, Library())


def descend(task: "Task", library: Library) -> "Calls":
    """Take steps of gradient descent; statistics of batch normalisation change, too.

    Args:
        task: what to compute.
        library: computes the layers, and compiles the step.

    Returns:
        One step, and the parameters after it.
    """
    x, labels = task.array("x"), task.array("labels")
    graph, parameters, others = nnx.split(network(task, library, is_training=True), nnx.Param, ...)
    current = {"parameters": parameters, "others": others}

    def loss(parameters: Any, others: Any, x: Any, labels: Any) -> Any:
        model = nnx.merge(graph, parameters, others, copy=True)  # its statistics change
        scores = jax.nn.log_softmax(model(x))
        value = -jnp.take_along_axis(scores, labels[..., None], -1).mean()
        return value, nnx.split(model, nnx.Param, ...)[2]

    def step(current: Any, x: Any, labels: Any) -> Any:
        (value, others), gradients = jax.value_and_grad(loss, has_aux=True)(
            current["parameters"], current["others"], x, labels
        )
        parameters = jax.tree.map(
            lambda p, gradient: p - LEARNING_RATE * gradient, current["parameters"], gradients
        )
        return {"parameters": parameters, "others": others}, value

    compiled = library.jit(step, donate_argnums=0)

    def call() -> Any:
        nonlocal current
        current, value = compiled(current, x, labels)
        jax.block_until_ready(current)
        return np.asarray(value)

    return call, lambda: _parameters(task, nnx.merge(graph, *current.values()))


class Network(nnx.Module):
    """The layers of a table; those with parameters are attributes.

    Args:
        layers: of the table.
        library: computes them.
        is_training: batch normalisation uses the statistics of the batch.
    """

    def __init__(self, layers: list[Layer], library: Library, is_training: bool) -> None:
        self.steps = nnx.static(tuple(_step(layer, library) for layer in layers))
        self.names = tuple(layer["name"] for layer in layers)
        self.inputs = tuple(tuple(layer["inputs"]) for layer in layers)
        for layer in layers:
            if layer["name"]:
                setattr(self, layer["name"], _module(layer, library, is_training))

    def __call__(self, x: Any) -> Any:
        """Run the layers.

        Args:
            x: images, (b, *size, c).

        Returns:
            The output of the last layer.
        """
        results = {-1: x}
        for number, (step, name, read) in enumerate(
            zip(self.steps, self.names, self.inputs, strict=True)
        ):
            module = [getattr(self, name)] if name else []
            results[number] = step(*module, *(results[i] for i in read))
        return results[len(self.steps) - 1]


class Scale(nnx.Module):
    """A factor for each channel."""

    def __init__(self, channels: int) -> None:
        self.scale = nnx.Param(jnp.ones(channels))

    def __call__(self, x: Any) -> Any:
        """Multiply maps.

        Args:
            x: (b, *size, c).
        """
        return x * self.scale[...]


def _module(layer: Layer, library: Library, is_training: bool) -> nnx.Module:
    """The module of a layer with parameters, which are set afterwards."""
    rngs, shapes = nnx.Rngs(0), layer["parameters"]
    if "scale" in shapes:
        channels = shapes["scale"][0]
        options = {"use_running_average": not is_training, "momentum": 0.9}
        return {
            "scale": lambda: Scale(channels),
            "layer_norm": lambda: nnx.LayerNorm(channels, rngs=rngs),
            "batch_norm": lambda: nnx.BatchNorm(channels, rngs=rngs, **options),
        }[layer["op"]]()
    *window, inputs, outputs = shapes["kernel"]
    if layer["op"] == "dense":
        return nnx.Linear(inputs, outputs, rngs=rngs)
    dilated = [(k - 1) * layer["dilation"] for k in window]
    if layer["op"] == "conv_transpose":  # the padding of an ordinary convolution
        pads: Any = [(n - p, n - p) for n, p in zip(dilated, layer["pads"], strict=True)]
        return library.transposed(
            inputs, outputs, window, layer["strides"], padding=pads, rngs=rngs
        )
    pads = [(p, p) for p in layer["pads"]]
    return nnx.Conv(
        inputs * layer["groups"],
        outputs,
        window,
        layer["strides"],
        padding=pads,
        kernel_dilation=layer["dilation"],
        feature_group_count=layer["groups"],
        use_bias="bias" in shapes,
        conv_general_dilated=library.convolve,
        rngs=rngs,
    )


def _step(layer: Layer, library: Library) -> Callable[..., Any]:
    """A function of the module, if there is one, and of the results that a layer reads."""
    steps: dict[str, Callable[..., Any]] = {
        "add": jnp.add,
        "multiply": _multiply,
        "concatenate": lambda *parts: jnp.concatenate(parts, -1),
        "mean": lambda x: x.mean(range(1, x.ndim - 1)),
        "flatten": lambda x: x.reshape(len(x), -1),
        "max_pool": partial(
            library.max_pool,
            window_shape=tuple(layer["window"]),
            strides=tuple(layer["strides"]),
            padding=tuple((p, p) for p in layer["pads"]),
        ),
        "activation": lambda x: x,
    }
    step = steps.get(layer["op"], lambda module, x: module(x))
    if not layer["activation"]:
        return step
    activate = ACTIVATIONS[layer["activation"]]
    return lambda *inputs: activate(step(*inputs))


def _multiply(x: Any, factor: Any) -> Any:
    return x * jnp.expand_dims(factor, [*range(1, 1 + x.ndim - factor.ndim)])


ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "relu": nnx.relu,
    "relu6": nnx.relu6,
    "silu": nnx.silu,
    "gelu": partial(nnx.gelu, approximate=False),
    "sigmoid": nnx.sigmoid,
    "tanh": nnx.tanh,
}


def network(task: "Task", library: Library, *, is_training: bool) -> Network:
    """Build a network with its parameters.

    Args:
        task: has its layers and their numbers.
        library: computes the layers.
        is_training: batch normalisation uses the statistics of the batch.
    """
    model = nnx.eval_shape(lambda: Network(task.layers, library, is_training))
    for layer in task.layers:
        for kind in layer["parameters"]:
            array = jnp.asarray(task.array(f"{layer['name']}.{kind}"))
            getattr(getattr(model, layer["name"]), kind).set_value(array)
    return model


def _parameters(task: "Task", model: Network) -> dict[str, Any]:
    """The parameters that are learnt."""
    return {
        f"{layer['name']}.{kind}": np.asarray(getattr(getattr(model, layer["name"]), kind)[...])
        for layer in task.layers
        for kind in layer["parameters"]
        if kind not in ("mean", "var")
    }
