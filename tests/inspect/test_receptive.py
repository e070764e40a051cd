"""Receptive fields: golden numbers, and gradients on random networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

import jaxconv as jc
from jaxconv.inspect.receptive import rows

# Size and stride of VGG16's layers, and the weights of one filter.
GOLDEN = {
    "conv1_1": (3, 1, 27), "conv1_2": (5, 1, 576), "pool1": (6, 2, None),
    "conv2_1": (10, 2, 576), "conv2_2": (14, 2, 1152), "conv3_3": (40, 4, 2304),
    "conv4_3": (92, 8, 4608), "conv5_3": (196, 16, 4608), "pool5": (212, 32, None),
    "fc6": (404, 32, 25088), "fc7": (404, 32, 4096),
}  # fmt: skip


def table(head, size=256):
    model = nnx.eval_shape(lambda: jc.vgg16(head=head))
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    return {row.name: row for row in rows(lambda m, x: m(x), model, images)}


def test_golden_numbers_of_vgg16():
    found = table("conv")
    assert len(found) == 20
    for name, (size, stride, weights) in GOLDEN.items():
        field = found[name].field
        spans = [span for span in field.spans if span is not None]
        assert [(span.size, span.stride) for span in spans] == [(size, stride)] * 2, name
        assert field.weights == weights, name


def test_behind_a_flatten_a_neuron_sees_the_whole_image():
    found = table("dense", 224)
    assert str(found["fc6"].field) == "whole image"
    assert (found["fc6"].field.weights, found["fc7"].field.weights) == (25088, 4096)


def chain(rng, dense):
    """Random layers; dense ones leave no pixel out, so that the field has no holes."""
    for _ in range(3):
        kernel = rng.integers(1, 5, 2)
        stride = np.minimum(rng.integers(1, 4, 2), kernel if dense else 9)
        yield {
            "kernel": tuple(kernel.tolist()),
            "stride": tuple(stride.tolist()),
            "padding": tuple(map(tuple, rng.integers(0, kernel.min(), (2, 2)).tolist())),
            "dilation": (1, 1) if dense else tuple(rng.integers(1, 3, 2).tolist()),
            "pool": bool(rng.integers(4) == 0),
        }


@pytest.mark.parametrize("chosen", range(15))
@pytest.mark.parametrize("dense", [True, False])
def test_the_gradient_reaches_exactly_the_field(chosen, dense):
    """A neuron of a random chain depends on all of its field and on nothing else.

    It stands in the middle: at the border a field covers padding of inner layers too.
    """
    layers = [*chain(np.random.default_rng([chosen, dense]), dense)]

    def network(x):
        for layer in layers:
            stride, padding = layer["stride"], layer["padding"]
            if layer["pool"]:
                x = jc.avg_pool(x, layer["kernel"], stride=stride, padding=padding)
            else:
                kernel = jnp.ones((*layer["kernel"], 1, 1))
                options = {"padding": padding, "dilation": layer["dilation"]}
                y = jc.conv(x, kernel, stride=stride, **options)
                x = y + 0.5 * y
        return checkpoint_name(x, "last")

    n = 70
    x = jnp.ones((1, n, n, 1))
    (row,) = rows(network, x)
    y, z = row.shape[1] // 2, row.shape[2] // 2
    seen = np.asarray(jax.grad(lambda x: network(x)[0, y, z, 0])(x)[0, :, :, 0] != 0)
    for axis, (place, span) in enumerate(zip((y, z), row.field.spans[1:3], strict=True)):
        touched = np.flatnonzero(seen.any(1 - axis))
        first = span.start + place * span.stride
        inside = [*range(max(first, 0), min(first + span.size, n))]
        if dense:
            assert touched.tolist() == inside
        else:
            assert set(touched) <= set(inside)
            assert touched.size > 0


def test_what_is_not_known_is_said_to_be_unknown():
    def network(x):
        y = jc.conv_transpose(x, jnp.ones((2, 2, 3, 4)), stride=2)
        return checkpoint_name(y, "up"), checkpoint_name(x[:, ::-1], "mirror")

    assert [row.field for row in rows(network, jnp.ones((1, 8, 8, 3)))] == [None, None]


def test_a_skip_connection_sees_both_branches():
    def network(x):
        low = jc.conv(x, jnp.ones((3, 3, 2, 2)), padding=((2, 0), (2, 0)))
        high = jc.conv(x, jnp.ones((3, 3, 2, 2)), padding=((0, 2), (0, 2)))
        return checkpoint_name(low + high, "sum")

    (row,) = rows(network, jnp.ones((1, 8, 8, 2)))
    assert [(s.start, s.size) for s in row.field.spans if s] == [(-2, 5), (-2, 5)]


def test_a_product_over_channels_keeps_the_pixels_and_one_over_pixels_sees_all():
    def network(x):
        x = jc.conv(x, jnp.ones((3, 3, 2, 4)))
        pointwise = checkpoint_name(jc.dense(x, jnp.ones((4, 5))), "pointwise")
        mixed = jnp.einsum("bhwc,hk->bwck", pointwise, jnp.ones((8, 6)))
        skip = checkpoint_name(pointwise + jc.conv(pointwise, jnp.ones((3, 3, 5, 5))), "skip")
        return checkpoint_name(mixed, "mixed"), skip

    found = {row.name: row.field for row in rows(network, jnp.ones((1, 8, 9, 2)), spatial=(-3, -2))}
    assert {name: str(field) for name, field in found.items()} == {
        "pointwise": "3x3", "mixed": "whole image", "skip": "5x5"
    }  # fmt: skip
    assert [found[n].weights for n in ("pointwise", "skip")] == [4, 45]
