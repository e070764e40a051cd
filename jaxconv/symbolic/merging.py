"""Functions that compute numbers from sizes by cases, such as the padding of a pool.

Each case of such a function would need a trace of its own, and the cases of several calls multiply.
So all cases of one call are computed at once, and each number that it returns becomes a formula by
cases. This is done for functions that return only numbers and texts, and that change nothing.
"""

import contextlib
import functools
import typing
from collections.abc import Callable, Hashable, Iterator, Sequence
from types import FunctionType
from typing import Any

import islpy as isl

from jaxconv.symbolic.domains import split
from jaxconv.symbolic.heap import UnknownStateError, state_of_call
from jaxconv.symbolic.size import Size, polynomial_of
from jaxconv.symbolic.sums import PARAM
from jaxconv.symbolic.trace import Fork, SymbolicTrace

MOST_CASES = 16  # of one call
CONSTANTS = (bool, str, float, type(None))

ConditionalResult = tuple[isl.Set, Any]  # the sizes for which a function returns this


class _NoMergeError(Exception):
    """The cases of a call have no common result."""


@contextlib.contextmanager
def merged_cases(functions: Sequence[FunctionType], trace: SymbolicTrace) -> Iterator[None]:
    """Let calls of functions return formulas for all their cases.

    The code of each function is replaced, so that it does so under whatever name it is called.

    Args:
        functions: the functions, which have no variables of outer functions.
        trace: the run.
    """

    @typing.no_type_check  # it runs with the names of the user's module
    def template(*args: Any, **named: Any) -> Any:
        call = "target"  # a constant, which is replaced by what it calls
        return call(*args, **named)  # pyright: ignore[reportCallIssue]

    constants = template.__code__.co_consts
    codes = [function.__code__ for function in functions]
    for function, code in zip(functions, codes, strict=True):
        names, defaults = function.__globals__, function.__defaults__
        original = FunctionType(code, names, function.__name__, defaults)
        original.__kwdefaults__ = function.__kwdefaults__
        target = functools.partial(_call, trace, original)
        function.__code__ = template.__code__.replace(
            co_consts=tuple(target if c == "target" else c for c in constants)
        )
    try:
        yield
    finally:
        for function, code in zip(functions, codes, strict=True):
            function.__code__ = code


def _call(trace: SymbolicTrace, function: FunctionType, *args: Any, **named: Any) -> Any:
    """Call a function once for each of its cases, and merge what it returns."""
    if not trace.searching or trace.case is not None:
        return function(*args, **named)
    try:
        cases = _cases(trace, lambda: function(*args, **named), function, (args, named))
        if len(cases) == 1:
            return cases[0][1]
        merged = _merged(trace, cases)
    except (_NoMergeError, UnknownStateError):
        trace.keep_cases_apart(function)
    trace.cases += [points for points, _ in cases]
    trace.ring.shortens = True
    return merged


def _cases(
    trace: SymbolicTrace, call: Callable[[], Any], function: FunctionType, arguments: Any
) -> list[ConditionalResult]:
    """What a call returns for each part of the sizes that it tells apart."""
    before = state_of_call(function, arguments)
    pending: list[isl.Set] = [trace.domain]
    cases: list[ConditionalResult] = []
    while pending:
        points = trace.case = pending.pop()
        try:
            result, error = call(), None
        except (Exception, Fork) as raised:
            result, error = None, raised
        finally:
            trace.case = None
        if isinstance(trace.stop, Fork):  # which the function may have caught
            condition, trace.stop = trace.stop.condition, None
            pending += [part for part in split(points, condition) if not part.is_empty()]
        elif error is not None and not cases and not pending:
            raise error
        elif error is not None:
            raise _NoMergeError
        else:
            cases.append((points, result))
        if len(cases) + len(pending) > MOST_CASES or state_of_call(function, arguments) != before:
            raise _NoMergeError
    return cases


def _merged(trace: SymbolicTrace, cases: Sequence[ConditionalResult]) -> Any:
    """One result for all cases of a call, of the same structure."""
    from jax import tree

    flat = [tree.flatten(result, is_leaf=lambda leaf: leaf is None) for _, result in cases]
    structures = {structure for _, structure in flat}
    if len(structures) > 1:
        raise _NoMergeError
    parts = [points for points, _ in cases]
    merged: list[Any] = []
    for values in zip(*(leaves for leaves, _ in flat), strict=True):
        first = values[0]
        if all(type(v) is int or isinstance(v, Size) for v in values):
            merged.append(_number_by_cases(trace, parts, values))
        elif isinstance(first, CONSTANTS) and all(
            type(v) is type(first) and v == first for v in values
        ):
            merged.append(first)
        else:
            raise _NoMergeError
    return tree.unflatten(structures.pop(), merged)


def _number_by_cases(
    trace: SymbolicTrace, parts: Sequence[isl.Set], values: Sequence[Any]
) -> Size | int:
    """The formula that has each value on its part of the sizes."""
    by_formula: dict[Hashable, ConditionalResult] = {}  # equal values make one case
    for part, value in zip(parts, values, strict=True):
        polynomial = polynomial_of(value, trace)
        before, _ = by_formula.get(polynomial.key(), (trace.ring.nowhere, None))
        by_formula[polynomial.key()] = before.union(part), polynomial
    if len(by_formula) == 1:
        return values[0]
    if any(polynomial.products for _, polynomial in by_formula.values()):
        raise _NoMergeError
    affine = []
    for points, polynomial in by_formula.values():
        part = points
        for i in range(part.dim(PARAM)):  # written without the names on which it does not depend
            wider = part.eliminate(PARAM, i, 1).intersect(trace.domain)
            part = wider if wider.is_subset(part) else part
        affine.append(polynomial.affine.intersect_params(part.coalesce()))
    return Size.of(trace, trace.ring.simplify(functools.reduce(isl.PwAff.union_add, affine), {}))
