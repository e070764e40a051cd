"""How long does a proof take, and what does ``import jaxconv`` cost?

    python -m experiments.proof_speed

Each network is proven in its own process: once cold, right after the imports, and then five times;
the table has the median of these. Expected: VGG16 with any head under 0.5 s, ResNet-50 under 1 s,
ResNet-152 under 5 s, the U-Net under 2 s and that of Stable Diffusion under 15 s, and less than
0.3 s that ``import jaxconv`` adds to ``import jax, flax``.

Prints a table and writes ``experiments/results/proof_speed.json``.
"""

import argparse
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from flax import nnx

import jaxconv as jc
from experiments import networks

OUT = Path("experiments/results/proof_speed.json")
PACKAGES = ("jax", "flax", "islpy")


def _vgg16(head: Literal["dense", "conv"] | None) -> Callable[..., Any]:
    return nnx.eval_shape(lambda: jc.vgg16(head=head))


NETWORKS: dict[str, Callable[[], Callable[..., Any]]] = {
    "VGG16, no head": functools.partial(_vgg16, None),
    "VGG16, dense head": functools.partial(_vgg16, "dense"),
    "VGG16, conv head": functools.partial(_vgg16, "conv"),
    "ResNet-50": lambda: nnx.eval_shape(lambda: networks.ResNet(nnx.Rngs(0))),
    "ResNet-152": lambda: nnx.eval_shape(lambda: networks.ResNet(nnx.Rngs(0), (3, 8, 36, 3))),
    "U-Net, 4 levels": lambda: functools.partial(networks.u_net, levels=4),
    "U-Net of Stable Diffusion": lambda: nnx.eval_shape(
        lambda: networks.DiffusionUNet(nnx.Rngs(0))
    ),
    "gradient of 10 strided": functools.partial(networks.strided_gradient, 10),
    **{f"chain of {n}": functools.partial(networks.chain, n) for n in (25, 50, 100, 200)},
}
SPECS = {"U-Net of Stable Diffusion": "b h w 4"}  # of the other networks: "b h w 3"


def measure(name: str, repeats: int = 5) -> dict[str, Any]:
    """Prove one network, once cold and then ``repeats`` times.

    Args:
        name: a key of :data:`NETWORKS`.
        repeats: proofs after the first.

    Returns:
        Seconds and the verdict, for JSON.
    """
    seconds, verdict, network = [], None, NETWORKS[name]()
    for _ in range(1 + repeats):  # each trace is one of a new function, which JAX has not cached
        start = time.perf_counter()
        verdict = jc.check(network, SPECS.get(name, "b h w 3"))
        seconds.append(time.perf_counter() - start)
    assert verdict is not None
    return {
        "network": name,
        "cold_seconds": round(seconds[0], 4),
        "median_seconds": round(statistics.median(seconds[1:]), 4),
        "seconds": [round(s, 4) for s in seconds[1:]],
        "traces": verdict.runs,
        "status": verdict.status,
        "accepts": str(verdict.accepts),
        "outputs": str(verdict.outputs),
    }


IMPORTS = {"without": "import jax, flax", "with": "import jax, flax, jaxconv"}
TIMED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"


def measure_imports(repeats: int) -> dict[str, Any]:
    """Measure imports in new processes, in turn, so that both run under the same load.

    Args:
        repeats: timed imports of each kind.

    Returns:
        Seconds, medians and their difference, for JSON.
    """
    seconds: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for turn in range(repeats + 1):
        for name, line in IMPORTS.items():
            elapsed = float(_output([sys.executable, "-c", TIMED.format(line)]))
            if turn:  # the first turn fills the caches of the disk
                seconds[name].append(round(elapsed, 4))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    added = round(medians["with"] - medians["without"], 4)
    return {"lines": IMPORTS, "seconds": seconds, "medians": medians, "added_seconds": added}


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Format the rows as text.

    Args:
        rows: of :func:`measure`.

    Returns:
        One line per network.
    """
    lines = [f"{'network':25} {'cold s':>7} {'median s':>8} {'traces':>6}  accepts"]
    for row in rows:
        numbers = f"{row['cold_seconds']:7.3f} {row['median_seconds']:8.3f} {row['traces']:6}"
        lines.append(f"{row['network']:25} {numbers}  {row['accepts']}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark; with ``--only``, measure one network in this process.

    Args:
        arguments: the command line; None for that of this process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m experiments.proof_speed", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--only", choices=NETWORKS, help="print the row of this network as JSON")
    parser.add_argument("--repeats", type=int, default=5, help="warm proofs per network")
    parser.add_argument("--imports", type=int, default=9, help="new processes per import")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(arguments)
    if options.only:
        print(json.dumps(measure(options.only, options.repeats)))
        return
    again = [sys.executable, "-m", "experiments.proof_speed", "--repeats", str(options.repeats)]
    rows = [json.loads(_output([*again, "--only", name])) for name in NETWORKS]
    report = {
        "command": "python -m experiments.proof_speed",
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        "cores_of_the_machine": os.cpu_count(),
        "networks": rows,
        "imports": measure_imports(options.imports),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    print(table(rows))
    print(f"import jaxconv adds {report['imports']['added_seconds']:.3f} s to import jax, flax.")


if __name__ == "__main__":
    main()
