"""The arithmetic of windows against counting positions one by one."""

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from jaxconv.layers import windows
from jaxconv.layers.windows import Window
from tests.support import reference

WINDOWS = st.builds(
    Window,
    kernel=st.integers(1, 9),
    stride=st.integers(1, 5),
    dilation=st.integers(1, 4),
    low=st.integers(0, 9),
    high=st.integers(0, 9),
)


@given(st.integers(1, 60), WINDOWS)
def test_out_counts_the_positions(n, window):
    try:
        counted = len(
            reference.positions(n, *window.pads, window.kernel, window.stride, window.dilation)
        )
    except reference.Refused:
        counted = 0
    assert max(window.out(n), 0) == counted


@given(st.integers(1, 60), WINDOWS, st.sampled_from(sorted(windows.CONV_PADDINGS)))
def test_named_paddings_are_those_of_the_reference(n, window, name):
    rule = windows.CONV_PADDINGS[name]
    want = reference.pads(name, n, window.kernel, window.stride, window.dilation)
    assert rule(n, window.extent, window.stride) == want


@given(st.integers(1, 60), WINDOWS)
def test_transposed_size_is_the_smallest_that_gives_these_positions(n, window):
    size = window.transposed_out(n)
    if size >= 1:
        assert window.out(size) == n
        assert window.out(size - 1) == n - 1 or size - 1 < 1


@given(st.integers(1, 60), WINDOWS, st.sampled_from(["SAME", "SAME_LOWER"]))
def test_transposed_same_multiplies_by_the_stride(n, window, name):
    low, high = windows.TRANSPOSED_PADDINGS[name](n, window.extent, window.stride)
    padded = Window(window.kernel, window.stride, window.dilation, low, high)
    assert padded.transposed_out(n) == n * window.stride
    # It is the convolution of that size, run backwards: same padding where there is any.
    forward = windows.CONV_PADDINGS[name](n * window.stride, window.extent, window.stride)
    assert (low, max(high, 0)) == forward


def test_the_shape_rules_do_not_need_jax():
    code = "import sys; sys.modules['jax'] = None; import jaxconv.layers.shape_rules"
    lines = ["import sys, types", "package = types.ModuleType('jaxconv')"]
    lines += ["package.__path__ = ['jaxconv']", "sys.modules['jaxconv'] = package", code]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)
