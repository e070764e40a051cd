"""The layers by PyTorch, with their gradients; PyTorch is an extra that most set-ups lack."""

import importlib.util

import numpy as np
import pytest

from tests.support import reference

INSTALLED = importlib.util.find_spec("torch") is not None
REASON = (
    "PyTorch is not installed. Fix: install PyTorch's CPU build as pytorch.org describes, "
    'then pip install -e ".[test,parity]".'
)
needs_pytorch = pytest.mark.skipif(not INSTALLED, reason=REASON)


def import_torch():
    """The module; the test is skipped where there is none."""
    return pytest.importorskip("torch", reason=REASON)


def with_gradients(layer, case, arrays, direction):
    """Values of a layer, and gradients of ``(values * direction).sum()`` for all arrays."""
    torch = import_torch()
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    y = LAYERS[layer](case, *tensors)
    gradients = torch.autograd.grad(y, tensors, torch.tensor(direction))
    return [t.detach().numpy() for t in (y, *gradients)]


def channels_first(x, is_first):
    """A true copy.

    PyTorch 2.13.0 takes a moved axis of size 1 for its channels-last format, and then reads beyond
    the image.
    """
    import torch

    return x if is_first else x.movedim(-1, 1).clone(memory_format=torch.contiguous_format)


def layout_of(case, y):
    """Move the channels to where the layout of the case has them."""
    return y if case.first else y.movedim(1, -1)


def of_rank(name, case):
    """The function of PyTorch for the number of spatial axes."""
    from torch.nn import functional

    return getattr(functional, f"{name}{len(case.sizes)}d")


def padded(case, x, value=0.0):
    """Pad as the case says, by the rule of the NumPy reference."""
    from torch.nn import functional

    kernel = getattr(case, "kernel", None) or case.window
    dilation = getattr(case, "dilation", (1,) * len(kernel))
    around = reference.axis_pads(case.padding, case.sizes, kernel, case.stride, dilation)
    flat = [side for pair in reversed(around) for side in pair]
    mode = {"CIRCULAR": "circular", "REFLECT": "reflect"}.get(str(case.padding), "constant")
    return functional.pad(x, flat, mode, value if mode == "constant" else None)


def conv(case, x, kernel, bias):
    x = padded(case, channels_first(x, case.first))
    kernel = kernel.movedim((-1, -2), (0, 1))
    y = of_rank("conv", case)(x, kernel, bias, case.stride, 0, case.dilation, case.groups)
    return layout_of(case, y)


def conv_transpose(case, x, kernel, bias):
    from torch.nn import functional

    g, i, o = case.groups, kernel.shape[-2], kernel.shape[-1]
    # PyTorch's weights are (c_in, c_out/groups, ...); ours (..., c_in/groups, c_out).
    split = kernel.reshape(*case.kernel, i, g, o // g).movedim((-2, -3, -1), (0, 1, 2))
    weights = split.reshape(g * i, o // g, *case.kernel)
    x = channels_first(x, case.first)
    y = of_rank("conv_transpose", case)(x, weights, None, case.stride, 0, 0, g, case.dilation)
    around = reference.transposed_pads(
        case.padding, case.kernel, case.stride, case.dilation, case.output_padding
    )
    y = functional.pad(y, [-side for pair in reversed(around) for side in pair])
    return layout_of(case, y + bias.reshape(-1, *[1] * len(case.sizes)))


def max_pool(case, x):
    x = padded(case, channels_first(x, case.first), -np.inf)
    return layout_of(case, of_rank("max_pool", case)(x, case.window, case.stride))


def avg_pool(case, x):
    import torch

    x = channels_first(x, case.first)
    pool = of_rank("avg_pool", case)
    total = pool(padded(case, x), case.window, case.stride)
    share = pool(padded(case, torch.ones_like(x)), case.window, case.stride)
    return layout_of(case, total if case.count_padding else total / share)


LAYERS = {
    "conv": conv,
    "conv_transpose": conv_transpose,
    "max_pool": max_pool,
    "avg_pool": avg_pool,
    "global_avg_pool": lambda case, x: (
        x.flatten(2).mean(2) if case.first else x.flatten(1, -2).mean(1)
    ),
    "flatten": lambda case, x: x.flatten(1),
    "dense": lambda case, x, kernel, bias: x @ kernel + bias,
}


def import_torchvision():
    """The module; the test is skipped where there is none.

    PyPI's build for Linux is made for CUDA. Its own operators are missing beside PyTorch's CPU
    build, and its import fails at the first that it describes. VGG needs none of them.
    """
    torch = import_torch()
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed. " + REASON)
    if not hasattr(torch.ops.torchvision, "nms"):
        for name in ("nms", "qnms"):
            schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            OPERATORS.append(torch.library.Library("torchvision", "FRAGMENT"))
            OPERATORS[-1].define(schema)
    import torchvision

    return torchvision


def import_timm():
    """The module; the test is skipped where there is none."""
    import_torchvision()
    return pytest.importorskip("timm", reason=REASON)


OPERATORS = []  # an operator exists as long as the object that defined it
