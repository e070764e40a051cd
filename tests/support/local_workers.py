"""Backends of the benchmark in this process, where each library is imported once."""

import contextlib
import json
import os
import warnings
from unittest import mock

import jax

from experiments.bench import timing, worker


class LocalWorker:
    """Does what ``experiments.bench.process.Worker`` does, without a process of its own."""

    def __init__(self, backend, inputs, cores):
        self.backend, self.out = backend, inputs.folder / f"{backend.name}.npz"
        task = inputs.task() | {
            "file": str(backend.file),
            "package": backend.packages[0],
            "options": dict(backend.options),
            "cores": cores,
            "parent": os.getpid(),
            "out": str(self.out),
        }
        answers = []
        self.handlers = worker._build(worker.Task(**json.loads(json.dumps(task))), answers.append)
        self.seconds = answers[0]

    def ask(self, question):
        return self.handlers[question]()

    def close(self):
        jax.config.update("jax_enable_x64", False)  # the reference enables it

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@contextlib.contextmanager
def local_workers():
    """Time backends in this process; what fails in one is raised."""
    with mock.patch.object(timing, "Worker", LocalWorker), warnings.catch_warnings(action="ignore"):
        try:
            yield
        finally:
            jax.config.update("jax_enable_x64", False)
