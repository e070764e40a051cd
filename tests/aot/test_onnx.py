"""ONNX Runtime computes what the model does. Skipped without jax2onnx.

It needs an environment of its own:
``python3 -m venv onnx && onnx/bin/pip install -e . jax2onnx==0.17.1 onnxruntime pytest``, then
``PYTHONPATH=. onnx/bin/python -m pytest -c /dev/null --rootdir . --noconftest
tests/aot/test_onnx.py``.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxconv as jc
from experiments.networks import he_normal, u_net
from jaxconv.aot.onnx import export_onnx
from jaxconv.cli.main import main

pytest.importorskip("jax2onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


KERNEL = random(3, 3, 3, 3)


class Residual(nnx.Module):
    """The stem of a ResNet, and a block of it."""

    def __init__(self, rngs):
        self.stem = nnx.Conv(3, 8, (7, 7), (2, 2), padding=3, rngs=rngs)
        self.norm = nnx.BatchNorm(8, use_running_average=True, rngs=rngs)
        self.conv = nnx.Conv(8, 8, (3, 3), (2, 2), padding=1, rngs=rngs)
        self.shortcut = nnx.Conv(8, 8, (1, 1), (2, 2), padding="VALID", rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.stem(x)))
        x = nnx.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        return nnx.relu(self.conv(x) + self.shortcut(x)).mean((1, 2))


def levels(x):
    """A U-Net of one level, of jaxconv's layers."""
    small = jc.max_pool(jax.nn.relu(jc.conv(x, KERNEL)))
    large = jc.conv_transpose(small, KERNEL[:2, :2], stride=2, padding="VALID")
    return jc.conv(jnp.concatenate([x, large], -1), random(3, 3, 6, 2))


def flat(x):
    return jc.dense(jc.flatten(jc.max_pool(x, 32)), random(147, 5))


def pool(x):
    return jc.max_pool(x, 3, stride=1, padding="SAME")


def branches(x):
    return jax.lax.cond(x[0, 0, 0, 0] > 0, jc.max_pool, lambda x: 2 * jc.max_pool(x), x)


def scan(x):
    """A loop with a call and a branch in it."""

    def step(x, scale):
        x = jax.jit(pool)(jax.nn.relu(x * scale))
        return jax.lax.cond(x[0, 0, 0, 0] > 0.5, pool, lambda x: x - pool(x), x), x.sum()

    return jax.lax.scan(step, x, random(3))[0]


def while_loop(x):
    return jax.lax.while_loop(lambda state: state[0] < 2, lambda s: (s[0] + 1, pool(s[1])), (0, x))[
        1
    ]


@jax.custom_vjp
def differentiated(x):
    return jax.checkpoint(pool)(x)


differentiated.defvjp(lambda x: (pool(x), None), lambda _, g: (g,))


MODELS = {
    "VGG": (
        jc.VGG([(4, 4), (4,), (8,)], head=None, rngs=nnx.Rngs(0)),
        "b h w 3",
        [(1, 8, 9), (2, 33, 20)],
    ),
    "residual": (Residual(nnx.Rngs(0)), "b h w 3", [(1, 1, 5), (2, 33, 34)]),
    "one level": (levels, "b h w 3", [(1, 4, 6), (2, 16, 8)]),
    "U-Net": (partial(u_net, kernel=he_normal), "b h w 3", [(1, 32, 48), (2, 16, 64)]),
    "flatten": (flat, "b h w 3", [(1, 224, 255), (3, 230, 240)]),
    "three axes": (lambda x: jc.max_pool(x, 2, padding="VALID"), "b h w 3", [(1, 5, 6)]),
    "branches": (branches, "b h w 3", [(1, 6, 5), (2, 5, 8), (3, 4, 4)]),
    "scan": (scan, "b h w 3", [(1, 6, 5), (2, 5, 8)]),
    "while loop": (while_loop, "b h w 3", [(1, 6, 5), (2, 5, 8)]),
    "derivatives": (differentiated, "b h w 3", [(2, 5, 8)]),
    "numbers": (lambda x: jc.conv(x, KERNEL, stride=2), "b 9 8 3", [(1, 9, 8), (4, 9, 8)]),
}


