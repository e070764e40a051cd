"""VGG: golden numbers, heads, modes, types, names and platforms."""

import functools
import itertools
import re
from collections import OrderedDict

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax import export

import jaxconv as jc
from jaxconv.models import vgg, weights
from jaxconv.models.vgg import STAGES
from tests.support.cnns import with_drawn_kernels

MAKERS = {"vgg11": jc.vgg11, "vgg13": jc.vgg13, "vgg16": jc.vgg16, "vgg19": jc.vgg19}
PARAMETERS = {
    ("vgg11", False): 132_863_336,
    ("vgg13", False): 133_047_848,
    ("vgg16", False): 138_357_544,
    ("vgg19", False): 143_667_240,
    ("vgg11", True): 132_868_840,
    ("vgg13", True): 133_053_736,
    ("vgg16", True): 138_365_992,
    ("vgg19", True): 143_678_248,
}
SIDES = ("b h w", "b h//2 w//2", "b h//4 w//4", "b h//8 w//8", "b h//16 w//16", "b h//32 w//32")
HEADS = {
    None: (f"{SIDES[5]} 512", "h >= 32 and w >= 32"),
    "dense": ("b 1000", "224 <= h <= 255 and 224 <= w <= 255"),
    "conv": ("b h//32-6 w//32-6 1000", "h >= 224 and w >= 224"),
}
SMALL = [(4,), (6, 6), (8,)]


@functools.cache
def abstract(name="vgg16", **options):
    return nnx.eval_shape(lambda: MAKERS[name](**options))


def count(model):
    return sum(p.size for p in jax.tree.leaves(nnx.state(model, nnx.Param)))


