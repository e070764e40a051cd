"""A table of the layers of any model: what each returns, learns, computes and keeps."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import islpy as isl

from jaxconv.inspect.flow import Fork, Layer, Layers, flat, read
from jaxconv.inspect.macs import PRODUCTS, Here
from jaxconv.inspect.trace import fresh
from jaxconv.shapes.errors import Fact, door, refuse_if
from jaxconv.shapes.proof import Piece, Search, explore
from jaxconv.shapes.sets import SizeSet
from jaxconv.shapes.sizes import Size, Trial, Undecided, moved, unite
from jaxconv.shapes.specs import extreme
from jaxconv.shapes.traced import shape_text
from jaxconv.shapes.verdict import Verdict, point_text

if TYPE_CHECKING:
    from rich.table import Table

LONG = 44  # characters of a formula that a cell shows; the rows have all of it


@dataclass(frozen=True)
class Row:
    """One layer. Sizes and numbers are ints, or formulas (:class:`Size`); None is unknown.

    Attributes:
        name: of the layer, or its source line, such as ``net.py:12``.
        kind: "convolution", "product", "pool", "reduction", "join", or "unknown".
        inputs: names of the rows that feed it; "input" is the first input of the function.
        output: shape after the activation.
        dtype: of the output.
        times: how often it runs, in a scan.
        parameters: numbers in the arrays that no row above uses.
        weights: those of one neuron; None where it has none.
        macs: multiply-accumulates, all times together.
        activation_bytes: of the output, all times together.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    output: tuple[Any, ...]
    dtype: str
    times: Any
    parameters: int
    weights: Any
    macs: Any
    activation_bytes: Any

    def mapped(self, change: Callable[..., Any], *others: "Row") -> "Row":
        """Change each formula, given those of other rows in the same place."""
        rows = (self, *others)
        output = tuple(change(*sizes) for sizes in zip(*(row.output for row in rows), strict=True))
        names = ("times", "weights", "macs", "activation_bytes")
        changed = {name: change(*(getattr(row, name) for row in rows)) for name in names}
        return replace(self, output=output, **changed)


class Totals(NamedTuple):
    """Sums over all rows; of branches of which one runs, the largest."""

    parameters: int
    macs: Any
    activation_bytes: Any


