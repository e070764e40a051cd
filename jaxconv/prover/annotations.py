"""What jaxtyping annotations say of a value: the shapes in it, and how a proof makes one.

An annotation is read once into an :class:`AnnotatedType`. A proof asks it to *make* a value: a spec
for each array in it, and a function that puts the traced arrays in their places. A call asks it
for the arrays of a value that exists, each with the spec that it must fit.
"""

import abc
import contextlib
import functools
import keyword
import re
import typing
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from jaxconv.errors import ShapeError
from jaxconv.prover.enforcement import fits
from jaxconv.prover.terms import Found
from jaxconv.symbolic.spec_errors import SpecError
from jaxconv.symbolic.specs import ANY, Axis, Formula, OneOr, Spec, parse_formula

NUMBERS_OF_AXES = (0, 1, 2)  # that ``*batch`` and ``...`` stand for in proofs
NUMBER_OF_LEAVES = 2  # of a PyTree that a proof makes
# The dtypes in which a proof makes an array, the first that its annotation allows.
DTYPES = (
    "float32", "int32", "bool", "uint8", "uint32", "complex64", "bfloat16", "float16", "int8",
    "int16", "uint16", "float64", "int64", "uint64", "complex128", "float8_e4m3fn", "float8_e5m2",
)  # fmt: skip
# Words that Python, or isl, keeps for itself, get a "_" as names of sizes.
RESERVED = frozenset(
    (
        *keyword.kwlist,
        "min",
        "max",
        "mod",
        "floor",
        "ceil",
        "exists",
        "forall",
        "infty",
        "rat",
        "true",
        "false",
    )
)


class AnnotationError(ShapeError):
    """An annotation that a proof cannot follow."""


class Made(NamedTuple):
    """A value of an annotation, as a proof makes it.

    Attributes:
        specs: one for each array that is traced.
        build: makes the value, from an iterator over these arrays.
    """

    specs: tuple[Spec, ...]
    build: Callable[[Iterator[Any]], Any]


class Names:
    """The names of sizes in one call, or in one case of a proof.

    Attributes:
        axes: the number of axes of each name that stands for several.
        fixed: those of them that no broadcast may enlarge.
        sizes: the size of each name so far, which tell types of one rank apart.
        leaf: which leaf of a tree is being looked at.
        values: what ``{n}`` in an annotation stands for.
        taken: all names, to which none that is made up may be equal.
        known: names that stand for a number.
    """

    def __init__(
        self, values: Mapping[str, Any], taken: Collection[str], known: Mapping[str, int]
    ) -> None:
        self.axes: dict[Hashable, int] = {}
        self.fixed: set[Hashable] = set()
        self.sizes: Mapping[str, Any] = {}
        self.leaf = ""
        self.values = values
        self.taken = taken
        self.known = known
        self._made_up: dict[Hashable, str] = {}

    def copy(self) -> "Names":
        """The same names, to try something on."""
        names = Names(self.values, self.taken, self.known)
        names.axes.update(self.axes)
        names.fixed.update(self.fixed)
        names.leaf, names.sizes = self.leaf, self.sizes
        names._made_up.update(self._made_up)
        return names

    def made_up(self, text: str, *what: Hashable) -> str:
        """A name that no annotation has, and nothing else.

        Args:
            text: what it looks like.
            *what: what it stands for; the same name every time.
        """
        if what not in self._made_up:
            name = re.sub(r"\W+", "_", text).strip("_")
            while name in self.taken or name in RESERVED or name in self._made_up.values():
                name += "_"
            self._made_up[what] = name
        return self._made_up[what]

    def fit_axes(self, word: "Word", count: int) -> bool:
        """Tell whether a word may stand for a number of axes, with those that it has had.

        Args:
            word: one that stands for several axes; it has a name.
            count: the number, which is noted.
        """
        key = word.key(self)
        known, is_fixed = self.axes.get(key, count), key in self.fixed
        if word.may_be_one:
            self.axes[key] = max(known, count)
            return not (is_fixed and count > known)
        self.axes[key] = count
        self.fixed.add(key)
        return known == count if is_fixed else known <= count


class Choices:
    """The choices of one case of a proof; :func:`cases` goes through all of them.

    Attributes:
        names: the names of sizes so far.
        texts: what was chosen, in words.
    """

    def __init__(self, indices: Sequence[int], names: Names) -> None:
        self.names = names
        self.texts: list[str] = []
        self._indices = indices
        self.made: list[tuple[int, int]] = []  # which option of how many

    def choose(self, options: Sequence[Any], text: Callable[[Any], str]) -> Any:
        """Take the option of this case.

        Args:
            options: what there is to choose from.
            text: says in words what was chosen.
        """
        at = len(self.made)
        index = self._indices[at] if at < len(self._indices) else 0
        self.made.append((index, len(options)))
        if len(options) > 1 and (said := text(options[index])) not in self.texts:
            self.texts.append(said)
        return options[index]


