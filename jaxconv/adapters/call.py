"""A call to check or analyse, as a function of arrays alone: the one place that reads arguments.

A model becomes a function of its arrays, specs are parsed, and whatever is not an array (flags,
texts, functions, fields of a module) stays with the function.
"""

import contextlib
import functools
import inspect
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import jax

from jaxconv.adapters.adapter import Adapter, Method, is_array
from jaxconv.adapters.libraries import adapter_of, loaded
from jaxconv.errors import Diagnostic, raise_if
from jaxconv.symbolic.spec_errors import SpecError
from jaxconv.symbolic.specs import Formula, Spec, parse_spec


@dataclass(frozen=True)
class Static:
    """An argument that reaches a function as it is. :func:`static` makes it.

    Attributes:
        value: the argument.
    """

    value: Any


def static(value: Any) -> Static:
    """Mark an argument that reaches the function as it is: no array, and no spec.

    Numbers, None and functions do so without a mark, and so do texts of one word that are passed by
    keyword.

    Args:
        value: the argument, such as ``"SAME"``.

    Returns:
        What to pass to :func:`jaxconv.check` and other functions in its place.

    Example:
        >>> import jaxconv as jc
        >>> pool = lambda x, padding: jc.max_pool(x, 2, padding=padding)
        >>> print(jc.check(pool, "b h w c", jc.static("SAME")).outputs)
        (b, (h + 1)//2, (w + 1)//2, c)
    """
    return Static(value)


@dataclass(frozen=True)
class Call:
    """A function of arrays.

    Attributes:
        fn: the function.
        arguments: its positional arguments, trees of arrays, shapes and specs.
        takes_model: whether the first argument is the arrays of a model.
        complete: where the model lacks its parameters, makes a call that has them; it takes a
            number for each size. Without it they are made again in each trace.
        makes_values: whether that call has values, rather than shapes.
        given: the arguments as they were passed, positional and by keyword; what stays with the
            function is :class:`Static`.
    """

    fn: Callable[..., Any]
    arguments: tuple[Any, ...]
    given: tuple[tuple[Any, ...], dict[str, Any]]
    takes_model: bool = False
    complete: Callable[[Mapping[str, int]], "Call"] | None = None
    makes_values: bool = False

    def specs(self) -> list[Spec]:
        """The specs among the arguments."""
        leaves = jax.tree.leaves(self.arguments, is_leaf=is_spec)
        return [leaf for leaf in leaves if is_spec(leaf)]


def is_spec(leaf: Any) -> bool:
    """Tell whether a leaf of a tree stands for an array by its spec.

    Args:
        leaf: any leaf.
    """
    return isinstance(leaf, Spec)


def read_call(
    fn: Any, args: Sequence[Any], named: Mapping[str, Any], *, closes_over: bool = False
) -> Call:
    """Read what is to be called, and its arguments.

    Args:
        fn: a function, a model of a known library, or a method of one.
        args: its positional arguments: specs, arrays, shapes, models, flags, and trees of them.
        named: its keyword arguments, likewise; a text of one word is a flag.
        closes_over: leave its arrays in a model that has them, instead of making them an argument.

    Returns:
        The call.

    Raises:
        SpecError: a spec cannot be read.
        ValidationError: a model that cannot be called here.
    """
    model, method = bound_model(fn)
    adapter = adapter_of(model)
    flags = {name for name, value in named.items() if _is_flag(fn, name, value)}
    keywords = {
        name: Static(value) if name in flags else _parse(value) for name, value in named.items()
    }
    positional = tuple(map(_parse, args))
    if adapter is None:
        return _of_arrays(fn, positional, keywords)
    if adapter.is_incomplete(model) and adapter.complete is not None:
        complete = functools.partial(_completed, adapter, model, method, positional, keywords)
        call = _of_arrays(_completing(adapter, model, method), positional, keywords)
        return replace(call, complete=complete, makes_values=adapter.adds_values)
    pure = None if adapter.pure is None or closes_over else adapter.pure(model, method)
    if pure is None:
        return _of_arrays(fn, positional, keywords)
    call = _of_arrays(pure.fn, (pure.arrays, *positional), keywords)
    return replace(call, takes_model=True)


