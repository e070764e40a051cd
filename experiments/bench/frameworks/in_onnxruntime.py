"""ONNX Runtime on a CPU with all its graph optimisations."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def inference(task: Any) -> tuple[Callable[[], Any], Callable[[], dict[str, Any]]]:
    """The network on images."""
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
    """Return images in ONNX's layout."""
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 else x


def channels_last(y: np.ndarray) -> np.ndarray:
    """Return feature maps in our layout, as a view."""
    return y.transpose(0, 2, 3, 1) if y.ndim == 4 else y
