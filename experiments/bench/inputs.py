"""The inputs of all backends: the same images, labels and random weights, in files."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.bench.onnx_graph import export_onnx
from experiments.bench.tables import Layer, Workload, result_shapes, sources

SEED = 0
DEVIATION = 0.1  # of biases, and of the factors and statistics of normalisations


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
            "layers": [*_tasks(self.workload.layers)],
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


def _tasks(layers: Sequence[Layer]) -> Iterator[dict[str, Any]]:
    """The layers as a worker reads them, with everything that follows from their fields."""
    for layer, read in zip(layers, sources(layers), strict=True):
        yield {
            "op": layer.op,
            "name": layer.name,
            "inputs": read,
            "parameters": layer.parameters,
            "activation": layer.activation,
            "window": layer.window,
            "strides": layer.strides,
            "pads": layer.pads,
            "dilation": layer.dilation,
            "groups": layer.groups,
        }


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
        *shape, classes = result_shapes(workload)[len(workload.layers) - 1]
        labels = random.integers(classes, size=shape)
        np.save(inputs.folder / "labels.npy", labels.astype(np.int32))
    if not inputs.weights.exists():
        inputs.weights.mkdir()
        for name, values in parameters(workload.layers):
            np.save(inputs.weights / f"{name}.npy", values)
    if onnx:
        export_onnx([*_tasks(workload.layers)], workload.x, inputs.weights)
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
        for kind, shape in layer.parameters.items():
            numbers = DISTRIBUTIONS[kind](random.standard_normal(shape, np.float32))
            gain = np.float32(layer.gain if kind == "scale" else 1)
            yield f"{layer.name}.{kind}", gain * numbers


def _kernel(numbers: np.ndarray) -> np.ndarray:
    return numbers * np.float32(np.sqrt(2 / np.prod(numbers.shape[:-1])))


def _around_one(numbers: np.ndarray) -> np.ndarray:
    return np.exp(np.float32(DEVIATION) * numbers)


def _around_zero(numbers: np.ndarray) -> np.ndarray:
    return np.float32(DEVIATION) * numbers


# From normal numbers, for each kind of parameter.
DISTRIBUTIONS = {
    "kernel": _kernel,
    "scale": _around_one,
    "var": _around_one,
    "bias": _around_zero,
    "mean": _around_zero,
}
