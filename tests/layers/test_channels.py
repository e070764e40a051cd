"""Weights of other frameworks are recognised, and the conversion that a message names is right."""

import functools
import re

import numpy as np
import pytest

import jaxconv as jc
from tests.support import reference
from tests.support.pytorch import import_torch, needs_pytorch


def normal(*shape):
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


def as_ours(kernel, letters, groups=1):
    """A kernel of another framework in the order that the NumPy loops take, element by element."""
    where = {letter: kernel.shape[at] for at, letter in enumerate(letters)}
    spatial = [letter for letter in "DHW" if letter in where]
    if "M" in letters:  # depthwise: filter m of channel c is feature map c*multiplier + m
        shape = (*(where[s] for s in spatial), 1, where["C"] * where["M"])
        ours = np.zeros(shape, kernel.dtype)
        for at in np.ndindex(kernel.shape):
            ours[(*at[:-2], 0, at[-2] * where["M"] + at[-1])] = kernel[at]
        return ours
    whole_input = letters.startswith("I") and groups > 1  # all inputs, the outputs of one group
    each = where["I"] // groups if whole_input else where["I"]
    out = where["O"] * groups if whole_input else where["O"]
    ours = np.zeros((*(where[s] for s in spatial), each, out), kernel.dtype)
    for at in np.ndindex(kernel.shape):
        place = dict(zip(letters, at, strict=True))
        i, o = place["I"], place["O"]
        if whole_input:
            i, o = i % each, i // each * where["O"] + o
        ours[(*(place[s] for s in spatial), i, o)] = kernel[at]
    return ours


