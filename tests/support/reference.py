"""The layers and their gradients once more, as NumPy loops over windows: slow, and without JAX.

All arrays are channels last. The number of windows comes from trying one position after the other,
not from a formula. A function ``x_vjp`` returns the gradients of ``(x(...) * direction).sum()``.
"""

import itertools

import numpy as np


class Refused(Exception):
    """The configuration makes no sense."""


def positions(n, low, high, kernel, stride, dilation):
    """First pixel of every window that fits into the padded axis."""
    if min(kernel, stride, dilation) < 1 or min(low, high) < 0 or n < 1:
        raise Refused
    offsets = range(0, kernel * dilation, dilation)
    starts, start = [], 0
    while start + offsets[-1] < low + n + high:
        starts.append(start)
        start += stride
    if not starts:
        raise Refused
    return starts


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


def pad_mode(padding):
    """The mode of ``numpy.pad`` for a padding."""
    repeated = {"CIRCULAR": "wrap", "REFLECT": "reflect"}
    return repeated.get(padding, "constant") if isinstance(padding, str) else "constant"


def windows(starts, size, dilation):
    """Each window: its place in the result, and the slices of the padded image that it covers."""
    for window in itertools.product(*map(enumerate, starts)):
        yield (
            tuple(place for place, _ in window),
            tuple(
                slice(start, start + (k - 1) * d + 1, d)
                for (_, start), k, d in zip(window, size, dilation, strict=True)
            ),
        )


