"""The machine: its processor and its roofline, the rates that no program can exceed."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.bench.backends import NUMPY, OURS, Backend
from experiments.bench.timing import Progress, Timings, time_in_turn
from experiments.bench.workloads import ROOFLINE, flops

VECTORS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve")


@dataclass(frozen=True)
class Roofline:
    """The highest rates that were measured on the cores.

    Attributes:
        gflops: 10**9 floating-point operations per second, in products of large float32 matrices.
        by: the name of the backend with the fastest product.
        read: 10**9 bytes read per second.
        copy: 10**9 bytes read and written per second.
    """

    gflops: float
    by: str
    read: float
    copy: float

    def __str__(self) -> str:
        return (
            f"Roofline of these cores: {self.gflops:.0f} GFLOP/s (matrix product of {self.by}), "
            f"{self.read:.1f} GB/s read, {self.copy:.1f} GB/s copied."
        )


def roofline(
    backends: Sequence[Backend],
    *,
    folder: Path,
    cores: Sequence[int],
    progress: Progress = lambda _: None,
) -> Roofline:
    """Measure the rates: matrix products of each library, and memory accesses of NumPy.

    Args:
        backends: their libraries multiply matrices, each library once; jaxconv does not.
        folder: an existing folder for the matrices.
        cores: numbers of the cores.
        progress: is called with a short text before each stage.

    Returns:
        The highest rates.
    """
    libraries = {b.packages[0]: b for b in backends if b.name != OURS and not b.may_fail}
    multiply = [b for b in libraries.values() if "inference" in b.kinds] + [NUMPY]
    product, read, copy = (
        time_in_turn(
            workload, by, folder=folder, cores=cores, rounds=workload.rounds, progress=progress
        )
        for workload, by in zip(ROOFLINE, (multiply, [NUMPY], [NUMPY]), strict=True)
    )
    best = min(product.rows, key=lambda timing: min(timing.seconds))
    return Roofline(
        flops(product.workload) / min(best.seconds) / 1e9,
        best.backend,
        _rate(read, 4),
        _rate(copy, 8),
    )


def _rate(timings: Timings, bytes_per_number: int) -> float:
    """10**9 bytes per second."""
    return bytes_per_number * timings.workload.x[0] / min(timings.rows[0].seconds) / 1e9


def machine(cores: Sequence[int]) -> dict[str, Any]:
    """Describe this machine.

    Args:
        cores: numbers of the cores that were used.

    Returns:
        Processor, vector extensions, cores and memory, for JSON.
    """
    lines = [line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines()]
    about = {line[0].strip().lower(): line[1].strip() for line in lines if len(line) == 2}
    flags = about.get("flags", about.get("features", "")).split()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": about.get("model name", "unknown"),
        "vectors": [name for name in VECTORS if name in flags],
        "cores_of_the_machine": os.cpu_count(),
        "cores_used": [*cores],
        "memory_gb": round(pages / 1e9, 1),
    }
