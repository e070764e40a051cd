"""OpenVINO on a CPU: float32, with the lowest latency of one call at a time."""

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
    ov: Any = importlib.import_module("openvino")  # not installed everywhere
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # otherwise bfloat16, if the processor supports it
        "INFERENCE_NUM_THREADS": len(task.cores),
    }
    path = Path(task.weights, "network.onnx")
    network = ov.Core().compile_model(path, "CPU", settings)
    request, x = network.create_infer_request(), task.array("x")
    x = np.ascontiguousarray(np.moveaxis(x, -1, 1))

    def call() -> Any:
        y = request.infer({0: x}, share_inputs=True, share_outputs=True)[0]
        return np.moveaxis(y, 1, -1)

    return call, dict
