"""The formulations that compute an operation, most of them on a CPU, and the choice among them.

A *formulation* is a way to compute what a primitive of JAX computes: convolution by Winograd's
algorithm, for example. Each one says from static shapes alone whether it takes an operation, with
the reason. The first one that takes it computes it; where none does, `lax` does ("direct").

To add a formulation, write one module in this package that calls :func:`register_formulation`. All
modules of the package are imported before the first choice, so nothing else has to change.
"""

import functools
import importlib
import pkgutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax

from jaxconv.compat import Primitive

DIRECT = "direct"  # the name of the formulation that `lax` computes itself


@runtime_checkable
class ShapeAndDtype(Protocol):
    """The shape and the dtype of an array, as a trace knows them."""

    shape: Any
    dtype: Any


@dataclass(frozen=True)
class Operation:
    """One use of a primitive, as a trace knows it.

    Attributes:
        primitive: of JAX.
        inputs: the types of the operands.
        output: the type of the result.
        params: the parameters of the primitive.
        is_prepared: what depends on the kernel alone was computed before, as in
            :func:`jaxconv.compile`, so that it takes no time.
    """

    primitive: Primitive
    inputs: Sequence[ShapeAndDtype]
    output: ShapeAndDtype
    params: Mapping[str, Any]
    is_prepared: bool = False

    def is_static(self, dtype: Any) -> bool:
        """Tell whether all arrays have one dtype and sizes that are known and not 0.

        Args:
            dtype: that of the operands and of the result.
        """
        arrays = (*self.inputs, self.output)
        return all(
            array.dtype == dtype and all(isinstance(n, int) and n for n in array.shape)
            for array in arrays
        )


class Decision(NamedTuple):
    """What a formulation says about an operation that it was made for.

    Attributes:
        accepted: the formulation computes the operation.
        reason: why, or why not.
    """

    accepted: bool
    reason: str


@dataclass(frozen=True)
class Formulation:
    """A way to compute an operation on a CPU.

    Attributes:
        name: for people, such as "F(4x4, 3x3)".
        operation: what it computes, such as "convolution"; a name that formulations share if they
            list the same ``gradients``.
        primitive: of JAX, that it serves.
        matches: takes an :class:`Operation` and returns a :class:`Decision`, or None where the
            operation is of a kind that the formulation was not made for.
        apply: takes the operands and the parameters, as ``primitive.bind`` does, and returns the
            result.
        reason: why the formulation is faster than `lax`, for readers of the code. A schedule shows
            the reason of the :class:`Decision`.
        gradients: the operations that the derivatives of this one consist of. JAX's own rules
            derive them; they are chosen by their own shapes, as any operation is.
        prepare: takes the kernel and the parameters, and computes what depends on these alone.
            None where there is nothing to prepare.
        apply_prepared: takes the images, the prepared kernel and the parameters as a mapping;
            then ``epilogue``, a function applied to each block of the result (channels last), and
            ``pool``, one of ``pool_sides`` or 1. Needed where ``prepare`` is given.
        pool_sides: sides of square, non-overlapping windows whose maximum ``apply_prepared`` can
            take before the epilogue.
        everywhere: it takes fewer operations than `lax` on any platform, and is used on all.
        expands: ``apply`` consists of operations that have formulations of their own, which
            :func:`jaxconv.compile` therefore prepares and fuses.
        priority: formulations of higher priority are tried first. Those of the same priority
            should not take the same operation; they are tried in the order of their names.
    """

    name: str
    operation: str
    primitive: Primitive
    matches: Callable[[Operation], Decision | None]
    apply: Callable[..., jax.Array]
    reason: str
    gradients: tuple[str, ...] = ()
    prepare: Callable[[jax.Array, Mapping[str, Any]], jax.Array] | None = None
    apply_prepared: Callable[..., jax.Array] | None = None
    pool_sides: frozenset[int] = frozenset()
    everywhere: bool = False
    expands: bool = False
    priority: int = 0


@dataclass(frozen=True)
class Schedule:
    """How an operation is computed on a CPU.

    Attributes:
        formulation: its name; "direct" where `lax` computes the operation.
        reason: why this one was chosen.
        selected: the formulation itself; None for "direct".
    """

    formulation: str
    reason: str
    selected: Formulation | None = field(default=None, repr=False)


@dataclass(frozen=True)
class SelectionRule:
    """A row of a table that chooses among formulations: the first row that holds decides.

    Attributes:
        formulation: the name of the formulation to use, or "direct".
        holds: the condition, a function of the static sizes of a problem.
        reason: why this formulation is the fastest one under the condition.
    """

    formulation: str
    holds: Callable[[Any], bool]
    reason: str


def decide(rules: Sequence[SelectionRule], problem: object, name: str) -> Decision | None:
    """Read the decision on one formulation from a table that several formulations share.

    Args:
        rules: the table; the condition of some row holds.
        problem: the static sizes that the conditions read.
        name: the formulation.

    Returns:
        Accepted where the first row that holds names the formulation, declined where that row
        says "direct", None where it names another formulation.
    """
    rule = next(rule for rule in rules if rule.holds(problem))
    if rule.formulation not in (name, DIRECT):
        return None
    return Decision(rule.formulation == name, rule.reason)


_FORMULATIONS: dict[Primitive, list[Formulation]] = defaultdict(list)


def register_formulation(formulation: Formulation) -> Formulation:
    """Add a formulation to those that are tried.

    Args:
        formulation: its name and operation are not registered yet.

    Returns:
        The same, so that a module can keep it.

    Raises:
        ValueError: a formulation of this name computes the same operation already.
    """
    registered = _FORMULATIONS[formulation.primitive]
    if any((f.name, f.operation) == (formulation.name, formulation.operation) for f in registered):
        raise ValueError(f"{formulation.name} for {formulation.operation} is registered twice.")
    registered.append(formulation)
    registered.sort(key=lambda f: (-f.priority, f.name))
    return formulation


def unregister_formulation(formulation: Formulation) -> None:
    """Remove a formulation, so that the others or `lax` compute its operations again.

    Args:
        formulation: one that is registered. Programs that JAX compiled with it are kept.
    """
    _FORMULATIONS[formulation.primitive].remove(formulation)


def formulations(primitive: Primitive) -> Sequence[Formulation]:
    """List the formulations of a primitive in the order in which they are tried.

    Args:
        primitive: of JAX.
    """
    _import_all_modules()
    return tuple(_FORMULATIONS.get(primitive, ()))


@functools.cache
def _import_all_modules() -> None:
    """Import the modules of this package: each one registers its formulations."""
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")


def schedule_of(operation: Operation) -> Schedule | None:
    """Choose the formulation of an operation.

    Args:
        operation: its shapes may be symbolic; formulations do not take these.

    Returns:
        The schedule: the first formulation that takes the operation. Where none does, "direct"
        with the reason of the first one that was made for such operations, or None where none was.
    """
    declined = None
    for formulation in formulations(operation.primitive):
        decision = formulation.matches(operation)
        if decision and decision.accepted:
            return Schedule(formulation.name, decision.reason, formulation)
        declined = declined or decision
    return Schedule(DIRECT, declined.reason) if declined else None
