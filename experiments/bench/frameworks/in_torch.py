"""PyTorch in either memory layout, eager or compiled; float32 throughout."""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from experiments.bench.worker import Calls, Task

LEARNING_RATE = 0.01
EPSILONS = {"batch_norm": 1e-5, "layer_norm": 1e-6}
Layer = dict[str, Any]


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
    network.eval()
    run = torch.compile(network) if compiled else network

    def call() -> Any:
        with torch.inference_mode():
            return _channels_last(run(x)).numpy()

    return call, dict


def training(
    task: "Task",
    layout: str = "contiguous_format",
    compiled: bool = False,
    dtype: str = "float32",
) -> "Calls":
    """Take steps of gradient descent.

    Args:
        task: what to compute.
        layout: "contiguous_format" or "channels_last", of ``torch``.
        compiled: whether to use ``torch.compile``.
        dtype: of the parameters and of the input.

    Returns:
        One step, and the parameters after it.
    """
    torch = _import_torch(task)
    network, x = _network(torch, task, layout), _images(torch, task, layout)
    network, x = network.to(getattr(torch, dtype)), x.to(getattr(torch, dtype))
    labels = torch.from_numpy(task.array("labels")).long()
    optimiser = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE)
    run = torch.compile(network) if compiled else network

    def call() -> Any:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(run(x), labels)
        loss.backward()
        optimiser.step()
        return loss.detach().numpy()

    return call, lambda: _parameters(task, network)


def _import_torch(task: "Task") -> Any:
    torch = importlib.import_module("torch")  # not installed everywhere
    torch.set_num_threads(len(task.cores))
    return torch


def _network(torch: Any, task: "Task", layout: str) -> Any:
    """A module with the layers that have parameters under their names."""
    network, rank = torch.nn.Module(), task.array("x").ndim
    for layer in task.layers:
        if layer["name"]:
            network.add_module(layer["name"], _module(torch, layer, rank - 2))
            _fill(torch, getattr(network, layer["name"]), task, layer)
    modules = [getattr(network, layer["name"], None) for layer in task.layers]
    steps = [_step(torch, *pair) for pair in zip(task.layers, modules, strict=True)]
    last = {i: number for number, layer in enumerate(task.layers) for i in layer["inputs"]}

    def forward(x: Any) -> Any:
        results = {-1: x}
        for number, layer in enumerate(task.layers):
            results[number] = steps[number](*(results[i] for i in layer["inputs"]))
            for i in {*layer["inputs"]}:
                if last[i] == number:
                    del results[i]
        return results[len(task.layers) - 1]

    network.forward = forward
    return network.to(memory_format=_format(torch, layout, rank))


def _format(torch: Any, layout: str, rank: int) -> Any:
    """The memory format: PyTorch has one with channels last for images and for volumes only."""
    if layout == "channels_last" and rank == 5:
        return torch.channels_last_3d
    return getattr(torch, layout if rank == 4 else "contiguous_format")


def _module(torch: Any, layer: Layer, axes: int) -> Any:
    """The module of a layer whose maps have so many axes; its parameters are set afterwards."""
    shapes = layer["parameters"]
    if layer["op"] == "scale":
        module = torch.nn.Module()
        module.register_parameter("scale", torch.nn.Parameter(torch.empty(shapes["scale"])))
        return module
    if layer["op"] == "batch_norm":
        kind = getattr(torch.nn, f"BatchNorm{axes}d")
        return kind(*shapes["scale"], eps=EPSILONS["batch_norm"])
    if layer["op"] == "layer_norm":
        return torch.nn.LayerNorm(shapes["scale"], eps=EPSILONS["layer_norm"])
    make, bias = torch.nn.utils.skip_init, "bias" in shapes
    *window, inputs, outputs = shapes["kernel"]
    if layer["op"] == "dense":
        return make(torch.nn.Linear, inputs, outputs)
    kind = f"{'ConvTranspose' if layer['op'] == 'conv_transpose' else 'Conv'}{axes}d"
    return make(
        getattr(torch.nn, kind),
        inputs * layer["groups"],
        outputs,
        tuple(window),
        stride=tuple(layer["strides"]),
        padding=tuple(layer["pads"]),
        dilation=layer["dilation"],
        groups=layer["groups"],
        bias=bias,
    )


