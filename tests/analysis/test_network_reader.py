"""Names of layers: attribute paths in every library, the same in every analysis."""

import functools
import re

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxconv as jc
from tests.support.cnns import with_any_numbers, with_drawn_kernels

KEY = jax.random.key(0)


class Block(nnx.Module):
    def __init__(self, channels, rngs):
        self.a = nnx.Conv(channels, channels, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(channels, use_running_average=True, rngs=rngs)
        self.c = nnx.Conv(channels, channels, (3, 3), rngs=rngs)

    def __call__(self, x):
        return x + self.c(nnx.relu(self.norm(self.a(x))))


class Encoder(nnx.Module):
    def __init__(self, rngs):
        self.stem = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.layers = nnx.List([Block(4, rngs) for _ in range(2)])

    def __call__(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
        return nnx.max_pool(x, (2, 2), (2, 2))


class Net(nnx.Module):
    def __init__(self, rngs):
        self.enc = Encoder(rngs)
        self.seq = nnx.Sequential(
            nnx.Conv(4, 4, (1, 1), rngs=rngs), lambda x: x * 2, nnx.Conv(4, 4, (1, 1), rngs=rngs)
        )
        self.head = nnx.Linear(4, 5, rngs=rngs)
        self.unused = nnx.Linear(4, 5, rngs=rngs)

    def __call__(self, x):
        return self.head(self.seq(self.enc(x)).mean((1, 2)))


class EquinoxBlock(eqx.Module):
    conv1: eqx.nn.Conv2d
    conv2: eqx.nn.Conv2d

    def __init__(self):
        self.conv1, self.conv2 = (eqx.nn.Conv2d(4, 4, 3, padding=1, key=KEY) for _ in range(2))

    def __call__(self, x):
        return x + self.conv2(jax.nn.relu(self.conv1(x)))


class EquinoxNet(eqx.Module):
    stem: eqx.nn.Conv2d
    layers: list
    seq: eqx.nn.Sequential
    head: eqx.nn.Linear

    def __init__(self):
        self.stem = eqx.nn.Conv2d(3, 4, 3, padding=1, key=KEY)
        self.layers = [EquinoxBlock() for _ in range(2)]
        conv = eqx.nn.Conv2d(4, 4, 1, key=KEY)
        self.seq = eqx.nn.Sequential([conv, eqx.nn.Lambda(jax.nn.relu), eqx.nn.MaxPool2d(2, 2)])
        self.head = eqx.nn.Linear(4, 5, key=KEY)

    def __call__(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.seq(x).mean((1, 2)))


class LinenBlock(nn.Module):
    @nn.compact
    def __call__(self, x):
        y = nn.relu(nn.BatchNorm(use_running_average=True)(nn.Conv(4, (3, 3))(x)))
        return x + nn.Conv(4, (3, 3), name="second")(y)


class LinenNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3))(x)
        for _ in range(2):
            x = LinenBlock()(x)
        return nn.Dense(5)(nn.max_pool(x, (2, 2), (2, 2)).mean((1, 2)))


class HaikuBlock(hk.Module):
    def __call__(self, x):
        return x + hk.Conv2D(4, 3, name="second")(jax.nn.relu(hk.Conv2D(4, 3, name="first")(x)))


def haiku_net(x):
    x = hk.Conv2D(4, 3, name="stem")(x)
    for _ in range(2):
        x = HaikuBlock(name="block")(x)
    return hk.Linear(5)(hk.MaxPool((1, 2, 2, 1), (1, 2, 2, 1), "SAME")(x).mean((1, 2)))


@functools.cache
def nnx_net():
    return with_drawn_kernels(lambda: Net(nnx.Rngs(0)))


def names(fn, *args):
    return [row.name for row in jc.summary(fn, *args).rows]


NNX = [
    "enc.stem", "enc.layers.0.a", "enc.layers.0.c", "enc.layers.0.add",
    "enc.layers.1.a", "enc.layers.1.c", "enc.layers.1.add", "enc.max_pool",
    "seq.layers.0", "seq.layers.2", "mean (test_network_reader.py:LINE)", "head",
]  # fmt: skip
EQUINOX = [
    "stem", "layers[0].conv1", "layers[0].conv2", "layers[0].add",
    "layers[1].conv1", "layers[1].conv2", "layers[1].add",
    "seq.layers[0]", "seq.layers[2]", "mean (test_network_reader.py:LINE)", "head",
]  # fmt: skip


def without_lines(found):
    return [re.sub(r"py:\d+", "py:LINE", name) for name in found]


@pytest.mark.parametrize("form", ["the model", "a lambda", "a state"])
def test_names_of_nnx_are_attribute_paths(form):
    model = nnx_net()
    graph, state = nnx.split(model)
    calls = {
        "the model": (model, "b h w 3"),
        "a lambda": (lambda x: model(x) * 1, "b h w 3"),
        "a state": (lambda state, x: nnx.merge(graph, state)(x), state, "b h w 3"),
    }
    assert without_lines(names(*calls[form])) == NNX


