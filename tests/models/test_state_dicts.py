"""State dicts of PyTorch in models of Flax NNX: equal outputs, and what has no match."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxconv as jc
from jaxconv.models.errors import WeightsError
from jaxconv.models.state_dicts import load_state_dict
from jaxconv.models.weights import read_tensors
from tests.support import torch_files
from tests.support.cnns import with_drawn_kernels
from tests.support.pytorch import import_torch
from tests.support.type_checks import WITHOUT_TYPE_CHECKS


def noise(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def last_to_first(x):
    return np.moveaxis(x, -1, 1)


def made(kind, *args, **options):
    """A layer or model of Flax NNX."""
    return with_drawn_kernels(lambda: kind(*args, **options, rngs=nnx.Rngs(0)))


def run(net, x):
    torch = import_torch()
    with torch.no_grad():
        return net.eval()(torch.tensor(np.ascontiguousarray(x))).numpy()


def same(got, want):
    assert np.abs(want).max() > 1e-2
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())


KERNELS = [(5,), (3, 2), (2, 3, 2)]
GROUPS = {
    "plain": (6, 8, 1),
    "grouped": (6, 8, 2),
    "depthwise": (6, 6, 6),
    "multiplied": (6, 12, 6),
}


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("kind", GROUPS)
def test_convolutions_are_those_of_pytorch(kernel, kind):
    torch, (c_in, c_out, groups) = import_torch(), GROUPS[kind]
    net = getattr(torch.nn, f"Conv{len(kernel)}d")(c_in, c_out, kernel, stride=2, groups=groups)
    options = {"strides": 2, "padding": "VALID", "feature_group_count": groups}
    model = made(nnx.Conv, c_in, c_out, kernel, **options)
    assert load_state_dict(model, net.state_dict()) == {"kernel": "weight", "bias": "bias"}
    x = noise(2, *[9] * len(kernel), c_in)
    same(last_to_first(model(x)), run(net, last_to_first(x)))


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("turned", [False, True])
def test_transposed_convolutions_are_those_of_pytorch(kernel, turned):
    torch = import_torch()
    net = getattr(torch.nn, f"ConvTranspose{len(kernel)}d")(6, 8, kernel, stride=2)
    options = {"strides": 2, "padding": "VALID", "transpose_kernel": turned}
    model = made(nnx.ConvTranspose, 6, 8, kernel, **options)
    load_state_dict(model, net.state_dict())
    x = noise(2, *[4] * len(kernel), 6)
    want = run(net, last_to_first(x))
    got = last_to_first(model(x))
    crop = tuple(slice(0, n) for n in want.shape)  # Flax pads a stride larger than the kernel
    same(got[crop], want)


class Turned(nnx.Module):
    def __init__(self, kernel, c_in, c_out, groups):
        self.kernel = nnx.Param(jnp.zeros((*kernel, c_in // groups, c_out)))
        self.bias = nnx.Param(jnp.zeros(c_out))
        self.groups = groups

    def __call__(self, x):
        options = {"stride": 2, "padding": 0, "groups": self.groups}
        options["layout"] = {1: "NWC", 2: "NHWC", 3: "NDHWC"}[x.ndim - 2]
        return jc.conv_transpose(x, self.kernel[...], self.bias[...], **options)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("groups", [1, 3])
def test_transposed_kernels_of_this_package_are_those_of_pytorch(kernel, groups):
    torch = import_torch()
    conv = getattr(torch.nn, f"ConvTranspose{len(kernel)}d")
    net = conv(6, 6, kernel, stride=2, groups=groups)
    model = Turned(kernel, 6, 6, groups)
    load_state_dict(model, net.state_dict(), transposed={"": groups})
    x = noise(2, *[4] * len(kernel), 6)
    same(last_to_first(model(x)), run(net, last_to_first(x)))


class Net(nnx.Module):
    """A stem, a block with norms in a list, a private layer, and a head behind a flattened map."""

    def __init__(self, rngs):
        self.stem = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.blocks = nnx.List([Block(8, rngs), Block(8, rngs)])
        self._mix = nnx.Conv(8, 8, (1, 1), use_bias=False, rngs=rngs)
        self.scale = nnx.Param(jnp.ones((8,)))
        self.hidden = nnx.Linear(8 * 12, 16, rngs=rngs)
        self.norm = nnx.LayerNorm(16, rngs=rngs)
        self.head = nnx.Linear(16, 5, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, deterministic=True, rngs=rngs)

    def __call__(self, x):
        x = jax.nn.relu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        x = self._mix(x) * self.scale[...]
        x = self.norm(jax.nn.relu(self.hidden(jc.flatten(x))))
        return self.head(self.dropout(x))


class Block(nnx.Module):
    def __init__(self, width, rngs):
        self.conv = nnx.Conv(width, width, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(width, use_running_average=True, rngs=rngs)
        self.groups = nnx.GroupNorm(width, num_groups=2, epsilon=1e-5, rngs=rngs)

    def __call__(self, x):
        return x + jax.nn.relu(self.groups(self.norm(self.conv(x))))


def torch_net():
    torch = import_torch()
    nn = torch.nn

    class TorchBlock(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.c = nn.Conv2d(width, width, 3, padding=1)
            self.bn = nn.BatchNorm2d(width)
            self.gn = nn.GroupNorm(2, width)

        def forward(self, x):
            return x + torch.relu(self.gn(self.bn(self.c(x))))

    class TorchNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(8))
            self.body = nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), TorchBlock(8), TorchBlock(8)
            )
            self.mix = nn.Conv2d(8, 8, 1, bias=False)
            self.tail = nn.Sequential(
                nn.Linear(96, 16), nn.ReLU(), nn.LayerNorm(16, eps=1e-6), nn.Linear(16, 5)
            )

        def forward(self, x):
            return self.tail((self.mix(self.body(x)) * self.scale[:, None, None]).flatten(1))

    torch.manual_seed(0)
    net = TorchNet()
    for value in (*net.parameters(), *net.buffers()):
        if value.dtype.is_floating_point and value.ndim < 2:
            torch.nn.init.uniform_(value, 0.5, 1.5)
    return net


def test_a_network_with_all_kinds_of_layers_is_that_of_pytorch(tmp_path):
    torch, net, model = import_torch(), torch_net(), made(Net)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    tensors = read_tensors(tmp_path / "net.pt")
    with pytest.raises(WeightsError, match=r": the 96 inputs of hidden\. Fix: pass flattened="):
        load_state_dict(model, tensors)
    names = load_state_dict(model, tensors, flattened={"hidden": 8})
    assert names["blocks.1.norm.var"] == "body.3.bn.running_var"
    assert names["_mix.kernel"] == "mix.weight"
    assert len(names) == len([name for name in tensors if "num_batches" not in name])
    x = noise(2, 4, 3, 3)
    of_flax, want = jax.jit(lambda model, x: model(x)), run(net, last_to_first(x))
    same(of_flax(model, x), want)
    wrong = made(Net)
    load_state_dict(wrong, tensors, flattened={"hidden": 1})
    assert not np.allclose(of_flax(wrong, x), want, atol=1e-2)


def test_vgg_is_loaded_like_any_other_model_of_pytorch():
    torch = import_torch()
    nn = torch.nn
    convolutions = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6)]
    model = jc.VGG([(4,), (6,)], head=None, batch_norm=True, rngs=nnx.Rngs(0))
    names = load_state_dict(model, nn.Sequential(*convolutions).state_dict())
    assert names["conv2_1.norm.scale"] == "3.weight"


def layers(*shapes):
    """Tensors of layers without bias, in this order."""
    return {f"{name}.weight": noise(*shape, seed=i) for i, (name, shape) in enumerate(shapes)}


class Two(nnx.Module):
    def __init__(self):
        self.first = nnx.Linear(4, 4, use_bias=False, rngs=nnx.Rngs(0))
        self.second = nnx.Linear(4, 4, use_bias=False, rngs=nnx.Rngs(0))


def test_equal_shapes_are_matched_by_equal_names_or_else_in_order():
    order = load_state_dict(Two(), layers(("b", (4, 4)), ("a", (4, 4))))
    assert order == {"first.kernel": "b.weight", "second.kernel": "a.weight"}
    named = load_state_dict(Two(), layers(("second", (4, 4)), ("first", (4, 4))))
    assert named == {"first.kernel": "first.weight", "second.kernel": "second.weight"}
    half = load_state_dict(Two(), layers(("second", (4, 4)), ("third", (4, 4))))
    assert half == {"first.kernel": "second.weight", "second.kernel": "third.weight"}


class Shortcut(nnx.Module):
    """Of a ResNet's block, with the shortcut made first, where PyTorch makes it last."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.down = nnx.Conv(4, 8, (1, 1), use_bias=False, rngs=rngs)
        self.down_norm = nnx.BatchNorm(8, rngs=rngs)
        self.conv = nnx.Conv(4, 8, (3, 3), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)


