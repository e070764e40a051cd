"""Train a VGG on real pictures: ``digits``, ``fashion-mnist``, ``cifar10``, or a folder of yours.

    python -m experiments.train digits
    python -m experiments.train fashion-mnist --out runs/fashion --schedule.epochs 30
    python -m experiments.train folder=photos/ --data.size 96
    python -m experiments.train digits --resume

Every setting of a recipe is an option (``digits --help``). The folder of a run, by default
``runs/RECIPE``, contains checkpoints and logs (JSON lines and TensorBoard), and at the end the
network (``model.safetensors``) and ``report.md``. Ctrl-C and SIGTERM save a checkpoint before they
end a run. ``--resume`` continues from there, bit for bit; a run that was killed continues from its
last checkpoint.

Expected: the result that each recipe in ``experiments/training/recipes.py`` states, such as 99 %
test accuracy on the digits of scikit-learn after half a minute on two cores, including the report.
"""

import errno
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import chex
import jax
import numpy as np
import tyro
from flax import nnx
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jaxconv as jc
from experiments.training.checkpoints import Checkpoints
from experiments.training.devices import (
    Devices,
    largest,
    mesh_of,
    place_batch,
    shardings,
)
from experiments.training.logs import Log, write_whole
from experiments.training.net import Classifier, classifier
from experiments.training.pipeline import Batches, batches
from experiments.training.recipes import RECIPES, Recipe, TrainingError
from experiments.training.report import CONFIG, RunResult, flat, write_report
from experiments.training.sets import DataSet, Source, open_set
from experiments.training.speed import best_pace
from experiments.training.steps import State, Steps, prepared, smoothed, steps_of
from jaxconv.models.weights import Preprocessing, write_weights

TEST_BATCH = 256
SAMPLE = 10_000  # pictures from which the mean and the standard deviation are estimated