@pytest.mark.parametrize("form", ["the model", "vmap", "a lambda"])
def test_names_of_equinox_are_attribute_paths(form):
    model = EquinoxNet()
    calls = {
        "the model": (model, "3 h w"),
        "vmap": (jax.vmap(model), "b 3 h w"),
        "a lambda": (lambda x: jax.vmap(model)(x) * 1, "b 3 h w"),
    }
    assert without_lines(names(*calls[form])) == EQUINOX


def test_names_of_linen_and_haiku_are_those_of_their_modules():
    linen = LinenNet()
    variables = jax.eval_shape(linen.init, KEY, jnp.ones((1, 8, 8, 3)))
    assert names(linen.apply, variables, "b h w 3") == [
        "LinenNet.Conv_0",
        *(f"LinenNet.LinenBlock_0.{part}" for part in ("Conv_0", "second", "add")),
        *(f"LinenNet.LinenBlock_1.{part}" for part in ("Conv_0", "second", "add")),
        "LinenNet.max_pool", "LinenNet.mean", "LinenNet.Dense_0",
    ]  # fmt: skip
    haiku = hk.without_apply_rng(hk.transform(haiku_net))
    params = jax.eval_shape(haiku.init, KEY, jnp.ones((1, 8, 8, 3)))
    assert without_lines(names(haiku.apply, params, "b h w 3")) == [
        "stem", "block.first", "block.second", "block.add",
        "block_1.first", "block_1.second", "block_1.add",
        "max_pool", "mean (test_network_reader.py:LINE)", "linear",
    ]  # fmt: skip


def test_an_operation_without_a_module_is_called_by_what_it_does():
    kernel = jnp.ones((3, 3, 3, 3))

    def network(x):
        y = jc.conv(x, kernel)
        z = jnp.concatenate([y, jc.max_pool(y, 3, stride=1, padding="SAME")], -1)
        return z.max((1, 2)) + (y * y[::-1]).sum((1, 2)).mean(-1, keepdims=True)

    actions = [name.partition(" (")[0] for name in names(network, "b h w 3")]
    assert actions == ["conv", "max_pool", "concatenate", "max", "sum", "mean", "add"]


def test_names_are_the_same_in_all_analyses():
    model, x = nnx_net(), jnp.ones((1, 8, 8, 3))
    rows = names(model, "b h w 3")
    assert [*jc.feature_maps(model)(x)] == rows
    assert jc.neuron(model, x, layer="enc.layers.1.c", at=(2, 3), channel=0).layer == rows[5]
    assert jc.receptive_field(model, "b h w 3", layer="enc.layers.0.add").layer == rows[3]
    assert all(name in str(jc.summary(model, "1 8 8 3")) for name in rows)


