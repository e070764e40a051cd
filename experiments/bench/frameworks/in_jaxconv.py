"""Flax NNX with jaxconv's convolutions and pools, compiled by ``jc.compile`` or ``jc.jit``."""

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxconv as jc
from experiments.bench.frameworks.in_flax import Library, descend, network

if TYPE_CHECKING:
    from experiments.bench.worker import Calls, Task

LAYOUTS = {1: "NWC", 2: "NHWC", 3: "NDHWC"}


class Transposed(nnx.ConvTranspose):
    """A transposed convolution of jaxconv with the parameters of the one of Flax."""

    def __call__(self, inputs: Any) -> Any:
        """Compute it.

        Args:
            inputs: (b, *size, c).
        """
        given: Any = self
        window, strides, pads = given.kernel_size, given.strides, given.padding
        return jc.conv_transpose(
            inputs,
            jnp.flip(given.kernel[...], range(len(window))),  # jaxconv flips it, as PyTorch does
            given.bias[...],
            stride=tuple(strides),
            # Flax takes the padding of the dilated image, jaxconv what is cut off.
            padding=tuple((k - 1 - a, k - 1 - b) for k, (a, b) in zip(window, pads, strict=True)),
            layout=LAYOUTS[len(window)],
        )


def _max_pool(x: Any, window_shape: Any, strides: Any, padding: Any) -> Any:
    layout = LAYOUTS[len(window_shape)]
    return jc.max_pool(x, window_shape, stride=strides, padding=padding, layout=layout)


OURS = Library(jc.conv_general_dilated, Transposed, _max_pool, jc.jit)


def inference(task: "Task") -> "Calls":
    """Run the network on images.

    Args:
        task: what to compute.

    Returns:
        One call, and its parameters: none.
    """
    x = task.array("x")
    run = jc.compile(network(task, OURS, is_training=False), x)
    return lambda: np.asarray(run(x)), dict


def training(task: "Task") -> "Calls":
    """Take steps of gradient descent.

    Args:
        task: what to compute.

    Returns:
        One step, and the parameters after it.
    """
    return descend(task, OURS)
