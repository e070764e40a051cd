"""Progress on a terminal and elsewhere."""

import io
import re
import sys
import time

import jax.numpy as jnp
import pytest

from jaxconv.analysis.feature_maps import trace_call
from jaxconv.cli import progress
from jaxconv.cli.progress import doing, shown_progress

traced = trace_call(lambda x: jnp.cos(x @ x), jnp.ones((4, 4)))


class Terminal(io.StringIO):
    def isatty(self):
        return True


def on_terminal(monkeypatch):
    """Let standard error be a terminal that keeps what is written to it."""
    monkeypatch.setattr("sys.stderr", said := Terminal())
    monkeypatch.setattr(progress, "SECONDS_BEFORE", 0.01)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN", {True: 0.01, False: 20})
    monkeypatch.setenv("COLUMNS", "40")
    return said


def wait_for(stream, text):
    for _ in range(1000):
        if text in stream.getvalue():
            return
        time.sleep(0.01)
    raise AssertionError(stream.getvalue())


def test_a_terminal_shows_how_much_of_a_network_is_computed(monkeypatch):
    terminal = on_terminal(monkeypatch)
    with shown_progress("computing"):
        traced.values(traced.network.maps().values())
        wait_for(terminal, "computing: 100% after 0 s")
    assert "\n" not in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")
    assert sys.stderr is terminal


def test_elsewhere_lines_say_how_much_is_computed(monkeypatch):
    monkeypatch.setattr("sys.stderr", said := io.StringIO())
    monkeypatch.setattr(progress, "SECONDS_BETWEEN", {True: 0, False: 0})
    with shown_progress("computing"):
        traced.values(traced.network.maps().values())
    assert re.search(r"computing: 100% after \d+ s\n$", said.getvalue())
    assert "\r" not in said.getvalue()


def test_a_terminal_shows_the_innermost_of_what_is_done(monkeypatch):
    terminal = on_terminal(monkeypatch)
    with doing("importing"):
        wait_for(terminal, "\rimporting: 0 s\x1b[K")
        with doing("calling"):
            wait_for(terminal, "\rcalling: 0 s\x1b[K")
        before = len(terminal.getvalue())
        wait_for(terminal, "calling")
        while "importing" not in terminal.getvalue()[before:]:
            time.sleep(0.01)


def test_what_is_printed_stands_on_lines_of_its_own(monkeypatch):
    terminal = on_terminal(monkeypatch)
    with doing("importing"):
        wait_for(terminal, "importing")
        print("a warning", file=sys.stderr)
    lines = re.split("\n", terminal.getvalue())
    assert lines[0].endswith("\r\x1b[Ka warning")
    assert sys.stderr is terminal


def test_a_line_is_not_longer_than_the_terminal(monkeypatch):
    terminal = on_terminal(monkeypatch)
    with doing("x" * 100):
        wait_for(terminal, "x\x1b[K")
    assert "\r" + "x" * 39 + "\x1b[K" in terminal.getvalue()


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_what_is_short_says_nothing(monkeypatch, stream):
    monkeypatch.setattr("sys.stderr", said := stream())
    with shown_progress("computing"), doing("tracing"):
        traced.values(traced.network.maps().values())
    assert said.getvalue() == ""
