"""Every random configuration against NumPy loops, and against PyTorch with its gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from tests.support import reference
from tests.support.configurations import broken, channels_last, conv_case, pool_case

try:
    import torch
    from torch.nn import functional
except ImportError:  # PyTorch's CPU build is pinned for CI's Python, see pyproject.toml
    torch = None

needs_torch = pytest.mark.skipif(torch is None, reason="PyTorch is not installed")


def refused(function, *args, **options):
    try:
        return function(*args, **options)
    except (jc.ShapeError, reference.Refused):
        return None


def reference_conv(case, x, kernel, bias):
    options = {n: case.options[n] for n in ("stride", "padding", "dilation", "groups")}
    return reference.conv(channels_last(x, case.first), kernel, bias, **options)


def test_conv_agrees_with_numpy_loops(seed):
    case = conv_case(seed)
    x, kernel, bias = case.arrays(seed)
    want = refused(reference_conv, case, x, kernel, bias)
    got = refused(jc.conv, x, kernel, bias, **case.options)
    assert (got is None) == (want is None), case
    if want is not None:
        np.testing.assert_allclose(channels_last(got, case.first), want, atol=2e-5, err_msg=case)


def test_predicted_size_is_the_size_or_all_refuse(seed):
    for part in range(10):
        case = broken(conv_case(10 * seed + part), 10 * seed + part)
        x, kernel, bias = case.arrays(seed)
        loops = refused(reference_conv, case, x, kernel, bias)
        predicted = refused(jc.conv_shape, x.shape, kernel.shape, **case.options)
        shape = refused(jax.eval_shape, lambda *a, c=case: jc.conv(*a, **c.options), x, kernel)
        assert (predicted is None) == (loops is None) == (shape is None), case
        if loops is not None:
            moved = np.moveaxis(loops, -1, 1) if case.first else loops
            assert predicted == shape.shape == moved.shape, case


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pool_agrees_with_numpy_loops(seed, kind):
    case = pool_case(seed)
    x = case.array(seed)
    extra = {"count_padding": case.count_padding} if kind == "avg" else {}
    plain = {"window": case.window, "stride": case.stride, "padding": case.padding}
    want = refused(reference.pool, channels_last(x, case.first), kind, **plain, **extra)
    layer = {"max": jc.max_pool, "avg": jc.avg_pool}[kind]
    got = refused(layer, x, case.window, **case.options, **extra)
    predicted = refused(jc.pool_shape, x.shape, case.window, **case.options)
    assert (got is None) == (want is None) == (predicted is None), case
    if want is not None:
        assert got.shape == predicted
        np.testing.assert_allclose(channels_last(got, case.first), want, atol=1e-5, err_msg=case)


def with_gradients(function, arrays, seed):
    """Values, and gradients for a random direction of the result."""

    # Unoptimised code compiles in a third of the time; test_conv_agrees_with_numpy_loops runs the
    # optimised one.
    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def both(*arrays):
        y, pull = jax.vjp(function, *arrays)
        direction = jax.random.normal(jax.random.key(seed), y.shape)
        return y, direction, *pull(direction)

    return both(*arrays)


def torch_with_gradients(function, arrays, direction):
    tensors = [torch.tensor(np.asarray(a), requires_grad=True) for a in arrays]
    y = function(*tensors)
    gradients = torch.autograd.grad(y, tensors, torch.tensor(np.asarray(direction)))
    return [t.detach().numpy() for t in (y, *gradients)]


def compare(got, want, case):
    for mine, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4, rtol=1e-4, err_msg=str(case))


def torch_pad(case, x, value=0.0):
    """Pad as the case says, by the rule of the NumPy reference."""
    kernel = getattr(case, "kernel", None) or case.window
    dilation = getattr(case, "dilation", (1,) * len(kernel))
    around = reference.axis_pads(case.padding, case.sizes, kernel, case.stride, dilation)
    flat = [side for pair in reversed(around) for side in pair]
    mode = {"CIRCULAR": "circular", "REFLECT": "reflect"}.get(str(case.padding), "constant")
    return functional.pad(x, flat, mode, value if mode == "constant" else None)


def first(a, is_first):
    # A true copy: PyTorch 2.13.0 takes a moved axis of size 1 for its channels-last format, and
    # then reads beyond the image.
    return a if is_first else a.movedim(-1, 1).clone(memory_format=torch.contiguous_format)


def last(a, is_first):
    return a if is_first else a.movedim(1, -1)


@needs_torch
def test_conv_and_its_gradients_agree_with_pytorch(seed):
    case = conv_case(seed)
    arrays = case.arrays(seed)
    if refused(jc.conv_shape, arrays[0].shape, arrays[1].shape, **case.options) is None:
        case = type(case)(**{**case.__dict__, "padding": "SAME"})

    def theirs(x, kernel, bias):
        conv = [functional.conv1d, functional.conv2d, functional.conv3d][len(case.sizes) - 1]
        x = torch_pad(case, first(x, case.first))
        kernel = kernel.movedim((-1, -2), (0, 1))
        y = conv(x, kernel, bias, case.stride, 0, case.dilation, case.groups)
        return last(y, case.first)

    y, direction, *gradients = with_gradients(lambda *a: jc.conv(*a, **case.options), arrays, seed)
    compare([y, *gradients], torch_with_gradients(theirs, arrays, direction), case)


@needs_torch
def test_conv_transpose_and_its_gradients_agree_with_pytorch(seed):
    case = conv_case(seed, transposed=True)
    x, kernel, bias = case.arrays(seed)
    mine = lambda *a: jc.conv_transpose(*a, **case.options)  # noqa: E731
    extent = [(k - 1) * d + 1 for k, d in zip(case.kernel, case.dilation, strict=True)]
    shape = refused(jax.eval_shape, mine, x, kernel, bias)
    whole = [(n - 1) * s + e for n, s, e in zip(case.sizes, case.stride, extent, strict=True)]
    left = [w + a + b for w, a, b in zip(whole, *pairs(crop(case, extent)), strict=True)]
    assert (shape is None) == (min(left) < 1), case
    if shape is None:
        return

    def theirs(x, kernel, bias):
        names = [functional.conv_transpose1d, functional.conv_transpose2d]
        transpose = [*names, functional.conv_transpose3d][len(case.sizes) - 1]
        g, i, o = case.groups, kernel.shape[-2], kernel.shape[-1]
        # PyTorch's weights are (c_in, c_out/groups, ...); ours (..., c_in/groups, c_out).
        split = kernel.reshape(*case.kernel, i, g, o // g).movedim((-2, -3, -1), (0, 1, 2))
        weights = split.reshape(g * i, o // g, *case.kernel)
        y = transpose(first(x, case.first), weights, None, case.stride, 0, 0, g, case.dilation)
        y = functional.pad(y, crop(case, extent))
        y = y + bias.reshape(-1, *[1] * len(case.sizes))
        return last(y, case.first)

    y, direction, *gradients = with_gradients(mine, (x, kernel, bias), seed)
    compare([y, *gradients], torch_with_gradients(theirs, (x, kernel, bias), direction), case)


def pairs(flat):
    """Low and high sides, outermost axis first, from PyTorch's order."""
    return flat[-2::-2], flat[-1::-2]


