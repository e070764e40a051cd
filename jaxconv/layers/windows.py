"""Integer arithmetic of sliding windows, without JAX.

A window of ``kernel`` elements, ``dilation`` apart, covers ``extent = dilation*(kernel - 1) + 1``
pixels and moves by ``stride``. Along an axis of ``n`` pixels with ``low`` and ``high`` pixels of
padding it has ``(n + low + high - extent)//stride + 1`` positions (Dumoulin and Visin, "A guide to
convolution arithmetic for deep learning", 2016, section 2.4).
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jaxconv.errors import Diagnostic, ValidationError, choice, raise_if, range_diagnostics, shown

Number = Any  # an int or a symbolic size
Pads = tuple[Number, Number]  # (low, high), in pixels


@dataclass(frozen=True)
class Window:
    """A sliding window along one axis, its padding given in pixels.

    Attributes:
        kernel: number of elements.
        stride: pixels from one position to the next.
        dilation: pixels from one element to the next.
        low: pixels of padding before the first pixel.
        high: pixels of padding after the last pixel.
    """

    kernel: Number
    stride: int = 1
    dilation: Number = 1
    low: Number = 0
    high: Number = 0

    @property
    def extent(self) -> Number:
        """Pixels from the first element to the last, both included."""
        return extent(self.kernel, self.dilation)

    @property
    def pads(self) -> Pads:
        """Padding before and after, in pixels."""
        return self.low, self.high

    def out(self, n: Number) -> Number:
        """Compute the number of positions; below 1 where the window does not fit.

        Args:
            n: pixels of the axis.
        """
        return (n + self.low + self.high - self.extent) // self.stride + 1

    def transposed_out(self, n: Number) -> Number:
        """Compute the smallest axis that has ``n`` positions of this window, in pixels.

        Args:
            n: number of positions.
        """
        return (n - 1) * self.stride + self.extent - self.low - self.high

    def formula(self, n: object, size: object) -> str:
        """Write the equation of :meth:`out` with its numbers.

        Args:
            n: pixels of the axis.
            size: the result.
        """
        return f"({n} + {self.low} + {self.high} - {self.extent})//{self.stride} + 1 = {size}"


def extent(kernel: Number, dilation: Number) -> Number:
    """Compute the pixels that a kernel covers: ``dilation*(kernel - 1) + 1``.

    Args:
        kernel: number of elements.
        dilation: pixels from one element to the next.
    """
    return dilation * (kernel - 1) + 1


# A rule computes the padding of a named padding from pixels of the axis, extent and stride.
PaddingRule = Callable[[Number, Any, int], Pads]


def _same_padding(n: Number, extent: Number, stride: int) -> Pads:
    needed = (-(-n // stride) - 1) * stride + extent - n
    # max() would compare a symbolic size, although it has a formula for the larger number.
    total = needed.max(0) if hasattr(needed, "dimension_as_value") else max(needed, 0)
    return total // 2, total - total // 2


def _same_transposed(n: Number, extent: Number, stride: int) -> Pads:  # noqa: ARG001
    # May be negative on the high side: with stride > extent some pixels are in no window.
    total = extent - stride
    low = max(total, 0) // 2
    return low, total - low


def _same_lower_transposed(n: Number, extent: Number, stride: int) -> Pads:
    low, high = _same_transposed(n, extent, stride)
    return (high, low) if high >= 0 else (low, high)


CONV_PADDINGS: dict[str, PaddingRule] = {
    "SAME": _same_padding,
    "SAME_LOWER": lambda n, extent, stride: _same_padding(n, extent, stride)[::-1],
    "VALID": lambda n, extent, stride: (0, 0),  # noqa: ARG005
    "CAUSAL": lambda n, extent, stride: (extent - 1, 0),  # noqa: ARG005
    "CIRCULAR": lambda n, extent, stride: ((extent - 1) // 2, extent // 2),  # noqa: ARG005
    "REFLECT": lambda n, extent, stride: ((extent - 1) // 2, extent // 2),  # noqa: ARG005
}
# Paddings with pixels of the image, and how many pixels at the border they do not repeat.
BORDERS_NOT_REPEATED = {"CIRCULAR": 0, "REFLECT": 1}
POOL_PADDINGS = {name: CONV_PADDINGS[name] for name in ("SAME", "SAME_LOWER", "VALID")}
TRANSPOSED_PADDINGS: dict[str, PaddingRule] = {
    "SAME": _same_transposed,
    "SAME_LOWER": _same_lower_transposed,
    "VALID": CONV_PADDINGS["VALID"],
}


def per_axis(
    name: str,
    value: Any,
    axes: Sequence[str],
    least: int | None = 1,
    read: Callable[[Any], Number] = operator.index,
) -> tuple[int, ...]:
    """Read an option that is one int, or one int for each axis.

    Args:
        name: of the option.
        value: what was passed.
        axes: names of the axes.
        least: the smallest int allowed; None allows any.
        read: makes a whole number of what was passed, or raises TypeError.

    Returns:
        An int for each axis.

    Raises:
        ValidationError: another count, not whole numbers, or one that is too small or too large.
    """
    try:
        numbers = tuple(map(read, value if _is_sequence(value) else [value] * len(axes)))
    except TypeError:
        numbers = ()
    if len(numbers) != len(axes):
        wrong = f"{name} is {shown(value)}, but must be an int, or a tuple with one int per spatial"
        example = f"({', '.join(['1'] * len(axes))}{',' if len(axes) == 1 else ''})"
        fix = f"pass an int such as {name}=1, or a tuple such as {name}={example}."
        raise ValidationError([Diagnostic(f"{wrong} axis ({', '.join(axes)}).", fix)])
    raise_if(range_diagnostics(name, value, numbers, least))
    return numbers


def pads_of(
    padding: Any, sizes: Sequence[Number], windows: Sequence[Window], rules: dict[str, PaddingRule]
) -> list[Pads]:
    """Convert any accepted form of ``padding`` to (low, high) pixels for each axis.

    Args:
        padding: a name of ``rules``, an int for every side, or one entry per axis, each an int for
            both sides or a pair (low, high).
        sizes: pixels of each spatial axis.
        windows: the windows, not yet padded.
        rules: the paddings that have a name.

    Raises:
        ValidationError: another form, or a negative number.
    """
    if isinstance(padding, str):
        forms = ", an int, or a (low, high) pair for each spatial axis"
        raise_if([] if padding in rules else [choice("padding", padding, rules, forms)])
        rule = rules[padding]
        return [rule(n, w.extent, w.stride) for n, w in zip(sizes, windows, strict=True)]
    entries = padding if _is_sequence(padding) else [padding] * len(windows)
    sides = [entry if _is_sequence(entry) else (entry, entry) for entry in entries]
    try:
        pads = [(operator.index(low), operator.index(high)) for low, high in sides]
    except (TypeError, ValueError):
        pads = []
    if len(pads) != len(windows):
        count = f"{len(windows)} entr{'y' if len(windows) == 1 else 'ies'}"
        wrong = f"padding is {shown(padding)}, but must be an int, a name, or a tuple with {count}"
        pairs = (
            "(" + ", ".join(["(low, high)"] * len(windows)) + (",)" if len(windows) == 1 else ")")
        )
        fix = f"pass an int, {pairs}, or one of {', '.join(map(repr, rules))}."
        raise ValidationError([Diagnostic(f"{wrong}, one per spatial axis.", fix)])
    if any(side < 0 for pair in pads for side in pair):
        wrong = f"padding is {shown(padding)}, but must not be negative."
        wish = (
            "to crop x, slice it first"
            if rules is not TRANSPOSED_PADDINGS
            else ("output_padding= adds pixels at the end of the result")
        )
        raise ValidationError([Diagnostic(wrong, f"pass padding of 0 or more; {wish}.")])
    raise_if(range_diagnostics("padding", padding, [side for pair in pads for side in pair]))
    return pads


def size(value: Any) -> Number:
    """Read a whole number; a symbolic size is one while the proof that it belongs to is traced.

    Args:
        value: what was passed.

    Raises:
        TypeError: it is not a whole number.
    """
    is_traced = getattr(getattr(value, "trace", None), "searching", False)
    return value if is_traced else operator.index(value)


def transposed_windows(
    padding: Any, sizes: Sequence[Number], windows: Sequence[Window], output_padding: Sequence[int]
) -> tuple[Window, ...]:
    """Pad the windows of a transposed convolution.

    Several sizes have the same number of windows. ``output_padding`` selects one of them: with
    "SAME" it counts from the largest down, otherwise from the smallest up.

    Args:
        padding: as for :func:`pads_of`.
        sizes: number of positions along each spatial axis.
        windows: the windows, not yet padded.
        output_padding: pixels added to the result along each axis.

    Raises:
        ValidationError: a padding that cannot be read, or an ``output_padding`` out of range.
    """
    is_same = isinstance(padding, str) and padding.startswith("SAME")
    # With "SAME" the result has n*stride + output_padding pixels, of which the padding follows.
    strides = [w.stride + more * is_same for w, more in zip(windows, output_padding, strict=True)]
    reaching = [replace(w, stride=s) for w, s in zip(windows, strides, strict=True)]
    pads = pads_of(padding, sizes, reaching, TRANSPOSED_PADDINGS)
    for w, more in zip(windows, output_padding, strict=True):
        lowest, highest = (1 - w.stride, 0) if is_same else (0, max(w.stride, w.dilation) - 1)
        if not lowest <= more <= highest:
            wrong = (
                f"output_padding is {more}, but with padding={shown(padding)}, stride {w.stride} "
                f"and dilation {w.dilation} it must be from {lowest} to {highest}."
            )
            fix = "pass one of these, or a larger stride."
            raise ValidationError([Diagnostic(wrong, fix)])
    return tuple(
        replace(w, low=low, high=high if is_same else high - more)
        for w, (low, high), more in zip(windows, pads, output_padding, strict=True)
    )


def _is_sequence(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
