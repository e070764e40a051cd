"""Models as the Hugging Face hub keeps them: config.json, model.safetensors and a model card."""

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from flax import nnx

from jaxconv.models.errors import WeightsError, missing_extra, require_path
from jaxconv.models.file_writing import write_folder
from jaxconv.models.preprocessing import Preprocessing
from jaxconv.models.sources import HubFile, fetch, reason_of
from jaxconv.models.weights import StoredWeights, read_weights, stored_bytes

PREFIX = "hf:"  # of a repository where a file may be named, too
CONFIG, CARD = "config.json", "README.md"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first that a repository has
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")

CARD_TEXT = """---
library_name: jaxconv
pipeline_tag: {task}
tags:
- jax
- flax
- {kind}
---

# {title}

A model of jaxconv, in Flax NNX.

```python
{import_line}

model = {cls}.from_pretrained("{name}")
{use}
```
"""


@dataclass(frozen=True)
class Repository:
    """A model that was saved.

    Attributes:
        name: of the repository, or path of the folder.
        weights: of the model, with the preprocessing that the configuration describes.
        config: what config.json has; None where there is none.
    """

    name: str
    weights: StoredWeights
    config: Mapping[str, Any] | None


def open_repository(source: str | Path) -> Repository:
    """Read a model from a folder, or from the hub; where the hub is unreachable, from its cache.

    Args:
        source: path of a folder, or "owner/repository", or "hf:owner/repository", which may be
            followed by "@" and a branch, a tag or a commit.

    Raises:
        WeightsError: unavailable, damaged, not a model, or a missing package.
    """
    require_path("source", source, "pass the path of a folder, or owner/repository.")
    folder = Path(source)
    if os.path.isdir(folder) and not str(source).startswith(PREFIX):
        paths = {name: folder / name for name in (CONFIG, *WEIGHTS) if (folder / name).is_file()}
        name = str(source)
    else:
        name, _, revision = str(source).removeprefix(PREFIX).partition("@")
        if not _is_repository(name):
            raise WeightsError(
                f"{source} is neither a folder nor a repository of the Hugging Face hub. Fix: pass "
                "the path of a folder, or owner/repository."
            )
        paths = _download(name, revision or None)
    stored = next((paths[file] for file in WEIGHTS if file in paths), None)
    if stored is None:
        raise WeightsError(f"{name} has no {WEIGHTS[0]}. Fix: pass a model that was saved.")
    config = _read_config(paths[CONFIG]) if CONFIG in paths else None
    weights = read_weights(stored)
    known = config or {}
    fields, of_timm = known.get("preprocessing"), known.get("pretrained_cfg")
    if not fields and isinstance(of_timm, dict) and {"mean", "std"} <= {*of_timm}:
        fields = {"scale": 1 / 255, "mean": of_timm["mean"], "std": of_timm["std"]}
    try:
        preprocessing = Preprocessing.from_json(fields) if fields else weights.preprocessing
    except (TypeError, ValueError) as error:
        wrong = f"{paths[CONFIG]} has a preprocessing that cannot be read ({error})."
        raise WeightsError(f"{wrong} Fix: correct it, or save the model again.") from None
    return Repository(name, replace(weights, preprocessing=preprocessing), config)


def save_pretrained(model: nnx.Module, config: Mapping[str, Any], path: Path) -> None:
    """Write a model into a folder. A model card that is there is kept.

    Args:
        model: any model of Flax NNX.
        config: what makes it again.
        path: of the folder, which is made if it is not there.

    Raises:
        WeightsError: it cannot be written, or a missing package.
    """
    preprocessing = getattr(model, "preprocessing", None)
    content = {"library_name": "jaxconv", "model_type": type(model).__name__, **config}
    if preprocessing is not None:
        content["preprocessing"] = asdict(preprocessing)
    try:
        files = {WEIGHTS[0]: stored_bytes(model)}
    except ModuleNotFoundError as error:
        raise missing_extra(error) from None
    files[CONFIG] = (json.dumps(content, indent=2) + "\n").encode()
    if not (path / CARD).exists():
        files[CARD] = _card(model, config, path.name).encode()
    write_folder(path, files)


