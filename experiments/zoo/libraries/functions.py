"""Functions of images, and networks whose parameters a function closes over."""

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from experiments.zoo.record import Model, Subject, of_function

PIX = {
    "gaussian_blur": ("a separable blur", {"sigma": 1.0, "kernel_size": 5}),
    "rgb_to_hsv": ("another space of colours", {}),
    "rot90": ("a rotation", {}),
    "center_crop": ("a crop of 7 x 7", {"height": 7, "width": 7}),
    "resize_with_crop_or_pad": ("a crop or a border", {"target_height": 64, "target_width": 64}),
    "depth_to_space": ("channels moved into pixels", {"block_size": 2}),
    "space_to_depth": ("pixels moved into channels", {"block_size": 2}),
}
CHANNELS = {"depth_to_space": 8}


def _pix(name: str) -> Subject:
    dm_pix: Any = importlib.import_module("dm_pix")

    fn: Callable[..., Any] = getattr(dm_pix, name)
    options = PIX[name][1]
    return of_function(lambda x: fn(x, **options), f"b h w {CHANNELS.get(name, 3)}")


def _ssim() -> Subject:
    dm_pix: Any = importlib.import_module("dm_pix")

    return of_function(dm_pix.ssim, "b h w 3", "b h w 3")


def _stax() -> Subject:
    """A network as the examples of JAX's own ``stax`` make it."""
    from jax.example_libraries import stax

    init, apply = stax.serial(
        stax.GeneralConv(("NHWC", "HWIO", "NHWC"), 16, (7, 7), (2, 2), "SAME"),
        stax.BatchNorm(),
        stax.Relu,
        stax.MaxPool((3, 3), strides=(2, 2)),
        stax.FanOut(2),
        stax.parallel(stax.Conv(16, (3, 3), padding="SAME"), stax.Identity),
        stax.FanInSum,
    )
    _, parameters = init(jax.random.key(0), (1, 32, 32, 3))
    count = sum(leaf.size for leaf in jax.tree.leaves(parameters))
    apply_images: Callable[[Any], Any] = lambda x: apply(parameters, x)  # noqa: E731
    return of_function(apply_images, "b h w 3", parameters=count)


def _objax(name: str) -> Subject:
    """A network of Objax, whose variables have values; images have their channels first."""
    zoo: Any = importlib.import_module(f"objax.zoo.{name}")
    if name == "resnet_v2":
        network = zoo.ResNet18(3, 10)
    else:
        network = zoo.WideResNet(3, 10, depth=10, width=2)
    count = sum(
        variable.value.size
        for variable in network.vars().values()
        if type(variable).__name__ == "TrainVar"
    )
    evaluate: Callable[[Any], Any] = lambda x: network(x, training=False)  # noqa: E731
    return of_function(evaluate, "b 3 h w", parameters=count)


def _bilinear() -> Subject:
    return of_function(
        lambda x: jax.image.resize(x, (x.shape[0], 2 * x.shape[1], 2 * x.shape[2], 3), "bilinear"),
        "b h w 3",
    )


def _patches() -> Subject:
    return of_function(
        lambda x: jax.lax.conv_general_dilated_patches(
            jnp.moveaxis(x, -1, 1), (3, 3), (2, 2), "SAME"
        ),
        "b h w 3",
    )


def models() -> Iterator[Model]:
    """List the models.

    Yields:
        One record each.
    """
    for name, (about, _) in PIX.items():
        quick = name in ("gaussian_blur", "space_to_depth")
        yield Model(name, "dm-pix", about, lambda name=name: _pix(name), quick=quick)
    yield Model("ssim", "dm-pix", "a distance of images", _ssim)
    yield Model("example_libraries.stax", "jax", "a residual network of stax", _stax, quick=True)
    yield Model("image.resize", "jax", "an image of twice the size", _bilinear, quick=True)
    yield Model("lax.conv_general_dilated_patches", "jax", "patches", _patches, quick=True)
    yield Model("zoo.resnet_v2.ResNet18", "objax", "residual blocks", lambda: _objax("resnet_v2"))
    yield Model(
        "zoo.wide_resnet.WideResNet",
        "objax",
        "wide residual blocks",
        lambda: _objax("wide_resnet"),
    )
