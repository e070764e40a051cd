"""Models of Keras and KerasHub."""

import importlib
from collections.abc import Iterator
from typing import Any

from experiments.zoo.record import Model, Subject, of_keras

# Those of keras.applications without their head, which take images of any size.
APPLICATIONS = {
    "MobileNet": "separable convolutions",
    "MobileNetV2": "inverted residuals",
    "MobileNetV3Small": "inverted residuals with squeeze-and-excitation",
    "MobileNetV3Large": "inverted residuals with squeeze-and-excitation",
    "EfficientNetB0": "inverted residuals with squeeze-and-excitation",
    "EfficientNetV2B0": "fused inverted residuals",
    "ResNet50": "residual bottlenecks",
    "ResNet50V2": "residual bottlenecks, activated first",
    "VGG16": "a chain of convolutions and pools",
    "VGG19": "a chain of convolutions and pools",
    "Xception": "separable convolutions with residuals",
    "DenseNet121": "blocks that concatenate all earlier maps",
    "InceptionV3": "parallel branches",
    "InceptionResNetV2": "parallel branches with residuals",
    "ConvNeXtTiny": "large depthwise kernels and layer norms",
}


def application(name: str) -> Subject:
    """Make a model of ``keras.applications`` for images of any size.

    Args:
        name: of its class.

    Returns:
        What to check.
    """
    import keras

    options: dict[str, Any] = {"include_top": False, "input_shape": (None, None, 3)}
    make = getattr(keras.applications, name)
    return of_keras(lambda: make(weights=None, **options), "b h w 3")


def with_head(name: str) -> Subject:
    """Make a model of ``keras.applications`` with its head, for its own size.

    Args:
        name: of its class.

    Returns:
        What to check.
    """
    import keras

    make = getattr(keras.applications, name)
    return of_keras(lambda: make(weights=None), "b h w 3")


def _hub(module: str, **options: Any) -> Subject:
    keras_hub: Any = importlib.import_module("keras_hub")

    make = getattr(keras_hub.models, module)
    return of_keras(lambda: make(**options), "b h w 3")


def _resnet() -> Subject:
    return _hub(
        "ResNetBackbone",
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[2, 2, 2, 2],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=(None, None, 3),
    )


def _dense() -> Subject:
    return _hub(
        "DenseNetBackbone",
        stackwise_num_repeats=[6, 12, 24, 16],
        image_shape=(None, None, 3),
    )


def _vgg() -> Subject:
    return _hub(
        "VGGBackbone",
        stackwise_num_repeats=[2, 2, 3, 3, 3],
        stackwise_num_filters=[64, 128, 256, 512, 512],
        image_shape=(None, None, 3),
    )


def _layers() -> Subject:
    import keras

    def make() -> Any:
        return keras.Sequential(
            [
                keras.Input((None, None, 3)),
                keras.layers.Conv2D(8, 3, strides=2, padding="same"),
                keras.layers.BatchNormalization(),
                keras.layers.SeparableConv2D(16, 3),
                keras.layers.MaxPooling2D(2),
                keras.layers.Conv2DTranspose(8, 2, strides=2),
            ]
        )

    return of_keras(make, "b h w 3")


HUB = {
    "ResNetBackbone": (_resnet, "ResNet-18"),
    "DenseNetBackbone": (_dense, "DenseNet-121"),
    "VGGBackbone": (_vgg, "VGG-16"),
}


def models() -> Iterator[Model]:
    """List the models.

    Yields:
        One record each.
    """
    for name, about in APPLICATIONS.items():
        yield Model(f"applications.{name}", "keras", about, lambda name=name: application(name))
    yield Model(
        "Sequential of convolutions, BatchNormalization and MaxPooling2D",
        "keras",
        "a small network of Keras's layers",
        _layers,
        quick=True,
    )
    yield Model(
        "applications.MobileNetV2 with its head",
        "keras",
        "inverted residuals, for 224 x 224",
        lambda: with_head("MobileNetV2"),
    )
    yield Model(
        "applications.NASNetMobile with its head",
        "keras",
        "cells found by a search, for 224 x 224",
        lambda: with_head("NASNetMobile"),
    )
    for name, (make, about) in HUB.items():
        yield Model(f"models.{name}", "keras-hub", about, make)
