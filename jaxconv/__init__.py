"""jaxconv: convolutional networks whose shapes are checked and whose feature maps are visible."""

from jaxconv.layers.conv import conv, conv_shape, conv_transpose
from jaxconv.layers.dense import dense, flatten
from jaxconv.layers.pool import avg_pool, global_avg_pool, max_pool, pool_shape
from jaxconv.shapes.errors import ShapeError

__all__ = [
    "ShapeError",
    "avg_pool",
    "conv",
    "conv_shape",
    "conv_transpose",
    "dense",
    "flatten",
    "global_avg_pool",
    "max_pool",
    "pool_shape",
]
