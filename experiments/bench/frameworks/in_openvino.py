"""OpenVINO on a CPU: float32, with the latency hint for single calls."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def inference(task: Any) -> tuple[Callable[[], Any], Callable[[], dict[str, Any]]]:
    """The network on images."""
    ov: Any = importlib.import_module("openvino")  # not installed everywhere
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16, where the processor has it
        "INFERENCE_NUM_THREADS": len(task.cores),
    }
    path = Path(task.weights, "network.onnx")
    network = ov.Core().compile_model(path, "CPU", settings)
    request, x = network.create_infer_request(), task.array("x")
    x = np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 else x

    def call() -> Any:
        y = request.infer({0: x}, share_inputs=True, share_outputs=True)[0]
        return y.transpose(0, 2, 3, 1) if y.ndim == 4 else y

    return call, dict
