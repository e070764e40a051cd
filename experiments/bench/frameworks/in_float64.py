"""The reference: float64, convolutions as sums over the elements of the window.

It shares no code with the other backends. For inference it computes the first and the last image
only; a training step needs all images.
"""

import math
from collections.abc import Callable
from itertools import product
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from experiments.bench.worker import Calls, Task

LEARNING_RATE = 0.01
Layer = dict[str, Any]


def inference(task: "Task") -> "Calls":
    """Run the network on the first and on the last image.

    Args:
        task: what to compute.

    Returns:
        One call, and its parameters: none.
    """
    parameters, x = _in_float64(task)
    run = jax.jit(lambda parameters, x: _forward(task.layers, parameters, x[None])[0])
    return lambda: np.stack([run(parameters, x[0]), run(parameters, x[-1])]), dict


def training(task: "Task") -> "Calls":
    """Take one step of gradient descent with the mean of the gradients of all images.

    Args:
        task: what to compute.

    Returns:
        The step, and the parameters after it.
    """
    parameters, x = _in_float64(task)
    labels = task.array("labels")
    learnt = {n: p for n, p in parameters.items() if n.split(".")[1] not in ("mean", "var")}

    def loss(learnt: dict[str, Any], x: Any, labels: Any) -> Any:
        scores = _forward(task.layers, learnt, x)
        chosen = jnp.take_along_axis(scores, labels[..., None], -1)[..., 0]
        return (jax.nn.logsumexp(scores, -1) - chosen).mean()

    # One image at a time, unless batch normalisation combines them.
    together = any(layer["op"] == "batch_norm" for layer in task.layers)
    parts = 1 if together else len(x)
    gradients = jax.jit(jax.value_and_grad(loss))
    pairs = zip(np.split(x, parts), np.split(labels, parts), strict=True)
    total, *others = (gradients(learnt, *pair) for pair in pairs)
    for other in others:
        total = jax.tree.map(jnp.add, total, other)
    value, gradient = jax.tree.map(lambda s: np.asarray(s) / parts, total)
    after = {name: np.asarray(p) - LEARNING_RATE * gradient[name] for name, p in learnt.items()}
    return lambda: value, lambda: after


def _in_float64(task: "Task") -> tuple[dict[str, Any], Any]:
    jax.config.update("jax_enable_x64", True)
    parameters = {name: jnp.asarray(p, jnp.float64) for name, p in task.parameters().items()}
    return parameters, np.asarray(task.array("x"), np.float64)


def _forward(layers: list[Layer], parameters: dict[str, Any], x: Any) -> Any:
    """Run a network; without statistics, batch normalisation uses those of the batch."""
    results = {-1: x}
    for number, layer in enumerate(layers):
        names = ((kind, f"{layer['name']}.{kind}") for kind in layer["parameters"])
        own = {kind: parameters[name] for kind, name in names if name in parameters}
        y = STEPS[layer["op"]](layer, own, *(results[i] for i in layer["inputs"]))
        activation = layer["activation"]
        results[number] = ACTIVATIONS[activation](y) if activation else y
    return results[len(layers) - 1]


def _pad(layer: Layer, x: Any, value: float) -> Any:
    pads = [(0, 0), *((p, p) for p in layer["pads"]), (0, 0)]
    return jnp.pad(x, pads, constant_values=value)


def _elements(layer: Layer, x: Any) -> Any:
    """The pixels that each element of the window sees."""
    window, strides, dilation = layer["window"], layer["strides"], layer["dilation"]
    reach = [dilation * (k - 1) for k in window]
    for at in product(*map(range, window)):
        places = zip(at, strides, reach, x.shape[1:-1], strict=True)
        yield x[:, *(slice(i * dilation, n - r + i * dilation, s) for i, s, r, n in places)]


def _conv(layer: Layer, own: dict[str, Any], x: Any) -> Any:
    kernel, groups = own["kernel"], layer["groups"]
    *_, inputs, filters = kernel.shape
    elements = _elements(layer, _pad(layer, x, 0))
    kernels = kernel.reshape(-1, inputs, filters)
    if groups == 1:
        y = sum(part @ k for part, k in zip(elements, kernels, strict=True))
    elif inputs == 1:
        y = sum(part * k[0] for part, k in zip(elements, kernels, strict=True))
    else:
        kernels = kernels.reshape(-1, inputs, groups, filters // groups)
        parts = (part.reshape(*part.shape[:-1], groups, inputs) for part in elements)
        pairs = zip(parts, kernels, strict=True)
        grouped: Any = sum(jnp.einsum("...gc,cgk->...gk", part, k) for part, k in pairs)
        y = grouped.reshape(*grouped.shape[:-2], filters)
    return y + own.get("bias", 0)


def _conv_transpose(layer: Layer, own: dict[str, Any], x: Any) -> Any:
    """Add the products of each pixel and the kernel, as Flax has it: it is not flipped."""
    kernel, axes = own["kernel"], range(len(layer["window"]))
    kernel = jnp.flip(kernel, axes)
    sizes = [
        (n - 1) * s + k
        for n, s, k in zip(x.shape[1:-1], layer["strides"], layer["window"], strict=True)
    ]
    y = jnp.zeros((x.shape[0], *sizes, kernel.shape[-1]))
    for at in product(*map(range, layer["window"])):
        places = zip(at, sizes, layer["window"], layer["strides"], strict=True)
        spots = tuple(slice(i, n - k + i + 1, s) for i, n, k, s in places)
        y = y.at[:, *spots].add(x @ kernel[at])
    inside = (slice(p, n - p) for p, n in zip(layer["pads"], sizes, strict=True))
    return y[:, *inside] + own["bias"]


def _max_pool(layer: Layer, own: dict[str, Any], x: Any) -> Any:
    del own
    y, *others = _elements(layer, _pad(layer, x, -math.inf))
    for other in others:
        y = jnp.where(other > y, other, y)
    return y


def _batch_norm(layer: Layer, own: dict[str, Any], x: Any) -> Any:
    del layer
    axes = range(x.ndim - 1)
    mean, var = (own.get("mean", x.mean(axes)), own.get("var", x.var(axes)))
    return (x - mean) / jnp.sqrt(var + 1e-5) * own["scale"] + own["bias"]


def _layer_norm(layer: Layer, own: dict[str, Any], x: Any) -> Any:
    del layer
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / jnp.sqrt(var + 1e-6) * own["scale"] + own["bias"]


STEPS: dict[str, Callable[..., Any]] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "dense": lambda _, own, x: x @ own["kernel"] + own["bias"],
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "scale": lambda _, own, x: x * own["scale"],
    "max_pool": _max_pool,
    "mean": lambda _, __, x: x.mean(range(1, x.ndim - 1)),
    "flatten": lambda _, __, x: x.reshape(len(x), -1),
    "add": lambda _, __, a, b: a + b,
    "multiply": lambda _, __, a, b: a * b.reshape(len(b), *[1] * (a.ndim - b.ndim), *b.shape[1:]),
    "concatenate": lambda _, __, *parts: jnp.concatenate(parts, -1),
    "activation": lambda _, __, x: x,
}
ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "relu": lambda x: jnp.maximum(x, 0),
    "relu6": lambda x: jnp.clip(x, 0, 6),
    "silu": lambda x: x / (1 + jnp.exp(-x)),
    "gelu": lambda x: x * (1 + jax.lax.erf(x / math.sqrt(2))) / 2,
    "sigmoid": lambda x: 1 / (1 + jnp.exp(-x)),
    "tanh": jnp.tanh,
}
