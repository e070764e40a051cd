"""Tables of layers: golden numbers, XLA's and a loop's counts, and models of every library."""

import contextlib
import functools
import itertools
import json
import re

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
from rich.console import Console

import jaxconv as jc
from tests.support import networks, oracle

AT = {"b": 1, "h": 224, "w": 224}
ORDER = ("NHWC", "HWIO", "NHWC")


@functools.cache
def vgg(head="dense"):
    return nnx.eval_shape(lambda: jc.vgg16(head=head))


def value(formula, point):
    return formula.at(**point) if isinstance(formula, jc.Size) else formula


def named(table):
    return {row.name: row for row in table.rows}


def fed(table):
    return {row.name: row.inputs for row in table.rows}


def test_golden_numbers_of_vgg16():
    table = jc.summary(vgg(), "b h w 3", at=AT)
    rows = named(table)
    assert table.parameters == table.totals.parameters == 138_357_544
    convolutions = [row for row in table.numbers if row.kind == "convolution"]
    assert len(convolutions) == 13
    assert sum(row.macs for row in convolutions) == 15_346_630_656
    weights = [rows[f"conv{name}"].weights for name in ("1_1", "1_2", "2_2", "3_3", "5_3")]
    assert weights == [27, 576, 1152, 2304, 4608]
    assert str(rows["conv1_1"].macs) == "1728*b*h*w"
    assert str(rows["conv1_1"].activation_bytes) == "256*b*h*w"
    assert [rows[n].parameters for n in ("conv1_1", "pool1", "fc8")] == [1792, 0, 4_097_000]
    assert list(rows)[-4:] == ["pool5", "fc6", "fc7", "fc8"]
    assert (rows["fc6"].weights, rows["fc6"].output[1:]) == (25088, (4096,))
    assert (rows["pool5"].output[1:], rows["pool5"].kind) == ((7, 7, 512), "pool")
    assert table.totals.macs == 15_346_630_656 + 25088 * 4096 + 4096 * 4096 + 4096 * 1000
    assert str(table.sizes) == "224 <= h <= 255, 224 <= w <= 255"


def test_the_trunk_of_vgg16_is_text_that_fits():
    table = jc.summary(vgg(None), "b h w 3")
    text = str(table)
    assert table.parameters == 14_714_688
    lines = text.splitlines()
    columns = "# layer from output parameters weights field MACs bytes"
    assert lines[0].split() == columns.split()
    assert lines[2].split() == [
        "1", "conv1_1", "(b,", "h,", "w,", "64)", "1,792", "27", "3/1", "1728*b*h*w",
        "256*b*h*w"
    ]  # fmt: skip
    assert [line.split()[-3] for line in lines[18:20]] == ["196/16", "212/32"]
    assert "  (b, h//2, w//2, 64)  " in lines[4]
    assert len({line.index("(b, ") for line in lines[2:20]}) == 1
    assert max(map(len, lines[:21])) <= 121
    assert "\x1b" not in text
    assert lines[-1] == "A MAC is one multiply-accumulate; kernel elements on padding are counted."


def test_rich_shows_the_same_cells():
    table = jc.summary(
        lambda x: checkpoint_name(jc.conv(x, jnp.ones((3, 3, 3, 4))), "[b]"), "b h w 3"
    )
    console = Console(width=120, force_terminal=True, color_system="standard")
    with console.capture() as capture:
        console.print(table)
    shown = capture.get()
    assert "\x1b[" in shown
    for cell in ("[b]", "(b, h, w, 4)", "108*b*h*w", "16*b*h*w", "for every size"):
        assert cell in shown


