"""``reduce_window`` and its relatives: pools.

Sizes follow XLA's ReduceWindow (https://openxla.org/xla/operation_semantics#reducewindow). Unlike
that of a convolution the window has a size along every axis, 1 along those of images and channels.
"""

from dataclasses import dataclass, replace
from math import inf

import numpy as np

from jaxconv.compat import JaxprEqn
from jaxconv.jaxpr.axis_field import Field
from jaxconv.jaxpr.equation import EquationContext
from jaxconv.jaxpr.interpreter import shape_of
from jaxconv.jaxpr.patch_reader import (
    Index,
    MapAxes,
    Patch,
    PatchReader,
    Pooling,
    SlidingOperands,
    window_values,
)
from jaxconv.jaxpr.primitives.registry import PrimitiveRecord, register, register_rule
from jaxconv.jaxpr.window_axis import WindowAxis

MAX_POOLING = Pooling("max", np.max, -inf)
POOLINGS = {
    pooling.name: pooling
    for pooling in (MAX_POOLING, Pooling("min", np.min, inf), Pooling("sum", np.sum, 0.0))
}


def _pool_window(eqn: JaxprEqn) -> tuple[WindowAxis, ...]:
    x, out = shape_of(eqn.invars[0]), shape_of(eqn.outvars[0])
    names = ("window_dimensions", "window_strides", "padding", "window_dilation", "base_dilation")
    settings = zip(*(eqn.params[name] for name in names), strict=True)
    return tuple(WindowAxis(i, i, x[i], out[i], *setting) for i, setting in enumerate(settings))


def _pool_axes(eqn: JaxprEqn) -> MapAxes:
    """Axes without a window are those of images and channels: if possible the first and last."""
    window = eqn.params["window_dimensions"]
    whole = [axis for axis, size in enumerate(window) if size == 1]
    last = len(window) - 1
    channels = [last] if last in whole else whole[1:2] or whole
    images = [0] if 0 in whole and channels != [0] else []
    # A library that pools one image adds an axis, after which vmap adds that of the batch.
    is_added = len(window) > 4 and images and 1 in whole and str(shape_of(eqn.invars[0])[1]) == "1"
    images += [1] if is_added and channels != [1] else []
    pixels = [axis for axis in range(len(window)) if axis not in images + channels]
    return MapAxes(tuple(images), tuple(pixels), tuple(channels))


@dataclass(frozen=True)
class PoolPatch(PatchReader):
    """The largest, the smallest or the sum of each window.

    Attributes:
        pooling: which of them.
    """

    pooling: Pooling = MAX_POOLING

    @property
    def kind(self) -> str:
        """The name of the pooling."""
        return self.pooling.name

    @property
    def axes(self) -> MapAxes:
        """The axes of the result."""
        return _pool_axes(self.eqn)

    def read(self, index: Index, *operands: np.ndarray) -> Patch:
        """Cut out the window, in the one channel that the neuron sees.

        Args:
            index: of the neuron in the result.
            *operands: the map.

        Returns:
            float64 (*kernel sizes, 1), and no weights.
        """
        (x,) = operands
        patch = window_values(x, _pool_window(self.eqn), index, self.pooling.padding_value)
        return patch.reshape([*(patch.shape[axis] for axis in self.axes.pixels), 1]), None

    def slide(self, *operands: np.ndarray) -> SlidingOperands | None:
        """Describe a pool over two spatial axes whose input is not dilated.

        Args:
            *operands: the map.

        Returns:
            The map (h, w, c) of the first image, and the windows.
        """
        (x,) = operands
        images, pixels, channels = self.axes
        windows = [_pool_window(self.eqn)[axis] for axis in pixels]
        if len(windows) != 2 or any(axis.input_dilation != 1 for axis in windows):
            return None
        ordered = np.transpose(x, (*images, *pixels, *channels))
        rows, columns = (x.shape[axis] for axis in pixels)
        read = ordered.reshape(-1, rows, columns, self.axes.sizes(x.shape).channels)[0]
        return SlidingOperands(read.astype(np.float32), (windows[0], windows[1]), None)


# The derivatives of max pooling: which number of a window is read depends on another operand.
register(PrimitiveRecord(kind="pool"), "select_and_scatter_add", "select_and_gather_add")
POOL = PrimitiveRecord(
    kind="pool", window=_pool_window, input_axes=_pool_axes, output_axes=_pool_axes
)


def _named_pool(name: str) -> PrimitiveRecord:
    pooling = POOLINGS[name]
    patch = lambda eqn, fixed: PoolPatch(eqn, fixed, pooling)  # noqa: E731
    return replace(POOL, pooling=pooling, patch=patch)


@register_rule(_named_pool("max"), "reduce_window_max")
@register_rule(_named_pool("min"), "reduce_window_min")
@register_rule(_named_pool("sum"), "reduce_window_sum")
@register_rule(POOL, "reduce_window")  # by any function
def _pooled_field(context: EquationContext) -> Field:
    windows = [axis.substitute(context.substitute) for axis in _pool_window(context.eqn)]
    return context.change(lambda axis_field, axis: axis_field.slide(windows[axis]))