def bound_model(fn: Any) -> tuple[Any, Method]:
    """Take apart what is called: the object behind a method or a ``functools.partial``.

    Args:
        fn: what can be called.

    Returns:
        The object, and how it is called: a function that takes it, then the arguments.
    """
    if type(fn) is functools.partial:
        model, method = bound_model(fn.func)
        given, words = fn.args, fn.keywords
        return model, lambda model, *args, **named: method(model, *given, *args, **words | named)
    if inspect.ismethod(fn) and not isinstance(fn.__self__, type):
        adapter = adapter_of(fn.__self__)
        if adapter is None or fn.__name__ not in adapter.functions:
            return fn.__self__, fn.__func__
    # A model that is complete only with its parameters, such as a pair of Haiku's, has no __call__.
    return fn, type(fn).__call__ if callable(fn) else operator.call


def _parse(tree: Any) -> Any:
    """Parse the specs in an argument; the texts of a model are its own."""

    def parse(leaf: Any) -> Any:
        if adapter_of(leaf) is not None:
            return leaf if is_tree(leaf) else Static(leaf)
        return parse_spec(leaf) if isinstance(leaf, str) else leaf

    def is_tree(leaf: Any) -> bool:
        return not jax.tree_util.all_leaves([leaf])

    return jax.tree.map(parse, tree, is_leaf=lambda leaf: adapter_of(leaf) is not None)


def _is_flag(fn: Any, name: str, value: Any) -> bool:
    """Whether a keyword argument is a text, or a tree of texts, that is not a spec.

    A parameter whose default is a text takes texts.
    """
    texts = [leaf for leaf in jax.tree.leaves(value) if isinstance(leaf, str)]
    if not texts:
        return False
    with contextlib.suppress(TypeError, ValueError):  # functions in C may not have a signature
        parameter = inspect.signature(fn).parameters.get(name)
        if parameter is not None and isinstance(parameter.default, str):
            return True
    if any(" " not in text.strip() for text in texts):
        return True
    try:
        for text in texts:
            parse_spec(text)
    except SpecError:
        return True
    return False


def shape_of_spec(spec: Spec, sizes: Mapping[str, int]) -> jax.ShapeDtypeStruct:
    """The array that a spec stands for, as a shape.

    Args:
        spec: the spec.
        sizes: a number for each of its names.
    """
    return jax.ShapeDtypeStruct(spec.shape(sizes), jax.numpy.dtype(spec.dtype or "float32"))


def _of_arrays(fn: Any, args: tuple[Any, ...], named: Mapping[str, Any]) -> Call:
    """Leave what is not an array to the function; keyword arguments follow the positional ones."""
    names = sorted(named)
    every = (*args, *(named[name] for name in names))
    leaves, tree = jax.tree.flatten(every, is_leaf=is_spec)
    for i, leaf in enumerate(leaves):  # variables of libraries, which are not of JAX's types
        as_array = getattr(leaf, "__jax_array__", None)  # None of a tracer
        if as_array is not None and is_array(leaf):
            leaves[i] = as_array()
    every = jax.tree.unflatten(tree, leaves)
    varies = [is_spec(leaf) or is_array(leaf) for leaf in leaves]
    pairs = zip(leaves, varies, strict=True)
    passed = [leaf if one else Static(_value_of(leaf)) for leaf, one in pairs]
    values = jax.tree.unflatten(tree, passed)
    given = values[: len(args)], dict(zip(names, values[len(args) :], strict=True))
    if all(varies) and not names:
        return Call(fn, every, given)
    kept = [None if one else _value_of(leaf) for leaf, one in zip(leaves, varies, strict=True)]

    def call(*arguments: Any) -> Any:
        remaining = iter(jax.tree.leaves(arguments))
        filled = [next(remaining) if one else leaf for leaf, one in zip(kept, varies, strict=True)]
        values = jax.tree.unflatten(tree, filled)
        return fn(*values[: len(args)], **dict(zip(names, values[len(args) :], strict=True)))

    call.__wrapped__ = fn  # type: ignore[attr-defined] - whose state and globals matter
    arrays = (leaf if one else None for leaf, one in zip(leaves, varies, strict=True))
    return Call(call, jax.tree.unflatten(tree, [*arrays]), given)


def _value_of(leaf: Any) -> Any:
    return leaf.value if isinstance(leaf, Static) else leaf


