"""Files of weights: read, convert, write, and put into a model.

Three forms are read:

- .safetensors with the names of this package (``conv1_1.kernel``), as :func:`write_weights` makes;
- .safetensors with timm's names (``features.0.weight``): torchvision's training, whose images are
  RGB of 0 to 1, less a mean, over a standard deviation;
- ONNX with Keras' names, as the Visual Geometry Group, Oxford, published the convolutions
  (CC BY 4.0): pixels of 0 to 255 less a mean. Its first kernels take BGR and are turned to RGB.

Since trainings preprocess their images differently, each file has its own :class:`Preprocessing`.
"""

import json
import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

HEAD_LAYERS = ("fc6", "fc7", "fc8")


class WeightsError(ValueError):
    """Weights are unavailable or do not fit; the message says what was tried and the fix."""


def missing_extra(error: ModuleNotFoundError) -> WeightsError:
    """Return the error that says which package is missing.

    Args:
        error: of the import.
    """
    return WeightsError(
        f"Weights need the package {error.name}, which is not installed. Fix: python -m pip "
        "install 'jaxconv[maps]', or -e '.[maps]' in a checkout."
    )


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing that a training used: ``(pixels*scale - mean)/std``, channels RGB.

    Attributes:
        scale: factor for pixels of 0 to 255.
        mean: subtracted from each channel, after scaling.
        std: divisor of each channel.
    """

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Convert pixels to the inputs that the network was trained on.

        Args:
            pixels: (..., channels), RGB or grey, of 0 to 255.

        Returns:
            float32 of the same shape.
        """
        scaled = np.asarray(pixels, np.float32) * np.float32(self.scale)
        return (scaled - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)


TORCHVISION = Preprocessing(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
KERAS = Preprocessing(1.0, (123.68, 116.779, 103.939), (1.0, 1.0, 1.0))


@dataclass(frozen=True)
class StoredWeights:
    """The content of a file.

    Attributes:
        path: of the file.
        tensors: by the names of this package.
        preprocessing: of its images; None where the file does not say.
    """

    path: Path
    tensors: dict[str, np.ndarray]
    preprocessing: Preprocessing | None


def read_weights(path: Path) -> StoredWeights:
    """Read a file of weights, whichever of the three forms it has.

    Args:
        path: a .safetensors file or an ONNX file, see above.

    Returns:
        Tensors by the names of this package: kernels with the spatial axes first, for RGB images.

    Raises:
        WeightsError: there is no such file, or it is not a file of weights.
    """
    if not path.is_file():
        raise WeightsError(f"There is no file {path}. Fix: check the path.")
    try:
        return _parse(path)
    except ModuleNotFoundError as error:
        raise missing_extra(error) from None
    except Exception as error:  # parsers raise many types on damaged files
        reason = str(error) or type(error).__name__
        raise WeightsError(
            f"{path} is truncated or not a file of weights ({reason}). Fix: download it again."
        ) from error


def write_weights(model: nnx.Module, path: Path) -> None:
    """Write a model's parameters and batch statistics, and its preprocessing if it has one.

    Args:
        model: any model of Flax NNX.
        path: the .safetensors file to write, whole or not at all.
    """
    from safetensors.numpy import save

    tensors = {name: np.asarray(value[...]) for name, value in _variables(model).items()}
    preprocessing = getattr(model, "preprocessing", None)
    metadata = {"preprocessing": asdict(preprocessing)} if preprocessing else {}
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(save(tensors, {"jaxconv": json.dumps(metadata)}))
    partial.replace(path)


def fill(model: nnx.Module, stored: StoredWeights) -> None:
    """Put stored tensors into a model; a head is reshaped between its dense and conv form.

    Args:
        model: any model of Flax NNX; it stays as it is where the tensors do not fit.
        stored: the content of a file.

    Raises:
        WeightsError: tensors are missing, have another shape, or have no counterpart.
    """
    variables = _variables(model)
    is_head = {name: name.split(".")[0] in HEAD_LAYERS for name in {*stored.tensors, *variables}}
    extra = [name for name in stored.tensors if name not in variables and not is_head[name]]
    missing = [name for name in variables if name not in stored.tensors]
    if missing or extra:
        raise WeightsError(
            f"{stored.path} does not fit the model: it lacks {_few(missing)}, and has "
            f"{_few(extra)} without a counterpart. Fix: build the model that was saved, or, where "
            "only the head is missing, pass head=None."
        )

    def as_matrix(shape: tuple[int, ...]) -> tuple[int, ...]:  # inputs and outputs of a layer
        return math.prod(shape[:-1]), *shape[-1:]

    for name, variable in variables.items():
        have, want = stored.tensors[name].shape, variable.shape
        if have != want and not (is_head[name] and as_matrix(have) == as_matrix(want)):
            raise WeightsError(
                f"{stored.path} does not fit the model: {name} has shape {have}, but the model "
                f"has {want}. Fix: build the model that was saved."
            )
    for name, variable in variables.items():
        variable[...] = jnp.asarray(stored.tensors[name].reshape(variable.shape), variable.dtype)


def _variables(model: nnx.Module) -> dict[str, nnx.Variable]:
    """Parameters and batch statistics by dotted name."""
    state = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
    return {".".join(map(str, path)): v for path, v in nnx.to_flat_state(state)}


def _few(names: list[str]) -> str:
    listed = ", ".join(names[:3])
    return f"{listed} and {len(names) - 3} more" if len(names) > 3 else listed or "nothing"


def _parse(path: Path) -> StoredWeights:
    if path.suffix == ".onnx":
        import onnx

        graph = onnx.load(path).graph
        # Keras' frozen trunk below another task's head: OIHW for BGR becomes HWIO for RGB.
        tensors = {}
        for initializer in graph.initializer:
            if match := re.search(r"block(\d)_conv(\d)", initializer.name):
                tensor = onnx.numpy_helper.to_array(initializer)
                kind = "kernel" if tensor.ndim == 4 else "bias"
                tensors[f"conv{match[1]}_{match[2]}.{kind}"] = _spatial_first(tensor)
        tensors["conv1_1.kernel"] = tensors["conv1_1.kernel"][:, :, ::-1]
        return StoredWeights(path, tensors, KERAS)
    import safetensors

    with safetensors.safe_open(path, "numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = (file.metadata() or {}).get("jaxconv")
    if any(name.startswith("features.") for name in tensors):
        return StoredWeights(path, _from_timm(tensors), TORCHVISION)
    recipe = json.loads(metadata).get("preprocessing") if metadata else None
    if not recipe:
        return StoredWeights(path, tensors, None)
    # JSON has lists where there were tuples.
    options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in recipe.items()}
    return StoredWeights(path, tensors, Preprocessing(**options))


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
