"""One trace of a function: what stops it, and that an interrupt always reaches the user."""

import builtins
import collections
import contextlib
import itertools
import queue
import random
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from tests.support.interrupts import Interrupted, add, ask, fork


def call_check(function):
    return jc.check(function, "b h", "b w")


def call_summary(function):
    return jc.summary(lambda x: function(x, x), "b h")


def call_receptive_field(function):
    return jc.receptive_field(lambda x: function(jc.conv(x, KERNEL), x), "b h w 3", layer="none")


def call_contract(function):
    return jc.check(jc.contract("b h, b w -> ...")(lambda x, y: function(x, y)))  # noqa: PLW0108 - a function


KERNEL = jnp.ones((3, 3, 3, 3))
CALLS = (call_check, call_summary, call_receptive_field, call_contract)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("before", [fork, ask, add], ids=lambda f: f.__name__)
@pytest.mark.parametrize("call", CALLS, ids=lambda f: f.__name__)
def test_an_interrupt_reaches_the_user_from_every_trace(call, before, interrupt):
    """Whatever the function asked before, and whichever trace it is: symbolic or with numbers."""
    uninterrupted = Interrupted(before, 0, interrupt)
    with contextlib.suppress(jc.ShapeError):  # of sizes that are not decided, or of the layer
        call(uninterrupted)
    assert uninterrupted.calls >= 3
    for number in range(1, min(uninterrupted.calls, 7) + 1):
        interrupted = Interrupted(before, number, interrupt)
        try:
            call(interrupted)
        except interrupt:
            continue
        assert interrupted.calls < number, f"call {number} of {uninterrupted.calls} was swallowed"


def test_an_interrupt_reaches_the_user_while_a_fork_is_handled():
    def function(x):
        try:
            return x if x.shape[0] > 3 else x[:1]
        except BaseException as error:
            raise KeyboardInterrupt from error

    with pytest.raises(KeyboardInterrupt):
        jc.check(function, "h")


def test_sizes_of_an_interrupted_trace_ask_nothing_more():
    """JAX keeps shapes in caches, and compares them with those of later traces."""
    sizes = queue.SimpleQueue()

    def function(x):
        sizes.put(x.shape[0])  # what a queue holds is not restored
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jc.check(function, "h")
    assert sizes.get() != 5  # it would fork the trace


def test_an_interrupt_reaches_the_user_while_an_operation_is_tried_again():
    """Tried where its equalities hold, after it failed where they were answered False."""
    calls = itertools.count(1)

    def function(x, y, z):
        if next(calls) == 2:
            with contextlib.suppress(BaseException):
                int(z.shape[0])
            raise KeyboardInterrupt
        return x + y

    with pytest.raises(KeyboardInterrupt):
        jc.check(function, "h", "w", "n")
    assert next(calls) == 3


def test_a_fork_that_is_caught_counts():
    def function(x):
        try:
            large = x.shape[0] > 3
        except BaseException:
            large = True
        return x if large else x[:1]

    verdict = jc.check(function, "h")
    assert str(verdict) == "proven: accepts every size, returns (1 if h <= 3 else h,)"


def test_a_trace_that_takes_isl_too_long_is_left_undecided(monkeypatch):
    halve = lambda x: jc.max_pool(x, 2)  # noqa: E731
    assert jc.check(halve, "b h w 3", where="h >= 2 and w >= 2").ok
    monkeypatch.setattr("jaxconv.prover.subject.TRACE_OPERATIONS", 1)
    verdict = jc.check(halve, "b h w 3", where="h >= 2 and w >= 2")
    assert not verdict.ok
    assert not verdict.failures
    assert any("maximal number of operations" in note for note in verdict.notes), verdict.notes


class Remembers:
    """A model that keeps the first shape that it sees, and a cache of its own."""

    def __init__(self):
        self.size, self.cache = None, {}

    def __call__(self, x):
        self.size = self.size or x.shape[1]
        if x.shape[1] != self.size:
            raise ValueError("another size")
        return self.cache.setdefault("ones", jnp.ones(3)) + x[:, :3]


def test_state_that_a_model_keeps_is_restored():
    model = Remembers()
    verdict = jc.check(model, "b h", where="h >= 3")
    assert verdict.accepts == jc.SizeSet.parse("b h", "h >= 3")
    assert (model.size, model.cache) == (None, {})
    note = "in the present state: after b = 1, h = 3 the function does otherwise for b = 7, h = 9"
    assert note in verdict.notes[0]
    assert model(jnp.ones((2, 5))).shape == (2, 3)
    with pytest.raises(ValueError, match="another size"):
        model(jnp.ones((2, 6)))


def test_numbers_are_traced_without_substitutes():
    """What confirms a proof must be Python and JAX as the user has them."""

    def function(x):
        seen.put((x.shape[0], int))  # what a queue holds is not restored
        return x[: int(x.shape[0] / 2) + 1]

    seen = queue.SimpleQueue()
    assert jc.check(function, "h").ok
    calls = [seen.get() for _ in range(seen.qsize())]
    substitutes = {kind is builtins.int: isinstance(size, jc.Size) for size, kind in calls}
    assert substitutes == {True: False, False: True}
    assert "int" not in globals()


def test_checks_in_threads_leave_jax_as_it_was():
    """Each trace replaces functions of JAX, and puts back what it found."""
    inside = threading.Barrier(2)

    def meets(x):
        with contextlib.suppress(threading.BrokenBarrierError):
            inside.wait(0.2)  # for the other, if traces overlap
        return jnp.concatenate([x, x])

    def state():
        filtering = jax.config.jax_traceback_filtering
        return filtering, jax.export.is_symbolic_dim.__code__, jax.lax.associative_scan

    before, verdicts = state(), []
    threads = [
        threading.Thread(target=lambda: verdicts.append(jc.check(meets, "n", returns="2*n")))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [verdict.status for verdict in verdicts] == ["proven", "proven"]
    assert state() == before


def test_what_a_function_keeps_is_restored():
    kept, last = collections.deque(), None

    def keeps(x):
        nonlocal last
        last = x.shape[0]
        kept.append(last)
        return x

    assert jc.check(keeps, "n").ok
    assert not kept
    assert last is None


FIRST = None


class Sized:
    """A class that keeps the first size in itself."""

    size = None

    def __call__(self, x):
        global FIRST  # noqa: PLW0603 - that is what is tested
        FIRST = FIRST or x.shape[1]
        type(self).size = x.shape[1]
        function_with_a_size.size = x.shape[1]
        return function_with_a_size(x)


def function_with_a_size(x):
    return x[:, : function_with_a_size.size]


def test_what_classes_functions_and_modules_keep_is_restored():
    assert jc.check(Sized(), "b h").ok
    assert (FIRST, Sized.size, vars(function_with_a_size)) == (None, None, {})


def test_a_function_that_counts_its_calls_is_not_decided():
    calls = []

    def counts(x):
        calls.append(x)
        return x[:, : len(calls)]

    verdict = jc.check(counts, "b h")
    assert verdict.status == "tested"
    assert any("keeps state between calls" in note for note in verdict.notes)
    assert not calls


@pytest.mark.parametrize("chance", [random.random, np.random.rand])
def test_a_function_whose_shapes_are_drawn_by_chance_is_not_decided(chance):
    verdict = jc.check(lambda x: x[:, :1] if chance() < 0.5 else x, "b h", where="h >= 2")
    assert verdict.status == "tested"
    assert jc.check(lambda x: x * chance(), "b h").ok
