"""A ``state_dict`` of PyTorch put into any model of Flax NNX, by shape and order."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxconv.errors import shown
from jaxconv.models.errors import WeightsError
from jaxconv.models.image_borders import open_questions
from jaxconv.models.tensor_orders import Layer, Orders, checked_orders, converted, with_axes
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


def load_state_dict(
    model: nnx.Module,
    state_dict: Mapping[str, Any],
    *,
    flattened: Mapping[str, int] | None = None,
    unflattened: Mapping[str, int] | None = None,
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
            Keras flatten (h, w, c). Likewise for each norm of a flattened image, whose vectors have
            this order, or of a whole image, whose parameters are (c, h, w) in PyTorch. Pass 1 where
            the model has PyTorch's order, too, or where there is no image.
        unflattened: for each linear layer whose outputs become an image, likewise, the number of
            channels of that image; 1 as above.
        transposed: for each kernel of a transposed convolution that is not in a layer of Flax, as
            ``jc.conv_transpose`` takes it, by the name of its module, the number of groups.
        names: for layers that are not to be matched in order, the names in PyTorch, by those in the
            model, such as {"blocks.0.norm": "layer1.0.bn1"}.

    Returns:
        The name of the tensor that each variable of the model got. Look through it where several
        layers have the same shapes, and the two constructors may have another order.

    Raises:
        WeightsError: layers of the model without tensors, tensors without a layer, norms whose
            order is not clear, or, in a network with convolutions, numbers of which it is not known
            whether they are a flattened image; all are listed. Nothing is asked where a layer has
            the width of the layer before it, or one that is usual since the last convolution.
            Also arguments of wrong types.

    Example:
        >>> import numpy as np
        >>> from flax import nnx
        >>> model = nnx.Conv(3, 8, (5, 5), rngs=nnx.Rngs(0))
        >>> tensors = {"weight": np.ones((8, 3, 5, 5)), "bias": np.zeros(8)}
        >>> load_state_dict(model, tensors)
        {'kernel': 'weight', 'bias': 'bias'}
    """
    if not isinstance(model, nnx.Module | Mapping | list | tuple):
        wrong = f"model is {shown(model)}, but must be a model of Flax NNX."
        raise WeightsError(f"{wrong} Fix: pass one, such as nnx.Linear(3, 4, rngs=nnx.Rngs(0)).")
    theirs = _grouped(state_dict)
    layers = [*_layers(model)]
    found = {id(variable) for layer in layers for variable in layer.variables.values()}
    hidden = [name for name, v in variables_of(model).items() if id(v) not in found]
    if hidden:
        raise WeightsError(
            f"{', '.join(hidden)} are in objects that are not modules of Flax NNX, lists or dicts. "
            "Fix: set these variables yourself."
        )
    orders = checked_orders(
        layers, flattened=flattened, unflattened=unflattened, transposed=transposed
    )
    matches = _matches(layers, theirs, orders, {} if names is None else names)
    left = {name: group for name, group in theirs.items() if name not in matches.values()}
    unmatched = [layer for layer in layers if layer.name not in matches]
    if left or unmatched:
        ours = _listed((one.name or "the model itself", one.variables) for one in unmatched)
        others = _listed((name or "the module itself", group) for name, group in left.items())
        raise WeightsError(
            f"The tensors do not fit the model. Layers without tensors: {ours}. "
            f"Tensors without a layer: {others}. Fix: make the model with the same layers, or "
            f"leave out tensors that it does not need{_advice(unmatched)}."
        )
    by_module = {matches[layer.name]: layer for layer in layers}
    question = open_questions([by_module[module] for module in theirs], orders)
    if question:
        raise WeightsError(question)
    return _assign(layers, matches, theirs, orders)


