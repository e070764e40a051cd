"""neuron: the patch, the weights and the sum by hand give the number in the feature map."""

import functools
import re
from dataclasses import replace

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from jax.ad_checkpoint import checkpoint_name

import jaxconv as jc
from jaxconv.models import vgg
from tests.support import reference
from tests.support.cnns import random_vgg16, with_any_numbers, with_drawn_kernels
from tests.support.configurations import channels_last, conv_case, pool_case

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def noise(*shape):
    return np.random.default_rng([*shape]).normal(size=shape).astype(np.float32)


def agree(fn, *args, place, maps=None, **options):
    """The neuron, whose values are those at a place of the map, which may be computed already."""
    n = jc.neuron(fn, *args, **options)
    layer = options["layer"]
    values = maps[layer] if maps else next(iter(jc.feature_maps(fn, layer)(*args).values()))
    assert n.map_value == float(np.asarray(values)[place])
    np.testing.assert_allclose(n.value, n.map_value, **CLOSE)
    if n.weights is not None:
        assert n.patch.shape == n.weights.shape
        assert n.pre == (n.patch * n.weights).sum() + n.bias
    return n


def wake(model, seed=0):
    """Give biases and running statistics numbers other than 0 and 1."""
    for path, variable in nnx.to_flat_state(nnx.state(model)):
        if path[-1] in ("bias", "mean", "scale", "var"):
            drawn = np.random.default_rng([seed, len(path)]).uniform(0.5, 1.5, variable.shape)
            variable[...] = jnp.asarray(drawn, jnp.float32) * 0.1 ** (path[-1] in ("bias", "mean"))
    return model


def vgg_of(*stages, head=None, **options):
    return with_drawn_kernels(lambda: jc.VGG(stages, head=head, rngs=nnx.Rngs(0), **options))


def layers_of(*counts):
    """The names of the layers of a VGG with so many convolutions in each stage."""
    return [
        name
        for stage, count in enumerate(counts, 1)
        for name in (*(f"conv{stage}_{i + 1}" for i in range(count)), f"pool{stage}")
    ]


# How to make each network, the size of its images, and its layers.
VGGS = {
    "small": (lambda: vgg_of((4, 5), (6, 8)), (9, 11), layers_of(2, 2)),
    "vgg16": (random_vgg16, (36, 45), layers_of(2, 2, 3, 3, 3)),
}


@functools.cache
def with_maps(name):
    """A network, two images, and all their maps, by name."""
    make, size, layers = VGGS[name]
    model, x = wake(make()), noise(2, *size, 3)
    return model, x, {"input": x, **jc.feature_maps(model, layers)(x)}


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        pytest.param(name, layer, marks=[pytest.mark.slow] if name == "vgg16" else [])
        for name, (_, _, layers) in VGGS.items()
        for layer in layers
    ],
)
def test_every_layer_of_vgg(name, layer):
    """In the strongest map at the border, with the patch cut from the map before by hand."""
    model, x, maps = with_maps(name)
    before = [*maps][[*maps].index(layer) - 1]
    values, seen = np.asarray(maps[layer]), np.asarray(maps[before])
    y, channel = values.shape[1] - 1, int(values[1, -1, 0].argmax())
    where = {"at": (y, 0), "channel": channel, "image": 1, "place": (1, y, 0, channel)}
    n = agree(model, x, layer=layer, maps=maps, **where)
    assert n.map_value > 0
    assert n.sources == (before,)
    if layer.startswith("pool"):
        want = seen[1, 2 * y : 2 * y + 2, :2, channel, None]
        assert (n.weights, n.pre, n.bias, n.kind, n.then) == (None, None, 0.0, "max", ())
    else:
        padded = np.pad(seen[1], ((1, 1), (1, 1), (0, 0)))
        want = padded[y : y + 3, :3]
        kernel, bias = getattr(model, layer).kernel[...], getattr(model, layer).bias[...]
        np.testing.assert_array_equal(n.weights, kernel[..., channel])
        assert (n.bias, n.kind, n.then) == (float(bias[channel]), "convolution", ("relu",))
        assert not n.patch[-1].any()
        assert n.patch[0].any()
    np.testing.assert_allclose(n.patch, want, rtol=1e-6)