def images(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def call(model, x):
    return model(x)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def small(**options):
    make = lambda: jc.VGG(SMALL, head=None, rngs=nnx.Rngs(1), **options)  # noqa: E731
    return with_drawn_kernels(make)


@pytest.mark.parametrize(("name", "batch_norm"), PARAMETERS)
@pytest.mark.parametrize("head", ["dense", "conv"])
def test_golden_parameters(name, batch_norm, head):
    model = abstract(name, batch_norm=batch_norm, head=head)
    assert count(model) == PARAMETERS[name, batch_norm]


def test_golden_parameters_without_head():
    assert count(abstract(head=None)) == 14_714_688


# Every model and every head, which do not depend on each other; the other pairs are slow.
CONTRACTS = [("vgg11", "dense"), ("vgg13", "conv"), ("vgg19", None), *(("vgg16", h) for h in HEADS)]


@pytest.mark.parametrize(
    ("name", "head"),
    [
        pytest.param(*pair, marks=[] if pair in CONTRACTS else [pytest.mark.slow])
        for pair in itertools.product(MAKERS, HEADS)
    ],
)
def test_every_vgg_keeps_its_contract_for_every_size(name, head):
    assert sum(map(len, STAGES[name])) == int(name[3:]) - 3  # its convolutions
    returns, where = HEADS[head]
    verdict = jc.check(abstract(name, head=head), "b h w 3", returns=returns, where=where)
    assert verdict.ok, str(verdict)


def test_every_map_keeps_its_contract_for_every_size():
    promised = OrderedDict()
    for stage, widths in enumerate(STAGES["vgg16"], start=1):
        for number, width in enumerate(widths, start=1):
            promised[f"conv{stage}_{number}"] = f"{SIDES[stage - 1]} {width}"
        promised[f"pool{stage}"] = f"{SIDES[stage]} {widths[-1]}"
    promised |= {"fc6": "b h//32-6 w//32-6 4096", "fc7": "b h//32-6 w//32-6 4096"}
    maps, model = jc.feature_maps(call), abstract(head="conv")
    verdict = jc.check(maps, model, "b h w 3", returns=promised, where=HEADS["conv"][1])
    assert verdict.ok, str(verdict)
    at_224 = {
        name: [n if isinstance(n, int) else n.at(b=1, h=224, w=224) for n in shape]
        for name, shape in verdict.outputs.items()
    }
    assert at_224["conv4_1"] == [1, 28, 28, 512]
    assert at_224["pool5"] == [1, 7, 7, 512]
    assert at_224["fc6"] == [1, 1, 1, 4096]


def test_golden_multiplications():
    """Weights of a neuron times neurons, over the convolutions of the jaxpr."""
    jaxpr = jax.make_jaxpr(call)(abstract(), images(1, 224, 224, 3)).jaxpr
    total = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "conv_general_dilated":
            kernel = eqn.invars[1].aval.shape
            total += np.prod(kernel[:-1]) * np.prod(eqn.outvars[0].aval.shape)
    assert total == 15_346_630_656


REFUSED = [
    (None, (1, 31, 224, 3), "VGG: x has 31x224 pixels, but 5 pools need 32x32, so that a pixel "
     "is left."),
    ("dense", (1, 223, 224, 3), "VGG: x has 223x224 pixels, but 5 pools need 224x224, so that the "
     "head gets a map of 7x7."),
    ("conv", (1, 224, 200, 3), "VGG: x has 224x200 pixels, but 5 pools need 224x224, so that the "
     "head gets a map of 7x7."),
    ("dense", (1, 256, 224, 3), "VGG: the dense head flattens a map of 7x7, but 256x224 pixels "
     "make one of 8x7."),
    # Flattened, this map of 1x49 has 25088 numbers too, by accident.
    ("dense", (1, 32, 1568, 3), "VGG: x has 32x1568 pixels, but 5 pools need 224x224, so that the "
     "head gets a map of 7x7."),
    ("dense", (1, 3, 224, 224), "VGG: x has 224 channels, but the model was made for 3."),
    ("dense", (224, 224, 3), "VGG: x has 3 axes, but layout NHWC needs 4 (b h w c)."),
    ("dense", (1, 224, 224, 4), "VGG: x has 4 channels, but the model was made for 3."),
]  # fmt: skip


@pytest.mark.parametrize(("head", "shape", "message"), REFUSED)
def test_nothing_else_is_let_in(head, shape, message):
    with pytest.raises(jc.ShapeError) as error:
        jax.eval_shape(call, abstract(head=head), images(*shape))
    assert str(error.value).splitlines()[0] == message
    assert "Fix: " in str(error.value)


def test_raw_pixels_are_refused():
    model, pixels = small(), np.zeros((1, 32, 32, 3), np.uint8)
    with pytest.raises(jc.ShapeError, match="VGG: x is uint8, but the model takes") as error:
        model(pixels)
    assert str(error.value).endswith("Fix: pass x.astype(jnp.float32) / 255.")
    model.preprocessing = weights.KERAS_PREPROCESSING
    with pytest.raises(jc.ShapeError, match=r"Fix: call model.preprocessing\(x\) first\."):
        model(pixels)
    assert jax.eval_shape(call, model, model.preprocessing(pixels)).shape == (1, 4, 4, 8)


def with_head(monkeypatch, **options):
    """Two pools, and a head of few neurons, that takes images of 28 pixels."""
    monkeypatch.setattr(vgg, "HIDDEN", 24)
    make = lambda: jc.VGG([(4,), (4,)], classes=10, rngs=nnx.Rngs(3), **options)  # noqa: E731
    return with_drawn_kernels(make)


def test_both_heads_are_one_up_to_a_reshape(monkeypatch):
    dense = with_head(monkeypatch, head="dense")
    conv = with_head(monkeypatch, head="conv")
    shapes = nnx.state(conv, nnx.Param)
    shared = jax.tree.map(
        lambda p, like: p.reshape(like.shape), nnx.state(dense, nnx.Param), shapes
    )
    nnx.update(conv, shared)
    x = noise(2, 28, 28, 3)
    want, got = jax.jit(call)(dense, x), jax.jit(call)(conv, x)
    chex.assert_shape(got, (2, 1, 1, 10))
    np.testing.assert_allclose(got[:, 0, 0], want, rtol=1e-4, atol=1e-4)
    assert np.abs(want).max() > 1e-3


def test_nnx_jit_and_plain_jit_agree_with_eager():
    model, x = small(batch_norm=True), noise(2, 16, 24, 3)
    want = model(x)
    np.testing.assert_allclose(nnx.jit(call)(model, x), want, atol=1e-5)
    np.testing.assert_allclose(jax.jit(call)(model, x), want, atol=1e-5)
    np.testing.assert_allclose(jax.jit(model)(x), want, atol=1e-5)


def test_bfloat16_computes_narrow_and_keeps_wide_parameters():
    model = small(dtype=jnp.bfloat16, batch_norm=True)
    x = noise(2, 16, 24, 3)
    y = jax.jit(call)(model, x)
    assert y.dtype == jnp.bfloat16
    assert {p.dtype for p in jax.tree.leaves(nnx.state(model, nnx.Param))} == {np.dtype("float32")}
    want = jax.jit(call)(small(batch_norm=True), x)
    np.testing.assert_allclose(y.astype(jnp.float32), want, atol=0.1, rtol=0.1)


def test_training_drops_and_normalises_by_the_batch(monkeypatch):
    model, run = with_head(monkeypatch, batch_norm=True), nnx.jit(call)
    x = noise(3, 28, 28, 3)
    evaluated = run(model, x)
    np.testing.assert_array_equal(run(model, x), evaluated)
    model.train()
    before = jax.tree.map(np.array, nnx.state(model, nnx.BatchStat))
    first, second = run(model, x), run(model, x)
    assert not np.allclose(first, second)
    after = nnx.state(model, nnx.BatchStat)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), before, after)
    assert min(jax.tree.leaves(moved)) > 0
    model.eval()
    np.testing.assert_array_equal(run(model, x), run(model, x))


