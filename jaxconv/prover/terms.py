"""What a contract says: the arrays of a call and the specs that they must fit."""

import abc
import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxconv.adapters.call import static
from jaxconv.symbolic.spec_errors import SpecError
from jaxconv.symbolic.specs import Signature, Spec


class Found(NamedTuple):
    """An array of a call, and what it must be.

    Attributes:
        label: what it is called in messages, such as ``x`` or ``result 0``; a clause, where there
            is no array.
        shape: its shape; None where there is no array.
        dtype: its dtype.
        spec: what it must fit; None where its number of axes is wrong.
        expected: what the contract says, as text.
    """

    label: str
    shape: Sequence[Any] | None
    dtype: Any
    spec: Spec | None
    expected: str


class ProofCase(NamedTuple):
    """A call that a proof traces.

    Attributes:
        fn: the function.
        args: specs, arrays and other values.
        note: what this case chose where the contract leaves a choice; empty where it leaves none.
        where: a condition on the sizes.
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    note: str = ""
    where: str = ""


class Terms(abc.ABC):
    """What a contract says of a call."""

    @abc.abstractmethod
    def call(self, arguments: Mapping[str, Any]) -> "CallTerms":
        """Begin a call.

        Args:
            arguments: by name.

        Returns:
            What the contract says of this call.
        """

    @abc.abstractmethod
    def proofs(self, fn: Callable[..., Any], given: Mapping[str, Any]) -> Iterator[ProofCase]:
        """Make the calls that a proof traces.

        Args:
            fn: the function with the contract.
            given: values of arguments, or functions that make them, by name.

        Raises:
            ShapeError: an argument cannot be made.
        """


class CallTerms(NamedTuple):
    """What a contract says of one call.

    Attributes:
        arguments: the arrays among its arguments.
        results: finds the arrays of its result, by the sizes that the arguments have.
    """

    arguments: list[Found]
    results: Callable[[Any, Mapping[str, Any]], list[Found]]


@dataclass(frozen=True)
class SpecTerms(Terms):
    """The contract is a text: ``"b h w 3, b -> b 10"``.

    Attributes:
        signature: the text as parsed.
        given: names of the arguments without a spec.
    """

    signature: Signature
    given: frozenset[str]

    def call(self, arguments: Mapping[str, Any]) -> CallTerms:
        """Take the arrays, those in ``*args`` too, in the order of the parameters."""
        arrays = [
            (name, part)
            for name, value in arguments.items()
            if name not in self.given
            for part in (value if isinstance(value, tuple) else (value,))
            if hasattr(part, "shape") and hasattr(part, "dtype")
            if not jnp.issubdtype(part.dtype, jax.dtypes.prng_key)
        ]
        specs = self.signature.inputs
        found = [_found(*pair) for pair in zip(arrays, specs, strict=False)]
        if len(arrays) < len(specs):
            count = f"it is called with {len(arrays)} array{'s' * (len(arrays) != 1)}"
            found.append(Found(count, None, None, None, str(len(specs))))
        return CallTerms(found, self._results)

    def _results(self, result: Any, sizes: Mapping[str, Any]) -> list[Found]:
        del sizes
        leaves, specs = jax.tree.leaves(result), self.signature.outputs
        if len(leaves) != len(specs):
            count = f"it returns {len(leaves)} array{'s' * (len(leaves) != 1)}"
            return [Found(count, None, None, None, str(len(specs)))]
        found = []
        for i, (leaf, spec) in enumerate(zip(leaves, specs, strict=True)):
            try:  # what JAX makes of a number
                array = leaf if hasattr(leaf, "shape") else jax.eval_shape(jnp.asarray, leaf)
            except TypeError:
                other = f"it returns a {type(leaf).__name__}, which is not an array"
                return [Found(other, None, None, None, spec.text)]
            found.append(_found((f"result {i}" if len(leaves) > 1 else "", array), spec))
        return found

    def proofs(self, fn: Callable[..., Any], given: Mapping[str, Any]) -> Iterator[ProofCase]:
        """Make a spec for each array, and for other arguments what the contract gives."""
        names = [
            name
            for name, parameter in inspect.signature(fn).parameters.items()
            if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
        ]
        specs = [*self.signature.inputs]
        missing = [name for name in names if name not in given]
        if len(missing) != len(specs):
            raise SpecError(
                f"{fn.__qualname__} needs {', '.join(missing) or 'nothing'}, and its "
                f"contract has {len(specs)} specs.\n  Fix: pass arguments without a spec by name, "
                "such as @contract(..., params=init)."
            )
        args = (made(given[name]) if name in given else specs.pop(0) for name in names)
        yield ProofCase(fn, tuple(args))


def _found(array: tuple[str, Any], spec: Spec) -> Found:
    label, value = array
    axes = spec.aligned(len(value.shape))
    if axes is None:
        return Found(label, value.shape, value.dtype, None, spec.described())
    aligned = Spec(spec.text, tuple(axes), spec.dtypes)
    return Found(label, value.shape, value.dtype, aligned, spec.text)


def made(value: Any) -> Any:
    """Make what a contract gives for an argument.

    Args:
        value: the value, or a function without arguments that makes it.

    Returns:
        The value; abstract where possible: not where more than arrays is made, as an Equinox model
        with its activation. The plain call raises the errors of the user's code as they are.
    """
    if not inspect.isroutine(value):
        return static(value) if isinstance(value, str) else value  # a text is no spec here
    parameters = inspect.signature(value).parameters.values()
    if any(
        p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters
    ):
        return value  # it is itself the argument
    from flax import nnx  # here, as it takes a third of a second

    with contextlib.suppress(Exception):
        return nnx.eval_shape(value)
    return value()
