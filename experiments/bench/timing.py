"""Time backends in turn, call by call, after their results have been compared."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from experiments.bench.backends import FLOAT64, Backend
from experiments.bench.inputs import WorkloadInputs, prepare
from experiments.bench.process import BackendError, Worker
from experiments.bench.workloads import Workload

WARM_UP = 2  # calls after the first
# Largest error against float64: relative to the largest number of the output, or, for a training
# step, to the norm of the change of a parameter, of which float32 may keep only three digits.
TOLERANCE = {"inference": 1e-3, "training": 3e-2}

Tell = Callable[[str], None]


@dataclass
class Timing:
    """The measurements of one backend and workload.

    Attributes:
        backend: name of the backend.
        seconds: time of each timed call.
        import_seconds: time to import its library.
        build_seconds: time from then to the first result: read weights, compile, compute.
        error: relative to float64; None if there is no reference.
        peak_mb: peak memory of its process, in MiB.
        resident_mb: memory of its process at the end, in MiB.
    """

    backend: str
    seconds: list[float] = field(default_factory=list)
    import_seconds: float = 0.0
    build_seconds: float = 0.0
    error: float | None = None
    peak_mb: float = 0.0
    resident_mb: float = 0.0


@dataclass(frozen=True)
class Timings:
    """The measurements of one workload.

    Attributes:
        work: the workload.
        found: measurements of each backend with the right result.
        failures: messages about the other backends.
        notes: messages about backends that may fail.
    """

    work: Workload
    found: list[Timing]
    failures: list[str]
    notes: list[str]


def turns(names: Sequence[str], rounds: int) -> Iterator[list[str]]:
    """Yield the order of each round, rotated by one each time."""
    for number in range(rounds if names else 0):
        start = number % len(names)
        yield [*names[start:], *names[:start]]


def time_in_turn(
    work: Workload,
    backends: Sequence[Backend],
    *,
    home: Path,
    cores: Sequence[int],
    rounds: int,
    tell: Tell,
) -> Timings:
    """Build all backends, compare their results, and time them call by call.

    Args:
        work: the workload.
        backends: backends that can run it.
        home: an existing folder for weights, which later calls reuse.
        cores: numbers of the cores that each backend gets.
        rounds: timed calls of each backend.
        tell: receives the current activity.

    Returns:
        Times, errors and memory; a backend that fails is excluded and named.
    """
    tell("weights")
    onnx = any(backend.needs_onnx for backend in backends)
    with Race(prepare(work, home, onnx), cores, tell) as race:
        for backend in backends:
            race.enter(backend)
        race.run(rounds)
        return race.timings


class Race:
    """Workers that are built for one workload, and take turns.

    Args:
        inputs: the workload and its files.
        cores: cores of each worker.
        tell: receives the current activity.
    """

    def __init__(self, inputs: WorkloadInputs, cores: Sequence[int], tell: Tell) -> None:
        self.inputs, self.cores, self.tell = inputs, cores, tell
        self.timings = Timings(inputs.work, [], [], [])
        self.workers: dict[str, Worker] = {}
        self.truth: dict[str, np.ndarray] | None = None

    def __enter__(self) -> "Race":
        if self.inputs.work.kind != "memory":
            self.tell("reference in float64")
            with Worker(FLOAT64, self.inputs, self.cores) as worker:
                self.truth = _outputs(worker)
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.close()

    def enter(self, backend: Backend) -> None:
        """Build a backend, and admit it if its result is right."""
        self.tell(f"{backend.name}: building")
        try:
            worker = self.workers[backend.name] = Worker(backend, self.inputs, self.cores)
            error = self._error(worker)
        except BackendError as failure:
            self._leave(backend, str(failure))
            return
        seconds = {f"{name}_seconds": value for name, value in worker.seconds.items()}
        self.timings.found.append(Timing(backend.name, error=error, **seconds))

    def run(self, rounds: int) -> None:
        """Warm all up, and time them call by call."""
        for number, order in enumerate(turns([*self.workers], rounds + WARM_UP), 1 - WARM_UP):
            self.tell("warming up" if number < 1 else f"round {number} of {rounds}")
            for name in order:
                self._turn(name, number > 0)
        for timing in [*self.timings.found]:
            memory = self._ask(timing.backend, "memory") or {}
            for name, value in memory.items():
                setattr(timing, name, value)

    def _turn(self, name: str, counts: bool) -> None:
        """Make the calls of one turn, of which the last is timed."""
        answers = [self._ask(name, "call") for _ in range(self.inputs.work.before + 1)]
        if counts and answers[-1]:
            timing = next(t for t in self.timings.found if t.backend == name)
            timing.seconds.append(answers[-1]["seconds"])

    def _ask(self, name: str, question: str) -> dict[str, float] | None:
        """Return the answer of a backend; None if it has failed, now or before."""
        worker = self.workers.get(name)
        if worker is None:
            return None
        try:
            return worker.ask(question)
        except BackendError as failure:
            self._leave(worker.backend, str(failure))
            return None

    def _leave(self, backend: Backend, why: str) -> None:
        """Exclude a backend, and note why."""
        worker = self.workers.pop(backend.name, None)
        if worker is not None:
            worker.close()
        self.timings.found[:] = [t for t in self.timings.found if t.backend != backend.name]
        (self.timings.notes if backend.may_fail else self.timings.failures).append(why)

    def _error(self, worker: Worker) -> float | None:
        """Return the error of a backend against the reference.

        Raises:
            BackendError: the error is too large.
        """
        if self.truth is None:
            return None
        found, kind = _outputs(worker), self.inputs.work.kind
        error = largest_error(found, self.truth, self.inputs)
        if not error <= TOLERANCE[kind]:  # NaN is an error, too
            raise BackendError(
                f"{worker.backend.name} gives a wrong result: its relative error is {error:.1e}, "
                f"but at most {TOLERANCE[kind]:.0e} is allowed for float32."
            )
        return error


def largest_error(
    found: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray], inputs: WorkloadInputs
) -> float:
    """Return the largest relative error of the results of a worker.

    Args:
        found: the result of its first call, and the parameters after it.
        truth: the same in float64; for several images, those of the first and the last.
        inputs: has the parameters before the step, since the change is compared.

    Returns:
        The largest difference divided by the largest number; for parameters, of norms.
    """
    errors = [_difference(found["result"], truth["result"])]
    for name in truth.keys() - {"result"}:
        before = inputs.before(name)
        change = truth[name] - before
        wrong = found[name] - before - change
        errors.append(float(np.linalg.norm(wrong) / np.linalg.norm(change)))
    return float(np.max(errors))  # NaN, if there is one


def _difference(found: np.ndarray, truth: np.ndarray) -> float:
    ends = found[[0, -1]] if found.ndim else found
    if ends.shape != truth.shape:
        return float("nan")
    return float(np.abs(ends - truth).max() / np.abs(truth).max())


def _outputs(worker: Worker) -> dict[str, np.ndarray]:
    worker.ask("outputs")
    with np.load(worker.out) as stored:
        return dict(stored)
