"""``conv_general_dilated``: all that jaxconv knows about a convolution.

Sizes follow XLA's ConvWithGeneralPadding (https://openxla.org/xla/operation_semantics#conv_convolution).
JAX gives the axes of operand, kernel and result as ``lhs_spec`` (batch, channels, spatial...),
``rhs_spec`` (c_out, c_in, spatial...) and ``out_spec`` (batch, channels, spatial...).
"""

import numpy as np

from jaxconv.compat import JaxprEqn
from jaxconv.jaxpr.axis_field import AxisField, Field, is_equal
from jaxconv.jaxpr.equation import EquationContext
from jaxconv.jaxpr.interpreter import shape_of
from jaxconv.jaxpr.patch_reader import (
    Axes,
    Index,
    MapAxes,
    Patch,
    PatchReader,
    SlidingOperands,
    window_values,
)
from jaxconv.jaxpr.primitives.registry import Factors, PrimitiveRecord, register_rule
from jaxconv.jaxpr.window_axis import Substitute, WindowAxis


def _input_axes(eqn: JaxprEqn) -> MapAxes:
    batch, channels, *spatial = eqn.params["dimension_numbers"].lhs_spec
    return MapAxes((batch,), tuple(spatial), (channels,))


def _output_axes(eqn: JaxprEqn) -> MapAxes:
    batch, channels, *spatial = eqn.params["dimension_numbers"].out_spec
    return MapAxes((batch,), tuple(spatial), (channels,))


def _conv_window(eqn: JaxprEqn) -> tuple[WindowAxis, ...]:
    params, numbers = eqn.params, eqn.params["dimension_numbers"]
    x, kernel, out = (shape_of(atom) for atom in (*eqn.invars, eqn.outvars[0]))
    axes = zip(numbers.lhs_spec[2:], numbers.out_spec[2:], numbers.rhs_spec[2:], strict=True)
    names = ("window_strides", "padding", "rhs_dilation", "lhs_dilation")
    settings = zip(*(params[name] for name in names), strict=True)
    return tuple(
        WindowAxis(i, o, x[i], out[o], kernel[k], *setting)
        for (i, o, k), setting in zip(axes, settings, strict=True)
    )


def _conv_macs(eqn: JaxprEqn, substitute: Substitute, count_padding: bool) -> Factors:
    """One for each image, output channel, input channel of its group, and window pair.

    Whether a pair of a position and a kernel element meets an input is decided axis by axis, so
    that the counts of the axes multiply.
    """
    (images,), _, (channels,) = _output_axes(eqn)
    kernel, out = shape_of(eqn.invars[1]), shape_of(eqn.outvars[0])
    c_in = kernel[eqn.params["dimension_numbers"].rhs_spec[1]]
    pairs = (
        axis.substitute(substitute).count_products(count_padding) for axis in _conv_window(eqn)
    )
    return (*map(substitute, (out[images], out[channels], c_in)), *pairs)


