"""The inputs of all backends: the same images, labels and random weights, in files."""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.bench.workloads import Layer, Workload

SEED = 0
BIAS = 0.1  # standard deviation


@dataclass(frozen=True)
class WorkloadInputs:
    """A workload and the files with its inputs.

    Attributes:
        work: the workload.
        folder: folder with its input.
        weights: folder with the parameters of its network.
    """

    work: Workload
    folder: Path
    weights: Path

    def task(self) -> dict[str, Any]:
        """Return what a worker needs to know."""
        return {
            "kind": self.work.kind,
            "layers": [asdict(layer) for layer in self.work.layers],
            "folder": str(self.folder),
            "weights": str(self.weights),
        }

    def before(self, name: str) -> np.ndarray | float:
        """Return a parameter before the first step; 0 for other names."""
        path = self.weights / f"{name}.npy"
        return np.load(path) if path.exists() else 0.0


def prepare(work: Workload, home: Path, onnx: bool) -> WorkloadInputs:
    """Write the input of a workload, and the weights of its network unless they exist.

    Args:
        work: the workload.
        home: folder for all files.
        onnx: whether a backend needs the network as an ONNX file.

    Returns:
        The workload and its files.
    """
    network = hashlib.sha256(repr(work.layers).encode()).hexdigest()[:12]
    made = WorkloadInputs(work, home / work.name, home / f"weights-{network}")
    made.folder.mkdir()
    random = np.random.default_rng(SEED)
    np.save(made.folder / "x.npy", random.standard_normal(work.x, np.float32))
    if work.kind == "training":
        labels = random.integers(work.layers[-1].shape[-1], size=work.x[0])
        np.save(made.folder / "labels.npy", labels.astype(np.int32))
    if not made.weights.exists():
        made.weights.mkdir()
        for name, values in parameters(work.layers):
            np.save(made.weights / f"{name}.npy", values)
    if onnx:
        export(work, made.weights)
    return made


def parameters(layers: tuple[Layer, ...]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield random parameters. Kernels after He et al. (2015) keep the scale of activations."""
    random = np.random.default_rng(SEED + 1)
    for layer in layers:
        if layer.shape:
            deviation = np.float32(np.sqrt(2 / np.prod(layer.shape[:-1])))
            kernel = random.standard_normal(layer.shape, np.float32)
            yield f"{layer.name}.kernel", kernel * deviation
            bias = random.standard_normal(layer.shape[-1:], np.float32)
            yield f"{layer.name}.bias", bias * np.float32(BIAS)


def export(work: Workload, weights: Path) -> None:
    """Write the network as ``network.onnx`` for the workload's input, next to its weights."""
    import onnx
    from onnx import TensorProto, helper

    nodes = [node for index, layer in enumerate(work.layers) for node in _nodes(index, layer)]
    nodes[-1].output[0] = "y"
    shape = (work.x[0], work.x[3], *work.x[1:3]) if len(work.x) == 4 else work.x
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "network", [x], [y], [*_tensors(work, weights)])
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
    """Return ONNX's name of a layer; a flatten first moves the channels to the end."""
    if layer.op == "conv":
        pads = [(k - 1) // 2 for k in layer.shape[:2]] + [k // 2 for k in layer.shape[:2]]
        return "Conv", {"pads": pads}
    return {
        "pool": ("MaxPool", {"kernel_shape": (2, 2), "strides": (2, 2)}),
        "flatten": ("Transpose", {"perm": (0, 2, 3, 1)}),
        "dense": ("Gemm", {}),
    }[layer.op]


def _tensors(work: Workload, weights: Path) -> Iterator[Any]:
    """Yield the parameters in ONNX's layout, which has the filters of a kernel first."""
    from onnx import numpy_helper

    names = [layer.name for layer in work.layers if layer.name]
    for name in (f"{n}.{kind}" for n in names for kind in ("kernel", "bias")):
        values = np.load(weights / f"{name}.npy")
        turned = values.transpose(3, 2, 0, 1) if values.ndim == 4 else values
        yield numpy_helper.from_array(np.ascontiguousarray(turned), name)
