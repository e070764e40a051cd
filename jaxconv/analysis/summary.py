"""A table of the layers of any model: what each returns, learns, computes and keeps."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import islpy as isl

from jaxconv.analysis.network import Conditional, Layer, Layers
from jaxconv.analysis.receptive_field import Look, ReceptiveField
from jaxconv.analysis.regions import Case, Study, if_known, study
from jaxconv.analysis.summary_table import SUMMED, Row, Summary, Totals
from jaxconv.errors import Diagnostic, ValidationError, public_api, raise_if
from jaxconv.jaxpr.interpreter import shape_of
from jaxconv.jaxpr.primitives import record_of
from jaxconv.jaxpr.window_axis import Substitute
from jaxconv.prover.verdict import Verdict, point_text
from jaxconv.symbolic.sets import SizeSet
from jaxconv.symbolic.size import Size
from jaxconv.symbolic.specs import extreme

Fields = Mapping[str, ReceptiveField]


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
    reduction, or a join of branches; what else follows it (bias, batch norm, activation, casts)
    belongs to it, so that its output is that after the activation. It bears the name that
    ``checkpoint_name`` gave it, else that of the layer, of its parameters, or its source line.

    A MAC is one multiply-accumulate for each pair of an output position and a weight tap of a
    convolution, or for each product of two numbers that a matrix product sums. Taps that fall on
    padding count by default, as papers count; ``padded_taps=False`` leaves them out, as XLA's cost
    analysis does, which counts 2 flops a MAC. Taps in the holes of a dilated image, as transposed
    convolutions have them, never count. Everything else costs no MACs.

    The body of a scan counts as often as it runs, its parameters once. Of the branches of a
    ``lax.cond`` the totals count the largest; the body of a while loop counts once. What feeds
    the body of a loop is what feeds its first step.

    Args:
        fn: any function of JAX; a model of Flax NNX or Equinox; ``apply`` of Linen or Haiku.
        *args: its arguments: specs such as ``"b h w 3"`` or ``"b h w 3:bfloat16"``, arrays,
            ShapeDtypeStructs, and pytrees of them. Specs are the inputs; without any the last
            argument is, and all are beside an NNX model. Floats in the other arguments are
            parameters, and arrays that the function closes over; of an NNX model those in
            ``nnx.Param``, of Linen's variables those under "params".
        where: the sizes asked about, such as ``"h >= 32 and w == h"``.
        at: a number for each size, such as ``{"b": 1, "h": 224, "w": 224}``, to see numbers
            beside the formulas.
        padded_taps: whether taps on padding count.
        layout: of the image whose pixels the rows see, as :func:`receptive_field` takes it.

    Returns:
        The table. ``print`` it, give it to rich, or take its ``rows`` and totals.

    Raises:
        SpecError: a spec or a condition that cannot be read.
        ShapeError: no size is accepted, the layers differ from size to size, sizes that cannot be
            traced as formulas, or ``at`` is none of the sizes accepted.

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
    found = study(fn, *args, where=where)
    cases = [_case(case, padded_taps) for case in found.cases]
    raise_if(_different(cases))
    point = None if at is None else dict(at)
    raise_if([] if point is None else _no_point(point, found.verdict))
    fields = _fields(found, layout)
    rows, totals = _joined(found, cases, fields)
    table = Summary(rows, _inputs(found), *totals, found.verdict.accepts, padded_taps)
    if point is None:
        return table
    numbers, sums = _numbers(cases, point, fields)
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

    def mapped(self, change: Callable[..., Any], *others: "_Counts") -> "_Counts":
        """Change each factor, given those of others in the same place."""
        return _Counts(*(_each(change, fields) for fields in zip(self, *others, strict=True)))


def _each(change: Callable[..., Any], fields: Sequence[Any]) -> Any:
    if any(factors is None for factors in fields):
        return None
    return tuple(change(*sizes) for sizes in zip(*fields, strict=True))


class _Case(NamedTuple):
    """What one piece of the sizes shows.

    Attributes:
        found: the sizes, their trace, and the network.
        names: of the layers that are rows, each another one.
        counts: of them, in the same order.
    """

    found: Case
    names: dict[Layer, str]
    counts: list[_Counts]


def _case(case: Case, padded_taps: bool) -> _Case:
    counts = [_count(layer, case.here, padded_taps) for layer in case.network.rows.values()]
    return _Case(case, {layer: name for name, layer in case.network.rows.items()}, counts)


def _count(layer: Layer, here: Substitute, padded_taps: bool) -> _Counts:
    eqn = layer.eqn
    assert eqn is not None
    output, times = (tuple(map(here, sizes)) for sizes in (layer.output.shape, layer.times))
    record = record_of(eqn)
    count_macs, count_weights = record.macs, record.weights
    if count_macs is None:
        return _Counts(output, times, None if layer.kind == "unknown" else (0,), None)
    macs = if_known(lambda: count_macs(eqn, here, padded_taps))
    learnt = any(layer.fixed[index] for index in record.weight_operands)
    weights = count_weights(eqn, here) if learnt and count_weights else None
    return _Counts(output, times, macs, weights)


def _inputs(found: Study) -> dict[str, tuple[Any, ...]]:
    """The shapes of the inputs, by name."""
    shapes = [
        {name: tuple(map(case.here, shape_of(var))) for name, var in case.network.inputs.items()}
        for case in found.cases
    ]
    return {
        name: tuple(found.unite(*sizes) for sizes in zip(*(s[name] for s in shapes), strict=True))
        for name in shapes[0]
    }


def _fields(found: Study, layout: str | None) -> Mapping[str, ReceptiveField]:
    """What the rows see of the image; nothing if the input is none, and nobody says it is."""
    try:
        looked = Look(found, layout)
    except ValidationError:
        if layout is None:
            return {}
        raise
    rows = found.cases[0].network.rows
    return {name: looked.field(name) for name in looked.names() if name in rows}


def _joined(found: Study, cases: Sequence[_Case], fields: Fields) -> tuple[tuple[Row, ...], Totals]:
    """The rows of all cases as one, with formulas that hold in each.

    Factors are united, then multiplied: ``(h + 1)//2`` covers even and odd h, a product of two
    such formulas for either cannot be found from those for both.
    """
    ways = zip(*(case.counts for case in cases), strict=True)
    counts = [first.mapped(found.unite, *others) for first, *others in ways]
    return _rows(cases[0], counts, fields)


def _numbers(
    cases: Sequence[_Case], point: Mapping[str, int], fields: Fields
) -> tuple[tuple[Row, ...], Totals]:
    """The rows of the case that a point belongs to, with numbers."""
    case = next(case for case in cases if SizeSet(case.found.piece.sizes).contains(**point))
    number = lambda size: size.at(**point) if isinstance(size, Size) else size  # noqa: E731
    return _rows(case, [counts.mapped(number) for counts in case.counts], fields)


def _rows(case: _Case, counts: Iterable[_Counts], fields: Fields) -> tuple[tuple[Row, ...], Totals]:
    rows = {
        layer: _row(layer, case.names, count, fields)
        for layer, count in zip(case.names, counts, strict=True)
    }
    unused = sum(parameter.count for parameter in case.found.network.unused)
    parameters = unused + sum(row.parameters for row in rows.values())
    sums = (_total(case.found.network.layers, rows, name) for name in SUMMED)
    return tuple(rows.values()), Totals(parameters, *sums)


def _row(layer: Layer, names: Mapping[Layer, str], counts: _Counts, fields: Fields) -> Row:
    size = layer.output.dtype.itemsize
    return Row(
        names[layer],
        layer.kind,
        tuple(names.get(source, source.name) for source in layer.feeding()),
        counts.output,
        str(layer.output.dtype),
        _product(counts.times),
        sum(parameter.count for parameter in layer.parameters),
        _product(counts.weights),
        fields.get(names[layer]),
        _product(counts.macs, counts.times),
        _product((size,), counts.output, counts.times),
    )


def _product(*factors: tuple[Any, ...] | None) -> Any:
    """The product of all factors; None where one is unknown."""
    known: list[Any] = [n for some in factors for n in ((None,) if some is None else some)]
    return None if any(n is None for n in known) else if_known(lambda: prod(known))


def _total(layers: Layers, rows: Mapping[Layer, Row], name: str) -> Any:
    """The sum over layers, and over the largest branches of forks; None where one is unknown."""
    found = []
    for entry in layers:
        if isinstance(entry, Conditional):
            found.append(_largest([_total(branch, rows, name) for branch in entry.branches]))
        elif entry in rows:
            found.append(getattr(rows[entry], name))
    return None if any(count is None for count in found) else sum(found)


def _largest(counts: Sequence[Any]) -> Any:
    if any(count is None for count in counts):
        return None
    return if_known(lambda: functools.reduce(functools.partial(extreme, "max"), counts))


def _different(cases: Sequence[_Case]) -> Iterator[Diagnostic]:
    """Whether the layers differ from case to case of the sizes."""
    found: dict[Any, isl.Set] = {}
    for case in cases:
        key = tuple(
            (
                name,
                layer.kind,
                *(case.names.get(n, n.name) for n in layer.feeding()),
                len(counts.output),
            )
            for (layer, name), counts in zip(case.names.items(), case.counts, strict=True)
        )
        found[key] = found.get(key, isl.Set.empty(case.found.piece.sizes.space)).union(
            case.found.piece.sizes
        )
    if len(found) > 1:
        texts = sorted(f"{len(key)} for {SizeSet(sizes)}" for key, sizes in found.items())
        wrong = f"the layers differ from case to case: there are {', or '.join(texts)}."
        yield Diagnostic(wrong, "ask about one case with where=, or pass numbers as sizes.")


def _no_point(point: Mapping[str, Any], verdict: Verdict) -> Iterator[Diagnostic]:
    """What is wrong with the sizes asked about."""
    names = verdict.accepts.names
    if set(point) != set(names) or any(not _is_size(n) for n in point.values()):
        want = ", ".join(f'"{name}": 224' for name in names)
        yield Diagnostic(
            f"at= is {dict(point)}, but must have {', '.join(names) or 'no name'}, "
            "each a whole number from 1 up.",
            f"pass at={{{want}}}.",
        )
    elif not verdict.accepts.contains(**point):
        failure = next((f for f in verdict.failures if f.sizes.contains(**point)), None)
        reason = failure.message if failure else "where= leaves it out."
        fix = f"pass sizes with {verdict.accepts}."
        yield Diagnostic(f"{point_text(dict(point))} is not accepted: {reason}", fix)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
