"""Progress on a terminal and elsewhere."""

import io
import re

import jax
import jax.numpy as jnp
import pytest

from jaxconv.analysis.feature_maps import trace_call
from jaxconv.cli import progress
from jaxconv.cli.progress import shown_progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_progress_is_shown_while_a_network_is_computed(monkeypatch, stream):
    monkeypatch.setattr("sys.stderr", said := stream())
    monkeypatch.setattr(progress, "SECONDS_BETWEEN", {True: 0, False: 0})
    traced = trace_call(lambda x: jnp.cos(x @ x), jnp.ones((4, 4)))
    with shown_progress("computing"):
        traced.values(traced.network.maps().values())
    assert re.search(r"computing: 100% after \d+ s", said.getvalue())
    if stream is Terminal:
        assert "\n" not in said.getvalue()
        assert said.getvalue().endswith("\r\x1b[K")
    else:
        assert "\r" not in said.getvalue()
        assert said.getvalue().endswith("\n")


def test_a_short_computation_says_nothing(monkeypatch):
    monkeypatch.setattr("sys.stderr", said := io.StringIO())
    traced = trace_call(jax.numpy.sin, jnp.ones(3))
    with shown_progress("computing"):
        traced.values(traced.network.maps().values())
    assert said.getvalue() == ""
