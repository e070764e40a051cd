"""A ``state_dict`` of PyTorch put into any model of Flax NNX, by shape and order."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxconv.models.errors import WeightsError
from jaxconv.models.vgg_names import COUNTER
from jaxconv.models.weights import variables_of

# What PyTorch calls the variables of Flax; others have the same name in both.
NAMES = {
    "kernel": "weight",
    "scale": "weight",
    "embedding": "weight",
    "mean": "running_mean",
    "var": "running_var",
}


@dataclass(frozen=True)
class _Layer:
    """A module of the model that has variables of its own.

    Attributes:
        name: its path, such as "blocks.0.conv"; "" for the model itself.
        module: what has the variables.
        variables: by their names in the module.
    """

    name: str
    module: Any
    variables: Mapping[str, nnx.Variable]


def load_state_dict(
    model: nnx.Module,
    state_dict: Mapping[str, Any],
    *,
    flattened: Mapping[str, int] | None = None,
    transposed: Mapping[str, int] | None = None,
    names: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Put the tensors of PyTorch into a model of Flax NNX: by shape, and equal shapes in order.

    Each layer of the model gets the first layer of the ``state_dict`` that is left and whose
    tensors have its shapes, or, where layers of equal shapes have equal names in both, the one of
    its name. Layers are in the order in which the constructors set them. Kernels of convolutions,
    also in groups, depthwise, transposed, and of 1 to 3 axes, get their spatial axes first, those
    of linear layers are transposed, and batch, layer and group norms and embeddings are known.

    Args:
        model: any model of Flax NNX; it stays as it is where anything does not fit.
        state_dict: tensors or arrays by PyTorch's names, such as ``net.state_dict()``, or what
            :func:`jaxconv.models.weights.read_tensors` returns for a file.
        flattened: for each linear layer that takes a flattened image, by its name in the model, the
            number of channels of that image. PyTorch flattens (c, h, w), and this package, Flax and
            Keras flatten (h, w, c). Pass 1 where the model flattens (c, h, w), too, or where the
            input is not an image.
        transposed: for each kernel of a transposed convolution that is not in a layer of Flax, as
            ``jc.conv_transpose`` takes it, by the name of its module, the number of groups.
        names: for layers that are not to be matched in order, the names in PyTorch, by those in the
            model, such as {"blocks.0.norm": "layer1.0.bn1"}.

    Returns:
        The name of the tensor that each variable of the model got. Look through it where several
        layers have the same shapes, and the two constructors may have another order.

    Raises:
        WeightsError: layers of the model without tensors, tensors without a layer, norms whose
            order is not clear, or a linear layer of which it is not known whether it takes a
            flattened image; all are listed.

    Example:
        >>> import numpy as np
        >>> from flax import nnx
        >>> model = nnx.Conv(3, 8, (5, 5), rngs=nnx.Rngs(0))
        >>> tensors = {"weight": np.ones((8, 3, 5, 5)), "bias": np.zeros(8)}
        >>> load_state_dict(model, tensors)
        {'kernel': 'weight', 'bias': 'bias'}
    """
    theirs = _grouped(state_dict)
    layers = [*_layers(model)]
    found = {id(variable) for layer in layers for variable in layer.variables.values()}
    hidden = [name for name, v in variables_of(model).items() if id(v) not in found]
    if hidden:
        raise WeightsError(
            f"{', '.join(hidden)} are in objects that are not modules of Flax NNX, lists or dicts. "
            "Fix: set these variables yourself."
        )
    flat, turned = dict(flattened or {}), dict(transposed or {})
    unknown = sorted({*flat, *turned} - {layer.name for layer in layers})
    if unknown:
        fix = f"Fix: pass names of {', '.join(layer.name for layer in layers)}."
        raise WeightsError(f"The model has no layer {', '.join(unknown)}. {fix}")
    matches = _matches(layers, theirs, turned, names or {})
    left = {name: group for name, group in theirs.items() if name not in matches.values()}
    unmatched = [layer for layer in layers if layer.name not in matches]
    if left or unmatched:
        ours = _listed((one.name or "the model itself", one.variables) for one in unmatched)
        others = _listed((name or "the module itself", group) for name, group in left.items())
        raise WeightsError(
            f"The tensors do not fit the model. Layers without tensors: {ours}. "
            f"Tensors without a layer: {others}. Fix: make the model with the same layers, or "
            "leave out tensors that it does not need."
        )
    questions = _open_questions(layers, matches, [*theirs], flat)
    if questions:
        raise WeightsError(
            f"It is not known whether these layers take a flattened image: {'; '.join(questions)}. "
            "Fix: pass flattened={name: channels} for each, with 1 for channels if it does not."
        )
    return _assign(layers, matches, theirs, flat, turned)


