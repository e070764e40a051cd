"""The record of a primitive, and the table of all records.

A module of this package registers what jaxconv knows about some primitives of JAX. Nothing else in
jaxconv depends on the name of a primitive. A primitive without a record is treated conservatively:
every neuron may see all that the operands see, and a number is not followed through it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jaxconv.compat import JaxprEqn
from jaxconv.jaxpr.axis_field import Field, Fields
from jaxconv.jaxpr.patch_reader import Axes, Index, MapAxes, PatchReader, Pooling
from jaxconv.jaxpr.window_axis import Substitute, WindowAxis

if TYPE_CHECKING:
    from jaxconv.jaxpr.equation import EquationContext, IndexLines

Factors = tuple[Any, ...]  # of a count: ints or formulas, to be multiplied
ReceptiveFieldRule = Callable[["EquationContext"], Field | Fields]
CountingRule = Callable[["EquationContext"], "IndexLines | None"]


def everything(context: "EquationContext") -> Field:
    """Let every neuron see all that the operands see: the rule of an unknown primitive.

    Args:
        context: the equation.
    """
    return context.everything()


@dataclass(frozen=True)
class PrimitiveRecord:
    """All that jaxconv knows about a primitive. The defaults are right for an unknown one.

    Attributes:
        kind: of the layers that it computes: "convolution", "product" (a matrix product), "pool",
            "reduction" or "unknown" (it multiplies, but nothing counts how often). Empty for an
            operation that belongs to the layer before it.
        macs: the multiply-accumulates of an equation, as factors. Takes the equation, a function
            that rewrites sizes, and whether kernel elements on padding count. None: it has none. An
            equation of such a primitive is always a layer, even if it depends on no input.
        weights: the weights of one neuron, as factors; None where neurons have no weights.
        weight_operands: which operands may be weights.
        receptive_field: what the neurons of the result see; one field for all results, or a list
            with one for each.
        index_map: where the number at one index of the first operand goes, as an index of the
            result; None where it has no such place, or numbers are lost. Whatever has an index map
            keeps each number of its operand once. That of a primitive that works number by number
            is ``lambda index, _: index``.
        window: the axes along which a window slides, with sizes as in the trace.
        pooling: how a pool reduces its window.
        patch: makes the reader of what a neuron sees, given the equation and for each operand
            whether it is the same for all inputs; None where neurons have no patch of their own.
        input_axes: which axes of the first operand are images, pixels and channels.
        output_axes: the same of the result.
        keeps_positions: each number depends on those at its own position alone, so that a compiled
            function may compute it for a few images at a time.
        keeps_feature_map: the result is still the feature map of the layer before, as after a bias
            or an activation. Counts only with an index map.
        only_moves: it moves, casts or names numbers, and does not change them.
        names_value: it gives the value the name in its parameter ``name``.
        looks_up: it reads its first operand at indices. Where only these depend on the inputs, this
            is a table that was learnt, such as an embedding, and a layer of the kind "lookup".
        adds: it adds its operands, as a bias is added.
        builds_padding: padding a map with its own numbers is made of it. Its results may be empty
            if they are only concatenated to others.
        concatenates: it puts its operands side by side, so that one may be empty.
        must_keep_count: the result must have as many numbers as the operand, which JAX does not
            verify for symbolic sizes.
        shards: into how many parts each axis of the result is divided, over the devices of a mesh.
        unknown_when_traced: its results are not constants, even if its operands are.
        combine: the function of two arrays that broadcast, where a convolution may be fused with
            it.
        increasing: larger operands give larger results.
        counting: how the numbers of the result count, where operands are indices.
        expensive: a compiler rather writes the result than computing it twice.
        copied: for each operand how its axes are ordered, if a compiler copies it because that is
            not the order in which it computes, or else None. Without it, none is copied.
        is_matrix: whether a compiler computes the result as a matrix, although it may have more
            axes. Without it, it does not.
    """

    kind: str = ""
    macs: Callable[[JaxprEqn, Substitute, bool], Factors] | None = None
    weights: Callable[[JaxprEqn, Substitute], Factors] | None = None
    weight_operands: tuple[int, ...] = ()
    receptive_field: ReceptiveFieldRule = everything
    index_map: Callable[[Index, JaxprEqn], Iterable[Any]] | None = None
    window: Callable[[JaxprEqn], Sequence[WindowAxis]] | None = None
    pooling: Pooling | None = None
    patch: Callable[[JaxprEqn, tuple[bool, ...]], PatchReader | None] | None = None
    input_axes: Callable[[JaxprEqn], MapAxes] | None = None
    output_axes: Callable[[JaxprEqn], MapAxes] | None = None
    keeps_positions: bool = False
    keeps_feature_map: bool = False
    only_moves: bool = False
    names_value: bool = False
    looks_up: bool = False
    adds: bool = False
    builds_padding: bool = False
    concatenates: bool = False
    must_keep_count: bool = False
    shards: Callable[[JaxprEqn], Sequence[int]] | None = None
    unknown_when_traced: bool = False
    combine: Callable[[Any, Any], Any] | None = None
    increasing: bool = False
    counting: CountingRule | None = None
    expensive: bool = False
    copied: Callable[[JaxprEqn], Sequence[Axes | None]] | None = None
    is_matrix: Callable[[JaxprEqn], bool] | None = None


DEFAULT = PrimitiveRecord()
_RECORDS: dict[str, PrimitiveRecord] = {}


def register(record: PrimitiveRecord, *names: str) -> None:
    """Register the record of some primitives.

    Args:
        record: what is known; the same for all of them.
        *names: of the primitives, as an equation of a jaxpr shows them.

    Raises:
        ValueError: a primitive that has a record already.
    """
    for name in names:
        if name in _RECORDS:
            raise ValueError(f"the primitive {name} has a record already")
        _RECORDS[name] = record


def register_rule(
    record: PrimitiveRecord, *names: str
) -> Callable[[ReceptiveFieldRule], ReceptiveFieldRule]:
    """Decorate the receptive-field rule of some primitives, and register their record.

    Args:
        record: all else that is known.
        *names: of the primitives.

    Returns:
        A decorator that leaves the rule as it is.
    """

    def decorate(rule: ReceptiveFieldRule) -> ReceptiveFieldRule:
        register(replace(record, receptive_field=rule), *names)
        return rule

    return decorate


def is_registered(name: str) -> bool:
    """Whether a primitive has a record.

    Args:
        name: of the primitive.
    """
    return name in _RECORDS


def record_of(eqn: JaxprEqn) -> PrimitiveRecord:
    """Look up what is known about the primitive of an equation.

    Args:
        eqn: any equation of a jaxpr.

    Returns:
        Its record; the conservative default where it has none.
    """
    return _RECORDS.get(eqn.primitive.name, DEFAULT)