Case = typing.TypeVar("Case")


def cases(make: Callable[[Choices], Case], names: Callable[[], Names]) -> Iterator[Case]:
    """Make every case of a proof, each choice in turn.

    Args:
        make: makes one case, by the choices that it is given.
        names: makes the names of one case.

    Yields:
        The cases.
    """
    indices: list[int] = []
    while True:
        choices = Choices(indices, names())
        yield make(choices)
        rest = list(choices.made)
        while rest and rest[-1][0] + 1 == rest[-1][1]:
            rest.pop()
        if not rest:
            return
        indices = [index for index, _ in rest[:-1]] + [rest[-1][0] + 1]


class AnnotatedType(abc.ABC):
    """What an annotation says of a value."""

    @abc.abstractmethod
    def make(self, label: str, choices: Choices) -> Made:
        """Make a value for a proof.

        Args:
            label: what the value is called.
            choices: of this case.

        Raises:
            AnnotationError: the annotation does not say enough.
        """

    def found(self, value: Any, label: str, names: Names) -> Iterator[Found]:
        """Find the arrays of a value; none where nothing is said of shapes.

        Args:
            value: the value.
            label: what it is called.
            names: of the sizes so far.

        Yields:
            Each array with its spec; one without a spec where the value does not fit.
        """
        del value, label, names
        yield from ()

    def words(self) -> Iterator["Word"]:
        """List the axes of all arrays."""
        yield from ()

    def has_shapes(self) -> bool:
        """Whether it says anything of a shape."""
        return False


@dataclass(frozen=True)
class Word:
    """One axis of an annotation, or several.

    Attributes:
        text: the name, number or formula; empty where the size has no name.
        is_several: whether it stands for any number of axes.
        may_be_one: whether each size may be 1 instead.
        is_of_leaf: whether it is another size in each leaf of a tree.
    """

    text: str
    is_several: bool = False
    may_be_one: bool = False
    is_of_leaf: bool = False

    @classmethod
    def of(cls, text: str) -> "Word":
        """Read a word: ``b``, ``3``, ``dim=3``, ``h//2``, ``*batch``, ``#n``, ``_``.

        Args:
            text: as written.
        """
        modifiers = re.match(r"[*#?]*", text)
        marks = modifiers[0] if modifiers else ""
        name = text[len(marks) :]
        name = name.partition("=")[2] or name
        if name == "...":
            return cls("", is_several=True)
        is_anonymous = name.startswith("_")
        may_be_one, is_of_leaf = (mark in marks and not is_anonymous for mark in "#?")
        return cls("" if is_anonymous else name, "*" in marks, may_be_one, is_of_leaf)

    def formula(self, names: Names, position: int = 0) -> Formula:
        """The size, as a formula of names.

        Args:
            names: of the call.
            position: which of several sizes, counted from the last.
        """
        if position:
            name = names.made_up(f"{self.text}{position}", *self.key(names), position)
            return _formula(str(names.known.get(name, name)))
        if self.is_of_leaf:
            return _formula(names.made_up(f"{self.text}{names.leaf}", *self.key(names)))
        text = re.sub(r"\{([^{}]+)\}", lambda found: _value(found[1], names.values), self.text)
        text = re.sub(r"\b[A-Za-z_]\w*\b(?!\()", lambda found: size_name(found[0], names), text)
        text = re.sub(r"\w+", lambda found: str(names.known.get(found[0], found[0])), text)
        return _formula(text)

    def key(self, names: Names) -> tuple[Hashable, ...]:
        """What the name stands for: ``?n`` is another size in each leaf of a tree.

        Args:
            names: of the call.
        """
        return (self.text, names.leaf if self.is_of_leaf else "")


@functools.lru_cache(maxsize=4096)
def _formula(text: str) -> Formula:
    """Read a formula; once, as each call of a function with a contract asks for it."""
    return parse_formula(text, text)


def size_name(word: str, names: Names) -> str:
    """The name of a size: the word itself, unless it means something else in a formula.

    Args:
        word: as written in an annotation.
        names: of the call.
    """
    return names.made_up(word, word) if word in RESERVED else word


