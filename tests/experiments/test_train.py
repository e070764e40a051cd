"""Runs of real pictures: they learn, survive, go on bit for bit, on all devices alike."""

import contextlib
import ctypes
import io
import itertools
import json
import multiprocessing
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from matplotlib.figure import Figure

import jaxconv as jc
from experiments import train
from experiments.train import Run
from experiments.training import speed
from experiments.training.augment import augment
from experiments.training.devices import Devices, mesh_of
from experiments.training.logs import read_metrics
from experiments.training.net import Classifier
from experiments.training.recipes import (
    RECIPES,
    Augmentation,
    Data,
    Model,
    Optimiser,
    Recipe,
    Schedule,
    TrainingError,
)
from experiments.training.sets import open_set
from experiments.training.steps import prepared, smoothed, steps_of
from jaxconv.models import weights

TINY = Recipe(
    data=Data("digits", batch=32),
    model=Model(((12,), (16,)), dropout=0.1),
    augmentation=Augmentation(pad_crop=1, flip=True, cutout=1),
    optimiser=Optimiser(learning_rate=0.05),
    schedule=Schedule(epochs=1.5),
    seed=3,
)
# What is drawn at random takes most of the time to compile.
PLAIN = replace(TINY, model=Model(((12,), (16,))), augmentation=Augmentation())
IMPORTED_BY_A_RUN = (
    "experiments.training.figures",
    "jaxconv.analysis.summary",
    "jaxconv.models.vgg",
    "matplotlib.backends.backend_agg",
    "sklearn.datasets",
    "tensorboardX",
)
STEPS = round(1.5 * 1438 / 32)
MODEL = "model.safetensors"


@pytest.fixture(autouse=True)
def fresh_count_of_traces():
    chex.clear_trace_counter()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that nothing interrupted."""
    chex.clear_trace_counter()
    out = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", touch)
        assert train.train(Run(TINY, out, save_every=20)) == 0
    return out


def touch(figure, path, **options):
    """What ``Figure.savefig`` does, but for the drawing, which takes longer than the steps."""
    path.touch()


def finished(run):
    """The status of a run whose report has numbers only."""

    def write_numbers(folder, result):
        (folder / "summary.json").write_text(json.dumps(result.summary()))

    chex.clear_trace_counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "write_report", write_numbers)
        return train.train(run)


def numbers(folder, name="loss"):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line[name] for line in lines if name in line]


def test_the_network_of_a_run_is_the_one_that_was_measured(whole):
    net = Classifier(TINY.model.stages, 10, 1)
    stored = weights.read_weights(whole / MODEL)
    weights.fill(net, stored)
    net.preprocessing = stored.preprocessing
    test = open_set(TINY.data, TINY.seed, print).test
    images, labels = test.read(np.arange(len(test)))
    right = float((np.asarray(net(prepared(net, images))).argmax(-1) == labels).mean())
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["test_accuracy"] == pytest.approx(right, abs=1.5 / len(test))
    assert numbers(whole, "test_accuracy")[-1] == pytest.approx(summary["test_accuracy"])
    learnt = numbers(whole, "accuracy")
    assert np.mean(learnt[-10:]) > 0.2 > np.mean(learnt[:10])  # a tenth is chance
    assert 0.001 < np.median(numbers(whole, "peak")) < 5
    assert summary["steps"] == STEPS == len(numbers(whole))


def forkserver():
    """Starts processes that have imported what a run needs, also what it imports where used."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "experiments.train", *IMPORTED_BY_A_RUN])
    return context


def survivor(out):
    """What a process does that is killed: the run, from its start or from where it was."""
    finished(Run(TINY, out, resume=(out / "config.json").exists(), save_every=3))


def last_saved(out):
    """The step of the newest checkpoint; 0 where there is none."""
    names = [path.name for path in (out / "checkpoints").glob("*")]
    return max([int(name) for name in names if name.isdigit()], default=0)


