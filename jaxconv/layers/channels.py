"""Check that the channels of images and kernel fit, and diagnose the mistake if they do not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from jaxconv.errors import Diagnostic
from jaxconv.layers.layouts import Layout, Shape
from jaxconv.layers.windows import Number

# Orders of axes in which other frameworks keep weights; * stands for the spatial axes. First comes
# the most frequent one: PyTorch has OI* (transposed: IO*), Keras *OI (transposed), MLX O*I.
FOREIGN_ORDERS = {False: ("OI*", "O*I", "*OI"), True: ("IO*", "*OI", "OI*", "O*I")}
POWERS_OF_TWO = (2, 4, 8, 16)


@dataclass(frozen=True)
class ForeignWeights:
    """A kernel, read as weights of another framework.

    Attributes:
        letters: its order of axes, such as "OIHW".
        shape: what it would be in the order of this library.
        fix: how to convert it, an imperative sentence without a full stop.
    """

    letters: str
    shape: Shape
    fix: str

    @property
    def hint(self) -> str:
        """A sentence for the message."""
        return f"kernel looks like {self.letters} weights."


def channel_diagnostics(
    x: Shape, kernel: Shape, groups: int, order: Layout, transposed: bool = False
) -> list[Diagnostic]:
    """Compare the channels of images, kernel and groups.

    Args:
        x: shape of the images.
        kernel: shape of the kernel, spatial axes first.
        groups: of channels.
        order: the layout of the images.
        transposed: the convolution is run backwards.
    """
    have, each, out = x[order.channel], kernel[-2], kernel[-1]
    if have != each * groups:
        expects = f"{each}" if groups == 1 else f"{each} x {groups} groups = {each * groups}"
        channels = "channel" if str(have) == "1" else "channels"  # == would be a question
        wrong = f"x has {have} {channels}, but kernel expects {expects}."
        return [Diagnostic(wrong, *_channel_remedy(x, kernel, groups, order, transposed))]
    if out % groups:
        wrong = f"groups is {groups}, but must divide the {out} feature maps that kernel returns."
        fix, hint = "choose groups so that it divides c_in and c_out.", ""
        if fitting := _fitting_weights(have, kernel, groups, order, transposed):
            conversion, hint = _conversions(_likeliest(fitting, kernel[:-2]) or fitting)
            fix = f"{conversion}; if its axes are in the right order, {fix}"
        return [Diagnostic(wrong, fix, hint)]
    return []


def _channel_remedy(
    x: Shape, kernel: Shape, groups: int, order: Layout, transposed: bool
) -> tuple[str, str]:
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
    foreign = _fitting_weights(have, kernel, groups, order, transposed)
    if likely := _likeliest(foreign, kernel[:-2]):
        conversion, hint = _conversions(likely)
        return f"{conversion}.", hint
    fitting = ", ".join(map(str, (*kernel[:-2], have // groups, kernel[-1])))
    return f"pass a kernel of shape ({fitting}), or an x with c={want}.", ""


def _fitting_weights(
    have: Number, kernel: Shape, groups: int, order: Layout, transposed: bool
) -> list[ForeignWeights]:
    """All ways to read a kernel that does not fit as weights of another framework that do."""
    if not all(isinstance(size, int) for size in (have, *kernel)):  # it differs from size to size
        return []
    return [
        weights
        for weights in _foreign_weights(kernel, groups, order, transposed)
        if weights.shape[-2] * groups == have and not weights.shape[-1] % groups
    ]


def _likeliest(fitting: Sequence[ForeignWeights], own: Shape) -> list[ForeignWeights]:
    """The reading whose window is smaller than a kernel's own, or all that are as likely as it."""
    smaller = [weights for weights in fitting if max(weights.shape[:-2]) < max(own)]
    return smaller[:1] or [w for w in fitting if _is_as_likely(w.shape[:-2], own)]


def _is_as_likely(window: Shape, own: Shape) -> bool:
    """Whether a window that is not smaller than a kernel's own may be the one that was meant.

    Most windows are square, so one that is not is hardly what was meant where another reading is.
    """
    is_square = [all(side == sides[0] for side in sides) for sides in (window, own)]
    return window == own or (not is_square[1] and (is_square[0] or max(window) == max(own)))


