"""What a command looks at: a photo, and the model that sees it."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxconv.cli.arguments import UsageError, positive
from jaxconv.cli.loader import resolve, users_code
from jaxconv.models import vgg, weights
from jaxconv.plotting.photos import open_photo
from jaxconv.prover.check import pure

Model = Callable[..., Any]


def add_subject(command: argparse.ArgumentParser) -> None:
    """Say which options name a photo and a model."""
    command.add_argument("photo", nargs="?", help="default: Grace Hopper, which matplotlib ships")
    command.add_argument(
        "--size",
        type=positive,
        metavar="N",
        help="pixels of the shorter side; default: %(default)s",
    )
    command.add_argument(
        "--model", default="vgg16", metavar="NAME", help="pkg.module:name; default: vgg16"
    )
    command.add_argument("--weights", metavar="FILE", help="of the model: a .safetensors file")


def default_photo() -> Path:
    """A photo that is there after installing."""
    from matplotlib import cbook

    return Path(str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))


def photo_of(options: argparse.Namespace) -> tuple[Path, np.ndarray]:
    """The path of the photo and the photo."""
    path = default_photo() if options.photo is None else Path(options.photo)
    return path, open_photo(path, options.size)


def outline(options: argparse.Namespace) -> Model:
    """The model, before any weights are there if it is one of ours."""
    if options.model in vgg.STAGES:
        return nnx.eval_shape(lambda: getattr(vgg, options.model)(head=None))
    model = resolve(options.model, abstract=False)
    if isinstance(model, nnx.Module):
        _fill(model, options.weights)
        model.eval()  # no dropout, and the statistics that were learnt
    elif options.weights:
        raise UsageError(
            "--weights is for models of Flax NNX. Fix: load them in a function of yours that makes "
            "the model, and pass --model module:function()."
        )
    return model


def _fill(model: Any, file: str | None) -> None:
    """Give a model the weights of a file, if there is one, and what the file says of pictures."""
    if file:
        stored = weights.read(Path(file))
        weights.fill(model, stored)
        model.preprocessing = stored.preprocessing


def loaded(model: Model, options: argparse.Namespace) -> Model:
    """The model with its weights."""
    if options.model not in vgg.STAGES:
        return model
    source = options.weights or "imagenet"
    found = getattr(vgg, options.model)(weights=source, head=None)
    if found.preprocessing is None:
        raise UsageError(f"{source} does not say how its pictures are prepared.")
    return found


def prepared(model: Model, photo: np.ndarray, options: argparse.Namespace) -> np.ndarray:
    """A batch of one photo as the model takes it: by its ``preprocessing``, else from 0 to 1.

    A model that was trained on pictures of one channel gets the photo in grey.

    Args:
        model: of any kind.
        photo: uint8 (h, w, 3).
        options: of the command.

    Returns:
        float32 (1, h, w, 3), or (1, h, w, 1).

    Raises:
        TargetError: a model of the user's that does not take it.
    """
    preprocessing = getattr(model, "preprocessing", None) or _from_0_to_1
    grey = len(getattr(preprocessing, "mean", "rgb")) == 1
    pixels = photo.mean(-1, keepdims=True) if grey else photo
    x = np.asarray(preprocessing(pixels[None]), np.float32)
    if options.model not in vgg.STAGES:
        with users_code(f"running {options.model} on an image {x.shape}"):
            call, given = pure(model, (x,))
            jax.eval_shape(call, *given)
    return x


def _from_0_to_1(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) / 255


def check_memory(photo: np.ndarray) -> None:
    """Refuse a photo whose first feature maps cannot fit into this machine."""
    need = 3 * 64 * photo.shape[0] * photo.shape[1] * 4  # conv1_1, its input and its output
    have = _memory()
    if need > have:
        raise UsageError(
            f"the first feature maps of a photo of {photo.shape[1]}x{photo.shape[0]} pixels need "
            f"{need / 1e9:.2g} GB, and this machine has {have / 1e9:.2g}. Fix: pass --size 1024."
        )


def _memory() -> int | float:
    """Bytes of this machine's memory; infinite where the system does not tell."""
    known = hasattr(os, "sysconf")
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if known else float("inf")