@pytest.mark.slow
def test_a_run_that_is_killed_ends_with_the_same_bytes(whole, tmp_path, request):
    """Each time after a new checkpoint, so that something is there to go on from."""
    out, moments = tmp_path / "run", random.Random(0)
    kills = 0
    while kills < request.config.getoption("--kills"):
        process, before = forkserver().Process(target=survivor, args=[out]), last_saved(out)
        process.start()
        while process.is_alive() and last_saved(out) == before:
            time.sleep(0.01)
        process.join(moments.uniform(0, 0.3))
        if process.exitcode == 0:
            break
        assert process.exitcode is None
        process.kill()
        process.join()
        kills += 1
    if not (out / "summary.json").exists():
        survivor(out)
    assert kills
    assert (out / MODEL).read_bytes() == (whole / MODEL).read_bytes()
    assert numbers(out) == numbers(whole)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The folder of a run that Ctrl-C stopped after 30 steps, and what it printed."""
    chex.clear_trace_counter()
    out = tmp_path_factory.mktemp("stopped") / "run"
    with contextlib.redirect_stdout(io.StringIO()) as printed, after(30, interrupt):
        assert train.train(Run(TINY, out, save_every=20)) == 128 + signal.SIGINT
    return out, printed.getvalue()


def newest_checkpoint(out):
    return max((out / "checkpoints").glob("*[0-9]"), key=lambda path: int(path.name))


def test_ctrl_c_saves(stopped):
    out, printed = stopped
    assert printed.endswith(f"stopped and saved. To continue, add --resume (run: {out}).\n")
    assert int(newest_checkpoint(out).name) == 30 == len(numbers(out))


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(
    whole, stopped, tmp_path, capsys
):
    out = shutil.copytree(stopped[0], tmp_path / "run")
    newest = newest_checkpoint(out)
    damage(newest)
    earlier = add_seconds(out / "checkpoints" / "20", 1000)
    started = time.monotonic()
    assert finished(Run(TINY, out, resume=True, save_every=20)) == 0
    seconds = json.loads((out / "summary.json").read_text())["seconds"]
    assert 1000 + earlier < seconds < 1000 + earlier + time.monotonic() - started
    printed = capsys.readouterr().out
    assert f"{newest} is damaged (" in printed
    assert newest.with_name(f"{newest.name}.damaged").is_dir()
    assert (out / MODEL).read_bytes() == (whole / MODEL).read_bytes()


def damage(checkpoint):
    """Turn a bit of each of its files of numbers."""
    for file in (checkpoint / "state").rglob("d/*"):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0x10
        file.write_bytes(content)


def add_seconds(checkpoint, more):
    """Pretend that a run took longer up to a checkpoint; how long it was."""
    file = checkpoint / "about" / "metadata"
    about = json.loads(file.read_text())
    seconds = about["run"]["seconds"]
    about["run"]["seconds"] += more
    file.write_text(json.dumps(about))
    return seconds


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


@contextlib.contextmanager
def after(step, what):
    """Do something when a run has taken some steps."""
    before, laps = train.Pace.lap, itertools.count(1)

    def lap(self):
        if next(laps) == step:
            what()
        return before(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.Pace, "lap", lap)
        yield


def test_another_recipe_does_not_go_on(stopped, tmp_path):
    out = shutil.copytree(stopped[0], tmp_path / "run")
    other = replace(TINY, model=replace(TINY.model, stages=((12,), (17,))))
    with pytest.raises(TrainingError, match=r"model\.stages was .*16.* and is .*17"):
        train.train(Run(other, out, resume=True))
    config = json.loads((out / "config.json").read_text())
    config["recipe"]["model"]["stages"] = [[12], [17]]
    (out / "config.json").write_text(json.dumps(config))
    chex.clear_trace_counter()
    with pytest.raises(
        TrainingError,
        match=r"of another model: model\.kernel\.value is \[16, 10\] in the checkpoint",
    ):
        train.train(Run(other, out, resume=True))


def test_a_folder_is_claimed_once(whole, tmp_path):
    with pytest.raises(TrainingError, match=r"already contains a run. Fix: add --resume"):
        train.train(Run(TINY, whole))
    with pytest.raises(TrainingError, match=r"contains no run to resume. Fix: omit --resume"):
        train.train(Run(TINY, tmp_path / "none", resume=True))


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path):
    wild = replace(PLAIN, optimiser=Optimiser(learning_rate=1e30), schedule=Schedule(1, warmup=0.2))
    with pytest.raises(TrainingError, match=r"The loss is nan after step .* Fix: lower"):
        train.train(Run(wild, tmp_path / "run", save_every=1))
    chex.clear_trace_counter()
    assert np.isfinite(numbers(tmp_path / "run")).all()


def commanded(out):
    """What a process does that a user starts: the module as a command, with a small recipe."""
    chex.clear_trace_counter()
    RECIPES["digits"] = replace(PLAIN, schedule=Schedule(epochs=999))
    del sys.modules["experiments.train"]
    sys.argv[1:] = ["digits", "--out", str(out)]
    with out.with_name("printed").open("w") as printed, contextlib.redirect_stdout(printed):
        runpy.run_module("experiments.train", run_name="__main__", alter_sys=True)


def test_a_signal_to_the_command_saves(tmp_path):
    out = tmp_path / "run"
    process = forkserver().Process(target=commanded, args=[out])
    process.start()
    while not (out / "metrics.jsonl").exists():
        assert process.is_alive()
        time.sleep(0.05)
    process.terminate()
    ended(process, status=128 + signal.SIGTERM)
    printed = (tmp_path / "printed").read_text()
    assert printed.endswith(f"stopped and saved. To continue, add --resume (run: {out}).\n")
    assert int(newest_checkpoint(out).name) == len(numbers(out))


# Without batch norm, and in small steps, rounding does not grow into other numbers.
GENTLE = replace(
    PLAIN,
    model=Model(((12,), (16,)), batch_norm=False),
    augmentation=Augmentation(flip=True),
    optimiser=Optimiser(learning_rate=1e-3),
    schedule=Schedule(epochs=25 * 32 / 1438),
)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The folder of a run of one process on one device."""
    out = tmp_path_factory.mktemp("alone") / "run"
    assert finished(gentle(out)) == 0
    return out