def _conversions(readings: Sequence[ForeignWeights]) -> tuple[str, str]:
    """The conversion of each reading of a kernel: (fix without a full stop, hint)."""
    if len(readings) == 1:
        return readings[0].fix, readings[0].hint
    fix = "; ".join(f"if it is {weights.letters}, {weights.fix}" for weights in readings)
    return fix, f"kernel looks like {' or '.join(w.letters for w in readings)} weights."


def _foreign_weights(
    kernel: Shape, groups: int, order: Layout, transposed: bool
) -> Iterator[ForeignWeights]:
    """All ways to read a kernel as weights of another framework."""
    spatial, rank = order.kernel[:-2], len(kernel) - 2
    for foreign in FOREIGN_ORDERS[transposed]:
        letters = foreign.replace("*", spatial)
        axes = tuple(letters.index(letter) for letter in order.kernel)
        shape = tuple(kernel[axis] for axis in axes)
        if transposed and foreign == "OI*" and kernel[:2] == (groups, 1):
            continue  # depthwise weights, which are the same in IO*
        if groups == 1 or foreign.startswith("O"):
            fix = f"transpose kernel with {axes}"
            yield ForeignWeights(letters, shape, fix)
        elif foreign == "IO*" and not shape[-2] % groups:
            # All input channels, but the output channels of one group.
            split, joined = (
                (groups, shape[-2] // groups, shape[-1], *shape[:-2]),
                shape[-1] * groups,
            )
            moved = (*range(3, 3 + rank), 1, 0, 2)
            shape = (*shape[:-2], split[1], joined)
            fix = f"convert it with kernel.reshape{split}.transpose{moved}.reshape{shape}"
            yield ForeignWeights(letters, shape, fix)
    if groups == kernel[-2] != 1 and not transposed:  # a depthwise kernel of Keras
        shape = (*kernel[:-2], 1, prod(kernel[-2:]))
        yield ForeignWeights(f"depthwise {spatial}CM", shape, f"pass kernel.reshape{shape}")


def weight_order_diagnostics(
    kernel: Shape, groups: int, order: Layout, transposed: bool = False
) -> list[Diagnostic]:
    """Recognise a legal kernel whose axes are surely in the order of another framework.

    Args:
        kernel: such as (64, 3, 3, 3): 64 filters of 3x3x3, not 3 filters of 64x3x3.
        groups: of channels.
        order: the layout of the images.
        transposed: the convolution is run backwards.
    """
    if not 1 < kernel[-1] < max(kernel[:2]) or max(kernel[:2]) < 16:
        return []
    for weights in _foreign_weights(kernel, groups, order, transposed):
        *window, each, out = weights.shape
        if each == kernel[-2] and _is_surely_foreign(kernel, window, groups, out):
            size = "x".join(map(str, kernel[:-2]))
            maps = f"{kernel[-1]} feature maps"
            wrong = f"kernel would be a window of {size} pixels that returns {maps}."
            lax = "jax.lax.conv_general_dilated"
            fix = f"{weights.fix}; if this is intended, call {lax}."
            return [Diagnostic(wrong, fix, weights.hint)]
    return []


def _is_surely_foreign(
    kernel: Shape, window: Sequence[Number], groups: Number, out: Number
) -> bool:
    """Whether a legal kernel would be a strange one, and a usual one in the other order.

    Args:
        kernel: its shape as it was passed.
        window: its spatial axes in the other order.
        groups: of channels.
        out: its feature maps in the other order.
    """
    first, *others = window
    if others:  # a square window, rather than one whose sides are numbers of channels
        return first < max(kernel[:-2]) and all(side == first for side in others)
    length, channels = kernel[0], kernel[1]
    if first >= length:
        return False
    if channels * groups == length:  # as many pixels in the window as there are channels
        return True
    # A long window over many channels, of which few feature maps remain; or an odd number of them.
    few = first <= 16 and first * 4 <= length and length >= 32 and length % 8 == 0
    odd = first % 2 == 1 or (length >= 256 and first not in POWERS_OF_TWO)
    return few and out == length and (odd or channels >= 16)
