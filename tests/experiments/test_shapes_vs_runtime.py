import jax
import pytest

import jaxconv as jc
from experiments import shapes_vs_runtime as subject


def test_contracts_leave_nothing_in_the_program(monkeypatch):
    monkeypatch.setattr(jax, "clear_caches", lambda: None)  # other tests would compile again
    found = subject.measure(3, 2, ((4,),))
    assert found["same_program"]
    assert {kind: len(times) for kind, times in found["seconds"]["step"].items()} == {
        "with": 3,
        "without": 3,
    }


def test_the_contracts_are_held():
    params, image, label = subject.random_inputs(2, ((4,), (5,)))
    params["head"] = params["head"][:, :9]
    jax.eval_shape(subject.training_step(subject.without_contract), params, image, label)
    with pytest.raises(jc.ShapeError):
        jax.eval_shape(subject.training_step(subject.with_contract), params, image, label)


def test_the_ratio_is_of_pairs():
    seconds = {"with": [1.0, 4.0, 9.0], "without": [1.0, 2.0, 3.0]}
    assert subject.ratio(seconds) == (2.0, 1.5, 2.5)
