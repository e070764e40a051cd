"""What the adapters are made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.adapters.adapter import ModelArrays, eval_shape, is_array


def test_what_is_an_array():
    arrays = [np.ones(2), jnp.ones(2), jax.ShapeDtypeStruct((2,), "int32"), np.float32(1)]
    assert all(map(is_array, [*arrays, jax.random.key(0)]))
    others = [1, 1.0, True, None, "b", print, np.array(["a"]), np.array([None]), jnp.float32]
    assert not any(map(is_array, others))


def test_shapes_of_a_result_with_flags_among_the_arguments():
    def function(x, flag, *, name):
        assert (flag, name) == (True, "SAME")
        return {"y": x.sum(0)}

    given = [jax.ShapeDtypeStruct((2, 3), "float32"), True]
    assert eval_shape(function, given, {"name": "SAME"})["y"].shape == (3,)
    with pytest.raises(TypeError):
        eval_shape(function, given, {})


def test_arrays_of_a_model_are_a_tree_with_names():
    arrays = ModelArrays({"conv": {"w": 1}}, {"mean": 2})
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(arrays)]
    assert paths == [".parameters['conv']['w']", ".state['mean']"]