LIBRARIES = {
    "nnx": (nnx_net, lambda model: jax.tree.leaves(nnx.state(model, nnx.Param))),
    "equinox": (EquinoxNet, lambda model: jax.tree.leaves(eqx.filter(model, eqx.is_array))),
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_parameters_are_those_of_the_library_by_formula_and_by_number(library):
    make, leaves = LIBRARIES[library]
    model = make()
    spec, fixed = ("b h w 3", "2 8 6 3") if library == "nnx" else ("3 h w", "3 8 6")
    formulas, numbers = jc.summary(model, spec), jc.summary(model, fixed)
    assert formulas.parameters == numbers.parameters == sum(leaf.size for leaf in leaves(model))
    sizes = {"b": 2, "h": 8, "w": 6}
    sizes = {name: n for name, n in sizes.items() if name in spec.split()}
    assert [row.output for row in jc.summary(model, spec, at=sizes).numbers] == [
        row.output for row in numbers.rows
    ]
    assert [row.parameters for row in formulas.rows] == [row.parameters for row in numbers.rows]


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_normalisation_constants_are_not_parameters():
    mean, std = jnp.ones(3), np.ones(3, np.float32)
    kernel, bias = jnp.ones((3, 3, 3, 4)), jnp.ones(4)
    model = nnx_net()
    normalised = {
        "a mean": (lambda x: ((x - mean) / std).mean((1, 2)), 0),
        "before a kernel": (lambda x: jc.conv((x - mean) / std, kernel), kernel.size),
        "a bias": (lambda x: jc.conv(x, kernel) + bias, kernel.size + 4),
        "a kernel that is normalised": (lambda x: jc.conv(x, kernel / mean[:, None]), 111),
        "before a model": (lambda x: model((x - mean) / std), size(nnx.state(model, nnx.Param))),
    }
    for name, (fn, count) in normalised.items():
        table = jc.summary(fn, "b h w 3")
        assert table.parameters == count, name
        unused = 25 if name == "before a model" else 0
        assert sum(row.parameters for row in table.rows) == count - unused


def test_parameters_that_the_statistics_of_the_image_are_multiplied_with_are_counted():
    rngs = nnx.Rngs(0)
    norm, dense = nnx.LayerNorm(8, rngs=rngs), nnx.Linear(8, 4, rngs=rngs)
    table = jc.summary(nnx.Sequential(norm, dense), "b t 8")
    assert [row.parameters for row in table.rows] == [2 * 8 + 8 * 4 + 4]
    assert jc.summary(norm, "b t 8").parameters == 2 * 8


@pytest.mark.parametrize("form", ["a model", "a function"])
def test_an_embedding_is_a_layer_with_its_parameters(form):
    rngs = nnx.Rngs(0)
    embed, dense = nnx.Embed(9, 4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)
    table, kernel = jnp.ones((9, 4)), jnp.ones((4, 2))
    calls = {
        "a model": (nnx.Sequential(embed, dense), ["layers.0", "layers.1"], [36, 10]),
        "a function": (lambda x: jnp.dot(jnp.take(table, x, 0), kernel), None, [36, 8]),
    }
    fn, names, counts = calls[form]
    rows = jc.summary(fn, "b t:int32").rows
    assert [row.kind for row in rows] == ["lookup", "product"]
    assert [row.parameters for row in rows] == counts
    assert names is None or [row.name for row in rows] == names
    # What does not depend on the input is not a layer.
    positions = jc.summary(lambda x: jc.dense(x, kernel) + kernel[jnp.array([0, 1])], "2 4")
    assert [row.kind for row in positions.rows] == ["product"]


def test_what_jax_compiles_as_a_whole_has_the_line_of_its_call():
    rows = jc.summary(lambda x: jax.image.resize(x, (1, 9, 9, 3), "linear"), "1 4 4 3").rows
    assert all(row.name.startswith("resize (test_network_reader.py:") for row in rows)


@pytest.mark.parametrize(("axes", "count"), [((1, 2), 1), ((3,), 0)])
def test_the_note_on_statistics_is_not_of_those_of_each_pixel(axes, count):
    def patches(x):
        maps = jc.conv(x, jnp.ones((4, 4, 3, 16)), stride=4)
        maps = maps - maps.mean(axes, keepdims=True)
        return maps.reshape(maps.shape[0], -1, 16) * 2

    assert sum("statistics" in note for note in jc.summary(patches, "b h w 3").notes) == count


def test_batch_statistics_of_linen_are_not_parameters_however_they_are_passed():
    linen = LinenNet()
    variables = with_any_numbers(linen.init, KEY, jnp.ones((1, 8, 8, 3)))
    params, statistics = variables["params"], variables["batch_stats"]
    bound = linen.bind(variables)
    calls = [
        (linen.apply, variables),
        (lambda x: linen.apply(variables, x),),
        (lambda x: bound(x) * 1,),
        (lambda p, x: linen.apply({"params": p, "batch_stats": statistics}, x), params),
        (lambda p, x: linen.apply({**variables, "params": p}, x), params),
    ]
    counts = [jc.summary(fn, *args, "b h w 3").parameters for fn, *args in calls]
    assert counts == [size(params)] * len(calls)


@pytest.mark.parametrize("sizes", ["8, 9", "h, w"])
def test_a_map_goes_on_after_the_axis_of_one_image_is_removed(sizes):
    kernel, spec = jnp.ones((3, 3, 3, 4)), f"1 {sizes} 3".replace(",", "")
    table = jc.summary(lambda x: nnx.relu(jc.conv(x, kernel)[0]), spec)
    assert str(table.rows[0].output) == f"({sizes}, 4)"


CALLS_OF_PYTHON = {
    "with a map": lambda x: jax.debug.callback(lambda _: None, x),
    "with a number": lambda _: jax.debug.print("step {}", 3),
    "with nothing": lambda _: jax.debug.callback(lambda: None),
    "with a constant": lambda _: jax.debug.callback(lambda _: None, np.arange(3)),
    "compiled": lambda _: jax.jit(lambda n: jax.debug.callback(lambda _: None, n))(jnp.ones(3)),
}


@pytest.mark.parametrize("name", CALLS_OF_PYTHON)
def test_an_operation_without_a_result_is_no_layer(name):
    def checked(x):
        CALLS_OF_PYTHON[name](x)
        return jc.max_pool(x, 2)

    table = jc.summary(checked, "b h w 3", where="h >= 2 and w >= 2")
    assert [row.name.split()[0] for row in table.rows] == ["max_pool"]
    assert jc.receptive_field(checked, "1 8 8 3", layer=table.rows[0].name).size == (2, 2)
