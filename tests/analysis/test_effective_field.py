"""The effective receptive field: gradients by hand, and the picture over the box."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jaxconv as jc
from jaxconv.plotting.figures import field_figure


def noise(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def network(params, x):
    x = jax.nn.relu(jc.conv(x, params["first"]))
    return jc.conv(jc.max_pool(x), params["second"], padding="VALID")


PARAMS = {"first": noise(3, 3, 2, 4), "second": noise(3, 2, 4, 3)}


@pytest.mark.parametrize("at", [(0, 0), (2, 4), None])
def test_the_mean_gradient_of_each_pixel(at):
    """As differences of the network's values say, for the same images."""
    found = jc.effective_receptive_field(network, PARAMS, "2 12 14 2", layer=3, at=at, inputs=3)
    y, x = at or (2, 3)
    assert found.at == (y, x)
    rng, total = np.random.default_rng(0), 0
    gradient = jax.jit(jax.grad(lambda image: network(PARAMS, image)[:, y, x].sum()))
    for _ in range(3):
        image = jnp.asarray(rng.normal(size=(2, 12, 14, 2)), jnp.float32)
        total = total + np.abs(gradient(image))
    np.testing.assert_allclose(found.values, total.mean((0, 3)) / 3, rtol=1e-4, atol=1e-7)
    (top, bottom), (left, right) = found.box
    inside = np.zeros((12, 14), bool)
    inside[top:bottom, left:right] = True
    assert (found.values[~inside] == 0).all()
    assert found.values[inside].max() > 0


def test_the_picture_shows_the_box_around_what_counts():
    found = jc.effective_receptive_field(network, PARAMS, "1 40 50 2", layer=3, at=(9, 12))
    content = io.BytesIO()
    field_figure(found).savefig(content, format="png")
    pixels = np.asarray(Image.open(content).convert("RGB")).astype(int)
    outline = np.abs(pixels - (0x35, 0xD0, 0xFF)).sum(-1) < 60
    rows, columns = (np.flatnonzero(outline.any(axis)) for axis in (1, 0))
    wide, tall = columns[-1] - columns[0], rows[-1] - rows[0]
    (top, bottom), (left, right) = found.box
    assert abs(wide / tall - (right - left) / (bottom - top)) < 0.1
    within = pixels[rows[0] : rows[-1], columns[0] : columns[-1]]
    assert within.std() > 20


@pytest.mark.parametrize(
    ("given", "want"),
    [
        (("b h w 2", {"layer": 3}), "effective_receptive_field: the image is h x w, but must have"),
        (("1 12 14 2", {"layer": 3, "at": (9, 0)}), "9, 0 is not a position in "),
        (("1 12 14 2", {"layer": "last"}), "layer is 'last', which is not valid."),
    ],
)
def test_what_is_wrong_is_said(given, want):
    spec, options = given
    with pytest.raises(jc.ShapeError) as error:
        jc.effective_receptive_field(network, PARAMS, spec, **options)
    assert want in str(error.value)
