"""Prove for all sizes at once what a function accepts and returns."""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxconv.compat import require_supported_jax
from jaxconv.errors import Diagnostic, ValidationError, raise_if, raises_shape_error, shown
from jaxconv.prover.conclude import conclude
from jaxconv.prover.contract import arguments_of, contract_of
from jaxconv.prover.explore import TIMEOUT, Exploration
from jaxconv.prover.returns import dtype_of, is_spec
from jaxconv.prover.subject import Subject
from jaxconv.prover.verdict import Verdict
from jaxconv.source import definition
from jaxconv.symbolic.domains import domain_of, without_empty_sides
from jaxconv.symbolic.specs import (
    ANY,
    REST,
    Spec,
    SpecError,
    joined_conditions,
    parse_spec,
)

LONGEST = 1e9  # seconds; no check takes longer


def check(
    fn: Callable[..., Any],
    *args: Any,
    returns: Any = None,
    where: str | None = None,
    timeout: float = TIMEOUT,
) -> Verdict:
    """Prove, for every size at once, what a function accepts and returns.

    The function is traced, never run: it needs no data and no device.

    Args:
        fn: any JAX function; a model of Flax NNX or Equinox; ``apply`` of Linen or Haiku.
        *args: its arguments: specs such as ``"b h w 3"`` or ``"b h w 3:bfloat16"``, arrays,
            ShapeDtypeStructs, and pytrees of them. A name is any size of at least 1, the same
            wherever it occurs. None are needed for a function with a :func:`contract`.
        returns: what it must return, in the structure of the result: ``"b 1000"``, with formulas
            of the names, ``_`` for any size and ``...`` for any number of axes.
        where: the sizes to consider, such as ``"h >= 32 and w == h"``.
        timeout: seconds, after which what is left is not decided.

    Returns:
        The verdict.

    Raises:
        SpecError: a spec or a condition cannot be read.
        ShapeError: what is checked cannot be called with these arguments.

    Example:
        >>> import jaxconv as jc
        >>> print(jc.check(jc.max_pool, "b h w c", returns="b h//2 w//2 c", where="h >= 2, w >= 2"))
        proven: accepts h >= 2, w >= 2, returns (b, h//2, w//2, c)
          note: a window does not reach the end of its map, first for h = 2, w = 3; to use all,
          pad to sizes with h and w multiples of 2, or crop to them.
    """
    return conclude(explore_sizes(fn, *args, returns=returns, where=where, timeout=timeout))


def explore_sizes(
    fn: Callable[..., Any],
    *args: Any,
    returns: Any = None,
    where: str | None = None,
    timeout: float = TIMEOUT,
) -> Exploration:
    """Do what :func:`check` does, and keep the traces.

    Args:
        fn: as for :func:`check`.
        *args: as for :func:`check`.
        returns: as for :func:`check`.
        where: as for :func:`check`.
        timeout: as for :func:`check`.

    Returns:
        The results of the traces.

    Raises:
        SpecError: a spec or a condition cannot be read.
        ShapeError: what is checked cannot be called with these arguments.
        UnsupportedJaxError: the installed JAX differs from what proofs rely on.
    """
    require_supported_jax()
    timeout = raises_shape_error("check")(seconds)(timeout)
    origin, contract = definition(fn), contract_of(fn)
    if contract and not args:
        args = tuple(arguments_of(fn, contract))
        where = joined_conditions(contract.signature.where, where)
    raises_shape_error("check")(require_callable)(fn)
    raises_shape_error("check")(require_arguments)(fn, args)
    fn, args = pure(fn, args)
    arguments, results = (
        jax.tree.map(lambda x: parse_spec(x) if isinstance(x, str) else x, tree)
        for tree in (args, returns)
    )
    for leaf in jax.tree.leaves(results, is_leaf=is_spec):
        if not is_spec(leaf):
            wrong = f"returns= has {shown(leaf)}, which is not a spec."
            raise SpecError(f'{wrong}\n  Fix: write it as "b 10".')
    for spec in (*_specs(arguments), *_specs(results)):
        dtype_of(spec)  # raises SpecError where the name is not that of a dtype
    if {ANY, REST} & {axis for spec in _specs(arguments) for axis in spec.axes}:
        raise SpecError("An argument has _ or ... as a size.\n  Fix: name its sizes, as b h w.")
    names = list(dict.fromkeys(name for spec in _specs(arguments) for name in spec.names()))
    for spec in _specs(results):
        if unknown := [name for name in spec.names() if name not in names]:
            raise SpecError(
                f"returns= names {unknown[0]}, but the arguments have {', '.join(names)}.\n"
                "  Fix: use the names of the arguments, or _ for any size."
            )
    domain = without_empty_sides(domain_of(names, where), _specs(arguments))
    exploration = Exploration(Subject(fn, origin, arguments, results), domain, timeout)
    exploration.run()
    return exploration


