"""The whole network behind a command's model, with its classifier."""

import argparse
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxconv.analysis.classes import ClassShare, is_classification, top_classes
from jaxconv.cli.arguments import UsageError
from jaxconv.cli.inputs import load_weights, outline
from jaxconv.cli.photo_call import Model, PhotoCall
from jaxconv.models.errors import MissingHeadError
from jaxconv.models.registry import (
    cached_whole_weights,
    published_weights,
    registered_models,
)
from jaxconv.models.sources import HubFile
from jaxconv.plotting.photos import is_grey

LEAST = 224  # pixels of the shorter side, for the classifiers of registered models


def load_classifier(options: argparse.Namespace) -> PhotoCall:
    """Return the model that the options name, with its classifier, for square photos.

    Args:
        options: of the command: those of a model, and ``size``.

    Raises:
        TargetError: the name cannot be resolved.
        UsageError: its weights have no classifier.
        WeightsError: the weights cannot be read, or do not fit.
    """
    call = outline(options)(options.size, options.size)
    entry = registered_models().get(options.model)
    if entry is None:
        return call
    try:
        model = load_weights(call.fn, options, whole=True)
    except MissingHeadError as error:
        raise UsageError(_without_head(options, error.tried)) from None
    preprocessing = model.preprocessing  # type: ignore[attr-defined]
    if entry.classifier and options.size < LEAST:
        raise UsageError(f"{options.model} needs {LEAST} pixels. Fix: pass --size {LEAST} or more.")

    def fn(x: Any) -> Any:
        outputs = model(x)
        return outputs.mean((1, 2)) if entry.classifier else outputs

    fn.preprocessing = preprocessing  # type: ignore[attr-defined]
    shape = (1, options.size, options.size, 1 if is_grey(preprocessing) else 3)
    return PhotoCall(fn, jax.ShapeDtypeStruct(shape, np.float32))


def _without_head(options: argparse.Namespace, tried: str) -> str:
    """What a network without its head cannot do, and where the head is."""
    sources = published_weights(options.model).get("imagenet", ())
    hub = next((s for s in sources if isinstance(s, HubFile) and s.has_head), None)
    place = f"{hub.file} of {hub.repository}" if hub else "a file of the whole network"
    size = f" ({hub.megabytes} MB)" if hub and hub.megabytes else ""
    cannot = "give feature maps (jaxconv maps), but cannot name classes"
    if options.weights:
        return (
            f"{options.weights} has the convolutions only: they {cannot}. Fix: pass --weights "
            f"{place}{size}, from the Hugging Face hub."
        )
    return (
        f"the classifier of {options.model} is unavailable, and its convolutions alone {cannot}. "
        f"It is not in the cache, and could not be downloaded. Tried: {tried}. Fix: connect to the "
        f"internet once, or download {place}{size} elsewhere and pass --weights its path."
    )


def explored_classes(
    model: Model, x: np.ndarray, options: argparse.Namespace
) -> list[ClassShare] | str:
    """Return the classes of the photo of a page, or why there are none.

    Nothing is downloaded: a registered model needs its head in the cache, or in the file.

    Args:
        model: as the page shows it.
        x: the photo as the model takes it.
        options: of the command.

    Returns:
        The classes; or a sentence, which is empty for a model that is not a classifier.
    """
    entry = registered_models().get(options.model)
    if entry is None or not entry.classifier:
        outputs = jax.eval_shape(model, jax.ShapeDtypeStruct(x.shape, x.dtype))
        is_one = is_classification(getattr(outputs, "shape", ()))
        return _top(model(x)) if is_one else ""
    if min(x.shape[1:3]) < LEAST:
        return f"To name classes, the network needs a photo of {LEAST}x{LEAST} pixels or more."
    name = next(iter(published_weights(options.model)), "")
    weights: str | Path | None = options.weights or cached_whole_weights(options.model, name)
    try:
        whole: Any = weights and entry.make(weights=weights, **entry.classifier)
    except MissingHeadError:
        whole = None
    if whole is None:
        return (
            "These weights are of the convolutions only: they show feature maps, but name no "
            "classes. The command jaxconv classify says how to get the classifier."
        )
    return _top(np.asarray(whole(x)).mean((1, 2)))


def _top(outputs: Any) -> list[ClassShare] | str:
    try:
        return top_classes(np.asarray(outputs))
    except ValueError:
        return "The outputs of the network are not finite, so there are no classes."
