"""NumPy's functions in the modules of code that is traced."""

import numpy as np
import pytest

import jaxconv as jc
from jaxconv.symbolic.substitutes import LARGEST_ARRAY, limited
from jaxconv.symbolic.trace import SymbolicTrace, Undecided

LARGE = {
    "a range": lambda np: np.arange(LARGEST_ARRAY + 1),
    "a range between numbers": lambda np: np.arange(0, LARGEST_ARRAY * 2, 2),
    "a square": lambda np: np.ones((2**14, 2**14)),
    "a named shape": lambda np: np.zeros(shape=[2**14, np.int64(2**14)]),
    "a diagonal": lambda np: np.eye(2**15),
}
SMALL = {
    "a range": lambda np: np.arange(0, 10, 3),
    "a square": lambda np: np.ones((3, 3)),
    "nothing": lambda np: np.zeros((0, 2**40)),
    "another function": lambda np: np.sqrt(4.0),
}


def trace_of_numbers():
    return SymbolicTrace(jc.SizeSet.parse("h", "h = 3").points)


@pytest.mark.parametrize("name", LARGE)
def test_an_array_that_fills_the_memory_is_not_made(name):
    trace = trace_of_numbers()
    module = {"np": np}
    with limited([module], trace), pytest.raises(Undecided, match="the code makes an array of"):
        LARGE[name](module["np"])
    assert module["np"] is np
    assert len(trace.unanswered) == 1  # even if the code catches the error


@pytest.mark.parametrize("name", SMALL)
def test_other_arrays_are_made(name):
    trace = trace_of_numbers()
    module = {"np": np}
    with limited([module], trace):
        np.testing.assert_array_equal(SMALL[name](module["np"]), SMALL[name](np))
    assert trace.unanswered == []


def test_a_function_that_was_imported_is_watched():
    module = {"arange": np.arange, "h": 3}
    with limited([module], trace_of_numbers()), pytest.raises(Undecided):
        module["arange"](LARGEST_ARRAY + 1)
    assert module == {"arange": np.arange, "h": 3}