def configuration(rng):
    """Shapes and options of a random convolution that has at least one output."""
    rank = int(rng.integers(1, 4))
    axes = "DHW"[-rank:]
    groups = {"feature_group_count": 1, "batch_group_count": 1}
    groups[str(rng.choice(list(groups)))] = count = int(rng.integers(1, 4))
    size = rng.integers(1, 8 if rank < 3 else 5, rank)
    x = (int(rng.integers(1, 3)) * groups["batch_group_count"], *size.tolist())
    c = int(rng.integers(1, 4))
    kernel = rng.integers(1, 5, rank).tolist()
    options = {
        "window_strides": rng.integers(1, 4, rank).tolist(),
        "padding": rng.integers(0, 5, (rank, 2)).tolist(),
        "rhs_dilation": rng.integers(1, 4, rank).tolist(),
        "lhs_dilation": rng.integers(1, 4, rank).tolist() if rng.integers(2) else [1] * rank,
        "dimension_numbers": (f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        **groups,
    }  # fmt: skip
    filters = count * int(rng.integers(1, 3))
    shapes = (*x, c * groups["feature_group_count"]), (*kernel, c, filters)
    out = jax.eval_shape(lambda *a: lax.conv_general_dilated(*a, **options), *structs(shapes))
    return (shapes, options, out.shape) if min(out.shape) else configuration(rng)


def structs(shapes):
    return [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]


def convolve(options):
    return lambda kernel, x: lax.conv_general_dilated(x, kernel, **options)


def counted(shapes, options, out, padded_taps):
    """Count by looking where each tap of each window falls."""
    (_, *size, _), (*kernel, c, _) = shapes
    positions = out[1:-1]
    settings = [options[k] for k in ("window_strides", "rhs_dilation", "lhs_dilation", "padding")]
    total = 0
    for position in itertools.product(*map(range, positions)):
        for tap in itertools.product(*map(range, kernel)):
            met = True
            for o, t, n, stride, dilation, holes, (low, _) in zip(
                position, tap, size, *settings, strict=True
            ):
                place = o * stride + t * dilation - low
                padding = not 0 <= place <= (n - 1) * holes
                met &= place % holes == 0 and (padded_taps or not padding)
            total += met
    return total * out[0] * out[-1] * c


def test_macs_are_those_of_a_loop_and_of_xla(seed):
    shapes, options, out = configuration(np.random.default_rng(seed))
    x, kernel = structs(shapes)
    for padded_taps in (True, False):
        table = jc.summary(convolve(options), kernel, x, padded_taps=padded_taps)
        (row,) = table.rows
        assert row.output == out
        assert row.macs == table.macs == counted(shapes, options, out, padded_taps)
        assert row.weights == np.prod(shapes[1][:-1])
        assert row.parameters == np.prod(shapes[1])
    assert 2 * row.macs == flops(convolve(options), kernel, x)


def flops(fn, *args):
    return jax.jit(fn).lower(*args).cost_analysis().get("flops", 0)  # absent where it is 0


PRODUCTS = ["bij,bjk->bik", "bij,jk->bik", "ij,ij->", "bij,bkj->ikb", "bhwc,hk->bwck", "i,j->ij"]


@pytest.mark.parametrize("formula", PRODUCTS)
def test_macs_of_products_are_half_of_xlas_flops(formula):
    rng = np.random.default_rng(len(formula))
    size = {axis: int(n) for axis, n in zip("bijkhwc", rng.permutation(9)[:7] + 1, strict=True)}
    a, b = structs([[size[axis] for axis in part] for part in formula.split("->")[0].split(",")])
    product = lambda a, b: jnp.einsum(formula, a, b)  # noqa: E731
    assert 2 * jc.summary(product, a, b).macs == flops(product, a, b)


@pytest.mark.parametrize("padded_taps", [True, False])
def test_formulas_give_the_numbers_of_every_size(seed, padded_taps):
    """A random convolution of symbolic sizes, then the same one at concrete ones."""
    rng = np.random.default_rng([seed, padded_taps])
    shapes, options, _ = configuration(rng)
    (x, kernel), rank = shapes, len(shapes[0]) - 2
    batch, names = options["batch_group_count"], ["h", "w", "d"][:rank]
    spec = " ".join([f"{batch}*b", *names, str(x[-1])])
    where = ", ".join(f"{name} >= 4" for name in names)
    call = convolve(options | {"padding": [[4, 5]] * rank})
    table = jc.summary(call, jnp.ones(kernel), spec, where=where, padded_taps=padded_taps)
    for _ in range(3):
        point = {name: int(rng.integers(4, 40)) for name in ("b", *names)}
        image = (batch * point["b"], *(point[name] for name in names), x[-1])
        want = jc.summary(call, *structs((kernel, image)), padded_taps=padded_taps)
        assert [value(n, point) for n in table.rows[0].output] == [*want.rows[0].output]
        assert value(table.macs, point) == want.macs
        assert value(table.activation_bytes, point) == want.activation_bytes


def first_with_a_table(seed, padded_taps):
    """The first network from this seed on, of one argument, with one table for all its sizes."""
    while True:
        network = networks.network(seed)
        seed += 1
        if len(network.specs) == 1:
            with contextlib.suppress(jc.ShapeError):
                return network, jc.summary(network.fn, *network.specs, padded_taps=padded_taps)


def test_random_networks_have_the_numbers_of_each_size(seed):
    """Layers, flow and totals read off the formulas and off a trace of one size."""
    rng = np.random.default_rng(seed)
    padded_taps = seed % 2 == 0
    network, table = first_with_a_table(100 * seed, padded_taps)
    drawn = {name: int(rng.integers(8, 24)) for name in table.sizes.names}
    point = table.sizes.nearest(drawn)
    shape = [oracle.value(axis, point) for axis in network.specs[0].split()]
    image = jax.ShapeDtypeStruct(shape, jnp.float32)
    want = jc.summary(network.fn, image, padded_taps=padded_taps)
    found = jc.summary(network.fn, *network.specs, padded_taps=padded_taps, at=point)
    assert fed(table) == fed(found) == fed(want)
    for row, formulas, numbers in zip(want.rows, table.rows, found.numbers, strict=True):
        for name in ("macs", "activation_bytes", "weights", "times"):
            exact = getattr(row, name)
            assert getattr(numbers, name) == exact, (row.name, name)
            assert value(getattr(formulas, name), point) in (exact, None), (row.name, name)
        assert numbers.output == row.output
    assert found.totals.macs == want.macs
    assert value(table.macs, point) in (want.macs, None)


class Block(nnx.Module):
    """Two convolutions and a skip."""

    def __init__(self, c_in, c_out, stride, rngs):
        options = {"use_bias": False, "rngs": rngs}
        self.conv1 = nnx.Conv(c_in, c_out, (3, 3), strides=stride, **options)
        self.norm1 = nnx.BatchNorm(c_out, rngs=rngs)
        self.conv2 = nnx.Conv(c_out, c_out, (3, 3), **options)
        self.norm2 = nnx.BatchNorm(c_out, rngs=rngs)
        self.short = nnx.Conv(c_in, c_out, (1, 1), strides=stride, **options)

    def __call__(self, x):
        y = jax.nn.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return checkpoint_name(jax.nn.relu(self.short(x) + y), "block")


class ResNet(nnx.Module):
    """A stem, blocks, a mean and a head."""

    def __init__(self, rngs):
        self.stem = nnx.Conv(3, 8, (7, 7), strides=2, rngs=rngs)
        self.blocks = nnx.List([Block(8, 8, 1, rngs), Block(8, 16, 2, rngs)])
        self.head = nnx.Linear(16, 10, rngs=rngs)

    def __call__(self, x):
        x = jax.nn.relu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        x = checkpoint_name(x.mean((1, 2)), "mean")
        return jax.nn.log_softmax(self.head(x))


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_residual_network_shows_its_joins(mode):
    model = nnx.eval_shape(lambda: ResNet(nnx.Rngs(0)))
    getattr(model, mode)()
    table = jc.summary(model, "b h w 3")
    first, second = "blocks.0", "blocks.1"
    assert fed(table) == {
        "stem": ("input",),
        f"{first}.conv1": ("stem",),
        f"{first}.conv2": (f"{first}.conv1",),
        f"{first}.short": ("stem",),
        "block": (f"{first}.short", f"{first}.conv2"),
        f"{second}.conv1": ("block",),
        f"{second}.conv2": (f"{second}.conv1",),
        f"{second}.short": ("block",),
        "block#2": (f"{second}.short", f"{second}.conv2"),
        "mean": ("block#2",),
        "head": ("mean",),
    }
    arrays = nnx.state(model, nnx.Param)
    assert table.parameters == sum(leaf.size for leaf in jax.tree.leaves(arrays))
    rows = named(table)
    assert rows[f"{first}.conv1"].parameters == 9 * 8 * 8 + 2 * 8
    assert {row.kind for row in table.rows} == {"convolution", "join", "reduction", "product"}
    assert str(rows[f"{second}.conv1"].output) == "(b, (h + 3)//4, (w + 3)//4, 16)"
    text = str(table).splitlines()
    assert text[5].split()[:3] == ["4", f"{first}.short", "1"]
    assert text[6].split()[:4] == ["5", "block", "4,", "3"]
    assert text[7].split()[:3] == ["6", f"{second}.conv1", "(b,"]


def test_a_concatenation_is_a_join_and_a_normalisation_is_none():
    kernel, scale = jnp.ones((3, 3, 4, 4)), jnp.ones(8)

    def network(x):
        x = (x - x.mean((1, 2), keepdims=True)) / x.std()
        left = checkpoint_name(jax.nn.silu(jc.conv(x, kernel)), "left")
        right = checkpoint_name(jc.max_pool(x, 3, stride=1, padding="SAME"), "right")
        both = jnp.concatenate([left, right], -1)
        both = (both - both.mean(-1, keepdims=True)) * lax.rsqrt(both.var(-1, keepdims=True))
        both = checkpoint_name(both * scale, "both")
        high, mean = both.max((1, 2)), both.mean((1, 2))
        return checkpoint_name(high, "max"), checkpoint_name(mean, "mean"), high + mean

    table = jc.summary(network, "b h w 4")
    assert [*fed(table).items()][:5] == [
        ("left", ("input",)),
        ("right", ("input",)),
        ("both", ("left", "right")),
        ("max", ("both",)),
        ("mean", ("both",)),
    ]
    last = table.rows[5]
    assert (last.kind, last.inputs) == ("join", ("max", "mean"))
    assert last.name.startswith("add (test_summary.py:")
    assert [row.parameters for row in table.rows] == [144, 0, 8, 0, 0, 0]
    assert str(named(table)["both"].output) == "(b, h, w, 8)"


def test_a_mask_is_no_map_and_a_crop_is_not_the_output():
    kernel = jnp.ones((3, 3, 3, 3))

    def network(x, other):
        x = checkpoint_name(jc.conv(x, kernel), "x")
        y = checkpoint_name(jc.conv(other, kernel), "y")
        masked = jnp.where(x > 0, y, 0)
        low = jax.nn.relu(masked[:, 1:]), jnp.tanh(jnp.pad(x, ((0, 0), (2, 2), (0, 0), (0, 0))))
        return low, checkpoint_name(jc.max_pool(masked), "pool")

    table = jc.summary(network, "b h w 3", "b h w 3", where="h >= 2, w >= 2")
    assert fed(table) == {"x": ("input",), "y": ("input 2",), "pool": ("y",)}
    assert [str(row.output) for row in table.rows[:2]] == ["(b, h, w, 3)"] * 2


def test_products_inside_what_is_not_known_here_are_unknown():
    matrix = 2 * jnp.eye(3)

    def network(x):
        solve = lambda matvec, b: b / 2  # noqa: E731
        return lax.custom_linear_solve(lambda v: matrix @ v, x, solve, symmetric=True) @ matrix

    table = jc.summary(network, jnp.ones(3))
    assert [(row.kind, row.macs) for row in table.rows] == [("unknown", None), ("product", 9)]
    assert table.macs is None
    assert "?" in str(table).splitlines()[2]


def test_attention_over_channels_is_a_join():
    down, up = jnp.ones((8, 2)), jnp.ones((2, 8))

    def network(x):
        x = checkpoint_name(jc.conv(x, jnp.ones((1, 1, 3, 8))), "conv")
        gate = checkpoint_name(x.mean((1, 2)), "mean") @ down
        gate = jax.nn.sigmoid(checkpoint_name(jax.nn.relu(gate), "down") @ up)
        return checkpoint_name(x * gate[:, None, None], "scaled")

    table = jc.summary(network, "b h w 3")
    assert table.rows[-1].inputs == ("conv", table.rows[-2].name)
    assert [row.weights for row in table.rows] == [3, None, 8, 2, None]


def test_a_scan_counts_length_times_and_its_stacked_parameters_whole():
    kernels, bias = jnp.ones((5, 3, 3, 2, 2)), jnp.ones(2)

    def network(x):
        step = lambda y, kernel: (jax.nn.relu(jc.conv(y, kernel, bias)), y)  # noqa: E731
        y, all_of_them = lax.scan(step, x, kernels)
        return checkpoint_name(jnp.concatenate([y, x], -1), "joined"), all_of_them

    table = jc.summary(network, "b h w 2")
    body, joined = table.rows
    assert (body.times, body.parameters, body.weights) == (5, 5 * 36 + 2, 18)
    assert str(body.output) == "(b, h, w, 2)"
    assert str(body.macs) == "180*b*h*w"
    assert str(body.activation_bytes) == "40*b*h*w"
    assert joined.inputs == (body.name, "input")
    assert f"{body.name} x 5" in str(table)


def test_a_scan_in_a_scan_over_rows_counts_as_often_as_there_are_rows():
    matrix = jnp.ones((3, 3))

    def network(x):
        inner = lambda c, _: (c @ matrix, None)  # noqa: E731
        outer = lambda c, row: (c + row, lax.scan(inner, row, None, length=4)[0])  # noqa: E731
        return lax.scan(outer, jnp.zeros((2, 3)), x)

    table = jc.summary(network, "h 2 3")
    assert str(named(table)[table.rows[-1].name].macs) == "72*h"


def test_of_branches_the_total_counts_the_largest():
    small, large = jnp.ones((1, 1, 2, 2)), jnp.ones((3, 3, 2, 2))

    def network(x, kind):
        y = lax.switch(kind, [lambda x: jc.conv(x, small), lambda x: jc.conv(x, large)], x)
        return checkpoint_name(jc.max_pool(jax.nn.relu(y)), "pool")

    table = jc.summary(network, "b h w 2", jax.ShapeDtypeStruct((), jnp.int32))
    one, two, pool = table.rows
    assert [str(row.macs) for row in (one, two)] == ["4*b*h*w", "36*b*h*w"]
    assert str(table.macs) == "36*b*h*w"
    assert table.parameters == 40
    assert pool.inputs == (one.name, two.name)
    assert str(table.activation_bytes) == "8*b*h*w + 8*b*(h//2)*(w//2)"


def test_the_body_of_a_while_loop_counts_once():
    kernel = jnp.ones((3, 3, 2, 2))

    def network(x):
        return lax.while_loop(lambda y: y.sum() < 9, lambda y: jc.conv(y, kernel), x)

    table = jc.summary(network, "b h w 2")
    assert [(row.kind, str(row.macs)) for row in table.rows] == [
        ("reduction", "0"), ("convolution", "36*b*h*w")
    ]  # fmt: skip


WRAPPERS = {
    "jit": jax.jit,
    "checkpoint": jax.checkpoint,
    "vmap": lambda f: jax.vmap(lambda image: f(image[None])[0]),
    "jit of checkpoint": lambda f: jax.jit(jax.checkpoint(f)),
}


@pytest.mark.parametrize("kind", WRAPPERS)
def test_calls_are_read_in_place(kind):
    kernel = jnp.ones((3, 3, 3, 4))
    network = WRAPPERS[kind](lambda x: jax.nn.relu(jc.conv(x, kernel)))
    table = jc.summary(lambda x: network(network(x)[..., :3]), "b h w 3")
    assert [str(row.macs) for row in table.rows] == ["108*b*h*w"] * 2
    assert [row.parameters for row in table.rows] == [108, 0]


def test_transposed_grouped_and_dilated_layers():
    up, groups, atrous = jnp.ones((2, 2, 6, 3)), jnp.ones((3, 3, 2, 6)), jnp.ones((3, 3, 6, 6))

    def network(x):
        x = checkpoint_name(jc.conv(x, groups, groups=3), "groups")
        x = checkpoint_name(jc.conv(x, atrous, dilation=2, padding="VALID"), "atrous")
        return checkpoint_name(jc.conv_transpose(x, up, stride=2), "up")

    rows = named(jc.summary(network, "b h w 6", where="h >= 5, w >= 5"))
    assert str(rows["groups"].macs) == "108*b*h*w"
    assert str(rows["atrous"].macs) == "324*b*(h - 4)*(w - 4)"
    assert rows["groups"].weights == 18
    point = {"b": 2, "h": 9, "w": 7}
    assert rows["up"].macs.at(**point) == 2 * 5 * 3 * 4 * rows["up"].parameters // 4
    assert [n.at(**point) for n in rows["up"].output[1:3]] == [10, 6]


def test_the_gradient_of_a_kernel_counts_as_its_convolution():
    def loss(kernel, x):
        return jc.conv(x, kernel, padding="VALID").sum()

    table = jc.summary(jax.grad(loss), jnp.ones((3, 3, 2, 4)), "b h w 2", where="h >= 3, w >= 3")
    macs = [str(row.macs) for row in table.rows if row.kind == "convolution"]
    assert macs == ["72*b*(h - 2)*(w - 2)"] * 2


def test_linen_names_its_layers_and_counts_params_only():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.BatchNorm(use_running_average=True)(nn.Conv(8, (3, 3))(x)))
            x = nn.GroupNorm(4)(nn.Conv(8, (5, 5), feature_group_count=2)(x))
            return nn.softmax(nn.Dense(7)(x.mean((1, 2))))

    net = Net()
    variables = jax.eval_shape(net.init, jax.random.key(0), jnp.ones((1, 8, 8, 3)))
    table = jc.summary(net.apply, variables, "b h w 3")
    convolution, group, mean, dense = table.rows
    assert [convolution.name, group.name, dense.name] == ["Net.Conv_0", "Net.Conv_1", "Net.Dense_0"]
    assert mean.kind == "reduction"
    assert [row.parameters for row in table.rows] == [240, 25 * 4 * 8 + 24, 0, 63]
    assert str(group.output) == "(b, h, w, 8)"
    assert group.weights == 100


