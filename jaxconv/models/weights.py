"""Files of weights: read, convert, write, and put into a model.

These forms are read, recognised by their content:

- .safetensors with the names of this package (``conv1_1.kernel``), as :func:`write_weights` makes;
- .safetensors and .pth of timm and torchvision (``features.0.weight``), with batch norm or without:
  their images are RGB of 0 to 1, less a mean, over a standard deviation;
- .h5 and .weights.h5 of Keras, and its convolutions as ONNX, as the Visual Geometry Group, Oxford,
  published them (CC BY 4.0): pixels of 0 to 255 less a mean. Their first kernels take BGR and are
  turned to RGB.

Since trainings preprocess their images differently, each file has its own :class:`Preprocessing`.
"""

import contextlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxconv.models.errors import MissingHeadError, WeightsError, missing_extra
from jaxconv.models.file_writing import write_file
from jaxconv.models.hashes import verify
from jaxconv.models.hdf5_files import MAGIC, read_hdf5
from jaxconv.models.preprocessing import (
    KERAS_PREPROCESSING,
    TORCHVISION,
    Preprocessing,
)
from jaxconv.models.pytorch_files import is_pytorch_file, read_pytorch
from jaxconv.models.vgg_names import (
    HEAD_LAYERS,
    from_keras,
    from_onnx_of_keras,
    from_pytorch,
    is_pytorch_vgg,
)

