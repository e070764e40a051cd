"""Contracts: the shapes that a function takes and returns, written above it and enforced."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from jaxconv.errors import Diagnostic, OperandShape, ShapeError, message
from jaxconv.symbolic.size import Size, value_at
from jaxconv.symbolic.specs import (
    Formula,
    Signature,
    Spec,
    SpecError,
    parse_contract,
    violation_text,
)

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Contract:
    """The contract of a decorated function.

    Attributes:
        signature: the shapes.
        given: the arguments that have no spec, or functions that make them, by name.
        function: the decorated function.
    """

    signature: Signature
    given: Mapping[str, Any]
    function: Callable[..., Any]


def contract(
    text: str, *, where: str = "", **given: Any
) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Enforce the shapes that a function takes and returns, whenever it is called or traced.

    :func:`check`, ``jaxconv check FILE.py`` and ``pytest --contracts PACKAGE`` prove the
    contract for every size at once.

    Args:
        text: a spec for each array that the function takes, and for each that it returns:
            ``"b h w 3, b -> b h//32 w//32 512"``. Sizes are names, numbers and formulas, ``_`` for
            any size, ``...`` for any number of axes; nothing after the arrow, as in ``"b, b ->"``,
            is a scalar. Arguments that are not arrays, such as
            ``self`` or a tree of parameters, have no spec, and neither do those in ``given``.
        where: a condition on the sizes, such as ``"h >= 32 and w == h"``; others are rejected.
        **given: how a proof gets the arguments without a spec, by name: a value, or a function
            without arguments that makes it and is only traced, such as ``params=init`` or
            ``self=lambda: Net(rngs=nnx.Rngs(0))``.

    Returns:
        A decorator. The decorated function raises ShapeError for arguments, and for results, that
        do not fit.

    Raises:
        SpecError: the contract cannot be read.

    Example:
        >>> import jax, jaxconv as jc
        >>> @jc.contract("b h w c -> b h//2 w//2 c", where="h >= 2 and w >= 2")
        ... def halve(x):
        ...     return jc.max_pool(x, 2)
        >>> halve(jax.numpy.ones((1, 5, 4, 3))).shape
        (1, 2, 2, 3)
        >>> jc.check(halve).ok
        True
    """
    signature = parse_contract(text, where)

    def decorate(fn: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        if not inspect.isroutine(fn):
            raise TypeError(f"contract: {fn!r} is not a function. Fix: decorate its __call__.")

        name = fn.__qualname__.rpartition("<locals>.")[2]

        @functools.wraps(fn)
        def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            arrays = [array for array in _arrays(fn, args, kwargs) if array.name not in given]
            sizes = _bind_sizes(name, signature, arrays)
            result = fn(*args, **kwargs)
            _check_result(name, signature, sizes, result)
            return result

        wrapped.__contract__ = Contract(signature, given, wrapped)  # type: ignore[attr-defined]
        return wrapped

    return decorate


# Types of functions compiled by JAX, Flax NNX or Equinox, which keep their shapes.
JITS = ("PjitFunction", "JitWrapped", "_JitWrapper")


def contract_of(fn: Any) -> Contract | None:
    """Find the contract of a function, a method or a model.

    Args:
        fn: what may have a contract.

    Returns:
        The contract; None where it has none.
    """
    while type(fn).__name__ in JITS or hasattr(fn, "method_handler_wrapped"):  # as Linen marks it
        fn = fn.__wrapped__
    if callable(fn) and not inspect.isroutine(fn):
        fn = type(fn).__call__
    fn = getattr(fn, "__func__", fn)
    # functools.wraps hands the attribute on to functions that, like jax.vmap, change the shapes.
    contract = getattr(fn, "__contract__", None)
    return contract if contract is not None and contract.function is fn else None


def arguments_of(fn: Any, contract: Contract) -> list[Any]:
    """Make the arguments that a proof of a contract needs.

    Args:
        fn: the function.
        contract: its contract.

    Returns:
        A spec for each array, and for other arguments what the contract gives.

    Raises:
        SpecError: an argument has no spec and is not given.
    """
    names = [
        name
        for name, parameter in inspect.signature(fn).parameters.items()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    ]
    specs = [*contract.signature.inputs]
    missing = [name for name in names if name not in contract.given]
    if len(missing) != len(specs):
        raise SpecError(
            f"{contract.function.__qualname__} needs {', '.join(missing) or 'nothing'}, and its "
            f"contract has {len(specs)} specs.\n  Fix: pass arguments without a spec by name, such "
            "as @contract(..., params=init)."
        )
    arguments = []
    for name in names:
        argument = contract.given[name] if name in contract.given else specs.pop(0)
        if inspect.isroutine(argument):
            # Abstract where possible: not where it makes more than arrays, as an Equinox model with
            # its activation. The plain call raises the errors of the user's code as they are.
            with contextlib.suppress(Exception):
                arguments.append(nnx.eval_shape(argument))
                continue
            argument = argument()
        arguments.append(argument)
    return arguments


class _ArrayArgument(NamedTuple):
    """An array that a function was called with."""

    name: str
    shape: Sequence[Any]
    dtype: Any


def _arrays(
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> list[_ArrayArgument]:
    """The arrays among the arguments, those in ``*args`` too, in the order of the parameters."""
    try:
        bound = inspect.signature(fn).bind(*args, **kwargs).arguments
    except TypeError:
        fn(*args, **kwargs)  # raises an error that says more
        raise
    parts = [
        (name, part)
        for name, value in bound.items()
        for part in (value if isinstance(value, tuple) else (value,))
    ]
    return [
        _ArrayArgument(name, part.shape, part.dtype)
        for name, part in parts
        if hasattr(part, "shape") and hasattr(part, "dtype")
        if not jnp.issubdtype(part.dtype, jax.dtypes.prng_key)
    ]


def _bind_sizes(
    function: str, signature: Signature, arrays: Sequence[_ArrayArgument]
) -> dict[str, Any]:
    """The sizes that the names have; raise ShapeError for arrays that do not fit."""
    sizes: dict[str, Any] = {}
    diagnostics = []
    if len(arrays) < len(signature.inputs):
        count = f"it is called with {len(arrays)} array{'s' * (len(arrays) != 1)}"
        diagnostics.append(
            Diagnostic(f"{count}, but the contract says {len(signature.inputs)}.", FIX_CALL)
        )
    pairs = [*zip(arrays, signature.inputs, strict=False)]
    for array, spec in pairs:
        axes = spec.aligned(len(array.shape))
        if axes is None:
            has = f"{array.name} has {len(array.shape)} axes"
            says = f"but the contract says {spec.described()}."
            diagnostics.append(Diagnostic(f"{has}, {says}", FIX_CALL))
        for axis, size in zip(axes or (), array.shape, strict=False):
            if isinstance(axis, Formula) and axis.is_name():
                sizes.setdefault(axis.text, size)
    diagnostics = diagnostics or [
        diagnostic for array, spec in pairs for diagnostic in _misfits(array, spec, sizes)
    ]
    diagnostics = diagnostics or [*_unmet_conditions(signature, sizes)]
    if diagnostics:
        operand_shapes = [
            OperandShape(a.name, a.shape, f"the contract says {s.text}") for a, s in pairs
        ]
        raise ShapeError(message(function, diagnostics, operand_shapes))
    return sizes


FIX_CALL = "call it as the contract says, or change the contract."


def _misfits(array: _ArrayArgument, spec: Spec, sizes: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Say where the dtype or a size of an array is not that of its spec."""
    if spec.dtype and jnp.dtype(spec.dtype) != array.dtype:
        yield Diagnostic(
            f"{array.name} is {array.dtype}, but the contract says {spec.dtype}.", FIX_CALL
        )
    axes = spec.aligned(len(array.shape)) or ()
    for i, (axis, size) in enumerate(zip(axes, array.shape, strict=True)):
        if isinstance(axis, Formula) and (expected := axis.value(sizes)) != size:
            names = [] if axis.is_name() else axis.names()
            known = "".join(f", with {name} = {sizes[name]}" for name in names)
            formula = axis.text if axis.text == str(expected) else f"{axis.text} = {expected}"
            wrong = f"axis {i} of {array.name} is {size}, but the contract says {formula}{known}."
            yield Diagnostic(wrong, FIX_CALL)


def _unmet_conditions(signature: Signature, sizes: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Say which conditions of a contract the sizes do not meet."""
    for condition in signature.conditions:
        if not condition.holds(sizes):
            names = [name for name in condition.names() if str(sizes[name]) != name]
            known = ", ".join(f"{name} = {sizes[name]}" for name in names)
            known = f"{known}, but " if known else ""
            yield Diagnostic(f"{known}the contract is for {signature.where} only.", FIX_CALL)


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


FIX_RESULT = "fix the function, or change the contract to what it returns."


def _check_result(
    function: str, signature: Signature, sizes: Mapping[str, Any], result: Any
) -> None:
    """Raise ShapeError for a result that is not the one of the contract."""

    def error(wrong: str) -> ShapeError:
        return ShapeError(message(function, [Diagnostic(wrong, FIX_RESULT)]))

    leaves = jax.tree.leaves(result)
    if len(leaves) != len(signature.outputs):
        count = f"{len(leaves)} array{'s' * (len(leaves) != 1)}"
        raise error(f"it returns {count}, but the contract says {len(signature.outputs)}.")
    for i, (leaf, spec) in enumerate(zip(leaves, signature.outputs, strict=True)):
        which = f" of result {i}" if len(leaves) > 1 else ""
        try:  # what JAX makes of a number
            array = leaf if hasattr(leaf, "shape") else jax.eval_shape(jnp.asarray, leaf)
        except TypeError:
            not_array = f"it returns a {type(leaf).__name__}, which is not an array."
            raise error(not_array) from None
        axes = spec.aligned(len(array.shape))
        if axes is None:
            says = f"but the contract says {spec.described()}."
            raise error(f"it returns shape {array.shape}{which}, {says}")
        if spec.dtype and jnp.dtype(spec.dtype) != array.dtype:
            dtypes = f"it returns {array.dtype}{which}, but the contract says {spec.dtype}."
            raise error(dtypes)
        for k, (axis, size) in enumerate(zip(axes, array.shape, strict=True)):
            if isinstance(axis, Formula) and axis.value(sizes) != size:
                raise ContractViolationError(function, sizes, size, axis, f"axis {k}{which}")
