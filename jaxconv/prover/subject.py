"""What is checked: a function, its arguments, and one trace of it."""

import contextlib
import gc
import inspect
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxconv.adapters.adapter import is_array
from jaxconv.adapters.call import is_spec, library_contexts
from jaxconv.compat import (
    ClosedJaxpr,
    are_of_one_trace,
    padding_by_sizes,
    release,
    remembered_signatures,
    symbolic_dimensions,
    whole_tracebacks,
)
from jaxconv.prover.results import merge_results, split_results
from jaxconv.prover.returns import dtype_of
from jaxconv.prover.state import State
from jaxconv.source import CallSite, Origin, is_inside_library
from jaxconv.symbolic.merging import merged_cases
from jaxconv.symbolic.replacements import functions_that_take_sizes
from jaxconv.symbolic.reshapes import checked_reshapes
from jaxconv.symbolic.sets import bounded
from jaxconv.symbolic.size import Size, at_least_one, sizes_of
from jaxconv.symbolic.substitutes import limited, substituted
from jaxconv.symbolic.trace import (
    EmptyMap,
    Fork,
    OutOfTime,
    Restart,
    SymbolicTrace,
    Undecided,
)
from jaxconv.symbolic.windows import observed_windows

LARGEST_CONSTANT = 512  # in the code, which is tried as a size
TRACE_OPERATIONS = 20_000_000  # of isl in one trace, after which the trace is given up
YOUNG_OBJECTS = 500_000  # made in a trace, after which Python looks for garbage among them


class Traced(NamedTuple):
    """What a finished trace shows.

    Attributes:
        closed: the jaxpr.
        result: a tree of ShapeDtypeStructs in the structure of the result.
        ended_early: whether the run ended where for each size some feature map is empty.
    """

    closed: ClosedJaxpr
    result: Any
    ended_early: bool = False

    @property
    def shapes(self) -> Any:
        """The shapes returned, tuples in the structure of the result.

        They are a dict by path where a container of the result takes nothing but arrays.
        """

        def shape(leaf: Any) -> Any:
            return tuple(leaf.shape) if is_array(leaf) else leaf

        try:
            return jax.tree.map(shape, self.result)
        except Exception:  # of a constructor of the user's or a library's
            leaves = jax.tree_util.tree_leaves_with_path(self.result)
            return {jax.tree_util.keystr(path).lstrip("."): shape(leaf) for path, leaf in leaves}