def _step(torch: Any, layer: Layer, module: Any) -> Callable[..., Any]:
    """A function of the results that a layer reads."""
    functions = torch.nn.functional
    steps = {
        "add": lambda a, b: a + b,
        "multiply": lambda a, b: a * b.reshape(*b.shape, *[1] * (a.ndim - b.ndim)),
        "concatenate": lambda *parts: torch.cat(parts, 1),
        "mean": lambda x: x.mean([*range(2, x.ndim)]),
        "flatten": lambda x: _channels_last(x).flatten(1),
        "max_pool": lambda x: _max_pool(torch, layer, x),
        "scale": lambda x: x * module.scale.reshape(-1, *[1] * (x.ndim - 2)),
        "layer_norm": lambda x: module(x.movedim(1, -1)).movedim(-1, 1),
        "activation": lambda x: x,
    }
    step = steps.get(layer["op"], module)
    activations = {
        "relu": functions.relu_,
        "relu6": lambda x: functions.relu6(x, inplace=True),
        "silu": functions.silu,
        "gelu": functions.gelu,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
    }
    if not layer["activation"]:
        return step
    if layer["op"] == "activation":  # not in place: others may read its input
        return functions.relu
    activate = activations[layer["activation"]]
    return lambda *inputs: activate(step(*inputs))


def _max_pool(torch: Any, layer: Layer, x: Any) -> Any:
    pool = getattr(torch.nn.functional, f"max_pool{x.ndim - 2}d")
    return pool(x, layer["window"], layer["strides"], layer["pads"])


NAMES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


def _fill(torch: Any, module: Any, task: "Task", layer: Layer) -> None:
    """Set the parameters of a layer."""
    with torch.no_grad():
        for kind in layer["parameters"]:
            values = torch.from_numpy(_to_torch(layer, kind, task.array(f"{layer['name']}.{kind}")))
            _tensor(module, layer, kind).copy_(values)


def _tensor(module: Any, layer: Layer, kind: str) -> Any:
    return getattr(module, kind if layer["op"] == "scale" else NAMES.get(kind, kind))


def _to_torch(layer: Layer, kind: str, values: np.ndarray) -> np.ndarray:
    """Order the axes of a kernel as PyTorch does, which flips those of transposed convolutions."""
    if kind != "kernel":
        return values
    spatial = range(values.ndim - 2)
    if layer["op"] == "conv_transpose":
        return np.flip(values, tuple(spatial)).transpose(-2, -1, *spatial).copy()
    return values.transpose(-1, -2, *spatial).copy()


def _from_torch(layer: Layer, kind: str, values: np.ndarray) -> np.ndarray:
    """Undo :func:`_to_torch`."""
    if kind != "kernel":
        return values
    spatial = range(2, values.ndim)
    if layer["op"] == "conv_transpose":
        return np.flip(values.transpose(*spatial, 0, 1), tuple(range(values.ndim - 2)))
    return values.transpose(*spatial, 1, 0)


def _images(torch: Any, task: "Task", layout: str) -> Any:
    x = torch.from_numpy(task.array("x"))
    if x.ndim < 3:
        return x
    return x.movedim(-1, 1).contiguous(memory_format=_format(torch, layout, x.ndim))


def _channels_last(x: Any) -> Any:
    return x.movedim(1, -1) if x.ndim > 2 else x


def _parameters(task: "Task", network: Any) -> dict[str, Any]:
    """The parameters that are learnt."""
    return {
        f"{layer['name']}.{kind}": _from_torch(
            layer, kind, _tensor(getattr(network, layer["name"]), layer, kind).detach().numpy()
        )
        for layer in task.layers
        for kind in layer["parameters"]
        if kind not in ("mean", "var")
    }
