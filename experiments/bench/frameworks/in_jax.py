"""Plain JAX with its default flags: ``lax`` under ``jax.jit``, parameters as arguments."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

ORDER = ("NHWC", "HWIO", "NHWC")
RATE = 0.01


def inference(task: Any) -> tuple[Callable[[], Any], Callable[[], dict[str, Any]]]:
    """The network on images."""
    parameters = jax.device_put(task.parameters())
    run, x = jax.jit(lambda p, x: forward(task.layers, p, x)), task.array("x")
    return lambda: np.asarray(run(parameters, x)), dict


def training(task: Any) -> tuple[Callable[[], Any], Callable[[], dict[str, Any]]]:
    """Steps of gradient descent."""
    return descend(task, forward, jax.jit)


def forward(layers: list[dict[str, Any]], parameters: dict[str, Any], x: Any) -> Any:
    """Run the layers."""
    for layer in layers:
        x = STEPS[layer["op"]](x, layer, parameters)
        x = jax.nn.relu(x) if layer["relu"] else x
    return x


def descend(
    task: Any, forward: Callable[..., Any], jit: Callable[..., Any]
) -> tuple[Callable[[], Any], Callable[[], dict[str, Any]]]:
    """Steps of gradient descent for any way to run the layers and to compile."""
    x, labels = task.array("x"), task.array("labels")
    now = {"parameters": jax.device_put(task.parameters())}

    def loss(parameters: dict[str, Any], x: Any, labels: Any) -> Any:
        scores = jax.nn.log_softmax(forward(task.layers, parameters, x))
        return -jnp.take_along_axis(scores, labels[:, None], 1).mean()

    def step(parameters: dict[str, Any], x: Any, labels: Any) -> Any:
        value, slopes = jax.value_and_grad(loss)(parameters, x, labels)
        return jax.tree.map(lambda p, slope: p - RATE * slope, parameters, slopes), value

    compiled = jit(step, donate_argnums=0)

    def call() -> Any:
        now["parameters"], value = compiled(now["parameters"], x, labels)
        jax.block_until_ready(now["parameters"])
        return np.asarray(value)

    return call, lambda: {name: np.asarray(p) for name, p in now["parameters"].items()}


def _conv(x: Any, layer: dict[str, Any], parameters: dict[str, Any]) -> Any:
    kernel, bias = (parameters[f"{layer['name']}.{kind}"] for kind in ("kernel", "bias"))
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=ORDER) + bias


def _pool(x: Any, *_: Any) -> Any:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def _mean(x: Any, *_: Any) -> Any:
    return x.mean((1, 2))


def _flatten(x: Any, *_: Any) -> Any:
    return x.reshape(len(x), -1)


def _dense(x: Any, layer: dict[str, Any], parameters: dict[str, Any]) -> Any:
    kernel, bias = (parameters[f"{layer['name']}.{kind}"] for kind in ("kernel", "bias"))
    return x @ kernel + bias


STEPS = {"conv": _conv, "pool": _pool, "mean": _mean, "flatten": _flatten, "dense": _dense}
