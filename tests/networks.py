"""Random networks over (b, h, w, c): every seed another one, some right for few sizes only."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxconv as jc

ORDER = ("NHWC", "HWIO", "NHWC")


def convolution(rng):
    k, stride = rng.integers(1, 5, 2), rng.integers(1, 4, 2)
    dilation, c = rng.integers(1, 3, 2), int(rng.integers(1, 4))
    padding = ["SAME", "SAME_LOWER", "VALID", rng.integers(0, 3, (2, 2)).tolist()][rng.integers(4)]
    options = {
        "window_strides": stride.tolist(),
        "padding": padding,
        "rhs_dilation": dilation.tolist(),
        "dimension_numbers": ORDER,
    }
    return lambda x: lax.conv_general_dilated(x, jnp.ones((*k, x.shape[-1], c)), **options)


def our_convolution(rng):
    k, stride = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    padding = ["SAME", "VALID", int(rng.integers(0, 3)), "CIRCULAR", "REFLECT"][rng.integers(5)]
    return lambda x: jc.conv(x, jnp.ones((k, k, x.shape[-1], 2)), stride=stride, padding=padding)


def transposed(rng):
    k, stride = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    padding = ["SAME", "VALID", int(rng.integers(0, 3))][rng.integers(3)]
    return lambda x: jc.conv_transpose(
        x, jnp.ones((k, k, x.shape[-1], 2)), stride=stride, padding=padding
    )


def pool(rng):
    window, stride = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    padding = ["VALID", "SAME", int(rng.integers(0, window))][rng.integers(3)]
    layer = [jc.max_pool, jc.avg_pool][rng.integers(2)]
    return lambda x: layer(x, window, stride=stride, padding=padding)


def pad_or_crop(rng):
    low, high = rng.integers(-2, 3, 2).tolist()
    return lambda x: lax.pad(x, 0.0, [(0, 0, 0), (low, high, 0), (0, 0, 0), (0, 0, 0)])


def cut(rng):
    start, step = rng.integers(0, 3), rng.integers(1, 4)
    return lambda x: x[:, start::step]


def upsample(rng):
    times = int(rng.integers(2, 4))
    return lambda x: jnp.repeat(jnp.repeat(x, times, 1), times, 2)


def patches(rng):
    size = int(rng.integers(2, 4))

    def layer(x):
        b, h, w, c = x.shape
        cells = x.reshape(b, h // size, size, w // size, size, c)
        return cells.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // size, w // size, size * size * c)

    return layer


def two_branches(rng):
    left, right = chain(rng, 1), chain(rng, 1)
    ways = [lambda a, b: a[..., :1] + b[..., :1], lambda a, b: jnp.concatenate([a, b], -1)]
    join = ways[rng.integers(2)]
    return lambda x: join(left(x), right(x))


def u_shaped(rng):
    inner = chain(rng, 1)

    def layer(x):
        y = inner(jc.max_pool(x, 2))
        y = jnp.repeat(jnp.repeat(y, 2, 1), 2, 2)
        return jnp.concatenate([x, y], -1)

    return layer


def branch_on_size(rng):
    bound, then = int(rng.integers(2, 9)), chain(rng, 1)
    equal = rng.integers(2)
    return lambda x: then(x) if (x.shape[1] == bound if equal else x.shape[1] > bound) else x


def swap(rng):
    return lambda x: x + jnp.swapaxes(x, 1, 2)


def repeated(rng):
    times = int(rng.integers(1, 4))
    kernel = jnp.ones((3, 3, 2, 2))

    def layer(x):
        x = x[..., :1] * jnp.ones(2)
        step = lambda y, _: (jc.conv(y, kernel), None)  # noqa: E731
        return lax.scan(step, x, None, length=times)[0]

    return layer


def gradient(rng):
    inner = chain(rng, 1)
    return jax.grad(lambda x: (inner(x) ** 2).sum())


def wrapped(rng):
    inner = chain(rng, 1)
    kind = [jax.jit, jax.checkpoint, lambda f: jax.vmap(lambda x: f(x[None])[0])][rng.integers(3)]
    return kind(inner)


LAYERS = [
    convolution, convolution, our_convolution, transposed, pool, pool, pad_or_crop, cut, upsample,
    patches, two_branches, u_shaped, branch_on_size, swap, repeated, gradient, wrapped,
]  # fmt: skip


def head(rng):
    """What stands at the end: nothing, a dense layer after a flatten, or a mean."""
    features = int(rng.choice([4, 8, 12, 24, 36]))

    def dense(x):
        return x.reshape(x.shape[0], -1) @ jnp.ones((features, 5))

    return [lambda x: x, lambda x: x, dense, lambda x: x.mean((1, 2))][rng.integers(4)]


def chain(rng, length):
    layers = [LAYERS[rng.integers(len(LAYERS))](rng) for _ in range(length)]

    def network(x):
        for layer in layers:
            x = layer(x)
        return x

    return network


def network(seed):
    """A function of x (b, h, w, 2)."""
    rng = np.random.default_rng(seed)
    body, end = chain(rng, int(rng.integers(1, 5))), head(rng)
    return lambda x: end(body(x))