def _grouped(state_dict: Mapping[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    """The tensors of each module, by the name of the module and that of the tensor in it."""
    groups: dict[str, dict[str, np.ndarray]] = {}
    if not isinstance(state_dict, Mapping):
        wrong = f"state_dict is of type {type(state_dict).__name__}, but must be a dict of tensors."
        raise WeightsError(f"{wrong} Fix: pass net.state_dict(), or what read_tensors returns.")
    for name, tensor in state_dict.items():
        if not isinstance(name, str):
            wrong = f"state_dict has {shown(name)}, which is not the name of a tensor."
            raise WeightsError(f'{wrong} Fix: pass names such as "conv.weight".')
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


def _layers(module: Any, path: str = "", seen: set[int] | None = None) -> Iterator[Layer]:
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
        yield Layer(path, module, own)
    for name, child in children:
        if not isinstance(child, nnx.Variable):
            yield from _layers(child, f"{prefix}{name}", seen)


def _matches(
    layers: list[Layer],
    theirs: Mapping[str, Mapping[str, np.ndarray]],
    orders: Orders,
    named: Mapping[str, str],
) -> dict[str, str]:
    """The module of PyTorch for each layer that has one, by the names of both."""
    fitting = {
        layer.name: [name for name, group in theirs.items() if _fits(layer, group, orders)]
        for layer in layers
    }
    if not isinstance(named, Mapping):
        fix = "pass a dict of names in PyTorch by names of layers, or leave it out"
        raise WeightsError(f"names is {shown(named)}, but must be a dict. Fix: {fix}.")
    for layer, module in named.items():
        pair = f"names= has {shown(layer)}: {shown(module)}, but"
        if not isinstance(module, str) or module not in fitting.get(layer, ()):
            wrong = f"{pair} there are no such layers of equal shapes."
            raise WeightsError(f"{wrong} Fix: pass a name of the model, and one of PyTorch's.")
        if [*named.values()].count(module) > 1:
            fix = "pass another name of PyTorch for each layer"
            raise WeightsError(f"{pair} also for another layer. Fix: {fix}.")
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
    layers: list[Layer],
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


def _fits(layer: Layer, group: Mapping[str, np.ndarray], orders: Orders) -> bool:
    if {_tensor_name(name, group) for name in layer.variables} != {*group}:
        return False
    for name, variable in layer.variables.items():
        tensor = group[_tensor_name(name, group)]
        try:
            if with_axes(layer, name, tensor, orders).shape != variable.shape:
                return False
        except ValueError:  # another number of axes
            return False
    return True


def _tensor_name(name: str, group: Mapping[str, np.ndarray]) -> str:
    """The name of a variable among the tensors of a module: the same, or PyTorch's."""
    return name if name in group else NAMES.get(name, name)


def _assign(
    layers: list[Layer],
    matches: Mapping[str, str],
    theirs: Mapping[str, Mapping[str, np.ndarray]],
    orders: Orders,
) -> dict[str, str]:
    """Put all tensors into the model, after all of them have been converted."""
    values, assigned = [], {}
    for layer in layers:
        module = matches[layer.name]
        for name, variable in layer.variables.items():
            kind = _tensor_name(name, theirs[module])
            value = converted(layer, name, theirs[module][kind], orders)
            if not jnp.issubdtype(value.dtype, jnp.floating):
                wrong = f"{_joined(module, kind)} is {value.dtype}, but must be floats."
                raise WeightsError(f"{wrong} Fix: pass the tensors before they were quantized.")
            values.append((variable, jnp.asarray(value, variable.dtype)))
            assigned[_joined(layer.name, name)] = _joined(module, kind)
    for variable, value in values:
        variable[...] = value
    return assigned


def _advice(unmatched: list[Layer]) -> str:
    """What may help for norms of a whole image, whose axes have another order in PyTorch."""
    images = {one.name: one.shape[-1] for one in unmatched if len(one.shape) > 1}
    return f"; for parameters (c, h, w) pass flattened={images}" if images else ""


def _joined(module: str, name: str) -> str:
    return f"{module}.{name}" if module else name


def _listed(modules: Iterable[tuple[str, Mapping[str, nnx.Variable | np.ndarray]]]) -> str:
    """Modules with the shapes of their variables or tensors."""
    texts = []
    for module, arrays in modules:
        shapes = [f"{name} {tuple(array.shape)}" for name, array in arrays.items()]
        texts.append(f"{module}: {', '.join(shapes)}")
    return "; ".join(texts) or "none"
