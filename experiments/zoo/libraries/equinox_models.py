"""Models of libraries on Equinox."""

import importlib
from collections.abc import Iterator
from typing import Any

import jax

from experiments.zoo import shims
from experiments.zoo.record import Model, Subject, of_equinox

KEY = jax.random.key(0)
EQUIMO = {
    "attnet_xxs": "convolutions in the manner of attention",
    "convnext_t": "large depthwise kernels",
    "iformer_t": "convolutions, then attention",
    "mobilenetv3_small": "inverted residuals with squeeze-and-excitation",
    "mobilenetv3_large": "inverted residuals with squeeze-and-excitation",
    "reduceformer_backbone_b1": "attention by sums",
    "vit_tiny_patch16_224": "a vision transformer",
    "dinov2_vits14": "a vision transformer",
}
EQXVISION = {
    "alexnet": "convolutions and an adaptive pool",
    "squeezenet1_0": "fire modules",
    "squeezenet1_1": "fire modules",
    "vgg11": "a chain of convolutions and an adaptive pool",
    "swin_t": "shifted windows",
    "convnext_tiny": "large depthwise kernels",
}


def _equimo(name: str) -> Subject:
    library: Any = importlib.import_module("equimo.models")
    return of_equinox(lambda: getattr(library, name)(key=KEY), key=KEY, inference=True)


def _eqxvision(name: str) -> Subject:
    shims.restore_equinox_experimental()
    library: Any = importlib.import_module("eqxvision.models")
    return of_equinox(getattr(library, name), key=KEY)


def _layers() -> Subject:
    import equinox as eqx

    def make() -> Any:
        return eqx.nn.Sequential(
            [
                eqx.nn.Conv2d(3, 16, 3, stride=2, padding=1, key=KEY),
                eqx.nn.GroupNorm(4, 16),
                eqx.nn.Lambda(jax.nn.relu),
                eqx.nn.MaxPool2d(2, 2),
                eqx.nn.ConvTranspose2d(16, 8, 2, stride=2, key=KEY),
                eqx.nn.AdaptiveAvgPool2d(7),
            ]
        )

    return of_equinox(make)


def _batch_norm() -> Subject:
    import equinox as eqx

    def make() -> Any:
        return eqx.nn.Sequential(
            [
                eqx.nn.Conv2d(3, 16, 3, padding="SAME", key=KEY),
                eqx.nn.BatchNorm(16, axis_name="batch", mode="batch"),
                eqx.nn.Lambda(jax.nn.relu),
                eqx.nn.AvgPool2d(3, 2),
            ]
        )

    return of_equinox(make)


def models() -> Iterator[Model]:
    """List the models.

    Yields:
        One record each.
    """
    yield Model(
        "nn.Sequential of Conv2d, GroupNorm, pools and ConvTranspose2d",
        "equinox",
        "a small network of Equinox's layers",
        _layers,
        quick=True,
    )
    yield Model(
        "nn.Sequential of Conv2d, BatchNorm and AvgPool2d",
        "equinox",
        "a small network with state",
        _batch_norm,
        quick=True,
    )
    for name, about in EQUIMO.items():
        side = 518 if name.startswith("dinov2") else 224
        at = {"b": 1, "h": side, "w": side}
        yield Model(name, "equimo", about, lambda name=name: _equimo(name), at=at)
    for name, about in EQXVISION.items():
        yield Model(name, "eqxvision", about, lambda name=name: _eqxvision(name))
