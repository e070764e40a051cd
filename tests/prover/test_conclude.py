"""The verdict: outputs of several regions, and notes."""

import jax.numpy as jnp
import pytest

import jaxconv as jc
from jaxconv.prover import conclude
from tests.support.cnns import bare_head


def test_an_accident_of_a_flatten_is_explained():
    (note, *_) = jc.check(bare_head, "b h w 3").notes
    assert note == (
        "512*(h//32)*(w//32) - 25088 is 0 in 3 ways (h//32 = 1, w//32 = 49; h//32 = 7, w//32 = 7; "
        "h//32 = 49, w//32 = 1), and all are accepted; to keep one, fix the sizes before the "
        "flatten with a contract, or pool to a fixed map."
    )


def test_shapes_that_differ_from_case_to_case_are_given_case_by_case():
    verdict = jc.check(lambda x: x if x.shape[0] > 3 else x[0], "b h")
    assert verdict.ok
    assert str(verdict.outputs) in (
        "(b, h) for b >= 4 or (h,) for b <= 3",
        "(h,) for b <= 3 or (b, h) for b >= 4",
    )
    assert str(verdict.outputs.at(b=2, h=5)) == "(h,)"


@pytest.mark.parametrize(("limit", "status"), [(24, "tested"), (100, "refuted")])
def test_a_verdict_is_refuted_only_if_most_of_the_sizes_that_people_use_are_decided(limit, status):
    def partly_decided(x):
        if x.shape[1] < limit:
            raise ValueError("too small")
        return jnp.zeros(x.shape[1] ** 3 % 1009 + 1)

    verdict = jc.check(partly_decided, "b h w 3")
    assert verdict.status == status
    assert verdict.failures[0].sizes == jc.SizeSet.parse("b h w", f"h < {limit}")
    assert verdict.untried.contains(b=1, h=300, w=301)


def test_results_that_take_too_long_to_join_are_listed_case_by_case(monkeypatch):
    def cut(x):
        return x[:, :1] if x.shape[1] < 5 else x[:, :3]

    assert str(jc.check(cut, "b h").outputs) == "(b, 1 if h <= 4 else 3)"
    monkeypatch.setattr(conclude, "RESULT_OPERATIONS", 1)
    listed = jc.check(cut, "b h")
    assert listed.ok
    assert str(listed.outputs) == "(b, 1) for h <= 4 or (b, 3) for h >= 5"
