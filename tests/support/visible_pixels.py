"""Which pixels a neuron depends on, found by gradients: what receptive fields are compared with."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxconv as jc


def seen(fn, args, layer, place, inputs=8, seed=0):
    """Which numbers of the first argument have a gradient, for any of several random inputs.

    Args:
        fn: a function of arrays.
        args: shapes of them; the first is the image.
        layer: the name of a map.
        place: an index of the map; None takes in all numbers of an axis, with random weights.

    Returns:
        bool, of the shape of the image.
    """
    index = tuple(slice(None) if n is None else n for n in place)
    rng = np.random.default_rng(seed)

    def chosen(image, rest, weights):
        return (jc.feature_maps(fn, layer)(image, *rest)[layer][index] * weights).sum()

    shape = jax.eval_shape(jc.feature_maps(fn, layer), *args)[layer]
    part = np.empty(shape.shape, bool)[index].shape
    slope = jax.jit(jax.grad(chosen))
    found = np.zeros(args[0].shape, bool)
    for _ in range(inputs):
        image, *rest = (jnp.asarray(rng.normal(size=a.shape), a.dtype) for a in args)
        found |= np.asarray(slope(image, rest, rng.normal(size=part).astype(np.float32)) != 0)
    return found


def hull(found):
    """First index and the first behind, of what is set along each axis; (0, 0) of nothing."""
    every = []
    for axis in range(found.ndim):
        others = tuple(a for a in range(found.ndim) if a != axis)
        here = np.flatnonzero(found.any(others))
        every.append((int(here[0]), int(here[-1]) + 1) if here.size else (0, 0))
    return every
