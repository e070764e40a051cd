"""One run of a function for all sizes of a domain at once, and the comparisons it made.

A comparison that holds on the whole domain is True, one that holds nowhere is False. One that holds
on a part of it forks the run. The exception is an equality that JAX tests, which it does often and
only to take shortcuts: it is answered False and recorded (see :mod:`jaxconv.prover.explore`).
"""

import inspect
import math
import os
import time
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any, NamedTuple, NoReturn

import islpy as isl

from jaxconv.compat import Tracer, converts_length
from jaxconv.source import (
    CallSite,
    current_call_sites,
    file_of,
    frame_outside,
    has_returned,
    is_inside_jax,
    is_inside_numpy,
    origin,
)
from jaxconv.symbolic.equality import zeros
from jaxconv.symbolic.polynomials import Polynomial, PolynomialRing
from jaxconv.symbolic.sets import SizeSet, names_of


class Fork(BaseException):
    """A comparison holds on a part of the domain only: run once for each part.

    It is not an Exception, so that ``except Exception`` in the traced function does not catch it.
    """

    def __init__(self, condition: isl.Set) -> None:
        self.condition = condition
        super().__init__(str(condition))


class Restart(BaseException):
    """The code asked for a number: trace it again, with substitutes or with the turns of a loop.

    It is not an Exception, for the reason given at :class:`Fork`.
    """


class OutOfTime(BaseException):
    """The time for a proof is over.

    It is not an Exception, for the reason given at :class:`Fork`.
    """


class EmptyMap(BaseException):
    """A feature map is empty, which is all that a trace with numbers was to show.

    It is not an Exception, for the reason given at :class:`Fork`.
    """


class Undecided(TypeError):  # noqa: N818 - JAX expects a TypeError of a size that is not an int
    """A question about sizes that cannot be answered."""


class DeferredEquality(NamedTuple):
    """An equality that holds on a part of the domain and was answered False.

    Attributes:
        condition: the sizes for which it holds.
        site: the innermost instruction outside JAX that was running.
        difference: what is 0 where it holds.
    """

    condition: isl.Set
    site: CallSite
    difference: Polynomial


class Overflow(NamedTuple):
    """Sizes for which a number that JAX computes with may not fit its default integer type.

    Attributes:
        sizes: some of the sizes for which it does not.
        safe: sizes for which it does.
    """

    sizes: isl.Set
    safe: isl.Set


PACKAGE = str(Path(__file__).parent) + os.sep
SLOTS = 256  # of a set, in which the hash of a size has a place of its own


def caller() -> FrameType:
    """The innermost frame outside this package: who uses a size."""
    return frame_outside(PACKAGE)


def _is_library_of_arrays(frame: FrameType) -> bool:
    """Whether code belongs to JAX, or to this package, which replaces some functions of JAX."""
    file = file_of(frame)
    return is_inside_jax(file) or file.startswith(PACKAGE)


def comparison_site() -> tuple[CallSite, bool]:
    """Where a comparison was made.

    Returns:
        The innermost instruction outside JAX, and whether it compares the sizes itself, without a
        function of JAX in between.
    """
    frame = comparing = caller()
    while frame.f_back is not None and _is_library_of_arrays(frame):
        frame = frame.f_back
    return (frame.f_code, frame.f_lasti), frame is comparing


def _function_of_jax(frame: FrameType) -> FrameType:
    """The function of JAX that the code outside JAX called, on the way to a frame inside JAX."""
    while frame.f_back is not None and _is_library_of_arrays(frame.f_back):
        frame = frame.f_back
    return frame


PART_OF_FUNCTION = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")
MOST_WRAPPERS = 4  # of a function, that are looked into
HIDES_STATE = 0x20 | 0x80 | 0x100 | 0x200  # flags of generators and coroutines, which may be paused


