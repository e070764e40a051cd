"""The libraries whose models jaxconv knows: one record each."""

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import jax

from jaxconv.adapters.adapter import (
    Adapter,
    Examples,
    Method,
    ModelArrays,
    PureCall,
    as_adaptive_pool,
    compute,
    eval_shape,
    is_array,
)
from jaxconv.adapters.attribute_paths import named_by_attributes
from jaxconv.adapters.linen_traces import shortened_traces
from jaxconv.errors import Diagnostic, raise_if
from jaxconv.symbolic.real import placeholder
from jaxconv.symbolic.size import Size

# Flax NNX


def _nnx() -> Any:
    return sys.modules["flax.nnx"]


def _pure_nnx(model: Any, method: Method) -> PureCall:
    """Make the state an argument: it may be abstract, and change in a trace."""
    nnx = _nnx()
    graph, state = nnx.split(model)
    return PureCall(
        lambda state, *args, **named: method(nnx.merge(graph, state), *args, **named), state
    )


def _hidden_in_nnx(value: Any) -> Iterable[tuple[Any, str]]:
    """The value of a variable, and the trace in which NNX lets an object be changed."""
    nnx = _nnx()
    if isinstance(value, nnx.Variable):
        yield value, "_raw_value"
    if (state := _trace_state(value)) is not None:
        yield state, "_jax_trace"


def _trace_state(value: Any) -> Any:
    nnx = _nnx()
    if isinstance(value, nnx.Variable):
        return getattr(value, "_trace_state", None)
    if isinstance(value, nnx.Module):
        return getattr(getattr(value, "_pytree__state", None), "_trace_state", None)
    return None


def _open_nnx(value: Any) -> None:
    state = _trace_state(value)
    if state is not None:
        state._jax_trace = type(state)().jax_trace  # that of the trace that runs


NNX = Adapter(
    "Flax NNX",
    "flax.nnx",
    is_model=lambda value: isinstance(value, _nnx().Module),
    pure=_pure_nnx,
    hidden=_hidden_in_nnx,
    open=_open_nnx,
    abstract=lambda make: _nnx().eval_shape(make),
    during_traces=lambda: named_by_attributes(_nnx().Module, ".{}"),
)

# Flax Linen


def _complete_linen(
    module: Any,
    method: Method,
    args: Sequence[Any],
    named: Mapping[str, Any],
    make: Callable[..., Any] = eval_shape,
) -> PureCall:
    """Initialise a module; in training it updates its statistics, which are left out."""
    from flax.core import DenyList

    key = jax.random.key(0)
    init = functools.partial(module.init, {"params": key, "dropout": key}, method=method)
    variables = make(init, args, named)

    def apply(variables: Any, *args: Any, **named: Any) -> Any:
        keys = {"params": key, "dropout": key}
        mutable = DenyList("params")
        return module.apply(variables, *args, rngs=keys, mutable=mutable, method=method, **named)[0]

    return PureCall(apply, variables)


def _is_linen(value: Any) -> bool:
    return isinstance(value, sys.modules["flax.linen"].Module)


LINEN = Adapter(
    "Flax Linen",
    "flax.linen",
    is_model=_is_linen,
    functions=frozenset({"apply", "init", "init_with_output", "lazy_init"}),
    is_incomplete=lambda value: _is_linen(value) and value.scope is None,
    complete=_complete_linen,
    initialise=functools.partial(_complete_linen, make=compute),
    during_traces=shortened_traces,
)

# Haiku


def _is_transformed(value: Any) -> bool:
    haiku: Any = sys.modules["haiku"]
    return isinstance(value, haiku.Transformed | haiku.TransformedWithState)


