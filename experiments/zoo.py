"""Typical networks for the experiments: plain functions and Flax NNX models."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

DIMENSION_NUMBERS = ("NHWC", "HWIO", "NHWC")


def ones(*shape: int) -> jax.Array:
    """Return a kernel of ones; only its shape matters.

    Args:
        *shape: of the kernel.

    Returns:
        float32 ones.
    """
    return jnp.ones(shape)


def conv(
    x: Any, kernel: Any, stride: int = 1, padding: Any = "SAME", dilation: int = 1, groups: int = 1
) -> Any:
    """Convolve images (b, h, w, c) in plain JAX.

    Args:
        x: (b, h, w, c).
        kernel: (kh, kw, c // groups, c_out).
        stride: in pixels, along both axes.
        padding: as ``lax.conv_general_dilated`` takes it.
        dilation: of the kernel.
        groups: of the channels.

    Returns:
        (b, h', w', c_out).
    """
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=DIMENSION_NUMBERS,
        feature_group_count=groups,
    )


def pool(x: Any) -> Any:
    """Apply 2x2 max pooling.

    Args:
        x: (b, h, w, c).

    Returns:
        (b, h // 2, w // 2, c).
    """
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def u_net(x: Any, levels: int = 4, width: int = 8) -> Any:
    """Apply a U-Net (Ronneberger, Fischer and Brox, 2015) with SAME padding.

    Args:
        x: (b, h, w, c); h and w multiples of ``2**levels``.
        levels: the number of pools.
        width: filters of the first level; each level has twice as many.

    Returns:
        (b, h, w, 2).
    """
    skips = []
    for level in range(levels):
        x = double_conv(x, width << level)
        skips.append(x)
        x = pool(x)
    x = double_conv(x, width << levels)
    for level in reversed(range(levels)):
        up = ones(2, 2, x.shape[-1], width << level)
        x = lax.conv_transpose(x, up, (2, 2), "VALID", dimension_numbers=DIMENSION_NUMBERS)
        x = double_conv(jnp.concatenate([skips[level], x], -1), width << level)
    return conv(x, ones(1, 1, x.shape[-1], 2))


def double_conv(x: Any, width: int) -> Any:
    """Apply two 3x3 convolutions with ReLU.

    Args:
        x: (b, h, w, c).
        width: filters of each.

    Returns:
        (b, h, w, width).
    """
    for _ in range(2):
        x = jax.nn.relu(conv(x, ones(3, 3, x.shape[-1], width)))
    return x


def chain(depth: int, pool_every: int = 25) -> Callable[[Any], Any]:
    """Return a network of ``depth`` convolutions, with a pool after every ``pool_every``.

    Args:
        depth: the number of convolutions.
        pool_every: the number of convolutions before each pool.

    Returns:
        A function of images (b, h, w, c).
    """

    def network(x: Any) -> Any:
        for i in range(1, depth + 1):
            x = jax.nn.relu(conv(x, ones(3, 3, x.shape[-1], 8)))
            x = x if i % pool_every else pool(x)
        return x

    return network


class Unit(nnx.Module):
    """A convolution without bias, and batch normalisation."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, rngs: nnx.Rngs) -> None:
        pad, size = kernel // 2, (kernel, kernel)
        self.conv = nnx.Conv(
            c_in, c_out, size, (stride, stride), padding=pad, use_bias=False, rngs=rngs
        )
        self.norm = nnx.BatchNorm(c_out, use_running_average=True, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        """Map (b, h, w, c_in) to (b, h', w', c_out)."""
        return self.norm(self.conv(x))


class Bottleneck(nnx.Module):
    """The block of ResNet-50: 1x1, 3x3, 1x1, and the shortcut."""

    def __init__(self, c_in: int, width: int, stride: int, rngs: nnx.Rngs) -> None:
        c_out = 4 * width
        self.units = nnx.List(
            [
                Unit(c_in, width, 1, 1, rngs),
                Unit(width, width, 3, stride, rngs),
                Unit(width, c_out, 1, 1, rngs),
            ]
        )
        fits = c_in == c_out and stride == 1
        self.shortcut = None if fits else Unit(c_in, c_out, 1, stride, rngs)

    def __call__(self, x: Any) -> Any:
        """Add three convolutions of x to x, or to a projection of it."""
        y = x
        for i, unit in enumerate(self.units):
            y = unit(y) if i == 2 else nnx.relu(unit(y))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nnx.Module):
    """ResNet-50 (He, Zhang, Ren and Sun, 2015) with the stride in the 3x3, as in torchvision."""

    def __init__(self, rngs: nnx.Rngs, blocks: Sequence[int] = (3, 4, 6, 3)) -> None:
        self.stem = Unit(3, 64, 7, 2, rngs)
        self.blocks, c_in = nnx.List(), 64
        for stage, count in enumerate(blocks):
            for i in range(count):
                width, stride = 64 << stage, 2 if stage and not i else 1
                self.blocks.append(Bottleneck(c_in, width, stride, rngs))
                c_in = 4 * width
        self.head = nnx.Linear(c_in, 1000, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        """Map images (b, h, w, 3) to logits (b, 1000)."""
        x = nnx.relu(self.stem(x))
        pads: Any = ((1, 1), (1, 1))  # Flax accepts pairs, although its annotation says str
        x = nnx.max_pool(x, (3, 3), (2, 2), pads)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((1, 2)))
