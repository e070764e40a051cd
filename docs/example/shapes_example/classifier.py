"""An image classifier in Flax NNX."""

import jax
from flax import nnx

import jaxconv as jc


class Classifier(nnx.Module):
    """Three convolutions with stride 2, a global mean, and a linear layer."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(3, 16, (3, 3), strides=2, rngs=rngs)
        self.conv2 = nnx.Conv(16, 32, (3, 3), strides=2, rngs=rngs)
        self.conv3 = nnx.Conv(32, 64, (3, 3), strides=2, rngs=rngs)
        self.head = nnx.Linear(64, 10, rngs=rngs)

    @jc.contract("b h w 3 -> b (h+7)//8 (w+7)//8 64")
    def features(self, x: jax.Array) -> jax.Array:
        """Return the feature maps before the mean."""
        x = nnx.relu(self.conv1(x))
        x = nnx.relu(self.conv2(x))
        return nnx.relu(self.conv3(x))

    @jc.contract("b h w 3 -> b 10")
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return a score per class, for images of any size."""
        return self.head(self.features(x).mean((1, 2)))