def test_norms_of_another_order_are_not_guessed():
    kinds = ("weight", "bias", "running_mean", "running_var")
    norms = {name: {f"{name}.{kind}": noise(8) for kind in kinds} for name in ("bn1", "down.1")}
    first, down = layers(("conv1", (8, 4, 3, 3))), layers(("down.0", (8, 4, 1, 1)))
    in_order = down | norms["down.1"] | first | norms["bn1"]
    names = load_state_dict(Shortcut(), in_order)
    assert names["down_norm.scale"] == "down.1.weight"
    other = first | norms["bn1"] | down | norms["down.1"]
    with pytest.raises(WeightsError) as error:
        load_state_dict(Shortcut(), other)
    assert str(error.value) == (
        "down_norm, norm have equal shapes and another order than the tensors, so it is not known "
        "which is which. Fix: pass names={'down_norm': 'bn1', ...} with the right names."
    )
    assert load_state_dict(Shortcut(), other, names={"down_norm": "down.1"}) == names
    for wrong in ({"down_norm": "conv1"}, {"x": "bn1"}, {"norm": "x"}):
        with pytest.raises(WeightsError, match="there are no such layers of equal shapes"):
            load_state_dict(Shortcut(), other, names=wrong)


class Whole(nnx.Module):
    """A norm of a whole image, with parameters for each pixel and channel."""

    def __init__(self, shape=(4, 5, 6)):
        self.scale, self.bias = nnx.Param(jnp.zeros(shape)), nnx.Param(jnp.zeros(shape))

    def __call__(self, x):
        mean, var = x.mean((1, 2, 3), keepdims=True), x.var((1, 2, 3), keepdims=True)
        return (x - mean) / jnp.sqrt(var + 1e-5) * self.scale[...] + self.bias[...]


