"""The shape that a layer returns, computed from shapes and options alone, without JAX.

:func:`conv_plan` and :func:`pool_plan` predict the shape of the result, or raise
:class:`~jaxconv.errors.ValidationError` with everything that does not fit.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import starmap
from typing import Any

from jaxconv.errors import Diagnostic, DiagnosticCollector, ValidationError, raise_if
from jaxconv.layers import windows
from jaxconv.layers.layouts import Layout, layout_named, rank_diagnostics
from jaxconv.layers.windows import PaddingRule, Window

Shape = tuple[Any, ...]  # of ints, or of symbolic sizes


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
    transposed: bool = False,
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
        transposed: the convolution is run backwards.
        trusted: the kernel was given by its sizes, so its axes cannot be in another order.

    Raises:
        ValidationError: with everything that does not fit.
    """
    order = layout_named(layout)
    operands = [order.read("x", x), order.read_kernel("kernel", kernel)]
    raise_if(rank_diagnostics("x", x, order) + _kernel_rank_diagnostics(kernel, order), operands)
    zeros = _zero_diagnostics(order.axes, x) + _zero_diagnostics(order.kernel_axes, kernel, 0)
    raise_if(zeros, operands)
    axes, sizes = order.spatial_axes, [x[i] for i in order.spatial]
    diagnostics = DiagnosticCollector(bias_diagnostics(bias, kernel[-1]))
    strides = diagnostics.attempt(windows.per_axis, "stride", stride, axes)
    dilations = diagnostics.attempt(windows.per_axis, "dilation", dilation, axes)
    groups = diagnostics.attempt(windows.whole, "groups", groups)
    diagnostics += _channel_diagnostics(x, kernel, groups, order) if groups else []
    if not diagnostics and not trusted and _is_oi_by_accident(kernel):
        diagnostics.append(_oi_diagnostic(kernel, order))
    unpadded = _unpadded_windows(kernel[:-2], strides, dilations)
    rules = windows.TRANSPOSED_PADDINGS if transposed else windows.CONV_PADDINGS
    padded = diagnostics.attempt(_pad_windows, padding, sizes, unpadded, rules) or ()
    if strides and dilations and padded:
        check = _transposed_size_diagnostics if transposed else _size_diagnostics
        diagnostics += check(axes, sizes, padded)
        diagnostics += _repeat_diagnostics(padding, axes, sizes, padded)
    raise_if(diagnostics, operands)
    result_size = Window.transposed_out if transposed else Window.out
    spatial = [result_size(w, n) for n, w in zip(sizes, padded, strict=True)]
    raise_if(_memory_diagnostics(axes, spatial), operands)
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
    kernel = diagnostics.attempt(windows.per_axis, "window", window, axes)
    step = window if stride is None else stride
    strides = diagnostics.attempt(windows.per_axis, "stride", step, axes) if kernel else None
    unpadded = _unpadded_windows(kernel or (1,) * len(axes), strides)
    rules = windows.POOL_PADDINGS
    padded = diagnostics.attempt(_pad_windows, padding, sizes, unpadded, rules) or ()
    if kernel and strides and padded:
        diagnostics += _padding_only_diagnostics(axes, padded)
        diagnostics += _size_diagnostics(axes, sizes, padded)
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
    """Windows without padding; 1 replaces an option that was refused."""
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


def _kernel_rank_diagnostics(kernel: Shape, order: Layout) -> list[Diagnostic]:
    axes = order.kernel_axes
    if len(kernel) == len(axes):
        return []
    count = f"{len(kernel)} ax{'is' if len(kernel) == 1 else 'es'}"
    wrong = f"kernel has {count}, but layout {order.name} needs {len(axes)} ({' '.join(axes)})."
    fix = f"pass a kernel of shape ({', '.join(axes)}), where c_in is the channels of one group."
    return [Diagnostic(wrong, fix)]


def _zero_diagnostics(axes: Sequence[str], shape: Shape, first: int = 1) -> list[Diagnostic]:
    """Name the axes of size 0; axis 0 of a batch is exempt, as a batch may be empty."""
    return [
        Diagnostic(f"axis {axis} has size {size}.", f"pass {axis} of 1 or more.")
        for axis, size in [*zip(axes, shape, strict=True)][first:]
        if size < 1
    ]


def _for_each_axis(
    axes: Sequence[str],
    sizes: Sequence[Any],
    padded: Sequence[Window],
    is_wrong: Callable[[Any, Window], Any],
    describe: Callable[[str, Any, Window], Diagnostic],
) -> list[Diagnostic]:
    """Describe what is wrong along each axis on which a condition of size and window holds."""
    rows = zip(axes, sizes, padded, strict=True)
    return [describe(axis, n, w) for axis, n, w in rows if is_wrong(n, w)]


def _size_diagnostics(
    axes: Sequence[str], sizes: Sequence[Any], padded: Sequence[Window]
) -> list[Diagnostic]:
    def describe(axis: str, n: Any, w: Window) -> Diagnostic:
        wrong = (
            f"the feature map would be empty along {axis}: the window covers {w.extent} pixels "
            f"(size {w.kernel}, dilation {w.dilation}), but the padded input has only "
            f"{w.low} + {n} + {w.high} = {n + w.low + w.high}."
        )
        fix = 'use a smaller window, larger images, or more padding (padding="SAME" always fits).'
        return Diagnostic(wrong, fix)

    return _for_each_axis(axes, sizes, padded, lambda n, w: w.out(n) < 1, describe)