@dataclass(frozen=True)
class Summary:
    """What :func:`summary` found: text with ``str``, a table for rich, data with ``to_json``.

    Attributes:
        rows: the layers in the order of computation.
        parameters: of the whole model, those that no row uses too.
        macs: of all rows; an int, a formula, or None where it is unknown.
        activation_bytes: of all rows; likewise.
        sizes: for which all this holds.
        padded_taps: whether taps on padding count in ``macs``.
        at: the concrete sizes asked about, if any.
        numbers: the rows with numbers for them.
        totals: the numbers of the whole for them.
    """

    rows: tuple[Row, ...]
    parameters: int
    macs: Any
    activation_bytes: Any
    sizes: SizeSet
    padded_taps: bool
    at: dict[str, int] | None = None
    numbers: tuple[Row, ...] = ()
    totals: Totals | None = None

    def to_json(self) -> dict[str, Any]:
        """The table as plain data: formulas as text, and numbers for the sizes ``at``."""
        rows = [_row_json(row) for row in self.rows]
        for row, numbers in zip(rows, self.numbers, strict=False):
            row["at"] = {"output": list(numbers.output)} | {
                name: getattr(numbers, name) for name in SUMMED
            }
        found = {
            "sizes": str(self.sizes) if self.sizes.names else "",
            "padded_taps": self.padded_taps,
            "rows": rows,
            "parameters": self.parameters,
            "macs": _plain(self.macs),
            "activation_bytes": _plain(self.activation_bytes),
        }
        if self.at is None or self.totals is None:
            return found
        return found | {"at": {"sizes": self.at} | self.totals._asdict()}

    def __str__(self) -> str:
        lines = [HEADINGS, *self._cells()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        texts = [
            "  ".join(_aligned(*cell) for cell in zip(HEADINGS, line, widths, strict=True)).rstrip()
            for line in lines
        ]
        rule = "-" * max(map(len, texts))
        return "\n".join([texts[0], rule, *texts[1:], rule, *self._notes()])

    def __rich__(self) -> "Table":
        from rich import box
        from rich.table import Table
        from rich.text import Text

        notes = Text("\n".join(self._notes()))
        table = Table(box=box.SIMPLE_HEAD, caption=notes, caption_justify="left")
        for heading in HEADINGS:
            table.add_column(
                heading, justify="left" if heading in WORDS else "right", overflow="fold"
            )
        for cells in self._cells():
            table.add_row(*(Text(cell.replace(" = ", "\n")) for cell in cells))  # to be narrow
        return table

    def _cells(self) -> Iterator[tuple[str, ...]]:
        places = {row.name: str(number) for number, row in enumerate(self.rows, 1)}
        above = ("input",)
        for row, numbers in zip_longest(self.rows, self.numbers):
            feeding = ", ".join(places.get(name, name) for name in row.inputs) or "-"
            yield (
                places[row.name],
                *_row_cells(row, numbers, "" if row.inputs == above else feeding),
            )
            above = (row.name,)

    def _notes(self) -> Iterator[str]:
        numbers = self.totals
        here = f"; numbers for {point_text(self.at)}" if self.at else ""
        if self.sizes.names:
            yield f"for {self.sizes}{here}"
        beside = self.parameters - sum(row.parameters for row in self.rows)
        unused = f", {beside:,} of them in no layer above" if beside else ""
        yield f"parameters: {self.parameters:,}{unused}"
        yield f"MACs: {_whole_cell(self.macs, numbers and numbers.macs)}"
        bytes_ = _whole_cell(self.activation_bytes, numbers and numbers.activation_bytes)
        yield f"activation bytes: {bytes_}"
        taps = "counted" if self.padded_taps else "left out"
        yield f"A MAC is one multiply-accumulate; taps on padding are {taps}."


HEADINGS = ("#", "layer", "from", "output", "parameters", "weights", "MACs", "bytes")
WORDS = ("layer", "from", "output")
SUMMED = ("macs", "activation_bytes")
COUNTED = ("convolution", "product", "unknown")


def _row_cells(row: Row, numbers: Row | None, feeding: str) -> tuple[str, ...]:
    """All cells of a row but the first."""
    macs, kept = (_cell(getattr(row, name), numbers and getattr(numbers, name)) for name in SUMMED)
    return (
        f"{row.name} x {row.times}" if row.times != 1 else row.name,
        feeding,
        _shape_cell(row.output, numbers and numbers.output),
        f"{row.parameters:,}" if row.parameters else "-",
        "-" if row.weights is None else _cell(row.weights, None),
        macs if row.kind in COUNTED else "-",
        kept,
    )


def _aligned(heading: str, text: str, width: int) -> str:
    return text.ljust(width) if heading in WORDS else text.rjust(width)


def _cell(formula: Any, number: int | None) -> str:
    """A formula that is short enough to be read in a table, and its number."""
    text = _whole_cell(formula, None)
    text = f"{text[: LONG - 3]}..." if len(text) > LONG else text
    return text if number is None or isinstance(formula, int) else f"{text} = {number:,}"


def _whole_cell(formula: Any, number: int | None) -> str:
    text = "?" if formula is None else f"{formula:,}" if isinstance(formula, int) else str(formula)
    return text if number is None or isinstance(formula, int) else f"{text} = {number:,}"


def _shape_cell(shape: Sequence[Any], numbers: Sequence[Any] | None) -> str:
    text = shape_text(["?" if n is None else n for n in shape])
    symbolic = numbers and not all(isinstance(n, int) for n in shape)
    return f"{text} = {shape_text(numbers)}" if numbers and symbolic else text


def _row_json(row: Row) -> dict[str, Any]:
    found = vars(row.mapped(_plain))
    return found | {"inputs": list(row.inputs), "output": list(found["output"])}


def _plain(formula: Any) -> int | str | None:
    return formula if formula is None or isinstance(formula, int) else str(formula)


@door
def summary(
    fn: Callable[..., Any],
    *args: Any,
    where: str | None = None,
    at: Mapping[str, int] | None = None,
    padded_taps: bool = True,
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
    ``lax.cond`` the totals count the largest; the body of a while loop counts once.

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
    search = explore(fn, *args, where=where)
    verdict = search.verdict()
    refuse_if(_not_traced(search, verdict))
    tables = [_table(search, piece, padded_taps) for piece in search.pieces]
    refuse_if(_different(search.pieces, tables))
    point = None if at is None else dict(at)
    refuse_if([] if point is None else _no_point(point, verdict))
    join = functools.partial(_united, search.pieces)
    rows = [
        row.mapped(join, *others) for row, *others in zip(*(t.rows for t in tables), strict=True)
    ]
    totals = [table.totals for table in tables]
    macs, kept = (join(*(getattr(t, name) for t in totals)) for name in SUMMED)
    found = Summary(tuple(rows), totals[0].parameters, macs, kept, verdict.accepts, padded_taps)
    return found if point is None else _with_numbers(found, search.pieces, tables, point)


class _Table(NamedTuple):
    """The rows of one piece, and their totals."""

    rows: tuple[Row, ...]
    totals: Totals


def _table(search: Search, piece: Piece, padded_taps: bool) -> _Table:
    here = _brought_to(Trial(piece.sizes.coalesce(), searching=False))
    layers, unused = read(piece.closed, search.template)
    names: dict[str, Layer] = {}
    for layer in flat(layers):
        names[fresh(layer.name, names)] = layer
    known = {layer: name for name, layer in names.items()}
    rows = {layer: _row(layer, known, here, padded_taps) for layer in known}
    parameters = sum(p.count for p in unused) + sum(row.parameters for row in rows.values())
    sums = [_total(layers, rows, name) for name in SUMMED]
    return _Table(tuple(rows.values()), Totals(parameters, *sums))


def _brought_to(home: Trial) -> Here:
    def here(size: Any) -> Any:
        if not isinstance(size, Size):
            return size
        same = moved(home, size)
        return home.make(same.affine, same.products)

    return here


def _row(layer: Layer, names: Mapping[Layer, str], here: Here, padded_taps: bool) -> Row:
    eqn = layer.eqn
    assert eqn is not None
    output = tuple(here(n) for n in layer.output.shape)
    times = prod(here(n) for n in layer.times)
    product = PRODUCTS.get(eqn.primitive.name)
    macs, weights = 0 if layer.kind != "unknown" else None, None
    if product is not None:
        macs = _if_known(lambda: times * product.macs(eqn, here, padded_taps))
        if any(layer.fixed[product.kernels]):
            weights = _if_known(lambda: product.weights(eqn, here))
    return Row(
        names[layer],
        layer.kind,
        tuple(names.get(source, source.name) for source in layer.feeding()),
        output,
        str(layer.output.dtype),
        times,
        sum(parameter.count for parameter in layer.parameters),
        weights,
        macs,
        _if_known(lambda: prod(output) * layer.output.dtype.itemsize * times),
    )


def _if_known(compute: Callable[[], Any]) -> Any:
    """A number or a formula; None where it is not decided."""
    try:
        return compute()
    except Undecided:
        return None


def _total(layers: Layers, rows: Mapping[Layer, Row], name: str) -> Any:
    """The sum over layers, and over the largest branches of forks; None where one is unknown."""
    found = []
    for entry in layers:
        if isinstance(entry, Fork):
            found.append(_largest([_total(branch, rows, name) for branch in entry.branches]))
        elif entry in rows:
            found.append(getattr(rows[entry], name))
    return None if any(count is None for count in found) else sum(found)


def _largest(counts: Sequence[Any]) -> Any:
    if any(count is None for count in counts):
        return None
    return _if_known(lambda: functools.reduce(functools.partial(extreme, "max"), counts))


def _united(pieces: Sequence[Piece], *formulas: Any) -> Any:
    """One formula for all pieces; None where one is unknown, or there is none."""
    if any(formula is None for formula in formulas):
        return None
    if len(formulas) == 1 or all(isinstance(n, int) and n == formulas[0] for n in formulas):
        return formulas[0]
    parts = [(p.trial, p.sizes, n) for p, n in zip(pieces, formulas, strict=True)]
    return _if_known(lambda: unite(parts))


def _with_numbers(
    found: Summary, pieces: Sequence[Piece], tables: Sequence[_Table], point: dict[str, int]
) -> Summary:
    def number(formula: Any) -> Any:
        return formula.at(**point) if isinstance(formula, Size) else formula

    for piece, table in zip(pieces, tables, strict=True):
        if SizeSet(piece.sizes).contains(**point):
            numbers = tuple(row.mapped(number) for row in table.rows)
            return replace(
                found, at=point, numbers=numbers, totals=Totals(*map(number, table.totals))
            )
    raise AssertionError("the sizes accepted are those of the pieces")


def _not_traced(search: Search, verdict: Verdict) -> Iterator[Fact]:
    """Why there are no formulas: every size fails, or sizes are needed as numbers."""
    fix = 'pass numbers, such as "1 224 224 3".'
    if search.open:
        notes = "; ".join(search.notes)
        yield Fact(f"the sizes cannot be traced as formulas: {notes}.", fix)
    elif not search.pieces and verdict.failures:
        failure = verdict.failures[0]
        place = ": ".join(filter(None, (failure.where, failure.layer)))
        yield Fact(
            f"no size is accepted. {f'{place}: ' * bool(place)}{failure.message}", failure.fix
        )
    elif not search.pieces:
        yield Fact("where= leaves no size.", "pass a condition that some sizes of at least 1 meet.")


def _different(pieces: Sequence[Piece], tables: Sequence[_Table]) -> Iterator[Fact]:
    """Whether the layers differ from case to case of the sizes."""
    cases: dict[Any, isl.Set] = {}
    for piece, table in zip(pieces, tables, strict=True):
        key = tuple((row.name, row.kind, row.inputs, len(row.output)) for row in table.rows)
        cases[key] = cases.get(key, isl.Set.empty(piece.sizes.space)).union(piece.sizes)
    if len(cases) > 1:
        texts = [f"{len(key)} for {SizeSet(sizes)}" for key, sizes in cases.items()]
        wrong = f"the layers differ from case to case: there are {', '.join(texts)}."
        yield Fact(wrong, "ask about one case with where=, or pass numbers as sizes.")


def _no_point(point: Mapping[str, Any], verdict: Verdict) -> Iterator[Fact]:
    """What is wrong with the sizes asked about."""
    names = verdict.accepts.names
    if set(point) != set(names) or any(not _is_size(n) for n in point.values()):
        want = ", ".join(f'"{name}": 224' for name in names)
        yield Fact(
            f"at= is {dict(point)}, but must have {', '.join(names) or 'no name'}, "
            "each a whole number from 1 up.",
            f"pass at={{{want}}}.",
        )
    elif not verdict.accepts.contains(**point):
        failure = next((f for f in verdict.failures if f.sizes.contains(**point)), None)
        reason = failure.message if failure else "where= leaves it out."
        fix = f"pass sizes with {verdict.accepts}."
        yield Fact(f"{point_text(dict(point))} is not accepted: {reason}", fix)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
