"""Backends in processes of their own, which are stopped unless it is their turn."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.bench.backends import Backend
from experiments.bench.inputs import Inputs

WORKER_SCRIPT = Path(__file__).with_name("worker.py")
ROOT = Path(__file__).parents[2]
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Of the shell, so that all backends have their defaults, and all programs are compiled.
DROPPED_VARIABLES = ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR")


class BackendError(RuntimeError):
    """A backend does not run, or has died. The message says which and why."""


class Worker:
    """The process of one backend, which has built one workload.

    Between its answers the process is stopped: threads that wait in a busy loop, as those of OpenMP
    and ONNX Runtime do, would take the cores from the other backends.

    Args:
        backend: the backend.
        inputs: the workload with its files.
        cores: numbers of the cores that all its threads share.

    Raises:
        BackendError: it cannot build the network, or cannot compute it once.
    """

    def __init__(self, backend: Backend, inputs: Inputs, cores: Sequence[int]) -> None:
        self.backend = backend
        self.out = inputs.folder / f"{backend.name}.npz"
        task = inputs.task() | {
            "file": str(backend.file),
            "package": backend.packages[0],
            "options": dict(backend.options),
            "cores": [*cores],
            "parent": os.getpid(),
            "out": str(self.out),
        }
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(WORKER_SCRIPT), json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=_environment(len(cores)),
            text=True,
            bufsize=1,
            start_new_session=True,  # a group of its own, so that Ctrl-C reaches the parent alone
        )
        try:
            self.seconds = self._answer()
        except BaseException:
            self.close()
            raise

    def ask(self, question: str) -> dict[str, Any]:
        """Continue the process until it has answered.

        Args:
            question: "call", "outputs" or "memory".

        Returns:
            The answer: seconds of the call, the file of the outputs, or megabytes of memory.

        Raises:
            BackendError: it died, or what it ran failed.
        """
        assert self.process.stdin is not None
        self._signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{question}\n")
        return self._answer()

    def close(self) -> None:
        """Kill the process, even if it is stopped."""
        self._signal(signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise BackendError(f"{self.backend.name} {self._ending()}.")
        answer = json.loads(line)
        if "error" in answer:
            raise BackendError(f"{self.backend.name} does not run: {answer['error']}")
        self._signal(signal.SIGSTOP)
        return answer

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its children, such as compilers."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def _ending(self) -> str:
        """How the process ended, and the last line that it wrote."""
        status = self.process.wait()
        self.errors.seek(0)
        lines = [line.strip() for line in self.errors if line.strip()]
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"exited {status}"
        return f"{how}: {lines[-1]}" if lines else how


def _environment(cores: int) -> dict[str, str]:
    """The environment of a worker: as many threads as cores, and JAX on the CPU."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    kept = {name: value for name, value in os.environ.items() if name not in DROPPED_VARIABLES}
    threads = dict.fromkeys(THREAD_VARIABLES, str(cores))
    return kept | threads | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