def test_equinox_in_one_and_three_dimensions():
    keys = jax.random.split(jax.random.key(0), 3)
    deep = eqx.nn.Sequential(
        [
            eqx.nn.Conv3d(2, 4, 3, padding=1, key=keys[0]),
            eqx.nn.Lambda(jax.nn.gelu),
            eqx.nn.MaxPool3d(2, 2),
        ]
    )
    table = jc.summary(deep, "2 d h w")
    convolution, pool = table.rows
    assert str(convolution.macs) == "216*d*h*w"
    assert (table.parameters, convolution.weights, pool.kind) == (4 * 55, 54, "pool")
    flat = eqx.nn.Sequential(
        [
            eqx.nn.Conv1d(2, 4, 5, key=keys[1]),
            eqx.nn.Lambda(lambda x: x.mean(-1)),
            eqx.nn.Linear(4, 3, key=keys[2]),
        ]
    )
    table = jc.summary(jax.vmap(flat), "b 2 10")
    assert [str(row.macs) for row in table.rows] == ["240*b", "0", "12*b"]
    assert [str(row.output) for row in table.rows] == ["(b, 4, 6)", "(b, 4)", "(b, 3)"]


def test_haiku_names_its_layers():
    def network(x):
        x = hk.MaxPool((2, 2, 1), (2, 2, 1), "VALID")(jax.nn.relu(hk.Conv2D(8, 3)(x)))
        return hk.Linear(5)(x.mean((1, 2)))

    made = hk.without_apply_rng(hk.transform(network))
    params = jax.eval_shape(made.init, jax.random.key(0), jnp.ones((1, 8, 8, 3)))
    table = jc.summary(made.apply, params, "b h w 3")
    assert [row.kind for row in table.rows] == ["convolution", "pool", "reduction", "product"]
    assert [table.rows[i].name for i in (0, 1, 3)] == ["conv2_d", "max_pool", "linear"]
    assert [row.parameters for row in table.rows] == [224, 0, 0, 45]


