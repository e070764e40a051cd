"""Arrays as text inside an HTML page: rounded if they are large, deflated, in base64.

The browser unpacks them with its own ``atob`` and ``DecompressionStream``. Images (WebP, PNG) would
be a tenth smaller, but a browser may alter the pixels that it returns.
"""

import base64
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt

import numpy as np

ENOUGH = 1_000_000  # numbers that show how well an array can be compressed
MAX_EXACT = 200_000  # numbers; arrays up to this size are kept exactly, in float32


@dataclass(frozen=True)
class PackedArray:
    """An array as text.

    Attributes:
        header: what a reader must know: ``coding``, ``shape`` and the parameters of that coding.
        text: the bytes, deflated without a zlib header, in base64.
    """

    header: dict[str, object]
    text: str


def pack_maps(values: np.ndarray) -> PackedArray:
    """Pack feature maps: exactly if they are small, otherwise their square roots in 8 bits.

    Most activations are small, and eyes see ratios: with equal steps of the signed root
    ``sign(v)*sqrt(abs(v))`` small numbers keep more of their digits than with equal steps of v.
    Zero is exact. If that gives less text, each code is written as its difference from a
    prediction: the median of its left neighbour, its upper neighbour, and their sum minus the
    upper left neighbour.

    Args:
        values: finite, (planes, h, w).

    Returns:
        Coding "float32", or "root8" with ``zero``, the code of 0, and ``step`` between two roots.
    """
    if values.size <= MAX_EXACT:
        return pack_exact(values)
    low, high = sqrt(max(-float(values.min()), 0)), sqrt(max(float(values.max()), 0))
    zero = round(255 * low / (low + high)) if low + high else 0
    zero = min(max(zero, low > 0), 255 - (high > 0))  # each sign that occurs needs a code
    step = max(high / max(255 - zero, 1), low / max(zero, 1)) or 1.0
    codes = np.empty(values.shape, np.uint8)
    for number, plane in enumerate(values):  # one by one: each takes some memory of its own
        roots = np.sign(plane) * np.sqrt(np.abs(plane))
        codes[number] = (np.round(roots / step) + zero).astype(np.uint8)
    # Some planes show which is shorter.
    some = codes[:: max(codes.size // ENOUGH, 1)]
    is_predicted = len(_deflated(map(_differences, some))) < len(_deflated(some))
    content = _deflated(map(_differences, codes) if is_predicted else codes)
    header = {"coding": "root8", "shape": values.shape, "zero": zero, "step": step}
    header["predicted"] = is_predicted
    return _packed(header, content)


def _differences(codes: np.ndarray) -> np.ndarray:
    """Codes less a prediction, modulo 256: their plane where it lies between the neighbours."""
    padded = np.pad(codes, ((1, 0), (1, 0)))
    left, up, upper_left = padded[1:, :-1], padded[:-1, 1:], padded[:-1, :-1]
    smaller, larger = np.minimum(left, up), np.maximum(left, up)
    plane = np.where(upper_left <= smaller, larger, left + up - upper_left)
    return codes - np.where(upper_left >= larger, smaller, plane)


def pack_exact(values: np.ndarray) -> PackedArray:
    """Pack float32 numbers exactly. All first bytes come first, then all second bytes and so on.

    Args:
        values: of any shape.

    Returns:
        Coding "float32".
    """
    content = np.ascontiguousarray(values, "<f4").reshape(-1).view(np.uint8).reshape(-1, 4).T
    return _packed({"coding": "float32", "shape": values.shape}, _deflated(content))


def pack_int16(values: np.ndarray) -> PackedArray:
    """Pack numbers as ``code*step`` with codes of 16 bits; a small array exactly.

    Args:
        values: finite, of any shape.

    Returns:
        Coding "float32", or "int16" with ``step``; each number is off by at most half a step.
    """
    if values.size <= MAX_EXACT // 10:
        return pack_exact(values)
    step = float(np.abs(values).max()) / 32767 or 1.0
    codes = np.round(values.astype(np.float64) / step).astype("<i2")
    content = codes.reshape(-1).view(np.uint8).reshape(-1, 2).T
    return _packed({"coding": "int16", "shape": values.shape, "step": step}, _deflated(content))


def _packed(header: dict[str, object], content: bytes) -> PackedArray:
    return PackedArray(header, base64.b64encode(content).decode())


def _deflated(content: Iterable[np.ndarray]) -> bytes:
    """The bytes of some arrays one after the other, shorter."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15, 9, zlib.Z_FILTERED)
    parts = [packer.compress(np.ascontiguousarray(part).data) for part in content]
    return b"".join([*parts, packer.flush()])