def started(runs, steps=0, **options):
    """A process: the recipe above, by folder on devices, interrupted after some steps if any."""
    process = forkserver().Process(target=trained, args=[runs, steps, options])
    process.start()
    return process


def trained(runs, steps, options):
    for out, devices in runs.items():
        log = out.with_name(f"{out.name}.{os.getpid()}.log")
        with log.open("w") as printed, contextlib.redirect_stdout(printed), after(steps, interrupt):
            if status := finished(gentle(out, devices=devices, **options)):
                sys.exit(status)


def gentle(out, devices=None, **options):
    return Run(
        GENTLE, Path(out), save_every=10, keep=9, devices=Devices(**devices or {}), **options
    )


def ended(*processes, status=0):
    for process in processes:
        process.join(timeout=300)
    assert [process.exitcode for process in processes] == [status] * len(processes)


def pair(port):
    both = {"coordinator": f"127.0.0.1:{port}", "processes": 2}
    return [{**both, "process": number} for number in (0, 1)]


@pytest.mark.slow
def test_all_devices_and_processes_do_what_one_device_does(alone, tmp_path, free_port):
    four = [{"count": 4}, {"count": 4, "shard_parameters": True}]
    ended(started({tmp_path / "four": four[0], tmp_path / "cut": four[1]}))
    ended(*[started({tmp_path / "two": devices}) for devices in pair(free_port)])
    one = numbers(alone)
    assert len(one) == 25
    assert np.mean(one[-5:]) < np.mean(one[:5])
    for other in ("four", "two", "cut"):
        np.testing.assert_allclose(numbers(tmp_path / other), one, atol=1e-5)


@pytest.mark.slow
def test_a_run_goes_from_one_process_to_two_and_back(alone, tmp_path, free_port, capsys):
    out = tmp_path / "run"
    shutil.copytree(alone, out)
    steps = out / "checkpoints"
    shutil.rmtree(steps / "25")
    damage(steps / "20")
    one, two = pair(free_port)
    # One of the processes is told to end, and both do, after the same step.
    both = started({out: one}, resume=True), started({out: two}, steps=5, resume=True)
    ended(*both, status=130)
    printed = "".join(log.read_text() for log in tmp_path.glob("run.*.log"))
    assert f"{steps / '20'} is damaged (" in printed
    assert (steps / "20.damaged").is_dir()
    assert max(int(path.name) for path in steps.glob("*[0-9]")) == 15 == len(numbers(out))
    assert finished(gentle(out, resume=True)) == 0
    assert "damaged" not in capsys.readouterr().out
    np.testing.assert_allclose(numbers(out), numbers(alone), atol=1e-5)


# Two of its checkpoints are larger than the disk, and a line of the log for each of 40 steps is
# larger than a block of it.
WIDE = replace(PLAIN, model=Model(((8,), (16,), (128,))), schedule=Schedule(epochs=40 * 32 / 1438))


NEW_USER_AND_MOUNTS = 0x10000000 | 0x00020000  # the flags of Linux for unshare
UNMOUNTED = 77  # the exit status where a disk cannot be mounted


def mount_small(disk):
    """Mount a small disk that this process alone sees, as root of a namespace; whether it can."""
    ids = {"uid_map": f"0 {os.geteuid()} 1", "setgroups": "deny", "gid_map": f"0 {os.getegid()} 1"}
    mounted = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk]
    unshare = getattr(ctypes.CDLL(None), "unshare", None)
    if not unshare or unshare(NEW_USER_AND_MOUNTS):
        return False
    try:
        for name, content in ids.items():
            Path(f"/proc/self/{name}").write_text(content)
        return subprocess.run(mounted, check=False, capture_output=True).returncode == 0
    except OSError:  # Ubuntu forbids the ids; or there is no program of this name
        return False


