"""Flax NNX with JAX's default flags: its layers and pools, split from their parameters for jit."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

if TYPE_CHECKING:
    from experiments.bench.worker import Calls, Task

LEARNING_RATE = 0.01


def inference(task: "Task") -> "Calls":
    """Run the network on images.

    Args:
        task: what to compute.

    Returns:
        One call, and its parameters: none.
    """
    graph, state = nnx.split(_filled(task))
    run, x = jax.jit(lambda state, x: nnx.merge(graph, state)(x)), task.array("x")
    return lambda: np.asarray(run(state, x)), dict


def training(task: "Task") -> "Calls":
    """Take steps of gradient descent.

    Args:
        task: what to compute.

    Returns:
        One step, and the parameters after it.
    """
    x, labels = task.array("x"), task.array("labels")
    graph, state = nnx.split(_filled(task))
    current = {"state": state}

    def loss(state: Any, x: Any, labels: Any) -> Any:
        scores = jax.nn.log_softmax(nnx.merge(graph, state)(x))
        return -jnp.take_along_axis(scores, labels[:, None], 1).mean()

    def step(state: Any, x: Any, labels: Any) -> Any:
        value, gradients = jax.value_and_grad(loss)(state, x, labels)
        return jax.tree.map(
            lambda p, gradient: p - LEARNING_RATE * gradient, state, gradients
        ), value

    compiled = jax.jit(step, donate_argnums=0)

    def call() -> Any:
        current["state"], value = compiled(current["state"], x, labels)
        jax.block_until_ready(current["state"])
        return np.asarray(value)

    return call, lambda: _parameters(nnx.merge(graph, current["state"]))


class Network(nnx.Module):
    """The layers in a row; those with parameters are attributes."""

    def __init__(self, layers: list[dict[str, Any]], rngs: nnx.Rngs) -> None:
        self.names = tuple(layer["name"] for layer in layers)
        self.ops = tuple(layer["op"] for layer in layers)
        self.relus = tuple(layer["relu"] for layer in layers)
        for layer in layers:
            if layer["name"]:
                setattr(self, layer["name"], _layer(layer["shape"], rngs))

    def __call__(self, x: Any) -> Any:
        """Run the layers.

        Args:
            x: images, (b, h, w, c).

        Returns:
            The output of the last layer.
        """
        for name, op, relu in zip(self.names, self.ops, self.relus, strict=True):
            x = STEPS[op](x, getattr(self, name, None))
            x = nnx.relu(x) if relu else x
        return x


def _layer(shape: list[int], rngs: nnx.Rngs) -> Any:
    *sides, inputs, outputs = shape
    return (
        nnx.Conv(inputs, outputs, sides, rngs=rngs)
        if sides
        else nnx.Linear(inputs, outputs, rngs=rngs)
    )


def _filled(task: "Task") -> Network:
    network = nnx.eval_shape(lambda: Network(task.layers, nnx.Rngs(0)))
    for name in filter(None, network.names):
        for kind in ("kernel", "bias"):
            getattr(getattr(network, name), kind).set_value(
                jnp.asarray(task.array(f"{name}.{kind}"))
            )
    return network


def _parameters(network: Network) -> dict[str, Any]:
    kinds = [(name, kind) for name in network.names if name for kind in ("kernel", "bias")]
    return {f"{n}.{kind}": np.asarray(getattr(getattr(network, n), kind)[...]) for n, kind in kinds}


STEPS: dict[str, Callable[..., Any]] = {
    "conv": lambda x, layer: layer(x),
    "pool": lambda x, _: nnx.max_pool(x, (2, 2), (2, 2)),
    "mean": lambda x, _: x.mean((1, 2)),
    "flatten": lambda x, _: x.reshape(len(x), -1),
    "dense": lambda x, layer: layer(x),
}
