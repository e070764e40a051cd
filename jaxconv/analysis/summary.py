"""A table of the layers of any model: what each returns, learns, computes and keeps."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import islpy as isl

from jaxconv.analysis.network import Layer, Layers
from jaxconv.analysis.receptive_field import FieldAnalysis, ReceptiveField
from jaxconv.analysis.regions import NetworkAnalysis, RegionNetwork, analyze, if_known
from jaxconv.analysis.summary_table import SUMMED, Row, Summary, Totals
from jaxconv.errors import Diagnostic, ValidationError, public_api, raise_if
from jaxconv.jaxpr.equation import Substitute
from jaxconv.jaxpr.interpreter import shape_of
from jaxconv.jaxpr.primitives import record_of
from jaxconv.prover.verdict import Verdict, point_text
from jaxconv.symbolic.sets import SizeSet
from jaxconv.symbolic.size import value_at
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
) -> Summary:
    """List the layers of a function: shape, parameters, multiply-accumulates and memory of each.

    The function is traced, never run. A row is a convolution, a matrix product, a pool, a
    reduction, or a merge of branches. Whatever follows it (bias, batch norm, activation, casts)
    belongs to it, so its output is the one after the activation. Its name is the one given with
    ``checkpoint_name``; otherwise that of the module or parameters; otherwise the source line.

    A convolution has one MAC (multiply-accumulate) for each pair of an output position and a kernel
    element; a matrix product has one for each product of two numbers that it sums. Kernel elements
    on padding count by default, as in papers; ``padded_taps=False`` leaves them out, as does XLA's
    cost analysis, which counts 2 flops per MAC. Kernel elements in the gaps of a dilated image, as
    in a transposed convolution, never count. All other operations have no MACs.

    The body of a scan counts as often as it runs, but its parameters count once. Of the branches of
    a ``lax.cond`` the totals count the largest; the body of a while loop counts once. The inputs of
    a loop body are those of its first iteration.

    Args:
        fn: any function of JAX; a model of Flax NNX or Equinox; ``apply`` of Linen or Haiku.
        *args: its arguments: specs such as ``"b h w 3"`` or ``"b h w 3:bfloat16"``, arrays,
            ShapeDtypeStructs, and pytrees of them. Specs are the inputs. Without any spec, the last
            argument is the input, or, for an NNX model, all arguments are. Floating-point arrays in
            the other arguments are parameters, and so are arrays that the function closes over; for
            an NNX model those in ``nnx.Param``, for Linen's variables those under "params".
        where: the sizes to consider, such as ``"h >= 32 and w == h"``.
        at: a number for each size, such as ``{"b": 1, "h": 224, "w": 224}``, to show numbers
            next to the formulas.
        padded_taps: whether kernel elements on padding count.
        layout: of the image whose pixels the rows see, as :func:`receptive_field` takes it.

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
    analysis = analyze(fn, *args, where=where)
    regions = []
    for region in analysis.regions:
        layers = region.network.rows.values()
        counts = {layer: _Counts.of(layer, region.substitute, padded_taps) for layer in layers}
        regions.append(_RegionCounts(region, counts))
    raise_if(_different_layers(regions))
    point = None if at is None else dict(at)
    raise_if([] if point is None else _point_diagnostics(point, analysis.verdict))
    fields = _row_fields(analysis, layout)
    # Factors are united, then multiplied: (h + 1)//2 covers even and odd h, a product of two such
    # formulas for either cannot be found from those for both.
    ways = zip(*(region.counts.values() for region in regions), strict=True)
    united = [first.mapped(analysis.unite, *others) for first, *others in ways]
    rows, totals = _row_table(regions[0], united, fields)
    inputs = {}
    for name in analysis.regions[0].network.inputs:
        shapes = [
            map(region.substitute, shape_of(region.network.inputs[name]))
            for region in analysis.regions
        ]
        inputs[name] = tuple(analysis.unite(*sizes) for sizes in zip(*shapes, strict=True))
    table = Summary(rows, inputs, *totals, analysis.verdict.accepts, padded_taps)
    if point is None:
        return table
    region = next(one for one in regions if SizeSet(one.analysis.region.sizes).contains(**point))
    number = functools.partial(value_at, point=point)
    numbered = [counts.mapped(number) for counts in region.counts.values()]
    numbers, sums = _row_table(region, numbered, fields)
    return replace(table, at=point, numbers=numbers, totals=sums)


