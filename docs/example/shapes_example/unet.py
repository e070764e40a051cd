"""A small U-Net in plain JAX that segments the foreground of an image."""

import jax
import jax.numpy as jnp

import jaxconv as jc

# Input and output channels of each convolution; the way up concatenates the map from the way down.
CHANNELS = {
    "down1": (1, 8),
    "down2": (8, 16),
    "bottom": (16, 32),
    "up2": (32 + 16, 16),
    "up1": (16 + 8, 8),
    "out": (8, 1),
}
Params = dict[str, jax.Array]


def init() -> Params:
    """Return random kernels."""
    keys = jax.random.split(jax.random.key(0), len(CHANNELS))
    draw = jax.nn.initializers.he_normal()
    return {
        name: draw(key, (3, 3, *channels))
        for key, (name, channels) in zip(keys, CHANNELS.items(), strict=True)
    }


@jc.contract("b h w 1 -> b h w 1", where="h % 4 == 0 and w % 4 == 0", params=init)
def segment(params: Params, x: jax.Array) -> jax.Array:
    """Return a map as large as the image. Two pools require sizes that are multiples of 4."""
    down1 = jax.nn.relu(jc.conv(x, params["down1"]))
    down2 = jax.nn.relu(jc.conv(jc.max_pool(down1), params["down2"]))
    bottom = jax.nn.relu(jc.conv(jc.max_pool(down2), params["bottom"]))
    up2 = jax.nn.relu(jc.conv(join(bottom, down2), params["up2"]))
    up1 = jax.nn.relu(jc.conv(join(up2, down1), params["up1"]))
    return jc.conv(up1, params["out"])


@jc.contract("b h w c, b 2*h 2*w d -> b 2*h 2*w c+d")
def join(small: jax.Array, large: jax.Array) -> jax.Array:
    """Upsample a map by 2, and concatenate it with one that is twice as large."""
    doubled = jnp.repeat(jnp.repeat(small, 2, axis=1), 2, axis=2)
    return jnp.concatenate([doubled, large], axis=-1)