def _completing(adapter: Adapter, model: Any, method: Method) -> Callable[..., Any]:
    """A function that makes the parameters of a model for the arguments of each call."""

    def call(*args: Any, **named: Any) -> Any:
        assert adapter.complete is not None
        pure = adapter.complete(adapter.copy(model), method, args, named)
        zeros = jax.tree.map(lambda leaf: jax.numpy.zeros(leaf.shape, leaf.dtype), pure.arrays)
        return pure.fn(zeros, *args, **named)

    call.__wrapped__ = model  # type: ignore[attr-defined] - whose state matters
    return call


def _completed(
    adapter: Adapter,
    model: Any,
    method: Method,
    args: tuple[Any, ...],
    named: Mapping[str, Any],
    sizes: Mapping[str, int],
) -> Call:
    """A call of a model whose parameters are made for some sizes, or for all where it can be."""

    def known(leaf: Any) -> Any:
        return shape_of_spec(leaf, sizes) if is_spec(leaf) else _value_of(leaf)

    def shape(leaf: Any) -> Any:
        if not is_spec(leaf):
            return _value_of(leaf)
        known = shape_of_spec(leaf, sizes)
        fixed = [isinstance(axis, Formula) and not axis.names() for axis in leaf.axes]
        axes = [n if one else None for n, one in zip(known.shape, fixed, strict=True)]
        return SimpleNamespace(shape=tuple(axes), dtype=known.dtype)  # JAX's own takes no None

    def complete(model: Any, given: Any, words: Any) -> Call:
        assert adapter.complete is not None
        pure = adapter.complete(model, method, given, words)
        return replace(_of_arrays(pure.fn, (pure.arrays, *args), named), takes_model=True)

    if adapter.completes_any_size:
        given, words = jax.tree.map(shape, (args, dict(named)), is_leaf=is_spec)
        # Where its parameters depend on the sizes it fails, and would be left half built.
        with contextlib.suppress(Exception):
            complete(adapter.copy(model), given, words)
            return complete(model, given, words)
    given, words = jax.tree.map(known, (args, dict(named)), is_leaf=is_spec)
    return complete(adapter.copy(model), given, words)


@contextlib.contextmanager
def library_contexts() -> Iterator[None]:
    """What the loaded libraries need while a function is traced."""
    with contextlib.ExitStack() as stack:
        for adapter in loaded():
            stack.enter_context(adapter.during_traces())
        yield


def require_callable(fn: object, *, completes: bool = False) -> None:
    """Check that something can be called as it is; where not, name the remedy.

    Args:
        fn: what is to be called.
        completes: whether a model without parameters will get some.

    Raises:
        ValidationError: it is a class, a model without parameters, or not a function.
    """
    if isinstance(fn, type):
        wrong = f"{fn.__name__} is a class."
        raise_if([Diagnostic(wrong, f"make a model first, as {fn.__name__}(...) does.")])
    model, _ = bound_model(fn)
    adapter = adapter_of(model)
    incomplete = adapter is not None and adapter.is_incomplete(model)
    if incomplete and completes:
        return
    lacks_values = incomplete and adapter is not None and not adapter.adds_values
    if lacks_values or not callable(fn):
        why = "has no parameters of its own" if incomplete else "is not a function"
        wrong = f"what is to be called is of type {type(fn).__name__}, which {why}."
        fix = "pass its apply, and the parameters as the first argument."
        raise_if(
            [Diagnostic(wrong, fix if hasattr(fn, "apply") else "pass a function or a model.")]
        )


def require_arguments(fn: Any, args: Sequence[Any], named: Mapping[str, Any]) -> None:
    """Check that a function takes the arguments given.

    Args:
        fn: the function.
        args: its positional arguments.
        named: its keyword arguments.

    Raises:
        ValidationError: they are too many, too few, or unknown.
    """
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):  # functions in C need not have one
        return
    try:
        signature.bind(*args, **named)
    except TypeError as error:
        count = f"{len(args)} argument{'s' * (len(args) != 1)}"
        if named:
            count += f" and {', '.join(named)}"
        wrong = f"the function takes {signature}, but got {count}: {error}."
        raise_if([Diagnostic(wrong, 'pass a spec, such as "b h w 3", or a value for each.')])
