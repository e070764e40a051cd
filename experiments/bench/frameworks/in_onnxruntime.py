"""ONNX Runtime on a CPU with all graph optimisations."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from experiments.bench.worker import Calls, Task


def inference(task: "Task") -> "Calls":
    """Run the network on images.

    Args:
        task: what to compute.

    Returns:
        One call, and its parameters: none.
    """
    ort: Any = importlib.import_module("onnxruntime")  # not installed everywhere
    options = ort.SessionOptions()
    options.intra_op_num_threads = len(task.cores)
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    path = str(Path(task.weights, "network.onnx"))
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    x = np.ascontiguousarray(np.moveaxis(task.array("x"), -1, 1))
    return lambda: np.moveaxis(session.run(None, {"x": x})[0], 1, -1), dict
