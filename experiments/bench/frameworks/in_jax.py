"""Plain JAX with its default flags: ``lax`` under ``jax.jit``, parameters as arguments.

It runs chains of layers such as VGG16; Flax runs the other networks.
"""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

if TYPE_CHECKING:
    from experiments.bench.worker import Calls, Task

DIMENSION_NUMBERS = ("NHWC", "HWIO", "NHWC")
LEARNING_RATE = 0.01


def inference(task: "Task") -> "Calls":
    """Run the network on images.

    Args:
        task: what to compute.

    Returns:
        One call, and its parameters: none.
    """
    parameters = jax.device_put(task.parameters())
    run, x = jax.jit(lambda p, x: forward(task.layers, p, x)), task.array("x")
    return lambda: np.asarray(run(parameters, x)), dict


def training(task: "Task") -> "Calls":
    """Take steps of gradient descent.

    Args:
        task: what to compute.

    Returns:
        One step, and the parameters after it.
    """
    x, labels = task.array("x"), task.array("labels")
    current = {"parameters": jax.device_put(task.parameters())}

    def loss(parameters: dict[str, Any], x: Any, labels: Any) -> Any:
        scores = jax.nn.log_softmax(forward(task.layers, parameters, x))
        return -jnp.take_along_axis(scores, labels[:, None], 1).mean()

    def step(parameters: dict[str, Any], x: Any, labels: Any) -> Any:
        value, gradients = jax.value_and_grad(loss)(parameters, x, labels)
        return jax.tree.map(
            lambda p, gradient: p - LEARNING_RATE * gradient, parameters, gradients
        ), value

    compiled = jax.jit(step, donate_argnums=0)

    def call() -> Any:
        current["parameters"], value = compiled(current["parameters"], x, labels)
        jax.block_until_ready(current["parameters"])
        return np.asarray(value)

    return call, lambda: {name: np.asarray(p) for name, p in current["parameters"].items()}


def forward(layers: list[dict[str, Any]], parameters: dict[str, Any], x: Any) -> Any:
    """Run the layers.

    Args:
        layers: the network.
        parameters: kernels and biases by name.
        x: images, (b, h, w, c).

    Returns:
        The output of the last layer.
    """
    for layer in layers:
        x = STEPS[layer["op"]](x, layer, parameters)
        x = jax.nn.relu(x) if layer["activation"] else x
    return x


def _conv(x: Any, layer: dict[str, Any], parameters: dict[str, Any]) -> Any:
    kernel, bias = (parameters[f"{layer['name']}.{kind}"] for kind in ("kernel", "bias"))
    return (
        lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=DIMENSION_NUMBERS)
        + bias
    )


def _pool(x: Any, *_: Any) -> Any:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def _mean(x: Any, *_: Any) -> Any:
    return x.mean((1, 2))


def _flatten(x: Any, *_: Any) -> Any:
    return x.reshape(len(x), -1)


def _dense(x: Any, layer: dict[str, Any], parameters: dict[str, Any]) -> Any:
    kernel, bias = (parameters[f"{layer['name']}.{kind}"] for kind in ("kernel", "bias"))
    return x @ kernel + bias


STEPS = {"conv": _conv, "max_pool": _pool, "mean": _mean, "flatten": _flatten, "dense": _dense}
