"""The pixels that each element of a sliding window sees, as slices of whole images.

With a stride, each element sees every ``stride``-th pixel. The pixels with the same remainder are
gathered once: slices of these *phases* are contiguous, and loops over them vectorise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import jax
import numpy as np
from jax import lax


@dataclass(frozen=True)
class Sliding:
    """How a window slides along each spatial axis.

    Attributes:
        window: the number of its elements.
        map: the number of its positions.
        stride: pixels from one position to the next.
        dilation: pixels from one element to the next.
        pads: zeros before the first pixel; negative where pixels are skipped.
    """

    window: Sequence[int]
    map: Sequence[int]
    stride: Sequence[int]
    dilation: Sequence[int]
    pads: Sequence[int]


def elements(x: jax.Array, sliding: Sliding) -> list[jax.Array]:
    """Slice images: for each element of the window, the pixel that it sees at every position.

    Args:
        x: (images, *size, channels).
        sliding: of the window over ``size``.

    Returns:
        An array (images, *map, channels) per element; those of the first row come first.
    """
    places = [
        [divmod(i * d, s) for i in range(k)]
        for k, d, s in zip(sliding.window, sliding.dilation, sliding.stride, strict=True)
    ]
    seen = sorted({tuple(r for _, r in at) for at in product(*places)})
    sizes = tuple(n + max(q for q, _ in at) for n, at in zip(sliding.map, places, strict=True))
    reach = [n * s for n, s in zip(sizes, sliding.stride, strict=True)]
    amounts = [
        (low, n - size - low, 0)
        for low, n, size in zip(sliding.pads, reach, x.shape[1:-1], strict=True)
    ]
    padded = lax.pad(x, np.float32(0), [(0, 0, 0), *amounts, (0, 0, 0)])
    strides = (1, *sliding.stride, 1)
    parts = [lax.slice(padded, (0, *start, 0), padded.shape, strides) for start in seen]
    # In memory: many slices read the pixels of each remainder.
    phases = dict(zip(seen, lax.optimization_barrier(parts), strict=True))
    return [
        lax.slice(
            phases[tuple(r for _, r in at)],
            (0, *(q for q, _ in at), 0),
            (x.shape[0], *(q + n for (q, _), n in zip(at, sliding.map, strict=True)), x.shape[-1]),
        )
        for at in product(*places)
    ]
