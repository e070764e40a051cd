"""The memory that a compiled program takes: a schedule of a jaxpr with buffers that are freed.

A compiler computes elementwise operations, reshapes and broadcasts where their results are used. It
writes what it must: the results of convolutions, products, pools and reductions, what these read,
and what the program returns. Each of these has a buffer from the operation that writes it to the
last one that reads it, directly or through elementwise operations. What the program returns has one
from its start. :func:`jaxconv.jaxpr.resources.peak_bytes` is for a jaxpr that is evaluated equation
by equation, where each result is written.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxconv.compat import Jaxpr, JaxprEqn, Literal
from jaxconv.jaxpr.interpreter import FlowKind, control_flow, equations
from jaxconv.jaxpr.primitives import record_of
from jaxconv.jaxpr.primitives.registry import DEFAULT

# Of the operations that belong to the layer before them, those that read at other positions.
WRITTEN = frozenset(
    ("gather", "dynamic_slice", "dynamic_update_slice", "sort", "cumsum", "cumprod", "cummax")
)
RENAMED = frozenset(("reshape", "squeeze", "expand_dims", "copy", "name", "stop_gradient"))
# Of the map whose gradient a max pool computes: XLA finds each maximum by the numbers of its axes.
SCATTER_COPIES = 8


class FlatEquation(NamedTuple):
    """One equation of a jaxpr whose calls are inlined.

    Attributes:
        eqn: the equation.
        inputs: numbers of the values that it reads.
        outputs: numbers of its results.
    """

    eqn: JaxprEqn
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass
class FlatJaxpr:
    """A jaxpr as a list of equations, without calls.

    Attributes:
        equations: in the order of the jaxpr.
        sizes: bytes of each value, by its number.
        given: the numbers of arguments and constants, which have buffers of their own.
        returned: the numbers of the results.
    """

    equations: list[FlatEquation]
    sizes: list[int]
    given: set[int]
    returned: list[int]


def flattened(jaxpr: Jaxpr, bytes_of: Callable[[Any], int]) -> FlatJaxpr:
    """List the equations of a jaxpr, with those of its calls in their places.

    Args:
        jaxpr: the jaxpr.
        bytes_of: the bytes of a variable.
    """
    flat = FlatJaxpr([], [], set(), [])

    def new(variable: Any) -> int:
        flat.sizes.append(bytes_of(variable))
        return len(flat.sizes) - 1

    def walk(inner: Jaxpr, values: Sequence[int | None]) -> list[int | None]:
        numbers = dict(zip(inner.invars, values, strict=True))
        for const in inner.constvars:
            numbers[const] = new(const)
            flat.given.add(numbers[const])  # type: ignore[arg-type]

        def read(atom: Any) -> int | None:
            return None if isinstance(atom, Literal) else numbers[atom]

        for eqn in equations(inner, recursive=False):
            flow = control_flow(eqn)
            taken = [read(atom) for atom in eqn.invars]
            if flow is not None and flow.kind is FlowKind.CALL:
                body = flow.bodies[0]
                results = walk(body.jaxpr, [taken[i] for i in body.operands])
            else:
                results = [new(variable) for variable in eqn.outvars]
                inputs = tuple(one for one in taken if one is not None)
                flat.equations.append(FlatEquation(eqn, inputs, tuple(results)))
            numbers.update(zip(eqn.outvars, results, strict=True))
        return [read(atom) for atom in inner.outvars]

    arguments = [new(variable) for variable in jaxpr.invars]
    flat.given.update(arguments)
    flat.returned = [one for one in walk(jaxpr, arguments) if one is not None]
    return flat


def is_fused(eqn: JaxprEqn) -> bool:
    """Whether a compiler computes an operation where its result is used.

    Args:
        eqn: the equation.
    """
    record = record_of(eqn)
    name = eqn.primitive.name
    if record is DEFAULT or control_flow(eqn) is not None or name in WRITTEN:
        return False
    return not record.kind and not record.concatenates


def compiled_peak(jaxpr: Jaxpr, bytes_of: Callable[[Any], int]) -> int:
    """Estimate the bytes of a compiled program's buffers, without its arguments and constants.

    Args:
        jaxpr: of the program.
        bytes_of: the bytes of a variable, by which sizes may be formulas.
    """
    return BufferLiveness(flattened(jaxpr, bytes_of), bytes_of).peak()


class Step(NamedTuple):
    """An equation, and the buffers that it reads and writes."""

    equation: FlatEquation
    reads: frozenset[int]
    writes: list[int]


class Buffers:
    """The buffers that exist.

    Those of results exist from the start. Until a result is written, its buffer may have other
    values, as XLA arranges it.

    Attributes:
        alive: bytes of all of them.
    """

    def __init__(self, sizes: Sequence[int], results: dict[int, int]) -> None:
        """Make those of the results.

        Args:
            sizes: bytes of each value.
            results: for each result when it is written.
        """
        self._sizes, self._results = sizes, results
        self._idle, self._lent = set(results), dict[int, int]()
        self._own: dict[int, int] = {}
        self.alive = sum(sizes[value] for value in results)

    def add(self, value: int, until: int) -> None:
        """Find a place for a value.

        Args:
            value: its number.
            until: when it is read for the last time.
        """
        size = self._sizes[value]
        fitting = [one for one in self._idle if self._sizes[one] >= size]
        fitting = [one for one in fitting if self._results[one] >= until]
        if fitting:
            self._lent[value] = min(fitting, key=self._sizes.__getitem__)
            self._idle.remove(self._lent[value])
        else:
            self._own[value] = size
            self.alive += size

    def remove(self, value: int) -> None:
        """Give a place up; those of results and of arguments remain.

        Args:
            value: its number.
        """
        if value in self._lent:
            self._idle.add(self._lent.pop(value))
        self.alive -= self._own.pop(value, 0)

    def without_overwritten(self, ending: list[int], new: Sequence[int]) -> list[int]:
        """Give up the place of an operand that a result of its size overwrites.

        Args:
            ending: operands that are read for the last time.
            new: the results.

        Returns:
            The other operands.
        """
        for value in ending:
            if new and self._own.get(value) == self._sizes[new[0]]:
                self.remove(value)
                return [one for one in ending if one != value]
        return ending


class BufferLiveness:
    """Which values have buffers, and from when to when."""

    def __init__(self, flat: FlatJaxpr, bytes_of: Callable[[Any], int]) -> None:
        self.flat, self.bytes_of = flat, bytes_of
        self.alias: dict[int, int] = {}
        for one in flat.equations:
            if one.eqn.primitive.name in RENAMED and one.inputs:
                self.alias[one.outputs[0]] = self.alias.get(one.inputs[0], one.inputs[0])
        self.used = set(flat.returned)
        for one in reversed(flat.equations):
            if self.used & set(one.outputs):
                self.used.update(one.inputs)
        self.written = {self.named(value) for value in flat.returned}
        for one in flat.equations:
            if not (self.used & set(one.outputs)) or is_fused(one.eqn):
                continue
            self.written.update(one.outputs)
            if not reads_elementwise(one.eqn):
                self.written.update(map(self.named, one.inputs))
        self.written -= flat.given

    def named(self, value: int) -> int:
        """The value whose buffer a value has."""
        return self.alias.get(value, value)

    def peak(self) -> int:
        """Bytes of the buffers that exist at once, at most."""
        steps = self._steps()
        last = {value: at for at, step in enumerate(steps) for value in step.reads}
        returned = {*map(self.named, self.flat.returned)} - self.flat.given
        written_at = {v: at for at, step in enumerate(steps) for v in step.writes}
        buffers = Buffers(self.flat.sizes, {v: written_at[v] for v in returned})
        peak = buffers.alive
        for at, step in enumerate(steps):
            ending = [v for v in step.reads if last[v] == at]
            new = [v for v in step.writes if v not in returned]
            if is_fused(step.equation.eqn):  # it may overwrite an operand of its size
                ending = buffers.without_overwritten(ending, new)
            for value in new:
                buffers.add(value, last.get(value, at))
            peak = max(peak, buffers.alive + self.scratch(step.equation))
            for value in (*ending, *(v for v in new if v not in last)):
                buffers.remove(value)
        return peak

    def _steps(self) -> list["Step"]:
        """The operations that write a buffer, or only read some, in order."""
        roots: dict[int, frozenset[int]] = dict.fromkeys(self.flat.given, frozenset())
        steps = []
        for one in self.flat.equations:
            reads = frozenset[int]().union(*(roots[self.named(v)] for v in one.inputs))
            writes = [value for value in one.outputs if value in self.written]
            for value in one.outputs:
                roots[value] = frozenset([value]) if value in self.written else reads
            if self.used & {*one.outputs} and (writes or not is_fused(one.eqn)):
                steps.append(Step(one, reads, writes))
        return steps

    def scratch(self, one: FlatEquation) -> int:
        """Bytes that an operation needs beside its operands and results."""
        flow = control_flow(one.eqn)
        if flow is None:
            is_spread = one.eqn.primitive.name.startswith("select_and_scatter")
            return SCATTER_COPIES * self.flat.sizes[one.outputs[0]] if is_spread else 0
        return max((compiled_peak(body.jaxpr, self.bytes_of) for body in flow.bodies), default=0)


def reads_elementwise(eqn: JaxprEqn) -> bool:
    """Whether an operation that writes its result computes elementwise operands as it reads them.

    Args:
        eqn: the equation.
    """
    return record_of(eqn).kind == "reduction" or record_of(eqn).concatenates
