"""The names that other libraries give the parameters of a VGG, and their axes, turned into ours.

Ours are ``conv2_1.kernel``: the stage and the number in it. Kernels have the spatial axes first.
The head's first layer is a kernel over the last map, (7, 7, 512, 4096).
"""

import re
from collections.abc import Mapping

import numpy as np

HEAD_LAYERS = ("fc6", "fc7", "fc8")
COUNTS = {  # convolutions in each stage, by their number
    8: (1, 1, 2, 2, 2),
    10: (2, 2, 2, 2, 2),
    13: (2, 2, 3, 3, 3),
    16: (2, 2, 4, 4, 4),
}
# Of torchvision, whose layers are numbered, and of timm.
PYTORCH_HEADS = (
    ("classifier.0", "classifier.3", "classifier.6"),
    ("pre_logits.fc1", "pre_logits.fc2", "head.fc"),
)
KERAS_HEADS = (("fc1", "fc2", "predictions"), ("dense", "dense_1", "dense_2"))
NORM_PARAMETERS = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
COUNTER = "num_batches_tracked"  # of a batch norm of PyTorch, which evaluation does not need

Tensors = Mapping[str, np.ndarray]


def is_pytorch_vgg(tensors: Tensors) -> bool:
    """Whether tensors have the names of torchvision's and timm's VGG.

    Args:
        tensors: by name.
    """
    return any(name.startswith("features.") for name in tensors)


def from_pytorch(tensors: Tensors) -> dict[str, np.ndarray]:
    """Rename and transpose the tensors of torchvision's or timm's VGG.

    Args:
        tensors: by PyTorch's names, such as "features.0.weight".

    Returns:
        Tensors by our names; those that are not of a VGG keep their name.
    """
    rank = {name.rpartition(".")[0]: t.ndim for name, t in tensors.items() if "weight" in name}
    layers = sorted({int(name.split(".")[1]) for name in tensors if name.startswith("features.")})
    has_norms = any(name.endswith("running_mean") for name in tensors)
    names, stage, index, last = {}, 1, 0, -9
    for number in layers:
        if has_norms and rank.get(f"features.{number}") == 1:  # right behind its convolution
            names[f"features.{number}"] = f"conv{stage}_{index}.norm"
            continue
        # From one convolution to the next there are its norm and its ReLU; a pool ends the stage.
        is_new_stage = number - last > (3 if has_norms else 2) and last >= 0
        stage, index = (stage + 1, 1) if is_new_stage else (stage, index + 1)
        names[f"features.{number}"] = f"conv{stage}_{index}"
        last = number
    for head in PYTORCH_HEADS:
        names |= dict(zip(head, HEAD_LAYERS, strict=True))
    channels = tensors[f"features.{last}.weight"].shape[0] if last >= 0 else 1
    ours = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        if layer not in names:
            ours[name] = tensor
        elif names[layer].endswith(".norm"):
            if kind != COUNTER:
                ours[f"{names[layer]}.{NORM_PARAMETERS.get(kind, kind)}"] = tensor
        else:
            kinds = {"weight": "kernel"}
            shape = tensor.shape
            if names[layer] == "fc6":  # PyTorch flattens (c, h, w)
                side = round((shape[-1] / channels) ** 0.5)
                is_flat = shape[1:] == (side * side * channels,)
                shape = (-1, channels, side, side) if is_flat else shape
            ours[f"{names[layer]}.{kinds.get(kind, kind)}"] = spatial_first(tensor.reshape(shape))
    return ours


def from_keras(tensors: Tensors) -> dict[str, np.ndarray]:
    """Rename the arrays of Keras' VGG, and turn its first kernels from BGR to RGB.

    Args:
        tensors: by their paths in a file of weights, such as "block1_conv1/block1_conv1_W_1:0" or
            "layers/conv2d/vars/0".

    Returns:
        Tensors by our names; those that are not of a VGG keep their path.
    """
    found = (re.search(r"\bconv2d(?:_(\d+))?\b", path) for path in tensors)
    numbers = {match[0]: int(match[1] or 0) for match in found if match}
    counts = COUNTS.get(len(numbers), ())  # none for another number than a VGG has
    layers = [f"conv{s}_{i}" for s, count in enumerate(counts, 1) for i in range(1, count + 1)]
    names = dict(zip(sorted(numbers, key=numbers.__getitem__), layers, strict=False))
    for head in KERAS_HEADS:
        names |= dict(zip(head, HEAD_LAYERS, strict=True))
    ours = {}
    for path, tensor in tensors.items():
        block = re.search(r"\bblock(\d)_conv(\d)", path)
        layer = f"conv{block[1]}_{block[2]}" if block else None
        found = layer or next((names[part] for part in path.split("/") if part in names), None)
        kind = "bias" if tensor.ndim == 1 else "kernel"
        ours[f"{found}.{kind}" if found else path] = tensor
    first = ours.get("conv1_1.kernel")
    if first is not None and first.ndim == 4:
        ours["conv1_1.kernel"] = first[:, :, ::-1]
    return ours


def from_onnx_of_keras(tensors: Tensors) -> dict[str, np.ndarray]:
    """Rename and transpose the convolutions of Keras' VGG in an ONNX file; all else is left out.

    Args:
        tensors: by the names in the file, which contain those of the layers.

    Returns:
        Tensors by our names.
    """
    convolutions = {n: spatial_first(t) for n, t in tensors.items() if "_conv" in n}
    return {
        name: tensor
        for name, tensor in from_keras(convolutions).items()
        if name.endswith((".kernel", ".bias"))
    }


def spatial_first(tensor: np.ndarray) -> np.ndarray:
    """OIHW to HWIO and OI to IO; a bias stays.

    Args:
        tensor: of PyTorch or ONNX.
    """
    return tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor.T
