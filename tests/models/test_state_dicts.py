"""State dicts of PyTorch in models of Flax NNX: equal outputs, and what has no match."""

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
    with pytest.raises(WeightsError, match=r"a flattened image: hidden, which takes 96 numbers\."):
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
        "The model has no layer x. Fix: pass names of first, second."),
    "channels": (Two, layers(("a", (4, 4)), ("b", (4, 4))), {"flattened": {"first": 3}},
        "first takes 4 inputs, which is not a multiple of 3 channels. Fix: "),
    "whole numbers": (Two, {"a.weight": np.ones((4, 4), np.int8), **layers(("b", (4, 4)))}, {},
        "a.weight is int8, but must be floats. Fix: "),
    "no tensor": (Two, {"a.weight": "text"}, {}, "a.weight is <U4, but must be numbers. Fix: "),
    "an object": (Two, {"a.weight": object()}, {}, "a.weight is object, but must be numbers."),
    "a head that is made first": (Early, layers(("head", (4, 16)), ("c", (16, 3, 2, 2))), {},
        "whether these layers take a flattened image: head, which takes 16 numbers. Fix: "),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
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