def push_to_hub(
    model: nnx.Module,
    config: Mapping[str, Any],
    repository: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    commit_message: str = "Upload a model of jaxconv",
) -> str:
    """Upload a model to the Hugging Face hub. A model card that is there is kept.

    Args:
        model: any model of Flax NNX.
        config: what makes it again.
        repository: such as "owner/repository", which is made if it does not exist.
        private: whether a new repository is private; None for the owner's default.
        token: of the owner; None for the one that ``hf auth login`` stored.
        revision: the branch; None for the default branch.
        commit_message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        WeightsError: the name, the token or the connection is wrong, or a missing package.
    """
    if not _is_repository(repository):
        raise WeightsError(f"{repository} is not a repository. Fix: pass owner/repository.")
    try:
        from huggingface_hub import HfApi
    except ModuleNotFoundError as error:
        raise missing_extra(error) from None
    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / repository.partition("/")[2]
        save_pretrained(model, config, folder)
        (folder / CARD).write_text(_card(model, config, repository))
        try:
            api.create_repo(repository, private=private, exist_ok=True)
            is_described = api.file_exists(repository, CARD, revision=revision)
            done = api.upload_folder(
                repo_id=repository,
                folder_path=folder,
                revision=revision,
                commit_message=commit_message,
                ignore_patterns=[CARD] if is_described else [],
            )
        except Exception as error:  # which HTTP client raises depends on the hub's version
            raise WeightsError(
                f"{repository} cannot be uploaded to the Hugging Face hub ({reason_of(error)}). "
                "Fix: check the name and the connection, and log in with: hf auth login"
            ) from error
    return done.commit_url


def _is_repository(name: str) -> bool:
    """Whether the hub takes a name; without its package only whether it has an owner."""
    if not REPOSITORY.fullmatch(name):
        return False
    with contextlib.suppress(ModuleNotFoundError):
        from huggingface_hub.utils import HFValidationError, validate_repo_id

        try:
            validate_repo_id(name)
        except HFValidationError:
            return False
    return True


def _download(name: str, revision: str | None) -> dict[str, Path]:
    """The files of a repository; those of the cache where the hub is unreachable."""
    paths, failures = {}, []
    try:
        for file in (*WEIGHTS, CONFIG):
            source = HubFile(repository=name, file=file, revision=revision)
            if file in WEIGHTS and paths:
                continue
            path = source.cached()
            try:
                is_news = file == WEIGHTS[0] and path is None
                path = fetch(source) if is_news else source.download()
            except FileNotFoundError:
                path = None
            except OSError as error:
                failures.append(reason_of(error))
                if path:
                    source.verify(path)
            paths |= {file: path} if path else {}
    except ModuleNotFoundError as error:
        raise missing_extra(error) from None
    if failures and not {*WEIGHTS} & {*paths}:
        raise WeightsError(
            f"{name} is unavailable: it is not in the cache, and could not be downloaded from the "
            f"Hugging Face hub ({failures[0]}). Fix: check the name and the connection; for a "
            "private repository, log in with: hf auth login"
        )
    return paths


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_bytes())
        if not isinstance(config, dict):
            raise ValueError("it is not an object")
    except (ValueError, RecursionError) as error:
        wrong = f"{path} is not a configuration ({error})."
        raise WeightsError(f"{wrong} Fix: save the model again.") from None
    return config


def _card(model: nnx.Module, config: Mapping[str, Any], name: str) -> str:
    kind = type(model).__name__
    is_classifier = config.get("head") is not None
    module = type(model).__module__
    is_ours = module.startswith("jaxconv.")
    return CARD_TEXT.format(
        task="image-classification" if is_classifier else "image-feature-extraction",
        kind=kind.lower(),
        title=name.rpartition("/")[2],
        import_line="import jaxconv as jc" if is_ours else f"from {module} import {kind}",
        cls=f"jc.{kind}" if is_ours else kind,
        name=name,
        use=f"{'logits' if is_classifier else 'maps'} = model(model.preprocessing(photos))"
        if getattr(model, "preprocessing", None)
        else f"{'logits' if is_classifier else 'maps'} = model(images)",
    )
