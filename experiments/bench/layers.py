"""How fast is each kind of layer in jaxconv, in plain JAX and in PyTorch on the same cores?

    python -m experiments.bench.layers
    python -m experiments.bench.layers --sweep 300

The first command times each row of ``ROWS``: the layer, and the layer with both gradients. Each
library has a process of its own, which is stopped unless it is its turn; they take turns call by
call, and their results are compared first. It prints the median and the minimum of each.

The second command compares jaxconv with plain JAX for random layers of known networks, and lists
those that are more than 10 % slower.
"""

import argparse
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

PEERS = {"ours": "jax", "lax": "jax", "torch": "torch"}  # and the package of each
SLOWER = 1.1  # times the time of lax: listed
AGAIN = 4  # times as many calls decide whether a layer is slower
LEAST_CALLS = 3  # of each library
ROUND_SECONDS = 0.3  # layers whose rounds take longer on average are called less often
TOLERANCE = 1e-4  # of the fingerprints of results


@dataclass(frozen=True)
class Layer:
    """A layer and the size of its images.

    Attributes:
        kind: "conv", "conv_transpose", "max_pool" or "avg_pool".
        batch: the number of images.
        size: of the images, in pixels.
        channels: of the images.
        filters: of the result; for a pool, those of the images.
        window: elements of the kernel along each axis.
        stride: along each axis.
        dilation: likewise.
        groups: of channels.
    """

    kind: str
    batch: int
    size: tuple[int, ...]
    channels: int
    filters: int
    window: tuple[int, ...]
    stride: int = 1
    dilation: int = 1
    groups: int = 1

    @property
    def is_pool(self) -> bool:
        """Whether it has no kernel."""
        return self.kind.endswith("pool")

    @property
    def pads(self) -> tuple[int, ...]:
        """Pixels of padding at both ends of each axis, as PyTorch takes them."""
        if self.kind == "conv_transpose" or self.window == (self.stride,) * len(self.window):
            extra = (k - self.stride for k in self.window)
            return tuple(n // 2 if self.kind == "conv_transpose" else 0 for n in extra)
        return tuple((k - 1) * self.dilation // 2 for k in self.window)


def conv(size: int, channels: int, filters: int, window: int, **options: Any) -> Layer:
    """Describe a square 2-D convolution of a batch of 8.

    Args:
        size: height and width of the images.
        channels: of the images.
        filters: of the result.
        window: height and width of the kernel.
        **options: of :class:`Layer`.
    """
    layer = Layer("conv", 8, (size,) * 2, channels, filters, (window,) * 2)
    return replace(layer, **options)


ROWS = {
    "depthwise 3x3": conv(56, 128, 128, 3, groups=128),
    "depthwise 5x5, stride 2": conv(56, 128, 128, 5, groups=128, stride=2),
    "8 groups, 3x3": conv(56, 128, 128, 3, groups=8),
    "32 groups, 3x3": conv(28, 256, 256, 3, groups=32),
    "transposed 4x4, stride 2": conv(56, 128, 64, 4, stride=2, kind="conv_transpose"),
    "transposed 2x2, stride 2": conv(28, 256, 128, 2, stride=2, kind="conv_transpose"),
    "1x1": conv(56, 256, 64, 1),
    "1x1, stride 2": conv(56, 256, 512, 1, stride=2),
    "7x7, stride 2, RGB": conv(224, 3, 64, 7, stride=2),
    "3x3, RGB": conv(224, 3, 64, 3),
    "3x3, stride 2": conv(56, 128, 128, 3, stride=2),
    "3x3, dilation 2": conv(56, 128, 128, 3, dilation=2),
    "5x5": conv(28, 128, 128, 5),
    "3x3": conv(56, 128, 128, 3),
    "1x7": Layer("conv", 8, (17, 17), 192, 192, (1, 7)),
    "patches 16x16": conv(224, 3, 768, 16, stride=16),
    "3-D 3x3x3": Layer("conv", 2, (16, 56, 56), 32, 32, (3, 3, 3)),
    "1-D, width 9": Layer("conv", 8, (4096,), 64, 64, (9,)),
    "1-D, width 3, dilation 8": Layer("conv", 8, (4096,), 64, 64, (3,), dilation=8),
    "max pool 3x3, stride 2": conv(112, 64, 64, 3, stride=2, kind="max_pool"),
    "average pool 3x3, stride 2": conv(112, 64, 64, 3, stride=2, kind="avg_pool"),
    "max pool 3x3, stride 1": conv(28, 256, 256, 3, kind="max_pool"),
}


def _depthwise(size: int, channels: int, window: int, stride: int = 1) -> Layer:
    return conv(size, channels, channels, window, stride=stride, groups=channels)


def _grouped(size: int, channels: int, stride: int = 1) -> Layer:
    return conv(size, channels, channels, 3, stride=stride, groups=32)


def _up(size: int, channels: int) -> Layer:
    return conv(size, channels, channels // 2, 2, stride=2, kind="conv_transpose")


NETWORKS = {
    "MobileNetV2": [
        *(_depthwise(112, 32, 3), _depthwise(112, 96, 3, 2), _depthwise(56, 144, 3)),
        *(_depthwise(28, 192, 3, 2), _depthwise(14, 384, 3), _depthwise(7, 960, 3)),
        *(conv(112, 16, 96, 1), conv(56, 144, 24, 1), conv(14, 576, 96, 1), conv(7, 160, 960, 1)),
        conv(224, 3, 32, 3, stride=2),
    ],
    "EfficientNet-B0": [
        *(_depthwise(56, 144, 5, 2), _depthwise(28, 240, 5), _depthwise(28, 240, 3, 2)),
        *(_depthwise(14, 480, 5), _depthwise(14, 672, 5, 2), _depthwise(7, 1152, 3)),
        *(conv(28, 40, 240, 1), conv(14, 672, 112, 1), conv(1, 480, 20, 1), conv(1, 20, 480, 1)),
    ],
    "ConvNeXt-T": [
        *(_depthwise(56, 96, 7), _depthwise(28, 192, 7), _depthwise(14, 384, 7)),
        *(conv(224, 3, 96, 4, stride=4), conv(56, 96, 192, 2, stride=2)),
        conv(14, 384, 768, 2, stride=2),
    ],
    "ResNeXt-50": [
        *(_grouped(56, 128), _grouped(56, 256, 2), _grouped(28, 256), _grouped(28, 512, 2)),
        *(_grouped(14, 512), _grouped(14, 1024, 2), _grouped(7, 1024)),
    ],
    "ResNet-50": [
        *(conv(56, 64, 256, 1), conv(56, 256, 512, 1, stride=2), conv(28, 512, 128, 1)),
        *(conv(56, 128, 128, 3, stride=2), conv(28, 256, 256, 3, stride=2), conv(14, 256, 1024, 1)),
        *(conv(14, 512, 512, 3, stride=2), conv(7, 2048, 512, 1), conv(224, 3, 64, 7, stride=2)),
        conv(112, 64, 64, 3, stride=2, kind="max_pool"),
    ],
    "U-Net": [
        *(_up(8, 512), _up(16, 256), _up(32, 128), _up(64, 64)),
        *(conv(128, 32, 32, 3), conv(16, 256, 256, 3), conv(128, 32, 1, 1)),
        conv(32, 128, 64, 4, stride=2, kind="conv_transpose"),
    ],
}


def random_layers(count: int, seed: int) -> Iterator[tuple[str, Layer]]:
    """Draw layers of the networks, with other batches and sizes of images, and layers of all kinds.

    Args:
        count: how many.
        seed: of the random numbers.

    Yields:
        The network, or "random", and the layer.
    """
    draw = random.Random(seed)
    for _ in range(count):
        network = draw.choice([*NETWORKS, "random", "random"])
        if network == "random":
            yield network, _random_layer(draw)
            continue
        layer = draw.choice(NETWORKS[network])
        scale = draw.choice([0.5, 0.75, 1, 1, 1])
        sizes = (max(int(n * scale) + draw.choice([0, 0, 0, 1]), *layer.window) for n in layer.size)
        yield network, replace(layer, size=tuple(sizes), batch=draw.choice([1, 1, 2, 8]))


def _random_layer(draw: random.Random) -> Layer:
    """A layer without groups with the sizes that networks have: fewer pixels, more channels."""
    rank = draw.choice([1, 2, 2, 2, 3])
    kind = draw.choice(["conv"] * 5 + ["conv_transpose"] + ["max_pool", "avg_pool"] * (rank == 2))
    side = draw.choice([7, 14, 17, 28, 35, 56])
    size = {1: (side**2,), 2: (side, side), 3: (min(side, 8), side, side)}[rank]
    channels = draw.choice([16, 32, 48, 64, 128]) * (2 if side < 28 else 1)
    windows = [1, 3, 3, 5, 7] if rank < 3 else [1, 3, 3]
    window = draw.choice(windows if kind == "conv" else [2, 3, 4])
    if kind != "conv":
        filters = channels if kind.endswith("pool") else channels // 2
        return Layer(kind, draw.choice([1, 2, 8]), size, channels, filters, (window,) * rank, 2)
    sides = (1, window) if rank == 2 and draw.random() < 0.2 else (window,) * rank
    stride = draw.choice([1, 1, 2])
    return Layer(
        kind,
        draw.choice([1, 2, 8]),
        size,
        channels if draw.random() < 0.9 else 3,
        draw.choice([1, 2]) * channels,
        sides,
        stride=stride,
        dilation=draw.choice([1, 1, 2]) if stride == 1 else 1,
    )


class Process:
    """A library in a process that is stopped unless it is its turn.

    Args:
        peer: a name of ``PEERS``.
    """

    def __init__(self, peer: str) -> None:
        command = [sys.executable, "-m", "experiments.bench.layer_worker", peer]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def ask(self, **question: Any) -> Any:
        """Let the process answer, and stop it again.

        Args:
            **question: what :mod:`experiments.bench.layer_worker` reads.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(json.dumps(question) + "\n")
        answer = json.loads(self.process.stdout.readline())
        self.process.send_signal(signal.SIGSTOP)
        return answer

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


def race(
    processes: Mapping[str, Process], layer: Layer, program: str, rounds: int
) -> dict[str, list[float]]:
    """Time a layer in all processes, in turn.

    Args:
        processes: by the names of ``PEERS``.
        layer: what they compute.
        program: "forward", or "gradient" for the layer and its gradients.
        rounds: calls of each; fewer where they take long.

    Returns:
        Milliseconds of each call.

    Raises:
        ValueError: they compute different things.
    """
    built = {n: p.ask(layer=asdict(layer), program=program) for n, p in processes.items()}
    first, *rest = built.values()
    for other in rest:
        for a, b in zip(first, other, strict=True):
            if not abs(a - b) <= TOLERANCE * abs(a):
                raise ValueError(f"{layer}: the results differ: {built}.")
    times: dict[str, list[float]] = {name: [] for name in processes}
    for number in range(rounds + 1):
        for name, process in processes.items():
            milliseconds = process.ask()
            if number:
                times[name].append(milliseconds)
        spent = sum(map(sum, times.values())) / 1e3
        if number >= LEAST_CALLS and spent > ROUND_SECONDS * rounds:
            break
    return times


def is_slow(times: Mapping[str, list[float]]) -> bool:
    """Tell whether our shortest time is clearly longer than that of `lax`.

    Args:
        times: by :func:`race`.
    """
    return min(times["ours"]) > SLOWER * min(times.get("lax", times["ours"]))


def print_race(title: str, times: Mapping[str, list[float]]) -> None:
    """Print a line: median and minimum of each, and their ratios to ours.

    Args:
        title: of the line.
        times: by :func:`race`.
    """
    cells = [f"{n} {statistics.median(t):8.2f} {min(t):8.2f}" for n, t in times.items()]
    ratios = [
        f"{n}/ours {statistics.median(t) / statistics.median(times['ours']):5.2f} "
        f"{min(t) / min(times['ours']):5.2f}"
        for n, t in times.items()
        if n != "ours"
    ]
    print(f"{title:44s} {' | '.join([*cells, *ratios])}", flush=True)


def main() -> int:
    """Run the benchmark; the exit status is 1 if a sweep found a slower layer."""
    parser = argparse.ArgumentParser(description="Time layers of all kinds, in turn.")
    parser.add_argument("--rows", help=f"default: all of {'; '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, default=15, metavar="N")
    parser.add_argument("--peers", default=",".join(PEERS), metavar="NAMES")
    parser.add_argument("--sweep", type=int, metavar="N", help="random layers, ours against lax")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random layers")
    options = parser.parse_args()
    peers = ["ours", "lax"] if options.sweep else options.peers.split(",")
    versions = {package: version(package) for package in {PEERS[name] for name in peers}}
    cores = len(os.sched_getaffinity(0))
    print(f"Python {platform.python_version()}, {versions}, {cores} cores; ms: median, minimum.")
    rows = options.rows.split(";") if options.rows else [*ROWS]
    chosen = [(name, ROWS[name]) for name in rows]
    if options.sweep:
        layers = random_layers(options.sweep, options.seed)
        chosen = [(f"{n} {_short(layer)}", layer) for n, layer in layers]
    processes = {name: Process(name) for name in peers}
    slower = 0
    try:
        for title, layer in chosen:
            for program in ("forward", "gradient"):
                times = race(processes, layer, program, options.rounds)
                if options.sweep and is_slow(times):  # shared machines are noisy
                    times = race(processes, layer, program, AGAIN * options.rounds)
                is_slower = is_slow(times)
                slower += is_slower
                print_race(f"{title}, {program}{' SLOWER' * is_slower}", times)
    finally:
        for process in processes.values():
            process.close()
    return int(options.sweep is not None and slower > 0)


def _short(layer: Layer) -> str:
    size, window = ("x".join(map(str, n)) for n in (layer.size, layer.window))
    return (
        f"{layer.kind} {layer.batch}x{size}x{layer.channels} to {layer.filters}, {window}"
        f"/{layer.stride}, dilation {layer.dilation}, {layer.groups} groups"
    )


if __name__ == "__main__":
    sys.exit(main())