@pytest.mark.parametrize("head", ["dense", "conv"])
def test_the_heads_of_vgg(head, monkeypatch):
    monkeypatch.setattr(vgg, "HIDDEN", 24)
    model = wake(vgg_of((2,), (3,), head=head, classes=5))
    x = noise(1, 28, 28, 3)
    maps = jc.feature_maps(model, ["pool2", "fc6", "fc7", "fc8"])(x)
    at = () if head == "dense" else (0, 0)
    before = maps["pool2"]
    for name in ("fc6", "fc7", "fc8"):
        channel = int(maps[name].argmax())
        where = {"at": at, "channel": channel, "place": (0, *at, channel)}
        n = agree(model, x, layer=name, maps=maps, **where)
        np.testing.assert_allclose(n.patch.ravel(), before.ravel(), rtol=1e-6)
        assert n.kind == {"dense": "product", "conv": "convolution"}[head]
        assert n.map_value > 0
        assert n.then == (() if name == "fc8" else ("relu",))
        assert n.bias == float(getattr(model, name).bias[channel])
        before = maps[name]


def somewhere(seed, shape):
    return tuple(int(np.random.default_rng([seed, 5]).integers(n)) for n in shape)


def test_convolutions_of_every_configuration(seed):
    """Ranks, layouts, strides, paddings, dilations, groups; the sum is that of NumPy's loops."""
    case = conv_case(seed)
    x, kernel, bias = case.arrays(seed)
    names = ("stride", "padding", "dilation", "groups")
    plain = {name: getattr(case, name) for name in names}
    try:
        want = reference.conv(channels_last(x, case.first), kernel, bias, **plain)
    except reference.Refused:
        return
    image, *at, channel = place = somewhere(seed, want.shape)
    chosen = {"at": tuple(at), "channel": channel, "image": image, "layer": 1}
    placed = (image, channel, *at) if case.first else place
    network = lambda x: jnp.tanh(jc.conv(x, kernel, bias, **case.options) / 9)  # noqa: E731
    n = agree(network, x, place=placed, **chosen)
    np.testing.assert_allclose(n.pre, want[place], **CLOSE)
    np.testing.assert_allclose(n.value, np.tanh(want[place] / 9), **CLOSE)
    assert n.patch.shape == (*case.kernel, case.c_in // case.groups)
    assert (n.bias, n.then) == (float(bias[channel]), ("div", "tanh"))
    np.testing.assert_array_equal(n.weights, kernel[..., channel])


def test_transposed_convolutions_of_every_configuration(seed):
    case = conv_case(seed, transposed=True)
    x, kernel, bias = case.arrays(seed)
    network = lambda x: jnp.tanh(jc.conv_transpose(x, kernel, bias, **case.options))  # noqa: E731
    try:
        shape = jax.eval_shape(network, x).shape
    except jc.ShapeError:
        return
    image, *rest = place = somewhere(seed, shape)
    channel, *at = rest if case.first else (rest[-1], *rest[:-1])
    n = agree(network, x, layer=1, at=tuple(at), channel=channel, image=image, place=place)
    flipped = np.flip(kernel, range(len(case.kernel)))
    np.testing.assert_array_equal(n.weights, flipped[..., channel])
    assert n.patch.shape == (*case.kernel, case.c_in // case.groups)


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pools_of_every_configuration(seed, kind):
    case = pool_case(seed)
    case = replace(case, window=tuple(max(k, 2) for k in case.window)) if case.first else case
    x = case.array(seed)
    pool = {"max": jc.max_pool, "avg": jc.avg_pool}[kind]
    plain = {"window": case.window, "stride": case.stride, "padding": case.padding}
    try:
        want = reference.pool(channels_last(x, case.first), kind, **plain)
    except reference.Refused:
        return
    image, *at, channel = place = somewhere(seed, want.shape)
    placed = (image, channel, *at) if case.first else place
    network = lambda x: pool(x, case.window, **case.options)  # noqa: E731
    if all(k == 1 for k in case.window):  # lax leaves it out
        return
    n = agree(network, x, layer=1, at=tuple(at), channel=channel, image=image, place=placed)
    np.testing.assert_allclose(n.value, want[place], **CLOSE)
    assert n.patch.shape == (*case.window, 1)
    assert (n.weights, n.pre) == (None, None)


class Normed(nnx.Module):
    """What follows a convolution: norms and activations of every kind."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 4, (3, 3), strides=2, rngs=rngs)
        self.batch = nnx.BatchNorm(4, use_running_average=True, rngs=rngs)
        self.plain = nnx.Conv(4, 6, (3, 5), use_bias=False, padding="VALID", rngs=rngs)
        self.group = nnx.GroupNorm(6, num_groups=2, rngs=rngs)
        self.pixel = nnx.Linear(6, 5, rngs=rngs)
        self.layer = nnx.LayerNorm(5, rngs=rngs)

    def __call__(self, x):
        x = nnx.gelu(self.batch(self.conv(x)))
        x = nnx.leaky_relu(self.group(self.plain(x)))
        return nnx.softmax(self.layer(self.pixel(x)))


def test_norms_and_activations_are_the_networks_own():
    model, x = wake(with_drawn_kernels(lambda: Normed(nnx.Rngs(2)))), noise(2, 11, 13, 3)
    n = agree(model, x, layer="conv", at=(3, 2), channel=1, image=1, place=(1, 3, 2, 1))
    assert n.then[:3] == ("sub", "mul", "add")
    assert re.search(r"\n  sub, mul, add and \d+ more -> ", str(n))
    assert n.bias == float(model.conv.bias[1])
    hidden = jax.jit(model.conv)(x)[1, 3, 2, 1]
    np.testing.assert_allclose(n.pre, hidden, **CLOSE)
    n = agree(model, x, layer="plain", at=(1, 2), channel=4, place=(0, 1, 2, 4))
    assert n.bias == 0.0
    assert n.then[-1] == "leaky_relu"
    n = agree(model, x, layer="pixel", at=(2, 1), channel=4, image=1, place=(1, 2, 1, 4))
    assert n.patch.shape == (6,)
    assert n.bias == float(model.pixel.bias[4])


def test_unbatched_models_of_equinox():
    keys = jax.random.split(jax.random.key(0), 5)
    model = eqx.nn.Sequential(
        [
            eqx.nn.Conv2d(3, 4, 3, padding=1, key=keys[0]),
            eqx.nn.Lambda(jax.nn.silu),
            eqx.nn.MaxPool2d(2, 2),
            eqx.nn.Conv2d(4, 6, 3, dilation=2, groups=2, key=keys[1]),
            eqx.nn.AvgPool2d(2, 1),
            eqx.nn.ConvTranspose2d(6, 2, 3, stride=2, key=keys[2]),
            eqx.nn.Lambda(lambda x: x.mean((1, 2))),
            eqx.nn.Linear(2, 3, key=keys[3]),
        ]
    )
    x = noise(3, 14, 16)
    agree(model, x, layer=2, at=(6, 3), channel=2, place=(6, 3, 2))  # it pools channels last
    for layer, at, channel in ((1, (0, 15), 3), (3, (1, 3), 5), (4, (1, 1), 3)):
        n = agree(model, x, layer=layer, at=at, channel=channel, place=(channel, *at))
    assert (n.kind, n.patch.shape, n.then) == ("sum", (2, 2, 1), ("div",))
    n = agree(model, x, layer=5, at=(3, 4), channel=1, place=(1, 3, 4))
    assert n.bias != 0.0
    n = agree(model, x, layer=7, at=(), channel=2, place=(2,))
    assert (n.patch.shape, n.bias) == ((2,), float(model.layers[-1].bias[2]))
    images = noise(4, 3, 14, 16)
    n = agree(jax.vmap(model), images, layer=3, at=(1, 3), channel=5, image=2, place=(2, 5, 1, 3))
    single = jc.neuron(model, images[2], layer=3, at=(1, 3), channel=5)
    np.testing.assert_allclose(n.patch, single.patch, rtol=1e-5)


def test_three_dimensions_and_one():
    keys = jax.random.split(jax.random.key(1), 3)
    deep = eqx.nn.Sequential(
        [eqx.nn.Conv3d(2, 4, 3, padding=1, key=keys[0]), eqx.nn.MaxPool3d(2, 2)]
    )
    x = noise(2, 6, 4, 5)
    n = agree(deep, x, layer=1, at=(5, 0, 4), channel=3, place=(3, 5, 0, 4))
    assert n.patch.shape == (3, 3, 3, 2)
    assert agree(deep, x, layer=2, at=(2, 1, 1), channel=3, place=(2, 1, 1, 3)).kind == "max"
    flat = eqx.nn.Conv1d(2, 4, 5, stride=2, key=keys[2])
    assert agree(flat, noise(2, 11), layer=1, at=(3,), channel=1, place=(1, 3)).bias != 0


def test_linen_and_haiku():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(8, (3, 3), bias_init=nn.initializers.normal())(x)
            x = nn.relu(nn.BatchNorm(use_running_average=True)(x))
            return nn.Dense(7)(nn.avg_pool(x, (3, 3), (2, 2), "SAME", count_include_pad=False))

    x = noise(2, 7, 8, 3)
    net = Net()
    variables = with_any_numbers(net.init, jax.random.key(0), x)
    n = agree(net.apply, variables, x, layer="Net.Conv_0", at=(0, 7), channel=2, place=(0, 0, 7, 2))
    assert n.bias != 0
    n = agree(net.apply, variables, x, layer=2, at=(3, 0), channel=7, place=(0, 3, 0, 7))
    assert (n.kind, n.patch.shape) == ("sum", (3, 3, 1))
    agree(net.apply, variables, x, layer="Net.Dense_0", at=(3, 1), channel=6, place=(0, 3, 1, 6))

    def network(x):
        x = hk.Conv2D(8, 3, b_init=hk.initializers.RandomNormal())(x)
        x = hk.MaxPool((2, 2, 1), (2, 2, 1), "VALID")(jax.nn.relu(x))
        return hk.Linear(5)(hk.Flatten()(x))

    made = hk.without_apply_rng(hk.transform(network))
    params = with_any_numbers(made.init, jax.random.key(0), x)
    n = agree(made.apply, params, x, layer="conv2_d", at=(5, 5), channel=7, place=(0, 5, 5, 7))
    assert n.bias == float(params["conv2_d"]["b"][7])
    agree(made.apply, params, x, layer="max_pool", at=(2, 3), channel=1, place=(0, 2, 3, 1))
    n = agree(made.apply, params, x, layer="linear", at=(), channel=4, image=1, place=(1, 4))
    assert n.patch.shape == (3 * 4 * 8,)


def test_a_layer_whose_numbers_are_moved_is_followed():
    kernel, bias = noise(3, 3, 2, 6), noise(6)

    @jax.jit
    def block(x):
        y = jax.lax.rev(jc.conv(x, kernel).transpose(0, 3, 1, 2), (3,))
        return y.reshape(1, 6, -1) + bias[:, None]

    network = lambda x: jnp.exp(block(x).reshape(3, 2, 4, 5) / 9)  # noqa: E731
    x = noise(1, 4, 5, 2)
    n = agree(network, x, layer=1, at=(1, 3), channel=5, place=(2, 1, 1, 5 - 1 - 3))
    assert n.bias == float(bias[5])
    assert n.then == ("div", "exp")


def test_a_value_named_before_the_activation_or_before_the_bias():
    kernel, bias = noise(3, 3, 2, 4), noise(4)

    def network(x):
        y = checkpoint_name(
            lax.conv_general_dilated(
                x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            ),
            "sum",
        )
        y = checkpoint_name(y + bias, "pre")
        return checkpoint_name(jnp.tanh(y), "post")  # fmt: skip

    x = noise(1, 4, 5, 2)
    found = [
        agree(network, x, layer=name, at=(2, 3), channel=1, place=(0, 2, 3, 1))
        for name in ("sum", "pre", "post")
    ]
    assert [n.bias for n in found] == [0.0, float(bias[1]), float(bias[1])]
    assert [n.then for n in found] == [(), (), ("tanh",)]
    assert found[2].value == pytest.approx(np.tanh(found[1].value))


def test_a_layer_used_twice_and_one_inside_a_call_with_its_own_gradient():
    kernel = noise(3, 3, 2, 2)
    block = jax.jit(lambda x: jnp.tanh(jc.conv(x, kernel) + 0.5))

    @jax.custom_vjp
    def own(x):
        return jnp.exp(jc.conv(x, kernel * 2))

    own.defvjp(lambda x: (own(x), None), lambda _, g: (g,))
    network = lambda x: jnp.abs(own(block(block(x))))  # noqa: E731
    x = noise(1, 6, 7, 2)
    found = [
        agree(network, x, layer=layer, at=(2, 3), channel=1, place=(0, 2, 3, 1))
        for layer in (1, 2, 3)
    ]
    assert found[0].value != found[1].value
    assert [n.then for n in found] == [("tanh",), ("tanh",), ("exp", "abs")]
    assert found[0].bias == 0.5


@pytest.mark.parametrize(
    "spec", ["bhwc,cd->bhwd", "bhwc,hwcd->bd", "bnc,cxy->bnxy", "bgc,gcd->bgd"]
)
def test_products_of_any_axes(spec):
    sides = dict(zip("bhwcdngxy", (2, 3, 4, 5, 6, 7, 3, 2, 4), strict=True))
    left, out = spec.split("->")
    x, kernel = (noise(*(sides[axis] for axis in part)) for part in left.split(","))
    network = lambda k, x: jnp.tanh(jnp.einsum(spec, x, k))  # noqa: E731
    values = network(kernel, x)
    shared = [axis for axis in out[1:] if axis in left.split(",")[0]]
    at = tuple(sides[axis] - 1 for axis in shared)
    count = values[0].size // int(np.prod([sides[axis] for axis in shared]))
    n = jc.neuron(network, kernel, x, layer=1, at=at, channel=count - 1, image=1)
    np.testing.assert_allclose(
        [n.value, n.map_value], values[(1,) + (-1,) * (len(out) - 1)], **CLOSE
    )


def test_the_value_is_that_of_the_patch_and_not_the_maps(monkeypatch):
    """Were the patch wrong, the value would be, too; also inside a call with its own gradient."""
    from jaxconv.jaxpr.primitives.convolution import ConvolutionPatch

    read = ConvolutionPatch.read

    def shifted(self, place, *operands):
        return read(self, (place[0], place[1] + 1, *place[2:]), *operands)

    monkeypatch.setattr(ConvolutionPatch, "read", shifted)

    @jax.custom_vjp
    def own(x):
        return jc.conv(x, noise(3, 3, 2, 4))

    own.defvjp(lambda x: (own(x), None), lambda _, g: (g,))
    network = lambda x: jnp.tanh(own(x))  # noqa: E731
    n = jc.neuron(network, noise(1, 8, 8, 2), layer=1, at=(2, 3), channel=1)
    assert abs(n.value - n.map_value) > 0.01


def test_narrow_numbers():
    model = wake(vgg_of((8, 8), dtype=jnp.bfloat16))
    n = jc.neuron(model, noise(1, 8, 8, 3), layer="conv1_2", at=(3, 3), channel=2)
    assert n.value == pytest.approx(n.map_value, rel=0.02, abs=0.02)
    assert n.patch.dtype == np.float64


def test_its_text():
    model = vgg_of((4, 5))
    model.conv1_2.bias[...] = jnp.full(5, 0.25)
    n = jc.neuron(model, noise(1, 8, 8, 3), layer="conv1_2", at=(2, 3), channel=1)
    assert str(n) == (
        "conv1_2, channel 1 at (2, 3)\n"
        "  sees 3 x 3 x 4 numbers of conv1_1\n"
        "  and so pixels y = 0 to 4, x = 1 to 5 of the image\n"
        f"  36 weights . 36 numbers = {n.pre - 0.25:.6g}; + bias 0.25 = {n.pre:.6g}\n"
        f"  relu -> {n.value:.6g}\n"
        f"  in the feature map: {n.map_value:.6g}"
    )
    n = jc.neuron(model, noise(1, 8, 8, 3), layer="pool1", at=(2, 3), channel=1)
    assert str(n).splitlines()[3] == f"  the max of 4 numbers = {n.value:.6g}"


def test_its_box_is_what_changes_it():
    """Pixels in the box change the neuron, those outside do not; a wrong layout has no box."""
    model, x = vgg_of((4, 5)), noise(1, 9, 11, 3)
    chosen = {"layer": "pool1", "at": (3, 0), "channel": 1}
    n = jc.neuron(model, x, **chosen)
    assert n.box == jc.receptive_field(model, x, layer="pool1").box(3, 0)
    (top, bottom), (left, right) = n.box
    inside, outside = x.copy(), noise(1, 9, 11, 3) + 1
    inside[:, top:bottom, left:right] += 1
    outside[:, top:bottom, left:right] = x[:, top:bottom, left:right]
    assert jc.neuron(model, outside, **chosen).map_value == pytest.approx(n.map_value, rel=1e-5)
    assert jc.neuron(model, inside, **chosen).map_value != pytest.approx(n.map_value, rel=1e-3)
    conv = eqx.nn.Conv2d(3, 4, 3, key=jax.random.key(0))
    chosen = {"layer": 1, "at": (5, 2), "channel": 1}
    assert jc.neuron(conv, noise(3, 14, 16), **chosen, layout="HWC").box is None
    assert jc.neuron(conv, noise(3, 14, 16), **chosen, layout="CHW").box == ((5, 8), (2, 5))
    assert jc.neuron(conv, noise(3, 14, 16), **chosen).box == ((5, 8), (2, 5))


def small(x):
    x = checkpoint_name(jc.conv(x, noise(3, 3, 2, 4)), "conv")
    y = checkpoint_name(x + jc.conv(x, noise(1, 1, 4, 4)), "join")
    return checkpoint_name(y.mean((1, 2)) @ noise(4, 3), "head")


def scanned(x):
    step = lambda x, k: (checkpoint_name(jc.conv(x, k), "step"), None)  # noqa: E731
    return jax.lax.scan(step, x, noise(3, 3, 3, 2, 2))[0]


def attention(x):
    return checkpoint_name(jnp.einsum("bhwc,bhvc->bhwv", x, x), "scores")


@pytest.mark.parametrize("at", [np.array([2, 3]), tuple(np.array([2, 3]))])
def test_a_position_of_numpy_has_the_same_box(at):
    got, want = (
        jc.neuron(small, X, layer="conv", at=position, channel=1) for position in (at, (2, 3))
    )
    assert got.box == want.box == ((1, 4), (2, 5))
    assert str(got) == str(want)
    field = jc.effective_receptive_field(small, X, layer="conv", at=at, inputs=1)
    assert np.argwhere(field.values > 0).min(0).tolist() == [1, 2]


X = noise(1, 6, 7, 2)
GOOD = {"layer": "conv", "at": (2, 3), "channel": 1}
BAD = {
    "an unknown layer": (small, {"layer": "heads"}, (
        "neuron: layer is 'heads', which is not valid.\n"
        "  Fix: set layer= to one of 'head', 'conv', 'join', 'conv (test_neuron.py:LINE)', "
        "'mean (test_neuron.py:LINE)'."
    )),
    "no layer": (small, {"layer": 9}, (
        "neuron: layer is 9, which is not a layer.\n"
        "  Fix: pass its name, or its number, 1 to 5."
    )),
    "outside": (small, {"at": (6, 0)}, (
        "neuron: at is (6, 0), but conv has a map of 6 x 7.\n"
        "  Fix: pass y from 0 to 5 and x from 0 to 6."
    )),
    "negative": (small, {"at": (0, -1)}, (
        "neuron: at is (0, -1), but conv has a map of 6 x 7.\n"
        "  Fix: pass y from 0 to 5 and x from 0 to 6."
    )),
    "too few numbers, and more": (small, {"at": (3,), "channel": 4, "image": 1}, (
        "neuron: at is (3,), but conv has a map of 6 x 7.\n"
        "        channel is 4, but conv has 4 channels.\n"
        "        image is 1, but conv has one image.\n"
        "  Fix: pass at=(y, x).\n"
        "  Fix: pass channel= from 0 to 3.\n"
        "  Fix: pass image=0."
    )),
    "not whole numbers": (small, {"at": (1.5, 0), "channel": 1.5, "image": True}, (
        "neuron: at is (1.5, 0), but must have an int for each axis.\n"
        "        channel is 1.5, but must be an int.\n"
        "        image is True, but must be an int.\n"
        "  Fix: pass ints, y from 0 to 5 and x from 0 to 6.\n"
        "  Fix: pass channel= from 0 to 3.\n"
        "  Fix: pass image=0."
    )),
    "a place of what has none": (small, {"layer": "head"}, (
        "neuron: at is (2, 3), but head sees all at once.\n"
        "  Fix: pass at=()."
    )),
    "a join": (small, {"layer": "join"}, (
        "neuron: join is a join, and has no neurons with a patch of their own.\n"
        "  Fix: set layer= to one of 'conv', 'head', 'conv (test_neuron.py:LINE)'."
    )),
    "no neurons": (lambda x: jnp.tanh(x).sum(), {}, (
        "neuron: the function has no convolution, product or pool, and so no neurons.\n"
        "  Fix: pass a network that has one."
    )),
    "two maps": (attention, {"layer": "scores"}, (
        "neuron: the function has no convolution, product or pool, and so no neurons.\n"
        "  Fix: pass a network that has one."
    )),
    "a scan": (scanned, {"layer": "step"}, (
        "neuron: step is inside a scan, where its neurons have no single value.\n"
        "  Fix: pass the body as a function of its own."
    )),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_calls_are_sentences(case):
    fn, options, message = BAD[case]
    with pytest.raises(jc.ShapeError) as caught:
        jc.neuron(fn, X, **GOOD | options)
    assert re.sub(r"[.]py:\d+", ".py:LINE", str(caught.value)) == message
