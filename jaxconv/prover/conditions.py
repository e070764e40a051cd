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
from jaxconv.jaxpr.interpreter import equations, shape_of, subjaxprs, variables
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


# What cuts and moves a map, and computes nothing of it.
MOVES = frozenset(
    """add broadcast_in_dim concatenate convert_element_type copy dynamic_slice iota mul neg reshape
    rev slice squeeze sub transpose""".split()  # noqa: SIM905
)


def scraps(jaxpr: Jaxpr) -> set[Var]:
    """Find values that may be empty: cut out of a map, only to be concatenated to something.

    So ``jnp.pad`` with its mode "edge" joins nothing to the sides that it leaves as they are.

    Args:
        jaxpr: a trace.

    Returns:
        Variables of the trace and of all jaxprs inside it.
    """
    found: set[Var] = set()
    users: dict[Var, list[JaxprEqn]] = {}
    for eqn in reversed([*equations(jaxpr, recursive=False)]):
        found.update(*map(scraps, subjaxprs(eqn)))
        for var in eqn.outvars:
            taken = users.get(var, [])
            if taken and eqn.primitive.name in MOVES and all(_is_join(u, found) for u in taken):
                found.add(var)
        for var in variables(eqn.invars):
            users.setdefault(var, []).append(eqn)
    return found.difference(variables(jaxpr.outvars))


def _is_join(eqn: JaxprEqn, found: set[Var]) -> bool:
    name = eqn.primitive.name
    return name == "concatenate" or (name in MOVES and found.issuperset(eqn.outvars))


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
    if eqn.primitive.name == "reshape":
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
        for n, extent, stride, low, high in _windows(eqn):
            if stride < 2 or extent < stride:
                continue
            try:
                left = moved(trace, (n + low + high - extent) % stride - high)
            except Undecided:
                continue
            losing = sizes.intersect(left.affine.ge_set(trace.formula(1)))
            if not losing.is_empty():
                yield Lost(_named(origin_of_equation(eqn), tap), losing)


def _named(origin: Origin, tap: str) -> Origin:
    return origin if origin.path or origin.layer else replace(origin, layer=tap)


def _windows(eqn: JaxprEqn) -> Iterator[tuple[Any, int, int, Any, Any]]:
    """Size, extent, stride and pads of each axis of a convolution or a pool."""
    params = eqn.params
    if eqn.primitive.name == "conv_general_dilated" and set(params["lhs_dilation"]) <= {1}:
        numbers, kernel = params["dimension_numbers"], shape_of(eqn.invars[1])
        sides = [shape_of(eqn.invars[0])[axis] for axis in numbers.lhs_spec[2:]]
        taps = [kernel[axis] for axis in numbers.rhs_spec[2:]]
        dilation = params["rhs_dilation"]
    elif eqn.primitive.name.startswith("reduce_window") and set(params["base_dilation"]) == {1}:
        sides, taps = shape_of(eqn.invars[0]), params["window_dimensions"]
        dilation = params["window_dilation"]
    else:
        return
    rows = zip(sides, taps, dilation, params["window_strides"], params["padding"], strict=True)
    for n, k, d, stride, (low, high) in rows:
        if isinstance(k, int):
            yield n, (k - 1) * d + 1, stride, low, high


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
