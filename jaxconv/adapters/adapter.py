"""What jaxconv knows of a library: how its models are recognised, called and completed."""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

# The name of the function that :func:`as_adaptive_pool` compiles. No user's function can have it.
ADAPTIVE_POOL = "jaxconv:adaptive_pool"


@dataclass
class ModelArrays:
    """The arrays of a model whose types do not tell which are parameters.

    Attributes:
        parameters: a tree, whose paths are those of the layers.
        state: statistics, random streams and constants.
    """

    parameters: Any
    state: Any


jax.tree_util.register_dataclass(ModelArrays, ["parameters", "state"], [])


class PureCall(NamedTuple):
    """A model as a function of its arrays.

    Attributes:
        fn: takes the arrays, then the arguments of the model.
        arrays: a tree.
    """

    fn: Callable[..., Any]
    arrays: Any


Examples = Callable[[int], list[jax.ShapeDtypeStruct]]  # of inputs, whose sizes are all alike
Method = Callable[..., Any]  # of a model: takes the model, then the arguments


@dataclass(frozen=True)
class Adapter:
    """How jaxconv treats the models of one library.

    The library is not imported for this: where it is not loaded, there is no model of it.

    Attributes:
        library: its name, as messages show it.
        package: the module that is loaded where there is a model of the library.
        is_model: whether a value is one of its models.
        functions: names of methods that take the parameters as arguments.
        is_incomplete: whether a model lacks its parameters, which then depend on the inputs.
        pure: makes a call of a model a function of its arrays. None for a model that is a function
            of its arguments as it is.
        complete: the same for an incomplete model, whose arrays are made as shapes without values.
            It takes the positional and the keyword arguments, with shapes in place of arrays.
        initialise: the same, with values.
        completes_any_size: whether these shapes have None in place of sizes that vary.
        copy: makes a model again, which is completed for some sizes in its place.
        adds_values: whether a completed model has values.
        arrays: the arrays of a model, for a library that does not tell them by their types.
        during_traces: what is in force while a function is traced.
        hidden: the attributes that a call may change and that are the library's own, of any value.
        open: lets a value that a function closes over be changed in the trace that runs.
        abstract: calls a function that makes a model, so that the model has no values.
        construct: calls a class of the library, where that needs more than a call.
        defaults: arguments for a function of the library that makes models, so that it downloads
            nothing.
        layout: of the images that a model takes, as far as it says so.
        batched: a model that takes one image, as a function of a batch; takes the model, a function
            that makes shapes of its inputs for a size, and keyword arguments.
    """

    library: str
    package: str
    is_model: Callable[[Any], bool]
    functions: frozenset[str] = frozenset()
    is_incomplete: Callable[[Any], bool] = lambda _: False
    pure: Callable[[Any, Method], PureCall | None] | None = None
    complete: Callable[[Any, Method, Sequence[Any], Mapping[str, Any]], PureCall] | None = None
    initialise: Callable[[Any, Method, Sequence[Any], Mapping[str, Any]], PureCall] | None = None
    completes_any_size: bool = False
    copy: Callable[[Any], Any] = lambda model: model
    adds_values: bool = False
    arrays: Callable[[Any], ModelArrays] | None = None
    during_traces: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    hidden: Callable[[Any], Iterable[tuple[Any, str]]] = lambda _: ()
    open: Callable[[Any], None] | None = None
    abstract: Callable[[Callable[[], Any]], Any] | None = None
    construct: Callable[[Any, Callable[[], Any]], Any] | None = None
    defaults: Callable[[Any], dict[str, Any]] | None = None
    layout: Callable[[Any], str] = lambda _: "NHWC"
    batched: Callable[[Any, Examples, Mapping[str, Any]], Callable[..., Any]] | None = None


def as_adaptive_pool(pool: Callable[[Any], Any], x: Any) -> Any:
    """Compute an adaptive pool in a call of its own, which is known by its name.

    Values inside are not maps of the network: a window may be wider than the map, and have no rows.

    Args:
        pool: the pool, a function of the map alone.
        x: the map.

    Returns:
        What the pool returns.
    """

    def adaptive_pool(x: Any) -> Any:
        return pool(x)

    adaptive_pool.__name__ = ADAPTIVE_POOL
    return jax.jit(adaptive_pool)(x)


def eval_shape(fn: Callable[..., Any], args: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """Find what a function returns, as shapes; arguments that are not arrays reach it as they are.

    Args:
        fn: the function.
        args: its positional arguments, with shapes or arrays.
        named: its keyword arguments, likewise.

    Returns:
        The shapes, in the structure of the result.
    """
    call, arrays = _of_arrays(fn, args, named)
    return jax.eval_shape(call, *arrays)


def compute(fn: Callable[..., Any], args: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """Compute what a function returns for zeros; of the function only what the result needs.

    Args:
        fn: the function.
        args: its positional arguments, with shapes in place of arrays.
        named: its keyword arguments, likewise.

    Returns:
        The result.
    """
    call, arrays = _of_arrays(fn, args, named)
    return jax.jit(lambda: call(*(jax.numpy.zeros(one.shape, one.dtype) for one in arrays)))()


def _of_arrays(
    fn: Callable[..., Any], args: Sequence[Any], named: Mapping[str, Any]
) -> tuple[Callable[..., Any], list[Any]]:
    """A function of the arrays among some arguments, and these arrays."""
    leaves, tree = jax.tree.flatten((tuple(args), dict(named)))

    def call(*values: Any) -> Any:
        remaining = iter(values)
        given = [next(remaining) if is_array(leaf) else leaf for leaf in leaves]
        positional, keywords = jax.tree.unflatten(tree, given)
        return fn(*positional, **keywords)

    return call, [leaf for leaf in leaves if is_array(leaf)]


def is_array(leaf: Any) -> bool:
    """Tell whether a leaf of the arguments is an array or its shape, which a trace takes.

    Args:
        leaf: any leaf.
    """
    dtype = getattr(leaf, "dtype", None)
    if dtype is None or not hasattr(leaf, "shape"):
        return False
    return getattr(dtype, "kind", "f") not in "OSUMm"  # NumPy's arrays of objects, texts and dates
