"""The models that jaxconv knows by name, and where their published weights come from.

A new model is one registration in any module of this package, which is found without another edit::

    @register_model("lenet", title="LeNet-5", description="2 convolutions, for 28x28 pixels")
    def lenet(*, classes=10, weights=None, rngs=None):
        model = LeNet(classes, rngs or nnx.Rngs(0))
        if weights is not None:  # a published name, or the path of a file
            fill(model, find_weights("lenet", weights, head=True))
        return model

So is a new source of weights, for a model of this module or of another::

    register_weights("vgg16", "places365", HubFile(repository=..., sha256=...))
"""

import functools
import importlib
import pkgutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from jaxconv.models.errors import MissingHeadError, WeightsError, missing_extra, require_path
from jaxconv.models.hub import PREFIX, open_repository
from jaxconv.models.sources import WeightsSource, fetch, reason_of
from jaxconv.models.weights import StoredWeights, read_weights

Factory = TypeVar("Factory", bound=Callable[..., Any])


@dataclass(frozen=True)
class RegisteredModel:
    """A model that the command line and ``weights=`` know by name.

    Attributes:
        title: its name in figures and tables, such as "VGG16".
        description: one line for ``jaxconv --help``.
        make: makes the model; takes ``weights``, which it reads with :func:`find_weights`, and
            ``rngs``.
        trunk: options of ``make`` for the part that takes images of any size.
        classifier: options of ``make`` for the whole network, where it takes images of any size
            and gives logits at each place of its last map; empty where it does not.
    """

    title: str
    description: str
    make: Callable[..., Any]
    trunk: Mapping[str, Any] = field(default_factory=dict)
    classifier: Mapping[str, Any] = field(default_factory=dict)


_models: dict[str, RegisteredModel] = {}
_published: dict[tuple[str, str], tuple[WeightsSource, ...]] = {}  # by model, and name of weights


def register_model(
    name: str,
    *,
    title: str,
    description: str,
    trunk: Mapping[str, Any] | None = None,
    classifier: Mapping[str, Any] | None = None,
) -> Callable[[Factory], Factory]:
    """Register the factory of a model, so that commands accept its name.

    Args:
        name: of the model on the command line, such as "vgg16".
        title: its name in figures and tables.
        description: one line for ``jaxconv --help``.
        trunk: options of the factory for the part that takes images of any size.
        classifier: options of the factory for the whole network on images of any size.

    Returns:
        A decorator of the factory, which it returns as it is.

    Raises:
        ValueError: the name is taken.
    """

    def decorate(make: Factory) -> Factory:
        if name in _models:
            fix = "Fix: register one under another name."
            raise ValueError(f"There are two models named {name!r}. {fix}")
        _models[name] = RegisteredModel(title, description, make, trunk or {}, classifier or {})
        return make

    return decorate


def register_weights(model: str, name: str, *sources: WeightsSource) -> None:
    """Register where published weights of a model come from.

    Args:
        model: name of a registered model.
        name: what users pass as ``weights=``, such as "imagenet".
        *sources: files to try, the first first.

    Raises:
        ValueError: the model has weights of this name.
    """
    if (model, name) in _published:
        wrong = f"{model} has two sets of weights named {name!r}."
        raise ValueError(f"{wrong} Fix: register all sources at once.")
    _published[model, name] = sources


@functools.cache
def _import_all_models() -> None:
    package = importlib.import_module(__package__ or "")
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)


def registered_models() -> Mapping[str, RegisteredModel]:
    """Return all models of this package by name, in the order of their registration."""
    _import_all_models()
    return MappingProxyType(_models)


def published_weights(model: str) -> Mapping[str, tuple[WeightsSource, ...]]:
    """Return the published weights of a model.

    Args:
        model: name of a registered model.

    Returns:
        The sources of each, by the name that ``weights=`` takes.
    """
    _import_all_models()
    return {name: sources for (owner, name), sources in _published.items() if owner == model}


def _read_file(weights: str | Path) -> StoredWeights:
    if str(weights).isidentifier() and not Path(weights).exists():
        known = dict.fromkeys(name for _, name in _published)
        wrong = f"There is neither a file {weights} nor published weights of this name."
        raise WeightsError(f"{wrong} Fix: pass the path of a file, or {', '.join(known)}.")
    return read_weights(Path(weights))


def find_weights(model: str, weights: str | Path, *, head: bool) -> StoredWeights:
    """Read the weights that a user asked for.

    Args:
        model: name of a registered model.
        weights: name of published weights, such as "imagenet"; "hf:owner/repository" of the Hugging
            Face hub; or the path of a file.
        head: whether the model has a classifier, so that files without one do not fit.

    Returns:
        The content of the file. Published files are verified first.

    Raises:
        MissingHeadError: only weights without a classifier are available.
        WeightsError: no such file, nothing published, unreachable, damaged, or a missing package.
    """
    require_path("weights", weights, "pass the path of a file, or hf:owner/repository.")
    if str(weights).startswith(PREFIX):
        return open_repository(str(weights)).weights
    sources = published_weights(model).get(str(weights), ())
    owners = [owner for owner, name in _published if name == weights]
    if not owners:
        return _read_file(weights)
    if model not in owners:
        raise WeightsError(
            f"{weights} weights exist for {', '.join(owners)} only, not for {model}. Fix: set "
            "weights= to the path of a file, or to hf:owner/repository of the Hugging Face hub."
        )
    fitting = [source for source in sources if source.has_head or not head]
    try:
        for source in fitting:
            if path := source.cached():
                source.verify(path)
                return read_weights(path)
        failures = []
        for source in fitting:
            try:
                return read_weights(fetch(source))
            except (OSError, subprocess.SubprocessError) as error:
                failures.append(f"{source.title} ({reason_of(error)})")
    except ModuleNotFoundError as error:
        raise missing_extra(error) from None
    others = [
        f"With head=None, {other.title}, would fit too. It takes {other.megabytes or '?'} MB, and "
        "has no classifier: it gives feature maps, but no classes. "
        for other in sources
        if other not in fitting
    ]
    tried = "; ".join(failures) or "nothing"
    message = (
        f"The {weights} weights of {model} are unavailable: they are not in the cache, and could "
        f"not be downloaded. Tried: {tried}. {''.join(others)}Fix: connect to the internet once, "
        "or download the file elsewhere and pass weights= its path."
    )
    raise MissingHeadError(message, tried) if others else WeightsError(message)


def cached_whole_weights(model: str, name: str) -> Path | None:
    """Return the path of published weights that are in the cache and have a classifier.

    Args:
        model: name of a registered model.
        name: of its weights, such as "imagenet".

    Returns:
        The path; None where nothing is there.
    """
    for source in published_weights(model).get(name, ()):
        if source.has_head and (path := source.cached()):
            return path
    return None
