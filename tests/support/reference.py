"""The layers once more, as NumPy loops over single neurons: slow, plain, and without lax.

Everything is channels last and one image at a time is never assumed. Sizes come from trying
positions one after the other, not from a formula.
"""

import itertools

import numpy as np


class Refused(Exception):
    """The configuration makes no sense."""


def positions(n, low, high, kernel, stride, dilation):
    """First pixel of every window that fits into the padded axis."""
    if min(kernel, stride, dilation) < 1 or min(low, high) < 0 or n < 1:
        raise Refused
    taps = range(0, kernel * dilation, dilation)
    found, start = [], 0
    while start + taps[-1] < low + n + high:
        found.append(start)
        start += stride
    if not found:
        raise Refused
    return found


def pads(padding, n, kernel, stride, dilation):
    """(low, high) of one axis for a name, an int or a pair."""
    reach = (kernel - 1) * dilation
    if padding in ("SAME", "SAME_LOWER"):
        if min(kernel, stride, dilation) < 1:
            raise Refused
        want = len(range(0, n, stride))
        total = 0
        while n + total <= reach or len(positions(n, 0, total, kernel, stride, dilation)) < want:
            total += 1
        halves = total // 2, total - total // 2
        return halves if padding == "SAME" else halves[::-1]
    named = {
        "VALID": (0, 0),
        "CAUSAL": (reach, 0),
        "CIRCULAR": (reach // 2, reach - reach // 2),
        "REFLECT": (reach // 2, reach - reach // 2),
    }
    if isinstance(padding, str):
        return named[padding]
    return (padding, padding) if isinstance(padding, int) else padding


def axis_pads(padding, sizes, kernel, stride, dilation):
    """(low, high) of every axis."""
    each = padding if isinstance(padding, tuple) else (padding,) * len(sizes)
    return [pads(p, *rest) for p, *rest in zip(each, sizes, kernel, stride, dilation, strict=True)]


def conv(x, kernel, bias, *, stride, padding, dilation, groups):
    """Cross-correlation: x (b, *sizes, c), kernel (*k, c/groups, out), tuples throughout."""
    sizes, size = x.shape[1:-1], kernel.shape[:-2]
    around = axis_pads(padding, sizes, size, stride, dilation)
    mode = (
        {"CIRCULAR": "wrap", "REFLECT": "reflect"}.get(padding, "constant")
        if isinstance(padding, str)
        else "constant"
    )
    spare = {"wrap": 0, "reflect": 1}.get(mode)
    if spare is not None and any(max(p) > n - spare for p, n in zip(around, sizes, strict=True)):
        raise Refused
    if groups < 1 or x.shape[-1] != groups * kernel.shape[-2] or kernel.shape[-1] % groups:
        raise Refused
    starts = [
        positions(n, *p, k, s, d)
        for n, p, k, s, d in zip(sizes, around, size, stride, dilation, strict=True)
    ]
    padded = np.pad(x, [(0, 0), *around, (0, 0)], mode)
    y = np.zeros((x.shape[0], *map(len, starts), kernel.shape[-1]), x.dtype)
    each_in, each_out = kernel.shape[-2], kernel.shape[-1] // groups
    for where in itertools.product(*map(enumerate, starts)):
        place = tuple(i for i, _ in where)
        pixels = tuple(
            slice(start, start + (k - 1) * d + 1, d)
            for (_, start), k, d in zip(where, size, dilation, strict=True)
        )
        patch = padded[(slice(None), *pixels)]
        for o in range(kernel.shape[-1]):
            group = o // each_out
            seen = patch[..., group * each_in : (group + 1) * each_in]
            weights = kernel[..., o]
            y[(slice(None), *place, o)] = (seen * weights).reshape(len(x), -1).sum(1) + bias[o]
    return y


def pool(x, kind, *, window, stride, padding, count_padding=False):
    """Largest or mean value of each window: x (b, *sizes, c), tuples throughout."""
    sizes, ones = x.shape[1:-1], (1,) * len(window)
    around = axis_pads(padding, sizes, window, stride, ones)
    if any(max(p) >= k for p, k in zip(around, window, strict=True)):
        raise Refused
    starts = [
        positions(n, *p, k, s, 1) for n, p, k, s in zip(sizes, around, window, stride, strict=True)
    ]
    y = np.zeros((x.shape[0], *map(len, starts), x.shape[-1]), x.dtype)
    for where in itertools.product(*map(enumerate, starts)):
        place = tuple(i for i, _ in where)
        pixels = tuple(
            slice(max(start - low, 0), min(start - low + k, n))
            for (_, start), (low, _), k, n in zip(where, around, window, sizes, strict=True)
        )
        patch = x[(slice(None), *pixels)].reshape(len(x), -1, x.shape[-1])
        if kind == "max":
            value = patch.max(1)
        else:
            value = patch.sum(1) / (np.prod(window) if count_padding else patch.shape[1])
        y[(slice(None), *place)] = value
    return y