# The layer, shapes of x and of the weights, their order, and the options.
FOREIGN = {
    "PyTorch, 1-D, grey": ("conv", (2, 600, 1), (512, 1, 10), "OIW", {}),
    "PyTorch, 1-D, colours": ("conv", (1, 70, 3), (64, 3, 5), "OIW", {}),
    "PyTorch, 1-D, as many as before": ("conv", (1, 20, 16), (16, 16, 3), "OIW", {}),
    "PyTorch, 1-D, more": ("conv", (1, 20, 16), (32, 16, 3), "OIW", {}),
    "PyTorch, 1-D, grouped": ("conv", (1, 40, 32), (32, 8, 12), "OIW", {"groups": 4}),
    "PyTorch, 2-D": ("conv", (1, 6, 5, 8), (16, 8, 3, 3), "OIHW", {}),
    "PyTorch, 2-D, pointwise": ("conv", (1, 6, 5, 8), (4, 8, 1, 1), "OIHW", {}),
    "PyTorch, 2-D, a row": ("conv", (1, 6, 7, 8), (16, 8, 1, 3), "OIHW", {}),
    "PyTorch, 2-D, depthwise": ("conv", (1, 6, 5, 8), (8, 1, 3, 3), "OIHW", {"groups": 8}),
    "PyTorch, 2-D, fits by accident": ("conv", (1, 6, 5, 3), (16, 3, 3, 3), "OIHW", {}),
    "PyTorch, 3-D": ("conv", (1, 3, 4, 5, 2), (16, 2, 2, 2, 2), "OIDHW", {}),
    "MLX": ("conv", (1, 6, 5, 8), (16, 3, 3, 8), "OHWI", {}),
    "Keras, depthwise": ("conv", (1, 6, 5, 8), (3, 3, 8, 1), "HWCM", {"groups": 8}),
    "Keras, depthwise, two each": ("conv", (1, 6, 5, 8), (3, 3, 8, 2), "HWCM", {"groups": 8}),
    "Keras, depthwise, 1-D": ("conv", (1, 6, 8), (3, 8, 2), "WCM", {"groups": 8}),
    "Keras, transposed, in conv": ("conv", (1, 6, 5, 3), (3, 3, 8, 3), "HWOI", {}),
    "Keras, transposed": ("conv_transpose", (1, 4, 5, 8), (3, 3, 6, 8), "HWOI", {"stride": 2}),
    "PyTorch, transposed": ("conv_transpose", (1, 4, 5, 8), (8, 4, 3, 3), "IOHW", {"stride": 2}),
    "PyTorch, transposed, accident": ("conv_transpose", (1, 4, 5, 3), (3, 64, 3, 3), "IOHW", {}),
    "PyTorch, transposed, 1-D": ("conv_transpose", (1, 6, 8), (8, 4, 3), "IOW", {}),
    "PyTorch, transposed, 1-D, accident": (
        "conv_transpose", (1, 6, 16), (16, 16, 4), "IOW", {"stride": 2}),
    "PyTorch, transposed, grouped": (
        "conv_transpose", (1, 5, 6, 8), (8, 3, 2, 2), "IOHW", {"groups": 2, "stride": 2}),
    "PyTorch, of conv in conv_transpose": (
        "conv_transpose", (1, 4, 5, 3), (64, 3, 3, 3), "OIHW", {}),
    "PyTorch, 1-D, depthwise": ("conv", (1, 20, 512), (512, 1, 10), "OIW", {"groups": 512}),
    "PyTorch, 1-D, depthwise, a long window": (
        "conv", (1, 20, 8), (8, 1, 9), "OIW", {"groups": 8}),
    "PyTorch, 2-D, depthwise, a row": (
        "conv", (1, 3, 9, 64), (64, 1, 1, 9), "OIHW", {"groups": 64}),
    "PyTorch, 2-D, depthwise, more": ("conv", (1, 6, 5, 4), (8, 1, 5, 5), "OIHW", {"groups": 4}),
    "PyTorch, 2-D, grouped": ("conv", (1, 7, 5, 4), (8, 2, 3, 3), "OIHW", {"groups": 2}),
    "PyTorch, 2-D, grey": ("conv", (1, 6, 5, 1), (3, 1, 3, 3), "OIHW", {}),
    "PyTorch, 2-D, grey, a large window": ("conv", (1, 6, 5, 1), (2, 1, 5, 5), "OIHW", {}),
    "PyTorch, transposed, grey": ("conv_transpose", (1, 4, 5, 1), (1, 3, 3, 3), "IOHW", {}),
    "PyTorch, transposed, 1-D, depthwise": (
        "conv_transpose", (1, 6, 64), (64, 1, 4), "IOW", {"groups": 64, "stride": 2}),
    "PyTorch, transposed, depthwise, a row": (
        "conv_transpose", (1, 2, 5, 64), (64, 1, 1, 9), "IOHW", {"groups": 64}),
    "PyTorch, transposed, depthwise": (
        "conv_transpose", (1, 4, 5, 8), (8, 1, 8, 8), "IOHW", {"groups": 8}),
}  # fmt: skip
# Weights that fit in several orders: the layer, shapes, the orders, and the groups.
AMBIGUOUS = {
    "depthwise": ("conv", (1, 6, 5, 8), (8, 1, 8, 8), ("OIHW", "depthwise HWCM"), 8),
    "depthwise, a column": ("conv", (1, 6, 5, 8), (8, 1, 8, 3), ("OIHW", "depthwise HWCM"), 8),
    "grey": ("conv", (1, 6, 5, 1), (3, 3, 3, 1), ("OHWI", "HWOI"), 1),
    "transposed, grouped": ("conv_transpose", (1, 4, 5, 4), (4, 2, 5, 5), ("IOHW", "OIHW"), 2),
}
LAYOUTS = {3: "NWC", 4: "NHWC", 5: "NDHWC"}


@pytest.mark.parametrize("name", FOREIGN)
def test_weights_of_other_frameworks_are_recognised_and_the_fix_works(name):
    layer, x_shape, kernel_shape, letters, options = FOREIGN[name]
    x, kernel = normal(*x_shape), normal(*kernel_shape)
    options = {"layout": LAYOUTS[x.ndim], **options}
    with pytest.raises(jc.ShapeError, match=rf"kernel looks like .*\b{letters} weights") as caught:
        getattr(jc, layer)(x, kernel, **options)
    assert_is_right(follow(fix_of(caught), kernel), layer, x, kernel, letters, options)


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_weights_that_fit_in_several_orders_are_named_with_the_fix_of_each(name):
    layer, x_shape, kernel_shape, orders, groups = AMBIGUOUS[name]
    x, kernel, options = normal(*x_shape), normal(*kernel_shape), {"groups": groups}
    named = f"kernel looks like {' or '.join(orders)} weights[.]"
    with pytest.raises(jc.ShapeError, match=named) as caught:
        getattr(jc, layer)(x, kernel, **options)
    fixes = [part.split(", ", 1) for part in fix_of(caught).split("; ")]
    assert [first for first, _ in fixes] == [f"if it is {order}" for order in orders]
    for order, (_, fix) in zip(orders, fixes, strict=True):
        letters = order.removeprefix("depthwise ")
        assert_is_right(follow(fix, kernel), layer, x, kernel, letters, options)


