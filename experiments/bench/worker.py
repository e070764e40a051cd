"""The process in which one backend computes one workload, one call per request.

It is run by its path, so that nothing is imported that the backend does not need. The first
argument is the task as JSON. Each line of standard input is a request: "call", "outputs" (written
to a file) or "memory". Answers are lines of JSON on standard output; what libraries print there
goes to standard error.
"""

import contextlib
import ctypes
import importlib
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

PR_SET_PDEATHSIG = 1

Answer = dict[str, Any]
# What the functions of a framework return: a call, and the parameters after it by name.
Calls = tuple[Callable[[], "np.ndarray | float"], Callable[[], "dict[str, np.ndarray]"]]


class Task(NamedTuple):
    """What to compute, as :class:`experiments.bench.process.Worker` sends it.

    Attributes:
        file: the code of the backend.
        package: the package that is imported before the timing starts.
        kind: the kind of workload, the name of a function in the file.
        options: keyword arguments of that function.
        layers: the layers of the network, as dictionaries.
        folder: the folder with the input, ``x.npy``, and the labels of training.
        weights: the folder with the parameters, ``conv1_1.kernel.npy``, and ``network.onnx``.
        cores: numbers of the cores that may be used.
        parent: the id of the process that sends requests.
        out: the file for outputs.
    """

    file: str
    package: str
    kind: str
    options: dict[str, Any]
    layers: list[dict[str, Any]]
    folder: str
    weights: str
    cores: list[int]
    parent: int
    out: str

    def array(self, name: str) -> "np.ndarray":
        """Read an input or a parameter.

        Args:
            name: "x", "labels", or a parameter such as "conv1_1.kernel".

        Returns:
            The array.
        """
        import numpy as np  # after the cores are set, which its threads inherit

        path = Path(self.folder, f"{name}.npy")
        return np.load(path if path.exists() else Path(self.weights, f"{name}.npy"))

    def parameters(self) -> dict[str, "np.ndarray"]:
        """All parameters by name."""
        pairs = [(layer["name"], kind) for layer in self.layers for kind in layer["parameters"]]
        return {f"{name}.{kind}": self.array(f"{name}.{kind}") for name, kind in pairs}


def main() -> None:
    """Build the network, answer requests, and end with the parent process."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is not an answer
    task = Task(**json.loads(sys.argv[1]))
    _end_with(task.parent)
    os.sched_setaffinity(0, task.cores)
    send = lambda answer: print(json.dumps(answer), file=answers)  # noqa: E731
    try:
        handlers = _build(task, send)
        for line in sys.stdin:
            send(handlers[line.strip()]())
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        send({"error": f"{type(error).__name__}: {lines[0]}"})
        raise


def _build(task: Task, send: Callable[[Answer], None]) -> dict[str, Callable[[], Answer]]:
    """Build the network, send the seconds until the first result, and return the handlers."""
    started = time.perf_counter()
    importlib.import_module(task.package)
    module = _import_file(task.file)
    imported = time.perf_counter()
    call, parameters = getattr(module, task.kind)(task, **task.options)
    import numpy as np

    first = np.array(call())
    seconds = {"import": imported - started, "build": time.perf_counter() - imported}

    def timed() -> dict[str, float]:
        start = time.perf_counter()
        call()
        return {"seconds": time.perf_counter() - start}

    def outputs() -> dict[str, str]:
        np.savez(task.out, result=first, **parameters())
        return {"outputs": task.out}

    send(seconds)
    return {"call": timed, "outputs": outputs, "memory": _memory}


def _import_file(file: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # torch.compile looks up functions here
    spec.loader.exec_module(module)
    return module


def _memory() -> dict[str, float]:
    """Memory of this process in MiB: the peak, and now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kib = {line.split()[0]: int(line.split()[1]) for line in lines if line.startswith("Vm")}
    return {"peak_mb": kib["VmHWM:"] / 1024, "resident_mb": kib["VmRSS:"] / 1024}


def _end_with(parent: int) -> None:
    """Be killed when the parent dies, even while stopped and unable to see a closed pipe."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent is gone")


if __name__ == "__main__":
    main()
