"""How fast is VGG16 in jaxconv, and in other libraries on the same cores?

    python -m experiments.bench

The same as ``jaxconv bench``, and takes its options (``--help``), but writes
``experiments/results/bench.json`` and ``docs/pictures/bench.svg`` unless told otherwise. Everything
takes about half an hour; ``--workloads vgg16-b1 --rounds 3`` takes one minute.

Expected on two cores of an AMD EPYC (Zen 5), for VGG16 at 224 pixels and batch 1: 75 to 82 ms with
OpenVINO and ONNX Runtime, 90 ms with PyTorch in channels-last layout and 120 ms in its own, 110 to
150 ms with plain JAX; a roofline of 430 to 460 GFLOP/s and 35 to 46 GB/s read; errors below 1e-5.
"""

import sys
from collections.abc import Sequence

from jaxconv.cli import main as command

FILES = {"--out": "experiments/results/bench.json", "--chart": "docs/pictures/bench.svg"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``jaxconv bench``; its exit status."""
    given = [*(sys.argv[1:] if arguments is None else arguments)]
    named = {option.partition("=")[0] for option in given}
    files = [f"{option}={path}" for option, path in FILES.items() if option not in named]
    return command(["bench", *files, *given])


if __name__ == "__main__":
    sys.exit(main())
