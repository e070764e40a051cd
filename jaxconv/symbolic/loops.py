"""Loops whose number of turns is a size: ``for i in range(h // 8)``, ``for row in x``.

The first turn runs as it is. Another one runs for all turns that follow, with an index of which
only is known that it is not the first, and a last one after that. If this one finds and leaves
everything that the code refers to alike, up to the values of arrays, then so do all that follow,
and the loop ends. If it does not, or if the code asks for the index, the loop is traced again
with as many turns as it has, size by size.
"""

import ast
import dis
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

from jaxconv import compat
from jaxconv.source import CallSite, file_of, is_inside_jax, loop_statement
from jaxconv.symbolic.heap import UnknownStateError, state_of
from jaxconv.symbolic.real import OpaqueInt, Symbolic, SymbolicInt, number_of
from jaxconv.symbolic.size import Size, larger
from jaxconv.symbolic.trace import HIDES_STATE, SymbolicTrace, caller


class LoopIndex(OpaqueInt):
    """The number of a turn of a loop, which stands for all turns after the first one."""

    __slots__ = ("loop",)

    def __init__(self, trace: SymbolicTrace, loop: CallSite) -> None:
        super().__init__(trace, _index, (), None)
        self.loop = loop
        self.sign, self.varies = 1, True

    def number(self) -> int:
        """Trace the loop again by value.

        Raises:
            Restart: always.
        """
        self.trace.count_turns(self.loop)

    def formula(self) -> str:
        """The text of the index."""
        return "the index of a loop"


def _index() -> int:
    """What an index would be computed by: :meth:`LoopIndex.number` is asked in its place."""
    raise NotImplementedError("the index of all turns of a loop is not one number")


class SizeRange:
    """What ``range`` makes of sizes."""

    def __init__(self, *arguments: Any) -> None:
        start, stop, step = (0, *arguments, 1) if len(arguments) == 1 else (*arguments, 1)[:3]
        if isinstance(step, Symbolic):
            step = step.number()
        if step == 0:
            raise ValueError("range() arg 3 must not be zero")
        self.start, self.stop, self.step = start, stop, step
        count = -((stop - start) // -step)  # rounded up
        self.count = larger(count, 0)

    def numbers(self) -> Sequence[Any]:
        """All its numbers, which may be sizes, for each value of their count."""
        return [self.start + i * self.step for i in range(number_of(self.count))]

    def __iter__(self) -> Iterator[Any]:
        def item(index: LoopIndex | int) -> Any:
            return index if (self.start, self.step) == (0, 1) else self.start + index * self.step

        return turns(self.count, item) or iter(self.numbers())

    def __len__(self) -> int:
        return number_of(self.count)

    def __getitem__(self, index: Any) -> Any:
        return self.numbers()[index]

    def __contains__(self, value: object) -> bool:
        return value in self.numbers()

    def __reversed__(self) -> Iterator[Any]:
        return reversed(self.numbers())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, range | SizeRange) and [*self] == [*other]

    def __hash__(self) -> int:
        return hash(tuple(self.numbers()))


def rows(original: Callable[..., Any], array: Any) -> Any:
    """Iterate over the rows of an array, as many as a size.

    Args:
        original: what JAX does for a number of rows.
        array: the array.

    Returns:
        The rows.
    """
    count = array.shape[0] if array.ndim else 0
    if not isinstance(count, SymbolicInt):
        return original(array)
    from jax import lax

    def row(_: Any) -> Any:
        return lax.index_in_dim(array, 0, keepdims=False)  # all rows are alike

    found = turns(count, row)
    return found or (lax.index_in_dim(array, i, keepdims=False) for i in range(count.number()))


def turns(count: Any, item: Callable[[LoopIndex | int], Any]) -> Iterator[Any] | None:
    """Make the items of a ``for`` statement that runs, as many as a size.

    Args:
        count: how many.
        item: makes the item of a turn.

    Returns:
        The items; None where something else than the statement may take them, or where they have
        to be counted.
    """
    frame = caller()
    while frame.f_back is not None and is_inside_jax(file_of(frame)):
        frame = frame.f_back
    loop = (frame.f_code, frame.f_lasti)
    if not isinstance(count, Size) or not count.trace.searching:
        return None
    if count.trace.counted_loops is None or loop in count.trace.counted_loops:
        return None
    if dis.opname[frame.f_code.co_code[frame.f_lasti]] != "GET_ITER":
        return None  # enumerate, zip or list count the items
    statement = None if frame.f_code.co_flags & HIDES_STATE else loop_statement(*loop, ast.For)
    return statement and _turns(count, item, frame, loop)


def _turns(
    count: Size, item: Callable[[LoopIndex | int], Any], frame: FrameType, loop: CallSite
) -> Iterator[Any]:
    trace, statement = count.trace, loop_statement(*loop, ast.For)
    assert statement is not None
    if not count > 0:
        return
    yield item(0)
    states = []
    for turn in (1, 2):
        if not count > turn:
            return
        yield item(LoopIndex(trace, loop))
        try:
            states.append(state_of(frame, statement))
        except UnknownStateError:
            trace.count_turns(loop)
    if states[0] != states[1]:
        trace.count_turns(loop)


compat.register_number(LoopIndex, int)