@pytest.mark.parametrize("name", MODELS)
def test_onnx_runtime_computes_the_same(name):
    fn, spec, sizes = MODELS[name]
    content, _ = export_onnx(fn, (spec,), {}, None)
    session = onnxruntime.InferenceSession(content)
    (taken,) = session.get_inputs()
    for size in sizes:
        image = random(*size, 3)
        (result,) = session.run(None, {taken.name: image})
        expected = np.asarray(fn(image))
        assert result.shape == expected.shape
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


def test_padding_that_depends_on_the_size_is_refused():
    with pytest.raises(jc.ShapeError, match="'mod\\(- h, 2\\)' used in a context"):
        export_onnx(lambda x: jc.conv(x, KERNEL, stride=2), ("b h w 3",), {}, None)


def window(x, start, reduce):
    return jax.lax.reduce_window(x, start, reduce, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


REFUSED = {
    "min pool": (lambda x: window(x, jnp.inf, jax.lax.min), "reduce_window_min"),
    "int": (lambda x: window(x.astype("int32"), -(2**31), jax.lax.max), "got int32"),
    "bfloat16": (lambda x: jc.max_pool(x.astype(jnp.bfloat16)), "got bfloat16"),
    "conv": (jax.grad(lambda x: jc.conv(x, KERNEL).sum()), "conv layouts"),
    "max pool": (jax.grad(lambda x: jc.max_pool(x).sum()), "select_and_scatter_add"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_jax2onnx_cannot_convert_is_named(name):
    fn, named = REFUSED[name]
    with pytest.raises(jc.ShapeError) as error:
        export_onnx(fn, ("b h w 3",), {}, None)
    text = str(error.value)
    assert text.startswith("export: jax2onnx cannot convert this: ")
    assert named in text
    assert text.endswith("\n  Fix: write it as other operations, or --format stablehlo.")
    assert jc.export(fn, "b h w 3")


def test_sizes_that_are_numbers_are_converted_as_the_fix_says():
    def halved(x):
        return jc.conv(x, KERNEL, stride=2)

    with pytest.raises(jc.ShapeError, match="Fix: pass sizes that are numbers, or --format"):
        export_onnx(halved, ("b h w 3",), {}, None)
    assert export_onnx(halved, ("b 5 8 3",), {}, None)


def test_arguments_by_keyword_are_refused():
    with pytest.raises(jc.ShapeError, match=r"ONNX has no arguments by keyword[\s\S]*by position"):
        export_onnx(lambda *, x: x, (), {"x": "b 3"}, None)


def test_what_jax2onnx_replaces_in_jax_is_put_back():
    image = random(2, 4, 5, 3)
    content, _ = export_onnx(lambda x: jnp.cumsum(x, 1), ("b h w 3",), {}, None)
    np.testing.assert_allclose(jnp.cumsum(image, 1), np.cumsum(image, 1), rtol=1e-4, atol=1e-5)
    again, _ = export_onnx(lambda x: jnp.cumsum(x, 2), ("b h w 3",), {}, None)
    for axis, model in enumerate((content, again), 1):
        session = onnxruntime.InferenceSession(model)
        (result,) = session.run(None, {session.get_inputs()[0].name: image})
        np.testing.assert_allclose(result, np.cumsum(image, axis), rtol=1e-4, atol=1e-5)


def test_the_command_writes_a_model_that_onnx_runtime_reads(tmp_path):
    (tmp_path / "nets.py").write_text(
        "import jaxconv as jc\n\ndef halve(x):\n    return jc.max_pool(x)\n"
    )
    out = tmp_path / "halve.onnx"
    given = [f"{tmp_path / 'nets.py'}:halve", "b h w 3", "--format", "onnx", "--out", str(out)]
    assert main(["export", *given]) == 0
    session = onnxruntime.InferenceSession(out)
    image = random(1, 6, 8, 3)
    (result,) = session.run(None, {session.get_inputs()[0].name: image})
    np.testing.assert_array_equal(result, jc.max_pool(image))
