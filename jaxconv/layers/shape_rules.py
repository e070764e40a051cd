"""The shape that a layer returns, computed from shapes and options alone, without JAX.

:func:`conv_plan` and :func:`pool_plan` predict the shape of the result, or raise
:class:`~jaxconv.errors.ValidationError` with everything that does not fit.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import starmap
from typing import Any

from jaxconv.errors import (
    MAX_PIXELS,
    Diagnostic,
    DiagnosticCollector,
    ValidationError,
    raise_if,
    whole,
)
from jaxconv.layers import windows
from jaxconv.layers.channels import channel_diagnostics, weight_order_diagnostics
from jaxconv.layers.layouts import (
    Layout,
    Shape,
    kernel_rank_diagnostics,
    layout_named,
    rank_diagnostics,
)
from jaxconv.layers.windows import PaddingRule, Window


@dataclass(frozen=True)
class Plan:
    """How the windows of a layer move, and the shape that results.

    Attributes:
        layout: of the input and of the result.
        windows: one per spatial axis, padding in pixels.
        shape: of the result.
        groups: number of independent groups of channels.
    """

    layout: Layout
    windows: tuple[Window, ...]
    shape: Shape
    groups: int = 1

    def on_all_axes(self, values: Iterable[Any], rest: Any) -> tuple[Any, ...]:
        """Arrange one value per spatial axis in the order of the layout.

        Args:
            values: one per spatial axis.
            rest: the value for batch and channels.
        """
        return self.layout.arrange(rest, values, rest)


@dataclass(frozen=True)
class WindowCheck:
    """A condition that a window must not meet along any axis.

    Attributes:
        is_wrong: the condition, of the pixels of the axis and its window.
        wrong: the sentence about it, of the name of the axis, its pixels and its window.
        fix: what to do.
    """

    is_wrong: Callable[[Any, Window], Any]
    wrong: Callable[[str, Any, Window], str]
    fix: str

    def diagnostics(
        self, axes: Sequence[str], sizes: Sequence[Any], padded: Sequence[Window]
    ) -> list[Diagnostic]:
        """Check all axes.

        Args:
            axes: their names.
            sizes: their pixels.
            padded: their windows.
        """
        rows = zip(axes, sizes, padded, strict=True)
        return [Diagnostic(self.wrong(*row), self.fix) for row in rows if self.is_wrong(*row[1:])]


EMPTY_MAP = WindowCheck(
    lambda n, w: w.out(n) < 1,
    lambda axis, n, w: (
        f"the feature map would be empty along {axis}: the window covers {w.extent} pixels "
        f"(size {w.kernel}, dilation {w.dilation}), but the padded input has only "
        f"{w.low} + {n} + {w.high} = {n + w.low + w.high}."
    ),
    'use a smaller window, larger images, or more padding (padding="SAME" always fits).',
)
EMPTY_RESULT = WindowCheck(
    lambda n, w: w.transposed_out(n) < 1,
    lambda axis, n, w: (
        f"the result would be empty along {axis}: ({n} - 1)*{w.stride} + {w.extent} pixels "
        f"minus padding of {w.low} and {w.high} are {w.transposed_out(n)}."
    ),
    "use less padding: in conv_transpose it crops the result.",
)
ONLY_PADDING = WindowCheck(
    lambda _, w: any(pad >= w.kernel for pad in w.pads),
    lambda axis, _, w: (
        f"padding along {axis} is {w.pads}, but the window has {w.kernel} pixels: "
        "a window could contain nothing but padding."
    ),
    "pass padding smaller than the window.",
)
# By the paddings that repeat pixels of the image, all but those at the border that are not.
TOO_FEW_TO_REPEAT = {
    padding: WindowCheck(
        lambda n, w, border=border: any(pad > n - border for pad in w.pads),
        lambda axis, n, w, padding=padding, border=border: (
            f"padding {padding!r} needs {max(w.pads)} pixels of x along {axis}, "
            f"but x has only {n - border} that it can repeat."
        ),
        "use a smaller kernel, larger images, or another padding.",
    )
    for padding, border in windows.BORDERS_NOT_REPEATED.items()
}


def conv_plan(
    x: Shape,
    kernel: Shape,
    bias: Shape | None = None,
    *,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    layout: Any,
    output_padding: Any = None,
    trusted: bool = False,
) -> Plan:
    """Plan a convolution, or a transposed one.

    Args:
        x: shape of the images, in ``layout``.
        kernel: shape of the kernel, spatial axes first.
        bias: shape of the bias, or None.
        stride: as for :func:`jaxconv.conv`.
        padding: as for :func:`jaxconv.conv`.
        dilation: as for :func:`jaxconv.conv`.
        groups: as for :func:`jaxconv.conv`.
        layout: as for :func:`jaxconv.conv`.
        output_padding: as for :func:`jaxconv.conv_transpose`; None for :func:`jaxconv.conv`.
        trusted: the kernel was given by its sizes, so its axes cannot be in another order.

    Raises:
        ValidationError: with everything that does not fit.
    """
    order, transposed = layout_named(layout), output_padding is not None
    operands = [order.read("x", x), order.read_kernel("kernel", kernel)]
    raise_if(rank_diagnostics("x", x, order) + kernel_rank_diagnostics(kernel, order), operands)
    zeros = _zero_diagnostics(order.axes, x) + _zero_diagnostics(order.kernel_axes, kernel, 0)
    raise_if(zeros, operands)
    axes, sizes = order.spatial_axes, [x[i] for i in order.spatial]
    diagnostics = DiagnosticCollector(bias_diagnostics(bias, kernel[-1]))
    strides = diagnostics.attempt(windows.per_axis, "stride", stride, axes)
    dilations = diagnostics.attempt(windows.per_axis, "dilation", dilation, axes)
    groups = diagnostics.attempt(whole, "groups", groups)
    if groups:
        diagnostics += channel_diagnostics(x, kernel, groups, order, transposed)
        is_fine = not diagnostics and not trusted
        weights = kernel, groups, order, transposed
        diagnostics += weight_order_diagnostics(*weights) if is_fine else []
    unpadded = _unpadded_windows(kernel[:-2], strides, dilations)
    if transposed:
        more = diagnostics.attempt(windows.per_axis, "output_padding", output_padding, axes, None)
        more = more if strides and dilations and more else (0,) * len(axes)
        pad = functools.partial(windows.transposed_windows, output_padding=more)
    else:
        pad = functools.partial(_pad_windows, rules=windows.CONV_PADDINGS)
    padded = diagnostics.attempt(pad, padding, sizes, unpadded) or ()
    if strides and dilations and padded:
        check = EMPTY_RESULT if transposed else EMPTY_MAP
        diagnostics += check.diagnostics(axes, sizes, padded)
        if isinstance(padding, str) and padding in TOO_FEW_TO_REPEAT:
            diagnostics += TOO_FEW_TO_REPEAT[padding].diagnostics(axes, sizes, padded)
    raise_if(diagnostics, operands)
    result_size = Window.transposed_out if transposed else Window.out
    spatial = [result_size(w, n) for n, w in zip(sizes, padded, strict=True)]
    raise_if(
        (
            Diagnostic(
                f"the result would have {size} pixels along {axis}.", "use a smaller stride."
            )
            for axis, size in zip(axes, spatial, strict=True)
            if isinstance(size, int) and size > MAX_PIXELS
        ),
        operands,
    )
    return Plan(order, padded, order.arrange(x[0], spatial, kernel[-1]), groups or 1)


def pool_plan(x: Shape, *, window: Any, stride: Any, padding: Any, layout: Any) -> Plan:
    """Plan a pool.

    Args:
        x: shape of the feature maps, in ``layout``.
        window: as for :func:`jaxconv.max_pool`.
        stride: as for :func:`jaxconv.max_pool`; None means ``window``.
        padding: as for :func:`jaxconv.max_pool`.
        layout: as for :func:`jaxconv.max_pool`.

    Raises:
        ValidationError: with everything that does not fit.
    """
    order = layout_named(layout)
    operands = [order.read("x", x)]
    raise_if(rank_diagnostics("x", x, order) or _zero_diagnostics(order.axes, x), operands)
    axes, sizes = order.spatial_axes, [x[i] for i in order.spatial]
    diagnostics = DiagnosticCollector()
    per_axis = functools.partial(windows.per_axis, read=windows.size)  # they may be symbolic
    kernel = diagnostics.attempt(per_axis, "window", window, axes)
    step = window if stride is None else stride
    strides = diagnostics.attempt(per_axis, "stride", step, axes) if kernel else None
    unpadded = _unpadded_windows(kernel or (1,) * len(axes), strides)
    rules = windows.POOL_PADDINGS
    padded = diagnostics.attempt(_pad_windows, padding, sizes, unpadded, rules) or ()
    if kernel and strides and padded:
        diagnostics += ONLY_PADDING.diagnostics(axes, sizes, padded)
        diagnostics += EMPTY_MAP.diagnostics(axes, sizes, padded)
    raise_if(diagnostics, operands)
    spatial = [w.out(n) for n, w in zip(sizes, padded, strict=True)]
    return Plan(order, padded, order.arrange(x[0], spatial, x[order.channel]))


def map_plan(x: Shape, layout: Any) -> Plan:
    """Plan a reduction of each feature map to one number.

    Args:
        x: shape of the feature maps, in ``layout``.
        layout: as for :func:`jaxconv.global_avg_pool`.

    Raises:
        ValidationError: another rank, or an axis of size 0.
    """
    order = layout_named(layout)
    diagnostics = rank_diagnostics("x", x, order) or _zero_diagnostics(order.axes, x)
    raise_if(diagnostics, [order.read("x", x)])
    return Plan(order, (), (x[0], x[order.channel]))


def bias_diagnostics(bias: Shape | None, count: Any) -> list[Diagnostic]:
    """Compare the shape of a bias with the number of feature maps.

    Args:
        bias: the shape, or None.
        count: number of feature maps.
    """
    if bias is None or bias == (count,):
        return []
    wrong = f"bias has shape {bias}, but kernel returns {count} feature maps."
    return [Diagnostic(wrong, f"pass a bias of shape ({count},): one number per map.")]


def _unpadded_windows(
    kernel: Shape, strides: Shape | None, dilations: Shape | None = None
) -> list[Window]:
    """Windows without padding; 1 replaces an option that was rejected."""
    ones = (1,) * len(kernel)
    return list(starmap(Window, zip(kernel, strides or ones, dilations or ones, strict=True)))


def _pad_windows(
    padding: Any, sizes: Sequence[Any], unpadded: Sequence[Window], rules: dict[str, PaddingRule]
) -> tuple[Window, ...]:
    if isinstance(padding, str) and padding == "CAUSAL" in rules and len(unpadded) > 1:
        wrong = "padding is 'CAUSAL', which is for 1-D sequences only."
        fix = 'pass layout="NWC" or "NCW", or a (low, high) pair for each spatial axis.'
        raise ValidationError([Diagnostic(wrong, fix)])
    pads = windows.pads_of(padding, sizes, unpadded, rules)
    return tuple(
        replace(w, low=low, high=high) for w, (low, high) in zip(unpadded, pads, strict=True)
    )


def _zero_diagnostics(axes: Sequence[str], shape: Shape, first: int = 1) -> list[Diagnostic]:
    """Name the axes of size 0; axis 0 of a batch is exempt, as a batch may be empty."""
    return [
        Diagnostic(f"axis {axis} has size {size}.", f"pass {axis} of 1 or more.")
        for axis, size in [*zip(axes, shape, strict=True)][first:]
        if size < 1
    ]