def crop(case, extent):
    """Negative pads for torch.nn.functional.pad: what the padding takes away, last axis first."""
    flat = []
    for axis, (e, s) in enumerate(zip(extent, case.stride, strict=True)):
        more = max(e - s, 0)
        named = {
            "VALID": (0, 0),
            "SAME": (more // 2, e - s - more // 2),
            "SAME_LOWER": (more - more // 2, e - s - (more - more // 2)),
        }
        p = case.padding
        low, high = named[p] if isinstance(p, str) else (p, p) if isinstance(p, int) else p[axis]
        flat = [-low, -high, *flat]
    return flat


@needs_torch
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pools_and_their_gradients_agree_with_pytorch(seed, kind):
    case = pool_case(seed)
    x = case.array(seed)
    if refused(jc.pool_shape, x.shape, case.window, **case.options) is None:
        case = type(case)(**{**case.__dict__, "padding": "SAME"})
    if refused(jc.pool_shape, x.shape, case.window, **case.options) is None:
        case = type(case)(**{**case.__dict__, "window": (1,) * len(case.sizes)})
    rank = len(case.sizes) - 1

    def largest(x):
        pool = [functional.max_pool1d, functional.max_pool2d, functional.max_pool3d][rank]
        y = pool(torch_pad(case, first(x, case.first), -torch.inf), case.window, case.stride)
        return last(y, case.first)

    def mean(x):
        pool = [functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d][rank]
        x = first(x, case.first)
        total = pool(torch_pad(case, x), case.window, case.stride)
        share = pool(torch_pad(case, torch.ones_like(x)), case.window, case.stride)
        return last(total if case.count_padding else total / share, case.first)

    extra = {"count_padding": case.count_padding} if kind == "avg" else {}
    layer = {"max": jc.max_pool, "avg": jc.avg_pool}[kind]
    y, direction, gradient = with_gradients(
        lambda x: layer(x, case.window, **case.options, **extra), (x,), seed
    )
    theirs = {"max": largest, "avg": mean}[kind]
    compare([y, gradient], torch_with_gradients(theirs, (x,), direction), case)


def test_every_configuration_is_another_one():
    for generate in (conv_case, lambda s: conv_case(s, transposed=True), pool_case):
        cases = {repr(generate(seed)) for seed in range(300)}
        assert len(cases) > 290


def test_bfloat16_and_float16_are_close_to_float32():
    x, kernel, bias = conv_case(3).arrays(3)
    options = conv_case(3).options
    want = jc.conv(x, kernel, bias, **options)
    for dtype in (jnp.bfloat16, jnp.float16):
        got = jc.conv(*(jnp.asarray(a, dtype) for a in (x, kernel, bias)), **options)
        assert got.dtype == dtype
        np.testing.assert_allclose(got.astype(jnp.float32), want, atol=0.2, rtol=0.05)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrow_transposed_convolutions_and_products_are_close_to_wide_ones(dtype):
    x, kernel, bias = conv_case(5, transposed=True).arrays(5)
    options = conv_case(5, transposed=True).options
    rng = np.random.default_rng(5)
    calls = {
        "transposed": (lambda *a: jc.conv_transpose(*a, **options), (x, kernel, bias)),
        "dense": (jc.dense, tuple(rng.normal(size=s) for s in [(3, 50), (50, 4), (4,)])),
    }
    for call, arrays in calls.values():
        narrow = [jnp.asarray(a, dtype) for a in arrays]
        got, want = call(*narrow), call(*(a.astype(jnp.float32) for a in narrow))
        assert got.dtype == dtype
        size = np.abs(want).max()
        np.testing.assert_allclose(got.astype(jnp.float32) / size, want / size, atol=0.01)
