"""What must hold of the equations of a finished trace, and where its windows lose pixels.

Nothing here traces again: each requirement is a set of sizes, read off formulas that hold on the
whole domain of the trace.
"""

import functools
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import islpy as isl

from jaxconv.adapters.adapter import ADAPTIVE_POOL
from jaxconv.compat import Jaxpr, JaxprEqn, Var
from jaxconv.jaxpr.interpreter import (
    control_flow,
    equations,
    equations_in_calls,
    shape_of,
    subjaxprs,
    variables,
)
from jaxconv.jaxpr.primitives import record_of
from jaxconv.prover.verdict import point_text
from jaxconv.source import Origin, origin_of_equation
from jaxconv.symbolic.equality import factorizations
from jaxconv.symbolic.residues import where_divisible
from jaxconv.symbolic.sets import SizeSet
from jaxconv.symbolic.size import Size, at_least_one, equal, polynomial_of
from jaxconv.symbolic.specs import Correction
from jaxconv.symbolic.trace import DeferredEquality, SymbolicTrace, Undecided

EMPTY = "empty"  # the kind of failure of a map that has no elements
LONGEST_CONDITION = 120  # letters of a condition or a formula in a note


class Requirement(NamedTuple):
    """A condition that must hold, and what is wrong where it does not.

    Attributes:
        holds: the sizes for which it holds.
        kind: the kind of failure; failures of one kind at one line are reported as one.
        message: makes the sentence, given the smallest sizes that fail.
        fix: the remedy; empty where other sizes are the remedy.
        fix_for_all: the remedy where every size fails.
        correction: what the contract must say, where that is one formula.
    """

    holds: isl.Set
    kind: str
    message: Callable[[Mapping[str, int]], str]
    fix: str = ""
    fix_for_all: str = ""
    correction: Correction | None = None


def scraps(jaxpr: Jaxpr) -> set[Var]:
    """Find values that may be empty: cut out of a map, only to be concatenated or scanned.

    For example, ``jnp.pad`` with mode "edge" concatenates empty arrays to sides without padding,
    and a ``lax.scan`` over ``x[1:]`` has no iterations where x has one row. An adaptive pool has
    windows of two widths, of which one may be wider than the map.

    Args:
        jaxpr: a trace.

    Returns:
        Variables of the trace and of all jaxprs inside it.
    """
    may_be_empty: set[Var] = set()
    used: set[Var] = set()
    needed: set[Var] = set()  # by an operation that does more than cut and concatenate
    for eqn in reversed([*equations(jaxpr, recursive=False)]):
        may_be_empty.update(*map(scraps, subjaxprs(eqn)))
        if eqn.params.get("name") == ADAPTIVE_POOL:
            for inside in subjaxprs(eqn):
                made = {var for step in equations(inside) for var in variables(step.outvars)}
                may_be_empty |= made - {*variables(inside.outvars)}
        record = record_of(eqn)
        if record.builds_padding:
            may_be_empty |= used.intersection(eqn.outvars) - needed
        used.update(variables(eqn.invars))
        if not (
            record.concatenates or (record.builds_padding and may_be_empty.issuperset(eqn.outvars))
        ):
            needed.update(variables(eqn.invars))
    return may_be_empty.difference(variables(jaxpr.outvars)) | _only_scanned(jaxpr)


def _only_scanned(jaxpr: Jaxpr) -> set[Var]:
    """Find values that nothing but scans uses, row by row, and what scans stack.

    What a scan stacks may also be concatenated, as in ``jnp.concatenate([first[None], stacked])``.
    Pieces that are cut out may be used by nothing at all.
    """
    may_be_empty: set[Var] = set()
    scanned: set[Var] = set()
    concatenated: set[Var] = set()
    needed: set[Var] = {*variables(jaxpr.outvars)}
    for eqn in reversed([*equations(jaxpr, recursive=False)]):
        flow, record, results = control_flow(eqn), record_of(eqn), {*variables(eqn.outvars)}
        # A slice of symbolic sizes is a gather, which cuts one piece out of a map.
        at = eqn.params.get("dimension_numbers")
        is_gather = getattr(at, "start_index_map", None) is not None
        cuts = is_gather and eqn.params.get("unique_indices") and len(shape_of(eqn.invars[1])) == 1
        if flow is not None and flow.length is not None:
            may_be_empty |= {*eqn.outvars[flow.carried :]} - needed
            needed.update(variables(eqn.invars[: flow.carry.stop]))
            scanned.update(variables(eqn.invars[flow.carry.stop :]))
        elif (
            record.builds_padding or cuts or (record.keeps_positions and results <= scanned)
        ) and (needed | concatenated).isdisjoint(results):
            may_be_empty |= {*eqn.outvars}
            if results <= scanned:
                scanned.update(variables(eqn.invars))
        elif record.concatenates:
            concatenated.update(variables(eqn.invars))
        else:
            needed.update(variables(eqn.invars))
    return may_be_empty