def on_a_small_disk(folder):
    """What a process does whose disk is full again and again: it writes down the exit statuses."""
    disk, elsewhere = folder / "disk", folder / "elsewhere"
    out, filler = disk / "run", disk / "filler"
    for number in (1, 2):
        os.dup2(os.open(folder / f"{number}.txt", os.O_WRONLY | os.O_CREAT), number)
    if not mount_small(disk):
        sys.exit(UNMOUNTED)
    RECIPES["digits"], Figure.savefig = WIDE, touch
    out.mkdir()
    (out / "tensorboard").symlink_to(elsewhere)  # so that metrics.jsonl is what does not fit

    def run(*options, every=10):
        chex.clear_trace_counter()
        filler.unlink(missing_ok=True)
        given = ["digits", "--out", str(out), "--keep", "1", "--save-every", str(every)]
        return train.main([*given, *options])

    def fill():
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass

    def finish(*args):
        fill()
        return before(*args)

    statuses = [run()]
    assert [path.name for path in (out / "checkpoints").glob("*[0-9]")] == ["10"]
    subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
    with after(1, fill):
        statuses.append(run("--resume", every=99))
    assert 10 < len(read_metrics(out)) < 40
    before, train._finish = train._finish, finish
    statuses.append(run("--resume"))
    train._finish, train.write_report, before = before, finish, train.write_report
    statuses.append(run("--resume"))
    assert (out / MODEL).exists()
    train.write_report = before
    statuses.append(run("--resume"))
    assert len(numbers(out)) == 40
    assert (out / "report.md").exists()
    print(statuses)


@pytest.mark.slow
def test_a_full_disk_is_a_sentence_and_the_run_goes_on_when_there_is_room(tmp_path):
    disk = tmp_path / "disk"
    for folder in (disk, tmp_path / "elsewhere"):
        folder.mkdir()
    process = forkserver().Process(target=on_a_small_disk, args=[tmp_path])
    process.start()
    process.join(timeout=300)
    if process.exitcode == UNMOUNTED:
        pytest.skip("a small disk cannot be mounted here: it needs user namespaces")
    printed, errors = ((tmp_path / f"{number}.txt").read_text() for number in (1, 2))
    assert process.exitcode == 0, errors
    fix = "Fix: free some space, then continue with --resume."
    assert errors == 4 * f"train: The disk of {disk / 'run'} is full. {fix}\n"
    assert printed.endswith("\n[2, 2, 2, 2, 0]\n")
    assert "damaged" not in printed


@pytest.mark.parametrize("fn", [smoothed, augment])
def test_contracts_are_proven(fn):
    assert str(jc.check(fn)).startswith("proven: accepts every size")


def steps_and_state(recipe, total=10):
    data = open_set(recipe.data, recipe.seed, print)
    steps = steps_of(recipe, train._model(recipe, data), total)
    return steps, steps.start()


def batch_of(count):
    rng = np.random.default_rng(count)
    image = rng.integers(0, 256, (count, 8, 8, 1), np.uint8)
    return {"image": jnp.asarray(image), "label": jnp.asarray(rng.integers(0, 10, count))}


def test_the_pace_of_a_matrix_product(monkeypatch):
    mesh = mesh_of(Devices(), 1)
    monkeypatch.setattr(speed, "ENOUGH", 0.001)
    net = Classifier(((8,), (8,)), 10, 1)
    rate = speed._rate("float32", mesh)
    x = np.random.default_rng(0).normal(size=(512, 512)).astype(np.float32)
    seconds = min(speed._seconds(lambda: jnp.asarray(x) @ x) for _ in range(5))
    assert 0.2 < rate / (512**3 / seconds) < 20
    monkeypatch.setattr(speed, "_rate", lambda *_: 1e9)
    convolutions = 8 * 8 * 9 * (8 * 1) + 4 * 4 * 9 * 8 * 8
    assert speed.best_pace(net, (8, 8, 1), "float32", mesh) == 1e9 / 3 / (convolutions + 80)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_a_step_is_lowered_for_accelerators(platform):
    steps, state = steps_and_state(TINY)
    traced = jax.jit(steps.train).trace(state, batch_of(32))
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert text.count("stablehlo.convolution") == 2 + 2 + 1  # forward, kernels, maps but the first


