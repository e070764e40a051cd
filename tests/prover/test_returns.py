"""What a result must be."""

import pytest

import jaxconv as jc


def test_violations_of_returns():
    pooled = lambda x: jc.max_pool(x, 3, stride=2, padding=1)  # noqa: E731
    assert jc.check(pooled, "b h w 8", returns="b (h+1)//2 (w+1)//2 8").ok
    assert jc.check(pooled, "b h w 8", returns="b ... 8").ok
    assert jc.check(pooled, "b h w 8", returns="_ _ max((w+1)//2,1) _").ok
    wrong = jc.check(pooled, "b h w 8", returns="b h//2 _ 8")
    (failure,) = wrong.failures
    assert failure.message == (
        "for h = 1 the function returns 1 row, but the contract says 0 "
        "(axis 1 is (h + 1)//2, not h//2)."
    )
    assert failure.smallest == {"b": 1, "h": 1, "w": 1}
    assert wrong.accepts == jc.SizeSet.parse("b h w", "h mod 2 = 0")
    axes = jc.check(pooled, "b h w 8", returns="b h w")
    assert axes.failures[0].message == (
        "the function returns shape (b, (h + 1)//2, (w + 1)//2, 8), but the contract says 3 axes."
    )
    two = jc.check(lambda x, y: (x, {"y": y}), "b h", "b k", returns=("b h", {"y": "b k"}))
    assert two.ok
    assert str(two.outputs) == "((b, h), {'y': (b, k)})"


def test_an_unknown_name_in_returns_is_rejected():
    with pytest.raises(jc.SpecError, match="returns= names k, but the arguments have b, h"):
        jc.check(lambda x: x, "b h", returns="b k")


def test_a_quotient_of_sizes_is_compared_case_by_case():
    strided = lambda x: x[:, :: x.shape[0]]  # noqa: E731
    where = "h <= w, w <= 6*h"
    verdict = jc.check(strided, "h w", returns="h w//h", where=where)
    assert verdict.untried.is_empty()
    assert verdict.accepts == jc.SizeSet.parse(
        "h w",
        "h >= 1 and h <= w <= 6*h and (" + " or ".join(f"w = {n}*h" for n in range(1, 7)) + ")",
    )
    assert jc.check(strided, "h w", returns="h (w+h-1)//h", where=where).ok