class Gate(nnx.Module):
    """Squeeze and excitation."""

    def __init__(self, width):
        self.down, self.up = made(nnx.Linear, width, 2), made(nnx.Linear, 2, width)

    def __call__(self, x):
        return x * jax.nn.sigmoid(self.up(self.down(x.mean((1, 2)))))[:, None, None]


# A layer of this package or Flax by the name and numbers of that of PyTorch.
OF_FLAX = {
    "Conv2d": lambda c_in, c_out, *_: made(nnx.Conv, c_in, c_out, (3, 3)),
    "ConvTranspose2d": lambda c_in, c_out, *_: made(
        nnx.ConvTranspose, c_in, c_out, (2, 2), (2, 2), padding="VALID", transpose_kernel=True),
    "Linear": lambda inputs, outputs: made(nnx.Linear, inputs, outputs),
    "BatchNorm2d": lambda width: made(nnx.BatchNorm, width, use_running_average=True),
    "BatchNorm1d": lambda width: made(nnx.BatchNorm, width, use_running_average=True),
    "LayerNorm": lambda shape: Whole((*shape[1:], shape[0])),
    "Gate": Gate,
    "Flatten": lambda: jc.flatten,
    "Unflatten": lambda _, image: lambda x: x.reshape(-1, *image[1:], image[0]),
    "ReLU": lambda: jax.nn.relu,
}  # fmt: skip


