"""Typical networks for the experiments: plain functions and Flax NNX models."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
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


def u_net(x: Any, levels: int = 4, width: int = 8, kernel: Callable[..., Any] = ones) -> Any:
    """Apply a U-Net (Ronneberger, Fischer and Brox, 2015) with SAME padding.

    Args:
        x: (b, h, w, c); h and w multiples of ``2**levels``.
        levels: the number of pools.
        width: filters of the first level; each level has twice as many.
        kernel: makes a kernel of a shape.

    Returns:
        (b, h, w, 2).
    """

    def double_conv(x: Any, width: int) -> Any:
        for _ in range(2):
            x = jax.nn.relu(conv(x, kernel(3, 3, x.shape[-1], width)))
        return x

    skips = []
    for level in range(levels):
        x = double_conv(x, width << level)
        skips.append(x)
        x = pool(x)
    x = double_conv(x, width << levels)
    for level in reversed(range(levels)):
        up = kernel(2, 2, x.shape[-1], width << level)
        x = lax.conv_transpose(x, up, (2, 2), "VALID", dimension_numbers=DIMENSION_NUMBERS)
        x = double_conv(jnp.concatenate([skips[level], x], -1), width << level)
    return conv(x, kernel(1, 1, x.shape[-1], 2))


def he_normal(*shape: int) -> np.ndarray:
    """Draw a kernel with which maps keep their scale (He et al., 2015).

    Args:
        *shape: of the kernel.

    Returns:
        float32, the same for the same shape.
    """
    numbers = np.random.default_rng(shape).normal(size=shape)
    return (numbers * (2 / math.prod(shape[:-1])) ** 0.5).astype(np.float32)


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


class ResidualBlock(nnx.Module):
    """The block of a diffusion U-Net: two normalised convolutions, the time step, the shortcut."""

    def __init__(self, c_in: int, c_out: int, time: int, rngs: nnx.Rngs) -> None:
        self.norms = nnx.List([nnx.GroupNorm(c, rngs=rngs) for c in (c_in, c_out)])
        self.convs = nnx.List([nnx.Conv(c, c_out, (3, 3), rngs=rngs) for c in (c_in, c_out)])
        self.time = nnx.Linear(time, c_out, rngs=rngs)
        self.shortcut = None if c_in == c_out else nnx.Conv(c_in, c_out, (1, 1), rngs=rngs)

    def __call__(self, x: Any, time: Any) -> Any:
        """Map (b, h, w, c_in) and (1, time) to (b, h, w, c_out)."""
        y = self.convs[0](nnx.silu(self.norms[0](x)))
        y = y + self.time(nnx.silu(time))[:, None, None]
        y = self.convs[1](nnx.silu(self.norms[1](y)))
        return y + (x if self.shortcut is None else self.shortcut(x))


class Attention(nnx.Module):
    """Attention of the pixels to one another, or to the tokens of a text."""

    def __init__(self, width: int, source: int, heads: int, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.query = nnx.Linear(width, width, use_bias=False, rngs=rngs)
        self.key = nnx.Linear(source, width, use_bias=False, rngs=rngs)
        self.value = nnx.Linear(source, width, use_bias=False, rngs=rngs)
        self.out = nnx.Linear(width, width, rngs=rngs)

    def __call__(self, x: Any, source: Any = None) -> Any:
        """Map (b, n, width) and (b, m, source) to (b, n, width)."""
        b, n, width = x.shape
        y = self.norm(x)
        source = y if source is None else source
        q, k, v = (
            layer(z).reshape(b, -1, self.heads, width // self.heads)
            for layer, z in ((self.query, y), (self.key, source), (self.value, source))
        )
        return x + self.out(jax.nn.dot_product_attention(q, k, v).reshape(b, n, width))


class Transformer(nnx.Module):
    """The transformer of a diffusion U-Net, on the pixels of a map as a sequence."""

    def __init__(self, width: int, text: int, heads: int, rngs: nnx.Rngs) -> None:
        self.norm = nnx.GroupNorm(width, rngs=rngs)
        self.first, self.last = (nnx.Conv(width, width, (1, 1), rngs=rngs) for _ in range(2))
        self.among_pixels = Attention(width, width, heads, rngs)
        self.to_text = Attention(width, text, heads, rngs)
        self.norm_of_hidden = nnx.LayerNorm(width, rngs=rngs)
        self.hidden = nnx.Linear(width, 8 * width, rngs=rngs)
        self.out = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x: Any, text: Any) -> Any:
        """Map (b, h, w, width) and (b, m, text) to (b, h, w, width)."""
        b, h, w, width = x.shape
        y = self.first(self.norm(x)).reshape(b, h * w, width)
        y = self.to_text(self.among_pixels(y), text)
        value, gate = jnp.split(self.hidden(self.norm_of_hidden(y)), 2, axis=-1)
        y = y + self.out(value * nnx.gelu(gate))
        return x + self.last(y.reshape(b, h, w, width))


class DiffusionUNet(nnx.Module):
    """A U-Net of the form of Stable Diffusion 1 (Rombach et al., 2022): 4 levels, attention in 3.

    Each level has two residual blocks on the way down and three on the way up.
    """

    def __init__(
        self,
        rngs: nnx.Rngs,
        widths: Sequence[int] = (320, 640, 1280, 1280),
        channels: int = 4,
        text: tuple[int, int] = (77, 768),
        heads: int = 8,
    ) -> None:
        time, last = 4 * widths[0], len(widths) - 1
        self.text = nnx.Param(jnp.zeros(text))
        self.time = nnx.Param(jnp.zeros((1, time)))
        self.stem = nnx.Conv(channels, widths[0], (3, 3), rngs=rngs)
        c, skips = widths[0], [widths[0]]

        def block(c_in: int, width: int, *, attends: bool) -> nnx.List:
            layers: list[nnx.Module] = [ResidualBlock(c_in, width, time, rngs)]
            return nnx.List(layers + [Transformer(width, text[1], heads, rngs)] * attends)

        self.down, self.up = nnx.List(), nnx.List()
        for level, width in enumerate(widths):
            blocks = nnx.List()
            for _ in range(2):
                blocks.append(block(c, width, attends=level < last))
                c = width
                skips.append(c)
            shrink = nnx.Conv(c, c, (3, 3), (2, 2), padding=1, rngs=rngs) if level < last else None
            skips += [c] * (level < last)
            self.down.append(nnx.Dict(blocks=blocks, resample=shrink))
        self.middle = nnx.List([*block(c, c, attends=True), ResidualBlock(c, c, time, rngs)])
        for level, width in reversed([*enumerate(widths)]):
            blocks = nnx.List()
            for _ in range(3):
                blocks.append(block(c + skips.pop(), width, attends=level < last))
                c = width
            smooth = nnx.Conv(c, c, (3, 3), rngs=rngs) if level else None
            self.up.append(nnx.Dict(blocks=blocks, resample=smooth))
        self.norm = nnx.GroupNorm(c, rngs=rngs)
        self.head = nnx.Conv(c, channels, (3, 3), rngs=rngs)

    def __call__(self, x: Any) -> Any:
        """Map latent images (b, h, w, channels), h and w multiples of 8, to the same shape."""
        text = jnp.broadcast_to(self.text[...], (x.shape[0], *self.text.shape))

        def apply(layers: Any, y: Any) -> Any:
            for layer in layers:
                y = layer(y, text if isinstance(layer, Transformer) else self.time[...])
            return y

        y = self.stem(x)
        skips = [y]
        for level in self.down:
            for layers in level["blocks"]:
                y = apply(layers, y)
                skips.append(y)
            if level["resample"] is not None:
                y = level["resample"](y)
                skips.append(y)
        y = apply(self.middle, y)
        for level in self.up:
            for layers in level["blocks"]:
                y = apply(layers, jnp.concatenate([y, skips.pop()], -1))
            if level["resample"] is not None:
                b, h, w, c = y.shape
                y = level["resample"](jax.image.resize(y, (b, 2 * h, 2 * w, c), "nearest"))
        return self.head(nnx.silu(self.norm(y)))


def strided_gradient(depth: int) -> Callable[[Any], Any]:
    """Return the gradient of a chain of strided SAME convolutions.

    Args:
        depth: the number of convolutions, each of stride 2.

    Returns:
        A function of images (b, h, w, 3).
    """

    def loss(x: Any) -> Any:
        for _ in range(depth):
            x = jax.nn.relu(conv(x, ones(3, 3, 3, 3), stride=2))
        return x.sum()

    return jax.grad(loss)
