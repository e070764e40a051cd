"""Errors of layers are those of each library, against PyTorch in float64."""

import pytest

from experiments.bench.layer_errors import PEERS, errors
from experiments.bench.layers import Layer
from tests.support.pytorch import import_torch

import_torch()

LAYERS = {
    "tiles": Layer("conv", 2, (16, 18), 16, 24, (3, 3)),
    "transposed volumes": Layer("conv_transpose", 1, (3, 4, 5), 4, 6, (2, 2, 2), 2),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_errors_are_those_of_each_library(name):
    measured = errors(LAYERS[name])
    assert [*measured] == [*PEERS]
    for numbers in measured.values():
        assert all(0 < error < 1e-6 for error in numbers)
    assert measured["ours"] != measured["lax"]
