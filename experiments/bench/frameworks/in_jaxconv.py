"""jaxconv: its layers, compiled by ``jc.compile`` for inference and by ``jc.jit`` for training."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import jaxconv as jc
from experiments.bench.frameworks.in_jax import descend


def inference(task: Any) -> tuple[Callable[[], Any], Callable[[], dict[str, Any]]]:
    """The network on images."""
    parameters, x = task.parameters(), task.array("x")
    run = jc.compile(lambda x: forward(task.layers, parameters, x), x)
    return lambda: np.asarray(run(x)), dict


def training(task: Any) -> tuple[Callable[[], Any], Callable[[], dict[str, Any]]]:
    """Steps of gradient descent."""
    return descend(task, forward, jc.jit)


def forward(layers: list[dict[str, Any]], parameters: dict[str, Any], x: Any) -> Any:
    """Run the layers."""
    for layer in layers:
        learnt = [parameters[f"{layer['name']}.{kind}"] for kind in KINDS if layer["name"]]
        x = STEPS[layer["op"]](x, *learnt)
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
