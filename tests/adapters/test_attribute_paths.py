"""Layers of Equinox and NNX have the names of their attributes, in rows and in failures."""

import functools
import queue
import threading
from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import jaxconv as jc
from jaxconv.adapters.attribute_paths import named_by_attributes
from jaxconv.source import SHARED, joined
from tests.support.cnns import with_drawn_kernels

KEY = jax.random.key(0)


class Block(eqx.Module):
    conv: eqx.nn.Conv2d
    pool: eqx.nn.MaxPool2d

    def __init__(self):
        self.conv, self.pool = eqx.nn.Conv2d(4, 4, 3, key=KEY), eqx.nn.MaxPool2d(2, 2)

    def __call__(self, x):
        return self.pool(self.conv(x))


class Blocks(eqx.Module):
    """Calls its blocks as they are, or as ``transform`` makes them."""

    blocks: list
    by_name: dict
    transform: object = eqx.field(static=True, default=lambda block: block)

    def __call__(self, x):
        for block in self.blocks:
            x = self.transform(block)(x)
        return self.by_name["last"](x)


class Compiled(Block):
    """A method that JAX calls with a module that it has made again."""

    @eqx.filter_jit
    def __call__(self, x, key=None):
        return self.pool(self.conv(x))


class Reversed(eqx.Module):
    """Calls the layers of another module, rather than that."""

    block: Block

    def __call__(self, x, key=None):
        return self.block.conv(self.block.pool(x))


OF_BLOCKS = ["blocks[0].conv", "blocks[0].pool", "blocks[1].conv", "blocks[1].pool", "by_name.last"]
TRANSFORMATIONS = {
    "none": lambda block: block,
    "filter_jit": eqx.filter_jit,
    "filter_checkpoint": eqx.filter_checkpoint,
    "filter_vmap": lambda block: lambda x: eqx.filter_vmap(block)(x[None])[0],
    "jit": lambda block: jax.jit(lambda x: block(x)),  # noqa: PLW0108
}


def names(fn, *args):
    """Those of all rows, and of the layers that refuse some size."""
    failures = [failure.layer for failure in jc.check(fn, *args).failures]
    return [row.name for row in jc.summary(fn, *args).rows], failures


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
def test_blocks_in_a_loop_are_told_apart(transformation):
    blocks = Blocks(
        [Block(), Block()], {"last": eqx.nn.AvgPool2d(2, 2)}, TRANSFORMATIONS[transformation]
    )
    assert names(blocks, "4 h w") == (OF_BLOCKS, OF_BLOCKS)


def test_layers_of_a_sequential_have_their_numbers():
    inner = eqx.nn.Sequential([eqx.nn.MaxPool2d(2, 2), eqx.nn.Lambda(jnp.tanh), Compiled()])
    outer = eqx.nn.Sequential([eqx.nn.Conv2d(3, 4, 3, key=KEY), inner, Reversed(Block())])
    expected = ["layers[0]", "layers[1].layers[0]", "layers[1].layers[2].conv"]
    expected += ["layers[1].layers[2].pool", "layers[2].block.pool", "layers[2].block.conv"]
    assert names(jax.vmap(outer), "b 3 h w") == (expected, expected)


def test_a_layer_that_raises_an_error_is_named():
    model = Blocks([Block()], {"last": eqx.nn.Lambda(lambda x: x.reshape(7, -1))})
    (failure,) = jc.check(jax.vmap(model), "b 4 12 12").failures
    assert failure.layer == "by_name.last"


def test_layers_of_a_model_that_a_function_closes_over_are_named_as_parts_of_it():
    model = Reversed(Block())

    def features(x):
        return jax.vmap(model.block.pool)(jax.vmap(model.block.conv)(x))

    expected = ["block.conv", "block.pool"]
    assert names(features, "b 4 h w") == (expected, expected)


def test_a_layer_that_is_not_part_of_a_model_has_its_class():
    pool = eqx.nn.MaxPool2d(2, 2)
    assert names(pool, "4 h w") == (["MaxPool2d"], ["MaxPool2d"])


class NnxBlock(nnx.Module):
    def __init__(self):
        self.conv = nnx.Conv(4, 4, (3, 3), padding="VALID", rngs=nnx.Rngs(0))

    def __call__(self, x):
        return nnx.max_pool(self.conv(x), (2, 2), (2, 2))


