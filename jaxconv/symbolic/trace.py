"""One run of a function for all sizes of a domain at once, and the comparisons it made.

A comparison that holds on the whole domain is True, one that holds nowhere is False. One that holds
on a part of it forks the run. The exception is an equality that JAX tests, which it does often and
only to take shortcuts: it is answered False and recorded (see :mod:`jaxconv.prover.explore`).
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import islpy as isl

from jaxconv.source import CallSite, frame_outside, is_inside_jax
from jaxconv.symbolic.polynomials import Polynomial, PolynomialRing
from jaxconv.symbolic.sets import SizeSet, names_of


class Fork(BaseException):
    """A comparison holds on a part of the domain only: run once for each part.

    It is not an Exception, so that ``except Exception`` in the traced function does not catch it.
    """

    def __init__(self, condition: isl.Set) -> None:
        self.condition = condition
        super().__init__(str(condition))


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


PACKAGE = str(Path(__file__).parent) + os.sep


def caller() -> FrameType:
    """The innermost frame outside this package: who uses a size."""
    return frame_outside(PACKAGE)


def comparison_site() -> tuple[CallSite, bool]:
    """Where a comparison was made.

    Returns:
        The innermost instruction outside JAX, and whether it compares the sizes itself, without a
        function of JAX in between.
    """
    frame = comparing = caller()
    while frame.f_back is not None and is_inside_jax(frame.f_code.co_filename):
        frame = frame.f_back
    return (frame.f_code, frame.f_lasti), frame is comparing


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
        array_sizes: sizes of the arrays that JAX made so far, and the calls that led there.
        fork: the condition that the run stopped at, even if the code caught the Fork.
        unanswered: what code outside JAX asked without an answer, even if it caught the error.
    """

    domain: isl.Set
    searching: bool = True
    ring: PolynomialRing = field(init=False)
    deferred: list[DeferredEquality] = field(default_factory=list)
    unknowns: list[str] = field(default_factory=list)
    array_sizes: list[tuple[Any, list[CallSite]]] = field(default_factory=list)
    fork: isl.Set | None = None
    unanswered: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ring = PolynomialRing(self.domain)

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
        if self.domain.is_subset(condition):
            return True
        if self.domain.is_disjoint(condition):
            return False
        site, is_branch = comparison_site()
        if difference is not None and not (is_branch and self.searching):
            self.deferred.append(DeferredEquality(condition, site, difference))
            return False
        if self.searching:
            self.fork = condition
            raise Fork(condition)
        holds = SizeSet(self.domain.intersect(condition))
        raise self.undecided(
            f"The comparison holds for {holds} only. Fix: narrow the sizes with where=, or let "
            "jaxconv.check try both cases."
        )

    def undecided(self, question: str) -> Undecided:
        """Make the error for a question that cannot be answered.

        JAX can continue without an answer. Other code may not, so its questions are recorded.

        Args:
            question: what was asked, as a clause.

        Returns:
            The error to raise.
        """
        if not is_inside_jax(caller().f_code.co_filename):
            self.unanswered.append(question)
        return Undecided(question)