def _grouped(state_dict: Mapping[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    """The tensors of each module, by the name of the module and that of the tensor in it."""
    groups: dict[str, dict[str, np.ndarray]] = {}
    for name, tensor in state_dict.items():
        module, _, kind = name.rpartition(".")
        if kind == COUNTER:
            continue
        try:
            plain = tensor.detach().cpu() if hasattr(tensor, "detach") else tensor
            if "bfloat16" in str(getattr(plain, "dtype", "")) and hasattr(plain, "float"):
                plain = plain.float()  # which NumPy does not know
            array = np.asarray(plain)
        except Exception as error:  # what can be passed is any object
            raise WeightsError(f"{name} is not a tensor ({error}). Fix: leave it out.") from None
        if not jnp.issubdtype(array.dtype, jnp.number):
            raise WeightsError(f"{name} is {array.dtype}, but must be numbers. Fix: leave it out.")
        groups.setdefault(module, {})[kind] = array
    return groups


def _layers(module: Any, path: str = "", seen: set[int] | None = None) -> Iterator[_Layer]:
    """The layers below a module, in the order in which their attributes were set."""
    seen = set() if seen is None else seen
    if id(module) in seen:
        return
    seen.add(id(module))
    prefix = f"{path}." if path else ""
    children: list[tuple[str, Any]] = []
    if isinstance(module, Mapping):
        children = [(str(name), child) for name, child in module.items()]
    elif isinstance(module, list | tuple | nnx.List):
        children = [(str(number), child) for number, child in enumerate(module)]
    elif isinstance(module, nnx.Module):
        children = [*vars(module).items()]
    kinds = (nnx.Param, nnx.BatchStat)
    own = {name: v for name, v in children if isinstance(v, kinds) and id(v) not in seen}
    seen.update(map(id, own.values()))
    if own:
        yield _Layer(path, module, own)
    for name, child in children:
        if not isinstance(child, nnx.Variable):
            yield from _layers(child, f"{prefix}{name}", seen)


def _matches(
    layers: list[_Layer],
    theirs: Mapping[str, Mapping[str, np.ndarray]],
    transposed: Mapping[str, int],
    named: Mapping[str, str],
) -> dict[str, str]:
    """The module of PyTorch for each layer that has one, by the names of both."""
    fitting = {
        layer.name: [name for name, group in theirs.items() if _fits(layer, group, transposed)]
        for layer in layers
    }
    for layer, module in named.items():
        if module not in fitting.get(layer, ()):
            wrong = (
                f"names= has {layer!r}: {module!r}, but there are no such layers of equal shapes."
            )
            raise WeightsError(f"{wrong} Fix: pass a name of the model, and one of PyTorch's.")
    known = dict(named)
    for names in {tuple(names) for names in fitting.values()}:
        same = {layer for layer, found in fitting.items() if tuple(found) == names}
        if same == {*names}:  # not numbers of other layers by chance
            known = {name: name for name in names} | known
    plain, by_neighbours = (
        _in_order(layers, [*theirs], fitting, known, with_neighbours=flag) for flag in (False, True)
    )
    unsure = [name for name in plain if plain[name] != by_neighbours.get(name)]
    if unsure:
        example = f"{unsure[0]!r}: {plain[unsure[0]]!r}"
        raise WeightsError(
            f"{', '.join(unsure)} have equal shapes and another order than the tensors, so it is "
            f"not known which is which. Fix: pass names={{{example}, ...}} with the right names."
        )
    return plain


def _in_order(
    layers: list[_Layer],
    modules: list[str],
    fitting: Mapping[str, list[str]],
    known: Mapping[str, str],
    *,
    with_neighbours: bool,
) -> dict[str, str]:
    """Match layers to the first module that fits and is left.

    A layer without a kernel, such as a norm, may be matched to the neighbour of the convolution
    before it instead. Where constructors have the same order, both are the same.
    """
    matches, taken, before = dict(known), {*known.values()}, None
    for layer in layers:
        free = [name for name in fitting[layer.name] if name not in taken]
        if layer.name not in matches and free:
            after = modules[modules.index(before) + 1 :][:1] if before else []
            is_neighbour = with_neighbours and {*after} <= {*free} and after
            matches[layer.name] = after[0] if is_neighbour else free[0]
            taken.add(matches[layer.name])
        before = matches.get(layer.name) if "kernel" in layer.variables else None
    return matches


def _fits(layer: _Layer, group: Mapping[str, np.ndarray], transposed: Mapping[str, int]) -> bool:
    if {_tensor_name(name, group) for name in layer.variables} != {*group}:
        return False
    for name, variable in layer.variables.items():
        tensor = group[_tensor_name(name, group)]
        try:
            if _converted(layer, name, tensor, transposed).shape != variable.shape:
                return False
        except ValueError:  # another number of axes
            return False
    return True


def _tensor_name(name: str, group: Mapping[str, np.ndarray]) -> str:
    """The name of a variable among the tensors of a module: the same, or PyTorch's."""
    return name if name in group else NAMES.get(name, name)


def _converted(
    layer: _Layer, name: str, tensor: np.ndarray, transposed: Mapping[str, int]
) -> np.ndarray:
    """A tensor with the axes of a variable of a layer."""
    if name != "kernel":
        return tensor
    if layer.name in transposed:  # to what jc.conv_transpose takes: (..., c_in/groups, c_out)
        groups = transposed[layer.name]
        c_in, each, *window = tensor.shape
        split = tensor.reshape(groups, c_in // groups, each, *window)
        moved = np.moveaxis(split, (1, 0, 2), (-3, -2, -1))
        return moved.reshape(*window, c_in // groups, groups * each)
    if isinstance(layer.module, nnx.ConvTranspose) and not layer.module.transpose_kernel:
        spatial = tuple(range(tensor.ndim - 2))
        return np.flip(np.moveaxis(tensor, (0, 1), (-2, -1)), spatial)
    return np.moveaxis(tensor, (1, 0), (-2, -1))


def _open_questions(
    layers: list[_Layer], matches: Mapping[str, str], order: list[str], known: Mapping[str, int]
) -> list[str]:
    """Linear layers of a network with convolutions whose inputs may be a flattened image.

    They are not where the inputs are as many as the channels or the outputs of the layer before.
    """
    kernels = {
        matches[layer.name]: (layer, tuple(layer.variables["kernel"].shape))
        for layer in layers
        if "kernel" in layer.variables
    }
    if all(len(shape) == 2 for _, shape in kernels.values()):
        return []
    widths = {_outputs(layer, shape) for layer, shape in kernels.values()}
    questions, before = [], None
    for module in filter(kernels.__contains__, order):
        layer, shape = kernels[module]
        if len(shape) == 2 and layer.name not in known:
            is_linear = before is not None and len(before[1]) == 2
            usual = widths if is_linear else {_outputs(*before)} if before else set()
            if shape[0] not in usual:
                questions.append(f"{layer.name}, which takes {shape[0]} numbers")
        before = layer, shape
    return questions


def _outputs(layer: _Layer, kernel: tuple[int, ...]) -> int:
    return kernel[-2] if getattr(layer.module, "transpose_kernel", False) else kernel[-1]


def _assign(
    layers: list[_Layer],
    matches: Mapping[str, str],
    theirs: Mapping[str, Mapping[str, np.ndarray]],
    flattened: Mapping[str, int],
    transposed: Mapping[str, int],
) -> dict[str, str]:
    """Put all tensors into the model, after all of them have been converted."""
    values, assigned = [], {}
    for layer in layers:
        module = matches[layer.name]
        for name, variable in layer.variables.items():
            kind = _tensor_name(name, theirs[module])
            value = _converted(layer, name, theirs[module][kind], transposed)
            if not jnp.issubdtype(value.dtype, jnp.floating):
                wrong = f"{_joined(module, kind)} is {value.dtype}, but must be floats."
                raise WeightsError(f"{wrong} Fix: pass the tensors before they were quantized.")
            if name == "kernel" and layer.name in flattened:  # (c, h, w) becomes (h, w, c)
                (inputs, *outputs), channels = value.shape, flattened[layer.name]
                is_whole = type(channels) is int and channels > 0 and inputs % channels == 0
                if not is_whole or len(outputs) != 1:
                    wrong = f"{layer.name} takes {inputs} inputs, which is not a multiple of"
                    fix = "Fix: pass the channels of the image that it flattens."
                    raise WeightsError(f"{wrong} {channels} channels. {fix}")
                split = value.reshape(channels, -1, *outputs)
                value = split.swapaxes(0, 1).reshape(value.shape)
            values.append((variable, jnp.asarray(value, variable.dtype)))
            assigned[_joined(layer.name, name)] = _joined(module, kind)
    for variable, value in values:
        variable[...] = value
    return assigned


def _joined(module: str, name: str) -> str:
    return f"{module}.{name}" if module else name


def _listed(modules: Iterable[tuple[str, Mapping[str, nnx.Variable | np.ndarray]]]) -> str:
    """Modules with the shapes of their variables or tensors."""
    texts = []
    for module, arrays in modules:
        shapes = [f"{name} {tuple(array.shape)}" for name, array in arrays.items()]
        texts.append(f"{module}: {', '.join(shapes)}")
    return "; ".join(texts) or "none"
