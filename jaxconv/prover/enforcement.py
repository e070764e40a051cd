"""Contracts in force: a function refuses arguments and results that do not fit."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import jax.numpy as jnp

from jaxconv.errors import Diagnostic, OperandShape, ShapeError, message
from jaxconv.prover.terms import Found, Terms
from jaxconv.symbolic.size import Size, value_at
from jaxconv.symbolic.specs import (
    Condition,
    Correction,
    Formula,
    OneOr,
    parse_condition,
    violation_text,
)

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def enforced(
    fn: Callable[Arguments, Result], terms: Terms, where: str = ""
) -> Callable[Arguments, Result]:
    """Let a function refuse arguments and results that do not fit its contract.

    Args:
        fn: the function.
        terms: what its contract says.
        where: the condition of the contract, as written.

    Returns:
        The function; it raises ShapeError for what does not fit.
    """
    name = getattr(fn, "__qualname__", type(fn).__name__).rpartition("<locals>.")[2]
    conditions = parse_condition(where) if where else ()

    @functools.wraps(fn)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            arguments = inspect.signature(fn).bind(*args, **kwargs).arguments
        except TypeError:
            fn(*args, **kwargs)  # raises an error that says more
            raise
        call = terms.call(arguments)
        sizes = _bind_sizes(name, call.arguments, conditions, where)
        result = fn(*args, **kwargs)
        _check_result(name, call.results(result, sizes), sizes)
        return result

    return wrapped


FIX_CALL = "call it as the contract says, or change the contract."
FIX_RESULT = "fix the function, or change the contract to what it returns."


def bind_names(arrays: Sequence[Found], sizes: dict[str, Any]) -> None:
    """Add the sizes of the names that have none yet.

    Args:
        arrays: those of a call.
        sizes: the size of each name so far.
    """
    for array in arrays:
        if array.spec is None or array.shape is None:
            continue
        for axis, size in zip(array.spec.axes, array.shape, strict=True):
            if isinstance(axis, Formula) and (name := axis.bound_name(size)):
                sizes.setdefault(name, size)


def fits(arrays: Sequence[Found], sizes: Mapping[str, Any]) -> bool:
    """Tell whether arrays have the sizes that a contract says.

    Args:
        arrays: some of a call; each has a spec.
        sizes: the size of each name so far.
    """
    known = dict(sizes)
    bind_names(arrays, known)
    return all(
        _fits(axis, size, one.label, known)
        for one in arrays
        if one.spec is not None and one.shape is not None
        for axis, size in zip(one.spec.axes, one.shape, strict=True)
        if isinstance(axis, Formula)
    )


def _bind_sizes(
    function: str, arrays: Sequence[Found], conditions: Sequence[Condition], where: str
) -> dict[str, Any]:
    """The sizes that the names have; raise ShapeError for arrays that do not fit."""
    sizes: dict[str, Any] = {}
    diagnostics = []
    for array in arrays:
        if array.spec is None:
            axes = "" if array.shape is None else f" has {len(array.shape)} axes"
            wrong = f"{array.label}{axes}, but the contract says {array.expected}."
            diagnostics.append(Diagnostic(wrong, FIX_CALL))
    if not diagnostics:
        bind_names(arrays, sizes)
        diagnostics = [one for array in arrays for one in _misfits(array, sizes)]
    if not diagnostics:
        for condition in conditions:
            if not condition.holds(sizes):
                names = [name for name in condition.names() if str(sizes[name]) != name]
                known = "".join(f"{name} = {sizes[name]}, " for name in names)
                known = f"{known}but " if known else ""
                wrong = f"{known}the contract is for {where} only."
                diagnostics.append(Diagnostic(wrong, FIX_CALL))
    if diagnostics:
        operand_shapes = [
            OperandShape(array.label, array.shape, f"the contract says {array.expected}")
            for array in arrays
            if array.shape is not None
        ]
        raise ShapeError(message(function, diagnostics, operand_shapes))
    return sizes


def _misfits(array: Found, sizes: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Say where the dtype or a size of an array is not that of its spec."""
    if array.spec is None or array.shape is None:
        return
    if not _has_dtype(array):
        wrong = f"{array.label} is {array.dtype}, but the contract says {_dtypes(array)}."
        yield Diagnostic(wrong, FIX_CALL)
    for i, (axis, size) in enumerate(zip(array.spec.axes, array.shape, strict=True)):
        if isinstance(axis, Formula) and not _fits(axis, size, array.label, sizes):
            names = [] if axis.is_name() else axis.names()
            known = "".join(f", with {name} = {sizes[name]}" for name in names)
            expected = axis.value(sizes)
            formula = axis.text if axis.text == str(expected) else f"{axis.text} = {expected}"
            wrong = f"axis {i} of {array.label} is {size}, but the contract says {formula}{known}."
            yield Diagnostic(wrong, FIX_CALL)


