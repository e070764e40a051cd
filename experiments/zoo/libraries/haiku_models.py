"""Networks of Haiku."""

from collections.abc import Iterator
from typing import Any

from experiments.zoo.record import Model, Subject, of_haiku

NETS = {
    "ResNet18": "residual blocks",
    "ResNet50": "residual bottlenecks",
    "ResNet101": "residual bottlenecks",
}


def _net(name: str, training: bool = False, **options: Any) -> Subject:
    import haiku as hk

    def forward(images: Any, is_training: bool) -> Any:
        return getattr(hk.nets, name)(**options)(images, is_training=is_training)

    return of_haiku(forward, "b h w 3", training=training)


def models() -> Iterator[Model]:
    """List the models.

    Yields:
        One record each.
    """
    for name, about in NETS.items():
        quick = name == "ResNet18"
        yield Model(
            f"nets.{name}",
            "dm-haiku",
            about,
            lambda name=name: _net(name, num_classes=1000),
            quick=quick,
        )
    yield Model(
        "nets.ResNet18 in training",
        "dm-haiku",
        "residual blocks, batch norms in training",
        lambda: _net("ResNet18", training=True, num_classes=1000),
    )
    yield Model(
        "nets.ResNet50, version 2",
        "dm-haiku",
        "residual bottlenecks, activated first",
        lambda: _net("ResNet50", num_classes=1000, resnet_v2=True),
    )
    yield Model(
        "nets.MobileNetV1",
        "dm-haiku",
        "separable convolutions",
        lambda: _net("MobileNetV1"),
        quick=True,
    )
