"""The backends: libraries, their packages and their versions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

FRAMEWORKS = Path(__file__).parent / "frameworks"
OURS = "jaxconv"


@dataclass(frozen=True)
class Peer:
    """One way to compute a workload.

    Attributes:
        name: name on the command line and in tables.
        file: its code, see :mod:`experiments.bench.frameworks`.
        packages: required packages; the first is imported before timing starts.
        kinds: kinds of workloads that it can run.
        options: options for the functions in its file.
        needs_onnx: whether it reads the network from an ONNX file.
        may_fail: whether a failure is only a note; a compiler may need another compiler.
    """

    name: str
    file: Path
    packages: tuple[str, ...]
    kinds: frozenset[str] = frozenset({"inference", "training"})
    options: Mapping[str, Any] = field(default_factory=dict)
    needs_onnx: bool = False
    may_fail: bool = False

    def versions(self) -> dict[str, str] | None:
        """Return the versions of its packages; None if one is not installed."""
        try:
            return {name: version(name) for name in self.packages}
        except PackageNotFoundError:
            return None


INFERENCE = frozenset({"inference"})
TORCH = FRAMEWORKS / "in_torch.py"
PEERS = {
    peer.name: peer
    for peer in (
        Peer(OURS, FRAMEWORKS / "in_jaxconv.py", ("jaxconv", "jax", "jaxlib")),
        Peer("jax", FRAMEWORKS / "in_jax.py", ("jax", "jaxlib")),
        Peer("flax", FRAMEWORKS / "in_flax.py", ("flax", "jax", "jaxlib")),
        Peer("torch", TORCH, ("torch",)),
        Peer("torch-nhwc", TORCH, ("torch",), options={"layout": "channels_last"}),
        Peer("torch-compile", TORCH, ("torch",), options={"compiled": True}, may_fail=True),
        Peer("onnxruntime", FRAMEWORKS / "in_onnxruntime.py", ("onnxruntime", "onnx"), INFERENCE,
             needs_onnx=True),
        Peer("openvino", FRAMEWORKS / "in_openvino.py", ("openvino", "onnx"), INFERENCE,
             needs_onnx=True),
    )
}  # fmt: skip

# Not in the tables: the reference, and the rates of the machine.
FLOAT64 = Peer("float64", FRAMEWORKS / "in_float64.py", ("jax", "jaxlib"))
NUMPY = Peer("numpy", FRAMEWORKS / "in_numpy.py", ("numpy",), frozenset({"inference", "memory"}))


def installed(peers: Sequence[Peer]) -> list[Peer]:
    """Return the backends whose packages are installed."""
    return [peer for peer in peers if peer.versions() is not None]
