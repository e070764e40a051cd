"""What is checked: a function, its arguments, and one trace of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from jaxconv.compat import ClosedJaxpr
from jaxconv.prover.returns import dtype_of, is_spec
from jaxconv.source import Origin
from jaxconv.symbolic.sets import bounded
from jaxconv.symbolic.size import sizes_of
from jaxconv.symbolic.specs import Spec
from jaxconv.symbolic.trace import Fork, SymbolicTrace, Undecided

TRACE_OPERATIONS = 5_000_000  # of isl in one trace, after which the trace is given up


class Traced(NamedTuple):
    """What a finished trace shows.

    Attributes:
        closed: the jaxpr.
        result: a tree of ShapeDtypeStructs in the structure of the result.
    """

    closed: ClosedJaxpr
    result: Any

    @property
    def shapes(self) -> Any:
        """The shapes returned, tuples in the structure of the result."""
        return jax.tree.map(lambda leaf: tuple(leaf.shape), self.result)


@dataclass
class Subject:
    """A function to check.

    Attributes:
        fn: the function, pure.
        origin: the line where the user defined it.
        arguments: its arguments, a tree with specs in the place of arrays.
        returns: a tree of specs of what it must return; None where anything will do.
        traces: how often it was traced.
    """

    fn: Callable[..., Any]
    origin: Origin
    arguments: Any
    returns: Any
    traces: int = 0

    def trace(self, trace: SymbolicTrace) -> Traced:
        """Trace the function once.

        An exit of the interpreter, such as KeyboardInterrupt, is never replaced by another error.

        Args:
            trace: the run; it remembers what was asked about the sizes.

        Returns:
            What the finished trace shows.

        Raises:
            Fork: the function compared sizes with a result that differs within the domain, also
                where it caught the Fork and went on without an answer.
            Undecided: the function asked what cannot be answered, also where it caught the error.
        """
        self.traces += 1
        sizes = sizes_of(trace)
        leaves, tree = jax.tree.flatten(self.arguments, is_leaf=is_spec)
        varying = [
            jax.ShapeDtypeStruct(leaf.shape(sizes), dtype_of(leaf)) if is_spec(leaf) else leaf
            for leaf in leaves
            if _varies(leaf)
        ]

        def call(*values: Any) -> Any:
            remaining = iter(values)
            arguments = [next(remaining) if _varies(leaf) else leaf for leaf in leaves]
            return self.fn(*jax.tree.unflatten(tree, arguments))

        try:
            with bounded(TRACE_OPERATIONS):
                traced = Traced(*jax.make_jaxpr(call, return_shape=True)(*varying))
        except (Exception, Fork):
            _raise_unanswered(trace)
            raise
        _raise_unanswered(trace)
        return traced


def _raise_unanswered(trace: SymbolicTrace) -> None:
    """Raise the first Fork or Undecided of the trace, even if the function caught it."""
    if trace.fork is not None:
        raise Fork(trace.fork)
    if trace.unanswered:
        raise Undecided(trace.unanswered[0])


def _varies(leaf: Any) -> bool:
    """Whether a leaf of the arguments is traced, unlike an activation in a model."""
    return isinstance(leaf, Spec | bool | int | float | complex) or hasattr(leaf, "dtype")
