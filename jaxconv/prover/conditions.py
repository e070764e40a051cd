"""What a finished trace shows: where its maps are empty, its reshapes fit, and pixels are lost.

Nothing here traces again: each finding is a set of sizes, read off formulas that hold on the whole
domain of the trace.
"""

import functools
import operator
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

import islpy as isl
import jax
import jax.numpy as jnp

from jaxconv.compat import Jaxpr, JaxprEqn, Var
from jaxconv.jaxpr.interpreter import shape_of
from jaxconv.jaxpr.primitives import record_of
from jaxconv.jaxpr.window_axis import WindowAxis
from jaxconv.prover.verdict import point_text
from jaxconv.source import Origin, origin_of_equation
from jaxconv.symbolic.sets import SizeSet
from jaxconv.symbolic.size import (
    DeferredEquality,
    Size,
    SymbolicTrace,
    Undecided,
    equality,
    moved,
    ways,
)
from jaxconv.symbolic.specs import Formula, Spec, SpecError, broken_text


class Finding(NamedTuple):
    """A condition that must hold, and what is wrong where it does not.

    Attributes:
        holds: the sizes for which it does.
        kind: of the failure; those of one kind and line are one.
        tell: the sentence, given the smallest sizes that fail.
        fix: the remedy; empty where other sizes are the remedy.
        otherwise: the remedy where no sizes are one.
    """

    holds: isl.Set
    kind: str
    tell: Callable[[Mapping[str, int]], str]
    fix: str = ""
    otherwise: str = ""


def equations(jaxpr: Jaxpr) -> Iterator[JaxprEqn]:
    """All equations, those of inner jaxprs before the call that has them."""
    for eqn in jaxpr.eqns:
        for inner in inside(eqn):
            yield from equations(inner)
        yield eqn


def inside(eqn: JaxprEqn) -> Iterator[Jaxpr]:
    """The jaxprs within an equation: of calls, loops and branches."""
    for value in eqn.params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            inner = getattr(part, "jaxpr", part)
            if isinstance(inner, Jaxpr):
                yield inner


def scraps(jaxpr: Jaxpr) -> set[Var]:
    """Values that may be empty: cut out of a map, only to be joined to something.

    So ``jnp.pad`` with its mode "edge" joins nothing to the sides that it leaves as they are.
    """
    found: set[Var] = set()
    users: dict[Var, list[JaxprEqn]] = {}
    for eqn in reversed(jaxpr.eqns):
        for inner in inside(eqn):
            found |= scraps(inner)
        for var in eqn.outvars:
            taken = users.get(var, [])
            if taken and record_of(eqn).builds_padding and all(_is_join(u, found) for u in taken):
                found.add(var)
        for atom in eqn.invars:
            if isinstance(atom, Var):
                users.setdefault(atom, []).append(eqn)
    return found.difference(var for var in jaxpr.outvars if isinstance(var, Var))


def _is_join(eqn: JaxprEqn, found: set[Var]) -> bool:
    record = record_of(eqn)
    return record.concatenates or (record.builds_padding and found.issuperset(eqn.outvars))


def findings(trace: SymbolicTrace, eqn: JaxprEqn, free: Container[Var]) -> Iterator[Finding]:
    """What must hold of one equation.

    Args:
        trace: the run.
        eqn: the equation.
        free: values that may be empty.
    """
    for atom in eqn.outvars:
        for size in () if atom in free else shape_of(atom):
            yield not_empty(trace, size)
    if record_of(eqn).must_keep_count:
        yield _all_numbers(trace, eqn)


def not_empty(trace: SymbolicTrace, size: Any) -> Finding:
    """A side of a feature map must be at least 1."""
    if isinstance(size, Size):
        holds = _positive(trace, size)
    else:
        holds = trace.domain if size >= 1 else isl.Set.empty(trace.domain.space)
    return Finding(holds, "empty", functools.partial(_emptiness, size))


def _emptiness(size: Any, point: Mapping[str, int]) -> str:
    return f"a feature map is empty: one of its sides is {value_text(size, point)}."