# Of the layer itself: a transposed one keeps the input channels first.
OF_PYTORCH = [
    name
    for name, (layer, _, _, letters, _) in FOREIGN.items()
    if name.startswith("PyTorch") and letters[0] == {"conv": "O", "conv_transpose": "I"}[layer]
]


@needs_pytorch
@pytest.mark.parametrize("name", OF_PYTORCH)
def test_converted_weights_of_pytorch_compute_what_pytorch_does(name):
    torch = import_torch()
    layer, x_shape, kernel_shape, _, options = FOREIGN[name]
    x, kernel = normal(*x_shape), normal(*kernel_shape)
    options = {"padding": tuple(n // 2 for n in kernel_shape[2:]), **options}
    x_first = torch.tensor(np.moveaxis(x, -1, 1).copy())
    there = getattr(torch.nn.functional, f"{layer}{x.ndim - 2}d")
    want = there(x_first, torch.tensor(kernel), **options).numpy()
    here = functools.partial(getattr(jc, layer), x, layout=LAYOUTS[x.ndim], **options)
    with pytest.raises(jc.ShapeError) as caught:
        here(kernel)
    got = here(follow(fix_of(caught), kernel))
    np.testing.assert_allclose(got, np.moveaxis(want, 1, -1), atol=1e-4)


def assert_is_right(fixed, layer, x, kernel, letters, options):
    """Compare a converted kernel, and what a layer computes with it, with loops of NumPy."""
    groups = options.get("groups", 1)
    np.testing.assert_array_equal(fixed, as_ours(kernel, letters, groups))
    x, rank = x[:, :40], x.ndim - 2  # the loops are slow
    tuples = {key: (options.get(key, 1),) * rank for key in ("stride", "dilation")}
    added = {"output_padding": (0,) * rank} if layer == "conv_transpose" else {}
    want = getattr(reference, layer)(
        x, fixed, np.float32(0), **tuples, padding="SAME", groups=groups, **added
    )
    np.testing.assert_allclose(getattr(jc, layer)(x, fixed, **options), want, atol=1e-4)


def fix_of(caught):
    """What a message says to do, without what it says of a kernel that was meant as it is."""
    first = str(caught.value).split("Fix: ")[1].splitlines()[0]
    return re.split("; if (?:this|its axes)", first)[0].removesuffix(".")


def follow(fix, kernel):
    """The kernel, converted as a fix says."""
    transposed = re.fullmatch(r"transpose kernel with (\(.*\))", fix)
    if transposed:
        return kernel.transpose(eval(transposed[1]))
    code = re.fullmatch(r"(?:convert it with|pass) (kernel\.re.*)", fix)
    assert code, fix
    return eval(code[1], {"kernel": kernel})


# Kernels that are unusual, but not in the order of another framework.
USUAL = {
    "a filter bank": ((1, 600, 1), (251, 1, 80), 1),
    "a bank of a few filters": ((1, 100, 1), (64, 1, 8), 1),
    "a smoothing filter": ((1, 600, 1), (512, 1, 1), 1),
    "a filter of two channels": ((1, 100, 2), (64, 2, 2), 1),
    "a head over a whole sequence": ((1, 128, 9), (128, 9, 6), 1),
    "a pointwise convolution": ((1, 20, 64), (1, 64, 32), 1),
    "a column": ((1, 70, 5, 1), (64, 1, 1, 8), 1),
    "a row": ((1, 5, 70, 3), (1, 64, 3, 3), 1),
    "a large window": ((1, 32, 32, 3), (16, 16, 3, 3), 1),
    "one filter": ((1, 6, 6, 64), (3, 3, 64, 1), 1),
    "fewer than before": ((1, 6, 6, 64), (3, 3, 64, 3), 1),
}


@pytest.mark.parametrize("name", USUAL)
def test_unusual_kernels_are_accepted(name):
    x, kernel, groups = USUAL[name]
    got = jc.conv(normal(*x), normal(*kernel), groups=groups, layout=LAYOUTS[len(x)])
    assert got.shape == (*x[:-1], kernel[-1])


def test_weights_of_other_frameworks_are_refused_for_all_sizes_of_the_image():
    for layer, kernel in ((jc.conv, (64, 3, 3, 3)), (jc.conv_transpose, (3, 64, 3, 3))):
        verdict = jc.check(
            lambda x, layer=layer, kernel=kernel: layer(x, normal(*kernel)), "b h w 3"
        )
        assert verdict.status == "refuted"
        assert verdict.accepts.is_empty()
        assert "transpose kernel with" in str(verdict)
