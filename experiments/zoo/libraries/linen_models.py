"""Models of libraries on Flax Linen."""

import contextlib
import importlib
import inspect
import io
from collections.abc import Iterator
from typing import Any

from experiments.zoo import shims
from experiments.zoo.record import Model, Subject, of_linen

SMALL = {"b": 1, "h": 32, "w": 32}


def _flaxmodels(name: str, **named: Any) -> Subject:
    fm: Any = importlib.import_module("flaxmodels")

    module = getattr(fm, name)(output="logits", pretrained=None)
    return of_linen(module, "b h w 3", **named)


def _jax_resnet(name: str, **named: Any) -> Subject:
    library: Any = importlib.import_module("jax_resnet")
    return of_linen(getattr(library, name)(n_classes=1000), "b h w 3", **named)


def _flaim(name: str) -> Subject:
    shims.restore_key_array()
    factory: Any = importlib.import_module("flaim.models.factory")
    config = {
        k: v for k, v in factory.CONFIGS[name].items() if k not in ("model_cls", "norm_stats")
    }
    module = factory.CONFIGS[name]["model_cls"](**config | {"n_classes": 1000})
    takes_training = "training" in inspect.signature(module.__call__).parameters
    named: dict[str, Any] = {"training": False} if takes_training else {}
    return of_linen(module, "b h w 3", **named)


def _scico(name: str, **options: Any) -> Subject:
    library: Any = importlib.import_module("scico.flax")
    module = getattr(library, name)(channels=1, **options)
    return of_linen(module, "b h w 1", train=False)


def _flaxdiff(name: str, module: str, **options: Any) -> Subject:
    library: Any = importlib.import_module(f"flaxdiff.models.{module}")
    at = {"b": 1, "h": 64, "w": 64}
    with contextlib.redirect_stdout(io.StringIO()):
        return of_linen(getattr(library, name)(**options), "b h w 3", "b", "b 77 768", at=at)


def _i3d() -> Subject:
    library: Any = importlib.import_module("i3d_jax.i3d")
    at = {"b": 1, "t": 64, "h": 224, "w": 224}
    return of_linen(library.InceptionI3d(num_classes=400), "b t h w 3", at=at)


def _diffusers_unet() -> Subject:
    library: Any = importlib.import_module("diffusers.models.unets.unet_2d_condition_flax")
    module = library.FlaxUNet2DConditionModel(
        sample_size=32,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=8,
        layers_per_block=1,
    )
    at = {"b": 1, "h": 32, "w": 32}
    return of_linen(module, "b 4 h w", "b", "b 77 32", at=at)


def _diffusers_vae() -> Subject:
    library: Any = importlib.import_module("diffusers.models.vae_flax")
    module = library.FlaxAutoencoderKL(
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )
    return of_linen(module, "b 3 h w", at={"b": 1, "h": 64, "w": 64})


def _transformers(module: str, name: str, config: str) -> Subject:
    library: Any = importlib.import_module(f"transformers.models.{module}.modeling_flax_{module}")
    configuration: Any = importlib.import_module(f"transformers.models.{module}")
    inner = getattr(library, name)(getattr(configuration, config)())
    return of_linen(inner, "b h w 3", return_dict=False)


def _autoencoder() -> Subject:
    from flax import linen as nn

    module = nn.Sequential(
        [
            nn.Conv(32, (3, 3), strides=2),
            nn.GroupNorm(8),
            nn.relu,
            nn.ConvTranspose(32, (4, 4), strides=(2, 2)),
            nn.Conv(3, (3, 3)),
        ]
    )
    return of_linen(module, "b h w 3")


