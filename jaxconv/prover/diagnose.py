"""Why sizes fail: read off a finished trace, or off the error that a trace raised."""

import functools
import re
from typing import NamedTuple

import islpy as isl

from jaxconv.compat import Var
from jaxconv.errors import ShapeError
from jaxconv.jaxpr.interpreter import equations_in_calls, shape_of
from jaxconv.prover.conditions import (
    Requirement,
    not_empty,
    requirements_of_equation,
    scraps,
)
from jaxconv.prover.enforcement import ContractViolationError
from jaxconv.prover.returns import requirements_of_result
from jaxconv.prover.subject import Subject, Traced
from jaxconv.source import (
    TYPE_CHECKERS,
    CallSite,
    Origin,
    call_sites_of_error,
    is_inside_jax,
    is_same_expression,
    origin,
    origin_of_equation,
    origin_of_error,
)
from jaxconv.symbolic.domains import split
from jaxconv.symbolic.size import Size
from jaxconv.symbolic.trace import PACKAGE, DeferredEquality, SymbolicTrace, Undecided


class Refusal(NamedTuple):
    """Sizes that fail at one line for one reason.

    Attributes:
        sizes: the sizes.
        origin: the line; its path is empty where no line of the user's own is known.
        requirement: what they do not meet.
    """

    sizes: isl.Set
    origin: Origin
    requirement: Requirement


def unmet_requirements(
    subject: Subject, trace: SymbolicTrace, traced: Traced
) -> tuple[isl.Set, list[Refusal]]:
    """Find the sizes that a finished trace shows to fail.

    Args:
        subject: the function.
        trace: the run.
        traced: what it traced.

    Returns:
        The sizes of the domain that meet every requirement, and the others, each rejected for the
        first requirement that it does not meet.

    Raises:
        Fork: a formula of the contract differs from case to case.
        Undecided: it is not known for which sizes a requirement holds.
        OutOfTime: the time for the proof is over.
    """
    sizes, refusals, rest = trace.domain, [], trace
    all_scraps = functools.cache(lambda: scraps(traced.closed.jaxpr))  # seldom needed for numbers

    def may_be_empty(value: Var) -> bool:
        return value in all_scraps()

    for eqn, calls in (*equations_in_calls(traced.closed.jaxpr), (None, ())):
        subject.check_time()
        if rest.domain is not sizes:  # on those left more may be decided than on the whole domain
            rest = SymbolicTrace(sizes)
        if eqn is None:
            requirements = requirements_of_result(trace, subject.returns, traced.result)
        else:
            requirements = requirements_of_equation(rest, eqn, may_be_empty)
        for requirement in requirements:
            holds = requirement.holds
            is_met = rest.ring.decides if rest.domain is sizes else sizes.is_subset
            if not is_met(holds):
                line = subject.origin if eqn is None else origin_of_equation(eqn, calls)
                refusals.append(Refusal(sizes.subtract(holds), line, requirement))
                sizes = sizes.intersect(holds)
            if sizes.is_empty():
                return sizes, refusals
    return sizes, refusals


def origins_of_empty_maps(trace: SymbolicTrace, traced: Traced, sizes: isl.Set) -> set[Origin]:
    """Find the lines at which some map is empty, whether or not it is needed.

    Args:
        trace: the run.
        traced: what it traced.
        sizes: some sizes of its domain.

    Returns:
        The lines where this is known for all these sizes.
    """

    def is_empty(size: Size | int) -> bool:
        try:
            return sizes.is_disjoint(not_empty(trace, size).holds)
        except Undecided:
            return False

    return {
        origin_of_equation(eqn, calls)
        for eqn, calls in equations_in_calls(traced.closed.jaxpr)
        if any(is_empty(size) for atom in eqn.outvars for size in shape_of(atom))
    }