# What torchvision publishes: the names have the first digits of the sha256. One training, of the
# convolutions only, has other images: pixels of 0 to 255 less a mean.
TORCHVISION_NAME = re.compile(r"vgg(?:11|13|16|19)(?:_bn|_features-amdegroot)?-([0-9a-f]{8})\.pth")
FEATURES_HASH = "88682ab5"
TORCHVISION_HASHES = frozenset(
    ("8a719046", "6002323d", "19584684", "abd245e5", "397923af", "6c64b313", "dcbb9e9d", "c79401a0",
     FEATURES_HASH)
)  # fmt: skip
TRUNK_PREPROCESSING = Preprocessing(1 / 255, (0.48235, 0.45882, 0.40784), (1 / 255,) * 3)
LONGEST = 300  # characters of a parser's reason, which may quote any part of the file
Form = Literal["tensors", "keras", "onnx"]


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
    """Read a file of weights, whichever of the forms above it has. Nothing in it is executed.

    Args:
        path: of the file.

    Returns:
        Tensors by the names of this package: kernels with the spatial axes first, for RGB images.

    Raises:
        WeightsError: there is no such file, or it is not a file of weights.
    """
    with _explained(path):
        published = TORCHVISION_NAME.fullmatch(path.name)
        if published and published[1] in TORCHVISION_HASHES:
            verify(path, published[1])
        tensors, form, metadata = _parse(path)
        if form == "keras":
            return StoredWeights(path, from_keras(tensors), KERAS_PREPROCESSING)
        if form == "onnx":
            return StoredWeights(path, from_onnx_of_keras(tensors), KERAS_PREPROCESSING)
        if not is_pytorch_vgg(tensors):
            recipe = json.loads(metadata).get("preprocessing") if metadata else None
            return StoredWeights(path, tensors, Preprocessing.from_json(recipe) if recipe else None)
        ours = from_pytorch(tensors)
        if FEATURES_HASH not in path.name:
            return StoredWeights(path, ours, TORCHVISION)
        # The layers of its head are there, without values.
        ours = {name: t for name, t in ours.items() if name.split(".")[0] not in HEAD_LAYERS}
        return StoredWeights(path, ours, TRUNK_PREPROCESSING)


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """Read the tensors of a file of any of the forms above as they are, by their own names.

    Args:
        path: of the file.

    Returns:
        The tensors, in the order of the file.

    Raises:
        WeightsError: there is no such file, or it is not a file of weights.
    """
    with _explained(Path(path)):
        return _parse(Path(path))[0]


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn each error of reading a file into one that names the file."""
    try:
        if path.is_dir():
            fix = f"pass a file in it, such as {path / 'model.safetensors'}"
            raise WeightsError(f"{path} is a folder, not a file of weights. Fix: {fix}.")
        if not path.is_file():
            raise WeightsError(f"There is no file {path}. Fix: check the path.")
        yield
    except ModuleNotFoundError as error:
        raise missing_extra(error) from None
    except WeightsError as error:
        if str(path) in str(error):
            raise
        fix = "" if "Fix: " in str(error) else " Fix: download it again."
        raise WeightsError(f"{path} cannot be used: {error}{fix}") from None
    except PermissionError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}. Fix: allow it.") from None
    except Exception as error:  # parsers raise many types on damaged files
        reason = " ".join(str(error).split())[:LONGEST] or type(error).__name__
        raise WeightsError(
            f"{path} is truncated or not a file of weights ({reason}). Fix: download it again."
        ) from error


def write_weights(model: nnx.Module, path: str | Path) -> None:
    """Write a model's parameters and batch statistics, and its preprocessing if it has one.

    Args:
        model: any model of Flax NNX.
        path: the .safetensors file to write, whole or not at all.

    Raises:
        WeightsError: it cannot be written.
    """
    write_file(Path(path), stored_bytes(model))


def stored_bytes(model: nnx.Module) -> bytes:
    """Return the content of the file that :func:`write_weights` writes.

    Args:
        model: any model of Flax NNX.

    Raises:
        WeightsError: it has no numbers.
    """
    from safetensors.numpy import save

    variables = variables_of(model)
    if any(isinstance(v.get_value(), jax.ShapeDtypeStruct) for v in variables.values()):
        wrong = "The model has shapes in the place of weights."
        raise WeightsError(f"{wrong} Fix: make it without nnx.eval_shape, or load its weights.")
    tensors = {name: np.asarray(value[...]) for name, value in variables.items()}
    preprocessing = getattr(model, "preprocessing", None)
    metadata = {"preprocessing": asdict(preprocessing)} if preprocessing else {}
    # One key only: safetensors writes several in an order that differs from call to call.
    return save(tensors, {"jaxconv": json.dumps(metadata)})


def fill(model: nnx.Module, stored: StoredWeights) -> None:
    """Put stored tensors into a model; a head is reshaped between its dense and conv form.

    Args:
        model: any model of Flax NNX; it stays as it is where the tensors do not fit.
        stored: the content of a file.

    Raises:
        WeightsError: tensors are missing, have another shape, or have no counterpart.
    """
    check_fit(model, stored)
    for name, variable in variables_of(model).items():
        variable[...] = jnp.asarray(stored.tensors[name].reshape(variable.shape), variable.dtype)


def check_fit(model: nnx.Module, stored: StoredWeights) -> None:
    """Check that :func:`fill` can put stored tensors into a model.

    Args:
        model: any model of Flax NNX; its shapes are enough.
        stored: the content of a file.

    Raises:
        MissingHeadError: only the tensors of the head are missing.
        WeightsError: tensors are missing, have another shape, or have no counterpart.
    """
    variables = variables_of(model)
    is_head = {name: name.split(".")[0] in HEAD_LAYERS for name in {*stored.tensors, *variables}}
    extra = [name for name in stored.tensors if name not in variables and not is_head[name]]
    missing = [name for name in variables if name not in stored.tensors]
    unfitting = f"{stored.path} does not fit the model:"
    if missing or extra:
        lacks_head = not extra and all(is_head[name] for name in missing)
        kind = MissingHeadError if lacks_head else WeightsError
        fix = "where only the head is missing, pass head=None."
        are_norms = all(".norm." in name for name in (*missing, *extra))
        if are_norms and not lacks_head and not (missing and extra):
            fix = f"pass batch_norm={bool(extra)}."
        elif not lacks_head:
            fix = f"build the model that was saved, or, {fix}"
        raise kind(
            f"{unfitting} it lacks {_few(missing)}, and has {_few(extra)} without a counterpart. "
            f"Fix: {fix}"
        )

    def as_matrix(shape: tuple[int, ...]) -> tuple[int, ...]:  # inputs and outputs of a layer
        return math.prod(shape[:-1]), *shape[-1:]

    for name, variable in variables.items():
        tensor, want = stored.tensors[name], variable.shape
        have = tensor.shape
        if have != want and not (is_head[name] and as_matrix(have) == as_matrix(want)):
            is_last = name.split(".")[0] == HEAD_LAYERS[-1] and have[-1:] != want[-1:]
            fix = (
                f"pass classes={have[-1]}."
                if is_last and have
                else "build the model that was saved."
            )
            raise WeightsError(
                f"{unfitting} {name} has shape {have}, but the model has {want}. Fix: {fix}"
            )
        if not jnp.issubdtype(tensor.dtype, jnp.floating):
            raise WeightsError(
                f"{unfitting} {name} is {tensor.dtype}, but must be floats. Fix: pass the file "
                "that was saved before the weights were quantized."
            )


def variables_of(model: nnx.Module) -> dict[str, nnx.Variable]:
    """Return the parameters and batch statistics of a model by their dotted names.

    Args:
        model: any model of Flax NNX.
    """
    state = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
    return {".".join(map(str, path)): v for path, v in nnx.to_flat_state(state)}


def _few(names: list[str]) -> str:
    readable = (name if name.isprintable() else ascii(name) for name in names[:3])
    listed = ", ".join(name[:LONGEST] for name in readable)
    return f"{listed} and {len(names) - 3} more" if len(names) > 3 else listed or "nothing"


def _tensor_of(file: Any, name: str) -> np.ndarray:
    """A tensor of a .safetensors file that is open."""
    try:
        return file.get_tensor(name)
    except (AttributeError, TypeError):  # of NumPy, which lacks its type
        kind = file.get_slice(name).get_dtype()
        wrong = f"its tensor {name} is of type {kind}, which cannot be read."
        raise WeightsError(f"{wrong} Fix: save it as float32.") from None


def _parse(path: Path) -> tuple[dict[str, np.ndarray], Form, str]:
    """The tensors of a file by their own names, what made it, and what it says about itself."""
    form: Form = "tensors"
    metadata = ""
    with path.open("rb") as file:
        start = file.read(9)
    # The header of a .safetensors file follows its length, whose first byte may be any.
    is_safetensors = start[8:] == b"{"
    if path.suffix == ".onnx":
        import onnx

        initializers = onnx.load(path, load_external_data=False).graph.initializer
        for one in initializers:
            if one.data_location == onnx.TensorProto.EXTERNAL:
                wrong = f"its {one.name} has its data in another file, which is not read."
                raise WeightsError(f"{wrong} Fix: save it as one file.")
        form, tensors = "onnx", {i.name: onnx.numpy_helper.to_array(i) for i in initializers}
    elif start.startswith(MAGIC) or (path.suffix == ".h5" and not is_safetensors):
        form, tensors = "keras", read_hdf5(path)
    elif is_pytorch_file(path, start) and not is_safetensors:
        tensors = read_pytorch(path)
    else:
        import safetensors

        with safetensors.safe_open(path, "numpy") as file:
            tensors = {name: _tensor_of(file, name) for name in file.keys()}  # noqa: SIM118
            metadata = (file.metadata() or {}).get("jaxconv", "")
    if not tensors:
        raise ValueError("it has no tensors")
    return tensors, form, metadata
