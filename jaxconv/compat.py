# ruff: noqa: F401 - what is imported here is for other modules
"""What jaxconv uses of JAX beyond its public API. No other module touches such a name.

Two kinds of names are kept here. *Internals* are functions and classes of ``jax.extend``,
``jax.core`` and ``jax.interpreters``, which may move between versions. *Callers* are functions of
JAX that a symbolic size recognises in the stack when it is compared or converted: the result
depends on the caller.

``import jaxconv`` never fails for a name that is gone: a missing internal is replaced by a
placeholder, layers and models compute with ``jax.lax`` alone, and everything that reads a trace
calls :func:`require_supported_jax` first, which says what is missing.
"""

import contextlib
import ctypes
import functools
import importlib
import inspect
import math
import operator
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import jax
import numpy as np

from jaxconv.source import TYPE_CHECKERS, file_of, frame_outside, is_inside_jax

OLDEST, BELOW = "0.10.2", "0.13"  # versions of JAX with which the tests pass
# Whether XLA computes the parts of a concatenation along the last axis where it is used.
FUSES_LAST_AXIS = jax.__version_info__ < (0, 11)


class UnsupportedJaxError(RuntimeError):
    """The installed JAX lacks a name that proofs and analyses rely on; the message says which."""


# Where each internal is imported from: a module; "module:name" where JAX calls it differently; or a
# tuple of these, the newest first, where versions of JAX differ.
INTERNALS: dict[str, str | tuple[str, ...]] = {
    "ClosedJaxpr": "jax.extend.core",
    "Jaxpr": "jax.extend.core",
    "JaxprEqn": "jax.extend.core",
    "Literal": "jax.extend.core",
    "Primitive": "jax.extend.core",
    "Var": "jax.extend.core",
    "conv_general_dilated_p": "jax.extend.core.primitives",
    "reduce_window_p": "jax.extend.core.primitives",
    "reduce_window_max_p": "jax.extend.core.primitives",
    "reduce_window_min_p": "jax.extend.core.primitives",
    "reduce_window_sum_p": "jax.extend.core.primitives",
    "reshape_p": "jax.extend.core.primitives",
    "select_and_gather_add_p": "jax.extend.core.primitives",
    "select_and_scatter_add_p": "jax.extend.core.primitives",
    "Tracer": "jax.core",
    "TracedArray": "jax._src.interpreters.partial_eval:DynamicJaxprTracer",
    "eval_jaxpr": "jax.core",
    "trace_state_clean": "jax._src.core",
    "Zero": "jax.interpreters.ad",
    "is_undefined_primal": "jax.interpreters.ad",
    "primitive_jvps": "jax.interpreters.ad",
    "primitive_transposes": "jax.interpreters.ad",
    "primitive_batchers": "jax.interpreters.batching",
    "lower_fun": "jax.interpreters.mlir",
    "register_lowering": "jax.interpreters.mlir",
    "dce_jaxpr": "jax.interpreters.partial_eval",
    "pytype_aval_mappings": "jax._src.core",
    "python_scalar_types": "jax._src.dtypes",
    "python_scalar_types_to_dtypes": "jax._src.dtypes",
    "register_canonicalize_value_handler": "jax._src.dtypes",
    "register_weak_scalar_type": "jax._src.dtypes",
    "is_symbolic_dim": "jax.export",
    "default_contraction_order": "jax._src.numpy.einsum:_default_poly_einsum_handler",
    "einsum_orders_by_dimension": "jax._src.numpy.einsum:_poly_einsum_handlers",
}
# Functions of JAX that are replaced while a function is traced with symbolic sizes: where each is
# looked up. Where a version of JAX has none of that name, it is not replaced.
REPLACEABLE: dict[str, tuple[str, ...]] = {
    "arange": ("jax._src.numpy.lax_numpy:_arange",),
    "associative_scan": ("jax.lax:associative_scan",),
    "broadcast": ("jax._src.lax.lax:_try_broadcast_shapes",),
    "concrete_or_error": ("jax._src.core:concrete_or_error",),
    "contraction_order": ("jax._src.numpy.einsum:_default_poly_einsum_handler",),
    "constant_like": ("jax._src.lax.lax:_const",),
    "eliminate_deprecated_list_indexing": (
        "jax._src.numpy.indexing:eliminate_deprecated_list_indexing",
    ),
    "iterate": ("jax._src.lax.lax:ShapedArray._iter",),
    "parse_indices": ("jax._src.numpy.indexing:_parse_indices",),
    "pad_reflected": ("jax._src.numpy.lax_numpy:_pad_symmetric_or_reflect",),
    "pad_wrapped": ("jax._src.numpy.lax_numpy:_pad_wrap",),
    "shuffle": ("jax._src.random.core:_shuffle", "jax._src.random:_shuffle"),
    "split": ("jax._src.numpy.lax_numpy:_split",),
}
# Likewise for a while in which something else is done.
OBSERVABLE: dict[str, tuple[str, ...]] = {
    "run_compiled": ("jax._src.pjit:_run_python_pjit",),  # at a call with other shapes than before
}
SIGNATURES_IN = "jax._src.api_util"  # the module of JAX that inspects them
# Functions of JAX that request a size as a number, and accept that it is not one.
ASKS_FOR_NEW_ARRAY = "_canonicalize_dimension"  # about each axis of each new array
ASKS_IF_CONSTANT = frozenset(("is_constant_dim", "convert_to_index"))
# Functions of JAX that apply int to a length, though a symbolic one would do.
CONVERTS_LENGTH = frozenset(("scan", "_infer_scan_length"))
# Modules of JAX in which functions apply len to arrays, which Python makes a number.
MEASURE_ARRAYS = ("jax._src.numpy.lax_numpy", "jax._src.numpy.polynomial", "jax._src.scipy.signal")
SQUEEZES, SQUEEZE_DEPTH = "_squeeze", 4  # within so many calls from the question
DIVIDES_SHAPES = "divide_shape_sizes"
LIST_LEAVES = (jax.tree.leaves, jax.tree_util.tree_leaves)  # of a tree, and do nothing else
# Functions of JAX that hash sizes as keys of caches. Others hash them to compare sizes as a set.
HASHES_FOR_CACHE = frozenset(("__new__", "to_tangent_aval"))
HASHES_FOR_CACHE_BEFORE_0_12 = frozenset(("wrapper",))  # newer caches are not written in Python
# It hashes the parameters of a primitive, some of which are shapes, as the key of a cache.
HASHES_PARAMETERS = frozenset(("default_process_primitive",))
# Methods of JAX that compare sizes among the static arguments of a function, keys of a cache.
COMPARES_FOR_CACHE = frozenset(("Static.__eq__",))
HASHES_BY_NAME = HASHES_FOR_CACHE | HASHES_FOR_CACHE_BEFORE_0_12 | HASHES_PARAMETERS
GENERATED = "<string>"  # the file of the methods of dataclasses, some of which are keys of caches

