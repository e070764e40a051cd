"""Who computes: libraries, what each needs, and its versions."""

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
        name: on the command line and in tables.
        file: its code, see :mod:`experiments.bench.frameworks`.
        packages: what it needs; the first is imported before time is taken.
        kinds: of the workloads that it can run.
        options: for the functions in its file.
        needs_onnx: whether it reads the network from an ONNX file.
        may_fail: whether it is no fault if it does not run here: a compiler needs another.
    """

    name: str
    file: Path
    packages: tuple[str, ...]
    kinds: frozenset[str] = frozenset({"inference", "training"})
    options: Mapping[str, Any] = field(default_factory=dict)
    needs_onnx: bool = False
    may_fail: bool = False

    def versions(self) -> dict[str, str] | None:
        """The versions of its packages; None where one is not installed."""
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

# No rows of a table: what is right, and what the machine can do.
FLOAT64 = Peer("float64", FRAMEWORKS / "in_float64.py", ("jax", "jaxlib"))
NUMPY = Peer("numpy", FRAMEWORKS / "in_numpy.py", ("numpy",), frozenset({"inference", "memory"}))


def installed(peers: Sequence[Peer]) -> list[Peer]:
    """Those whose packages are here."""
    return [peer for peer in peers if peer.versions() is not None]
