"""A jaxpr as a compiler sees it: one list of equations, without calls, names and repetitions."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jaxconv.compat import Jaxpr, JaxprEqn, Literal
from jaxconv.jaxpr.interpreter import FlowKind, control_flow, equations, shape_of
from jaxconv.jaxpr.primitives import record_of
from jaxconv.jaxpr.primitives.registry import DEFAULT

RENAMED = frozenset(("reshape", "squeeze", "expand_dims", "copy", "name", "stop_gradient"))
# Of the operations that belong to the layer before them, those that read at other positions.
WRITTEN = frozenset(
    ("gather", "dynamic_slice", "dynamic_update_slice", "sort", "cumsum", "cumprod", "cummax")
)


class FlatEquation(NamedTuple):
    """One equation of a jaxpr whose calls are inlined.

    Attributes:
        eqn: the equation.
        operands: numbers of the values that it reads; None for a literal.
        outputs: numbers of its results.
    """

    eqn: JaxprEqn
    operands: tuple[int | None, ...]
    outputs: tuple[int, ...]

    @property
    def inputs(self) -> list[int]:
        """Numbers of the values that it reads."""
        return [one for one in self.operands if one is not None]


def is_elementwise(eqn: JaxprEqn) -> bool:
    """Whether a compiler can compute each number of a result where it is used.

    Args:
        eqn: the equation.
    """
    record = record_of(eqn)
    if record is DEFAULT or control_flow(eqn) is not None:
        return False
    return not record.kind and eqn.primitive.name not in WRITTEN


class FlatJaxpr:
    """A jaxpr as a list of equations.

    What only renames or reshapes a value has the value's number. Equations that compute the same
    are one. A concatenation of concatenations is one, of all their parts.

    Attributes:
        equations: those that the results depend on, in the order of the jaxpr.
        sizes: bytes of each value, by its number.
        shapes: of each value.
        given: the numbers of arguments and constants, which have buffers of their own.
        returned: the numbers of the results.
    """

    def __init__(self, jaxpr: Jaxpr, bytes_of: Callable[[Any], int]) -> None:
        """List the equations.

        Args:
            jaxpr: the jaxpr.
            bytes_of: the bytes of a variable.
        """
        self.equations: list[FlatEquation] = []
        self.sizes: list[int] = []
        self.shapes: list[tuple[Any, ...]] = []
        self._bytes_of = bytes_of
        self._fused = set[int]()
        self._known: dict[Any, tuple[int, ...]] = {}
        self._parts: dict[Any, tuple[int | None, ...]] = {}
        arguments = [self._new(variable) for variable in jaxpr.invars]
        self.given = set(arguments)
        self.returned = {one for one in self._walk(jaxpr, arguments) if one is not None}
        self._remove_unused()

    def _new(self, variable: Any) -> int:
        return self.add(self._bytes_of(variable), tuple(shape_of(variable)))

    def add(self, size: int, shape: tuple[Any, ...] = ()) -> int:
        """Add a value.

        Args:
            size: its bytes.
            shape: if another value of this shape may overwrite it.

        Returns:
            Its number.
        """
        self.sizes.append(size)
        self.shapes.append(shape)
        return len(self.sizes) - 1

    def _walk(self, jaxpr: Jaxpr, values: Sequence[int | None]) -> list[int | None]:
        numbers = dict(zip(jaxpr.invars, values, strict=True))
        for const in jaxpr.constvars:
            numbers[const] = number = self._new(const)
            self.given.add(number)

        def read(atom: Any) -> int | None:
            return None if isinstance(atom, Literal) else numbers[atom]

        for eqn in equations(jaxpr, recursive=False):
            flow = control_flow(eqn)
            operands = tuple(read(atom) for atom in eqn.invars)
            if flow is not None and flow.kind is FlowKind.CALL:
                body = flow.bodies[0]
                results = self._walk(body.jaxpr, [operands[i] for i in body.operands])
            elif eqn.primitive.name in RENAMED and operands[0] is not None:
                results = [operands[0]]
                if operands[0] in self._fused:  # written in its last shape
                    self.shapes[operands[0]] = tuple(shape_of(eqn.outvars[0]))
            else:
                results = [*self._results(eqn, operands, repeats=flow is None)]
            numbers.update(zip(eqn.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _results(
        self, eqn: JaxprEqn, operands: tuple[int | None, ...], *, repeats: bool
    ) -> tuple[int, ...]:
        """The results of an equation, which is added unless an earlier one has computed them."""
        literals = [str(atom) for atom in eqn.invars if isinstance(atom, Literal)]
        key = (eqn.primitive.name, str(eqn.params), operands, *literals) if repeats else eqn
        if key in self._known:
            return self._known[key]
        self._known[key] = outputs = tuple(self._new(variable) for variable in eqn.outvars)
        if record_of(eqn).concatenates and outputs:
            axis = eqn.params.get("dimension")
            operands = sum((self._parts.get((one, axis), (one,)) for one in operands), ())
            self._parts[outputs[0], axis] = operands
        # Of a fused operation each result is computed where it is used.
        groups = [(one,) for one in outputs] if is_elementwise(eqn) else [outputs]
        self._fused.update(outputs if is_elementwise(eqn) else ())
        self.equations += [FlatEquation(eqn, operands, group) for group in groups]
        return outputs

    def _remove_unused(self) -> None:
        used, found = {*self.returned}, []
        for one in reversed(self.equations):
            if used.intersection(one.outputs):
                used.update(one.inputs)
                found.append(one)
        self.equations = found[::-1]
