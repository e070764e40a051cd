"""One run: what is decided, what forks it, and what is remembered."""

import contextlib

import jax
import pytest

import jaxconv as jc
from jaxconv import compat
from jaxconv.symbolic.sets import SizeSet
from jaxconv.symbolic.size import sizes_of
from jaxconv.symbolic.trace import Fork, OutOfTime, Restart, SymbolicTrace


def trace_of(where=""):
    return SymbolicTrace(SizeSet.parse("h w", where).points)


def test_what_holds_in_part_forks_the_run_or_is_refused():
    trace = trace_of("h >= 3")
    h = sizes_of(trace)["h"]
    assert h > 2
    assert not h < 3
    with pytest.raises(Fork) as fork:
        _ = h > 7
    assert SizeSet(fork.value.condition & trace.domain) == jc.SizeSet.parse("h w", "h > 7")
    assert trace.stop is fork.value
    assert not issubclass(Fork, Exception)  # code that catches every Exception does not catch it
    trace.searching = False
    with pytest.raises(jc.Undecided, match="The comparison holds for h >= 8 only"):
        _ = h > 7


def test_an_equality_is_deferred_where_the_run_does_not_search():
    trace = trace_of()
    trace.searching = False
    h, w = sizes_of(trace).values()
    assert (h == w) is False
    (deferred,) = trace.deferred
    assert SizeSet(deferred.condition & trace.domain) == jc.SizeSet.parse("h w", "h = w")
    assert deferred.site[0].co_name == "test_an_equality_is_deferred_where_the_run_does_not_search"


def test_a_question_of_code_outside_jax_is_remembered():
    trace = trace_of("h >= 9")
    h = sizes_of(trace)["h"]
    with pytest.raises(Restart):
        int(h)
    assert trace.asks_for is globals()
    trace.substituted = frozenset([id(globals())])
    with pytest.raises(jc.Undecided):
        int(h)
    (question,) = trace.unanswered
    assert question.startswith("the code needs h as a number, at test_trace.py:")


def test_a_question_of_jax_counts_only_where_its_function_did_not_return():
    trace = trace_of()
    x = jax.ShapeDtypeStruct((sizes_of(trace)["h"],), "float32")
    jax.eval_shape(lambda x: x[:1], x)  # asks for h, and does without
    trace.finish()
    assert not trace.unanswered
    with contextlib.suppress(TypeError):
        jax.eval_shape(sum, x)
    trace.finish()
    (question,) = trace.unanswered
    assert question.startswith("the code needs h as a number, at test_trace.py:")


def test_a_cache_of_jax_asks_nothing():
    """It compares a size with keys of its own, by chance: the answer must not depend on these."""
    scope = {}
    exec(compile("def __new__(a, b):\n    return a == b", jax.__file__, "exec"), scope)
    trace = trace_of()
    h, w = sizes_of(trace).values()
    assert not scope["__new__"](h, 7)
    assert not scope["__new__"](h, w)
    assert scope["__new__"](h, h)
    assert not trace.deferred


def test_a_cache_of_jax_compares_formulas_without_deciding_about_them(monkeypatch):
    """Each static argument is compared with those of all calls before it."""
    scope = {}
    source = "class Static:\n    def __eq__(self, other):\n        return self.val == other.val"
    exec(compile(source, jax.__file__, "exec"), scope)
    h, w = sizes_of(trace_of()).values()

    def static(value):
        made = scope["Static"]()
        made.val = value
        return made

    monkeypatch.setattr("jaxconv.symbolic.size.zeros", None)
    assert static(h * w) != static(h + w)
    assert static(h * w) == static(w * h)
    assert static(h) != static(7)


def test_a_dataclass_of_jax_is_hashed_by_the_formulas_in_it():
    """It is the key of a cache, as of a function that vmap has transformed."""
    method = compile("def __hash__(size):\n    return hash(size)", "<string>", "exec")
    h, w = sizes_of(trace_of()).values()
    exec(method, of_jax := {"__file__": jax.__file__})
    hashed = of_jax["__hash__"]
    assert hashed(h + w) == hashed(w + h) != hashed(h)
    exec(method, of_user := {"__file__": __file__})
    with pytest.raises(Fork):  # it asks for the number
        of_user["__hash__"](h + w)


def test_the_time_limit_holds_while_code_that_compares_nothing_asks_for_hashes(monkeypatch):
    monkeypatch.setattr(compat, "hashes_for_cache", lambda _: True)
    size = sizes_of(SymbolicTrace(trace_of().domain, deadline=0))["h"]
    with pytest.raises(OutOfTime):
        hash(size)
