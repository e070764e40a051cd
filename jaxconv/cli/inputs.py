"""The inputs of the commands: a photo, and the model that is applied to it."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from flax import nnx

from jaxconv.cli.arguments import OBJECT_HELP, UsageError
from jaxconv.cli.loader import resolve
from jaxconv.cli.models import add_keyword_arguments
from jaxconv.cli.photo_call import Model, PhotoCall, photo_model
from jaxconv.cli.photo_size import add_size
from jaxconv.cli.progress import doing
from jaxconv.models.errors import WeightsError
from jaxconv.models.registry import find_weights, published_weights, registered_models
from jaxconv.models.weights import fill
from jaxconv.plotting.photos import open_photo


def add_photo_and_model(parser: argparse.ArgumentParser, *, size: int | None = None) -> None:
    """Declare the arguments that name a photo and a model.

    Args:
        parser: of the command.
        size: the shorter side of a photo by default; None for the photo's own.
    """
    parser.add_argument(
        "photo",
        nargs="?",
        metavar="PHOTO",
        help="path to a photo; default: the one of Grace Hopper in matplotlib",
    )
    add_size(parser, size=size)
    add_model(parser)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that name a model.

    Args:
        parser: of the command.
    """
    parser.add_argument(
        "--model", default="vgg16", metavar="NAME", help=f"{OBJECT_HELP}; default: %(default)s"
    )
    parser.add_argument(
        "--layout",
        help="layout of the images that the model takes, such as NCHW; default: detected",
    )
    add_keyword_arguments(parser)
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="the model's weights: a .safetensors file, a file of torchvision (.pth) or Keras "
        "(.h5), or hf:OWNER/NAME on the Hugging Face hub; default: the published weights",
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
        Its path, and uint8 (h, w, 3), of its own size.

    Raises:
        PhotoError: it cannot be read.
    """
    path = default_photo() if options.photo is None else Path(options.photo)
    return path, open_photo(path)


def outline(options: argparse.Namespace) -> Callable[[int, int], PhotoCall]:
    """Return the model that the options name as a function of height and width of a photo.

    A registered model lacks its weights.

    Args:
        options: of the command.

    Raises:
        TargetError: the name cannot be resolved.
        UsageError: weights for a model that is not of Flax NNX.
        WeightsError: the weights cannot be read, or do not fit.
    """
    entry = registered_models().get(options.model)
    if entry:
        return photo_model(nnx.eval_shape(lambda: entry.make(**entry.trunk)), options)
    model = resolve(options.model, abstract=False)
    if isinstance(model, nnx.Module):
        if options.weights:
            with doing(f"reading {options.weights}"):
                stored = find_weights("", options.weights, head=True)
                fill(model, stored)
            model.preprocessing = stored.preprocessing  # type: ignore[attr-defined]
        model.eval()  # no dropout, and the statistics that were learnt
    elif options.weights:
        raise UsageError(
            "--weights needs a Flax NNX model. Fix: load the weights in a function that makes "
            "the model, and pass --model module:function()."
        )
    return photo_model(model, options)


def load_weights(model: Model, options: argparse.Namespace, *, whole: bool = False) -> Model:
    """Return a model with its weights.

    Args:
        model: as it is called with a photo.
        options: of the command.
        whole: whether a registered model gets its classifier, too.

    Raises:
        MissingHeadError: there are weights without a classifier only.
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
    with doing(f"loading the weights of {options.model}"):
        try:
            loaded = entry.make(weights=weights, **(entry.classifier if whole else entry.trunk))
        except WeightsError as error:  # which speaks of arguments in Python
            made = rf"pass --model '{options.model}(\1)' with these weights."
            fixed = re.sub(r"pass (classes=\d+|batch_norm=\w+)\.", made, str(error))
            if fixed == str(error):
                raise
            raise UsageError(fixed) from None
    if getattr(loaded, "preprocessing", None) is None:
        raise UsageError(
            f"{weights} does not say how to preprocess images. Fix: set model.preprocessing, and "
            "write the file again with jaxconv.models.weights.write_weights."
        )
    return loaded