def pure(fn: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Callable[..., Any], Any]:
    """Make the state of a Flax NNX module an argument: it may be abstract, and change in a trace.

    Args:
        fn: a function, a module, or a method of one.
        args: its arguments.

    Returns:
        A function and its arguments; those given, where no NNX module is called.
    """
    model, call = getattr(fn, "__self__", fn), getattr(fn, "__func__", type(fn).__call__)
    if not isinstance(model, nnx.Module):
        return fn, args
    graph, state = nnx.split(model)
    return lambda state, *args, **named: call(nnx.merge(graph, state), *args, **named), (
        state,
        *args,
    )


def require_callable(fn: object) -> None:
    """Check that something can be called as it is; where not, name the remedy.

    Args:
        fn: what is to be called.

    Raises:
        ValidationError: it is a class, a module without parameters, or not a function.
    """
    linen: Any = sys.modules.get("flax.linen")
    unbound = linen is not None and isinstance(fn, linen.Module)
    if isinstance(fn, type):
        wrong = f"{fn.__name__} is a class."
        raise_if([Diagnostic(wrong, f"make a model first, as {fn.__name__}(...) does.")])
    if unbound or not callable(fn):
        why = "has no parameters of its own" if unbound else "is not a function"
        wrong = f"what is to be called is of type {type(fn).__name__}, which {why}."
        fix = "pass its apply, and the parameters as the first argument."
        raise_if(
            [Diagnostic(wrong, fix if hasattr(fn, "apply") else "pass a function or a model.")]
        )


def require_arguments(
    fn: Callable[..., Any], args: Sequence[Any], named: Mapping[str, Any] | None = None
) -> None:
    """Check that a function takes the arguments given.

    Args:
        fn: the function.
        args: its arguments.
        named: its keyword arguments.

    Raises:
        ValidationError: they are too many or too few.
    """
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):  # functions in C need not have one
        return
    try:
        signature.bind(*args, **(named or {}))
    except TypeError as error:
        count = f"{len(args)} argument{'s' * (len(args) != 1)}"
        wrong = f"the function takes {signature}, but got {count}: {error}."
        raise_if([Diagnostic(wrong, 'pass a spec, such as "b h w 3", or a value for each.')])


def seconds(timeout: Any) -> float:
    """Read a time limit.

    Args:
        timeout: what was passed.

    Raises:
        ValidationError: not a number of at least 0.
    """
    is_number = isinstance(timeout, int | float | np.number) and not isinstance(timeout, bool)
    if is_number and not isinstance(timeout, np.complexfloating) and timeout >= 0:
        return float(min(timeout, LONGEST))
    wrong = f"timeout is {shown(timeout)}, but must be a number of seconds, 0 or more."
    raise ValidationError([Diagnostic(wrong, "pass timeout=60.")])


def _specs(tree: Any) -> list[Spec]:
    return [leaf for leaf in jax.tree.leaves(tree, is_leaf=is_spec) if is_spec(leaf)]
