"""The table of a model's layers: rows and totals, as text, as a table for rich, and as data."""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxconv.analysis.memory_plan import (
    OPTIMIZER_ARRAYS,
    MemoryModel,
    MemoryNeed,
    bytes_of_text,
    read_options,
    read_sizes,
    usual_sizes,
)
from jaxconv.analysis.receptive_field import ReceptiveField
from jaxconv.analysis.text_table import text_table
from jaxconv.display import Displayed, Note, Part, Table
from jaxconv.errors import Diagnostic, ValidationError, public_api, shown
from jaxconv.prover.conditions import shape_text
from jaxconv.prover.verdict import point_text
from jaxconv.source import NOWHERE, Origin
from jaxconv.symbolic.sets import SizeSet

if TYPE_CHECKING:
    from rich.table import Table as RichTable

LONG = 44  # characters of a formula that a cell shows; the rows have all of it


@dataclass(frozen=True)
class Row:
    """One layer. Sizes and numbers are ints, or formulas (:class:`Size`); None is unknown.

    Attributes:
        name: of the layer, or what it does and its source line, such as ``add (net.py:12)``.
        kind: "convolution", "product", "pool", "reduction", "join", "lookup" or "unknown".
        inputs: names of the rows that feed it; "input" is the first input of the function.
        output: shape after the activation.
        dtype: of the output.
        times: how often it runs, in a scan.
        parameters: numbers in the arrays that no row above uses.
        weights: those of one neuron; None where it has none.
        field: which pixels of the image its neurons see; None if that is unknown, or it sees none.
        macs: multiply-accumulates, all times together.
        activation_bytes: of the output, all times together.
        origin: the user's line that computes it.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    output: tuple[Any, ...]
    dtype: str
    times: Any
    parameters: int
    weights: Any
    field: ReceptiveField | None
    macs: Any
    activation_bytes: Any
    origin: Origin = NOWHERE

    def to_json(self) -> dict[str, Any]:
        """The row as plain data, with formulas as text."""
        others = {"field", "origin"}
        plain = {name: _plain(value) for name, value in vars(self).items() if name not in others}
        field = None
        if self.field is not None:
            numbers = {name: getattr(self.field, name) for name in ("size", "stride", "offset")}
            field = {name: [*map(_plain, axes)] for name, axes in numbers.items()}
            field |= {"exact": self.field.exact}
        lists = {"inputs": list(self.inputs), "output": [*map(_plain, self.output)]}
        return {**plain, **lists, "field": field}


class Totals(NamedTuple):
    """Sums over all rows; of alternative branches, only the largest counts."""

    parameters: int
    macs: Any
    activation_bytes: Any


@dataclass(frozen=True)
class Summary(Displayed):
    """The result of :func:`summary`: text with ``str``, a table for rich, data with ``to_json``.

    Attributes:
        rows: the layers in the order of computation.
        inputs: the shape of each input, by name.
        parameters: of the whole model, including those that no row uses.
        macs: of all rows; an int, a formula, or None where it is unknown.
        activation_bytes: of all rows; likewise.
        sizes: the sizes for which the table holds.
        padded_taps: whether kernel elements on padding count in ``macs``.
        at: the concrete sizes requested, if any.
        numbers: the rows with numbers for them.
        totals: the numbers of the whole for them.
        notes: sentences that say for which sizes the formulas do not hold.
    """

    rows: tuple[Row, ...]
    inputs: Mapping[str, tuple[Any, ...]]
    parameters: int
    macs: Any
    activation_bytes: Any
    sizes: SizeSet
    padded_taps: bool
    at: dict[str, int] | None = None
    numbers: tuple[Row, ...] = ()
    totals: Totals | None = None
    notes: tuple[str, ...] = ()
    _model: MemoryModel | None = field(default=None, repr=False, compare=False)

    @public_api
    def largest(
        self,
        memory: int | str,
        *,
        at: Mapping[str, int] | None = None,
        train: bool = False,
        remat: bool = False,
        optimizer_arrays: int = OPTIMIZER_ARRAYS,
    ) -> MemoryNeed:
        """Find the largest batch, or the largest image, that fits into the memory of a device.

        The model is traced for inputs of some sizes, and its operations are scheduled in the order
        of the trace: each result is kept until its last use, and elementwise operations are
        computed where they are used. A compiler may order operations otherwise: XLA's activations
        of ten networks were within 6 % of it, and with its scheduler for memory up to 1.5 times as
        large (docs/performance.md), so leave a part of the memory free. On a CPU the layers of this
        package are computed otherwise, and took up to 2.4 times the activations for inference.

        Args:
            memory: bytes, or a text such as ``"16GB"``.
            at: a number for some sizes, such as ``{"b": 1}``; the others are made as large as fits,
                all alike. Default: the first size is made as large as fits, and the others are
                those of the table, or 224.
            train: count gradients of the parameters, and what computing them keeps.
            remat: of activations, keep the results of convolutions and products only, as
                ``jax.checkpoint`` does with such a policy.
            optimizer_arrays: that the optimizer keeps for each parameter; Adam keeps 2.

        Returns:
            The sizes, and the bytes that they need.

        Raises:
            ShapeError: not even the smallest sizes fit, or an argument is not as described.

        Example:
            >>> import jax, jaxconv as jc
            >>> kernel = jax.numpy.ones((3, 3, 3, 64))
            >>> table = jc.summary(jc.conv, "b h w 3", kernel)
            >>> table.largest("1GB").sizes
            {'b': 74, 'h': 224, 'w': 224}
        """
        limit, options = bytes_of_text(memory), read_options(train, remat, optimizer_arrays)
        fixed = usual_sizes(self.sizes, self.at) if at is None else read_sizes(at)
        return self._memory_model().largest(limit, self.sizes, fixed, **options)

    @public_api
    def memory(
        self,
        at: Mapping[str, int] | None = None,
        *,
        train: bool = False,
        remat: bool = False,
        optimizer_arrays: int = OPTIMIZER_ARRAYS,
    ) -> MemoryNeed:
        """Find the bytes that the model needs for inputs of some sizes.

        Args:
            at: a number for each size; default: those of the table.
            train: as for :meth:`largest`.
            remat: likewise.
            optimizer_arrays: likewise.

        Returns:
            The bytes, in parts.

        Raises:
            ShapeError: these sizes are not accepted.
        """
        options = read_options(train, remat, optimizer_arrays)
        sizes = read_sizes((self.at if at is None else at) or {})
        numbers = all(type(size) is int for size in sizes.values())
        names = self.sizes.names
        if {*sizes} != {*names} or not numbers or not self.sizes.contains(**sizes):
            wrong = f"at= is {shown(sizes)}, but the table is for {self.sizes}."
            fix = f"pass at= with a number for each of {', '.join(names)} that it accepts."
            raise ValidationError([Diagnostic(wrong, fix)])
        return self._memory_model().need(sizes, **options)

    def _memory_model(self) -> MemoryModel:
        assert self._model is not None  # of every table that summary() returns
        return self._model

    def to_json(self) -> dict[str, Any]:
        """The table as plain data: formulas as text, and numbers for the sizes ``at``."""
        rows = [row.to_json() for row in self.rows]
        for row, numbers in zip(rows, self.numbers, strict=False):
            row["at"] = {"output": list(numbers.output)} | {
                name: getattr(numbers, name) for name in SUMMED
            }
        table = {
            "sizes": str(self.sizes) if self.sizes.names else "",
            "padded_taps": self.padded_taps,
            "inputs": {name: [*map(_plain, shape)] for name, shape in self.inputs.items()},
            "rows": rows,
            "parameters": self.parameters,
            "macs": _plain(self.macs),
            "activation_bytes": _plain(self.activation_bytes),
            "notes": list(self.notes),
        }
        if self.at is None or self.totals is None:
            return table
        return table | {"at": {"sizes": self.at} | self.totals._asdict()}

    def __str__(self) -> str:
        return self.text()

    def text(self, width: int | None = None) -> str:
        """Write the table.

        Args:
            width: of a line, in characters; None is one line for each layer, however wide.

        Returns:
            The table, split into several of fewer columns where it is wider, and sentences below.
        """
        cells = [*self._cells()]
        table = text_table(HEADINGS, cells, words=WORDS, keys=2, width=width)
        notes = [
            line
            for note in self._notes()
            for line in ([note] if width is None else textwrap.wrap(note, width))
        ]
        return "\n".join([table, *notes])

    def __rich__(self) -> "RichTable":
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text

        notes = Text("\n".join(self._notes()))
        table = RichTable(box=box.SIMPLE_HEAD, caption=notes, caption_justify="left")
        for heading in HEADINGS:
            table.add_column(
                heading, justify="left" if heading in WORDS else "right", overflow="fold"
            )
        for cells in self._cells():
            table.add_row(*(Text(cell.replace(" = ", "\n")) for cell in cells))  # to be narrow
        return table

    def display_parts(self) -> Iterator[Part]:
        """What a notebook shows: the table, and the lines below it."""
        yield Table(HEADINGS, [*self._cells()], WORDS)
        yield Note("\n".join(self._notes()))

    def _cells(self) -> Iterator[tuple[str, ...]]:
        places = {row.name: str(number) for number, row in enumerate(self.rows, 1)}
        above = ("input",)
        for row, numbers in zip_longest(self.rows, self.numbers):
            feeding = ", ".join(places.get(name, name) for name in row.inputs) or "-"
            output = shape_text(["?" if n is None else n for n in row.output])
            if numbers and not all(isinstance(n, int) for n in row.output):
                output += f" = {shape_text(numbers.output)}"
            macs, kept = (
                _cell(getattr(row, name), numbers and getattr(numbers, name)) for name in SUMMED
            )
            yield (
                places[row.name],
                f"{row.name} x {row.times}" if row.times != 1 else row.name,
                "" if row.inputs == above else feeding,
                output,
                f"{row.parameters:,}" if row.parameters else "-",
                "-" if row.weights is None else _cell(row.weights, None),
                "-" if row.field is None else row.field.short(),
                macs if row.kind in COUNTED else "-",
                kept,
            )
            above = (row.name,)

    def _notes(self) -> Iterator[str]:
        numbers = self.totals
        point = f"; numbers for {point_text(self.at)}" if self.at else ""
        if self.sizes.names:
            yield f"for {self.sizes}{point}"
        other = self.parameters - sum(row.parameters for row in self.rows)
        yield from self.notes
        unused = f", {other:,} of them unused by the layers above" if other else ""
        yield f"parameters: {self.parameters:,}{unused}"
        for name, heading in zip(SUMMED, ("MACs", "activation bytes"), strict=True):
            total = _whole_cell(getattr(self, name), numbers and getattr(numbers, name))
            yield f"{heading}: {total.replace('?', DIFFERS) if self.notes else total}"
        padded = "counted" if self.padded_taps else "left out"
        yield "field: pixels of the image that a neuron sees / pixels from it to the next neuron"
        yield f"A MAC is one multiply-accumulate; kernel elements on padding are {padded}."


HEADINGS = ("#", "layer", "from", "output", "parameters", "weights", "field", "MACs", "bytes")
WORDS = ("layer", "from", "output")
SUMMED = ("macs", "activation_bytes")
DIFFERS = "differs by size"  # a total without a formula
COUNTED = ("convolution", "product", "unknown")


def _cell(formula: Any, number: int | None) -> str:
    """A formula that is short enough to be read in a table, and its number."""
    text = _whole_cell(formula, None)
    text = f"{text[: LONG - 3]}..." if len(text) > LONG else text
    return text if number is None or isinstance(formula, int) else f"{text} = {number:,}"


def _whole_cell(formula: Any, number: int | None) -> str:
    text = "?" if formula is None else f"{formula:,}" if isinstance(formula, int) else str(formula)
    return text if number is None or isinstance(formula, int) else f"{text} = {number:,}"


def _plain(number: Any) -> int | str | None:
    """A number as it is; a formula or a fraction, such as 1/2, as text."""
    return number if number is None or isinstance(number, int) else str(number)
