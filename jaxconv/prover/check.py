"""Prove for all sizes at once what a function accepts and returns."""

import inspect
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import islpy as isl
import jax
from flax import nnx

from jaxconv.errors import Diagnostic, raise_if, raises_shape_error
from jaxconv.prover.conditions import dtype_of, not_empty
from jaxconv.prover.contract import arguments_of, contract_of
from jaxconv.prover.search import Search, is_spec
from jaxconv.prover.verdict import Verdict
from jaxconv.source import definition
from jaxconv.symbolic.size import SymbolicTrace, domain_of
from jaxconv.symbolic.specs import ANY, REST, Formula, Spec, SpecError, parse_spec


def check(
    fn: Callable[..., Any], *args: Any, returns: Any = None, where: str | None = None
) -> Verdict:
    """Prove, for every size at once, what a function accepts and returns.

    The function is traced, never run: it needs no data and no device.

    Args:
        fn: any function of JAX; a model of Flax NNX or Equinox; ``apply`` of Linen or Haiku.
        *args: its arguments: specs such as ``"b h w 3"`` or ``"b h w 3:bfloat16"``, arrays,
            ShapeDtypeStructs, and pytrees of them. A name is any size of at least 1, the same
            wherever it stands. May be left out for a function with a :func:`contract`.
        returns: what it must return, in the structure of the result: ``"b 1000"``, with formulas
            of the names, ``_`` for any size and ``...`` for any axes.
        where: the sizes asked about, such as ``"h >= 32 and w == h"``.

    Returns:
        The verdict.

    Raises:
        SpecError: a spec, a promise or a condition that cannot be read.
        ShapeError: what is checked is no function.

    Example:
        >>> import jaxconv as jc
        >>> print(jc.check(jc.max_pool, "b h w c", returns="b h//2 w//2 c", where="h >= 2, w >= 2"))
        proven: accepts h >= 2, w >= 2, returns (b, h//2, w//2, c)
          note: a window does not reach the end of its map, first for h = 2, w = 3; to use all,
          pad to sizes with h and w multiples of 2, or crop to them.
    """
    return explore(fn, *args, returns=returns, where=where).verdict()


def explore(
    fn: Callable[..., Any], *args: Any, returns: Any = None, where: str | None = None
) -> Search:
    """Do what :func:`check` does, and keep the traces."""
    home, agreed = definition(fn), contract_of(fn)
    if agreed and not args:
        args = tuple(arguments_of(fn, agreed))
        where = ", ".join(filter(None, (agreed.signature.where, where)))
    raises_shape_error("check")(refuse_no_function)(fn)
    raises_shape_error("check")(refuse_no_call)(fn, args)
    fn, args = pure(fn, args)
    template = jax.tree.map(_read, args)
    names = _names(template)
    promise = None if returns is None else jax.tree.map(_promise, returns)
    for spec in (*_specs(template), *_specs(promise)):
        dtype_of(spec)  # which refuses what is none
    for spec in _specs(promise):
        if unknown := [name for name in spec.names() if name not in names]:
            raise SpecError(
                f"returns= names {unknown[0]}, but the arguments have {', '.join(names)}.\n"
                "  Fix: use the names of the arguments, or _ for any size."
            )
    domain = _with_sides(domain_of(names, where or ""), _specs(template))
    search = Search(fn, home, template, promise, domain)
    search.run()
    return search


def pure(fn: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Callable[..., Any], Any]:
    """Make a Flax module's state an argument: it may be abstract, and change while tracing.

    Returns:
        The function and its arguments; of anything but an NNX module the same.
    """
    model, call = getattr(fn, "__self__", fn), getattr(fn, "__func__", type(fn).__call__)
    if not isinstance(model, nnx.Module):
        return fn, args
    graph, state = nnx.split(model)
    return lambda state, *args, **named: call(nnx.merge(graph, state), *args, **named), (
        state,
        *args,
    )


def refuse_no_function(fn: object) -> None:
    """Refuse what cannot be called as it is, with the remedy.

    Raises:
        ValidationError: a class, a model without parameters, no function.
    """
    linen: Any = sys.modules.get("flax.linen")
    unbound = linen is not None and isinstance(fn, linen.Module)
    if isinstance(fn, type):
        wrong = f"{fn.__name__} is a class."
        raise_if([Diagnostic(wrong, f"make a model of it first, as {fn.__name__}(...) does.")])
    if unbound or not callable(fn):
        why = "has no parameters of its own" if unbound else "is no function"
        wrong = f"what is to be called is of type {type(fn).__name__}, which {why}."
        fix = "pass its apply, and the parameters as the first argument."
        raise_if(
            [Diagnostic(wrong, fix if hasattr(fn, "apply") else "pass a function or a model.")]
        )


def refuse_no_call(fn: Callable[..., Any], args: Sequence[Any]) -> None:
    """Refuse arguments that a function does not take.

    Raises:
        ValidationError: too many or too few.
    """
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):  # those in C need not have one
        return
    try:
        signature.bind(*args)
    except TypeError as error:
        wrong = f"the function takes {signature}, and it is given {len(args)} arguments: {error}."
        raise_if([Diagnostic(wrong, 'pass a spec, such as "b h w 3", or a value for each.')])


def _read(leaf: Any) -> Any:
    return parse_spec(leaf) if isinstance(leaf, str) else leaf


def _promise(leaf: Any) -> Spec:
    if isinstance(leaf, str):
        return parse_spec(leaf)
    raise SpecError(f'returns= has {leaf!r}, which is no spec.\n  Fix: write it as "b 10".')


def _with_sides(domain: isl.Set, specs: Iterable[Spec]) -> isl.Set:
    """The sizes for which every side of every argument is at least 1."""
    trace = SymbolicTrace(domain)
    sizes = {name: trace.size(name) for name in trace.names()}
    for spec in specs:
        for axis in spec.axes:
            if isinstance(axis, Formula):
                domain = domain.intersect(not_empty(trace, axis.value(sizes)).holds)
    if domain.is_empty():
        texts = ", ".join(spec.text for spec in specs)
        raise SpecError(f"No sizes make every side of {texts} 1 or more.\n  Fix: ask about some.")
    return domain


def _specs(template: Any) -> list[Spec]:
    return [leaf for leaf in jax.tree.leaves(template, is_leaf=is_spec) if is_spec(leaf)]


def _names(template: Any) -> list[str]:
    found: dict[str, None] = {}
    for spec in _specs(template):
        if {ANY, REST} & {axis for axis in spec.axes if isinstance(axis, str)}:
            raise SpecError("An argument has _ or ... as a size.\n  Fix: name its sizes, as b h w.")
        found |= dict.fromkeys(spec.names())
    return list(found)
