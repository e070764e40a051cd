"""Read jaxtyping annotations: of functions, and of the fields of classes."""

import dataclasses
import enum
import functools
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jaxtyping
import numpy as np

from jaxconv.adapters.call import Static
from jaxconv.prover.annotations import (
    DTYPES,
    MISSING,
    NUMBER_OF_LEAVES,
    AnnotatedType,
    AnnotationError,
    ArrayType,
    Choices,
    ContainerType,
    EveryLeaf,
    KeyType,
    Made,
    Names,
    OptionalItem,
    RecursiveType,
    UnionType,
    UnshapedType,
    ValueType,
    Word,
    cases,
)
from jaxconv.prover.enforcement import bind_names, enforced
from jaxconv.prover.state import content
from jaxconv.prover.terms import CallTerms, Found, ProofCase, Terms, made
from jaxconv.symbolic.spec_errors import SpecError

MOST_MEMBERS = 4  # of an Enum, that are all tried
ANYTHING = ValueType("Any")
# What ``ArrayLike`` consists of, apart from bools, which are few. JAX takes NumPy's for its own.
ARRAY = UnshapedType("Array", "float32", is_number=False)
UNSHAPED = {
    jax.Array: ARRAY,
    np.ndarray: ARRAY,
    int: UnshapedType("int", "int32", is_number=True),
    float: UnshapedType("float", "float32", is_number=True),
    complex: UnshapedType("complex", "complex64", is_number=True),
}