def _value(path: str, values: Mapping[str, Any]) -> str:
    """The text of ``{n}`` or ``{self.size}``."""
    name, *attributes = path.split(".")
    if not all(part.isidentifier() for part in (name, *attributes)):
        raise SpecError(f"{{{path}}} is not the name of a value.")
    try:
        value = values[name]
        for attribute in attributes:
            value = getattr(value, attribute)
    except (KeyError, AttributeError):
        raise AnnotationError(
            f"the size {{{path}}} needs the value of {name}.\n  Fix: pass {name}= to check."
        ) from None
    return str(value)


@dataclass(frozen=True)
class ArrayType(AnnotatedType):
    """An array: ``Float[Array, "b h w 3"]``.

    Attributes:
        text: as written.
        axes: in words.
        dtypes: the dtypes that it may have; empty where any may come.
    """

    text: str
    axes: tuple[Word, ...]
    dtypes: tuple[str, ...]

    def words(self) -> Iterator[Word]:
        """List the axes."""
        yield from self.axes

    def has_shapes(self) -> bool:
        """An array has a shape."""
        return True

    def make(self, label: str, choices: Choices) -> Made:
        """Make the spec of an array that is traced."""
        names, axes = choices.names, []
        for word in self.axes:
            if word.is_several:
                axes += self._several(word, label, choices)
                continue
            name = names.made_up(f"{label}_{len(axes)}", label, "axis", len(axes))
            formula = word.formula(names) if word.text else _formula(name)
            options = [formula, _formula("1")] if word.may_be_one else [formula]
            say = lambda size, word=word: f"{label} with #{word.text} = {size.text}"  # noqa: E731
            axes.append(choices.choose(options, say))
        text = " ".join(axis.text for axis in axes)
        return Made((Spec(text, tuple(axes), self.dtypes[:1]),), next)

    def _several(self, word: Word, label: str, choices: Choices) -> list[Formula]:
        names, shown = choices.names, f"*{word.text}" if word.text else f"... of {label}"
        say = lambda count: f"{count} ax{'i' if count == 1 else 'e'}s for {shown}"  # noqa: E731
        key = word.key(names)
        count = names.axes.get(key) if word.text else None
        if count is None:
            count = choices.choose(NUMBERS_OF_AXES, say)
        if not word.text:
            named = (names.made_up(f"{label}_rest_{i}", label, "rest", i) for i in range(count))
            return [_formula(name) for name in named]
        names.axes[key] = count
        formulas = [word.formula(names, i) for i in range(count, 0, -1)]
        if not (word.may_be_one and count):
            return formulas
        options = [formulas, [], [_formula("1")] * count]
        of_size_1 = lambda made: " of size 1" if made and made[0].text == "1" else ""  # noqa: E731
        return choices.choose(options, lambda made: f"{say(len(made))} of {label}{of_size_1(made)}")

    def found(self, value: Any, label: str, names: Names) -> Iterator[Found]:
        """The array itself."""
        if not (hasattr(value, "shape") and hasattr(value, "dtype")):
            if not isinstance(value, int | float | complex) or self.axes:
                yield _other(value, label, self.text)
                return
            value = jax.eval_shape(jax.numpy.asarray, value)
        axes = self._aligned(len(value.shape), names)
        spec = None if axes is None else Spec(self.text, tuple(axes), self.dtypes)
        yield Found(label, value.shape, value.dtype, spec, self.text)

    def _aligned(self, rank: int, names: Names) -> list[Axis] | None:
        """A formula or ANY for each axis of an array; None where the number of axes is wrong."""
        several = rank - sum(not word.is_several for word in self.axes)
        axes: list[Axis] = []
        for word in self.axes:
            if not word.is_several:
                axes.append(_axis(word, names))
                continue
            if several < 0 or (word.text and not names.fit_axes(word, several)):
                return None
            axes += [_axis(word, names, i) if word.text else ANY for i in range(several, 0, -1)]
        return axes if len(axes) == rank else None


def _other(value: Any, label: str, expected: str) -> Found:
    """What is not of the type that is expected."""
    kind = "an array" if hasattr(value, "shape") else f"of type {type(value).__name__}"
    return Found(f"{label} is {kind}", None, None, None, expected)


def _axis(word: Word, names: Names, position: int = 0) -> Axis:
    if not word.text:
        return ANY
    formula = word.formula(names, position)
    return OneOr(formula.text, formula.tree) if word.may_be_one else formula


@dataclass(frozen=True)
class KeyType(AnnotatedType):
    """A key of random numbers: ``PRNGKeyArray`` or ``Key[Array, ""]``."""

    def make(self, label: str, choices: Choices) -> Made:
        """Make a key; it is a value, whose shape is known."""
        del label, choices
        return Made((), lambda _: jax.random.key(0))


