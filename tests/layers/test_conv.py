"""conv and conv_transpose: nothing added to the program, laws, and the lesson's numbers."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxconv as jc
from tests.support import reference
from tests.support.pytorch import import_torch, needs_pytorch
from tests.support.type_checks import WITHOUT_TYPE_CHECKS


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def integers(*shape):
    return np.random.default_rng(shape).integers(0, 250, shape)


def equations(function, *args):
    """All equations of a jaxpr, inner ones too, as (primitive, parameters, types)."""

    def walk(jaxpr):
        for eqn in jaxpr.eqns:
            inner = [v for v in eqn.params.values() if hasattr(v, "jaxpr")]
            shown = {k: str(v) for k, v in eqn.params.items() if v not in inner and k != "name"}
            types = [str(v.aval) for v in (*eqn.invars, *eqn.outvars)]
            yield eqn.primitive.name, shown, types
            for closed in inner:
                yield from walk(closed.jaxpr)

    return list(walk(jax.make_jaxpr(function)(*args).jaxpr))


BARE = [
    # x, kernel, our options, the options of lax
    ((2, 9, 9, 3), (3, 3, 3, 8), {}, {"padding": "SAME"}),
    ((2, 9, 8, 3), (5, 3, 3, 8), {"stride": 2}, {"padding": "SAME", "window_strides": (2, 2)}),
    ((1, 9, 7, 4), (3, 2, 2, 6), {"padding": "VALID", "groups": 2},
     {"padding": "VALID", "feature_group_count": 2}),
    ((1, 9, 7, 4), (3, 2, 4, 6), {"padding": 2, "dilation": (1, 2)},
     {"padding": [(2, 2), (2, 2)], "rhs_dilation": (1, 2)}),
    ((1, 3, 9, 7), (3, 2, 3, 6), {"layout": "NCHW", "padding": ((0, 1), (2, 3))},
     {"padding": [(0, 1), (2, 3)], "dimension_numbers": ("NCHW", "HWIO", "NCHW")}),
    ((4, 20, 3), (7, 3, 6), {"layout": "NWC", "padding": "CAUSAL", "stride": 3},
     {"padding": [(6, 0)], "window_strides": (3,), "dimension_numbers": ("NWC", "WIO", "NWC")}),
    ((1, 5, 4, 6, 2), (3, 1, 2, 2, 3), {"layout": "NDHWC", "padding": "SAME_LOWER"},
     {"padding": "SAME_LOWER", "window_strides": (1, 1, 1),
      "dimension_numbers": ("NDHWC", "DHWIO", "NDHWC")}),
    ((1, 6, 6, 2), (3, 3, 2, 3), {"precision": "highest"}, {"padding": "SAME",
     "precision": "highest"}),
]  # fmt: skip


@pytest.mark.parametrize(("x", "kernel", "ours", "bare"), BARE)
def test_nothing_is_added_to_the_program(x, kernel, ours, bare):
    bare = {"window_strides": (1, 1), "dimension_numbers": ("NHWC", "HWIO", "NHWC")} | bare
    channels = ours.get("layout", "NHWC").index("C")
    tail = (1,) * (len(x) - 1 - channels)

    def plain(x, kernel, bias):
        y = lax.conv_general_dilated(x, kernel, **bare)
        return y + (jnp.expand_dims(bias, range(1, len(tail) + 1)) if tail else bias)

    args = normal(*x), normal(*kernel), normal(kernel[-1])
    mine = equations(jax.jit(lambda *a: jc.conv(*a, **ours)), *args)
    assert mine == equations(jax.jit(plain), *args)
    assert "conv_general_dilated" in [name for name, _, _ in mine]


@pytest.mark.parametrize("padding", ["SAME", "SAME_LOWER", "VALID", 1, ((0, 2), (1, 0))])
@pytest.mark.parametrize(("stride", "dilation", "groups"), [(1, 1, 1), (2, 1, 2), (3, 2, 1)])
def test_conv_transpose_is_the_gradient_of_conv(padding, stride, dilation, groups):
    y, kernel = normal(2, 5, 4, 6), normal(3, 2, 6 // groups, 4)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    # The convolution that is run backwards has its channels swapped within each group.
    split = kernel.reshape(3, 2, 6 // groups, groups, 4 // groups)
    swapped = split.transpose(0, 1, 4, 3, 2).reshape(3, 2, 4 // groups, 6)

    @jax.jit
    def both(y):
        x = jc.conv_transpose(y, kernel, **options)
        forward, pull = jax.vjp(lambda x: jc.conv(x, swapped, **options), jnp.zeros_like(x))
        assert forward.shape == y.shape
        return x, *pull(y)

    np.testing.assert_allclose(*both(y), atol=1e-5)


@pytest.mark.parametrize("padding", ["SAME", "SAME_LOWER", "VALID", 1, ((0, 2), (1, 0))])
@pytest.mark.parametrize(("stride", "kernel"), [((2, 3), (3, 2)), ((4, 2), (2, 5))])
def test_output_padding_restores_each_size_that_a_convolution_maps_to_one(padding, stride, kernel):
    weights = normal(*kernel, 2, 2)
    swapped = weights.transpose(0, 1, 3, 2)
    options = {"stride": stride, "padding": padding}
    all_sizes = (6, 7), (7, 8), (8, 9), (9, 7)

    def both(sizes, y):
        plain = jax.eval_shape(lambda y: jc.conv_transpose(y, weights, **options), y).shape
        more = tuple(n - m for n, m in zip(sizes, plain[1:-1], strict=True))
        x = jc.conv_transpose(y, weights, **options, output_padding=more)
        assert x.shape == (1, *sizes, 2)
        _, pull = jax.vjp(lambda x: jc.conv(x, swapped, **options), jnp.zeros_like(x))
        return x, *pull(y)

    maps = [normal(*jc.conv_shape((1, *s, 2), weights.shape, **options)) for s in all_sizes]
    for x, gradient in jax.jit(lambda maps: [*map(both, all_sizes, maps)])(maps):
        np.testing.assert_allclose(x, gradient, atol=1e-5)


@needs_pytorch
@pytest.mark.parametrize(("stride", "dilation", "added"), [(2, 1, 1), (3, 1, 2), (2, 3, 2)])
@pytest.mark.parametrize("padding", [0, 1])
def test_output_padding_is_that_of_pytorch(stride, dilation, added, padding):
    torch = import_torch()
    x, kernel = normal(2, 5, 4, 6), normal(3, 3, 6, 4)
    want = torch.nn.functional.conv_transpose2d(
        torch.tensor(x.transpose(0, 3, 1, 2).copy()),
        torch.tensor(kernel.transpose(2, 3, 0, 1).copy()),
        None, stride, padding, added, 1, dilation,
    )  # fmt: skip
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    got = jc.conv_transpose(x, kernel, **options, output_padding=added)
    np.testing.assert_allclose(got, want.numpy().transpose(0, 2, 3, 1), atol=1e-4)


def test_output_padding_is_proven_for_all_sizes():
    kernel = normal(3, 3, 3, 4)
    for options, returns in (
        ({"output_padding": -1}, "b 2*h-1 2*w-1 4"),
        ({"padding": 1, "output_padding": (1, 0)}, "b 2*h 2*w-1 4"),
    ):
        layer = lambda x, o=options: jc.conv_transpose(x, kernel, stride=2, **o)  # noqa: E731
        assert jc.check(layer, "b h w 3", returns=returns).status == "proven"


SUMS = {
    "conv": lambda x, k, *b, **o: jc.conv(x, k, *b, padding=1, **o),
    "conv_transpose": lambda x, k, *b, **o: jc.conv_transpose(x, k, *b, stride=2, **o),
    "dense": lambda x, k, *b, **o: jc.dense(x, k[0, 0], *b, **o),
}

ONES = {"dilation": (1, 1), "groups": 1}


def sums_by_loops(layer, x, kernel):
    """What the layers of ``SUMS`` compute, by NumPy in 64 bits."""
    x, kernel = x.astype(np.int64), kernel.astype(np.int64)
    if layer == "dense":
        return x @ kernel[0, 0]
    if layer == "conv":
        return reference.conv(x, kernel, np.int64(0), stride=(1, 1), padding=(1, 1), **ONES)
    options = {"stride": (2, 2), "padding": "SAME", "output_padding": (0, 0), **ONES}
    return reference.conv_transpose(x, kernel, np.int64(0), **options)


@pytest.mark.parametrize("layer", SUMS)
class TestIntegers:
    """Sums of products of narrow integers overflow: they are refused without a wider dtype."""

    @pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.bool_])
    def test_narrow_ones_are_refused_and_both_fixes_work(self, layer, dtype):
        x, kernel = np.full((1, 4, 4, 3), 100).astype(dtype), np.full((3, 3, 3, 2), 3).astype(dtype)
        with pytest.raises(jc.ShapeError, match="overflows in sums") as caught:
            SUMS[layer](x, kernel)
        assert "pass preferred_element_type=jnp.int32, or convert them" in str(caught.value)
        got = SUMS[layer](x, kernel, preferred_element_type=jnp.int32)
        want = SUMS[layer](x.astype(jnp.float32), kernel.astype(jnp.float32))
        chex.assert_type(got, jnp.int32)
        np.testing.assert_array_equal(got, want)
        assert dtype == np.bool_ or got.max() >= 900

    @pytest.mark.parametrize("preferred", [np.uint8, np.int8, np.int16, np.uint16, jnp.int4])
    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.bool_, np.int32, np.uint32])
    def test_narrow_results_are_refused_and_the_fix_works(self, layer, dtype, preferred):
        x, kernel = (integers(*shape).astype(dtype) for shape in ((1, 4, 4, 3), (3, 3, 3, 2)))
        name = jnp.dtype(preferred).name
        with pytest.raises(jc.ShapeError, match=f"{name}, which cannot hold sums") as caught:
            SUMS[layer](x, kernel, preferred_element_type=preferred)
        fix = f"jnp.int32, then convert the result with .astype(jnp.{name})."
        assert str(caught.value).endswith(f"Fix: pass preferred_element_type={fix}")
        sums = SUMS[layer](x, kernel, preferred_element_type=jnp.int32)
        np.testing.assert_array_equal(sums, sums_by_loops(layer, x, kernel))
        chex.assert_type(sums.astype(preferred), preferred)

    @pytest.mark.parametrize("preferred", [np.int32, np.uint32])
    def test_wide_results_are_accepted(self, layer, preferred):
        x, kernel = (integers(*shape).astype(np.uint8) for shape in ((1, 4, 4, 3), (3, 3, 3, 2)))
        got = SUMS[layer](x, kernel, preferred_element_type=preferred)
        chex.assert_type(got, preferred)
        np.testing.assert_array_equal(got, sums_by_loops(layer, x, kernel))

    def test_those_of_32_bits_are_not(self, layer):
        got = SUMS[layer](np.ones((1, 4, 4, 3), np.int32), np.ones((3, 3, 3, 2), np.int32))
        chex.assert_type(got, jnp.int32)

    def test_a_bias_may_have_the_dtype_of_the_result(self, layer):
        x, kernel = np.ones((1, 4, 4, 3), np.int8), np.ones((3, 3, 3, 2), np.int8)
        bias = np.array([1000, -1000], np.int32)
        got = SUMS[layer](x, kernel, bias, preferred_element_type="int32")
        want = SUMS[layer](x, kernel, preferred_element_type="int32") + bias
        np.testing.assert_array_equal(got, want)

    @pytest.mark.parametrize(
        ("dtype", "preferred"),
        [(np.int8, np.uint32), (np.int32, np.int8), (np.float32, np.int32), (np.int8, "bool"),
         (np.float32, np.float16), (np.float32, "complex64"), (np.float32, "wide"),
         pytest.param(np.float32, 3, marks=WITHOUT_TYPE_CHECKS)],
    )  # fmt: skip
    def test_a_result_that_cannot_hold_the_sums_is_refused(self, layer, dtype, preferred):
        x, kernel = np.ones((1, 4, 4, 3), dtype), np.ones((3, 3, 3, 2), dtype)
        with pytest.raises(jc.ShapeError, match="preferred_element_type is") as caught:
            SUMS[layer](x, kernel, preferred_element_type=preferred)
        fix = str(caught.value).split("Fix: pass preferred_element_type=jnp.")[1]
        named = fix.split(",")[0].split(" ")[0]
        assert SUMS[layer](x, kernel, preferred_element_type=named).dtype == named
        if "leave it out" in fix:
            SUMS[layer](x, kernel)

    def test_gradients_of_half_precision_with_sums_in_float32(self, layer):
        x, kernel = normal(1, 4, 4, 3), normal(3, 3, 3, 2)

        def gradients(dtype, **options):
            def loss(x, k):
                return (SUMS[layer](x, k, **options) ** 2).sum()

            return jax.grad(loss, (0, 1))(x.astype(dtype), kernel.astype(dtype))

        got = gradients(jnp.bfloat16, preferred_element_type=jnp.float32)
        chex.assert_type(got, jnp.bfloat16)
        for one, other in zip(got, gradients(jnp.float32), strict=True):
            np.testing.assert_allclose(one, other, atol=0.1 * np.abs(other).max())


def test_integer_results_are_proven_for_all_sizes():
    kernel = np.ones((3, 3, 3, 8), np.uint8)
    layer = lambda x: jc.conv(x, kernel, stride=2, preferred_element_type=jnp.int32)  # noqa: E731
    verdict = jc.check(layer, "b h w 3:uint8", returns="b (h+1)//2 (w+1)//2 8:int32")
    assert verdict.status == "proven"
    for narrow in (None, jnp.uint8, jnp.int16):
        layer = lambda x, to=narrow: jc.conv(x, kernel, preferred_element_type=to)  # noqa: E731
        assert jc.check(layer, "b h w 3:uint8").accepts.is_empty()


def test_vmap_adds_a_batch_axis():
    x, kernels = normal(3, 2, 6, 6, 2), normal(3, 3, 3, 2, 5)
    each = jnp.stack([jc.conv(a, k) for a, k in zip(x, kernels, strict=True)])
    np.testing.assert_allclose(jax.vmap(jc.conv)(x, kernels), each, atol=1e-5)


def test_flax_variables_and_float64_numbers_are_arrays_too():
    from flax import nnx

    x, kernel = np.random.default_rng(0).normal(size=(1, 5, 5, 2)), normal(3, 3, 2, 4)
    got = jc.conv(x, nnx.Param(jnp.asarray(kernel)))
    np.testing.assert_allclose(got, jc.conv(x.astype(np.float32), kernel), atol=1e-6)


def test_a_wrong_prediction_is_caught(monkeypatch):
    from jaxconv.layers.windows import Window

    right = Window.out
    monkeypatch.setattr(Window, "out", lambda self, n: right(self, n) + 1)
    with pytest.raises(AssertionError, match="shape"):
        jc.conv(normal(1, 5, 5, 2), normal(3, 3, 2, 4))


class TestLesson:
    """The numbers that a lesson on feature maps gives, computed."""

    def test_a_3x3x3_filter_is_27_weights(self):
        assert np.prod(normal(3, 3, 3, 1).shape) == 27

    def test_64_filters_on_224x224x3_make_64_maps_from_64_times_27_weights(self):
        kernel = normal(3, 3, 3, 64)
        chex.assert_shape(jc.conv(normal(1, 224, 224, 3), kernel), (1, 224, 224, 64))
        assert kernel.size == 64 * 27 == 1728

    @pytest.mark.parametrize(
        ("padding", "returns"), [(1, "b h w 32"), (0, "b h-2 w-2 32"), ("SAME", "b h w 32")]
    )
    def test_32_filters_make_32_maps_whose_size_the_padding_decides(self, padding, returns):
        kernel = normal(3, 3, 3, 32)
        layer = lambda x: jc.conv(x, kernel, padding=padding)  # noqa: E731
        assert jc.check(layer, "b h w 3", returns=returns, where="h >= 3 and w >= 3").ok
        at_128 = {0: (1, 126, 126, 32)}.get(padding, (1, 128, 128, 32))
        assert layer(normal(1, 128, 128, 3)).shape == at_128

    def test_a_feature_map_is_f_of_wp_plus_b(self):
        x, kernel, bias = normal(1, 9, 8, 3), normal(3, 3, 3, 4), normal(4)
        maps = jax.nn.relu(jc.conv(x, kernel, bias, padding="VALID"))
        for i, j, o in itertools.product(range(7), range(6), range(4)):
            patch = x[0, i : i + 3, j : j + 3]
            value = max((kernel[..., o] * patch).sum() + bias[o], 0)
            np.testing.assert_allclose(maps[0, i, j, o], value, atol=1e-5)

    def test_it_is_not_linear_in_w(self):
        x, w, bias = normal(1, 9, 8, 3), normal(3, 3, 3, 4), normal(4)
        f = lambda w: jax.nn.relu(jc.conv(x, w, bias))  # noqa: E731
        assert np.abs(f(2 * w) - 2 * f(w)).max() > 0.1
        linear = lambda w: jc.conv(x, w)  # noqa: E731
        np.testing.assert_allclose(linear(2 * w), 2 * linear(w), atol=1e-5)
