"""Groups of images: where images meet they end, and what images share is computed once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxconv as jc
from jaxconv.aot import batching
from tests.support.programs import agree, exactly, loops, normal

X = normal(4, 8, 8, 16)
KERNEL, BIAS = normal(3, 3, 16, 16), normal(16)
EACH = normal(4, 1, 1, 1)


@pytest.fixture(autouse=True)
def small_groups(monkeypatch):
    monkeypatch.setattr(batching, "GROUP_BYTES", 1)


def conv(x, **options):
    order = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, KERNEL, (1, 1), "SAME", dimension_numbers=order, **options)


def largest(x, size, stride, padding="VALID", **options):
    return lax.reduce_window(x, -jnp.inf, lax.max, size, stride, padding, **options)


def batch_norm_of_the_batch(x):
    y = conv(x)
    return conv((y - y.mean(0)) * lax.rsqrt(y.var(0) + 1))


def called_with_the_batch(x):
    y = conv(x)
    jax.debug.callback(lambda _: None, y)
    return jnp.tanh(y)


# Images go their own ways in the first convolution, and no longer in what follows.
MEET = {
    "a pool over images": lambda x: largest(conv(x), (2, 1, 1, 1), (1, 1, 1, 1)),
    "a pool of every other image": lambda x: largest(conv(x), (1, 2, 2, 1), (2, 2, 2, 1)),
    "a pool with images of padding": lambda x: jnp.maximum(
        0, largest(conv(x), (1, 2, 2, 1), (1, 2, 2, 1), [(1, 1), (0, 0), (0, 0), (0, 0)])
    ),
    "a convolution of two batches": lambda x: conv(conv(x), batch_group_count=2),
    "statistics": batch_norm_of_the_batch,
    "a softmax over images": lambda x: jax.nn.softmax(conv(x), 0),
    "images backwards": lambda x: conv(conv(x)[::-1]),
    "some images": lambda x: conv(jax.nn.relu(conv(x) + BIAS)[1:3]),
    "a number for each image": lambda x: conv(jax.nn.relu(conv(x) + EACH)),
    "a choice for each image": lambda x: conv(jnp.where(EACH > 0, conv(x), x)),
    "the first image for all": lambda x: conv(x) + jnp.tanh(x)[:1],
    "a call of Python with all images": called_with_the_batch,
}


@pytest.mark.parametrize("fn", MEET.values(), ids=MEET)
def test_groups_end_where_images_meet(fn):
    infer = jc.compile(fn, X)
    agree(infer(X), exactly(fn, X))
    assert loops(infer) == 1


def test_no_group_where_images_meet_first():
    infer = jc.compile(lambda x: conv(x - x.mean(0)), X)
    assert loops(infer) == 0
    agree(infer(X), exactly(lambda x: conv(x - x.mean(0)), X))


def test_groups_end_where_maps_have_become_small(monkeypatch):
    monkeypatch.setattr(batching, "GROUP_BYTES", 10 * 2**10)  # 1 image of the first, 2 of the next

    def fn(x):
        return conv(jc.max_pool(conv(conv(x)), 2))

    infer = jc.compile(fn, X)
    agree(infer(X), exactly(fn, X))
    assert loops(infer) == 1


@pytest.mark.parametrize("second", [normal(3, 3, 16, 16), normal(4, 3, 3, 16)], ids=["w", "b"])
def test_several_inputs_with_or_without_one_batch(second):
    def fn(x, y):
        return jax.nn.relu(conv(jnp.tanh(x)) + y.sum((1, 2), keepdims=True)[:1, :, :, :16]), y

    infer = jc.compile(fn, X, second)
    agree(infer(X, second), exactly(fn, X, second))


def test_a_bias_for_each_image_goes_with_its_image():
    biases = normal(4, 1, 1, 16)

    def fn(x, b):
        return jax.nn.relu(conv(x) + b)

    infer = jc.compile(fn, X, biases)
    agree(infer(X, biases), exactly(fn, X, biases))
    assert loops(infer) == 1


def test_kernels_are_transformed_once_for_all_groups():
    infer = jc.compile(lambda x: jax.nn.relu(conv(x) + BIAS), X)
    assert loops(infer) == 1
    tile = {"F(2x2, 3x3)": 2, "F(4x4, 3x3)": 4}[infer.schedules[0].formulation]
    large = [c.shape for c in infer._program.constants if c.size > 16]
    assert large == [((tile + 2) ** 2, 16, 16)]


def test_a_kernel_that_two_convolutions_share_has_one_form_for_each():
    def fn(x):
        return conv(jax.nn.relu(conv(x) + BIAS))

    infer = jc.compile(fn, X)
    agree(infer(X), exactly(fn, X))


def test_no_images_are_no_group():
    infer = jc.compile(jnp.tanh, X[:0])
    assert infer(X[:0]).shape == (0, 8, 8, 16)


def test_standardised_kernels_are_transformed_beforehand():
    def fn(x):
        w = jnp.asarray(KERNEL)
        w = (w - w.mean((0, 1, 2))) / w.std((0, 1, 2))
        return lax.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    infer = jc.compile(fn, X)
    agree(infer(X), exactly(fn, X))
    assert [c.ndim for c in infer._program.constants if c.size > 16] == [3]


def test_other_platforms_keep_their_convolutions(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    infer = jc.compile(conv, X)
    assert infer.schedules == ()
    assert [np.asarray(c).tolist() for c in infer._program.constants] == [KERNEL.tolist()]
    assert loops(infer) == 0