@dataclass(frozen=True)
class ValueType(AnnotatedType):
    """A value that is no array, or one of which nothing is said: it must be given.

    Attributes:
        text: the annotation.
        only: the values that it can have; empty where these are not known.
    """

    text: str
    only: tuple[Any, ...] = ()

    def make(self, label: str, choices: Choices) -> Made:
        """Make one of the values."""
        if not self.only:
            argument = re.split(r"[.\[]", label)[0]  # of which this may be a part
            is_field = argument == "self" and label != argument
            other = "check a method of an instance" if is_field else f"pass {argument}= to check"
            raise AnnotationError(
                f"{label} is annotated {self.text}, of which no value is known.\n"
                f"  Fix: give {label} a default, or {other}."
            )
        value = choices.choose(self.only, lambda value: f"{label} = {value!r}")
        return Made((), lambda _: value)


class RecursiveType(ValueType):
    """A class within itself, such as the next node of a list: a proof makes none."""


@dataclass(frozen=True)
class UnshapedType(AnnotatedType):
    """A member of ``ArrayLike``: an array of which no shape is said, or a number.

    Attributes:
        text: as it is shown.
        dtype: in which a proof makes it.
        is_number: whether it has no axes.
    """

    text: str
    dtype: str
    is_number: bool

    def make(self, label: str, choices: Choices) -> Made:
        """Make an array of any shape, as many functions take nothing else for a number."""
        axes = () if self.is_number else (Word.of("..."),)
        return ArrayType(self.text, axes, (self.dtype,)).make(label, choices)


@dataclass(frozen=True)
class UnionType(AnnotatedType):
    """One of several types.

    Attributes:
        text: as written.
        options: the types.
    """

    text: str
    options: tuple[AnnotatedType, ...]

    def words(self) -> Iterator[Word]:
        """List the axes of all types."""
        for option in self.options:
            yield from option.words()

    def has_shapes(self) -> bool:
        """Whether one of them says anything of a shape."""
        return any(option.has_shapes() for option in self.options)

    def make(self, label: str, choices: Choices) -> Made:
        """Make a value of one of the types."""
        return self.option(label, choices).make(label, choices)

    def option(self, label: str, choices: Choices) -> AnnotatedType:
        """Choose one of those types of which there is a value.

        Args:
            label: what the value is called.
            choices: of this case.

        Raises:
            AnnotationError: there is none.
        """
        possible, error = [], None
        for option in self.options:
            try:
                option.make(label, Choices((), choices.names.copy()))
                possible.append(option)
            except AnnotationError as reason:
                error = reason
                said = f"no {label} as {_shown(option)}"
                if isinstance(option, RecursiveType) and said not in choices.texts:
                    choices.texts.append(said)
        if not possible:
            raise error or AnnotationError(f"{label}: {self.text} has no value.")
        # Leave out what JAX does not tell apart: NumPy's arrays and numbers, and the bits of a key.
        has_key = any(isinstance(option, KeyType) for option in possible)
        different: dict[Any, AnnotatedType] = {}
        for option in possible:
            if isinstance(option, ArrayType):
                if not has_key:
                    different.setdefault((option.axes, option.dtypes), option)
            elif not isinstance(option, ValueType) or option.only == (None,):
                different[option] = option
        if has_key or any(option.has_shapes() for option in different.values()):
            possible = [*different.values()]
        return choices.choose(possible, lambda option: f"{label} as {_shown(option)}")

    def found(self, value: Any, label: str, names: Names) -> Iterator[Found]:
        """The arrays of a value, by the type that it fits."""
        tried, fitting = [], []
        axes, fixed = names.axes, names.fixed
        for option in self.options:
            names.axes, names.fixed = dict(axes), set(fixed)
            arrays = list(option.found(value, label, names))
            if isinstance(option, ValueType):
                is_one = any(value is one for one in option.only)
                if not is_one and (option.only or hasattr(value, "shape")):
                    continue
            if all(
                one.spec is not None and (not one.spec.dtypes or str(one.dtype) in one.spec.dtypes)
                for one in arrays
            ):
                fitting.append((arrays, names.axes, names.fixed))
            else:
                tried.append((arrays, axes, fixed))
        one_fits = len(fitting) == 1
        of_size = (one for one in fitting if one_fits or fits(one[0], names.sizes))
        none = ((), axes, fixed)
        arrays, names.axes, names.fixed = next(of_size, next(iter((*fitting, *tried)), none))
        yield from arrays


def _shown(option: AnnotatedType) -> str:
    return getattr(option, "text", type(option).__name__)


