"""A table of the layers of any model: what each returns, learns, computes and keeps."""

import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import islpy as isl

from jaxconv.analysis.confirm_counts import (
    Confirmation,
    confirm_counts,
    layers_at,
    number,
    same_layer,
)
from jaxconv.analysis.contraction_order import recorded_contractions
from jaxconv.analysis.layer_counts import Counts, RegionCounts, count_layers, product_of
from jaxconv.analysis.memory_plan import MemoryModel
from jaxconv.analysis.network import Layer, Layers, Network
from jaxconv.analysis.receptive_field import FieldAnalysis, ReceptiveField
from jaxconv.analysis.regions import NetworkAnalysis, analyze, if_known
from jaxconv.analysis.summary_table import SUMMED, Row, Summary, Totals
from jaxconv.errors import Diagnostic, ValidationError, flag, public_api, raise_if, shown
from jaxconv.jaxpr.interpreter import shape_of
from jaxconv.prover.verdict import Verdict, point_text
from jaxconv.source import NOWHERE, origin_of_equation
from jaxconv.symbolic.sets import SizeSet
from jaxconv.symbolic.specs import extreme

FieldsByName = Mapping[str, ReceptiveField]


@public_api
def summary(
    fn: Callable[..., Any],
    *args: Any,
    where: str | None = None,
    at: Mapping[str, int] | None = None,
    padded_taps: bool = True,
    layout: str | None = None,
    **named: Any,
) -> Summary:
    """List the layers of a function: shape, parameters, multiply-accumulates and memory of each.

    The function is traced, never run. A row is a convolution, a matrix product, a pool, a
    reduction, or a merge of branches. Whatever follows it (bias, batch norm, activation, casts)
    belongs to it, so its output is the one after the activation. Its name is the one given with
    ``checkpoint_name``; otherwise the attribute path of the module or parameters, such as
    ``enc.layers.1.conv``; otherwise what the operation does, after its block or with its source
    line: ``enc.layers.1.add``, ``mean (net.py:12)``.

    A convolution has one MAC (multiply-accumulate) for each pair of an output position and a kernel
    element; a matrix product has one for each product of two numbers that it sums. Kernel elements
    on padding count by default, as in papers; ``padded_taps=False`` leaves them out, as does XLA's
    cost analysis, which counts 2 flops per MAC. Kernel elements in the gaps of a dilated image, as
    in a transposed convolution, never count. All other operations have no MACs.

    Formulas are confirmed with numbers. Sizes for which JAX computes something else, such as a
    resize to its own size, are not among the ``sizes`` of the table, and a count without a formula,
    as that of an einsum whose order depends on sizes, is None; ``notes`` say so.

    The body of a scan counts as often as it runs, but its parameters count once. Of the branches of
    a ``lax.cond`` the totals count the largest; the body of a while loop counts once. The inputs of
    a loop body are those of its first iteration.

    Args:
        fn: any function of JAX, or a model, as :func:`jaxconv.check` takes it.
        *args: its arguments: specs such as ``"b h w 3"`` or ``"b h w 3:bfloat16"``, arrays,
            ShapeDtypeStructs, and pytrees of them. Specs are the inputs. Without any spec, the last
            argument is the input, or, for an NNX model, all arguments are. Floating-point arrays in
            the other arguments are parameters, and so are arrays that the function closes over. Of
            a model, passed or closed over, they are those that its library counts: ``nnx.Param`` of
            NNX, "params" of Linen, all but the state of Equinox and Haiku. Arrays of no model with
            which the function normalises its images are not parameters.
        where: the sizes to consider, such as ``"h >= 32 and w == h"``.
        at: a number for each size, such as ``{"b": 1, "h": 224, "w": 224}``, to show numbers
            next to the formulas.
        padded_taps: whether kernel elements on padding count.
        layout: of the image whose pixels the rows see, as :func:`receptive_field` takes it.
        **named: its keyword arguments, as :func:`jaxconv.check` takes them, such as
            ``train=False``.

    Returns:
        The table. ``print`` it, give it to rich, or take its ``rows`` and totals.

    Raises:
        SpecError: a spec or a condition that cannot be read.
        ShapeError: no size is accepted, the layers differ from size to size, the sizes cannot be
            traced as formulas, or ``at`` is not one of the accepted sizes.

    Example:
        >>> import jax, jaxconv as jc
        >>> def network(x, kernel, bias):
        ...     return jc.max_pool(jax.nn.relu(jc.conv(x, kernel, bias)))
        >>> kernel, bias = jax.numpy.ones((3, 3, 3, 64)), jax.numpy.ones(64)
        >>> table = jc.summary(network, "b h w 3", kernel, bias, at={"b": 1, "h": 32, "w": 32})
        >>> table.rows[0].macs, table.numbers[0].macs, table.rows[0].weights, table.parameters
        (1728*b*h*w, 1769472, 27, 1792)
        >>> table.rows[1].output
        (b, h//2, w//2, 64)
    """
    return read_summary(fn, args, named, where, at, flag("padded_taps", padded_taps), layout)


