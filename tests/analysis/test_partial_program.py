"""Values inside a network are computed one by one, and dropped."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

import jaxconv as jc
from jaxconv.analysis.feature_maps import trace_call
from jaxconv.analysis.partial_program import PartialProgram, reporting

X = jax.random.normal(jax.random.key(0), (1, 32, 32, 3))


def vgg():
    return jc.VGG([(6, 6), (9,)], head=None, rngs=nnx.Rngs(0))


def program(fn, x=X, layers=None):
    network, leaves = trace_call(fn, x)
    refs = network.maps()
    chosen = {name: refs[name] for name in (refs if layers is None else layers)}
    return PartialProgram.of(network, chosen, leaves), leaves


def test_each_value_is_seen_when_it_is_there_and_only_what_is_kept_stays():
    model = vgg()
    run, leaves = program(model)
    del model
    gc.collect()
    before = sum(array.nbytes for array in jax.live_arrays())
    alive = []

    def mean(name, value):
        alive.append((name, sum(array.nbytes for array in jax.live_arrays()) - before))
        return float(value.mean())

    kept = run.run(leaves, mean)
    want = jc.feature_maps(vgg())(X)
    assert [*kept] == [name for name, _ in alive] == [*want]
    for name, value in want.items():
        np.testing.assert_allclose(kept[name], value.mean(), rtol=1e-4)
    assert max(count for _, count in alive) <= run.peak_bytes()
    # At the end there is one map, of 16x16x9 numbers, and what becomes of it.
    assert alive[-1][1] <= 2 * 4 * 16 * 16 * 9


def test_values_that_are_kept_count_in_the_estimate():
    run, _ = program(vgg())
    first = 4 * 32 * 32 * 6
    assert run.peak_bytes() < run.peak_bytes(["conv1_1", "conv1_2"]) <= run.peak_bytes() + 2 * first


def test_a_model_of_shapes_has_an_estimate():
    model = nnx.eval_shape(vgg)
    run, _ = program(model, jax.ShapeDtypeStruct((1, 6000, 4000, 3), jnp.float32), ["conv1_2"])
    assert run.peak_bytes() == 4 * 6000 * 4000 * 6 * 3


def test_one_value_may_have_two_names_or_be_a_number_or_an_input():
    def fn(x):
        x = checkpoint_name(x, "input itself")
        one = checkpoint_name(jnp.float32(1) * 1, "number")
        return checkpoint_name(checkpoint_name(jnp.sin(x), "sin"), "again") + one

    kept, leaves = program(fn)
    seen = kept.run(leaves, lambda _, value: np.array(value))
    np.testing.assert_array_equal(seen["input itself"], X)
    assert seen["number"] == 1
    np.testing.assert_array_equal(seen["sin"], jnp.sin(X))
    np.testing.assert_array_equal(seen["again"], seen["sin"])


def test_progress_grows_to_the_end_in_proportion_to_the_work():
    run, leaves = program(vgg())
    shares = []
    with reporting(shares.append):
        run.run(leaves, lambda *_: None)
    assert shares == sorted(shares)
    np.testing.assert_allclose(shares[-1], 1)
    count = len(shares)
    run.run(leaves, lambda *_: None)
    assert len(shares) == count  # nobody asks any more
