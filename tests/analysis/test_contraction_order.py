"""Orders of contraction: JAX's for formulas against JAX's for numbers."""

import jax
import jax.numpy as jnp
import pytest

import jaxconv as jc
from jaxconv.analysis.contraction_order import recorded_contractions, sizes_of_other_orders
from jaxconv.compat import einsum_orders_by_dimension

LORA = "nc,cr,rd->nd"


def recorded(fn, *specs):
    with recorded_contractions() as contractions:
        table = jc.check(fn, *specs)
    return contractions, table.accepts


def orders(rank, width):
    """What opt_einsum does for each of many sizes."""
    found = set()
    for n in (1, 2, 3, 4, 5, 7, 50, 10**4, 10**7):
        shapes = (n, width), (width, rank), (rank, width)
        arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
        found.add(str(jnp.einsum_path(LORA, *arrays)[0]))
    return found


@pytest.mark.parametrize(("rank", "width"), [(8, 64), (64, 8), (3, 4), (4, 3), (64, 64)])
def test_another_order_is_found_where_there_is_one(rank, width):
    down, up = jnp.ones((width, rank)), jnp.ones((rank, width))
    fn = lambda x: jnp.einsum(LORA, x, down, up)  # noqa: E731
    contractions, sizes = recorded(fn, f"n {width}")
    assert contractions
    other = sizes_of_other_orders(contractions, sizes)
    assert bool(other) == (len(orders(rank, width)) > 1)
    assert other == sorted(other, key=lambda point: point["n"])


def test_only_orders_that_sizes_decide_are_recorded():
    ones = jnp.ones((4, 4))
    assert recorded(lambda x: jnp.einsum("ij,jk->ik", x, ones), "n 4")[0] == []
    assert recorded(lambda x: x @ jnp.einsum("ij,jk,kl->il", ones, ones, ones), "n 4")[0] == []
    assert sizes_of_other_orders([], recorded(jnp.sin, "n 4")[1]) == []


def test_jax_is_as_before_afterwards():
    before = dict(einsum_orders_by_dimension)
    with pytest.raises(TypeError), recorded_contractions():
        jnp.sin("text")
    assert einsum_orders_by_dimension == before


def test_a_jit_that_was_traced_before_is_recorded_again():
    fn = jax.jit(lambda x: jnp.einsum(LORA, x, jnp.ones((8, 64)), jnp.ones((64, 8))))
    first, second = (jc.summary(fn, "n 8") for _ in range(2))
    assert first.macs is None
    assert second.macs is None
