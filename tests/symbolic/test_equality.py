"""Where products of sizes are equal."""

import jaxconv as jc


def test_a_common_factor_of_two_products_cancels():
    verdict = jc.check(lambda x: x.reshape(x.shape[0], 36), "b h w")
    pairs = [(h, 36 // h) for h in (1, 2, 3, 4, 6, 9, 12, 18, 36)]
    where = " or ".join(f"h = {h} and w = {w}" for h, w in pairs)
    assert verdict.accepts == jc.SizeSet.parse("b h w", where)
    assert verdict.untried.is_empty()
