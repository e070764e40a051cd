"""A compiled function computes what the function does, cut and fused in all ways."""

import functools

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxconv as jc
from jaxconv.aot import batching
from jaxconv.aot.program import in_large_pages
from jaxconv.aot.storage import ProgramError
from jaxconv.kernels import tiling
from tests.support.programs import agree, exactly, loops, normal

X = normal(4, 16, 20, 16)
KERNEL, BIAS = normal(3, 3, 16, 24), normal(24)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.int8])
@pytest.mark.parametrize("size", [1000, 5_000_011])
def test_large_arrays_move_to_aligned_memory_as_they_are(dtype, size):
    array = jnp.asarray(np.random.default_rng(size).integers(-99, 99, size), dtype)
    moved = in_large_pages(array)
    np.testing.assert_array_equal(moved, array)
    assert (moved.dtype, moved.shape, moved.devices()) == (array.dtype, (size,), array.devices())
    assert (moved is array) == (array.nbytes < 2**22)
    assert moved.unsafe_buffer_pointer() % 64 == 0


@pytest.fixture(params=["whole", "cut"])
def cuts(request, monkeypatch):
    """Small maps in one go, or in blocks and groups as large maps are."""
    if request.param == "cut":
        for name in ("WHOLE_BYTES", "BLOCK_BYTES", "MIN_TILES"):
            monkeypatch.setattr(tiling, name, 1)
        monkeypatch.setattr(batching, "GROUP_BYTES", 1)
    return request.param


def relu_conv(x):
    return jax.nn.relu(jc.conv(x, KERNEL, BIAS))


def unet(x):
    small = jc.max_pool(relu_conv(x))
    large = jnp.repeat(jnp.repeat(small, 2, 1), 2, 2)
    return jnp.concatenate([x, large], -1)


def twice_read(x):
    y = jc.conv(x, KERNEL, BIAS)
    return jax.nn.relu(y) + y, jc.max_pool(y)


def negative_scale(x):
    return jc.max_pool(jc.conv(x, KERNEL) * -jnp.abs(BIAS))


def subtracted_from(x):
    return jc.max_pool(BIAS - jc.conv(x, KERNEL))


def bias_of_the_input(x):
    return jc.max_pool(jc.conv(x, KERNEL) + x.mean((1, 2), keepdims=True).sum(-1, keepdims=True))


def kernel_of_the_input(x):
    return jc.conv(x, jnp.tile(x[:1, :3, :3, :, None].reshape(3, 3, 16, 1), 24))


def over_the_batch(x):
    return jnp.cumsum(jc.max_pool(relu_conv(x - x.mean(0))), 0)[::-1]


def standardised(x):
    kernel = (KERNEL - KERNEL.mean()) / KERNEL.std()
    return {"maps": jc.max_pool(jnp.maximum(jc.conv(x, jnp.asarray(kernel)), 0.1), 4), "x": x}


def in_a_loop(x):
    kernel = normal(3, 3, 16, 16) / 12
    return jax.lax.scan(lambda x, _: (jc.conv(x, kernel), x.sum()), x, None, length=3)


def channels_first(x):
    return jc.max_pool(jc.conv(jnp.moveaxis(x, -1, 1), KERNEL, BIAS, layout="NCHW"), layout="NCHW")


def swapped_axes(x):
    """Channels where the batch was."""
    order = ("CHWN", "HWIO", "CHWN")
    kernel = normal(3, 3, 4, 18)
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=order)


def strided(x):
    return jc.max_pool(relu_conv(jc.conv(x, normal(3, 3, 16, 16), stride=2)), 3, stride=1)


FUNCTIONS = [
    relu_conv, unet, twice_read, negative_scale, subtracted_from, bias_of_the_input,
    kernel_of_the_input, over_the_batch, standardised, in_a_loop, channels_first, swapped_axes,
    strided,
]  # fmt: skip


@functools.cache
def exact(fn):
    return exactly(fn, X)


@pytest.mark.parametrize("fn", FUNCTIONS)
def test_it_computes_what_the_function_does(fn, cuts):
    agree(jc.compile(fn, X)(X), exact(fn))


def test_groups_and_stripes_are_tried_above(cuts):
    """Else the test above would try the same twice."""
    found = loops(jc.compile(relu_conv, X)), loops(jc.compile(over_the_batch, X))
    assert found[0] == (2 if cuts == "cut" else 0)
    assert found[1] < 2  # images meet before the convolution


class Small(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(24, (3, 3))(x))
        return nn.max_pool(x, (2, 2), strides=(2, 2))


def linen():
    model = Small()
    return functools.partial(model.apply, model.init(jax.random.key(0), X))


def equinox():
    conv = eqx.nn.Conv2d(16, 24, 3, padding=1, key=jax.random.key(1))
    return jax.vmap(lambda x: jax.nn.relu(conv(jnp.moveaxis(x, -1, 0))))