def of_torch(name, *numbers):
    nn = import_torch().nn

    class TorchGate(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.down, self.up = nn.Linear(width, 2), nn.Linear(2, width)

        def forward(self, x):
            return x * self.up(self.down(x.mean((2, 3)))).sigmoid()[:, :, None, None]

    return TorchGate(*numbers) if name == "Gate" else getattr(nn, name)(*numbers)


def two_of(layers):
    """The network of PyTorch, with random numbers, and that of Flax."""
    torch = import_torch()
    net = torch.nn.Sequential(*(of_torch(*layer) for layer in layers))
    rng = torch.Generator().manual_seed(0)
    for name, value in net.state_dict().items():
        if value.dtype.is_floating_point:
            torch.nn.init.uniform_(value, 0.5 if name.endswith("var") else -0.5, 0.7, rng)
    return net, nnx.Sequential(*(OF_FLAX[name](*numbers) for name, *numbers in layers))


CONV = ("Conv2d", 3, 4, 3, 1, 1)
IMAGE = ("Unflatten", 1, (8, 2, 3))
ENLARGE = ("ConvTranspose2d", 8, 3, 2, 2)
# Networks for images of 4 x 5 pixels or vectors of 6 numbers: the questions, and the answers.
BORDERS = {
    "a flattened image that is as wide as an earlier layer": (
        [("Conv2d", 3, 80, 3, 1, 1), ("Conv2d", 80, 4, 3, 1, 1), ("Gate", 4), ("Flatten",),
         ("Linear", 80, 5)],
        "the 80 inputs of layers.4", {"flattened": {"layers.4": 4}}),
    "a norm of a flattened image": (
        [CONV, ("BatchNorm2d", 4), ("Flatten",), ("BatchNorm1d", 80), ("Linear", 80, 5)],
        "the 80 values of layers.3; the 80 inputs of layers.4",
        {"flattened": {"layers.3": 4, "layers.4": 4}}),
    "a norm without a linear layer": (
        [CONV, ("Flatten",), ("BatchNorm1d", 80), ("Unflatten", 1, (4, 4, 5))],
        "the 80 values of layers.2", {"flattened": {"layers.2": 4}}),
    "a generator": (
        [("Linear", 6, 48), IMAGE, ENLARGE],
        "the 6 inputs of layers.0; the 48 outputs of layers.0",
        {"flattened": {"layers.0": 1}, "unflattened": {"layers.0": 8}}),
    "a generator with norms": (
        [("Linear", 6, 48), ("BatchNorm1d", 48), ("ReLU",), IMAGE, ("BatchNorm2d", 8), ENLARGE],
        "the 6 inputs of layers.0; the 48 outputs of layers.0; the 48 values of layers.1",
        {"flattened": {"layers.0": 1, "layers.1": 8}, "unflattened": {"layers.0": 8}}),
    "an autoencoder": (
        [("Conv2d", 3, 12, 3, 1, 1), ("Flatten",), ("BatchNorm1d", 240), ("Linear", 240, 240),
         ("BatchNorm1d", 240), ("Unflatten", 1, (8, 5, 6)), ENLARGE],
        "the 240 values of layers.2; the 240 inputs of layers.3; the 240 outputs of layers.3; "
        "the 240 values of layers.4",
        {"flattened": {"layers.2": 12, "layers.3": 12, "layers.4": 8},
         "unflattened": {"layers.3": 8}}),
    "a norm of a cube": (
        [("Conv2d", 3, 4, (1, 2), 1), ("LayerNorm", [4, 4, 4])],
        "the values (4, 4, 4) of layers.1", {"flattened": {"layers.1": 4}}),
}  # fmt: skip


@pytest.mark.parametrize("case", BORDERS)
def test_images_that_become_vectors_or_come_of_them_are_those_of_pytorch(case):
    specs, questions, answers = BORDERS[case]
    net, model = two_of(specs)
    if case == "a norm of a cube":
        model.layers[0] = made(nnx.Conv, 3, 4, (1, 2), padding="VALID")
    with pytest.raises(WeightsError, match=re.escape(f": {questions}. Fix: pass ")):
        load_state_dict(model, net.state_dict())
    load_state_dict(model, net.state_dict(), **answers)
    x = noise(2, 6) if specs[0][0] == "Linear" else noise(2, 4, 5, 3)
    want = run(net, last_to_first(x))
    got = jax.jit(lambda model, x: model(x))(model, x)
    same(last_to_first(got), want)
    ones = {option: dict.fromkeys(names, 1) for option, names in answers.items()}
    load_state_dict(model, net.state_dict(), **ones)
    wrong = last_to_first(jax.jit(lambda model, x: model(x))(model, x))
    assert not np.allclose(wrong, want, atol=1e-2)


def test_a_norm_of_an_image_gets_the_axes_of_the_model():
    net, model = two_of([("LayerNorm", [3, 4, 5])])
    load_state_dict(model, net.state_dict(), flattened={"layers.0": 3})
    x = noise(2, 4, 5, 3)
    same(last_to_first(model(x)), run(net, last_to_first(x)))


IMPOSSIBLE = [0, -2, 3, 1.0, True, "2", None, [2], np.ones(2, int)]


@WITHOUT_TYPE_CHECKS
@pytest.mark.parametrize("value", IMPOSSIBLE, ids=str)
@pytest.mark.parametrize("option", ["flattened", "unflattened", "transposed"])
def test_numbers_that_are_not_possible_are_refused(option, value):
    is_turned = option == "transposed"
    model = Turned((3,), 4, 4, 2) if is_turned else made(nnx.Linear, 4, 4)
    unit = "groups" if is_turned else "channels of the image"
    with pytest.raises(WeightsError) as error:
        load_state_dict(model, {}, **{option: {"": value}})
    assert str(error.value) == (
        f"{option} has '': {value!r}, which must be one of 1, 2, 4. Fix: pass the number of {unit}."
    )


@WITHOUT_TYPE_CHECKS
def test_numbers_of_numpy_are_possible():
    with pytest.raises(WeightsError, match="The tensors do not fit the model"):
        load_state_dict(made(nnx.Linear, 4, 4), {}, flattened={"": np.int64(2)})


@WITHOUT_TYPE_CHECKS
def test_only_a_model_gets_tensors():
    with pytest.raises(WeightsError, match=r"model is <class .*Two'>, but must be a model of Flax"):
        load_state_dict(Two, {})


class Hidden(nnx.Module):
    def __init__(self):
        self.held = nnx.data({"a": (nnx.Param(jnp.ones(3)),)})


class Early(nnx.Module):
    """A head that is made before the convolution that it reads."""

    def __init__(self):
        self.head = nnx.Linear(16, 4, use_bias=False, rngs=nnx.Rngs(0))
        self.conv = nnx.Conv(3, 16, (2, 2), use_bias=False, rngs=nnx.Rngs(0))


WRONG = {
    "a missing tensor": (Two, layers(("a", (4, 4))), {},
        "Layers without tensors: second: kernel (4, 4). Tensors without a layer: none. Fix: "),
    "an extra tensor": (Two, layers(("a", (4, 4)), ("b", (4, 4)), ("c", (2, 3))), {},
        "Layers without tensors: none. Tensors without a layer: c: weight (2, 3). Fix: "),
    "two of each": (Two, layers(("a", (4, 5)), ("b", (5, 4))), {},
        "Layers without tensors: first: kernel (4, 4); second: kernel (4, 4). Tensors without a "
        "layer: a: weight (4, 5); b: weight (5, 4). Fix: "),
    "an extra bias": (Two, layers(("a", (4, 4)), ("b", (4, 4))) | {"b.bias": noise(4)}, {},
        "Tensors without a layer: b: weight (4, 4), bias (4,). Fix: "),
    "no such layer": (Two, layers(("a", (4, 4))), {"flattened": {"x": 3}},
        "flattened has 'x', but the model has no linear layer or norm of this name. Fix: pass "
        "names of 'first', 'second'."),
    "no such layer to transpose": (Two, layers(("a", (4, 4))), {"transposed": {"first": 1}},
        "transposed has 'first', but the model has no kernel for jc.conv_transpose of this name. "
        "Fix: leave it out."),
    "a convolution": (Early, layers(("head", (4, 16))), {"flattened": {"conv": 3}},
        "flattened has 'conv', but the model has no linear layer or norm of this name. Fix: pass "
        "names of 'head'."),
    "no model": (dict, {}, {"flattened": {"x": 1}},
        "the model has no linear layer or norm of this name. Fix: leave it out."),
    "a list of layers": (Two, layers(("a", (4, 4))), {"flattened": ["first"]},
        "flattened is ['first'], but must be a dict. Fix: pass a dict such as {'first': 1}."),
    "a list of names": (Two, layers(("a", (4, 4))), {"names": ["first"]},
        "names is ['first'], but must be a dict. Fix: pass a dict of names in PyTorch by "),
    "one name twice": (Two, layers(("a", (4, 4)), ("b", (4, 4))),
        {"names": {"first": "a", "second": "a"}},
        "names= has 'first': 'a', but also for another layer. Fix: pass another name of PyTorch"),
    "a name that is an array": (Two, layers(("a", (4, 4))), {"names": {"first": noise(2)}},
        ", but there are no such layers of equal shapes. Fix: "),
    "a list of tensors": (Two, [noise(4, 4)], {},
        "state_dict is of type list, but must be a dict of tensors. Fix: pass net.state_dict()"),
    "a number as name": (Two, {0: noise(4, 4)}, {},
        "state_dict has 0, which is not the name of a tensor. Fix: pass names such as"),
    "an image of other axes": (Whole, {"weight": noise(6, 4, 5), "bias": noise(6, 4, 5)}, {},
        "that it does not need; for parameters (c, h, w) pass flattened={'': 6}."),
    "whole numbers": (Two, {"a.weight": np.ones((4, 4), np.int8), **layers(("b", (4, 4)))}, {},
        "a.weight is int8, but must be floats. Fix: "),
    "no tensor": (Two, {"a.weight": "text"}, {}, "a.weight is <U4, but must be numbers. Fix: "),
    "an object": (Two, {"a.weight": object()}, {}, "a.weight is object, but must be numbers."),
    "a head that is made first": (Early, layers(("head", (4, 16)), ("c", (16, 3, 2, 2))), {},
        "(h, w, c): the 16 inputs of head. Fix: pass flattened={'head': channels}, where "),
}  # fmt: skip


OF_WRONG_TYPES = ("no model", "a list of layers", "a list of names", "a name that is an array",
                  "a list of tensors", "a number as name")  # fmt: skip


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(name, marks=WITHOUT_TYPE_CHECKS) if name in OF_WRONG_TYPES else name
        for name in WRONG
    ],
)
def test_what_does_not_fit_is_listed_and_the_model_left_alone(case):
    make, tensors, options, message = WRONG[case]
    model = make()
    before = jax.tree.map(np.array, nnx.state(model, nnx.Param))
    with pytest.raises(WeightsError) as error:
        load_state_dict(model, tensors, **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    jax.tree.map(np.testing.assert_array_equal, before, nnx.state(model, nnx.Param))


def test_variables_in_lists_and_dicts_are_found():
    assert load_state_dict(Hidden(), {"0": noise(3)}) == {"held.a.0": "0"}


def test_a_file_is_read_as_it_is(tmp_path):
    tensors = {"features.0.weight": noise(2, 3), "x": noise(2)}
    (tmp_path / "w.pth").write_bytes(torch_files.archive(tensors))
    read = read_tensors(str(tmp_path / "w.pth"))
    assert {name: value.tolist() for name, value in read.items()} == {
        name: value.tolist() for name, value in tensors.items()
    }
    with pytest.raises(WeightsError, match="There is no file"):
        read_tensors(tmp_path / "none.pth")
