"""Checkpoints with Orbax: written atomically in the background, and verified when read."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax import lax
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers as managers

from experiments.training.recipes import TrainingError

METRIC = "accuracy"  # test metric that selects the best checkpoint
About = dict[str, Any]  # what a run needs besides its state, as JSON
Flat = dict[str, jax.Array]

# An error in Orbax's threads and tasks is raised again where the run waits for them, so it is not
# logged here.
for _name in ("absl", "asyncio"):
    logging.getLogger(_name).addFilter(lambda record: not record.exc_info)


class Checkpoints:
    """The checkpoints of a run: the newest, and the best.

    Args:
        folder: folder of the run.
        keep: how many of the newest to keep.
        notify: receives messages about damaged checkpoints.
    """

    def __init__(self, folder: Path, keep: int, notify: Callable[[str], None]) -> None:
        self.folder, self._notify = (folder / "checkpoints").absolute(), notify
        best = managers.BestN(get_metric_fn=lambda metrics: metrics[METRIC], n=1,
                              keep_checkpoints_without_metrics=False)  # fmt: skip
        policy = managers.AnyPreservationPolicy([managers.LatestN(keep), best])
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy, cleanup_tmp_directories=True
        )
        handlers = {"state": ocp.StandardCheckpointHandler(), "about": ocp.JsonCheckpointHandler()}
        self._manager = ocp.CheckpointManager(self.folder, options=options, item_handlers=handlers)

    def __enter__(self) -> "Checkpoints":
        self._hook, sys.unraisablehook = sys.unraisablehook, self._ignored
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._manager.close()
        finally:
            sys.unraisablehook = self._hook

    def _ignored(self, unraisable: Any) -> None:
        """Ignore TensorStore's threads that answer after a failure has ended the wait."""
        if str(unraisable.exc_value) != "Event loop is closed":
            self._hook(unraisable)

    def save(self, step: int, state: Any, about: About, tested: dict[str, float]) -> None:
        """Write a checkpoint in the background.

        Args:
            step: number of the step; an existing checkpoint of this step is kept.
            state: a pytree of arrays with 4-byte elements.
            about: additional data, such as the position in the data set.
            tested: test metrics; empty if there was no test.
        """
        if step in self._manager.all_steps():
            return
        flat = _flat(state)
        about = {"run": about, "checksum": int(_checksum(flat)), "shapes": _shapes(flat)}
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(flat), about=ocp.args.JsonSave(about)
        )
        self._manager.save(step, args=items, metrics=tested or None)

    def wait(self) -> None:
        """Wait until all checkpoints are written."""
        self._manager.wait_until_finished()

    def restore(self, like: Any) -> tuple[Any, About] | None:
        """Read the newest complete checkpoint.

        Args:
            like: a state with the shapes and the sharding of the result.

        Returns:
            The state, and the additional data; None if there is no checkpoint.

        Raises:
            TrainingError: the checkpoint is of another model, or all are damaged.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            try:
                return self._read(step, like)
            except TrainingError:
                raise
            except (OSError, ValueError, KeyError) as error:  # raised for damaged files
                self._put_aside(step, error)
        if steps:
            raise TrainingError(
                f"All checkpoints in {self.folder} are damaged. Fix: start again, without --resume."
            )
        return None

    def _read(self, step: int, like: Any) -> tuple[Any, About]:
        flat = _flat(like)
        about = self._item(step, about=ocp.args.JsonRestore())
        _refuse_others(about["shapes"], _shapes(flat))
        want = {n: jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=v.sharding)
                for n, v in flat.items()}  # fmt: skip
        state = self._item(step, state=ocp.args.StandardRestore(want))
        if int(_checksum(state)) != about["checksum"]:
            raise ValueError("its checksum differs")
        tree = jax.tree.structure(like)
        return jax.tree.unflatten(tree, [state[name] for name in flat]), about["run"]

    def _item(self, step: int, **item: Any) -> Any:
        (name,) = item
        return self._manager.restore(step, args=ocp.args.Composite(**item))[name]

    def _put_aside(self, step: int, error: Exception) -> None:
        """Rename a damaged checkpoint, so that its step can be written again."""
        path = self.folder / str(step)
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        self._notify(f"{path} is damaged ({reason}). It is kept as {step}.damaged, and the "
                   "previous checkpoint is used.")  # fmt: skip
        if jax.process_index() == 0:
            path.rename(path.with_name(f"{step}.damaged"))
        multihost_utils.sync_global_devices(f"{path} is put aside")
        self._manager.reload()


def _flat(state: Any) -> Flat:
    """Return arrays by name, such as ``model.trunk.conv1_1.kernel``."""
    leaves, _ = jax.tree.flatten_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


@jax.jit
def _checksum(flat: Flat) -> jax.Array:
    """Compute a checksum of all bits. Integer sums do not depend on the order of addition."""
    total = jnp.zeros((), jnp.uint32)
    for number, name in enumerate(sorted(flat), 1):
        bits = lax.bitcast_convert_type(flat[name], jnp.uint32).ravel()
        places = jnp.arange(bits.size, dtype=jnp.uint32) * np.uint32(2654435761) + number
        mixed = (bits ^ places) * (places | 1)
        total += jnp.sum(mixed ^ (mixed >> 15), dtype=jnp.uint32)
    return total


def _shapes(flat: Flat) -> dict[str, list[int]]:
    return {name: [*leaf.shape] for name, leaf in flat.items()}


def _refuse_others(stored: dict[str, list[int]], own: dict[str, list[int]]) -> None:
    """Raise an error with the differences if a checkpoint is of another model."""
    names = sorted(stored.keys() | own.keys())
    pairs = {name: (stored.get(name, "nothing"), own.get(name, "nothing")) for name in names}
    differences = [
        f"{n} is {a} in the checkpoint and {b} in the model"
        for n, (a, b) in pairs.items()
        if a != b
    ]
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise TrainingError(
            f"The checkpoint is of another model: {'; '.join(differences[:3])}{more}. Fix: pass "
            "the options of the run that wrote it, or another --out."
        )
