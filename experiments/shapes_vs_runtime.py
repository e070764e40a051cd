"""What do contracts cost? Compile time and run time of a training step with and without them.

    python -m experiments.shapes_vs_runtime

All layers of a VGG for pictures of 32x32 pixels and its loss have contracts, or none has. Both
versions are compiled in turn, without caches, and then run in turn, step by step. Contracts are
checked while JAX traces and leave nothing in the program: the text of both is compared, too.

Expected: the same program; a ratio of run times of 1.00 within the noise; 1.00 to 1.05 to compile.
Prints a table and writes ``experiments/results/shapes_vs_runtime.json``.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxconv as jc
from experiments.training.report import machine

OUT = Path("experiments/results/shapes_vs_runtime.json")
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
CLASSES = 10
KINDS = ("without", "with")
Decorator = Callable[[str, Callable[..., Any]], Callable[..., Any]]  # a contract, a function


def with_contract(text: str, fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with a contract.

    Args:
        text: the contract.
        fn: the function.

    Returns:
        The function with its contract.
    """
    return jc.contract(text)(fn)


def without_contract(_: str, fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function itself.

    Args:
        _: the contract, ignored.
        fn: the function.

    Returns:
        The function itself.
    """
    return fn


def training_step(decorate: Decorator) -> Callable[..., Any]:
    """Return a step of gradient descent for parameters, pictures (b, 32, 32, 3) and labels (b,).

    Args:
        decorate: adds a contract to a function, or does not.

    Returns:
        The step; it returns new parameters and the loss.
    """
    layer = decorate(
        "b h w c, 3 3 c k, k -> b h w k", lambda x, w, b: jax.nn.relu(jc.conv(x, w, b))
    )
    pool = decorate("b h w c -> b h//2 w//2 c", jc.max_pool)
    head = decorate(f"b c, c {CLASSES} -> b {CLASSES}", lambda x, w: x @ w)
    entropy = decorate(f"b {CLASSES}, b -> b", optax.softmax_cross_entropy_with_integer_labels)

    def loss(params: Any, image: jax.Array, label: jax.Array) -> jax.Array:
        x = image
        for stage in params["stages"]:
            for kernel, bias in stage:
                x = layer(x, kernel, bias)
            x = pool(x)
        return entropy(head(x.mean((1, 2)), params["head"]), label).mean()

    def step(params: Any, image: jax.Array, label: jax.Array) -> tuple[Any, jax.Array]:
        value, gradients = jax.value_and_grad(loss)(params, image, label)
        return jax.tree.map(lambda p, g: p - 0.01 * g, params, gradients), value

    return step


def random_inputs(batch: int, stages: Sequence[Sequence[int]]) -> tuple[Any, jax.Array, jax.Array]:
    """Return random parameters, pictures and labels.

    Args:
        batch: the number of images.
        stages: filters of each convolution of each stage.

    Returns:
        Parameters, images (batch, 32, 32, 3) and labels (batch,).
    """
    rng = np.random.default_rng(0)
    channels, parameters = 3, list[Any]()
    for widths in stages:
        parameters.append([])
        for width in widths:
            kernel = rng.standard_normal((3, 3, channels, width)) * (2 / (9 * channels)) ** 0.5
            parameters[-1].append((jnp.asarray(kernel, jnp.float32), jnp.zeros(width)))
            channels = width
    head = jnp.asarray(rng.standard_normal((channels, CLASSES)) * 0.1, jnp.float32)
    image = jnp.asarray(rng.standard_normal((batch, 32, 32, 3)), jnp.float32)
    return {"stages": parameters, "head": head}, image, jnp.asarray(rng.integers(0, CLASSES, batch))


def measure(rounds: int, batch: int, stages: Sequence[Sequence[int]] = STAGES) -> dict[str, Any]:
    """Compile and run both in turn; return their times, and whether the programs are the same.

    Args:
        rounds: timed steps of each.
        batch: images per step.
        stages: filters of each convolution of each stage.

    Returns:
        Seconds by what was timed and by kind, and whether the programs are the same.
    """
    inputs = random_inputs(batch, stages)
    decorators = dict(zip(KINDS, (without_contract, with_contract), strict=True))
    seconds: dict[str, dict[str, list[float]]] = {
        what: {kind: [] for kind in KINDS} for what in ("compile", "step")
    }
    programs, texts = {}, {}
    for _ in range(max(rounds // 4, 2)):
        for kind in KINDS:
            jax.clear_caches()
            start = time.perf_counter()
            lowered = jax.jit(training_step(decorators[kind])).lower(*inputs)
            programs[kind] = lowered.compile()
            seconds["compile"][kind].append(time.perf_counter() - start)
            texts[kind] = lowered.as_text()
    for number in range(-1, rounds):
        for kind in KINDS:
            start = time.perf_counter()
            jax.block_until_ready(programs[kind](*inputs))
            if number >= 0:  # the first of each is not counted
                seconds["step"][kind].append(time.perf_counter() - start)
    return {"same_program": texts["with"] == texts["without"], "seconds": seconds}


def ratio(seconds: dict[str, list[float]]) -> tuple[float, float, float]:
    """Return the median of the ratios with/without, pair by pair, and their quartiles.

    Args:
        seconds: of the kinds "with" and "without".

    Returns:
        Median, lower and upper quartile.
    """
    pairs = [one / other for one, other in zip(seconds["with"], seconds["without"], strict=True)]
    low, middle, high = statistics.quantiles(pairs, n=4, method="inclusive")
    return middle, low, high


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write. The exit status is 1 if the programs differ.

    Args:
        arguments: the command line; None for that of this process.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description="Measure what contracts cost.")
    parser.add_argument("--rounds", type=int, default=40, help="steps of each; default: 40")
    parser.add_argument("--batch", type=int, default=32, help="pictures per step; default: 32")
    parser.add_argument("--out", type=Path, default=OUT, help=f"default: {OUT}")
    options = parser.parse_args(arguments)
    result = measure(options.rounds, options.batch)
    for what, seconds in result["seconds"].items():
        middle, low, high = ratio(seconds)
        times = {kind: 1e3 * statistics.median(seconds[kind]) for kind in KINDS}
        print(
            f"{what:8} without {times['without']:8.1f} ms   with {times['with']:8.1f} ms   "
            f"ratio {middle:.3f} ({low:.3f} to {high:.3f})"
        )
    print("one program" if result["same_program"] else "the programs differ")
    about = {
        "command": "python -m experiments.shapes_vs_runtime",
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "versions": {name: version(name) for name in ("jaxconv", "jax", "optax")},
        "batch": options.batch,
    }
    options.out.write_text(json.dumps({**about, **result}, indent=1) + "\n")
    return 0 if result["same_program"] else 1


if __name__ == "__main__":
    sys.exit(main())