@dataclass(frozen=True)
class Run:
    """A run of a recipe.

    Attributes:
        recipe: the settings of the run.
        out: the folder of the run; default: runs/RECIPE.
        resume: continue the run in that folder.
        save_every: steps between checkpoints.
        test_every: steps between tests; default: one epoch.
        keep: how many of the newest checkpoints to keep, besides the best one.
        devices: the devices to train on.
    """

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    out: Path | None = None
    resume: bool = False
    save_every: int = 50
    test_every: int | None = None
    keep: int = 3
    devices: Devices = field(default_factory=Devices)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train. The exit status is 2 if training is impossible, and 128 or more after a signal.

    Args:
        arguments: the command line; None for that of this process.

    Returns:
        The exit status.
    """
    run = _options(sys.argv[1:] if arguments is None else arguments)
    out = run.out or Path("runs") / run.recipe.data.name
    try:
        return train(replace(run, out=out))
    except Exception as error:
        if not (sentence := _sentence(error, out)):
            raise
        print(f"train: {sentence}", file=sys.stderr)
        return 2


def _sentence(error: Exception, out: Path) -> str:
    """Return the message for an error that a user can fix; "" for any other error."""
    if isinstance(error, TrainingError):
        return str(error)
    # A full disk raises OSError, or an error of the threads that write checkpoints.
    if any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT)):
        return f"The disk of {out} is full. Fix: free some space, then continue with --resume."
    return ""


def _options(arguments: Sequence[str]) -> Run:
    """Read the command line; ``folder=PATH`` stands for ``folder --data.path PATH``."""
    given = [*arguments]
    for place, word in enumerate(given[:1]):
        name, equals, path = word.partition("=")
        given[place : place + 1] = [name, "--data.path", path] if equals else [name]
    runs = {name: (recipe.expected, Run(recipe)) for name, recipe in RECIPES.items()}
    return tyro.extras.overridable_config_cli(runs, args=given)


def train(run: Run) -> int:
    """Run a recipe, from its start or from a checkpoint, to its report; return the exit status.

    Args:
        run: the options, with ``out``.

    Returns:
        The exit status.
    """
    assert run.out
    recipe, out, clock = run.recipe, run.out, Clock()
    mesh = mesh_of(run.devices, recipe.data.batch)
    _claim(run, out)
    data = open_set(recipe.data, recipe.seed, print)
    total = max(round(recipe.schedule.epochs * len(data.train) / recipe.data.batch), 1)
    model = _model(recipe, data)
    steps = _on_devices(steps_of(recipe, model, total), mesh, run.devices.shard_parameters)
    best = best_pace(model, data.train.shape, recipe.model.dtype, mesh)
    with Checkpoints(out, run.keep, print) as checkpoints, Stop() as stop:
        state = _go(run, data, steps, mesh, total, checkpoints, stop, clock, best)
    if stop.signal:
        print(f"train: stopped and saved. To continue, add --resume (run: {out}).")
        return 128 + stop.signal
    logits = _logits(steps, state, data.test, mesh)
    if jax.process_index() == 0:
        _finish(run, data, model, state, logits, clock.seconds)
    return 0


def _go(
    run: Run,
    data: DataSet,
    steps: Steps,
    mesh: Mesh,
    total: int,
    checkpoints: Checkpoints,
    stop: "Stop",
    clock: "Clock",
    best: float,
) -> State:
    """Take the remaining steps, and return the last state."""
    assert run.out
    recipe = run.recipe
    processes = {"process": jax.process_index(), "processes": jax.process_count()}
    stream = batches(data.train, batch=recipe.data.batch, seed=recipe.seed, **processes)
    state = steps.start()
    if run.resume:
        state = _restored(checkpoints, state, stream, clock)
    first = int(state.step)
    test_every = run.test_every or max(len(data.train) // recipe.data.batch, 1)
    with Log(run.out if jax.process_index() == 0 else None, total, first) as log, stream:
        for note in data.notes:
            log.say(note)
        pace = Pace(recipe.data.batch, stream, best)
        for step in range(first + 1, total + 1):
            batch = place_batch(next(stream), mesh)
            state, metrics = steps.train(state, batch)
            log.step(step, _checked(step, metrics, run.out), *pace.lap())
            tested = {}
            if step % test_every == 0 or step == total:
                tested = _tested(steps, state, data.test, mesh)
                log.evaluated(step, tested)
            last = stop.asked() or step == total
            if last or tested or step % run.save_every == 0:
                about = {"position": stream.get_state(), "seconds": clock.seconds}
                checkpoints.save(step, state, about, tested)
            if last:
                break
        checkpoints.wait()
    return state


def _restored(checkpoints: Checkpoints, first: State, stream: Batches, clock: "Clock") -> State:
    """Restore the newest checkpoint, if any, with the position of the data and the clock."""
    restored = checkpoints.restore(first)
    if not restored:
        return first
    state, about = restored
    stream.set_state(about["position"])
    clock.before = about["seconds"]
    return state


class Clock:
    """The total time of a run, over all its parts.

    Attributes:
        before: seconds of earlier parts, up to the checkpoint from which this one continues.
    """

    def __init__(self) -> None:
        self.before, self._started = 0.0, time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the start of the run."""
        return self.before + time.monotonic() - self._started


class Pace:
    """The speed of training steps.

    Args:
        batch: pictures per step.
        stream: the batches.
        best: pictures per second at the rate of a large matrix product.
    """

    def __init__(self, batch: int, stream: Batches, best: float) -> None:
        self._batch, self._stream, self._best = batch, stream, best
        self._then = self._now()

    def lap(self) -> tuple[float, float, float]:
        """Return pictures per second since the last call, and the shares of waiting and best."""
        (start, waited), self._then = self._then, self._now()
        seconds = self._then[0] - start
        pace = self._batch / seconds
        return pace, (self._then[1] - waited) / seconds, pace / self._best

    def _now(self) -> tuple[float, float]:
        return time.monotonic(), self._stream.seconds_waited


def _on_devices(steps: Steps, mesh: Mesh, cut: bool) -> Steps:
    """Compile each step once, with the sharding of its state."""
    sharding = shardings(jax.eval_shape(steps.start), mesh, cut)
    whole = NamedSharding(mesh, PartitionSpec())
    train = chex.assert_max_traces(steps.train, n=1)
    return replace(
        steps,
        start=jax.jit(steps.start, out_shardings=sharding),
        train=jc.jit(train, donate_argnums=0, out_shardings=(sharding, whole)),
        test=jc.jit(steps.test, out_shardings=whole),
    )


def _checked(step: int, metrics: Any, out: Path) -> dict[str, float]:
    """Return the metrics of a step as floats."""
    numbers = {name: float(value) for name, value in metrics.items()}
    if not np.isfinite(numbers["loss"]):
        raise TrainingError(
            f"The loss is {numbers['loss']} after step {step}. The last good checkpoint is in "
            f"{out / 'checkpoints'}. Fix: lower --optimiser.learning-rate, or pass "
            "--optimiser.clip 1."
        )
    return numbers


