"""jaxconv: its layers, compiled by ``jc.compile`` for inference and by ``jc.jit`` for training."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

import jaxconv as jc
from experiments.bench.frameworks.in_jax import descend

if TYPE_CHECKING:
    from experiments.bench.worker import Calls, Task


def inference(task: "Task") -> "Calls":
    """Run the network on images.

    Args:
        task: what to compute.

    Returns:
        One call, and its parameters: none.
    """
    parameters, x = task.parameters(), task.array("x")
    run = jc.compile(lambda x: forward(task.layers, parameters, x), x)
    return lambda: np.asarray(run(x)), dict


def training(task: "Task") -> "Calls":
    """Take steps of gradient descent.

    Args:
        task: what to compute.

    Returns:
        One step, and the parameters after it.
    """
    return descend(task, forward, jc.jit)


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
        arrays = [parameters[f"{layer['name']}.{kind}"] for kind in KINDS if layer["name"]]
        x = STEPS[layer["op"]](x, *arrays)
        x = jax.nn.relu(x) if layer["relu"] else x
    return x


KINDS = ("kernel", "bias")
STEPS: dict[str, Callable[..., Any]] = {
    "conv": jc.conv,
    "pool": jc.max_pool,
    "mean": jc.global_avg_pool,
    "flatten": jc.flatten,
    "dense": jc.dense,
}