def test_running_averages_move_by_a_tenth_to_the_batch():
    model, x = small(batch_norm=True), noise(3, 16, 24, 3)
    bare = model.conv1_1
    want = np.asarray(jc.conv(x, bare.kernel[...], bare.bias[...])).mean((0, 1, 2))
    model.train()
    nnx.jit(call)(model, x)
    np.testing.assert_allclose(bare.norm.mean[...], 0.1 * want, rtol=1e-4, atol=1e-6)


def test_dropout_drops_the_given_fraction(monkeypatch):
    model = with_head(monkeypatch, dropout=0.25)
    model.train()
    dropped = float((model.dropout(jnp.ones((100, 100))) == 0).mean())
    assert abs(dropped - 0.25) < 0.02


def test_a_training_step_lowers_the_loss():
    model = small(batch_norm=True)
    model.train()
    optimiser = nnx.Optimizer(model, optax.sgd(0.05), wrt=nnx.Param)
    x, y = noise(8, 16, 16, 3), np.arange(8) % 4

    @nnx.jit
    def step(model, optimiser):
        def loss(model):
            logits = jc.global_avg_pool(model(x))
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        value, gradient = nnx.value_and_grad(loss)(model)
        optimiser.update(model, gradient)
        return value

    losses = [float(step(model, optimiser)) for _ in range(15)]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(("head", "size"), [("dense", 224), ("conv", 256), (None, 64)])
def test_it_lowers_for_every_platform(head, size):
    traced = jax.jit(call).trace(abstract(head=head), images(2, size, size, 3))
    left = {"dense": 0, "conv": 1, None: 4}  # on a CPU: few pixels, colours, a wide kernel
    everywhere = {"dense": 13, "conv": 16, None: 13}
    for platform, expected in {"cpu": left, "cuda": everywhere, "tpu": everywhere}.items():
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert text.count("stablehlo.convolution") == expected[head], platform


def test_one_program_lowers_for_all_platforms():
    arguments = abstract(head=None), images(2, 64, 64, 3)
    exported = export.export(jax.jit(call), platforms=["cpu", "cuda", "tpu"])(*arguments)
    assert exported.platforms == ("cpu", "cuda", "tpu")
    assert exported.out_avals[0].shape == (2, 2, 2, 512)


def test_one_trace_serves_all_calls():
    traced = chex.assert_max_traces(call, n=1)
    run, model = jax.jit(traced), small()
    for seed in range(3):
        run(model, noise(1, 16, 16, 3, seed=seed))
    chex.clear_trace_counter()


def test_names_cost_nothing_at_run_time():
    """The compiled program is that of the same layers without names."""

    def plain(model, x):
        for stage, widths in enumerate(SMALL, 1):
            for index in range(1, len(widths) + 1):
                x = jax.nn.relu(getattr(model, f"conv{stage}_{index}")(x))
            x = jc.max_pool(x)
        return x

    model, x = small(), noise(1, 16, 16, 3)
    plain.__name__ = call.__name__
    texts = [jax.jit(f).lower(model, x).as_text() for f in (call, plain)]
    named, unnamed = (re.sub(r"@relu(_\d+)?", "@relu", text) for text in texts)
    assert named == unnamed
    assert named.count("stablehlo.convolution") == 4