class NnxNet(nnx.Module):
    def __init__(self):
        self.blocks = nnx.List([NnxBlock(), NnxBlock()])
        self.named = nnx.Dict(last=nnx.Sequential(NnxBlock(), nnx.relu))

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return self.named["last"](x)


def test_layers_of_nnx_have_the_paths_of_their_parameters():
    rows, failures = names(with_drawn_kernels(NnxNet), "b h w 4")
    blocks = ["blocks.0", "blocks.1", "named.last.layers.0"]
    assert rows == [f"{block}.{part}" for block in blocks for part in ("conv", "max_pool")]
    assert failures == [one for block in blocks for one in (f"{block}.conv", block)]


def test_layers_of_a_compiled_module_of_linen_have_the_module_in_front():
    class Inner(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Conv(4, (3, 3), padding="VALID")(x)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.remat(Inner)(name="second")(nn.jit(Inner)(name="first")(x))

    expected = ["Net.first.Conv_0", "Net.second.Conv_0"]
    assert names(Net(), "b h w 3") == (expected, expected)


def test_classes_are_as_they_were_after_a_check():
    kinds = (Block, Compiled, eqx.nn.Conv2d, eqx.nn.Sequential, NnxBlock, nnx.Conv)
    before = [vars(kind).get("__call__") for kind in kinds]
    inside = queue.SimpleQueue()  # which a check does not bring back to what it was

    def calls(x):
        inside.put(vars(Block)["__call__"])
        jc.check(jax.vmap(Block()), "b 4 h w")  # in a trace
        return jax.vmap(Block())(x)

    def fails(x):
        raise ValueError("as it is")

    jc.check(calls, "b 4 h w")
    jc.check(fails, "b 4 h w")
    assert inside.get(timeout=0) is not before[0]
    assert [vars(kind).get("__call__") for kind in kinds] == before


def test_a_model_is_called_as_ever_in_another_thread_while_one_is_checked():
    traced = queue.SimpleQueue()
    x = jax.random.normal(KEY, (4, 6, 6))
    blocks = Blocks([Block()], {"last": eqx.nn.Lambda(jnp.tanh)})

    def in_trace(y):
        thread = threading.Thread(target=lambda: traced.put(jax.make_jaxpr(blocks)(x)))
        thread.start()
        thread.join()
        return blocks(y)

    assert jc.check(in_trace, "4 h w").status == "refuted"
    equations = traced.get(timeout=0).eqns
    scopes = {str(eqn.source_info.name_stack).partition("/")[0] for eqn in equations}
    assert scopes == {"eqx.nn.Conv", "eqx.nn.MaxPool2d", ""}


def pool(size):
    return eqx.nn.MaxPool2d(size, size)


class Wrapper(eqx.Module):
    pool: eqx.Module

    def __call__(self, x, layer):
        return layer(self.pool(x))


class Passes(eqx.Module):
    """Passes one of its layers to another one."""

    pool: eqx.Module
    wrapper: Wrapper

    def __call__(self, x):
        return self.wrapper(x, self.pool)


def test_a_layer_that_is_passed_to_another_one_is_named_as_a_part_of_the_model():
    expected = ["wrapper.pool", "pool"]
    assert names(Passes(pool(5), Wrapper(pool(2))), "4 h w") == (expected, expected)


class Several(eqx.Module):
    """Layers called in order, in an attribute of any type."""

    layers: object

    def __call__(self, x):
        for layer in self.layers.values() if isinstance(self.layers, dict) else self.layers:
            x = layer(x)
        return x


class Pair(NamedTuple):
    conv: eqx.Module
    down: eqx.Module


class Stages(eqx.Module, Sequence):
    """A module that is a sequence of other modules, too."""

    stages: tuple

    def __len__(self):
        return len(self.stages)

    def __getitem__(self, index):
        return self.stages[index]


class Unreadable(dict):
    def items(self):
        raise RuntimeError("not to be called")


def conv():
    return eqx.nn.Conv2d(4, 4, 3, key=KEY)


HOLDERS = {
    "a NamedTuple": (Pair(conv(), pool(2)), ["layers.conv", "layers.down"]),
    "a sequence of its own": (Stages((conv(), pool(2))), ["layers.stages[0]", "layers.stages[1]"]),
    "a dict of numbers": ({3: conv(), 7: pool(2)}, ["layers[3]", "layers[7]"]),
    "a dict in a dict": ({"a": Several({"b": pool(2)})}, ["layers.a.layers.b"]),
    "names of transformations": (
        {"transpose": conv(), "jit": pool(2), "checkpoint": pool(3)},
        ["layers.transpose", "layers.jit", "layers.checkpoint"],
    ),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_layers_in_containers(holder):
    layers, expected = HOLDERS[holder]
    assert names(Several(layers), "4 h w") == (expected, expected)


def test_an_attribute_that_cannot_be_read_is_left_out():
    model = Several((conv(), Several((pool(2),))))
    object.__setattr__(model, "extra", Unreadable())
    expected = ["layers[0]", "layers[1].layers[0]"]
    assert names(model, "4 h w") == (expected, expected)


class Twice(eqx.Module):
    first: Block
    second: Block

    def __call__(self, x):
        return self.second(self.first(x))


class Parts(Twice):
    """Calls the parts of its blocks, rather than these."""

    def __call__(self, x):
        return self.second.pool(self.second.conv(self.first.pool(self.first.conv(x))))


@pytest.mark.parametrize("kind", [Twice, Parts])
def test_a_layer_of_two_names_has_that_of_its_line(kind):
    block = Block()
    failures = [one.layer for one in jc.check(kind(block, block), "4 h w").failures]
    assert failures == ["first.conv", "first.pool", "second.conv", "second.pool"]


def test_a_method_that_a_line_names_is_a_part_of_the_name():
    class Encoder(nnx.Module):
        def __init__(self):
            self.block = NnxBlock()

        def down(self, x):
            return nnx.max_pool(x, (2, 2), (2, 2))

        def __call__(self, x):
            return self.down(self.block(x))

    class Net(nnx.Module):
        def __init__(self):
            self.encoder = Encoder()

        def __call__(self, x):
            return self.encoder(x)

    failures = [one.layer for one in jc.check(with_drawn_kernels(Net), "b h w 4").failures]
    assert failures == ["encoder.block.conv", "encoder.block", "encoder.down"]


class Module:
    """The base of a library of our own."""


class Sine(Module):
    def __init__(self, **attributes):
        vars(self).update(attributes)

    def __call__(self, x):
        for layer in vars(self).values():
            x = layer(x)
        return jnp.sin(x)


class Listed(Module, list):
    """A module that is a list, too, as in Objax."""

    def __call__(self, x):
        return self[1](self[0](x))


def test_modules_that_are_lists():
    last = Sine()
    model = Listed([Sine(inner=Sine()), Listed([Sine(), Sine(again=last, layer=last)])])
    before = vars(Sine)["__call__"]
    with named_by_attributes(Module, "[{}]"):
        closed = jax.make_jaxpr(model)(1.0)
    layers = ["[0].inner", "[0]", "[1][0]", "[1][1].again", "[1][1].again", "[1][1]"]
    scopes = [joined(part.name for part in eqn.source_info.name_stack.stack) for eqn in closed.eqns]
    assert [scope.replace(SHARED, "") for scope in scopes] == layers
    assert vars(Sine)["__call__"] is before


@functools.partial(jax.jit, static_argnums=1)
def call_compiled(x, layer):
    return layer(x)


@pytest.mark.parametrize("name", ["first", "other"])
def test_a_layer_that_jax_compiled_for_an_equal_one_does_not_get_its_name(name):
    class Net(eqx.Module):
        layers: dict

        def __call__(self, x):
            for layer in self.layers.values():
                x = call_compiled(x, layer)
            return x

    pools = [eqx.nn.MaxPool2d(3, 1, padding=1) for _ in range(2)]
    model = Net({name: pools[0], "second": pools[1]})
    assert [row.name for row in jc.summary(model, "4 9 9").rows] == ["MaxPool2d", "MaxPool2d#2"]


def test_a_layer_made_again_that_shares_its_arrays_does_not_get_the_name_of_another():
    class Tied(eqx.Module):
        first: eqx.Module
        second: eqx.Module

        def __call__(self, x):
            return eqx.filter_vmap(self.second)(eqx.filter_vmap(self.first)(x[None]))[0]

    first = conv()
    second = eqx.tree_at(lambda c: (c.weight, c.bias), conv(), (first.weight, first.bias))
    failures = [failure.layer for failure in jc.check(Tied(first, second), "4 h w").failures]
    assert failures == ["Conv"]
