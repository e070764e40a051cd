"""Time backends in turn, call by call, after comparing what they compute."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from experiments.bench.backends import Backend, reference_of
from experiments.bench.inputs import Inputs, prepare
from experiments.bench.process import BackendError, Worker
from experiments.bench.tables import Workload

WARM_UP_ROUNDS = 2  # besides the first call
# A backend that takes so many times as long as the fastest one is timed in fewer rounds.
SLOW, SLOW_ROUNDS = 10, 2
# Largest error against float64, relative to the largest number of the output. For a training step
# it is relative to the length of the change of a parameter, which float32 may store with only three
# digits.
TOLERANCE = {"inference": 1e-3, "training": 3e-2}

LEAST_CHANGE = 1e-2  # of the largest change; smaller ones are compared with this

Progress = Callable[[str], None]


@dataclass
class Timing:
    """The measurements of one backend for one workload.

    Attributes:
        backend: its name.
        seconds: of each timed call.
        import_seconds: until its library was imported.
        build_seconds: from then until the first result: weights read, compiled, computed.
        error: largest error against float64; None if there is nothing to compare.
        peak_mb: the most memory that its process used, in MiB.
        resident_mb: the memory that it used at the end, in MiB.
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
        workload: the workload.
        rows: one for each backend whose results are right.
        failures: a sentence for each backend that failed.
        notes: a sentence for each backend that may fail, and did.
    """

    workload: Workload
    rows: list[Timing]
    failures: list[str]
    notes: list[str]


def turns(names: Sequence[str], rounds: int) -> Iterator[list[str]]:
    """Give the order of the backends in each round: rotated, so that each is first in turn.

    Args:
        names: the backends.
        rounds: how many orders.

    Yields:
        The names, starting with the next one in each round.
    """
    for number in range(rounds if names else 0):
        start = number % len(names)
        yield [*names[start:], *names[:start]]


def time_in_turn(
    workload: Workload,
    backends: Sequence[Backend],
    *,
    folder: Path,
    cores: Sequence[int],
    rounds: int,
    progress: Progress,
) -> Timings:
    """Start all backends, compare what they compute, and time them call by call.

    Args:
        workload: what to compute.
        backends: those that can compute it.
        folder: an existing folder for inputs and weights; later calls reuse the weights.
        cores: numbers of the cores that each backend gets.
        rounds: timed calls of each backend.
        progress: is called with a short text before each stage.

    Returns:
        Times, errors and memory. A backend that fails is left out and named.
    """
    progress("weights")
    onnx = any(backend.needs_onnx for backend in backends)
    with Race(prepare(workload, folder, onnx), cores, progress) as race:
        for backend in backends:
            race.enter(backend)
        race.run(rounds)
        return race.timings


class Race:
    """Workers that were started for one workload, and take turns.

    Args:
        inputs: the workload and its numbers.
        cores: numbers of the cores of each worker.
        progress: is called with a short text before each stage.
    """

    def __init__(self, inputs: Inputs, cores: Sequence[int], progress: Progress) -> None:
        self.inputs, self.cores, self.progress = inputs, cores, progress
        self.timings = Timings(inputs.workload, [], [], [])
        self.workers: dict[str, Worker] = {}
        self.reference: dict[str, np.ndarray] | None = None

    def __enter__(self) -> "Race":
        if self.inputs.workload.kind != "memory":
            self.progress("reference results in float64")
            reference = reference_of(self.inputs.workload)
            with Worker(reference, self.inputs, self.cores) as worker:
                self.reference = _outputs(worker)
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.close()

    def enter(self, backend: Backend) -> None:
        """Start a backend, and let it take part if its results are right.

        Args:
            backend: that can compute the workload.
        """
        self.progress(f"{backend.name}: building")
        try:
            worker = self.workers[backend.name] = Worker(backend, self.inputs, self.cores)
            error = self._error(worker)
        except BackendError as failure:
            self._remove(backend, str(failure))
            return
        seconds = {f"{name}_seconds": value for name, value in worker.seconds.items()}
        self.timings.rows.append(Timing(backend.name, error=error, **seconds))

    def run(self, rounds: int) -> None:
        """Warm all backends up, and time them call by call.

        Args:
            rounds: timed calls of each backend.
        """
        orders = turns([*self.workers], rounds + WARM_UP_ROUNDS)
        latest = dict.fromkeys(self.workers, 0.0)  # seconds of the latest call
        for number, order in enumerate(orders, 1 - WARM_UP_ROUNDS):
            self.progress("warming up" if number < 1 else f"round {number} of {rounds}")
            for name in order:
                # Of the calls of one turn the last is timed.
                calls = self.inputs.workload.before + 1
                if number > SLOW_ROUNDS and latest[name] > SLOW * min(latest.values()):
                    continue
                *_, answer = [self._ask(name, "call") for _ in range(calls)]
                if not answer:
                    continue
                latest[name] = answer["seconds"]
                if number > 0:
                    timing = next(t for t in self.timings.rows if t.backend == name)
                    timing.seconds.append(answer["seconds"])
        for timing in [*self.timings.rows]:
            memory = self._ask(timing.backend, "memory") or {}
            for name, value in memory.items():
                setattr(timing, name, value)

    def _ask(self, name: str, question: str) -> dict[str, float] | None:
        """The answer of a backend; None if it has failed, now or before."""
        worker = self.workers.get(name)
        if worker is None:
            return None
        try:
            return worker.ask(question)
        except BackendError as failure:
            self._remove(worker.backend, str(failure))
            return None

    def _remove(self, backend: Backend, reason: str) -> None:
        """Leave a backend out, and note the reason."""
        worker = self.workers.pop(backend.name, None)
        if worker is not None:
            worker.close()
        self.timings.rows[:] = [t for t in self.timings.rows if t.backend != backend.name]
        (self.timings.notes if backend.may_fail else self.timings.failures).append(reason)

    def _error(self, worker: Worker) -> float | None:
        """The error of a backend against the reference.

        Raises:
            BackendError: it is too large: the backend computes something else.
        """
        if self.reference is None:
            return None
        tolerance = TOLERANCE[self.inputs.workload.kind]
        error = largest_error(_outputs(worker), self.reference, self.inputs)
        if not error <= tolerance:  # NaN is an error, too
            raise BackendError(
                f"{worker.backend.name} computes something else: its relative error is "
                f"{error:.1e}; float32 should give less than {tolerance:.0e}."
            )
        return error


def largest_error(
    outputs: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray], inputs: Inputs
) -> float:
    """Compute the largest relative error of what a worker returned.

    Args:
        outputs: the result of its first call, and the parameters after it.
        reference: the same in float64; for a batch, the results of the first and last image only.
        inputs: has the parameters before the step, since their changes are compared.

    Returns:
        The largest difference over the largest number; for parameters, the length of the difference
        over the length of the change, or over a part of the largest change where that is more.
        NaN if an output is NaN or has a wrong shape.
    """
    result = outputs["result"]
    ends = result[[0, -1]] if result.ndim else result
    if ends.shape != reference["result"].shape:
        return float("nan")
    errors = [np.abs(ends - reference["result"]).max() / np.abs(reference["result"]).max()]
    names = reference.keys() - {"result"}
    changes = {name: reference[name] - inputs.before(name) for name in names}
    # A gradient that is 0 but for rounding, as of a bias that the next normalisation removes, is
    # compared with the others.
    least = LEAST_CHANGE * max(
        (_root_mean_square(change) for change in changes.values()), default=0
    )
    for name, change in changes.items():
        difference = outputs[name] - inputs.before(name) - change
        errors.append(_root_mean_square(difference) / max(_root_mean_square(change), least))
    return float(np.max(errors))  # NaN, if there is one


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _outputs(worker: Worker) -> dict[str, np.ndarray]:
    worker.ask("outputs")
    with np.load(worker.out) as stored:
        return dict(stored)
