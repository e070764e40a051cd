"""The inputs of all backends: the same images, labels and random weights, in files."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.bench.workloads import Layer, Workload

SEED = 0
BIAS_DEVIATION = 0.1


@dataclass(frozen=True)
class Inputs:
    """A workload, and the files with its numbers.

    Attributes:
        workload: the workload.
        folder: the folder with its input.
        weights: the folder with the parameters of its network.
    """

    workload: Workload
    folder: Path
    weights: Path

    def task(self) -> dict[str, object]:
        """The fields of a worker's ``Task`` that describe the workload, for JSON."""
        return {
            "kind": self.workload.kind,
            "layers": [asdict(layer) for layer in self.workload.layers],
            "folder": str(self.folder),
            "weights": str(self.weights),
        }

    def before(self, name: str) -> np.ndarray | float:
        """Read a parameter as it is before the first step.

        Args:
            name: such as "conv1_1.kernel".

        Returns:
            The parameter; 0 if there is no parameter of this name.
        """
        path = self.weights / f"{name}.npy"
        return np.load(path) if path.exists() else 0.0


def prepare(workload: Workload, folder: Path, onnx: bool) -> Inputs:
    """Write the input of a workload, and the weights of its network unless they exist.

    Args:
        workload: what will be computed.
        folder: an existing folder for all inputs.
        onnx: whether a backend needs the network as an ONNX file.

    Returns:
        The workload with its files.
    """
    network = hashlib.sha256(repr(workload.layers).encode()).hexdigest()[:12]
    inputs = Inputs(workload, folder / workload.name, folder / f"weights-{network}")
    inputs.folder.mkdir()
    random = np.random.default_rng(SEED)
    np.save(inputs.folder / "x.npy", random.standard_normal(workload.x, np.float32))
    if workload.kind == "training":
        labels = random.integers(workload.layers[-1].shape[-1], size=workload.x[0])
        np.save(inputs.folder / "labels.npy", labels.astype(np.int32))
    if not inputs.weights.exists():
        inputs.weights.mkdir()
        for name, values in parameters(workload.layers):
            np.save(inputs.weights / f"{name}.npy", values)
    if onnx:
        export_onnx(workload, inputs.weights)
    return inputs


def parameters(layers: Sequence[Layer]) -> Iterator[tuple[str, np.ndarray]]:
    """Draw random parameters, the same in each call.

    Kernels are scaled after He et al. (2015), so that the variance of the maps is kept.

    Args:
        layers: the network.

    Yields:
        Names such as "conv1_1.kernel" with float32 arrays.
    """
    random = np.random.default_rng(SEED + 1)
    for layer in layers:
        if layer.shape:
            deviation = np.float32(np.sqrt(2 / np.prod(layer.shape[:-1])))
            kernel = random.standard_normal(layer.shape, np.float32)
            yield f"{layer.name}.kernel", kernel * deviation
            bias = random.standard_normal(layer.shape[-1:], np.float32)
            yield f"{layer.name}.bias", bias * np.float32(BIAS_DEVIATION)


def export_onnx(workload: Workload, weights: Path) -> None:
    """Write the network as ``network.onnx`` for the workload's input, with its weights beside it.

    Args:
        workload: the workload.
        weights: the folder with the parameters, where the file is written.
    """
    import onnx
    from onnx import TensorProto, helper

    nodes = [node for index, layer in enumerate(workload.layers) for node in _nodes(index, layer)]
    nodes[-1].output[0] = "y"
    shape = (workload.x[0], workload.x[3], *workload.x[1:3]) if len(workload.x) == 4 else workload.x
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "network", [x], [y], [*_tensors(workload, weights)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    place = "network.onnx.data"
    (weights / place).unlink(missing_ok=True)
    onnx.save(model, str(weights / "network.onnx"), save_as_external_data=True, location=place)


def _nodes(index: int, layer: Layer) -> Iterator[Any]:
    """Yield the operations of a layer, from the input or from the previous layer."""
    from onnx import helper

    x, y = f"of{index - 1}" if index else "x", f"of{index}"
    last = f"before{index}" if layer.op == "flatten" or layer.relu else y
    names = [f"{layer.name}.kernel", f"{layer.name}.bias"] if layer.name else []
    name, options = _operation(layer)
    yield helper.make_node(name, [x, *names], [last], **options)
    if layer.op == "flatten":
        yield helper.make_node("Flatten", [last], [y])
    elif layer.relu:
        yield helper.make_node("Relu", [last], [y])


def _operation(layer: Layer) -> tuple[str, dict[str, Any]]:
    """The ONNX operator of a layer, and its attributes; before a flatten, channels go last."""
    if layer.op == "conv":
        pads = [(k - 1) // 2 for k in layer.shape[:2]] + [k // 2 for k in layer.shape[:2]]
        return "Conv", {"pads": pads}
    return {
        "pool": ("MaxPool", {"kernel_shape": (2, 2), "strides": (2, 2)}),
        "flatten": ("Transpose", {"perm": (0, 2, 3, 1)}),
        "dense": ("Gemm", {}),
    }[layer.op]


def _tensors(workload: Workload, weights: Path) -> Iterator[Any]:
    """The parameters in the order of ONNX: OIHW for the kernels of convolutions."""
    from onnx import numpy_helper

    names = [layer.name for layer in workload.layers if layer.name]
    for name in (f"{n}.{kind}" for n in names for kind in ("kernel", "bias")):
        values = np.load(weights / f"{name}.npy")
        ordered = values.transpose(3, 2, 0, 1) if values.ndim == 4 else values
        yield numpy_helper.from_array(np.ascontiguousarray(ordered), name)
