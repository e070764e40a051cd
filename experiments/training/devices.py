"""Where a run computes: one device or many, in one process or many."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.training.recipes import TrainingError

BATCH = "batch"  # the one axis of the mesh


@dataclass(frozen=True)
class Devices:
    """Which devices, and how arrays lie on them.

    Attributes:
        count: of devices, over all processes; all there are by default. Where JAX has but the CPU,
            that many virtual ones are made.
        shard_parameters: parameters and momenta are cut, rather than kept whole on each device.
        distributed: there are several processes, of which Slurm, Kubernetes or a TPU pod tells.
        coordinator: address and port of process 0, where none of these tells.
        processes: of the run, with ``coordinator``.
        process: number of this one, likewise.
    """

    count: int | None = None
    shard_parameters: bool = False
    distributed: bool = False
    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None


def mesh_of(options: Devices, batch: int) -> Mesh:
    """Start JAX's processes and devices; a mesh of one axis.

    Args:
        options: what was asked for.
        batch: pictures a step, which the devices share.

    Raises:
        TrainingError: fewer devices than asked for, or a batch that they cannot share.
    """
    if options.count and (jax.config.jax_platforms or "cpu") == "cpu":  # type: ignore[attr-defined]
        jax.config.update("jax_num_cpu_devices", options.count // (options.processes or 1))
    if options.distributed or options.coordinator:
        jax.distributed.initialize(options.coordinator, options.processes, options.process)
    devices = jax.devices()
    count = options.count or len(devices)
    if count > len(devices):
        raise TrainingError(
            f"--devices.count is {count}, but there are {len(devices)}: {devices[0].platform}. "
            f"Fix: pass {len(devices)} or fewer."
        )
    if batch % count:
        raise TrainingError(
            f"--data.batch is {batch}, which {count} devices cannot share. Fix: pass a multiple of "
            f"{count}."
        )
    return Mesh(np.array(devices[:count]), (BATCH,))


def place_batch(batch: Any, mesh: Mesh) -> Any:
    """Put this process's part of a batch on its devices; global arrays.

    Args:
        batch: a pytree of arrays, the part of this process.
        mesh: the devices.

    Returns:
        Global arrays.
    """
    sharding = NamedSharding(mesh, PartitionSpec(BATCH))
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def shardings(state: Any, mesh: Mesh, cut: bool) -> Any:
    """How a state lies on the devices: whole on each, or cut along its longest axes.

    Args:
        state: a pytree of arrays or shapes.
        mesh: the devices.
        cut: whether arrays are divided among the devices.

    Returns:
        A sharding per leaf.
    """
    return jax.tree.map(lambda leaf: NamedSharding(mesh, _spec(leaf, mesh.size, cut)), state)


def _spec(leaf: Any, count: int, cut: bool) -> PartitionSpec:
    fitting = [(n, axis) for axis, n in enumerate(leaf.shape) if n % count == 0]
    if not cut or not fitting or leaf.ndim < 2:
        return PartitionSpec()
    axis = max(fitting)[1]
    return PartitionSpec(*[BATCH if i == axis else None for i in range(leaf.ndim)])


def largest(number: int) -> int:
    """The largest of a number that each process has; all of them call this at the same step.

    Args:
        number: of this process.

    Returns:
        The largest of all processes.
    """
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.int32(number)).max())