@dataclass
class Subject:
    """A function to check.

    Attributes:
        fn: the function, pure.
        origin: the line where the user defined it.
        arguments: its arguments, a tree with specs in the place of arrays.
        returns: a tree of specs of what it must return; None where anything will do.
        notes: what a verdict says of how the function is called.
        traces: how often it was traced.
        swept: at how many points more than others an irregular function was to be traced.
        substituted: dictionaries of modules that apply int, float, math or NumPy to sizes.
        counted_loops: where loops over sizes start whose turns are counted; None for all loops.
        helpers: functions that compute numbers from sizes, all of whose cases are traced at once.
        apart: the code of those whose cases have no common result.
        joins_programs: whether a trace may stand for sizes for which JAX runs different programs.
        checks_overflow: whether numbers that do not fit in 32 bits are errors.
        is_irregular: whether numbers once did otherwise than formulas, for no known reason.
        uses_numbers: whether its code asked for numbers, so that it may have made arrays of them.
        uses_chance: whether a call draws random numbers of Python's or NumPy's.
        changes_state: whether a call changes what the function keeps between calls.
        keeps_state: whether it is left so.
        deadline: when no trace begins any more, in seconds of the monotonic clock.
        ends_early: whether a run may end where some feature map is empty for each of its sizes.
    """

    fn: Callable[..., Any]
    origin: Origin
    arguments: Any
    returns: Any
    notes: list[str] = field(default_factory=list)
    traces: int = 0
    swept: int = 0
    substituted: list[dict[str, Any]] = field(default_factory=list)
    counted_loops: set[CallSite] | None = field(default_factory=set)
    helpers: list[FunctionType] = field(default_factory=list)
    apart: set[CodeType] = field(default_factory=set)
    joins_programs: bool = True
    checks_overflow: bool = False
    is_irregular: bool = False
    uses_numbers: bool = False
    uses_chance: bool = False
    changes_state: bool = False
    keeps_state: bool = False
    ends_early: bool = True
    deadline: float = math.inf

    def __post_init__(self) -> None:
        self._state = State(self.fn)
        code = inspect.unwrap(getattr(self.fn, "__func__", self.fn))
        module = getattr(code, "__globals__", None)
        if module is not None and not is_inside_library(code.__code__.co_filename):
            self.substituted.append(module)

    def check_time(self) -> None:
        """Stop where the time for a proof is over.

        Raises:
            OutOfTime: it is.
        """
        if time.monotonic() > self.deadline:
            raise OutOfTime

    def constants(self) -> tuple[int, ...]:
        """The numbers in the code of the function, which may be special sizes."""
        code = getattr(inspect.unwrap(getattr(self.fn, "__func__", self.fn)), "__code__", None)
        return tuple(sorted({*_constants(code)})) if code is not None else ()

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
            Restart: the function needs substitutes, which the next trace has.
            OutOfTime: the time for the proof is over.
            EmptyMap: some feature map is empty for each size, and the function caught it.
            Undecided: the function asked what cannot be answered, also where it caught the error.
        """
        self.check_time()
        self.traces += 1
        trace.substituted = frozenset(map(id, self.substituted))
        trace.checks_overflow = self.checks_overflow
        trace.joins_programs, trace.apart = self.joins_programs, frozenset(self.apart)
        trace.counted_loops = None if self.counted_loops is None else frozenset(self.counted_loops)
        sizes = sizes_of(trace)
        leaves, tree = jax.tree.flatten(self.arguments, is_leaf=is_spec)
        shapes = [
            jax.ShapeDtypeStruct(leaf.shape(sizes), dtype_of(leaf)) if is_spec(leaf) else leaf
            for leaf in leaves
        ]
        run, chance = _Run(self.fn, tree, trace, self._state), _state_of_chance()
        try:
            with contextlib.ExitStack() as stack:
                # First, as threads take turns in it: what follows replaces functions of JAX.
                stack.enter_context(bounded(TRACE_OPERATIONS))
                stack.enter_context(seldom_collected())
                stack.enter_context(remembered_signatures())
                stack.enter_context(whole_tracebacks())
                stack.enter_context(library_contexts())
                if trace.until_empty:
                    stack.enter_context(observed_windows(run.end_if_empty))
                if any(isinstance(size, Size) for size in sizes.values()):
                    # Numbers are traced with JAX and Python as they are, but for large arrays.
                    stack.enter_context(functions_that_take_sizes())
                    stack.enter_context(symbolic_dimensions())
                    stack.enter_context(padding_by_sizes())
                    stack.enter_context(checked_reshapes())
                    stack.enter_context(substituted(self.substituted))
                    stack.enter_context(merged_cases(self.helpers, trace))
                else:
                    stack.enter_context(limited(self.substituted, trace))
                closed, arrays = jax.make_jaxpr(run.call, return_shape=True)(*shapes)
                traced = Traced(closed, merge_results(arrays, *run.result), run.ended_early)
        except BaseException as error:
            release(run.inputs)
            trace.finish(error)
            if isinstance(error, Exception | Fork | Restart | OutOfTime | EmptyMap):
                self._raise_unanswered(trace)
            raise  # an interrupt is raised as it is
        finally:
            if not isinstance(trace.stop, Restart):  # with substitutes it may need no number
                self.uses_numbers |= trace.uses_numbers
            self.uses_chance |= _state_of_chance() != chance
            self.is_irregular |= trace.keeps_keys
            if not self.keeps_state:
                self.changes_state |= self._state.restore()
        trace.finish()
        self._raise_unanswered(trace)
        return traced

    def keep_apart(self, *codes: CodeType) -> None:
        """Trace the cases of some functions one at a time.

        Args:
            *codes: the code of the functions.
        """
        self.apart.update(codes)
        self.helpers = [one for one in self.helpers if one.__code__ not in codes]

    @contextlib.contextmanager
    def keeping_state(self) -> Iterator[None]:
        """Let calls find what the calls before them have left, as the user's own calls do."""
        self.keeps_state = True
        try:
            yield
        finally:
            self.keeps_state = False
            self._state.restore()

    def restore(self) -> None:
        """Give what the function refers to the state that it had, after a trace of one's own."""
        self._state.restore()

    def _raise_unanswered(self, trace: SymbolicTrace) -> None:
        """Raise what stopped the trace, or its first Undecided, even if the function caught it."""
        if isinstance(trace.stop, Restart) and trace.asks_for is not None:
            self.substituted.append(trace.asks_for)
        helper: Any = trace.asks_to_merge
        if helper is not None:
            self.helpers.append(helper)
        if trace.asks_to_keep_apart is not None:
            self.keep_apart(trace.asks_to_keep_apart.__code__)
        if trace.asks_to_count is not None and self.counted_loops is not None:
            self.counted_loops.add(trace.asks_to_count)
        if trace.stop is not None:
            raise trace.stop
        if trace.unanswered:
            raise Undecided(trace.unanswered[0])


