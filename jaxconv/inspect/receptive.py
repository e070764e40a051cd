"""Receptive fields: which pixels of the image a neuron of each feature map looks at.

Along each axis the first neuron sees ``size`` pixels from pixel ``start`` on, and every next
neuron sees as many, ``stride`` pixels further. A window of extent e, stride s and low padding p
turns (start, size, stride) into (start - p*stride, size + (e - 1)*stride, stride*s) (Araujo,
Norris and Sim, "Computing receptive fields of convolutional neural networks", Distill, 2019).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
from jax.extend import core

from jaxconv.inspect.trace import body, fresh
from jaxconv.shapes.windows import Window


@dataclass(frozen=True)
class Span:
    """What neurons see along one axis of the image, in pixels."""

    start: int = 0
    size: int = 1
    stride: int = 1

    def slide(self, window: Window) -> "Span":
        """Look through a window at neurons that see this."""
        start = self.start - window.low * self.stride
        size = self.size + (window.extent - 1) * self.stride
        return Span(start, size, self.stride * window.stride)

    def join(self, other: "Span") -> "Span":
        """Cover both, of the same stride."""
        start = min(self.start, other.start)
        end = max(self.start + self.size, other.start + other.size)
        return Span(start, end - start, self.stride)


@dataclass(frozen=True)
class Field:
    """What the neurons of one value see of the images.

    Attributes:
        spans: for each axis of that value its span; None where it is no axis of the image.
        weights: of one neuron of the last layer with weights; None after a pool.
        whole: the field is the whole image, as behind a flatten.
    """

    spans: tuple[Span | None, ...]
    weights: int | None = None
    whole: bool = False

    def __str__(self) -> str:
        sizes = (str(span.size) for span in self.spans if span is not None)
        return "whole image" if self.whole else "x".join(sizes)


@dataclass(frozen=True)
class Row:
    """One named feature map: its shape, and what its neurons see; None where that is unknown."""

    name: str
    shape: tuple[int, ...]
    field: Field | None


def rows(fn: Callable[..., Any], *args: Any, spatial: Sequence[int] = (1, 2)) -> list[Row]:
    """List the named feature maps of a function in the order of computation.

    Args:
        fn: any JAX function; its last argument is the images.
        *args: arrays or ShapeDtypeStructs.
        spatial: axes of the images that have pixels.

    Returns:
        A row for each value named with ``checkpoint_name``; its field is None where it comes out
        of an operation whose field is not known here, such as a transposed convolution.
    """
    jaxpr = jax.make_jaxpr(fn)(*args).jaxpr
    images = jaxpr.invars[-1]
    rank = len(_shape(images))
    pixels = {axis % rank for axis in spatial}
    spans = tuple(Span() if axis in pixels else None for axis in range(rank))
    found: dict[str, Row] = {}
    _follow(jaxpr, {images: Field(spans)}, found)
    return list(found.values())


UNKNOWN = "unknown"  # depends on the images in a way that no rule describes


def _follow(jaxpr: core.Jaxpr, fields: dict[Any, Any], found: dict[str, Row]) -> list[Any]:
    """Carry fields through the equations; what depends on no image has none."""

    def field(atom: Any) -> Any:
        return None if isinstance(atom, core.Literal) else fields.get(atom)

    for eqn in jaxpr.eqns:
        inputs = [field(atom) for atom in eqn.invars]
        inner = body(eqn)
        if inner is not None:
            outputs = _follow(inner[0], dict(zip(inner[0].invars, inputs, strict=True)), found)
        else:
            outputs = [_rule(eqn, inputs)] * len(eqn.outvars)
        fields.update(zip(eqn.outvars, outputs, strict=True))
        if eqn.primitive.name == "name":
            name, known = fresh(eqn.params["name"], found), outputs[0]
            known = known if isinstance(known, Field) else None
            found[name] = Row(name, _shape(eqn.outvars[0]), known)
    return [field(atom) for atom in jaxpr.outvars]


def _rule(eqn: core.JaxprEqn, inputs: list[Any]) -> Any:
    """The field of an equation's results: a Field, UNKNOWN, or None without any image."""
    if not any(inputs):
        return None
    if UNKNOWN in inputs:
        return UNKNOWN
    return RULES.get(eqn.primitive.name, _in_place)(eqn, inputs)


