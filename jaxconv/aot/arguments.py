"""The function and the arguments that ``jaxconv.compile`` is given."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from flax.errors import TraceContextError

from jaxconv.adapters.call import Call, Static, library_contexts, read_call, shape_of_spec
from jaxconv.compat import ClosedJaxpr
from jaxconv.errors import Diagnostic, ValidationError, raise_if, shown
from jaxconv.symbolic.specs import Spec


def call_to_compile(fn: Any, args: Sequence[Any], named: Mapping[str, Any]) -> Call:
    """Read a call whose model keeps its parameters.

    Args:
        fn: a function or a model.
        args: its positional arguments, as :func:`jaxconv.check` takes them.
        named: its keyword arguments, likewise.

    Returns:
        The call. Its arguments are types; only what a caller passes is among them.

    Raises:
        ValidationError: a spec has sizes that are not numbers.
    """
    call = read_call(fn, args, named, closes_over=True)
    raise_if(
        Diagnostic(
            f'the spec "{spec.text}" has sizes that are not numbers.',
            'pass numbers, such as "1 224 224 3": a program is compiled for one shape.',
        )
        for spec in call.specs()
        if spec.names() or any(isinstance(axis, str) for axis in spec.axes)
    )
    if call.complete is not None:  # a model of Keras that was not built
        call.complete({})  # builds it
        call = read_call(fn, args, named, closes_over=True)
    arguments, given = jax.tree.map(abstract_argument, (call.arguments, call.given))
    return Call(call.fn, arguments, given)


def trace_function(fn: Callable[..., Any], call: Call) -> tuple[ClosedJaxpr, Any]:
    """Trace a function, and explain errors whose cause is the state of a model.

    Args:
        fn: a function or a model.
        call: of it, with the types of its arguments.

    Returns:
        The trace, and the types of the results.

    Raises:
        ValidationError: a model in training, or one without values of its parameters.
    """
    try:
        with library_contexts():
            return jax.make_jaxpr(call.fn, return_shape=True)(*call.arguments)
    except TraceContextError as error:
        wrong = f"the function changes a model while it is traced: {error}."
        fix = "call model.eval() first; batch norm and dropout change a model in training."
    except Exception:
        parts = (getattr(fn, "__self__", fn), getattr(fn, "args", ()), getattr(fn, "keywords", {}))
        if not any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(parts)):
            raise
        wrong = "the parameters of the model are shapes without values."
        fix = "create it without nnx.eval_shape or jax.eval_shape, or load its weights."
    raise ValidationError([Diagnostic(wrong, fix)])


def abstract_argument(leaf: Any) -> Any:
    """Return the type of an argument.

    Args:
        leaf: an array, a ``jax.ShapeDtypeStruct``, a spec with numbers, or what stays with the
            function, which is returned as it is.
    """
    if isinstance(leaf, Static):
        return leaf
    return array_type(shape_of_spec(leaf, {}) if isinstance(leaf, Spec) else leaf)


def array_type(leaf: Any) -> Any:
    """Return the type of an array.

    Args:
        leaf: an array, a number or a ``jax.ShapeDtypeStruct``.

    Raises:
        ValidationError: anything else.
    """
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.eval_shape(lambda x: x, leaf)
    try:
        return jax.typeof(leaf)
    except Exception:  # what may have been passed is any object
        wrong = f"an argument is of type {type(leaf).__name__}, which is not an array."
        fix = "pass an array of numbers."
        raise ValidationError([Diagnostic(wrong, fix)]) from None


@dataclass(frozen=True)
class Pattern:
    """What the arguments of a call look like: types, and :class:`Static` for fixed values.

    Attributes:
        positional: a tree for each positional argument.
        named: a tree for each keyword argument.
    """

    positional: tuple[Any, ...]
    named: Mapping[str, Any]

    @classmethod
    def of_inputs(cls, inputs: tuple[tuple[Any, ...], Mapping[str, Any]]) -> "Pattern":
        """The pattern of a program whose fixed values are not known any more.

        Args:
            inputs: types, positional and by keyword, with None for fixed values.
        """
        leaves, tree = jax.tree.flatten(inputs, is_leaf=lambda leaf: leaf is None)
        return cls(*tree.unflatten(Static(None) if leaf is None else leaf for leaf in leaves))

    def inputs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The types of the arrays, positional and by keyword, with None for fixed values."""
        inputs = self.positional, dict(self.named)
        return jax.tree.map(lambda leaf: None if isinstance(leaf, Static) else leaf, inputs)

    def arrays(self, args: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
        """Take the arrays out of a call. Fixed values may be passed again, or left out at the end.

        Args:
            args: positional arguments.
            named: keyword arguments.

        Raises:
            ValidationError: arguments of another structure, or another fixed value.
        """
        left_out = (
            self.positional[len(args) :]
            if all(map(_is_fixed, self.positional[len(args) :]))
            else ()
        )
        defaults = {name: tree for name, tree in self.named.items() if _is_fixed(tree)}
        given = (*args, *left_out), defaults | dict(named)
        expected, tree = jax.tree.flatten((self.positional, dict(self.named)))
        try:
            leaves = tree.flatten_up_to(given)
        except (ValueError, TypeError):  # dicts whose keys cannot be sorted raise the latter
            wrong = (
                f"it is called with {_structure(args, named)}, but was compiled for "
                f"{_structure(*self.inputs())}."
            )
            fix = "pass the arguments as they were passed to jaxconv.compile."
            raise ValidationError([Diagnostic(wrong, fix)]) from None
        pairs = [*zip(leaves, expected, strict=True)]
        raise_if(
            Diagnostic(
                f"it is called with {shown(value)}, but was compiled for {shown(fixed)}.",
                "leave it out, or compile the function with this value, or with an array.",
            )
            for value, fixed in (
                (_value(leaf), _value(one)) for leaf, one in pairs if _is_fixed(one)
            )
            if not _is_same(value, fixed)
        )
        return [leaf for leaf, one in pairs if not isinstance(one, Static)]


def _is_fixed(tree: Any) -> bool:
    return all(isinstance(leaf, Static) for leaf in jax.tree.leaves(tree))


def _structure(args: Sequence[Any], named: Mapping[str, Any]) -> str:
    """The structure of arguments, as a message shows it."""
    trees = [str(jax.tree.structure(tuple(args)))]
    return " and ".join(trees + [f"{name}={jax.tree.structure(named[name])}" for name in named])


def _value(leaf: Any) -> Any:
    return leaf.value if isinstance(leaf, Static) else leaf


def _is_same(one: Any, other: Any) -> bool:
    """Whether two values that are not arrays are the same."""
    try:
        return one is other or (type(one) is type(other) and bool(one == other))
    except Exception:  # what may have been passed is any object
        return False


def donatable(inputs: Any, outputs: Any) -> list[int]:
    """List the positions of the inputs whose memory a result can use.

    Args:
        inputs: a pytree of types.
        outputs: likewise.
    """
    free = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(outputs)]
    donatable = []
    for index, leaf in enumerate(jax.tree.leaves(inputs)):
        if (leaf.shape, leaf.dtype) in free:
            free.remove((leaf.shape, leaf.dtype))
            donatable.append(index)
    return donatable