def _helper_in(frame: FrameType) -> FunctionType | None:
    """The function that runs in a frame, where it may compute nothing but numbers from sizes."""
    while frame.f_code.co_name in PART_OF_FUNCTION and frame.f_back is not None:
        frame = frame.f_back
    code = frame.f_code
    if code.co_freevars or code.co_flags & HIDES_STATE or is_inside_jax(file_of(frame)):
        return None
    if any(isinstance(value, Tracer) for value in frame.f_locals.values()):
        return None
    first, *names = code.co_qualname.split(".")
    value = frame.f_globals.get(first)
    for name in names:
        value = inspect.getattr_static(value, name, None)
    for _ in range(MOST_WRAPPERS):  # such as a static method
        if isinstance(value, FunctionType) and value.__code__ is code:
            return value
        kept = (getattr(value, name, None) for name in ("__wrapped__", "__func__"))
        value = next((one for one in kept if one is not None), None)
    return None


@dataclass
class SymbolicTrace:
    """One run of a function: the sizes still considered, and the comparisons made on them.

    Attributes:
        domain: the sizes considered: the path condition of the run.
        searching: whether an order that holds in part raises :class:`Fork`.
        ring: the polynomials over the domain.
        deferred: equalities that hold on a part of the domain and were answered False, in the
            order in which they were tested.
        unknowns: equalities whose condition was known in part only, as sentences.
        array_sizes: by their formulas, sizes of the arrays that JAX made so far, each with the
            calls that led to the first array that has it, and the layer that was running.
        overflows: where numbers made of sizes may be too large; these sizes are to be confirmed.
        checks_overflow: whether the run forks on these instead.
        stop: why the run stopped, even if the code caught it: a Fork, Restart, OutOfTime, EmptyMap.
        unanswered: what was asked without an answer, even if the code caught the error.
        asked_in_jax: what JAX asked without an answer, and the function of JAX that was called.
        deferring: the conditions of equalities that JAX asked, and the function that was called.
        substituted: ids of the module dictionaries that have substitutes for int, float and NumPy.
        asks_for: the module dictionary that needs substitutes, where that stopped the run.
        counted_loops: where loops over sizes start whose turns are counted; None for all loops.
        asks_to_count: such a loop, where that stopped the run.
        keeps_keys: whether the code keeps sizes as keys of a container, which does not compare them
            with all numbers that the code looks up later.
        kept: these keys, and the containers.
        reverses_sets: whether sizes come in another order in sets than they do otherwise.
        hashed: in such a run, the sizes that were hashed, in the order of their first use.
        skips_turns: whether turns of a loop are being skipped.
        uses_numbers: whether the code asked for numbers, so that it may have made arrays of them.
        deadline: when the time is over, in seconds of the monotonic clock.
        case: the sizes of one case of a call, all of whose cases are computed at once.
        cases: the cases of such calls.
        joins_programs: whether the run may stand for sizes for which JAX runs different programs:
            arrays are broadcast for some of them, and functions of numbers have several cases.
        apart: the code of functions whose cases are not computed at once.
        asks_to_merge: a function whose cases may be, where that stopped the run.
        asks_to_keep_apart: a function whose cases cannot be, where that stopped the run.
        until_empty: whether the run may end where for each size some feature map is empty.
        left: the sizes for which no feature map is known to be empty.
        is_symbolic: what a size raises that JAX asks for its number, and that JAX expects.
    """

    domain: isl.Set
    searching: bool = True
    ring: PolynomialRing = field(init=False)
    deferred: list[DeferredEquality] = field(default_factory=list)
    unknowns: list[str] = field(default_factory=list)
    array_sizes: dict[Hashable, tuple[Any, list[CallSite], str]] = field(default_factory=dict)
    overflows: list[Overflow] = field(default_factory=list)
    checks_overflow: bool = False
    stop: BaseException | None = None
    unanswered: list[str] = field(default_factory=list)
    asked_in_jax: list[tuple[str, FrameType]] = field(default_factory=list)
    deferring: list[tuple[isl.Set, FrameType]] = field(default_factory=list)
    substituted: frozenset[int] = frozenset()
    asks_for: dict[str, Any] | None = None
    counted_loops: frozenset[CallSite] | None = frozenset()
    asks_to_count: CallSite | None = None
    keeps_keys: bool = False
    kept: list[tuple[Polynomial, Any]] = field(default_factory=list)
    reverses_sets: bool = False
    hashed: list[Polynomial] = field(default_factory=list)
    skips_turns: bool = False
    uses_numbers: bool = False
    deadline: float = math.inf
    case: isl.Set | None = None
    cases: list[isl.Set] = field(default_factory=list)
    joins_programs: bool = False
    apart: frozenset[CodeType] = frozenset()
    asks_to_merge: FunctionType | None = None
    asks_to_keep_apart: FunctionType | None = None
    until_empty: bool = False
    left: isl.Set = field(init=False)
    is_symbolic: TypeError = field(init=False)

    def __post_init__(self) -> None:
        self.ring = PolynomialRing(self.domain)
        self.left = self.domain
        self.is_symbolic = TypeError("a size is symbolic")  # to write its formula takes long

    def raise_symbolic(self) -> NoReturn:
        """Tell JAX that a size is not a number.

        JAX keeps the error in a variable of the frame that caught it, so that the two refer to each
        other. It is the same error each time, without the traceback that it had, for else the
        frames of all functions that have asked would be alive till Python looks for garbage.

        Raises:
            TypeError: always.
        """
        raise self.is_symbolic.with_traceback(None)

    def names(self) -> tuple[str, ...]:
        """Names of the sizes."""
        return names_of(self.domain)

    def settle(self, condition: isl.Set, difference: Polynomial | None = None) -> bool:
        """Decide a condition, or record it if it is an equality, or fork on it.

        Args:
            condition: the sizes for which it holds.
            difference: for an equality, what is 0 where it holds; None for an order.

        Returns:
            Whether it holds on the domain; False for an equality that is remembered.

        Raises:
            Fork: it holds on a part of the domain, and the run searches.
            Undecided: it holds on a part of the domain, and the run does not search.
        """
        self.stop_in_time()
        decided = self.ring.decides(condition)
        if decided is None and self.case is not None:
            decided = True if self.case.is_subset(condition) else None
            decided = False if self.case.is_disjoint(condition) else decided
        if decided is not None:
            return decided
        site, is_branch = comparison_site()
        if difference is not None and not (is_branch and self.searching):
            self.deferred.append(DeferredEquality(condition, site, difference))
            if self.searching:
                self.deferring.append((condition, _function_of_jax(caller())))
            return False
        if self.searching:
            self._ask_to_merge()
            self.stop_with(Fork(condition))
        holds = SizeSet(self.domain.intersect(condition))
        raise self.undecided(
            f"The comparison holds for {holds} only. Fix: narrow the sizes with where=, or let "
            "jaxconv.check try both cases."
        )

    def _ask_to_merge(self) -> None:
        """Stop, to trace all cases at once of the function that compares, if it may be possible."""
        is_open = self.joins_programs and self.case is None
        helper = _helper_in(caller()) if is_open else None
        if helper is not None and helper.__code__ not in self.apart:
            self.asks_to_merge = helper
            self.stop_with(Restart())

    def keep_cases_apart(self, function: FunctionType) -> NoReturn:
        """Stop, to trace a function whose cases have no common result with one case at a time.

        Args:
            function: the function.

        Raises:
            Restart: always.
        """
        self.asks_to_keep_apart = function
        self.stop_with(Restart())

    def to_confirm(self) -> list[isl.Set]:
        """Sets of sizes of which each is to be confirmed with numbers at a point."""
        return [*self.cases, *(equality.condition for equality in self.deferred)]

    def forget_equalities(self) -> None:
        """Forget the equalities that the running operation asked: it fails where they hold, too."""
        site, _ = comparison_site()
        self.deferred = [one for one in self.deferred if one.site != site]

    def stop_in_time(self) -> None:
        """Stop a run that searches where the time is over.

        Raises:
            OutOfTime: it is.
        """
        if time.monotonic() > self.deadline and self.searching:
            self.stop_with(OutOfTime())

    def stop_with(self, stop: "Fork | Restart | OutOfTime | EmptyMap") -> NoReturn:
        """Stop the run.

        Args:
            stop: what to raise; it is remembered, since a bare ``except`` may catch it.

        Raises:
            BaseException: always.
        """
        self.stop = stop
        raise stop

    def leave(self, points: isl.Set) -> None:
        """Note where a feature map is not empty.

        Args:
            points: the sizes for which it is not; the same object for the same question.

        Raises:
            EmptyMap: no size is left, for which none is.
        """

        def shrink() -> None:
            self.left = self.left.intersect(points)
            if self.left.is_empty():
                self.stop_with(EmptyMap())

        if not self.ring.decides(points):
            self.ring.once(("left", id(points)), shrink)

    def ask_for_substitutes(self) -> None:
        """Note that code outside JAX asks for a number, and stop for substitutes the first time.

        With them ``int(h / 2)`` and ``np.arange(h)`` need no number.

        Raises:
            Restart: the module that asks has no substitutes yet, and the run searches.
        """
        frame = caller()
        while is_inside_numpy(file_of(frame)) and frame.f_back is not None:
            frame = frame.f_back
        if is_inside_jax(file_of(frame)) and not converts_length(frame.f_code):
            return
        self.uses_numbers = True
        if self.searching and id(frame.f_globals) not in self.substituted:
            self.asks_for = frame.f_globals
            self.stop_with(Restart())

    def keep(self, key: Polynomial, container: Any) -> None:
        """Note that a container keeps a size as a key.

        Args:
            key: the formula of the size.
            container: the container; None where it is not known.
        """
        self.keeps_keys = True
        if container is not None:
            self.kept.append((key, container))

    def hash_of(self, size: Polynomial) -> int:
        """Return the hash of a size that is none of the numbers beside it.

        It is the same for all sizes, so that a set compares them, and comes before numbers in sets.
        In a run that reverses sets, sizes that differ come last, the first of them at the end.

        Args:
            size: the formula of the size.

        Returns:
            A hash of its own for each run.
        """
        base = id(self) * SLOTS
        if not self.reverses_sets:
            return base
        for place, other in enumerate(self.hashed):
            points, _ = zeros(size - other)
            if self.ring.decides(points):
                return base + SLOTS - 1 - place
        self.hashed.append(size)
        return base + SLOTS - len(self.hashed)

    def _fork_on_keys(self) -> None:
        """Fork where a size that a container keeps equals a number that it keeps."""
        for key, container in self.kept:
            for number in (one for one in tuple(container) if type(one) is int):
                points, exact = zeros(key - self.ring.number(number))
                if not exact:
                    self.unanswered.append(f"whether {key}, which is a key, is {number}")
                elif self.ring.decides(points) is None and self.stop is None:
                    self.stop = Fork(points)

    def count_turns(self, loop: CallSite) -> NoReturn:
        """Stop, to trace a loop over a size with as many turns as it has.

        Args:
            loop: where it starts.

        Raises:
            Restart: always.
        """
        self.asks_to_count = loop
        self.stop_with(Restart())

    def undecided(self, question: str) -> Undecided:
        """Make the error for a question that cannot be answered.

        The code may catch it, and continue without an answer, so the question is recorded. If
        JAX asks, it may catch the error itself: this is known when its function has ended.

        Args:
            question: what was asked, as a clause.

        Returns:
            The error to raise.
        """
        line = str(origin(current_call_sites()))
        question = f"{question}, at {line}" if line else question
        frame = caller()
        if is_inside_jax(file_of(frame)):
            self.asked_in_jax.append((question, _function_of_jax(frame)))
        else:
            self.unanswered.append(question)
        return Undecided(question)

    def finish(self, error: BaseException | None = None) -> None:
        """End the run: sizes that the code keeps ask nothing more.

        What was asked inside JAX is unanswered where the function of JAX did not return, unless it
        went on without an answer, and then raised the error of the run. An equality that JAX asked
        before it raised an error that the code caught was a branch of the code: it forks the run.

        Args:
            error: what the run raised; None where it returned.
        """
        self.searching = False
        self.is_symbolic.__traceback__ = None
        raised: set[FrameType] = set()
        traceback = None if error is None else error.__traceback__
        while traceback is not None:
            raised.add(traceback.tb_frame)
            traceback = traceback.tb_next

        def is_caught(frame: FrameType) -> bool:
            return frame not in raised and not has_returned(frame)

        asked = self.asked_in_jax
        self.unanswered += [question for question, frame in asked if is_caught(frame)]
        branches = (condition for condition, frame in self.deferring if is_caught(frame))
        if self.stop is None and (condition := next(branches, None)) is not None:
            self.stop = Fork(condition)
        self._fork_on_keys()
        self.kept.clear()
        self.asked_in_jax.clear()  # the frames hold values of the run
        self.deferring.clear()
