"""Peers timed in turn, call by call, after what they compute was compared."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from experiments.bench.backends import FLOAT64, Peer
from experiments.bench.inputs import Material, prepare
from experiments.bench.process import PeerError, Worker
from experiments.bench.workloads import Workload

WARM_UP = 2  # calls beside the first
# Largest error against float64, relative to the largest number of the output, or, of a step, to
# the length of what it changes in a parameter, which float32 stores with three digits at times.
TOLERANCE = {"inference": 1e-3, "training": 3e-2}

Tell = Callable[[str], None]


@dataclass
class Timing:
    """What was found of one peer and workload.

    Attributes:
        peer: its name.
        seconds: of each timed call.
        import_seconds: until its library was there.
        build_seconds: from then on to the first result: weights read, compiled, computed.
        error: against float64; None where there is nothing to compare.
        peak_mb: the most memory that its process had, in MiB.
        resident_mb: and what it had in the end.
    """

    peer: str
    seconds: list[float] = field(default_factory=list)
    import_seconds: float = 0.0
    build_seconds: float = 0.0
    error: float | None = None
    peak_mb: float = 0.0
    resident_mb: float = 0.0


@dataclass(frozen=True)
class Timings:
    """What was found of one workload.

    Attributes:
        work: the workload.
        found: of each peer that computes what it should.
        failures: sentences about those that do not.
        notes: sentences about those that need not.
    """

    work: Workload
    found: list[Timing]
    failures: list[str]
    notes: list[str]


def turns(names: Sequence[str], rounds: int) -> Iterator[list[str]]:
    """The order of each round: another begins each time, so that each follows every other place."""
    for number in range(rounds if names else 0):
        start = number % len(names)
        yield [*names[start:], *names[:start]]


def time_in_turn(
    work: Workload,
    peers: Sequence[Peer],
    *,
    home: Path,
    cores: Sequence[int],
    rounds: int,
    tell: Tell,
) -> Timings:
    """Build all peers, compare what they compute, and time them call by call.

    Args:
        work: what to compute.
        peers: those that can.
        home: an existing folder for weights, which later calls find there.
        cores: numbers of the cores that each peer gets.
        rounds: timed calls of each.
        tell: is told what is being done.

    Returns:
        Times, errors and memory; a peer that fails is left out and named.
    """
    tell("weights")
    onnx = any(peer.needs_onnx for peer in peers)
    with Race(prepare(work, home, onnx), cores, tell) as race:
        for peer in peers:
            race.enter(peer)
        race.run(rounds)
        return race.timings


class Race:
    """Workers that are built for one workload, and take turns.

    Args:
        material: the workload, and where its numbers are.
        cores: of each worker.
        tell: is told what is being done.
    """

    def __init__(self, material: Material, cores: Sequence[int], tell: Tell) -> None:
        self.material, self.cores, self.tell = material, cores, tell
        self.timings = Timings(material.work, [], [], [])
        self.workers: dict[str, Worker] = {}
        self.truth: dict[str, np.ndarray] | None = None

    def __enter__(self) -> "Race":
        if self.material.work.kind != "memory":
            self.tell("what is right, in float64")
            with Worker(FLOAT64, self.material, self.cores) as worker:
                self.truth = _outputs(worker)
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.close()

    def enter(self, peer: Peer) -> None:
        """Build a peer, and let it take part if it computes what it should."""
        self.tell(f"{peer.name}: building")
        try:
            worker = self.workers[peer.name] = Worker(peer, self.material, self.cores)
            error = self._error(worker)
        except PeerError as failure:
            self._leave(peer, str(failure))
            return
        seconds = {f"{name}_seconds": value for name, value in worker.seconds.items()}
        self.timings.found.append(Timing(peer.name, error=error, **seconds))

    def run(self, rounds: int) -> None:
        """Warm all up, and time them call by call."""
        for number, order in enumerate(turns([*self.workers], rounds + WARM_UP), 1 - WARM_UP):
            self.tell("warming up" if number < 1 else f"round {number} of {rounds}")
            for name in order:
                self._turn(name, number > 0)
        for timing in [*self.timings.found]:
            memory = self._ask(timing.peer, "memory") or {}
            for name, value in memory.items():
                setattr(timing, name, value)

    def _turn(self, name: str, counts: bool) -> None:
        """The calls of one turn, of which the last is timed."""
        answers = [self._ask(name, "call") for _ in range(self.material.work.before + 1)]
        if counts and answers[-1]:
            timing = next(t for t in self.timings.found if t.peer == name)
            timing.seconds.append(answers[-1]["seconds"])

    def _ask(self, name: str, question: str) -> dict[str, float] | None:
        """The answer of a peer; None if it is not there, or fails, after which it is not."""
        worker = self.workers.get(name)
        if worker is None:
            return None
        try:
            return worker.ask(question)
        except PeerError as failure:
            self._leave(worker.peer, str(failure))
            return None

    def _leave(self, peer: Peer, why: str) -> None:
        """Take a peer out, and say why."""
        worker = self.workers.pop(peer.name, None)
        if worker is not None:
            worker.close()
        self.timings.found[:] = [t for t in self.timings.found if t.peer != peer.name]
        (self.timings.notes if peer.may_fail else self.timings.failures).append(why)

    def _error(self, worker: Worker) -> float | None:
        """How far a peer is from what is right.

        Raises:
            PeerError: too far: it computes something else.
        """
        if self.truth is None:
            return None
        found, kind = _outputs(worker), self.material.work.kind
        error = largest_error(found, self.truth, self.material)
        if not error <= TOLERANCE[kind]:  # NaN is an error, too
            raise PeerError(
                f"{worker.peer.name} computes something else: its error is {error:.1e} of the "
                f"result, and {TOLERANCE[kind]:.0e} would be float32."
            )
        return error


def largest_error(
    found: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray], material: Material
) -> float:
    """The largest relative error of what a worker returned.

    Args:
        found: the result of its first call, and parameters after it.
        truth: the same in float64; of a result with several images, those of the first and last.
        material: has the parameters before the step, since the change is what is compared.

    Returns:
        The largest difference over the largest number; of parameters, lengths of vectors.
    """
    errors = [_difference(found["result"], truth["result"])]
    for name in truth.keys() - {"result"}:
        before = material.before(name)
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
