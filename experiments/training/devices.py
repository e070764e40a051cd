"""The devices of a run: one or many, in one process or many."""

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
    """The devices, and the sharding of arrays.

    Attributes:
        count: number of devices, over all processes; default: all. If JAX only has the CPU, this
            many virtual devices are created.
        shard_parameters: shard parameters and momenta, rather than replicate them.
        distributed: run in several processes, which Slurm, Kubernetes or a TPU pod describes.
        coordinator: address and port of process 0, if none of these describes the processes.
        processes: number of processes, with ``coordinator``.
        process: number of this process, with ``coordinator``.
    """

    count: int | None = None
    shard_parameters: bool = False
    distributed: bool = False
    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None


def mesh_of(options: Devices, batch: int) -> Mesh:
    """Start JAX's processes and devices, and return a mesh with one axis.

    Args:
        options: the requested devices.
        batch: pictures per step, split over the devices.

    Raises:
        TrainingError: there are fewer devices, or the batch cannot be split evenly.
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
            f"--data.batch is {batch}, which cannot be split over {count} devices. Fix: pass a "
            f"multiple of {count}."
        )
    return Mesh(np.array(devices[:count]), (BATCH,))


def place_batch(batch: Any, mesh: Mesh) -> Any:
    """Put this process's part of a batch on its devices, and return global arrays.

    Args:
        batch: a pytree of arrays, the part of this process.
        mesh: the devices.

    Returns:
        Global arrays.
    """
    sharding = NamedSharding(mesh, PartitionSpec(BATCH))
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def shardings(state: Any, mesh: Mesh, cut: bool) -> Any:
    """Return the sharding of a state: replicated, or along the longest axis of each array.

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
    """Return the largest value over all processes. All of them must call this at the same step.

    Args:
        number: of this process.

    Returns:
        The largest of all processes.
    """
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.int32(number)).max())