def requirements_of_equation(
    trace: SymbolicTrace, eqn: JaxprEqn, may_be_empty: Callable[[Var], bool]
) -> Iterator[Requirement]:
    """List what must hold of one equation.

    Args:
        trace: the run whose domain is considered.
        eqn: the equation.
        may_be_empty: whether a value may be empty.

    Yields:
        The requirements.

    Raises:
        Undecided: it is not known for which sizes one of them holds.
    """
    for atom in eqn.outvars:
        doubtful = [n for n in shape_of(atom) if not isinstance(n, int) or n < 1]
        if doubtful and not may_be_empty(atom):
            yield from (not_empty(trace, size) for size in doubtful)
    if record_of(eqn).must_keep_count:  # of elements; JAX does not check it for symbolic sizes
        shapes = [shape_of(atom) for atom in (eqn.invars[0], eqn.outvars[0])]
        if all(isinstance(size, int) for shape in shapes for size in shape):
            return  # JAX has checked it

        def message(_: Mapping[str, int]) -> str:
            reshape = " to ".join(map(shape_text, shapes))
            return f"the reshape from {reshape} does not preserve the number of elements."

        factors = ([polynomial_of(size, trace) for size in shape] for shape in shapes)
        one = trace.ring.number(1)
        before, after = (Size.of(trace, math.prod(some, start=one)) for some in factors)
        yield Requirement(equal(trace, before, after), "reshape", message)


def not_empty(trace: SymbolicTrace, size: Size | int) -> Requirement:
    """Require that a side of a feature map is at least 1.

    Args:
        trace: the run whose domain is considered.
        size: the side.

    Returns:
        The requirement.

    Raises:
        Undecided: it is not known for which sizes it holds.
    """

    def message(point: Mapping[str, int]) -> str:
        value = str(size)
        if isinstance(size, Size):
            words = re.findall(r"\w+", value)
            names = point_text({name: n for name, n in point.items() if name in words})
            value = f"{size}, which is {size.at(**point)} for {names}"
        return f"a feature map is empty: one of its sides is {value}."

    return Requirement(at_least_one(trace, size), EMPTY, message)


class LostPixels(NamedTuple):
    """A window that leaves out the last rows or columns.

    Attributes:
        origin: the line and layer of the window.
        sizes: the sizes for which it leaves some out.
    """

    origin: Origin
    sizes: isl.Set


def lost_pixels(trace: SymbolicTrace, sizes: isl.Set, jaxpr: Jaxpr) -> Iterator[LostPixels]:
    """Find the windows with a stride that end before their maps do.

    Of n pixels and some padding a window of extent e with stride s leaves out the last
    (n + low + high - e) mod s, of which the first ``high`` are padding. A window smaller than its
    stride skips pixels on purpose.

    Args:
        trace: the run whose domain is considered.
        sizes: the sizes to consider.
        jaxpr: what the run traced.

    Yields:
        Each window that loses pixels for some of these sizes, from the last to the first.
    """
    name = ""  # the name given next, going backwards, for windows outside the user's own code
    for eqn, calls in reversed(list(equations_in_calls(jaxpr))):
        record = record_of(eqn)
        name = eqn.params["name"] if record.names_value else name
        axes = record.window(eqn) if record.window else ()
        if any(axis.input_dilation != 1 for axis in axes):
            continue
        for axis in axes:
            if not (isinstance(axis.kernel_size, int) and 2 <= axis.stride <= axis.extent):
                continue
            low, high = axis.padding
            left = axis.input_size + low + high - axis.extent
            try:
                losing = at_least_one(trace, left % axis.stride - high)
            except Undecided:
                continue
            losing = sizes.intersect(losing)
            if not losing.is_empty():
                origin = origin_of_equation(eqn, calls)
                known = origin.path or origin.layer
                yield LostPixels(origin if known else replace(origin, layer=name), losing)


