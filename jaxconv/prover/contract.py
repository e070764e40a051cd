"""Contracts: the shapes that a function takes and returns, written above it and enforced."""

import inspect
import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, overload

from jaxconv.adapters.libraries import adapter_of
from jaxconv.prover.annotations import AnnotationError
from jaxconv.prover.enforcement import Arguments, Result, enforced
from jaxconv.prover.signatures import Annotations
from jaxconv.prover.terms import ProofCase, SpecTerms, Terms
from jaxconv.symbolic.specs import parse_contract

MOST_CASES = 24  # of one function, for its unions, numbers of axes and broadcast sizes


@dataclass(frozen=True)
class Contract:
    """The contract of a decorated function.

    Attributes:
        terms: the shapes.
        where: a condition on the sizes, as written.
        given: the arguments that have no spec, or functions that make them, by name.
        function: the decorated function.
    """

    terms: Terms
    where: str
    given: Mapping[str, Any]
    function: Callable[..., Any]


@overload
def contract(
    text: str | None = None, *, where: str = "", **given: Any
) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]: ...


@overload
def contract(text: Callable[Arguments, Result]) -> Callable[Arguments, Result]: ...


def contract(text: Any = None, *, where: str = "", **given: Any) -> Any:
    """Enforce the shapes that a function takes and returns, whenever it is called or traced.

    :func:`check`, ``jaxconv check FILE.py`` and ``pytest --contracts PACKAGE`` prove the
    contract for every size at once.

    Args:
        text: a spec for each array that the function takes, and for each that it returns:
            ``"b h w 3, b -> b h//32 w//32 512"``. Sizes are names, numbers and formulas, ``_`` for
            any size, ``...`` for any number of axes; nothing after ``->``, as in ``"b, b ->"``,
            is a scalar. Arguments that are not arrays, such as
            ``self`` or a tree of parameters, have no spec, and neither do those in ``given``.
            Without it, the function's jaxtyping annotations are the contract.
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
        >>> from jaxtyping import Array, Float
        >>> @jc.contract
        ... def double(x: Float[Array, "n"]) -> Float[Array, "2*n"]:
        ...     return jax.numpy.concatenate([x, x])
        >>> jc.check(double).ok
        True
    """
    if inspect.isroutine(text):
        return contract()(text)
    signature = None if text is None else parse_contract(text, where)

    def decorate(fn: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        if not inspect.isroutine(fn):
            raise TypeError(f"contract: {fn!r} is not a function. Fix: decorate its __call__.")
        terms = Annotations(fn) if signature is None else SpecTerms(signature, frozenset(given))
        wrapped = enforced(fn, terms, where)
        wrapped.__contract__ = Contract(terms, where, given, wrapped)  # type: ignore[attr-defined]
        return wrapped

    return decorate


# Packages whose transformations are told by the names of their wrappers, and these names.
TRANSFORMING = ("jax", "flax", "equinox")
CHANGES_SHAPES = re.compile("(vmap|pmap|(?<!custom_)grad|jac|shard_map|scan)", re.IGNORECASE)
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


def proofs_of(fn: Any, given: Mapping[str, Any], owner: type | None = None) -> list[ProofCase]:
    """List the calls that prove a function's contract, or its annotations.

    Args:
        fn: a function, a method or a model.
        given: values of its arguments by name, or functions that make them.
        owner: the class of a method of which no instance is given.

    Returns:
        The calls; none where nothing says what the arguments are.

    Raises:
        ShapeError: an argument cannot be made.
    """
    contract = contract_of(fn)
    where = ""
    if contract is not None:
        given, where = {**contract.given, **given}, contract.where
    if contract is not None and isinstance(contract.terms, SpecTerms):
        cases = contract.terms.proofs(fn, given)
    else:
        function, instance = unbound(fn)
        terms = annotations_of(fn, owner)
        if terms.says_shapes():
            _require_provable(fn, instance)
        cases = terms.proofs(function, {**instance, **given}) if terms.says_shapes() else iter(())
    return [case._replace(where=where) for case in itertools.islice(cases, MOST_CASES + 1)]


def _require_provable(fn: Any, instance: Mapping[str, Any]) -> None:
    """Refuse what the annotations alone do not describe.

    A function that a transformation made has the annotations of what it wraps. A model may get its
    parameters from its library, outside its class, for the inputs that it is given.
    """
    name = getattr(inspect.unwrap(fn), "__name__", "the function")
    while hasattr(fn, "__wrapped__"):  # the annotations of what wraps nothing are its own
        # A transformation shows in the type of a wrapper, in its code, or in that of what it calls.
        called = (cell.cell_contents for cell in getattr(fn, "__closure__", None) or ())
        codes = (getattr(part, "__code__", None) for part in itertools.chain([fn], called))
        names_of_codes = (getattr(code, "co_qualname", "") for code in codes)
        names = itertools.chain([type(fn).__name__], names_of_codes)
        module = getattr(fn, "__globals__", {}).get("__name__") or type(fn).__module__
        if any(map(CHANGES_SHAPES.search, names)) and module.partition(".")[0] in TRANSFORMING:
            raise AnnotationError(
                f"the annotations are those of {name}, not of what a transformation such as "
                f"jax.vmap makes of it.\n  Fix: check {name} itself, or pass specs."
            )
        fn = fn.__wrapped__
    for model in instance.values():
        adapter = adapter_of(model)
        if adapter is not None and adapter.is_incomplete(model) and not adapter.adds_values:
            raise AnnotationError(
                f"{type(model).__name__} has no parameters.\n"
                '  Fix: pass specs of its arguments, as in jc.check(model, "b h w 3").'
            )


def annotations_of(fn: Any, owner: type | None = None) -> Annotations:
    """Read the annotations of a function, a method or a model.

    Args:
        fn: the function, method or model.
        owner: the class of a method of which no instance is given.
    """
    function, instance = unbound(fn)
    return Annotations(function, next(iter(map(type, instance.values())), owner))


def unbound(fn: Any) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Take a method apart.

    Args:
        fn: a function, a method, or an object that can be called.

    Returns:
        A function, and the object by the name of its parameter; nothing for a function.
    """
    if hasattr(fn, "__func__") and hasattr(fn, "__self__"):  # Equinox has bound methods of its own
        function, instance = fn.__func__, fn.__self__
    elif type(fn).__name__ in JITS or inspect.isroutine(fn):
        return fn, {}
    else:
        function, instance = type(fn).__call__, fn
    return function, {next(iter(inspect.signature(function).parameters)): instance}