FLAIM = {
    "cait_xxsmall24_224": "class attention",
    "convmixer32_768d_patch7_kernel7": "patches mixed by depthwise convolutions",
    "convnext_tiny": "large depthwise kernels",
    "convnextv2_atto_fcmae_ftin1k": "large depthwise kernels, normalised responses",
    "efficientnetv2_small": "fused inverted residuals",
    "gcvit_xxtiny_224": "global context attention",
    "hornet_tiny": "recursive gated convolutions",
    "maxvit_tiny_224": "attention in windows and grids",
    "nest_tiny_224": "nested attention",
    "pvtv2_b0": "a pyramid of attention",
    "regnety_200mf": "grouped bottlenecks with squeeze-and-excitation",
    "resnet18": "residual blocks",
    "resnet50d": "ResNet-D",
    "skresnet18": "selective kernels",
    "resnest14_2s1x64d": "split attention",
    "swin_tiny_window7_224": "shifted windows",
    "van_b0": "large kernel attention",
    "vgg16_bn": "a chain of convolutions and pools with batch norms",
    "vit_tiny_patch16_224": "a vision transformer",
}
JAX_RESNET = {
    "ResNet18": "residual blocks",
    "ResNet50": "residual bottlenecks",
    "ResNetD50": "ResNet-D, pools in the shortcuts",
    "ResNeSt50Fast": "split attention",
    "ResNeXt50": "grouped bottlenecks",
    "WideResNet50": "wide bottlenecks",
}
TRANSFORMERS = (
    ("resnet", "FlaxResNetForImageClassificationModule", "ResNetConfig", "residual bottlenecks"),
    ("regnet", "FlaxRegNetForImageClassificationModule", "RegNetConfig", "grouped bottlenecks"),
    ("vit", "FlaxViTForImageClassificationModule", "ViTConfig", "a vision transformer"),
    ("beit", "FlaxBeitForImageClassificationModule", "BeitConfig", "a vision transformer"),
)


def models() -> Iterator[Model]:
    """List the models.

    Yields:
        One record each.
    """
    yield from _classifiers()
    yield from _images_and_volumes()
    for module, name, config, about in TRANSFORMERS:
        yield Model(
            name,
            "transformers",
            about,
            lambda args=(module, name, config): _transformers(*args),
        )


def _classifiers() -> Iterator[Model]:
    """An autoencoder, and networks that classify images."""
    yield Model(
        "nn.Sequential of Conv, GroupNorm and ConvTranspose",
        "flax",
        "a small autoencoder of Linen's layers",
        _autoencoder,
        quick=True,
    )
    for name, about in {
        "ResNet18": "residual blocks",
        "ResNet50": "residual bottlenecks",
        "VGG16": "a chain of convolutions and pools, with its dense head",
    }.items():
        yield Model(name, "flaxmodels", about, lambda name=name: _flaxmodels(name, train=False))
    yield Model(
        "ResNet18 in training",
        "flaxmodels",
        "residual blocks, batch norms in training",
        lambda: _flaxmodels("ResNet18", train=True),
    )
    for name, about in JAX_RESNET.items():
        yield Model(name, "jax-resnet", about, lambda name=name: _jax_resnet(name))
    for name, about in FLAIM.items():
        yield Model(name, "flaim", about, lambda name=name: _flaim(name))


def _images_and_volumes() -> Iterator[Model]:
    """Networks that return images, and one that reads volumes."""
    yield Model("flax.DnCNNNet", "scico", "a denoiser", lambda: _scico("DnCNNNet", depth=6))
    yield Model("flax.ResNet", "scico", "a denoiser", lambda: _scico("ResNet", depth=4))
    yield Model("flax.UNet", "scico", "a U-Net", lambda: _scico("UNet", depth=3))
    yield Model(
        "Unet",
        "flaxdiff",
        "the U-Net of a diffusion model, with attention",
        lambda: _flaxdiff("Unet", "simple_unet"),
        at={"b": 1, "h": 64, "w": 64},
    )
    yield Model(
        "InceptionI3d",
        "i3d-jax",
        "parallel branches of 3-D convolutions",
        _i3d,
        at={"b": 1, "t": 64, "h": 224, "w": 224},
    )
    yield Model(
        "FlaxUNet2DConditionModel",
        "diffusers",
        "the U-Net of Stable Diffusion, of fewer channels",
        _diffusers_unet,
        at=SMALL,
    )
    yield Model(
        "FlaxAutoencoderKL",
        "diffusers",
        "the autoencoder of Stable Diffusion, of fewer channels",
        _diffusers_vae,
        at={"b": 1, "h": 64, "w": 64},
    )
