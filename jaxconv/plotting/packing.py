"""Arrays as text inside a page: rounded where they are large, deflated, in base64.

The browser unpacks them with what it has: ``atob`` and ``DecompressionStream``. Pictures (WebP,
PNG) would be a tenth smaller, but a browser may alter the pixels that it hands back.
"""

import base64
import zlib
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

EXACT = 200_000  # numbers; arrays up to this size are kept as they are, in float32


@dataclass(frozen=True)
class Packed:
    """An array as text.

    Attributes:
        form: what a reader must know: ``coding``, ``shape`` and the numbers of that coding.
        text: the bytes, deflated without a header, in base64.
    """

    form: dict[str, Any]
    text: str


def packed_maps(values: np.ndarray) -> Packed:
    """Pack planes of numbers: exactly if they are few, else their roots in 8 bits.

    Most activations are small, and eyes see ratios: with equal steps of the signed root
    ``sign(v)*sqrt(abs(v))`` small numbers keep more of their digits than with equal steps of v.
    Zero is exact. Where it makes less text, each code is written as the difference to the median
    of its left neighbour, its upper one, and their sum less the one between.

    Args:
        values: finite, (planes, h, w).

    Returns:
        Coding "float32", or "root8" with ``zero``, the code of 0, and ``step`` between two roots.
    """
    if values.size <= EXACT:
        return packed_exactly(values)
    codes, zero, step = _roots(values)
    plain, told = _deflated(codes), _deflated(codes - _predicted(codes))
    form = {"coding": "root8", "shape": values.shape, "zero": zero, "step": step}
    return _packed(form | {"predicted": len(told) < len(plain)}, min(plain, told, key=len))


def packed_exactly(values: np.ndarray) -> Packed:
    """Pack float32 numbers of any shape as they are; all first bytes, then all second ones ..."""
    content = np.ascontiguousarray(values, "<f4").reshape(-1).view(np.uint8).reshape(-1, 4).T
    return _packed({"coding": "float32", "shape": values.shape}, _deflated(content))


def packed_evenly(values: np.ndarray) -> Packed:
    """Pack finite numbers of any shape in 16 bits, ``code*step``, each off by half a step at most.

    Few numbers are kept as they are.
    """
    if values.size <= EXACT // 10:
        return packed_exactly(values)
    step = float(np.abs(values).max()) / 32767 or 1.0
    codes = np.round(values.astype(np.float64) / step).astype("<i2")
    content = codes.reshape(-1).view(np.uint8).reshape(-1, 2).T
    return _packed({"coding": "int16", "shape": values.shape, "step": step}, _deflated(content))


def _packed(form: dict[str, Any], content: bytes) -> Packed:
    return Packed(form, base64.b64encode(content).decode())


def _deflated(content: np.ndarray) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15, 9, zlib.Z_FILTERED)
    return packer.compress(np.ascontiguousarray(content).tobytes()) + packer.flush()


def _roots(values: np.ndarray) -> tuple[np.ndarray, int, float]:
    """Codes of signed roots, the code of 0, and the step between two codes."""
    low, high = sqrt(max(-float(values.min()), 0)), sqrt(max(float(values.max()), 0))
    zero = round(255 * low / (low + high)) if low + high else 0
    zero = min(max(zero, low > 0), 255 - (high > 0))  # either side needs a code
    step = max(high / max(255 - zero, 1), low / max(zero, 1)) or 1.0
    roots = np.sign(values) * np.sqrt(np.abs(values))
    return (np.round(roots / step) + zero).astype(np.uint8), zero, step


def _predicted(codes: np.ndarray) -> np.ndarray:
    """What the neighbours of each number in (planes, h, w) let one expect, modulo 256."""
    framed = np.pad(codes, ((0, 0), (1, 0), (1, 0)))
    left, up = framed[:, 1:, :-1], framed[:, :-1, 1:]
    between = framed[:, :-1, :-1]
    low, high = np.minimum(left, up), np.maximum(left, up)
    inner = left + up - between  # where between is neither the lowest nor the highest, it fits
    return np.where(between >= high, low, np.where(between <= low, high, inner))
