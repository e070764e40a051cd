"""What a layer will return, decided from shapes and options alone: before, and without, JAX.

:func:`conv_plan` and :func:`pool_plan` predict the result's shape or raise
:class:`~jaxconv.errors.ValidationError` with every fact that does not fit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import starmap
from typing import Any

from jaxconv.errors import Diagnostic, DiagnosticCollector, ValidationError, raise_if
from jaxconv.layers import windows
from jaxconv.layers.layouts import Layout, layout_named, rank_diagnostics
from jaxconv.layers.windows import Window

Shape = tuple[Any, ...]  # of ints, or of symbolic sizes


@dataclass(frozen=True)
class Plan:
    """How a layer's windows move, and the shape that results.

    Attributes:
        layout: of the input and of the result.
        windows: one for each spatial axis, padding in pixels.
        shape: of the result.
        groups: of channels that do not see each other.
    """

    layout: Layout
    windows: tuple[Window, ...]
    shape: Shape
    groups: int = 1

    def everywhere(self, values: Iterable[Any], rest: Any) -> tuple[Any, ...]:
        """Spread one value a spatial axis over all axes, ``rest`` for batch and channels."""
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
    """Plan a convolution, or a transposed one, of shapes ``x`` and ``kernel``.

    A ``trusted`` kernel was given by its sizes and so cannot have its axes in another order.

    Raises:
        ValidationError: with all that does not fit.
    """
    order = layout_named(layout)
    operands = [order.read("x", x), order.read_kernel("kernel", kernel)]
    raise_if(rank_diagnostics("x", x, order) + _kernel_rank_diagnostics(kernel, order), operands)
    raise_if(
        _zero_diagnostics(order.axes, x) + _zero_diagnostics(order.kernel_axes, kernel, 0), operands
    )
    axes, sizes = order.spatial_axes, [x[i] for i in order.spatial]
    found = DiagnosticCollector(bias_diagnostics(bias, kernel[-1]))
    strides = found.attempt(windows.per_axis, "stride", stride, axes)
    dilations = found.attempt(windows.per_axis, "dilation", dilation, axes)
    groups = found.attempt(windows.whole, "groups", groups)
    found += _channel_diagnostics(x, kernel, groups, order) if groups else []
    if not found and not trusted and _is_oi_in_disguise(kernel):
        found.append(_disguise_diagnostic(kernel, order))
    bare = _bare(kernel[:-2], strides, dilations)
    rules = windows.TRANSPOSED_PADDINGS if transposed else windows.CONV_PADDINGS
    padded = found.attempt(_padded, padding, sizes, bare, rules) or ()
    if strides and dilations and padded:
        found += (_vanished_diagnostics if transposed else _empty_diagnostics)(axes, sizes, padded)
        found += _repeat_diagnostics(padding, axes, sizes, padded)
    raise_if(found, operands)
    grow = Window.transposed_out if transposed else Window.out
    spatial = [grow(w, n) for n, w in zip(sizes, padded, strict=True)]
    raise_if(_huge_diagnostics(axes, spatial), operands)
    return Plan(order, padded, order.arrange(x[0], spatial, kernel[-1]), groups or 1)


def pool_plan(x: Shape, *, window: Any, stride: Any, padding: Any, layout: Any) -> Plan:
    """Plan the pooling of shape ``x``; a stride of None means ``window``.

    Raises:
        ValidationError: with all that does not fit.
    """
    order = layout_named(layout)
    operands = [order.read("x", x)]
    raise_if(rank_diagnostics("x", x, order) or _zero_diagnostics(order.axes, x), operands)
    axes, sizes = order.spatial_axes, [x[i] for i in order.spatial]
    found = DiagnosticCollector()
    kernel = found.attempt(windows.per_axis, "window", window, axes)
    step = window if stride is None else stride
    strides = found.attempt(windows.per_axis, "stride", step, axes) if kernel else None
    bare = _bare(kernel or (1,) * len(axes), strides)
    padded = found.attempt(_padded, padding, sizes, bare, windows.POOL_PADDINGS) or ()
    if kernel and strides and padded:
        found += _bare_window_diagnostics(axes, padded) + _empty_diagnostics(axes, sizes, padded)
    raise_if(found, operands)
    spatial = [w.out(n) for n, w in zip(sizes, padded, strict=True)]
    return Plan(order, padded, order.arrange(x[0], spatial, x[order.channel]))


def map_plan(x: Shape, layout: Any) -> Plan:
    """Read ``x`` as feature maps, to be reduced to one number each."""
    order = layout_named(layout)
    raise_if(
        rank_diagnostics("x", x, order) or _zero_diagnostics(order.axes, x), [order.read("x", x)]
    )
    return Plan(order, (), (x[0], x[order.channel]))


def bias_diagnostics(bias: Shape | None, count: Any) -> list[Diagnostic]:
    """Compare the shape of a bias with the number of feature maps it is for."""
    if bias is None or bias == (count,):
        return []
    wrong = f"bias has shape {bias}, but kernel makes {count} feature maps."
    return [Diagnostic(wrong, f"pass a bias of shape ({count},): one number a map.")]


def _bare(kernel: Shape, strides: Shape | None, dilations: Shape | None = None) -> list[Window]:
    """Windows without padding; where an option was refused, 1 stands in for it."""
    ones = (1,) * len(kernel)
    return list(starmap(Window, zip(kernel, strides or ones, dilations or ones, strict=True)))


def _padded(
    padding: Any, sizes: Sequence[Any], bare: Sequence[Window], rules: dict[str, windows.Rule]
) -> tuple[Window, ...]:
    if isinstance(padding, str) and padding == "CAUSAL" in rules and len(bare) > 1:
        fix = 'pass layout="NWC" or "NCW", or explicit (low, high) pairs.'
        raise ValidationError(
            [Diagnostic("padding is 'CAUSAL', which is for 1-D sequences only.", fix)]
        )
    pads = windows.pads_of(padding, sizes, bare, rules)
    return tuple(replace(w, low=low, high=high) for w, (low, high) in zip(bare, pads, strict=True))


def _kernel_rank_diagnostics(kernel: Shape, order: Layout) -> list[Diagnostic]:
    axes = order.kernel_axes
    if len(kernel) == len(axes):
        return []
    wrong = f"kernel has {len(kernel)} axes, but layout {order.name} needs {len(axes)}"
    fix = f"pass a kernel of shape ({', '.join(axes)}), with c_in counted within one group."
    return [Diagnostic(f"{wrong} ({' '.join(axes)}).", fix)]


def _zero_diagnostics(axes: Sequence[str], shape: Shape, first: int = 1) -> list[Diagnostic]:
    """Name the axes of size 0; axis 0 of a batch may be, as a batch may be empty."""
    return [
        Diagnostic(
            f"{axis} is {size}, so there is nothing to look at.", f"pass {axis} of 1 or more."
        )
        for axis, size in [*zip(axes, shape, strict=True)][first:]
        if size < 1
    ]


def _empty_diagnostics(
    axes: Sequence[str], sizes: Sequence[Any], padded: Sequence[Window]
) -> list[Diagnostic]:
    return [
        Diagnostic(
            f"the feature map would be empty along {axis}: the window covers {w.extent} pixels "
            f"(size {w.kernel}, dilation {w.dilation}), but the padded input has only "
            f"{w.low} + {n} + {w.high} = {n + w.low + w.high}.",
            'use a smaller window, larger images, or more padding (padding="SAME" always fits).',
        )
        for axis, n, w in zip(axes, sizes, padded, strict=True)
        if w.out(n) < 1
    ]


def _vanished_diagnostics(
    axes: Sequence[str], sizes: Sequence[Any], padded: Sequence[Window]
) -> list[Diagnostic]:
    return [
        Diagnostic(
            f"the result would be empty along {axis}: ({n} - 1)*{w.stride} + {w.extent} pixels "
            f"less padding of {w.low} and {w.high} leave {w.transposed_out(n)}.",
            "use less padding: in conv_transpose it crops the result.",
        )
        for axis, n, w in zip(axes, sizes, padded, strict=True)
        if w.transposed_out(n) < 1
    ]


def _huge_diagnostics(axes: Sequence[str], spatial: Sequence[Any]) -> list[Diagnostic]:
    return [
        Diagnostic(f"the result would have {size} pixels along {axis}.", "use a smaller stride.")
        for axis, size in zip(axes, spatial, strict=True)
        if isinstance(size, int) and size >= 2**31  # XLA ends the process on such a size
    ]


def _bare_window_diagnostics(axes: Sequence[str], padded: Sequence[Window]) -> list[Diagnostic]:
    return [
        Diagnostic(
            f"padding along {axis} is {w.pads}, but the window is {w.kernel}: "
            "a window could hold nothing but padding.",
            "pass padding smaller than the window.",
        )
        for axis, w in zip(axes, padded, strict=True)
        if max(w.pads) >= w.kernel
    ]


def _repeat_diagnostics(
    padding: Any, axes: Sequence[str], sizes: Sequence[Any], padded: Sequence[Window]
) -> list[Diagnostic]:
    if not isinstance(padding, str) or padding not in windows.REPEATED:
        return []
    without = windows.REPEATED[padding]
    return [
        Diagnostic(
            f"padding {padding!r} needs {max(w.pads)} pixels to repeat along {axis}, "
            f"but x has only {n - without} to give.",
            "use a smaller kernel, larger images, or another padding.",
        )
        for axis, n, w in zip(axes, sizes, padded, strict=True)
        if max(w.pads) > n - without
    ]


def _channel_diagnostics(x: Shape, kernel: Shape, groups: int, order: Layout) -> list[Diagnostic]:
    have, each, out = x[order.channel], kernel[-2], kernel[-1]
    if have != each * groups:
        expects = f"{each}" if groups == 1 else f"{each} x {groups} groups = {each * groups}"
        wrong = f"x has {have} channels, but kernel expects {expects}."
        return [Diagnostic(wrong, *_channel_remedy(x, kernel, groups, order))]
    if out % groups:
        wrong = f"groups is {groups}, but must divide the {out} feature maps that kernel makes."
        return [Diagnostic(wrong, "choose groups so that it divides c_in and c_out.")]
    return []


def _channel_remedy(x: Shape, kernel: Shape, groups: int, order: Layout) -> tuple[str, str]:
    """Guess the mistake behind a wrong channel count: (fix, hint)."""
    have, want = x[order.channel], kernel[-2] * groups
    if have % groups:
        return (
            "choose groups so that it divides c_in and c_out.",
            f"{groups} does not divide {have}.",
        )
    other = order.other
    if x[other.channel] == want and not _is_square([x[axis] for axis in order.spatial]):
        move = tuple(other.name.index(letter) for letter in order.name)
        hint = f"Axis {other.channel} of x has size {want}: this looks like an {other.name} image."
        return f'pass layout="{other.name}", or transpose x with {move}.', hint
    if kernel[1] * groups == have and _is_like_oi(kernel):
        there, move = _from_oi(order)
        return f"transpose kernel with {move}.", f"kernel looks like {there} weights."
    fitting = ", ".join(map(str, (*kernel[:-2], have // groups, kernel[-1])))
    return f"pass a kernel of shape ({fitting}), or an x of {want} channels.", ""


def _is_square(sides: Sequence[Any]) -> bool:
    """Tell whether axes surely are those of an image: several, all alike."""
    return len(sides) > 1 and all(side == sides[0] for side in sides[1:])


def _from_oi(order: Layout) -> tuple[str, Shape]:
    """PyTorch's order of the kernel's axes, and the transposition that undoes it."""
    return f"OI{order.kernel[:-2]}", (*range(2, len(order.kernel)), 1, 0)


def _is_like_oi(kernel: Shape) -> bool:
    """Tell whether the last axes look spatial: all alike, and smaller than the first axis."""
    return len(kernel) > 3 and len(set(kernel[2:])) == 1 and 1 < kernel[-1] < kernel[0]


def _is_oi_in_disguise(kernel: Shape) -> bool:
    """Tell (64, 3, 3, 3): legal as 64 rows by 3 columns, but surely 64 filters of 3x3x3."""
    return _is_like_oi(kernel) and kernel[1] == kernel[-1] and kernel[0] >= 16


def _disguise_diagnostic(kernel: Shape, order: Layout) -> Diagnostic:
    there, move = _from_oi(order)
    size = "x".join(map(str, kernel[:-2]))
    wrong = f"kernel would be a window of {size} pixels making {kernel[-1]} feature maps."
    fix = f"transpose kernel with {move}; if it is meant, call jax.lax.conv_general_dilated."
    return Diagnostic(wrong, fix, f"kernel looks like {there} weights.")
