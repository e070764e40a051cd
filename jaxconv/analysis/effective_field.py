"""The effective receptive field: how much each pixel contributes to a neuron."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.analysis.feature_maps import require_values, values_at
from jaxconv.analysis.neuron import read_position
from jaxconv.analysis.receptive_field import ReceptiveField, analyze_fields
from jaxconv.errors import Diagnostic, ValidationError, public_api, whole
from jaxconv.jaxpr.interpreter import shape_of
from jaxconv.jaxpr.periodic_pattern import PixelRange


@dataclass(frozen=True)
class EffectiveField:
    """How much the pixels of an image count for one neuron.

    Attributes:
        values: for each pixel the mean of |d neuron / d pixel|, over random images and the channels
            of the image; of the image's size.
        field: the receptive field of the neuron's layer.
        at: the neuron's position.
    """

    values: np.ndarray
    field: ReceptiveField
    at: tuple[int, ...]

    @property
    def box(self) -> tuple[PixelRange, ...]:
        """The receptive field of the neuron: no pixel outside it contributes."""
        return self.field.box(*self.at)


@public_api
def effective_receptive_field(
    fn: Callable[..., Any],
    *args: Any,
    layer: str | int,
    at: Sequence[int] | None = None,
    inputs: int = 16,
    seed: int = 0,
    layout: str | None = None,
    **named: Any,
) -> EffectiveField:
    """Measure how much each pixel counts for a neuron.

    Most pixels of a receptive field hardly matter: the mean of |gradient| over random images is
    largest in the middle (Luo, Li, Urtasun and Zemel, "Understanding the effective receptive field
    in deep convolutional neural networks", NeurIPS 2016). The neurons of all channels at one
    position are summed. Images are drawn from a normal distribution.

    Args:
        fn: as :func:`receptive_field` takes it.
        *args: likewise, with numbers as sizes and real arrays as parameters; the image may be a
            spec such as ``"1 224 224 3"``, because its values are not used.
        layer: the name or number of a layer.
        at: the neuron's position: y, x; the one in the middle by default.
        inputs: how many random images.
        seed: of the images.
        layout: the axes of the image, such as ``"NCHW"``.
        **named: keyword arguments of the function, as ``args``.

    Returns:
        The mean for each pixel. :func:`jaxconv.plotting.figures.field_figure` draws it.

    Raises:
        ShapeError: an unknown layer, a position outside its map, sizes that are formulas, or
            parameters without values.

    Example:
        >>> import jax, jaxconv as jc
        >>> kernel = jax.numpy.ones((3, 3, 1, 1))
        >>> network = lambda x: jc.conv(jc.conv(x, kernel), kernel)
        >>> jc.effective_receptive_field(network, "1 7 7 1", layer=2).values[1:-1, 1:-1].astype(int)
        array([[1, 2, 3, 2, 1],
               [2, 4, 6, 4, 2],
               [3, 6, 9, 6, 3],
               [2, 4, 6, 4, 2],
               [1, 2, 3, 2, 1]])
    """
    inputs, seed = whole("inputs", inputs), whole("seed", seed, 0)
    # Only by the direct convolution is the gradient outside the field exactly 0.
    with jax.default_matmul_precision("highest"):
        analysis = analyze_fields(fn, *args, layout=layout, **named)
    field = analysis.field(layer)
    if not all(isinstance(n, int) for n in (*field.image, *field.map)):
        wrong = f"the image is {' x '.join(map(str, field.image))}, but must have numbers as sizes."
        raise ValidationError([Diagnostic(wrong, 'pass "1 224 224 3".')])
    position = tuple(n // 2 for n in field.map) if at is None else read_position(at)
    field.box(*position)  # which rejects a position outside the map
    network = analysis.networks.regions[0].network
    refs = {field.layer: network.maps()[field.layer]}
    leaves = jax.tree.leaves(analysis.networks.subject.arguments)
    image = network.closed.jaxpr.invars.index(network.image())
    require_values(leaves[:image] + leaves[image + 1 :])

    def neurons(pixels: jax.Array) -> jax.Array:
        inputs = [pixels if index == image else leaf for index, leaf in enumerate(leaves)]
        values = values_at(network, refs, inputs)[field.layer]
        return jnp.sum(field.neurons(values, position))

    gradient = jax.jit(jax.grad(neurons))
    rng, shape = np.random.default_rng(seed), shape_of(network.image())
    total = sum(np.abs(gradient(jnp.asarray(rng.normal(size=shape)))) for _ in range(inputs))
    others = tuple(axis for axis in range(len(shape)) if axis not in field.pixels)
    return EffectiveField(np.asarray(total).mean(others) / inputs, field, position)