def refusals_of_error(trace: SymbolicTrace, sizes: isl.Set, error: Exception) -> list[Refusal]:
    """Find the reasons why a trace failed.

    Args:
        trace: the run.
        sizes: the sizes of its domain that fail.
        error: what it raised.

    Returns:
        The sizes for which a map was empty before the error, rejected for that, and the rest,
        rejected for the error.
    """
    refusals = []
    for size, call_sites, scope in trace.array_sizes.values():
        try:
            requirement = not_empty(trace, size)
        except Undecided:
            continue
        empty = sizes.subtract(requirement.holds)
        if not empty.is_empty():
            refusals.append(Refusal(empty, origin(call_sites, scope), requirement))
            sizes = sizes.intersect(requirement.holds)
    if not sizes.is_empty():
        requirement = _requirement_of_error(error, trace.ring.nowhere)
        refusals.append(Refusal(sizes, origin_of_error(error), requirement))
    return refusals


def operation_of_error(error: Exception) -> list[CallSite]:
    """Find the operation that failed.

    Args:
        error: an error that was raised.

    Returns:
        The innermost instruction outside JAX and the sizes, and the calls that it led to.
    """
    call_sites = call_sites_of_error(error)
    files = [code.co_filename for code, _ in call_sites]
    passed = (PACKAGE, *TYPE_CHECKERS)
    outside = [i for i, f in enumerate(files) if not (is_inside_jax(f) or f.startswith(passed))]
    return call_sites[outside[-1] :]


def relevant_equalities(trace: SymbolicTrace, error: Exception) -> list[DeferredEquality]:
    """Find the equalities that, if they held, could have made the operation succeed.

    An equality that another operation asked was a shortcut of that one, which succeeded without.

    Args:
        trace: the run.
        error: what it raised.

    Returns:
        Equalities that the operation which failed asked, and that hold on a part of the domain.
    """
    site = operation_of_error(error)[0]
    return [
        deferred
        for deferred in trace.deferred
        if is_same_expression(deferred.site, site)
        and not any(part.is_empty() for part in split(trace.domain, deferred.condition))
    ]


def unknowns_of_error(trace: SymbolicTrace, error: BaseException) -> list[str]:
    """List the undecided questions that may have led to an error, which then proves nothing.

    Args:
        trace: the run.
        error: what it raised.

    Returns:
        The questions, as clauses.
    """
    unknowns = list(trace.unknowns)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Undecided | isl.Error):
            unknowns.append(str(cause).partition("\n")[0])
        cause = cause.__cause__ or cause.__context__
    return unknowns


def _requirement_of_error(error: Exception, nowhere: isl.Set) -> Requirement:
    """The first line of an error message, and its own remedy if it names one."""
    lines = str(error).strip().splitlines() or [""]
    if lines[0].endswith(":"):  # the fault itself follows
        lines[0] += "".join(f" {line.strip()}" for line in [*filter(str.strip, lines[1:])][:1])
    text = lines[0] if isinstance(error, ShapeError) else f"{type(error).__name__}: {lines[0]}"
    fixes = [
        line.strip().removeprefix("Fix: ") for line in lines if line.strip().startswith("Fix:")
    ]
    violation = error if isinstance(error, ContractViolationError) else None
    matches = ((re.search(pattern, lines[0]), fix) for pattern, fix in REMEDIES)
    return Requirement(
        nowhere,
        kind=re.sub(r"\(.*|\d+", "", text),
        message=violation.message_at if violation else lambda _: text,
        fix=" ".join(fixes),
        fix_for_all=next((fix.format(*match.groups()) for match, fix in matches if match), ""),
        correction=violation.correction() if violation else None,
    )


# The fix where an operation of JAX rejects every size, by a pattern of its message.
REMEDIES = (
    (
        r"dot_general requires contracting .* got \((.*?),?\) and \((.*?),?\)",
        "make the weights of this layer for {0} features, or pass it {1} features.",
    ),
    (
        "ShapeDtypeStruct",
        "pass the model that has shapes in the place of weights as an argument: "
        "@jc.contract(..., net=net) above def f(net, x), or jc.check(net, ...).",
    ),
    (
        r"lhs feature dimension size .* but (.+) // (.+) != (.+)\.",
        "make the kernel of this layer for {0} channels in {1} group(s), or pass it {2} channels "
        "per group.",
    ),
)