def read_summary(
    fn: Callable[..., Any],
    args: Sequence[Any],
    named: Mapping[str, Any],
    where: str | None,
    at: Mapping[str, int] | None,
    padded_taps: bool,
    layout: str | None,
) -> Summary:
    """List the layers of a function for a public function, under whose name errors are raised.

    Args:
        fn: as :func:`summary` takes it.
        args: its arguments, likewise.
        named: its keyword arguments.
        where: as for :func:`summary`.
        at: likewise.
        padded_taps: likewise.
        layout: likewise.

    Raises:
        ValidationError: where :func:`summary` raises a ShapeError.
    """
    point = None if at is None else _read_point(at)
    with recorded_contractions() as contractions:
        analysis = analyze(fn, *args, where=where, **named)
    regions = [
        RegionCounts(region, count_layers(region.network, region.substitute, padded_taps))
        for region in analysis.regions
    ]
    raise_if(_different_layers(regions))
    raise_if([] if point is None else _point_diagnostics(point, analysis.verdict))
    fields = _row_fields(analysis, layout)
    harmless: set[str] = set()
    confirmations = [
        confirm_counts(analysis.subject, region, contractions, padded_taps, harmless)
        for region in regions
    ]
    table = _formula_table(analysis, regions, confirmations, fields, padded_taps)
    if point is None:
        if table.sizes.is_empty():
            wrong = "the layers differ from size to size."
            raise ValidationError([Diagnostic(wrong, "pass numbers as sizes.")])
        return table
    network = layers_at(analysis.subject, point)
    layers, known = [] if network is None else [*network.rows.values()], [*regions[0].counts]
    if network is None or len(layers) != len(known) or not all(map(same_layer, layers, known)):
        wrong = f"for {point_text(point)} the layers are not those of other sizes."
        raise ValidationError([Diagnostic(wrong, "pass numbers as sizes, without at=.")])
    # At this point the layers are the same, so that they may stand beside the formulas.
    numbers, sums = _row_table(network, count_layers(network, number, padded_taps), fields)
    return replace(table, at=point, numbers=numbers, totals=sums)


def _read_point(at: Any) -> dict[str, int]:
    """The sizes to consider, as a dict."""
    if isinstance(at, Mapping):
        return {**at} if all(isinstance(name, str) for name in at) else _read_point([*at])
    wrong = f"at= is {shown(at)}, but must be a dict from the name of each size to its number."
    raise ValidationError([Diagnostic(wrong, 'pass at={"b": 1, "h": 224, "w": 224}.')])


def _formula_table(
    analysis: NetworkAnalysis,
    regions: Sequence[RegionCounts],
    confirmations: Sequence[Confirmation],
    fields: FieldsByName,
    padded_taps: bool,
) -> Summary:
    """The table of what holds for all sizes that are not excluded."""
    # Factors are united, then multiplied: (h + 1)//2 covers even and odd h, a product of two such
    # formulas for either cannot be found from those for both.
    ways = zip(*(region.counts.values() for region in regions), strict=True)
    united = [first.mapped(analysis.unite, *others) for first, *others in ways]
    differing: dict[str, frozenset[str]] = {}
    for confirmation in confirmations:
        for name, counts in confirmation.differences.items():
            differing[name] = differing.get(name, frozenset()) | counts
    network = regions[0].analysis.network
    counts = {
        layer: some.without(differing.pop(layer.name, ()))
        for layer, some in zip(regions[0].counts, united, strict=True)
    }
    rows, totals = _row_table(network, counts, fields)
    if differing:  # rows that this table does not have
        totals = totals._replace(macs=None, activation_bytes=None)
    inputs = {}
    for name in analysis.regions[0].network.inputs:
        shapes = [
            map(region.substitute, shape_of(region.network.inputs[name]))
            for region in analysis.regions
        ]
        inputs[name] = tuple(analysis.unite(*sizes) for sizes in zip(*shapes, strict=True))
    excluded = functools.reduce(operator.or_, (one.excluded for one in confirmations))
    sizes = analysis.verdict.accepts - excluded
    unknown = analysis.verdict.untried
    notes = tuple(_notes(excluded, unknown, confirmations, network, fields))
    model = MemoryModel(analysis.subject)
    return Summary(rows, inputs, *totals, sizes, padded_taps, notes=notes, _model=model)


