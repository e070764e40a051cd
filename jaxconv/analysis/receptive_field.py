"""Receptive fields: which pixels of the image a neuron of a layer sees.

Sizes, strides and offsets follow Araujo, Norris and Sim, "Computing receptive fields of
convolutional neural networks", Distill, 2019: a window of extent e, stride s and low padding p
turns (offset, size, stride) into (offset - p*stride, size + (e - 1)*stride, stride*s). Cases that
the paper does not cover (skips, gaps, borders, any other operation) are computed with intervals.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from jaxconv.analysis.network import Network
from jaxconv.analysis.propagation import Propagator, Seen
from jaxconv.analysis.regions import NetworkAnalysis, RegionNetwork, analyze
from jaxconv.compat import Literal
from jaxconv.display import Box, BoxOnImage, Displayed, Part, Table, Title
from jaxconv.errors import (
    Diagnostic,
    ShapeError,
    ValidationError,
    public_api,
    raise_if,
    shown,
)
from jaxconv.jaxpr.axis_field import AxisField, Field
from jaxconv.jaxpr.interpreter import ValueRef, shape_of
from jaxconv.jaxpr.periodic_pattern import PixelRange
from jaxconv.jaxpr.primitives import record_of
from jaxconv.jaxpr.window_axis import Substitute
from jaxconv.prover.conditions import shape_text
from jaxconv.symbolic.size import Size

Pixels = int | Size | Fraction | None
AXES = {1: ("x",), 2: ("y", "x"), 3: ("z", "y", "x")}  # of an image, by their number
ORDERS = {2: "NC", 3: "NWC", 4: "NHWC", 5: "NDHWC"}


@dataclass(frozen=True)
class ReceptiveField(Displayed):
    """What the neurons of a layer see of the image, along each of its spatial axes.

    Attributes:
        layer: its name.
        size: pixels that a neuron sees if no border is near; None where that is not known.
        stride: pixels from a neuron to the next, on average (a Fraction after upsampling); 0 along
            an axis that the layer's map no longer has, where all neurons see the same.
        offset: first pixel that the first neuron would see; negative if it begins in padding.
        exact: whether the first and last pixels of each box are seen; if not, the box may be too
            large, but never too small.
        map: neurons along each axis of the map along which they see different pixels. One for each
            axis of the image, but for one that is summed up, or two that are flattened into one.
        image: pixels along each axis.
        pixels: which axes of the images these are.
    """

    layer: str
    size: tuple[Pixels, ...]
    stride: tuple[Pixels, ...]
    offset: tuple[Pixels, ...]
    exact: bool
    map: tuple[Any, ...]
    image: tuple[Any, ...]
    pixels: tuple[int, ...]
    _field: Field = field(repr=False, compare=False)

    @public_api
    def box(self, *at: int, clip: bool = True) -> tuple[PixelRange, ...]:
        """The pixels that one neuron sees: a half-open interval along each axis.

        Args:
            *at: the neuron's position along each axis of ``map``: y, x.
            clip: leave out what is outside the image, and what the neuron sees through padding of
                maps between; False goes on as if image and maps had no border.

        Returns:
            ``((top, bottom), (left, right))`` for an image of height and width: the neuron sees
            no pixel outside ``image[top:bottom, left:right]``. Formulas where sizes are; they are
            cut at the border of the image, not at those of the maps between. A neuron that sees
            nothing has ``(0, 0)`` along each axis.

        Raises:
            ShapeError: a position outside the map, or a box that is not known.
        """
        raise_if(_position_diagnostics(self.layer, at, self.map))
        positions = dict(zip(_map_axes(self._field), at, strict=True)) | {None: 0}
        box: list[PixelRange] = []
        for axis_field, size in zip(self._field, self.image, strict=True):
            interval = axis_field.interval(positions[axis_field.axis], size if clip else None)
            if interval is None:
                wrong = f"what a neuron of {self.layer} sees follows no pattern that is known."
                fix = "pass numbers as sizes of the image, and leave clip=True."
                raise ValidationError([Diagnostic(wrong, fix)])
            box.append(interval)
        return ((0, 0),) * len(box) if (0, 0) in box else tuple(box)

    def neurons(self, values: Any, at: Sequence[int]) -> Any:
        """Take the neurons at one position out of the layer's map.

        Args:
            values: an array of the map, with all channels and images.
            at: the position along each axis of ``map``: y, x.

        Returns:
            An array of all channels and images.
        """
        positions = dict(zip(_map_axes(self._field), at, strict=True))
        return values[tuple(positions.get(axis, slice(None)) for axis in range(values.ndim))]

    def covers_image(self) -> bool:
        """Tell whether each neuron sees all of the image, or may, for all that is known."""
        return all(
            axis_field.covers(size)
            for axis_field, size in zip(self._field, self.image, strict=True)
        )

    def map_axes(self) -> tuple[int, ...]:
        """Tell which axes of the layer's map those of ``map`` are."""
        return tuple(_map_axes(self._field))

    def short(self) -> str:
        """Size and stride as a table shows them: ``40/4``, ``5x3/2x1``, or the whole image.

        Where no stride is known, it is only the size of the largest box. "At most" and "<=" stand
        where neurons may see less.
        """
        if self.covers_image():
            return "whole image" if self._is_certain() else "at most whole image"
        texts = [_each_once(map(_size_text, self.size, self._field, self.image))]
        if self.map and None not in self.stride:
            strides = (
                f"{float(n):.2g}" if isinstance(n, Fraction) else str(n) for n in self.stride
            )
            texts.append(_each_once(strides))
        return f"{'' if self._is_certain() else '<='}{'/'.join(texts)}"

    def __str__(self) -> str:
        if self.covers_image():
            return f"{self.layer}: {self.short()}, the same for each neuron"
        size = " x ".join(map(_size_text, self.size, self._field, self.image))
        seen = f"{self.layer}: {'' if self._is_certain() else 'at most '}{size} pixels"
        if not self.map:
            return f"{seen}, the same for each neuron"
        if None in self.stride:
            return f"{seen}; box() tells which"
        stride = " x ".join(map(str, self.stride))
        offset = ", ".join("?" if n is None else str(n) for n in self.offset)
        return f"{seen}, stride {stride}, from {offset}"

    def display_parts(self) -> Iterator[Part]:
        """What a notebook shows: the text, a row for each axis, and a neuron's box on the image."""
        yield Title(str(self))
        names = AXES.get(len(self.image), range(len(self.image)))
        sizes = map(_size_text, self.size, self._field, self.image)
        columns = (self.stride, self.offset, self.image)
        texts = (["?" if n is None else str(n) for n in column] for column in columns)
        rows = [*zip(map(str, names), sizes, *texts, strict=True)]
        yield Table(("axis", "pixels", "stride", "first pixel", "of"), rows, ("axis",))
        if len(self.image) == 2 and all(isinstance(n, int) for n in (*self.image, *self.map)):
            at = tuple(n // 2 for n in self.map)
            with contextlib.suppress(ShapeError):  # the box may be unknown
                (top, bottom), (left, right) = self.box(*at)
                position = f"at {', '.join(map(str, at))} " if at else ""
                caption = f"the neuron {position}sees rows {top}:{bottom}, columns {left}:{right}"
                box = Box(left, top, right, bottom)
                yield BoxOnImage(self.image[1], self.image[0], box, caption)

    def _is_certain(self) -> bool:
        """Whether neurons see the first and last pixels of boxes that are known."""
        return self.exact and all(
            axis_field.pattern or axis_field.bounds for axis_field in self._field
        )


def _each_once(texts: Iterable[str]) -> str:
    """Texts of all axes, or that of one where they are the same."""
    each = [*texts]
    return each[0] if len({*each}) == 1 else "x".join(each)


def _size_text(size: Pixels, axis_field: AxisField, image: Any) -> str:
    """The pixels that a neuron sees along an axis, at most; all, where nothing is known."""
    same = axis_field.axis is None
    if same and (interval := axis_field.interval(0, image)):
        return str(interval[1] - interval[0])
    if size is None and axis_field.bounds is not None:
        firsts, ends = axis_field.bounds
        return str(max(int((ends - firsts).max(initial=0)), 0))
    return str(image if size is None else size)


@public_api
def receptive_field(
    fn: Callable[..., Any],
    *args: Any,
    layer: str | int,
    layout: str | None = None,
    where: str | None = None,
    **named: Any,
) -> ReceptiveField:
    """Compute which pixels of the image the neurons of a layer see.

    The function is traced, never run. What one neuron sees is followed through every operation:
    convolutions and pools with any stride, padding, dilation and groups, transposed convolutions,
    skips and concatenations (the union), resizing, reshapes, reductions, attention (everything),
    scans and branches. Weights count as arbitrary numbers, even those that a mask sets to 0; an
    activation counts as seeing its input.

    Args:
        fn: any function of JAX, or a model, as :func:`jaxconv.check` takes it.
        *args: its arguments, as :func:`summary` takes them: specs such as ``"b h w 3"``, arrays,
            ShapeDtypeStructs and pytrees of them. The image is the first spec, or, without any
            spec, the last array. If sizes are formulas, offsets are formulas, too: with SAME
            padding they depend on the size.
        layer: the name or number (from 1) of a row of :func:`summary`, or a name given with
            ``checkpoint_name``. For a layer inside a loop, its last iteration.
        layout: the axes of the image, such as ``"NCHW"`` or ``"CHW"``: N and C are not spatial,
            every other letter is. Default: as the first convolution reads it; without a
            convolution, batch first and channels last.
        where: the sizes to consider, such as ``"h >= 32"``.
        **named: its keyword arguments, as :func:`jaxconv.check` takes them.

    Returns:
        Size, stride and offset along each axis with pixels, and the box of every neuron.

    Raises:
        ShapeError: an unknown layer, a layer that does not depend on the image, no size is
            accepted, or a layout that does not fit the image.

    Example:
        >>> import jax, jaxconv as jc
        >>> def network(x, kernel):
        ...     x = jc.max_pool(jax.nn.relu(jc.conv(x, kernel)))
        ...     return jc.conv(x, kernel, stride=2)
        >>>
        >>> kernel = jax.ShapeDtypeStruct((3, 3, 1, 1), float)
        >>> last = jc.receptive_field(network, "1 32 32 1", kernel, layer=3)
        >>> print(last.size, last.stride, last.offset, last.box(0, 7))
        (8, 8) (4, 4) (-1, -1) ((0, 7), (27, 32))
        >>> jc.receptive_field(network, "b h w 1", kernel, layer=2).stride
        (2, 2)
    """
    return analyze_fields(fn, *args, layout=layout, where=where, **named).field(layer)


class FieldAnalysis:
    """The receptive fields of all layers of a function, for all sizes.

    Attributes:
        networks: the function traced for all sizes.
    """

    def __init__(self, networks: NetworkAnalysis, layout: str | None = None) -> None:
        self.networks = networks
        self._pixels = _pixel_axes(layout, networks.regions[0])
        self._fields = []  # of each layer, for each region of the sizes
        for region in networks.regions:
            fields, maps = (
                _propagated(region.network, region.substitute, self._pixels),
                region.network.maps().items(),
            )
            self._fields.append({name: fields[ref] for name, ref in maps if ref in fields})
        image = self._united([_image_shape(region) for region in networks.regions])
        self._image = tuple(image[axis] for axis in self._pixels)

    def names(self) -> list[str]:
        """The layers, and named values, that see something of the image, for all sizes."""
        maps = self.networks.regions[0].network.maps()
        return [name for name in maps if all(name in fields for fields in self._fields)]

    def field(self, layer: str | int) -> ReceptiveField:
        """The receptive field of one layer.

        Args:
            layer: its name or number, or the name of a value.

        Returns:
            The field, for all sizes.

        Raises:
            ValidationError: an unknown layer, or one that does not depend on the image.
        """
        name = self.networks.regions[0].network.name(layer)
        if name not in self.names():
            wrong = f"{name} does not depend on the image."
            raise ValidationError([Diagnostic(wrong, "name a layer that does.")])
        per_region = [fields[name] for fields in self._fields]
        field = tuple(self._axis_field(ways) for ways in zip(*per_region, strict=True))
        shapes = [
            tuple(map(region.substitute, shape_of(region.network.maps()[name].var)))
            for region in self.networks.regions
        ]
        shape = self._united(shapes) if len({*map(len, shapes)}) == 1 else ()
        return ReceptiveField(
            name,
            tuple(axis_field.pattern and axis_field.pattern.size for axis_field in field),
            tuple(axis_field.pattern and axis_field.pattern.stride for axis_field in field),
            tuple(axis_field.pattern and axis_field.pattern.offset for axis_field in field),
            # Of all channels together.
            all(
                one.exact and one.mixed not in _map_axes(field)
                for field in per_region
                for one in field
            ),
            tuple(shape[axis] for axis in _map_axes(field)),
            self._image,
            self._pixels,
            field,
        )

    def _axis_field(self, ways: Sequence[AxisField]) -> AxisField:
        """What neurons see along one axis, out of what they see in each region of the sizes."""
        first, exact = ways[0], all(way.exact for way in ways)
        if len({way.axis for way in ways}) > 1:
            return AxisField(None, None, None, exact=False)
        everywhere = all(way.everywhere for way in ways)
        bounds = first.bounds if len(ways) == 1 else None
        patterns = [way.pattern for way in ways if way.pattern is not None]
        pattern = None
        if len(patterns) == len(ways) and len({one.sees_something for one in patterns}) == 1:
            numbers = self._united([one.numbers for one in patterns])
            pattern = None if None in numbers else patterns[0].with_numbers(numbers)
        return AxisField(first.axis, pattern, bounds, exact, everywhere=everywhere)

    def _united(self, ways: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
        return tuple(self.networks.unite(*sizes) for sizes in zip(*ways, strict=True))


def _map_axes(axis_fields: Field) -> list[int]:
    """The axes of a map along which its neurons see different pixels."""
    return list(
        dict.fromkeys(axis_field.axis for axis_field in axis_fields if axis_field.axis is not None)
    )


def analyze_fields(
    fn: Callable[..., Any],
    *args: Any,
    layout: str | None = None,
    where: str | None = None,
    **named: Any,
) -> FieldAnalysis:
    """Follow the image through a function, for all sizes.

    Args:
        fn: any function of JAX, or a model, as :func:`receptive_field` takes it.
        *args: its arguments.
        layout: of the image.
        where: the sizes to consider.
        **named: its keyword arguments.

    Returns:
        The receptive fields of all layers.

    Raises:
        ValidationError: no size is accepted, or another layout than the image has.
    """
    return FieldAnalysis(analyze(fn, *args, where=where, **named), layout)


def _image_shape(region: RegionNetwork) -> tuple[Any, ...]:
    """The shape of the image: the first input that may be one."""
    return tuple(map(region.substitute, shape_of(region.network.image())))


def _propagated(
    network: Network, substitute: Substitute, pixels: Sequence[int]
) -> dict[ValueRef, Field]:
    """What each value sees along some axes of the image."""
    closed, image = network.closed, network.image()
    shape = tuple(map(substitute, shape_of(image)))
    field = tuple(AxisField.of_image(axis, shape[axis]) for axis in pixels)
    inputs = [Seen(field if var is image else None) for var in closed.jaxpr.invars]
    propagator = Propagator(substitute)
    propagator.run(closed.jaxpr, closed.consts, inputs)
    return propagator.fields


def convolved_axes(network: Network, substitute: Substitute = lambda size: size) -> tuple[int, ...]:
    """Find the axes of the image over which the first convolution slides.

    Args:
        network: read of a trace.
        substitute: rewrites sizes of the trace so that they can be computed with.

    Returns:
        The axes; none if that is not known.
    """
    fields = _propagated(network, substitute, range(len(shape_of(network.image()))))
    for layer in network.rows.values():
        if layer.kind != "convolution" or layer.eqn is None:
            continue
        operand, window = layer.eqn.invars[0], record_of(layer.eqn).window
        spatial = [axis.input_axis for axis in window(layer.eqn)] if window else []
        field = None if isinstance(operand, Literal) else fields.get(ValueRef(layer.calls, operand))
        if field is not None:
            axes = tuple(n for n, axis_field in enumerate(field) if axis_field.axis in spatial)
            return axes if len(axes) == len(spatial) else ()
    return ()


def _pixel_axes(layout: str | None, region: RegionNetwork) -> tuple[int, ...]:
    """The axes of an image that have pixels; its layout has a letter for each."""
    shape = _image_shape(region)
    if layout is None and (convolved := convolved_axes(region.network, region.substitute)):
        return convolved
    order = ORDERS.get(len(shape)) if layout is None else layout
    if isinstance(order, str) and len(order) == len(shape) and {*order} - {*"NC"}:
        return tuple(axis for axis, letter in enumerate(order) if letter not in "NC")
    given = "" if layout is None else f", not {shown(layout)}"
    wrong = f"the image has {len(shape)} axes, {shape_text(shape)}{given}."
    fix = "pass layout= with a letter for each of them: N, C, and any other for one with pixels"
    example = {1: "W", 2: "NW"}.get(len(shape), f"N{'DHW'[5 - len(shape) :]}C")
    raise ValidationError([Diagnostic(wrong, f"{fix}, such as {shown(example)}.")])


def _position_diagnostics(
    layer: str, at: Sequence[Any], sizes: Sequence[Any]
) -> Iterable[Diagnostic]:
    """What is wrong with the position of a neuron."""
    text = " x ".join(map(str, sizes))
    fits = len(at) == len(sizes) and all(
        isinstance(n, int) and n >= 0 and not (isinstance(size, int) and n >= size)
        for n, size in zip(at, sizes, strict=True)
    )
    if fits:
        return
    if not sizes:
        yield Diagnostic(
            f"{layer} has no positions: each neuron sees the same.", "call box() without any."
        )
        return
    most = [str(size - 1) for size in sizes]
    ranges = f"0 to {most[0]}" if len(set(most)) == 1 else ", ".join(f"0 to {n}" for n in most)
    wrong = (
        f"{', '.join(map(str, at)) or 'nothing'} is not a position in {layer}, whose map is {text}."
    )
    yield Diagnostic(
        wrong, f"pass {len(sizes)} whole number{'s' * (len(sizes) > 1)}, each {ranges}."
    )
