"""The backends: libraries that run a workload, what each needs, and its versions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from experiments.bench.tables import Workload

FRAMEWORKS = Path(__file__).parent / "frameworks"
OURS = "jaxconv"


@dataclass(frozen=True)
class Backend:
    """One way to compute a workload.

    Attributes:
        name: its name on the command line and in tables.
        file: its code, see :mod:`experiments.bench.frameworks`.
        packages: the packages that it needs; the first is imported before the timing starts.
        kinds: the kinds of workload that it can run.
        options: keyword arguments of the functions in its file.
        needs_onnx: whether it reads the network from an ONNX file.
        chains_only: whether it runs only networks whose layers follow one another.
        may_fail: whether the benchmark succeeds without it; torch.compile needs a C++ compiler.
    """

    name: str
    file: Path
    packages: tuple[str, ...]
    kinds: frozenset[str] = frozenset({"inference", "training"})
    options: Mapping[str, Any] = field(default_factory=dict)
    needs_onnx: bool = False
    chains_only: bool = False
    may_fail: bool = False

    def can_run(self, workload: Workload) -> bool:
        """Whether it can compute a workload.

        Args:
            workload: any.
        """
        return workload.kind in self.kinds and (workload.is_chain or not self.chains_only)

    def versions(self) -> dict[str, str] | None:
        """Return the versions of its packages; None if one is not installed."""
        try:
            return {name: version(name) for name in self.packages}
        except PackageNotFoundError:
            return None


INFERENCE = frozenset({"inference"})
TORCH = FRAMEWORKS / "in_torch.py"
BACKENDS = {
    backend.name: backend
    for backend in (
        Backend(OURS, FRAMEWORKS / "in_jaxconv.py", ("jaxconv", "flax", "jax", "jaxlib")),
        Backend("jax", FRAMEWORKS / "in_jax.py", ("jax", "jaxlib"), chains_only=True),
        Backend("flax", FRAMEWORKS / "in_flax.py", ("flax", "jax", "jaxlib")),
        Backend("torch", TORCH, ("torch",)),
        Backend("torch-nhwc", TORCH, ("torch",), options={"layout": "channels_last"}),
        Backend("torch-compile", TORCH, ("torch",), options={"compiled": True}, may_fail=True),
        Backend("onnxruntime", FRAMEWORKS / "in_onnxruntime.py", ("onnxruntime", "onnx"), INFERENCE,
             needs_onnx=True),
        Backend("openvino", FRAMEWORKS / "in_openvino.py", ("openvino", "onnx"), INFERENCE,
             needs_onnx=True),
    )
}  # fmt: skip

# Not in the tables: the reference, and what the machine can do.
FLOAT64 = Backend("float64", FRAMEWORKS / "in_float64.py", ("jax", "jaxlib"))
FLOAT64_TORCH = Backend("float64", TORCH, ("torch",), options={"dtype": "float64"})
NUMPY = Backend("numpy", FRAMEWORKS / "in_numpy.py", ("numpy",), frozenset({"inference", "memory"}))


def reference_of(workload: Workload) -> Backend:
    """Choose what computes the reference.

    Gradients of large networks take minutes to compile in the code that shares nothing with
    others, so PyTorch computes them where it is installed.

    Args:
        workload: any.
    """
    is_large = workload.kind == "training" and not workload.is_chain
    return FLOAT64_TORCH if is_large and FLOAT64_TORCH.versions() else FLOAT64


def installed(backends: Iterable[Backend]) -> list[Backend]:
    """The backends whose packages are installed.

    Args:
        backends: to choose from.

    Returns:
        Those that can run, in the same order.
    """
    return [backend for backend in backends if backend.versions() is not None]