# What jaxconv.export uses of JAX's symbolic dimensions: attributes of a module and of its classes.
DIMENSIONS = "jax._src.export.shape_poly"
DIMENSION_ATTRIBUTES = (
    "_bounds_decision",
    "_DimExpr._normalize_sorted_terms",
    "_DimExpr.scope",
    "_DimExpr._sorted_terms",
    "_DimTerm._factors",
    "_DimFactor.var",
    "_DimFactor.operation",
    "_DimFactor.operands",
    "_SymbolicConstraint.cmp",
    "_SymbolicConstraint.diff",
    "Comparator.EQ",
    "SymbolicScope._parse_and_process_explicit_constraint",
)

missing: dict[str, str] = {}  # internals that this JAX does not have, and where they were looked up


class _Placeholder(type):
    """The type of the placeholder for a missing internal: a class without instances."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002 - no call can succeed
        raise UnsupportedJaxError(_message())


def places(name: str) -> list[tuple[str, str]]:
    """The modules in which an internal may be, each with its name there.

    Args:
        name: of the internal in this module.
    """
    listed = INTERNALS[name]
    split = [place.partition(":") for place in ((listed,) if isinstance(listed, str) else listed)]
    return [(module, other or name) for module, _, other in split]


def _find(name: str) -> Any:
    for module, name_there in places(name):
        with contextlib.suppress(ImportError, AttributeError):
            return getattr(importlib.import_module(module), name_there)
    missing[name] = " or ".join(map(".".join, places(name)))
    return _Placeholder(name, (), {})


if TYPE_CHECKING:
    from jax._src.core import pytype_aval_mappings, trace_state_clean
    from jax._src.dtypes import (
        python_scalar_types,
        python_scalar_types_to_dtypes,
        register_canonicalize_value_handler,
        register_weak_scalar_type,
    )
    from jax._src.interpreters.partial_eval import DynamicJaxprTracer as TracedArray
    from jax.core import Tracer, eval_jaxpr
    from jax.export import is_symbolic_dim
    from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Primitive, Var
    from jax.extend.core.primitives import (
        conv_general_dilated_p,
        reduce_window_max_p,
        reduce_window_min_p,
        reduce_window_p,
        reduce_window_sum_p,
        reshape_p,
        select_and_gather_add_p,
        select_and_scatter_add_p,
    )
    from jax.interpreters.ad import (
        Zero,
        is_undefined_primal,
        primitive_jvps,
        primitive_transposes,
    )
    from jax.interpreters.batching import primitive_batchers
    from jax.interpreters.mlir import lower_fun, register_lowering
    from jax.interpreters.partial_eval import dce_jaxpr

    constant_like: Callable[[Any, Any], Any]
    default_contraction_order: Callable[..., tuple[Any, Any]]
    einsum_orders_by_dimension: dict[type, Callable[..., tuple[Any, Any]]]
else:
    globals().update({name: _find(name) for name in INTERNALS})

# Convolutions and pools, whose results may be empty maps.
WINDOW_PRIMITIVES: tuple[Any, ...] = (
    conv_general_dilated_p,
    reduce_window_p,
    reduce_window_max_p,
    reduce_window_min_p,
    reduce_window_sum_p,
)

symbolic_ints: list[type] = []  # what register_number has registered as integers


def register_number(symbolic: type, number: type) -> None:
    """Let JAX's functions take a type of symbolic numbers as they take Python's numbers.

    Args:
        symbolic: the type; ``__jax_array__`` makes what JAX computes with.
        number: int or float.
    """
    if missing:  # then nothing is traced with symbolic numbers
        return
    if number is int:
        symbolic_ints.append(symbolic)
    pytype_aval_mappings[symbolic] = lambda _: jax.typeof(number(0))
    register_weak_scalar_type(symbolic)
    python_scalar_types.add(symbolic)
    python_scalar_types_to_dtypes[symbolic] = python_scalar_types_to_dtypes[number]
    register_canonicalize_value_handler(symbolic, None)


@contextlib.contextmanager
def replaced(name: str, replacement: Callable[..., Any]) -> Iterator[None]:
    """Replace a function of JAX.

    Args:
        name: of the function, a key of ``REPLACEABLE`` or ``OBSERVABLE``.
        replacement: what takes its place, called with the function itself as first argument.
    """
    for place in (REPLACEABLE | OBSERVABLE)[name]:
        module_name, _, path = place.partition(":")
        with contextlib.suppress(ImportError, AttributeError):
            owner: Any = importlib.import_module(module_name)
            *classes, name_there = path.split(".")
            for of_class in classes:
                owner = getattr(owner, of_class)
            original = getattr(owner, name_there)
            break
    else:
        yield
        return
    before = vars(owner)[name_there]  # a static method of a class is wrapped there
    taking_place: Any = functools.partial(replacement, original)
    is_static = isinstance(before, staticmethod)
    setattr(owner, name_there, staticmethod(taking_place) if is_static else taking_place)
    try:
        yield
    finally:
        setattr(owner, name_there, before)


@contextlib.contextmanager
def symbolic_dimensions() -> Iterator[None]:
    """Let ``jax.export.is_symbolic_dim`` answer True for a symbolic size, as other libraries ask.

    Its code is replaced, so that it answers under whatever name a library imported it. JAX itself
    asks a function of the same name in ``jax.core``, which knows such sizes.
    """
    if missing:
        yield
        return

    answer = eval("lambda p: core.is_symbolic_dim(p)")  # `core` of the module of that function
    original = is_symbolic_dim.__code__
    is_symbolic_dim.__code__ = answer.__code__
    try:
        yield
    finally:
        is_symbolic_dim.__code__ = original


def names_of_primitives(closed: ClosedJaxpr) -> set[str]:
    """The names of the operations of a trace, without those inside others.

    Args:
        closed: the trace.
    """
    return {eqn.primitive.name for eqn in closed.jaxpr.eqns}


def set_local(frame: types.FrameType, name: str, value: Any) -> None:
    """Set a local variable of a function that runs.

    Args:
        frame: of the function.
        name: of the variable, which no inner function refers to.
        value: its new value.
    """
    frame.f_locals[name] = value
    if sys.version_info < (3, 13):  # a copy, which is written back as debuggers do
        ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))


def file_of_called(eqn: JaxprEqn) -> str:
    """Find the file of the function that a call compiles.

    Args:
        eqn: a call of ``jax.jit``.

    Returns:
        The path; empty where it is not known.
    """
    jaxpr = getattr(eqn.params.get("jaxpr"), "jaxpr", None)
    info = getattr(getattr(jaxpr, "debug_info", None), "func_src_info", None) or ""
    return info.partition(" at ")[2].rpartition(":")[0]


def are_of_one_trace(one: Any, other: Any) -> bool:
    """Whether two values are traced by the very same trace, none of them by one inside it.

    Args:
        one: an array or what stands for it in a trace.
        other: likewise.
    """
    trace = getattr(one, "_trace", None)
    return trace is not None and trace is getattr(other, "_trace", None)


def release(values: Iterable[Any]) -> None:
    """Let go of the equations of a trace that failed, as JAX does itself where one succeeds.

    They refer to the trace, and it to them, so that only a search for garbage would free them.

    Args:
        values: the inputs of the trace.
    """
    traces = {id(trace): trace for v in values if (trace := getattr(v, "_trace", None)) is not None}
    for trace in traces.values():
        if (invalidate := getattr(trace, "invalidate", None)) is not None:
            invalidate()


@contextlib.contextmanager
def padding_by_sizes() -> Iterator[None]:
    """Let a convolution take symbolic sizes as its padding.

    JAX computes the padding "SAME" from symbolic sizes. Under ``vmap`` and ``grad`` it passes this
    padding to the convolution again, which applies ``operator.index`` to it.
    """

    def index(value: Any) -> Any:
        if isinstance(value, tuple(symbolic_ints)) or is_symbolic_dim(value):
            return value
        return operator.index(value)

    names = jax.lax.conv_general_dilated.__globals__
    original = names.get("operator")
    if original is operator:
        names["operator"] = types.SimpleNamespace(**{**vars(operator), "index": index})
    try:
        yield
    finally:
        if original is operator:
            names["operator"] = operator


@runtime_checkable
class DimensionDecisions(Protocol):
    """What answers the questions that JAX asks about the dimensions of one scope."""

    def simplify(self, dimension: Any) -> Any:
        """An int where a dimension is constant, else the same for equal dimensions.

        Args:
            dimension: a symbolic dimension of JAX.
        """
        ...

    def bounds(self, dimension: Any) -> tuple[float, float] | None:
        """The least and the largest value, or infinite; None where JAX is to find them.

        Args:
            dimension: likewise.
        """
        ...

    def is_branch_equal(self, difference: Any) -> bool:
        """Whether code outside JAX takes a dimension for 0; what differs by size is an error.

        Args:
            difference: a symbolic dimension of JAX.
        """
        ...


@contextlib.contextmanager
def decided_dimensions(scope: Any, decisions: DimensionDecisions) -> Iterator[None]:
    """Let a decision procedure of ours answer what JAX asks about symbolic dimensions.

    JAX makes all of them in one function, which compares two by making their difference, and
    decides orders by the bounds of the difference.

    Args:
        scope: of the dimensions; those of other scopes remain as they are.
        decisions: what answers.

    Raises:
        UnsupportedJaxError: the dimensions of the installed JAX differ from what this relies on.
    """
    require_dimensions()
    with _answered(scope, decisions):
        yield


@contextlib.contextmanager
def _answered(scope: Any, decisions: DimensionDecisions) -> Iterator[None]:
    module = _dimensions_module()
    kind = module._DimExpr
    make, find_bounds, equal = kind._normalize_sorted_terms, module._bounds_decision, kind.__eq__

    def make_simple(terms: Any, of_scope: Any) -> Any:
        made = make(terms, of_scope)
        is_ours = of_scope is scope and isinstance(made, kind)
        return decisions.simplify(made) if is_ours else made

    def find_exact_bounds(dimension: Any, precision: Any) -> tuple[float, float]:
        if not isinstance(dimension, kind) or dimension.scope is not scope:
            return find_bounds(dimension, precision)
        return decisions.bounds(dimension) or find_bounds(dimension, precision)

    def equal_exactly(self: Any, other: Any) -> Any:
        if equal(self, other):
            return True
        if self.scope is not scope or _compares_inside_jax():
            return False
        is_dimension = isinstance(other, kind) and other.scope is scope
        if not is_dimension and not isinstance(other, int | np.integer):
            return False
        return decisions.is_branch_equal(self - other)

    def is_not_zero(self: Any) -> bool:
        if self.scope is not scope or _compares_inside_jax():
            return True
        return not decisions.is_branch_equal(self)

    module._bounds_decision = find_exact_bounds
    kind._normalize_sorted_terms, kind.__eq__ = staticmethod(make_simple), equal_exactly
    kind.__bool__ = is_not_zero
    try:
        yield
    finally:
        module._bounds_decision = find_bounds
        kind._normalize_sorted_terms, kind.__eq__ = staticmethod(make), equal
        del kind.__bool__


def _compares_inside_jax() -> bool:
    """Whether a function of JAX compares a dimension, and not code outside JAX."""
    frame = frame_outside(__file__)
    if frame.f_code.co_name == "__ne__" and frame.f_back is not None:  # of the dimension itself
        frame = frame.f_back
    return is_inside_jax(frame.f_code.co_filename)


DimensionFactor = (
    str | tuple[str, tuple[Any, ...]]
)  # a name; or an operation, such as "mod", and operands


def dimension_terms(dimension: Any) -> list[tuple[int, list[tuple[DimensionFactor, int]]]]:
    """Take a symbolic dimension of JAX apart.

    Args:
        dimension: the dimension.

    Returns:
        Its summands: the coefficient, and factors with their exponents.
    """
    return [
        (
            coefficient,
            [(factor.var or (factor.operation, factor.operands), n) for factor, n in term._factors],
        )
        for term, coefficient in dimension._sorted_terms
    ]


def dimension_constraints(dimension: Any) -> list[tuple[bool, Any]]:
    """List the constraints of the scope of a symbolic dimension of JAX.

    Args:
        dimension: the dimension.

    Returns:
        For each constraint whether it is an equality, and what is 0, or else at least 0.
    """
    equality = _dimensions_module().Comparator.EQ
    return [(one.cmp is equality, one.diff) for one in dimension.scope._explicit_constraints]


def constrained_dimensions(names: tuple[str, ...], constraints: Sequence[str]) -> tuple[Any, ...]:
    """Make symbolic dimensions of JAX.

    JAX draws conclusions from each pair of constraints and from what these say, which takes forever
    for ten with ``max``. Here it draws them from the others alone; it checks all of them.

    Args:
        names: of the dimensions.
        constraints: as ``jax.export.symbolic_shape`` takes them.

    Returns:
        The dimensions; an int where a constraint says that it is one.
    """
    simple = [one for one in constraints if "max(" not in one]
    # JAX remembers what it concludes for a scope with constraints only: the first always holds.
    always = [f"{names[0]} >= 1"] * (len(simple) < len(constraints))
    scope = jax.export.SymbolicScope([*always, *simple])
    shape = jax.export.symbolic_shape(", ".join(names), scope=scope)
    if always:
        next(one for one in shape if not isinstance(one, int)).max(1)  # which concludes
        with _unknown_bounds():
            for one in constraints:
                if one not in simple:
                    scope._parse_and_process_explicit_constraint(one)
    return tuple(shape)


@contextlib.contextmanager
def _unknown_bounds() -> Iterator[None]:
    """Let JAX take each dimension for one that may have any value."""
    module = _dimensions_module()
    find_bounds = module._bounds_decision

    def find_none(dimension: Any, precision: Any) -> tuple[float, float]:
        is_number = isinstance(dimension, int)
        return find_bounds(dimension, precision) if is_number else (-math.inf, math.inf)

    module._bounds_decision = find_none
    try:
        yield
    finally:
        module._bounds_decision = find_bounds


def scope_of(dimension: Any) -> Any:
    """The scope of a symbolic dimension of JAX.

    Args:
        dimension: the dimension.
    """
    return dimension.scope


def _dimensions_module() -> Any:
    return importlib.import_module(DIMENSIONS)


@functools.cache
def require_dimensions() -> None:
    """Check once that JAX's symbolic dimensions are as ``jaxconv.export`` expects.

    Raises:
        UnsupportedJaxError: a name is missing, or dimensions are made or compared elsewhere.
    """
    missing_paths = _missing_attributes(_dimensions_module(), DIMENSION_ATTRIBUTES)
    differences = [f"{DIMENSIONS}.{path} is missing" for path in missing_paths]
    if not differences:  # what follows needs the attributes
        (size,) = jax.export.symbolic_shape("size")
        asked = _RecordedQuestions()
        with _answered(size.scope, asked), contextlib.suppress(Exception):  # pyright: ignore[reportAttributeAccessIssue]
            _ = size + 1 >= 1, size // 2, size.max(3)  # pyright: ignore[reportAttributeAccessIssue]
        expected = {"simplify": ["size + 1", "floordiv(size, 2)"], "bounds": ["size - 3"]}
        differences = [
            f"a dimension is no longer made or compared by {QUESTIONS[question]}"
            for question, dimensions in expected.items()
            if not set(dimensions) <= asked.by_question[question]
        ]
    if differences:
        raise UnsupportedJaxError(
            f"exporting for symbolic sizes supports JAX {OLDEST} and newer, below {BELOW}; this is "
            f"JAX {jax.__version__}, in which {'; '.join(differences)}.\n"
            f"  Fix: python -m pip install 'jax>={OLDEST},<{BELOW}', or export for sizes that are "
            "numbers."
        )


QUESTIONS = {"simplify": "_DimExpr._normalize_sorted_terms", "bounds": "_bounds_decision"}


class _RecordedQuestions:
    """Notes what is asked about dimensions, and leaves the answers to JAX."""

    def __init__(self) -> None:
        self.by_question: dict[str, set[str]] = {"simplify": set(), "bounds": set()}

    def simplify(self, dimension: Any) -> Any:
        self.by_question["simplify"].add(str(dimension))
        return dimension

    def bounds(self, dimension: Any) -> None:
        self.by_question["bounds"].add(str(dimension))

    def is_branch_equal(self, difference: Any) -> bool:
        return difference is None


@contextlib.contextmanager
def whole_tracebacks() -> Iterator[None]:
    """Let JAX keep the tracebacks of errors.

    Where it leaves its own frames out, what the others say of the instruction that failed is wrong
    once an ``except`` of another type has passed the error on.
    """
    before = jax.config.jax_traceback_filtering  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_traceback_filtering", "off")
    try:
        yield
    finally:
        jax.config.update("jax_traceback_filtering", before)


@contextlib.contextmanager
def remembered_signatures() -> Iterator[None]:
    """Let JAX inspect the signature of each function once, instead of at each call.

    It inspects three at each call of a ``custom_jvp`` function such as ReLU, which takes a third of
    the time of that call.
    """
    known: dict[int, tuple[Any, inspect.Signature]] = {}  # with what has this id, to keep it alive

    def signature(fn: Any) -> inspect.Signature:
        if id(fn) not in known:
            known[id(fn)] = fn, inspect.signature(fn)
        return known[id(fn)][1]

    names = vars(importlib.import_module(SIGNATURES_IN))
    original = names.get("inspect")
    if original is inspect:
        names["inspect"] = types.SimpleNamespace(**{**vars(inspect), "signature": signature})
    try:
        yield
    finally:
        if original is inspect:
            names["inspect"] = inspect


def asks_for_new_array(code: CodeType) -> bool:
    """Whether a function is the one in which JAX looks at each axis of a new array.

    Args:
        code: of the function.
    """
    return code.co_name == ASKS_FOR_NEW_ARRAY and is_inside_jax(code.co_filename)


def asks_if_constant(code: CodeType) -> bool:
    """Whether a function of JAX asks if a size is a number, and goes on if it is not.

    Args:
        code: of the function.
    """
    return code.co_name in ASKS_IF_CONSTANT and is_inside_jax(code.co_filename)


def is_within_squeeze(frame: FrameType) -> bool:
    """Whether JAX asks if a size is a number in order to squeeze all axes of size 1.

    Args:
        frame: of the function that asks.
    """
    callers = [frame]
    while len(callers) < SQUEEZE_DEPTH and callers[-1].f_back is not None:
        callers.append(callers[-1].f_back)
    codes = (caller.f_code for caller in callers)
    return any(code.co_name == SQUEEZES and is_inside_jax(code.co_filename) for code in codes)


def converts_length(code: CodeType) -> bool:
    """Whether a function of JAX applies int to a length that may be symbolic, as scan does.

    Args:
        code: of the function.
    """
    return code.co_name in CONVERTS_LENGTH and is_inside_jax(code.co_filename)


def modules_that_measure_arrays() -> Iterator[dict[str, Any]]:
    """The globals of the modules of JAX whose functions apply len to arrays, where they exist."""
    for name in MEASURE_ARRAYS:
        with contextlib.suppress(ImportError):
            yield vars(importlib.import_module(name))


def divides_shapes(code: CodeType) -> bool:
    """Whether a function of JAX divides the numbers of elements of two shapes, for a reshape.

    Args:
        code: of the function.
    """
    return code.co_name == DIVIDES_SHAPES and is_inside_jax(code.co_filename)


def hashes_for_cache(frame: FrameType) -> bool:
    """Whether a function of JAX hashes or compares sizes in order to cache something by them.

    Args:
        frame: of the function.
    """
    while frame.f_code.co_filename.startswith(TYPE_CHECKERS) and frame.f_back is not None:
        frame = frame.f_back
    code = frame.f_code
    if code.co_filename == GENERATED:  # with the globals of the module of the dataclass
        return code.co_name == "__hash__" and is_inside_jax(file_of(frame))
    is_listed = code.co_name in HASHES_BY_NAME or code.co_qualname in COMPARES_FOR_CACHE
    return is_listed and is_inside_jax(code.co_filename)


@functools.cache
def require_supported_jax() -> None:
    """Check once that the installed JAX is as proofs and analyses expect.

    Raises:
        UnsupportedJaxError: an internal is missing, or a question about sizes is asked by a
            function of another name.
    """
    if [*_differences()]:
        raise UnsupportedJaxError(_message())


def _message() -> str:
    return (
        f"proofs and analyses support JAX {OLDEST} and newer, below {BELOW}; this is JAX "
        f"{jax.__version__}, in which {'; '.join(_differences())}.\n"
        f"  Fix: python -m pip install 'jax>={OLDEST},<{BELOW}'. "
        "Layers and models work with any JAX."
    )


def _differences() -> Iterator[str]:
    """The unexpected: missing internals, missing attributes, and renamed callers."""
    if missing:
        yield from (f"{sought} is missing" for sought in missing.values())
        return  # what follows needs them
    answers = False
    (eqn,) = jax.make_jaxpr(lambda x: x + x)(np.float32(0)).eqns
    yield from (f"JaxprEqn.{path} is missing" for path in _missing_attributes(eqn, ATTRIBUTES))
    with symbolic_dimensions(), contextlib.suppress(Exception):
        if is_symbolic_dim(_RecordingSize({})) and not is_symbolic_dim(1):  # type: ignore[arg-type]
            answers = True
    if not answers:
        yield "is_symbolic_dim no longer asks jax.core if a size is symbolic"
    callers = _callers()
    indexing, hashing = callers["__index__"], callers["__hash__"]
    for name in (ASKS_FOR_NEW_ARRAY, *sorted(ASKS_IF_CONSTANT)):
        if name not in indexing:
            yield f"{name} no longer asks if sizes are numbers"
    for name in sorted(HASHES_FOR_CACHE - hashing):
        yield f"{name} no longer hashes sizes"


ATTRIBUTES = (
    "invars",
    "outvars",
    "params",
    "effects",
    "replace",
    "primitive.name",
    "primitive.bind",
    "primitive.get_bind_params",
    "primitive.multiple_results",
    "source_info.name_stack",
    "source_info.traceback.raw_frames",
)


def _missing_attributes(owner: Any, paths: Iterable[str]) -> Iterator[str]:
    """Those of some attributes that an object lacks, as dotted paths."""
    for path in paths:
        value = owner
        for name in path.split("."):
            if not hasattr(value, name):
                yield path
                break
            value = getattr(value, name)


class _RecordingSize:
    """A symbolic size that notes which functions of JAX ask for its number and for its hash."""

    def __init__(self, callers: Mapping[str, set[str]]) -> None:
        self._callers = callers

    def _note(self, question: str) -> None:
        code = frame_outside(__file__).f_code
        if is_inside_jax(code.co_filename):
            self._callers[question].add(code.co_name)

    def __index__(self) -> int:
        self._note("__index__")
        raise TypeError("a symbolic size is not a number")

    def __hash__(self) -> int:
        self._note("__hash__")
        return 0

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ge__(self, other: object) -> bool:
        return True

    def dimension_as_value(self) -> Any:
        """The method by which JAX recognises a symbolic size."""
        return np.int32(1)


def _callers() -> dict[str, set[str]]:
    """Names of the functions of JAX that ask for the number and for the hash of a size.

    The functions traced are those in which JAX asks on its own behalf. Whether a trace succeeds
    does not matter here.
    """
    callers: dict[str, set[str]] = {"__index__": set(), "__hash__": set()}
    size = _RecordingSize(callers)
    array = jax.ShapeDtypeStruct((size, 2), np.float32)  # type: ignore[arg-type]
    for function in (lambda x: x + x, lambda x: x[:size], jax.grad(lambda x: (x * x).sum())):
        with contextlib.suppress(Exception):
            jax.make_jaxpr(function)(array)
    return callers
