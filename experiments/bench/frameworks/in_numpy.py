"""The rates of the machine: NumPy's matrix product, and reading and copying memory."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np


def inference(task: Any) -> tuple[Callable[[], Any], Callable[[], dict[str, Any]]]:
    """Compute one matrix product."""
    (layer,) = task.layers
    x = task.array("x")
    kernel, bias = (task.array(f"{layer['name']}.{kind}") for kind in ("kernel", "bias"))
    return lambda: x @ kernel + bias, dict


def memory(task: Any) -> tuple[Callable[[], Any], Callable[[], dict[str, Any]]]:
    """Read or copy the input, a part on each core; NumPy releases the GIL."""
    (layer,) = task.layers
    x = task.array("x")
    parts, copies = (np.array_split(a, len(task.cores)) for a in (x, np.zeros_like(x)))
    pool = ThreadPoolExecutor(len(task.cores))
    if layer["op"] == "read":
        return lambda: np.array([*pool.map(np.max, parts)]), dict
    return lambda: np.array([*pool.map(np.copyto, copies, parts)]).size, dict
