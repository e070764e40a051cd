"""How far the maps of VGG16 and its gradients are from exact ones: as far as PyTorch's, or so."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from jaxconv.models import weights
from jaxconv.plotting.photos import open_photo
from tests.support.pytorch import import_torch

torch = import_torch()

MOST = 3  # times the error of PyTorch in float32


def forward(conv, choose, x, layers):
    """The maps of VGG16's trunk, the last pool among them; ``choose`` masks a map, or a pool."""
    maps = {}
    for name, (kernel, bias) in layers.items():
        x = maps[name] = choose(name, conv(x, kernel, bias))
        if name in {"conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"}:
            x = maps["pool" + name[4]] = halved(choose("pool" + name[4], x))
    return x, maps


def halved(x):
    """The sum of each window of 2x2, of which all numbers but the largest are masked."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).sum((2, 4))


def deciding(masks):
    """Mask what is negative, and what is not the largest of its window; remember both."""

    def choose(name, x):
        y = x.detach()
        if name.startswith("pool"):
            b, h, w, c = y.shape
            windows = y.reshape(b, h // 2, 2, w // 2, 2, c).movedim(3, 2)
            place = windows.reshape(b, h // 2, w // 2, 4, c).argmax(3)
            one = torch.nn.functional.one_hot(place, 4).movedim(-1, 3)
            one = one.reshape(b, h // 2, w // 2, 2, 2, c).movedim(3, 2).reshape(y.shape)
            largest = torch.nn.functional.max_pool2d(y.movedim(-1, 1), 2).movedim(1, -1)
            assert (halved(y * one) == largest).all()
        else:
            one = y > 0
        masks[name] = one.numpy().astype(np.float32)
        return x * one

    return choose


def of_torch(dtype, choose, x, layers, direction, channels_first=True):
    """Maps and gradients by PyTorch: of the kernels by their names, and of the image."""

    def conv(x, kernel, bias):
        x = x.movedim(-1, 1)
        x = x.contiguous() if channels_first else x
        return torch.nn.functional.conv2d(x, kernel, bias, padding=1).movedim(1, -1)

    def tensor(a):
        return torch.tensor(np.ascontiguousarray(a), dtype=dtype, requires_grad=True)

    taken = {n: (tensor(k.transpose(3, 2, 0, 1)), tensor(b)) for n, (k, b) in layers.items()}
    image = tensor(x)
    y, maps = forward(conv, choose, image, taken)
    (y * torch.tensor(direction, dtype=dtype)).sum().backward()
    gradients = {n: k.grad.permute(2, 3, 1, 0) for n, (k, _) in taken.items()}
    results = maps | {f"gradient of {n}": g for n, g in gradients.items()}
    results["gradient of the image"] = image.grad
    return {name: value.detach().double().numpy() for name, value in results.items()}


def of_ours(masks, x, layers, direction, precision):
    """The same by our convolution."""

    def run(x, layers):
        conv = functools.partial(jc.conv, precision=precision)
        y, maps = forward(conv, lambda name, x: x * masks[name], x, layers)
        return jnp.sum(y * direction.astype(np.float32)), maps

    run = jax.jit(jax.grad(run, (0, 1), has_aux=True))
    (image, kernels), maps = run(x, layers)
    gradients = {f"gradient of {name}": kernel for name, (kernel, _) in kernels.items()}
    return maps | gradients | {"gradient of the image": image}


def errors(got, exact):
    return {
        name: np.linalg.norm(np.float64(got[name]) - value) / np.linalg.norm(value)
        for name, value in exact.items()
    }


@pytest.fixture(scope="module")
def exact(published, hopper):
    """VGG16 with the published weights and a photo, in float64, and what was cut off there."""
    model = jc.vgg16(weights=published, head=None)
    photo = weights.read_weights(published).preprocessing(open_photo(hopper, 96)[None, :96, :96])
    layers = {}
    for name, layer in vars(model).items():
        if not re.fullmatch(r"conv\d_\d", name):
            continue
        layers[name] = np.asarray(layer.kernel[...]), np.asarray(layer.bias[...])
    direction = np.random.default_rng(0).normal(size=(1, 3, 3, 512))
    masks = {}
    values = of_torch(torch.float64, deciding(masks), photo, layers, direction)
    return values, masks, (photo, layers, direction)


# PyTorch's kernels for images with their channels first round a quarter of what those for channels
# last do on a processor with AVX-512.
@pytest.mark.parametrize(("precision", "channels_first"), [(None, False), ("high", True)])
def test_maps_and_gradients_of_vgg16_are_about_as_exact_as_pytorchs(
    exact, precision, channels_first
):
    """Each by a chain of its own.

    What is cut off by a ReLU or a maximum is decided once, in float64: rounding alone is compared,
    not on which side of 0 it happens to fall, which would change gradients a thousand times more.
    """
    values, masks, given = exact

    def masked(name, x):
        return x * torch.from_numpy(masks[name])

    theirs = errors(of_torch(torch.float32, masked, *given, channels_first), values)
    ours = errors(of_ours(masks, *given, precision), values)
    assert len(ours) == 13 + 5 + 13 + 1
    ratios = {name: ours[name] / theirs[name] for name in ours}
    assert {name: ratio for name, ratio in ratios.items() if ratio > MOST} == {}, ratios
