"""The process of one library for :mod:`experiments.bench.layers`: answers a line with a line."""

import functools
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments.bench.layers import Layer

Program = Callable[[], Sequence[Any]]


def arrays(layer: Layer, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    """Draw images and a kernel; channels are last.

    Args:
        layer: its sizes.
        dtype: of both. The numbers are those of float32.
    """
    draw = np.random.default_rng(0).normal
    x = draw(size=(layer.batch, *layer.size, layer.channels))
    kernel = draw(size=(*layer.window, layer.channels // layer.groups, layer.filters))
    return x.astype(np.float32).astype(dtype), kernel.astype(np.float32).astype(dtype)


def of_jax(layer: Layer, program: str, *, is_ours: bool) -> Program:
    """Build a layer in jaxconv, or in plain JAX.

    Args:
        layer: what to compute.
        program: "forward" or "gradient".
        is_ours: with our formulations, and the options of ``jaxconv.jit``.
    """
    import jax
    import jax.numpy as jnp

    import jaxconv as jc

    if not is_ours:
        from jax import lax

        import jaxconv.layers.conv
        import jaxconv.layers.pool

        jaxconv.layers.conv.conv_general_dilated = lax.conv_general_dilated
        jaxconv.layers.pool.sum_windows = _plain_sums
    function = getattr(jc, layer.kind)
    layout = {1: "NWC", 2: "NHWC", 3: "NDHWC"}[len(layer.size)]
    options: dict[str, Any] = {"stride": layer.stride, "padding": layer.pads, "layout": layout}
    if layer.is_pool:
        options |= {"window": layer.window}
        if not is_ours and layer.kind == "max_pool":
            function = _plain_max_pool
        if layer.kind == "avg_pool":
            options |= {"count_padding": True}
    else:
        options |= {"dilation": layer.dilation, "groups": layer.groups}
    call = functools.partial(function, **options)
    x, kernel = map(jnp.asarray, arrays(layer))
    given = (x,) if layer.is_pool else (x, kernel)

    def gradient(g: jax.Array, *args: jax.Array) -> Sequence[jax.Array]:
        y, pull = jax.vjp(call, *args)
        return y, *pull(g)

    jit = jc.jit if is_ours else jax.jit
    if program == "forward":
        compiled = jit(lambda *args: (call(*args),))
        return lambda: jax.block_until_ready(compiled(*given))
    g = direction(jax.eval_shape(call, *given).shape)
    compiled = jit(gradient)
    return lambda: jax.block_until_ready(compiled(g, *given))


def _plain_max_pool(x: Any, window: Any, stride: int, padding: Any, **_: Any) -> Any:
    from jax import lax

    ones, pads = (1, *[stride] * len(window), 1), [(0, 0), *((n, n) for n in padding), (0, 0)]
    return lax.reduce_window(x, -np.inf, lax.max, (1, *window, 1), ones, pads)


def _plain_sums(x: Any, size: Any, stride: Any, pads: Any) -> Any:
    from jax import lax

    return lax.reduce_window(x, np.float32(0), lax.add, size, stride, pads)


def direction(shape: Sequence[int]) -> np.ndarray:
    """Draw the gradient of a result.

    Args:
        shape: of the result, channels last.
    """
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def of_torch(layer: Layer, program: str, dtype: str = "float32") -> Program:
    """Build a layer in PyTorch, channels last.

    Args:
        layer: what to compute.
        program: "forward" or "gradient".
        dtype: of all arrays.
    """
    import torch

    rank = len(layer.size)
    x, kernel = arrays(layer, dtype)
    is_transposed = layer.kind == "conv_transpose"
    order = (rank, rank + 1) if is_transposed else (rank + 1, rank)
    channels_first = (0, rank + 1, *range(1, rank + 1))
    weight = torch.from_numpy(kernel.transpose(*order, *range(rank)).copy())
    images = torch.from_numpy(x).permute(channels_first)
    each = [layer.stride] * rank

    def forward(images: Any, weight: Any) -> Any:
        if layer.is_pool:
            pool = {"max_pool": "max_pool2d", "avg_pool": "avg_pool2d"}[layer.kind]
            return getattr(torch.nn.functional, pool)(images, layer.window, each, layer.pads)
        return torch.ops.aten.convolution(
            images, weight, None, each, [*layer.pads], [layer.dilation] * rank, is_transposed,
            [0] * rank, layer.groups,
        )  # fmt: skip

    def inference() -> Sequence[Any]:
        with torch.no_grad():
            return (forward(images, weight),)

    if program == "forward":
        return inference
    shape = inference()[0].permute(0, *range(2, rank + 2), 1).shape
    g = torch.from_numpy(direction(shape).astype(dtype)).permute(channels_first)
    wanted = [a.detach().requires_grad_() for a in (images, weight)][: 1 if layer.is_pool else 2]

    def gradient() -> Sequence[Any]:
        y = forward(*wanted, *([weight] if layer.is_pool else []))
        return y, *torch.autograd.grad(y, wanted, g)

    return gradient


def fingerprint(results: Sequence[Any]) -> list[float]:
    """Describe results by numbers that do not depend on the order of axes.

    Args:
        results: of a program.
    """
    values = [np.asarray(r.detach() if hasattr(r, "detach") else r, np.float64) for r in results]
    return [float(np.sqrt((value**2).sum())) for value in values]


def main(peer: str) -> None:
    """Answer each line of the input: build a program, or call it once more.

    Args:
        peer: "ours", "lax" or "torch".
    """
    program: Program = tuple
    for line in sys.stdin:
        question = json.loads(line)
        if question:
            sizes: dict[str, Any] = {
                n: tuple(v) if isinstance(v, list) else v for n, v in question["layer"].items()
            }
            layer = Layer(**sizes)
            if peer == "torch":
                program = of_torch(layer, question["program"])
            else:
                program = of_jax(layer, question["program"], is_ours=peer == "ours")
            answer: Any = fingerprint(program())
        else:
            start = time.perf_counter()
            program()
            answer = (time.perf_counter() - start) * 1e3
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
