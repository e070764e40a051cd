"""What is computed: counts of operations, weights, and the order of turns."""

import dataclasses

import numpy as np
import pytest
from flax import nnx

import jaxconv as jc
from experiments.bench.inputs import parameters, prepare
from experiments.bench.timing import largest_error, turns
from experiments.bench.workloads import WORKLOADS, flops, macs, parameter_bytes, product


@pytest.mark.parametrize("batch", [1, 8, 32])
def test_operations_and_weights_are_those_of_the_summary(batch):
    work = WORKLOADS[f"vgg16-b{batch}"]
    table = jc.summary(nnx.eval_shape(jc.vgg16), f"{batch} 224 224 3")
    assert batch * sum(macs(work)) == table.macs
    assert flops(work) == 2 * table.macs
    assert parameter_bytes(work) == 4 * table.parameters == 553_430_176


def test_a_step_computes_each_layer_three_times_but_no_gradient_of_the_image():
    work = WORKLOADS["train-32"]
    forwards = dataclasses.replace(work, kind="inference")
    assert 3 * flops(forwards) - flops(work) == 2 * 32 * 32**2 * 27 * 64


def test_operations_of_one_layer_and_of_a_product():
    assert flops(WORKLOADS["conv3_2"]) == 2 * 56**2 * 9 * 256 * 256
    assert flops(product(10)) == 2000


def test_each_backend_begins_in_turn():
    assert [*turns(["a", "b", "c"], 4)] == [[*"abc"], [*"bca"], [*"cab"], [*"abc"]]
    assert [*turns([], 2)] == []


def test_weights_are_random_and_the_same_each_time():
    first, again = (dict(parameters(WORKLOADS["conv2_2"].layers)) for _ in range(2))
    assert first.keys() == {"conv2_2.kernel", "conv2_2.bias"}
    kernel = first["conv2_2.kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, again["conv2_2.kernel"])
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * 128)), rtol=0.01)


@pytest.fixture
def inputs(tmp_path):
    return prepare(product(4), tmp_path, onnx=False)


TRUTH = np.array([[1.0, 2.0, 4.0, 3.0], [5.0, 1.0, 8.0, 7.0]])
CHANGE, OFF = np.array([0.003, 0, 0.004, 0]), np.array([0, 0, 0, 0.001])
LOSS = np.array(2.0)
MIDDLE = np.zeros((1, 4))


@pytest.mark.parametrize(
    ("ends", "error"),
    [(TRUTH, 0), (TRUTH + 0.08, 0.01), (TRUTH[::-1], 0.5), (TRUTH * np.nan, np.nan),
     (TRUTH[:, :3], np.nan)],
    ids=["right", "off", "swapped", "NaN", "of another shape"],
)  # fmt: skip
def test_the_error_is_that_of_the_first_and_last_image(inputs, ends, error):
    found = np.concatenate([ends[:1], MIDDLE[:, : ends.shape[1]], ends[1:]])
    got = largest_error({"result": found}, {"result": TRUTH}, inputs)
    np.testing.assert_allclose(got, error, rtol=1e-6)


def test_the_error_of_a_step_is_that_of_what_it_changes(inputs):
    before = inputs.before("matrix.bias").astype(np.float64)
    truth = {"result": LOSS, "matrix.bias": before + CHANGE}
    off = {"result": LOSS, "matrix.bias": before + CHANGE + OFF}
    assert largest_error(truth, truth, inputs) == 0
    np.testing.assert_allclose(largest_error(off, truth, inputs), 0.2, rtol=1e-6)
    still = {"result": LOSS, "matrix.bias": before}
    np.testing.assert_allclose(largest_error(still, truth, inputs), 1)