class UnevenShards(NamedTuple):
    """An axis that is divided over devices, not always into equal parts.

    Attributes:
        origin: the line and layer where it is.
        side: the number of elements along the axis.
        parts: how many.
        sizes: the sizes for which they are not equal.
    """

    origin: Origin
    side: Any
    parts: int
    sizes: isl.Set


def uneven_shards(trace: SymbolicTrace, sizes: isl.Set, jaxpr: Jaxpr) -> Iterator[UnevenShards]:
    """Find the axes that a sharding constraint divides over devices into unequal parts.

    Args:
        trace: the run whose domain is considered.
        sizes: the sizes to consider.
        jaxpr: what the run traced.

    Yields:
        Each axis that is divided unequally for some of these sizes.
    """
    for eqn, calls in equations_in_calls(jaxpr):
        shards = record_of(eqn).shards
        if shards is None:
            continue
        for side, count in zip(shape_of(eqn.outvars[0]), shards(eqn), strict=False):
            if count < 2:
                continue
            whole = where_divisible(polynomial_of(side, trace), count)
            if whole is not None and not (uneven := sizes.subtract(whole)).is_empty():
                yield UnevenShards(origin_of_equation(eqn, calls), side, count, uneven)


def uneven_shards_note(uneven: Sequence[UnevenShards], accepts: SizeSet) -> str:
    """Say which sizes a mesh divides unequally, and which it does not.

    Args:
        uneven: axes that are divided unequally.
        accepts: the sizes that are accepted.

    Returns:
        A sentence about the first axis; empty where there are none.
    """
    if not uneven:
        return ""
    origin, side, parts, _ = uneven[0]
    sizes = functools.reduce(operator.or_, (SizeSet(one.sizes) for one in uneven))
    smallest = sizes.smallest()
    example = point_text({name: smallest[name] for name in sizes.subject()})
    place = f" at {origin}" if origin.path else ""
    even = accepts - sizes
    fix = "choose another mesh" if even.is_empty() else f"pass sizes with {even}"
    return (
        f"the sharding{place} divides {side} over {parts} devices, unequally for some sizes, "
        f"first for {example}; for equal parts, {fix}."
    )


def shape_text(shape: Sequence[Any]) -> str:
    """Write a shape as Python writes a tuple, with formulas.

    Args:
        shape: sizes, ints or symbolic.

    Returns:
        Its text, such as ``"(b, h//2, 3)"``.
    """
    return f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"


def lost_pixels_note(lost: Sequence[LostPixels], accepts: SizeSet) -> str:
    """Say once which windows lose pixels, and which sizes lose none.

    Args:
        lost: the windows.
        accepts: the sizes that are accepted.

    Returns:
        A sentence about the first of the windows; empty where there are none.
    """
    if not lost:
        return ""
    sizes = functools.reduce(operator.or_, (SizeSet(window.sizes) for window in lost))
    smallest = sizes.smallest()
    first = next(window for window in lost if SizeSet(window.sizes).contains(**smallest))
    layer = " at ".join(filter(None, (first.origin.layer, str(first.origin))))
    whole = accepts - sizes
    fix = "crop or pad" if whole.is_empty() else f"pad to sizes with {whole}, or crop to them"
    if len(fix) > LONGEST_CONDITION:
        fix = f"pad to sizes such as {point_text(whole.nearest(smallest))}, or crop to them"
    subject = f"the window of {layer}" if layer else "a window"
    example = point_text({name: smallest[name] for name in sizes.subject()})
    return f"{subject} does not reach the end of its map, first for {example}; to use all, {fix}."


def ambiguity_note(deferred: DeferredEquality, accepts: SizeSet) -> str:
    """Note that several sizes fit a flatten, which does not preserve the separate sides.

    Args:
        deferred: an equality that a trace asked.
        accepts: the sizes that are accepted.

    Returns:
        A sentence; empty where the equality holds in at most one way, or need not hold.
    """
    if not accepts <= SizeSet(deferred.condition):
        return ""
    factors = [
        text
        for text, sizes in factorizations(deferred.difference)
        if not (SizeSet(sizes) & accepts).is_empty()
    ]
    if len(factors) < 2:
        return ""
    difference = str(deferred.difference)
    if len(difference) > LONGEST_CONDITION:
        difference = "a difference of products of sizes"
    return (
        f"{difference} is 0 in {len(factors)} ways ({'; '.join(factors)}), and all are "
        "accepted; to keep one, fix the sizes before the flatten with a contract, or pool to a "
        "fixed map."
    )
