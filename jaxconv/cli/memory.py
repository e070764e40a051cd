"""How much memory a command may take."""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

import jax

USABLE = 0.9  # of what is free: the rest is for what no estimate counts
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
# The files of a control group that say how much its processes may take, and take: of version 2,
# and of version 1, which has a folder of its own for memory.
CGROUP_FILES = {
    "": ("memory.max", "memory.current"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes"),
}


def available_memory() -> float:
    """Return the bytes that arrays may take now, on this machine and on its default device.

    The limits of a container and of ``ulimit -v`` count.

    Returns:
        Infinite where the system does not tell.
    """
    return USABLE * min([math.inf, *_limits()])


def _limits() -> Iterator[float]:
    if hasattr(os, "sysconf"):
        yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, KeyError):  # this and the next ones are for Linux
        yield _kilobytes(Path("/proc/meminfo"), "MemAvailable")
    with contextlib.suppress(OSError):  # of the control groups, from its own to the machine's
        for line in OWN_CGROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            kind = "memory" if "memory" in controllers.split(",") else controllers
            group = CGROUPS / kind / path.lstrip("/")
            for folder in (group, *group.parents) if kind in CGROUP_FILES else ():
                # A file that is missing, or says "max", sets no limit.
                with contextlib.suppress(OSError, ValueError):
                    limit, used = (int((folder / name).read_text()) for name in CGROUP_FILES[kind])
                    yield limit - used
    with contextlib.suppress(ImportError, OSError, KeyError):
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            yield limit - _kilobytes(Path("/proc/self/status"), "VmSize")
    device = jax.local_devices()[0].memory_stats()
    if device and "bytes_limit" in device:
        yield device["bytes_limit"] - device["bytes_in_use"]


def _kilobytes(table: Path, name: str) -> float:
    """A number of a table of the kernel, in bytes."""
    lines = dict(line.split(":", 1) for line in table.read_text().splitlines() if ":" in line)
    return float(lines[name].split()[0]) * 1024
