"""Integer arithmetic of sliding windows, without JAX.

A window of ``kernel`` taps, ``dilation`` apart, covers ``extent = dilation*(kernel - 1) + 1``
pixels and moves by ``stride``. Along an axis of ``n`` pixels with ``low`` and ``high`` pixels of
padding it stops at ``(n + low + high - extent)//stride + 1`` places (Dumoulin and Visin, "A guide
to convolution arithmetic for deep learning", 2016, section 2.4).
"""

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from jaxconv.errors import Diagnostic, ValidationError, choice, raise_if

Number = Any  # an int or a symbolic size
Pads = tuple[Number, Number]


@dataclass(frozen=True)
class Window:
    """A sliding window along one axis, its padding already in pixels.

    Attributes:
        kernel: number of taps.
        stride: pixels between two positions.
        dilation: pixels between two taps.
        low: pixels of padding before the first pixel.
        high: pixels of padding after the last one.
    """

    kernel: Number
    stride: int = 1
    dilation: Number = 1
    low: Number = 0
    high: Number = 0

    @property
    def extent(self) -> Number:
        """Pixels from the first tap to the last, both included."""
        return extent(self.kernel, self.dilation)

    @property
    def pads(self) -> Pads:
        """Padding before and after, in pixels."""
        return self.low, self.high

    def out(self, n: Number) -> Number:
        """Number of positions along an axis of ``n`` pixels; below 1 where none fits."""
        return (n + self.low + self.high - self.extent) // self.stride + 1

    def transposed_out(self, n: Number) -> Number:
        """Size of the axis that ``n`` positions of this window come from, at the least."""
        return (n - 1) * self.stride + self.extent - self.low - self.high

    def formula(self, n: object, size: object) -> str:
        """Write :meth:`out` with its numbers, for people."""
        return f"({n} + {self.low} + {self.high} - {self.extent})//{self.stride} + 1 = {size}"


def extent(kernel: Number, dilation: Number) -> Number:
    """Pixels that a kernel covers: ``dilation*(kernel - 1) + 1``."""
    return dilation * (kernel - 1) + 1


def _same(n: Number, extent: Number, stride: int) -> Pads:
    total = max((-(-n // stride) - 1) * stride + extent - n, 0)
    return total // 2, total - total // 2


def _same_lower(n: Number, extent: Number, stride: int) -> Pads:
    low, high = _same(n, extent, stride)
    return high, low


def _valid(n: Number, extent: Number, stride: int) -> Pads:  # noqa: ARG001
    return 0, 0


def _causal(n: Number, extent: Number, stride: int) -> Pads:  # noqa: ARG001
    return extent - 1, 0


def _centred(n: Number, extent: Number, stride: int) -> Pads:  # noqa: ARG001
    return (extent - 1) // 2, extent // 2


Rule = Callable[[Number, int, int], Pads]

CONV_PADDINGS: dict[str, Rule] = {
    "SAME": _same,
    "SAME_LOWER": _same_lower,
    "VALID": _valid,
    "CAUSAL": _causal,
    "CIRCULAR": _centred,
    "REFLECT": _centred,
}
# Paddings that repeat the image, with the border pixels that the repetition leaves out.
REPEATED = {"CIRCULAR": 0, "REFLECT": 1}
POOL_PADDINGS: dict[str, Rule] = {n: CONV_PADDINGS[n] for n in ("SAME", "SAME_LOWER", "VALID")}


def _same_transposed(n: Number, extent: Number, stride: int) -> Pads:  # noqa: ARG001
    # May be negative on the high side: stride > extent leaves pixels that no window reaches.
    total = extent - stride
    low = max(total, 0) // 2
    return low, total - low


def _same_lower_transposed(n: Number, extent: Number, stride: int) -> Pads:
    low, high = _same_transposed(n, extent, stride)
    return (high, low) if high >= 0 else (low, high)


TRANSPOSED_PADDINGS: dict[str, Rule] = {
    "SAME": _same_transposed,
    "SAME_LOWER": _same_lower_transposed,
    "VALID": _valid,
}


def per_axis(name: str, value: Any, axes: Sequence[str]) -> tuple[int, ...]:
    """Read an option given as one int, or as one int for each of ``axes``.

    Raises:
        ValidationError: another count, not whole numbers, or one below 1.
    """
    try:
        numbers = tuple(map(operator.index, value if _is_sequence(value) else [value] * len(axes)))
    except TypeError:
        numbers = ()
    if len(numbers) != len(axes):
        wrong = f"{name} is {value!r}, but must be an int, or one int for each of"
        fix = f"pass {name}=1, or a tuple of {len(axes)}."
        raise ValidationError([Diagnostic(f"{wrong} ({', '.join(axes)}).", fix)])
    raise_if(_least_diagnostics(name, value, min(numbers)))
    return numbers


def whole(name: str, value: Any) -> int:
    """Read an option that is one int of at least 1, or raise Mismatch."""
    try:
        number = operator.index(value)
    except TypeError:
        wrong = f"{name} is {value!r}, but must be an int."
        raise ValidationError([Diagnostic(wrong, f"pass {name}=1, or more.")]) from None
    raise_if(_least_diagnostics(name, value, number))
    return number


def pads_of(
    padding: Any, sizes: Sequence[Number], windows: Sequence[Window], rules: dict[str, Rule]
) -> list[Pads]:
    """Turn any accepted form of ``padding`` into (low, high) pixels for each axis.

    Args:
        padding: a name of ``rules``, an int for every side, or one entry an axis, each an int for
            both sides or a pair (low, high).
        sizes: pixels along each spatial axis.
        windows: the windows, not yet padded.
        rules: what each name means here.

    Raises:
        ValidationError: another form, or a negative number.
    """
    if isinstance(padding, str):
        raise_if([] if padding in rules else [choice("padding", padding, rules, _OTHER_FORMS)])
        rule = rules[padding]
        return [rule(n, w.extent, w.stride) for n, w in zip(sizes, windows, strict=True)]
    entries = padding if _is_sequence(padding) else [padding] * len(windows)
    try:
        pads = [_pair(entry) for entry in entries]
    except (TypeError, ValueError):
        pads = []
    if len(pads) != len(windows):
        raise ValidationError([_padding_form(padding, len(windows), rules)])
    if any(side < 0 for pair in pads for side in pair):
        fix = "pass padding of 0 or more, and slice x first to crop it."
        raise ValidationError(
            [Diagnostic(f"padding is {padding!r}, but must not be negative.", fix)]
        )
    return pads


def _least_diagnostics(name: str, value: object, smallest: int) -> list[Diagnostic]:
    wrong = f"{name} is {value!r}, but must be 1 or more."
    return [Diagnostic(wrong, f"pass {name} of 1 or more.")] if smallest < 1 else []


_OTHER_FORMS = ", an int, or a (low, high) pair for each spatial axis"


def _padding_form(padding: object, axes: int, rules: Iterable[str]) -> Diagnostic:
    pairs = "(" + ", ".join(["(low, high)"] * axes) + ("," if axes == 1 else "") + ")"
    wrong = f"padding is {padding!r}, but must be an int, or have an entry for each of {axes} axes."
    return Diagnostic(wrong, f"pass an int, {pairs}, or one of {', '.join(map(repr, rules))}.")


def _pair(entry: Any) -> Pads:
    low, high = entry if _is_sequence(entry) else (entry, entry)
    return operator.index(low), operator.index(high)


def _is_sequence(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