def _notes(
    excluded: SizeSet,
    unknown: SizeSet,
    confirmations: Iterable[Confirmation],
    network: Network,
    fields: FieldsByName,
) -> Iterator[str]:
    """Say for which sizes the formulas do not hold, and why layers see the whole image."""
    if not excluded.is_empty():
        yield f"For {excluded} the layers or their counts differ; pass numbers to see them."
    if not unknown.is_empty():
        yield f"For {unknown} the layers are not known; pass numbers to see them."
    example = next((one.examples[0] for one in confirmations if one.examples), None)
    if example is not None:
        yield (
            f'Where it says "differs by size", no formula holds for all sizes: for '
            f"{point_text(example)} JAX computes it in another way; pass numbers to see it."
        )
    seeing = (name for name in network.rows if name in fields and fields[name].covers_image())
    first = next(seeing, None)
    if first in network.normalised:
        yield (
            f"From {first} on, each neuron sees the whole image, because the map is normalised by "
            "its own statistics, as batch norm does in training."
        )


def _row_fields(analysis: NetworkAnalysis, layout: str | None) -> FieldsByName:
    """What the rows see of the image; nothing if the input is none, and nobody says it is."""
    try:
        fields = FieldAnalysis(analysis, layout)
    except ValidationError:
        if layout is None:
            return {}
        raise
    rows = analysis.regions[0].network.rows
    return {name: fields.field(name) for name in fields.names() if name in rows}


def _row_table(
    network: Network, counts: Mapping[Layer, Counts], fields: FieldsByName
) -> tuple[tuple[Row, ...], Totals]:
    rows = {}
    for layer, count in counts.items():
        is_known = all(side is not None for side in count.output)
        rows[layer] = Row(
            layer.name,
            layer.kind,
            tuple(source.name for source in layer.sources),
            count.output,
            str(layer.output.dtype),
            product_of(count.times),
            sum(parameter.count for parameter in layer.parameters),
            product_of(count.weights),
            fields.get(layer.name) if is_known else None,
            product_of(count.macs, count.times),
            product_of((layer.output.dtype.itemsize,), count.output, count.times),
            NOWHERE if layer.eqn is None else origin_of_equation(layer.eqn, layer.calls),
        )
    unused = sum(parameter.count for parameter in network.unused)
    parameters = unused + sum(row.parameters for row in rows.values())
    sums = (_total(network.layers, rows, name) for name in SUMMED)
    return tuple(rows.values()), Totals(parameters, *sums)


def _total(layers: Layers, rows: Mapping[Layer, Row], name: str) -> Any:
    """The sum over layers, and over the largest branches of forks; None where one is unknown."""
    counts = []
    for entry in layers:
        if isinstance(entry, Layer):
            counts.append(getattr(rows[entry], name))
            continue
        branches = [_total(branch, rows, name) for branch in entry.branches]
        largest = functools.partial(functools.reduce, functools.partial(extreme, "max"), branches)
        counts.append(None if None in branches else if_known(largest))
    return None if any(count is None for count in counts) else sum(counts)


def _different_layers(regions: Sequence[RegionCounts]) -> Iterator[Diagnostic]:
    """Whether the layers differ from region to region of the sizes."""
    sizes: dict[Any, isl.Set] = {}
    for analysis, counts in regions:
        layers = tuple(
            (layer.name, layer.kind, *(source.name for source in layer.sources), len(count.output))
            for layer, count in counts.items()
        )
        others = sizes.get(layers, isl.Set.empty(analysis.region.sizes.space))
        sizes[layers] = others.union(analysis.region.sizes)
    if len(sizes) > 1:
        texts = sorted(f"{len(layers)} for {SizeSet(some)}" for layers, some in sizes.items())
        wrong = f"the layers differ from case to case: there are {', or '.join(texts)}."
        yield Diagnostic(wrong, "select one case with where=, or pass numbers as sizes.")


def _point_diagnostics(point: Mapping[str, Any], verdict: Verdict) -> Iterator[Diagnostic]:
    """What is wrong with the sizes to consider."""
    names = verdict.accepts.names
    whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in point.values())
    if set(point) != set(names) or not whole:
        want = ", ".join(f'"{name}": 224' for name in names)
        yield Diagnostic(
            f"at= is {shown(dict(point))}, but must have {', '.join(names) or 'no name'}, "
            "each a whole number of at least 1.",
            f"pass at={{{want}}}.",
        )
    elif not verdict.accepts.contains(**point):
        failure = next((f for f in verdict.failures if f.sizes.contains(**point)), None)
        reason = failure.message if failure else "where= excludes it."
        fix = f"pass sizes with {verdict.accepts}."
        yield Diagnostic(f"{point_text(dict(point))} is not accepted: {reason}", fix)
