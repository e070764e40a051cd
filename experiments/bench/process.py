"""Backends in separate processes, which are stopped unless it is their turn."""

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
from experiments.bench.inputs import WorkloadInputs

SCRIPT = Path(__file__).with_name("worker.py")
ROOT = Path(__file__).parents[2]
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
OURS_ALONE = ("XLA_FLAGS",)  # the other backends use their defaults


class BackendError(RuntimeError):
    """A backend does not run, or died. The message says which and why."""


class Worker:
    """One backend, built for one workload.

    The process is stopped between its answers: threads that spin while they wait, as in OpenMP and
    ONNX Runtime, would take the cores from the others.

    Args:
        backend: the backend.
        inputs: the workload and its files.
        cores: cores that all its threads share.

    Raises:
        BackendError: it cannot build the network, or compute it once.
    """

    def __init__(self, backend: Backend, inputs: WorkloadInputs, cores: Sequence[int]) -> None:
        self.backend = backend
        self.out = inputs.folder / f"{backend.name}.npz"
        task = inputs.task() | self._about(cores)
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(SCRIPT), json.dumps(task)],
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
        """Continue the process for one answer, to "call", "outputs" or "memory".

        Raises:
            BackendError: it died, or the request failed.
        """
        assert self.process.stdin is not None
        self._signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{question}\n")
        return self._answer()

    def close(self) -> None:
        """End the process, even if it is stopped."""
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

    def _about(self, cores: Sequence[int]) -> dict[str, Any]:
        """Return what the process needs to know besides the workload."""
        return {
            "file": str(self.backend.file),
            "package": self.backend.packages[0],
            "options": dict(self.backend.options),
            "cores": [*cores],
            "parent": os.getpid(),
            "out": str(self.out),
        }

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise BackendError(f"{self.backend.name} {self._end()}.")
        answer = json.loads(line)
        if "error" in answer:
            raise BackendError(f"{self.backend.name} does not run: {answer['error']}")
        self._signal(signal.SIGSTOP)
        return answer

    def _signal(self, number: signal.Signals) -> None:
        """Signal the process and its children, such as compilers."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def _end(self) -> str:
        """Describe how it ended, with its last line of output."""
        status = self.process.wait()
        self.errors.seek(0)
        said = [line.strip() for line in self.errors if line.strip()]
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"exited {status}"
        return f"{how}: {said[-1]}" if said else how


def _environment(cores: int) -> dict[str, str]:
    """Return the environment of this process, with one thread per core, and JAX on the CPU."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    kept = {name: value for name, value in os.environ.items() if name not in OURS_ALONE}
    threads = dict.fromkeys(THREADS, str(cores))
    return kept | threads | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