@dataclass(frozen=True)
class ContainerType(AnnotatedType):
    """A tuple, list, dict, NamedTuple or dataclass, of which each part has a type.

    Attributes:
        text: as written.
        parts: the type of each part, by its key: an index, a key or the name of a field.
        build: makes the container from its parts.
        part: finds a part of a value; raises where there is none.
        is_container: tells whether a value is such a container.
    """

    text: str
    parts: tuple[tuple[Any, AnnotatedType], ...]
    build: Callable[[Sequence[Any]], Any]
    part: Callable[[Any, Any], Any]
    is_container: Callable[[Any], bool]
    label: Callable[[str, Any], str]

    def words(self) -> Iterator[Word]:
        """List the axes of all parts."""
        for _, part in self.parts:
            yield from part.words()

    def has_shapes(self) -> bool:
        """Whether one of its parts says anything of a shape."""
        return any(part.has_shapes() for _, part in self.parts)

    def make(self, label: str, choices: Choices) -> Made:
        """Make a container of new parts."""
        made = [part.make(self.label(label, key), choices) for key, part in self.parts]
        specs = tuple(spec for one in made for spec in one.specs)
        return Made(specs, lambda arrays: self.build([one.build(arrays) for one in made]))

    def found(self, value: Any, label: str, names: Names) -> Iterator[Found]:
        """The arrays of each part."""
        if not self.is_container(value):
            yield _other(value, label, self.text)
            return
        for key, part in self.parts:
            yield from part.found(self.part(value, key), self.label(label, key), names)


@dataclass(frozen=True)
class EveryLeaf(AnnotatedType):
    """Any number of values of one type: ``PyTree[Float[Array, "..."]]``, ``list[...]``.

    Attributes:
        text: as written.
        leaf: the type of each.
        build: makes the value of a proof from several leaves.
        leaves: finds the leaves of a value; None where it is not of the type.
        is_tree: whether ``?n`` is another size in each leaf.
    """

    text: str
    leaf: AnnotatedType
    build: Callable[[list[Any]], Any]
    leaves: Callable[[Any], Sequence[Any] | None]
    is_tree: bool = False

    def words(self) -> Iterator[Word]:
        """List the axes of a leaf."""
        yield from self.leaf.words()

    def has_shapes(self) -> bool:
        """Whether a leaf has a shape."""
        return self.leaf.has_shapes()

    def make(self, label: str, choices: Choices) -> Made:
        """Make a few leaves."""
        made, leaf = [], self.leaf
        if isinstance(leaf, UnionType) and any(isinstance(o, UnshapedType) for o in leaf.options):
            leaf = leaf.option(label, choices)  # of all leaves: the cases of two trees are many
        for i in range(NUMBER_OF_LEAVES):
            with self._leaf(i, choices.names):
                made.append(leaf.make(f"{label}[{i}]", choices))
        said = f"{label} with {NUMBER_OF_LEAVES} leaves"
        choices.texts += [said] * (said not in choices.texts)
        specs = tuple(spec for one in made for spec in one.specs)
        return Made(specs, lambda arrays: self.build([one.build(arrays) for one in made]))

    def found(self, value: Any, label: str, names: Names) -> Iterator[Found]:
        """The arrays of each leaf."""
        leaves = self.leaves(value)
        if leaves is None:
            yield _other(value, label, self.text)
            return
        for i, leaf in enumerate(leaves):
            with self._leaf(i, names):
                found = [*self.leaf.found(leaf, f"{label}[{i}]", names)]
            yield from found

    @contextlib.contextmanager
    def _leaf(self, index: int, names: Names) -> Iterator[None]:
        before = names.leaf
        names.leaf = f"{before}_{index}" if self.is_tree else before
        yield
        names.leaf = before


MISSING = object()  # an item that a dict does not have


@dataclass(frozen=True)
class OptionalItem(AnnotatedType):
    """An item that a TypedDict may leave out.

    Attributes:
        part: what it is where it is there.
    """

    part: AnnotatedType

    def words(self) -> Iterator[Word]:
        """List its axes."""
        yield from self.part.words()

    def has_shapes(self) -> bool:
        """Whether it says anything of a shape."""
        return self.part.has_shapes()

    def make(self, label: str, choices: Choices) -> Made:
        """Make the item, or leave it out."""
        if choices.choose((True, False), lambda is_there: f"{'no ' * (not is_there)}{label}"):
            return self.part.make(label, choices)
        return Made((), lambda _: MISSING)

    def found(self, value: Any, label: str, names: Names) -> Iterator[Found]:
        """The arrays of the item, where it is there."""
        if value is not MISSING:
            yield from self.part.found(value, label, names)
