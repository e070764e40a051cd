"""One equation of a trace, and what its operands see of the image: what the rules work with."""

import functools
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, Protocol, runtime_checkable

import jax

from jaxconv.compat import JaxprEqn, Literal
from jaxconv.jaxpr.axis_field import AxisField, Field, Fields, aligned, changed, joined

Substitute = Callable[[Any], Any]  # rewrites a size of a trace so that it can be computed with
Known = Mapping[Any, Callable[[], Any] | None]
LARGEST = 1 << 22  # numbers of a constant that is computed


@runtime_checkable
class Home(Protocol):
    """What carries fields through the equations.

    Attributes:
        substitute: rewrites sizes of the trace so that they can be computed with.
    """

    substitute: Substitute

    def shape(self, atom: Any) -> tuple[Any, ...]:
        """The shape of a value."""
        ...


class Step:
    """One equation, and what its operands see."""

    def __init__(
        self,
        home: Home,
        eqn: JaxprEqn,
        fields: Fields,
        known: Known,
    ) -> None:
        self.home, self.eqn, self.fields, self.known = home, eqn, fields, known
        self.shapes = [home.shape(atom) for atom in eqn.invars]
        self.params = eqn.params

    def out(self) -> tuple[Any, ...]:
        """The shape of the first result."""
        return self.home.shape(self.eqn.outvars[0])

    def size(self, name: str) -> list[Any]:
        """A parameter that is a list of sizes."""
        return [self.home.substitute(size) for size in self.params[name]]

    def axes(self, name: str) -> tuple[int, ...]:
        """A parameter that is a list of axes."""
        return tuple(map(int, self.params[name]))

    def anything(self, exact: bool = False) -> Field:
        """Every neuron sees what any operand sees."""
        return joined([self.flat(index, exact) for index in self.seeing()], self.out())

    def flat(self, index: int, exact: bool) -> Field:
        """What all neurons of an operand see together."""
        found = self.fields[index]
        assert found is not None
        every = (axis_field.collapse_in(self.shapes[index], exact) for axis_field in found)
        return tuple(every if exact else map(AxisField.loose, every))

    def seeing(self) -> list[int]:
        """Which operands see something of the image."""
        return [index for index, field in enumerate(self.fields) if field is not None]

    def joined(self) -> Field:
        """Each neuron sees what those in its place see; a scalar is the same in every place."""
        out = self.out()
        same = (
            field if len(self.shapes[index]) == len(out) else self.flat(index, True)
            for index, field in enumerate(self.fields)
            if field is not None
        )
        return joined([*same], out)

    def mapped(self, change: Callable[[AxisField, int], AxisField], result: int = 0) -> Field:
        """Change each reach of the first operand, given its axis; what sees all stays."""
        if self.fields[0] is None or any(self.fields[1:]):
            return self.anything()
        return self.moved(0, change, result)

    def moved(
        self, index: int, change: Callable[[AxisField, int], AxisField], result: int = 0
    ) -> Field:
        """Change each reach of any operand; what comes out has the shape of one of the results."""
        found, shape = self.fields[index], self.shapes[index]
        assert found is not None
        out = self.home.shape(self.eqn.outvars[result])
        return aligned(tuple(changed(axis_field, change, shape, out) for axis_field in found))

    def is_constant(self, atom: Any) -> bool:
        """Whether an operand rests on no input and no weights."""
        return isinstance(atom, Literal) or atom in self.known

    def constant(self, atom: Any) -> Callable[[], Any] | None:
        """A function that computes an operand, if it is a constant that can be computed."""
        if isinstance(atom, Literal):
            return lambda: atom.val
        return self.known.get(atom)

    def constants(self) -> dict[Any, Callable[[], Any] | None]:
        """Functions that compute the results, where they rest on constants alone.

        A barrier stands before what is not known while tracing, such as the number of a size.
        """
        if not all(map(self.is_constant, self.eqn.invars)):
            return {}
        computed = [self.constant(atom) for atom in self.eqn.invars]
        shapes = [getattr(var.aval, "shape", ()) for var in self.eqn.outvars]
        small = all(all(isinstance(n, int) for n in s) and prod(s) <= LARGEST for s in shapes)
        hidden = self.eqn.effects or self.eqn.primitive.name == "optimization_barrier"
        if None in computed or not small or hidden:
            return dict.fromkeys(self.eqn.outvars)

        @functools.cache
        def results() -> Sequence[Any]:
            with jax.ensure_compile_time_eval():
                params = self.eqn.primitive.get_bind_params(self.params)
                found = self.eqn.primitive.bind(*(c() for c in computed if c), **params)
            return found if self.eqn.primitive.multiple_results else [found]

        number = enumerate(self.eqn.outvars)
        return {var: functools.partial(_nth, results, index) for index, var in number}


def _nth(results: Callable[[], Sequence[Any]], index: int) -> Any:
    return results()[index]
