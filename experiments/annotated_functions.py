"""Twenty functions with jaxtyping annotations: ten are right, ten are wrong for some sizes or all.

They need JAX and jaxtyping only, so that every tool can read them.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

NHWC = ("NHWC", "HWIO", "NHWC")

# Right, for every size.


def every_second(x: Float[Array, "b h w c"]) -> Float[Array, "b (h+1)//2 (w+1)//2 c"]:
    """Take every second row and column."""
    return x[:, ::2, ::2]


def strided_conv(
    x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"]
) -> Float[Array, "b (h+1)//2 (w+1)//2 d"]:
    """Convolve with stride 2."""
    return lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=NHWC)


def pooled(x: Float[Array, "b h w c"]) -> Float[Array, "b (h+1)//2 (w+1)//2 c"]:
    """Take the maximum of windows of 2x2, padded at the end."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME")


def flattened(x: Float[Array, "b h w c"]) -> Float[Array, "b h*w*c"]:
    """Make one row of each image."""
    return x.reshape(x.shape[0], -1)


def averaged(x: Float[Array, "b h w c"]) -> Float[Array, "b c"]:
    """Take the mean of each map."""
    return x.mean((1, 2))


def excited(
    x: Float[Array, "b h w c"], squeeze: Float[Array, "c r"], excite: Float[Array, "r c"]
) -> Float[Array, "b h w c"]:
    """Scale each map by what all of them say."""
    scale = jax.nn.sigmoid(jax.nn.relu(x.mean((1, 2)) @ squeeze) @ excite)
    return x * scale[:, None, None]


def space_to_depth(x: Float[Array, "b h w c"]) -> Float[Array, "b (h+1)//2 (w+1)//2 4*c"]:
    """Make channels of blocks of 2x2 pixels, padded to whole blocks."""
    b, h, w, c = x.shape
    x = jnp.pad(x, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)))
    x = x.reshape(b, (h + 1) // 2, 2, (w + 1) // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, (h + 1) // 2, (w + 1) // 2, 4 * c)


def attended(
    query: Float[Array, "b n d"], key: Float[Array, "b m d"], value: Float[Array, "b m e"]
) -> Float[Array, "b n e"]:
    """Attend to the values."""
    return jax.nn.softmax(query @ key.transpose(0, 2, 1)) @ value


def joined(
    x: Float[Array, "b h w c"], skip: Float[Array, "b 2*h 2*w d"]
) -> Float[Array, "b 2*h 2*w c+d"]:
    """Double the pixels, and join a skip connection."""
    return jnp.concatenate([x.repeat(2, 1).repeat(2, 2), skip], -1)


def distances(x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """Compute the squared distance of each pair."""
    return ((x[:, None] - y) ** 2).sum(-1)


# Wrong.


def every_second_floor(x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 c"]:
    """Take every second row and column; of 3 rows, these are 2."""
    return x[:, ::2, ::2]


def padded_to_even(x: Float[Array, "b h w c"]) -> Float[Array, "b h+h%2 w c"]:
    """Pad to an even number of rows, but pad even ones, too."""
    return jnp.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0)))


def squeezed(x: Float[Array, "b h w c"]) -> Float[Array, "b c"]:
    """Take the mean of each map, and lose a batch of one image."""
    return x.mean((1, 2), keepdims=True).squeeze()


def scaled_rows(x: Float[Array, "b h w"], gain: Float[Array, "h"]) -> Float[Array, "b h w"]:
    """Scale each row, but by the number of its column."""
    return x * gain


def mirrored(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Mirror an image at its diagonal."""
    return x.transpose(0, 2, 1, 3)


def stem(
    x: Float[Array, "b h w c"], kernel: Float[Array, "7 7 c d"]
) -> Float[Array, "b (h-5)//2 (w-5)//2 d"]:
    """Convolve with stride 2 and no padding, for which images may be too small."""
    return lax.conv_general_dilated(x, kernel, (2, 2), "VALID", dimension_numbers=NHWC)


def down_and_up(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Halve the rows and double them, which does not give odd ones back."""
    half = lax.reduce_window(x, 0.0, lax.add, (1, 2, 1, 1), (1, 2, 1, 1), "VALID")
    return x + half.repeat(2, 1)


def patches(x: Float[Array, "b h w c"]) -> Float[Array, "b (h//4)*(w//4) 16*c"]:
    """Make a row of each patch of 4x4 pixels, which must fit."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // 4, 4, w // 4, 4, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, (h // 4) * (w // 4), 16 * c)


def channels_first(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Convert the layout, and forget the annotation."""
    return x.transpose(0, 3, 1, 2)


def row_means(x: Float[Array, "b h w c"]) -> Float[Array, "b h"]:
    """Take the mean of each row, but of the maps instead."""
    return x.mean((1, 2))
