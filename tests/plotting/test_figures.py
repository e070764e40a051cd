"""Figures of feature maps: what is kept of each layer."""

import numpy as np
import pytest

from jaxconv.plotting import figures
from jaxconv.plotting.figures import MapsPanel, by_strength, map_norm, shrunk_maps

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("shape", [(9, 7, 3), (2048, 4, 2), (1, 1, 5)])
def test_maps_of_ordinary_size_are_drawn_as_they_are(shape):
    maps = RNG.normal(size=shape).astype(np.float32)
    assert shrunk_maps(maps) is maps


@pytest.mark.parametrize("shape", [(2049, 30, 2), (3, 6000, 1), (4097, 4099, 1)])
def test_large_maps_are_reduced_by_means(shape):
    maps = RNG.random(shape, np.float32) - np.float32(0.5)
    got = shrunk_maps(maps)
    factor = -(-max(shape) // 2048)
    assert max(got.shape[:2]) <= 2048
    down = min(factor, shape[0])
    np.testing.assert_allclose(got[0, 0], maps[:down, :factor].mean((0, 1)), rtol=1e-5, atol=1e-6)
    assert got.dtype == np.float32


def test_a_panel_keeps_the_maps_that_are_drawn_and_their_scale(monkeypatch):
    monkeypatch.setattr(figures, "MAX_DRAWN_SIDE", 16)
    maps = RNG.normal(size=(32, 24, 9)).astype(np.float32) + np.linspace(-1, 1, 9)
    panel = MapsPanel.of("conv", maps.astype(np.float32), 4, ())
    assert list(panel.channels) == by_strength(maps)[:4].tolist() == [8, 7, 6, 5]
    assert panel.maps.shape == (16, 12, 4)
    assert panel.norm.vmax == pytest.approx(map_norm(maps[..., panel.channels]).vmax)
    assert panel.title == "conv:  9 maps of 24 x 32,  the 4 strongest"


def test_the_strength_of_a_large_map_is_exact():
    """A sum in float32 stops growing at 16 million."""
    maps = np.ones((1, 20_000_000, 2), np.float32)
    maps[:, -2_000_000:, 0] = 0.5
    assert by_strength(maps).tolist() == [1, 0]
