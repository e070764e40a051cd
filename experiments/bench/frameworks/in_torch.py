"""PyTorch in either memory layout, eager or compiled; float32 throughout."""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.bench.worker import Calls, Task

LEARNING_RATE = 0.01


def inference(task: "Task", layout: str = "contiguous_format", compiled: bool = False) -> "Calls":
    """Run the network on images.

    Args:
        task: what to compute.
        layout: "contiguous_format" or "channels_last", of ``torch``.
        compiled: whether to use ``torch.compile``.

    Returns:
        One call, and its parameters: none.
    """
    torch = _import_torch(task)
    network, x = _network(torch, task, layout), _images(torch, task, layout)
    run = torch.compile(network) if compiled else network

    def call() -> Any:
        with torch.inference_mode():
            return _channels_last(run(x)).numpy()

    return call, dict


def training(task: "Task", layout: str = "contiguous_format", compiled: bool = False) -> "Calls":
    """Take steps of gradient descent.

    Args:
        task: what to compute.
        layout: "contiguous_format" or "channels_last", of ``torch``.
        compiled: whether to use ``torch.compile``.

    Returns:
        One step, and the parameters after it.
    """
    torch = _import_torch(task)
    network, x = _network(torch, task, layout), _images(torch, task, layout)
    labels = torch.from_numpy(task.array("labels")).long()
    optimiser = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE)
    run = torch.compile(network) if compiled else network

    def call() -> Any:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(run(x), labels)
        loss.backward()
        optimiser.step()
        return loss.detach().numpy()

    return call, lambda: _parameters(network)


def _import_torch(task: "Task") -> Any:
    torch = importlib.import_module("torch")  # not installed everywhere
    torch.set_num_threads(len(task.cores))
    return torch


def _network(torch: Any, task: "Task", layout: str) -> Any:
    """The layers in a row, those with parameters under their names."""
    network = torch.nn.Sequential()
    for index, layer in enumerate(task.layers):
        network.add_module(layer["name"] or f"{layer['op']}{index}", _layer(torch, layer))
        if layer["name"]:
            _fill(torch, getattr(network, layer["name"]), task, layer["name"])
        if layer["relu"]:
            network.add_module(f"relu{index}", torch.nn.ReLU(inplace=True))
    return network.to(memory_format=getattr(torch, layout))


def _layer(torch: Any, layer: dict[str, Any]) -> Any:
    if layer["op"] == "pool":
        return torch.nn.MaxPool2d(2)
    if layer["op"] in ("mean", "flatten"):
        return _module(torch, _mean if layer["op"] == "mean" else _flatten)
    *sides, inputs, outputs = layer["shape"]
    make = torch.nn.utils.skip_init  # _fill sets the parameters
    if sides:
        return make(torch.nn.Conv2d, inputs, outputs, tuple(sides), padding="same")
    return make(torch.nn.Linear, inputs, outputs)


def _module(torch: Any, function: Callable[[Any], Any]) -> Any:
    """A function as a layer without parameters."""
    module = torch.nn.Module()
    module.forward = function
    return module


def _mean(x: Any) -> Any:
    return x.mean((2, 3))


def _flatten(x: Any) -> Any:
    """Flatten in the order of the weights: rows first, channels last."""
    return _channels_last(x).flatten(1)


def _fill(torch: Any, layer: Any, task: "Task", name: str) -> None:
    kernel, bias = (torch.from_numpy(task.array(f"{name}.{kind}")) for kind in ("kernel", "bias"))
    order = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
    with torch.no_grad():
        layer.weight.copy_(kernel.permute(order))
        layer.bias.copy_(bias)


def _images(torch: Any, task: "Task", layout: str) -> Any:
    x = torch.from_numpy(task.array("x"))
    if x.ndim < 4:
        return x
    return x.permute(0, 3, 1, 2).contiguous(memory_format=getattr(torch, layout))


def _channels_last(x: Any) -> Any:
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def _parameters(network: Any) -> dict[str, Any]:
    parameters = {}
    for name, layer in network.named_children():
        if hasattr(layer, "weight"):
            order = (2, 3, 1, 0) if layer.weight.ndim == 4 else (1, 0)
            parameters[f"{name}.kernel"] = layer.weight.detach().permute(order).numpy()
            parameters[f"{name}.bias"] = layer.bias.detach().numpy()
    return parameters