def test_bfloat16_computes_narrow_and_keeps_wide_numbers():
    narrow = replace(PLAIN, model=replace(PLAIN.model, dtype="bfloat16"))
    steps, state = steps_and_state(narrow)
    batch = batch_of(4)
    after, found = jax.jit(steps.train)(state, batch)
    chex.assert_trees_all_equal_dtypes(after, state)
    assert "bf16" in jax.jit(steps.train).lower(state, batch).as_text()
    assert np.isfinite(found["loss"])


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_only_kernels_decay(name):
    plain = Optimiser(name, learning_rate=0.5, momentum=0.0, weight_decay=0.0)
    after = []
    for optimiser in (plain, replace(plain, weight_decay=0.25)):
        steps, state = steps_and_state(
            replace(PLAIN, optimiser=optimiser, schedule=Schedule(1, warmup=0.0))
        )
        before = jax.tree.leaves(nnx.filter_state(state.model, nnx.Param))
        found = jax.jit(steps.train)(state, batch_of(8))[0].model
        after.append(jax.tree.leaves(nnx.filter_state(found, nnx.Param)))
    assert {p.ndim for p in before} == {1, 2, 4}
    for start, kept, decayed in zip(before, *after, strict=True):
        less = 0.5 * 0.25 * start if start.ndim > 1 else 0 * start
        np.testing.assert_allclose(kept - decayed, less, atol=1e-5)


def test_gradients_are_clipped():
    wide = Optimiser(learning_rate=1.0, momentum=0.0, weight_decay=0.0, clip=0.01)
    recipe = replace(PLAIN, optimiser=wide, schedule=Schedule(1, warmup=0.0))
    steps, state = steps_and_state(recipe)
    after, _ = jax.jit(steps.train)(state, batch_of(8))
    moved = [nnx.filter_state(found.model, nnx.Param) for found in (state, after)]
    change = jax.tree.leaves(jax.tree.map(jnp.subtract, *moved))
    length = float(jnp.sqrt(sum(jnp.sum(c**2) for c in change)))
    assert length == pytest.approx(0.01, rel=1e-3)


def test_smoothing_is_the_mean_over_all_classes():
    rng = np.random.default_rng(4)
    logits, labels = rng.normal(size=(5, 3)), rng.integers(0, 3, 5)
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    right = logs[np.arange(5), labels]
    want = -np.mean(0.8 * right + 0.2 * logs.mean(1))
    assert smoothed(jnp.asarray(logits), jnp.asarray(labels), 0.2) == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("decay", ["cosine", "steps"])
@pytest.mark.parametrize("warmup", [0.0, 0.2])
def test_the_rate_rises_and_falls(decay, warmup):
    schedule = Schedule(1, warmup, decay)
    recipe = replace(TINY, schedule=schedule, optimiser=Optimiser(learning_rate=2.0))
    steps, _ = steps_and_state(recipe, total=80)
    rates = [float(steps.rate(step)) for step in range(80)]
    warm = round(80 * warmup)
    assert max(rates) == rates[warm] == 2.0
    np.testing.assert_allclose(rates[:warm], 2.0 * np.arange(warm) / max(warm, 1))
    if decay == "steps":
        found = [rates[39], rates[40], rates[60], rates[70]]
        np.testing.assert_allclose(found, [2, 0.2, 0.02, 0.002], rtol=1e-5)
    else:
        share = np.arange(80 - warm) / (80 - warm)
        np.testing.assert_allclose(rates[warm:], 1 + np.cos(np.pi * share), atol=1e-5)


SHAPES = {"digits": (8, 1), "fashion-mnist": (28, 1), "cifar10": (32, 3), "folder": (64, 3)}


@pytest.mark.parametrize("name", RECIPES)
def test_the_network_of_every_recipe_is_proven_for_every_batch(name):
    recipe = RECIPES[name]
    assert recipe.data.name == name
    side, channels = SHAPES[name]
    net = nnx.eval_shape(lambda: Classifier(recipe.model.stages, 10, channels))
    assert jc.check(net, f"b {side} {side} {channels}", returns="b 10").ok


@pytest.mark.parametrize("optimiser", ["sgd", pytest.param("adamw", marks=pytest.mark.slow)])
def test_steps_are_proven_for_every_batch(optimiser):
    steps, state = steps_and_state(replace(TINY, optimiser=Optimiser(optimiser, clip=1.0)))
    batch = {"image": "b 8 8 1:uint8", "label": "b:int32"}
    same = jax.tree.map(lambda leaf: f"{' '.join(map(str, leaf.shape))}:{leaf.dtype}", state)
    taken = jc.check(steps.train, state, batch, returns=(same, {"loss": "", "accuracy": ""}))
    tested = jc.check(steps.test, state, batch, returns="b 10:float32")
    for verdict in (taken, tested):
        assert str(verdict).startswith("proven: accepts every size"), verdict
