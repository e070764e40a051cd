"""Networks that people write, in plain JAX."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

import jaxconv as jc


def random_vgg16():
    """VGG16 without head."""
    return with_drawn_kernels(lambda: jc.vgg16(head=None))


def with_drawn_kernels(make):
    """The model of Flax NNX that ``make`` makes, whose arrays are all variables.

    NumPy draws its kernels: JAX compiles a program for each shape.
    """
    model, rng = nnx.eval_shape(make), np.random.default_rng(0)
    for path, variable in nnx.to_flat_state(nnx.state(model)):
        if isinstance(variable, nnx.RngKey):
            variable.set_value(jax.random.key(0))
            continue
        value = np.asarray(path[-1] in ("scale", "var"), variable.dtype)
        if path[-1] == "kernel":
            deviation = np.float32((2 / np.prod(variable.shape[:-1])) ** 0.5)
            value = deviation * rng.standard_normal(variable.shape, np.float32)
        variable.set_value(jnp.asarray(np.broadcast_to(value, variable.shape)))
    return model


def with_any_numbers(make, *args):
    """Arrays as ``make`` returns them, whose numbers take no time: nothing is compiled."""

    def numbers(like):
        between = np.linspace(0.1, 0.5, like.size).reshape(like.shape)
        return jnp.asarray(between, like.dtype)

    return jax.tree.map(numbers, jax.eval_shape(make, *args))


def conv(x, size, channels, stride=1, padding="SAME"):
    kernel = jnp.zeros((size, size, x.shape[-1], channels))
    order = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=order)


def pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def trunk(x):
    for channels, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            x = jax.nn.relu(conv(x, 3, channels))
        x = pool(x)
    return x


def bare_head(x):
    x = trunk(x)
    return x.reshape(x.shape[0], -1) @ jnp.zeros((25088, 10))


def join(x):
    return conv(x, 3, 8, 2, "SAME") + conv(x, 3, 8, 2, [(1, 1), (1, 1)])


def u_net(x):
    skips = []
    for _ in range(4):
        skips.append(x)
        x = pool(conv(x, 3, 4))
    for skip in skips[::-1]:
        x = jnp.repeat(jnp.repeat(x, 2, 1), 2, 2)
        x = jnp.concatenate([x, skip], -1)
        x = conv(x, 3, 4)
    return x


def symmetric(x):
    return x + jnp.swapaxes(x, 1, 2)


def patchify(x):
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c)


def stem(x):
    return jc.max_pool(conv(x, 7, 64, 2, [(3, 3), (3, 3)]), 3, stride=2, padding=1)


def flatten_and_dense(x):
    return jc.dense(jc.flatten(jc.max_pool(x, 8)), jnp.zeros((12, 5)))


def strided_gradient(x):
    return jax.grad(lambda k: (jc.conv(x, k, stride=2) ** 2).sum())(jnp.zeros((3, 3, 3, 4)))
