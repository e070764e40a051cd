"""What functions return, in containers of every kind."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import optax
import pytest
from flax.training.train_state import TrainState

import jaxconv as jc
from jaxconv.prover.results import same_shapes, structure_key


@partial(jax.tree_util.register_dataclass, data_fields=["a", "b"], meta_fields=[])
@dataclass(eq=False)
class Unequal:
    a: object
    b: object


def test_a_container_without_equality():
    verdict = jc.check(lambda x: Unequal(x, [x.sum(0)]), "b h")
    assert verdict.status == "proven"
    assert (str(verdict.outputs.a), str(verdict.outputs.b)) == ("(b, h)", "[(h,)]")


def test_a_train_state_made_inside():
    def step(x):
        params = {"w": jnp.ones((3, 4))}
        state = TrainState.create(apply_fn=lambda p, x: x @ p["w"], params=params, tx=optax.adam(1))
        return state.apply_gradients(grads=jax.grad(lambda p: (x @ p["w"]).sum())(state.params))

    verdict = jc.check(step, "b 3")
    assert verdict.status == "proven"
    assert verdict.outputs.params == {"w": (3, 4)}


def test_structures_that_differ_from_size_to_size_are_told_apart():
    def function(x):
        return (x, x) if x.shape[0] > 3 else [x, x]

    verdict = jc.check(function, "b")
    assert verdict.status == "proven"
    assert {type(shapes) for _, shapes in verdict.outputs.cases} == {list, tuple}


def test_a_text_beside_the_arrays_is_kept():
    verdict = jc.check(lambda x: (x, "logits"), "b h")
    assert verdict.ok
    assert verdict.outputs[1] == "logits"


def test_what_depends_on_the_numbers_is_not_proven():
    """A text is compared, too: formulas must give what numbers give."""
    verdict = jc.check(lambda x: (x, type(x.shape[0]).__name__), "b")
    assert verdict.status != "proven"


def test_none_is_not_taken_for_a_failure():
    def function(x):
        if type(x.shape[0]) is int:  # which formulas are not
            raise ValueError("no number is accepted")

    assert jc.check(lambda x: None, "b").ok
    assert not jc.check(function, "b").ok


@pytest.mark.parametrize("made", [lambda x: lambda y: x + y, lambda x: jnp.tanh])
def test_a_function_that_returns_a_function_is_a_sentence(made):
    verdict = jc.check(made, "b")
    assert verdict.status == "refuted"
    assert "the function returns a function, and no array" in verdict.failures[0].message
    assert verdict.failures[0].fix.startswith("call the function first")


def test_shapes_are_compared_by_leaves_and_containers():
    one = Unequal((2, 3), [(4,)])
    assert same_shapes(one, Unequal((2, 3), [(4,)]))
    assert not same_shapes(one, Unequal((2, 3), ((4,),)))
    assert not same_shapes(one, Unequal((2, 4), [(4,)]))
    assert not same_shapes({"a": (2,)}, {"b": (2,)})
    assert same_shapes((print, (1,)), (max, (1,)))
    assert not same_shapes((print, (1,)), ("print", (1,)))
    assert structure_key({"a": 1}) == structure_key({"a": 2})


@partial(jax.tree_util.register_dataclass, data_fields=["logits"], meta_fields=[])
@dataclass
class OnlyOfArrays:
    logits: jax.Array

    def __post_init__(self):
        if isinstance(self.logits, tuple):
            raise TypeError("the logits are a tuple")


def test_a_container_that_takes_nothing_but_arrays():
    verdict = jc.check(lambda x: {"out": OnlyOfArrays(x + 1)}, "b h")
    assert verdict.ok
    assert str(verdict.outputs) == "{\"['out'].logits\": (b, h)}"
