"""The sizes of groups and blocks, cut down so that small maps need them."""

import pytest

from jaxconv.compiled import batches
from jaxconv.layers import schedule


@pytest.fixture
def small_groups(monkeypatch):
    monkeypatch.setattr(batches, "GROUP_BYTES", 1)


@pytest.fixture(params=["whole", "cut"])
def cuts(request, monkeypatch):
    if request.param == "cut":
        for name in ("WHOLE_BYTES", "BLOCK_BYTES", "LEAST_TILES"):
            monkeypatch.setattr(schedule, name, 1)
        monkeypatch.setattr(batches, "GROUP_BYTES", 1)
    return request.param