def vgg(**options):
    return jc.VGG([(16, 16), (32, 16)], channels=16, rngs=nnx.Rngs(0), head=None, **options)


def plain_nnx():
    return nnx.Conv(16, 24, (3, 3), rngs=nnx.Rngs(0))


MODELS = {
    "linen": linen, "equinox": equinox, "vgg": vgg, "nnx": plain_nnx,
    "batch norm": functools.partial(vgg, batch_norm=True),
    "feature maps": lambda: jc.feature_maps(vgg()),
}  # fmt: skip


@functools.cache
def made(name):
    """A model, and what it computes."""
    model = MODELS[name]()
    return model, exactly(model, X)


@pytest.mark.parametrize("name", MODELS)
def test_models_of_all_libraries_become_fast(name, cuts):
    model, want = made(name)
    infer = jc.compile(model, X)
    agree(infer(X), want)
    assert any(schedule.formulation != "direct" for schedule in infer.schedules)


def test_kernels_are_kept_in_one_form_only():
    infer = jc.compile(vgg(), "1 48 48 16")
    kept = sorted(c.size for c in infer._program.constants if c.size > 100)
    tiles = [{"F(2x2, 3x3)": 16, "F(4x4, 3x3)": 36}[s.formulation] for s in infer.schedules]
    widths = [(16, 16), (16, 16), (16, 32), (32, 16)]
    assert kept == sorted(n * a * b for n, (a, b) in zip(tiles, widths, strict=True))


def test_several_inputs_that_are_no_batch():
    a, b = normal(8, 8), normal(8, 8, seed=1)
    agree(jc.compile(jnp.matmul, a, b)(a, b), a @ b)
    agree(jc.compile(lambda a, b: (jnp.maximum(a, b[:, :1]), 3.0 * b), a, b)(a, b),
          exactly(lambda a, b: (jnp.maximum(a, b[:, :1]), 3.0 * b), a, b))  # fmt: skip


WRONG = {
    "another shape": (lambda f: f(X[:1]), (
        "compile: array 1 is (1, 16, 20, 16) float32, but it was compiled for "
        "(4, 16, 20, 16) float32.\n"
        "  Fix: pass an array of that shape and type, or compile the function for this one."
    )),
    "another type": (lambda f: f(X.astype(np.float16)), (
        "compile: array 1 is (4, 16, 20, 16) float16, but it was compiled for "
        "(4, 16, 20, 16) float32.\n"
        "  Fix: pass an array of that shape and type, or compile the function for this one."
    )),
    "sizes without numbers": (lambda f: jc.compile(relu_conv, "b 16 20 16"), (
        'compile: the spec "b 16 20 16" has sizes that are not numbers.\n'
        '  Fix: pass numbers, such as "1 224 224 3": a program is compiled for one shape.'
    )),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_calls_are_sentences(case):
    call, message = WRONG[case]
    with pytest.raises(jc.ShapeError) as caught:
        call(jc.compile(relu_conv, X))
    assert str(caught.value) == message


def test_another_number_of_arguments_is_a_sentence():
    with pytest.raises(jc.ShapeError, match=r"Fix: pass the arguments as they were passed"):
        jc.compile(relu_conv, X)(X, X)


def test_given_away_inputs_are_used_again():
    infer = jc.compile(lambda x: 2 * x, X, donate=True)
    x = jnp.asarray(X)
    agree(infer(x), 2 * X)
    assert x.is_deleted()


def test_a_program_is_saved_and_loaded(tmp_path):
    infer = jc.compile(standardised, X)
    infer.save(tmp_path / "net.jaxconv")
    loaded = jc.Inference.load(tmp_path / "net.jaxconv")
    assert loaded.inputs == infer.inputs
    agree(loaded(X), infer(X))
    assert [p.name for p in tmp_path.iterdir()] == ["net.jaxconv"]


def test_what_is_no_program_is_a_sentence(tmp_path):
    path = tmp_path / "net.jaxconv"
    with pytest.raises(ProgramError, match=r"net.jaxconv cannot be read .* Fix: pass a file"):
        jc.Inference.load(path)
    jc.compile(relu_conv, X).save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ProgramError, match=r"net.jaxconv cannot be read .* Fix: pass a file"):
        jc.Inference.load(path)


def test_a_program_of_another_platform_is_refused(tmp_path, monkeypatch):
    jc.compile(relu_conv, X).save(tmp_path / "net.jaxconv")
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    with pytest.raises(ProgramError, match=r"compiled for cpu, but this is tpu. Fix: compile"):
        jc.Inference.load(tmp_path / "net.jaxconv")


def test_jit_takes_what_jax_jit_takes():
    @functools.partial(jc.jit, static_argnums=1, donate_argnums=0)
    def scaled(x, by):
        return by * x

    x = jnp.asarray(X)
    agree(scaled(x, 3), 3 * X)
    assert x.is_deleted()
    assert scaled.__name__ == "scaled"
    assert "stablehlo" in scaled.lower(X, 2).as_text()