def test_names_come_from_the_parameters_where_no_layer_has_one():
    def network(params, x):
        for weights in params["stages"]:
            x = jax.nn.relu(lax.conv(x, weights["w"], (1, 1), "SAME") + weights["b"])
        return x.mean((2, 3)) @ params["head"]["w"]

    stages = [{"w": jnp.ones((4, c, 3, 3)), "b": jnp.ones((1, 1, 1))} for c in (2, 4)]
    params = {"stages": stages, "head": {"w": jnp.ones((4, 3))}, "spare": jnp.ones(50)}
    table = jc.summary(network, params, "b 2 h w")
    first, second, mean, head = table.rows
    assert [first.name, second.name, head.name] == ["stages.0", "stages.1", "head"]
    assert mean.name.startswith("mean (test_summary.py:")
    assert table.parameters == 73 + 145 + 12 + 50
    assert "parameters: 280, 50 of them unused by the layers above" in str(table)


def test_bytes_are_those_of_the_type_after_the_activation():
    kernel = jnp.ones((3, 3, 3, 4), jnp.bfloat16)

    def network(x):
        y = lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=ORDER, preferred_element_type=jnp.float32
        )
        return jax.nn.relu(y).astype(jnp.bfloat16).reshape(x.shape[0], -1)

    (row,) = jc.summary(network, "b h w 3:bfloat16").rows
    assert (row.dtype, str(row.activation_bytes)) == ("bfloat16", "8*b*h*w")
    assert str(row.output) == "(b, h, w, 4)"


