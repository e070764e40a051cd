"""A small random network as the explorer's page takes it, and what its neurons compute."""

from typing import NamedTuple

import numpy as np

from jaxconv.layers.windows import Window
from jaxconv.plotting.layer_views import LayerView
from tests.support import reference

HOSTILE = "</script><script>alert(1)</script>"
HOSTILE_PHOTO = "<img src=x onerror=alert(1)>.jpg"


class Slide(NamedTuple):
    """How a filter slides over rows and columns."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]

    def windows(self):
        axes = zip(self.kernel, self.stride, self.dilation, self.padding, strict=True)
        return tuple(Window(k, s, d, *pads) for k, s, d, pads in axes)


FIRST = Slide((5, 3), (2, 1), (1, 2), ((1, 2), (2, 2)))
SECOND = Slide((3, 3), (1, 1), (1, 1), ((1, 1), (0, 1)))
POOL = Slide((3, 2), (2, 2), (1, 1), ((1, 0), (0, 1)))
GROUPS = 2


def network(rng, height=36, width=44):
    """A photo, and layers: the input, a convolution, a pool, and a grouped convolution."""
    smooth = rng.normal(size=(height, width, 3)).cumsum(0).cumsum(1)  # as photos are
    photo = ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)
    image = photo.astype(np.float32) - rng.uniform(100, 130, 3).astype(np.float32)
    pixels = [np.stack([np.arange(n), np.arange(n) + 1], 1) for n in (height, width)]
    given = LayerView("input", "input", image, *pixels, (1, 1), (1, 1))
    first = _convolution(rng, "a", given, FIRST, 6, 1)
    options = {"window": POOL.kernel, "stride": POOL.stride, "padding": POOL.padding}
    pooled = reference.pool(first.values[None], "max", **options)[0]
    pool = _seen(first, POOL, "pool", "pool", pooled)
    return photo, [given, first, pool, _convolution(rng, HOSTILE, pool, SECOND, 4, GROUPS)]


def _convolution(rng, name, source, slide, filters, groups):
    shape = (*slide.kernel, source.values.shape[-1] // groups, filters)
    weights, bias = rng.normal(size=shape).astype(np.float32), rng.normal(size=filters) * 50
    options = slide._asdict() | {"groups": groups}
    del options["kernel"]
    made = reference.conv(source.values[None].astype(float), weights, bias, **options)[0]
    values = np.maximum(made, 0).astype(np.float32)
    return _seen(source, slide, name, "convolution", values, weights, bias.astype(np.float32))


def _seen(source, slide, name, kind, values, weights=None, bias=None):
    """A layer on ``source``, with the pixels that its neurons see found by trying."""
    rows, columns = (
        _through(seen, count, window)
        for seen, count, window in zip(
            (source.rows, source.columns), values.shape, slide.windows(), strict=False
        )
    )
    stride = tuple(a * b for a, b in zip(source.stride, slide.stride, strict=True))
    size = tuple(int(np.diff(seen).max()) for seen in (rows, columns))
    return LayerView(
        name,
        kind,
        values,
        rows,
        columns,
        size,
        stride,
        True,
        source.name,
        slide.windows(),
        weights,
        bias,
    )


def _through(seen, count, window):
    found = []
    for at in range(count):
        first = at * window.stride - window.low
        taps = [first + tap * window.dilation for tap in range(window.kernel)]
        inside = [tap for tap in taps if 0 <= tap < len(seen)]
        found.append((seen[inside][:, 0].min(), seen[inside][:, 1].max()))
    return np.array(found)


def product(layer, source, channel, y, x):
    """w.p of one neuron, tap by tap, in float64, and the maps it reads with what each adds."""
    rows, columns = layer.windows
    each = layer.weights.shape[2]
    first = channel // (layer.values.shape[-1] // (source.values.shape[-1] // each)) * each
    added = dict.fromkeys(range(first, first + each), 0.0)
    for i, j in np.ndindex(layer.weights.shape[:2]):
        row = y * rows.stride - rows.low + i * rows.dilation
        column = x * columns.stride - columns.low + j * columns.dilation
        if 0 <= row < source.values.shape[0] and 0 <= column < source.values.shape[1]:
            for k in range(each):
                p, w = source.values[row, column, first + k], layer.weights[i, j, k, channel]
                added[first + k] += float(p) * float(w)
    return sum(added.values()), added
