"""Where a network may flatten an image to a vector, or make an image of a vector."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from jaxconv.models.tensor_orders import Layer, Orders


class _Question(NamedTuple):
    """The option that answers it, the name of the layer, and what of it may be an image."""

    option: str
    name: str
    numbers: str


@dataclass(frozen=True)
class _Place:
    """A layer with a kernel, among those of the network in PyTorch's order.

    Attributes:
        layer: the layer.
        takes: the number of its inputs, or of their channels.
        gives: likewise, of its outputs.
        channels: what the last convolution up to here gives; 0 before the first.
        pooled: the same, if the linear layer after that convolution takes as many; otherwise 0.
        vectors: the widths of other vectors than flattened images since then: what a linear layer
            takes from the layer before it, or gives, if it is not a multiple of the channels.
        is_usual: whether its inputs are not a flattened image, if it is a linear layer.
    """

    layer: Layer
    takes: int
    gives: int
    channels: int
    pooled: int
    vectors: frozenset[int]
    is_usual: bool


def open_questions(layers: list[Layer], orders: Orders) -> str:
    """Ask for each order that neither the shapes nor the user say.

    Args:
        layers: of the model, in PyTorch's order.
        orders: what the user says.

    Returns:
        The message; "" where no question is open.
    """
    asked = [
        _Question("flattened", layer.name, f"values {layer.shape}")
        for layer in layers
        if _is_cube(layer.shape)
    ]
    places = _places([layer for layer in layers if layer.kernel], orders)
    if not all(place.layer.is_linear for place in places):
        asked += _at_borders(layers, places, orders)
    asked = [one for one in asked if one.name not in getattr(orders, one.option)]
    if not asked:
        return ""
    names = [layer.name for layer in layers]
    asked.sort(key=lambda one: names.index(one.name))
    listed = "; ".join(f"the {one.numbers} of {one.name or 'the model itself'}" for one in asked)
    fixes = []
    for option in dict.fromkeys(one.option for one in asked):
        known = {name: str(number) for name, number in getattr(orders, option).items()}
        known |= {one.name: "channels" for one in asked if one.option == option}
        fixes.append(f"{option}={{{', '.join(f'{name!r}: {n}' for name, n in known.items())}}}")
    return (
        "It is not known whether these numbers are an image, which PyTorch has as (c, h, w) and "
        f"this package as (h, w, c): {listed}. Fix: pass {' and '.join(fixes)}, where channels is "
        "the number of channels of the image, or 1 where there is none."
    )


def _is_cube(shape: tuple[int, ...]) -> bool:
    """Whether parameters (c, h, w) and (h, w, c) have this shape."""
    sizes = [size for size in shape if size > 1]
    return len(sizes) > 1 and len({*sizes}) == 1


def _places(layers: Iterable[Layer], orders: Orders) -> list[_Place]:
    """Describe each layer with a kernel."""
    places, last, channels, pooled, vectors = [], 0, 0, 0, frozenset()
    for layer in layers:
        takes, gives = _widths(layer, orders)
        after_linear = bool(places) and places[-1].layer.is_linear
        is_value = after_linear and 3 * takes == last  # beside the queries and keys of attention
        is_usual = is_value or takes in {last, channels, *vectors}
        if not layer.is_linear:
            channels, pooled, vectors = gives, 0, frozenset()
        else:
            pooled = pooled or (takes if takes == last and not after_linear else 0)
            vectors |= {takes} if takes == last else set()
            vectors |= {gives} if not channels or gives % channels else set()
        places.append(_Place(layer, takes, gives, channels, pooled, vectors, is_usual))
        last = gives
    return places


def _widths(layer: Layer, orders: Orders) -> tuple[int, int]:
    """The channels, or numbers, that a layer takes and gives."""
    takes, gives = layer.kernel[-2:]
    if getattr(layer.module, "transpose_kernel", False):
        return gives, takes
    groups = orders.transposed.get(layer.name, 1)
    return takes * getattr(layer.module, "feature_group_count", groups), gives


def _at_borders(layers: list[Layer], places: list[_Place], orders: Orders) -> list[_Question]:
    """The questions of a network with convolutions, also those that the user has answered."""
    inputs = {one.layer.name: one for one in places if one.layer.is_linear and not one.is_usual}
    outputs = dict(_images(places))
    asked = [
        *(_Question("flattened", name, f"{one.takes} inputs") for name, one in inputs.items()),
        *(_Question("unflattened", name, f"{one.gives} outputs") for name, one in outputs.items()),
    ]
    flat, unflat = _at_border(orders.flattened, inputs), _at_border(orders.unflattened, outputs)
    return [*asked, *_of_vectors(layers, places, flat, unflat)]


def _at_border(answers: Mapping[str, int], unusual: Iterable[str]) -> set[str]:
    """The names of layers at a border: as the user says, or else those that may be."""
    return {*unusual} - {*answers} | {name for name, channels in answers.items() if channels > 1}


def _images(places: list[_Place]) -> Iterator[tuple[str, _Place]]:
    """The linear layers whose outputs may become the image that the next convolution takes.

    They are weights of channels, as in squeeze and excitation, if they are as many as another
    linear layer takes from the convolution before.
    """
    image = 0
    for place in reversed(places):
        if not place.layer.is_linear:
            image = place.takes
            continue
        if 1 < image < place.gives and not place.gives % image and place.gives != place.pooled:
            yield place.layer.name, place
        if place.is_usual:  # and takes the outputs of the linear layers before
            image = 0


def _of_vectors(
    layers: list[Layer], places: list[_Place], flat: set[str], unflat: set[str]
) -> Iterator[_Question]:
    """Ask for the norms whose vectors have no width of a layer next to them, nor a usual one."""
    at_border = {one.takes for one in places if one.layer.name in flat}
    at_border |= {one.gives for one in places if one.layer.name in unflat}
    widths = {width for one in places for width in (one.takes, one.gives)}
    before, after = None, [*places]
    for layer in layers:
        if layer.kernel:
            before = after.pop(0)
            continue
        channels, known = (before.channels, before.vectors) if before else (0, frozenset())
        # No multiple of the channels before: that may be a flattened image.
        known |= {width for width in widths if not channels or width % channels}
        known = (known | {channels}) - at_border
        if before and before.layer.name not in unflat:
            known |= {before.gives}
        if after and after[0].layer.name not in flat:
            known |= {after[0].takes}
        if len(layer.shape) == 1 and layer.shape[0] not in known:
            yield _Question("flattened", layer.name, f"{layer.shape[0]} values")
