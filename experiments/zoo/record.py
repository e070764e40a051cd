"""What the zoo knows of a model, and how a model of each kind of library is called and counted."""

import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

IMAGE = {"b": 1, "h": 224, "w": 224}  # sizes for which a model is made and counted


@dataclass(frozen=True)
class Subject:
    """A model that is ready to be checked.

    Attributes:
        fn: what ``jaxconv`` is given.
        args: its arguments: specs, and the arrays of the model as shapes, where it takes them.
        numeric: a function of arrays in the places of the specs that calls the model as its
            library does, for tracing with numbers.
        parameters: what the library counts; None for a function without parameters.
        named: keyword arguments.
    """

    fn: Any
    args: tuple[Any, ...]
    numeric: Callable[..., Any]
    parameters: int
    named: Mapping[str, Any] = field(default_factory=dict)

    @property
    def specs(self) -> tuple[str, ...]:
        """The specs among the arguments."""
        return tuple(argument for argument in self.args if isinstance(argument, str))


@dataclass(frozen=True)
class Model:
    """One model of the zoo.

    Attributes:
        name: as its library calls it.
        library: the name of the package that pip installs.
        about: what it is.
        make: makes it, without values where its library can.
        where: the sizes to consider.
        at: sizes for which it is made to be counted.
        quick: whether the tests check it.
    """

    name: str
    library: str
    about: str
    make: Callable[[], Subject]
    where: str | None = None
    at: Mapping[str, int] = field(default_factory=lambda: IMAGE)
    quick: bool = False

    @property
    def version(self) -> str | None:
        """The version of its library; None where that is not installed."""
        try:
            return importlib.metadata.version(self.library)
        except importlib.metadata.PackageNotFoundError:
            return None


def numbers_in(tree: Any) -> int:
    """Count the numbers of the floating-point arrays of a tree.

    Args:
        tree: of arrays or shapes.

    Returns:
        The count.
    """
    leaves = [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype")]
    return sum(leaf.size for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact))


def zeros_like(tree: Any) -> Any:
    """Fill a tree of shapes with zeros.

    Args:
        tree: of shapes, and other leaves.

    Returns:
        The tree with arrays in place of shapes.
    """
    return jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype) if hasattr(leaf, "dtype") else leaf, tree
    )


def of_function(fn: Callable[..., Any], *specs: str, parameters: int = 0) -> Subject:
    """A function that has no parameters, or closes over them.

    Args:
        fn: the function.
        *specs: of its arguments.
        parameters: those that it closes over.

    Returns:
        What to check.
    """
    return Subject(fn, specs, fn, parameters)


def of_nnx(make: Callable[[], Any], *specs: str, has_values: bool = False, **named: Any) -> Subject:
    """A model of Flax NNX, made without values.

    Args:
        make: makes it.
        *specs: of its inputs.
        has_values: whether the model can be made only with values.
        **named: other arguments.

    Returns:
        What to check.
    """
    from flax import nnx

    model = make() if has_values else nnx.eval_shape(make)
    graph, state = nnx.split(model)

    def numeric(*inputs: Any) -> Any:
        return nnx.merge(graph, zeros_like(state))(*inputs, **named)

    return Subject(model, specs, numeric, numbers_in(nnx.state(model, nnx.Param)), named)


def of_linen(
    module: Any, *specs: str, at: Mapping[str, int] | None = None, **named: Any
) -> Subject:
    """A module of Flax Linen, without its parameters.

    Args:
        module: the module.
        *specs: of its inputs.
        at: sizes for which its library makes the parameters.
        **named: other arguments.

    Returns:
        What to check.
    """
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    inputs = [_example(spec, at or IMAGE) for spec in specs]
    variables = jax.eval_shape(lambda *x: module.init(keys, *x, **named), *inputs)

    def numeric(*inputs: Any) -> Any:
        state = [name for name in variables if name != "params"]
        filled = zeros_like(variables)
        return module.apply(filled, *inputs, rngs=keys, mutable=state, **named)[0]

    return Subject(module, specs, numeric, numbers_in(variables["params"]), named)


def of_haiku(forward: Callable[..., Any], spec: str, *, training: bool = False) -> Subject:
    """A function of Haiku modules, without its parameters.

    Args:
        forward: the function, of images and ``is_training``.
        spec: of the images.
        training: whether statistics are updated; they are made in training only.

    Returns:
        What to check.
    """
    import haiku as hk

    pair = hk.transform_with_state(forward)
    key, images = jax.random.key(0), _example(spec, IMAGE)
    initialise: Callable[[Any], Any] = lambda x: pair.init(key, x, is_training=True)  # noqa: E731
    parameters, state = jax.eval_shape(initialise, images)

    def numeric(images: Any) -> Any:
        filled = zeros_like(parameters), zeros_like(state)
        return pair.apply(*filled, key, images, is_training=training)[0]

    named = {"is_training": training}
    return Subject(pair, (spec,), numeric, numbers_in(parameters), named)


def of_equinox(make: Callable[[], Any], spec: str = "b 3 h w", **named: Any) -> Subject:
    """A model of Equinox that takes one image, made without values and mapped over the batch.

    Args:
        make: makes it.
        spec: of its images.
        **named: other arguments, such as a key.

    Returns:
        What to check.
    """
    import equinox as eqx

    model, state = eqx.filter_eval_shape(eqx.nn.make_with_state(make))
    has_state = bool(jax.tree.leaves(state))
    model = eqx.nn.inference_mode(model)

    def evaluate(model: Any, images: Any) -> Any:
        if not has_state:
            return jax.vmap(lambda image: model(image, **named))(images)
        filled = zeros_like(state)
        single = lambda image: model(image, filled, **named)[0]  # noqa: E731
        return jax.vmap(single, axis_name="batch")(images)

    def numeric(images: Any) -> Any:
        return evaluate(zeros_like(model), images)

    return Subject(evaluate, (model, spec), numeric, numbers_in(model))


def of_keras(make: Callable[[], Any], *specs: str, **named: Any) -> Subject:
    """A model of Keras, whose variables are made without values.

    Args:
        make: makes it.
        *specs: of its inputs.
        **named: other arguments.

    Returns:
        What to check.
    """
    import keras

    from jaxconv.adapters.libraries import KERAS

    assert KERAS.abstract is not None
    model = KERAS.abstract(make)
    variables: list[Any] = model.variables
    shapes = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in variables]
    learnt = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in model.trainable_variables]

    def numeric(*inputs: Any) -> Any:
        mapping = [*zip(variables, zeros_like(shapes), strict=True)]
        with keras.StatelessScope(state_mapping=mapping):
            return model(*inputs, **named)

    return Subject(model, specs, numeric, numbers_in(learnt), named)


def _example(spec: str, at: Mapping[str, int]) -> jax.ShapeDtypeStruct:
    """The shape that a spec has for given sizes."""
    axes = (eval(axis, {}, dict(at)) for axis in spec.split())
    return jax.ShapeDtypeStruct(tuple(axes), jnp.float32)