def by_group(kernel, groups):
    """A kernel as ``kernel[p, i, g, o]``: pixel p, input i and output o of group g."""
    return kernel.reshape(-1, kernel.shape[-2], groups, kernel.shape[-1] // groups)


def conv_windows(x, kernel, stride, padding, dilation, groups):
    """Pads of each axis, and first pixels of the windows of each axis."""
    sizes, size = x.shape[1:-1], kernel.shape[:-2]
    around = axis_pads(padding, sizes, size, stride, dilation)
    spare = {"wrap": 0, "reflect": 1}.get(pad_mode(padding))
    if spare is not None and any(max(p) > n - spare for p, n in zip(around, sizes, strict=True)):
        raise Refused
    if groups < 1 or x.shape[-1] != groups * kernel.shape[-2] or kernel.shape[-1] % groups:
        raise Refused
    return around, [
        positions(n, *p, k, s, d)
        for n, p, k, s, d in zip(sizes, around, size, stride, dilation, strict=True)
    ]


def conv(x, kernel, bias, *, stride, padding, dilation, groups):
    """Cross-correlation: x (b, *sizes, c), kernel (*k, c/groups, out), tuples throughout."""
    around, starts = conv_windows(x, kernel, stride, padding, dilation, groups)
    padded = np.pad(x, [(0, 0), *around, (0, 0)], pad_mode(padding))
    y = np.zeros((x.shape[0], *map(len, starts), kernel.shape[-1]), x.dtype)
    weights = by_group(kernel, groups)
    for place, pixels in windows(starts, kernel.shape[:-2], dilation):
        patch = padded[(slice(None), *pixels)].reshape(len(x), -1, groups, kernel.shape[-2])
        y[(slice(None), *place)] = np.einsum("bpgi,pigo->bgo", patch, weights).reshape(len(x), -1)
    return y + bias.astype(y.dtype)


def conv_vjp(x, kernel, bias, direction, *, stride, padding, dilation, groups):
    """Gradients of :func:`conv` for x, kernel and bias."""
    around, starts = conv_windows(x, kernel, stride, padding, dilation, groups)
    padded = np.pad(x, [(0, 0), *around, (0, 0)], pad_mode(padding))
    d_padded, weights = np.zeros_like(padded), by_group(kernel, groups)
    d_weights = np.zeros_like(weights)
    for place, pixels in windows(starts, kernel.shape[:-2], dilation):
        at, scale = (slice(None), *pixels), direction[(slice(None), *place)]
        scale = scale.reshape(len(x), groups, -1)
        patch = padded[at].reshape(len(x), -1, groups, kernel.shape[-2])
        d_padded[at] += np.einsum("bgo,pigo->bpgi", scale, weights).reshape(padded[at].shape)
        d_weights += np.einsum("bgo,bpgi->pigo", scale, patch)
    # The pixel of the image that each pixel of the padded image repeats; -1 for a zero.
    sizes = x.shape[1:-1]
    pixel = np.arange(np.prod(sizes)).reshape(sizes)
    outside = {"constant_values": -1} if pad_mode(padding) == "constant" else {}
    source = np.pad(pixel, around, pad_mode(padding), **outside)
    d_x = np.zeros((x.shape[0], pixel.size, x.shape[-1]), x.dtype)
    for at in np.ndindex(source.shape):
        if source[at] >= 0:
            d_x[:, source[at]] += d_padded[(slice(None), *at)]
    bias_gradient = direction.sum(tuple(range(x.ndim - 1)))
    return d_x.reshape(x.shape), d_weights.reshape(kernel.shape), bias_gradient


def transposed_pads(padding, kernel, stride, dilation, output_padding):
    """How much :func:`conv_transpose` cuts off at both ends of each axis; negative: zeros added."""
    around = []
    each = zip(kernel, stride, dilation, output_padding, strict=True)
    for axis, (k, s, d, added) in enumerate(each):
        extent = (k - 1) * d + 1
        if str(padding).startswith("SAME"):
            if not -s < added <= 0:
                raise Refused
            # As many pixels as the convolution pads a map of that size by, if it pads it at all.
            total = extent - s - added
            smaller, larger = max(total, 0) // 2, total - max(total, 0) // 2
            lower = padding == "SAME_LOWER" and total > 0
            around.append((larger, smaller) if lower else (smaller, larger))
            continue
        if not 0 <= added < max(s, d):
            raise Refused
        if isinstance(padding, str):
            low, high = 0, 0
        else:
            low, high = (padding, padding) if isinstance(padding, int) else padding[axis]
        around.append((low, high - added))
    return around


def cut(y, around):
    """Cut (low, high) pixels off each spatial axis, or add zeros where they are negative."""
    grown = np.pad(y, [(0, 0), *((max(-a, 0), max(-b, 0)) for a, b in around), (0, 0)])
    ends = zip(around, grown.shape[1:-1], strict=True)
    return grown[(slice(None), *(slice(max(a, 0), n - max(b, 0)) for (a, b), n in ends))]


def conv_transpose(x, kernel, bias, *, stride, padding, dilation, groups, output_padding):
    """Each pixel adds the kernel, scaled, to the result: x (b, *sizes, c), kernel as for conv."""
    sizes, size = x.shape[1:-1], kernel.shape[:-2]
    around = transposed_pads(padding, size, stride, dilation, output_padding)
    whole = [
        (n - 1) * s + (k - 1) * d + 1
        for n, k, s, d in zip(sizes, size, stride, dilation, strict=True)
    ]
    if any(n - low - high < 1 for n, (low, high) in zip(whole, around, strict=True)):
        raise Refused
    starts = [range(0, n * s, s) for n, s in zip(sizes, stride, strict=True)]
    y = np.zeros((x.shape[0], *whole, kernel.shape[-1]), x.dtype)
    weights = by_group(kernel, groups)
    for place, pixels in windows(starts, size, dilation):
        taken, at = x[(slice(None), *place)].reshape(len(x), groups, -1), (slice(None), *pixels)
        y[at] += np.einsum("bgi,pigo->bpgo", taken, weights).reshape(y[at].shape)
    return cut(y, around) + bias.astype(y.dtype)


def conv_transpose_vjp(
    x, kernel, bias, direction, *, stride, padding, dilation, groups, output_padding
):
    """Gradients of :func:`conv_transpose` for x, kernel and bias."""
    sizes, size = x.shape[1:-1], kernel.shape[:-2]
    around = transposed_pads(padding, size, stride, dilation, output_padding)
    whole = cut(direction, [(-low, -high) for low, high in around])
    d_x, weights = np.zeros_like(x), by_group(kernel, groups)
    d_weights = np.zeros_like(weights)
    starts = [range(0, n * s, s) for n, s in zip(sizes, stride, strict=True)]
    for place, pixels in windows(starts, size, dilation):
        at = (slice(None), *place)
        taken = x[at].reshape(len(x), groups, -1)
        covered = whole[(slice(None), *pixels)].reshape(len(x), len(weights), groups, -1)
        d_x[at] = np.einsum("bpgo,pigo->bgi", covered, weights).reshape(len(x), -1)
        d_weights += np.einsum("bpgo,bgi->pigo", covered, taken)
    return d_x, d_weights.reshape(kernel.shape), direction.sum(tuple(range(x.ndim - 1)))


def pool_windows(x, window, stride, padding):
    """Each window of a pool: its place in the result, and the pixels of the image in it."""
    sizes, ones = x.shape[1:-1], (1,) * len(window)
    around = axis_pads(padding, sizes, window, stride, ones)
    if any(max(p) >= k for p, k in zip(around, window, strict=True)):
        raise Refused
    starts = [
        positions(n, *p, k, s, 1) for n, p, k, s in zip(sizes, around, window, stride, strict=True)
    ]
    for place, pixels in windows(starts, window, ones):
        inside = (
            slice(max(at.start - low, 0), min(at.stop - low, n))
            for at, (low, _), n in zip(pixels, around, sizes, strict=True)
        )
        yield place, (slice(None), *inside)


def pool(x, kind, *, window, stride, padding, count_padding=False):
    """Largest or mean value of each window: x (b, *sizes, c), tuples throughout."""
    values = {}
    for place, pixels in pool_windows(x, window, stride, padding):
        patch = x[pixels].reshape(len(x), -1, x.shape[-1])
        count = np.prod(window) if count_padding else patch.shape[1]
        values[place] = patch.max(1) if kind == "max" else patch.sum(1) / count
    y = np.zeros((x.shape[0], *(1 + np.max([*values], 0)), x.shape[-1]), x.dtype)
    for place, value in values.items():
        y[(slice(None), *place)] = value
    return y


def pool_vjp(x, direction, kind, *, window, stride, padding, count_padding=False):
    """Gradient of :func:`pool` for x, whose values all differ."""
    d_x, spatial = np.zeros_like(x), tuple(range(1, x.ndim - 1))
    for place, pixels in pool_windows(x, window, stride, padding):
        patch = x[pixels]
        count = np.prod(window if count_padding else patch.shape[1:-1])
        share = patch == patch.max(spatial, keepdims=True) if kind == "max" else 1 / count
        d_x[pixels] += share * np.expand_dims(direction[(slice(None), *place)], spatial)
    return d_x


def global_avg_pool(x):
    """Mean of each channel: x (b, *sizes, c)."""
    y = np.zeros((x.shape[0], x.shape[-1]), x.dtype)
    for at in np.ndindex(x.shape[1:-1]):
        y += x[(slice(None), *at)] / np.prod(x.shape[1:-1])
    return y


def global_avg_pool_vjp(x, direction):
    """Gradient of :func:`global_avg_pool` for x."""
    d_x = np.zeros_like(x)
    for at in np.ndindex(x.shape[1:-1]):
        d_x[(slice(None), *at)] = direction / np.prod(x.shape[1:-1])
    return d_x


def flatten(x):
    """All pixels of an image in one row, the last axis fastest."""
    y = np.zeros((x.shape[0], np.prod(x.shape[1:])), x.dtype)
    for column, at in enumerate(np.ndindex(x.shape[1:])):
        y[:, column] = x[(slice(None), *at)]
    return y


def flatten_vjp(x, direction):
    """Gradient of :func:`flatten` for x."""
    d_x = np.zeros_like(x)
    for column, at in enumerate(np.ndindex(x.shape[1:])):
        d_x[(slice(None), *at)] = direction[:, column]
    return d_x


def dense(x, kernel, bias):
    """Weighted sums over the last axis: x (..., n_in), kernel (n_in, n_out)."""
    y = np.zeros((*x.shape[:-1], kernel.shape[1]), x.dtype)
    for at in np.ndindex(y.shape):
        y[at] = (x[at[:-1]] * kernel[:, at[-1]]).sum() + bias[at[-1]]
    return y


def dense_vjp(x, kernel, bias, direction):
    """Gradients of :func:`dense` for x, kernel and bias."""
    d_x, d_kernel, d_bias = (np.zeros_like(a) for a in (x, kernel, bias))
    for at in np.ndindex(direction.shape):
        d_x[at[:-1]] += direction[at] * kernel[:, at[-1]]
        d_kernel[:, at[-1]] += direction[at] * x[at[:-1]]
        d_bias[at[-1]] += direction[at]
    return d_x, d_kernel, d_bias