def test_data_survives_json():
    table = jc.summary(vgg("conv"), "b h w 3", at={"b": 2, "h": 256, "w": 288})
    data = json.loads(json.dumps(table.to_json()))
    assert data == table.to_json()
    row = data["rows"][17]
    assert (row["name"], row["inputs"], row["kind"]) == ("pool5", ["conv5_3"], "pool")
    assert row["output"] == ["b", "h//32", "w//32", 512]
    assert row["at"]["output"] == [2, 8, 9, 512]
    assert data["rows"][0]["macs"] == "1728*b*h*w"
    assert data["rows"][0]["at"]["macs"] == 1728 * 2 * 256 * 288
    assert data["parameters"] == data["at"]["parameters"] == 138_357_544
    assert data["at"]["macs"] == table.totals.macs
    assert data["sizes"] == "h >= 224, w >= 224"


def test_numbers_stand_beside_formulas():
    text = str(jc.summary(vgg(None), "b h w 3", at=AT))
    assert "1728*b*h*w = 86,704,128" in text
    assert "(b, h//2, w//2, 64) = (1, 112, 112, 64)" in text
    assert "for h >= 32, w >= 32; numbers for b = 1, h = 224, w = 224" in text


def test_cases_of_sizes_make_one_table():
    """A gradient pads by the remainder of h, so that even and odd h are traced apart."""

    def network(x):
        return jax.grad(lambda x: (jc.conv(x, jnp.ones((3, 3, 2, 2)), stride=2) ** 2).sum())(x)

    table = jc.summary(network, "b h w 2", padded_taps=False)
    for h, w in ((1, 2), (6, 7), (8, 8), (9, 5)):
        want = jc.summary(network, jnp.ones((3, h, w, 2)), padded_taps=False)
        got = [value(row.activation_bytes, {"b": 3, "h": h, "w": w}) for row in table.rows]
        assert got == [row.activation_bytes for row in want.rows]


