"""What fits into the memory of a device: the largest batch, or the largest image, of a model."""

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.adapters.call import is_spec, library_contexts, shape_of_spec
from jaxconv.compat import eval_jaxpr
from jaxconv.errors import Diagnostic, ValidationError, flag, shown, whole
from jaxconv.jaxpr.liveness import compiled_peak
from jaxconv.jaxpr.resources import bytes_of
from jaxconv.prover.subject import Subject
from jaxconv.prover.verdict import point_text
from jaxconv.symbolic.sets import SizeSet

UNITS = {"": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
USUAL_SIDE = 224  # of an image, where nothing says another
LARGEST = 2**20  # size that is considered
MOST_SKIPPED = 1024  # sizes that are not accepted, below one that is looked for
OPTIMIZER_ARRAYS = 2  # that Adam keeps for each parameter


@dataclass(frozen=True)
class MemoryNeed:
    """The bytes that a compiled model needs for inputs of some sizes.

    Attributes:
        sizes: a number for each size.
        parameters: of the model, also those that it does not train.
        gradients: of its parameters, in training.
        optimizer: what the optimizer keeps for them, in training.
        inputs: of the inputs.
        activations: of the results and of all that is kept or computed between them, at most.
    """

    sizes: Mapping[str, int]
    parameters: int
    gradients: int
    optimizer: int
    inputs: int
    activations: int

    @property
    def total(self) -> int:
        """All of these bytes."""
        parts = (self.parameters, self.gradients, self.optimizer, self.inputs, self.activations)
        return sum(parts)

    def __str__(self) -> str:
        names = ("activations", "parameters", "gradients", "optimizer", "inputs")
        parts = [f"{name} {_text(n)}" for name in names if (n := getattr(self, name))]
        return f"{point_text(dict(self.sizes))}: {_text(self.total)} ({', '.join(parts)})"


class MemoryModel:
    """Finds the memory that a function needs, by tracing it for inputs of some sizes."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def need(
        self, sizes: Mapping[str, int], *, train: bool, remat: bool, optimizer_arrays: int
    ) -> MemoryNeed:
        """Find the memory for inputs of some sizes.

        Args:
            sizes: a number for each size.
            train: whether gradients of the parameters are computed.
            remat: whether these recompute all but the results of convolutions and products.
            optimizer_arrays: that are kept for each parameter.
        """
        leaves, tree = jax.tree.flatten(self._subject.arguments, is_leaf=is_spec)
        inputs = [is_spec(leaf) for leaf in leaves]
        shapes = [shape_of_spec(leaf, sizes) if is_spec(leaf) else leaf for leaf in leaves]

        def call(*values: Any) -> Any:
            results = jax.tree.leaves(self._subject.fn(*jax.tree.unflatten(tree, values)))
            return [one for one in results if hasattr(one, "dtype")]

        try:
            with library_contexts():
                closed = jax.make_jaxpr(call)(*shapes)
        finally:
            self._subject.restore()
        constants = [jax.ShapeDtypeStruct(jnp.shape(c), jnp.result_type(c)) for c in closed.consts]
        given = [*constants, *closed.in_avals]
        is_input = [*(False for _ in constants), *inputs]
        floats = (n for n, one in enumerate(given) if jnp.issubdtype(one.dtype, jnp.floating))
        trained = [number for number in floats if not is_input[number]]
        if train and not trained:
            wrong = "the function has no parameters to train."
            fix = "pass them as arguments, or leave out train=True."
            raise ValidationError([Diagnostic(wrong, fix)])
        run = functools.partial(_run, closed.jaxpr, len(constants))
        program = _gradient(run, trained, remat) if train else run
        jaxpr = jax.make_jaxpr(program)(*given).jaxpr
        all_bytes = [math.prod(one.shape) * one.dtype.itemsize for one in given]
        taken = sum(n for n, one in zip(all_bytes[len(constants) :], inputs, strict=True) if one)
        gradients = sum(all_bytes[number] for number in trained) * train
        return MemoryNeed(
            dict(sizes),
            sum(all_bytes) - taken,
            gradients,
            gradients * optimizer_arrays,
            taken,
            max(compiled_peak(jaxpr, bytes_of) - gradients, 0),
        )

    def largest(
        self, limit: int, accepted: SizeSet, fixed: Mapping[str, int], **options: Any
    ) -> MemoryNeed:
        """Find the largest sizes that fit, all alike but for those that are given.

        Args:
            limit: bytes.
            accepted: the sizes that the function accepts.
            fixed: a number for each size that is given.
            **options: as for :meth:`need`.

        Raises:
            ValidationError: none fits.
        """
        free = [name for name in accepted.names if name not in fixed]
        line = _alike(accepted, fixed, free)

        def below(size: int) -> dict[str, int]:
            """The largest accepted sizes that are not above one."""
            return (line & SizeSet.parse(line.names, f"{free[0]} <= {size}")).at_border()

        def need(sizes: Mapping[str, int]) -> MemoryNeed:
            return self.need(sizes, **options)

        best = need(line.smallest())
        if best.total > limit:
            wrong = f"the memory is {_text(limit)}, but the smallest sizes need more: {best}."
            fix = "pass more memory, or other sizes in at=."
            raise ValidationError([Diagnostic(wrong, fix)])
        above, rounds = LARGEST + 1, 0
        tried = [best]
        while True:
            between = f"{best.sizes[free[0]]} < {free[0]} < {above}"
            candidates = line & SizeSet.parse(line.names, between)
            if candidates.is_empty():
                return best
            guess = _guess(tried, limit, free)
            rounds += 1
            if above <= LARGEST and rounds % 3 == 0:  # halve what is left, if guesses are bad
                guess = (best.sizes[free[0]] + above) // 2
            lower = candidates & SizeSet.parse(line.names, f"{free[0]} <= {guess}")
            found = need(candidates.smallest() if lower.is_empty() else lower.at_border())
            tried.append(found)
            if found.total <= limit:
                best = found
            else:
                above = found.sizes[free[0]]


def _guess(tried: Sequence[MemoryNeed], limit: int, free: Sequence[str]) -> int:
    """The size at which memory reaches a limit, if it grows with the product of the free sizes."""
    if len(tried) == 1:
        return 2 * tried[0].sizes[free[0]]
    name, power = free[0], len(free)
    one, other = sorted(tried, key=lambda need: abs(need.total - limit))[:2]
    products = one.sizes[name] ** power, other.sizes[name] ** power
    rate = (other.total - one.total) / (products[1] - products[0])
    if rate <= 0:
        return LARGEST
    product = products[0] + (limit - one.total) / rate
    return min(int(max(product, 1) ** (1 / power) + 1e-6), LARGEST)


def _run(jaxpr: Any, constants: int, *given: Any) -> list[Any]:
    """A trace as a function of its constants and its arguments."""
    return eval_jaxpr(jaxpr, given[:constants], *given[constants:])


def _gradient(
    run: Callable[..., list[Any]], trained: Sequence[int], remat: bool
) -> Callable[..., Any]:
    """The gradient of a loss of the results, by some of the arguments."""
    policy = jax.checkpoint_policies.dots_saveable  # also the results of convolutions
    forward = jax.checkpoint(run, policy=policy) if remat else run  # type: ignore[arg-type]

    def loss(weights: Sequence[Any], given: Sequence[Any]) -> Any:
        values = [*given]
        for number, weight in zip(trained, weights, strict=True):
            values[number] = weight
        results = (r for r in forward(*values) if jnp.issubdtype(r.dtype, jnp.floating))
        return sum(jnp.square(result.astype(jnp.float32)).sum() for result in results)

    def gradient(*given: Any) -> Any:
        return jax.grad(loss)([given[number] for number in trained], given)

    return gradient


def bytes_of_text(memory: Any) -> int:
    """Read an amount of memory.

    Args:
        memory: a number of bytes, or a text such as "16GB" or "80 GiB".

    Raises:
        ValidationError: anything else.
    """
    if isinstance(memory, int | float) and not isinstance(memory, bool) and 0 < memory < math.inf:
        return int(memory)
    text = memory if isinstance(memory, str) else ""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kMGT]i?B)?\s*", text)
    if match and float(match[1]) and (match[2] or "") in UNITS:
        return int(float(match[1]) * UNITS[match[2] or ""])
    wrong = f"memory is {shown(memory)}, which is not an amount of memory."
    raise ValidationError([Diagnostic(wrong, 'pass memory="16GB", or a number of bytes.')])


def read_options(train: Any, remat: Any, optimizer_arrays: Any) -> dict[str, Any]:
    """Read the options of :meth:`MemoryModel.need`.

    Args:
        train: True or False.
        remat: likewise.
        optimizer_arrays: a whole number.

    Returns:
        The options, by name.

    Raises:
        ValidationError: anything else.
    """
    return {
        "train": flag("train", train),
        "remat": flag("remat", remat),
        "optimizer_arrays": whole("optimizer_arrays", optimizer_arrays, 0),
    }


def read_sizes(at: Any) -> dict[str, Any]:
    """Read numbers for sizes, of Python or NumPy; their range is not checked here.

    Args:
        at: by the names of the sizes.

    Raises:
        ValidationError: not a dict.
    """
    if not isinstance(at, Mapping):
        wrong = f"at= is {shown(at)}, but must be a dict of sizes."
        raise ValidationError([Diagnostic(wrong, 'pass a dict such as at={"b": 1}.')])
    return {name: int(n) if isinstance(n, np.integer) else n for name, n in at.items()}


def _text(count: int) -> str:
    # Rounded to three digits, 999.6 MB are 1 GB.
    unit = next((name for name in ("TB", "GB", "MB", "kB") if count >= 0.9995 * UNITS[name]), "")
    return f"{count / UNITS[unit]:.3g} {unit}" if unit else f"{count} bytes"


def _alike(accepted: SizeSet, fixed: Mapping[str, int], free: Sequence[str]) -> SizeSet:
    """The accepted sizes with some given numbers, whose others are all alike.

    Raises:
        ValidationError: there are none, or all sizes are given.
    """
    names = ", ".join(accepted.names) or "no name"
    unknown = [name for name in fixed if name not in accepted.names]
    if unknown or not all(type(n) is int and n >= 1 for n in fixed.values()):
        wrong = f"at= is {shown(dict(fixed))}, but the sizes are {names}, each at least 1."
        raise ValidationError([Diagnostic(wrong, "pass numbers for some of them.")])
    if not free:
        wrong = f"at= gives all sizes, {names}."
        raise ValidationError([Diagnostic(wrong, "leave out those to be found.")])
    equal = [f"{name} = {free[0]}" for name in free[1:]]
    equal += [f"{name} = {number}" for name, number in fixed.items()]
    line = accepted & SizeSet.parse(accepted.names, " and ".join(equal))
    if line.is_empty():
        wrong = f"no sizes with {point_text(dict(fixed))} are accepted, all others alike."
        raise ValidationError([Diagnostic(wrong, f"pass at= with sizes of {accepted}.")])
    return line


def usual_sizes(accepted: SizeSet, at: Mapping[str, int] | None) -> dict[str, int]:
    """Choose sizes for all names but the first: those of a table, or those of usual images.

    Args:
        accepted: the sizes that the function accepts.
        at: those of the table, if any.
    """
    others = accepted.names[1:]
    if at is not None:
        return {name: at[name] for name in others}
    if (whole := SizeSet(accepted.points)).is_empty():
        return {}
    wished = dict.fromkeys(whole.names, USUAL_SIDE)
    alike = [f"{name} = {others[0]}" for name in others[1:]]
    square = whole & SizeSet.parse(whole.names, " and ".join(alike))
    whole = whole if square.is_empty() else square
    near = whole.nearest(wished | dict.fromkeys(whole.names[:1], 1))
    return {name: near[name] for name in others}
