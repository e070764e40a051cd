"""Networks as ONNX graphs, for the backends that read a file. Channels come first."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Task = dict[str, Any]  # a layer, as a worker reads it
OPSET, IR_VERSION = 20, 9
EPSILONS = {"batch_norm": 1e-5, "layer_norm": 1e-6}
OPERATORS = {
    "relu": "Relu",
    "relu6": "Clip",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "gelu": "Gelu",
    "add": "Add",
    "multiply": "Mul",
    "scale": "Mul",
    "concatenate": "Concat",
    "dense": "Gemm",
}


def export_onnx(layers: list[Task], x: tuple[int, ...], weights: Path) -> None:
    """Write a network as ``network.onnx``, with its weights beside it.

    Args:
        layers: the network.
        x: the shape of its input, (b, *size, c).
        weights: the folder with the parameters, where the file is written.
    """
    import onnx
    from onnx import TensorProto, helper

    graph = _Graph(x, weights)
    for number, layer in enumerate(layers):
        graph.add_layer(number, layer)
    graph.nodes[-1].output[0] = "y"
    b, *size, c = x
    images = helper.make_tensor_value_info("x", TensorProto.FLOAT, (b, c, *size))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    whole = helper.make_graph(graph.nodes, "network", [images], [y], graph.tensors)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(whole, opset_imports=[opset], ir_version=IR_VERSION)
    place = "network.onnx.data"
    (weights / place).unlink(missing_ok=True)
    onnx.save(model, str(weights / "network.onnx"), save_as_external_data=True, location=place)


class _Graph:
    """The nodes and the constants of a graph.

    Attributes:
        nodes: in order.
        tensors: the parameters, and other constants.
    """

    def __init__(self, x: tuple[int, ...], weights: Path) -> None:
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []
        self.weights = weights
        self.ranks = {-1: len(x)}  # of the results of layers

    def add_layer(self, number: int, layer: Task) -> None:
        """Add a layer and its activation; the result of layer 3 is called "of3"."""
        is_flat = layer["op"] in ("mean", "flatten")
        rank = self.ranks[number] = 2 if is_flat else self.ranks[layer["inputs"][0]]
        result = f"of{number}"
        before = f"{result}.before" if layer["activation"] else result
        names = ["x" if i < 0 else f"of{i}" for i in layer["inputs"]]
        parameters = [self.constant(*pair) for pair in self.parameters(layer, rank)]
        make = getattr(self, layer["op"], self.plain)
        make(layer, [*names, *parameters], before, rank)
        if layer["activation"] == "silu":
            self.node("Sigmoid", [before], f"{result}.gate")
            self.node("Mul", [before, f"{result}.gate"], result)
        elif layer["activation"] == "relu6":
            limits = [self.constant(f"{result}.{n}", np.float32(n)) for n in (0, 6)]
            self.node("Clip", [before, *limits], result)
        elif layer["activation"]:
            self.node(OPERATORS[layer["activation"]], [before], result)

    def parameters(self, layer: Task, rank: int) -> Iterator[tuple[str, np.ndarray]]:
        """The parameters in the order of ONNX."""
        for kind in layer["parameters"]:
            name = f"{layer['name']}.{kind}"
            values = np.load(self.weights / f"{name}.npy")
            spatial = range(values.ndim - 2)
            if layer["op"] == "conv_transpose" and kind == "kernel":  # ONNX flips it
                values = np.flip(values, tuple(spatial)).transpose(-2, -1, *spatial)
            elif layer["op"] == "conv" and kind == "kernel":
                values = values.transpose(-1, -2, *spatial)
            elif layer["op"] == "scale":
                values = values.reshape(-1, *[1] * (rank - 2))
            yield name, values

    def constant(self, name: str, values: Any) -> str:
        """Add a constant, and return its name."""
        from onnx import numpy_helper

        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, **options: Any) -> None:
        """Add a node."""
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, [output], **options))

    def plain(self, layer: Task, names: list[str], result: str, rank: int) -> None:
        """An operator that needs no attributes."""
        del rank
        self.node(OPERATORS[layer["op"]], names, result)

    def conv(self, layer: Task, names: list[str], result: str, rank: int) -> None:
        """A convolution, or a pool."""
        options = {"dilations": [layer["dilation"]] * (rank - 2), "group": layer["groups"]}
        self.node("Conv", names, result, **options, **_windows(layer))

    def conv_transpose(self, layer: Task, names: list[str], result: str, rank: int) -> None:
        """A transposed convolution."""
        del rank
        self.node("ConvTranspose", names, result, **_windows(layer))

    def max_pool(self, layer: Task, names: list[str], result: str, rank: int) -> None:
        """A max pool."""
        del rank
        self.node("MaxPool", names, result, **_windows(layer))

    def batch_norm(self, layer: Task, names: list[str], result: str, rank: int) -> None:
        """A normalisation with the statistics among the parameters."""
        del rank
        self.node("BatchNormalization", names, result, epsilon=EPSILONS[layer["op"]])

    def layer_norm(self, layer: Task, names: list[str], result: str, rank: int) -> None:
        """A normalisation over channels, which are moved to the last axis and back."""
        x, *parameters = names
        last = [0, *range(2, rank), 1]
        self.node("Transpose", [x], f"{result}.last", perm=last)
        epsilon = EPSILONS[layer["op"]]
        inputs = [f"{result}.last", *parameters]
        self.node("LayerNormalization", inputs, f"{result}.normal", axis=-1, epsilon=epsilon)
        first = np.argsort(last).tolist()
        self.node("Transpose", [f"{result}.normal"], result, perm=first)

    def mean(self, layer: Task, names: list[str], result: str, rank: int) -> None:
        """The mean of each map, without the axes of the map."""
        del layer, rank
        self.node("GlobalAveragePool", names, f"{result}.maps")
        self.node("Flatten", [f"{result}.maps"], result)

    def flatten(self, layer: Task, names: list[str], result: str, rank: int) -> None:
        """All numbers of an image; channels are last, as in the weights of the next layer."""
        rank = self.ranks[layer["inputs"][0]]
        self.node("Transpose", names, f"{result}.last", perm=[0, *range(2, rank), 1])
        self.node("Flatten", [f"{result}.last"], result)

    def multiply(self, layer: Task, names: list[str], result: str, rank: int) -> None:
        """A product of maps with maps, or with a number for each map."""
        x, factor = names
        if self.ranks[layer["inputs"][1]] < rank:
            axes = self.constant(f"{result}.axes", np.arange(2, rank))
            self.node("Unsqueeze", [factor, axes], f"{result}.factor")
            factor = f"{result}.factor"
        self.node("Mul", [x, factor], result)

    def activation(self, layer: Task, names: list[str], result: str, rank: int) -> None:
        """Nothing but the activation, which follows."""
        del layer, rank
        self.node("Identity", names, result)

    def concatenate(self, layer: Task, names: list[str], result: str, rank: int) -> None:
        """Channels side by side."""
        del layer, rank
        self.node("Concat", names, result, axis=1)


def _windows(layer: Task) -> dict[str, Any]:
    """The attributes of windows."""
    return {
        "kernel_shape": layer["window"],
        "strides": layer["strides"],
        "pads": [*layer["pads"]] * 2,
    }