def test_what_is_not_decided_is_a_question_mark():
    def network(x):
        _, h, w, c = x.shape
        kernel = jnp.ones((h, w, c, 4))
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=ORDER)

    table = jc.summary(network, "b h w 3", padded_taps=False)
    assert (table.macs, table.rows[0].macs) == (None, None)
    assert "MACs: ?" in str(table)
    assert table.to_json()["macs"] is None
    assert jc.summary(network, "b h w 3").macs is not None


BAD = {
    "no size": (
        lambda: jc.summary(vgg(), "b h w 4"),
        "summary: no size is accepted. VGG: x has 4 channels, but the model was made for 3.\n"
        "  Fix: pass channels=4 when making the model.",
    ),
    "an empty condition": (
        lambda: jc.summary(vgg(None), "b h w 3", where="h >= 9, h <= 8"),
        "where= holds for no size: h >= 9, h <= 8.\n  Fix: pass a condition that some sizes meet.",
    ),
    "cases": (
        lambda: jc.summary(lambda x: jc.max_pool(x) if x.shape[1] > 9 else x, "b h w 3",
                           where="h >= 2, w >= 2"),
        "summary: the layers differ from case to case: there are 0 for 2 <= h <= 9, w >= 2, or 1 "
        "for h >= 10, w >= 2.\n  Fix: select one case with where=, or pass numbers as sizes.",
    ),
    "numbers needed": (
        lambda: jc.summary(lambda x: x[:, : int(x.shape[1] * jnp.pi) + 1], "b h w 3"),
        "summary: the sizes cannot be traced as formulas: not decided: the code needs "
        "int(h*3.141592653589793) + 1 as a number, at test_summary.py.\n"
        "  Fix: pass numbers, such as \"1 224 224 3\".",
    ),
    "a size outside": (
        lambda: jc.summary(vgg(None), "b h w 3", at={"b": 1, "h": 31, "w": 40}),
        "summary: b = 1, h = 31, w = 40 is not accepted: VGG: x has hxw pixels, but 5 pools need "
        "32x32, so that a pixel is left.\n  Fix: pass sizes with h >= 32, w >= 32.",
    ),
    "a size excluded": (
        lambda: jc.summary(vgg(None), "b h w 3", where="h >= 64, w >= 32", at=AT | {"h": 32}),
        "summary: b = 1, h = 32, w = 224 is not accepted: where= excludes it.\n"
        "  Fix: pass sizes with h >= 64, w >= 32.",
    ),
    "other names": (
        lambda: jc.summary(vgg(None), "b h w 3", at={"h": 64}),
        "summary: at= is {'h': 64}, but must have b, h, w, each a whole number of at least 1.\n"
        "  Fix: pass at={\"b\": 224, \"h\": 224, \"w\": 224}.",
    ),
    "a size of 0": (
        lambda: jc.summary(jc.max_pool, "b 8 8 3", at={"b": 0}),
        "summary: at= is {'b': 0}, but must have b, each a whole number of at least 1.\n"
        "  Fix: pass at={\"b\": 224}.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_calls_are_sentences(case):
    call, message = BAD[case]
    with pytest.raises(jc.ShapeError) as caught:
        call()
    assert re.sub(r"(\.py):\d+", r"\1", str(caught.value)) == message
