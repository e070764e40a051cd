"""The rates of the machine: NumPy's matrix product, and memory read and copied."""

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from experiments.bench.worker import Calls, Task


def inference(task: "Task") -> "Calls":
    """Multiply two matrices.

    Args:
        task: what to compute.

    Returns:
        One call, and its parameters: none.
    """
    (layer,) = task.layers
    x = task.array("x")
    kernel, bias = (task.array(f"{layer['name']}.{kind}") for kind in ("kernel", "bias"))
    return lambda: x @ kernel + bias, dict


def memory(task: "Task") -> "Calls":
    """Read or copy the input, a part on each core. NumPy releases the GIL meanwhile.

    Args:
        task: what to compute.

    Returns:
        One call, and its parameters: none.
    """
    (layer,) = task.layers
    x = task.array("x")
    parts, copies = (np.array_split(a, len(task.cores)) for a in (x, np.zeros_like(x)))
    pool = ThreadPoolExecutor(len(task.cores))
    if layer["op"] == "read":
        return lambda: np.array([*pool.map(np.max, parts)]), dict
    return lambda: np.array([*pool.map(np.copyto, copies, parts)]).size, dict
