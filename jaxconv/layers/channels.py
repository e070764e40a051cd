"""Check that the channels of images and kernel fit, and diagnose the mistake if they do not."""

from jaxconv.errors import Diagnostic
from jaxconv.layers.layouts import Layout, Shape


def channel_diagnostics(x: Shape, kernel: Shape, groups: int, order: Layout) -> list[Diagnostic]:
    """Compare the channels of images, kernel and groups.

    Args:
        x: shape of the images.
        kernel: shape of the kernel, spatial axes first.
        groups: of channels.
        order: the layout of the images.
    """
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


def _oi_remedy(order: Layout) -> tuple[str, str]:
    """What to do about a kernel in PyTorch's order of axes: (fix, hint)."""
    axes = (*range(2, len(order.kernel)), 1, 0)
    return f"transpose kernel with {axes}.", f"kernel looks like OI{order.kernel[:-2]} weights."


def weight_order_diagnostics(kernel: Shape, order: Layout) -> list[Diagnostic]:
    """Recognise a legal kernel whose axes are surely in PyTorch's order.

    Args:
        kernel: such as (64, 3, 3, 3): 64 filters of 3x3x3, not 3 filters of 64x3x3.
        order: the layout of the images.
    """
    if not _looks_like_oi(kernel) or kernel[1] != kernel[-1] or kernel[0] < 16:
        return []
    size = "x".join(map(str, kernel[:-2]))
    wrong = f"kernel would be a window of {size} pixels that returns {kernel[-1]} feature maps."
    fix, hint = _oi_remedy(order)
    fix = f"{fix.removesuffix('.')}; if this is intended, call jax.lax.conv_general_dilated."
    return [Diagnostic(wrong, fix, hint)]
