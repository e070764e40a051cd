"""Functions that compute numbers by cases, against the same functions with numbers."""

import itertools

import jax.numpy as jnp
import pytest
from jax import lax

import jaxconv as jc
from jaxconv.symbolic.domains import domain_of
from jaxconv.symbolic.merging import MOST_CASES, merged_cases
from jaxconv.symbolic.size import sizes_of, value_at
from jaxconv.symbolic.trace import Restart, SymbolicTrace


def rest_of(n, step):
    """What a pool leaves out, if it is to round up."""
    if (n - 3) % step == 0:
        return 0
    return step - (n - 3) % step


def ordered(a, b, *, label="sides"):
    if a > b:
        return {"larger": a, "label": label, "both": (a, b)}
    return {"larger": b, "label": label, "both": (b, a)}


def hump(n):
    if n < 3:
        return 1
    return 2 if n < 6 else 1


def swallowing(n):
    try:
        is_small = n < 3
    except:  # noqa: E722 - that is the trap
        return 7
    return 1 if is_small else 2


def is_small(n):
    return n < 3


def digits(n):
    return next((i for i in range(30) if n == i), 30)


def called(function, *arguments):
    """What a function returns for all sizes, in a trace that merges its cases."""
    trace = SymbolicTrace(domain_of(["h", "w"], None))
    sizes = sizes_of(trace)
    with merged_cases([function], trace):
        return function(*(sizes.get(one, one) for one in arguments)), trace


def test_cases_are_merged_to_formulas():
    rest, _ = called(rest_of, "h", 4)
    larger, trace = called(ordered, "h", "w")
    assert len(trace.cases) == 2
    for h, w in itertools.product(range(1, 12), range(1, 12)):
        assert value_at(rest, {"h": h, "w": w}) == rest_of(h, 4)
        numbers = {key: value_at(larger[key], {"h": h, "w": w}) for key in ("larger",)}
        assert numbers["larger"] == max(h, w)
        assert [value_at(n, {"h": h, "w": w}) for n in larger["both"]] == [max(h, w), min(h, w)]
    assert larger["label"] == "sides"


@pytest.mark.parametrize("function", [hump, swallowing])
def test_a_case_has_the_value_of_its_own_sizes(function):
    merged, _ = called(function, "h")
    for h in range(1, 10):
        assert value_at(merged, {"h": h, "w": 1}) == function(h)


@pytest.mark.parametrize("function", [digits, is_small])
def test_many_cases_and_truth_values_are_traced_one_at_a_time(function):
    assert MOST_CASES < 30
    with pytest.raises(Restart):
        called(function, "h")


def test_functions_are_as_before_after_a_trace():
    code = rest_of.__code__
    for arguments in (("h", 4), ("h", 0)):
        try:
            called(rest_of, *arguments)
        except ZeroDivisionError:
            assert arguments[1] == 0
        assert rest_of.__code__ is code
    assert rest_of(6, 4) == 1


def test_pools_that_round_up_need_no_trace_for_each_case():
    def pooled(x):
        x = lax.conv_general_dilated(
            x, jnp.ones((7, 7, 3, 3)), (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        for _ in range(3):
            pads = ((0, 0), *((0, rest_of(n, 2)) for n in x.shape[1:3]), (0, 0))
            x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), pads)
        return x

    verdict = jc.check(pooled, "b h w 3", returns="b (h-5)//16 (w-5)//16 3")
    assert verdict.accepts == jc.SizeSet.parse("b h w", "h >= 21 and w >= 21")
    assert verdict.untried.is_empty()
    assert verdict.runs <= 16  # hundreds if each case has its own
