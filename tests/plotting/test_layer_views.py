"""What the explorer shows of a network is what the network computes, and its filters read."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

import jaxconv as jc
from jaxconv.plotting.layer_views import layer_views
from tests.support.cnns import with_any_numbers, with_drawn_kernels
from tests.support.explored import product
from tests.support.programs import normal

PHOTO = jnp.asarray(normal(1, 40, 33, 3))
KERNELS = [jnp.asarray(normal(*s)) for s in [(5, 3, 3, 8), (3, 2, 4, 6), (1, 1, 6, 4)]]


@functools.cache
def vgg(head=None):
    make = lambda: jc.VGG([(8, 6), (10,)], head=head, classes=7, rngs=nnx.Rngs(1))  # noqa: E731
    return with_drawn_kernels(make)


def odd(x):
    """Strides, dilations, groups, uneven padding, an average pool, and a bias of its own."""
    x = jc.conv(x, KERNELS[0], stride=(2, 1), padding=((1, 2), (0, 1)))
    x = checkpoint_name(jnp.tanh(x), "first")
    x = jc.conv(x, KERNELS[1], jnp.arange(6.0) - 2, groups=2, dilation=(1, 2), padding="SAME")
    x = checkpoint_name(jax.nn.relu(x), "second")
    x = checkpoint_name(jc.avg_pool(x, 3, stride=2), "mean")
    return checkpoint_name(jc.conv(x, KERNELS[2]) + jnp.arange(4.0), "last")


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = checkpoint_name(nn.relu(nn.Conv(4, (3, 3), (2, 2))(x)), "conv")
        x = checkpoint_name(nn.relu(nn.Dense(9)(x.reshape(1, -1))), "dense")
        return checkpoint_name(nn.Dense(5)(x), "out")


def linen():
    variables = with_any_numbers(Net().init, jax.random.key(5), PHOTO)
    return lambda x: Net().apply(variables, x)


def by_name(fn, **options):
    return {layer.name: layer for layer in layer_views(fn, PHOTO, **options)}


NETWORKS = {"vgg": vgg, "odd": lambda: odd}


@pytest.mark.parametrize("network", NETWORKS)
def test_maps_are_the_networks_and_sums_those_of_their_neurons(network):
    fn, rng = NETWORKS[network](), np.random.default_rng(len(network))
    found = by_name(fn)
    maps = jc.feature_maps(fn)(PHOTO)
    assert [*found] == ["input", *maps]
    for name, layer in found.items():
        if name == "input":
            np.testing.assert_array_equal(layer.values, PHOTO[0])
            continue
        np.testing.assert_allclose(layer.values, maps[name][0], rtol=1e-5, atol=1e-5)
        source = found[layer.source]
        for _ in range(4):
            y, x, channel = (int(rng.integers(n)) for n in layer.values.shape)
            neuron = jc.neuron(fn, PHOTO, layer=name, at=(y, x), channel=channel)
            assert neuron.sources == (layer.source,)
            if layer.weights is None:
                assert neuron.weights is None
                continue
            bias = 0 if layer.bias is None else layer.bias[channel]
            total, _ = product(layer, source, channel, y, x)
            assert total + bias == pytest.approx(neuron.pre, rel=1e-4, abs=1e-4)
            assert bias == pytest.approx(neuron.bias)


@pytest.mark.parametrize("network", NETWORKS)
def test_ranges_hold_all_pixels_that_matter(network):
    """Where a neuron's gradient is not zero; of a layer without zeros all corners are reached."""
    fn = NETWORKS[network]()
    for name, layer in by_name(fn).items():
        if name == "input":
            continue
        h, w, _ = layer.values.shape
        places = [(0, 0), (h // 2, w // 3), (h - 1, w - 1)]
        for (y, x), slope in zip(places, slopes(fn, name, places), strict=True):
            touched = np.argwhere(np.abs(slope).sum(-1) > 0)
            (top, bottom), (left, right) = layer.rows[y], layer.columns[x]
            box = *touched.min(0), *(touched.max(0) + 1)
            if name == "first":
                assert box == (top, left, bottom, right)
            assert (np.subtract(box, (top, left, bottom, right)) * (1, 1, -1, -1) >= 0).all()


def slopes(fn, name, places):
    """The gradient of a layer's neurons at each of some places, of the shape of the photo."""
    maps = jc.feature_maps(fn, name)
    at = lambda image, y, x: maps(image)[name][0, y, x].sum()  # noqa: E731
    each = jax.vmap(jax.grad(at), (None, 0, 0))
    return jax.jit(each)(PHOTO, *np.transpose(places))[:, 0]


def test_a_head_reads_all_numbers_of_a_map():
    network = linen()
    found = by_name(network)
    maps = jc.feature_maps(network)(PHOTO)
    dense, out = found["dense"], found["out"]
    assert (dense.source, dense.values.shape) == ("conv", (1, 1, 9))
    assert dense.weights.shape == (20, 17, 4, 9)
    assert (dense.rows.tolist(), dense.columns.tolist()) == ([[0, 40]], [[0, 33]])
    for layer in (dense, out):
        total, _ = product(layer, found[layer.source], 2, 0, 0)
        want = jc.neuron(network, PHOTO, layer=layer.name, at=(), channel=2).pre
        assert total + layer.bias[2] == pytest.approx(want, rel=1e-4, abs=1e-4)
        np.testing.assert_allclose(layer.values[0, 0], maps[layer.name][0], rtol=1e-5)


def test_what_reads_no_map_as_it_is_has_no_source():
    kernel = jnp.asarray(normal(3, 3, 3, 2))

    def network(x):
        x = checkpoint_name(jc.conv(x, kernel), "first")
        y = checkpoint_name(jc.conv(x[..., :1], kernel[:, :, :1]), "some")
        return checkpoint_name(jc.conv(2 * x, kernel[:, :, :2]), "doubled") + y

    found = by_name(network)
    assert [*found][:4] == ["input", "first", "some", "doubled"]
    for name in ("some", "doubled"):
        assert (found[name].source, found[name].weights) == (None, None)


def test_chosen_layers_come_with_what_they_read():
    assert [*by_name(vgg(), layers=["conv2_1"])] == ["input", "pool1", "conv2_1"]
    assert [*by_name(vgg(), layers=[1, "pool2"])] == ["input", "conv1_1", "conv2_1", "pool2"]


def test_layers_without_names_are_shown_under_those_of_the_summary():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.stem = nnx.Conv(3, 5, (3, 3), strides=2, use_bias=False, rngs=rngs)
            self.next = nnx.Conv(5, 5, (3, 3), rngs=rngs)
            self.norm = nnx.BatchNorm(5, use_running_average=True, rngs=rngs)

        def __call__(self, x):
            x = nnx.relu(self.stem(x))
            return nnx.relu(x + self.norm(self.next(x)))

    net = Net(nnx.Rngs(2))
    found = by_name(net)
    stem, following, join = [row.name for row in jc.summary(net, PHOTO).rows]
    assert [*found] == ["input", stem, following, join]
    assert [found[name].source for name in (stem, following, join)] == ["input", stem, None]
    assert found[stem].bias is None
    assert found[join].kind == "join"
    assert found[join].size == (7, 7)
    total, _ = product(found[following], found[stem], 3, 4, 5)
    want = jc.neuron(net, PHOTO, layer=following, at=(4, 5), channel=3)
    assert total + found[following].bias[3] == pytest.approx(want.pre, rel=1e-4)


def test_layers_in_a_loop_are_left_out():
    kernel = jnp.asarray(normal(3, 3, 3, 3))

    def network(x):
        return jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: jc.conv(x, kernel), x)

    with pytest.raises(jc.ShapeError, match="there are no layers to show"):
        layer_views(network, PHOTO)
    with pytest.raises(jc.ShapeError, match=r"cannot be shown: it is in a loop"):
        layer_views(lambda x: network(jc.max_pool(x)), PHOTO, layers=[3])


def test_an_unknown_layer_is_a_sentence():
    with pytest.raises(jc.ShapeError, match=r"(?s)layers is 'conv9'.*one of 'conv2_1', 'conv1_1'"):
        layer_views(vgg(), PHOTO, layers=["conv9"])
