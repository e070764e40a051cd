"""What a page unpacks are the numbers that went in, within the rounding that is stated."""

import base64
import zlib

import numpy as np
import pytest

from jaxconv.plotting import packing


def unpacked(packed):
    """The numbers once more, by the description of the format alone."""
    content = zlib.decompress(base64.b64decode(packed.text), -15)
    codes = np.frombuffer(content, np.uint8)
    form, shape = packed.header, packed.header["shape"]
    if form["coding"] == "root8":
        roots = (_told(codes.reshape(shape)) if form["predicted"] else codes).astype(float)
        roots = (roots.reshape(shape) - form["zero"]) * form["step"]
        return roots * np.abs(roots)
    kind = {"float32": "<f4", "int16": "<i2"}[form["coding"]]
    width = np.dtype(kind).itemsize
    numbers = codes.reshape(width, -1).T.copy().view(kind).reshape(shape)
    return numbers * form["step"] if form["coding"] == "int16" else numbers


def _told(differences):
    found = np.zeros_like(differences).astype(int)
    planes, height, width = found.shape
    for plane, y, x in np.ndindex(planes, height, width):
        left = found[plane, y, x - 1] if x else 0
        up = found[plane, y - 1, x] if y else 0
        between = found[plane, y - 1, x - 1] if x and y else 0
        expected = sorted([left, up, left + up - between])[1]
        found[plane, y, x] = (int(differences[plane, y, x]) + expected) % 256
    return found


def smooth(rng, shape):
    """Values as photos have them, so that neighbours tell of each other."""
    values = rng.normal(size=shape).cumsum(1).cumsum(2)
    return (values / np.abs(values).max()).astype(np.float32)


MAPS = {
    "positive": lambda rng, shape: rng.gamma(0.3, 40, shape),
    "sparse": lambda rng, shape: np.maximum(rng.normal(-1, 3, shape), 0),
    "signed": lambda rng, shape: rng.normal(2, 9, shape),
    "hardly negative": lambda rng, shape: rng.uniform(-1e-6, 9, shape),
    "negative": lambda rng, shape: -rng.gamma(2, 5, shape),
    "smooth": smooth,
    "tiny": lambda rng, shape: rng.gamma(1, 1e-9, shape),
    "zero": lambda rng, shape: np.zeros(shape),
}


@pytest.mark.parametrize("kind", MAPS)
def test_rounded_maps_are_within_half_a_step(kind, monkeypatch):
    monkeypatch.setattr(packing, "MAX_EXACT", 0)
    values = MAPS[kind](np.random.default_rng(len(kind)), (5, 21, 17)).astype(np.float32)
    packed = packing.pack_maps(values)
    step = packed.header["step"]
    roots, got = (np.sign(v) * np.sqrt(np.abs(v)) for v in (values, unpacked(packed)))
    assert packed.header["coding"] == "root8"
    assert packed.header["predicted"] == (kind == "smooth")
    assert np.abs(roots - got).max() <= step / 2 * (1 + 1e-5)
    assert (unpacked(packed)[values == 0] == 0).all()
    spread = np.ptp(np.append(roots, 0))
    assert step <= max(spread / 254 * 2, 1)


def test_few_numbers_are_exact():
    values = np.random.default_rng(1).normal(size=(4, 9, 10)).astype(np.float32)
    for pack in (packing.pack_maps, packing.pack_exact, packing.pack_int16):
        np.testing.assert_array_equal(unpacked(pack(values)), values)


def test_the_limit_is_the_last_exact_size(monkeypatch):
    monkeypatch.setattr(packing, "MAX_EXACT", 60)
    values = np.random.default_rng(2).normal(size=(3, 4, 5)).astype(np.float32)
    assert packing.pack_maps(values).header["coding"] == "float32"
    assert packing.pack_maps(np.tile(values, 2)).header["coding"] == "root8"


def test_weights_of_16_bits_are_within_half_a_step(monkeypatch):
    monkeypatch.setattr(packing, "MAX_EXACT", 0)
    weights = np.random.default_rng(3).normal(0, 0.02, (7, 5, 3, 3)).astype(np.float32)
    packed = packing.pack_int16(weights)
    assert packed.header["coding"] == "int16"
    assert packed.header["step"] == pytest.approx(np.abs(weights).max() / 32767)
    assert np.abs(unpacked(packed) - weights).max() <= packed.header["step"] / 2 * (1 + 1e-6)