def _logits(steps: Steps, state: State, source: Source, mesh: Mesh) -> np.ndarray:
    """Return the logits of all pictures of a source, (n, classes)."""
    logits = []
    processes, process = jax.process_count(), jax.process_index()
    for start in range(0, len(source), TEST_BATCH):
        places = np.minimum(np.arange(start, start + TEST_BATCH), len(source) - 1)
        image, label = source.read(np.split(places, processes)[process])
        batch = place_batch({"image": image, "label": label}, mesh)
        logits.append(np.asarray(steps.test(state, batch)))
    return np.concatenate(logits)[: len(source)]


def _tested(steps: Steps, state: State, source: Source, mesh: Mesh) -> dict[str, float]:
    """Return the loss and the accuracy on a source."""
    _, labels = source.read(np.arange(len(source)))
    logits = _logits(steps, state, source, mesh)
    right = float(np.mean(logits.argmax(-1) == labels))
    return {"loss": float(smoothed(logits, labels, 0.0)), "accuracy": right}


def _model(recipe: Recipe, data: DataSet) -> Classifier:
    """Build a new network with the mean and the standard deviation of the training pictures."""
    sample = np.random.default_rng(0).permutation(len(data.train))[:SAMPLE]
    pixels, _ = data.train.read(np.sort(sample))
    flat = pixels.reshape(-1, pixels.shape[-1]) / 255
    mean, std = (tuple(map(float, f(flat, 0))) for f in (np.mean, np.std))
    model = classifier(recipe.model, len(data.names), pixels.shape[-1], recipe.seed)
    model.preprocessing = Preprocessing(1 / 255, mean, tuple(s or 1.0 for s in std))
    return model


def _claim(run: Run, out: Path) -> None:
    """Claim a folder for a new run, or check that it contains the run to resume.

    Raises:
        TrainingError: there already is a run, or none to resume, or one with other options.
    """
    file = out / CONFIG
    recipe = json.loads(json.dumps(asdict(replace(run.recipe, expected="")), default=str))
    if file.exists() and not run.resume:
        raise TrainingError(
            f"{out} already contains a run. Fix: add --resume to continue, or pass another --out."
        )
    if run.resume and not file.exists():
        raise TrainingError(f"{out} contains no run to resume. Fix: omit --resume, or check --out.")
    if run.resume:
        stored = flat(json.loads(file.read_text())["recipe"])
        changed = [
            f"{name} was {stored.get(name)} and is {value}"
            for name, value in flat(recipe).items()
            if stored.get(name) != value
        ]
        if changed:
            raise TrainingError(
                f"The run in {out} has other options: {'; '.join(changed)}. Fix: pass the options "
                "with which it was started, or another --out."
            )
        return
    multihost_utils.sync_global_devices("all processes have checked the folder")
    if jax.process_index() == 0:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps({"recipe": recipe}, indent=1))


class Stop:
    """Catches the first SIGINT or SIGTERM, so that the current step can finish; the next one kills.

    Attributes:
        signal: the signal that ended the run, in any of its processes; 0 for none.
    """

    def __init__(self) -> None:
        self.signal = self._noted = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def asked(self) -> bool:
        """Return whether any process received a signal; all see it after the same step."""
        self.signal = largest(self._noted)
        return bool(self.signal)

    def _note(self, number: int, _: object) -> None:
        self._noted = number
        self.__exit__()


def _finish(
    run: Run, data: DataSet, model: Classifier, state: State, logits: np.ndarray, seconds: float
) -> None:
    """Write the network and the report."""
    assert run.out
    nnx.update(model, jax.tree.map(np.asarray, state.model))
    write_weights(model, run.out / "model.safetensors")
    images, labels = data.test.read(np.arange(len(data.test)))
    result = RunResult(
        config=json.loads((run.out / CONFIG).read_text()),
        expected=run.recipe.expected,
        names=data.names,
        images=images,
        labels=labels,
        logits=logits,
        model=model,
        prepare=lambda image: prepared(model, image),
        seconds=seconds,
        steps=int(state.step),
        parameters=sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))),
    )
    print(f"train: test accuracy {result.accuracy:.2%} on {len(labels):,} pictures; see "
          f"{write_report(run.out, result)}.")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
