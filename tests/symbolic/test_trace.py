"""One run: what is decided, what forks it, and what is remembered."""

import pytest

import jaxconv as jc
from jaxconv.symbolic.sets import SizeSet
from jaxconv.symbolic.size import sizes_of
from jaxconv.symbolic.trace import Fork, SymbolicTrace


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
    assert trace.fork is fork.value.condition
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
    trace = trace_of()
    with pytest.raises(jc.Undecided):
        int(sizes_of(trace)["h"])
    assert trace.unanswered == ["the code needs h as a number"]
