"""Random networks: every seed another one, some right for few sizes only.

A network is a chain of layers, 1-D to 3-D, that may hold chains themselves; ``LAYERS`` is the table
of their makers. A maker throws the dice once and returns a function of x (batch, *sides, channels).
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox
import haiku
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from jax import lax

import jaxconv as jc
from tests.support.oracle import is_shape, names_of, outcome, value

ORDER = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}


class Network(NamedTuple):
    """A function to check.

    Attributes:
        fn: of arrays.
        specs: of the arrays, such as ``"b h w 2"``.
        returns: what is promised of the result, or None.
        layers: the makers it came from, in the order of making.
        where: the sizes to consider, such as ``"h >= 8"``, or None.
        largest: size that it is compared at.
        special: numbers in its text, near which it may do otherwise.
        source: its text, where it was written as text.
        path: the file name in its tracebacks, likewise.
    """

    fn: Callable[..., Any]
    specs: tuple[str, ...]
    returns: str | None
    layers: tuple[str, ...]
    where: str | None = None
    largest: float = math.inf
    special: tuple[int, ...] = ()
    source: str = ""
    path: str = ""


class Dice:
    """Random choices for a network with some number of spatial axes."""

    def __init__(self, seed, rank):
        self.rng, self.rank, self.layers = np.random.default_rng(seed), rank, []

    def number(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def numbers(self, low, high):
        """One number for each spatial axis."""
        return tuple(self.number(low, high) for _ in range(self.rank))

    def pairs(self, low, high):
        return [(self.number(low, high), self.number(low, high)) for _ in range(self.rank)]

    def one(self, options):
        return options[self.rng.integers(len(options))]

    def chain(self, length):
        """Some layers after each other."""
        layers = []
        for _ in range(length):
            make = self.one(LAYERS)
            self.layers.append(make.__name__)
            layers.append(make(self))
        return lambda x: _run(layers, x)

    @property
    def axes(self):
        return tuple(range(1, self.rank + 1))

    @property
    def layout(self):
        return ORDER[self.rank][0]


def _run(layers, x):
    for layer in layers:
        x = layer(x)
    return x


def two_channels(x):
    return x[..., :1] * jnp.ones(2)


# Convolutions, transposed, dilated and grouped.


def convolution(dice):
    k, stride, dilation = dice.numbers(1, 4), dice.numbers(1, 3), dice.numbers(1, 2)
    padding = dice.one(["SAME", "SAME_LOWER", "VALID", dice.pairs(0, 2)])
    each, depthwise = dice.number(1, 3), dice.one([False, False, True])

    def layer(x):
        c = x.shape[-1]
        kernel = jnp.ones((*k, 1, c * each) if depthwise else (*k, c, each))
        return lax.conv_general_dilated(
            x,
            kernel,
            stride,
            padding,
            rhs_dilation=dilation,
            dimension_numbers=ORDER[len(k)],
            feature_group_count=c if depthwise else 1,
        )

    return layer


def our_convolution(dice):
    k, stride, groups = dice.number(1, 4), dice.number(1, 3), dice.one([1, 1, 2])
    padding = dice.one(["SAME", "VALID", dice.number(0, 2), "CIRCULAR", "REFLECT"])
    options = {"stride": stride, "padding": padding, "groups": groups, "layout": dice.layout}

    def layer(x):
        x = jnp.concatenate([x] * groups, -1)
        kernel = jnp.ones((*[k] * dice.rank, x.shape[-1] // groups, 2))
        return jc.conv(x, kernel, **options)

    return layer


def transposed(dice):
    k, padding = dice.number(1, 3), dice.one(["SAME", "VALID", dice.number(0, 2)])
    options = {"stride": dice.number(1, 3), "padding": padding, "layout": dice.layout}
    return lambda x: jc.conv_transpose(
        x, jnp.ones((*[k] * dice.rank, x.shape[-1], 2)), jnp.ones(2), **options
    )


def lax_transposed(dice):
    k, stride = dice.numbers(1, 3), dice.numbers(1, 3)
    padding = dice.one(["SAME", "VALID", dice.pairs(0, 2)])
    return lambda x: lax.conv_transpose(
        x, jnp.ones((*k, x.shape[-1], 2)), stride, padding, dimension_numbers=ORDER[len(k)]
    )


def dilated_input(dice):
    k, spread, pads = dice.numbers(1, 3), dice.numbers(1, 3), dice.pairs(-1, 3)
    return lambda x: lax.conv_general_dilated(
        x,
        jnp.ones((*k, x.shape[-1], 2)),
        (1,) * len(k),
        pads,
        lhs_dilation=spread,
        dimension_numbers=ORDER[len(k)],
    )


# Pooling of all kinds.


def pool(dice):
    window, stride = dice.number(1, 3), dice.number(1, 3)
    padding = dice.one(["VALID", "SAME", dice.number(0, window - 1)])
    layer = dice.one([jc.max_pool, jc.avg_pool])
    return lambda x: layer(x, window, stride=stride, padding=padding, layout=dice.layout)


def window(dice):
    size, stride = dice.numbers(1, 3), dice.numbers(1, 3)
    holes, spread = dice.numbers(1, 2), dice.numbers(1, 2)
    padding = dice.one(["VALID", "SAME", ((0, 0), *dice.pairs(0, 2), (0, 0))])
    start, step = dice.one([(-jnp.inf, lax.max), (jnp.inf, lax.min), (0.0, lax.add)])
    return lambda x: lax.reduce_window(
        x, start, step, around(size), around(stride), padding, around(spread), around(holes)
    )


def around(sides, end=1):
    """Entries for the batch and the channels around those of the spatial axes."""
    return (end, *sides, end)


def pyramid(dice):
    """Global pools, broadcast back over the map and joined with it."""
    middle = dice.one([jnp.mean, jnp.max, jnp.var])

    def layer(x):
        whole = middle(x, axis=dice.axes, keepdims=True)
        return jnp.concatenate([x, jnp.broadcast_to(whole, x.shape)], -1)

    return layer


def excite(dice):
    """Squeeze and excite: a gate for each channel, from its mean."""

    def layer(x):
        gate = jax.nn.sigmoid(jc.global_avg_pool(x, layout=dice.layout))
        return jnp.einsum("b...c,bc->b...c", x, gate)

    return layer


# Pads, crops, slices, new sizes.


def pad_or_crop(dice):
    low, high, inside = dice.number(-2, 2), dice.number(-2, 2), dice.one([0, 0, 1])
    config = [(0, 0, 0), (low, high, inside), *[(0, 0, 0)] * dice.rank]
    return lambda x: lax.pad(x, 0.0, config)


def pad_mode(dice):
    mode = dice.one(["constant", "reflect", "symmetric", "edge", "wrap"])
    width = around(dice.pairs(0, 2), (0, 0))
    return lambda x: jnp.pad(x, width, mode=mode)


def pad_to_multiple(dice):
    m = dice.number(2, 4)

    def layer(x):
        return jnp.pad(x, around([(0, -n % m) for n in x.shape[1:-1]], (0, 0)))

    return layer


def cut(dice):
    start, step = dice.number(0, 2), dice.number(1, 3)
    return lambda x: x[:, start::step]


def cut_from_end(dice):
    a, b, step = dice.number(1, 4), dice.number(0, 2), dice.number(1, 3)
    part = dice.one(
        [slice(-a, None), slice(None, -a), slice(b, -a, step), slice(None, None, -step)]
    )
    return lambda x: x[..., part, :]


def dynamic_cut(dice):
    less = dice.number(0, 2)
    return lambda x: lax.dynamic_slice_in_dim(x, 0, x.shape[1] - less, 1)


def roll_or_flip(dice):
    return dice.one([lambda x: jnp.roll(x, 1, 1), lambda x: jnp.flip(x, 1)])


def upsample(dice):
    times = dice.number(2, 3)

    def layer(x):
        for axis in dice.axes:
            x = jnp.repeat(x, times, axis)
        return x

    return layer


def resize(dice):
    fixed, method = dice.numbers(2, 6), dice.one(["nearest", "linear", "cubic"])
    sides = dice.one(
        [
            lambda x: fixed,
            lambda x: [2 * n for n in x.shape[1:-1]],
            lambda x: [(n + 1) // 2 for n in x.shape[1:-1]],
        ]
    )
    return lambda x: jax.image.resize(x, (x.shape[0], *sides(x), x.shape[-1]), method)


# Reshapes: patches, windows of a transformer, pixel shuffle, tokens.


def split_sides(x, size):
    """Reshape each side n to (n//size, size)."""
    sides = [part for n in x.shape[1:-1] for part in (n // size, size)]
    return x.reshape(x.shape[0], *sides, x.shape[-1])


def cells_first(rank):
    """The axes after :func:`split_sides`: batch, cells, inside a cell, channels."""
    return (0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1)


def patches(dice):
    size = dice.number(2, 3)

    def layer(x):
        cells = split_sides(x, size).transpose(cells_first(dice.rank))
        return cells.reshape(*cells.shape[: dice.rank + 1], -1)

    return layer


def windows(dice):
    """Cells become images of their own, and come back, as in a Swin transformer."""
    size, rank = dice.number(2, 3), dice.rank

    def layer(x):
        cells = split_sides(x, size).transpose(cells_first(rank))
        images = cells.reshape(-1, *[size] * rank, x.shape[-1])
        back = (images + images.mean(dice.axes, keepdims=True)).reshape(cells.shape)
        return back.transpose(np.argsort(cells_first(rank))).reshape(x.shape)

    return layer


def shuffle(dice):
    """Channels become pixels."""
    size, rank = 2, dice.rank

    def layer(x):
        x = jnp.concatenate([x] * size**rank, -1)
        cells = x.reshape(*x.shape[:-1], *[size] * rank, x.shape[-1] // size**rank)
        pixels = cells.transpose(np.argsort(cells_first(rank)))
        return pixels.reshape(x.shape[0], *[n * size for n in x.shape[1:-1]], -1)

    return layer


def attention(dice):
    """Every pixel looks at every pixel."""

    def layer(x):
        tokens = x.reshape(x.shape[0], -1, x.shape[-1])
        look = jax.nn.softmax(jnp.einsum("bnc,bmc->bnm", tokens, tokens), -1)
        return (look @ tokens).reshape(x.shape)

    return layer


def spatial_softmax(dice):
    def layer(x):
        flat = x.reshape(x.shape[0], -1, x.shape[-1])
        return jax.nn.softmax(flat, 1).reshape(x.shape)

    return layer


def channels_only(dice):
    c, group = dice.number(1, 3), dice.one([False, True])

    def mix(x):
        return jnp.einsum("b...c,co->b...o", x, jnp.ones((x.shape[-1], c)))

    def norm(x):
        pairs = jnp.concatenate([x, x], -1).reshape(*x.shape, 2)
        return (pairs - pairs.mean((*dice.axes, -1), keepdims=True))[..., 0]

    return norm if group else mix


def positions(dice):
    along = (1, -1) + (1,) * dice.rank
    return lambda x: x + jnp.arange(x.shape[1], dtype=x.dtype).reshape(along)


# Branches.


def two_branches(dice):
    left, right = dice.chain(1), dice.chain(1)
    ways = [lambda a, b: a[..., :1] + b[..., :1], lambda a, b: jnp.concatenate([a, b], -1)]
    join = dice.one(ways)
    return lambda x: join(left(x), right(x))


def residual(dice):
    inner = dice.chain(1)
    return lambda x: x[..., :1] + inner(x)[..., :1]


def inception(dice):
    """Branches of one stride that are made in different ways and fit, or almost fit."""
    stride = dice.number(1, 3)
    same = {"stride": stride, "layout": dice.layout}
    ones = lambda x, k: jnp.ones((*[k] * dice.rank, x.shape[-1], 2))  # noqa: E731
    ways = [
        lambda x: jc.conv(x, ones(x, 3), **same),
        lambda x: jc.conv(x, ones(x, 3), padding=1, **same),
        lambda x: jc.conv(x, ones(x, 5), padding=2, **same),
        lambda x: jc.conv(x, ones(x, 3), padding=2, dilation=2, **same),
        lambda x: jc.conv(x, ones(x, 1), padding="VALID", **same),
        lambda x: jc.max_pool(x, 3, padding=1, **same),
        lambda x: jc.avg_pool(x, stride, padding="SAME", **same),
        lambda x: jc.max_pool(x, stride, **same),
        lambda x: x[(slice(None), *[slice(None, None, stride)] * dice.rank)],
    ]
    parts = [dice.one(ways) for _ in range(dice.number(2, 3))]
    return lambda x: jnp.concatenate([part(x) for part in parts], -1)


def resized_to_skip(dice):
    """A top-down step of a feature pyramid."""
    inner = dice.chain(1)

    def layer(x):
        y = inner(x)[..., :1]
        return x + jax.image.resize(y, (*x.shape[:-1], 1), "nearest")

    return layer


def u_shaped(dice):
    inner = dice.chain(1)

    def layer(x):
        y = inner(jc.max_pool(x, 2, layout=dice.layout))
        for axis in dice.axes:
            y = jnp.repeat(y, 2, axis)
        return jnp.concatenate([x, y], -1)

    return layer


def u_cropped(dice):
    """A U of valid convolutions: the skip is cropped to what came up."""
    inner = dice.chain(1)

    def layer(x):
        y, skip = inner(x), x
        for axis in dice.axes:
            edge = (x.shape[axis] - y.shape[axis]) // 2
            skip = lax.slice_in_dim(skip, edge, edge + y.shape[axis], axis=axis)
        return jnp.concatenate([skip, y], -1)

    return layer


def branch_on_size(dice):
    bound, then, equal = dice.number(2, 8), dice.chain(1), dice.number(0, 1)
    return lambda x: then(x) if (x.shape[1] == bound if equal else x.shape[1] > bound) else x


def branch_on_parity(dice):
    then, other = dice.chain(1), dice.chain(1)
    return lambda x: then(x) if x.shape[-2] % 2 else other(x)


def swap(dice):
    return lambda x: x + jnp.swapaxes(x, 1, x.ndim - 2)


def cond(dice):
    inner = dice.chain(1)
    other = dice.one([lambda x: x, lambda x: 2 * inner(x)])
    return lambda x: lax.cond(x.sum() > 0, inner, other, x)


# Loops, gradients, transformations.


def repeated(dice):
    times, kernel = dice.number(1, 3), jnp.ones((*[3] * dice.rank, 2, 2))
    step = lambda y: jc.conv(y, kernel, layout=dice.layout)  # noqa: E731
    loops = [
        lambda x: lax.scan(lambda y, _: (step(y), None), x, None, length=times)[0],
        lambda x: lax.fori_loop(0, times, lambda _, y: step(y), x),
        lambda x: lax.while_loop(lambda y: y.sum() < 9, step, x),
    ]
    loop = dice.one(loops)
    return lambda x: loop(two_channels(x))


def over_rows(dice):
    def layer(x):
        rows = jnp.moveaxis(x, 1, 0)
        _, sums = lax.scan(lambda carry, row: (carry + row, carry + row), rows[0], rows)
        return jnp.moveaxis(sums, 0, 1)

    return layer


def gradient(dice):
    inner = dice.chain(1)
    return jax.grad(lambda x: (inner(x) ** 2).sum())


def kernel_gradient(dice):
    """A training step: the gradient of a convolution's kernel, applied."""
    k, stride = dice.number(1, 3), dice.number(1, 3)
    options = {"stride": stride, "padding": dice.one(["SAME", "VALID", 1]), "layout": dice.layout}

    def layer(x):
        kernel = jnp.ones((*[k] * dice.rank, x.shape[-1], 2))
        step = jax.grad(lambda kernel: (jc.conv(x, kernel, **options) ** 2).mean())
        return jc.conv(x, kernel - step(kernel), **options)

    return layer


def custom_gradient(dice):
    inner = dice.chain(1)

    @jax.custom_vjp
    def layer(x):
        return inner(x)

    layer.defvjp(lambda x: (inner(x), x), lambda x, g: (x * g.sum(),))
    return dice.one([layer, jax.grad(lambda x: layer(x).sum())])


def wrapped(dice):
    inner = dice.chain(1)
    ways = [jax.jit, jax.checkpoint, lambda f: jax.vmap(lambda x: f(x[None])[0])]
    return dice.one(ways)(inner)


# Modules of the libraries for networks.


def nnx_conv(dice):
    k, stride, c = dice.numbers(1, 3), dice.numbers(1, 2), dice.number(1, 3)
    padding = dice.one(["SAME", "VALID", "CIRCULAR", "REFLECT", dice.pairs(0, 2)])
    kind, ones = dice.one([nnx.Conv, nnx.Conv, nnx.ConvTranspose]), nnx.initializers.ones
    options = {"strides": stride, "padding": padding, "kernel_init": ones}
    return lambda x: kind(x.shape[-1], c, k, rngs=nnx.Rngs(0), **options)(x)


def nnx_norm(dice):
    kind = dice.one([nnx.BatchNorm, nnx.LayerNorm, nnx.InstanceNorm])
    return lambda x: kind(x.shape[-1], rngs=nnx.Rngs(0))(x)


def nnx_linear(dice):
    c = dice.number(1, 3)
    return lambda x: nnx.Linear(
        x.shape[-1], c, kernel_init=nnx.initializers.ones, rngs=nnx.Rngs(0)
    )(x)


def nnx_pool(dice):
    kind = dice.one([nnx.max_pool, nnx.avg_pool])
    size, stride = dice.numbers(1, 3), dice.numbers(1, 3)
    padding = dice.one(["SAME", "VALID", dice.pairs(0, 1)])
    return lambda x: kind(x, size, stride, padding)


def linen_conv(dice):
    k, stride, c = dice.numbers(1, 3), dice.numbers(1, 2), dice.number(1, 3)
    module = linen.Conv(c, k, stride, padding=dice.one(["SAME", "VALID", dice.pairs(0, 2)]))

    def layer(x):
        params = {"kernel": jnp.ones((*k, x.shape[-1], c)), "bias": jnp.ones(c)}
        return module.apply({"params": params}, x)

    return layer


def equinox_layer(dice):
    rank, k, stride, padding = dice.rank, dice.number(1, 3), dice.number(1, 2), dice.number(0, 1)
    pools = {1: equinox.nn.MaxPool1d, 2: equinox.nn.AvgPool2d, 3: equinox.nn.MaxPool3d}
    pooled = pools[rank](k, stride, min(padding, k // 2), use_ceil=dice.one([False, True]))

    def conv(x):
        key = jax.random.key(0)
        return equinox.nn.Conv(rank, x.shape[0], 2, k, stride, padding, key=key)(x)

    layer = jax.vmap(dice.one([pooled, conv]))
    return lambda x: jnp.moveaxis(layer(jnp.moveaxis(x, -1, 1)), 1, -1)


def haiku_conv(dice):
    rank, k, stride, c = dice.rank, dice.number(1, 3), dice.number(1, 2), dice.number(1, 3)
    padding = dice.one(["SAME", "VALID"])

    def conv(x):
        return haiku.ConvND(rank, c, k, stride, padding=padding, name="conv")(x)

    def layer(x):
        params = {"w": jnp.ones((*[k] * rank, x.shape[-1], c)), "b": jnp.ones(c)}
        return haiku.transform(conv).apply({"conv": params}, None, x)

    return layer


LAYERS = [
    convolution, convolution, convolution, our_convolution, transposed, lax_transposed,
    dilated_input, pool, pool, window, pyramid, excite, pad_or_crop, pad_mode, pad_to_multiple,
    cut, cut_from_end, dynamic_cut, roll_or_flip, upsample, resize, patches, windows, shuffle,
    attention, spatial_softmax, channels_only, positions, two_branches, residual, inception,
    inception, resized_to_skip, u_shaped, u_cropped, branch_on_size, branch_on_parity, swap,
    cond, repeated, over_rows, gradient, kernel_gradient, custom_gradient, wrapped, nnx_conv,
    nnx_norm, nnx_linear, nnx_pool, linen_conv, equinox_layer, haiku_conv,
]  # fmt: skip


# What stands at the end.


def head(dice):
    """Nothing, a dense layer after a flatten, a mean, or several results."""
    features, c = dice.one([4, 8, 12, 24, 36]), dice.number(1, 3)
    ends = {
        "nothing": lambda x: x,
        "dense": lambda x: x.reshape(x.shape[0], -1) @ jnp.ones((features, 5)),
        "our dense": lambda x: jc.dense(jc.flatten(x), jnp.ones((features, 5))),
        "mean": lambda x: x.mean(dice.axes),
        "1x1": lambda x: jnp.einsum("b...c,co->b...o", x, jnp.ones((x.shape[-1], c))),
        "tokens": lambda x: x.reshape(x.shape[0], -1, x.shape[-1]),
        "several": lambda x: {"map": x, "mean": (x.mean(), x.max(dice.axes))},
    }
    kind = dice.one([*["nothing"] * 3, *ends])
    dice.layers.append(kind)
    return ends[kind]


# Whole models, which are no functions: their state becomes an argument of the proof.


def model(dice):
    """A model of Flax NNX with its parameters, for images of two channels."""
    ones, layers, c = {"kernel_init": nnx.initializers.ones, "rngs": nnx.Rngs(0)}, [], 2
    for _ in range(dice.number(1, 3)):
        k, stride, padding = dice.numbers(1, 3), dice.numbers(1, 2), dice.one(["SAME", "VALID"])
        layers += [
            nnx.Conv(c, c := dice.number(1, 4), k, stride, padding=padding, **ones),
            nnx.BatchNorm(c, use_running_average=True, rngs=nnx.Rngs(0)),
            nnx.relu,
        ]
        if dice.number(0, 1):
            pooled = dice.one([nnx.max_pool, nnx.avg_pool])
            layers.append(functools.partial(pooled, window_shape=k, strides=stride))
    layers.append(dice.one([nnx.Linear(c, 5, **ones), lambda x: x.reshape(x.shape[0], -1)]))
    dice.layers.append("model")
    return nnx.Sequential(*layers)


# Networks of two arguments: the specs, and how the second meets what a body made of the first.


def joined(x, y):
    return jnp.concatenate([x, y], -1)


def looked_up(x, tokens):
    """Pixels look at tokens."""
    flat = x.reshape(x.shape[0], -1, x.shape[-1])
    look = jax.nn.softmax(flat @ jnp.swapaxes(tokens[..., :1] * jnp.ones(x.shape[-1]), 1, 2), -1)
    return (look @ tokens).reshape(*x.shape[:-1], tokens.shape[-1])


def resized(x, y):
    return joined(x, jax.image.resize(y, (*x.shape[:-1], y.shape[-1]), "nearest"))


def masked(x, mask):
    return jnp.where(mask[..., :1] > 0, x, 0)


SECOND = {
    1: [("b n 2", joined), ("b k 2", looked_up), ("b m 2", joined), ("n 1", masked)],
    2: [("b h w 1", joined), ("b k 2", looked_up), ("b m n 2", resized), ("h w 1", masked),
        ("b m n 2", joined)],
    3: [("b d h w 2", joined), ("b k 2", looked_up), ("h w 1", masked)],
}  # fmt: skip
FIRST = {1: "b n 2", 2: "b h w 2", 3: "b d h w 2"}
ALONE = {
    1: ["b n 2", "batch time 2", "n n 2", "b 2*n+1 2"],
    2: ["b h w 2", "b h w 2", "b side side 2", "images rows columns 2", "1 h w 2", "b 2*h w+1 2",
        "b 12 w 2"],
    3: ["b d h w 2", "b t side side 2", "b 6 h w 2"],
}  # fmt: skip


def function(dice):
    """A function and the specs of its arguments."""
    body, end = dice.chain(dice.number(1, 5 - dice.rank)), head(dice)
    if dice.rng.random() < 0.85:
        return lambda x: end(body(x)), (dice.one(ALONE[dice.rank]),)
    spec, meet = dice.one(SECOND[dice.rank])
    dice.layers.append(meet.__name__)
    early = dice.one([True, False])
    fn = lambda x, y: end(body(meet(x, y)) if early else meet(body(x), y))  # noqa: E731
    return fn, (FIRST[dice.rank], spec)


# Promises.

FORMULAS = [
    "{}", "2*{}", "3*{}", "{}//2", "({}+1)//2", "{}//3", "({}+2)//3", "{}//4", "({}+3)//4", "{}-1",
    "{}-2", "{}-3", "{}+1", "{}+2", "{}+3", "{}//2*2", "max({}//2,1)", "{}%2+4", "2*{}+1", "4*{}",
]  # fmt: skip


def promise(dice, network, names):
    """What a user might promise: formulas that fit at two sizes, perhaps one of them spoilt."""
    points = [{name: base + 7 * i for i, name in enumerate(names)} for base in (24, 41)]
    shapes = [outcome(network, point) for point in points]
    if (
        not all(shape is not None and is_shape(shape) for shape in shapes)
        or len({*map(len, shapes)}) > 1
    ):
        return None if dice.number(0, 1) else "..."
    axes = [_formula(dice, names, points, sizes) for sizes in zip(*shapes, strict=True)]
    if axes and dice.number(0, 2) == 0:
        axes[dice.number(0, len(axes) - 1)] = dice.one(["_", "7", _any(dice, names)])
    if axes and dice.number(0, 5) == 0:
        axes = dice.one([[*axes[:-1], "..."], ["...", *axes[1:]], axes[1:], [*axes, "1"]])
    return " ".join(axes)


def _any(dice, names):
    return dice.one(FORMULAS).format(dice.one(names))


def _formula(dice, names, points, sizes):
    options = [formula.format(name) for formula in FORMULAS for name in names]
    if len(set(sizes)) == 1:
        options.append(str(sizes[0]))
    fits = [f for f in options if [value(f, point) for point in points] == list(sizes)]
    return dice.one(fits) if fits else "_"


def network(seed):
    """The random network of this number."""
    kind = np.random.default_rng([seed, 1])
    dice = Dice(seed, int(kind.choice([1, 2, 2, 2, 3])))
    whole = kind.random() < 0.06
    fn, specs = (model(dice), (dice.one(ALONE[dice.rank]),)) if whole else function(dice)
    made = Network(fn, specs, None, tuple(dice.layers))
    names = names_of(specs)
    returns = promise(dice, made, names) if dice.rng.random() < 0.3 else None
    return made._replace(returns=returns)
