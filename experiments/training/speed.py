"""The speed of training if every multiply-add ran at the rate of a large matrix product."""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jaxconv as jc
from experiments.training.net import Classifier

SIDES = (512, 1024, 2048, 4096, 8192, 16384)  # of matrices
ENOUGH = 0.01  # a product that takes this many seconds is large enough for the devices


def best_pace(model: Classifier, shape: tuple[int, ...], dtype: str, mesh: Mesh) -> float:
    """Return the pictures per second of training at the rate of a large matrix product.

    A step needs about three times the multiplications of the network: for the maps, for their
    gradients, and for the gradients of the kernels. Winograd's algorithm needs fewer, so training
    can be faster than this.

    Args:
        model: the network.
        shape: shape of a picture, (h, w, c).
        dtype: dtype of the computation.
        mesh: the devices, whose rate is measured in some tenths of a second.
    """
    spec = " ".join(map(str, (1, *shape)))
    return _rate(dtype, mesh) / (3 * jc.summary(model, spec).macs)


def _rate(dtype: str, mesh: Mesh) -> float:
    """Measure the multiply-adds per second of this process, and scale them to all processes."""
    own = Mesh(np.array(mesh.local_devices), ("device",))
    sharding = NamedSharding(own, PartitionSpec("device"))
    multiply = jax.jit(jnp.matmul)
    side, seconds = 0, 0.0
    for side in SIDES:
        x = jax.device_put(jnp.ones((own.size, side, side), dtype), sharding)
        multiply(x, x).block_until_ready()  # compiles
        seconds = min(_seconds(lambda x=x: multiply(x, x)) for _ in range(3))
        if seconds > ENOUGH:
            break
    return mesh.size * side**3 / seconds


def _seconds(compute: Callable[[], jax.Array]) -> float:
    start = time.perf_counter()
    compute().block_until_ready()
    return time.perf_counter() - start