def value_text(size: Any, point: Mapping[str, int]) -> str:
    """A size and its number at a point: ``h//2, which is 0 for h = 1``."""
    if not isinstance(size, Size):
        return str(size)
    here = ", ".join(f"{name} = {point[name]}" for name in _names_in(str(size), point))
    return f"{size}, which is {size.at(**point)} for {here}"


def _names_in(text: str, names: Iterable[str]) -> list[str]:
    words = set(re.findall(r"\w+", text))
    return [name for name in names if name in words]


def _positive(trace: SymbolicTrace, size: Size) -> isl.Set:
    """Where a size is at least 1."""
    here = moved(trace, size)  # on fewer sizes than its own trial's more is known of it
    if not here.products:
        return here.affine.ge_set(trace.formula(1))
    if cast(Any, here) >= 1:
        return trace.domain
    raise Undecided(f"whether {size} is at least 1")


def _all_numbers(trace: SymbolicTrace, eqn: JaxprEqn) -> Finding:
    """A reshape must keep the count of numbers; JAX does not look for symbolic sizes."""
    before, after = (shape_of(atom) for atom in (eqn.invars[0], eqn.outvars[0]))
    counts: list[Any] = [1, 1]
    for i, shape in enumerate((before, after)):
        for size in shape:
            counts[i] = moved(trace, size) * counts[i]
    shapes = f"{shape_text(before)} to {shape_text(after)}"
    message = f"the reshape from {shapes} does not keep all numbers."
    return Finding(equal(trace, *counts), "reshape", lambda _: message)


def equal(trace: SymbolicTrace, a: Any, b: Any) -> isl.Set:
    """Where two sizes are equal.

    Raises:
        Undecided: if that is not known.
    """
    if isinstance(a, int) and isinstance(b, int):
        return trace.domain if a == b else isl.Set.empty(trace.domain.space)
    a, b = (x if isinstance(x, Size) else Size(trace, trace.formula(x), {}) for x in (a, b))
    condition, exact = equality(a, b)
    if not exact:
        raise Undecided(f"whether {a} equals {b}")
    return condition


def promised(trace: SymbolicTrace, promise: Any, result: Any) -> Iterator[Finding]:
    """What must hold of the arrays returned, so that they are those promised."""
    specs = jax.tree.leaves(promise, is_leaf=lambda x: isinstance(x, Spec))
    found = jax.tree.leaves(result)
    structure = jax.tree.structure(promise, is_leaf=lambda x: isinstance(x, Spec))
    in_order = isinstance(promise, tuple | list) and len(specs) == len(promise)
    if not in_order and structure != jax.tree.structure(result):
        wrong = f"the function returns {jax.tree.map(lambda _: '*', result)}, the contract says "
        yield _never(trace, f"{wrong}{jax.tree.unflatten(structure, '*' * len(specs))}.")
        return
    if len(specs) != len(found):
        message = f"the function returns {len(found)} arrays, the contract says {len(specs)}."
        yield _never(trace, message)
        return
    for i, (spec, array) in enumerate(zip(specs, found, strict=True)):
        which = f" of result {i}" if len(specs) > 1 else ""
        if spec.dtype and dtype_of(spec) != array.dtype:
            wrong = f"the function returns {array.dtype}{which}, the contract says {spec.dtype}."
            yield _never(trace, wrong)
        yield from _promised_shape(trace, spec, array.shape, which)


def dtype_of(spec: Spec) -> Any:
    """The dtype that a spec names; float32 where it names none.

    Raises:
        SpecError: a name that is none.
    """
    try:
        return jnp.dtype(spec.dtype or "float32")
    except TypeError:
        fix = "Fix: write it in full, such as float32, bfloat16 or int32."
        raise SpecError(f"{spec.dtype} is no dtype.\n  {spec.text}\n  {fix}") from None


def _never(trace: SymbolicTrace, message: str) -> Finding:
    fix = "promise what it returns, or mend the function."
    return Finding(isl.Set.empty(trace.domain.space), "promise", lambda _: message, fix)


