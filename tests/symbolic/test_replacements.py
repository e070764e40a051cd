"""Functions of JAX that refuse symbolic sizes, against the same functions with numbers."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import jaxconv as jc
from jaxconv.compat import REPLACEABLE, replaced
from jaxconv.symbolic.domains import domain_of
from jaxconv.symbolic.replacements import REPLACEMENTS, functions_that_take_sizes
from jaxconv.symbolic.size import sizes_of, value_at
from jaxconv.symbolic.trace import Fork, SymbolicTrace


def both(a, b):
    return jax.tree.map(jnp.multiply, a, b)


FUNCTIONS = {
    "shuffled": lambda x: jax.random.permutation(jax.random.key(0), x, axis=1, independent=True),
    "chosen": lambda x: jax.random.permutation(jax.random.key(0), x.shape[1]),
    "reflected": lambda x: jnp.pad(x, ((1, 0), (x.shape[1], 3)), mode="reflect"),
    "symmetric": lambda x: jnp.pad(x, ((0, 0), (x.shape[0], 0)), mode="symmetric"),
    "wrapped": lambda x: jnp.pad(x, ((0, 0), (1, 3)), mode="wrap"),
    "wrapped twice": lambda x: jnp.pad(x, ((2, 2), (x.shape[1], 1)), mode="wrap"),
    "wrapped by a size": lambda x: jnp.pad(x, ((1, 5), (0, x.shape[0])), mode="wrap"),
    "split": lambda x: jnp.split(x, x.shape[1], axis=1)[-1],
    "scanned": lambda x: lax.associative_scan(both, (x, x * 2), reverse=True, axis=1),
    "window": lambda x: jnp.blackman(x.shape[1]),
    "summed": jax.vmap(lambda r: lax.psum(2.0, "i") * r, axis_name="i"),
    "indexed": lambda x: x.at[x.shape[0] - 1, x.shape[1] // 2].set(0),
    "convolved": lambda x: jnp.convolve(x[0], jnp.ones(3), mode="valid"),
    "correlated": lambda x: jnp.correlate(x[0], x[:, 0], mode="full"),
    "counted to a float": lambda x: jnp.arange(x.shape[1] / 2),
    "counted from a float": lambda x: jnp.arange(0.5, x.shape[1], dtype=jnp.bfloat16),
    "counted in floats": lambda x: jnp.arange(-x.shape[1] / 2, x.shape[0] + 3, 0.25),
    "counted downwards": lambda x: jnp.arange(x.shape[1], 0.5, -2),
    "contracted": lambda x: jnp.einsum("bh,bk,kj->hj", x, x, jnp.ones((x.shape[1], 5))),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_shapes_are_those_with_numbers(name):
    function = FUNCTIONS[name]
    verdict = jc.check(function, "b h", where="b >= 2")
    assert verdict.untried.is_empty(), verdict
    assert verdict.accepts.contains(b=2, h=3), verdict
    for b, h in ((2, 1), (2, 2), (3, 7), (5, 4)):
        shape = jax.eval_shape(function, jax.ShapeDtypeStruct((b, h), jnp.float32))
        expected = jax.tree.map(lambda leaf: leaf.shape, shape)
        value = [value_at(n, {"b": b, "h": h}) for n in jax.tree.leaves(verdict.outputs)]
        assert value == jax.tree.leaves(expected)


def test_a_scan_is_refused_whose_function_asks_how_many_elements_there_are():
    def combine(a, b):
        return a + b if a.shape[0] > 2 else a

    verdict = jc.check(lambda x: lax.associative_scan(combine, x), "n 3")
    assert not verdict.untried.is_empty(), verdict


def test_a_section_beyond_the_last_is_not_accepted():
    verdict = jc.check(lambda x: jnp.split(x, x.shape[0], axis=0)[2], "n 3")
    assert not verdict.accepts.contains(n=2)
    assert verdict.accepts.contains(n=3)


def test_every_replacement_is_for_a_function_of_this_jax_and_is_taken_back():
    assert set(REPLACEMENTS) == set(REPLACEABLE)
    before = lax.associative_scan
    with replaced("associative_scan", lambda original, *_: original):
        assert lax.associative_scan is not before
    assert lax.associative_scan is before


def test_padding_of_one_pixel_that_wraps_around_splits_nothing():
    verdict = jc.check(lambda x: jnp.pad(x, ((0, 0), (1, 1), (1, 1)), mode="wrap"), "b h w")
    assert verdict.ok
    assert verdict.runs <= 4


def test_sides_of_0_are_told_apart_before_sides_that_fit():
    trace = SymbolicTrace(domain_of(["h"], None), joins_programs=True)
    h = sizes_of(trace)["h"]
    odd, even = (jax.ShapeDtypeStruct((n,), jnp.float32) for n in (h // 2, (h + 1) // 2))
    with functions_that_take_sizes(), pytest.raises(Fork) as fork:
        jax.eval_shape(jnp.add, odd, even)
    assert jc.SizeSet(fork.value.condition) == jc.SizeSet.parse("h", "h >= 2")


def test_arrays_of_other_ranks_do_not_fit():
    (failure,) = jc.check(lambda x: lax.add(x, x[0]), "b h").failures
    assert "arrays must have the same number of dimensions" in failure.message
    assert failure.sizes == jc.SizeSet.parse("b h")
