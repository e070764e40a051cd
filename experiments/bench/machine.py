"""The machine: its processor, and its roofline, the rates that limit every program."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.bench.backends import NUMPY, OURS, Backend
from experiments.bench.timing import Tell, Timings, time_in_turn
from experiments.bench.workloads import ROOFLINE, flops

VECTORS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve")


@dataclass(frozen=True)
class Roofline:
    """The highest rates that were measured on the cores.

    Attributes:
        gflops: 10**9 floating-point operations per second, in products of large float32 matrices.
        by: backend with the fastest product.
        read: 10**9 bytes per second.
        copy: 10**9 bytes per second, read and written.
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
    backends: Sequence[Backend], *, home: Path, cores: Sequence[int], tell: Tell = lambda _: None
) -> Roofline:
    """Measure the rates: matrix products in each library, and memory with NumPy.

    Args:
        backends: backends whose libraries multiply, once per library; jaxconv is excluded.
        home: an existing folder for the matrices.
        cores: numbers of the cores.
        tell: receives the current activity.
    """
    libraries = {q.packages[0]: q for q in backends if q.name != OURS and not q.may_fail}
    multiply = [q for q in libraries.values() if "inference" in q.kinds] + [NUMPY]
    given = [(ROOFLINE[0], multiply), *((work, [NUMPY]) for work in ROOFLINE[1:])]
    product, read, copy = (
        time_in_turn(work, by, home=home, cores=cores, rounds=work.rounds, tell=tell)
        for work, by in given
    )
    best = min(product.found, key=lambda timing: min(timing.seconds))
    return Roofline(
        flops(product.work) / min(best.seconds) / 1e9, best.backend, _rate(read, 4), _rate(copy, 8)
    )


def _rate(timings: Timings, moved: int) -> float:
    """Return 10**9 bytes per second, for ``moved`` bytes per element."""
    return moved * timings.work.x[0] / min(timings.found[0].seconds) / 1e9


def machine(cores: Sequence[int]) -> dict[str, Any]:
    """Describe this machine and the cores that were used."""
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
