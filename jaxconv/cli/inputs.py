"""The inputs of the commands: a photo, and the model that is applied to it."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxconv.adapters.call import library_contexts, read_call
from jaxconv.cli.arguments import OBJECT_HELP, UsageError, positive
from jaxconv.cli.loader import resolve
from jaxconv.cli.user_code import user_code
from jaxconv.models.registry import published_weights, registered_models
from jaxconv.models.weights import fill, read_weights
from jaxconv.plotting.photos import open_photo

Model = Callable[..., Any]


def add_photo_and_model(parser: argparse.ArgumentParser, *, size: int | None = None) -> None:
    """Declare the arguments that name a photo and a model.

    Args:
        parser: of the command.
        size: default of ``--size``; None keeps the photo's own size.
    """
    parser.add_argument(
        "photo",
        nargs="?",
        metavar="PHOTO",
        help="path to a photo; default: the one of Grace Hopper in matplotlib",
    )
    parser.add_argument(
        "--size",
        type=positive,
        metavar="N",
        default=size,
        help="resize the shorter side to N pixels; default: "
        + ("the photo's own size" if size is None else "%(default)s"),
    )
    parser.add_argument(
        "--model", default="vgg16", metavar="NAME", help=f"{OBJECT_HELP}; default: %(default)s"
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="path to the model's weights, a .safetensors file; default: the published weights",
    )


def default_photo() -> Path:
    """Return a photo that is installed with the extras."""
    from matplotlib import cbook

    return Path(str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))


def open_photo_argument(options: argparse.Namespace) -> tuple[Path, np.ndarray]:
    """Open the photo that the options name.

    Args:
        options: of the command.

    Returns:
        Its path, and uint8 (h, w, 3).

    Raises:
        PhotoError: it cannot be read.
    """
    path = default_photo() if options.photo is None else Path(options.photo)
    return path, open_photo(path, options.size)


def outline(options: argparse.Namespace) -> Model:
    """Return the model that the options name; a registered one without its weights.

    Args:
        options: of the command.

    Raises:
        TargetError: the name cannot be resolved.
        UsageError: weights for a model that is not of Flax NNX.
        WeightsError: the weights cannot be read, or do not fit.
    """
    entry = registered_models().get(options.model)
    if entry:
        return nnx.eval_shape(lambda: entry.make(**entry.trunk))
    model = resolve(options.model, abstract=False)
    if isinstance(model, nnx.Module):
        if options.weights:
            stored = read_weights(Path(options.weights))
            fill(model, stored)
            model.preprocessing = stored.preprocessing  # type: ignore[attr-defined]
        model.eval()  # no dropout, and the statistics that were learnt
    elif options.weights:
        raise UsageError(
            "--weights needs a Flax NNX model. Fix: load the weights in a function that makes "
            "the model, and pass --model module:function()."
        )
    return model


def load_weights(model: Model, options: argparse.Namespace) -> Model:
    """Return the model with its weights.

    Args:
        model: as :func:`outline` returned it.
        options: of the command.

    Raises:
        UsageError: a registered model has no published weights, or they lack a preprocessing.
        WeightsError: the weights are unavailable, or do not fit.
    """
    entry = registered_models().get(options.model)
    if entry is None:
        return model
    weights = options.weights or next(iter(published_weights(options.model)), None)
    if weights is None:
        raise UsageError(
            f"{options.model} has no published weights.\n  Fix: pass --weights FILE, or "
            f"--model '{options.model}()' for random ones."
        )
    loaded = entry.make(weights=weights, **entry.trunk)
    if getattr(loaded, "preprocessing", None) is None:
        raise UsageError(
            f"{weights} does not say how to preprocess images. Fix: set model.preprocessing, and "
            "write the file again with jaxconv.models.weights.write_weights."
        )
    return loaded


def preprocess(model: Model, photo: np.ndarray, options: argparse.Namespace) -> np.ndarray:
    """Return a batch of one photo as the model takes it: by its ``preprocessing``, else 0 to 1.

    A model that was trained on images of one channel gets the photo in grey.

    Args:
        model: of any kind.
        photo: uint8 (h, w, 3).
        options: of the command.

    Returns:
        float32 (1, h, w, 3), or (1, h, w, 1).

    Raises:
        TargetError: a model of the user's that does not take it.
    """
    preprocessing = getattr(model, "preprocessing", None)
    grey = len(getattr(preprocessing, "mean", "rgb")) == 1
    pixels = photo.mean(-1, keepdims=True) if grey else photo
    x = preprocessing(pixels[None]) if preprocessing else pixels[None].astype(np.float32) / 255
    x = np.asarray(x, np.float32)
    if options.model not in registered_models():
        with user_code(f"running {options.model} on an image {x.shape}"):
            call = read_call(model, (x,), {})
            with library_contexts():
                jax.eval_shape(call.fn, *call.arguments)
    return x


def check_memory(photo: np.ndarray) -> None:
    """Reject a photo whose first feature maps cannot fit into this machine.

    Args:
        photo: (h, w, 3).

    Raises:
        UsageError: they cannot.
    """
    need = 3 * 64 * photo.shape[0] * photo.shape[1] * 4  # conv1_1, its input and its output
    available = total_memory()
    if need > available:
        raise UsageError(
            f"the first feature maps of a photo of {photo.shape[1]}x{photo.shape[0]} pixels need "
            f"{need / 1e9:.2g} GB, but this machine has {available / 1e9:.2g}. "
            "Fix: pass --size 1024."
        )


def total_memory() -> int | float:
    """Return the bytes of this machine's memory; infinite where the system does not tell."""
    known = hasattr(os, "sysconf")
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if known else float("inf")
