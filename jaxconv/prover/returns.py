"""What a contract says about the result of a function, as requirements of a finished trace."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv.adapters.call import is_spec
from jaxconv.prover.conditions import Requirement, shape_text
from jaxconv.symbolic.size import Size, equal, sizes_of, value_at
from jaxconv.symbolic.spec_errors import spec_error
from jaxconv.symbolic.specs import Correction, Formula, Spec, violation_text
from jaxconv.symbolic.trace import SymbolicTrace


def dtype_of(spec: Spec) -> jnp.dtype:
    """Find the dtype that a spec names.

    Args:
        spec: the spec.

    Returns:
        The dtype; float32 where it names none.

    Raises:
        SpecError: the name is not that of a dtype.
    """
    try:
        return jnp.dtype(spec.dtype or "float32")
    except TypeError:
        fix = "write it in full, such as float32, bfloat16 or int32."
        column = spec.text.rfind(spec.dtype)
        raise spec_error(f"{spec.dtype} is not a dtype.", spec.text, column, fix) from None


def requirements_of_result(
    trace: SymbolicTrace, returns: Any, result: Any
) -> Iterator[Requirement]:
    """List the conditions under which the returned arrays fulfil the contract.

    Args:
        trace: the run.
        returns: a tree of specs, in the structure of the result or in its order; None where
            anything may be returned.
        result: a tree of ShapeDtypeStructs.

    Yields:
        The requirements.

    Raises:
        Fork: a formula of the contract differs from case to case, such as ``w//h``.
        Undecided: it is not known for which sizes one of them holds.
    """
    if returns is None:
        return
    specs = jax.tree.leaves(returns, is_leaf=is_spec)
    arrays = jax.tree.leaves(result)
    structure = jax.tree.structure(returns, is_leaf=is_spec)
    in_order = isinstance(returns, tuple | list) and len(specs) == len(returns)
    if not in_order and structure != jax.tree.structure(result):
        returned = jax.tree.map(lambda _: "*", result)
        expected = jax.tree.unflatten(structure, "*" * len(specs))
        structures = f"the function returns {returned}, but the contract says {expected}."
        yield _violated(trace, structures)
        return
    if len(specs) != len(arrays):
        count = f"{len(arrays)} array{'s' * (len(arrays) != 1)}"
        counts = f"the function returns {count}, but the contract says {len(specs)}."
        yield _violated(trace, counts)
        return
    for i, (spec, array) in enumerate(zip(specs, arrays, strict=True)):
        which = f" of result {i}" if len(specs) > 1 else ""
        if spec.dtype and dtype_of(spec) != array.dtype:
            dtypes = f"the function returns {array.dtype}{which}"
            yield _violated(trace, f"{dtypes}, but the contract says {spec.dtype}.")
        yield from _requirements_of_shape(trace, spec, array.shape, which)


def _violated(trace: SymbolicTrace, message: str) -> Requirement:
    """A requirement that holds for no size."""
    fix = "change the contract to what the function returns, or fix the function."
    return Requirement(trace.ring.nowhere, "returns", lambda _: message, fix)


def _requirements_of_shape(
    trace: SymbolicTrace, spec: Spec, shape: Sequence[Size | int], which: str
) -> Iterator[Requirement]:
    axes = spec.aligned(len(shape))
    if axes is None:
        returned = f"the function returns shape {shape_text(shape)}{which}"
        yield _violated(trace, f"{returned}, but the contract says {len(spec.axes)} axes.")
        return
    sizes = sizes_of(SymbolicTrace(trace.domain))  # the run has ended: it forks no more
    for i, (axis, size) in enumerate(zip(axes, shape, strict=True)):
        if isinstance(axis, Formula):
            where = f"axis {i}{which}"
            formula = str(size)
            fix = f"write {formula.replace(' ', '')} there in the contract, or fix the function."
            holds = equal(trace, size, axis.value(sizes))
            yield Requirement(
                holds,
                f"returns {i}{which}",
                lambda point, size=size, axis=axis, where=where: violation_text(
                    point, value_at(size, point), axis, where, str(size)
                ),
                # A spec has no word for several cases: the sizes that do fit are proposed instead.
                "" if " if " in formula else fix,
                correction=None if " if " in formula else Correction(where, axis.text, formula),
            )
