"""The reference: float64, convolutions as matrix products, one image at a time.

It shares no code with the backends. Inference computes only the outputs of the first and the last
image; a training step needs all images.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

RATE = 0.01


def inference(task: Any) -> tuple[Callable[[], Any], Callable[[], dict[str, Any]]]:
    """Run the network on the first and on the last image."""
    parameters, x = _wide(task)
    run = jax.jit(lambda parameters, x: _forward(task.layers, parameters, x[None])[0])
    return lambda: np.stack([run(parameters, x[0]), run(parameters, x[-1])]), dict


def training(task: Any) -> tuple[Callable[[], Any], Callable[[], dict[str, Any]]]:
    """Take one step of gradient descent with the mean gradient of the images."""
    parameters, x = _wide(task)
    labels = task.array("labels")

    def loss(parameters: dict[str, Any], x: Any, label: Any) -> Any:
        scores = _forward(task.layers, parameters, x[None])[0]
        return jax.nn.logsumexp(scores) - scores[label]

    gradients = jax.jit(jax.value_and_grad(loss))
    total, *others = (gradients(parameters, *pair) for pair in zip(x, labels, strict=True))
    for other in others:
        total = jax.tree.map(jnp.add, total, other)
    value, gradient = jax.tree.map(lambda s: np.asarray(s) / len(x), total)
    after = {name: np.asarray(p) - RATE * gradient[name] for name, p in parameters.items()}
    return lambda: value, lambda: after


def _wide(task: Any) -> tuple[dict[str, Any], Any]:
    jax.config.update("jax_enable_x64", True)
    wide = {name: jnp.asarray(p, jnp.float64) for name, p in task.parameters().items()}
    return wide, jnp.asarray(task.array("x"), jnp.float64)


def _forward(layers: list[dict[str, Any]], parameters: dict[str, Any], x: Any) -> Any:
    for layer in layers:
        learnt = [parameters[f"{layer['name']}.{k}"] for k in ("kernel", "bias") if layer["name"]]
        x = STEPS[layer["op"]](x, *learnt)
        x = jnp.maximum(x, 0) if layer["relu"] else x
    return x


def _conv(x: Any, kernel: Any, bias: Any) -> Any:
    (rows, columns), (kh, kw) = x.shape[1:3], kernel.shape[:2]
    x = jnp.pad(x, [(0, 0), ((kh - 1) // 2, kh // 2), ((kw - 1) // 2, kw // 2), (0, 0)])
    taps = [(i, j) for i in range(kh) for j in range(kw)]
    return sum(x[:, i : i + rows, j : j + columns] @ kernel[i, j] for i, j in taps) + bias


def _pool(x: Any) -> Any:
    b, h, w, c = x.shape
    even = x[:, : h // 2 * 2, : w // 2 * 2]
    return even.reshape(b, h // 2, 2, w // 2, 2, c).max((2, 4))


STEPS: dict[str, Callable[..., Any]] = {
    "conv": _conv,
    "pool": _pool,
    "mean": lambda x: x.mean((1, 2)),
    "flatten": lambda x: x.reshape(len(x), -1),
    "dense": lambda x, kernel, bias: x @ kernel + bias,
}