def read_type(hint: Any, within: tuple[Any, ...] = ()) -> AnnotatedType:
    """Read an annotation.

    Args:
        hint: the annotation, evaluated.
        within: the classes whose fields are being read.

    Returns:
        What it says.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    # NewType, TypeVar, and "type X = ..." stand for another type, as Annotated does.
    others = [getattr(hint, name, None) for name in ("__supertype__", "__bound__", "__value__")]
    is_marked = origin in (Annotated, typing.Required, typing.NotRequired)
    other = arguments[0] if is_marked else next(filter(None, others), None)
    if other is not None:
        return read_type(other, within)
    if hasattr(hint, "dim_str") and hasattr(hint, "dtype"):
        return _array(hint)
    if isinstance(hint, type(jaxtyping.PyTree)):
        leaf = read_type(getattr(hint, "leaftype", Any), within)
        return EveryLeaf(_text(hint), leaf, tuple, jax.tree.leaves, is_tree=True)
    if origin in (typing.Union, types.UnionType):
        is_like_array = jax.Array in arguments or np.ndarray in arguments
        unshaped = UNSHAPED if is_like_array else {}
        options = [unshaped.get(one) or read_type(one, within) for one in arguments]
        different = (one for i, one in enumerate(options) if one not in options[:i])
        return UnionType(_text(hint), tuple(different))
    kind = origin or hint
    if isinstance(kind, type) and kind not in within:
        return _container(hint, kind, arguments, within) or _value(hint, kind)
    return RecursiveType(_text(hint)) if kind in within else _value(hint, kind)


def _value(hint: Any, kind: Any) -> ValueType:
    """What an annotation says that names no arrays: the values, where they are few."""
    only: tuple[Any, ...] = ()
    if hint is None or kind is type(None):
        only = (None,)
    elif kind is Literal:
        only = typing.get_args(hint)
    elif kind is bool:
        only = (False, True)
    elif isinstance(kind, enum.EnumType) and len(kind) <= MOST_MEMBERS:
        only = tuple(kind)
    return ValueType(_text(hint), only)


def _container(
    hint: Any, kind: type, arguments: Sequence[Any], within: tuple[Any, ...]
) -> AnnotatedType | None:
    """What an annotation says that names a container; None where it names none with shapes."""
    text = _text(hint)
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        parts = [(i, read_type(part, within)) for i, part in enumerate(arguments) if part != ()]
        return ContainerType(
            text,
            tuple(parts),
            build=tuple,
            part=lambda value, i: value[i],
            is_container=lambda value: isinstance(value, tuple | list) and len(value) == len(parts),
            label=_item,
        )
    if arguments and issubclass(kind, Sequence):  # tuple[X, ...], list[X], Sequence[X]
        build = tuple if kind is tuple else list
        return EveryLeaf(text, read_type(arguments[0], within), build, _elements)
    if len(arguments) == 2 and issubclass(kind, Mapping):
        return EveryLeaf(text, read_type(arguments[1], within), _lettered, _values)
    return _with_fields(text, kind, arguments, within)


def _with_fields(
    text: str, kind: type, arguments: Sequence[Any], within: tuple[Any, ...]
) -> AnnotatedType | None:
    """A TypedDict, NamedTuple or dataclass; None where no field of it has a shape.

    An abstract class has no instance that could be made; Equinox's may lack attributes, too.
    """
    if any(getattr(kind, f"__abstract{what}__", ()) for what in ("methods", "vars", "classvars")):
        return None
    types_of = dict(zip(getattr(kind, "__parameters__", ()), arguments, strict=False))
    # Of Box[X], the fields of Box have X in the place of its variable.
    hints = {name: _with_arguments(part, types_of) for name, part in field_hints(kind).items()}
    read = {name: read_type(part, (*within, kind)) for name, part in hints.items()}
    if not any(part.has_shapes() for part in read.values()):
        return None
    if typing.is_typeddict(kind):
        return _mapping(text, kind, [*read.items()])
    if hasattr(kind, "_fields"):  # of a NamedTuple
        parts = [(name, read.get(name, ANYTHING)) for name in kind._fields]
        return _record(text, kind, parts, lambda values: kind(*values))
    if dataclasses.is_dataclass(kind):
        fields = dataclasses.fields(kind)
        parts = [(f.name, _field(read.get(f.name, ANYTHING), f)) for f in fields]
        return _record(text, kind, parts, functools.partial(_instance, kind, parts))
    return None


def _field(kind: AnnotatedType, field: "dataclasses.Field[Any]") -> AnnotatedType:
    """The type of a field; one without shapes has its default."""
    options = kind.options if isinstance(kind, UnionType) else (kind,)
    if kind.has_shapes() or any(isinstance(one, KeyType | RecursiveType) for one in options):
        return kind
    if field.default is not dataclasses.MISSING:
        return ValueType("default", (field.default,))
    if field.default_factory is not dataclasses.MISSING:
        return ValueType("default", (field.default_factory(),))
    return kind


def _instance(kind: type, parts: Sequence[tuple[str, Any]], values: Sequence[Any]) -> Any:
    """An instance with these fields; what an ``__init__`` of its own computes, it does not have."""
    init, code = kind.__init__, getattr(kind.__init__, "__code__", None)
    if hasattr(kind, "__post_init__") and code and code.co_filename == "<string>":  # a dataclass's
        needs = inspect.signature(init).parameters
        given = {name: value for (name, _), value in zip(parts, values, strict=True)}
        given = {name: value for name, value in given.items() if name in needs}
        missing = (p for name, p in [*needs.items()][1:] if name not in given)
        if all(parameter.default is not parameter.empty for parameter in missing):
            return kind(**given)
    instance = object.__new__(kind)
    for (name, _), value in zip(parts, values, strict=True):
        object.__setattr__(instance, name, value)
    return instance


def _text(hint: Any) -> str:
    """An annotation as it is written."""
    is_plain = isinstance(hint, type) and not typing.get_args(hint)
    name = hint.__name__ if is_plain else str(hint)
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", name)


def _array(hint: Any) -> AnnotatedType:
    """The type of ``Float[Array, "b h w 3"]``."""
    text = f'{hint.dtype.__name__}[{_text(hint.array_type)}, "{hint.dim_str}"]'
    words = tuple(Word.of(word) for word in hint.dim_str.split())
    dtypes, may_be_key = _dtypes(hint.dtype)
    if may_be_key and not dtypes:
        return KeyType() if not words else ValueType(text)
    return ArrayType(text, words, () if may_be_key else dtypes)  # with keys, arrays of every kind


@functools.cache
def _dtypes(kind: Any) -> tuple[tuple[str, ...], bool]:
    """The dtypes that ``Float`` or another kind of arrays may have, and whether keys have it."""

    def is_allowed(dtype: Any) -> bool:
        return isinstance(jax.ShapeDtypeStruct((), dtype), kind[Any, "..."])

    names = tuple(name for name in DTYPES if is_allowed(np.dtype(jax.numpy.dtype(name))))
    return names, is_allowed(jax.eval_shape(jax.random.key, 0).dtype)


def _mapping(text: str, kind: Any, parts: list[tuple[Any, AnnotatedType]]) -> ContainerType:
    required = getattr(kind, "__required_keys__", frozenset())
    marked = ((key, part if key in required else OptionalItem(part)) for key, part in parts)

    def is_one(value: Any) -> bool:
        return isinstance(value, Mapping) and required <= value.keys()

    def build(values: Sequence[Any]) -> dict[str, Any]:
        pairs = zip(parts, values, strict=True)
        return {name: value for (name, _), value in pairs if value is not MISSING}

    def item(value: Any, key: Any) -> Any:
        return value.get(key, MISSING)

    return ContainerType(text, tuple(marked), build, item, is_one, _item)


def _record(
    text: str, kind: type, parts: Sequence[tuple[str, AnnotatedType]], build: Callable[..., Any]
) -> ContainerType:
    def is_one(value: Any) -> bool:
        return isinstance(value, kind)

    return ContainerType(
        text, tuple(parts), build, getattr, is_one, lambda label, name: f"{label}.{name}"
    )


def _item(label: str, key: Any) -> str:
    return f"{label}[{key!r}]"


def _elements(value: Any) -> Sequence[Any] | None:
    return value if isinstance(value, tuple | list) else None


def _values(value: Any) -> Sequence[Any] | None:
    return [*value.values()] if isinstance(value, Mapping) else None


def _lettered(values: Sequence[Any]) -> dict[str, Any]:
    return {chr(ord("a") + i): value for i, value in enumerate(values)}


class _Anything(dict[str, Any]):
    """Stands for the values of ``{n}`` while only the form of a formula matters."""

    def __missing__(self, key: str) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        return self

    def __str__(self) -> str:
        return "1"


class Unreadable(NamedTuple):
    """An annotation that cannot be evaluated.

    Attributes:
        text: as written.
        reason: the error.
    """

    text: str
    reason: Exception


def evaluated(hints: Mapping[str, Any], scope: Mapping[str, Any]) -> dict[str, Any]:
    """Evaluate annotations, each on its own, so that one that fails leaves the others.

    Args:
        hints: the annotations, as written or evaluated.
        scope: the names that they may use.

    Returns:
        The same, evaluated; Unreadable where that fails.
    """
    results = {}
    for name, hint in hints.items():
        holder = types.SimpleNamespace(__annotations__={name: hint})
        try:
            results[name] = typing.get_type_hints(holder, dict(scope), include_extras=True)[name]
        except Exception as error:  # the user's code
            results[name] = Unreadable(str(hint), error)
    return results


def field_hints(kind: type) -> dict[str, Any]:
    """The annotations of the fields of a class and its bases, evaluated.

    Args:
        kind: the class. Where it says what the variables of a generic base are, so do these.
    """
    hints: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        module = sys.modules.get(base.__module__)
        scope = {**vars(module or types), **vars(base), base.__name__: base}
        hints |= evaluated(inspect.get_annotations(base), scope)
    known: dict[Any, Any] = {}  # what the variables of generic bases are: X in class Sub(Box[X])
    for base in kind.__mro__:
        for generic in vars(base).get("__orig_bases__", ()):
            variables = getattr(typing.get_origin(generic), "__parameters__", ())
            arguments = (_with_arguments(one, known) for one in typing.get_args(generic))
            known |= dict(zip(variables, arguments, strict=False))
    return {name: _with_arguments(hint, known) for name, hint in hints.items()}


def _with_arguments(hint: Any, known: Mapping[Any, Any]) -> Any:
    """An annotation with what is known of its variables."""
    if isinstance(hint, typing.TypeVar):
        return known.get(hint, hint)
    variables = getattr(hint, "__parameters__", ()) if typing.get_origin(hint) else ()
    return hint[tuple(known.get(one, one) for one in variables)] if variables else hint


class Annotations(Terms):
    """The contract is what jaxtyping's annotations say.

    Attributes:
        parameters: what is said of each.
        result: what is said of the result.
        unreadable: annotations that cannot be evaluated, by the name of the parameter.
    """

    def __init__(self, fn: Callable[..., Any], owner: type | None = None) -> None:
        """Read the annotations of a function.

        Args:
            fn: the function; of a method, the function of its class.
            owner: the class of a method, whose fields may have shapes.
        """
        code = inspect.unwrap(fn)
        scope = {**getattr(code, "__globals__", {})}
        if inspect.isfunction(code):
            cells = zip(code.__code__.co_freevars, code.__closure__ or (), strict=True)
            scope |= {name: value for name, cell in cells for value in content(cell)}
        hints = evaluated(inspect.get_annotations(code), scope)
        if owner is not None:
            hints = {n: owner if hint is typing.Self else hint for n, hint in hints.items()}
        self.unreadable = {n: hint for n, hint in hints.items() if isinstance(hint, Unreadable)}
        types_of = {
            name: ValueType(hint.text) if isinstance(hint, Unreadable) else read_type(hint)
            for name, hint in hints.items()
        }
        self.result = types_of.pop("return", ANYTHING)
        self.signature = inspect.signature(code)
        self.parameters = {name: types_of.get(name, ANYTHING) for name in self.signature.parameters}
        if owner is not None:
            self.parameters[next(iter(self.parameters))] = read_type(owner)
        self._require_names({})
        written = (*map(str, hints.values()), *map(str, field_hints(owner or type(None)).values()))
        self._taken = frozenset(re.findall(r"\w+", " ".join(written)))

    def _require_names(self, values: Mapping[str, Any]) -> None:
        """Refuse formulas that cannot be read, with some values, or that use names of no size."""
        words = [word for kind in (*self.parameters.values(), self.result) for word in kind.words()]
        any_names = Names(_Anything(values), (), {})
        known = {word.formula(any_names).text for word in words if word.text.isidentifier()}
        for word in words:
            try:
                names = word.formula(any_names).names() if word.text else []
            except SpecError:
                allowed = "names, numbers and + - * // % min max"
                raise AnnotationError(
                    f"the size {word.text} in an annotation cannot be decided.\n"
                    f"  Fix: write it with {allowed}, or write _ for any size."
                ) from None
            if unknown := [name for name in names if name not in known]:
                raise AnnotationError(
                    f"the size {word.text} uses {unknown[0]}, which is the size of no argument.\n"
                    f"  Fix: use {unknown[0]} alone as a size of an argument, or write _."
                )

    def says_shapes(self) -> bool:
        """Whether the annotations say anything of a shape."""
        return any(kind.has_shapes() for kind in (*self.parameters.values(), self.result))

    def call(self, arguments: Mapping[str, Any]) -> CallTerms:
        """Take the arrays that the annotations name."""
        names = Names(arguments, self._taken, {})
        found = self._arrays(arguments, names)

        def results(result: Any, sizes: Mapping[str, Any]) -> list[Found]:
            names.sizes = sizes
            found = self.result.found(result, "", names)
            return [
                one._replace(label=f"{'the ' * (one.shape is None)}result{one.label}")
                if one.label
                else one
                for one in found
            ]

        return CallTerms(found, results)

    def _arrays(self, arguments: Mapping[str, Any], names: Names) -> list[Found]:
        """The arrays of some arguments; unions come last to get a type, by the sizes of others."""
        given = {name: kind for name, kind in self.parameters.items() if name in arguments}
        sizes: dict[str, Any] = {}
        if any(isinstance(kind, UnionType) for kind in given.values()):
            others = ((n, kind) for n, kind in given.items() if not isinstance(kind, UnionType))
            for name, kind in others:
                bind_names([*self._of_parameter(kind, name, arguments[name], names.copy())], sizes)
        names.sizes = sizes
        return [
            one
            for name, kind in given.items()
            for one in self._of_parameter(kind, name, arguments[name], names)
        ]

    def _of_parameter(
        self, kind: AnnotatedType, name: str, value: Any, names: Names
    ) -> Iterator[Found]:
        parameter = self.signature.parameters[name]
        match parameter.kind:
            case parameter.VAR_POSITIONAL:
                for i, part in enumerate(value):
                    yield from kind.found(part, f"{name}[{i}]", names)
            case parameter.VAR_KEYWORD:
                for key, part in value.items():
                    yield from kind.found(part, key, names)
            case _:
                yield from kind.found(value, name, names)

    def proofs(self, fn: Callable[..., Any], given: Mapping[str, Any]) -> Iterator[ProofCase]:
        """Make a call for each choice that the annotations leave."""
        code = inspect.unwrap(fn)
        if (
            inspect.iscoroutinefunction(code)
            or inspect.isgeneratorfunction(code)
            or inspect.isasyncgenfunction(code)
        ):  # a call runs nothing, so that a trace would show nothing
            raise AnnotationError(
                f"{code.__qualname__} is a generator or async, and what it gives later is not "
                "decided.\n  Fix: move the shapes into a plain function, and check that."
            )
        ready = {name: made(value) for name, value in given.items()}
        values = {n: one.value if isinstance(one, Static) else one for n, one in ready.items()}
        parameters = inspect.signature(fn).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        if unknown := values.keys() - {p.name for p in parameters}:
            raise AnnotationError(
                f"{fn.__qualname__} has no argument {min(unknown)}.\n"
                f"  Fix: pass some of {', '.join(p.name for p in parameters)}."
            )
        self._require_names({**defaults, **values})
        known: dict[str, int] = {}  # the sizes of arrays that are given are numbers
        names = Names({**defaults, **values}, self._taken, known)
        bind_names([one for one in self._arrays(values, names) if one.spec is not None], known)
        names.sizes = {}
        enforcing = enforced(fn, self)

        def make(choices: Choices) -> ProofCase:
            return self._proof(enforcing, values, choices)

        yield from cases(make, names.copy)

    def _proof(
        self, fn: Callable[..., Any], values: Mapping[str, Any], choices: Choices
    ) -> ProofCase:
        """The call of one case: a function of the arrays that are traced, and their specs."""
        args: list[Any] = []
        positional: list[Callable[[Iterator[Any]], Any]] = []
        named: dict[str, Callable[[Iterator[Any]], Any]] = {}
        rest: Callable[[Iterator[Any]], Sequence[Any]] = lambda _: ()  # noqa: E731 - for *args
        for name, parameter in inspect.signature(fn).parameters.items():
            if name in values:
                has_arrays = any(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(values[name]))
                constant = functools.partial(lambda value, _: value, values[name])
                new, build = ((values[name],), next) if has_arrays else ((), constant)
            elif (one := self._made(parameter, choices)) is not None:
                new, build = one
            else:
                continue
            args += new
            if parameter.kind is parameter.VAR_POSITIONAL:
                rest = build
            elif parameter.kind is parameter.KEYWORD_ONLY:
                named[name] = build
            else:
                positional.append(build)

        @functools.wraps(fn)
        def call(*arrays: Any) -> Any:
            remaining = iter(arrays)
            args = [*(build(remaining) for build in positional), *rest(remaining)]
            return fn(*args, **{name: build(remaining) for name, build in named.items()})

        call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter("arrays", inspect.Parameter.VAR_POSITIONAL)]
        )
        return ProofCase(call, tuple(args), "; ".join(choices.texts))

    def _made(self, parameter: inspect.Parameter, choices: Choices) -> Made | None:
        """What a proof makes for a parameter; None where the parameter is left out."""
        name, kind = parameter.name, self.parameters.get(parameter.name, ANYTHING)
        has_arrays = kind.has_shapes() or isinstance(kind, KeyType)
        if parameter.kind is parameter.VAR_POSITIONAL and has_arrays:
            parts = [kind.make(f"{name}[{i}]", choices) for i in range(NUMBER_OF_LEAVES)]
            choices.texts.append(f"{NUMBER_OF_LEAVES} arguments for *{name}")
            specs = tuple(spec for part in parts for spec in part.specs)
            return Made(specs, lambda arrays: [part.build(arrays) for part in parts])
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            if kind is not ANYTHING and parameter.kind is parameter.VAR_POSITIONAL:
                kind.make(f"*{name}", choices)  # raises the reason why there are none
            return None
        if not has_arrays and parameter.default is not parameter.empty:
            return Made((), lambda _: parameter.default)
        if name in self.unreadable:
            hint = self.unreadable[name]
            raise AnnotationError(
                f"the annotation of {name}, {hint.text}, cannot be read: {hint.reason}.\n"
                "  Fix: import what it names at the top level of the module."
            )
        return kind.make(name, choices)