class _Counts(NamedTuple):
    """The formulas of a layer, each as factors; None is unknown, or has no meaning.

    Attributes:
        output: the sides of its output.
        times: how often each scan around it runs.
        macs: of one run.
        weights: of one neuron.
    """

    output: tuple[Any, ...]
    times: tuple[Any, ...]
    macs: tuple[Any, ...] | None
    weights: tuple[Any, ...] | None

    @classmethod
    def of(cls, layer: Layer, substitute: Substitute, padded_taps: bool) -> "_Counts":
        """Count what a layer returns, computes and has learnt."""
        eqn = layer.eqn
        assert eqn is not None
        sizes = (layer.output.shape, layer.times)
        output, times = (tuple(map(substitute, some)) for some in sizes)
        record = record_of(eqn)
        count_macs, count_weights = record.macs, record.weights
        if count_macs is None:
            return cls(output, times, None if layer.kind == "unknown" else (0,), None)
        macs = if_known(lambda: count_macs(eqn, substitute, padded_taps))
        is_learnt = any(layer.fixed[index] for index in record.weight_operands)
        weights = count_weights(eqn, substitute) if is_learnt and count_weights else None
        return cls(output, times, macs, weights)

    def mapped(self, change: Callable[..., Any], *others: "_Counts") -> "_Counts":
        """Change each factor, given those of others in the same place."""

        def changed(*factors: tuple[Any, ...] | None) -> Any:
            known = [some for some in factors if some is not None]
            return tuple(map(change, *known)) if len(known) == len(factors) else None

        return _Counts(*map(changed, self, *others))


class _RegionCounts(NamedTuple):
    """What one region of the sizes shows.

    Attributes:
        analysis: the sizes, their trace, and the network.
        counts: of the layers that are rows.
    """

    analysis: RegionNetwork
    counts: dict[Layer, _Counts]


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
    region: _RegionCounts, counts: Iterable[_Counts], fields: FieldsByName
) -> tuple[tuple[Row, ...], Totals]:
    rows = {}
    for layer, count in zip(region.counts, counts, strict=True):
        rows[layer] = Row(
            layer.name,
            layer.kind,
            tuple(source.name for source in layer.sources),
            count.output,
            str(layer.output.dtype),
            _product_of(count.times),
            sum(parameter.count for parameter in layer.parameters),
            _product_of(count.weights),
            fields.get(layer.name),
            _product_of(count.macs, count.times),
            _product_of((layer.output.dtype.itemsize,), count.output, count.times),
        )
    network = region.analysis.network
    unused = sum(parameter.count for parameter in network.unused)
    parameters = unused + sum(row.parameters for row in rows.values())
    sums = (_total(network.layers, rows, name) for name in SUMMED)
    return tuple(rows.values()), Totals(parameters, *sums)


def _product_of(*factors: tuple[Any, ...] | None) -> Any:
    """The product of all factors; None where one is unknown."""
    known: list[Any] = [n for some in factors for n in ((None,) if some is None else some)]
    return None if any(n is None for n in known) else if_known(lambda: prod(known))


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


def _different_layers(regions: Sequence[_RegionCounts]) -> Iterator[Diagnostic]:
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
            f"at= is {dict(point)}, but must have {', '.join(names) or 'no name'}, "
            "each a whole number of at least 1.",
            f"pass at={{{want}}}.",
        )
    elif not verdict.accepts.contains(**point):
        failure = next((f for f in verdict.failures if f.sizes.contains(**point)), None)
        reason = failure.message if failure else "where= excludes it."
        fix = f"pass sizes with {verdict.accepts}."
        yield Diagnostic(f"{point_text(dict(point))} is not accepted: {reason}", fix)
