"""The network of the experiments: a VGG trunk, global average pooling, and one dense layer."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

import jaxconv as jc
from experiments.training.recipes import Model
from jaxconv.models.weights import Preprocessing


class Classifier(nnx.Module):
    """A classifier of small pictures. It is in evaluation mode at first, like ``jc.VGG``.

    Args:
        stages: filters of each convolution of each stage.
        classes: number of outputs.
        channels: channels of the pictures.
        batch_norm: use batch norm after each convolution.
        dropout: dropout rate before the dense layer.
        dtype: dtype of the computation; logits and parameters are float32.
        seed: seed of the parameters and of the dropout.
    """

    def __init__(
        self,
        stages: Sequence[Sequence[int]],
        classes: int,
        channels: int = 3,
        *,
        batch_norm: bool = True,
        dropout: float = 0.0,
        dtype: str = "float32",
        seed: int = 0,
    ) -> None:
        rngs = nnx.Rngs(seed)
        common = {"channels": channels, "batch_norm": batch_norm, "dtype": jnp.dtype(dtype)}
        self.trunk = jc.VGG(stages, head=None, rngs=rngs, **common)
        init = nnx.initializers.he_normal()
        self.kernel = nnx.Param(init(rngs.params(), (stages[-1][-1], classes)))
        self.bias = nnx.Param(jnp.zeros(classes))
        self.dropout = nnx.Dropout(dropout, deterministic=True, rngs=rngs)
        self.preprocessing: Preprocessing | None = None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the logits (b, classes) of preprocessed pictures (b, h, w, c)."""
        means = jc.global_avg_pool(self.trunk(x)).astype(jnp.float32)
        return jc.dense(self.dropout(means), self.kernel[...], self.bias[...])


def classifier(model: Model, classes: int, channels: int, seed: int) -> Classifier:
    """Build the network of a recipe.

    Args:
        model: the options of the network.
        classes: the number of outputs.
        channels: of the images.
        seed: of the parameters.

    Returns:
        The network with new parameters.
    """
    return Classifier(
        model.stages,
        classes,
        channels,
        batch_norm=model.batch_norm,
        dropout=model.dropout,
        dtype=model.dtype,
        seed=seed,
    )