def _fits(axis: Formula, size: Any, label: str, sizes: Mapping[str, Any]) -> bool:
    """Whether an axis may have a size; raise ShapeError where that is not known in this call."""
    if isinstance(axis, OneOr) and size == 1:
        return True
    if unknown := [name for name in axis.names() if name not in sizes]:
        raise ShapeError(
            f"{label} has the size {axis.text}, but no argument of this call tells {unknown[0]}.\n"
            f"  Fix: write _ for {axis.text}, or pass an argument with {unknown[0]} as a size."
        )
    return bool(axis.value(sizes) == size)


def _has_dtype(array: Found) -> bool:
    if array.spec is None or not array.spec.dtypes:
        return True
    return any(jnp.dtype(name) == array.dtype for name in array.spec.dtypes)


def _dtypes(array: Found) -> str:
    """The dtypes of a contract: one that it names, or else its annotation."""
    dtypes = array.spec.dtypes if array.spec else ()
    return dtypes[0] if len(dtypes) == 1 else array.expected


class ContractViolationError(ShapeError):
    """A result with a size that the contract does not allow.

    Attributes:
        sizes: what the names of the contract stand for.
        size: the size of the result.
        expected: the size that the contract says.
        axis: what has this size, such as "axis 1 of result 0".
    """

    def __init__(
        self, function: str, sizes: Mapping[str, Any], size: Any, expected: Formula, axis: str
    ) -> None:
        self.sizes, self.size, self.expected, self.axis = sizes, size, expected, axis
        symbolic = any(isinstance(value, Size) for value in (size, *sizes.values()))
        formulas = f"{axis} is {size}, but the contract says {expected.text}."
        wrong = formulas if symbolic else self.message_at({})
        super().__init__(message(function, [Diagnostic(wrong, FIX_RESULT)]))

    def message_at(self, point: Mapping[str, int]) -> str:
        """Describe the violation with numbers.

        Args:
            point: some sizes of the proof; empty outside a proof.

        Returns:
            The sentence.
        """
        values = {name: value_at(size, point) for name, size in self.sizes.items()}
        size = value_at(self.size, point)
        return violation_text(values, size, self.expected, self.axis, str(self.size))

    def correction(self) -> Correction | None:
        """What the contract must say to be true; None where that is not one formula."""
        formula = str(self.size)
        return None if " if " in formula else Correction(self.axis, self.expected.text, formula)


def _check_result(function: str, arrays: Sequence[Found], sizes: dict[str, Any]) -> None:
    """Raise ShapeError for a result that is not the one of the contract."""

    def error(wrong: str) -> ShapeError:
        return ShapeError(message(function, [Diagnostic(wrong, FIX_RESULT)]))

    bind_names(arrays, sizes)
    for array in arrays:
        which = f" of {array.label}" if array.label else ""
        if array.shape is None:
            raise error(f"{array.label}, but the contract says {array.expected}.")
        if array.spec is None:
            returned = f"it returns shape {tuple(array.shape)}{which}"
            raise error(f"{returned}, but the contract says {array.expected}.")
        if not _has_dtype(array):
            returned = f"it returns {array.dtype}{which}"
            raise error(f"{returned}, but the contract says {_dtypes(array)}.")
        for k, (axis, size) in enumerate(zip(array.spec.axes, array.shape, strict=True)):
            label = array.label or "the result"
            if isinstance(axis, Formula) and not _fits(axis, size, label, sizes):
                raise ContractViolationError(function, sizes, size, axis, f"axis {k}{which}")
