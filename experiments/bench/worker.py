"""A process in which one backend computes one workload, one call per request.

It is started by path, so that it imports only what the backend needs. The first argument is the
task as JSON. Each line of input requests "call", "outputs" (written to a file), or "memory".
Answers are lines of JSON on the original standard output.
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
from typing import Any, NamedTuple

PR_SET_PDEATHSIG = 1


class Task(NamedTuple):
    """The task, with the fields that :class:`experiments.bench.process.Worker` sends.

    Attributes:
        file: the code of the backend.
        package: package to import before timing starts.
        kind: kind of the workload, and name of a function in the file.
        options: options of that function.
        layers: layers of the network, as dictionaries.
        folder: folder with the input, ``x.npy``, and the labels of training.
        weights: folder with the parameters, ``conv1_1.kernel.npy``, and ``network.onnx``.
        cores: cores to use.
        parent: the process that sends requests.
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

    def array(self, name: str) -> Any:
        """Load an input, or a parameter such as ``conv1_1.kernel``."""
        import numpy as np  # after the cores are set, which its threads inherit

        given = Path(self.folder, f"{name}.npy")
        return np.load(given if given.exists() else Path(self.weights, f"{name}.npy"))

    def parameters(self) -> dict[str, Any]:
        """Load all kernels and biases by name."""
        layers = [layer["name"] for layer in self.layers if layer["name"]]
        names = [f"{name}.{kind}" for name in layers for kind in ("kernel", "bias")]
        return {name: self.array(name) for name in names}


def main() -> None:
    """Build the network, answer requests, and end with the parent process."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # the output of libraries is not an answer
    task = Task(**json.loads(sys.argv[1]))
    _end_with(task.parent)
    os.sched_setaffinity(0, task.cores)
    say = lambda answer: print(json.dumps(answer), file=answers)  # noqa: E731
    try:
        ask = _built(task, say)
        for line in sys.stdin:
            say(ask[line.strip()]())
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        say({"error": f"{type(error).__name__}: {lines[0]}"})
        raise


def _built(task: Task, say: Callable[[Any], None]) -> dict[str, Callable[[], Any]]:
    """Build the network, report the time to the first result, and return the possible requests."""
    started = time.perf_counter()
    importlib.import_module(task.package)
    module = _loaded(task.file)
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

    say(seconds)
    return {"call": timed, "outputs": outputs, "memory": _memory}


def _loaded(file: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # torch.compile looks up functions here
    spec.loader.exec_module(module)
    return module


def _memory() -> dict[str, float]:
    """Return the peak and the current memory of this process, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {line.split()[0]: int(line.split()[1]) for line in lines if line.startswith("Vm")}
    return {"peak_mb": found["VmHWM:"] / 1024, "resident_mb": found["VmRSS:"] / 1024}


def _end_with(parent: int) -> None:
    """Ask the kernel to kill this process with its parent, even while it is stopped."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent is gone")


if __name__ == "__main__":
    main()