def _promised_shape(
    trace: SymbolicTrace, spec: Spec, shape: Sequence[Any], which: str
) -> Iterator[Finding]:
    axes = spec.aligned(len(shape))
    if axes is None:
        wrong = f"the function returns shape {shape_text(shape)}{which}, "
        yield _never(trace, f"{wrong}the contract says {len(spec.axes)} axes.")
        return
    sizes = {name: trace.size(name) for name in trace.names()}
    for i, (axis, size) in enumerate(zip(axes, shape, strict=True)):
        if isinstance(axis, Formula):
            tell = functools.partial(_broken, size, axis, f"axis {i}{which}")
            text = "_" if " if " in str(size) else str(size).replace(" ", "")
            fix = f"promise {text} there, or mend the function."
            yield Finding(equal(trace, size, axis.value(sizes)), f"promise {i}{which}", tell, fix)


def _broken(size: Any, promise: Formula, axis: str, point: Mapping[str, int]) -> str:
    got = size.at(**point) if isinstance(size, Size) else size
    return broken_text(point, got, promise, axis, str(size))


class Lost(NamedTuple):
    """A window that leaves out the last rows or columns.

    Attributes:
        origin: the line and layer of it.
        sizes: those for which it does.
    """

    origin: Origin
    sizes: isl.Set


def lost_pixels(trace: SymbolicTrace, sizes: isl.Set, jaxpr: Jaxpr) -> Iterator[Lost]:
    """Where windows with a stride end before their maps do.

    Of n pixels and some padding a window of extent e with stride s leaves out the last
    (n + low + high - e) mod s, of which the first ``high`` are padding. A window smaller than its
    stride skips pixels on purpose.
    """
    tap = ""  # the name given next, going backwards, for windows in nobody's own code
    for eqn in reversed(list(equations(jaxpr))):
        tap = eqn.params["name"] if eqn.primitive.name == "name" else tap
        for axis in _strided_windows(eqn):
            low, high = axis.padding
            try:
                left = (axis.input_size + low + high - axis.extent) % axis.stride - high
                left = moved(trace, left)
            except Undecided:
                continue
            losing = sizes.intersect(left.affine.ge_set(trace.formula(1)))
            if not losing.is_empty():
                yield Lost(_named(origin_of_equation(eqn), tap), losing)


def _strided_windows(eqn: JaxprEqn) -> Iterator[WindowAxis]:
    """Along each axis the window of a convolution or a pool that skips no pixel on purpose."""
    window = record_of(eqn).window
    axes = window(eqn) if window else ()
    if any(axis.input_dilation != 1 for axis in axes):
        return
    for axis in axes:
        if isinstance(axis.kernel_size, int) and 2 <= axis.stride <= axis.extent:
            yield axis


def _named(origin: Origin, tap: str) -> Origin:
    return origin if origin.path or origin.layer else replace(origin, layer=tap)


def shape_text(shape: Sequence[Any]) -> str:
    """A shape as Python writes a tuple, with formulas."""
    return f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"


def lost_text(lost: Sequence[Lost], accepts: SizeSet) -> str:
    """Say once which windows lose pixels, and which sizes lose none; nothing where none is lost."""
    if not lost:
        return ""
    sizes = functools.reduce(operator.or_, (SizeSet(found.sizes) for found in lost))
    first = sizes.smallest()
    origin = next(found.origin for found in lost if SizeSet(found.sizes).contains(**first))
    place = " at ".join(filter(None, (origin.layer, str(origin))))
    whole = accepts - sizes
    fix = "crop or pad" if whole.is_empty() else f"pad to sizes with {whole}, or crop to them"
    window = f"the window of {place}" if place else "a window"
    here = point_text({name: first[name] for name in sizes.subject()})
    return f"{window} does not reach the end of its map, first for {here}; to use all, {fix}."


def accident(deferred: DeferredEquality, accepts: SizeSet) -> str:
    """Say so where a flatten fits in more ways than one: which side is which is then forgotten."""
    found = [
        text
        for text, sizes in ways(deferred.difference)
        if not (SizeSet(sizes) & accepts).is_empty()
    ]
    if len(found) < 2:
        return ""
    return (
        f"{deferred.difference} is 0 in {len(found)} ways ({'; '.join(found)}), and all are "
        "accepted; to keep one, promise the sizes before the flatten, or pool to a fixed map."
    )
