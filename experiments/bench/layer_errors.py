"""How exact is each kind of convolution in jaxconv, in plain JAX and in PyTorch?

    python -m experiments.bench.layer_errors

For each convolution of :data:`experiments.bench.layers.ROWS`, with at most two smaller images, it
prints the relative root mean square error against float64 of the result and of the gradients of
the images and of the kernel, and the ratios of ours to those of the others.
"""

import argparse
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np

from experiments.bench.layer_worker import of_jax, of_torch
from experiments.bench.layers import ROWS, Layer

PEERS = ("ours", "lax", "torch")
EXACT = "float64"
LONGEST = {1: 2048, 2: 56, 3: 28}  # pixels along an axis, by the number of axes
RESULTS = ("result", "gradient of images", "gradient of kernel")


def compute(peer: str, layer: Layer) -> list[np.ndarray]:
    """Compute a layer and its gradients, in a process of its own.

    Args:
        peer: one of ``PEERS``, or ``EXACT``: PyTorch in float64.
        layer: the layer.

    Returns:
        The result and the gradients of images and kernel; channels are last.
    """
    if peer in ("ours", "lax"):
        return [np.asarray(a) for a in of_jax(layer, "gradient", is_ours=peer == "ours")()]
    dtype = EXACT if peer == EXACT else "float32"
    y, images, kernel = (a.detach().numpy() for a in of_torch(layer, "gradient", dtype)())
    rank = len(layer.size)
    order = (0, 1) if layer.kind == "conv_transpose" else (1, 0)
    kernel = kernel.transpose(*range(2, rank + 2), *order)
    return [np.moveaxis(y, 1, -1), np.moveaxis(images, 1, -1), kernel]


def errors(layer: Layer) -> dict[str, list[float]]:
    """Measure the relative root mean square errors of all peers.

    Args:
        layer: of few pixels: float64 is slow.

    Returns:
        By the name of the peer, in the order of ``RESULTS``.
    """
    exact, *computed = (_in_process(peer, layer) for peer in (EXACT, *PEERS))
    return {
        peer: [_error(a, b) for a, b in zip(results, exact, strict=True)]
        for peer, results in zip(PEERS, computed, strict=True)
    }


def _in_process(peer: str, layer: Layer) -> Sequence[np.ndarray]:
    """Plain JAX takes the place of our functions, so that each peer needs its own process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(compute, peer, layer).result()


def _error(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


def main() -> None:
    """Print a line for each convolution."""
    convolutions = {name: layer for name, layer in ROWS.items() if not layer.is_pool}
    parser = argparse.ArgumentParser(description="Measure the errors of layers of all kinds.")
    parser.add_argument("--rows", help=f"default: all of {'; '.join(convolutions)}")
    rows = parser.parse_args().rows
    for name in rows.split(";") if rows else convolutions:
        layer = convolutions[name]
        size = tuple(min(n, LONGEST[len(layer.size)]) for n in layer.size)
        measured = errors(replace(layer, batch=min(layer.batch, 2), size=size))
        cells = []
        for kind, ours, *others in zip(RESULTS, *measured.values(), strict=True):
            ratios = [
                f"{ours / other:.1f} x {peer}"
                for peer, other in zip(PEERS[1:], others, strict=True)
            ]
            cells.append(f"{kind} {ours:.1e}, {', '.join(ratios)}")
        print(f"{name:26s} {' | '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