def _transposed_size_diagnostics(
    axes: Sequence[str], sizes: Sequence[Any], padded: Sequence[Window]
) -> list[Diagnostic]:
    def describe(axis: str, n: Any, w: Window) -> Diagnostic:
        wrong = (
            f"the result would be empty along {axis}: ({n} - 1)*{w.stride} + {w.extent} pixels "
            f"minus padding of {w.low} and {w.high} are {w.transposed_out(n)}."
        )
        return Diagnostic(wrong, "use less padding: in conv_transpose it crops the result.")

    return _for_each_axis(axes, sizes, padded, lambda n, w: w.transposed_out(n) < 1, describe)


def _memory_diagnostics(axes: Sequence[str], spatial: Sequence[Any]) -> list[Diagnostic]:
    return [
        Diagnostic(f"the result would have {size} pixels along {axis}.", "use a smaller stride.")
        for axis, size in zip(axes, spatial, strict=True)
        if isinstance(size, int) and size >= 2**31  # XLA aborts the process on such a size
    ]


def _padding_only_diagnostics(axes: Sequence[str], padded: Sequence[Window]) -> list[Diagnostic]:
    def describe(axis: str, _: Any, w: Window) -> Diagnostic:
        wrong = (
            f"padding along {axis} is {w.pads}, but the window has {w.kernel} pixels: "
            "a window could contain nothing but padding."
        )
        return Diagnostic(wrong, "pass padding smaller than the window.")

    # The sizes of the axes do not matter.
    return _for_each_axis(axes, axes, padded, lambda _, w: max(w.pads) >= w.kernel, describe)


def _repeat_diagnostics(
    padding: Any, axes: Sequence[str], sizes: Sequence[Any], padded: Sequence[Window]
) -> list[Diagnostic]:
    if not isinstance(padding, str) or padding not in windows.BORDERS_NOT_REPEATED:
        return []
    border = windows.BORDERS_NOT_REPEATED[padding]

    def describe(axis: str, n: Any, w: Window) -> Diagnostic:
        wrong = (
            f"padding {padding!r} needs {max(w.pads)} pixels of x along {axis}, "
            f"but x has only {n - border} that it can repeat."
        )
        return Diagnostic(wrong, "use a smaller kernel, larger images, or another padding.")

    return _for_each_axis(axes, sizes, padded, lambda n, w: max(w.pads) > n - border, describe)


def _channel_diagnostics(x: Shape, kernel: Shape, groups: int, order: Layout) -> list[Diagnostic]:
    have, each, out = x[order.channel], kernel[-2], kernel[-1]
    if have != each * groups:
        expects = f"{each}" if groups == 1 else f"{each} x {groups} groups = {each * groups}"
        wrong = f"x has {have} channels, but kernel expects {expects}."
        return [Diagnostic(wrong, *_channel_remedy(x, kernel, groups, order))]
    if out % groups:
        wrong = f"groups is {groups}, but must divide the {out} feature maps that kernel returns."
        return [Diagnostic(wrong, "choose groups so that it divides c_in and c_out.")]
    return []


def _channel_remedy(x: Shape, kernel: Shape, groups: int, order: Layout) -> tuple[str, str]:
    """Guess the mistake behind a wrong number of channels: (fix, hint)."""
    have, want = x[order.channel], kernel[-2] * groups
    if have % groups:
        fix = "choose groups so that it divides c_in and c_out."
        return fix, f"{groups} does not divide {have}."
    other, sides = order.other, [x[axis] for axis in order.spatial]
    # Spatial axes of equal sizes are surely those of an image, in the right layout.
    is_square = len(sides) > 1 and all(side == sides[0] for side in sides[1:])
    if x[other.channel] == want and not is_square:
        axes = tuple(other.name.index(letter) for letter in order.name)
        hint = f"Axis {other.channel} of x has size {want}: this looks like an {other.name} image."
        return f'pass layout="{other.name}", or transpose x with {axes}.', hint
    if kernel[1] * groups == have and _looks_like_oi(kernel):
        return _oi_remedy(order)
    fitting = ", ".join(map(str, (*kernel[:-2], have // groups, kernel[-1])))
    return f"pass a kernel of shape ({fitting}), or an x with c={want}.", ""


def _looks_like_oi(kernel: Shape) -> bool:
    """Whether the last axes look spatial: of equal sizes, smaller than the first axis."""
    return len(kernel) > 3 and len(set(kernel[2:])) == 1 and 1 < kernel[-1] < kernel[0]


def _is_oi_by_accident(kernel: Shape) -> bool:
    """Whether a legal shape such as (64, 3, 3, 3), 64 rows, is surely 64 filters of 3x3x3."""
    return _looks_like_oi(kernel) and kernel[1] == kernel[-1] and kernel[0] >= 16


def _oi_remedy(order: Layout) -> tuple[str, str]:
    """What to do about a kernel in PyTorch's order of axes: (fix, hint)."""
    axes = (*range(2, len(order.kernel)), 1, 0)
    return f"transpose kernel with {axes}.", f"kernel looks like OI{order.kernel[:-2]} weights."


def _oi_diagnostic(kernel: Shape, order: Layout) -> Diagnostic:
    size = "x".join(map(str, kernel[:-2]))
    wrong = f"kernel would be a window of {size} pixels that returns {kernel[-1]} feature maps."
    fix, hint = _oi_remedy(order)
    fix = f"{fix.removesuffix('.')}; if this is intended, call jax.lax.conv_general_dilated."
    return Diagnostic(wrong, fix, hint)