def _state_of_chance() -> tuple[Any, ...]:
    """The states of the generators of random numbers that all code shares."""
    of_numpy: Any = np.random.get_state()  # noqa: NPY002 - it is the one that all code shares
    _, keys, *position = of_numpy
    return random.getstate(), keys.tobytes(), *position


class _Run:
    """One call of a function with what JAX traces, and what it returns beside arrays."""

    def __init__(
        self, fn: Callable[..., Any], tree: Any, trace: SymbolicTrace, state: State
    ) -> None:
        self.fn, self.tree, self.trace, self.state = fn, tree, trace, state
        self.inputs: tuple[Any, ...] = ()
        self.result: tuple[Any, ...] = ()
        self.last_window: Any = None
        self.ended_early = False

    def call(self, *values: Any) -> list[Any]:
        """Call the function, and return the arrays of its result."""
        self.inputs = values
        self.state.open()
        try:
            returned = self.fn(*jax.tree.unflatten(self.tree, values))
        except EmptyMap:  # what was traced so far shows for each size that it fails
            self.trace.stop, self.ended_early = None, True
            returned = self.last_window
        leaves, *structure = jax.tree.flatten(returned)
        arrays, others = split_results(leaves)
        self.result = (*structure, others)
        return arrays

    def end_if_empty(self, window: Any) -> None:
        """End the run where for each of its sizes some window has computed an empty map.

        What an inner trace computes, such as that of jax.eval_shape, may be no part of the result.
        What a window computes is not taken for padding, which may be empty.
        """
        if not any(are_of_one_trace(window, one) for one in self.inputs):
            return
        self.last_window = window
        for side in window.shape:
            with contextlib.suppress(Undecided):  # then it goes on with all sizes
                self.trace.leave(at_least_one(self.trace, side))


def _constants(code: CodeType) -> Iterator[int]:
    for value in code.co_consts:
        for each in value if isinstance(value, tuple | frozenset) else (value,):
            if isinstance(each, int | float) and 1 <= each <= LARGEST_CONSTANT:
                yield int(each)
            elif isinstance(each, CodeType):
                yield from _constants(each)


@contextlib.contextmanager
def seldom_collected() -> Iterator[None]:
    """Let Python look for garbage less often: a trace makes many objects, and keeps most of them.

    By default it looks at all of them again and again, a fifth of the time of a large network.
    """
    before = gc.get_threshold()
    gc.set_threshold(before[0] and max(before[0], YOUNG_OBJECTS), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
