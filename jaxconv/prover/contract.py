"""Contracts: the shapes that a function takes and returns, written above it and held to."""

import contextlib
import functools
import inspect
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from jaxconv.errors import Diagnostic, OperandShape, ShapeError, message
from jaxconv.symbolic.size import Size
from jaxconv.symbolic.specs import Formula, Signature, Spec, SpecError, broken_text, parse_contract

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Contract:
    """What a decorated function agreed to.

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
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Hold a function to the shapes it takes and returns, whenever it is called or traced.

    :func:`check`, ``jaxconv check FILE.py`` and ``pytest --contracts PACKAGE`` prove the
    contract for every size at once.

    Args:
        text: a spec for each array that the function takes, and for each that it returns:
            ``"b h w 3, b -> b h//32 w//32 512"``. Sizes are names, numbers and formulas, ``_`` for
            any size, ``...`` for any axes. Arguments that are no arrays, such as ``self`` or a tree
            of parameters, have no spec, nor have those given.
        where: a condition on the sizes, such as ``"h >= 32 and w == h"``; others are refused.
        **given: how a proof gets the arguments without a spec, by name: a value, or a function
            without arguments that makes it and is traced only, such as ``params=init`` or
            ``self=lambda: Net(rngs=nnx.Rngs(0))``.

    Returns:
        A decorator. What it decorates raises ShapeError for arguments, and for results, that do
        not fit.

    Raises:
        SpecError: a contract that cannot be read.

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

    def decorate(fn: Callable[P, R]) -> Callable[P, R]:
        if not inspect.isroutine(fn):
            raise TypeError(f"contract: {fn!r} is no function. Fix: decorate its __call__.")

        name = fn.__qualname__.rpartition("<locals>.")[2]

        @functools.wraps(fn)
        def held(*args: P.args, **kwargs: P.kwargs) -> R:
            taken = [array for array in _arrays(fn, args, kwargs) if array.name not in given]
            sizes = _bind(name, signature, taken)
            result = fn(*args, **kwargs)
            _hold(name, signature, sizes, result)
            return result

        held.__contract__ = Contract(signature, given, held)  # type: ignore[attr-defined]
        return held

    return decorate


# What compiles a function of JAX, Flax NNX or Equinox and leaves its shapes as they are.
JITS = ("PjitFunction", "JitWrapped", "_JitWrapper")


def contract_of(fn: Any) -> Contract | None:
    """The contract of a function, a method or a model; None where it has none."""
    while type(fn).__name__ in JITS or hasattr(fn, "method_handler_wrapped"):  # as Linen marks it
        fn = fn.__wrapped__
    if callable(fn) and not inspect.isroutine(fn):
        fn = type(fn).__call__
    fn = getattr(fn, "__func__", fn)
    # functools.wraps hands the attribute on to what, like jax.vmap, changes the shapes.
    found = getattr(fn, "__contract__", None)
    return found if found is not None and found.function is fn else None


def arguments_of(fn: Any, found: Contract) -> list[Any]:
    """The arguments that a proof of a contract needs: specs, and what the contract gives.

    Raises:
        SpecError: where an argument has no spec and is not given.
    """
    names = [
        name
        for name, parameter in inspect.signature(fn).parameters.items()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    ]
    specs = [*found.signature.inputs]
    missing = [name for name in names if name not in found.given]
    if len(missing) != len(specs):
        raise SpecError(
            f"{found.function.__qualname__} needs {', '.join(missing) or 'nothing'}, and its "
            f"contract has {len(specs)} specs.\n  Fix: give what has no spec by name, such as "
            "@contract(..., params=init)."
        )
    return [_made(found.given[n]) if n in found.given else specs.pop(0) for n in names]


def _made(given: Any) -> Any:
    """What a contract gives, abstract where possible.

    It is not where there is more than arrays, as in an Equinox model with its activation; and what
    fails in the user's code fails in the plain call as the user knows it.
    """
    if not inspect.isroutine(given):
        return given
    with contextlib.suppress(Exception):
        return nnx.eval_shape(given)
    return given()


class _Taken(NamedTuple):
    """An array that a function was called with."""

    name: str
    shape: Sequence[Any]
    dtype: Any


def _arrays(
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> list[_Taken]:
    """The arrays among the arguments, in the order of the parameters."""
    try:
        bound = inspect.signature(fn).bind(*args, **kwargs).arguments
    except TypeError:
        fn(*args, **kwargs)  # whose own error says more
        raise
    return [*_spread(bound)]


def _spread(bound: Mapping[str, Any]) -> Iterator[_Taken]:
    """The arrays among values, those in tuples of ``*args`` too; a random key is none."""
    for name, value in bound.items():
        for part in value if isinstance(value, tuple) else (value,):
            is_array = hasattr(part, "shape") and hasattr(part, "dtype")
            if is_array and not jnp.issubdtype(part.dtype, jax.dtypes.prng_key):
                yield _Taken(name, part.shape, part.dtype)


def _bind(function: str, signature: Signature, taken: Sequence[_Taken]) -> dict[str, Any]:
    """The sizes that the names have; refuse arrays that do not fit."""
    sizes: dict[str, Any] = {}
    diagnostics = []
    if len(taken) < len(signature.inputs):
        given = f"it is called with {len(taken)} arrays"
        diagnostics.append(Diagnostic(f"{given}, the contract says {len(signature.inputs)}.", FIX))
    pairs = [*zip(taken, signature.inputs, strict=False)]
    for array, spec in pairs:
        diagnostics += _bind_names(array, spec, sizes)
    diagnostics = diagnostics or [
        diagnostic for array, spec in pairs for diagnostic in _misfits(array, spec, sizes)
    ]
    diagnostics = diagnostics or [*_unmet(signature, sizes)]
    if diagnostics:
        operand_shapes = [
            OperandShape(a.name, a.shape, f"the contract says {s.text}") for a, s in pairs
        ]
        raise ShapeError(message(function, diagnostics, operand_shapes))
    return sizes


FIX = "call it as the contract says, or change the contract."


def _bind_names(array: _Taken, spec: Spec, sizes: dict[str, Any]) -> Iterator[Diagnostic]:
    axes = spec.aligned(len(array.shape))
    if axes is None:
        yield Diagnostic(
            f"{array.name} has {len(array.shape)} axes, not those of {spec.text!r}.", FIX
        )
        return
    for axis, size in zip(axes, array.shape, strict=True):
        if isinstance(axis, Formula) and axis.is_name():
            sizes.setdefault(axis.text, size)


def _misfits(array: _Taken, spec: Spec, sizes: Mapping[str, Any]) -> Iterator[Diagnostic]:
    if spec.dtype and jnp.dtype(spec.dtype) != array.dtype:
        yield Diagnostic(f"{array.name} is {array.dtype}, the contract says {spec.dtype}.", FIX)
    for i, (axis, size) in enumerate(
        zip(spec.aligned(len(array.shape)) or (), array.shape, strict=True)
    ):
        if isinstance(axis, Formula) and (said := axis.value(sizes)) != size:
            names = [] if axis.is_name() else axis.names()
            known = "".join(f", with {name} = {sizes[name]}" for name in names)
            formula = axis.text if axis.text == str(said) else f"{axis.text} = {said}"
            wrong = f"axis {i} of {array.name} is {size}, the contract says {formula}{known}."
            yield Diagnostic(wrong, FIX)


SIGNS = {
    "lt_set": operator.lt,
    "le_set": operator.le,
    "eq_set": operator.eq,
    "ge_set": operator.ge,
    "gt_set": operator.gt,
}


def _unmet(signature: Signature, sizes: Mapping[str, Any]) -> Iterator[Diagnostic]:
    for left, sign, right in signature.conditions:
        if not SIGNS[sign](left.value(sizes), right.value(sizes)):
            names = dict.fromkeys([*left.names(), *right.names()])
            known = [f"{name} = {sizes[name]}" for name in names if str(sizes[name]) != name]
            here = f"{', '.join(known)}, but " if known else ""
            yield Diagnostic(f"{here}the contract is for {signature.where} only.", FIX)


class BrokenPromiseError(ShapeError):
    """A promise that is not kept.

    Attributes:
        tell: the sentence, with numbers for some sizes of the proof.
    """

    def __init__(self, text: str, tell: Callable[[Mapping[str, int]], str]) -> None:
        super().__init__(text)
        self.tell = tell


MEND = "mend the function, or promise what it returns."


def _hold(function: str, signature: Signature, sizes: Mapping[str, Any], result: Any) -> None:
    """Refuse a result that is not the one promised."""
    found = jax.tree.leaves(result)
    if len(found) != len(signature.outputs):
        wrong = f"it returns {len(found)} arrays, the contract says {len(signature.outputs)}."
        raise ShapeError(message(function, [Diagnostic(wrong, MEND)]))
    arrays = [leaf if hasattr(leaf, "shape") else _as_array(function, leaf) for leaf in found]
    for i, (array, spec) in enumerate(zip(arrays, signature.outputs, strict=True)):
        which = f" of result {i}" if len(found) > 1 else ""
        axes = spec.aligned(len(array.shape))
        if axes is None:
            wrong = f"it returns shape {array.shape}{which}, the contract says {spec.text!r}."
            raise ShapeError(message(function, [Diagnostic(wrong, MEND)]))
        if spec.dtype and jnp.dtype(spec.dtype) != array.dtype:
            wrong = f"it returns {array.dtype}{which}, the contract says {spec.dtype}."
            raise ShapeError(message(function, [Diagnostic(wrong, MEND)]))
        for k, (axis, size) in enumerate(zip(axes, array.shape, strict=True)):
            if isinstance(axis, Formula) and axis.value(sizes) != size:
                _refuse(function, sizes, size, axis, f"axis {k}{which}")


def _as_array(function: str, value: Any) -> jax.ShapeDtypeStruct:
    """What JAX makes of a number; nothing else is an array."""
    try:
        return jax.eval_shape(jnp.asarray, value)
    except TypeError:
        wrong = f"it returns a {type(value).__name__}, which is no array."
        raise ShapeError(message(function, [Diagnostic(wrong, MEND)])) from None


def _refuse(
    function: str, sizes: Mapping[str, Any], size: Any, promise: Formula, axis: str
) -> None:
    def tell(point: Mapping[str, int]) -> str:
        names = {name: _at(known, point) for name, known in sizes.items()}
        return broken_text(names, _at(size, point), promise, axis, str(size))

    symbolic = any(isinstance(value, Size) for value in (size, *sizes.values()))
    wrong = f"{axis} is {size}, the contract says {promise.text}." if symbolic else tell({})
    raise BrokenPromiseError(message(function, [Diagnostic(wrong, MEND)]), tell)


def _at(size: Any, point: Mapping[str, int]) -> int:
    return size.at(**point) if isinstance(size, Size) else size