class ConvolutionPatch(PatchReader):
    """A convolution with any order of axes, strides, padding, dilations and groups."""

    @property
    def kind(self) -> str:
        """A neuron computes a convolution."""
        return "convolution"

    @property
    def axes(self) -> MapAxes:
        """The axes of the result, as the equation names them."""
        return _output_axes(self.eqn)

    def read(self, index: Index, *operands: np.ndarray) -> Patch:
        """Cut out the patch in the neuron's group of channels, and take its filter.

        Args:
            index: of the neuron in the result.
            *operands: the map, and the kernel.

        Returns:
            Both float64 (*kernel sizes, c_in), where c_in is that of a group; 0 on padding.
        """
        params, numbers = self.eqn.params, self.eqn.params["dimension_numbers"]
        x, filters = np.transpose(operands[0], numbers.lhs_spec), self.filters(operands[1])
        image, channel, *position = (index[axis] for axis in numbers.out_spec)
        c_in = filters.shape[1]
        group = channel // (filters.shape[0] // params["feature_group_count"])
        read = x[image, group * c_in : (group + 1) * c_in]
        patch = window_values(read, _conv_window(self.eqn), position, 0.0)
        return np.moveaxis(patch, 0, -1), np.moveaxis(filters[channel], 0, -1)

    def filters(self, kernel: np.ndarray) -> np.ndarray:
        """Bring the kernel into one order of axes.

        Args:
            kernel: the second operand.

        Returns:
            float64 (c_out, c_in, *kernel sizes).
        """
        return np.transpose(kernel, self.eqn.params["dimension_numbers"].rhs_spec).astype(float)

    def slide(self, *operands: np.ndarray) -> SlidingOperands | None:
        """Describe a convolution over two spatial axes whose input is not dilated.

        Args:
            *operands: the map, and the kernel.

        Returns:
            The map (h, w, c) of the first image, the windows, and weights (kh, kw, c_in, c_out).
        """
        x, kernel = operands
        windows = _conv_window(self.eqn)
        if len(windows) != 2 or any(axis.input_dilation != 1 for axis in windows):
            return None
        (images,), pixels, channels = _input_axes(self.eqn)
        x = np.transpose(x, (images, *pixels, *channels))[0]
        weights = np.transpose(self.filters(kernel), (2, 3, 1, 0)).astype(np.float32)
        return SlidingOperands(x, (windows[0], windows[1]), weights)


def _copied(eqn: JaxprEqn) -> list[Axes | None]:
    """XLA computes with (batch, spatial..., channels) and (spatial..., c_in, c_out)."""
    numbers = eqn.params["dimension_numbers"]
    last = len(numbers.lhs_spec) - 1
    usual = (0, last, *range(1, last)), (last, last - 1, *range(last - 1))
    given = numbers.lhs_spec, numbers.rhs_spec
    return [one if one != wanted else None for one, wanted in zip(given, usual, strict=True)]


def _is_matrix(eqn: JaxprEqn) -> bool:
    """A 1x1 convolution is a matrix product of all pixels."""
    kernel, params = shape_of(eqn.invars[1]), eqn.params
    pixels = [kernel[axis] for axis in params["dimension_numbers"].rhs_spec[2:]]
    is_plain = {*pixels, *params["window_strides"], params["feature_group_count"]} == {1}
    return is_plain and not any(_copied(eqn))


CONVOLUTION = PrimitiveRecord(
    kind="convolution",
    macs=_conv_macs,
    weights=lambda eqn, substitute: tuple(
        substitute(n)
        for axis, n in enumerate(shape_of(eqn.invars[1]))
        if axis != eqn.params["dimension_numbers"].rhs_spec[0]  # c_out
    ),
    weight_operands=(1,),
    window=_conv_window,
    # The gradient of a grouped kernel sums across groups of images: no patch.
    patch=lambda eqn, fixed: (
        None if eqn.params["batch_group_count"] > 1 else ConvolutionPatch(eqn, fixed)
    ),
    input_axes=_input_axes,
    output_axes=_output_axes,
    copied=_copied,
    is_matrix=_is_matrix,
)


@register_rule(CONVOLUTION, "conv_general_dilated")
def _convolved_field(context: EquationContext) -> Field:
    """Slide the window along spatial axes; all channels of a group see what any of them sees."""
    params, substitute = context.params, context.substitute
    if not is_equal(substitute(params["batch_group_count"]), 1):
        return context.everything()
    one_group = is_equal(substitute(params["feature_group_count"]), 1)
    numbers = params["dimension_numbers"]
    windows = {axis.input_axis: axis.substitute(substitute) for axis in _conv_window(context.eqn)}

    def change(axis_field: AxisField, axis: int) -> AxisField:
        if axis in windows:
            return axis_field.slide(windows[axis])
        if axis == numbers.lhs_spec[0]:
            return axis_field.move(numbers.out_spec[0])
        return axis_field.collapse(context.shapes[0][axis], exact=one_group)

    field = context.change(change)
    solid = context.has_no_zero(context.eqn.invars[1])
    return field if solid else tuple(map(AxisField.loose, field))