def _convolution(eqn: core.JaxprEqn, inputs: list[Any]) -> Any:
    x, kernel = inputs
    if x is None or kernel is not None or set(eqn.params["lhs_dilation"]) != {1}:
        return UNKNOWN
    numbers, shape = eqn.params["dimension_numbers"], _shape(eqn.invars[1])
    if any(x.spans[axis] is not None for axis in numbers.lhs_spec[:2]):
        return UNKNOWN
    options = ("window_strides", "rhs_dilation", "padding")
    taps = [shape[axis] for axis in numbers.rhs_spec[2:]]
    moved: dict[int, Span | None] = dict.fromkeys(numbers.out_spec[:2])
    settings = zip(taps, *(eqn.params[name] for name in options), strict=True)
    axes = zip(numbers.lhs_spec[2:], numbers.out_spec[2:], _windows(settings), strict=True)
    for here, there, window in axes:
        span = x.spans[here]
        moved[there] = span and span.slide(window)
    weights = prod(shape) // shape[numbers.rhs_spec[0]]
    return Field(tuple(moved[axis] for axis in sorted(moved)), weights, x.whole)


def _pool(eqn: core.JaxprEqn, inputs: list[Any]) -> Any:
    if inputs[0] is None or set(eqn.params["base_dilation"]) != {1}:
        return UNKNOWN
    options = ("window_dimensions", "window_strides", "window_dilation", "padding")
    settings = zip(*(eqn.params[name] for name in options), strict=True)
    slid = zip(inputs[0].spans, _windows(settings), strict=True)
    return Field(tuple(span and span.slide(w) for span, w in slid), None, inputs[0].whole)


def _windows(settings: Iterable[tuple[Any, ...]]) -> list[Window]:
    return [Window(k, s, d, int(low), int(high)) for k, s, d, (low, high) in settings]


def _reshape(eqn: core.JaxprEqn, inputs: list[Any]) -> Field:
    """Any number may come from any pixel."""
    return Field((None,) * len(_shape(eqn.outvars[0])), inputs[0].weights, whole=True)


def _product(eqn: core.JaxprEqn, inputs: list[Any]) -> Any:
    """A product with a matrix of weights; contracted over pixels, it sees the whole image."""
    x, kernel = inputs
    if x is None or kernel is not None:
        return UNKNOWN
    (summed, contracted), (batch, _) = eqn.params["dimension_numbers"]
    weights = prod(_shape(eqn.invars[1])[axis] for axis in contracted)
    rank = len(_shape(eqn.outvars[0]))
    if any(x.spans[axis] is not None for axis in summed):
        return Field((None,) * rank, weights, whole=True)
    kept = [*batch, *(a for a in range(len(x.spans)) if a not in {*summed, *batch})]
    spans = [x.spans[axis] for axis in kept]
    return Field((*spans, *[None] * (rank - len(spans))), weights, x.whole)


def _in_place(eqn: core.JaxprEqn, inputs: list[Any]) -> Any:
    """Operations that keep every number in its place; whatever may move numbers is unknown."""
    shape = _shape(eqn.outvars[0])
    seen = [(field, atom) for field, atom in zip(inputs, eqn.invars, strict=True) if field]
    if eqn.primitive.name not in IN_PLACE or any(_shape(atom) != shape for _, atom in seen):
        return UNKNOWN
    joined = seen[0][0]
    for field, _ in seen[1:]:
        pairs = [*zip(joined.spans, field.spans, strict=True)]
        if any((a and a.stride) != (b and b.stride) for a, b in pairs):
            return UNKNOWN
        spans = tuple(a and b and a.join(b) for a, b in pairs)
        weights = joined.weights if field.weights is None else field.weights
        joined = Field(spans, weights, joined.whole or field.whole)
    return joined


def _shape(atom: Any) -> tuple[int, ...]:
    return atom.aval.shape


IN_PLACE = frozenset(
    """abs add add_any clamp convert_element_type copy div erf exp integer_pow log logistic max min
    mul name neg pow rsqrt select_n sign sqrt square stop_gradient sub tanh""".split()  # noqa: SIM905
)
RULES: dict[str, Callable[[core.JaxprEqn, list[Any]], Any]] = {
    "conv_general_dilated": _convolution,
    "reduce_window": _pool,
    "reduce_window_max": _pool,
    "reduce_window_sum": _pool,
    "reshape": _reshape,
    "dot_general": _product,
}
