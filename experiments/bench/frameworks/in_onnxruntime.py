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
    x = channels_first(task.array("x"))
    return lambda: channels_last(session.run(None, {"x": x})[0]), dict


def channels_first(x: np.ndarray) -> np.ndarray:
    """Convert images from NHWC to NCHW.

    Args:
        x: (b, h, w, c), or an array without these axes.

    Returns:
        (b, c, h, w), contiguous; other arrays unchanged.
    """
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 else x


def channels_last(y: np.ndarray) -> np.ndarray:
    """Convert maps from NCHW to NHWC.

    Args:
        y: (b, c, h, w), or an array without these axes.

    Returns:
        A view (b, h, w, c); other arrays unchanged.
    """
    return y.transpose(0, 2, 3, 1) if y.ndim == 4 else y
