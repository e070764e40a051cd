"""Models of libraries on Flax NNX."""

import importlib
from collections.abc import Iterator
from typing import Any

from experiments.zoo import shims
from experiments.zoo.record import Model, Subject, of_nnx

JAXNN = {
    "resnet18": "residual blocks",
    "resnet50": "residual bottlenecks",
    "resnet50d": "ResNet-D",
    "resnext50_32x4d": "grouped bottlenecks",
    "seresnet50": "squeeze-and-excitation",
    "ecaresnet26t": "efficient channel attention",
    "resnetblur50": "anti-aliased pools",
    "resnetaa50": "average pools in the place of strides",
    "vit_tiny_patch16_224": "a vision transformer",
}


def _jaxnn(name: str) -> Subject:
    shims.without_torchvision()
    library: Any = importlib.import_module("jaxnn.models")
    from flax import nnx

    def make() -> Any:
        model = library.create_model(name, pretrained=False, rngs=nnx.Rngs(0))
        model.eval()
        return model

    return of_nnx(make, "b h w 3", has_values=name.startswith("vit"))


def _convolutions() -> Subject:
    from flax import nnx

    def make() -> Any:
        rngs = nnx.Rngs(0)
        return nnx.Sequential(
            nnx.Conv(3, 16, (3, 3), strides=2, rngs=rngs),
            nnx.BatchNorm(16, use_running_average=True, rngs=rngs),
            nnx.relu,
            nnx.Conv(16, 16, (3, 3), feature_group_count=16, rngs=rngs),
            nnx.GroupNorm(16, num_groups=4, rngs=rngs),
            nnx.ConvTranspose(16, 3, (2, 2), strides=(2, 2), rngs=rngs),
        )

    return of_nnx(make, "b h w 3")


def models() -> Iterator[Model]:
    """List the models.

    Yields:
        One record each.
    """
    yield Model(
        "nnx.Sequential of Conv, BatchNorm, GroupNorm and ConvTranspose",
        "flax",
        "a small network of NNX's layers",
        _convolutions,
        quick=True,
    )
    for name, about in JAXNN.items():
        yield Model(name, "jaxnn", about, lambda name=name: _jaxnn(name))