def _complete_haiku(
    model: Any,
    method: Method,
    args: Sequence[Any],
    named: Mapping[str, Any],
    make: Callable[..., Any] = eval_shape,
) -> PureCall:
    """Initialise a pair of functions; the state that ``apply`` returns is left out.

    Statistics are made in training only, so that is tried first, and whether a call then works.
    """
    del method  # a pair has none
    key = jax.random.key(0)
    has_state = isinstance(model, sys.modules["haiku"].TransformedWithState)
    keys = (key,) if "rng" in inspect.signature(model.apply).parameters else ()

    def apply(arrays: ModelArrays, *args: Any, **named: Any) -> Any:
        if has_state:
            return model.apply(arrays.parameters, arrays.state, *keys, *args, **named)[0]
        return model.apply(arrays.parameters, *keys, *args, **named)

    def initialise(*given: Any) -> ModelArrays:
        made = make(functools.partial(model.init, key), *given)
        return ModelArrays(*made) if has_state else ModelArrays(made, {})

    with contextlib.suppress(Exception):
        arrays = initialise(*_in_training(model, args, named))
        eval_shape(apply, (arrays, *args), named)
        return PureCall(apply, arrays)
    return PureCall(apply, initialise(args, named))


def _in_training(
    model: Any, args: Sequence[Any], named: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call, with each flag that is False, also by default, as True."""
    signature = inspect.signature(model.init)
    given = signature.bind_partial(None, *args, **named).arguments
    parameters = signature.parameters.values()
    off = {one.name: False for one in parameters if one.default is False and one.name not in given}
    return jax.tree.map(lambda leaf: leaf is False or leaf, (tuple(args), off | {**named}))


def _construct_haiku(kind: Any, make: Callable[[], Any]) -> Any | None:
    """Make a pair of functions of a module, which exists only inside a transformation."""
    haiku: Any = sys.modules["haiku"]
    if not (isinstance(kind, type) and issubclass(kind, haiku.Module)):
        return None

    def forward(*args: Any, **named: Any) -> Any:
        return make()(*args, **named)

    signature = inspect.signature(kind.__call__)
    parameters = [*signature.parameters.values()][1:]
    forward.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return haiku.transform_with_state(forward)


HAIKU = Adapter(
    "Haiku",
    "haiku",
    is_model=_is_transformed,
    is_incomplete=_is_transformed,
    complete=_complete_haiku,
    initialise=functools.partial(_complete_haiku, make=compute),
    construct=_construct_haiku,
)

# Equinox


def _equinox() -> Any:
    return sys.modules["equinox"]


def _pure_equinox(model: Any, method: Method) -> PureCall | None:
    """A model with shapes in place of weights takes them as an argument; another has its own."""
    leaves = jax.tree.leaves(model)
    is_abstract = any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves)
    return PureCall(method, model) if is_abstract else None


def _batch_equinox(model: Any, examples: Examples, named: Mapping[str, Any]) -> Callable[..., Any]:
    """Map a model in evaluation over the batch, if it takes inputs of one axis less.

    A key and the state of batch norm are given to a model that needs them; the state that it
    returns is left out.
    """
    equinox = _equinox()
    model = equinox.nn.inference_mode(model)
    signature = inspect.signature(model)
    parameters = signature.parameters
    keys = {"key": jax.random.key(0)} if "key" in parameters else {}
    keys = {} if "key" in named else keys
    takes_state = "state" in parameters and "state" not in named
    state = equinox.nn.State(model) if takes_state else None

    def single(*images: Any, **named: Any) -> Any:
        if not takes_state:
            return model(*images, **keys, **named)
        return model(*images, state=state, **keys, **named)[0]

    def batched(*images: Any, **named: Any) -> Any:
        return jax.vmap(lambda *parts: single(*parts, **named))(*images)

    def works(fn: Callable[..., Any]) -> bool:
        for size in EXAMPLE_SIZES:
            with contextlib.suppress(Exception):
                eval_shape(fn, examples(size), named)
                return True
        return False

    supplied = {*keys, *(["state"] if takes_state else [])}
    left = [p for p in parameters.values() if p.name not in supplied]
    for fn in (single, batched):
        fn.__wrapped__ = model  # type: ignore[attr-defined] - whose line and state matter
        fn.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
    return single if works(single) or not works(batched) else batched


EXAMPLE_SIZES = (224, 64, 32, 8)  # of all names in the specs of the inputs


@contextlib.contextmanager
def _replaced(module: str, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Replace a function of a library, where it is loaded, by one that takes the original first."""
    owner = sys.modules.get(module)
    original = getattr(owner, name, None)
    if original is None:
        yield
        return
    setattr(owner, name, functools.partial(function, original))
    try:
        yield
    finally:
        setattr(owner, name, original)


def _adaptive_pool(original: Callable[..., Any], x: Any, count: Any, operation: Any) -> Any:
    """Pool a row to some number of elements."""
    any_length = functools.partial(_pool_of_any_length, original)
    pool = any_length if isinstance(x.shape[0], Size) else original
    return as_adaptive_pool(lambda x: pool(x, count, operation), x)


def _pool_of_any_length(original: Callable[..., Any], x: Any, count: Any, operation: Any) -> Any:
    """Pool a row of symbolic length to some number of elements, each from windows of one width.

    The windows that Equinox makes are as wide or narrower by one; it takes symbolic lengths one
    remainder after the other. The remainder of a product of sizes is not a formula, so a mean or
    a maximum is taken of as many elements as there are, at positions that are not known.
    """
    length = x.shape[0]
    if not isinstance(count, int) or count < 1:
        return original(x, count, operation)
    if length < count:
        return original(jax.numpy.zeros(1, x.dtype), count, operation)  # they fail alike
    windows = jax.numpy.arange(count)
    if length.polynomial.products and operation in (jax.numpy.mean, jax.numpy.max):
        positions = windows[:, None] * placeholder(length, 1) + jax.numpy.arange(length)
        return jax.vmap(operation)(x[positions])
    width, wider = divmod(length, count)
    first = windows * width + jax.numpy.minimum(windows, wider)
    positions = first[:, None] + jax.numpy.arange(width + 1)[None]
    return jax.vmap(operation)(x[positions])


@contextlib.contextmanager
def _trace_equinox() -> Iterator[None]:
    """Name layers by their attributes, and pool rows of symbolic length."""
    names = named_by_attributes(_equinox().Module, "[{}]")
    with names, _replaced("equinox.nn._pool", "_adaptive_pool1d", _adaptive_pool):
        yield


EQUINOX = Adapter(
    "Equinox",
    "equinox",
    is_model=lambda value: isinstance(value, _equinox().Module),
    pure=_pure_equinox,
    layout=lambda _: "NCHW",
    during_traces=_trace_equinox,
    batched=_batch_equinox,
)

# Keras


def _keras() -> Any:
    return sys.modules["keras"]


def _is_keras(value: Any) -> bool:
    operation = getattr(_keras(), "Operation", None)
    return operation is not None and isinstance(value, operation)


def _require_jax_backend() -> None:
    backend = _keras().backend.backend()
    if backend != "jax":
        wrong = f"Keras runs on {backend} here."
        fix = 'set the environment variable KERAS_BACKEND to "jax" before keras is imported.'
        raise_if([Diagnostic(wrong, fix)])


def _keras_variables(model: Any) -> tuple[list[Any], list[Any]]:
    """The parameters of a model, trained or frozen, and its other variables."""
    inner = getattr(model, "_flatten_layers", list)
    learnt = {id(v) for layer in inner() for v in getattr(layer, "_trainable_variables", ())}
    learnt |= {id(v) for v in getattr(model, "trainable_variables", ())}
    variables = getattr(model, "variables", [])
    others = [v for v in variables if id(v) not in learnt]
    return [v for v in variables if id(v) in learnt], others


def _keras_arrays(model: Any) -> ModelArrays:
    def tree(variables: Iterable[Any]) -> dict[str, dict[str, Any]]:
        arrays: dict[str, dict[str, Any]] = {}
        for number, variable in enumerate(variables):
            path = variable.path.removeprefix(f"{model.name}/")
            layer, _, name = path.rpartition("/")
            value = getattr(variable, "_value", None)
            if value is None:  # of a variable that was made without one
                value = jax.ShapeDtypeStruct(variable.shape, variable.dtype)
            arrays.setdefault(layer, {})[f"{number:06} {name}"] = value
        return arrays

    return ModelArrays(*map(tree, _keras_variables(model)))


def _pure_keras(model: Any, method: Method) -> PureCall:
    _require_jax_backend()
    variables = _keras_variables(model)

    def call(arrays: ModelArrays, *args: Any, **named: Any) -> Any:
        mapping = []
        for some, tree in zip(variables, (arrays.parameters, arrays.state), strict=True):
            by_number = {name: value for group in tree.values() for name, value in group.items()}
            mapping += zip(some, (by_number[name] for name in sorted(by_number)), strict=True)
        with _keras().StatelessScope(state_mapping=mapping):
            # The model's own name is left out of the names of its layers, which begin with it.
            scope: Any = contextlib.nullcontext()
            module: Any = sys.modules.get("keras.src.backend.common.name_scope")
            with contextlib.suppress(AttributeError, ValueError):
                scope = module.name_scope(model.name, caller=model)
            with scope:
                return method(model, *args, **named)

    return PureCall(call, _keras_arrays(model))


def _complete_keras(
    model: Any, method: Method, args: Sequence[Any], named: Mapping[str, Any]
) -> PureCall:
    """Build a model by a call with symbolic tensors, as Keras itself does."""
    _require_jax_backend()
    keras = _keras()

    def symbolic(leaf: Any) -> Any:
        if not is_array(leaf):
            return leaf
        shape = tuple(size if isinstance(size, int) else None for size in leaf.shape)
        return keras.KerasTensor(shape, str(leaf.dtype))

    with _unwrapped_errors():
        method(model, *jax.tree.map(symbolic, tuple(args)), **jax.tree.map(symbolic, dict(named)))
    return _pure_keras(model, method)


@contextlib.contextmanager
def _trace_keras() -> Iterator[None]:
    """Keep variables unchanged, errors as they were raised, and checks of shapes exact."""
    keras = _keras()
    if not hasattr(keras, "StatelessScope") or keras.backend.backend() != "jax":
        yield  # it is being imported, or serves another library
        return
    module, name = "keras.src.layers.input_spec", "assert_input_compatibility"
    with contextlib.ExitStack() as stack:
        stack.enter_context(keras.StatelessScope())
        stack.enter_context(_unwrapped_errors())
        stack.enter_context(_replaced(module, name, _check_exactly))
        for pool in ("adaptive_average_pool", "adaptive_max_pool"):
            stack.enter_context(_replaced("keras.src.backend.jax.nn", pool, _pool_of_keras))
        yield


def _pool_of_keras(original: Callable[..., Any], inputs: Any, *args: Any, **named: Any) -> Any:
    """Pool a map from windows of two widths, of which one may have no rows."""
    return as_adaptive_pool(lambda x: original(x, *args, **named), inputs)


@contextlib.contextmanager
def _unwrapped_errors() -> Iterator[None]:
    """Let errors be what was raised: Keras wraps them in the arguments of the layer."""
    config = _keras().config
    is_filtering = config.is_traceback_filtering_enabled()
    config.disable_traceback_filtering()
    try:
        yield
    finally:
        if is_filtering:
            config.enable_traceback_filtering()


def _check_exactly(
    original: Callable[..., Any], input_spec: Any, inputs: Any, *args: Any, **named: Any
) -> Any:
    """Compare the sizes of a layer's inputs with those that it is made for.

    Keras takes a symbolic size for one that fits, so a size that does not gets a number.
    """
    specs = jax.tree.leaves(input_spec)
    leaves, tree = jax.tree.flatten(inputs)
    if len(specs) != len(leaves):  # which Keras finds itself
        return original(input_spec, inputs, *args, **named)
    for i, (spec, array) in enumerate(zip(specs, leaves, strict=True)):
        shape: list[Any] = list(getattr(array, "shape", ()))
        expected = {axis % len(shape): n for axis, n in (getattr(spec, "axes", None) or {}).items()}
        if getattr(spec, "shape", None) is not None and len(spec.shape) == len(shape):
            expected |= dict(enumerate(spec.shape))
        for axis, size in expected.items():
            if size is not None and isinstance(shape[axis], Size) and shape[axis] != size:
                shape[axis] = shape[axis].bounds()[0] or 0
                leaves[i] = SimpleNamespace(shape=tuple(shape), dtype=array.dtype)
    return original(input_spec, jax.tree.unflatten(tree, leaves), *args, **named)


def _copy_keras(model: Any) -> Any:
    """Make a model again, or return it where it does not say how it is made."""
    try:
        return type(model).from_config(model.get_config())
    except Exception:  # of the user's code
        return model


def _hidden_in_keras(value: Any) -> Iterable[tuple[Any, str]]:
    """Whether a layer was ever called: afterwards Keras lets no arguments be registered."""
    if _is_keras(value) and hasattr(value, "_called"):
        yield value, "_called"


def _keras_layout(model: Any) -> str:
    layers = getattr(model, "_flatten_layers", list)()
    formats = [getattr(layer, "data_format", None) for layer in layers]
    return "NCHW" if "channels_first" in formats else "NHWC"


def _abstract_keras(make: Callable[[], Any]) -> Any:
    """Make a model whose variables have no values, which Keras would compute one by one."""
    with _keras().StatelessScope(initialize_variables=False):
        model = make()
    state: Any = sys.modules.get("keras.src.backend.common.global_state")
    with contextlib.suppress(AttributeError):  # else the next scope would initialise them
        state.set_global_attribute("uninitialized_variables", [])
    return model


def _keras_defaults(make: Any) -> dict[str, Any]:
    """No weights, for a function of ``keras.applications`` that downloads them by default."""
    module = getattr(make, "__module__", None) or ""
    is_ours = module.partition(".")[0] == "keras" and not isinstance(make, type)
    parameters = inspect.signature(make).parameters if is_ours else {}
    return {"weights": None} if "weights" in parameters else {}


KERAS = Adapter(
    "Keras",
    "keras",
    is_model=_is_keras,
    functions=frozenset({"stateless_call"}),
    is_incomplete=lambda value: _is_keras(value) and not getattr(value, "built", True),
    pure=_pure_keras,
    complete=_complete_keras,
    completes_any_size=True,
    copy=_copy_keras,
    adds_values=True,
    hidden=_hidden_in_keras,
    arrays=_keras_arrays,
    during_traces=_trace_keras,
    abstract=_abstract_keras,
    layout=_keras_layout,
    defaults=_keras_defaults,
)

# Objax


def _objax_arrays(module: Any) -> ModelArrays:
    """The values of a module's variables, each by its name: ``(Net).conv(Conv2D).w``."""
    objax: Any = sys.modules["objax"]
    learnt, state = {}, {}
    for name, variable in module.vars().items():
        if not isinstance(variable, objax.TrainRef):  # a second name of a variable
            group = learnt if isinstance(variable, objax.TrainVar) else state
            group[name] = variable.value
    return ModelArrays(learnt, state)


OBJAX = Adapter(
    "Objax",
    "objax",
    is_model=lambda value: isinstance(value, sys.modules["objax"].Module),
    arrays=_objax_arrays,
    during_traces=lambda: named_by_attributes(sys.modules["objax"].Module, "[{}]"),
)

ADAPTERS = (NNX, LINEN, HAIKU, EQUINOX, KERAS, OBJAX)


def loaded() -> Iterator[Adapter]:
    """The adapters of the libraries that are loaded."""
    return (adapter for adapter in ADAPTERS if adapter.package in sys.modules)


def adapter_of(value: Any) -> Adapter | None:
    """Find the library that a value is a model of.

    Args:
        value: anything.

    Returns:
        Its adapter; None for what is not a model.
    """
    return next((adapter for adapter in loaded() if adapter.is_model(value)), None)
